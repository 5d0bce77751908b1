//! What people see who look at a busy server: each session has a stream, walks from page to page, fetches what has changed, and
//! asks the REST API now and then. Beside it, in the same run, the raw limit: a static file from the same server.
//!
//! The sessions and the server share the machine, so that what is measured is the worse of the two.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use tokio::{task::JoinSet, time::sleep};

const SESSIONS: usize = 500;
const SECS: u64 = 60;
/// Before anything counts: sessions come one after the other.
const WARM: Duration = Duration::from_secs(20);
/// How long somebody looks at a page.
const LOOKS_MS: (u64, u64) = (6_000, 14_000);
/// A session of the server has so many streams at most, and so many users share the sessions.
const STREAMS_OF_LOGIN: usize = 8;
const USERS: usize = 8;
const DAGS: usize = 20;
/// A run is started so often: six tasks each, of some seconds.
const RUN_EVERY: Duration = Duration::from_millis(1_500);
const RAW_EVERY: Duration = Duration::from_millis(100);
/// As the script of the pages does it.
const REFRESH_PAUSE: Duration = Duration::from_millis(300);
const START_WITHIN: Duration = Duration::from_secs(180);
const PORT: u16 = 28_083;
const PASSWORD: &str = "bench-of-sessions";
/// What is asked for, by how often: pages first.
const PAGES: [(&str, u64); 7] = [
    ("/dags", 25),
    ("/dags/{dag}", 20),
    ("/dags/{dag}/runs/{run}", 25),
    ("/dags/{dag}/runs/{run}/tasks/t0", 8),
    ("/runs", 15),
    ("/services", 3),
    ("/pools", 4),
];
const REST: [&str; 5] = [
    "/api/v2/dags?limit=50",
    "/api/v2/dags/{dag}/dagRuns?limit=25&order_by=-run_after",
    "/api/v2/dags/{dag}/dagRuns/{run}",
    "/api/v2/dags/{dag}/dagRuns/{run}/taskInstances",
    "/api/v2/dagStats",
];

/// What has been measured, by name, in ms.
#[derive(Debug, Default)]
struct Times {
    by_name: BTreeMap<String, Vec<f64>>,
    failed: BTreeMap<String, usize>,
    hints: usize,
    counts: bool,
}

/// What all sessions share.
struct Shared {
    base: String,
    http: reqwest::Client,
    times: Mutex<Times>,
    /// The newest runs, each with its DAG.
    runs: Mutex<Vec<(String, String)>>,
}

/// Measures with so many sessions, for so long.
#[tokio::main]
pub async fn run(sessions: Option<String>, secs: Option<String>) -> anyhow::Result<Value> {
    let sessions = sessions.map_or(Ok(SESSIONS), |text| text.parse()).context("sessions is a number")?;
    let secs = secs.map_or(Ok(SECS), |text| text.parse()).context("seconds is a number")?;
    let home = tempfile::tempdir()?;
    write_dags(&home.path().join("dags"))?;
    let server = Server::start(home.path())?;
    let shared = Arc::new(Shared {
        base: format!("http://127.0.0.1:{PORT}"),
        http: reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build()?,
        times: Mutex::default(),
        runs: Mutex::default(),
    });
    let admin = shared.log_in("airflow", "airflow").await?;
    let tokens = shared.tokens(&server, sessions).await?;
    let mut all = JoinSet::new();
    all.spawn(keep_busy(Arc::clone(&shared), admin.clone()));
    all.spawn(raw(Arc::clone(&shared)));
    while shared.some_run().is_none() {
        ensure!(server.began.elapsed() < START_WITHIN, "no run has been started");
        sleep(Duration::from_millis(100)).await;
    }
    for number in 0..sessions {
        all.spawn(session(Arc::clone(&shared), tokens[number / STREAMS_OF_LOGIN].clone()));
        sleep(WARM / 2 / u32::try_from(sessions)?).await;
    }
    sleep(WARM / 2).await;
    shared.lock().counts = true;
    let before = shared.metrics().await?;
    sleep(Duration::from_secs(secs)).await;
    shared.lock().counts = false;
    let after = shared.metrics().await?;
    all.shutdown().await;
    Ok(figures(&shared.lock(), sessions, secs, &before, &after))
}

