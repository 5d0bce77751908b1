//! Runs one attempt with a leader that is a few maps, and shows its end and its log.

use std::{
    collections::BTreeMap,
    io::{PipeReader, Read as _},
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::{FutureExt as _, future::BoxFuture};
use link::{Assignment, ConnectionFields, FetchItem, FetchKey, ServiceStatus, TaskContext};
use model::{
    AttemptEnd, AttemptId, DagId, MapIndex, Operator, RunId, RunKey, RunType, TaskId, TaskIdx, TiKey, TryNumber,
    operator::ServiceSpec,
};
use serde_json::{Value, json};
use tokio::sync::watch;
use uuid::Uuid;
use windlass_executor::{
    Attempt, Host, LakeSettings, Masker, Stop, WorkerContext,
    log::{Log, Overflow},
    process::GroupRegister,
};

/// What the leader has.
#[derive(Default, Clone)]
pub struct Leader {
    pub connections: BTreeMap<String, ConnectionFields>,
    pub variables: BTreeMap<String, String>,
    pub xcoms: BTreeMap<(i32, String), Value>,
    pub files: BTreeMap<String, String>,
    /// What it answers to questions about runs, in turn; the last answer stays.
    pub runs: Arc<Mutex<Vec<FetchItem>>>,
    /// The questions about runs that it was asked.
    pub asked: Arc<Mutex<Vec<FetchKey>>>,
}

impl Leader {
    fn of_runs(&self, key: FetchKey) -> FetchItem {
        self.asked.lock().unwrap().push(key);
        let mut answers = self.runs.lock().unwrap();
        if answers.len() > 1 { answers.remove(0) } else { answers[0].clone() }
    }
}

impl Host for Leader {
    fn fetch(&self, key: FetchKey) -> BoxFuture<'_, FetchItem> {
        let missing = || FetchItem::Missing("not configured".into());
        let item = match key {
            FetchKey::Connection(id) => {
                self.connections.get(&id).map_or_else(missing, |fields| FetchItem::Connection(Box::new(fields.clone())))
            }
            FetchKey::Variable(key) => {
                self.variables.get(&key).map_or_else(missing, |text| FetchItem::Variable(text.clone()))
            }
            FetchKey::XCom { task, key, .. } => {
                FetchItem::XCom(self.xcoms.get(&(task.get(), key)).cloned().into_iter().collect())
            }
            FetchKey::File(name) => {
                self.files.get(&name).map_or_else(missing, |text| FetchItem::File(text.clone().into_bytes()))
            }
            key @ (FetchKey::TriggerRun(_) | FetchKey::Run { .. }) => self.of_runs(key),
        };
        std::future::ready(item).boxed()
    }

    fn declare(&self, _: Vec<ServiceSpec>, _: Vec<String>) -> BoxFuture<'_, ()> {
        std::future::ready(()).boxed()
    }

    fn services(&self) -> watch::Receiver<Vec<ServiceStatus>> {
        watch::channel(Vec::new()).1
    }
}

/// A worker's surroundings for one test.
pub struct Rig {
    pub dir: tempfile::TempDir,
    pub leader: Leader,
    pub params: Value,
    pub execution_timeout_secs: Option<f64>,
    pub program_dir: PathBuf,
    pub stop: Stop,
    guard: Mutex<Option<PipeReader>>,
    context: Arc<WorkerContext>,
}

/// What came of an attempt.
pub struct Ran {
    pub end: AttemptEnd,
    pub log: Vec<Value>,
}

impl Ran {
    /// The log's lines of one stream.
    pub fn lines(&self, stream: &str) -> Vec<String> {
        let of_stream = self.log.iter().filter(|line| line["stream"] == stream);
        of_stream.map(|line| line["text"].as_str().unwrap().to_owned()).collect()
    }

    /// The whole log as text.
    pub fn text(&self) -> String {
        self.log.iter().map(|line| format!("{line}\n")).collect()
    }

