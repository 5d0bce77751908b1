//! Backfills: begun, tried dry, followed, held back and ended.

use anyhow::Context;
use engine::{BackfillRow, backfill};
use model::{
    BackfillId, BackfillOrder, Command, DagId, ReprocessBehavior, Timestamp,
    command::{ClearVersion, CreateBackfill, Paused},
    door::Instant,
};
use serde::Deserialize;
use serde_json::{Value, json};
use store::read::{self, BackfillFilter, DRY_DATES_MAX, Direction};

use super::{
    Here, Installation,
    dags::{conf_object, dag_error, now, parse_conf},
};
use crate::{exit::Failure, find, server::Server};

/// So many of a DAG's newest backfills are listed.
const LISTED_MAX: i64 = 100;

/// A backfill.
#[derive(Debug, Clone, Deserialize)]
pub struct BackfillView {
    /// Its number.
    pub id: i64,
    /// Its DAG.
    pub dag_id: DagId,
    /// The first date that is meant.
    pub from_date: Timestamp,
    /// The last date that is meant.
    pub to_date: Timestamp,
    /// Whether it is held back.
    pub is_paused: bool,
    /// Which runs that there are run again.
    pub reprocess_behavior: ReprocessBehavior,
    /// How many of its runs run at once.
    pub max_active_runs: u32,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was over.
    pub completed_at: Option<Timestamp>,
}

impl From<BackfillRow> for BackfillView {
    fn from(row: BackfillRow) -> Self {
        Self {
            id: row.id.get(),
            dag_id: row.dag_id,
            from_date: row.from_date,
            to_date: row.to_date,
            is_paused: row.is_paused,
            reprocess_behavior: row.reprocess_behavior,
            max_active_runs: row.max_active_runs,
            created_at: row.created_at,
            completed_at: row.completed_at,
        }
    }
}

impl BackfillView {
    /// How it stands, in a word.
    #[must_use]
    pub const fn stand(&self) -> &'static str {
        match (self.completed_at.is_some(), self.is_paused) {
            (true, true) => "cancelled",
            (true, false) => "completed",
            (false, true) => "paused",
            (false, false) => "active",
        }
    }
}

/// How the runs of a backfill stand.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BackfillProgress {
    /// Those that wait.
    pub queued: u64,
    /// Those that are running.
    pub running: u64,
    /// Those that have succeeded.
    pub success: u64,
    /// Those that have failed.
    pub failed: u64,
    /// Dates that need nothing more.
    pub done: u64,
    /// How many dates there will be; a guess while not all of them were looked at.
    pub total: u64,
}

/// A backfill that somebody wants.
pub struct BackfillWish {
    /// Of which DAG.
    pub dag_id: String,
    /// The first date that is meant.
    pub from_date: Instant,
    /// The last date that is meant.
    pub to_date: Instant,
    /// Which date comes first.
    pub order: BackfillOrder,
    /// Which runs that there are run again.
    pub reprocess_behavior: ReprocessBehavior,
    /// How many of its runs run at once.
    pub max_active_runs: u32,
    /// Values for the params of its runs, as they were written.
    pub conf: Option<String>,
    /// Which version runs go on with that run again.
    pub version: ClearVersion,
}

/// What is done with a backfill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// It is held back.
    Pause,
    /// It goes on.
    Unpause,
    /// It ends.
    Cancel,
}

impl Control {
    const fn word(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Unpause => "unpause",
            Self::Cancel => "cancel",
        }
    }
}

