//! A server of its own for each test: database, sample rows, a leader made for the test, and clients.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use chrono::{TimeDelta, Utc};
use dag::{FileProblem, ReadFile};
use engine::{BackfillRow, DagChange, DagVersion, Plan, ResponseRow, RunChange, RunRow, TiChange, TiExtra, TiRow};
use futures::{FutureExt, future::BoxFuture};
use link::{
    ArchiveError, ConnectionFields, LeaderPort, LogArchive, LogChunk, LogPlace, NoLeader, Query, Reply,
    query::{ClusterView, LogName, PoolView, PoolWaiter, TaskWhy, WorkerView},
};
use model::{
    Answer, AnswerStatus, AttemptId, BackfillId, Command, CommandId, DagId, DagRunState, Epoch, MapIndex, RunId,
    RunKey, RunType, TaskId, TaskState, TiKey, Timestamp, TriggeredBy, TryNumber, WorkerId, XComValue,
    command::{ClearTaskInstances, CreateBackfill, Draining, MarkTaskInstances, Paused, SetNote, TriggerDagRun},
    door::{Instant, Note},
};
use serde_json::{Value, json};
use sqlx::PgPool;
use store::{
    Candidate, Changes, SecretKey, Writer,
    hints::{notify_answers, notify_changes},
    inbox,
    users::{NewUser, Role, put_user},
};
use tokio::{
    net::TcpListener,
    sync::{Notify, OnceCell},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use windlass_webui::{Apart, AppSettings, Secret, WebDatabase};

use crate::document::check_answer;
pub use crate::sample_dags::{OTHER, STOCK};

/// The password of every user.
pub const PASSWORD: &str = "correct horse";

/// A log line that would be dangerous in a page that does not escape.
pub const HOSTILE_LINE: &str = "</p><script>alert(1)</script>";

struct NoFiles;

impl ReadFile for NoFiles {
    fn read(&self, _: &str) -> Result<Vec<u8>, FileProblem> {
        Err(FileProblem::Missing)
    }
}

/// A leader for tests: it stores what commands ask for by real turns of its own making, and tells prepared sentences.
pub struct TestLeader {
    pool: PgPool,
    logs: Mutex<BTreeMap<AttemptId, String>>,
    shipped: Mutex<BTreeMap<AttemptId, String>>,
    /// Logs that are still written.
    open: Mutex<BTreeSet<AttemptId>>,
    /// How often a log was read.
    pub log_reads: AtomicI64,
    /// What is written to a log whenever it is read.
    grows_by: Mutex<String>,
    /// DAG files that are to be stored.
    files: Mutex<Vec<String>>,
    wake: Notify,
    next_run: AtomicI64,
    present: Mutex<bool>,
    /// Connections that it was asked to have tried, and files that it was asked to read again.
    pub tried: Mutex<Vec<ConnectionFields>>,
    pub read_again: Mutex<Vec<String>>,
}

impl TestLeader {
    /// Lets nobody answer any more.
    pub fn leave(&self) {
        *self.present.lock().unwrap() = false;
    }

    /// Takes in a DAG file.
    pub fn take_in(&self, yaml: String) {
        self.files.lock().unwrap().push(yaml);
        self.wake.notify_one();
    }

    /// Gives a log its text.
    pub fn log(&self, attempt: AttemptId, lines: &[&str]) {
        let line = |text: &&str| json!({"ts": "2026-11-21T00:01:12.031Z", "stream": "out", "text": text}).to_string();
        let fields = json!({"stream": "sys", "text": "Rendered fields", "rendered": {"bash_command": "true"}});
        let text: Vec<String> = std::iter::once(fields.to_string()).chain(lines.iter().map(line)).collect();
        self.logs.lock().unwrap().insert(attempt, text.join("\n") + "\n");
    }

    /// Lets the worker lose its logs, after they were shipped.
    pub fn ship_logs(&self) {
        let logs = std::mem::take(&mut *self.logs.lock().unwrap());
        self.shipped.lock().unwrap().extend(logs);
    }

    /// Writes more to a log, which goes on.
    pub fn write_on(&self, attempt: AttemptId, text: &str) {
        self.open.lock().unwrap().insert(attempt);
        self.logs.lock().unwrap().entry(attempt).or_default().push_str(text);
    }

    /// Ends a log.
    pub fn end_log(&self, attempt: AttemptId) {
        self.open.lock().unwrap().remove(&attempt);
    }

    fn has_ended(&self, log: &LogName) -> bool {
        match log {
            LogName::Attempt(attempt) => !self.open.lock().unwrap().contains(attempt),
            LogName::Service(_) => true,
        }
    }

    /// Gives a log its bytes.
    pub fn raw_log(&self, attempt: AttemptId, text: &str) {
        self.logs.lock().unwrap().insert(attempt, text.to_owned());
    }

    /// Lets something write to every log as fast as it is read.
    pub fn grow_logs_by(&self, text: &str) {
        text.clone_into(&mut self.grows_by.lock().unwrap());
    }

    fn text(&self, log: &LogName) -> Option<String> {
        match log {
            LogName::Attempt(attempt) => {
                let mut logs = self.logs.lock().unwrap();
                let text = logs.get_mut(attempt)?;
                text.push_str(&self.grows_by.lock().unwrap());
                Some(text.clone())
            }
            LogName::Service(_) => None,
        }
    }

    fn is_present(&self) -> bool {
        *self.present.lock().unwrap()
    }

    fn reply(&self, query: Query) -> Result<Reply, NoLeader> {
        if !self.is_present() {
            return Err(NoLeader { reason: "it was told to leave".to_owned() });
        }
        Ok(match query {
            Query::WhyRun { .. } | Query::WhyDag { .. } | Query::WhyTask { .. } => Reply::Why {
                sentence: "silver is running: 41 % of its query".to_owned(),
                tasks: vec![TaskWhy {
                    task_id: TaskId::new("gold").unwrap(),
                    map_index: MapIndex::UNMAPPED,
                    sentence: "waits for silver".to_owned(),
                }],
            },
            Query::Cluster => Reply::Cluster(ClusterView {
                leader: "host-a".to_owned(),
                epoch: 1,
                workers: vec![WorkerView {
                    name: "host-a:1".to_owned(),
                    slots: 16,
                    used: 1,
                    alive: true,
                    leaving: false,
                    services: Vec::new(),
                    attempts: Vec::new(),
                }],
            }),
            Query::TryConnection { connection } => {
                let works = connection.host.as_deref() == Some("good.example");
                self.tried.lock().unwrap().push(*connection);
                Reply::Tried { works, message: if works { "it works" } else { "no such host" }.to_owned() }
            }
            Query::LookAgain { file } => {
                self.read_again.lock().unwrap().push(file);
                Reply::Noted
            }
            Query::Pools => Reply::Pools {
                pools: vec![PoolView {
                    name: "default_pool".to_owned(),
                    exists: true,
                    running: 3,
                    queued: 1,
                    scheduled: 2,
                    occupied: 4,
                    next: vec![PoolWaiter {
                        dag_id: DagId::new("stock_data_pipeline").unwrap(),
                        run_id: RunId::new(RUN).unwrap(),
                        task_id: TaskId::new("gold").unwrap(),
                    }],
                    ..PoolView::default()
                }],
            },
            Query::ReadLog { log, offset, bytes_max, .. } => match self.text(&log) {
                Some(text) => {
                    self.log_reads.fetch_add(1, Ordering::SeqCst);
                    let from = usize::try_from(offset).unwrap().min(text.len());
                    let to = text.len().min(from + bytes_max as usize);
                    let bytes = text.as_bytes()[from..to].to_vec();
                    Reply::Log(LogChunk { bytes, length: text.len() as u64, ended: self.has_ended(&log) })
                }
                None => Reply::NotFound { detail: "the log went with its worker".to_owned() },
            },
        })
    }

    /// Raises the lease, faster than a real leader.
    async fn beat(self: Arc<Self>, mut lease: store::Lease, epoch: Epoch) {
        loop {
            if self.is_present() {
                lease.bump(epoch).await.unwrap();
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn lead(self: Arc<Self>, mut writer: Writer, epoch: Epoch) {
        loop {
            let _ = tokio::time::timeout(Duration::from_millis(50), self.wake.notified()).await;
            if !self.is_present() {
                continue;
            }
            let files = std::mem::take(&mut *self.files.lock().unwrap());
            for yaml in files {
                stored(&mut writer, epoch, &yaml).await;
            }
            for waiting in inbox::read_inbox(&mut writer, epoch, inbox::Room { few: 10, bulk: 10 }).await.unwrap() {
                let (mut plan, answer) = self.decide(waiting.id, waiting.command.unwrap()).await;
                let changed = changes(&plan);
                plan.answers.push((waiting.id, answer));
                store::apply(&mut writer, epoch, now(), &plan).await.unwrap();
                notify_answers(&self.pool, [waiting.id]).await.unwrap();
                notify_changes(&self.pool, &changed).await.unwrap();
            }
        }
    }

    async fn instance(&self, dag: &DagId, run: &RunId, task: &TaskId) -> TiKey {
        let run = store::read::run(&self.pool, dag, run).await.unwrap().unwrap();
        let version = store::read::version(&self.pool, run.version).await.unwrap().unwrap();
        let pos = version.dag.position(task).unwrap();
        TiKey::unmapped(run.key, version.task_idx[pos.0])
    }

    async fn decide(&self, id: CommandId, command: Command) -> (Plan, Answer) {
        let mut plan = Plan::default();
        match command {
            Command::TriggerDagRun(wish) => return self.trigger(wish).await,
            Command::SetNote(wish) => return (self.note(wish).await, done(json!({}))),
            Command::PauseDag { dag_id, to } => plan.dags.push(paused(dag_id, to)),
            Command::DrainDag { dag_id, to } => {
                plan.dags.push(DagChange { is_draining: to == Draining::Draining, ..paused(dag_id, Paused::Active) })
            }
            Command::ClearTaskInstances(ClearTaskInstances { tasks, .. })
            | Command::MarkTaskInstances(MarkTaskInstances { tasks, .. }) => {
                let named: Vec<Value> =
                    tasks.iter().map(|task| json!({"task_id": task.task_id, "map_index": -1})).collect();
                return (plan, done(json!({"task_instances": named})));
            }
            Command::DeleteDagRun { dag_id, run_id } => {
                let run = store::read::run(&self.pool, &dag_id, &run_id).await.unwrap().unwrap();
                if !run.state.is_finished() {
                    return (plan, conflict("cannot be deleted in running state"));
                }
                plan.runs_dropped.push(run.key);
            }
            Command::DeleteDag { .. } => return (plan, conflict("Task instances of dag are still running")),
            Command::SetXCom { xcom, value } => {
                let key = self.instance(&xcom.dag_id, &xcom.run_id, &xcom.task_id).await;
                plan.xcoms.push((key, XComValue { key: xcom.key.into_string(), value: value.into_value() }));
            }
            Command::DeleteXCom(xcom) => {
                let key = self.instance(&xcom.dag_id, &xcom.run_id, &xcom.task_id).await;
                plan.xcoms_deleted.push((key, xcom.key.into_string()));
            }
            Command::DeleteTaskInstance(name) => {
                let key = self.instance(&name.dag_id, &name.run_id, &name.task_id).await;
                (plan.xcoms_dropped, plan.forgotten) = (vec![key], vec![key]);
            }
            Command::AnswerQuestion(wish) => {
                let name = &wish.instance;
                let key = self.instance(&name.dag_id, &name.run_id, &name.task_id).await;
                let row = store::read::instances_at(&self.pool, [key]).await.unwrap().pop().unwrap().row;
                plan.instances.push(TiChange {
                    expected: TaskState::AwaitingInput,
                    row: TiRow { state: TaskState::Success, ..row.clone() },
                });
                plan.responses.push(ResponseRow {
                    key,
                    try_number: row.try_number,
                    at: now(),
                    user: Some(wish.user),
                    chosen_options: wish.chosen_options.into_iter().map(model::door::Text::into_string).collect(),
                    params_input: wish.params_input.into_map(),
                });
            }
            Command::CreatePool(pool) | Command::SetPool(pool) => plan.pools.push(pool),
            Command::DeletePool { name } => plan.pools_dropped.push(name.into_string()),
            Command::CreateBackfill(wish) => return Self::begin(wish, id),
            Command::PauseBackfill { backfill, to, .. } => {
                let row = store::read::backfill(&self.pool, backfill).await.unwrap().unwrap();
                plan.backfills.push(BackfillRow { is_paused: to == Paused::Paused, updated_at: now(), ..row });
            }
            Command::CancelBackfill { backfill, .. } => {
                let row = store::read::backfill(&self.pool, backfill).await.unwrap().unwrap();
                let over = BackfillRow { is_paused: true, completed_at: Some(now()), ..row };
                plan.backfills.push(over);
            }
            Command::CreateAssetEvent(wish) => return crate::assets::tell(&self.pool, wish).await,
            Command::DeleteQueuedAssetEvents(wish) => return crate::assets::forget(&self.pool, &wish).await,
            Command::MarkDagRun { .. } | Command::ControlService { .. } => {}
        }
        (plan, done(json!({})))
    }

    /// A backfill of which nothing has been made yet.
    fn begin(wish: CreateBackfill, id: CommandId) -> (Plan, Answer) {
        let id = BackfillId(id.get());
        let row = BackfillRow {
            id,
            dag_id: wish.dag_id,
            from_date: wish.from_date.get(),
            to_date: wish.to_date.get(),
            order: wish.order,
            reprocess_behavior: wish.reprocess_behavior,
            version: wish.version,
            max_active_runs: wish.max_active_runs,
            conf: wish.conf.into_map(),
            is_paused: false,
            triggering_user: Some("user".to_owned()),
            created_at: now(),
            updated_at: now(),
            completed_at: None,
            cursor: None,
            dates_seen: 0,
            runs_made: 0,
            is_planned: false,
        };
        (Plan { backfills: vec![row], ..Plan::default() }, done(json!({ "backfill_id": id })))
    }

    async fn trigger(&self, wish: TriggerDagRun) -> (Plan, Answer) {
        let mut plan = Plan::default();
        let dag = store::read::dag(&self.pool, &wish.dag_id).await.unwrap().unwrap();
        let made = || RunId::new(format!("manual__{}", now().format("%Y-%m-%dT%H:%M:%S%.6f+00:00"))).unwrap();
        let id = wish.run_id.unwrap_or_else(made);
        if store::read::run(&self.pool, &wish.dag_id, &id).await.unwrap().is_some() {
            return (plan, conflict(&format!("a run {id} exists already")));
        }
        let key = RunKey(self.next_run.fetch_add(1, Ordering::SeqCst));
        let mut run = run_row(key, &wish.dag_id, id.as_str(), dag.current, DagRunState::Queued);
        run.logical_date = wish.logical_date.map(Instant::get);
        run.data_interval = wish.data_interval.map(|(start, end)| (start.get(), end.get()));
        run.run_after = wish.run_after.map_or(run.run_after, Instant::get);
        (run.conf, run.triggered_by) = (wish.conf.into_map(), wish.triggered_by);
        run.run_type = wish.run_type;
        run.note = wish.note.map(Note::into_string);
        plan.new_runs.push(run);
        plan.changed_runs.insert(key, wish.dag_id);
        (plan, done(json!({"run_key": key, "run_id": id})))
    }

    async fn note(&self, wish: SetNote) -> Plan {
        let mut plan = Plan::default();
        let run = store::read::run(&self.pool, &wish.dag_id, &wish.run_id).await.unwrap().unwrap();
        let note = wish.note.map(Note::into_string);
        match wish.tasks.first() {
            None => plan.runs.push(RunChange { expected: run.state, row: RunRow { note, ..run } }),
            Some(task) => {
                let key = self.instance(&wish.dag_id, &wish.run_id, &task.task_id).await;
                plan.extras.push((key, TiExtra { note, ..TiExtra::default() }));
            }
        }
        plan
    }
}

/// What a turn of the test's leader changes.
fn changes(plan: &Plan) -> Changes {
    if !plan.runs_dropped.is_empty() {
        return Changes::anything();
    }
    let mut changes = Changes::default();
    plan.changed_runs.iter().for_each(|(run, dag)| changes.add(Changes::runs(dag.clone(), [*run])));
    plan.dags.iter().for_each(|change| changes.add(Changes::dag(change.dag_id.clone())));
    changes
}

fn done(body: Value) -> Answer {
    Answer { status: AnswerStatus::Done, body }
}

fn conflict(detail: &str) -> Answer {
    Answer { status: AnswerStatus::Conflict, body: json!({ "detail": detail }) }
}

fn paused(dag_id: DagId, to: Paused) -> DagChange {
    DagChange {
        dag_id,
        is_paused: to == Paused::Paused,
        is_stale: false,
        next: None,
        last_interval: None,
        failed_in_a_row: 0,
        is_draining: false,
        passed_over: None,
    }
}

/// The port to a [`TestLeader`].
struct Port(Arc<TestLeader>);

impl LeaderPort for Port {
    fn ask(&self, query: Query) -> BoxFuture<'_, Result<Reply, NoLeader>> {
        std::future::ready(self.0.reply(query)).boxed()
    }

    fn hint(&self) {
        self.0.wake.notify_one();
    }
}

/// The shipped logs of a [`TestLeader`].
struct Shipped(Arc<TestLeader>);

impl std::fmt::Debug for Shipped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Shipped")
    }
}

impl LogArchive for Shipped {
    fn read<'a>(
        &'a self,
        place: &'a LogPlace,
        offset: u64,
        _bytes_max: u32,
    ) -> BoxFuture<'a, Result<Option<LogChunk>, ArchiveError>> {
        let text = self.0.shipped.lock().unwrap().get(&place.attempt).cloned();
        let chunk = text.map(|text| LogChunk {
            bytes: text.as_bytes()[usize::try_from(offset).unwrap()..].to_vec(),
            length: text.len() as u64,
            ended: true,
        });
        std::future::ready(Ok(chunk)).boxed()
    }

    fn address(&self, place: &LogPlace) -> String {
        format!("s3://logs/{}/{}/{}/{}", place.dag_id, place.run_id, place.task_id, place.try_number)
    }
}

