//! The backfills tab: each of a DAG's newest backfills with how far it is, and one of them date by date.

use engine::BackfillRow;
use model::{BackfillId, BackfillOrder};
use schemars::JsonSchema;
use serde::Serialize;
use store::read::{self, BackfillFilter, Direction, Progress};

use super::super::{
    dag_url,
    forms::{Pager, page_number, rows_of},
    run_url,
    state::Badge,
    with_query,
    words::{Clock, Moment, count},
};
use crate::{app::App, error::ApiResult, http::query::Query};

/// So many of a DAG's newest backfills are shown.
const SHOWN_MAX: i64 = 20;
/// A bar's length, in the units of its drawing.
const BAR_LENGTH: f64 = 200.0;

/// The tab.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Backfills {
    rows: Vec<Row>,
    create_url: Option<String>,
    dates: Option<Dates>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Row {
    #[schemars(with = "i64")]
    id: BackfillId,
    url: String,
    from: Moment,
    to: Moment,
    created: Moment,
    who: Option<String>,
    wish: String,
    stand: &'static str,
    class: &'static str,
    bars: Vec<Bar>,
    progress: String,
    /// Where its buttons send to; none when it is over.
    action: Option<String>,
    is_paused: bool,
}

/// A part of the bar of a backfill.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
struct Bar {
    class: &'static str,
    x: f64,
    width: f64,
}

/// A backfill date by date.
#[derive(Debug, Serialize, JsonSchema)]
struct Dates {
    #[schemars(with = "i64")]
    id: BackfillId,
    rows: Vec<DateRow>,
    pager: Pager,
}

#[derive(Debug, Serialize, JsonSchema)]
struct DateRow {
    ordinal: i32,
    date: Moment,
    /// The run and where it is; none when there is none.
    run: Option<(String, String)>,
    badge: Option<Badge>,
    words: String,
}

/// The backfills of a DAG, and the one that the address names.
pub(super) async fn backfills(app: &App, version: &read::Version, query: &Query, clock: Clock) -> ApiResult<Backfills> {
    let dag_id = version.dag.dag_id.clone();
    let url = dag_url(&dag_id);
    let filter = BackfillFilter { dag_id, order: Direction::Descending, offset: 0, limit: SHOWN_MAX };
    let (found, _) = read::backfills(&app.pool, &filter).await?;
    let mut rows = Vec::with_capacity(found.len());
    for backfill in &found {
        let progress = read::backfill_progress(&app.pool, backfill.id).await?;
        rows.push(row(backfill, &progress, &url, clock));
    }
    let chosen = query.text("backfill").and_then(|text| text.parse().ok()).map(BackfillId);
    let chosen = found.iter().find(|backfill| Some(backfill.id) == chosen);
    let dates = match chosen {
        Some(backfill) => Some(dates(app, backfill, query, clock).await?),
        None => None,
    };
    let may_have = engine::backfill::is_periodic(&version.dag.schedule) && version.dag.allows(model::RunType::Backfill);
    Ok(Backfills { rows, create_url: may_have.then(|| format!("{url}/backfill")), dates })
}

fn row(backfill: &BackfillRow, progress: &Progress, url: &str, clock: Clock) -> Row {
    let is_over = backfill.completed_at.is_some();
    let (stand, class) = match (is_over, backfill.is_paused) {
        (true, true) => ("cancelled", "failed"),
        (true, false) => ("completed", "success"),
        (false, true) => ("paused", "none"),
        (false, false) => ("active", "running"),
    };
    let order = match backfill.order {
        BackfillOrder::Forwards => "",
        BackfillOrder::Backwards => ", the last date first",
    };
    let runs = count(usize::try_from(backfill.max_active_runs).unwrap_or(usize::MAX), "run");
    Row {
        id: backfill.id,
        url: with_query(&with_query(url, "tab", "backfills"), "backfill", &backfill.id.to_string()),
        from: clock.stamp(backfill.from_date),
        to: clock.stamp(backfill.to_date),
        created: clock.moment(backfill.created_at),
        who: backfill.triggering_user.clone(),
        wish: format!("{runs} at once, reprocesses {}{order}", backfill.reprocess_behavior),
        stand,
        class,
        bars: bars(backfill, progress),
        progress: words(backfill, progress),
        action: (!is_over).then(|| format!("{url}/backfills/{}", backfill.id)),
        is_paused: backfill.is_paused,
    }
}

