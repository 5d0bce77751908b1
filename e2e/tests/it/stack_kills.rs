//! Each of the real components is killed while the main pipeline runs on them, and started again: the run ends well, or fails
//! with a reason and succeeds when it is run again; gold is exact, and bronze has each record once.
//!
//! Runs where there is a [`Stack`] with a Trino and a Kafka (`KAFKA_BOOTSTRAP_SERVERS`), and `WINDLASS_E2E_STACK_KILLS` is set:
//! whatever else uses the stack meanwhile loses its servers.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use serde_json::Value;
use windlass_e2e::{Standalone, copy_dags};

use crate::{
    stack::Stack,
    trades::{GOLD, MadeUp, make_up},
};

const ROWS: usize = 60_000;
/// How long a run may take, with a component that has to start again on a loaded machine and the pauses before retries.
const RUN_PATIENCE: Duration = Duration::from_secs(600);
/// How long the moment for a kill may be awaited.
const MOMENT_PATIENCE: Duration = Duration::from_secs(180);
/// How long a component stays dead: longer than what a client repeats at once.
const DEAD_FOR: Duration = Duration::from_secs(5);
const DAG: &str = "stock_data_pipeline";

/// When in a run the component dies.
#[derive(Debug, Clone, Copy)]
enum Moment {
    /// Bronze has its first rows, and most are still to come.
    Streaming,
    /// This task runs.
    During(&'static str),
}

struct Pipeline {
    stack: Stack,
    standalone: Standalone,
    made: MadeUp,
    _folder: tempfile::TempDir,
}

impl Pipeline {
    fn start(stack: Stack) -> Self {
        stack.empty();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("trades.csv");
        let made = make_up(&file, ROWS);
        // Topic and files of its own: what earlier runs have left in Kafka and in the bucket is not this one's.
        let topic = format!("trades_{:016x}", rand::random::<u64>());
        let dags = dags_over(&topic, folder.path());
        let standalone = start(&stack, &file, &topic, &dags);
        let _said = standalone.windlass(&["dags", "unpause", DAG]);
        Self { stack, standalone, made, _folder: folder }
    }

    /// Starts a run under this name.
    fn trigger(&self, run: &str) {
        let _said = self.standalone.windlass(&["dags", "trigger", DAG, "--run-id", run]);
    }

    fn await_moment(&self, run: &str, moment: Moment) {
        let began = Instant::now();
        while !self.is_moment(run, moment) {
            assert!(began.elapsed() < MOMENT_PATIENCE, "never: {moment:?}\n{}", self.standalone.log_tail());
            std::thread::park_timeout(Duration::from_millis(50));
        }
    }

    fn is_moment(&self, run: &str, moment: Moment) -> bool {
        match moment {
            Moment::Streaming => {
                let sql = "SELECT count(*) FROM bronze.stock_trades";
                let asked = self.standalone.try_windlass(&["lake", "query", sql, "--format", "csv"]);
                // The table is not there at once.
                let said = String::from_utf8_lossy(&asked.stdout).into_owned();
                said.lines().nth(1).and_then(|count| count.parse::<u64>().ok()).is_some_and(|count| count > 0)
            }
            Moment::During(task) => self.states(run).iter().any(|(id, state)| id == task && state == "running"),
        }
    }

    /// Tasks with their states; none while the database is away.
    fn states(&self, run: &str) -> Vec<(String, String)> {
        let asked = self.standalone.try_windlass(&["tasks", "states-for-dag-run", DAG, run, "--output", "json"]);
        let rows: Vec<Value> = serde_json::from_slice(&asked.stdout).unwrap_or_default();
        let text = |row: &Value, name: &str| row[name].as_str().unwrap_or_default().to_owned();
        rows.iter().map(|row| (text(row, "task_id"), text(row, "state"))).collect()
    }

    fn run_state(&self, run: &str) -> Option<String> {
        let asked = self.standalone.try_windlass(&["runs", "list", DAG, "--output", "json"]);
        let rows: Vec<Value> = serde_json::from_slice(&asked.stdout).ok()?;
        let row = rows.iter().find(|row| row["run_id"] == run)?;
        row["state"].as_str().map(str::to_owned)
    }

    /// The state in which the run ends.
    fn await_end(&self, run: &str) -> String {
        let began = Instant::now();
        loop {
            if let Some(state) = self.run_state(run).filter(|state| state == "success" || state == "failed") {
                return state;
            }
            assert!(began.elapsed() < RUN_PATIENCE, "{:?}\n{}", self.states(run), self.standalone.log_tail());
            std::thread::park_timeout(Duration::from_millis(500));
        }
    }

