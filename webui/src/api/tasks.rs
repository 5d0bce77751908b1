//! The tasks of a DAG's current version.

use std::{cmp::Ordering, time::Duration};

use axum::{Json, extract::State};
use dag::{Dag, Task};
use serde_json::{Map, Value};
use store::read::Direction;
use utoipa::openapi::schema::Schema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    dag_shapes::task_params,
    declare::{
        At, Errors, OrderBy, OrderKey, Param, answer,
        param::{Declared, sort_words},
        path_params, query_params,
    },
    lookup_dag, parse_task,
    query::Query,
};
use crate::{
    app::App,
    auth::rights::Right,
    error::{ApiError, ApiResult},
};

/// The operations.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(one))
}

path_params! {
    /// The DAG whose tasks are asked for.
    pub struct TasksPath {
        dag_id: String,
    }
}

path_params! {
    /// A task of a DAG.
    pub struct TaskPath {
        dag_id: String,
        task_id: String,
    }
}

query_params! {
    /// In which order.
    pub struct TaskOrder {
        order_by: OneKey,
    }
}

/// One attribute of tasks to order by, which is all that Airflow takes here.
pub struct OneKey(TaskKey, Direction);

impl Param for OneKey {
    fn read(query: &mut Query, name: &str) -> Self {
        let OrderBy(keys) = OrderBy::<TaskKey>::read(query, name);
        keys.first().map_or(Self(TaskKey::TaskId, Direction::Ascending), |(key, direction)| Self(*key, *direction))
    }

    fn declare(name: &str) -> Vec<Declared> {
        let mut words = sort_words::<TaskKey>();
        if let Schema::Object(object) = &mut words {
            object.default = Some(TaskKey::DEFAULT.into());
        }
        vec![Declared::optional(name, words)]
    }
}

/// What tasks can be ordered by; what all tasks of a DAG have alike leaves the order of their ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskKey {
    /// By id.
    TaskId,
    /// By owner.
    Owner,
    /// By rule.
    TriggerRule,
    /// By dependence on the run before.
    DependsOnPast,
    /// By waiting for what follows in the run before.
    WaitForDownstream,
    /// By number of retries.
    Retries,
    /// By queue.
    Queue,
    /// By pool.
    Pool,
    /// By slots.
    PoolSlots,
    /// By limit of time.
    ExecutionTimeout,
    /// By wait before a retry.
    RetryDelay,
    /// By growth of that.
    RetryBackoff,
    /// By weight.
    PriorityWeight,
    /// By how the weight is made.
    WeightRule,
    /// By operator.
    Operator,
    /// By displayed name.
    Name,
}

impl OrderKey for TaskKey {
    const KEYS: &'static [(&'static str, Self)] = &[
        ("task_id", Self::TaskId),
        ("task_display_name", Self::Name),
        ("owner", Self::Owner),
        ("start_date", Self::TaskId),
        ("end_date", Self::TaskId),
        ("trigger_rule", Self::TriggerRule),
        ("depends_on_past", Self::DependsOnPast),
        ("wait_for_downstream", Self::WaitForDownstream),
        ("retries", Self::Retries),
        ("queue", Self::Queue),
        ("pool", Self::Pool),
        ("pool_slots", Self::PoolSlots),
        ("execution_timeout", Self::ExecutionTimeout),
        ("retry_delay", Self::RetryDelay),
        ("retry_exponential_backoff", Self::RetryBackoff),
        ("priority_weight", Self::PriorityWeight),
        ("weight_rule", Self::WeightRule),
        ("ui_color", Self::TaskId),
        ("ui_fgcolor", Self::TaskId),
        ("operator_name", Self::Operator),
    ];
    const DEFAULT: &'static str = "task_id";
}

impl TaskKey {
    fn compare(self, a: &Task, b: &Task) -> Ordering {
        match self {
            Self::TaskId => a.task_id.cmp(&b.task_id),
            Self::Name => a.display_name().cmp(b.display_name()),
            Self::Owner => a.owner.cmp(&b.owner),
            Self::TriggerRule => a.trigger_rule.name().cmp(b.trigger_rule.name()),
            Self::DependsOnPast => a.depends_on_past.cmp(&b.depends_on_past),
            Self::WaitForDownstream => a.wait_for_downstream.cmp(&b.wait_for_downstream),
            Self::Retries => a.retries.cmp(&b.retries),
            Self::Queue => a.queue.cmp(&b.queue),
            Self::Pool => a.pool.cmp(&b.pool),
            Self::PoolSlots => a.pool_slots.cmp(&b.pool_slots),
            // What has no limit comes last, as in Airflow.
            Self::ExecutionTimeout => {
                let limit = |task: &Task| (task.execution_timeout.is_none(), task.execution_timeout);
                limit(a).cmp(&limit(b))
            }
            Self::RetryDelay => a.retry_delay.cmp(&b.retry_delay),
            Self::RetryBackoff => backoff(a).total_cmp(&backoff(b)),
            Self::PriorityWeight => a.priority_weight.cmp(&b.priority_weight),
            Self::WeightRule => a.weight_rule.name().cmp(b.weight_rule.name()),
            Self::Operator => a.operator.name().cmp(b.operator.name()),
        }
    }
}

fn backoff(task: &Task) -> f64 {
    task.retry_exponential_backoff.unwrap_or(0.0)
}

