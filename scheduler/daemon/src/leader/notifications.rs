//! Sends what is owed to the outside: takes it from the store, gives it to workers, and stores what has come of it.
//!
//! What always holds: a notification is under way at one worker at most, as far as this leader knows; so many are in all, and so
//! many of one DAG, so that one which hangs holds up nobody else. What is under way when the leadership ends is sent again by the
//! next, under the same id: it may come twice, and is never lost. It is tried again a bounded number of times, each pause longer,
//! and given up after a day.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use engine::{DagVersion, RunRow, params_of};
use link::{Notification, TaskContext, ToWorker, Told};
use model::{
    AttemptId, Callback, CallbackEvent, DagVersionId, Epoch, MapIndex, RunKey, TaskId, TaskIdx, TaskState, TiKey,
    TryNumber, WorkerId, page,
};
use serde_json::{Map, Value, json};
use sqlx::PgPool;
use store::{
    StoreError,
    notifications::{self, Outcome, Room, Taken},
    read::FirstFailure,
};
use tokio::sync::{Notify, mpsc, oneshot};
use uuid::Uuid;

use super::{
    metrics::LeaderMetrics,
    reign::Reign,
    scope::ScopeHandle,
    turns::{dag_fields, mention, task_fields},
};

/// So many are under way at once.
const AT_ONCE_MAX: usize = 32;
/// So many of one DAG: addresses that hang hold up those of their own DAG.
const OF_DAG_MAX: i64 = 4;
/// What waits for its pause is looked for so often; what is new is looked for at once.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How long carrying one out may take.
const TIMEOUT: Duration = Duration::from_secs(120);
/// And how long the leader waits for the worker's answer.
const ANSWER_MAX: Duration = Duration::from_secs(150);
/// One is tried so often.
const TRIES_MAX: i16 = 6;
/// The first pause; each further one is four times as long: the last try comes about an hour after the first.
const PAUSE: Duration = Duration::from_secs(10);
/// The pause while there is nobody who carries it out.
const NOBODY_PAUSE: Duration = Duration::from_secs(5);
/// So many versions are kept for the next notification of theirs.
const VERSIONS_MAX: usize = 32;
/// Why a run has failed whose tasks have (Airflow's word).
const TASK_FAILURE: &str = "task_failure";
/// Where people reach the pages, for links in notifications.
const BASE_URL: &str = "WINDLASS_BASE_URL";

/// One on its way to a worker.
pub(super) struct Delivery {
    notification: Box<Notification>,
    answer: oneshot::Sender<Came>,
}

/// What has come of giving one to a worker.
#[derive(Debug)]
enum Came {
    /// There is no worker that carries it out.
    NoWorker,
    /// Each of them carries out as many as it may.
    Busy,
    /// The worker's answer.
    Told(Told, String),
}

/// One that a worker has.
struct UnderWay {
    attempt: AttemptId,
    run: RunKey,
    worker: WorkerId,
    answer: oneshot::Sender<Came>,
    since: Instant,
}

/// The leader's end.
pub(super) struct Notifier {
    deliveries: mpsc::Receiver<Delivery>,
    news: Arc<Notify>,
    next_id: u64,
    under_way: BTreeMap<u64, UnderWay>,
}

impl Notifier {
    /// Starts to send, for as long as the scope is there.
    pub(super) fn start((pool, epoch): (PgPool, Epoch), metrics: LeaderMetrics, scope: &ScopeHandle) -> Self {
        let (sender, deliveries) = mpsc::channel(AT_ONCE_MAX);
        let news = Arc::new(Notify::new());
        let means = Means { pool, epoch, metrics, sender, versions: Arc::default() };
        scope.spawn(keep(means, Arc::clone(&news), scope.clone()));
        Self { deliveries, news, next_id: 0, under_way: BTreeMap::new() }
    }

    /// A turn has stored some.
    pub(super) fn wake(&self) {
        self.news.notify_one();
    }

    /// The next one that is to be given to a worker.
    pub(super) async fn next(&mut self) -> Option<Delivery> {
        self.deliveries.recv().await
    }

