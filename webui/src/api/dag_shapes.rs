//! DAGs and their versions, as they are answered.

use std::collections::BTreeMap;

use dag::{Dag, Schedule, Task};
use model::{DagId, DagVersionId};
use serde::Serialize;
use serde_json::{Map, Value, json};
use store::read::{DagView, Version, VersionBrief};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    dag_parsing::token_of,
    declare::{At, answer, words::DagRunType},
};
use crate::words;

answer! {
    /// A DAG.
    pub struct DAGResponse {
        dag_id: String,
        dag_display_name: String,
        is_paused: bool,
        /// Whether no file defines it any more.
        is_stale: bool,
        last_parsed_time: Option<At>,
        last_parse_duration: Option<f64>,
        last_expired: Option<At>,
        bundle_name: Option<String>,
        bundle_version: Option<String>,
        relative_fileloc: Option<String>,
        fileloc: String,
        file_token: String,
        description: Option<String>,
        timetable_summary: Option<String>,
        timetable_description: Option<String>,
        timetable_partitioned: bool,
        timetable_periodic: bool,
        tags: Vec<DagTagResponse>,
        owners: Vec<String>,
        max_active_tasks: u32,
        max_active_runs: Option<u32>,
        max_consecutive_failed_dag_runs: u32,
        has_task_concurrency_limits: bool,
        has_import_errors: bool,
        next_dagrun_logical_date: Option<At>,
        next_dagrun_data_interval_start: Option<At>,
        next_dagrun_data_interval_end: Option<At>,
        next_dagrun_run_after: Option<At>,
        /// Null: all types.
        allowed_run_types: Option<Vec<DagRunType>>,
        is_backfillable: bool,
    }
}

answer! {
    /// A tag of a DAG.
    pub struct DagTagResponse {
        name: String,
        dag_id: String,
        dag_display_name: String,
    }
}

answer! {
    /// What a DAG's page shows beside the DAG.
    pub struct DAGDetails {
        catchup: bool,
        /// ISO 8601.
        dag_run_timeout: Option<String>,
        asset_expression: Option<BTreeMap<String, Value>>,
        doc_md: Option<String>,
        start_date: Option<At>,
        end_date: Option<At>,
        is_paused_upon_creation: Option<bool>,
        /// The values that a run can be given, by their names, in the order of the file.
        #[schema(value_type = Option<BTreeMap<String, ParamResponse>>)]
        params: Option<Map<String, Value>>,
        render_template_as_native_obj: bool,
        template_search_path: Option<Vec<String>>,
        timezone: Option<&'static str>,
        last_parsed: Option<At>,
        default_args: Option<BTreeMap<String, Value>>,
        /// Null: the server's default.
        rerun_with_latest_version: Option<bool>,
        owner_links: Option<BTreeMap<String, String>>,
        is_favorite: bool,
        active_runs_count: i64,
        concurrency: u32,
        latest_dag_version: Option<DagVersionResponse>,
    }
}

answer! {
    /// A value that a run can be given.
    pub struct ParamResponse {
        /// The default.
        value: Value,
        /// JSON Schema.
        schema: Value,
        description: Option<String>,
        source: Option<&'static str>,
    }
}

/// A DAG with everything that its page shows.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct DAGDetailsResponse {
    #[serde(flatten)]
    dag: DAGResponse,
    #[serde(flatten)]
    details: DAGDetails,
}

answer! {
    /// A version of a DAG.
    pub struct DagVersionResponse {
        #[schema(value_type = String, format = "uuid")]
        id: Uuid,
        version_number: i32,
        dag_id: String,
        bundle_name: Option<String>,
        /// The revision of the bundle; of the DAG folder, which has none, the digest of the DAG's file and of all that it refers to.
        bundle_version: Option<String>,
        created_at: At,
        dag_display_name: String,
        bundle_url: Option<String>,
    }
}

/// A DAG.
#[must_use]
pub fn dag(view: &DagView, version: &Version) -> DAGResponse {
    let dag = &version.dag;
    let id = dag.dag_id.to_string();
    let called = dag.display_name().to_owned();
    let tag = |tag: &String| DagTagResponse { name: tag.clone(), dag_id: id.clone(), dag_display_name: called.clone() };
    let next = view.next.as_ref();
    DAGResponse {
        dag_id: id.clone(),
        dag_display_name: called.clone(),
        is_paused: view.is_paused,
        is_stale: view.is_stale,
        last_parsed_time: Some(view.last_parsed_at.into()),
        last_parse_duration: None,
        last_expired: None,
        bundle_name: Some(view.bundle_name.clone()),
        bundle_version: view.bundle_version.clone(),
        relative_fileloc: Some(view.fileloc.clone()),
        fileloc: view.fileloc.clone(),
        file_token: token_of(&view.bundle_name, &view.fileloc),
        description: dag.description.clone(),
        timetable_summary: timetable_summary(dag),
        timetable_description: Some(words::runs_when(dag)),
        timetable_partitioned: false,
        timetable_periodic: matches!(dag.schedule, Schedule::Cron { .. } | Schedule::Delta { .. }),
        tags: dag.tags.iter().map(tag).collect(),
        owners: dag.owners.clone(),
        max_active_tasks: dag.max_active_tasks,
        max_active_runs: Some(dag.max_active_runs),
        max_consecutive_failed_dag_runs: dag.max_consecutive_failed_dag_runs,
        has_task_concurrency_limits: dag.tasks.iter().any(has_limit),
        has_import_errors: view.has_import_errors,
        next_dagrun_logical_date: next.map(|next| next.logical_date.into()),
        next_dagrun_data_interval_start: next.map(|next| next.start.into()),
        next_dagrun_data_interval_end: next.map(|next| next.end.into()),
        next_dagrun_run_after: next.map(|next| next.run_after.into()),
        allowed_run_types: dag.allowed_run_types.as_ref().map(|types| types.iter().copied().map(DagRunType).collect()),
        is_backfillable: engine::backfill::is_periodic(&dag.schedule) && dag.allows(model::RunType::Backfill),
    }
}

