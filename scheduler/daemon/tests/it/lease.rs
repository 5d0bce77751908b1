//! A leader whose way to PostgreSQL fails, or whose clock is not the database's.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use daemon::postgres::EmbeddedPostgres;
use link::{ToWorker, transport::Connector as _};
use model::{
    Command, DagId, TriggeredBy,
    command::{Paused, TriggerDagRun},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use sqlx::{Executor, PgPool};
use store::{Hints, read};
use uuid::Uuid;

use crate::leader::{done, hello, lead, migrated, receive, until};

/// A server of this test alone, all of whose processes can be stopped and let go on.
struct Server {
    postgres: Option<EmbeddedPostgres>,
    postmaster: Pid,
    _home: tempfile::TempDir,
}

impl Server {
    async fn start() -> Self {
        let home = tempfile::tempdir().unwrap();
        let postgres = EmbeddedPostgres::start(home.path()).await.unwrap();
        let pool = store::open(postgres.state_url()).await.unwrap();
        let data: String = sqlx::query_scalar("SHOW data_directory").fetch_one(&pool).await.unwrap();
        pool.close().await;
        let pid = std::fs::read_to_string(Path::new(&data).join("postmaster.pid")).unwrap();
        let postmaster = Pid::from_raw(pid.lines().next().unwrap().trim().parse().unwrap());
        Self { postgres: Some(postgres), postmaster, _home: home }
    }

    fn url(&self) -> &str {
        self.postgres.as_ref().unwrap().state_url()
    }

    /// The server's first process and its children.
    fn processes(&self) -> Vec<Pid> {
        let parent = format!("PPid:\t{}", self.postmaster);
        let folders = std::fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
        let is_child =
            |path: &PathBuf| std::fs::read_to_string(path.join("status")).is_ok_and(|text| text.contains(&parent));
        let number = |path: PathBuf| path.file_name()?.to_str()?.parse().ok().map(Pid::from_raw);
        let children = folders.filter(is_child).filter_map(number);
        [self.postmaster].into_iter().chain(children).collect()
    }

    fn signal(&self, signal: Signal) {
        for process in self.processes() {
            // A backend may have ended meanwhile.
            let _ended = kill(process, signal);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.signal(Signal::SIGCONT);
        let _ended = kill(self.postmaster, Signal::SIGQUIT);
        drop(self.postgres.take());
    }
}

async fn lease(pool: &PgPool) -> i64 {
    read::leader(pool).await.unwrap().lease
}

async fn epoch(pool: &PgPool) -> i64 {
    store::cluster::leader_seat(pool).await.unwrap().epoch.get()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_has_lost_the_database_tells_no_worker_that_it_lives_and_leads_again_when_it_is_back() {
    let (folder, server) = (tempfile::tempdir().unwrap(), Server::start().await);
    let pool = store::open(server.url()).await.unwrap();
    store::migrate(&pool).await.unwrap();
    let leader = lead(server.url(), "first", folder.path());
    let identity = Uuid::new_v4();
    let mut worker = leader.connector.connect().await.unwrap();
    worker.send(hello(identity, BTreeSet::new())).await.unwrap();
    for _ in 0..3 {
        while !matches!(receive(&mut worker).await, ToWorker::Ack { .. }) {}
    }
    let before = lease(&pool).await;

    server.signal(Signal::SIGSTOP);
    let frozen = Instant::now();
    let mut last_ack = Duration::ZERO;
    // The worker beats; the leader says that it lives, and then nothing until its connection closes.
    let closed = loop {
        worker.send(link::FromWorker::Beat { services: Vec::new(), started: Vec::new(), leaving: false }).await.ok();
        match tokio::time::timeout(Duration::from_secs(1), worker.recv()).await {
            Ok(Ok(Some(ToWorker::Ack { .. }))) => last_ack = frozen.elapsed(),
            Ok(Ok(Some(_))) | Err(_) => {}
            Ok(Ok(None) | Err(_)) => break frozen.elapsed(),
        }
        assert!(frozen.elapsed() < Duration::from_secs(40), "a leadership that nobody confirms ends");
    };
    println!("last acknowledgement {last_ack:?} after the database froze, connection closed after {closed:?}");
    assert!(last_ack < Duration::from_millis(11_500), "{last_ack:?}");
    assert!(last_ack > Duration::from_secs(6), "a short outage kills no task: {last_ack:?}");

    server.signal(Signal::SIGCONT);
    let mut worker = leader.connector.connect().await.unwrap();
    worker.send(hello(identity, BTreeSet::new())).await.unwrap();
    while !matches!(receive(&mut worker).await, ToWorker::Welcome { .. }) {}
    until("the lease goes on", async || lease(&pool).await > before + 3).await;
    let hints = Hints::listen(&pool).await.unwrap();
    done(&pool, &hints, Command::PauseDag { dag_id: DagId::new("none").unwrap(), to: Paused::Active }).await;
    leader.task.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_whose_connection_is_lost_is_kept_on_a_new_one() {
    let folder = tempfile::tempdir().unwrap();
    let (url, pool) = migrated().await;
    let leader = lead(&url, "first", folder.path());
    for _ in 0..2 {
        let before = lease(&pool).await;
        until("the lease is kept", async || lease(&pool).await > before + 1).await;
        let end = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
                   WHERE application_name = 'windlass lease' AND datname = current_database()";
        pool.execute(end).await.unwrap();
    }
    let before = lease(&pool).await;
    until("the lease is kept again", async || lease(&pool).await > before + 1).await;
    assert_eq!(epoch(&pool).await, 1, "and by the same leadership");
    leader.task.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_leaders_clock_follows_the_databases() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("d.yaml"), "dag_id: d\nschedule: null\ntasks: [{task_id: a, operator: empty}]\n")
        .unwrap();
    let (url, pool) = migrated().await;
    // A database whose clock can be set.
    let clock = "CREATE SCHEMA fake; CREATE TABLE fake.off (by interval); INSERT INTO fake.off VALUES ('0');
        CREATE FUNCTION fake.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS
            'SELECT pg_catalog.clock_timestamp() + by FROM fake.off';
        DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET search_path TO fake, pg_catalog, public', current_database()); END $$";
    pool.execute(clock).await.unwrap();
    let leader = lead(&url, "first", folder.path());
    let hints = Hints::listen(&pool).await.unwrap();
    let dag = DagId::new("d").unwrap();
    until("the DAG is there", async || read::dag(&pool, &dag).await.unwrap().is_some()).await;
    let lag = async || -> f64 {
        let wish = TriggerDagRun::by_hand(dag.clone(), TriggeredBy::Test);
        done(&pool, &hints, Command::TriggerDagRun(wish)).await;
        let behind = "SELECT extract(epoch FROM pg_catalog.clock_timestamp() - max(queued_at))::float8 FROM dag_run";
        sqlx::query_scalar(behind).fetch_one(&pool).await.unwrap()
    };
    assert!(lag().await < 1.0);
    pool.execute("UPDATE fake.off SET by = '8 hours'").await.unwrap();
    until("eight hours are followed", async || lag().await < -7.9 * 3600.0).await;
    // A small step back: time goes on, slower.
    pool.execute("UPDATE fake.off SET by = '7 hours 59 minutes 58 seconds'").await.unwrap();
    until("two seconds are taken back", async || lag().await > -8.0 * 3600.0 + 1.5).await;
    let order =
        "SELECT count(*) FROM (SELECT queued_at < lag(queued_at) OVER (ORDER BY id) AS back FROM dag_run) r WHERE back";
    assert_eq!(sqlx::query_scalar::<_, i64>(order).fetch_one(&pool).await.unwrap(), 0, "time never goes back");
    assert_eq!(epoch(&pool).await, 1);
    leader.task.abort();
}
