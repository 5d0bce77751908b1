//! More than one machine: two schedulers, three workers, two api processes on one database, each killed and stopped in
//! turn under load. Every run ends well, nothing is done twice, and the next task starts as soon as is promised.

use std::{
    fs::File,
    io::Write as _,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use windlass_e2e::{
    fleet::{Fleet, Member, Size},
    within,
};

const SIZE: Size = Size { schedulers: 2, workers: 3, apis: 2 };
/// A killed leader is replaced within this (design: below 2 s).
const KILLED_LEADER: Duration = Duration::from_secs(2);
/// A stopped leader is replaced after 5 s; a standby looks four times a second, and loads.
const STOPPED_LEADER: Duration = Duration::from_secs(8);
/// After any fault, a new task starts within this; a loaded machine needs some of it.
const NEXT_TASK: Duration = Duration::from_secs(15);
/// Runs end within this once the load has ended and everything lives.
const ALL_RUNS: Duration = Duration::from_secs(90);
/// A worker that is silent for so long is given nothing new; after 75 s it counts as dead.
const SILENT: Duration = Duration::from_secs(12);
const DEAD: Duration = Duration::from_secs(85);
/// A client of a stopped api process goes to another one after this.
const ASKED_AGAIN_AFTER: Duration = Duration::from_secs(3);
/// The pause between two runs of the load.
const PACE: Duration = Duration::from_millis(250);

/// Many short tasks; each leaves a line of its own behind.
const LOAD: &str = r#"
dag_id: load
schedule: null
is_paused_upon_creation: false
max_active_runs: 200
default_args: {retries: 0}
tasks:
  - {task_id: first, operator: bash, bash_command: "echo begin"}
  - {task_id: left, operator: bash, bash_command: "echo left", dependencies: [first]}
  - {task_id: gate, operator: empty, dependencies: [first]}
  - {task_id: right, operator: bash, bash_command: "sleep 0.3; echo right", dependencies: [gate]}
  - {task_id: last, operator: bash, bash_command: "echo end", dependencies: [left, right]}
"#;

/// A task that speaks until its file appears, to be read while it runs.
const TALK: &str = r#"
dag_id: talk
schedule: null
is_paused_upon_creation: false
default_args: {retries: 0}
params: {until: {type: string}}
tasks:
  - task_id: talk
    operator: bash
    bash_command: |
      n=0
      while [ ! -e {{ params.until | quote }} ]; do n=$((n + 1)); echo "word $n"; sleep 0.1; done
"#;

/// What is done to a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// `kill -9`, and started again after the next task has started.
    Killed,
    /// `kill -STOP` for at least so long, then `-CONT`.
    Stopped(Duration),
}

/// Whom it is done to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victim {
    Leader,
    Standby,
    Worker(usize),
    Api(usize),
}

/// A fleet under load.
struct Siege {
    fleet: Fleet,
    load: Load,
    figures: Figures,
}

