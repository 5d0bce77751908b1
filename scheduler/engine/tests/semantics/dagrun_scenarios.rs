//! Whole runs: all tasks of a round work at once and end as the case says.
//!
//! Airflow looks at a run once in a loop, so that what a pass skips is seen by the tasks behind it only in the next
//! round. Here passes are repeated at once: a task may run in an earlier round than in Airflow, never in a later one.
//! Which tasks run and how everything ends has to be the same.

use std::collections::BTreeMap;

use dag::{Phase, Task, TaskPos};
use engine::Event;
use model::{AttemptEnd, DagRunState, EndKind, TaskState, TriggerRule, operator::SkipReach};
use serde::Deserialize;
use serde_json::Value;

use crate::{
    dags::{branch, dag_of, short_circuit, task},
    sections::{Outcome, read},
    world::World,
};

#[derive(Deserialize)]
struct Case {
    tasks: Vec<TaskCase>,
    expected: Ending,
}

#[derive(Deserialize)]
struct TaskCase {
    id: String,
    up: Vec<String>,
    rule: TriggerRule,
    outcome: Script,
    kind: Option<Kind>,
    #[serde(default)]
    setups: Vec<String>,
    #[serde(default)]
    on_failure_fail_dagrun: bool,
    #[serde(default)]
    follow: Vec<String>,
    #[serde(default)]
    ignore_downstream_trigger_rules: bool,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Setup,
    Teardown,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "snake_case")]
enum Script {
    Failed,
    Success,
    Branch,
    Short,
    Skipped,
}

#[derive(Debug, Deserialize)]
struct Ending {
    rounds: Vec<Vec<String>>,
    #[serde(rename = "final")]
    states: BTreeMap<String, Option<TaskState>>,
    dag_run: DagRunState,
}

pub fn scenario(case: &Value) -> Outcome {
    let case: Case = read(case);
    let mut dag = dag_of("d", compiled(&case.tasks));
    dag.max_active_tasks = 1_000;
    let mut world = World::new(vec![dag]);
    let run = world.trigger("d", "r");
    let mut rounds = Vec::new();
    loop {
        let names = world.at_work();
        if names.is_empty() {
            break;
        }
        let ends = ends(&mut world, &case.tasks, &names);
        rounds.push(names);
        world.turn(ends);
        world.quiesce();
    }
    let known = world.states(run);
    let states = case.tasks.iter().map(|task| (task.id.clone(), known.get(&task.id).copied())).collect();
    let actual = Ending { rounds, states, dag_run: world.run_state(run) };
    Outcome::when(case.expected.agrees_with(&actual), &case.expected, &actual)
}

impl TaskCase {
    /// What comes directly before it; a teardown comes after its setups.
    fn before(&self) -> impl Iterator<Item = &String> {
        self.up.iter().chain(&self.setups)
    }
}

impl Ending {
    fn agrees_with(&self, actual: &Self) -> bool {
        let (expected_rounds, rounds) = (self.round_of_each(), actual.round_of_each());
        expected_rounds.keys().eq(rounds.keys())
            && rounds.iter().all(|(task, round)| *round <= expected_rounds[task])
            && (&self.states, self.dag_run) == (&actual.states, actual.dag_run)
    }

    fn round_of_each(&self) -> BTreeMap<&str, usize> {
        let rounds = self.rounds.iter().enumerate();
        rounds.flat_map(|(round, tasks)| tasks.iter().map(move |task| (task.as_str(), round))).collect()
    }
}

/// The reports of a round. They arrive in one turn, and are decided one after the other: failures first.
fn ends(world: &mut World, tasks: &[TaskCase], names: &[String]) -> Vec<Event> {
    let mut ending: Vec<&TaskCase> = tasks.iter().filter(|task| names.contains(&task.id)).collect();
    ending.sort_by_key(|task| task.outcome);
    ending.into_iter().map(|task| world.ended(&task.id, end_of(task))).collect()
}

fn end_of(task: &TaskCase) -> AttemptEnd {
    let success = AttemptEnd::new(EndKind::Success, "");
    match task.outcome {
        Script::Success => success,
        Script::Failed => AttemptEnd::new(EndKind::Failed, "exit code 1"),
        Script::Skipped => AttemptEnd::new(EndKind::Skipped, ""),
        Script::Branch => AttemptEnd { follow: Some(task.follow.clone()), ..success },
        Script::Short => AttemptEnd { proceed: Some(false), ..success },
    }
}

/// The tasks in an order in which each comes after what it names.
fn compiled(cases: &[TaskCase]) -> Vec<Task> {
    let mut placed: Vec<&TaskCase> = Vec::new();
    let position = |placed: &[&TaskCase], id: &String| placed.iter().position(|task| task.id == *id);
    while placed.len() < cases.len() {
        let is_next = |case: &&TaskCase| {
            position(&placed, &case.id).is_none() && case.before().all(|id| position(&placed, id).is_some())
        };
        let next = cases.iter().find(is_next).expect("the tasks of a case have no cycle");
        placed.push(next);
    }
    placed
        .iter()
        .map(|case| {
            let mut task = task(&case.id);
            task.upstream = case.before().filter_map(|id| position(&placed, id)).map(TaskPos).collect();
            task.upstream.sort_unstable();
            task.upstream.dedup();
            task.phase = match case.kind {
                None => Phase::Work,
                Some(Kind::Setup) => Phase::Setup,
                Some(Kind::Teardown) => Phase::Teardown { on_failure_fail_dagrun: case.on_failure_fail_dagrun },
            };
            task.trigger_rule = case.rule;
            task.operator = match case.outcome {
                Script::Branch => branch(),
                Script::Short if case.ignore_downstream_trigger_rules => short_circuit(SkipReach::AllDownstream),
                Script::Short => short_circuit(SkipReach::DirectDownstream),
                Script::Success | Script::Failed | Script::Skipped => task.operator,
            };
            task
        })
        .collect()
}
