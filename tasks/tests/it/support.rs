//! What the tests share: a database of its own for each, a registry, workers in this process.

use replay::StockSource;
use sqlx::{Connection, Executor, PgConnection, PgPool};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use url::Url;
use windlass_tasks::lake::{Lake, LakeSettings, S3Settings, Warehouse};
use windlass_tasks::registry::{RegistryClient, server};
use windlass_tasks::runtime::embedded::EmbeddedLog;
use windlass_tasks::runtime::health::Meter;
use windlass_tasks::runtime::kafka::KafkaLog;
use windlass_tasks::runtime::service::{Replica, Reporter, Worker};
use windlass_tasks::runtime::{EventLog, FetchRequest, Offsets, Record};
use windlass_tasks::settings::{KafkaSettings, ReplaySpeed, SinkLimits, StockSettings, TradeSource};
use windlass_tasks::stock::producer::Producer;
use windlass_tasks::stock::sink::Sink;

/// Longer than anything here takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);
pub const TOPIC: &str = "stock_trades";

/// A database that ends with the test.
pub struct Database {
    pub url: String,
    pub pool: PgPool,
    name: String,
    server: String,
}

impl Database {
    pub async fn create() -> Self {
        let server = std::env::var("WINDLASS_TEST_DATABASE_URL").expect("WINDLASS_TEST_DATABASE_URL names a server");
        let name = format!("tasks_{}", uuid::Uuid::new_v4().simple());
        let mut admin = PgConnection::connect(&server).await.unwrap();
        admin.execute(format!("CREATE DATABASE {name}").as_str()).await.unwrap();
        let mut url = Url::parse(&server).unwrap();
        url.set_path(&name);
        let pool = windlass_tasks::pg::connect(url.as_str()).await.unwrap();
        Self { url: url.into(), pool, name, server }
    }

    pub fn log(&self) -> Arc<dyn EventLog> {
        Arc::new(EmbeddedLog::new(self.pool.clone()))
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let (server, name) = (self.server.clone(), self.name.clone());
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let mut admin = PgConnection::connect(&server).await.unwrap();
                admin.execute(format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)").as_str()).await.unwrap();
            });
        });
        // A database that stays behind spoils no other test.
        let _ = dropped.join();
    }
}

/// A registry on a free port, until the test ends.
pub struct Registry {
    pub url: Url,
    stop: CancellationToken,
}

impl Registry {
    pub async fn start(pool: &PgPool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let stop = CancellationToken::new();
        tokio::spawn(server::serve_on(listener, pool.clone(), stop.clone()));
        Self { url, stop }
    }