    /// The value of an XCom.
    pub fn xcom(&self, key: &str) -> Option<&Value> {
        self.end.xcoms.iter().find(|xcom| xcom.key == key).map(|xcom| &xcom.value)
    }
}

impl Rig {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (reader, writer) = std::io::pipe().unwrap();
        let program_dir = dir.path().join("bin");
        std::fs::create_dir(&program_dir).unwrap();
        let context = WorkerContext {
            worker: Uuid::new_v4(),
            program_dir: program_dir.clone(),
            temp_dir: dir.path().join("tmp"),
            lake: Some(LakeSettings {
                database_url: "postgres://lake:lakesecret@127.0.0.1/windlass_lake".into(),
                warehouse: "file:///warehouse".into(),
            }),
            groups: GroupRegister::new(writer.into()),
            kill_grace: Duration::from_millis(300),
        };
        Self {
            dir,
            leader: Leader::default(),
            params: json!({}),
            execution_timeout_secs: None,
            program_dir,
            stop: Stop::default(),
            guard: Mutex::new(Some(reader)),
            context: Arc::new(context),
        }
    }

    /// What the guard was told so far.
    pub fn told_guard(&self) -> String {
        self.context.groups.heard_leader();
        let mut told = Vec::new();
        let mut guard = self.guard.lock().unwrap();
        let reader = guard.as_mut().unwrap();
        let mut byte = [0];
        while !told.ends_with(b"ok\n") {
            reader.read_exact(&mut byte).unwrap();
            told.push(byte[0]);
        }
        String::from_utf8(told).unwrap()
    }

    /// The guard dies.
    pub fn drop_guard(&self) {
        self.guard.lock().unwrap().take();
    }

    pub async fn run(&self, operator: Operator) -> Ran {
        let assignment = self.assignment(operator);
        let path = self.dir.path().join(format!("{}.jsonl", assignment.attempt));
        let masker = Masker::default();
        let attempt = Attempt {
            assignment,
            log: Log::open(&path, masker.clone(), Overflow::Fault).unwrap(),
            masker,
            host: Arc::new(self.leader.clone()),
            worker: Arc::clone(&self.context),
        };
        let end = windlass_executor::run(&attempt, &self.stop).await;
        let log = std::fs::read_to_string(path).unwrap();
        Ran { end, log: log.lines().map(|line| serde_json::from_str(line).unwrap()).collect() }
    }

    fn assignment(&self, operator: Operator) -> Assignment {
        let instant = |text: &str| text.parse().unwrap();
        Assignment {
            attempt: AttemptId(Uuid::new_v4()),
            ti: TiKey::unmapped(RunKey(7), TaskIdx(1)),
            context: TaskContext {
                dag_id: DagId::new("tour").unwrap(),
                run_id: RunId::new("manual__1").unwrap(),
                run_key: RunKey(7),
                run_type: RunType::Manual,
                task_id: TaskId::new("own").unwrap(),
                task_numbers: std::sync::Arc::new(BTreeMap::from([
                    (TaskId::new("before").unwrap(), TaskIdx(0)),
                    (TaskId::new("own").unwrap(), TaskIdx(1)),
                ])),
                map_index: MapIndex::UNMAPPED,
                try_number: TryNumber::FIRST,
                max_tries: 0,
                logical_date: Some(instant("2026-01-30T00:00:00Z")),
                data_interval: None,
                run_after: instant("2026-01-30T00:00:00Z"),
                run_started_at: instant("2026-01-30T00:00:00Z"),
                conf: serde_json::Map::new(),
                params: self.params.as_object().unwrap().clone(),
                dag_fields: serde_json::Map::new(),
                prev_success_interval: None,
            },
            operator,
            files: self.leader.files.keys().map(|name| (name.clone(), name.clone())).collect(),
            execution_timeout_secs: self.execution_timeout_secs,
            do_xcom_push: true,
        }
    }
}
