//! Questions that tasks ask people (Airflow's human in the loop): list, read, answer.

use axum::{Extension, Json, extract::State};
use model::{MapIndex, operator::HitlUser};
use serde_json::{Map, Value};
use store::read::{self, Pattern, QuestionFilter, QuestionOrder, QuestionView, Range};
use utoipa::openapi::{
    RefOr,
    schema::{ArrayBuilder, Schema},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    body::Body,
    declare::{
        At, Errors, Member, OrderBy, OrderKey, Prefix, answer, body, path_params, query_params, schema,
        words::StateFilter,
    },
    instance_answer::{TaskInstanceHistoryResponse, TaskInstanceResponse},
    instances::{Scope, scope},
    query::Page,
};
use crate::{
    app::App,
    auth::{Principal, rights::Right},
    changes::questions::{self as changes, Given},
    error::{ApiError, ApiResult},
    reads::{instances::TaskOfRun, lookup::lookup_instance, questions},
};

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
        try_number: u32,
    }
}

impl OrderKey for QuestionOrder {
    const KEYS: &'static [(&'static str, Self)] = &[
        ("ti_id", Self::Instance),
        ("subject", Self::Subject),
        ("responded_at", Self::RespondedAt),
        ("created_at", Self::CreatedAt),
        ("responded_by_user_id", Self::RespondedById),
        ("responded_by_user_name", Self::RespondedByName),
        ("dag_id", Self::DagId),
        ("run_id", Self::RunId),
        ("task_id", Self::TaskId),
        ("task_display_name", Self::TaskId),
        ("run_after", Self::RunAfter),
        ("rendered_map_index", Self::MapIndex),
        ("task_instance_operator", Self::TaskId),
        ("task_instance_state", Self::State),
    ];
    const DEFAULT: &'static str = "ti_id";
}

query_params! {
    /// Which questions a list has.
    pub struct QuestionsQuery {
        page: Page,
        order_by: OrderBy<QuestionOrder>,
        dag_id_pattern: Pattern,
        dag_id_prefix_pattern: Prefix,
        task_id: Option<String>,
        task_id_pattern: Pattern,
        task_id_prefix_pattern: Prefix,
        map_index: Option<i64>,
        state: Vec<StateFilter>,
        response_received: Option<bool>,
        responded_by_user_id: Vec<String>,
        responded_by_user_name: Vec<String>,
        subject_search: Option<String>,
        body_search: Option<String>,
        created_at: Range,
    }
}

body! {
    /// An answer to a question.
    pub struct UpdateHITLDetailPayload {
        chosen_options: ChosenOptions,
        params_input: Map<String, Value>,
    }
}

/// What was chosen: at least one of the options.
pub struct ChosenOptions(Vec<String>);

impl Member for ChosenOptions {
    const REQUIRED: bool = true;