    pub fn client(&self) -> RegistryClient {
        RegistryClient::new(self.url.clone())
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

pub fn worker() -> Worker {
    Worker {
        replica: Replica { index: 0, of: 1 },
        meter: Arc::new(Meter::new("test")),
        reporter: Reporter::new(None),
        stop: CancellationToken::new(),
    }
}

/// A worker whose reports can be read.
pub fn reporting_worker() -> (Worker, std::io::PipeReader) {
    use std::os::fd::{IntoRawFd, OwnedFd};
    let (reader, writer) = std::io::pipe().unwrap();
    (Worker { reporter: Reporter::new(Some(OwnedFd::from(writer).into_raw_fd())), ..worker() }, reader)
}

/// The Kafka cluster that tests may use, where there is one.
pub fn kafka_settings() -> Option<KafkaSettings> {
    let bootstrap_servers = std::env::var("KAFKA_BOOTSTRAP_SERVERS_TEST").ok().filter(|value| !value.is_empty())?;
    Some(KafkaSettings { bootstrap_servers, properties: Vec::new() })
}

/// A database, a log, a registry and a lake.
pub struct Stack {
    pub topic: String,
    pub database: Database,
    pub log: Arc<dyn EventLog>,
    pub registry: Registry,
    pub folder: tempfile::TempDir,
}

/// A worker that was started.
pub struct Running {
    pub worker: Worker,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Running {
    pub async fn stop(self) -> anyhow::Result<()> {
        self.worker.stop.cancel();
        self.ended().await
    }

    pub async fn ended(self) -> anyhow::Result<()> {
        tokio::time::timeout(PATIENCE, self.task).await.expect("the worker ends").expect("the worker does not panic")
    }

    /// Ends it at whatever it is doing, as a kill would.
    pub async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

impl Stack {
    pub async fn start() -> Self {
        let database = Database::create().await;
        let registry = Registry::start(&database.pool).await;
        Self { topic: TOPIC.to_owned(), log: database.log(), registry, folder: tempfile::tempdir().unwrap(), database }
    }

    /// The same with a topic of its own on a Kafka cluster.
    pub async fn on_kafka(settings: &KafkaSettings) -> Self {
        let log = Arc::new(KafkaLog::new(settings).unwrap());
        let topic = format!("stock-{}", uuid::Uuid::new_v4().simple());
        Self { topic, log, ..Self::start().await }
    }

    pub async fn lake(&self) -> Lake {
        let warehouse = format!("file://{}/lake", self.folder.path().display());
        let warehouse = Warehouse::parse(&warehouse, S3Settings::default()).unwrap();
        Lake::connect(&LakeSettings { database_url: self.database.url.clone(), warehouse }).await.unwrap()
    }

    pub fn file(&self, rows: &str) -> PathBuf {
        let path = self.folder.path().join("trades.csv");
        let mut file = std::fs::File::create(&path).unwrap();
        write!(file, "{}\n{rows}", replay::HEADER).unwrap();
        path
    }

    pub fn produce(&self, source: TradeSource) -> Running {
        self.produce_by(worker(), source)
    }

    pub fn produce_by(&self, worker: Worker, source: TradeSource) -> Running {
        let symbols = vec!["AAPL".to_owned(), "GOOG".to_owned(), "MSFT".to_owned()];
        let settings = StockSettings { source, symbols, topic: self.topic.clone() };
        let producer = Producer {
            worker: worker.clone(),
            log: self.log.clone(),
            pool: self.database.pool.clone(),
            registry: self.registry.client(),
            settings,
        };
        Running { worker, task: tokio::spawn(producer.run()) }
    }

    pub fn replay(&self, path: &Path) -> Running {
        self.produce(TradeSource::Replay { path: path.to_owned(), speed: ReplaySpeed::Unlimited })
    }

    pub async fn sink(&self, source: StockSource, rows_max: usize) -> Running {
        self.sink_by(worker(), source, rows_max).await
    }

    pub async fn sink_by(&self, worker: Worker, source: StockSource, rows_max: usize) -> Running {
        let sink = Sink {
            worker: worker.clone(),
            log: self.log.clone(),
            lake: self.lake().await,
            registry: self.registry.client(),
            limits: SinkLimits { rows_max, bytes_max: 128 << 20, age_max: Duration::from_millis(500) },
            topic: self.topic.clone(),
            source,
        };
        Running { worker, task: tokio::spawn(sink.run()) }
    }

    pub async fn read_all(&self) -> Vec<Record> {
        read_all(&*self.log, &self.topic).await
    }
}

/// All records of a topic, by partition and offset.
pub async fn read_all(log: &dyn EventLog, topic: &str) -> Vec<Record> {
    let description = log.describe(topic).await.unwrap();
    let ends = description.end_offsets();
    let mut positions = description.start_offsets();
    let mut all = Vec::new();
    loop {
        let open: Offsets = positions.iter().filter(|(p, at)| **at < ends[*p]).map(|(p, at)| (*p, *at)).collect();
        if open.is_empty() {
            break;
        }
        let request = FetchRequest { topic, positions: &open, bytes_max: 1 << 20, wait_max: PATIENCE };
        for record in log.fetch(request).await.unwrap() {
            positions.insert(record.partition, record.offset + 1);
            all.push(record);
        }
    }
    all.sort_by_key(|record| (record.partition, record.offset));
    all
}

/// Waits until something holds.
pub async fn eventually<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let started = tokio::time::Instant::now();
    while !holds().await {
        assert!(started.elapsed() < PATIENCE, "{what} did not come true");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
