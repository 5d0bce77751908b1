//! The main pipeline's figures: rows a second from a replay into both bronze tables, the time to gold, peak memory.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufWriter, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use serde_json::{Value, json};

/// As many rows as the contract's memory limit speaks of.
pub const ROWS: usize = 5_000_000;
/// No run takes longer on any machine that is worth measuring.
const RUN_WITHIN: Duration = Duration::from_secs(1800);
const LOOK_EVERY: Duration = Duration::from_millis(200);
const MIB: f64 = 1024.0 * 1024.0;

/// A standalone in a home of its own, ended when dropped.
struct Bench {
    home: tempfile::TempDir,
    source: PathBuf,
    server: Option<Child>,
    peaks: BTreeMap<String, u64>,
}

/// Measures one replay of so many rows.
pub fn run(rows: usize) -> anyhow::Result<Value> {
    let home = tempfile::tempdir()?;
    let source = home.path().join("trades.csv");
    write_trades(&source, rows)?;
    let mut bench = Bench { home, source, server: None, peaks: BTreeMap::new() };
    bench.server = Some(bench.windlass(&["standalone"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?);
    bench.until("the server is up", |bench| Ok(bench.windlass(&["health", "--quiet"]).status()?.success()))?;
    // The schedule has a run due, which starts the stream as soon as it may.
    let start = Instant::now();
    bench.ask(&["dags", "unpause", "stock_data_pipeline"])?;
    bench.until("both bronze tables have every row", |bench| {
        bench.note_memory();
        let services = bench.ask(&["services", "list"])?;
        Ok(services.lines().any(|line| line.contains("bronze-sink") && line.contains(" ready ")))
    })?;
    let bronze = start.elapsed().as_secs_f64();
    let mut run =
        bench.windlass(&["dags", "trigger", "stock_data_pipeline", "--wait"]).stdout(Stdio::null()).spawn()?;
    bench.until("the runs end", |bench| {
        bench.note_memory();
        Ok(run.try_wait()?.is_some())
    })?;
    let to_gold = start.elapsed().as_secs_f64();
    ensure!(run.wait()?.success(), "the run has failed");
    let counted = bench.ask(&["lake", "query", "SELECT count(*) FROM bronze.stock_trades", "--format", "csv"])?;
    ensure!(counted.lines().nth(1) == Some(rows.to_string().as_str()), "bronze has {counted} rows of {rows}");
    Ok(json!({
        "benchmark": "stock",
        "rows": rows,
        "bronze_s": bronze,
        "bronze_rows_per_s": rows as f64 / bronze,
        "gold_of_two_runs_s": to_gold,
        "peak_mib": bench.peaks.iter().map(|(name, bytes)| (name.clone(), *bytes as f64 / MIB)).collect::<BTreeMap<_, _>>(),
    }))
}

impl Bench {
    fn windlass(&self, arguments: &[&str]) -> Command {
        let programs =
            std::env::current_exe().ok().and_then(|path| path.parent().map(Path::to_owned)).unwrap_or_default();
        let mut command = Command::new(programs.join("windlass"));
        command
            .args(arguments)
            .env("WINDLASS_HOME", self.home.path().join("home"))
            .env("WINDLASS_PORT", "18083")
            .env("WINDLASS_REGISTRY_PORT", "18081")
            .env("STOCK_SOURCE", format!("replay:{}", self.source.display()))
            .env("STOCK_REPLAY_SPEED", "0");
        command
    }

    fn ask(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let output = self.windlass(arguments).output()?;
        ensure!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?)
    }

    fn until(&mut self, what: &str, mut look: impl FnMut(&mut Self) -> anyhow::Result<bool>) -> anyhow::Result<()> {
        let start = Instant::now();
        while !look(self)? {
            ensure!(start.elapsed() < RUN_WITHIN, "{what}: not within {RUN_WITHIN:?}");
            std::thread::park_timeout(LOOK_EVERY);
        }
        Ok(())
    }

    /// Peak resident memory (VmHWM of proc(5)) of each process of this home, by what it is.
    fn note_memory(&mut self) {
        let home = self.home.path().to_string_lossy().into_owned();
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let read = |name: &str| fs::read(entry.path().join(name)).unwrap_or_default();
            if !String::from_utf8_lossy(&read("environ")).contains(&home) {
                continue;
            }
            let command = String::from_utf8_lossy(&read("cmdline")).replace('\0', " ");
            let status = String::from_utf8_lossy(&read("status")).into_owned();
            let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            let kib = peak.and_then(|peak| peak.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0);
            let name: Vec<&str> =
                command.split_whitespace().take(3).map(|word| word.rsplit('/').next().unwrap_or(word)).collect();
            let most = self.peaks.entry(name.join(" ")).or_default();
            *most = (*most).max(kib * 1024);
        }
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        if let Some(server) = &mut self.server {
            let _gone_already = Command::new("kill").args(["-TERM", &server.id().to_string()]).status();
            let _reaped = server.wait();
        }
    }
}

fn write_trades(path: &Path, rows: usize) -> anyhow::Result<()> {
    const DAYS: usize = 250;
    let mut out = BufWriter::new(fs::File::create(path)?);
    writeln!(out, "ts,symbol,price,size,trade_id")?;
    let start = chrono::DateTime::from_timestamp(1_704_067_200, 0).context("a valid date")?;
    for row in 0..rows {
        let ts = start + chrono::TimeDelta::milliseconds(i64::try_from(row * DAYS * 86_400 / rows)? * 1000);
        let symbol = ["AAPL", "GOOG", "MSFT"][row % 3];
        let cents = 10_000 + (row * 7919) % 5_000;
        writeln!(
            out,
            "{},{symbol},{}.{:02},{},{symbol}-{row}",
            ts.format("%Y-%m-%dT%H:%M:%SZ"),
            cents / 100,
            cents % 100,
            1 + row % 300
        )?;
    }
    Ok(out.flush()?)
}