/// What came of its dates so far. Of very many the last are counted, the others have ended.
fn words(backfill: &BackfillRow, progress: &Progress) -> String {
    let parts = [
        (progress.success, "success"),
        (progress.failed, "failed"),
        (progress.running, "running"),
        (progress.queued, "queued"),
        (progress.passed, "passed over"),
        (progress.deleted, "deleted"),
    ];
    let parts: Vec<String> =
        parts.iter().filter(|(number, _)| *number > 0).map(|(number, word)| format!("{number} {word}")).collect();
    let seen = count(usize::try_from(backfill.dates_seen).unwrap_or(0), "date");
    let more = if backfill.is_planned || backfill.completed_at.is_some() { "" } else { ", more to come" };
    if parts.is_empty() { format!("{seen}{more}") } else { format!("{seen}{more}: {}", parts.join(", ")) }
}

/// The bar of a backfill: how its dates stand, as parts of all that it will have. While its range is not gone through, the
/// rest is a guess by dates.
fn bars(backfill: &BackfillRow, progress: &Progress) -> Vec<Bar> {
    let seen = f64::from(backfill.dates_seen.max(1));
    let part = if backfill.completed_at.is_some() { 1.0 } else { backfill.part_seen() };
    let ended = i64::from(backfill.dates_seen) - progress.queued - progress.running - progress.failed - progress.passed;
    let parts = [
        ("success", ended),
        ("failed", progress.failed),
        ("skipped", progress.passed),
        ("running", progress.running),
        ("queued", progress.queued),
    ];
    let mut x = 0.0;
    let mut found = Vec::new();
    for (class, number) in parts.into_iter().filter(|(_, number)| *number > 0) {
        #[expect(clippy::cast_precision_loss, reason = "dates of a backfill, below two to the power of 31")]
        let width = (BAR_LENGTH * part * number as f64 / seen).min(BAR_LENGTH - x);
        found.push(Bar { class, x, width });
        x += width;
    }
    found
}

async fn dates(app: &App, backfill: &BackfillRow, query: &Query, clock: Clock) -> ApiResult<Dates> {
    let number = page_number(query);
    let page = rows_of(number);
    let found = read::backfill_dates(&app.pool, backfill.id, page.offset, page.limit).await?;
    let rows = found.into_iter().map(|date| DateRow {
        ordinal: date.ordinal,
        date: clock.stamp(date.logical_date),
        words: match (&date.run, date.reason) {
            (Some((_, state)), _) => state.to_string(),
            (None, Some(reason)) => reason.to_string(),
            (None, None) => "its run was deleted".to_owned(),
        },
        badge: date.run.as_ref().map(|(_, state)| Badge::from(*state)),
        run: date.run.map(|(run, _)| (run.to_string(), run_url(&backfill.dag_id, &run))),
    });
    let url = with_query(&dag_url(&backfill.dag_id), "tab", "backfills");
    let url = with_query(&url, "backfill", &backfill.id.to_string());
    Ok(Dates {
        id: backfill.id,
        rows: rows.collect(),
        pager: Pager::new(i64::from(backfill.dates_seen), number, &format!("{url}&page=")),
    })
}

#[cfg(test)]
mod tests {
    use model::{ReprocessBehavior, Timestamp, command::ClearVersion};

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn half_way() -> BackfillRow {
        BackfillRow {
            id: BackfillId(3),
            dag_id: model::DagId::new("d").unwrap(),
            from_date: at("2026-01-01T00:00:00Z"),
            to_date: at("2026-01-11T00:00:00Z"),
            order: BackfillOrder::Forwards,
            reprocess_behavior: ReprocessBehavior::None,
            version: ClearVersion::Latest,
            max_active_runs: 10,
            conf: serde_json::Map::new(),
            is_paused: false,
            triggering_user: None,
            created_at: at("2026-02-01T00:00:00Z"),
            updated_at: at("2026-02-01T00:00:00Z"),
            completed_at: None,
            cursor: Some((at("2026-01-06T00:00:00Z"), at("2026-01-06T00:00:00Z"))),
            dates_seen: 4,
            runs_made: 4,
            is_planned: false,
        }
    }

    #[test]
    fn a_bar_shows_what_is_done_of_all_that_will_come() {
        let progress = Progress { success: 1, running: 1, queued: 2, ..Progress::default() };
        let widths = |row: &BackfillRow| bars(row, &progress).iter().map(|bar| bar.width).collect::<Vec<_>>();
        assert_eq!(widths(&half_way()), [25.0, 25.0, 50.0]);
        let planned = BackfillRow { is_planned: true, ..half_way() };
        assert_eq!(widths(&planned), [50.0, 50.0, 100.0]);
        let backwards = BackfillRow { order: BackfillOrder::Backwards, ..half_way() };
        assert_eq!(widths(&backwards), [25.0, 25.0, 50.0]);
        assert_eq!(words(&half_way(), &progress), "4 dates, more to come: 1 success, 1 running, 2 queued");
    }
}
