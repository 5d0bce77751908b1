//! Starting a run by hand.

use clap::Args;
use model::{
    DagId, RunId,
    door::{Instant, Note},
};

use crate::installation::{Installation, TriggerWish};

/// Options of `dags trigger`.
#[derive(Debug, Args)]
pub struct Trigger {
    /// The DAG.
    dag_id: String,
    /// Values for its params, a JSON object.
    #[arg(long, short)]
    conf: Option<String>,
    /// The run's id; made from its type and the time when absent.
    #[arg(long, short)]
    run_id: Option<RunId>,
    /// The date that it stands for, such as 2026-11-21 or 2026-11-21T06:00:00Z; now when absent.
    #[arg(long, short = 'l', visible_alias = "exec-date")]
    logical_date: Option<Instant>,
    /// A remark.
    #[arg(long)]
    note: Option<Note>,
    /// Follow it to its end; the status is 0 when it succeeds, 7 when not.
    #[arg(long)]
    pub wait: bool,
}

/// Asks for the run.
///
/// # Errors
/// What is wrong with the request, or that nobody leads.
pub async fn start(installation: &Installation<'_>, wish: Trigger) -> anyhow::Result<(DagId, RunId)> {
    let Trigger { dag_id, conf, run_id, logical_date, note, wait: _ } = wish;
    installation.trigger(TriggerWish { dag_id, run_id, logical_date, note, conf }).await
}
