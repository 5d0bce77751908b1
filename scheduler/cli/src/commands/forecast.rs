//! `windlass forecast`: what will happen in the next hours when nothing goes wrong.

use std::process::ExitCode;

use clap::Args;
use engine::ahead::forecast::{Forecast, ForeseenPool, ForeseenRun};
use model::Timestamp;
use serde_json::{Value, json};

use crate::{
    installation::Installation,
    output::{Format, Listing, Output, visible},
    settings::Settings,
    text,
};

/// Runs that a table shows; `-o json` has all that were foretold.
const ROWS_MAX: usize = 200;

/// Options of `forecast`.
#[derive(Debug, Args)]
pub struct ForecastWish {
    /// How many hours; at most 168.
    #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u32).range(1..=168))]
    hours: u32,
    /// How many seconds an attempt is assumed to take of whose task no successful attempt is known.
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    default_duration: u32,
    #[command(flatten)]
    output: Output,
}

/// Prints it.
///
/// # Errors
/// When the installation does not answer, or has more than a forecast is made of.
pub async fn run(settings: &Settings, wish: &ForecastWish) -> anyhow::Result<ExitCode> {
    let told =
        Installation::with(settings, async |here| here.forecast(wish.hours, wish.default_duration).await).await?;
    match wish.output.format {
        Format::Json => outln!("{}", serde_json::to_string_pretty(&told)?),
        Format::Yaml => out!("{}", dag::yaml_of(&serde_json::to_value(&told)?)),
        Format::Plain => out!("{}", runs(&told, usize::MAX).render(Format::Plain)),
        Format::Table => print(&told),
    }
    Ok(ExitCode::SUCCESS)
}

fn print(told: &Forecast) {
    out!("{}", runs(told, ROWS_MAX).render(Format::Table));
    let more = told.total_dag_runs.saturating_sub(told.dag_runs.len().min(ROWS_MAX));
    if more > 0 {
        outln!("… and {more} runs more; -o json has up to {}", told.dag_runs.len());
    }
    outln!("\npools, the most contended first:");
    out!("{}", pools(&told.pools).render(Format::Table));
    let workers = &told.workers;
    let full = if workers.full_secs > 0.0 {
        format!("; all of them are taken for {}", text::duration(workers.full_secs))
    } else {
        String::new()
    };
    outln!("workers: at most {} of {} slots are taken{full}", workers.occupied_max, workers.slots);
    for miss in &told.deadlines_missed {
        let name = miss.name.as_ref().map(|name| format!(" {name}")).unwrap_or_default();
        outln!(
            "deadline{} will be missed: {} of {}, at {}",
            visible(&name),
            miss.dag_run_id,
            miss.dag_id,
            at(miss.deadline)
        );
    }
    for sentence in &told.assumptions {
        errln!("assumed: {}", visible(sentence));
    }
    if let Some(why) = &told.cut_because {
        errln!("it goes until {} only, because {}", at(told.until), visible(why));
    }
}

fn runs(told: &Forecast, most: usize) -> Listing {
    let mut listing =
        Listing::new(&["dag_id", "run_id", "run_type", "foreseen", "start_date", "end_date", "late", "state", "why"]);
    told.dag_runs.iter().take(most).for_each(|run| listing.push(row(run)));
    listing
}

fn row(run: &ForeseenRun) -> [Value; 9] {
    let instant = |at: Option<Timestamp>| at.map_or(Value::Null, |at| json!(self::at(at)));
    let late = if run.waits_secs >= 1.0 { json!(text::duration(run.waits_secs)) } else { Value::Null };
    [
        json!(run.dag_id),
        json!(run.dag_run_id),
        json!(run.run_type),
        json!(run.is_foreseen),
        instant(run.start_date),
        instant(run.end_date),
        late,
        json!(run.state),
        json!(run.why),
    ]
}

fn pools(pools: &[ForeseenPool]) -> Listing {
    let columns = &["pool", "slots", "most_taken", "on_average", "most_waited_for", "too_small_for", "longest_wait"];
    let mut listing = Listing::new(columns);
    for pool in pools {
        let slots = match (pool.exists, pool.slots) {
            (false, _) => json!("there is no such pool"),
            (true, None) => json!("no limit"),
            (true, Some(slots)) => json!(slots),
        };
        let longest = pool
            .longest_wait
            .as_ref()
            .map(|wait| format!("{}: {} of {}", text::duration(wait.secs), wait.task_id, wait.dag_id));
        listing.push([
            json!(pool.name),
            slots,
            json!(pool.occupied_max),
            pool.occupied_share.map_or(Value::Null, |share| json!(format!("{:.0}%", share * 100.0))),
            json!(pool.waiting_max),
            if pool.contended_secs > 0.0 { json!(text::duration(pool.contended_secs)) } else { Value::Null },
            json!(longest),
        ]);
    }
    listing
}

fn at(at: Timestamp) -> String {
    at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}
