//! `windlass tasks …`: tasks of DAGs and of runs, their logs, and why they wait.

use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use model::{
    MapIndex, TaskState,
    command::{ClearEffect, ClearOnly, ClearVersion, Relatives},
};
use serde_json::json;

use super::runs::{RunName, send_clear, states};
use crate::{
    installation::{ClearWish, Follow, Installation},
    output::{Listing, Output, visible},
    settings::Settings,
};

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Tasks {
    /// The tasks of a DAG, in an order in which they may run.
    List {
        /// The DAG.
        dag_id: String,
        #[command(flatten)]
        output: Output,
    },
    /// The states of a run's tasks.
    StatesForDagRun {
        #[command(flatten)]
        run: RunName,
        #[command(flatten)]
        output: Output,
    },
    /// Print the log of a try.
    Logs {
        #[command(flatten)]
        task: TaskName,
        /// Which try; the last one when absent.
        #[arg(long = "try")]
        try_number: Option<i16>,
        /// Go on until the task has ended.
        #[arg(long, short)]
        follow: bool,
    },
    /// Run a task of a run again.
    Clear(Clear),
    /// Set a task of a run to a state.
    Mark {
        #[command(flatten)]
        task: TaskName,
        /// The state.
        state: TaskMark,
    },
    /// Say in one sentence what a task waits for, or how it stands.
    Why {
        #[command(flatten)]
        task: TaskName,
    },
    /// The fields of its last try as they were rendered.
    Render {
        #[command(flatten)]
        task: TaskName,
        #[command(flatten)]
        output: Output,
    },
}

/// Which task of which run.
#[derive(Debug, Args)]
pub struct TaskName {
    /// The run.
    #[command(flatten)]
    pub run: RunName,
    /// The task.
    pub task_id: String,
    /// Which instance of an expanded task, from 0.
    #[arg(long, value_parser = clap::value_parser!(i32).range(0..))]
    pub map_index: Option<i32>,
}

impl TaskName {
    /// Which instance is meant: one of an expanded task, or all that there are.
    #[must_use]
    pub fn map(&self) -> Option<MapIndex> {
        self.map_index.map(MapIndex)
    }
}

/// Options of `tasks clear`.
#[derive(Debug, Args)]
pub struct Clear {
    #[command(flatten)]
    task: TaskName,
    /// And everything before it.
    #[arg(long, short)]
    upstream: bool,
    /// And everything after it.
    #[arg(long, short)]
    downstream: bool,
    /// Only what failed.
    #[arg(long)]
    only_failed: bool,
    /// Only say what would be cleared.
    #[arg(long)]
    dry_run: bool,
    /// Follow the run to its end; the status is 0 when it succeeds, 7 when not.
    #[arg(long)]
    wait: bool,
}

/// What a task can be set to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TaskMark {
    /// What follows it may run.
    Success,
    /// What follows it fails with it.
    Failed,
    /// It is left out.
    Skipped,
}

/// Carries one out.
///
/// # Errors
/// What went wrong, in words for people.
pub async fn run(settings: &Settings, command: Tasks) -> anyhow::Result<ExitCode> {
    Installation::with(settings, async |installation| carry_out(installation, command).await).await
}

async fn carry_out(installation: &Installation<'_>, command: Tasks) -> anyhow::Result<ExitCode> {
    match command {
        Tasks::List { dag_id, output } => list(installation, &dag_id, output).await?,
        Tasks::StatesForDagRun { run, output } => states(&installation.look(&run).await?, output),
        Tasks::Logs { task, try_number, follow } => {
            let log = installation.log(&task, try_number).await?;
            log.print(if follow { Follow::ToTheEnd } else { Follow::No }).await?;
        }
        Tasks::Clear(wish) => return clear(installation, wish).await,
        Tasks::Mark { task, state } => {
            let state = state.state();
            installation.mark_task(&task, state).await?;
            outln!("{} is set to {state}", task.task_id);
        }
        Tasks::Why { task } => outln!("{}", visible(&installation.why_task(&task).await?)),
        Tasks::Render { task, output } => {
            let log = installation.log(&task, None).await?;
            let mut listing = Listing::new(&["property", "value"]);
            for (name, value) in log.rendered().await? {
                listing.push([json!(name), value]);
            }
            listing.print(output);
        }
    }
    Ok(ExitCode::SUCCESS)
}

impl TaskMark {
    const fn state(self) -> TaskState {
        match self {
            Self::Success => TaskState::Success,
            Self::Failed => TaskState::Failed,
            Self::Skipped => TaskState::Skipped,
        }
    }
}

async fn list(installation: &Installation<'_>, dag_id: &str, output: Output) -> anyhow::Result<()> {
    let mut listing = Listing::new(&["task_id", "operator", "trigger_rule", "upstream"]);
    for task in installation.tasks(dag_id).await? {
        listing.push([
            json!(task.task_id),
            json!(task.operator),
            json!(task.trigger_rule),
            json!(task.upstream.join(", ")),
        ]);
    }
    listing.print(output);
    Ok(())
}

async fn clear(installation: &Installation<'_>, wish: Clear) -> anyhow::Result<ExitCode> {
    let Clear { task, upstream, downstream, only_failed, dry_run, wait } = wish;
    let map_index = task.map();
    let TaskName { run, task_id, .. } = task;
    let wish = ClearWish {
        run,
        task_id: Some(task_id),
        map_index,
        relatives: Relatives { upstream, downstream },
        only: if only_failed { ClearOnly::Failed } else { ClearOnly::All },
        effect: if dry_run { ClearEffect::DryRun } else { ClearEffect::Apply },
        version: ClearVersion::Own,
    };
    send_clear(installation, wish, wait).await
}