impl Installation<'_> {
    /// A DAG's newest backfills, the newest first.
    ///
    /// # Errors
    /// When there is no such DAG.
    pub async fn backfills(&self, dag_id: &str) -> anyhow::Result<Vec<BackfillView>> {
        match self {
            Self::Here(here) => {
                let pool = here.access.pool().await?;
                let dag_id = find::dag(pool, dag_id).await?.dag_id;
                let filter = BackfillFilter { dag_id, order: Direction::Descending, offset: 0, limit: LISTED_MAX };
                Ok(read::backfills(pool, &filter).await?.0.into_iter().map(BackfillView::from).collect())
            }
            Self::Server(server) => {
                let query = [("dag_id", dag_id), ("order_by", "-id")];
                let most = usize::try_from(LISTED_MAX)?;
                match server.first(&["backfills"], "backfills", &query, most).await {
                    Ok(found) => Ok(found),
                    Err(error) => Err(dag_error(server, error, dag_id).await),
                }
            }
        }
    }

    /// A backfill.
    ///
    /// # Errors
    /// When there is none of this number.
    pub async fn backfill(&self, id: i64) -> anyhow::Result<BackfillView> {
        match self {
            Self::Here(here) => Ok(here.backfill(id).await?.into()),
            Self::Server(server) => match server.get(&["backfills", &id.to_string()], &[]).await {
                Err(error) if error.is_missing() => Err(missing(id)),
                found => Ok(found?),
            },
        }
    }

    /// How the runs of a backfill stand.
    ///
    /// # Errors
    /// When the installation does not answer.
    pub async fn backfill_progress(&self, view: &BackfillView) -> anyhow::Result<BackfillProgress> {
        match self {
            Self::Here(here) => {
                let row = here.backfill(view.id).await?;
                let progress = read::backfill_progress(here.access.pool().await?, row.id).await?;
                let count = |number: i64| u64::try_from(number).unwrap_or(0);
                let seen = count(row.dates_seen.into());
                Ok(BackfillProgress {
                    queued: count(progress.queued),
                    running: count(progress.running),
                    success: count(progress.success),
                    failed: count(progress.failed),
                    // Of very many dates the last are counted; those before have ended.
                    done: seen.saturating_sub(count(progress.queued + progress.running)),
                    total: guess(seen, row.part_seen()),
                })
            }
            Self::Server(server) => progress_at(server, view).await,
        }
    }

    /// What a backfill would do: the dates for which it would have a run.
    ///
    /// # Errors
    /// When it makes no sense.
    pub async fn dry_backfill(&self, wish: BackfillWish) -> anyhow::Result<Vec<Timestamp>> {
        #[derive(Deserialize)]
        struct Dry {
            backfills: Vec<Dated>,
        }
        #[derive(Deserialize)]
        struct Dated {
            logical_date: Timestamp,
        }
        let here = match self {
            Self::Here(here) => here,
            Self::Server(server) => {
                return match server.post::<Dry>(&["backfills", "dry_run"], &body_of(&wish)?).await {
                    Ok(dry) => Ok(dry.backfills.into_iter().map(|date| date.logical_date).collect()),
                    Err(error) => Err(dag_error(server, error, &wish.dag_id).await),
                };
            }
        };
        let (dag, command) = here.backfill_command(wish).await?;
        let dates = read::dry_run(here.access.pool().await?, &dag, &command, now()?.get()).await?;
        let dates = dates.ok_or_else(|| {
            Failure::refused(format!("the range has more than {DRY_DATES_MAX} dates, which a dry run does not list"))
        })?;
        Ok(dates.into_iter().filter(|date| date.reason.is_none()).map(|date| date.logical_date).collect())
    }

    /// Begins a backfill.
    ///
    /// # Errors
    /// When it makes no sense, or the DAG has one already.
    pub async fn create_backfill(&self, wish: BackfillWish) -> anyhow::Result<BackfillView> {
        let here = match self {
            Self::Here(here) => here,
            Self::Server(server) => {
                return match server.post(&["backfills"], &body_of(&wish)?).await {
                    Ok(made) => Ok(made),
                    Err(error) => Err(dag_error(server, error, &wish.dag_id).await),
                };
            }
        };
        let (_, command) = here.backfill_command(wish).await?;
        let answer = here.access.command(Command::CreateBackfill(command)).await?;
        self.backfill(answer["backfill_id"].as_i64().context("the leader's answer names no backfill")?).await
    }

    /// Holds a backfill back, lets it go on, or ends it.
    ///
    /// # Errors
    /// When it is over.
    pub async fn control_backfill(&self, id: i64, control: Control) -> anyhow::Result<BackfillView> {
        match self {
            Self::Here(here) => {
                let BackfillRow { dag_id, id: backfill, .. } = here.backfill(id).await?;
                let command = match control {
                    Control::Pause => Command::PauseBackfill { dag_id, backfill, to: Paused::Paused },
                    Control::Unpause => Command::PauseBackfill { dag_id, backfill, to: Paused::Active },
                    Control::Cancel => Command::CancelBackfill { dag_id, backfill },
                };
                here.access.command(command).await?;
                self.backfill(id).await
            }
            Self::Server(server) => match server.put(&["backfills", &id.to_string(), control.word()]).await {
                Err(error) if error.is_missing() => Err(missing(id)),
                done => Ok(done?),
            },
        }
    }
}