answer! {
    /// A task.
    pub struct TaskResponse {
        task_id: Option<String>,
        task_display_name: Option<String>,
        owner: Option<String>,
        start_date: Option<At>,
        end_date: Option<At>,
        trigger_rule: Option<&'static str>,
        depends_on_past: bool,
        wait_for_downstream: bool,
        retries: Option<u16>,
        queue: Option<String>,
        pool: Option<String>,
        pool_slots: Option<u32>,
        execution_timeout: Option<TimeDelta>,
        retry_delay: Option<TimeDelta>,
        retry_exponential_backoff: f64,
        priority_weight: Option<i32>,
        weight_rule: Option<&'static str>,
        ui_color: Option<&'static str>,
        ui_fgcolor: Option<&'static str>,
        template_fields: Option<Vec<String>>,
        downstream_task_ids: Option<Vec<String>>,
        doc_md: Option<String>,
        operator_name: Option<&'static str>,
        params: Option<Map<String, Value>>,
        class_ref: Option<ClassRef>,
        is_mapped: Option<bool>,
        extra_links: Vec<String>,
    }
}

answer! {
    /// What carries a task out.
    pub struct ClassRef {
        module_path: Option<String>,
        class_name: Option<&'static str>,
    }
}

answer! {
    /// A duration.
    pub struct TimeDelta {
        #[serde(rename = "__type")]
        kind: &'static str,
        days: u64,
        seconds: u64,
        microseconds: u32,
    }
}

answer! {
    /// The tasks of a DAG.
    pub struct TaskCollectionResponse {
        tasks: Vec<TaskResponse>,
        total_entries: usize,
    }
}

impl From<Duration> for TimeDelta {
    fn from(duration: Duration) -> Self {
        const DAY_SECS: u64 = 24 * 60 * 60;
        Self {
            kind: "TimeDelta",
            days: duration.as_secs() / DAY_SECS,
            seconds: duration.as_secs() % DAY_SECS,
            microseconds: duration.subsec_micros(),
        }
    }
}

fn shape(dag: &Dag, task: &Task) -> TaskResponse {
    let downstream = task.downstream.iter().map(|pos| dag.task(*pos).task_id.to_string());
    TaskResponse {
        task_id: Some(task.task_id.to_string()),
        task_display_name: Some(task.display_name().to_owned()),
        owner: Some(task.owner.clone()),
        start_date: task.start_date.or(dag.start_date).map(At),
        end_date: task.end_date.or(dag.end_date).map(At),
        trigger_rule: Some(task.trigger_rule.name()),
        depends_on_past: task.depends_on_past,
        wait_for_downstream: task.wait_for_downstream,
        retries: Some(task.retries),
        queue: Some(task.queue.clone()),
        pool: Some(task.pool.clone()),
        pool_slots: Some(task.pool_slots),
        execution_timeout: task.execution_timeout.map(TimeDelta::from),
        retry_delay: Some(task.retry_delay.into()),
        retry_exponential_backoff: backoff(task),
        priority_weight: Some(task.priority_weight),
        weight_rule: Some(task.weight_rule.name()),
        ui_color: Some("#fff"),
        ui_fgcolor: Some("#000"),
        template_fields: Some(Vec::new()),
        downstream_task_ids: Some(downstream.collect()),
        doc_md: task.doc_md.clone(),
        operator_name: Some(task.operator.name()),
        params: Some(task_params(task)),
        class_ref: Some(ClassRef { module_path: None, class_name: Some(task.operator.name()) }),
        is_mapped: Some(task.expand.is_some()),
        extra_links: Vec::new(),
    }
}

/// Get Tasks
#[utoipa::path(
    get, path = "/api/v2/dags/{dag_id}/tasks", operation_id = "get_tasks", tag = "Task",
    params(TasksPath, TaskOrder),
    responses((status = 200, description = "Successful Response", body = TaskCollectionResponse), Errors<404>),
    security(("token" = [Right::Read]))
)]
pub async fn list(
    State(app): State<App>,
    path: TasksPath,
    TaskOrder { order_by: OneKey(key, direction) }: TaskOrder,
) -> ApiResult<Json<TaskCollectionResponse>> {
    let (_, version) = lookup_dag(&app, &path.dag_id).await?;
    let dag = &version.dag;
    let mut tasks: Vec<&Task> = dag.tasks.iter().collect();
    tasks.sort_by(|a, b| direction.turned(key.compare(a, b).then_with(|| a.task_id.cmp(&b.task_id))));
    let tasks: Vec<TaskResponse> = tasks.into_iter().map(|task| shape(dag, task)).collect();
    Ok(Json(TaskCollectionResponse { total_entries: tasks.len(), tasks }))
}

/// Get Task
#[utoipa::path(
    get, path = "/api/v2/dags/{dag_id}/tasks/{task_id}", operation_id = "get_task", tag = "Task",
    params(TaskPath),
    responses((status = 200, description = "Successful Response", body = TaskResponse), Errors<404>),
    security(("token" = [Right::Read]))
)]
pub async fn one(State(app): State<App>, TaskPath { dag_id, task_id }: TaskPath) -> ApiResult<Json<TaskResponse>> {
    let (_, version) = lookup_dag(&app, &dag_id).await?;
    let task = parse_task(&task_id)?;
    let pos = version.dag.position(&task);
    let pos = pos.ok_or_else(|| ApiError::NotFound(format!("Task with ID {task_id} not found")))?;
    Ok(Json(shape(&version.dag, version.dag.task(pos))))
}
