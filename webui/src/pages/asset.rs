//! An asset: its events with the runs that came of them, who writes and reads it, who waits for it, and what people may say of it.

use std::collections::BTreeMap;

use axum::{
    Extension,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Redirect, Response},
};
use model::{RunType, TriggeredBy, command::TriggerDagRun};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};
use store::read::{
    self, AssetEventView, AssetFacts, AssetUse, AssetView, Direction, EventFilter, EventOrder, EventRun, QueueFilter,
    Visible,
};

use super::{
    Fact, Frame, Place, dag_url,
    error::PageResult,
    forms::{self, Pager},
    lineage,
    picture::Shown,
    run_url, show_live as print,
    state::Badge,
    words::{Clock, Moment},
};
use crate::{
    app::App,
    auth::{Principal, form::PageForm},
    changes::{assets as changes, runs::start},
    error::{ApiError, ApiResult},
    http::query::Query,
    live::{Pace, Subject, Watched},
    reads::{assets::lookup_asset, lookup::lookup_dag},
};

/// Of an event's extra so much is shown.
const EXTRA_CHARS_MAX: usize = 300;

/// What the page shows.
#[derive(Serialize, JsonSchema)]
pub struct View {
    frame: Frame,
    name: String,
    url: String,
    facts: Vec<Fact>,
    extra: Option<String>,
    is_active: bool,
    picture: Option<Box<Shown>>,
    written: Vec<TaskLink>,
    read: Vec<TaskLink>,
    awaited: Vec<Awaited>,
    /// The DAG that makes it, when there is one alone.
    maker: Option<String>,
    events: Vec<Event>,
    pager: Pager,
    typed: String,
    mistake: Option<String>,
}

#[derive(Serialize, JsonSchema)]
struct TaskLink {
    dag_id: String,
    url: String,
    task_id: String,
}

/// A DAG that waits for the asset.
#[derive(Serialize, JsonSchema)]
struct Awaited {
    dag_id: String,
    url: String,
    /// Since when an event waits for it.
    queued: Option<Moment>,
}

#[derive(Serialize, JsonSchema)]
struct Event {
    id: i64,
    at: Moment,
    /// What has changed it, and where it leads.
    source: String,
    source_url: Option<String>,
    extra: Option<String>,
    runs: Vec<Run>,
}

#[derive(Serialize, JsonSchema)]
struct Run {
    badge: Badge,
    dag_id: String,
    url: String,
    run_id: String,
}

/// `GET /assets/{asset_id}?page=…`.
pub async fn show(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    Path(asset_id): Path<String>,
    headers: HeaderMap,
    query: Query,
) -> PageResult<Response> {
    let asset = lookup(&app, &who, &asset_id).await?;
    let view = view(&app, &who, asset, forms::page_number(&query)).await?;
    Ok(print(&headers, &view, Watched(Subject::Everything, Pace::Rests))?)
}

async fn lookup(app: &App, who: &Principal, asset_id: &str) -> ApiResult<AssetView> {
    let id = asset_id.parse().map_err(|_| ApiError::NotFound(format!("There is no asset {asset_id}")))?;
    lookup_asset(app, id, &who.visible()).await
}

async fn view(app: &App, who: &Principal, asset: AssetView, number: i64) -> ApiResult<View> {
    let (visible, clock) = (who.visible(), Clock::of(who));
    let facts = read::asset_facts(&app.pool, &[asset.id], &visible).await?;
    let wanted = EventFilter {
        asset_id: Some(asset.id),
        order: vec![(EventOrder::Timestamp, Direction::Descending)],
        ..EventFilter::default()
    };
    let (events, total) = read::asset_events(&app.pool, &wanted, forms::rows_of(number).window()).await?;
    let ids: Vec<i64> = events.iter().map(|event| event.id).collect();
    let mut runs: BTreeMap<i64, Vec<EventRun>> = BTreeMap::new();
    for run in read::runs_of_events(&app.pool, &ids, &visible).await? {
        runs.entry(run.event_id).or_default().push(run);
    }
    let queue = QueueFilter { asset_id: Some(asset.id), visible: visible.clone(), ..QueueFilter::default() };
    let queued = read::asset_queue(&app.pool, &queue).await?;
    let url = format!("/assets/{}", asset.id);
    Ok(View {
        frame: Frame::new(app, who, Place::Assets, asset.key.name.to_string()).await?,
        picture: neighbours(app, &visible, asset.id).await?.map(Box::new),
        written: tasks(&facts, AssetUse::Writes),
        read: tasks(&facts, AssetUse::Reads),
        awaited: facts
            .references
            .iter()
            .filter(|r| r.kind == AssetUse::Waits)
            .map(|r| Awaited {
                dag_id: r.dag_id.to_string(),
                url: dag_url(&r.dag_id),
                queued: queued.iter().find(|q| q.dag_id == r.dag_id).map(|q| clock.moment(q.created_at)),
            })
            .collect(),
        maker: changes::producer_of(app, asset.id, &visible).await.ok().map(|dag| dag.to_string()),
        events: events.into_iter().map(|event| self::event(event, &mut runs, clock)).collect(),
        pager: Pager::new(total, number, &format!("{url}?page=")),
        facts: head(&asset, &facts, clock),
        extra: asset.extra.as_ref().filter(|extra| !extra.is_empty()).map(pretty),
        is_active: asset.is_active,
        name: asset.key.name.into_string(),
        url,
        typed: String::new(),
        mistake: None,
    })
}

