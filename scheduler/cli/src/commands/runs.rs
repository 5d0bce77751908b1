//! `windlass runs …`: runs of DAGs, found, shown, cleared and set.

use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use model::{
    DagRunState, TaskState,
    command::{ClearEffect, ClearOnly, ClearVersion, Relatives},
    door::Note,
};
use serde_json::{Value, json};

use super::dags::follow;
use crate::{
    exit::Exit,
    installation::{ClearWish, Installation, RunLook, RunView},
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
    /// Follow it to its end, with a line for each thing that happens; the status is 0 when it succeeds, 7 when not.
    Wait {
        #[command(flatten)]
        run: RunName,
    },
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
#[derive(Debug, Clone, Args)]
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
    /// Follow the run to its end; the status is 0 when it succeeds, 7 when not.
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
    Installation::with(settings, async |installation| carry_out(installation, command).await).await
}

async fn carry_out(installation: &Installation<'_>, command: Runs) -> anyhow::Result<ExitCode> {
    match command {
        Runs::List(wish) => list(installation, &wish).await?,
        Runs::Show { run, output } => show(installation, &run, output).await?,
        Runs::Clear(wish) => return clear(installation, wish).await,
        Runs::Wait { run } => {
            let run = installation.run(&run).await?;
            return follow(installation, &run.dag_id, &run.run_id).await;
        }
        Runs::Mark { run, state } => {
            let (run, state) = (installation.run(&run).await?, state.state());
            installation.mark_run(&run, state).await?;
            outln!("{}: run {} is set to {state}", run.dag_id, run.run_id);
        }
        Runs::Note { run, note } => {
            let note = Some(note).filter(|note| !note.as_str().is_empty());
            installation.note_run(&installation.run(&run).await?, note).await?;
        }
        Runs::Delete { run } => {
            let run = installation.run(&run).await?;
            installation.delete_run(&run).await?;
            outln!("{}: run {} is deleted", run.dag_id, run.run_id);
        }
    }
    Ok(ExitCode::SUCCESS)
}

impl RunMark {
    const fn state(self) -> DagRunState {
        match self {
            Self::Queued => DagRunState::Queued,
            Self::Success => DagRunState::Success,
            Self::Failed => DagRunState::Failed,
        }
    }
}

/// One line a run.
///
/// # Errors
/// When there is no such DAG.
pub async fn list(installation: &Installation<'_>, wish: &List) -> anyhow::Result<()> {
    let runs = installation.runs(wish.dag_id.as_deref(), wish.state, wish.limit).await?;
    let mut listing =
        Listing::new(&["dag_id", "run_id", "state", "run_after", "logical_date", "start_date", "end_date"]);
    for run in &runs {
        listing.push([
            json!(run.dag_id),
            json!(run.run_id),
            json!(run.state.name()),
            json!(run.run_after),
            json!(run.logical_date),
            json!(run.start_date),
            json!(run.end_date),
        ]);
    }
    listing.print(wish.output);
    Ok(())
}

async fn show(installation: &Installation<'_>, name: &RunName, output: Output) -> anyhow::Result<()> {
    let look = installation.look(name).await?;
    let RunView { dag_id, run_id, state, note, .. } = &look.run;
    errln!("{run_id} of {dag_id}: {state}");
    if let Some(note) = note {
        errln!("note: {}", visible(note));
    }
    states(&look, output);
    if !state.is_finished() {
        match installation.why_run(&look).await {
            Ok(Some(sentence)) => errln!("{sentence}"),
            Ok(None) => {}
            Err(error) => errln!("nobody can say what it waits for: {error:#}"),
        }
    }
    Ok(())
}

/// One line a task of a run.
pub fn states(look: &RunLook, output: Output) {
    let mut listing =
        Listing::new(&["task_id", "map_index", "state", "try_number", "start_date", "end_date", "duration", "reason"]);
    for one in &look.instances {
        let took = one.start_date.zip(one.end_date);
        listing.push([
            json!(one.task_id),
            if one.map_index < 0 { Value::Null } else { json!(one.map_index) },
            json!(one.state.map(TaskState::name)),
            json!(one.try_number),
            json!(one.start_date),
            json!(one.end_date),
            took.map_or(Value::Null, |(from, to)| json!(text::duration((to - from).as_seconds_f64()))),
            json!(one.reason),
        ]);
    }
    listing.print(output);
}

async fn clear(installation: &Installation<'_>, wish: Clear) -> anyhow::Result<ExitCode> {
    let Clear { run, only_failed, latest, dry_run, wait } = wish;
    let wish = ClearWish {
        run,
        task_id: None,
        map_index: None,
        relatives: Relatives::default(),
        only: if only_failed { ClearOnly::Failed } else { ClearOnly::All },
        effect: if dry_run { ClearEffect::DryRun } else { ClearEffect::Apply },
        version: if latest { ClearVersion::Latest } else { ClearVersion::Own },
    };
    send_clear(installation, wish, wait).await
}

/// Sends a clear, says what it is about, and follows the run when that is wanted.
///
/// # Errors
/// What is said against it.
pub async fn send_clear(installation: &Installation<'_>, mut wish: ClearWish, waits: bool) -> anyhow::Result<ExitCode> {
    let run = installation.run(&wish.run).await?;
    // A newer `latest` may come while this one is cleared and followed.
    wish.run = RunName { dag_id: run.dag_id.to_string(), run_id: run.run_id.to_string() };
    let word = match wish.effect {
        ClearEffect::Apply => "cleared",
        ClearEffect::DryRun => "would be cleared",
    };
    match installation.clear(&wish).await?.as_slice() {
        [] => outln!("nothing {word}: no task is in such a state"),
        names => outln!("{word}: {}", names.join(", ")),
    }
    let follows = waits && wish.effect == ClearEffect::Apply;
    if follows { follow(installation, &run.dag_id, &run.run_id).await } else { Ok(Exit::Done.into()) }
}
