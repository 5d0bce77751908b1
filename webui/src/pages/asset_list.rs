//! Assets: who writes and reads them, who waits for them, and how DAGs are joined by them.

use axum::{Extension, extract::State, http::HeaderMap, response::Response};
use schemars::JsonSchema;
use serde::Serialize;
use store::read::{self, AssetFacts, AssetFilter, AssetOrder, AssetUse, AssetView, Direction, LINKS_MAX, Pattern};

use super::{
    Frame, Place, Tab,
    error::PageResult,
    forms::{self, Pager},
    lineage,
    picture::Shown,
    runs::literal,
    show_live as print, tabs, with_query,
    words::{Clock, Moment, count},
};
use crate::{
    app::App,
    auth::Principal,
    error::ApiResult,
    http::query::Query,
    live::{Pace, Subject, Watched},
};

/// The tabs: name in the address and word.
const TABS: [(&str, &str); 2] = [("list", "List"), ("lineage", "Lineage")];

/// What the page shows.
#[derive(Serialize, JsonSchema)]
pub struct View {
    frame: Frame,
    tabs: Vec<Tab>,
    search: String,
    content: Content,
}

/// The open tab.
#[derive(Serialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Content {
    List { rows: Vec<Row>, pager: Pager },
    Lineage { picture: Option<Box<Shown>>, links: usize, is_cut: bool },
}

#[derive(Serialize, JsonSchema)]
struct Row {
    name: String,
    uri: Option<String>,
    url: String,
    group: Option<String>,
    last: Option<Moment>,
    written: String,
    read: String,
    awaited: String,
}

/// `GET /assets?tab=…&q=…&page=…`.
pub async fn show(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    headers: HeaderMap,
    query: Query,
) -> PageResult<Response> {
    let tab = query.text("tab").unwrap_or_default();
    let search = query.text("q").unwrap_or_default().trim().to_owned();
    let content = match tab {
        "lineage" => {
            let links = read::asset_links(&app.pool, &who.visible()).await?;
            let is_cut = i64::try_from(links.len()).is_ok_and(|links| links >= LINKS_MAX);
            let picture = lineage::picture(&links, None).map(Box::new);
            Content::Lineage { picture, links: links.len(), is_cut }
        }
        _ => list(&app, &who, &query, &search).await?,
    };
    let view = View {
        frame: Frame::new(&app, &who, Place::Assets, "Assets").await?,
        tabs: tabs("/assets", tab, &TABS),
        search,
        content,
    };
    Ok(print(&headers, &view, Watched(Subject::Everything, Pace::Rests))?)
}

async fn list(app: &App, who: &Principal, query: &Query, search: &str) -> ApiResult<Content> {
    let (visible, number) = (who.visible(), forms::page_number(query));
    let filter = AssetFilter {
        visible: visible.clone(),
        name: Pattern(Some(literal(search)).filter(|text| !text.is_empty()).into_iter().collect()),
        only_active: true,
        order: vec![(AssetOrder::Name, Direction::Ascending)],
        ..AssetFilter::default()
    };
    let (found, total) = read::assets(&app.pool, &filter, forms::rows_of(number).window()).await?;
    let ids: Vec<i64> = found.iter().map(|asset| asset.id).collect();
    let facts = read::asset_facts(&app.pool, &ids, &visible).await?;
    let clock = Clock::of(who);
    let address = if search.is_empty() { "/assets".to_owned() } else { with_query("/assets", "q", search) };
    let rows = found.into_iter().map(|asset| row(asset, &facts, clock)).collect();
    Ok(Content::List { rows, pager: Pager::new(total, number, &with_query(&address, "page", "")) })
}

fn row(asset: AssetView, facts: &AssetFacts, clock: Clock) -> Row {
    let of = |kind| facts.references.iter().filter(|r| r.asset_id == asset.id && r.kind == kind).count();
    let words = |kind, one: &str| Some(of(kind)).filter(|n| *n > 0).map_or_else(String::new, |n| count(n, one));
    Row {
        written: words(AssetUse::Writes, "task"),
        read: words(AssetUse::Reads, "task"),
        awaited: words(AssetUse::Waits, "DAG"),
        last: facts.last_events.get(&asset.id).map(|(_, at)| clock.moment(*at)),
        url: format!("/assets/{}", asset.id),
        uri: (asset.key.uri != asset.key.name).then(|| asset.key.uri.to_string()),
        name: asset.key.name.into_string(),
        group: Some(asset.group).filter(|group| group != dag::assets::GROUP_DEFAULT),
    }
}
