//! A task instance's page: its state and why, the log of every try, and a tab each for its rendered fields, its XComs
//! and its details.

mod details;
mod mark;
mod question;

use std::{collections::BTreeSet, sync::Arc};

use axum::{
    Extension,
    extract::{Path, State},
    http::HeaderMap,
    response::{IntoResponse as _, Redirect, Response},
};
use dag::TaskPos;
use link::query::Query as Ask;
use model::{MapIndex, TaskState};
use schemars::JsonSchema;
use serde::Serialize;
use store::read::{self, Try};

use super::{
    Fact, Frame, Place, Tab, dag_url,
    error::PageResult,
    run_log::{self, Pane},
    run_url,
    runs::kind,
    segment, show_live as print,
    state::Badge,
    tabs, task_path, task_url, why, with_query,
    words::{self, Clock, Moment},
};
use crate::{
    app::App,
    auth::Principal,
    error::ApiResult,
    http::query::Query,
    live::{Subject, Watched, is_fragment},
    reads::{
        instances::{self, Found, TaskOfRun},
        lookup::{lookup_instance, lookup_run, parse_task},
    },
};
pub use mark::submit as mark;
pub use question::submit as answer;

/// The tabs: name in the address and word.
const TABS: [(&str, &str); 4] =
    [("log", "Log"), ("rendered", "Rendered fields"), ("xcom", "XCom"), ("details", "Details")];
/// Tasks before or after this one that are named; a task may have thousands.
const NEIGHBOURS_MAX: usize = 200;
/// Of each XCom so much is shown; an attempt may leave 64 KiB under a key.
const XCOM_CHARS_MAX: i32 = 16 * 1024;

/// What the page shows.
#[derive(Serialize, JsonSchema)]
pub struct View {
    frame: Frame,
    /// What pages call the DAG.
    dag_name: String,
    dag_url: String,
    run_title: String,
    run_url: String,
    /// What its stream is asked for.
    on: String,
    task_id: String,
    /// What pages call the task.
    called: String,
    label: String,
    url: String,
    path: String,
    map_index: i32,
    badge: Badge,
    stand: String,
    is_finished: bool,
    why: Option<String>,
    why_class: &'static str,
    question: Option<question::Asked>,
    facts: Vec<Fact>,
    upstream: Vec<Neighbour>,
    downstream: Vec<Neighbour>,
    before: Option<String>,
    after: Option<String>,
    clear_url: String,
    tries: Vec<TryLink>,
    tabs: Vec<Tab>,
    content: Content,
}

/// A task directly before or after this one.
#[derive(Serialize, JsonSchema)]
struct Neighbour {
    badge: Badge,
    task_id: String,
    url: String,
}

/// One of its tries.
#[derive(Serialize, JsonSchema)]
struct TryLink {
    number: i16,
    badge: Badge,
    url: String,
    chosen: bool,
}

/// The open tab.
#[derive(Serialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Content {
    Log { pane: Box<Pane>, mark: String, address: String },
    Rendered { fields: Vec<(String, String)>, note: Option<String> },
    Xcom { values: Vec<Xcom> },
    Details { settings: Vec<Fact>, tries: Vec<details::TryRow>, doc: Vec<super::markdown::Block> },
}

#[derive(Serialize, JsonSchema)]
struct Xcom {
    key: String,
    text: String,
    cut: Option<String>,
}

/// `GET /dags/{dag_id}/runs/{run_id}/tasks/{task_id}?map_index=…&tab=…&try=…&find=…`.
pub async fn show(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    Path((dag_id, run_id, task_id)): Path<(String, String, String)>,
    headers: HeaderMap,
    query: Query,
) -> PageResult<Response> {
    let clock = Clock::of(&who);
    let map = query.map_index()?;
    if map == MapIndex::UNMAPPED {
        let run = lookup_run(&app, &dag_id, &run_id).await?;
        let url = run_url(&run.dag_id, &run.run_id);
        if let Found::Expanded = instances::find(&app, run, &parse_task(&task_id)?, map).await? {
            // Which of its instances is meant is asked on the run's page.
            return Ok(Redirect::to(&with_query(&url, "unfold", &task_id)).into_response());
        }
    }
    let of = lookup_instance(&app, &dag_id, &run_id, &task_id, map).await?;
    let past = read::tries(&app.pool, of.key).await?;
    let number = query.text("try").and_then(|text| text.parse().ok()).unwrap_or(of.try_number());
    let beside: BTreeSet<TaskPos> = of.task().upstream.iter().chain(&of.task().downstream).copied().collect();
    let siblings = instances::of_tasks(&app, Arc::clone(&of.run), Arc::clone(&of.version), &beside).await?;
    let before_and_after = read::neighbours(&app.pool, &of.run).await?;
    let other = |id: Option<model::RunId>| {
        id.map(|id| format!("{}/tasks/{}", run_url(&of.run.dag_id, &id), segment(of.task().task_id.as_str())))
    };
    let url = task_url(&of);
    let tab = query.text("tab").unwrap_or_default();
    let is_printed = !is_fragment(&headers);
    let look = Look { tab, number, find: query.text("find").unwrap_or_default(), is_printed };
    let run = run_url(&of.run.dag_id, &of.run.run_id);
    let subject = Subject::Run(of.run.dag_id.clone(), of.run.key);
    let watched = Watched(subject, super::run::pace(of.state().is_finished()));
    let shown = View {
        frame: Frame::new(&app, &who, Place::Dags, of.task().display_name().to_owned())
            .await?
            .about(&who, &of.run.dag_id),
        dag_name: of.version.dag.display_name().to_owned(),
        dag_url: dag_url(&of.run.dag_id),
        run_title: format!("{}, {}", kind(of.run.run_type), clock.day(of.run.logical_date.unwrap_or(of.run.run_after))),
        on: watched.0.to_string(),
        task_id: of.task().task_id.to_string(),
        called: of.task().display_name().to_owned(),
        label: super::run::name(&of),
        path: task_path(&of),
        map_index: of.key.map.get(),
        badge: Badge::from(of.state()),
        stand: super::run::task_stand(&of, clock),
        is_finished: of.state().is_finished(),
        why: reason(&app, &of).await,
        why_class: Badge::from(of.state()).class,
        question: question::asked(&app, &of, clock).await?,
        facts: details::facts(&of, clock),
        upstream: neighbours(&siblings, &of.task().upstream),
        downstream: neighbours(&siblings, &of.task().downstream),
        before: other(before_and_after.0),
        after: other(before_and_after.1),
        clear_url: super::run::clear_url(&run, &of),
        tries: try_links(&of, &past, number, &url),
        tabs: tabs(&url, tab, &TABS),
        content: content(&app, look, &of, &past, &who).await?,
        run_url: run,
        url,
    };
    Ok(print(&headers, &shown, watched)?)
}