    /// The run of one that is under way, when a worker asks for it.
    pub(super) fn run_of(&self, attempt: AttemptId) -> Option<RunKey> {
        self.under_way.values().find(|one| one.attempt == attempt).map(|one| one.run)
    }

    /// A worker has carried one out, or has not.
    pub(super) fn arrived(&mut self, id: u64, told: Told, message: String) {
        if let Some(one) = self.under_way.remove(&id) {
            // Who waits for it ends with the leadership.
            let _ = one.answer.send(Came::Told(told, message));
            // Another one of its DAG may have room.
            self.news.notify_one();
        }
    }

    /// How many a worker has.
    fn given_to(&self, worker: WorkerId) -> usize {
        self.under_way.values().filter(|one| one.worker == worker).count()
    }

    /// Gives up on workers that do not answer, once a beat.
    pub(super) fn give_up(&mut self) {
        self.lose("does not answer", |one| one.since.elapsed() > ANSWER_MAX);
    }

    /// A worker is dead: what it had is tried again.
    pub(super) fn worker_lost(&mut self, worker: WorkerId) {
        self.lose("was lost", |one| one.worker == worker);
    }

    fn lose(&mut self, how: &str, is_lost: impl Fn(&UnderWay) -> bool) {
        for (_, one) in self.under_way.extract_if(.., |_, one| is_lost(one)) {
            let message = format!("worker {} {how}", one.worker.get());
            // Who waits for it ends with the leadership.
            let _ = one.answer.send(Came::Told(Told::NotNow, message));
        }
    }
}

impl Reign {
    /// Gives one to the worker with the least to do.
    pub(super) fn deliver(&mut self, delivery: Delivery) {
        let able = self.peers.iter().filter(|(_, peer)| peer.is_alive() && !peer.is_leaving() && peer.notifies);
        let able: Vec<WorkerId> = able.map(|(worker, _)| worker).collect();
        let has_room = |worker: &WorkerId| self.notifier.given_to(*worker) < Notification::AT_ONCE_MAX;
        let free = able.iter().copied().filter(has_room);
        let Some(worker) = free.min_by_key(|worker| self.engine.slots_used_on(*worker)) else {
            let _ = delivery.answer.send(if able.is_empty() { Came::NoWorker } else { Came::Busy });
            return;
        };
        let Delivery { notification, answer } = delivery;
        self.notifier.next_id += 1;
        let id = self.notifier.next_id;
        let (attempt, run) = (notification.attempt, notification.ti.run);
        self.notifier.under_way.insert(id, UnderWay { attempt, run, worker, answer, since: Instant::now() });
        self.peers.send(worker, ToWorker::Notify { id, notification });
    }
}

/// What sending works with.
#[derive(Clone)]
struct Means {
    pool: PgPool,
    epoch: Epoch,
    metrics: LeaderMetrics,
    sender: mpsc::Sender<Delivery>,
    versions: Arc<Mutex<BTreeMap<DagVersionId, Arc<DagVersion>>>>,
}