fn has_limit(task: &Task) -> bool {
    task.max_active_tis_per_dag.is_some() || task.max_active_tis_per_dagrun.is_some()
}

/// The schedule in one word: Airflow shows the cron text.
fn timetable_summary(dag: &Dag) -> Option<String> {
    match &dag.schedule {
        Schedule::Never => dag.assets.as_ref().map(|_| "Asset".to_owned()),
        Schedule::Once => Some("@once".to_owned()),
        Schedule::Continuous => Some("@continuous".to_owned()),
        Schedule::Cron { expressions, .. } => Some(expressions.join(", ")),
        Schedule::Delta { every, months, .. } => Some(words::step(*months, *every)),
    }
}

/// A DAG with everything that its page shows.
#[must_use]
pub fn dag_details(view: &DagView, version: &Version, active_runs_count: i64, is_favorite: bool) -> DAGDetailsResponse {
    let dag = &version.dag;
    let timezone = match &dag.schedule {
        Schedule::Cron { timezone, .. } => timezone.name(),
        Schedule::Never | Schedule::Once | Schedule::Continuous | Schedule::Delta { .. } => "UTC",
    };
    let details = DAGDetails {
        catchup: dag.catchup == dag::Catchup::All,
        dag_run_timeout: dag.dagrun_timeout.map(|limit| format!("PT{}S", limit.as_secs_f64())),
        asset_expression: dag.assets.as_ref().and_then(|assets| {
            let expression = assets.expression();
            expression.as_object().map(|parts| parts.clone().into_iter().collect())
        }),
        doc_md: dag.doc_md.clone(),
        start_date: dag.start_date.map(At),
        end_date: dag.end_date.map(At),
        is_paused_upon_creation: Some(dag.is_paused_upon_creation),
        params: Some(params(dag)),
        render_template_as_native_obj: false,
        template_search_path: None,
        timezone: Some(timezone),
        last_parsed: Some(view.last_parsed_at.into()),
        default_args: None,
        rerun_with_latest_version: None,
        owner_links: Some(BTreeMap::new()),
        is_favorite,
        active_runs_count,
        concurrency: dag.max_active_tasks,
        latest_dag_version: Some(dag_version(version)),
    };
    DAGDetailsResponse { dag: self::dag(view, version), details }
}

/// The values that a run can be given: each a [`ParamResponse`], in the order of the file, in which people are asked for them.
fn params(dag: &Dag) -> Map<String, Value> {
    let one = |param: &dag::Param| ParamResponse {
        value: param.default.clone(),
        schema: param.schema.clone(),
        description: param.description.clone(),
        source: Some("dag"),
    };
    dag.params.iter().map(|(name, param)| (name.clone(), json!(one(param)))).collect()
}

/// The values that the templates of a task have over its DAG's, in the same form.
#[must_use]
pub fn task_params(task: &Task) -> Map<String, Value> {
    let one = |value: &Value| ParamResponse {
        value: value.clone(),
        schema: Value::Object(Map::new()),
        description: None,
        source: Some("task"),
    };
    task.params.iter().map(|(name, value)| (name.clone(), json!(one(value)))).collect()
}

/// A version of a DAG.
#[must_use]
pub fn dag_version(version: &Version) -> DagVersionResponse {
    let brief = VersionBrief {
        id: version.id,
        number: version.number,
        content_hash: version.content_hash.clone(),
        created_at: version.created_at,
        bundle_name: version.bundle_name.clone(),
        bundle_version: version.bundle_version.clone(),
        bundle_url: version.bundle_url.clone(),
    };
    dag_version_of(&version.dag.dag_id, version.dag.display_name(), &brief)
}

/// The same without its definition.
#[must_use]
pub fn dag_version_of(dag_id: &DagId, called: &str, version: &VersionBrief) -> DagVersionResponse {
    DagVersionResponse {
        id: version_uuid(version.id),
        version_number: version.number,
        dag_id: dag_id.to_string(),
        bundle_name: Some(version.bundle_name.clone()),
        bundle_version: Some(version.bundle_version.clone().unwrap_or_else(|| version.content_hash.clone())),
        created_at: version.created_at.into(),
        dag_display_name: called.to_owned(),
        bundle_url: version.bundle_url.clone(),
    }
}

/// Versions are numbered here and have a UUID in Airflow: the same one for ever.
fn version_uuid(id: DagVersionId) -> Uuid {
    const NAMESPACE: Uuid = Uuid::from_u128(0x7d1f_0b52_93c4_4f0f_8f5e_2c61_aa43_90d7);
    Uuid::new_v5(&NAMESPACE, id.to_string().as_bytes())
}
