//! Pools: how full each is, who waits for it, and the forms that change them.

use std::collections::BTreeMap;

use axum::{
    Extension,
    extract::State,
    http::HeaderMap,
    response::{IntoResponse, Redirect, Response},
};
use link::query::PoolView;
use model::Pool;
use schemars::JsonSchema;
use serde::Serialize;
use store::read;

use super::{
    Frame, Place,
    error::PageResult,
    forms::{self, Deletion, Field, FormPage, Kind, Pager},
    run_url, segment, show_live as print,
    words::count,
};
use crate::{
    app::App,
    auth::{Principal, form::PageForm},
    changes::{Managed, Mask, pools::Pools},
    error::ApiResult,
    http::query::Query,
    live::{Pace, Subject, Watched},
    reads::pools,
};

const BACK: (&str, &str) = ("/pools", "Pools");
/// What is said before one is deleted.
const DELETION: Deletion = Deletion {
    place: Place::Pools,
    kind: "pool",
    back: BACK,
    consequence: "Tasks that name it wait until there is one of its name again. What runs goes on.",
    action: "/pools/delete",
    member: "name",
};
/// A bar's length, in the units of its drawing.
const BAR_LENGTH: f64 = 200.0;

/// What the page shows.
#[derive(Serialize, JsonSchema)]
pub struct View {
    frame: Frame,
    may_change: bool,
    rows: Vec<Row>,
    pager: Pager,
    missing: Vec<Missing>,
    note: Option<String>,
}

#[derive(Serialize, JsonSchema)]
struct Row {
    name: String,
    description: String,
    slots: String,
    /// How many attempts may start in a span of time.
    rate_limit: Option<String>,
    use_words: String,
    bars: Vec<Bar>,
    waiting: String,
    next: Vec<Waiter>,
    edit_url: String,
    delete_url: Option<String>,
}

/// A part of the bar of a pool.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
struct Bar {
    class: &'static str,
    x: f64,
    width: f64,
}

#[derive(Serialize, JsonSchema)]
struct Waiter {
    label: String,
    url: String,
}

/// A pool that tasks name although it does not exist.
#[derive(Serialize, JsonSchema)]
struct Missing {
    name: String,
    waiting: String,
    create_url: String,
}

/// `GET /pools?page=…`.
pub async fn show(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    headers: HeaderMap,
    query: Query,
) -> PageResult<Response> {
    let (used, note) = match pools::uses(&app).await {
        Ok(used) => (used, None),
        // What is defined is known without a leader; how it is used is not.
        Err(error) => (BTreeMap::new(), Some(error.to_string())),
    };
    let defined = read::pools(&app.pool).await?;
    let number = forms::page_number(&query);
    let pager = Pager::new(i64::try_from(defined.len()).unwrap_or(i64::MAX), number, "/pools?page=");
    let shown = forms::rows_of(number).of(defined);
    let rows = shown.iter().map(|pool| row(pool, used.get(&pool.name), note.is_none())).collect();
    let missing = used.values().filter(|used| !used.exists).map(|used| Missing {
        name: used.name.clone(),
        waiting: count(used.next.len().max(1), "task instance"),
        create_url: format!("/pools/new?name={}", segment(&used.name)),
    });
    let missing = missing.collect();
    let frame = Frame::new(&app, &who, Place::Pools, "Pools").await?;
    let may_change = frame.may_admin;
    let view = View { frame, may_change, rows, pager, missing, note };
    Ok(print(&headers, &view, Watched(Subject::Everything, Pace::Rests))?)
}

fn row(pool: &Pool, used: Option<&PoolView>, is_known: bool) -> Row {
    let idle = PoolView::default();
    let used = used.unwrap_or(&idle);
    let total = pool.slots.map_or_else(|| "no limit".to_owned(), |slots| slots.to_string());
    let parts = [(used.running, "running"), (used.queued, "queued"), (used.deferred, "deferred")];
    let words: Vec<String> =
        parts.iter().filter(|(slots, _)| *slots > 0).map(|(slots, word)| format!("{slots} {word}")).collect();
    let use_words = match (is_known, words.is_empty()) {
        (false, _) => String::new(),
        (true, true) => "idle".to_owned(),
        (true, false) => words.join(", "),
    };
    Row {
        name: pool.name.clone(),
        description: pool.description.clone(),
        bars: bars(pool, used),
        use_words,
        waiting: if used.scheduled > 0 {
            format!("{} wanted", count(used.scheduled as usize, "slot"))
        } else {
            String::new()
        },
        next: used.next.iter().map(waiter).collect(),
        edit_url: format!("/pools/edit?name={}", segment(&pool.name)),
        delete_url: (pool.name != Pool::DEFAULT).then(|| format!("/pools/delete?name={}", segment(&pool.name))),
        slots: total,
        rate_limit: pool.rate_limit.map(|limit| limit.to_string()),
    }
}

fn waiter(one: &link::query::PoolWaiter) -> Waiter {
    Waiter {
        label: format!("{} · {}", one.dag_id, one.task_id),
        url: format!("{}?task={}", run_url(&one.dag_id, &one.run_id), segment(one.task_id.as_str())),
    }
}

