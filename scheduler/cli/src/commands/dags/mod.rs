//! `windlass dags …`: Airflow's words for the DAGs of an installation and for the files of a folder.

mod bundles;
mod check;
mod convert;
mod files;
mod folder_content;
mod list;
mod simulate;
mod stage;
mod test;
mod trigger;

use std::process::ExitCode;

use clap::Subcommand;
use model::{
    DagId, DagRunState, RunId,
    command::{Draining, Paused},
};

use super::{runs, watch::Watch};
use crate::{
    exit::{Exit, Failure},
    installation::Installation,
    output::Output,
    reach::Reach,
    settings::Settings,
};

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Dags {
    /// One line a DAG.
    List(#[command(flatten)] Output),
    /// Check a DAG file, or every one of the folder, without starting anything: mistakes, what may not be meant, the next runs.
    Check(check::Check),
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
    /// Let no further run of it start, while those that are running go on to their end.
    Drain {
        /// The DAG.
        dag_id: String,
    },
    /// Let its runs start again after a drain.
    Undrain {
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
    /// Check a folder of DAG files and push it as one revision of a bundle, which all schedulers and workers see.
    Deploy(bundles::Deploy),
    /// Delete a bundle that was pushed, with all of its revisions; refused while runs of its DAGs are running.
    Undeploy(bundles::Undeploy),
    /// Where DAG files come from: a line a bundle, with the revision in force.
    Bundles(#[command(flatten)] Output),
    /// The revisions of a bundle that are kept, the newest first.
    Revisions(bundles::Revisions),
    /// Bring a revision of a bundle into force again.
    Rollback(bundles::Rollback),
    /// Run a DAG file in the foreground, with nothing else running: its logs come to the terminal, nothing is kept.
    Test(test::Test),
    /// Play a DAG in simulated time with outcomes that a file tells, and say whether all comes as expected.
    Simulate(simulate::Simulate),
}

impl Dags {
    /// Where it can be carried out.
    #[must_use]
    pub const fn reach(&self) -> Reach {
        match self {
            Self::List(_)
            | Self::Check(_)
            | Self::Details { .. }
            | Self::NextExecution { .. }
            | Self::ListImportErrors(_)
            | Self::ListRuns(_)
            | Self::Unpause { .. }
            | Self::Pause { .. }
            | Self::Drain { .. }
            | Self::Undrain { .. }
            | Self::Trigger(_)
            | Self::Delete { .. }
            | Self::Deploy(_)
            | Self::Undeploy(_)
            | Self::Bundles(_)
            | Self::Revisions(_)
            | Self::Rollback(_) => Reach::Anywhere,
            Self::Show { .. } | Self::Schema | Self::Convert(_) | Self::Test(_) | Self::Simulate(_) => Reach::Machine,
        }
    }
}

/// Carries one out.
///
/// # Errors
/// What went wrong, in words for people.
pub async fn run(settings: &Settings, command: Dags) -> anyhow::Result<ExitCode> {
    match command {
        Dags::Check(wish) => check::run(settings, &wish).await,
        Dags::Show { dag_id } => files::show(settings, &dag_id),
        Dags::Schema => {
            outln!("{}", serde_json::to_string_pretty(&dag::json_schema())?);
            Ok(ExitCode::SUCCESS)
        }
        Dags::Convert(wish) => convert::run(&wish).await,
        Dags::Test(test) => test::run(settings, test).await,
        Dags::Simulate(wish) => simulate::run(settings, &wish),
        Dags::Deploy(wish) => bundles::deploy(settings, wish).await,
        command => {
            Installation::with(settings, async |installation| with_installation(installation, command).await).await
        }
    }
}

async fn with_installation(installation: &Installation<'_>, command: Dags) -> anyhow::Result<ExitCode> {
    match command {
        Dags::List(output) => list::all(installation, output).await?,
        Dags::Details { dag_id, output } => list::details(installation, &dag_id, output).await?,
        Dags::NextExecution { dag_id } => list::next_execution(installation, &dag_id).await?,
        Dags::ListImportErrors(output) => return list::import_errors(installation, output).await,
        Dags::ListRuns(wish) => runs::list(installation, &wish).await?,
        Dags::Unpause { dag_id } => pause(installation, &dag_id, Paused::Active).await?,
        Dags::Pause { dag_id } => pause(installation, &dag_id, Paused::Paused).await?,
        Dags::Drain { dag_id } => drain(installation, &dag_id, Draining::Draining).await?,
        Dags::Undrain { dag_id } => drain(installation, &dag_id, Draining::Active).await?,
        Dags::Delete { dag_id, yes } => delete(installation, &dag_id, Asked::of(yes)).await?,
        Dags::Trigger(wish) => return trigger(installation, wish).await,
        Dags::Undeploy(wish) => bundles::undeploy(installation, &wish).await?,
        Dags::Bundles(output) => bundles::list(installation, output).await?,
        Dags::Revisions(wish) => bundles::revisions(installation, &wish).await?,
        Dags::Rollback(wish) => bundles::rollback(installation, &wish).await?,
        Dags::Check(_)
        | Dags::Show { .. }
        | Dags::Schema
        | Dags::Convert(_)
        | Dags::Test(_)
        | Dags::Simulate(_)
        | Dags::Deploy(_) => {}
    }
    Ok(ExitCode::SUCCESS)
}

async fn trigger(installation: &Installation<'_>, wish: trigger::Trigger) -> anyhow::Result<ExitCode> {
    let waits = wish.wait;
    let (dag_id, run_id) = trigger::start(installation, wish).await?;
    outln!("{dag_id}: run {run_id} is queued");
    if waits { follow(installation, &dag_id, &run_id).await } else { Ok(ExitCode::SUCCESS) }
}

/// Follows a run to its end; the status says whether it succeeded.
///
/// # Errors
/// When the installation does not answer.
pub async fn follow(installation: &Installation<'_>, dag_id: &DagId, run_id: &RunId) -> anyhow::Result<ExitCode> {
    let state = Watch::new(installation, dag_id, run_id).follow().await?;
    Ok(if state == DagRunState::Success { ExitCode::SUCCESS } else { Exit::RunFailed.into() })
}

async fn pause(installation: &Installation<'_>, dag_id: &str, to: Paused) -> anyhow::Result<()> {
    let word = match to {
        Paused::Paused => "paused",
        Paused::Active => "active",
    };
    installation.pause_dag(dag_id, to).await?;
    outln!("{dag_id} is {word}");
    Ok(())
}

async fn drain(installation: &Installation<'_>, dag_id: &str, to: Draining) -> anyhow::Result<()> {
    let active = installation.drain_dag(dag_id, to).await?;
    match to {
        Draining::Draining => outln!("{dag_id} drains: none of its runs starts; {active} have not ended"),
        Draining::Active => outln!("{dag_id} lets its runs start"),
    }
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

async fn delete(installation: &Installation<'_>, dag_id: &str, asked: Asked) -> anyhow::Result<()> {
    let dag = installation.dag(dag_id).await?;
    if asked == Asked::NotYet {
        return Err(Failure::refused(format!(
            "this deletes every run of {}, with its logs' places and XComs; repeat it with --yes",
            dag.dag_id
        )));
    }
    installation.delete_dag(&dag).await?;
    if dag.is_stale {
        outln!("{} is deleted", dag.dag_id);
    } else {
        outln!("the runs of {} are deleted; it stays, because {} defines it", dag.dag_id, dag.fileloc);
    }
    Ok(())
}
