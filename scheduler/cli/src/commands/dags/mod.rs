//! `windlass dags …`: Airflow's words for the DAGs of an installation and for the files of a folder.

mod convert;
mod files;
mod list;
mod stage;
mod test;
mod trigger;

use std::{path::PathBuf, process::ExitCode};

use clap::Subcommand;
use model::{
    DagRunState, RunId,
    command::{Command, Paused},
};

use super::{runs, watch::Watch};
use crate::{access::Access, ask::Leader, find, output::Output, settings::Settings};

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Dags {
    /// One line a DAG.
    List(#[command(flatten)] Output),
    /// Check a DAG file, or every one of the folder, without starting anything.
    Check {
        /// A file or a folder; WINDLASS_DAGS_FOLDER when absent.
        path: Option<PathBuf>,
    },
    /// Print the canonical form of a DAG of the folder: what its version's hash is taken of.
    Show {
        /// The DAG, or a file.
        dag_id: String,
    },
    /// Print the JSON Schema of DAG files.
    Schema,
    /// Convert Airflow DAG files in Python, without running them, and say line by line what could not be converted.
    Convert(convert::Convert),
    /// Everything that is known of a DAG.
    Details {
        /// The DAG.
        dag_id: String,
        #[command(flatten)]
        output: Output,
    },
    /// Print when the next run of its schedule starts.
    NextExecution {
        /// The DAG.
        dag_id: String,
    },
    /// What is wrong with the files of a running installation.
    ListImportErrors(#[command(flatten)] Output),
    /// Its runs, newest first; the same as `runs list`.
    ListRuns(runs::List),
    /// Let its runs begin.
    Unpause {
        /// The DAG.
        dag_id: String,
    },
    /// Hold its runs back.
    Pause {
        /// The DAG.
        dag_id: String,
    },
    /// Start a run.
    Trigger(trigger::Trigger),
    /// Delete all of its runs, and the DAG itself when its file is gone.
    Delete {
        /// The DAG.
        dag_id: String,
        /// Do not ask.
        #[arg(long, short)]
        yes: bool,
    },
    /// Run a DAG file in the foreground, with nothing else running: its logs come to the terminal, nothing is kept.
    Test(test::Test),
}

/// Carries one out.
///
/// # Errors
/// What went wrong, in words for people.
pub async fn run(settings: &Settings, command: Dags) -> anyhow::Result<ExitCode> {
    match command {
        Dags::Check { path } => files::check(settings, path.as_deref()),
        Dags::Show { dag_id } => files::show(settings, &dag_id),
        Dags::Schema => {
            println!("{}", serde_json::to_string_pretty(&dag::json_schema())?);
            Ok(ExitCode::SUCCESS)
        }
        Dags::Convert(wish) => convert::run(&wish).await,
        Dags::Test(test) => test::run(settings, test).await,
        command => {
            let access = Access::open(settings).await?;
            let done = with_store(settings, &access, command).await;
            access.close().await;
            done
        }
    }
}

async fn with_store(settings: &Settings, access: &Access, command: Dags) -> anyhow::Result<ExitCode> {
    let pool = access.pool().await?;
    match command {
        Dags::List(output) => list::all(pool, output).await?,
        Dags::Details { dag_id, output } => list::details(pool, &dag_id, output).await?,
        Dags::NextExecution { dag_id } => list::next_execution(pool, &dag_id).await?,
        Dags::ListImportErrors(output) => return list::import_errors(pool, output).await,
        Dags::ListRuns(wish) => runs::list(pool, &wish).await?,
        Dags::Unpause { dag_id } => pause(access, &dag_id, Paused::Active).await?,
        Dags::Pause { dag_id } => pause(access, &dag_id, Paused::Paused).await?,
        Dags::Delete { dag_id, yes } => delete(access, &dag_id, Asked::of(yes)).await?,
        Dags::Trigger(wish) => return trigger(settings, access, wish).await,
        Dags::Check { .. } | Dags::Show { .. } | Dags::Schema | Dags::Convert(_) | Dags::Test(_) => {}
    }
    Ok(ExitCode::SUCCESS)
}

async fn trigger(settings: &Settings, access: &Access, wish: trigger::Trigger) -> anyhow::Result<ExitCode> {
    let waits = wish.wait;
    let (dag_id, run_id) = trigger::start(access, wish).await?;
    println!("{dag_id}: run {run_id} is queued");
    if waits { follow(settings, access, &dag_id, &run_id).await } else { Ok(ExitCode::SUCCESS) }
}

/// Follows a run to its end; the status says whether it succeeded.
///
/// # Errors
/// When PostgreSQL does not answer.
pub async fn follow(
    settings: &Settings,
    access: &Access,
    dag_id: &model::DagId,
    run_id: &RunId,
) -> anyhow::Result<ExitCode> {
    let leader = Leader::find(settings).await?;
    let state = Watch::new(access.pool().await?, &leader, dag_id, run_id).follow().await?;
    Ok(if state == DagRunState::Success { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn pause(access: &Access, dag_id: &str, to: Paused) -> anyhow::Result<()> {
    let dag_id = find::dag(access.pool().await?, dag_id).await?.dag_id;
    let word = match to {
        Paused::Paused => "paused",
        Paused::Active => "active",
    };
    access.command(Command::PauseDag { dag_id: dag_id.clone(), to }).await?;
    println!("{dag_id} is {word}");
    Ok(())
}

/// Whether a deletion has been agreed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Agreed,
    NotYet,
}

impl Asked {
    const fn of(yes: bool) -> Self {
        if yes { Self::Agreed } else { Self::NotYet }
    }
}

async fn delete(access: &Access, dag_id: &str, asked: Asked) -> anyhow::Result<()> {
    let dag = find::dag(access.pool().await?, dag_id).await?;
    if asked == Asked::NotYet {
        anyhow::bail!(
            "this deletes every run of {}, with its logs' places and XComs; repeat it with --yes",
            dag.dag_id
        );
    }
    access.command(Command::DeleteDag { dag_id: dag.dag_id.clone() }).await?;
    if dag.is_stale {
        println!("{} is deleted", dag.dag_id);
    } else {
        println!("the runs of {} are deleted; it stays, because {} defines it", dag.dag_id, dag.fileloc);
    }
    Ok(())
}
