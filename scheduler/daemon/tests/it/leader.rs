//! Two leaders on one database: one leads, the other stands by and takes over when the first is gone.

use std::{collections::BTreeSet, path::Path, sync::Arc, time::Duration};

use daemon::leader::{self, Ear, LeaderError, LeaderSettings, LocalPort, News};
use link::{
    FromWorker, Hello, ToWorker,
    transport::{ChannelConnector, Connector, in_process},
};
use model::{
    AttemptEnd, AttemptId, Capability, Command, DagId, DagRunState, EndKind, RunId, TriggeredBy,
    command::{Paused, TriggerDagRun},
};
use sqlx::{ConnectOptions, Executor, PgPool, postgres::PgConnectOptions};
use store::{Hints, SecretKey, inbox, read};
use tokio::{sync::mpsc, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub const WITHIN: Duration = Duration::from_secs(120);

/// A database of its own on the test server.
pub async fn database() -> String {
    let server = std::env::var("WINDLASS_TEST_DATABASE_URL").expect("test.sh sets WINDLASS_TEST_DATABASE_URL");
    let options: PgConnectOptions = server.parse().unwrap();
    let name = format!("leader_{}", Uuid::new_v4().simple());
    let mut connection = options.connect().await.unwrap();
    connection.execute(format!("CREATE DATABASE {name}").as_str()).await.unwrap();
    let (address, _) = server.rsplit_once('/').unwrap();
    format!("{address}/{name}")
}

/// A store that nobody has used yet, and how it is reached.
pub async fn migrated() -> (String, PgPool) {
    let url = database().await;
    let pool = store::open(&url).await.unwrap();
    store::migrate(&pool).await.unwrap();
    (url, pool)
}

/// Waits until something is so.
pub async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(WITHIN, waiting).await.unwrap_or_else(|_| panic!("never: {what}"));
}

/// What a query counts.
pub async fn number(pool: &PgPool, query: &str) -> i64 {
    sqlx::query_scalar(query).fetch_one(pool).await.unwrap()
}

/// A leader that runs in this process.
pub struct Running {
    pub task: JoinHandle<Result<(), LeaderError>>,
    pub connector: ChannelConnector,
    pub port: LocalPort,
}

pub fn lead(url: &str, name: &str, folder: &Path) -> Running {
    lead_with(url, name, folder, &folder.join(".key"), leader::news_channel())
}

pub type NewsChannel = (mpsc::Sender<News>, mpsc::Receiver<News>);

pub fn lead_with(url: &str, name: &str, folder: &Path, key: &Path, news: NewsChannel) -> Running {
    lead_of(settings(url, name, folder, key), news)
}

/// What a leader of the DAGs in a folder is given.
pub fn settings(url: &str, name: &str, folder: &Path, key: &Path) -> LeaderSettings {
    LeaderSettings {
        database_url: url.to_owned(),
        name: name.to_owned(),
        endpoint: name.to_owned(),
        dags: daemon::leader::DagSource::Folder(folder.to_owned()),
        bundles: Arc::default(),
        secret_key: SecretKey::from_file_or_create(key).unwrap(),
        secrets: Default::default(),
        metrics: leader::LeaderMetrics::default(),
        retention: Default::default(),
        engine: engine::Settings::default(),
    }
}

pub fn lead_of(settings: LeaderSettings, news: NewsChannel) -> Running {
    let (connector, acceptor) = in_process();
    let ear = Ear::new(news, CancellationToken::new());
    let port = ear.port();
    Running { task: tokio::spawn(leader::run(settings, Box::new(acceptor), ear)), connector, port }
}

pub fn hello(identity: Uuid, attempts: BTreeSet<AttemptId>) -> FromWorker {
    FromWorker::Hello(Hello {
        protocol: link::PROTOCOL_VERSION,
        protocol_oldest: None,
        worker: identity,
        incarnation: Uuid::from_u128(1),
        name: "hand".to_owned(),
        slots: 4,
        queues: BTreeSet::from(["default".to_owned()]),
        capabilities: BTreeSet::from([Capability::Light, Capability::Process]),
        attempts,
        services: BTreeSet::new(),
        operators: link::known_operators(),
        leaving: false,
        up_micros: None,
        tries_connections: false,
        notifies: false,
    })
}

/// A leader with its DAGs. Modules give it what they ask of it.
pub struct Scene {
    pub folder: tempfile::TempDir,
    pub url: String,
    pub pool: PgPool,
    pub hints: Hints,
    pub leader: Running,
}

impl Scene {
    /// Starts a leader, and waits until it knows these DAGs of the file.
    pub async fn with(yaml: &str, dags: &[&str]) -> Self {
        Self::with_secrets(yaml, dags, Arc::default()).await
    }

