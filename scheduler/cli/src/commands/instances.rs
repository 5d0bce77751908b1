//! `windlass tasks …`: tasks of DAGs and of runs, their logs, and why they wait.

use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand, ValueEnum};
use link::{Query, Reply};
use model::{
    MapIndex, TaskState,
    command::{
        ClearEffect, ClearOnly, ClearTaskInstances, ClearVersion, Command, MarkTaskInstances, Relatives, TaskSelector,
    },
};
use serde_json::json;
use sqlx::PgPool;
use store::read;

use super::{
    attempt_log::{AttemptLog, Follow},
    dags::follow,
    runs::{RunName, send_clear, states},
};
use crate::{
    access::Access,
    ask::Leader,
    find,
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
    #[command(flatten)]
    run: RunName,
    /// The task.
    task_id: String,
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
    /// Follow the run to its end; the status is 0 when it succeeds.
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
    let access = Access::open(settings).await?;
    let done = carry_out(settings, &access, command).await;
    access.close().await;
    done
}

async fn carry_out(settings: &Settings, access: &Access, command: Tasks) -> anyhow::Result<ExitCode> {
    let pool = access.pool().await?;
    match command {
        Tasks::List { dag_id, output } => list(pool, &dag_id, output).await?,
        Tasks::StatesForDagRun { run, output } => {
            states(pool, &find::run(pool, &run.dag_id, &run.run_id).await?, output).await?;
        }
        Tasks::Logs { task, try_number, follow } => {
            let log = AttemptLog::find(settings, pool, &task.run, &task.task_id, try_number).await?;
            log.print(if follow { Follow::ToTheEnd } else { Follow::No }).await?;
        }
        Tasks::Clear(wish) => return clear(settings, access, wish).await,
        Tasks::Mark { task, state } => mark(access, &task, state).await?,
        Tasks::Why { task } => println!("{}", visible(&why(settings, pool, &task).await?)),
        Tasks::Render { task, output } => {
            let log = AttemptLog::find(settings, pool, &task.run, &task.task_id, None).await?;
            let mut listing = Listing::new(&["property", "value"]);
            for (name, value) in log.rendered().await? {
                listing.push([json!(name), value]);
            }
            listing.print(output);
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(pool: &PgPool, dag_id: &str, output: Output) -> anyhow::Result<()> {
    let view = find::dag(pool, dag_id).await?;
    let version = read::version(pool, view.current).await?.context("the DAG's version is gone")?;
    let mut listing = Listing::new(&["task_id", "operator", "trigger_rule", "upstream"]);
    for task in &version.dag.tasks {
        let upstream: Vec<&str> = task.upstream.iter().map(|pos| version.dag.task(*pos).task_id.as_str()).collect();
        listing.push([
            json!(task.task_id),
            json!(task.operator.name()),
            json!(task.trigger_rule.name()),
            json!(upstream.join(", ")),
        ]);
    }
    listing.print(output);
    Ok(())
}

async fn why(settings: &Settings, pool: &PgPool, name: &TaskName) -> anyhow::Result<String> {
    let found = find::run(pool, &name.run.dag_id, &name.run.run_id).await?;
    let task_id = found.task(&name.task_id)?;
    let instance = found.instance(pool, &task_id).await?;
    let state = instance.as_ref().map_or(TaskState::NoStatus, |instance| instance.row.state);
    if found.run.state.is_finished() || state.is_finished() {
        let reason = instance.and_then(|instance| instance.row.extra.reason);
        let reason = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
        return Ok(format!("{task_id} is {state}{reason}; the run is {}", found.run.state));
    }
    let question = Query::WhyTask {
        dag_id: found.run.dag_id.clone(),
        run_id: found.run.run_id.clone(),
        task_id,
        map_index: MapIndex::UNMAPPED,
    };
    match Leader::find(settings).await?.ask(question).await? {
        Reply::Why { sentence, .. } => Ok(sentence),
        Reply::NotFound { detail } => Ok(detail),
        other => anyhow::bail!("the leader answered with {other:?}"),
    }
}

async fn clear(settings: &Settings, access: &Access, wish: Clear) -> anyhow::Result<ExitCode> {
    let found = find::run(access.pool().await?, &wish.task.run.dag_id, &wish.task.run.run_id).await?;
    let task_id = found.task(&wish.task.task_id)?;
    let (dag_id, run_id) = (found.run.dag_id, found.run.run_id);
    let command = ClearTaskInstances {
        tasks: vec![TaskSelector { task_id, map_index: None }],
        relatives: Relatives { upstream: wish.upstream, downstream: wish.downstream },
        only: if wish.only_failed { ClearOnly::Failed } else { ClearOnly::All },
        effect: if wish.dry_run { ClearEffect::DryRun } else { ClearEffect::Apply },
        version: ClearVersion::Own,
        ..ClearTaskInstances::of_run(dag_id.clone(), run_id.clone())
    };
    send_clear(access, command).await?;
    if wish.wait && !wish.dry_run { follow(settings, access, &dag_id, &run_id).await } else { Ok(ExitCode::SUCCESS) }
}

async fn mark(access: &Access, name: &TaskName, state: TaskMark) -> anyhow::Result<()> {
    let found = find::run(access.pool().await?, &name.run.dag_id, &name.run.run_id).await?;
    let task_id = found.task(&name.task_id)?;
    let state = match state {
        TaskMark::Success => TaskState::Success,
        TaskMark::Failed => TaskState::Failed,
        TaskMark::Skipped => TaskState::Skipped,
    };
    let command = MarkTaskInstances {
        dag_id: found.run.dag_id,
        run_id: found.run.run_id,
        also: Vec::new(),
        tasks: vec![TaskSelector { task_id: task_id.clone(), map_index: None }],
        relatives: Relatives::default(),
        state,
        effect: ClearEffect::Apply,
    };
    access.command(Command::MarkTaskInstances(command)).await?;
    println!("{task_id} is set to {state}");
    Ok(())
}