/// PostgreSQL keeps microseconds.
pub fn now() -> Timestamp {
    chrono::DurationRound::duration_trunc(Utc::now(), TimeDelta::microseconds(1)).unwrap()
}

/// A server with sample rows.
pub struct Server {
    pub base: String,
    pub pool: PgPool,
    pub leader: Arc<TestLeader>,
    shutdown: CancellationToken,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

/// The name of the running sample run.
pub const RUN: &str = "scheduled__2026-11-21T00:00:00+00:00";

impl Server {
    /// Starts one on a database of its own, with a user for each role.
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// The same with other settings.
    pub async fn start_with(change: impl FnOnce(&mut AppSettings)) -> Self {
        let (_, pool, leader) = Self::prepared().await;
        let shutdown = CancellationToken::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let port = Arc::new(Port(Arc::clone(&leader)));
        let mut settings = app_settings(&leader);
        change(&mut settings);
        tokio::spawn(windlass_webui::serve(settings, listener, pools(&pool), port, shutdown.clone()));
        Self { base, pool, leader, shutdown }
    }

    /// Starts one on threads of its own, which asks this leader.
    pub async fn apart(port: Arc<dyn LeaderPort>) -> (Self, Apart) {
        let (url, pool, leader) = Self::prepared().await;
        let shutdown = CancellationToken::new();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let database = WebDatabase { url, statement_timeout: store::STATEMENT_TIMEOUT };
        let settings = app_settings(&leader);
        let apart = windlass_webui::serve_apart(settings, listener, database, port, shutdown.clone()).unwrap();
        (Self { base, pool, leader, shutdown }, apart)
    }

