//! The configuration of the server, when whoever keeps it allows that it is read. Secrets are never told.

use std::fmt::Write as _;

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use model::masking;
use serde_json::Value;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    accept::{self, Form},
    declare::{Errors, answer, path_params, query_params},
};
use crate::{
    app::App,
    auth::rights::Right,
    error::{ApiError, ApiResult},
    settings::Setting,
};

/// What stands for a secret, as Airflow writes it.
const HIDDEN: &str = "< hidden >";

/// The operations.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(config)).routes(routes!(config_value))
}

answer! {
    /// The configuration.
    pub struct Config {
        sections: Vec<ConfigSection>,
    }
}

answer! {
    /// A section of the configuration.
    pub struct ConfigSection {
        name: String,
        options: Vec<ConfigOption>,
    }
}

answer! {
    /// An option and its value.
    pub struct ConfigOption {
        key: String,
        value: String,
    }
}

query_params! {
    /// Which part of the configuration is meant.
    pub struct ConfigFilter {
        section: Option<String>,
    }
}

path_params! {
    /// An option.
    pub struct ConfigPath {
        section: String,
        option: String,
    }
}

/// Get Config
///
/// Refused unless the server is told to expose it, as in Airflow.
#[utoipa::path(
    get, path = "/api/v2/config", operation_id = "get_config", tag = "Config",
    params(ConfigFilter),
    responses(
        (status = 200, description = "Successful Response", content((Config = "application/json"), (String = "text/plain"))),
        Errors<404, 406>,
    ),
    security(("token" = [Right::Read]))
)]
pub async fn config(State(app): State<App>, filter: ConfigFilter, headers: HeaderMap) -> ApiResult<Response> {
    let form = accept::form(&headers, "text/plain")?;
    let mut sections = sections(exposed(&app)?);
    if let Some(wanted) = &filter.section {
        sections.retain(|section| section.name == *wanted);
        if sections.is_empty() {
            return Err(ApiError::NotFound(format!("Section {wanted} not found.")));
        }
    }
    Ok(written(Config { sections }, form))
}

/// Get Config Value
///
/// Refused unless the server is told to expose it, as in Airflow.
#[utoipa::path(
    get, path = "/api/v2/config/section/{section}/option/{option}", operation_id = "get_config_value", tag = "Config",
    params(ConfigPath),
    responses(
        (status = 200, description = "Successful Response", content((Config = "application/json"), (String = "text/plain"))),
        Errors<404, 406>,
    ),
    security(("token" = [Right::Read]))
)]
pub async fn config_value(State(app): State<App>, path: ConfigPath, headers: HeaderMap) -> ApiResult<Response> {
    let form = accept::form(&headers, "text/plain")?;
    let ConfigPath { section, option } = path;
    let of_section = sections(exposed(&app)?).into_iter().find(|one| one.name == section);
    let found = of_section.and_then(|one| one.options.into_iter().find(|one| one.key == option));
    let Some(found) = found else {
        return Err(ApiError::NotFound(format!("Option [{section}/{option}] not found.")));
    };
    let only = ConfigSection { name: section, options: vec![found] };
    Ok(written(Config { sections: vec![only] }, form))
}

fn exposed(app: &App) -> ApiResult<&[Setting]> {
    app.settings.exposed.as_deref().ok_or_else(|| {
        let text =
            "Your Airflow administrator chose not to expose the configuration, most likely for security reasons.";
        ApiError::Refused(text.to_owned())
    })
}

/// Settings by sections, in their order.
fn sections(settings: &[Setting]) -> Vec<ConfigSection> {
    let mut sections: Vec<ConfigSection> = Vec::new();
    for setting in settings {
        let option = ConfigOption { key: setting.option.clone(), value: shown(setting) };
        match sections.iter_mut().find(|section| section.name == setting.section) {
            Some(section) => section.options.push(option),
            None => sections.push(ConfigSection { name: setting.section.clone(), options: vec![option] }),
        }
    }
    sections
}

/// A value without what is secret by its name, or in an address.
fn shown(setting: &Setting) -> String {
    if masking::is_secret_name(&setting.option) && !setting.value.is_empty() {
        return HIDDEN.to_owned();
    }
    match serde_json::from_str::<Value>(&setting.value) {
        Ok(json) if json.is_object() => masking::masked(&json).to_string(),
        Ok(_) | Err(_) => masking::masked_text(&setting.value),
    }
}

fn written(config: Config, form: Form) -> Response {
    if form == Form::Json {
        return Json(config).into_response();
    }
    let mut text = String::new();
    for section in config.sections {
        // Writing to a text does not fail.
        let _written = writeln!(text, "[{}]", section.name);
        for option in section.options {
            let _written = writeln!(text, "{} = {}", option.key, option.value);
        }
        text.push('\n');
    }
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_hidden_by_their_names_and_within_addresses() {
        let setting = |option: &str, value: &str| Setting {
            section: "windlass".to_owned(),
            option: option.to_owned(),
            value: value.to_owned(),
        };
        let all = [
            setting("port", "8083"),
            setting("secret_key", "1 abc"),
            setting("token", ""),
            setting("properties", r#"{"sasl.password": "x"}"#),
            Setting { section: "database".to_owned(), ..setting("url", "postgres://me:pw@h/db") },
        ];
        let sections = sections(&all);
        let values: Vec<&str> =
            sections.iter().flat_map(|one| &one.options).map(|option| option.value.as_str()).collect();
        assert_eq!(values, ["8083", HIDDEN, "", r#"{"sasl.password":"***"}"#, "postgres://me:***@h/db"]);
        assert_eq!(sections.len(), 2);
    }
}
