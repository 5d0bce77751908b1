//! The form that starts a run: a field for each param, made from its JSON Schema. What was typed stays when something is
//! wrong, and each mistake stands at its field.

mod field;
mod read;

use axum::{
    Extension,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Redirect, Response},
};
use model::{RunType, TriggeredBy, command::TriggerDagRun};
use schemars::JsonSchema;
use serde::Serialize;
use store::read::{DagView, Version};

use super::{Frame, Place, dag_url, error::PageResult, run_url, show as print, words::Clock};
use crate::{
    app::App,
    auth::{Principal, form::PageForm},
    changes::runs,
    error::{ApiError, ApiResult},
    reads::lookup::lookup_dag,
};
pub(super) use field::{Section, sections};
use read::Wish;
pub(super) use read::{Mistakes, instant, typed_value};

/// What the page shows.
#[derive(Serialize, JsonSchema)]
pub struct View {
    frame: Frame,
    dag_id: String,
    url: String,
    is_paused: bool,
    zone: &'static str,
    sections: Vec<Section>,
    run_id: String,
    logical_date: String,
    note: String,
    conf: String,
    mistakes: Mistakes,
    /// What is wrong with none of the fields alone.
    mistake: Option<String>,
}

/// `GET /dags/{dag_id}/trigger`.
pub async fn show(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    Path(dag_id): Path<String>,
    headers: HeaderMap,
) -> PageResult<Response> {
    let (view, version) = lookup_dag(&app, &dag_id).await?;
    let view = form_view(&app, &who, &view, &version, None, Mistakes::default()).await?;
    Ok(print(&headers, &view)?)
}

async fn form_view(
    app: &App,
    who: &Principal,
    dag: &DagView,
    version: &Version,
    typed: Option<&PageForm>,
    mistakes: Mistakes,
) -> ApiResult<View> {
    let kept = |name: &str| typed.map_or_else(String::new, |form| form.text(name).to_owned());
    Ok(View {
        frame: Frame::new(app, who, Place::Dags, format!("Trigger {}", dag.dag_id)).await?.about(who, &dag.dag_id),
        dag_id: dag.dag_id.to_string(),
        url: dag_url(&dag.dag_id),
        is_paused: dag.is_paused,
        zone: who.prefs.zone.name(),
        sections: sections(&version.dag.params, typed, &mistakes, Clock::of(who)),
        run_id: kept("run_id"),
        logical_date: kept("logical_date"),
        note: kept("note"),
        conf: kept("conf"),
        mistake: mistakes.get("").cloned(),
        mistakes,
    })
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
    let mistakes = match read::wish(&version.dag, &form, Clock::of(&who)) {
        Err(mistakes) => mistakes,
        Ok(wish) => match start(&app, &who, &view, &version, wish).await {
            Ok(to) => return Ok(Redirect::to(&to).into_response()),
            Err(error @ (ApiError::BadRequest(_) | ApiError::Conflict(_))) => {
                Mistakes::from([(String::new(), error.to_string())])
            }
            Err(error) => return Err(error.into()),
        },
    };
    // The button of the list sends no fields: the form shows the defaults then.
    let typed = Some(&form).filter(|form| form.ticked("whole"));
    let view = form_view(&app, &who, &view, &version, typed, mistakes).await?;
    Ok((StatusCode::BAD_REQUEST, print(&headers, &view)?).into_response())
}

async fn start(app: &App, who: &Principal, view: &DagView, version: &Version, wish: Wish) -> ApiResult<String> {
    let wish = TriggerDagRun {
        dag_id: view.dag_id.clone(),
        run_id: wish.run_id,
        logical_date: wish.logical_date,
        data_interval: None,
        run_after: None,
        conf: wish.conf,
        note: wish.note,
        run_type: RunType::Manual,
        triggered_by: TriggeredBy::Ui,
    };
    let run = runs::start(app, view, version, wish, who).await?;
    Ok(run_url(&run.dag_id, &run.run_id))
}
