//! Reading a DAG file anew at once. Files are watched, so it changes nothing as a rule; it is for those whose system tells of no
//! changes, as network file systems do.

use axum::{Extension, Json, extract::State, http::StatusCode};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use link::{Query, Reply};
use model::{BundleFile, BundleName};
use serde_json::{Value, json};
use store::{audit, bundles, read};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::declare::{Errors, path_params};
use crate::{
    app::App,
    auth::{Principal, rights::Right},
    error::{ApiError, ApiResult},
};

/// What parts the bundle from the file in a token: no name of a bundle has it.
const PART: char = '\n';

/// The operations.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(parse_file))
}

path_params! {
    /// A DAG file.
    pub struct FilePath {
        /// As a DAG names it: `file_token`.
        file_token: String,
    }
}

/// How a file is named in a path, where a slash would part it.
#[must_use]
pub fn token_of(bundle: &str, file: &str) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(format!("{bundle}{PART}{file}"))
}

fn file_of(token: &str) -> Option<BundleFile> {
    let text = String::from_utf8(BASE64_URL_SAFE_NO_PAD.decode(token).ok()?).ok()?;
    let (bundle, file) = text.split_once(PART)?;
    Some(BundleFile::new(BundleName::new(bundle).ok()?, file))
}

/// Reparse Dag File
///
/// A file of the DAG folder is read again, whether it looks changed or not; a bundle in git is polled. What was pushed is read already.
#[utoipa::path(
    put, path = "/api/v2/parseDagFile/{file_token}", operation_id = "reparse_dag_file", tag = "DAG Parsing",
    params(FilePath),
    responses((status = 201, description = "Successful Response", body = Value), Errors<404>),
    security(("token" = [Right::ChangeDags]))
)]
pub async fn parse_file(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    FilePath { file_token }: FilePath,
) -> ApiResult<(StatusCode, Json<Value>)> {
    let missing = || ApiError::NotFound("File not found".to_owned());
    let file = file_of(&file_token).ok_or_else(missing)?;
    if !read::defines_dags(&app.pool, &file).await? {
        return Err(missing());
    }
    let told = json!({ "bundle_name": file.bundle.to_string(), "fileloc": file.name });
    if file.bundle.is_folder() {
        match app.leader.ask(Query::LookAgain { file: file.name }).await? {
            Reply::Noted => {}
            Reply::NotFound { detail } => return Err(ApiError::NoLeader(detail)),
            Reply::Why { .. } | Reply::Log(_) | Reply::Cluster(_) | Reply::Pools { .. } | Reply::Tried { .. } => {
                return Err(ApiError::Internal("the leader answered another question than that for a file".to_owned()));
            }
        }
    } else {
        // One that people push is as it was pushed.
        let _is_polled = bundles::ask_poll(&app.pool, &file.bundle).await?;
    }
    audit::record(&app.pool, who.actor(), "reparse_dag_file", &told).await?;
    Ok((StatusCode::CREATED, Json(Value::Null)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_names_a_file_and_stands_in_a_path() {
        let token = token_of("dags-folder", "a/b ä.yaml");
        assert!(token.bytes().all(|sign| sign.is_ascii_alphanumeric() || b"-_".contains(&sign)), "{token}");
        let file = file_of(&token).unwrap();
        assert_eq!((file.bundle.to_string().as_str(), file.name.as_str()), ("dags-folder", "a/b ä.yaml"));
        for wrong in ["", "x", "%", &BASE64_URL_SAFE_NO_PAD.encode("no part"), "a/b.yaml"] {
            assert!(file_of(wrong).is_none(), "{wrong}");
        }
    }
}
