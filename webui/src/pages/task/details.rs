//! The facts of a task instance: in its head the few that matter always, in a tab all of them, and its tries.

use model::{Operator, Timestamp};
use schemars::JsonSchema;
use serde::Serialize;
use store::read::Try;

use super::{
    super::{
        Fact,
        state::Badge,
        words::{self, Clock},
    },
    Span,
};
use crate::reads::instances::TaskOfRun;

/// A try as a row.
#[derive(Debug, Serialize, JsonSchema)]
pub struct TryRow {
    number: i16,
    badge: Badge,
    attempt: String,
    worker: String,
    reason: Option<String>,
    #[serde(flatten)]
    span: Span,
}

/// The facts in the head of the page.
pub(super) fn facts(of: &TaskOfRun, clock: Clock) -> Vec<Fact> {
    let mut facts = vec![Fact::new("operator", of.task().operator.name())];
    let Some(stored) = &of.stored else { return facts };
    let row = &stored.row;
    if of.try_number() > 0 {
        facts.push(Fact::new("try", format!("{} of {}", of.try_number(), of.tries_max())));
    }
    facts.extend(row.started_at.map(|at| Fact::at("started", clock.stamp(at))));
    if let Some((start, end)) = row.started_at.zip(row.ended_at) {
        facts.push(Fact::new("took", words::between(start, end)).exactly(clock.moment(end).exact));
    }
    if let Some((queued, start)) = row.queued_at.zip(row.started_at) {
        facts.push(Fact::new("queued for", words::between(queued, start)));
    }
    facts.extend(stored.worker.clone().map(|worker| Fact::new("worker", worker)));
    facts.extend(row.extra.exit_code.map(|code| Fact::new("exit code", code.to_string())));
    facts
}

/// Everything that its definition says about how it runs.
pub(super) fn settings(of: &TaskOfRun) -> Vec<Fact> {
    let task = of.task();
    let mut facts = vec![
        Fact::new("trigger rule", task.trigger_rule.name()),
        Fact::new("retries", task.retries.to_string()),
        Fact::new("retry delay", words::duration(task.retry_delay)),
        Fact::new("pool", format!("{} · {}", task.pool, words::count(task.pool_slots as usize, "slot"))),
        Fact::new("queue", task.queue.clone()),
        Fact::new("priority", task.effective_weight.to_string()),
        Fact::new("owner", task.owner.clone()),
    ];
    facts.extend(task.start_date.map(|at| Fact::new("runs from", at.to_rfc3339())));
    facts.extend(task.end_date.map(|at| Fact::new("runs until", at.to_rfc3339())));
    facts.extend(phase(task.phase).map(|phase| Fact::new("phase", phase)));
    facts.extend(task.group.clone().map(|group| Fact::new("group", group)));
    facts.extend(task.execution_timeout.map(|limit| Fact::new("may take", words::duration(limit))));
    facts.extend(task.task_queued_timeout.map(|limit| Fact::new("may be queued", words::duration(limit))));
    facts.extend(task.max_active_tis_per_dag.map(|most| Fact::new("at once in all runs", most.to_string())));
    if task.depends_on_past {
        facts.push(Fact::new("depends on past", "yes"));
    }
    if let Operator::Sql(sql) | Operator::SqlCheck(sql) = &task.operator {
        facts.push(Fact::new("connection", sql.conn_id.clone()));
    }
    if !task.outlets.is_empty() {
        let names: Vec<&str> = task.outlets.iter().map(dag::Outlet::name).collect();
        facts.push(Fact::new("writes", names.join(", ")));
    }
    if !task.inlets.is_empty() {
        let names: Vec<&str> = task.inlets.iter().map(dag::Outlet::name).collect();
        facts.push(Fact::new("reads", names.join(", ")));
    }
    facts
}

/// What it does for others.
const fn phase(phase: dag::Phase) -> Option<&'static str> {
    match phase {
        dag::Phase::Work => None,
        dag::Phase::Setup => Some("setup: what is behind it needs it"),
        dag::Phase::Teardown { on_failure_fail_dagrun: false } => {
            Some("teardown: the run ends as if it were not there")
        }
        dag::Phase::Teardown { on_failure_fail_dagrun: true } => Some("teardown: the run fails with it"),
    }
}

/// Its tries, the newest first.
pub(super) fn tries(of: &TaskOfRun, past: &[Try], clock: Clock) -> Vec<TryRow> {
    let current = of.stored.as_ref().filter(|_| of.try_number() > 0).map(|stored| {
        let row = &stored.row;
        TryRow {
            number: of.try_number(),
            badge: Badge::from(row.state),
            attempt: row.attempt.map(|attempt| attempt.to_string()).unwrap_or_default(),
            worker: stored.worker.clone().unwrap_or_default(),
            reason: row.extra.reason.clone(),
            span: span(row.queued_at, row.started_at, row.ended_at, clock),
        }
    });
    let past = past.iter().rev().filter(|one| one.try_number.get() != of.try_number()).map(|one| TryRow {
        number: one.try_number.get(),
        badge: Badge::from(one.state),
        attempt: one.attempt.map(|attempt| attempt.to_string()).unwrap_or_default(),
        worker: one.worker.clone().unwrap_or_default(),
        reason: one.reason.clone(),
        span: span(one.queued_at, one.started_at, one.ended_at, clock),
    });
    current.into_iter().chain(past).collect()
}

fn span(queued: Option<Timestamp>, started: Option<Timestamp>, ended: Option<Timestamp>, clock: Clock) -> Span {
    let stamp = |at: Option<Timestamp>| at.map(|at| clock.stamp(at));
    let took = started.map(|start| words::between(start, ended.unwrap_or(clock.now))).unwrap_or_default();
    Span { queued: stamp(queued), started: stamp(started), ended: stamp(ended), took }
}
