//! A turn: facts, decision, commit, effects, in that order and no other.

use std::{
    collections::BTreeMap,
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, Instant},
};

use engine::{Effect, Event, Input, Plan, Rest};
use link::{Assignment, Element, Given, Mapped, Poked, TaskContext, ToWorker};
use model::{Answer, AssetNews, AttemptId, CommandId, TaskId, TaskIdx, Timestamp, TurnNumber, WorkerId};
use serde_json::json;
use store::{Changes, StoreError, Writer};

use super::{announce::Announcement, batch::Batch, peers::Order, reign::Reign};
use crate::services::{Action, Replica};

/// Facts may lead to further facts, never in a circle; more rounds than this mean a defect.
const FACT_ROUNDS_MAX: usize = 8;
/// Below so many free run keys a new range is reserved; the engine goes on in a next turn when it runs out of them.
const RUN_KEYS_MIN: i64 = 500;
/// How long a turn of unknown outcome may take to become known before memory is discarded.
const SETTLE_TRIES_MAX: u32 = 10;
/// The pause between two tries to reach PostgreSQL.
const SETTLE_PAUSE: Duration = Duration::from_millis(500);

impl Reign {
    /// Decides a batch and stores it. What is left over is decided in the next turn, which follows at once: workers and
    /// commands are heard in between. What an event brings about that can not be stored is that event's error.
    pub(super) async fn turn(&mut self, mut batch: Batch) -> Result<(), StoreError> {
        let now = self.clock.now();
        let is_due = self.rest == Rest::Continue || self.engine.next_wakeup().is_some_and(|at| at <= now);
        if !batch.is_empty() || is_due {
            let began = Instant::now();
            let events = std::mem::take(&mut batch.events);
            let taken = events.len();
            let mut step = Step { events, answers: std::mem::take(&mut batch.answers) };
            match self.step(&mut step, &mut batch.welcomes).await {
                Err(error) if blames_an_event(&error) && !step.events.is_empty() => {
                    self.isolate(step, &mut batch.welcomes, &error).await?;
                }
                stored => stored?,
            }
            self.metrics.turn(began.elapsed(), taken);
        }
        self.store_services().await?;
        for worker in &batch.lost {
            store::worker_lost(&mut self.writer, self.epoch, *worker).await?;
        }
        self.acknowledge(&batch);
        Ok(())
    }

    /// Decides, stores and acts until every event is taken: a turn that has changed as much as it may leaves events to the
    /// next. What is stored leaves the step. After an error it has what is still to be decided, and memory is worthless.
    pub(super) async fn step(
        &mut self,
        step: &mut Step,
        welcomes: &mut BTreeMap<WorkerId, Vec<AttemptId>>,
    ) -> Result<(), StoreError> {
        loop {
            self.step_once(step, welcomes).await?;
            if step.events.is_empty() {
                return Ok(());
            }
            self.beat();
        }
    }

    async fn step_once(
        &mut self,
        step: &mut Step,
        welcomes: &mut BTreeMap<WorkerId, Vec<AttemptId>>,
    ) -> Result<(), StoreError> {
        let now = self.clock.now();
        let mut plan = self.decide(now, step.events.clone()).await?;
        plan.answers.extend(step.answers.iter().cloned());
        self.commit(now, &plan).await?;
        self.announce(&plan);
        if !plan.notifications.is_empty() {
            self.notifier.wake();
        }
        step.answers.clear();
        let taken = step.events.drain(..plan.taken.min(step.events.len()));
        let joined: Vec<WorkerId> = taken.as_slice().iter().filter_map(joined).collect();
        drop(taken);
        // A worker is welcomed before it is given anything.
        for worker in joined {
            if let Some(unsent) = welcomes.remove(&worker) {
                self.welcome_one(worker, &unsent);
            }
        }
        if !(plan.runs_dropped.is_empty() && plan.dags_dropped.is_empty()) {
            self.housekeeping.runs_have_gone();
        }
        self.act_on(plan.effects);
        self.rest = plan.rest;
        Ok(())
    }

