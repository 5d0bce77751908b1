//! What waits for people: the questions of task instances that have no answer yet, and those that were answered last.

use axum::{Extension, extract::State, http::HeaderMap, response::Response};
use model::TaskState;
use schemars::JsonSchema;
use serde::Serialize;
use store::read::{Direction, QuestionFilter, QuestionOrder, QuestionView, Window};

use super::{
    Frame, Place,
    error::PageResult,
    show_live as print, task_url,
    words::{Clock, Moment},
};
use crate::{
    app::App,
    auth::Principal,
    live::{Pace, Subject, Watched},
    reads::{instances::TaskOfRun, questions},
};

/// So many of each kind are shown; the command line and REST have all.
const SHOWN_MAX: i64 = 100;

/// What the page shows.
#[derive(Serialize, JsonSchema)]
pub struct View {
    frame: Frame,
    waiting: Vec<Row>,
    /// How many wait that are not shown.
    more: i64,
    answered: Vec<Row>,
}

/// A question.
#[derive(Serialize, JsonSchema)]
struct Row {
    url: String,
    subject: String,
    dag: String,
    run: String,
    task: String,
    since: Moment,
    options: String,
    /// Who is asked, when not everybody is.
    asked: Option<String>,
    chosen: Option<String>,
    by: Option<String>,
}

/// `GET /approvals`.
pub async fn show(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    headers: HeaderMap,
) -> PageResult<Response> {
    let clock = Clock::of(&who);
    let of = |is_answered| QuestionFilter {
        visible: who.visible(),
        is_answered: Some(is_answered),
        window: Window { limit: SHOWN_MAX, offset: 0 },
        ..QuestionFilter::default()
    };
    let open = QuestionFilter { states: vec![TaskState::AwaitingInput], ..of(false) };
    let over = QuestionFilter { order: vec![(QuestionOrder::RespondedAt, Direction::Descending)], ..of(true) };
    let (waiting, total) = questions::listed(&app, &open).await?;
    let (answered, _) = questions::listed(&app, &over).await?;
    let rows = |found: Vec<(QuestionView, TaskOfRun)>| found.into_iter().map(|one| row(one, clock)).collect();
    let view = View {
        frame: Frame::new(&app, &who, Place::Approvals, "Required actions").await?,
        more: (total.number() - SHOWN_MAX).max(0),
        waiting: rows(waiting),
        answered: rows(answered),
    };
    Ok(print(&headers, &view, Watched(Subject::Everything, Pace::Rests))?)
}

fn row((question, of): (QuestionView, TaskOfRun), clock: Clock) -> Row {
    let names: Vec<&str> = question.assigned_users.iter().map(|user| user.name.as_str()).collect();
    Row {
        url: task_url(&of),
        dag: of.version.dag.display_name().to_owned(),
        run: of.run.run_id.to_string(),
        task: super::run::name(&of),
        since: clock.moment(question.response.as_ref().map_or(question.created_at, |response| response.at)),
        options: question.options.join(", "),
        asked: (!names.is_empty()).then(|| names.join(", ")),
        chosen: question.response.as_ref().map(|response| response.chosen_options.join(", ")),
        by: question.response.and_then(|response| response.user).map(|user| user.name),
        subject: question.subject,
    }
}
