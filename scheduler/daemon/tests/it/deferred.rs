//! Deferred waits with a real leader, a real store and a worker in a process of its own that is killed.

use std::{
    path::{Path, PathBuf},
    process::Child,
    time::{Duration, Instant},
};

use daemon::leader::{self, Ear, LeaderError};
use link::transport::{UnixAcceptor, write_endpoint};
use model::{Command, DagId, TriggeredBy, command::TriggerDagRun};
use sqlx::PgPool;
use store::{Hints, read};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::{
    leader::{done, migrated, number, settings, until},
    worker::lives::worker_process_in,
};

/// A leader, and a worker that can be killed, in one directory.
struct Camp {
    dir: tempfile::TempDir,
    url: String,
    pool: PgPool,
    hints: Hints,
    leader: JoinHandle<Result<(), LeaderError>>,
    worker: Child,
    takeovers: u32,
}

impl Camp {
    async fn with(yaml: impl FnOnce(&Path) -> String) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("dags")).unwrap();
        std::fs::write(dir.path().join("dags/dags.yaml"), yaml(dir.path())).unwrap();
        let (url, pool) = migrated().await;
        let hints = Hints::listen(&pool).await.unwrap();
        let leader = lead(dir.path(), &url, 0);
        let worker = worker_process_in(dir.path());
        Self { dir, url, pool, hints, leader, worker, takeovers: 0 }
    }

    async fn trigger(&self, dag: &str) {
        let dag_id = DagId::new(dag).unwrap();
        until(dag, async || read::dag(&self.pool, &dag_id).await.unwrap().is_some()).await;
        done(&self.pool, &self.hints, Command::TriggerDagRun(TriggerDagRun::by_hand(dag_id, TriggeredBy::Test))).await;
    }

    /// `kill -9`, and another process on the same directory.
    fn kill_worker(&mut self) {
        self.worker.kill().unwrap();
        self.worker.wait().unwrap();
        self.worker = worker_process_in(self.dir.path());
    }

    /// The leader vanishes; the next one listens elsewhere.
    fn kill_leader(&mut self) {
        self.leader.abort();
        self.takeovers += 1;
        self.leader = lead(self.dir.path(), &self.url, self.takeovers);
    }

    fn appears(&self, file: &str) {
        std::fs::write(self.dir.path().join(file), "x").unwrap();
    }

    async fn count(&self, query: &str) -> i64 {
        number(&self.pool, query).await
    }
}

impl Drop for Camp {
    fn drop(&mut self) {
        self.leader.abort();
        let _ = self.worker.kill();
        let _ = self.worker.wait();
    }
}

fn lead(dir: &Path, url: &str, number: u32) -> JoinHandle<Result<(), LeaderError>> {
    let socket: PathBuf = dir.join(format!("leader-{number}.sock"));
    let acceptor = UnixAcceptor::bind(socket).unwrap();
    write_endpoint(&dir.join("endpoint"), acceptor.path()).unwrap();
    let settings = settings(url, &format!("leader-{number}"), &dir.join("dags"), &dir.join(".key"));
    let ear = Ear::new(leader::news_channel(), CancellationToken::new());
    tokio::spawn(leader::run(settings, Box::new(acceptor), ear))
}

fn dags(dir: &Path) -> String {
    let file = |name: &str| dir.join(name).display().to_string();
    let head = "schedule: null\n  is_paused_upon_creation: false\n  tasks:\n";
    format!(
        "parent:\n  {head}    \
         - {{task_id: wait, operator: file_sensor, filepath: {0}, deferrable: true, poke_interval: 200ms}}\n    \
         - {{task_id: after, operator: empty, dependencies: [wait]}}\n    \
         - {{task_id: follow, operator: trigger_dag_run, trigger_dag_id: child, wait_for_completion: true, deferrable: true, \
         poke_interval: 200ms}}\n\
         child:\n  {head}    \
         - {{task_id: gate, operator: file_sensor, filepath: {1}, deferrable: true, poke_interval: 200ms}}\n",
        file("first.csv"),
        file("second.csv")
    )
}

const DEFERRED: &str = "SELECT count(*) FROM task_instance WHERE state = 12 AND live";
const LOSSES: &str = "SELECT coalesce(sum(infrastructure_losses), 0)::bigint FROM task_instance_extra";
const SUCCEEDED: &str = "SELECT count(*) FROM task_instance WHERE state = 4";
const RUNS: &str = "SELECT count(*) FROM dag_run";
const FURTHER_TRIES: &str =
    "SELECT (SELECT count(*) FROM task_instance WHERE try_number > 1) + (SELECT count(*) FROM task_try)";

