//! The scheduler's figures: ms a step of a chain, tasks a second of a fan, beside raw commits.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::Context;
use daemon::{
    leader::{self, DagSource, Ear, LeaderMetrics, LeaderSettings},
    postgres::EmbeddedPostgres,
};
use link::transport::in_process;
use model::{
    AnswerStatus, Command, DagId, RunId, TriggeredBy,
    command::{Paused, Pool, TriggerDagRun},
};
use serde_json::{Value, json};
use sqlx::PgPool;
use store::{Hints, SecretKey, inbox, read};
use tokio_util::sync::CancellationToken;

use crate::{median, null_worker};

pub(crate) const CHAIN: usize = 100;
const FAN: usize = 10_000;
const ROUNDS: usize = 5;
const RAW_COMMITS: usize = 2_000;
/// No benchmark run takes longer on any machine that is worth measuring.
pub(crate) const RUN_WITHIN: Duration = Duration::from_secs(120);

/// Measures; the medians of several rounds.
#[tokio::main]
pub async fn run() -> anyhow::Result<Value> {
    with_postgres(measure).await
}

/// Measures on a new PostgreSQL: the folder of its home, and the URL of its state database.
pub(crate) async fn with_postgres(
    measure: impl AsyncFnOnce(&Path, &str) -> anyhow::Result<Value>,
) -> anyhow::Result<Value> {
    let home = tempfile::tempdir()?;
    let postgres = EmbeddedPostgres::start(home.path()).await?;
    let measured = measure(home.path(), postgres.state_url()).await;
    postgres.stop().await;
    measured
}

/// A leader of the DAGs in this folder.
pub(crate) fn leader_settings(home: &Path, url: &str, dags: PathBuf) -> anyhow::Result<LeaderSettings> {
    Ok(LeaderSettings {
        database_url: url.to_owned(),
        name: "bench".to_owned(),
        endpoint: String::new(),
        dags: DagSource::Folder(dags),
        bundles: Default::default(),
        secret_key: SecretKey::from_file_or_create(&home.join("bench.key"))?,
        secrets: Default::default(),
        metrics: LeaderMetrics::default(),
        retention: Default::default(),
        engine: engine::Settings::default(),
    })
}

/// Gives the default pool as many slots as anybody asks for.
pub(crate) async fn open_default_pool(pool: &PgPool, hints: &Hints) -> anyhow::Result<()> {
    let endless = Pool {
        name: Pool::DEFAULT.to_owned(),
        slots: None,
        description: String::new(),
        include_deferred: false,
        rate_limit: None,
    };
    ask(pool, hints, Command::SetPool(endless)).await.map(drop)
}

async fn measure(home: &Path, url: &str) -> anyhow::Result<Value> {
    let pool = store::open(url).await?;
    store::migrate(&pool).await?;
    let raw = raw_commits(&pool).await?;
    let dags = home.join("bench-dags");
    write_dags(&dags)?;
    let (connector, acceptor) = in_process();
    let shutdown = CancellationToken::new();
    let settings = leader_settings(home, url, dags)?;
    let ear = Ear::new(leader::news_channel(), shutdown.clone());
    let leading = tokio::spawn(leader::run(settings, Box::new(acceptor), ear));
    let working = tokio::spawn(null_worker::serve(connector));
    let figures = figures(&pool, raw).await;
    shutdown.cancel();
    leading.await??;
    working.abort();
    figures
}

async fn figures(pool: &PgPool, raw: f64) -> anyhow::Result<Value> {
    let hints = Hints::listen(pool).await?;
    open_default_pool(pool, &hints).await?;
    let chain = rounds(pool, &hints, "chain").await?;
    let fan = rounds(pool, &hints, "fan").await?;
    let empty = rounds(pool, &hints, "empty_chain").await?;
    let step = chain * 1000.0 / CHAIN as f64;
    Ok(json!({
        "benchmark": "scheduler",
        "raw_commit_ms": 1000.0 / raw,
        "raw_commits_per_s": raw,
        "chain_of_100_ms_a_step": step,
        "chain_step_in_raw_commits": step * raw / 1000.0,
        "empty_chain_of_100_ms_a_step": empty * 1000.0 / CHAIN as f64,
        "fan_1_10000_1_tasks_per_s": (FAN + 2) as f64 / fan,
        "fan_tasks_in_raw_commits": (FAN + 2) as f64 / fan / raw,
        "rounds": ROUNDS,
    }))
}