/// The bar of a pool: what is taken, side by side, of the whole. A pool without a limit has none.
fn bars(pool: &Pool, used: &PoolView) -> Vec<Bar> {
    let Some(slots) = pool.slots.filter(|slots| *slots > 0) else { return Vec::new() };
    let deferred = if pool.include_deferred { used.deferred } else { 0 };
    let mut x = 0.0;
    let parts = [("running", used.running), ("queued", used.queued), ("deferred", deferred)];
    let mut found = Vec::new();
    for (class, taken) in parts.into_iter().filter(|(_, taken)| *taken > 0) {
        // A pool that was made smaller may be more than full for a while.
        let width = (BAR_LENGTH * f64::from(taken) / f64::from(slots)).min(BAR_LENGTH - x);
        found.push(Bar { class, x, width });
        x += width;
    }
    found
}

/// `GET /pools/new?name=…`.
pub async fn new(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    headers: HeaderMap,
    query: Query,
) -> PageResult<Response> {
    new_form(&app, &who, query.text("name").unwrap_or_default()).await?.show(&headers)
}

async fn new_form(app: &App, who: &Principal, name: &str) -> ApiResult<FormPage> {
    let empty = Pool {
        name: name.to_owned(),
        slots: Some(1),
        description: String::new(),
        include_deferred: false,
        rate_limit: None,
    };
    Ok(FormPage {
        frame: Frame::new(app, who, Place::Pools, "New pool").await?,
        heading: "New pool".to_owned(),
        back: BACK,
        lead: "A task with pool: NAME takes slots of it while it runs, whatever its DAG.".to_owned(),
        choose: None,
        action: "/pools/new",
        fields: fields(&empty, Kind::Text),
        button: "Create",
        mistake: None,
    })
}

fn fields(pool: &Pool, name: Kind) -> Vec<Field> {
    let slots = pool.slots.map_or_else(|| "-1".to_owned(), |slots| slots.to_string());
    let is_default = pool.name == Pool::DEFAULT;
    let description = if is_default { Kind::Fixed } else { Kind::Text };
    vec![
        Field::new(name, "name", "Name").value(pool.name.clone()),
        Field::new(Kind::Number, "slots", "Slots").value(slots).hint("-1 for no limit"),
        Field::new(Kind::Text, "rate_limit", "Rate limit")
            .value(pool.rate_limit.map_or_else(String::new, |limit| limit.to_string()))
            .hint("how many attempts start in a span of time at most, such as 10/1m; empty for no such limit"),
        Field::new(description, "description", "Description").value(pool.description.clone()),
        Field::new(Kind::Tick, "include_deferred", "Deferred tasks keep their slots").value(if pool.include_deferred {
            "1"
        } else {
            ""
        }),
    ]
}

/// `POST /pools/new`.
pub async fn create(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    headers: HeaderMap,
    form: PageForm,
) -> PageResult<Response> {
    let body = forms::body_of(&form, &["name", "slots", "description", "rate_limit"], &["include_deferred"]);
    match Pools.create_from(&app, &who, body).await {
        Ok(_) => Ok(Redirect::to("/pools").into_response()),
        Err(error) => new_form(&app, &who, form.text("name")).await?.refuse(&headers, &form, error),
    }
}

/// `GET /pools/edit?name=…`.
pub async fn edit(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    headers: HeaderMap,
    query: Query,
) -> PageResult<Response> {
    edit_form(&app, &who, query.text("name").unwrap_or_default()).await?.show(&headers)
}

async fn edit_form(app: &App, who: &Principal, name: &str) -> ApiResult<FormPage> {
    let pool = pools::find(app, name).await?;
    Ok(FormPage {
        frame: Frame::new(app, who, Place::Pools, name).await?,
        heading: name.to_owned(),
        back: BACK,
        lead: "Tasks that wait get new slots at once. Fewer slots end nothing that runs.".to_owned(),
        choose: None,
        action: "/pools/edit",
        fields: fields(&pool, Kind::Fixed),
        button: "Save",
        mistake: None,
    })
}

/// `POST /pools/edit`.
pub async fn update(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    headers: HeaderMap,
    form: PageForm,
) -> PageResult<Response> {
    let body = forms::body_of(&form, &["name", "slots", "description", "rate_limit"], &["include_deferred"]);
    match Pools.update_from(&app, &who, body, &Mask::default()).await {
        Ok(()) => Ok(Redirect::to("/pools").into_response()),
        Err(error) => edit_form(&app, &who, form.text("name")).await?.refuse(&headers, &form, error),
    }
}

/// `GET /pools/delete?name=…`: asks.
pub async fn ask(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    headers: HeaderMap,
    query: Query,
) -> PageResult<Response> {
    let pool = pools::find(&app, query.text("name").unwrap_or_default()).await?;
    DELETION.ask(&app, &who, &headers, pool.name).await
}

/// `POST /pools/delete`.
pub async fn delete(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    form: PageForm,
) -> PageResult<Response> {
    Pools.delete(&app, &who, &form.text("name").to_owned()).await?;
    Ok(Redirect::to("/pools").into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_never_longer_than_its_pool() {
        let pool = Pool {
            name: "p".to_owned(),
            slots: Some(4),
            description: String::new(),
            include_deferred: false,
            rate_limit: None,
        };
        let used = PoolView { running: 3, queued: 5, deferred: 1, ..PoolView::default() };
        let widths: Vec<f64> = bars(&pool, &used).iter().map(|bar| bar.width).collect();
        assert_eq!(widths, [150.0, 50.0]);
        assert!(bars(&Pool { slots: None, ..pool }, &used).is_empty());
    }
}