/// Triggers runs at whichever api process answers, until it is told to stop.
struct Load {
    stop: Arc<AtomicBool>,
    triggered: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Load {
    async fn start(fleet: &Fleet) -> Self {
        let token = fleet.login(0).await;
        let urls: Vec<String> = fleet.apis.iter().map(|api| api.url.clone()).collect();
        let (stop, triggered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let task = tokio::spawn(trigger_runs(urls, token, Arc::clone(&stop), Arc::clone(&triggered)));
        Self { stop, triggered, task }
    }

    /// How many runs there must be.
    async fn end(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap();
        self.triggered.load(Ordering::Relaxed)
    }
}

async fn trigger_runs(urls: Vec<String>, token: String, stop: Arc<AtomicBool>, triggered: Arc<AtomicUsize>) {
    let client = reqwest::Client::builder().timeout(ASKED_AGAIN_AFTER).build().unwrap();
    let mut pace = tokio::time::interval(PACE);
    while !stop.load(Ordering::Relaxed) {
        pace.tick().await;
        let number = triggered.load(Ordering::Relaxed);
        let body = json!({ "dag_run_id": format!("load_{number}"), "logical_date": null });
        let mut turn = number;
        // Asked again after a doubt, the same run id is a conflict: then the first one was heard.
        loop {
            let url = format!("{}/api/v2/dags/load/dagRuns", urls[turn % urls.len()]);
            turn += 1;
            match client.post(url).bearer_auth(&token).json(&body).send().await {
                Ok(answer) if [200, 409].contains(&answer.status().as_u16()) => break,
                Ok(_) | Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
        triggered.fetch_add(1, Ordering::Relaxed);
    }
}

/// Lines of JSON for the documentation, one a fault.
struct Figures {
    file: File,
    path: PathBuf,
}

impl Figures {
    fn new(name: &str) -> Self {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        Self { file: File::create(&path).unwrap(), path }
    }

    fn write(&mut self, figure: &Value) {
        println!("{figure}");
        writeln!(self.file, "{figure}").unwrap();
    }
}

impl Siege {
    async fn lay(figures: &str) -> Self {
        let fleet = Fleet::start(SIZE, &[("load.yaml", LOAD), ("talk.yaml", TALK)]).await;
        let load = Load::start(&fleet).await;
        let figures = Figures::new(figures);
        println!("figures: {}", figures.path.display());
        Self { fleet, load, figures }
    }

    /// The name of the process that is in this place now.
    async fn name_of(&self, victim: Victim) -> String {
        let leader = within("somebody leads", NEXT_TASK, async || self.fleet.leader().await).await;
        let member = match victim {
            Victim::Leader => &self.fleet.schedulers[leader],
            Victim::Standby => &self.fleet.schedulers[1 - leader],
            Victim::Worker(number) => &self.fleet.workers[number],
            Victim::Api(number) => &self.fleet.apis[number].process,
        };
        member.name.clone()
    }

    /// One fault, until a task that was granted after it has started, and the victim is back.
    async fn strike(&mut self, victim: Victim, fault: Fault) {
        let before: i64 = self.one("SELECT epoch FROM leader").await;
        let name = self.name_of(victim).await;
        let at: f64 = self.one("SELECT extract(epoch FROM clock_timestamp())::float8").await;
        let start = Instant::now();
        let member = self.named(&name);
        match fault {
            Fault::Killed => member.kill(),
            Fault::Stopped(_) => member.freeze(),
        }
        let next_task = self.next_task(at).await;
        let takeover = if victim == Victim::Leader { Some(self.takeover(before, at).await) } else { None };
        if let Fault::Stopped(at_least) = fault {
            tokio::time::sleep(at_least.saturating_sub(start.elapsed())).await;
            if at_least >= DEAD {
                self.nothing_is_left_on(&name).await;
            }
        }
        let member = self.named(&name);
        match fault {
            Fault::Killed => member.start(),
            Fault::Stopped(_) => member.thaw(),
        }
        if let Victim::Worker(_) = victim {
            self.everybody_works().await;
        }
        self.figures.write(&json!({
            "victim": name, "role": role(victim), "fault": word(fault),
            "takeover_secs": takeover, "next_task_secs": next_task,
        }));
        if let Some(takeover) = takeover {
            let limit = if fault == Fault::Killed { KILLED_LEADER } else { STOPPED_LEADER };
            assert!(takeover < limit.as_secs_f64(), "{name} was {}: {takeover} s until the takeover", word(fault));
        }
    }

    /// What a worker had when it fell silent is counted as lost, and may run elsewhere.
    async fn nothing_is_left_on(&self, worker: &str) {
        let left = "SELECT count(*) FROM task_instance JOIN worker ON worker.id = worker_id WHERE live AND name = $1";
        let left: i64 = sqlx::query_scalar(left).bind(worker).fetch_one(&self.fleet.pool).await.unwrap();
        assert_eq!(left, 0, "{worker} is dead, and what it ran still counts");
    }

    /// Every worker is connected and counts as living.
    async fn everybody_works(&self) {
        within("every worker is back", NEXT_TASK, async || {
            let listed = self.fleet.cluster().await.ok()?;
            (listed.matches("alive").count() == SIZE.workers).then_some(())
        })
        .await;
    }

    fn named(&mut self, name: &str) -> &mut Member {
        let fleet = &mut self.fleet;
        let apis = fleet.apis.iter_mut().map(|api| &mut api.process);
        let mut all = fleet.schedulers.iter_mut().chain(&mut fleet.workers).chain(apis);
        all.find(|member| member.name == name).unwrap()
    }

    /// Seconds from an instant until the start of the first task that was granted after it.
    async fn next_task(&self, at: f64) -> f64 {
        let started = format!(
            "SELECT extract(epoch FROM min(started_at))::float8 - {at} FROM task_instance \
             WHERE queued_at > to_timestamp({at}) AND started_at IS NOT NULL AND worker_id IS NOT NULL"
        );
        within("a new task starts after the fault", NEXT_TASK, async || {
            sqlx::query_scalar::<_, Option<f64>>(&started).fetch_one(&self.fleet.pool).await.ok()?
        })
        .await
    }

    /// Seconds from an instant until somebody else led.
    async fn takeover(&self, before: i64, at: f64) -> f64 {
        let taken =
            format!("SELECT extract(epoch FROM took_over_at)::float8 - {at} FROM leader WHERE epoch > {before}");
        within("somebody takes over", NEXT_TASK, async || {
            sqlx::query_scalar::<_, f64>(&taken).fetch_optional(&self.fleet.pool).await.ok()?
        })
        .await
    }

    async fn one<T>(&self, query: &str) -> T
    where
        T: Send + Unpin + for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
    {
        sqlx::query_scalar(query).fetch_one(&self.fleet.pool).await.unwrap()
    }

    /// Ends the load; every run that was acknowledged is there and has ended well, and nothing counted twice.
    async fn lift(self) -> Fleet {
        let Self { fleet, load, mut figures } = self;
        let runs = load.end().await;
        let ended = "SELECT count(*) FROM dag_run WHERE dag_id = 'load' AND ended_at IS NOT NULL";
        within("every run ends", ALL_RUNS, async || {
            let ended: i64 = sqlx::query_scalar(ended).fetch_one(&fleet.pool).await.ok()?;
            (ended as usize == runs).then_some(())
        })
        .await;
        let states = count(&fleet, "SELECT count(DISTINCT state) FROM dag_run WHERE dag_id = 'load'").await;
        assert_eq!(states, 1, "every run ends the same way");
        assert_eq!(run_state(&fleet, "load_0").await, "success");
        assert_eq!(
            count(&fleet, &format!("SELECT count(*) FROM task_instance WHERE {OF_LOAD}")).await,
            5 * runs as i64
        );
        assert_eq!(count(&fleet, "SELECT count(*) FROM task_instance WHERE live").await, 0, "nothing lives");
        // A superseded try of these DAGs is a lost attempt, never one that has succeeded.
        let done = "SELECT count(*) FROM task_try t JOIN task_instance i USING (run_id, task_idx, map_index) \
                    WHERE t.state = i.state";
        assert_eq!(count(&fleet, done).await, 0, "two attempts of one instance have committed");
        let lost = count(&fleet, "SELECT count(*) FROM task_try").await;
        figures.write(&json!({ "runs": runs, "instances": 5 * runs, "lost_attempts": lost }));
        fleet
    }
}

const OF_LOAD: &str = "run_id IN (SELECT id FROM dag_run WHERE dag_id = 'load')";

fn role(victim: Victim) -> &'static str {
    match victim {
        Victim::Leader => "leader",
        Victim::Standby => "standby",
        Victim::Worker(_) => "worker",
        Victim::Api(_) => "api",
    }
}

fn word(fault: Fault) -> &'static str {
    match fault {
        Fault::Killed => "killed",
        Fault::Stopped(_) => "stopped",
    }
}

async fn count(fleet: &Fleet, query: &str) -> i64 {
    sqlx::query_scalar(query).fetch_one(&fleet.pool).await.unwrap()
}

async fn get(fleet: &Fleet, api: usize, token: &str, path: &str) -> Option<Value> {
    let url = format!("{}{path}", fleet.apis[api].url);
    let answer = reqwest::Client::new().get(url).bearer_auth(token).send().await.ok()?;
    if answer.status().is_success() { answer.json().await.ok() } else { None }
}

async fn run_state(fleet: &Fleet, run: &str) -> String {
    let token = fleet.login(0).await;
    let found = get(fleet, 0, &token, &format!("/api/v2/dags/load/dagRuns/{run}")).await.unwrap();
    found["state"].as_str().unwrap().to_owned()
}

/// The text of a log, as an api process shows it.
async fn log(fleet: &Fleet, api: usize, token: &str, of: &str) -> Option<String> {
    let page = get(fleet, api, token, &format!("/api/v2/dags/{of}/logs/1")).await?;
    let lines = page["content"].as_array()?.iter().filter_map(|line| line["event"].as_str());
    Some(lines.collect::<Vec<_>>().join("\n"))
}

/// A finished and a running attempt's log are read from every api process, with one login.
async fn logs_are_read_everywhere(fleet: &mut Fleet) {
    let token = fleet.login(0).await;
    let flag = fleet.folder().join("enough");
    let conf = json!({ "dag_run_id": "talk", "logical_date": null, "conf": { "until": flag.display().to_string() } });
    let url = format!("{}/api/v2/dags/talk/dagRuns", fleet.apis[1].url);
    let answer = reqwest::Client::new().post(url).bearer_auth(&token).json(&conf).send().await.unwrap();
    assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap());
    fleet.add_api().await;
    for api in 0..fleet.apis.len() {
        let finished = "load/dagRuns/load_0/taskInstances/last";
        let end = within("the log of a finished attempt", NEXT_TASK, async || log(fleet, api, &token, finished).await);
        assert!(end.await.contains("end"), "api {api}");
        let running = "talk/dagRuns/talk/taskInstances/talk";
        let spoken = within("a running attempt is heard", NEXT_TASK, async || {
            log(fleet, api, &token, running).await.filter(|text| text.contains("word 3"))
        })
        .await;
        within("it is heard to go on", NEXT_TASK, async || {
            log(fleet, api, &token, running).await.filter(|text| text.len() > spoken.len())
        })
        .await;
    }
    std::fs::write(flag, "").unwrap();
}

/// A token that was not made here, or was revoked, opens no door; both sides say why.
async fn strangers_stay_outside(fleet: &Fleet) {
    let whole = fleet.join_token();
    let parts: Vec<&str> = whole.split('.').collect();
    let other_secret = format!("{}.{}.{}.{}", parts[0], parts[1], "A".repeat(parts[2].len()), parts[3]);
    let mut stranger = fleet.worker("stranger", &other_secret);
    stranger.start();
    within("the stranger is told", NEXT_TASK, async || {
        stranger.log().contains("this cluster has never had such a join token").then_some(())
    })
    .await;
    assert!(!fleet.cluster().await.unwrap().contains("stranger"));
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_dies_every_run_ends_well_and_the_next_task_starts_soon() {
    let mut siege = Siege::lay("fleet.jsonl").await;
    strangers_stay_outside(&siege.fleet).await;
    siege.strike(Victim::Leader, Fault::Killed).await;
    siege.strike(Victim::Worker(0), Fault::Killed).await;
    siege.strike(Victim::Leader, Fault::Stopped(Duration::ZERO)).await;
    siege.strike(Victim::Api(0), Fault::Killed).await;
    siege.strike(Victim::Worker(1), Fault::Stopped(SILENT)).await;
    let mut fleet = siege.lift().await;
    logs_are_read_everywhere(&mut fleet).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: part of the full set"]
async fn a_fleet_survives_each_process_killed_and_stopped_again_and_again() {
    let mut siege = Siege::lay("fleet_again_and_again.jsonl").await;
    let pause = Duration::from_secs(3);
    for fault in [Fault::Killed, Fault::Stopped(pause)] {
        for victim in [Victim::Leader, Victim::Standby, Victim::Leader, Victim::Standby] {
            siege.strike(victim, fault).await;
        }
        for number in 0..SIZE.workers {
            siege.strike(Victim::Worker(number), fault).await;
        }
        for number in 0..SIZE.apis {
            siege.strike(Victim::Api(number), fault).await;
        }
    }
    siege.strike(Victim::Worker(2), Fault::Stopped(DEAD)).await;
    let mut fleet = siege.lift().await;
    logs_are_read_everywhere(&mut fleet).await;
}