fn head(asset: &AssetView, facts: &AssetFacts, clock: Clock) -> Vec<Fact> {
    let mut head = vec![Fact::new("uri", asset.key.uri.as_str())];
    if asset.group != dag::assets::GROUP_DEFAULT {
        head.push(Fact::new("group", asset.group.clone()));
    }
    let aliases: Vec<&str> = facts.aliases.iter().map(|(_, alias)| alias.name.as_str()).collect();
    if !aliases.is_empty() {
        head.push(Fact::new("written through", aliases.join(", ")));
    }
    match facts.last_events.get(&asset.id) {
        Some((_, at)) => head.push(Fact::at("last change", clock.moment(*at))),
        None => head.push(Fact::new("last change", "none yet")),
    }
    head
}

/// The asset with the DAGs around it, and what these write, read and wait for.
async fn neighbours(app: &App, visible: &Visible, asset_id: i64) -> ApiResult<Option<Shown>> {
    let links = read::asset_links(&app.pool, visible).await?;
    let dags: Vec<_> = links.iter().filter(|link| link.asset_id == asset_id).map(|link| link.dag_id.clone()).collect();
    let near: Vec<_> = links.into_iter().filter(|link| dags.contains(&link.dag_id)).collect();
    Ok(lineage::picture(&near, Some(asset_id)))
}

fn tasks(facts: &AssetFacts, kind: AssetUse) -> Vec<TaskLink> {
    let of_kind = facts.references.iter().filter(|reference| reference.kind == kind);
    of_kind
        .map(|reference| TaskLink {
            dag_id: reference.dag_id.to_string(),
            url: dag_url(&reference.dag_id),
            task_id: reference.task_id.clone(),
        })
        .collect()
}

fn event(event: AssetEventView, runs: &mut BTreeMap<i64, Vec<EventRun>>, clock: Clock) -> Event {
    let source = |event: &AssetEventView| Some((event.source_dag_id.clone()?, event.source_run_id.clone()?));
    let ids = source(&event).and_then(|(dag, run)| model::DagId::new(dag).ok().zip(model::RunId::new(run).ok()));
    let task = event.source_task_id.as_deref().unwrap_or_default();
    Event {
        id: event.id,
        at: clock.moment(event.at),
        source: match &event.source_dag_id {
            Some(dag) => format!("{dag} · {task}"),
            None if event.extra.contains_key("from_rest_api") => "told by the REST API".to_owned(),
            None => "told by hand".to_owned(),
        },
        source_url: ids.map(|(dag, run)| format!("{}/tasks/{}", run_url(&dag, &run), super::segment(task))),
        extra: (!event.extra.is_empty()).then(|| pretty(&event.extra)),
        runs: runs.remove(&event.id).unwrap_or_default().into_iter().map(run).collect(),
    }
}

fn run(run: EventRun) -> Run {
    Run {
        badge: Badge::from(run.state),
        url: run_url(&run.dag_id, &run.run_id),
        dag_id: run.dag_id.to_string(),
        run_id: run.run_id.to_string(),
    }
}

fn pretty(extra: &Map<String, Value>) -> String {
    let text = serde_json::to_string(extra).unwrap_or_default();
    match text.chars().count() {
        ..=EXTRA_CHARS_MAX => text,
        _ => text.chars().take(EXTRA_CHARS_MAX).chain(['…']).collect(),
    }
}

/// `POST /assets/{asset_id}/{action}`: say that it has changed, or have it made.
pub async fn act(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    Path((asset_id, action)): Path<(String, String)>,
    headers: HeaderMap,
    form: PageForm,
) -> PageResult<Response> {
    let asset = lookup(&app, &who, &asset_id).await?;
    let done = match action.as_str() {
        "event" => tell(&app, &who, &asset, form.text("extra")).await,
        "materialize" => materialize(&app, &who, &asset).await,
        other => Err(ApiError::NotFound(format!("nothing can be done with an asset by the name {other}"))),
    };
    match done {
        Ok(url) => Ok(Redirect::to(&url).into_response()),
        Err(error @ (ApiError::BadRequest(_) | ApiError::Conflict(_) | ApiError::NoLeader(_))) => {
            let again = view(&app, &who, asset, 0).await?;
            let typed = form.text("extra").to_owned();
            let again = View { typed, mistake: Some(error.to_string()), ..again };
            let page = print(&headers, &again, Watched(Subject::Everything, Pace::Rests))?;
            Ok((StatusCode::BAD_REQUEST, page).into_response())
        }
        Err(error) => Err(error.into()),
    }
}

async fn tell(app: &App, who: &Principal, asset: &AssetView, typed: &str) -> ApiResult<String> {
    let text = Some(typed.trim()).filter(|text| !text.is_empty()).unwrap_or("{}");
    let extra: Map<String, Value> = serde_json::from_str(text)
        .map_err(|error| ApiError::BadRequest(format!("extra: a JSON object is expected: {error}")))?;
    changes::tell(app, asset.key.clone(), extra, who).await?;
    Ok(format!("/assets/{}", asset.id))
}

async fn materialize(app: &App, who: &Principal, asset: &AssetView) -> ApiResult<String> {
    let dag_id = changes::producer_of(app, asset.id, &who.visible()).await?;
    who.must_change(dag_id.as_str())?;
    let (view, version) = lookup_dag(app, dag_id.as_str()).await?;
    let wish =
        TriggerDagRun { run_type: RunType::AssetMaterialization, ..TriggerDagRun::by_hand(dag_id, TriggeredBy::Ui) };
    let run = start(app, &view, &version, wish, who).await?;
    Ok(run_url(&run.dag_id, &run.run_id))
}