fn write_dags(folder: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder)?;
    for dag in 0..DAGS {
        let mut text = format!(
            "dag_id: busy_{dag:02}\nschedule: null\nmax_active_runs: 4\nis_paused_upon_creation: false\n\
             tags: [team_{}]\ntasks:\n",
            dag % 4
        );
        for task in 0..6 {
            let before = if task < 2 { String::new() } else { format!("\n    dependencies: [t{}]", task - 2) };
            let _infallible = writeln!(
                text,
                "  - task_id: t{task}\n    operator: bash\n    bash_command: 'for n in 1 2 3 4 5 6; do echo line $n of a task; sleep 0.5; done'{before}"
            );
        }
        std::fs::write(folder.join(format!("busy_{dag:02}.yaml")), text)?;
    }
    Ok(())
}

/// The program under measurement.
struct Server {
    child: Child,
    began: Instant,
    home: std::path::PathBuf,
}

impl Server {
    fn start(home: &Path) -> anyhow::Result<Self> {
        let child = Self::command(home)?.arg("standalone").stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        Ok(Self { child, began: Instant::now(), home: home.to_owned() })
    }

    fn command(home: &Path) -> anyhow::Result<Command> {
        let program = std::env::current_exe()?.with_file_name("windlass");
        ensure!(program.exists(), "{} is not there: build the workspace first", program.display());
        let mut command = Command::new(program);
        command
            .env("WINDLASS_HOME", home.join("home"))
            .env("WINDLASS_DAGS_FOLDER", home.join("dags"))
            .env("WINDLASS_PORT", PORT.to_string())
            .env("WINDLASS_REGISTRY_PORT", (PORT + 1).to_string())
            .env("WINDLASS_METRICS_LISTEN", "off");
        Ok(command)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _gone_already = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        let _reaped = self.child.wait();
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, Times> {
        self.times.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn log_in(&self, username: &str, password: &str) -> anyhow::Result<String> {
        let login = json!({ "username": username, "password": password });
        let start = Instant::now();
        loop {
            match self.http.post(format!("{}/auth/token", self.base)).json(&login).send().await {
                Ok(answer) if answer.status().is_success() => {
                    let token: Value = answer.json().await?;
                    return Ok(token["access_token"].as_str().context("the answer has no token")?.to_owned());
                }
                // Logins are limited on purpose: some wait.
                Ok(answer) => ensure!(start.elapsed() < START_WITHIN, "{username} can not log in: {}", answer.status()),
                Err(error) => ensure!(start.elapsed() < START_WITHIN, "the web server does not answer: {error}"),
            }
            sleep(Duration::from_millis(500)).await;
        }
    }

    /// A login for each few sessions.
    async fn tokens(&self, server: &Server, sessions: usize) -> anyhow::Result<Vec<String>> {
        let name = |number: usize| format!("bench{}", number % USERS);
        for number in 0..USERS {
            let arguments = ["users", "create", "--if-missing", "-u", &name(number), "-r", "Op", "-p", PASSWORD];
            let output = Server::command(&server.home)?.args(arguments).output()?;
            ensure!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        }
        let mut tokens = Vec::new();
        for number in 0..=sessions / STREAMS_OF_LOGIN {
            tokens.push(self.log_in(&name(number), PASSWORD).await?);
        }
        Ok(tokens)
    }

    fn some_run(&self) -> Option<(String, String)> {
        let runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        (!runs.is_empty()).then(|| runs[usize::try_from(any(runs.len() as u64)).unwrap_or(0)].clone())
    }

    fn path(&self, template: &str) -> String {
        let (dag, run) = self.some_run().unwrap_or_default();
        template.replace("{dag}", &dag).replace("{run}", &run.replace('+', "%2B"))
    }

    /// Asks, and notes how long the whole answer took; none when it failed.
    async fn get(&self, name: &str, path: &str, token: &str, headers: &[(&str, &str)]) -> Option<reqwest::Response> {
        let start = Instant::now();
        let request = self.http.get(format!("{}{path}", self.base)).header("cookie", format!("_token={token}"));
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let answer = request.send().await.ok();
        let is_well = answer.as_ref().is_some_and(|answer| answer.status().as_u16() < 400);
        let mut times = self.lock();
        if times.counts {
            times.by_name.entry(name.to_owned()).or_default().push(start.elapsed().as_secs_f64() * 1000.0);
            if !is_well {
                *times.failed.entry(name.to_owned()).or_default() += 1;
            }
        }
        answer.filter(|_| is_well)
    }

    async fn metrics(&self) -> anyhow::Result<BTreeMap<String, f64>> {
        let text = self.http.get(format!("{}/metrics", self.base)).send().await?.text().await?;
        let pairs = text.lines().filter(|line| line.starts_with("windlass_live_")).filter_map(|line| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        });
        Ok(pairs.collect())
    }
}

/// Any number below another.
fn any(below: u64) -> u64 {
    let random = u64::try_from(uuid::Uuid::new_v4().as_u128() >> 66).unwrap_or(0);
    random % below.max(1)
}

/// Starts runs, one after the other.
async fn keep_busy(shared: Arc<Shared>, token: String) {
    for number in 0.. {
        let dag = format!("busy_{:02}", number % DAGS);
        let url = format!("{}/api/v2/dags/{dag}/dagRuns", shared.base);
        let answer = shared.http.post(url).bearer_auth(&token).json(&json!({ "logical_date": null })).send().await;
        if let Ok(answer) = answer
            && let Ok(run) = answer.json::<Value>().await
            && let Some(id) = run["dag_run_id"].as_str()
        {
            let mut runs = shared.runs.lock().unwrap_or_else(PoisonError::into_inner);
            runs.push((dag, id.to_owned()));
            let old = runs.len().saturating_sub(30);
            runs.drain(..old);
        }
        sleep(RUN_EVERY).await;
    }
}

/// The raw limit.
async fn raw(shared: Arc<Shared>) {
    loop {
        shared.get("raw: /static/windlass.svg", "/static/windlass.svg", "", &[]).await;
        sleep(RAW_EVERY).await;
    }
}

/// Somebody who looks at pages.
async fn session(shared: Arc<Shared>, token: String) {
    loop {
        let mut at = any(PAGES.iter().map(|(_, weight)| weight).sum());
        let page = PAGES.iter().find(|(_, weight)| {
            let is_it = at < *weight;
            at = at.saturating_sub(*weight);
            is_it
        });
        let Some((template, _)) = page else { continue };
        let path = shared.path(template);
        let start = Instant::now();
        let Some(answer) = shared.get(&format!("page {template}"), &path, &token, &[]).await else {
            sleep(Duration::from_secs(1)).await;
            continue;
        };
        let Ok(html) = answer.text().await else { continue };
        let until = start + Duration::from_millis(LOOKS_MS.0 + any(LOOKS_MS.1 - LOOKS_MS.0));
        look(&shared, &token, &path, &html, until).await;
    }
}

fn attribute<'h>(html: &'h str, name: &str) -> Option<&'h str> {
    html.split_once(&format!("{name}=\""))?.1.split_once('"').map(|(value, _)| value)
}

