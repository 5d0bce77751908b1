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
    Attempt, Host, LakeSettings, Masker, Stop, WorkerContext, Workspaces,
    log::{Log, Overflow},
    process::{Cgroups, GroupRegister, LAUNCHER, Launchers, Limits, NoCgroups, Recipe, clear_cgroups, launcher_main},
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
    /// The events of every asset.
    pub asset_events: Vec<link::AssetEvents>,
    /// It answers nothing.
    pub is_away: bool,
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
        if self.is_away {
            return std::future::pending().boxed();
        }
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
            FetchKey::AssetEvents(_) => FetchItem::AssetEvents(self.asset_events.clone()),
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
    pub outlets: Vec<model::AssetNews>,
    pub execution_timeout_secs: Option<f64>,
    pub run_id: String,
    pub try_number: TryNumber,
    pub program_dir: PathBuf,
    pub stop: Stop,
    guard: Mutex<Option<PipeReader>>,
    context: Arc<WorkerContext>,
    pub cgroups_dir: Option<PathBuf>,
}

impl Drop for Rig {
    /// What a guard does.
    fn drop(&mut self) {
        let until = std::time::Instant::now() + Duration::from_secs(5);
        while self.cgroups_dir.as_ref().is_some_and(|dir| !clear_cgroups(dir)) {
            assert!(std::time::Instant::now() < until, "the control groups can not be removed");
            std::thread::yield_now();
        }
    }
}

/// How it is known what an attempt has started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ancestry {
    /// It is below its launcher.
    Launcher,
    /// It is in its launcher's control group as well.
    ControlGroup,
}

/// Not a test: the launcher of these tests, which start this program with its name.
#[test]
#[allow(
    clippy::disallowed_methods,
    reason = "its standard output is closed by now; the test harness must not write to it"
)]
fn launcher_program() {
    if std::env::var_os(LAUNCHER).is_some() {
        launcher_main();
        std::process::exit(0);
    }
}

fn launcher_command() -> Vec<std::ffi::OsString> {
    let test = std::env::current_exe().unwrap();
    vec![test.into(), "--exact".into(), "rig::launcher_program".into(), "--nocapture".into()]
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
        Self::with(Ancestry::Launcher)
    }

    /// The same by another way of knowing what belongs to an attempt.
    pub fn with(ancestry: Ancestry) -> Self {
        Self::try_with(ancestry).unwrap()
    }

    /// The same, where the system lets the worker make control groups.
    pub fn try_with(ancestry: Ancestry) -> Result<Self, NoCgroups> {
        let dir = tempfile::tempdir().unwrap();
        let (reader, writer) = std::io::pipe().unwrap();
        let program_dir = dir.path().join("bin");
        std::fs::create_dir(&program_dir).unwrap();
        let worker = Uuid::new_v4();
        let groups = Arc::new(GroupRegister::new(writer.into()));
        let cgroups = match ancestry {
            Ancestry::Launcher => None,
            Ancestry::ControlGroup => Some(Cgroups::open(worker, Limits::default())?),
        };
        let cgroups_dir = cgroups.as_ref().map(|cgroups| cgroups.dir().to_owned());
        let recipe = Recipe { command: launcher_command(), worker, cgroups };
        let context = WorkerContext {
            worker,
            program_dir: program_dir.clone(),
            workspaces: Workspaces::below(dir.path().join("tmp")),
            state_dir: dir.path().join("state"),
            lake: Some(LakeSettings {
                database_url: "postgres://lake:lakesecret@127.0.0.1/windlass_lake".into(),
                warehouse: "file:///warehouse".into(),
            }),
            launchers: Launchers::new(recipe, Arc::clone(&groups)).unwrap(),
            groups,
            kill_grace: Duration::from_millis(300),
            docker: windlass_executor::docker::DockerPolicy::default(),
            operators: windlass_executor::GivenOperators {
                is_key: dag::Expand::is_key,
                is_template: dag::Expand::is_template,
                with: dag::Expand::operator_with,
            },
        };
        Ok(Self {
            dir,
            leader: Leader::default(),
            outlets: Vec::new(),
            params: json!({}),
            execution_timeout_secs: None,
            run_id: "manual__1".into(),
            try_number: TryNumber::FIRST,
            program_dir,
            stop: Stop::default(),
            guard: Mutex::new(Some(reader)),
            context: Arc::new(context),
            cgroups_dir,
        })
    }

    /// What attempts share.
    pub fn context(&self) -> Arc<WorkerContext> {
        Arc::clone(&self.context)
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
        let attempt = self.attempt(self.assignment(operator));
        let end = windlass_executor::run(&attempt, &self.stop).await;
        self.ran(end, &attempt.assignment)
    }

    /// An attempt that has not started.
    pub fn attempt(&self, assignment: Assignment) -> Attempt {
        let masker = Masker::default();
        let log = Log::open(&self.log_path(&assignment), masker.clone(), Overflow::Fault).unwrap();
        let (host, worker) = (Arc::new(self.leader.clone()), Arc::clone(&self.context));
        Attempt { assignment, log, masker, host, worker, elements: windlass_executor::Elements::default() }
    }

    /// Where an attempt's log is.
    pub fn log_path(&self, assignment: &Assignment) -> PathBuf {
        self.dir.path().join(format!("{}.jsonl", assignment.attempt))
    }

    /// What came of an attempt that has ended.
    pub fn ran(&self, end: AttemptEnd, assignment: &Assignment) -> Ran {
        let log = std::fs::read_to_string(self.log_path(assignment)).unwrap();
        Ran { end, log: log.lines().map(|line| serde_json::from_str(line).unwrap()).collect() }
    }

    /// The worker's identity.
    pub fn worker(&self) -> Uuid {
        self.context.worker
    }

    pub fn assignment(&self, operator: Operator) -> Assignment {
        let instant = |text: &str| text.parse().unwrap();
        Assignment {
            attempt: AttemptId(Uuid::new_v4()),
            ti: TiKey::unmapped(RunKey(7), TaskIdx(1)),
            context: TaskContext {
                dag_id: DagId::new("tour").unwrap(),
                run_id: RunId::new(&self.run_id).unwrap(),
                run_key: RunKey(7),
                run_type: RunType::Manual,
                task_id: TaskId::new("own").unwrap(),
                task_numbers: std::sync::Arc::new(BTreeMap::from([
                    (TaskId::new("before").unwrap(), TaskIdx(0)),
                    (TaskId::new("own").unwrap(), TaskIdx(1)),
                ])),
                map_index: MapIndex::UNMAPPED,
                try_number: self.try_number,
                max_tries: 0,
                logical_date: Some(instant("2026-01-30T00:00:00Z")),
                data_interval: None,
                run_after: instant("2026-01-30T00:00:00Z"),
                run_started_at: instant("2026-01-30T00:00:00Z"),
                conf: serde_json::Map::new(),
                params: self.params.as_object().unwrap().clone(),
                dag_fields: serde_json::Map::new(),
                task_fields: serde_json::Map::new(),
                native: false,
                macros: serde_json::Map::new(),
                prev_success_interval: None,
                outlets: self.outlets.clone(),
                inlets: Vec::new(),
            },
            operator,
            files: self.leader.files.keys().map(|name| (name.clone(), name.clone())).collect(),
            execution_timeout_secs: self.execution_timeout_secs,
            do_xcom_push: true,
            mapped: None,
            poked: None,
            multiple_outputs: false,
            retry_policy: Vec::new(),
        }
    }
}