    /// The same, with a leader that asks these backends.
    pub async fn with_secrets(yaml: &str, dags: &[&str], secrets: Arc<secrets::Backends>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("dags.yaml"), yaml).unwrap();
        let (url, pool) = migrated().await;
        let hints = Hints::listen(&pool).await.unwrap();
        let usual = settings(&url, "first", folder.path(), &folder.path().join(".key"));
        let leader = lead_of(LeaderSettings { secrets, ..usual }, leader::news_channel());
        for dag in dags {
            let dag_id = DagId::new(*dag).unwrap();
            until(dag, async || read::dag(&pool, &dag_id).await.unwrap().is_some()).await;
        }
        Self { folder, url, pool, hints, leader }
    }
}

pub async fn done(pool: &PgPool, hints: &Hints, command: Command) -> serde_json::Value {
    let id = inbox::submit(pool, &command, "test").await.unwrap();
    inbox::await_answer(pool, hints, id, WITHIN).await.unwrap().expect("a leader answers").body
}

async fn run_state(pool: &PgPool, dag: &DagId, run: &RunId) -> DagRunState {
    read::run(pool, dag, run).await.unwrap().unwrap().state
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_takes_over_and_the_running_attempt_is_not_disturbed() {
    let folder = tempfile::tempdir().unwrap();
    let yaml = "dag_id: two\nschedule: null\ntasks:\n  - {task_id: a, operator: bash, bash_command: 'true'}\n  \
                - {task_id: b, operator: bash, bash_command: 'true', dependencies: [a]}\n";
    std::fs::write(folder.path().join("two.yaml"), yaml).unwrap();
    let (url, pool) = migrated().await;
    let hints = Hints::listen(&pool).await.unwrap();

    let first = lead(&url, "first", folder.path());
    let identity = Uuid::new_v4();
    let mut worker = first.connector.connect().await.unwrap();
    worker.send(hello(identity, BTreeSet::new())).await.unwrap();
    let dag = DagId::new("two").unwrap();
    until("the DAG is there", async || read::dag(&pool, &dag).await.unwrap().is_some()).await;
    let second = lead(&url, "second", folder.path());

    done(&pool, &hints, Command::PauseDag { dag_id: dag.clone(), to: Paused::Active }).await;
    let answer =
        done(&pool, &hints, Command::TriggerDagRun(TriggerDagRun::by_hand(dag.clone(), TriggeredBy::Test))).await;
    let run = RunId::new(answer["run_id"].as_str().unwrap()).unwrap();
    let attempt = next_assignment(&mut worker).await;

    // The first leader vanishes while the attempt runs. Its connections are ended by the one that takes over.
    first.task.abort();
    drop(worker);
    let mut worker = second.connector.connect().await.unwrap();
    worker.send(hello(identity, BTreeSet::from([attempt]))).await.unwrap();
    loop {
        if let ToWorker::Welcome { live, .. } = receive(&mut worker).await {
            assert_eq!(live, BTreeSet::from([attempt]), "the attempt goes on under the new leader");
            break;
        }
    }
    end(&worker, 1, attempt).await;
    let next = next_assignment(&mut worker).await;
    end(&worker, 2, next).await;
    until("the run succeeds", async || run_state(&pool, &dag, &run).await == DagRunState::Success).await;
    second.task.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_word_to_a_worker_is_welcome_however_long_the_leader_was_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (url, pool) = migrated().await;
    let leader = lead(&url, "alone", folder.path());
    // A leader raises its lease each second; after three a beat is due.
    until("it beats", async || read::leader(&pool).await.unwrap().lease >= 3).await;
    let mut worker = leader.connector.connect().await.unwrap();
    worker.send(hello(Uuid::new_v4(), BTreeSet::new())).await.unwrap();
    assert!(matches!(receive(&mut worker).await, ToWorker::Welcome { .. }));
    assert!(matches!(receive(&mut worker).await, ToWorker::Ack { .. }));
    leader.task.abort();
}

pub async fn receive(worker: &mut link::transport::WorkerLink) -> ToWorker {
    let message = tokio::time::timeout(WITHIN, worker.recv()).await.expect("the leader says something");
    message.unwrap().expect("the connection is open")
}

pub async fn next_assignment(worker: &mut link::transport::WorkerLink) -> AttemptId {
    loop {
        if let ToWorker::Assign(assignment) = receive(worker).await {
            return assignment.attempt;
        }
    }
}

async fn end(worker: &link::transport::WorkerLink, seq: u64, attempt: AttemptId) {
    let end = Box::new(AttemptEnd::new(EndKind::Success, ""));
    worker.send(FromWorker::Ended { seq, attempt, end }).await.unwrap();
}
