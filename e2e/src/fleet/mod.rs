//! Schedulers, workers and api processes on one database, each a process of its own, with nothing shared but that.

mod member;

use std::{os::unix::fs::PermissionsExt as _, path::PathBuf, time::Duration};

use serde_json::{Value, json};
use sqlx::{Connection as _, Executor as _, PgConnection, PgPool};
use store::users::{NewUser, Role, put_user};
use tempfile::TempDir;

use crate::{ANY_PORT, standalone::free_port, within};

pub use member::Member;

/// How long a fleet may take to come up on a loaded machine.
const START_LIMIT: Duration = Duration::from_secs(60);
/// The user that may do everything: name and password.
pub const USER: (&str, &str) = ("fleet", "correct horse");
/// Attempts that one worker runs at once.
const SLOTS: usize = 6;

/// How many processes of each kind.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// `windlass scheduler`.
    pub schedulers: usize,
    /// `windlass worker`.
    pub workers: usize,
    /// `windlass api`.
    pub apis: usize,
}

/// A running fleet. Dropped, it is killed with its database.
pub struct Fleet {
    /// One leads, the others stand by.
    pub schedulers: Vec<Member>,
    /// They find the leader through the api processes.
    pub workers: Vec<Member>,
    /// Web servers.
    pub apis: Vec<Api>,
    /// The state, for what only the database tells.
    pub pool: PgPool,
    folder: TempDir,
    database: String,
    shared: Vec<(&'static str, String)>,
    join_token: String,
}

/// A web server and where it is.
pub struct Api {
    /// The process.
    pub process: Member,
    /// `http://127.0.0.1:port`.
    pub url: String,
}

impl Fleet {
    /// Starts one on a new database with these DAG files, and waits until a leader has every worker.
    ///
    /// # Panics
    /// When it does not come up.
    pub async fn start(size: Size, dags: &[(&str, &str)]) -> Self {
        Self::start_with(size, dags, &[]).await
    }