async fn attempts(pool: &PgPool) -> Vec<uuid::Uuid> {
    let query = "SELECT attempt FROM task_instance WHERE state = 12 AND live ORDER BY run_id, task_idx";
    sqlx::query_scalar(query).fetch_all(pool).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn waits_outlive_their_worker_and_their_leader_and_none_is_tried_twice() {
    let mut camp = Camp::with(dags).await;
    camp.trigger("parent").await;
    until("three instances are deferred", async || camp.count(DEFERRED).await == 3).await;
    let before = attempts(&camp.pool).await;

    camp.kill_worker();
    let killed = Instant::now();
    until("the next process has the waits", async || {
        let now = attempts(&camp.pool).await;
        now.len() == 3 && now.iter().all(|attempt| !before.contains(attempt))
    })
    .await;
    println!("the waits of a killed worker were held again after {:.1} s", killed.elapsed().as_secs_f64());

    camp.kill_leader();
    camp.appears("first.csv");
    // wait and after; follow and gate wait on.
    until("the wait ends under the next leader", async || camp.count(SUCCEEDED).await == 2).await;
    assert_eq!(camp.count(DEFERRED).await, 2);
    camp.appears("second.csv");
    until("all of it succeeds", async || camp.count(SUCCEEDED).await == 4).await;
    assert_eq!(camp.count(RUNS).await, 2, "the run that is waited for was made once");
    assert_eq!(camp.count(FURTHER_TRIES).await, 0);
    assert_eq!(camp.count(LOSSES).await, 0, "a wait that another process takes is no loss");
}

/// How many waits the next test has.
const MANY: i64 = 100_000;
const TASKS: i64 = 100;

/// Rows as a leader would have left them: a run for each hundred waits, all of them held by one worker under known ids.
async fn fill(pool: &PgPool, worker: i32) {
    let runs = "INSERT INTO dag_run (id, dag_id, run_id, run_type, state, version_id, logical_date, run_after, queued_at, started_at, \
                conf, triggered_by) SELECT 1000000 + n, dag_id, 'r' || n, run_type, 1, version_id, \
                '2090-01-01'::timestamptz + n * interval '1 h', run_after, queued_at, now(), conf, triggered_by \
                FROM dag_run, generate_series(1, 1000) AS n";
    sqlx::query(runs).execute(pool).await.unwrap();
    let rows = "INSERT INTO task_instance (run_id, task_idx, map_index, try_number, state, attempt, live, worker_id, queued_at, \
                started_at) SELECT r.id, t.task_idx, -1, 1, 12, \
                ('00000000-0000-4000-8000-' || lpad(to_hex(row_number() OVER ()), 12, '0'))::uuid, true, $1, now(), now() \
                FROM dag_run AS r, dag_task AS t WHERE r.state = 1 AND t.dag_id = 'many'";
    let done = sqlx::query(rows).bind(worker).execute(pool).await.unwrap();
    assert_eq!(i64::try_from(done.rows_affected()), Ok(MANY));
    let extra = "INSERT INTO task_instance_extra (run_id, task_idx, map_index, first_poke_at) \
                 SELECT run_id, task_idx, map_index, now() FROM task_instance";
    sqlx::query(extra).execute(pool).await.unwrap();
}

fn rss_mib(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "it takes minutes: cargo test -p windlass-daemon --test it a_hundred_thousand -- --ignored --nocapture"]
async fn a_hundred_thousand_waits_fit_on_a_worker_and_come_back_when_it_is_killed() {
    let many = |_: &Path| {
        let task = |number| {
            format!(
                "  - {{task_id: t{number}, operator: date_time_sensor, target_time: '{{{{ ts }}}}', deferrable: true}}\n"
            )
        };
        let tasks: String = (0..TASKS).map(task).collect();
        format!("dag_id: many\nschedule: null\nis_paused_upon_creation: true\nmax_active_runs: 2000\ntasks:\n{tasks}")
    };
    let mut camp = Camp::with(many).await;
    camp.trigger("many").await;
    let worker = i32::try_from(camp.count("SELECT max(id)::bigint FROM worker").await).unwrap();
    camp.leader.abort();
    camp.worker.kill().unwrap();
    camp.worker.wait().unwrap();
    fill(&camp.pool, worker).await;
    let empty = rss_mib(std::process::id());

    camp.worker = worker_process_in(camp.dir.path());
    camp.kill_leader();
    let killed = Instant::now();
    let old = "SELECT count(*) FROM task_instance WHERE attempt < '00000000-0000-4000-8001-000000000000'";
    until("a new leader and a new worker have them", async || camp.count(old).await == 0).await;
    println!("leader and worker killed: {MANY} waits were handed over after {:.1} s", killed.elapsed().as_secs_f64());
    tokio::time::sleep(Duration::from_secs(60)).await;
    let (leader, held) = (rss_mib(std::process::id()), rss_mib(camp.worker.id()));
    println!("resident: worker {held:.0} MiB, leader {leader:.0} MiB (this test without waits: {empty:.0} MiB)");
    assert!(held < 500.0, "the waits of one node take less than 500 MiB");

    let before = attempts(&camp.pool).await;
    camp.kill_leader();
    let joined = "SELECT count(*) FROM leader WHERE epoch >= 3";
    until("the third leader leads", async || camp.count(joined).await == 1).await;
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(attempts(&camp.pool).await, before, "the worker holds every one, and no leader hands it over again");

    camp.kill_worker();
    let killed = Instant::now();
    let (first, last) = (before[0], before[before.len() - 1]);
    let old = format!("SELECT count(*) FROM task_instance WHERE attempt IN ('{first}', '{last}')");
    until("the next worker has them", async || camp.count(&old).await == 0).await;
    println!("worker killed: {MANY} waits were handed over after {:.1} s", killed.elapsed().as_secs_f64());
}
