//! What a task costs that is a process: a real leader, worker and PostgreSQL, beside the raw start of the same process.
//!
//! The machine may be busy, so that each round measures everything in turn, and the ratio counts. What a task costs in
//! time of the processors, of the worker and all below it, says the same on a busy machine.

use std::{
    fmt::Write as _,
    path::Path,
    process::{Child, Command as Program, Stdio},
    sync::Arc,
    time::Instant,
};

use anyhow::Context;
use daemon::{
    leader::{self, Ear},
    worker::{self, WorkerSettings},
};
use executor::process::tree;
use link::transport::{UnixAcceptor, UnixConnector, write_endpoint};
use model::{Command, DagId, command::Paused};
use serde_json::{Value, json};
use sqlx::PgPool;
use store::Hints;
use tokio_util::sync::CancellationToken;

use crate::{
    median,
    scheduler::{
        CHAIN, RUN_WITHIN, ask, chain, head, leader_settings, one_run, open_default_pool, until_stored, with_postgres,
    },
};

const WIDE: usize = 2_000;
const RAW_SPAWNS: usize = 1_000;
const ROUNDS: usize = 5;
/// What a worker has unless it is told otherwise.
const SLOTS: u32 = 16;
/// The kernel's unit for times of processes, on every Linux that runs today.
const TICKS_PER_S: f64 = 100.0;

/// Measures; the medians of several rounds.
#[tokio::main]
pub async fn run() -> anyhow::Result<Value> {
    with_postgres(measure).await
}

/// A worker of the leader in this folder, until it is killed.
#[tokio::main]
pub async fn worker(home: &str) -> anyhow::Result<()> {
    let home = Path::new(home);
    let mut settings = WorkerSettings::new(home.join("logs"), home.join("tmp"));
    settings.slots = SLOTS;
    let connector = Arc::new(UnixConnector::new(home.join("endpoint")));
    Ok(worker::run(settings, connector, CancellationToken::new()).await?)
}

async fn measure(home: &Path, url: &str) -> anyhow::Result<Value> {
    let pool = store::open(url).await?;
    store::migrate(&pool).await?;
    let dags = home.join("bench-dags");
    std::fs::create_dir_all(&dags)?;
    std::fs::write(dags.join("chain.yaml"), chain("chain", "bash\n    bash_command: 'true'"))?;
    std::fs::write(dags.join("wide.yaml"), wide())?;
    let acceptor = UnixAcceptor::bind(home.join("leader.sock"))?;
    write_endpoint(&home.join("endpoint"), acceptor.path())?;
    let shutdown = CancellationToken::new();
    let settings = leader_settings(home, url, dags)?;
    let ear = Ear::new(leader::news_channel(), shutdown.clone());
    let leading = tokio::spawn(leader::run(settings, Box::new(acceptor), ear));
    let mut working = Program::new(std::env::current_exe()?).arg("worker").arg(home).stdin(Stdio::null()).spawn()?;
    let figures = figures(&pool, &working).await;
    working.kill()?;
    working.wait()?;
    shutdown.cancel();
    leading.await??;
    figures
}

/// One round's figures.
struct Round {
    spawns_per_s: f64,
    cpu_ms_a_spawn: f64,
    tasks_per_s: f64,
    cpu_ms_a_task: f64,
    ms_a_step: f64,
}