    async fn decide(&mut self, now: Timestamp, events: Vec<Event>) -> Result<Plan, StoreError> {
        self.learn(&events).await?;
        if self.run_keys.end - self.run_keys.start < RUN_KEYS_MIN {
            self.run_keys = store::reserve_run_keys(self.writer.connection()).await?;
        }
        let input = Input { now, seed: rand::random(), run_keys: self.run_keys.clone(), events };
        // A panic is a defect of the engine: its memory is discarded, and the campaign loads it again.
        let decided = std::panic::catch_unwind(AssertUnwindSafe(|| self.engine.turn(input)));
        let plan = decided.map_err(|_| StoreError::Corrupt { what: "the engine gave up on a turn".to_owned() })?;
        if let Some(highest) = plan.new_runs.iter().map(|run| run.key.get()).max() {
            self.run_keys.start = highest + 1;
        }
        Ok(plan)
    }

    async fn learn(&mut self, events: &[Event]) -> Result<(), StoreError> {
        for _ in 0..FACT_ROUNDS_MAX {
            let needs = self.engine.needs(events);
            if needs.is_empty() {
                return Ok(());
            }
            for fact in store::facts::facts(self.writer.connection(), needs).await? {
                self.engine.provide(fact);
            }
        }
        Err(StoreError::Corrupt { what: "the engine keeps asking for facts".to_owned() })
    }

    /// The announcer lives as long as the reign; a hint that is lost costs a page a second.
    fn announce(&self, plan: &Plan) {
        if !plan.answers.is_empty() {
            self.announcer.send(Announcement::Answers(plan.answers.iter().map(|(id, _)| *id).collect()));
        }
        if let Some(pages) = Announcement::of_pages(plan) {
            self.announcer.send(pages);
        }
    }

    async fn commit(&mut self, now: Timestamp, plan: &Plan) -> Result<(), StoreError> {
        let began = Instant::now();
        let stored = self.store(now, plan).await;
        match &stored {
            Ok(()) => self.metrics.stored(began.elapsed(), plan),
            Err(error) => self.metrics.not_stored(error),
        }
        stored
    }

    async fn store(&mut self, now: Timestamp, plan: &Plan) -> Result<(), StoreError> {
        self.turn = match store::apply(&mut self.writer, self.epoch, now, plan).await {
            Ok(applied) if applied.existing_runs.is_empty() => applied.turn,
            Ok(applied) => {
                let what = format!("{} runs exist already", applied.existing_runs.len());
                return Err(StoreError::Diverged { what });
            }
            Err(StoreError::Unknown { reason }) => self.settle(reason).await?,
            Err(error) => return Err(error),
        };
        Ok(())
    }

    /// The outcome of a commit is unknown: a new connection waits for the old one's end, and the leader's row tells.
    async fn settle(&mut self, reason: String) -> Result<TurnNumber, StoreError> {
        tracing::warn!(reason, "the outcome of a turn is unknown; asking PostgreSQL");
        let expected = TurnNumber(self.turn.get() + 1);
        for _ in 0..SETTLE_TRIES_MAX {
            if let Ok(mut writer) = Writer::connect(&self.database_url).await {
                let stored = store::resume(&mut writer, self.epoch).await?;
                self.writer = writer;
                return if stored == expected { Ok(stored) } else { Err(StoreError::Unknown { reason }) };
            }
            self.acknowledge_all();
            tokio::time::sleep(SETTLE_PAUSE).await;
        }
        Err(StoreError::Unknown { reason })
    }