/// Why it waits, by the leader; how it ended, by what is stored.
async fn reason(app: &App, of: &TaskOfRun) -> Option<String> {
    let stored = of.stored.as_ref().and_then(|stored| stored.row.extra.reason.clone());
    if of.state().is_finished() && stored.is_some() {
        return stored;
    }
    if of.run.state.is_finished() {
        return match of.state() {
            TaskState::UpstreamFailed => Some("It can not run: something before it failed.".to_owned()),
            TaskState::Skipped => Some("It was passed over.".to_owned()),
            TaskState::NoStatus => Some("Its run ended before its turn came.".to_owned()),
            _ => None,
        };
    }
    let question = Ask::WhyTask {
        dag_id: of.run.dag_id.clone(),
        run_id: of.run.run_id.clone(),
        task_id: of.task().task_id.clone(),
        map_index: of.key.map,
    };
    why(app, question).await.0
}

fn neighbours(siblings: &[TaskOfRun], positions: &[dag::TaskPos]) -> Vec<Neighbour> {
    let wanted: BTreeSet<&TaskPos> = positions.iter().collect();
    let of_these = siblings.iter().filter(|of| wanted.contains(&of.pos));
    of_these
        .take(NEIGHBOURS_MAX)
        .map(|of| Neighbour { badge: Badge::from(of.state()), task_id: super::run::name(of), url: task_url(of) })
        .collect()
}

fn try_links(of: &TaskOfRun, past: &[Try], chosen: i16, url: &str) -> Vec<TryLink> {
    let past = past.iter().map(|one| (one.try_number.get(), one.state));
    let current = (of.try_number() > 0).then_some((of.try_number(), of.state()));
    past.filter(|(number, _)| *number != of.try_number())
        .chain(current)
        .map(|(number, state)| TryLink {
            number,
            badge: Badge::from(state),
            url: with_query(url, "try", &number.to_string()),
            chosen: number == chosen,
        })
        .collect()
}

/// Which part of an instance is looked at.
struct Look<'a> {
    tab: &'a str,
    /// The try.
    number: i16,
    /// What is searched in its log.
    find: &'a str,
    /// Whether its log is printed: the live part of the page has none.
    is_printed: bool,
}

async fn content(app: &App, look: Look<'_>, of: &TaskOfRun, past: &[Try], who: &Principal) -> ApiResult<Content> {
    let clock = Clock::of(who);
    let Look { tab, number, find, is_printed } = look;
    Ok(match tab {
        "rendered" => {
            let pane = run_log::pane(app, of, number, "", clock).await?;
            let empty = pane.rendered.is_empty();
            Content::Rendered { note: pane.note.filter(|_| empty && pane.lines.is_empty()), fields: pane.rendered }
        }
        "xcom" => Content::Xcom { values: xcoms(app, of, who).await? },
        "details" => Content::Details {
            settings: details::settings(of),
            tries: details::tries(of, past, clock),
            doc: super::markdown::blocks(of.task().doc_md.as_deref().unwrap_or_default()),
        },
        _ => Content::Log {
            pane: match is_printed {
                true => Box::new(run_log::pane(app, of, number, find, clock).await?),
                false => Box::default(),
            },
            mark: format!("{number}/{}", Badge::from(of.state()).class),
            address: task_url(of),
        },
    })
}

async fn xcoms(app: &App, of: &TaskOfRun, who: &Principal) -> ApiResult<Vec<Xcom>> {
    let found = read::xcoms(&app.pool, of.key, XCOM_CHARS_MAX).await?;
    let shown = |one: read::XcomView| {
        let is_cut = one.chars > XCOM_CHARS_MAX;
        // The beginning of a long value is no JSON any more: it is searched as a text.
        let value = serde_json::from_str::<serde_json::Value>(&one.text).unwrap_or_else(|_| one.text.clone().into());
        let text = match who.may_see(&of.run.dag_id, &one.key, value) {
            serde_json::Value::String(text) if is_cut => text,
            value => serde_json::to_string_pretty(&value).unwrap_or_default(),
        };
        Xcom {
            key: one.key,
            text,
            cut: is_cut.then(|| {
                format!(
                    "The first {} of {} characters.",
                    words::number(i64::from(XCOM_CHARS_MAX)),
                    words::number(i64::from(one.chars))
                )
            }),
        }
    };
    Ok(found.into_iter().map(shown).collect())
}

/// When something began and ended.
#[derive(Debug, Serialize, JsonSchema)]
struct Span {
    queued: Option<Moment>,
    started: Option<Moment>,
    ended: Option<Moment>,
    took: String,
}