    fn read(body: &mut Body, name: &str) -> Self {
        if !body.has(name) {
            body.missing(name);
            return Self(Vec::new());
        }
        let chosen = body.texts(name);
        if chosen.is_empty() {
            body.wrong(name, "too_short", "List should have at least 1 item after validation", Value::Null);
        }
        Self(chosen)
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
        total_entries: i64,
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
    /// A question that a try of a task has asked.
    pub struct HITLDetailHistory {
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
        task_instance: TaskInstanceHistoryResponse,
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

impl From<HitlUser> for HITLUser {
    fn from(user: HitlUser) -> Self {
        Self { id: user.id, name: user.name }
    }
}

impl HITLDetail {
    fn of(question: QuestionView, of: &TaskOfRun) -> Self {
        let (response_received, given) = (question.response.is_some(), question.response);
        Self {
            options: question.options,
            subject: question.subject,
            body: question.body,
            defaults: (!question.defaults.is_empty()).then_some(question.defaults),
            multiple: question.multiple,
            params: question.params,
            assigned_users: question.assigned_users.into_iter().map(HITLUser::from).collect(),
            created_at: At(question.created_at),
            responded_by_user: given.as_ref().and_then(|given| given.user.clone()).map(HITLUser::from),
            responded_at: given.as_ref().map(|given| At(given.at)),
            chosen_options: given.as_ref().map(|given| given.chosen_options.clone()),
            params_input: given.map(|given| given.params_input).unwrap_or_default(),
            response_received,
            task_instance: TaskInstanceResponse::of(of),
        }
    }
}

impl HITLDetailHistory {
    fn of(question: QuestionView, of: &TaskOfRun, task_instance: TaskInstanceHistoryResponse) -> Self {
        let one = HITLDetail::of(question, of);
        Self {
            options: one.options,
            subject: one.subject,
            body: one.body,
            defaults: one.defaults,
            multiple: one.multiple,
            params: one.params,
            assigned_users: one.assigned_users,
            created_at: one.created_at,
            responded_by_user: one.responded_by_user,
            responded_at: one.responded_at,
            chosen_options: one.chosen_options,
            params_input: one.params_input,
            response_received: one.response_received,
            task_instance,
        }
    }
}

/// Get Hitl Details
#[utoipa::path(
    get, path = "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/hitlDetails", operation_id = "get_hitl_details",
    tag = "Task Instance",
    params(AskingRunPath, QuestionsQuery),
    responses((status = 200, description = "Successful Response", body = HITLDetailCollection), Errors<404>),
    security(("token" = [Right::Read]))
)]
pub async fn list(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    path: AskingRunPath,
    query: QuestionsQuery,
) -> ApiResult<Json<HITLDetailCollection>> {
    let (run, dag_id) = match scope(&app, &path.dag_id, &path.dag_run_id).await? {
        Scope::Run(run) => (Some(run.key), None),
        Scope::Runs(mut dag_ids) => (None, dag_ids.pop()),
    };
    let filter = QuestionFilter {
        visible: who.visible(),
        run,
        dag_id,
        dag_pattern: query.dag_id_pattern,
        dag_prefix: query.dag_id_prefix_pattern.0,
        task_id: query.task_id,
        task_pattern: query.task_id_pattern,
        task_prefix: query.task_id_prefix_pattern.0,
        map_index: query.map_index,
        states: query.state.into_iter().map(|state| state.0).collect(),
        is_answered: query.response_received,
        responded_by_ids: query.responded_by_user_id,
        responded_by_names: query.responded_by_user_name,
        subject: query.subject_search,
        body: query.body_search,
        created_at: query.created_at,
        order: query.order_by.0,
        window: query.page.window(),
    };
    let (found, total) = questions::listed(&app, &filter).await?;
    let hitl_details = found.into_iter().map(|(question, of)| HITLDetail::of(question, &of)).collect();
    Ok(Json(HITLDetailCollection { hitl_details, total_entries: total.number() }))
}

fn asks_nothing(of: &TaskOfRun) -> ApiError {
    let id = of.key.uuid();
    ApiError::NotFound(format!("Human-in-the-loop detail does not exist for Task Instance with id {id}"))
}

impl AskingPath {
    async fn instance(&self, app: &App) -> ApiResult<TaskOfRun> {
        lookup_instance(app, &self.dag_id, &self.dag_run_id, &self.task_id, self.map_index).await
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
pub async fn one(State(app): State<App>, path: AskingPath) -> ApiResult<Json<HITLDetail>> {
    let of = path.instance(&app).await?;
    let question = questions::current(&app, &of).await?.ok_or_else(|| asks_nothing(&of))?;
    Ok(Json(HITLDetail::of(question, &of)))
}

/// Update Hitl Detail
///
/// Answers the question: what awaits it goes on.
#[utoipa::path(
    patch,
    path = "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/{map_index}/hitlDetails",
    operation_id = "update_hitl_detail", tag = "Task Instance",
    params(AskingPath),
    request_body = UpdateHITLDetailPayload,
    responses((status = 200, description = "Successful Response", body = HITLDetailResponse), Errors<404, 409>),
    security(("token" = [Right::ChangeDags]))
)]
pub async fn answer_it(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    path: AskingPath,
    body: UpdateHITLDetailPayload,
) -> ApiResult<Json<HITLDetailResponse>> {
    let of = path.instance(&app).await?;
    let given = Given { chosen_options: body.chosen_options.0, params_input: body.params_input };
    changes::answer(&app, &of, given, &who).await?;
    let question = questions::current(&app, &of).await?.ok_or_else(|| asks_nothing(&of))?;
    let response = question.response.ok_or(ApiError::Undecided)?;
    Ok(Json(HITLDetailResponse {
        responded_by: response.user.unwrap_or_else(|| HitlUser::named(who.name)).into(),
        responded_at: At(response.at),
        chosen_options: response.chosen_options,
        params_input: response.params_input,
    }))
}

/// Get Hitl Detail Try Detail
#[utoipa::path(
    get,
    path = "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/{map_index}/hitlDetails/tries/{try_number}",
    operation_id = "get_hitl_detail_try_detail", tag = "Task Instance",
    params(AskingTryPath),
    responses((status = 200, description = "Successful Response", body = HITLDetailHistory), Errors<404>),
    security(("token" = [Right::Read]))
)]
pub async fn of_try(State(app): State<App>, path: AskingTryPath) -> ApiResult<Json<HITLDetailHistory>> {
    let of = lookup_instance(&app, &path.dag_id, &path.dag_run_id, &path.task_id, path.map_index).await?;
    let is_meant = |number: i16| u32::try_from(number).is_ok_and(|number| number == path.try_number);
    let all = read::questions_of(&app.pool, of.key).await?;
    let question =
        all.into_iter().find(|question| is_meant(question.try_number.get())).ok_or_else(|| asks_nothing(&of))?;
    let past = read::tries(&app.pool, of.key).await?;
    let task_instance = match past.iter().rfind(|past| is_meant(past.try_number.get())) {
        Some(past) => TaskInstanceHistoryResponse::superseded(&of, past),
        None => TaskInstanceHistoryResponse::current(&of),
    };
    Ok(Json(HITLDetailHistory::of(question, &of, task_instance)))
}