    fn act_on(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Assign { worker, attempt, .. } => self.order(worker, Order::Assign(attempt)),
                Effect::Kill { worker, attempt, reason } => self.order(worker, Order::Kill(attempt, reason)),
            }
        }
    }

    /// Gives an order to a worker, in its turn: one that was given a hundred thousand waits reads them when it can.
    fn order(&mut self, worker: WorkerId, order: Order) {
        if let Some(order) = self.peers.order(worker, order) {
            self.carry(worker, order);
        }
    }

    /// Sends what workers have room for by now.
    pub(super) fn send_orders(&mut self) {
        while let Some((worker, order)) = self.peers.next_order() {
            self.carry(worker, order);
        }
    }

    fn carry(&mut self, worker: WorkerId, order: Order) {
        match order {
            Order::Assign(attempt) => self.hand_over(worker, attempt),
            Order::Kill(attempt, reason) => self.peers.send(worker, ToWorker::Kill { attempt, reason }),
        }
    }

    fn hand_over(&mut self, worker: WorkerId, attempt: AttemptId) {
        let key = self.engine.instance_of_attempt(attempt);
        let found = key.and_then(|key| self.engine.assignment(key));
        if let Some(found) = found.filter(|found| (found.attempt, found.worker) == (attempt, worker)) {
            self.peers.send(worker, ToWorker::Assign(Box::new(assignment(found))));
        }
    }

    async fn store_services(&mut self) -> Result<(), StoreError> {
        let output = self.supervisor.take_output();
        if !output.rows.is_empty() {
            let rows: Vec<_> = output.rows.iter().map(Replica::row).collect();
            store::save_services(&mut self.writer, self.epoch, &rows).await?;
        }
        store::forget_services(&mut self.writer, self.epoch, &output.gone).await?;
        if !(output.rows.is_empty() && output.gone.is_empty()) {
            self.announcer.send(Announcement::Changes(Changes::services()));
        }
        for action in output.actions {
            match action {
                Action::Start(worker, start) => self.peers.send(worker, ToWorker::StartService(start)),
                Action::Stop(worker, instance) => self.peers.send(worker, ToWorker::StopService { instance }),
                Action::Tell(worker, attempt, status) => {
                    self.peers.send(worker, ToWorker::Services { attempt, status });
                }
            }
        }
        Ok(())
    }

    /// Tells a worker that has joined what is its, and hands over what never reached it.
    fn welcome_one(&mut self, worker: WorkerId, unsent: &[AttemptId]) {
        let live = self.engine.attempts_on(worker);
        let services = self.supervisor.instances_on(worker);
        let again: Vec<_> = unsent.iter().filter(|attempt| live.contains(attempt)).copied().collect();
        self.peers.send(worker, ToWorker::Welcome { epoch: self.epoch, live, services });
        for attempt in again {
            self.order(worker, Order::Assign(attempt));
        }
    }

    /// Tells workers that this leader lives, unless it may not any more.
    pub(super) fn acknowledge_all(&mut self) {
        if self.lease.may_acknowledge() {
            self.peers.acknowledge_all();
        }
    }

    /// Everything of the batch is stored, which proves the leadership: workers may forget it.
    fn acknowledge(&mut self, batch: &Batch) {
        for (worker, attempt) in &batch.ended {
            self.peers.forget(*worker, *attempt);
        }
        for (connection, seq) in &batch.reports {
            self.peers.stored(*connection, *seq);
        }
    }
}

/// What one turn decides.
#[derive(Debug, Clone, Default)]
pub(super) struct Step {
    /// For the engine.
    pub(super) events: Vec<Event>,
    /// Commands that are answered without it.
    pub(super) answers: Vec<(CommandId, Answer)>,
}

/// Whether a turn failed by what one of its events says or brings about: PostgreSQL refused a value, or the engine gave up.
pub(super) fn blames_an_event(error: &StoreError) -> bool {
    error.refuses_value() || matches!(error, StoreError::Corrupt { .. })
}

fn joined(event: &Event) -> Option<WorkerId> {
    if let Event::WorkerJoined(joined) = event { Some(joined.worker) } else { None }
}

/// What the worker is told of an attempt.
fn assignment(found: engine::Assignment) -> Assignment {
    let task = found.dag.task(found.task);
    let run = &found.run;
    Assignment {
        attempt: found.attempt,
        ti: found.key,
        operator: task.operator.clone(),
        files: found.dag.files.clone(),
        execution_timeout_secs: task.execution_timeout.map(|limit| limit.as_secs_f64()),
        do_xcom_push: task.do_xcom_push,
        mapped: task.expand.as_ref().map(|expand| {
            let given = found.given.as_ref().and_then(|given| given_of(given, &found.task_numbers));
            let map_index_template = expand.map_index_template.clone();
            Box::new(Mapped { given, map_index_template, keys: expand.keys.clone() })
        }),
        poked: found
            .poked
            .map(|poked| Poked { waited_secs: poked.waited_secs.max(0.0), times: poked.times.unsigned_abs() }),
        multiple_outputs: task.multiple_outputs,
        retry_policy: task.retry_policy.clone(),
        context: TaskContext {
            dag_id: run.dag_id.clone(),
            run_id: run.run_id.clone(),
            run_key: run.key,
            run_type: run.run_type,
            task_id: task.task_id.clone(),
            task_numbers: if may_pull(task, &found.dag) { found.task_numbers } else { Arc::default() },
            map_index: found.key.map,
            try_number: found.try_number,
            max_tries: found.max_tries,
            logical_date: run.logical_date,
            data_interval: run.data_interval,
            run_after: run.run_after,
            run_started_at: run.started_at.unwrap_or(run.queued_at),
            conf: run.conf.clone(),
            params: found.params,
            dag_fields: dag_fields(&found.dag, task),
            task_fields: task_fields(task),
            native: found.dag.render_template_as_native_obj,
            macros: found.dag.user_defined_macros.clone(),
            prev_success_interval: None,
            outlets: task.outlets.iter().map(mention).collect(),
            inlets: task.inlets.iter().map(mention).collect(),
        },
    }
}