/// Looks at a page: its stream, what changes in it, and a question to the REST API.
async fn look(shared: &Shared, token: &str, path: &str, html: &str, until: Instant) {
    let seen = attribute(html, "data-seen").unwrap_or_default().to_owned();
    let mut on = attribute(html, "data-on").unwrap_or("*").replace("&#x2F;", "/");
    if let (Some(log), Some(offset)) = (attribute(html, "data-watch"), attribute(html, "data-offset")) {
        let _infallible = write!(on, " {}@{offset}", log.replace("&#x2F;", "/"));
    }
    let every = attribute(html, "data-every").and_then(|ms| ms.parse().ok()).map(Duration::from_millis);
    let stream = shared.http.get(format!("{}/events", shared.base)).query(&[("on", &on), ("since", &seen)]);
    let Ok(mut stream) = stream.header("cookie", format!("_token={token}")).send().await else { return };
    let rest = tokio::time::Instant::from_std(Instant::now() + (until - Instant::now()) / 2);
    let (mut has_asked, mut tag, mut spread) = (false, String::new(), 1);
    let mut due: Option<tokio::time::Instant> = None;
    let mut again = every.map(|every| tokio::time::Instant::now() + every);
    loop {
        let next = due.into_iter().chain(again).min();
        tokio::select! {
            () = tokio::time::sleep_until(until.into()) => return,
            () = tokio::time::sleep_until(rest), if !has_asked => {
                has_asked = true;
                let template = REST[usize::try_from(any(REST.len() as u64)).unwrap_or(0)];
                if let Some(answer) = shared.get(&format!("rest {template}"), &shared.path(template), token, &[]).await {
                    let _body = answer.bytes().await;
                }
            }
            () = async { tokio::time::sleep_until(next.unwrap_or_else(tokio::time::Instant::now)).await }, if next.is_some() => {
                let headers = [("windlass-fragment", "1"), ("if-none-match", tag.as_str())];
                let answer = shared.get("fragment", path, token, &headers).await;
                if let Some(answer) = answer {
                    tag = answer.headers().get("etag").and_then(|tag| tag.to_str().ok()).unwrap_or_default().to_owned();
                    let _body = answer.bytes().await;
                }
                due = None;
                again = every.map(|every| tokio::time::Instant::now() + every);
            }
            chunk = stream.chunk() => match chunk {
                Ok(Some(bytes)) => {
                    let text = String::from_utf8_lossy(&bytes);
                    if let Some(ms) = text.split_once("\"spread_ms\":").and_then(|(_, rest)| rest.split('}').next()?.parse().ok()) {
                        spread = ms;
                    }
                    if text.contains("event: changed") {
                        shared.lock().hints += 1;
                        let at = tokio::time::Instant::now() + REFRESH_PAUSE + Duration::from_millis(any(spread));
                        due = Some(due.map_or(at, |due| due.min(at)));
                    }
                }
                Ok(None) | Err(_) => {
                    tokio::time::sleep_until(until.into()).await;
                    return;
                }
            },
        }
    }
}

