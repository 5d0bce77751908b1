//! A leader in the test's hands.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use link::{
    Acceptor, Assignment, Connector, FetchItem, Fetched, FromWorker, Hello, LeaderLink, ServiceStart, TaskContext,
    ToWorker,
    query::LogName,
    transport::{UnixAcceptor, UnixConnector, write_endpoint},
};
use model::{
    AttemptEnd, AttemptId, DagId, Epoch, MapIndex, Operator, RunId, RunKey, RunType, ServiceKey, TaskId, TaskIdx,
    TiKey, TryNumber,
    operator::{Bash, ReadyWhen, ServiceSpec},
};
use tokio::{task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use windlass_daemon::worker::{self, Shutdown, WorkerError, WorkerSettings};

/// Nothing in these tests takes longer unless it is broken.
const PATIENCE: Duration = Duration::from_secs(30);
/// A leader acknowledges at least so often.
const ACK_EVERY: Duration = Duration::from_millis(300);

/// A directory with a leader's socket and a worker's logs.
pub struct Place {
    pub dir: tempfile::TempDir,
    acceptor: UnixAcceptor,
}

/// The leader's side of one connection.
pub struct Leader {
    link: LeaderLink,
    pub hello: Hello,
    /// The highest report that came.
    seen: u64,
    acks: Acks,
    /// Whether fetches are answered with nothing; else the test answers them.
    pub answers: bool,
}

/// Whether the leader acknowledges.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Acks {
    Sent,
    Withheld,
}

/// A worker in this process.
pub struct Worker {
    pub task: JoinHandle<Result<(), WorkerError>>,
    /// Ends it at once.
    pub shutdown: CancellationToken,
    /// Asks it as signals do.
    pub asked: Shutdown,
}

impl Place {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let acceptor = UnixAcceptor::bind(dir.path().join("leader.sock")).unwrap();
        write_endpoint(&dir.path().join("endpoint"), acceptor.path()).unwrap();
        Self { dir, acceptor }
    }

    pub fn log_dir(&self) -> PathBuf {
        self.dir.path().join("logs")
    }

    /// Listens elsewhere. A worker that ends while nothing acknowledges its reports may have asked for its leader again,
    /// and that connection would be taken for the next worker's.
    pub fn listen_anew(&mut self) {
        self.acceptor = UnixAcceptor::bind(self.dir.path().join(format!("{}.sock", Uuid::new_v4().simple()))).unwrap();
        write_endpoint(&self.dir.path().join("endpoint"), self.acceptor.path()).unwrap();
    }

    /// Starts a worker in this process.
    pub fn worker(&self) -> Worker {
        self.worker_with(|_| {})
    }

    pub fn worker_with(&self, change: impl FnOnce(&mut WorkerSettings)) -> Worker {
        let mut settings = settings(self.dir.path());
        change(&mut settings);
        let shutdown = CancellationToken::new();
        let asked = Shutdown::from(shutdown.clone());
        let task = tokio::spawn(worker::run(settings, connector(self.dir.path()), asked.clone()));
        Worker { task, shutdown, asked }
    }

    /// Waits for a worker's Hello and welcomes it with all that it holds.
    pub async fn accept(&mut self) -> Leader {
        self.accept_with(Epoch(1), |hello| hello.attempts.clone()).await
    }

    pub async fn accept_with(&mut self, epoch: Epoch, live: impl FnOnce(&Hello) -> BTreeSet<AttemptId>) -> Leader {
        let mut link = timeout(PATIENCE, self.acceptor.accept()).await.expect("no worker came").unwrap();
        let Some(FromWorker::Hello(hello)) = timeout(PATIENCE, link.recv()).await.unwrap().unwrap() else {
            panic!("the first message is Hello")
        };
        let welcome = ToWorker::Welcome { epoch, live: live(&hello), services: hello.services.clone() };
        link.send(welcome).await.unwrap();
        Leader { link, hello, seen: 0, acks: Acks::Sent, answers: true }
    }
}

impl Leader {
    pub fn acks(&mut self, acks: Acks) {
        self.acks = acks;
    }

    pub async fn send(&self, message: ToWorker) {
        self.link.send(message).await.unwrap();
    }

    /// Reads until a message fits; answers fetches with nothing and acknowledges meanwhile.
    pub async fn until<T>(&mut self, what: &str, mut fits: impl FnMut(FromWorker) -> Option<T>) -> T {
        let look = async {
            loop {
                let message = tokio::select! {
                    message = self.link.recv() => message.unwrap().expect("the worker is gone"),
                    () = tokio::time::sleep(ACK_EVERY) => {
                        self.acknowledge().await;
                        continue;
                    }
                };
                self.note(&message).await;
                self.acknowledge().await;
                if let Some(found) = fits(message) {
                    return found;
                }
            }
        };
        timeout(PATIENCE, look).await.unwrap_or_else(|_| panic!("the worker never sent {what}"))
    }

    async fn note(&mut self, message: &FromWorker) {
        match message {
            FromWorker::Started { seq, .. } | FromWorker::Deferred { seq, .. } | FromWorker::Ended { seq, .. } => {
                self.seen = self.seen.max(*seq)
            }
            FromWorker::Fetch { id, .. } if self.answers => {
                let item = FetchItem::Missing("the test has nothing".into());
                self.send(ToWorker::Fetched(Fetched { id: *id, item })).await;
            }
            _ => {}
        }
    }