impl Here<'_> {
    async fn backfill(&self, id: i64) -> anyhow::Result<BackfillRow> {
        let found = read::backfill(self.access.pool().await?, BackfillId(id)).await?;
        found.ok_or_else(|| missing(id))
    }

    /// The command for a wish, checked, and the DAG.
    async fn backfill_command(&self, wish: BackfillWish) -> anyhow::Result<(std::sync::Arc<dag::Dag>, CreateBackfill)> {
        let pool = self.access.pool().await?;
        let known = find::dag(pool, &wish.dag_id).await?;
        let version = read::version(pool, known.current).await?.context("the DAG's version is gone")?;
        let command = CreateBackfill {
            dag_id: known.dag_id,
            from_date: wish.from_date,
            to_date: wish.to_date,
            order: wish.order,
            reprocess_behavior: wish.reprocess_behavior,
            max_active_runs: wish.max_active_runs,
            conf: parse_conf(&version.dag, wish.conf.as_deref())?,
            version: wish.version,
        };
        backfill::check(&version.dag, &command, now()?.get())
            .map_err(|senseless| Failure::refused(senseless.to_string()))?;
        Ok((version.dag, command))
    }
}

fn missing(id: i64) -> anyhow::Error {
    Failure::missing(format!("there is no backfill {id}; `windlass backfill list DAG` lists those of a DAG"))
}

fn body_of(wish: &BackfillWish) -> anyhow::Result<Value> {
    Ok(json!({
        "dag_id": wish.dag_id,
        "from_date": wish.from_date,
        "to_date": wish.to_date,
        "run_backwards": wish.order == BackfillOrder::Backwards,
        "reprocess_behavior": wish.reprocess_behavior.name(),
        "max_active_runs": wish.max_active_runs,
        "dag_run_conf": conf_object(wish.conf.as_deref())?,
        "run_on_latest_version": wish.version == ClearVersion::Latest,
    }))
}

/// How many dates there will be, when a part of the range has so many.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a guess of a number of dates, which is not negative"
)]
fn guess(seen: u64, part: f64) -> u64 {
    if part > 0.0 { ((seen as f64 / part).round() as u64).max(seen) } else { seen }
}

/// What a server tells of the runs in the range of a backfill: all of type backfill there are counted as its own.
async fn progress_at(server: &Server, view: &BackfillView) -> anyhow::Result<BackfillProgress> {
    #[derive(Deserialize)]
    struct Counted {
        total_entries: u64,
    }
    let (from, to) = (view.from_date.to_rfc3339(), view.to_date.to_rfc3339());
    let mut counts = [0; 4];
    for (count, state) in counts.iter_mut().zip(["queued", "running", "success", "failed"]) {
        let query = [
            ("run_type", "backfill"),
            ("state", state),
            ("logical_date_gte", from.as_str()),
            ("logical_date_lte", to.as_str()),
            ("limit", "1"),
        ];
        let found: Counted = server.get(&["dags", view.dag_id.as_str(), "dagRuns"], &query).await?;
        *count = found.total_entries;
    }
    let [queued, running, success, failed] = counts;
    let (done, total) = (success + failed, queued + running + success + failed);
    Ok(BackfillProgress { queued, running, success, failed, done, total })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_guessed_from_the_part_that_is_known() {
        assert_eq!((guess(50, 0.5), guess(7, 1.0), guess(3, 0.0)), (100, 7, 3));
    }
}
