//! Databases of their own for tests, and small plans to store in them.

use std::thread;

use chrono::{DateTime, TimeZone, Utc};
use dag::{CompiledDag, FileProblem, ReadFile};
use engine::{DagVersion, Plan, RunRow, TiChange, TiExtra, TiRow};
use model::{
    AttemptId, DagId, DagRunState, Epoch, RunId, RunKey, RunType, TaskIdx, TaskState, TiKey, Timestamp, TriggeredBy,
    TryNumber,
};
use sqlx::{Connection, Executor, PgConnection, PgPool};
use store::{Candidate, Leadership, Writer};
use uuid::Uuid;

/// A migrated database that is dropped with this.
pub struct Database {
    pub url: String,
    pub pool: PgPool,
    server: String,
    name: String,
}

impl Database {
    pub async fn create() -> Self {
        let database = Self::create_empty().await;
        store::migrate(&database.pool).await.unwrap();
        database
    }

    pub async fn create_empty() -> Self {
        let server = std::env::var("WINDLASS_TEST_DATABASE_URL").expect("test.sh sets WINDLASS_TEST_DATABASE_URL");
        let name = format!("store_test_{}", Uuid::new_v4().simple());
        let mut connection = PgConnection::connect(&server).await.unwrap();
        connection.execute(format!("CREATE DATABASE {name}").as_str()).await.unwrap();
        let (base, query) = server.split_once('?').map_or((server.as_str(), ""), |(base, query)| (base, query));
        let (base, _) = base.rsplit_once('/').unwrap();
        let url = format!("{base}/{name}?{query}");
        Self { pool: store::open(&url).await.unwrap(), url, server, name }
    }

    pub async fn leader(&self) -> Leader {
        Leader::take_over(&self.url, "first").await
    }

    pub async fn count(&self, what: &str) -> i64 {
        sqlx::query_scalar(&format!("SELECT count(*) FROM {what}")).fetch_one(&self.pool).await.unwrap()
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let (server, name) = (self.server.clone(), self.name.clone());
        let dropping = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let mut connection = PgConnection::connect(&server).await.unwrap();
                connection.execute(format!("DROP DATABASE {name} WITH (FORCE)").as_str()).await.unwrap();
            });
        });
        dropping.join().unwrap();
    }
}

/// A leader's connection and its leadership.
pub struct Leader {
    pub writer: Writer,
    pub leadership: Leadership,
}

impl Leader {
    pub async fn take_over(url: &str, name: &str) -> Self {
        let mut writer = Writer::connect(url).await.unwrap();
        let leadership = store::lead(&mut writer, &candidate(name)).await.unwrap();
        Self { writer, leadership }
    }

    pub fn epoch(&self) -> Epoch {
        self.leadership.epoch
    }

    pub async fn apply(&mut self, plan: &Plan) -> Result<store::Applied, store::StoreError> {
        store::apply(&mut self.writer, self.leadership.epoch, noon(), plan).await
    }

    /// Stores a DAG of these tasks.
    pub async fn store_dag(&mut self, name: &str, tasks: &[&str]) -> DagVersion {
        let compiled = compile(name, tasks);
        store::store_version(&mut self.writer, self.leadership.epoch, &compiled).await.unwrap()
    }
}

pub fn candidate(name: &str) -> Candidate {
    Candidate { holder: name.to_owned(), endpoint: format!("unix:{name}") }
}

pub fn noon() -> Timestamp {
    Utc.with_ymd_and_hms(2026, 11, 21, 12, 0, 0).unwrap()
}

pub fn day(day: u32) -> DateTime<Utc> {
    Utc.with_ymd_and_hms(2026, 11, day, 0, 0, 0).unwrap()
}

struct NoFiles;

impl ReadFile for NoFiles {
    fn read(&self, _name: &str) -> Result<Vec<u8>, FileProblem> {
        Err(FileProblem::Missing)
    }
}

/// A DAG of empty tasks, as a file would define it.
pub fn compile(name: &str, tasks: &[&str]) -> CompiledDag {
    let tasks: String = tasks.iter().map(|task| format!("  {task}:\n    operator: empty\n")).collect();
    let text = format!("dag_id: {name}\nschedule: null\ntasks:\n{tasks}");
    let mut loaded = dag::load("test.yaml", &text, &NoFiles);
    assert!(loaded.errors.is_empty(), "{:?}", loaded.errors);
    loaded.dags.pop().unwrap()
}

/// A running run.
pub fn run(version: &DagVersion, key: i64) -> RunRow {
    RunRow {
        key: RunKey(key),
        dag_id: version.dag.dag_id.clone(),
        run_id: run_id(key),
        run_type: RunType::Manual,
        triggered_by: TriggeredBy::RestApi,
        triggering_user: None,
        version: version.id,
        state: DagRunState::Running,
        logical_date: None,
        data_interval: None,
        run_after: noon(),
        queued_at: noon(),
        started_at: Some(noon()),
        ended_at: None,
        conf: serde_json::Map::new(),
        note: None,
        clear_number: 0,
        backfill: None,
    }
}

pub fn run_id(key: i64) -> RunId {
    RunId::new(format!("manual__{key}")).unwrap()
}

pub fn dag_id(name: &str) -> DagId {
    DagId::new(name).unwrap()
}

/// The first try of a task, queued and assigned.
pub fn queued(run: i64, task: i32) -> TiRow {
    TiRow {
        key: TiKey::unmapped(RunKey(run), TaskIdx(task)),
        try_number: TryNumber::FIRST,
        state: TaskState::Queued,
        attempt: Some(AttemptId(Uuid::new_v4())),
        live: true,
        worker: None,
        queued_at: Some(noon()),
        started_at: None,
        ended_at: None,
        extra: TiExtra::default(),
    }
}

/// The end of what was queued.
pub fn ended(row: &TiRow) -> TiChange {
    let row = TiRow {
        state: TaskState::Success,
        live: false,
        started_at: Some(noon()),
        ended_at: Some(noon()),
        ..row.clone()
    };
    TiChange { expected: TaskState::Queued, row }
}

/// A plan that starts instances.
pub fn starting(rows: &[TiRow]) -> Plan {
    Plan { new_instances: rows.to_vec(), ..Plan::default() }
}

/// A plan that ends them.
pub fn ending(rows: &[TiRow]) -> Plan {
    Plan { instances: rows.iter().map(ended).collect(), ..Plan::default() }
}