/// Sends what is due until the leadership ends, or is found to have ended.
async fn keep(means: Means, news: Arc<Notify>, scope: ScopeHandle) {
    let room = Arc::new(tokio::sync::Semaphore::new(AT_ONCE_MAX));
    let mut is_clean = false;
    loop {
        let looked = async {
            if !is_clean {
                notifications::take_back(&means.pool, means.epoch).await?;
                is_clean = true;
            }
            send_due(&means, &room, &scope).await
        };
        match looked.await {
            Ok(()) => {}
            Err(StoreError::Deposed) => return,
            Err(error) => tracing::warn!(%error, "notifications can not be looked at; they are looked at again"),
        }
        tokio::select! {
            () = news.notified() => {}
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}

async fn send_due(means: &Means, room: &Arc<tokio::sync::Semaphore>, scope: &ScopeHandle) -> Result<(), StoreError> {
    let free = i64::try_from(room.available_permits()).unwrap_or(0);
    if free == 0 {
        return Ok(());
    }
    for taken in notifications::take(&means.pool, means.epoch, Room { at_once: free, of_dag: OF_DAG_MAX }).await? {
        let Ok(permit) = Arc::clone(room).acquire_owned().await else { return Ok(()) };
        let means = means.clone();
        scope.spawn(async move {
            let _permit = permit;
            means.send(&taken).await;
        });
    }
    Ok(())
}

impl Means {
    /// Sends one and stores what has come of it. When that can not be stored, the next leadership sends it again.
    async fn send(&self, taken: &Taken) {
        let (outcome, detail, kind) = match self.try_to_send(taken).await {
            Ok(done) => done,
            Err(error) => {
                let again = Outcome::Again { after: NOBODY_PAUSE, counts: false };
                (again, format!("the scheduler could not prepare it: {error}"), "unknown")
            }
        };
        let word = match &outcome {
            Outcome::Sent => "sent",
            Outcome::Again { counts: true, .. } => "tried_again",
            Outcome::Again { counts: false, .. } => "put_off",
            Outcome::Failed => "failed",
        };
        self.metrics.notified(kind, word);
        if outcome == Outcome::Failed {
            tracing::error!(dag.id = %taken.dag_id, run.id = %taken.run_id, event = taken.event.name(), notification.id = %taken.id, %detail, "a notification is given up");
        }
        if let Err(error) = notifications::set(&self.pool, self.epoch, taken.id, &outcome, &detail).await {
            tracing::warn!(%error, notification.id = %taken.id, "what has come of a notification can not be stored: it is sent again by the next leader");
        }
    }

    async fn try_to_send(&self, taken: &Taken) -> Result<(Outcome, String, &'static str), StoreError> {
        let failed = |why: &str, kind| Ok((Outcome::Failed, why.to_owned(), kind));
        let Some(version) = self.version(taken.version).await? else {
            return failed("the DAG version whose callback it is is not stored any more", "unknown");
        };
        let of = taken.task.as_ref().and_then(|task| version.dag.position(&task.task_id));
        let callback = version.dag.callbacks_at(taken.event, of, taken.deadline).get(taken.position);
        let Some(callback) = callback else { return failed("its DAG version has no such callback", "unknown") };
        let kind = callback.kind();
        if taken.is_late {
            return failed("it could not be sent for a day", kind);
        }
        let Some(run) = store::read::run(&self.pool, &taken.dag_id, &taken.run_id).await? else {
            return failed("its run was deleted", kind);
        };
        // The failure of a run that its tasks have failed is a task's: which one, and why.
        let failure = match taken.event {
            CallbackEvent::DagFailure if taken.reason.as_deref() == Some(TASK_FAILURE) => {
                store::read::first_failures(&self.pool, &[run.key]).await?.pop()
            }
            _ => None,
        };
        let notification = Box::new(notification(taken, &version, callback, (&run, failure.as_ref())));
        let (answer, answered) = oneshot::channel();
        let came = match self.sender.send(Delivery { notification, answer }).await {
            Ok(()) => answered.await.unwrap_or(Came::NoWorker),
            Err(_) => Came::NoWorker,
        };
        Ok(match came {
            Came::NoWorker => {
                let again = Outcome::Again { after: NOBODY_PAUSE, counts: false };
                (again, "no worker that carries notifications out is connected".to_owned(), kind)
            }
            Came::Busy => {
                let again = Outcome::Again { after: NOBODY_PAUSE, counts: false };
                (again, "every worker is busy with other notifications".to_owned(), kind)
            }
            Came::Told(Told::Yes, message) => (Outcome::Sent, message, kind),
            Came::Told(Told::NotNow, message) if taken.attempts < TRIES_MAX => {
                (Outcome::Again { after: pause_after(taken.attempts), counts: true }, message, kind)
            }
            Came::Told(Told::NotNow | Told::No, message) => (Outcome::Failed, message, kind),
        })
    }

    async fn version(&self, id: DagVersionId) -> Result<Option<Arc<DagVersion>>, StoreError> {
        let known = self.versions.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned();
        if known.is_some() {
            return Ok(known);
        }
        let found = notifications::version(&self.pool, id).await?.map(Arc::new);
        if let Some(found) = &found {
            let mut versions = self.versions.lock().unwrap_or_else(PoisonError::into_inner);
            if versions.len() >= VERSIONS_MAX {
                versions.clear();
            }
            versions.insert(id, Arc::clone(found));
        }
        Ok(found)
    }
}

/// The pause after so many tries.
fn pause_after(tries: i16) -> Duration {
    PAUSE * 4_u32.pow(u32::try_from(tries.clamp(1, TRIES_MAX) - 1).unwrap_or(0))
}

/// What the worker is told.
fn notification(
    taken: &Taken,
    version: &DagVersion,
    callback: &Callback,
    (run, failure): (&RunRow, Option<&FirstFailure>),
) -> Notification {
    let dag = &version.dag;
    let task = taken.task.as_ref().and_then(|task| dag.position(&task.task_id)).unwrap_or(dag::TaskPos(0));
    let numbers: BTreeMap<TaskId, TaskIdx> =
        dag.positions().map(|pos| (dag.task(pos).task_id.clone(), version.task_idx[pos.0])).collect();
    let about = taken.task.as_ref();
    let map = about.map_or(MapIndex::UNMAPPED, |task| task.map);
    let mut macros = dag.user_defined_macros.clone();
    macros.extend(happened(taken, (run, failure), dag));
    Notification {
        notification: taken.id,
        attempt: AttemptId(Uuid::new_v4()),
        ti: TiKey { run: taken.run, task: about.map_or(version.task_idx[task.0], |task| task.task), map },
        callback: callback.clone(),
        files: dag.files.clone(),
        timeout_secs: TIMEOUT.as_secs_f64(),
        context: TaskContext {
            dag_id: run.dag_id.clone(),
            run_id: run.run_id.clone(),
            run_key: run.key,
            run_type: run.run_type,
            task_id: dag.task(task).task_id.clone(),
            task_numbers: Arc::new(numbers),
            map_index: map,
            try_number: about.map_or(TryNumber::FIRST, |task| task.try_number),
            max_tries: about.map_or(0, |task| task.max_tries),
            logical_date: run.logical_date,
            data_interval: run.data_interval,
            run_after: run.run_after,
            run_started_at: run.started_at.unwrap_or(run.queued_at),
            conf: run.conf.clone(),
            params: params_of(dag, task, &run.conf),
            dag_fields: dag_fields(dag, dag.task(task)),
            task_fields: task_fields(dag.task(task)),
            native: dag.render_template_as_native_obj,
            macros,
            prev_success_interval: None,
            outlets: dag.task(task).outlets.iter().map(mention).collect(),
            inlets: dag.task(task).inlets.iter().map(mention).collect(),
        },
    }
}

/// What has happened: names that templates and functions have beside those of an attempt.
fn happened(taken: &Taken, (run, failure): (&RunRow, Option<&FirstFailure>), dag: &dag::Dag) -> Map<String, Value> {
    let reason = taken.reason.clone().unwrap_or_default();
    let exception = Some(&reason).filter(|_| !taken.event.is_of_run());
    let task = taken.task.as_ref().filter(|_| !taken.event.is_of_run());
    let deadline = dag.deadlines.get(taken.deadline).and_then(|deadline| deadline.name.clone());
    let notification = json!({
        "id": taken.id,
        "event": taken.event,
        "summary": summary(taken, failure),
        // Of a run that has failed: the instance that failed first, and why.
        "failed_task": failure.map(FirstFailure::instance),
        "failure": failure.and_then(|failure| failure.reason.as_deref()),
        "dag_id": taken.dag_id,
        "run_id": taken.run_id,
        "run_type": run.run_type,
        "run_state": run_state(taken.event).unwrap_or(run.state.name()),
        "logical_date": run.logical_date,
        "run_after": run.run_after,
        "task_id": task.map(|task| &task.task_id),
        "task_state": task.and(task_state(taken.event)),
        "map_index": task.map(|task| task.map),
        "try_number": task.map(|task| task.try_number),
        "max_tries": task.map(|task| task.max_tries),
        "reason": taken.reason,
        "exception": exception.filter(|text| !text.is_empty()),
        "deadline": deadline,
        "at": taken.at,
        "url": url(taken),
    });
    let mut names = Map::new();
    names.insert("event".to_owned(), json!(taken.event));
    names.insert("exception".to_owned(), json!(exception.cloned().unwrap_or_default()));
    names.insert("reason".to_owned(), json!(reason));
    names.insert("notification".to_owned(), notification);
    names
}

/// One sentence.
fn summary(taken: &Taken, failure: Option<&FirstFailure>) -> String {
    let (dag, run) = (&taken.dag_id, &taken.run_id);
    let task = taken.task.as_ref().map_or_else(
        || format!("Task of DAG {dag}"),
        |task| {
            let map = if task.map == MapIndex::UNMAPPED { String::new() } else { format!("[{}]", task.map.get()) };
            format!("Task {}{map} of DAG {dag}", task.task_id)
        },
    );
    let tries = taken.task.as_ref().map_or(0, |task| task.try_number.get());
    let said = match taken.event {
        CallbackEvent::Execute => format!("{task} has begun (run {run}, try {tries})"),
        CallbackEvent::Success => format!("{task} has succeeded (run {run}, try {tries})"),
        CallbackEvent::Failure => format!("{task} has failed (run {run}, try {tries})"),
        CallbackEvent::Retry => format!("{task} has failed and is tried again (run {run}, try {tries})"),
        CallbackEvent::Skipped => format!("{task} was skipped (run {run}, try {tries})"),
        CallbackEvent::DagSuccess => return format!("Run {run} of DAG {dag} has succeeded"),
        CallbackEvent::DagFailure => format!("Run {run} of DAG {dag} has failed"),
        CallbackEvent::DeadlineMissed => format!("Run {run} of DAG {dag} has missed its deadline"),
    };
    match (failure, taken.reason.as_deref()) {
        (Some(failure), _) => match failure.reason.as_deref() {
            None | Some("") => format!("{said}: {} has failed", failure.instance()),
            Some(reason) => format!("{said}: {}: {reason}", failure.instance()),
        },
        (None, None | Some("")) => said,
        (None, Some(reason)) => format!("{said}: {reason}"),
    }
}

/// The state that an event leaves a task in.
fn task_state(event: CallbackEvent) -> Option<&'static str> {
    let state = match event {
        CallbackEvent::Execute => TaskState::Running,
        CallbackEvent::Success => TaskState::Success,
        CallbackEvent::Failure => TaskState::Failed,
        CallbackEvent::Retry => TaskState::UpForRetry,
        CallbackEvent::Skipped => TaskState::Skipped,
        CallbackEvent::DagSuccess | CallbackEvent::DagFailure | CallbackEvent::DeadlineMissed => return None,
    };
    Some(state.name())
}

/// The state that an event leaves its run in; none when it says nothing of that.
const fn run_state(event: CallbackEvent) -> Option<&'static str> {
    match event {
        CallbackEvent::DagSuccess => Some("success"),
        CallbackEvent::DagFailure => Some("failed"),
        CallbackEvent::Execute
        | CallbackEvent::Success
        | CallbackEvent::Failure
        | CallbackEvent::Retry
        | CallbackEvent::Skipped
        | CallbackEvent::DeadlineMissed => None,
    }
}

/// The page of the task or run: a whole address when it is known where people reach the pages.
fn url(taken: &Taken) -> String {
    let base = std::env::var(BASE_URL).unwrap_or_default();
    let task = taken.task.as_ref().filter(|_| !taken.event.is_of_run());
    let path = match task {
        Some(task) => page::of_task((&taken.dag_id, &taken.run_id), &task.task_id, task.map),
        None => page::of_run(&taken.dag_id, &taken.run_id),
    };
    format!("{}{path}", base.trim_end_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_the_last_try_comes_within_some_hours() {
        let pauses: Vec<u64> = (1..TRIES_MAX).map(|tries| pause_after(tries).as_secs()).collect();
        assert_eq!(pauses, [10, 40, 160, 640, 2_560]);
    }
}
