//! Runs that people start.

use engine::RunRow;
use model::{Command, command::TriggerDagRun};
use serde_json::{Map, Value};
use store::read::{DagView, Version};

use super::commands;
use crate::{
    app::App,
    auth::Principal,
    error::{ApiError, ApiResult},
    reads::lookup::lookup_run,
};

/// Checks a wish for a run and sends it; both doors, REST and page, come here.
///
/// # Errors
/// [`ApiError::BadRequest`] when the conf does not fit the DAG's params, and what the leader answers.
pub async fn start(
    app: &App,
    view: &DagView,
    version: &Version,
    wish: TriggerDagRun,
    who: &Principal,
) -> ApiResult<RunRow> {
    if view.has_import_errors {
        let file = &view.fileloc;
        let text = format!("DAG with dag_id: '{}' has import errors and cannot be triggered: mend {file}", view.dag_id);
        return Err(ApiError::BadRequest(text));
    }
    check_conf(version, wish.conf.get())?;
    let answer = commands::send(app, &Command::TriggerDagRun(wish), who).await?;
    let run_id = answer.get("run_id").and_then(Value::as_str).unwrap_or_default();
    lookup_run(app, view.dag_id.as_str(), run_id).await
}

/// The conf against the schemas of the DAG's params.
///
/// # Errors
/// [`ApiError::BadRequest`] with everything that does not fit.
pub fn check_conf(version: &Version, conf: &Map<String, Value>) -> ApiResult<()> {
    version.dag.validate_conf(conf).map(drop).map_err(|mismatches| ApiError::BadRequest(mismatches.join("; ")))
}
