//! `windlass dags …`: Airflow's words for the DAGs of an installation and for the files of a folder.

use std::{collections::BTreeMap, path::PathBuf, process::ExitCode};

use anyhow::{Context, bail};
use clap::Subcommand;
use daemon::folder::Folder;
use model::{
    DagId, DagRunState, RunId, TriggeredBy,
    command::{Command, Paused, TriggerDagRun},
};
use serde_json::{Map, Value};
use store::read;

use super::watch::Watch;
use crate::{access::Access, settings::Settings, text};

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Dags {
    /// One line a DAG.
    List,
    /// Check every DAG file of the folder, without starting anything.
    Check {
        /// The folder; WINDLASS_DAGS_FOLDER when absent.
        folder: Option<PathBuf>,
    },
    /// Print the canonical form of a DAG of the folder: what its version's hash is taken of.
    Show {
        /// The DAG.
        dag_id: DagId,
    },
    /// Print the JSON Schema of DAG files.
    Schema,
    /// Let its runs begin.
    Unpause {
        /// The DAG.
        dag_id: DagId,
    },
    /// Hold its runs back.
    Pause {
        /// The DAG.
        dag_id: DagId,
    },
    /// Start a run.
    Trigger {
        /// The DAG.
        dag_id: DagId,
        /// Values for its params, a JSON object.
        #[arg(long, short)]
        conf: Option<String>,
        /// The run's id; made from its type and the time when absent.
        #[arg(long)]
        run_id: Option<RunId>,
        /// Follow it to its end; the status is 0 when it succeeds.
        #[arg(long)]
        wait: bool,
    },
}

/// Carries one out.
///
/// # Errors
/// What went wrong, in words for people.
pub async fn run(settings: &Settings, command: Dags) -> anyhow::Result<ExitCode> {
    match command {
        Dags::Check { folder } => Ok(check(&folder.unwrap_or_else(|| settings.dags_folder.clone()))),
        Dags::Show { dag_id } => show(settings, &dag_id),
        Dags::Schema => {
            println!("{}", serde_json::to_string_pretty(&dag::json_schema())?);
            Ok(ExitCode::SUCCESS)
        }
        command => {
            let access = Access::open(settings).await?;
            let done = with_store(&access, command).await;
            access.close().await;
            done
        }
    }
}

async fn with_store(access: &Access, command: Dags) -> anyhow::Result<ExitCode> {
    match command {
        Dags::List => list(access).await?,
        Dags::Unpause { dag_id } => pause(access, dag_id, Paused::Active).await?,
        Dags::Pause { dag_id } => pause(access, dag_id, Paused::Paused).await?,
        Dags::Trigger { dag_id, conf, run_id, wait } => {
            let run_id = trigger(access, &dag_id, conf.as_deref(), run_id).await?;
            println!("{dag_id}: run {run_id} is queued");
            if wait {
                let state = Watch::new(access.pool().await?, &dag_id, &run_id).follow().await?;
                return Ok(if state == DagRunState::Success { ExitCode::SUCCESS } else { ExitCode::FAILURE });
            }
        }
        Dags::Check { .. } | Dags::Show { .. } | Dags::Schema => {}
    }
    Ok(ExitCode::SUCCESS)
}

fn check(folder: &std::path::Path) -> ExitCode {
    let found = Folder::new(folder).look();
    let mut errors = 0;
    for (name, file) in &found.changed {
        for compiled in &file.dags {
            println!("{name}: {} is well: {} tasks", compiled.dag.dag_id, compiled.dag.tasks.len());
        }
        for error in &file.errors {
            errors += 1;
            println!("{error}");
        }
    }
    if found.changed.is_empty() {
        println!("{} has no DAG file (*.yaml, *.yml)", folder.display());
    }
    if errors == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn show(settings: &Settings, dag_id: &DagId) -> anyhow::Result<ExitCode> {
    let found = Folder::new(&settings.dags_folder).look();
    let compiled = found.changed.values().flat_map(|file| &file.dags).find(|compiled| compiled.dag.dag_id == *dag_id);
    let compiled = compiled.with_context(|| format!("{} defines no DAG {dag_id}", settings.dags_folder.display()))?;
    print!("{}", compiled.canonical_yaml);
    Ok(ExitCode::SUCCESS)
}

async fn list(access: &Access) -> anyhow::Result<()> {
    let dags = read::dags(access.pool().await?).await?;
    let ids: Vec<_> = dags.iter().map(|dag| dag.dag_id.clone()).collect();
    let latest: BTreeMap<_, _> =
        read::latest_runs(access.pool().await?, &ids).await?.into_iter().map(|run| (run.dag_id, run.state)).collect();
    let rows: Vec<Vec<String>> = dags
        .iter()
        .map(|dag| {
            vec![
                dag.dag_id.to_string(),
                dag.fileloc.clone(),
                if dag.is_paused { "yes" } else { "no" }.to_owned(),
                dag.next.map_or_else(String::new, |next| next.run_after.to_rfc3339()),
                latest.get(&dag.dag_id).map_or_else(String::new, ToString::to_string),
            ]
        })
        .collect();
    print!("{}", text::table(&["dag_id", "file", "paused", "next run", "last run"], &rows));
    Ok(())
}

async fn pause(access: &Access, dag_id: DagId, to: Paused) -> anyhow::Result<()> {
    let word = match to {
        Paused::Paused => "paused",
        Paused::Active => "active",
    };
    access.command(Command::PauseDag { dag_id: dag_id.clone(), to }).await?;
    println!("{dag_id} is {word}");
    Ok(())
}

async fn trigger(access: &Access, dag_id: &DagId, conf: Option<&str>, run_id: Option<RunId>) -> anyhow::Result<RunId> {
    let conf = checked_conf(access, dag_id, conf).await?;
    let by_hand = TriggerDagRun::by_hand(dag_id.clone(), TriggeredBy::Cli);
    let command = Command::TriggerDagRun(TriggerDagRun { run_id, conf, ..by_hand });
    let body = access.command(command).await?;
    let run_id = body["run_id"].as_str().context("the leader's answer names no run")?;
    Ok(RunId::new(run_id)?)
}

async fn checked_conf(access: &Access, dag_id: &DagId, conf: Option<&str>) -> anyhow::Result<Map<String, Value>> {
    let conf = match conf.map(serde_json::from_str).transpose().context("--conf is not JSON")? {
        None => Map::new(),
        Some(Value::Object(conf)) => conf,
        Some(_) => bail!("--conf is not a JSON object, such as {{\"full_refresh\": true}}"),
    };
    let pool = access.pool().await?;
    let known = read::dag(pool, dag_id).await?.with_context(|| format!("there is no DAG {dag_id}"))?;
    let version = read::version(pool, known.current).await?.context("the DAG's version is gone")?;
    version.dag.validate_conf(&conf).map_err(|problems| anyhow::anyhow!("--conf: {}", problems.join("; ")))?;
    Ok(conf)
}
