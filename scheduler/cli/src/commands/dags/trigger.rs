//! Starting a run by hand.

use anyhow::{Context, bail};
use chrono::SubsecRound as _;
use clap::Args;
use model::{
    DagId, RunId, TriggeredBy,
    command::{Command, TriggerDagRun},
    door::{Conf, Instant, Note},
};
use serde_json::Value;
use store::read;

use crate::{access::Access, find};

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
    /// Follow it to its end; the status is 0 when it succeeds.
    #[arg(long)]
    pub wait: bool,
}

/// Asks for the run.
///
/// # Errors
/// What is wrong with the request, or that nobody leads.
pub async fn start(access: &Access, wish: Trigger) -> anyhow::Result<(DagId, RunId)> {
    let pool = access.pool().await?;
    let known = find::dag(pool, &wish.dag_id).await?;
    let version = read::version(pool, known.current).await?.context("the DAG's version is gone")?;
    let conf = parse_conf(&version.dag, wish.conf.as_deref())?;
    let command = TriggerDagRun {
        run_id: wish.run_id,
        logical_date: Some(wish.logical_date.map_or_else(now, Ok)?),
        note: wish.note,
        conf,
        ..TriggerDagRun::by_hand(known.dag_id.clone(), TriggeredBy::Cli)
    };
    let body = access.command(Command::TriggerDagRun(command)).await?;
    let run_id = body["run_id"].as_str().context("the leader's answer names no run")?;
    Ok((known.dag_id, RunId::new(run_id)?))
}

/// The date of a run that is started now.
///
/// # Errors
/// When the clock is set to something that no database holds.
pub fn now() -> anyhow::Result<Instant> {
    Instant::new(chrono::Utc::now().trunc_subsecs(6)).context("the clock of this machine")
}

/// `--conf`, checked against the DAG's params.
///
/// # Errors
/// When it is no JSON object, or a value does not fit.
pub fn parse_conf(dag: &dag::Dag, conf: Option<&str>) -> anyhow::Result<Conf> {
    let conf = match conf.map(serde_json::from_str).transpose().context("--conf is not JSON")? {
        None => Conf::default(),
        Some(Value::Object(conf)) => Conf::new(conf).context("--conf")?,
        Some(_) => bail!("--conf is not a JSON object, such as {{\"full_refresh\": true}}"),
    };
    dag.validate_conf(conf.get()).map_err(|problems| anyhow::anyhow!("--conf: {}", problems.join("; ")))?;
    Ok(conf)
}