fn figures(
    times: &Times,
    sessions: usize,
    secs: u64,
    before: &BTreeMap<String, f64>,
    after: &BTreeMap<String, f64>,
) -> Value {
    let of = |starts: &str| {
        let all = times.by_name.iter().filter(|(name, _)| name.starts_with(starts));
        all.flat_map(|(_, times)| times.iter().copied()).collect::<Vec<f64>>()
    };
    let by_page: BTreeMap<&String, Value> = times
        .by_name
        .iter()
        .filter(|(name, _)| name.starts_with("page "))
        .map(|(name, of)| (name, spread(of)))
        .collect();
    let done = |name: &str| after.get(name).unwrap_or(&0.0) - before.get(name).unwrap_or(&0.0);
    let fragments = |how: &str| done(&format!("windlass_live_fragments_total{{how=\"{how}\"}}"));
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    json!({
        "benchmark": "sessions", "sessions": sessions, "seconds": secs, "load": load.trim(),
        "raw": spread(&of("raw")), "rest": spread(&of("rest")), "pages": spread(&of("page")), "fragments": spread(&of("fragment")),
        "by_page": by_page, "failed": times.failed, "hints_heard": times.hints,
        "fragments_rendered": fragments("rendered"), "fragments_shared": fragments("shared"),
        "fragments_unchanged": fragments("unchanged"), "told": done("windlass_live_told_total"),
        "streams": after.get("windlass_live_streams"), "log_tails": after.get("windlass_live_log_tails"),
    })
}

/// Count, median, 95th and 99th of a hundred, in ms.
fn spread(of: &[f64]) -> Value {
    let mut of = of.to_vec();
    of.sort_by(f64::total_cmp);
    let at = |hundredth: usize| of.get((of.len() * hundredth / 100).min(of.len().saturating_sub(1))).copied();
    json!({ "count": of.len(), "p50_ms": at(50), "p95_ms": at(95), "p99_ms": at(99) })
}
