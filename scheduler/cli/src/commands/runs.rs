//! `windlass runs …`: runs of DAGs, found, shown, cleared and set.

use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use link::{Query, Reply};
use model::{
    DagRunState, TaskState,
    command::{ClearEffect, ClearOnly, ClearTaskInstances, ClearVersion, Command, SetNote},
    door::Note,
};
use serde_json::{Value, json};
use sqlx::PgPool;
use store::read::{self, Direction, RunFilter, RunOrder};

use super::dags::follow;
use crate::{
    access::Access,
    ask::Leader,
    find::{self, Found},
    output::{Listing, Output, visible},
    settings::Settings,
    text,
};

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Runs {
    /// Runs, newest first.
    List(List),
    /// A run with the states of its tasks, and what it waits for.
    Show {
        #[command(flatten)]
        run: RunName,
        #[command(flatten)]
        output: Output,
    },
    /// Run its tasks again.
    Clear(Clear),
    /// Set it to a state: what runs is stopped, what has not begun is skipped.
    Mark {
        #[command(flatten)]
        run: RunName,
        /// The state.
        state: RunMark,
    },
    /// Leave a remark on it; an empty one takes an earlier one away.
    Note {
        #[command(flatten)]
        run: RunName,
        /// The remark.
        note: Note,
    },
    /// Delete it with everything that belongs to it; one that runs is refused.
    Delete {
        #[command(flatten)]
        run: RunName,
    },
}

/// Which run.
#[derive(Debug, Args)]
pub struct RunName {
    /// The DAG.
    pub dag_id: String,
    /// The run, or `latest`.
    pub run_id: String,
}

/// Options of `runs list`.
#[derive(Debug, Args)]
pub struct List {
    /// Of this DAG; of all when absent.
    dag_id: Option<String>,
    /// In this state: queued, running, success or failed.
    #[arg(long)]
    state: Option<DagRunState>,
    /// At most so many.
    #[arg(long, default_value_t = 25)]
    limit: u32,
    #[command(flatten)]
    output: Output,
}

/// Options of `runs clear`.
#[derive(Debug, Args)]
pub struct Clear {
    #[command(flatten)]
    run: RunName,
    /// Only what failed.
    #[arg(long)]
    only_failed: bool,
    /// Go on with the newest version of the DAG.
    #[arg(long)]
    latest: bool,
    /// Only say what would be cleared.
    #[arg(long)]
    dry_run: bool,
    /// Follow the run to its end; the status is 0 when it succeeds.
    #[arg(long)]
    wait: bool,
}

/// What a run can be set to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RunMark {
    /// It is looked at again.
    Queued,
    /// It ends well.
    Success,
    /// It ends badly.
    Failed,
}

/// Carries one out.
///
/// # Errors
/// What went wrong, in words for people.
pub async fn run(settings: &Settings, command: Runs) -> anyhow::Result<ExitCode> {
    let access = Access::open(settings).await?;
    let done = carry_out(settings, &access, command).await;
    access.close().await;
    done
}