    /// Starts another web server on the same database, and says where it is.
    pub async fn another(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let port = Arc::new(Port(Arc::clone(&self.leader)));
        let settings = app_settings(&self.leader);
        tokio::spawn(windlass_webui::serve(settings, listener, pools(&self.pool), port, self.shutdown.clone()));
        while client().get(&base).send().await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        base
    }

    /// Tells the server to stop.
    pub fn stop(&self) {
        self.shutdown.cancel();
    }

    /// The attempt of `silver` in the run that runs.
    pub async fn running_attempt(&self) -> AttemptId {
        let row = "SELECT attempt FROM task_instance WHERE run_id = 13 AND live";
        AttemptId(sqlx::query_scalar(row).fetch_one(&self.pool).await.unwrap())
    }

    /// A database with sample rows and its leader.
    async fn prepared() -> (String, PgPool, Arc<TestLeader>) {
        let (url, pool) = database().await;
        make_users(&pool).await;
        let mut writer = Writer::connect(&url).await.unwrap();
        let candidate = Candidate { holder: "host-a".to_owned(), endpoint: "test".to_owned() };
        let epoch = store::lead(&mut writer, &candidate).await.unwrap().epoch;
        let stock = stored(&mut writer, epoch, STOCK).await;
        stored(&mut writer, epoch, OTHER).await;
        let attempt = AttemptId(Uuid::new_v4());
        store::apply(&mut writer, epoch, now(), &sample(&stock, attempt)).await.unwrap();
        let leader = Arc::new(TestLeader {
            pool: pool.clone(),
            logs: Mutex::default(),
            shipped: Mutex::default(),
            open: Mutex::default(),
            log_reads: AtomicI64::new(0),
            grows_by: Mutex::default(),
            files: Mutex::default(),
            wake: Notify::new(),
            next_run: AtomicI64::new(100),
            present: Mutex::new(true),
            tried: Mutex::default(),
            read_again: Mutex::default(),
        });
        leader.log(attempt, &["query 1 of 2", HOSTILE_LINE]);
        tokio::spawn(Arc::clone(&leader).beat(store::Lease::connect(&url).await.unwrap(), epoch));
        tokio::spawn(Arc::clone(&leader).lead(writer, epoch));
        (url, pool, leader)
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// A connection with its secrets, as the store has it.
    pub async fn connection(&self, id: &str) -> store::secrets::Connection {
        store::secrets::connections::find(&self.pool, &key(), id).await.unwrap().unwrap().connection
    }

    /// A variable's value, as the store has it.
    pub async fn variable(&self, name: &str) -> String {
        store::secrets::variables::find(&self.pool, &key(), name).await.unwrap().unwrap().variable.value
    }

    /// A token of a user.
    pub async fn token(&self, user: &str) -> String {
        let login = json!({"username": user, "password": PASSWORD});
        let answer = client().post(self.url("/auth/token")).json(&login).send().await.unwrap();
        assert_eq!(answer.status(), 201);
        answer.json::<Value>().await.unwrap()["access_token"].as_str().unwrap().to_owned()
    }

    /// A client of a user.
    pub async fn user(&self, user: &str) -> Client {
        Client { base: self.base.clone(), token: self.token(user).await }
    }

    /// A page as the user's browser sees it.
    pub async fn page(&self, token: &str, path: &str) -> (u16, String) {
        let answer = client().get(self.url(path)).header("cookie", format!("_token={token}")).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    /// Sends a form as the user's browser does: with cookie, origin and the page's form token.
    pub async fn submit(&self, token: &str, page: &str, path: &str, fields: &[(&str, &str)]) -> reqwest::Response {
        let (_, html) = self.page(token, page).await;
        let csrf = regex::Regex::new(r#"name="csrf" value="([^"]+)""#).unwrap();
        let csrf = csrf.captures(&html).map(|found| found[1].replace("&#x2F;", "/")).unwrap_or_default();
        let fields: Vec<_> = fields.iter().copied().chain([("csrf", csrf.as_str())]).collect();
        let request = client().post(self.url(path)).header("cookie", format!("_token={token}"));
        request.header("origin", &self.base).form(&fields).send().await.unwrap()
    }
}

/// The web server's connections, when it has those of the test.
fn pools(pool: &PgPool) -> store::WebPools {
    store::WebPools { pool: pool.clone(), tokens: pool.clone() }
}

fn app_settings(leader: &Arc<TestLeader>) -> AppSettings {
    let mut settings = AppSettings::new(Secret::new(vec![7; 32]).unwrap(), key());
    settings.answer_timeout = Duration::from_secs(2);
    settings.log_archive = Some(Arc::new(Shipped(Arc::clone(leader))));
    settings
}

/// What the server's secrets are sealed with.
fn key() -> SecretKey {
    SecretKey::parse("1 BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=").unwrap()
}

/// A client that does not follow redirects.
pub fn client() -> reqwest::Client {
    reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap()
}

/// A REST client of a user.
pub struct Client {
    base: String,
    token: String,
}

impl Client {
    pub async fn get(&self, path: &str) -> (u16, Value) {
        self.send(reqwest::Method::GET, path, None).await
    }

    pub async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        self.send(reqwest::Method::POST, path, Some(body)).await
    }

    pub async fn patch(&self, path: &str, body: Value) -> (u16, Value) {
        self.send(reqwest::Method::PATCH, path, Some(body)).await
    }

    pub async fn put(&self, path: &str, body: Value) -> (u16, Value) {
        self.send(reqwest::Method::PUT, path, Some(body)).await
    }

    /// The status alone: what is deleted leaves no body.
    pub async fn delete(&self, path: &str) -> u16 {
        let request = client().delete(format!("{}/api/v2{path}", self.base)).bearer_auth(&self.token);
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        let text = answer.text().await.unwrap();
        let body = (!text.is_empty()).then(|| serde_json::from_str(&text).unwrap());
        check_answer("delete", &format!("/api/v2{path}"), status, body.as_ref());
        status
    }

    async fn send(&self, method: reqwest::Method, path: &str, body: Option<Value>) -> (u16, Value) {
        let request = client().request(method.clone(), format!("{}/api/v2{path}", self.base)).bearer_auth(&self.token);
        let request = match body {
            Some(body) => request.json(&body),
            None => request,
        };
        let answer = request.send().await.unwrap();
        if answer.status() == 204 {
            check_answer(method.as_str(), &format!("/api/v2{path}"), 204, None);
            return (204, Value::Null);
        }
        assert_eq!(answer.headers()["content-type"], "application/json");
        let (status, body) = (answer.status().as_u16(), answer.json().await.unwrap());
        check_answer(method.as_str(), &format!("/api/v2{path}"), status, Some(&body));
        (status, body)
    }
}

/// Users `viewer`, `user`, `op` and `admin`. Their one password is hashed once a process: hashing is slow on purpose.
async fn make_users(pool: &PgPool) {
    static HASH: OnceCell<String> = OnceCell::const_new();
    let hash = HASH.get_or_init(async || {
        put_user(pool, NewUser { username: "viewer", password: PASSWORD, role: Role::Viewer }).await.unwrap();
        sqlx::query_scalar("SELECT password_hash FROM user_account").fetch_one(pool).await.unwrap()
    });
    let hash = hash.await;
    for (username, role) in [("viewer", 0_i16), ("user", 1), ("op", 2), ("admin", 3)] {
        let insert =
            "INSERT INTO user_account (username, password_hash, role) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
        sqlx::query(insert).bind(username).bind(hash).bind(role).execute(pool).await.unwrap();
    }
}

/// A migrated database of its own on the server of `WINDLASS_TEST_DATABASE_URL`.
async fn database() -> (String, PgPool) {
    let server =
        std::env::var("WINDLASS_TEST_DATABASE_URL").expect("WINDLASS_TEST_DATABASE_URL names a PostgreSQL server");
    let name = format!("webui_{}", Uuid::new_v4().simple());
    let admin = PgPool::connect(&server).await.unwrap();
    sqlx::raw_sql(&format!("CREATE DATABASE {name}")).execute(&admin).await.unwrap();
    let (base, _) = server.rsplit_once('/').unwrap();
    let url = format!("{base}/{name}");
    let pool = store::open(&url).await.unwrap();
    store::migrate(&pool).await.unwrap();
    (url, pool)
}

async fn stored(writer: &mut Writer, epoch: Epoch, yaml: &str) -> DagVersion {
    let loaded = dag::load("sample.yaml", yaml, &NoFiles);
    assert!(loaded.errors.is_empty(), "{:?}", loaded.errors);
    store::store_version(writer, epoch, &loaded.dags[0]).await.unwrap()
}

fn run_row(key: RunKey, dag: &DagId, run_id: &str, version: model::DagVersionId, state: DagRunState) -> RunRow {
    RunRow {
        key,
        dag_id: dag.clone(),
        run_id: RunId::new(run_id).unwrap(),
        run_type: if run_id.starts_with("scheduled") { RunType::Scheduled } else { RunType::Manual },
        triggered_by: TriggeredBy::Timetable,
        triggering_user: None,
        version,
        state,
        logical_date: None,
        data_interval: None,
        run_after: now(),
        queued_at: now(),
        started_at: None,
        ended_at: None,
        conf: serde_json::Map::new(),
        note: None,
        clear_number: 0,
        backfill: None,
    }
}

/// Twelve ended runs, and one that runs: three tasks done, `silver` running in its second try.
fn sample(stock: &DagVersion, attempt: AttemptId) -> Plan {
    let mut plan = Plan::default();
    let dag = &stock.dag.dag_id;
    let start = now() - TimeDelta::minutes(2);
    for number in 1..=12_i64 {
        let failed = number == 5;
        let state = if failed { DagRunState::Failed } else { DagRunState::Success };
        let mut run = run_row(RunKey(number), dag, &format!("manual__{number}"), stock.id, state);
        let began = start - TimeDelta::days(13 - number);
        (run.run_after, run.queued_at, run.started_at) = (began, began, Some(began));
        run.ended_at = Some(began + TimeDelta::seconds(60 + 17 * (number * 7 % 11)));
        plan.new_runs.push(run);
        for (at, task) in stock.task_idx.iter().enumerate() {
            let state = match (failed, at) {
                (true, 3) => TaskState::Failed,
                (true, 4..) => TaskState::UpstreamFailed,
                (true | false, _) => TaskState::Success,
            };
            let mut row = ti(TiKey::unmapped(RunKey(number), *task), state, began + TimeDelta::seconds(10 * at as i64));
            row.ended_at = Some(began + TimeDelta::seconds(10 * at as i64 + 9));
            plan.new_instances.push(row);
        }
    }
    let mut run = run_row(RunKey(13), dag, RUN, stock.id, DagRunState::Running);
    (run.run_after, run.started_at, run.logical_date) = (start, Some(start), Some(start));
    plan.new_runs.push(run);
    for (at, task) in stock.task_idx.iter().take(4).enumerate() {
        let began = start + TimeDelta::seconds(20 * at as i64);
        let state = if at == 3 { TaskState::Running } else { TaskState::Success };
        let mut row = ti(TiKey::unmapped(RunKey(13), *task), state, began);
        row.ended_at = (at < 3).then(|| began + TimeDelta::seconds(18));
        if at == 3 {
            (row.live, row.attempt, row.worker, row.try_number) =
                (true, Some(attempt), Some(WorkerId(1)), TryNumber(2));
        }
        plan.new_instances.push(row);
    }
    plan.changed_runs = BTreeMap::from([(RunKey(13), dag.clone())]);
    plan
}

fn ti(key: TiKey, state: TaskState, started: Timestamp) -> TiRow {
    TiRow {
        key,
        try_number: TryNumber::FIRST,
        state,
        attempt: Some(AttemptId(Uuid::new_v4())),
        live: false,
        worker: None,
        queued_at: Some(started),
        started_at: Some(started),
        ended_at: None,
        extra: TiExtra::default(),
    }
}