/// Durable commits of one row on one connection: what a step can not be faster than.
async fn raw_commits(pool: &PgPool) -> anyhow::Result<f64> {
    sqlx::query("CREATE TABLE bench_raw (n int)").execute(pool).await?;
    let mut connection = pool.acquire().await?;
    let start = Instant::now();
    for n in 0..RAW_COMMITS {
        sqlx::query("INSERT INTO bench_raw VALUES ($1)").bind(i32::try_from(n)?).execute(&mut *connection).await?;
    }
    Ok(RAW_COMMITS as f64 / start.elapsed().as_secs_f64())
}

async fn rounds(pool: &PgPool, hints: &Hints, dag: &str) -> anyhow::Result<f64> {
    let dag_id = DagId::new(dag)?;
    until_stored(pool, &dag_id).await?;
    ask(pool, hints, Command::PauseDag { dag_id: dag_id.clone(), to: Paused::Active }).await?;
    let mut seconds = Vec::new();
    for _ in 0..ROUNDS {
        seconds.push(one_run(pool, hints, &dag_id).await?);
    }
    Ok(median(seconds))
}

pub(crate) async fn one_run(pool: &PgPool, hints: &Hints, dag_id: &DagId) -> anyhow::Result<f64> {
    let trigger = TriggerDagRun::by_hand(dag_id.clone(), TriggeredBy::Test);
    let answer = ask(pool, hints, Command::TriggerDagRun(trigger)).await?;
    let run_id = RunId::new(answer["run_id"].as_str().context("the answer names no run")?)?;
    let start = Instant::now();
    loop {
        let run = read::run(pool, dag_id, &run_id).await?.context("the run is gone")?;
        if let (true, Some(from), Some(to)) = (run.state.is_finished(), run.started_at, run.ended_at) {
            anyhow::ensure!(run.state == model::DagRunState::Success, "{dag_id} has failed");
            return Ok((to - from).as_seconds_f64());
        }
        anyhow::ensure!(start.elapsed() < RUN_WITHIN, "{dag_id} does not end");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub(crate) async fn until_stored(pool: &PgPool, dag_id: &DagId) -> anyhow::Result<()> {
    let start = Instant::now();
    while read::dag(pool, dag_id).await?.is_none() {
        anyhow::ensure!(start.elapsed() < RUN_WITHIN, "{dag_id} is not read");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

pub(crate) async fn ask(pool: &PgPool, hints: &Hints, command: Command) -> anyhow::Result<Value> {
    let id = inbox::submit(pool, &command, "bench").await?;
    let answer = inbox::await_answer(pool, hints, id, RUN_WITHIN).await?.context("the leader does not answer")?;
    anyhow::ensure!(answer.status == AnswerStatus::Done, "refused: {}", answer.body);
    Ok(answer.body)
}

fn write_dags(folder: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder)?;
    std::fs::write(folder.join("chain.yaml"), chain("chain", "bash\n    bash_command: 'true'"))?;
    std::fs::write(folder.join("empty_chain.yaml"), chain("empty_chain", "empty"))?;
    std::fs::write(folder.join("fan.yaml"), fan())?;
    Ok(())
}

pub(crate) fn head(dag: &str) -> String {
    format!("dag_id: {dag}\nschedule: null\nmax_active_tasks: 20000\ntasks:\n")
}

pub(crate) fn chain(dag: &str, operator: &str) -> String {
    let mut text = head(dag);
    for n in 0..CHAIN {
        let before = if n == 0 { String::new() } else { format!("\n    dependencies: [t{}]", n - 1) };
        let _infallible = writeln!(text, "  - task_id: t{n}\n    operator: {operator}{before}");
    }
    text
}

fn fan() -> String {
    const BASH: &str = "operator: bash\n    bash_command: 'true'";
    let mut text = head("fan");
    let _infallible = writeln!(text, "  - task_id: first\n    {BASH}");
    let mut all = String::new();
    for n in 0..FAN {
        let _infallible = writeln!(text, "  - task_id: t{n}\n    {BASH}\n    dependencies: [first]");
        let _infallible = write!(all, "{}t{n}", if n == 0 { "" } else { ", " });
    }
    let _infallible = writeln!(text, "  - task_id: last\n    {BASH}\n    dependencies: [{all}]");
    text
}
