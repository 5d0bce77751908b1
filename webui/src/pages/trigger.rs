//! The form that starts a run: a field for each param, a conf for the rest. What was typed stays when something is wrong.

use axum::{
    Extension,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Redirect, Response},
};
use dag::{Dag, Param};
use model::{RunId, RunType, TriggeredBy, command::TriggerDagRun};
use serde::Serialize;
use serde_json::{Map, Value};
use store::read::{DagView, Version};

use super::{Frame, Place, dag_url, error::PageResult, run_url, show as print};
use crate::{
    api::{lookup_dag, runs},
    app::App,
    auth::{Principal, form::PageForm},
    error::{ApiError, ApiResult},
};

/// Params are sent under their name behind this, so that none collides with a field of ours.
const PREFIX: &str = "param.";

#[derive(Serialize)]
struct View {
    frame: Frame,
    dag_id: String,
    url: String,
    is_paused: bool,
    fields: Vec<Field>,
    run_id: String,
    note: String,
    mistake: Option<String>,
}

/// A param as a field.
#[derive(Serialize)]
struct Field {
    name: String,
    kind: Kind,
    value: String,
    choices: Vec<String>,
    description: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Text,
    Number,
    Choice,
    Json,
}

/// `GET /dags/{dag_id}/trigger`.
pub async fn show(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    Path(dag_id): Path<String>,
    headers: HeaderMap,
) -> PageResult<Response> {
    let (view, version) = lookup_dag(&app, &dag_id).await?;
    let view = form_view(&app, &who, &view, fields(&version.dag, None)).await?;
    Ok(print(&headers, "trigger", &view)?)
}

/// The form with nothing typed and nothing wrong.
async fn form_view(app: &App, who: &Principal, dag: &DagView, fields: Vec<Field>) -> ApiResult<View> {
    Ok(View {
        frame: Frame::new(app, who, Place::Dags, format!("Trigger {}", dag.dag_id)).await?,
        dag_id: dag.dag_id.to_string(),
        url: dag_url(&dag.dag_id),
        is_paused: dag.is_paused,
        fields,
        run_id: String::new(),
        note: String::new(),
        mistake: None,
    })
}

fn fields(dag: &Dag, typed: Option<&PageForm>) -> Vec<Field> {
    let field = |(name, param): (&String, &Param)| {
        let kind = kind(param);
        let default = text_of(&param.default, kind);
        Field {
            name: name.clone(),
            kind,
            value: typed.map_or(default, |form| form.text(&format!("{PREFIX}{name}")).to_owned()),
            choices: choices(param),
            description: param.description.clone(),
        }
    };
    dag.params.iter().map(field).collect()
}

fn kind(param: &Param) -> Kind {
    if !choices(param).is_empty() {
        return Kind::Choice;
    }
    match param.schema.get("type").and_then(Value::as_str) {
        Some("integer" | "number") => Kind::Number,
        Some("string") => Kind::Text,
        _ => Kind::Json,
    }
}

/// The values of an enum or a boolean, as JSON texts.
fn choices(param: &Param) -> Vec<String> {
    if let Some(Value::Array(values)) = param.schema.get("enum") {
        return values.iter().map(|value| text_of(value, Kind::Choice)).collect();
    }
    match param.schema.get("type").and_then(Value::as_str) {
        Some("boolean") => vec!["true".to_owned(), "false".to_owned()],
        _ => Vec::new(),
    }
}

/// A value as its field shows it: texts bare, everything else as JSON.
fn text_of(value: &Value, kind: Kind) -> String {
    match (value, kind) {
        (Value::String(text), Kind::Text | Kind::Choice) => text.clone(),
        (Value::Null, Kind::Text | Kind::Number) => String::new(),
        (other, _) => other.to_string(),
    }
}

/// The conf that the fields make. A field that shows the default adds nothing.
fn conf_of(dag: &Dag, form: &PageForm) -> ApiResult<Map<String, Value>> {
    let mut conf = Map::new();
    for (name, param) in &dag.params {
        let text = form.text(&format!("{PREFIX}{name}"));
        let kind = kind(param);
        if text == text_of(&param.default, kind) {
            continue;
        }
        let is_text =
            kind == Kind::Text || (kind == Kind::Choice && param.schema.get("type") != Some(&Value::from("boolean")));
        let value = match serde_json::from_str(text) {
            _ if is_text => Value::from(text),
            Ok(value) => value,
            Err(_) => return Err(ApiError::BadRequest(format!("{name}: {text:?} is not a JSON value"))),
        };
        conf.insert(name.clone(), value);
    }
    Ok(conf)
}

/// `POST /dags/{dag_id}/trigger`: to the new run, or the form again with what was wrong.
pub async fn submit(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    Path(dag_id): Path<String>,
    headers: HeaderMap,
    form: PageForm,
) -> PageResult<Response> {
    let (view, version) = lookup_dag(&app, &dag_id).await?;
    match start(&app, &who, &view, &version, &form).await {
        Ok(to) => Ok(Redirect::to(&to).into_response()),
        Err(error @ (ApiError::BadRequest(_) | ApiError::Conflict(_) | ApiError::MalformedText(_))) => {
            let typed = Some(&form).filter(|form| form.ticked("whole"));
            let empty = form_view(&app, &who, &view, fields(&version.dag, typed)).await?;
            let kept = |name: &str| form.text(name).to_owned();
            let mistake = Some(error.to_string());
            let view = View { run_id: kept("run_id"), note: kept("note"), mistake, ..empty };
            Ok((StatusCode::BAD_REQUEST, print(&headers, "trigger", &view)?).into_response())
        }
        Err(error) => Err(error.into()),
    }
}

async fn start(app: &App, who: &Principal, view: &DagView, version: &Version, form: &PageForm) -> ApiResult<String> {
    let id = form.text("run_id").trim();
    let run_id = if id.is_empty() { None } else { Some(id) };
    let run_id = run_id.map(RunId::new).transpose().map_err(|error| ApiError::BadRequest(error.to_string()))?;
    let note = form.text("note").trim();
    let wish = TriggerDagRun {
        dag_id: view.dag_id.clone(),
        run_id,
        logical_date: None,
        data_interval: None,
        run_after: None,
        // The button of the list sends no fields: every param has its default then.
        conf: if form.ticked("whole") { conf_of(&version.dag, form)? } else { Map::new() },
        note: (!note.is_empty()).then(|| note.to_owned()),
        run_type: RunType::Manual,
        triggered_by: TriggeredBy::Ui,
    };
    let run = runs::start(app, view, version, wish, who).await?;
    Ok(run_url(&run.dag_id, &run.run_id))
}
