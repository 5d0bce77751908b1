//! Questions that tasks ask people: no operator asks any yet, so that lists are empty and no question is found.

use axum::{Json, extract::State};
use model::MapIndex;
use serde_json::{Map, Value};
use store::read::{Pattern, Range};
use utoipa::openapi::{
    RefOr,
    schema::{ArrayBuilder, Schema},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    ALL,
    absent::order_names,
    body::Body,
    declare::{At, Errors, Member, OrderBy, Prefix, answer, body, path_params, query_params, schema},
    instance_answer::TaskInstanceResponse,
    lookup_dag, lookup_run,
    query::Page,
};
use crate::{
    app::App,
    auth::rights::Right,
    error::{ApiError, ApiResult},
    reads::lookup::lookup_instance,
};

/// What is missing.
const NOBODY_ASKS: &str = "There are no questions to people yet: no operator asks any, so none can be answered";

/// The operations.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(one, answer_it)).routes(routes!(of_try))
}

path_params! {
    /// A run.
    pub struct AskingRunPath {
        /// `~` for all DAGs.
        dag_id: String,
        /// `~` for all runs.
        dag_run_id: String,
    }
}

path_params! {
    /// A task instance.
    pub struct AskingPath {
        dag_id: String,
        dag_run_id: String,
        task_id: String,
        map_index: MapIndex,
    }
}

path_params! {
    /// A try of a task instance.
    pub struct AskingTryPath {
        dag_id: String,
        dag_run_id: String,
        task_id: String,
        map_index: MapIndex,
        _try_number: u32 = "try_number",
    }
}

order_names!(
    /// What questions are ordered by.
    QuestionKey: "ti_id", "subject", "responded_at", "created_at", "responded_by_user_id", "responded_by_user_name",
    "dag_id", "run_id", "task_id", "task_display_name", "run_after", "rendered_map_index", "task_instance_operator",
    "task_instance_state"
);

query_params! {
    /// Which questions a list has.
    pub struct QuestionFilter {
        _page: Page,
        _order_by: OrderBy<QuestionKey> = "order_by",
        _dag_id_pattern: Pattern = "dag_id_pattern",
        _dag_id_prefix_pattern: Prefix = "dag_id_prefix_pattern",
        _task_id: Option<String> = "task_id",
        _task_id_pattern: Pattern = "task_id_pattern",
        _task_id_prefix_pattern: Prefix = "task_id_prefix_pattern",
        _map_index: Option<i64> = "map_index",
        _state: Vec<String> = "state",
        _response_received: Option<bool> = "response_received",
        _responded_by_user_id: Vec<String> = "responded_by_user_id",
        _responded_by_user_name: Vec<String> = "responded_by_user_name",
        _subject_search: Option<String> = "subject_search",
        _body_search: Option<String> = "body_search",
        _created_at: Range = "created_at",
    }
}

body! {
    /// An answer to a question.
    pub struct UpdateHITLDetailPayload {
        _chosen_options: ChosenOptions = "chosen_options",
        _params_input: Map<String, Value> = "params_input",
    }
}

/// What was chosen: at least one of the options.
pub struct ChosenOptions;

impl Member for ChosenOptions {
    const REQUIRED: bool = true;

    fn read(body: &mut Body, name: &str) -> Self {
        if !body.has(name) {
            body.missing(name);
        } else if body.texts(name).is_empty() {
            body.wrong(name, "too_short", "List should have at least 1 item after validation", Value::Null);
        }
        Self
    }

    fn schema() -> RefOr<Schema> {
        let list = ArrayBuilder::new().items(RefOr::from(schema::text())).min_items(Some(1));
        Schema::from(list).into()
    }
}

answer! {
    /// A part of the list of questions.
    pub struct HITLDetailCollection {
        hitl_details: Vec<HITLDetail>,
        total_entries: usize,
    }
}