async fn carry_out(settings: &Settings, access: &Access, command: Runs) -> anyhow::Result<ExitCode> {
    let pool = access.pool().await?;
    match command {
        Runs::List(wish) => list(pool, &wish).await?,
        Runs::Show { run, output } => {
            show(settings, pool, &find::run(pool, &run.dag_id, &run.run_id).await?, output).await?
        }
        Runs::Clear(wish) => return clear(settings, access, wish).await,
        Runs::Mark { run, state } => mark(access, find::run(pool, &run.dag_id, &run.run_id).await?, state).await?,
        Runs::Note { run, note } => {
            let run = find::run(pool, &run.dag_id, &run.run_id).await?.run;
            let note = Some(note).filter(|note| !note.as_str().is_empty());
            let wish = SetNote { dag_id: run.dag_id, run_id: run.run_id, tasks: Vec::new(), note };
            access.command(Command::SetNote(wish)).await?;
        }
        Runs::Delete { run } => {
            let run = find::run(pool, &run.dag_id, &run.run_id).await?.run;
            access.command(Command::DeleteDagRun { dag_id: run.dag_id.clone(), run_id: run.run_id.clone() }).await?;
            println!("{}: run {} is deleted", run.dag_id, run.run_id);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// One line a run.
///
/// # Errors
/// When there is no such DAG.
pub async fn list(pool: &PgPool, wish: &List) -> anyhow::Result<()> {
    let dag_ids = match &wish.dag_id {
        Some(id) => vec![find::dag(pool, id).await?.dag_id],
        None => Vec::new(),
    };
    let filter = RunFilter {
        dag_ids,
        states: wish.state.into_iter().collect(),
        order: vec![(RunOrder::RunAfter, Direction::Descending)],
        limit: i64::from(wish.limit),
        ..RunFilter::default()
    };
    let (runs, _) = read::runs(pool, &filter).await?;
    let mut listing =
        Listing::new(&["dag_id", "run_id", "state", "run_after", "logical_date", "start_date", "end_date"]);
    for run in &runs {
        listing.push([
            json!(run.dag_id),
            json!(run.run_id),
            json!(run.state.name()),
            json!(run.run_after),
            json!(run.logical_date),
            json!(run.started_at),
            json!(run.ended_at),
        ]);
    }
    listing.print(wish.output);
    Ok(())
}

async fn show(settings: &Settings, pool: &PgPool, found: &Found, output: Output) -> anyhow::Result<()> {
    let Found { run, .. } = found;
    eprintln!("{} of {}: {}", run.run_id, run.dag_id, run.state);
    if let Some(note) = &run.note {
        eprintln!("note: {}", visible(note));
    }
    states(pool, found, output).await?;
    if !run.state.is_finished() {
        let question = Query::WhyRun { dag_id: run.dag_id.clone(), run_id: run.run_id.clone() };
        match Leader::find(settings).await?.ask(question).await {
            Ok(Reply::Why { sentence, .. }) => eprintln!("{}", visible(&sentence)),
            Ok(_) => {}
            Err(error) => eprintln!("nobody can say what it waits for: {error}"),
        }
    }
    Ok(())
}

/// One line a task of a run.
///
/// # Errors
/// When PostgreSQL does not answer.
pub async fn states(pool: &PgPool, found: &Found, output: Output) -> anyhow::Result<()> {
    let instances = read::instances(pool, &[found.run.key]).await?;
    let mut listing = Listing::new(&["task_id", "state", "try_number", "start_date", "end_date", "duration", "reason"]);
    for (task, number) in found.version.dag.tasks.iter().zip(&found.version.task_idx) {
        let row = instances.iter().find(|instance| instance.row.key.task == *number).map(|instance| &instance.row);
        let state = row.map(|row| row.state).filter(|state| *state != TaskState::NoStatus);
        let took = row.and_then(|row| row.started_at.zip(row.ended_at));
        listing.push([
            json!(task.task_id),
            json!(state.map(TaskState::name)),
            json!(row.map_or(0, |row| row.try_number.get())),
            json!(row.and_then(|row| row.started_at)),
            json!(row.and_then(|row| row.ended_at)),
            took.map_or(Value::Null, |(from, to)| json!(text::duration((to - from).as_seconds_f64()))),
            json!(row.and_then(|row| row.extra.reason.as_deref())),
        ]);
    }
    listing.print(output);
    Ok(())
}

async fn clear(settings: &Settings, access: &Access, wish: Clear) -> anyhow::Result<ExitCode> {
    let found = find::run(access.pool().await?, &wish.run.dag_id, &wish.run.run_id).await?;
    let (dag_id, run_id) = (found.run.dag_id, found.run.run_id);
    let command = ClearTaskInstances {
        only: if wish.only_failed { ClearOnly::Failed } else { ClearOnly::All },
        effect: if wish.dry_run { ClearEffect::DryRun } else { ClearEffect::Apply },
        version: if wish.latest { ClearVersion::Latest } else { ClearVersion::Own },
        ..ClearTaskInstances::of_run(dag_id.clone(), run_id.clone())
    };
    send_clear(access, command).await?;
    if wish.wait && !wish.dry_run { follow(settings, access, &dag_id, &run_id).await } else { Ok(ExitCode::SUCCESS) }
}

/// Sends a clear and says what it is about.
///
/// # Errors
/// What the leader says against it.
pub async fn send_clear(access: &Access, command: ClearTaskInstances) -> anyhow::Result<()> {
    let word = match command.effect {
        ClearEffect::Apply => "cleared",
        ClearEffect::DryRun => "would be cleared",
    };
    let answer = access.command(Command::ClearTaskInstances(command)).await?;
    let named = answer["task_instances"].as_array().map(Vec::as_slice).unwrap_or_default();
    let names: Vec<&str> = named.iter().filter_map(|one| one["task_id"].as_str()).collect();
    match names.as_slice() {
        [] => println!("nothing {word}: no task is in such a state"),
        names => println!("{word}: {}", names.join(", ")),
    }
    Ok(())
}

async fn mark(access: &Access, found: Found, state: RunMark) -> anyhow::Result<()> {
    let Found { run, .. } = found;
    let state = match state {
        RunMark::Queued => DagRunState::Queued,
        RunMark::Success => DagRunState::Success,
        RunMark::Failed => DagRunState::Failed,
    };
    access.command(Command::MarkDagRun { dag_id: run.dag_id.clone(), run_id: run.run_id.clone(), state }).await?;
    println!("{}: run {} is set to {state}", run.dag_id, run.run_id);
    Ok(())
}
