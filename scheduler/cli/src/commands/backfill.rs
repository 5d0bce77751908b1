//! `windlass backfill …`: a DAG's runs for the dates of a range.

use std::{process::ExitCode, time::Duration};

use clap::{Args, Subcommand};
use model::{
    BackfillOrder, ReprocessBehavior,
    command::{ClearVersion, CreateBackfill},
    door::Instant,
};
use serde_json::json;

use crate::{
    exit::Exit,
    installation::{BackfillProgress, BackfillView, BackfillWish, Control, Installation},
    output::{Listing, Output},
    progress::Progress,
    settings::Settings,
};

/// So often it is looked how far a backfill is.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Backfill {
    /// Begin a backfill, or only say which dates it would have.
    Create(Create),
    /// A DAG's backfills, newest first.
    List {
        /// The DAG.
        dag_id: String,
        #[command(flatten)]
        output: Output,
    },
    /// A backfill, and how its runs stand.
    Show {
        #[command(flatten)]
        backfill: Id,
        #[command(flatten)]
        output: Output,
    },
    /// Follow it to its end; the status is 0 when all its runs succeed, 7 when not.
    Wait(Id),
    /// Start no more of its runs; those that are running go on.
    Pause(Id),
    /// Let it go on.
    Unpause(Id),
    /// End it: its runs that wait fail, those that are running go on.
    Cancel(Id),
}

/// Which backfill.
#[derive(Debug, Clone, Copy, Args)]
pub struct Id {
    /// Its number.
    id: i64,
}

/// Options of `backfill create`, Airflow's.
#[derive(Debug, Args)]
pub struct Create {
    /// The DAG.
    #[arg(long)]
    dag_id: String,
    /// The first logical date, such as 2026-11-01 or 2026-11-01T06:00:00Z.
    #[arg(long)]
    from_date: Instant,
    /// The last logical date, included.
    #[arg(long)]
    to_date: Instant,
    /// Values for the params of its runs, a JSON object.
    #[arg(long, value_name = "JSON")]
    dag_run_conf: Option<String>,
    /// The last date first.
    #[arg(long)]
    run_backwards: bool,
    /// How many of its runs run at once, beside those of the schedule.
    #[arg(long, default_value_t = CreateBackfill::MAX_ACTIVE_RUNS)]
    max_active_runs: u32,
    /// Which runs that there are run again: none, failed or completed.
    #[arg(long, default_value_t = ReprocessBehavior::None)]
    reprocess_behavior: ReprocessBehavior,
    /// Runs that run again go on with the newest version of the DAG.
    #[arg(long)]
    run_on_latest_version: bool,
    /// Only say which dates would have a run.
    #[arg(long)]
    dry_run: bool,
    /// Follow it to its end; the status is 0 when all its runs succeed, 7 when not.
    #[arg(long, conflicts_with = "dry_run")]
    wait: bool,
    #[command(flatten)]
    output: Output,
}

/// Carries one out.
///
/// # Errors
/// What went wrong, in words for people.
pub async fn run(settings: &Settings, command: Backfill) -> anyhow::Result<ExitCode> {
    Installation::with(settings, async |installation| carry_out(installation, command).await).await
}

async fn carry_out(installation: &Installation<'_>, command: Backfill) -> anyhow::Result<ExitCode> {
    match command {
        Backfill::Create(wish) => return create(installation, wish).await,
        Backfill::List { dag_id, output } => list(&installation.backfills(&dag_id).await?, output),
        Backfill::Show { backfill, output } => show(installation, backfill, output).await?,
        Backfill::Wait(Id { id }) => return follow(installation, installation.backfill(id).await?).await,
        Backfill::Pause(Id { id }) => said(&installation.control_backfill(id, Control::Pause).await?),
        Backfill::Unpause(Id { id }) => said(&installation.control_backfill(id, Control::Unpause).await?),
        Backfill::Cancel(Id { id }) => said(&installation.control_backfill(id, Control::Cancel).await?),
    }
    Ok(Exit::Done.into())
}

fn said(view: &BackfillView) {
    outln!("{}: backfill {} is {}", view.dag_id, view.id, view.stand());
}

async fn create(installation: &Installation<'_>, create: Create) -> anyhow::Result<ExitCode> {
    let (is_dry, waits, output) = (create.dry_run, create.wait, create.output);
    let wish = BackfillWish {
        dag_id: create.dag_id,
        from_date: create.from_date,
        to_date: create.to_date,
        order: if create.run_backwards { BackfillOrder::Backwards } else { BackfillOrder::Forwards },
        reprocess_behavior: create.reprocess_behavior,
        max_active_runs: create.max_active_runs,
        conf: create.dag_run_conf,
        version: if create.run_on_latest_version { ClearVersion::Latest } else { ClearVersion::Own },
    };
    if is_dry {
        let mut listing = Listing::new(&["logical_date"]);
        installation.dry_backfill(wish).await?.into_iter().for_each(|date| listing.push([json!(date)]));
        listing.print(output);
        return Ok(Exit::Done.into());
    }
    let made = installation.create_backfill(wish).await?;
    list(std::slice::from_ref(&made), output);
    if waits { follow(installation, made).await } else { Ok(Exit::Done.into()) }
}

/// One line a backfill.
fn list(found: &[BackfillView], output: Output) {
    let columns = &[
        "id",
        "dag_id",
        "state",
        "from_date",
        "to_date",
        "reprocess_behavior",
        "max_active_runs",
        "created_at",
        "completed_at",
    ];
    let mut listing = Listing::new(columns);
    for view in found {
        listing.push([
            json!(view.id),
            json!(view.dag_id),
            json!(view.stand()),
            json!(view.from_date),
            json!(view.to_date),
            json!(view.reprocess_behavior.name()),
            json!(view.max_active_runs),
            json!(view.created_at),
            json!(view.completed_at),
        ]);
    }
    listing.print(output);
}

async fn show(installation: &Installation<'_>, Id { id }: Id, output: Output) -> anyhow::Result<()> {
    let view = installation.backfill(id).await?;
    let progress = installation.backfill_progress(&view).await?;
    list(std::slice::from_ref(&view), output);
    eprintln!("{}", words(&progress));
    Ok(())
}

fn words(progress: &BackfillProgress) -> String {
    let BackfillProgress { queued, running, success, failed, done, total } = progress;
    format!("{done} of {total} dates are done: {success} success, {failed} failed; {running} running, {queued} queued")
}

/// Follows a backfill to its end: a bar on a terminal, and a line at the end.
async fn follow(installation: &Installation<'_>, view: BackfillView) -> anyhow::Result<ExitCode> {
    let bar = Progress::of(0, "dates");
    let mut view = view;
    loop {
        let progress = installation.backfill_progress(&view).await?;
        bar.at(usize::try_from(progress.done)?, usize::try_from(progress.total)?);
        // One that was cancelled is over while runs of it go on.
        if view.completed_at.is_some() && progress.running == 0 {
            bar.line(&format!("{}: backfill {} is {}; {}", view.dag_id, view.id, view.stand(), words(&progress)));
            let is_fine = progress.failed == 0 && !view.is_paused;
            return Ok(if is_fine { Exit::Done.into() } else { Exit::RunFailed.into() });
        }
        tokio::time::sleep(LOOK_EVERY).await;
        view = installation.backfill(view.id).await?;
    }
}