answer! {
    /// A question that a task has asked.
    pub struct HITLDetail {
        options: Vec<String>,
        subject: String,
        body: Option<String>,
        defaults: Option<Vec<String>>,
        multiple: bool,
        params: Map<String, Value>,
        assigned_users: Vec<HITLUser>,
        created_at: At,
        responded_by_user: Option<HITLUser>,
        responded_at: Option<At>,
        chosen_options: Option<Vec<String>>,
        params_input: Map<String, Value>,
        response_received: bool,
        task_instance: TaskInstanceResponse,
    }
}

answer! {
    /// Who is asked, or who has answered.
    pub struct HITLUser {
        id: String,
        name: String,
    }
}

answer! {
    /// An answer to a question, as it was taken.
    pub struct HITLDetailResponse {
        responded_by: HITLUser,
        responded_at: At,
        chosen_options: Vec<String>,
        params_input: Map<String, Value>,
    }
}

/// Get Hitl Details
#[utoipa::path(
    get, path = "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/hitlDetails", operation_id = "get_hitl_details",
    tag = "Task Instance",
    params(AskingRunPath, QuestionFilter),
    responses((status = 200, description = "Successful Response", body = HITLDetailCollection), Errors<404>),
    security(("token" = [Right::Read]))
)]
pub async fn list(
    State(app): State<App>,
    path: AskingRunPath,
    _: QuestionFilter,
) -> ApiResult<Json<HITLDetailCollection>> {
    match (path.dag_id.as_str(), path.dag_run_id.as_str()) {
        (ALL, ALL) => {}
        (ALL, _) => {
            return Err(ApiError::BadRequest("A run is named with its DAG: `~` stands for all of both".to_owned()));
        }
        (dag, ALL) => drop(lookup_dag(&app, dag).await?),
        (dag, run) => drop(lookup_run(&app, dag, run).await?),
    }
    Ok(Json(HITLDetailCollection { hitl_details: Vec::new(), total_entries: 0 }))
}

async fn asks_nobody(app: &App, dag_id: &str, run_id: &str, task_id: &str, map: MapIndex) -> ApiError {
    match lookup_instance(app, dag_id, run_id, task_id, map).await {
        Ok(of) => {
            let id = of.key.uuid();
            ApiError::NotFound(format!("Human-in-the-loop detail does not exist for Task Instance with id {id}"))
        }
        Err(error) => error,
    }
}

/// Get Hitl Detail
#[utoipa::path(
    get,
    path = "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/{map_index}/hitlDetails",
    operation_id = "get_hitl_detail", tag = "Task Instance",
    params(AskingPath),
    responses((status = 200, description = "Successful Response", body = HITLDetail), Errors<404>),
    security(("token" = [Right::Read]))
)]
pub async fn one(State(app): State<App>, path: AskingPath) -> ApiError {
    asks_nobody(&app, &path.dag_id, &path.dag_run_id, &path.task_id, path.map_index).await
}

/// Update Hitl Detail
///
/// Not yet.
#[utoipa::path(
    patch,
    path = "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/{map_index}/hitlDetails",
    operation_id = "update_hitl_detail", tag = "Task Instance",
    params(AskingPath),
    request_body = UpdateHITLDetailPayload,
    responses((status = 200, description = "Successful Response", body = HITLDetailResponse), Errors<404, 409, 501>),
    security(("token" = [Right::ChangeDags]))
)]
pub async fn answer_it(State(app): State<App>, path: AskingPath, _: UpdateHITLDetailPayload) -> ApiError {
    match lookup_instance(&app, &path.dag_id, &path.dag_run_id, &path.task_id, path.map_index).await {
        Ok(_) => ApiError::NotThere(NOBODY_ASKS.into()),
        Err(error) => error,
    }
}

/// Get Hitl Detail Try Detail
#[utoipa::path(
    get,
    path = "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/{map_index}/hitlDetails/tries/{try_number}",
    operation_id = "get_hitl_detail_try_detail", tag = "Task Instance",
    params(AskingTryPath),
    responses((status = 200, description = "Successful Response", body = HITLDetail), Errors<404>),
    security(("token" = [Right::Read]))
)]
pub async fn of_try(State(app): State<App>, path: AskingTryPath) -> ApiError {
    asks_nobody(&app, &path.dag_id, &path.dag_run_id, &path.task_id, path.map_index).await
}
