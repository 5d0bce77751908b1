//! `windlass db clean`: old history goes.

use std::{process::ExitCode, time::Duration};

use anyhow::{Context, bail};
use chrono::{DateTime, NaiveDate, TimeZone as _, Utc};
use clap::Args;
use store::{
    Writer,
    audit::Actor,
    cluster,
    maintenance::Swept,
    retention::{self, Cleaner, Kind, Retention},
};

use super::confirmed;
use crate::{
    access::{Access, caller},
    progress::Progress,
};

/// How often to look how far the leader is.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Without any progress for so long there is nobody who does it.
const PATIENCE: Duration = Duration::from_secs(120);

/// Options of `db clean`.
#[derive(Debug, Args)]
pub struct Clean {
    /// What ended or was written before this goes: 2026-01-31, or an instant with its time zone.
    #[arg(long, value_name = "DATE", value_parser = instant)]
    before: DateTime<Utc>,
    /// What to look at, separated by commas: runs, failures, audit, versions
    #[arg(long, value_name = "KINDS", value_delimiter = ',', value_parser = kind, default_value = "runs,failures,audit,versions")]
    only: Vec<Kind>,
    /// Only count.
    #[arg(long)]
    dry_run: bool,
    /// Do not ask.
    #[arg(long, short = 'y')]
    yes: bool,
}

fn instant(text: &str) -> Result<DateTime<Utc>, String> {
    if let Ok(date) = text.parse::<NaiveDate>() {
        let midnight = date.and_hms_opt(0, 0, 0).ok_or("there is no midnight on that day")?;
        return Ok(Utc.from_utc_datetime(&midnight));
    }
    let instant =
        DateTime::parse_from_rfc3339(text).map_err(|_| "a date, such as 2026-01-31, or 2026-01-31T00:00:00Z")?;
    Ok(instant.with_timezone(&Utc))
}

fn kind(text: &str) -> Result<Kind, String> {
    Kind::of(text.trim()).ok_or_else(|| format!("one of {}", Kind::ALL.map(Kind::name).join(", ")))
}

/// Counts, asks, and has it done.
///
/// # Errors
/// When the database can not be used, or nobody leads who would do it.
pub(super) async fn run(access: &Access, options: &Clean) -> anyhow::Result<ExitCode> {
    if options.before > Utc::now() {
        bail!("--before {} lies ahead; everything would go", options.before);
    }
    let pool = access.pool().await?;
    for kind in &options.only {
        outln!("{:<9} {:>9} older", kind.name(), retention::count(pool, *kind, options.before).await?);
    }
    if options.dry_run || !confirmed(options.yes, "They are deleted for ever; the newest ended run of each DAG stays.")?
    {
        return Ok(ExitCode::SUCCESS);
    }
    retention::request(pool, Actor::at_the_command_line(&caller()), &options.only, options.before).await?;
    if access.is_alone() {
        here(access).await?
    } else {
        by_the_leader(access).await?
    }
    outln!("done");
    Ok(ExitCode::SUCCESS)
}

/// Nothing of the installation runs, so this command may do the leader's work.
async fn here(access: &Access) -> anyhow::Result<()> {
    let seat = cluster::leader_seat(access.pool().await?).await?;
    let mut writer = Writer::connect(&access.urls().state).await?;
    let mut cleaner = Cleaner::new(Retention::default());
    while cleaner.step(&mut writer, seat.epoch, Utc::now()).await?.left == Swept::Some {}
    // What belongs to the runs is swept by the next leader.
    writer.close().await;
    Ok(())
}

async fn by_the_leader(access: &Access) -> anyhow::Result<()> {
    let pool = access.pool().await?;
    let progress = Progress::of(0, "deleted");
    let (mut before, mut most) = (None, 0_usize);
    let mut stuck_since = std::time::Instant::now();
    loop {
        let open = retention::requests(pool).await?;
        if open.is_empty() {
            return Ok(());
        }
        let mut left = Vec::new();
        for request in &open {
            left.push((request.kind, retention::count(pool, request.kind, request.before).await?));
        }
        if before.as_ref() != Some(&left) {
            let words: Vec<String> = left.iter().map(|(kind, count)| format!("{count} {}", kind.name())).collect();
            progress.line(&format!("left: {}", words.join(", ")));
            let count: usize = left.iter().map(|(_, count)| usize::try_from(*count).unwrap_or_default()).sum();
            most = most.max(count);
            progress.at(most - count, most);
            before = Some(left);
            stuck_since = std::time::Instant::now();
        }
        if stuck_since.elapsed() > PATIENCE {
            return Err(anyhow::anyhow!("nothing has been deleted for {} s", PATIENCE.as_secs()))
                .context("the wish is stored, and carried out by the next leader; does a scheduler run?");
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_its_midnight_in_utc() {
        assert_eq!(instant("2026-01-31").unwrap().to_rfc3339(), "2026-01-31T00:00:00+00:00");
        assert_eq!(instant("2026-01-31T02:00:00+02:00").unwrap().to_rfc3339(), "2026-01-31T00:00:00+00:00");
        assert!(instant("yesterday").is_err() && kind("logs").unwrap_err().contains("versions"));
    }
}