    /// The same with further settings of schedulers and api processes.
    ///
    /// # Panics
    /// When it does not come up.
    pub async fn start_with(size: Size, dags: &[(&str, &str)], settings: &[(&'static str, String)]) -> Self {
        let folder = tempfile::Builder::new().prefix("windlass-fleet-").tempdir().expect("a temporary folder");
        let dags_folder = folder.path().join("dags");
        std::fs::create_dir(&dags_folder).expect("a folder");
        for (name, text) in dags {
            std::fs::write(dags_folder.join(name), text).expect("a DAG file");
        }
        let (database, url) = create_database().await;
        let key = folder.path().join("key");
        std::fs::write(&key, format!("{}Bwc=\n", "BwcH".repeat(10))).expect("a key file");
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).expect("a key file");
        let mut shared = vec![
            ("DATABASE_URL", url.clone()),
            ("WINDLASS_SECRET_KEY_FILE", key.display().to_string()),
            ("WINDLASS_DAGS_FOLDER", dags_folder.display().to_string()),
            ("WINDLASS_HOME", folder.path().join("home").display().to_string()),
            ("WINDLASS_METRICS_LISTEN", ANY_PORT.to_owned()),
        ];
        shared.extend(settings.iter().cloned());
        let _migrated = printed(&Member::new(folder.path(), "migrate", &[], &shared), &["db", "migrate"]);
        let join_token = printed(&Member::new(folder.path(), "token", &[], &shared), &["workers", "token"]);
        let pool = store::open(&url).await.expect("the database answers");
        let (username, password) = USER;
        put_user(&pool, NewUser { username, password, role: Role::Admin }).await.expect("a user");
        let (schedulers, workers, apis) = (Vec::new(), Vec::new(), Vec::new());
        let mut fleet = Self { schedulers, workers, apis, pool, folder, database, shared, join_token };
        fleet.fill(size).await;
        fleet
    }

    async fn fill(&mut self, size: Size) {
        for number in 1..=size.schedulers {
            let listen = format!("127.0.0.1:{}", free_port());
            let arguments = ["scheduler", "--listen", &listen];
            let mut scheduler =
                Member::new(self.folder.path(), &format!("scheduler-{number}"), &arguments, &self.shared);
            scheduler.start();
            self.schedulers.push(scheduler);
        }
        for _ in 0..size.apis {
            self.add_api().await;
        }
        for number in 1..=size.workers {
            let mut worker = self.worker(&format!("worker-{number}"), &self.join_token);
            worker.start();
            self.workers.push(worker);
        }
        within("every worker has joined", START_LIMIT, async || {
            let alive = self.cluster().await.is_ok_and(|listed| listed.matches("alive").count() == size.workers);
            alive.then_some(())
        })
        .await;
    }

    /// One more web server, healthy.
    pub async fn add_api(&mut self) {
        self.add_api_at(free_port()).await;
    }

    /// One more web server, on this port, healthy.
    pub async fn add_api_at(&mut self, port: u16) {
        let port = port.to_string();
        let name = format!("api-{}", self.apis.len() + 1);
        let mut process = Member::new(self.folder.path(), &name, &["api", "--port", &port], &self.shared);
        process.start();
        let api = Api { process, url: format!("http://127.0.0.1:{port}") };
        within("an api process finds database and leader", START_LIMIT, async || {
            let health: Value =
                reqwest::get(format!("{}/api/v2/monitor/health", api.url)).await.ok()?.json().await.ok()?;
            (health["scheduler"]["status"] == "healthy").then_some(())
        })
        .await;
        self.apis.push(api);
    }

    /// A worker with this token that has not been started. It has no database, and knows the api processes only.
    #[must_use]
    pub fn worker(&self, name: &str, join_token: &str) -> Member {
        let urls: Vec<&str> = self.apis.iter().map(|api| api.url.as_str()).collect();
        let home = self.folder.path().join(name);
        let environment = [
            ("WINDLASS_JOIN_TOKEN", join_token.to_owned()),
            ("WINDLASS_API_URL", urls.join(",")),
            ("WINDLASS_HOME", home.display().to_string()),
            ("WINDLASS_METRICS_LISTEN", ANY_PORT.to_owned()),
        ];
        let slots = SLOTS.to_string();
        Member::new(self.folder.path(), name, &["worker", "--name", name, "--slots", &slots], &environment)
    }

    /// The token by which workers join.
    #[must_use]
    pub fn join_token(&self) -> &str {
        &self.join_token
    }

    /// `windlass workers list`, or why it failed.
    ///
    /// # Errors
    /// What the command said.
    pub async fn cluster(&self) -> Result<String, String> {
        let member = Member::new(self.folder.path(), "list", &[], &self.shared);
        run(&member, &["workers", "list"])
    }

    /// Which of the schedulers leads, by the row that it wrote when it took over.
    pub async fn leader(&self) -> Option<usize> {
        let seat = store::cluster::leader_seat(&self.pool).await.ok()?;
        let pid: u32 = seat.holder.rsplit(':').next()?.parse().ok()?;
        self.schedulers.iter().position(|scheduler| scheduler.pid() == Some(pid))
    }

    /// A client of an api process, logged in at it.
    ///
    /// # Panics
    /// When the login fails.
    pub async fn login(&self, api: usize) -> String {
        let (username, password) = USER;
        let login = json!({ "username": username, "password": password });
        let answer = reqwest::Client::new().post(format!("{}/auth/token", self.apis[api].url)).json(&login).send();
        let token: Value = answer.await.expect("the api answers").json().await.expect("JSON");
        token["access_token"].as_str().expect("a token").to_owned()
    }

    /// A folder of the test's own.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        self.folder.path().to_owned()
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for member in self.schedulers.iter().chain(&self.workers) {
                eprintln!("--- {}\n{}", member.name, member.log_tail());
            }
        }
        for member in self.schedulers.iter_mut().chain(&mut self.workers) {
            member.kill();
        }
        self.apis.clear();
        drop_database(&self.database);
    }
}

fn run(member: &Member, arguments: &[&str]) -> Result<String, String> {
    let output = member.command().args(arguments).output().expect("windlass starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

fn printed(member: &Member, arguments: &[&str]) -> String {
    let printed = run(member, arguments).unwrap_or_else(|error| panic!("windlass {arguments:?}: {error}"));
    printed.trim().to_owned()
}

/// The server on which tests make databases.
fn server() -> String {
    std::env::var("WINDLASS_TEST_DATABASE_URL").expect("test.sh sets WINDLASS_TEST_DATABASE_URL")
}

async fn create_database() -> (String, String) {
    let name = format!("fleet_{:016x}", rand::random::<u64>());
    let mut connection = PgConnection::connect(&server()).await.expect("the test server answers");
    connection.execute(format!("CREATE DATABASE {name}").as_str()).await.expect("a database");
    let server = server();
    let (base, query) = server.split_once('?').map_or((server.as_str(), ""), |(base, query)| (base, query));
    let (base, _) = base.rsplit_once('/').expect("the URL names a database");
    let url = if query.is_empty() { format!("{base}/{name}") } else { format!("{base}/{name}?{query}") };
    (name, url)
}

/// From a destructor, which can not wait for the test's own runtime.
fn drop_database(name: &str) {
    let statement = format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)");
    let dropping = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            if let Ok(mut connection) = PgConnection::connect(&server()).await {
                // What is left over is in nobody's way.
                let _left_over = connection.execute(statement.as_str()).await;
            }
        });
    });
    let _panicked = dropping.join();
}
