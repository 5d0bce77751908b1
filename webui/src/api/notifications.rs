//! What was told to the outside by callbacks, and by when runs have to have succeeded. Airflow keeps the first nowhere, and tells of
//! the second by the private interface of its pages.

use axum::{Extension, Json, extract::State};
use model::{DagId, NotificationState, RunId};
use store::notifications::{self, DeadlineView, Filter, View};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    declare::{
        At, Errors, answer, path_params, query_params,
        words::{NotificationEvent, NotificationStateWord},
    },
    lookup_run,
    query::Page,
};
use crate::{
    app::App,
    auth::{Principal, rights::Right},
    error::ApiResult,
};

/// The operations.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(deadlines))
}

query_params! {
    /// Which notifications a list has.
    pub struct NotificationFilter {
        page: Page,
        dag_id: Option<String>,
        dag_run_id: Option<String>,
        state: Option<NotificationState>,
    }
}

path_params! {
    /// The run whose deadlines are meant.
    pub struct DeadlinesPath {
        dag_id: String,
        dag_run_id: String,
    }
}

query_params! {
    /// Which part of the list is meant.
    pub struct DeadlineFilter {
        page: Page,
    }
}

answer! {
    /// A notification: one callback of one event.
    pub struct NotificationResponse {
        /// Its id, which a webhook carries as Idempotency-Key.
        notification_id: String,
        dag_id: String,
        dag_run_id: String,
        /// The task; none of a run's event.
        task_id: Option<String>,
        map_index: i32,
        try_number: i16,
        event: NotificationEvent,
        /// webhook, slack, email, command or python.
        kind: String,
        reason: Option<String>,
        happened_at: At,
        state: NotificationStateWord,
        /// How often it was tried.
        attempts: i16,
        /// When it is tried next, while it waits.
        next_attempt_at: Option<At>,
        ended_at: Option<At>,
        /// What was said of the last try.
        detail: Option<String>,
    }
}

answer! {
    /// A part of the list of notifications.
    pub struct NotificationCollectionResponse {
        notifications: Vec<NotificationResponse>,
        total_entries: i64,
    }
}

answer! {
    /// By when a run has to have succeeded.
    pub struct DeadlineResponse {
        id: String,
        dag_id: String,
        dag_run_id: String,
        alert_name: Option<String>,
        deadline_time: At,
        missed: bool,
        created_at: At,
    }
}

answer! {
    /// The deadlines of a run.
    pub struct DeadlineCollectionResponse {
        deadlines: Vec<DeadlineResponse>,
        total_entries: i64,
    }
}

/// Get Notifications
///
/// The newest first. They are kept for 30 days after they were sent or given up.
#[utoipa::path(
    get, path = "/api/v2/notifications", operation_id = "get_notifications", tag = "Notification",
    params(NotificationFilter),
    responses((status = 200, description = "Successful Response", body = NotificationCollectionResponse), Errors),
    security(("token" = [Right::Read]))
)]
pub async fn list(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    asked: NotificationFilter,
) -> ApiResult<Json<NotificationCollectionResponse>> {
    let dags = asked.dag_id.map(DagId::new).transpose();
    let run = asked.dag_run_id.map(RunId::new).transpose();
    // No DAG and no run has an id that can not be one.
    let (Ok(dag), Ok(run)) = (dags, run) else {
        return Ok(Json(NotificationCollectionResponse { notifications: Vec::new(), total_entries: 0 }));
    };
    let filter = Filter {
        dag,
        visible: who.visible(),
        states: asked.state.into_iter().collect(),
        run,
        offset: asked.page.offset,
        limit: asked.page.limit,
    };
    let found = notifications::list(&app.pool, &filter).await?;
    let total_entries = notifications::count(&app.pool, &filter).await?.number();
    Ok(Json(NotificationCollectionResponse { notifications: found.into_iter().map(shape).collect(), total_entries }))
}

fn shape(view: View) -> NotificationResponse {
    let is_of_run = view.event.is_of_run();
    NotificationResponse {
        notification_id: view.id.to_string(),
        dag_id: view.dag_id,
        dag_run_id: view.run_id,
        task_id: view.task_id,
        map_index: if is_of_run { -1 } else { view.map_index.get() },
        try_number: if is_of_run { 0 } else { view.try_number },
        event: NotificationEvent(view.event),
        kind: view.kind,
        reason: view.reason,
        happened_at: view.at.into(),
        state: NotificationStateWord(view.state),
        attempts: view.attempts,
        next_attempt_at: (view.state == NotificationState::Waiting).then(|| view.next_attempt_at.into()),
        ended_at: view.ended_at.map(Into::into),
        detail: view.detail,
    }
}

/// Get Deadlines
///
/// Those that are pending and those that were missed; what a run has met goes.
#[utoipa::path(
    get, path = "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/deadlines", operation_id = "get_dag_run_deadlines",
    tag = "Deadlines",
    params(DeadlinesPath, DeadlineFilter),
    responses((status = 200, description = "Successful Response", body = DeadlineCollectionResponse), Errors<404>),
    security(("token" = [Right::Read]))
)]
pub async fn deadlines(
    State(app): State<App>,
    DeadlinesPath { dag_id, dag_run_id }: DeadlinesPath,
    DeadlineFilter { page }: DeadlineFilter,
) -> ApiResult<Json<DeadlineCollectionResponse>> {
    let run = lookup_run(&app, &dag_id, &dag_run_id).await?;
    let filter = Filter {
        dag: Some(run.dag_id),
        run: Some(run.run_id),
        // A DAG has twenty deadlines at most, and a run those of each time that it was queued.
        limit: notifications::LISTED_MAX,
        ..Filter::default()
    };
    let found = notifications::deadlines(&app.pool, &filter).await?;
    let total_entries = i64::try_from(found.len()).unwrap_or(i64::MAX);
    let (offset, limit) = (usize::try_from(page.offset).unwrap_or(0), usize::try_from(page.limit).unwrap_or(0));
    let deadlines = found.into_iter().skip(offset).take(limit).map(deadline).collect();
    Ok(Json(DeadlineCollectionResponse { deadlines, total_entries }))
}

fn deadline(view: DeadlineView) -> DeadlineResponse {
    DeadlineResponse {
        id: view.id.to_string(),
        dag_id: view.dag_id,
        dag_run_id: view.run_id,
        alert_name: view.name,
        deadline_time: view.at.into(),
        missed: view.missed_at.is_some(),
        created_at: view.created_at.into(),
    }
}