/// An asset or alias of a task, as its attempt is told.
pub(super) fn mention(of: &dag::Outlet) -> AssetNews {
    match of {
        dag::Outlet::Alias(alias) => AssetNews { alias: Some(alias.alias.clone()), ..AssetNews::default() },
        dag::Outlet::Asset(asset) => AssetNews {
            name: Some(asset.name.clone()),
            uri: Some(asset.uri.clone().unwrap_or_else(|| asset.name.clone())),
            extra: asset.extra.clone().unwrap_or_default(),
            alias: None,
        },
    }
}

/// What an instance of an expanded task gets, with the numbers of the tasks that have left it.
fn given_of(given: &dag::Given, numbers: &BTreeMap<TaskId, TaskIdx>) -> Option<Given> {
    match given {
        dag::Given::Named(named) => {
            let one = |(name, element): &(String, dag::Element)| Some((name.clone(), element_of(element, numbers)?));
            named.iter().map(one).collect::<Option<_>>().map(Given::Named)
        }
        dag::Given::Kwargs(element) => element_of(element, numbers).map(Given::Kwargs),
    }
}

fn element_of(element: &dag::Element, numbers: &BTreeMap<TaskId, TaskIdx>) -> Option<Element> {
    Some(match element {
        dag::Element::Value(value) => Element::Value(value.clone()),
        dag::Element::Output { task, index } => {
            Element::Output { task_id: task.clone(), task: *numbers.get(task)?, index: *index }
        }
        dag::Element::List(parts) => {
            Element::List(parts.iter().map(|part| element_of(part, numbers)).collect::<Option<_>>()?)
        }
    })
}

/// Whether an operator may ask for XComs of other tasks: in its own text, or in a file that it names. All others are not
/// sent the numbers of every task, which are many in a large DAG.
fn may_pull(task: &dag::Task, dag: &dag::Dag) -> bool {
    const PULL: &str = "xcom_pull";
    // Keys that its instances get may be templates, too.
    if task.expand.is_some() {
        return true;
    }
    let Ok(text) = serde_json::to_string(&task.operator) else { return true };
    let named =
        |file: &String| json!(file).to_string().get(1..).is_some_and(|name| text.contains(name.trim_end_matches('"')));
    text.contains(PULL) || dag.files.keys().any(named)
}

/// The fields of `task` in templates.
pub(super) fn task_fields(task: &dag::Task) -> serde_json::Map<String, serde_json::Value> {
    entries(json!({
        "owner": task.owner,
        "operator": task.operator.name(),
        "queue": task.queue,
        "pool": task.pool,
        "pool_slots": task.pool_slots,
        "priority_weight": task.priority_weight,
        "retries": task.retries,
        "trigger_rule": task.trigger_rule.name(),
    }))
}

/// The fields of `dag`.
pub(super) fn dag_fields(dag: &dag::Dag, task: &dag::Task) -> serde_json::Map<String, serde_json::Value> {
    entries(json!({
        "dag_id": dag.dag_id,
        "description": dag.description,
        "tags": dag.tags,
        "owner": task.owner,
        "catchup": dag.catchup == dag::Catchup::All,
        "max_active_runs": dag.max_active_runs,
    }))
}

fn entries(fields: serde_json::Value) -> serde_json::Map<String, serde_json::Value> {
    match fields {
        serde_json::Value::Object(entries) => entries,
        _ => serde_json::Map::new(),
    }
}
