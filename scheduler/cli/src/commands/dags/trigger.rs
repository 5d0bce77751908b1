//! Starting a run by hand.

use anyhow::{Context, bail};
use clap::Args;
use model::{
    DagId, RunId, Timestamp, TriggeredBy,
    command::{Command, TriggerDagRun},
};
use serde_json::{Map, Value};
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
    /// The date that it stands for, such as 2026-11-21 or 2026-11-21T06:00:00Z.
    #[arg(long, short = 'l', visible_alias = "exec-date", value_parser = parse_date)]
    logical_date: Option<Timestamp>,
    /// A remark.
    #[arg(long)]
    note: Option<String>,
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
        logical_date: wish.logical_date,
        note: wish.note,
        conf,
        ..TriggerDagRun::by_hand(known.dag_id.clone(), TriggeredBy::Cli)
    };
    let body = access.command(Command::TriggerDagRun(command)).await?;
    let run_id = body["run_id"].as_str().context("the leader's answer names no run")?;
    Ok((known.dag_id, RunId::new(run_id)?))
}

/// `--conf`, checked against the DAG's params.
///
/// # Errors
/// When it is no JSON object, or a value does not fit.
pub fn parse_conf(dag: &dag::Dag, conf: Option<&str>) -> anyhow::Result<Map<String, Value>> {
    let conf = match conf.map(serde_json::from_str).transpose().context("--conf is not JSON")? {
        None => Map::new(),
        Some(Value::Object(conf)) => conf,
        Some(_) => bail!("--conf is not a JSON object, such as {{\"full_refresh\": true}}"),
    };
    dag.validate_conf(&conf).map_err(|problems| anyhow::anyhow!("--conf: {}", problems.join("; ")))?;
    Ok(conf)
}

/// A date or an instant; without a zone it is UTC.
///
/// # Errors
/// What is expected.
pub fn parse_date(text: &str) -> Result<Timestamp, String> {
    let forms = [text.to_owned(), format!("{text}Z"), format!("{text}T00:00:00Z")];
    forms
        .iter()
        .find_map(|form| form.parse().ok())
        .ok_or_else(|| "expected a date or an instant, such as 2026-11-21 or 2026-11-21T06:00:00Z".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_its_midnight_in_utc() {
        for text in ["2026-11-21", "2026-11-21T00:00:00", "2026-11-21T00:00:00Z", "2026-11-21T01:00:00+01:00"] {
            assert_eq!(parse_date(text).unwrap().to_rfc3339(), "2026-11-21T00:00:00+00:00", "{text}");
        }
        assert!(parse_date("yesterday").is_err());
    }
}
