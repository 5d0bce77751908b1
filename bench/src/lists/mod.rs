//! What lists of the web server take beside ten million task instances: each address of `requests.txt`, over HTTP.
//!
//! `windlass-bench lists` fills a PostgreSQL of its own; `windlass-bench lists URL` takes a database, fills it when it has no run,
//! and leaves it as it is, so that two builds can be measured on the same rows.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use chrono::{SecondsFormat, TimeDelta, Utc};
use serde_json::{Value, json};
use sqlx::{Executor as _, PgPool};

use crate::scheduler::with_postgres;

/// Ten instances each.
const RUNS: i64 = 1_000_000;
const DAGS: usize = 300;
const TASKS: usize = 10;
/// Requests before those that count, and those that do.
const WARM: usize = 3;
const MEASURED: usize = 20;
/// What an address that is slower than this takes is not worth twenty requests.
const SLOW: Duration = Duration::from_millis(500);
const MEASURED_WHEN_SLOW: usize = 3;
/// The promise.
const P95_MS_MAX: f64 = 50.0;
const START_WITHIN: Duration = Duration::from_secs(120);
const PORT: u16 = 18_083;
const USER: (&str, &str) = ("bench", "bench-of-lists");

/// Measures on this database, or on one of its own.
#[tokio::main]
pub async fn run(url: Option<String>) -> anyhow::Result<Value> {
    let home = tempfile::tempdir()?;
    match url {
        Some(url) => measure(home.path(), &url).await,
        None => with_postgres(async |_, url| measure(home.path(), url).await).await,
    }
}

async fn measure(home: &Path, url: &str) -> anyhow::Result<Value> {
    let windlass = Windlass::new(home, url)?;
    windlass.ask(&["db", "migrate"])?;
    let pool = store::open(url).await?;
    windlass.write_dags()?;
    let filled_s = fill(&windlass, &pool).await?;
    // Pages ask a leader; without a worker it starts nothing.
    let _leader = Ended(windlass.command(&["scheduler"]).spawn()?);
    let (name, password) = USER;
    windlass.ask(&["users", "create", "--if-missing", "-u", name, "-r", "Admin", "-p", password])?;
    let _server = Ended(windlass.command(&["api"]).spawn()?);
    let client = Client::log_in().await?;
    let run = amid_runs(&pool).await?;
    let mut lists = Vec::new();
    for line in include_str!("requests.txt").lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        lists.push(client.measure(line, &run).await?);
    }
    let slow: Vec<&Value> = lists.iter().filter(|list| list["p95_ms"].as_f64() > Some(P95_MS_MAX)).collect();
    let counted = "SELECT (SELECT count(*) FROM task_instance), (SELECT count(*) FROM dag_run)";
    let (instances, runs): (i64, i64) = sqlx::query_as(counted).fetch_one(&pool).await?;
    Ok(json!({
        "benchmark": "lists", "instances": instances, "runs": runs, "filled_s": filled_s,
        "above_50_ms": slow, "lists": lists,
    }))
}