async fn figures(pool: &PgPool, worker: &Child) -> anyhow::Result<Value> {
    let hints = Hints::listen(pool).await?;
    open_default_pool(pool, &hints).await?;
    let [wide, chain] = [DagId::new("wide")?, DagId::new("chain")?];
    for dag_id in [&wide, &chain] {
        until_stored(pool, dag_id).await?;
        ask(pool, &hints, Command::PauseDag { dag_id: dag_id.clone(), to: Paused::Active }).await?;
    }
    // The first run makes what later ones use again.
    one_run(pool, &hints, &chain).await?;
    let own = i32::try_from(std::process::id())?;
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let before = ticks(own).context("this process is there")?;
        let spawns_per_s = tokio::task::spawn_blocking(raw_spawns).await??;
        let spawning = ticks(own).context("this process is there")? - before;
        let cpu_ms_a_spawn = spawning as f64 / TICKS_PER_S * 1000.0 / RAW_SPAWNS as f64;
        let before = cpu_secs(worker)?;
        let secs = one_run(pool, &hints, &wide).await?;
        let cpu_ms_a_task = (cpu_secs(worker)? - before) * 1000.0 / WIDE as f64;
        let ms_a_step = one_run(pool, &hints, &chain).await? * 1000.0 / CHAIN as f64;
        rounds.push(Round { spawns_per_s, cpu_ms_a_spawn, tasks_per_s: WIDE as f64 / secs, cpu_ms_a_task, ms_a_step });
    }
    let middle = |figure: fn(&Round) -> f64| median(rounds.iter().map(figure).collect());
    Ok(json!({
        "benchmark": "processes",
        "raw_spawns_per_s": middle(|round| round.spawns_per_s),
        "tasks_per_s": middle(|round| round.tasks_per_s),
        "tasks_in_raw_spawns": middle(|round| round.tasks_per_s / round.spawns_per_s),
        "chain_of_100_ms_a_step": middle(|round| round.ms_a_step),
        "chain_step_in_raw_spawns": middle(|round| round.ms_a_step * round.spawns_per_s / 1000.0),
        "raw_spawn_cpu_ms": middle(|round| round.cpu_ms_a_spawn),
        "worker_cpu_ms_a_task": middle(|round| round.cpu_ms_a_task),
        "worker_cpu_in_raw_spawns": middle(|round| round.cpu_ms_a_task / round.cpu_ms_a_spawn),
        "tasks": WIDE,
        "slots": SLOTS,
        "rounds": ROUNDS,
    }))
}

/// Starts of `bash -c true` a second, as many at once as there are processors: what tasks can not be faster than.
fn raw_spawns() -> anyhow::Result<f64> {
    let threads = std::thread::available_parallelism()?.get();
    let start = Instant::now();
    let spawn = || -> anyhow::Result<()> {
        for _ in 0..RAW_SPAWNS / threads {
            let mut command = Program::new("bash");
            command.args(["-c", "true"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            anyhow::ensure!(command.status()?.success(), "bash -c true has failed");
            anyhow::ensure!(start.elapsed() < RUN_WITHIN, "raw spawns do not end");
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let spawning: Vec<_> = (0..threads).map(|_| scope.spawn(spawn)).collect();
        spawning.into_iter().try_for_each(|one| one.join().expect("a spawner does not panic"))
    })?;
    Ok((RAW_SPAWNS / threads * threads) as f64 / start.elapsed().as_secs_f64())
}

/// What the worker and everything below it have used so far, the dead included.
fn cpu_secs(worker: &Child) -> anyhow::Result<f64> {
    let worker = i32::try_from(worker.id())?;
    let below = tree::below(worker).into_iter().map(|found| found.pid);
    let own = ticks(worker).context("the worker is gone")?;
    Ok((own + below.filter_map(ticks).sum::<u64>()) as f64 / TICKS_PER_S)
}

fn ticks(process: i32) -> Option<u64> {
    // After the name: state is field 3, and utime, stime, cutime and cstime are 14 to 17.
    const FIRST: usize = 14 - 3;
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let fields = stat.rsplit_once(')')?.1.split_whitespace().skip(FIRST).take(4);
    fields.map(|field| field.parse::<u64>().ok()).sum()
}

fn wide() -> String {
    let mut text = head("wide");
    for n in 0..WIDE {
        let _infallible = writeln!(text, "  - task_id: t{n}\n    operator: bash\n    bash_command: 'true'");
    }
    text
}