    /// A run that failed says why, and succeeds when its failed tasks are run again.
    fn end_well(&self, run: &str) {
        if self.await_end(run) == "success" {
            println!("{run}: success at once");
            return;
        }
        let failed: Vec<_> = self.states(run).into_iter().filter(|(_, state)| state == "failed").collect();
        println!("{run}: {failed:?} failed");
        for (task, _) in &failed {
            let why = self.standalone.windlass(&["tasks", "why", DAG, run, task]);
            println!("{task}: {why}");
            assert!(why.trim().len() > "failed".len(), "{task} failed without a reason: {why:?}");
        }
        let _said = self.standalone.windlass(&["runs", "clear", DAG, run, "--only-failed"]);
        // The clear is a command: the run leaves its old state when the leader has applied it.
        assert_eq!(self.await_end_of_second(run), "success", "{:?}\n{}", self.states(run), self.standalone.log_tail());
    }

    fn await_end_of_second(&self, run: &str) -> String {
        let began = Instant::now();
        while self.run_state(run).as_deref() == Some("failed") && began.elapsed() < DEAD_FOR {
            std::thread::park_timeout(Duration::from_millis(50));
        }
        self.await_end(run)
    }

    fn assert_whole(&self) {
        assert_eq!(self.standalone.query(GOLD), self.made.gold);
        assert_eq!(self.standalone.value("SELECT count(*) FROM bronze.stock_trades_dlq"), "0");
        let twice = "SELECT count(*) FROM (SELECT kafka_partition, kafka_offset FROM bronze.stock_trades \
                     GROUP BY kafka_partition, kafka_offset HAVING count(*) > 1) AS twice";
        assert_eq!(self.standalone.value(twice), "0");
        let distinct = "SELECT count(DISTINCT trade_id) FROM bronze.stock_trades";
        assert_eq!(self.standalone.value(distinct), self.made.rows.to_string());
        let gaps = "SELECT sum(gaps) FROM bronze.stock_ingest";
        assert_eq!(self.standalone.value(gaps), "0");
    }
}

/// The shipped DAGs below a folder, of which the pipeline runs only when it is asked to, and reads this topic.
fn dags_over(topic: &str, folder: &Path) -> PathBuf {
    let dags = copy_dags(folder);
    let file = dags.join("stock_data_pipeline.yaml");
    let shipped = std::fs::read_to_string(&file).unwrap();
    let changed = shipped
        .replace("schedule: \"@daily\"", "schedule: null")
        .replace("default: stock_trades", &format!("default: {topic}"));
    assert!(changed.contains("schedule: null") && changed.contains(topic));
    std::fs::write(file, changed).unwrap();
    dags
}

fn start(stack: &Stack, file: &Path, topic: &str, dags: &Path) -> Standalone {
    let kafka = std::env::var("KAFKA_BOOTSTRAP_SERVERS").unwrap();
    stack
        .builder()
        .env("KAFKA_BOOTSTRAP_SERVERS", kafka)
        .env("AIRFLOW_CONN_LAKE", &stack.trino)
        .env("WINDLASS_LAKE_WAREHOUSE", format!("s3://lake/warehouse/{topic}"))
        .env("WINDLASS_LOGS_REMOTE", format!("s3://logs/{topic}"))
        .env("WINDLASS_DAGS_FOLDER", dags.to_string_lossy())
        .env("STOCK_SOURCE", format!("replay:{}", file.display()))
        .env("STOCK_TOPIC", topic)
        .env("STOCK_SINK_MAX_ROWS", "2000")
        .env("STOCK_SINK_MAX_SECONDS", "1")
        .start()
}

/// Kills a component in the middle of a run, and looks at what the run makes of it.
async fn killed_at(component: &str, moment: Moment) {
    if std::env::var_os("WINDLASS_E2E_STACK_KILLS").is_none() {
        println!("skipped: WINDLASS_E2E_STACK_KILLS is not set");
        return;
    }
    let Some(stack) = Stack::of_environment().await else { return };
    let check = tokio::task::spawn_blocking({
        let component = component.to_owned();
        move || {
            let mut pipeline = Pipeline::start(stack);
            let run = format!("{component}_dies");
            pipeline.trigger(&run);
            pipeline.await_moment(&run, moment);
            println!("kill {component} at {moment:?}");
            pipeline.stack.kill(&component);
            // How long it stays away is the point of the test.
            std::thread::park_timeout(DEAD_FOR);
            pipeline.stack.start(&component);
            pipeline.end_well(&run);
            // What is left to arrive arrives, and a further run makes all of it.
            pipeline.trigger("after");
            pipeline.end_well("after");
            pipeline.assert_whole();
            pipeline.standalone.stop();
        }
    });
    check.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_dies_while_trades_stream_loses_none() {
    killed_at("kafka", Moment::Streaming).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_store_that_dies_while_trades_stream_loses_none() {
    killed_at("minio", Moment::Streaming).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_store_that_dies_under_a_model_doubles_nothing() {
    killed_at("minio", Moment::During("silver")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_dies_while_trades_stream_loses_none() {
    killed_at("postgres", Moment::Streaming).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_dies_under_a_model_doubles_nothing() {
    killed_at("postgres", Moment::During("silver")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_engine_that_dies_under_a_model_doubles_nothing() {
    killed_at("trino", Moment::During("silver")).await;
}