    async fn acknowledge(&self) {
        if self.acks == Acks::Sent {
            // A worker that has just ended needs none.
            let _ = self.link.send(ToWorker::Ack { seq: self.seen }).await;
        }
    }

    pub async fn ended(&mut self, attempt: AttemptId) -> AttemptEnd {
        let fits = |message| match message {
            FromWorker::Ended { attempt: ended, end, .. } if ended == attempt => Some(*end),
            _ => None,
        };
        self.until("the end of an attempt", fits).await
    }

    pub async fn started(&mut self, attempt: AttemptId) {
        let fits = |message| {
            matches!(message, FromWorker::Started { attempt: started, .. } if started == attempt).then_some(())
        };
        self.until("the start of an attempt", fits).await;
    }

    /// Assigns a bash command.
    pub async fn assign(&self, command: &str) -> AttemptId {
        let assignment = bash(command);
        let attempt = assignment.attempt;
        self.send(ToWorker::Assign(Box::new(assignment))).await;
        attempt
    }

    /// The whole log, read through the link until it has ended.
    pub async fn log(&mut self, log: LogName) -> String {
        let mut text = Vec::new();
        loop {
            self.send(ToWorker::ReadLog { id: 1, log: log.clone(), offset: text.len() as u64, bytes_max: 100 }).await;
            let fits = |message| match message {
                FromWorker::Log { bytes, ended, .. } => Some((bytes, ended)),
                _ => None,
            };
            let (bytes, ended) = self.until("a piece of a log", fits).await;
            text.extend(bytes);
            if ended {
                return String::from_utf8(text).unwrap();
            }
        }
    }

    pub async fn start_service(&self, command: &str) -> ServiceStart {
        let start = service(command);
        self.send(ToWorker::StartService(Box::new(start.clone()))).await;
        start
    }
}

impl Worker {
    /// Waits until it has ended by itself, while the leader listens.
    pub async fn ends(self, mut leader: Leader) {
        let listening = tokio::spawn(async move { leader.until("nothing more", |_| None::<()>).await });
        timeout(PATIENCE, self.task).await.expect("the worker does not end").unwrap().unwrap();
        listening.abort();
    }

    pub async fn stop(self) {
        self.shutdown.cancel();
        timeout(PATIENCE, self.task).await.expect("the worker does not end").unwrap().unwrap();
    }
}

/// Settings for a worker whose guard is this test program.
pub fn settings(dir: &Path) -> WorkerSettings {
    let mut settings = WorkerSettings::new(dir.join("logs"), dir.join("tmp"));
    settings.kill_grace = Duration::from_millis(500);
    let test = std::env::current_exe().unwrap();
    settings.guard_command =
        vec![test.into(), "--exact".into(), "worker::lives::guard_program".into(), "--nocapture".into(), "--".into()];
    let test = std::env::current_exe().unwrap();
    settings.launcher_command =
        vec![test.into(), "--exact".into(), "worker::lives::launcher_program".into(), "--nocapture".into()];
    settings
}

pub fn connector(dir: &Path) -> Arc<dyn Connector> {
    Arc::new(UnixConnector::new(dir.join("endpoint")))
}

pub fn bash(command: &str) -> Assignment {
    let instant = |text: &str| text.parse().unwrap();
    Assignment {
        attempt: AttemptId(Uuid::new_v4()),
        ti: TiKey::unmapped(RunKey(7), TaskIdx(0)),
        context: TaskContext {
            dag_id: DagId::new("d").unwrap(),
            run_id: RunId::new("r").unwrap(),
            run_key: RunKey(7),
            run_type: RunType::Manual,
            task_id: TaskId::new("t").unwrap(),
            task_numbers: std::sync::Arc::default(),
            map_index: MapIndex::UNMAPPED,
            try_number: TryNumber::FIRST,
            max_tries: 0,
            logical_date: None,
            data_interval: None,
            run_after: instant("2026-01-30T00:00:00Z"),
            run_started_at: instant("2026-01-30T00:00:00Z"),
            conf: serde_json::Map::new(),
            params: serde_json::Map::new(),
            dag_fields: serde_json::Map::new(),
            task_fields: serde_json::Map::new(),
            native: false,
            macros: serde_json::Map::new(),
            prev_success_interval: None,
            outlets: Vec::new(),
            inlets: Vec::new(),
        },
        operator: Operator::Bash(Bash {
            bash_command: command.into(),
            env: BTreeMap::new(),
            pass_env: Vec::new(),
            append_env: false,
            cwd: None,
            skip_on_exit_code: Vec::new(),
        }),
        files: BTreeMap::new(),
        execution_timeout_secs: None,
        do_xcom_push: true,
        mapped: None,
        poked: None,
        multiple_outputs: false,
        retry_policy: Vec::new(),
    }
}

fn service(command: &str) -> ServiceStart {
    ServiceStart {
        instance: Uuid::new_v4(),
        key: ServiceKey { dag: DagId::new("d").unwrap(), name: "stream".into(), replica: 0 },
        spec: ServiceSpec {
            name: "stream".into(),
            command: vec!["bash".into(), "-c".into(), command.into()],
            container: None,
            replicas: 1,
            env: BTreeMap::new(),
            pass_env: Vec::new(),
            ready_when: ReadyWhen::Started,
            stop_timeout_secs: 5.0,
        },
    }
}