/// Makes the DAGs and their history, unless there is a run.
async fn fill(windlass: &Windlass<'_>, pool: &PgPool) -> anyhow::Result<f64> {
    let start = Instant::now();
    let has_runs: bool = sqlx::query_scalar("SELECT EXISTS (SELECT FROM dag_run)").fetch_one(pool).await?;
    if !has_runs {
        let scheduler = Ended(windlass.command(&["scheduler"]).spawn()?);
        let stored = async || sqlx::query_scalar::<_, i64>("SELECT count(*) FROM dag").fetch_one(pool).await;
        while stored().await? < i64::try_from(DAGS)? {
            ensure!(start.elapsed() < START_WITHIN, "the DAGs are not stored within {START_WITHIN:?}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        drop(scheduler);
        let mut connection = pool.acquire().await?;
        connection.execute(format!("SELECT set_config('bench.runs', '{RUNS}', false)").as_str()).await?;
        connection.execute(include_str!("fill.sql")).await?;
        connection.execute("VACUUM ANALYZE").await?;
    }
    Ok(start.elapsed().as_secs_f64())
}

/// A run of the largest DAG, amid its runs.
async fn amid_runs(pool: &PgPool) -> anyhow::Result<String> {
    let amid = "SELECT run_id FROM dag_run WHERE dag_id = 'dag_000' ORDER BY run_after DESC OFFSET 5000 LIMIT 1";
    sqlx::query_scalar(amid).fetch_one(pool).await.context("dag_000 has too few runs")
}

/// The program under measurement, on one database.
struct Windlass<'a> {
    home: &'a Path,
    url: &'a str,
    program: PathBuf,
}

impl<'a> Windlass<'a> {
    fn new(home: &'a Path, url: &'a str) -> anyhow::Result<Self> {
        let program = std::env::current_exe()?.with_file_name("windlass");
        ensure!(program.exists(), "{} is not there: build the workspace first", program.display());
        // The key of the installation that filled the database, when it is given.
        if std::env::var_os("WINDLASS_SECRET_KEY_FILE").is_none() {
            store::SecretKey::from_file_or_create(&home.join("bench.key"))?;
        }
        Ok(Self { home, url, program })
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .env("DATABASE_URL", self.url)
            .env("WINDLASS_HOME", self.home.join("home"))
            .env("WINDLASS_DAGS_FOLDER", self.dags())
            .env("WINDLASS_PORT", PORT.to_string())
            .env("WINDLASS_LINK_LISTEN", "127.0.0.1:18084")
            .env("WINDLASS_METRICS_LISTEN", "127.0.0.1:18085");
        if std::env::var_os("WINDLASS_SECRET_KEY_FILE").is_none() {
            command.env("WINDLASS_SECRET_KEY_FILE", self.home.join("bench.key"));
        }
        command
    }

    fn ask(&self, arguments: &[&str]) -> anyhow::Result<()> {
        let output = self.command(arguments).stderr(Stdio::piped()).output()?;
        ensure!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    fn dags(&self) -> PathBuf {
        self.home.join("dags")
    }

    /// Chains, which nobody starts: new DAGs are paused.
    fn write_dags(&self) -> anyhow::Result<()> {
        fs::create_dir_all(self.dags())?;
        for dag in 0..DAGS {
            let (team, layer) = (dag % 12, dag % 3);
            let mut text =
                format!("dag_id: dag_{dag:03}\nschedule: '0 * * * *'\ntags: [team_{team}, layer_{layer}]\ntasks:\n");
            for task in 0..TASKS {
                let before = if task == 0 { String::new() } else { format!("\n    dependencies: [t{}]", task - 1) };
                let _infallible =
                    writeln!(text, "  - task_id: t{task}\n    operator: bash\n    bash_command: 'true'{before}");
            }
            fs::write(self.dags().join(format!("dag_{dag:03}.yaml")), text)?;
        }
        Ok(())
    }
}

/// A process that is asked to end when this is dropped, and waited for.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _gone_already = Command::new("kill").args(["-TERM", &self.0.id().to_string()]).status();
        let _reaped = self.0.wait();
    }
}

/// Somebody who has logged in.
struct Client {
    http: reqwest::Client,
    token: String,
}

impl Client {
    async fn log_in() -> anyhow::Result<Self> {
        let http = reqwest::Client::new();
        let (username, password) = USER;
        let login = json!({ "username": username, "password": password });
        let start = Instant::now();
        let answer = loop {
            match http.post(format!("http://127.0.0.1:{PORT}/auth/token")).json(&login).send().await {
                Ok(answer) => break answer.error_for_status()?,
                Err(error) => ensure!(start.elapsed() < START_WITHIN, "the web server does not answer: {error}"),
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        };
        let token: Value = answer.json().await?;
        let token = token["access_token"].as_str().context("the answer has no token")?.to_owned();
        Ok(Self { http, token })
    }

    /// Asks for an address until it is known how long it takes.
    async fn measure(&self, line: &str, run: &str) -> anyhow::Result<Value> {
        let ago = |days| (Utc::now() - TimeDelta::days(days)).to_rfc3339_opts(SecondsFormat::Secs, true);
        let path = line
            .replace("{run}", &run.replace('+', "%2B"))
            .replace("{day}", &ago(1))
            .replace("{week}", &ago(7))
            .replace("{old}", &ago(300));
        let (first, ..) = self.get(&path).await?;
        let is_slow = first > SLOW;
        for _ in 1..if is_slow { 1 } else { WARM } {
            self.get(&path).await?;
        }
        let (mut times, mut last) = (Vec::new(), (0, Value::Null));
        for _ in 0..if is_slow { MEASURED_WHEN_SLOW } else { MEASURED } {
            let (took, status, body) = self.get(&path).await?;
            times.push(took.as_secs_f64() * 1000.0);
            last = (status, body);
        }
        times.sort_by(f64::total_cmp);
        let (status, body) = last;
        Ok(json!({
            "path": line, "status": status, "p50_ms": times[times.len() / 2], "p95_ms": times[(times.len() * 95 - 1) / 100],
            "total_entries": body["total_entries"],
        }))
    }

    async fn get(&self, path: &str) -> anyhow::Result<(Duration, u16, Value)> {
        let start = Instant::now();
        let answer = self.http.get(format!("http://127.0.0.1:{PORT}{path}")).bearer_auth(&self.token).send().await?;
        let status = answer.status().as_u16();
        let body = answer.bytes().await?;
        Ok((start.elapsed(), status, serde_json::from_slice(&body).unwrap_or(Value::Null)))
    }
}
