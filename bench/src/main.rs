//! Benchmarks: figures beside a raw limit that is measured in the same run, as JSON lines.
//!
//! `windlass-bench scheduler` measures the leader with a worker that does nothing, beside raw commits of the same
//! PostgreSQL. `windlass-bench processes` measures tasks that are processes, beside the raw start of the same process.
//! `windlass-bench lists [URL]` measures lists over HTTP beside ten million task instances. `windlass-bench stock [rows]` measures the main pipeline, from replay to gold.
//! `windlass-bench sessions [sessions] [seconds]` measures pages, the REST API and live updates under people who look at a busy server.

#![allow(clippy::print_stdout, reason = "the figures go to standard output")]

mod lists;
mod null_worker;
mod processes;
mod scheduler;
mod sessions;
mod stock;

use std::process::Command;

use anyhow::Context as _;
use serde_json::{Value, json};

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let figures = match arguments.next().as_deref() {
        Some("guard") => return guard(),
        Some("launcher") => return launcher(),
        Some("worker") => return processes::worker(&arguments.next().context("worker needs a folder")?),
        Some("lists") => lists::run(arguments.next())?,
        Some("processes") => processes::run()?,
        Some("scheduler") => scheduler::run()?,
        Some("sessions") => sessions::run(arguments.next(), arguments.next())?,
        Some("stock") => stock::run(arguments.next().map_or(Ok(stock::ROWS), |rows| rows.parse())?)?,
        _ => anyhow::bail!(
            "usage: windlass-bench scheduler | processes | lists [URL] | sessions [sessions] [seconds] | stock [rows]"
        ),
    };
    println!("{}", labelled(figures));
    Ok(())
}

/// The guard of this program as a worker.
fn guard() -> anyhow::Result<()> {
    let code = daemon::guard::main(std::env::args_os().skip(2));
    anyhow::ensure!(code == std::process::ExitCode::SUCCESS, "the guard failed; see above");
    Ok(())
}

/// A launcher of this program as a worker.
fn launcher() -> anyhow::Result<()> {
    let code = executor::process::launcher_main();
    anyhow::ensure!(code == std::process::ExitCode::SUCCESS, "the launcher failed; see above");
    Ok(())
}

/// A result with what it was measured on.
fn labelled(figures: Value) -> Value {
    let said = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output().ok()?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("").trim_start_matches([':', '\t', ' ']);
    json!({
        "at": chrono::Utc::now(),
        "commit": said("git", &["rev-parse", "--short", "HEAD"]),
        "cores": std::thread::available_parallelism().map_or(0, usize::from),
        "cpu": model,
        "figures": figures,
    })
}

/// The middle of several measurements.
fn median(mut of: Vec<f64>) -> f64 {
    of.sort_by(f64::total_cmp);
    of[of.len() / 2]
}
