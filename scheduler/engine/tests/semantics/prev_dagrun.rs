//! Whether the run before it lets a task go on.

use dag::{Catchup, Task, TaskPos};
use engine::{DagVersion, StoredDag};
use model::{DagId, DagRunState, DagVersionId, RunKey, RunType, TaskIdx, TaskState, TiKey, Timestamp};
use serde::Deserialize;
use serde_json::Value;

use crate::{
    dags::{dag_of, task},
    mirror::Mirror,
    rows,
    sections::{Outcome, read},
    world::World,
};

const DAG: &str = "d";
const BEFORE: (RunKey, DagVersionId) = (RunKey(1), DagVersionId(1));
const NOW: (RunKey, DagVersionId) = (RunKey(2), DagVersionId(2));

#[derive(Deserialize)]
struct Case {
    catchup: bool,
    previous_run_type: Option<RunType>,
    depends_on_past: bool,
    wait_for_downstream: bool,
    ignore_first_depends_on_past: bool,
    prev_state_of_task: Option<String>,
    prev_state_of_direct_downstream: Option<String>,
    prev_state_of_transitive_downstream: Option<String>,
    expected: String,
}

/// What the run before has of a task.
#[derive(Clone, Copy, PartialEq, Eq)]
enum There {
    /// Its version did not have the task.
    Absent,
    State(TaskState),
}

impl There {
    fn of(text: Option<&String>) -> Self {
        match text.map(String::as_str) {
            Some("absent") => Self::Absent,
            Some(state) => Self::State(state.parse().unwrap()),
            None => Self::State(TaskState::NoStatus),
        }
    }
}

pub fn met(case: &Value) -> Outcome {
    let case: Case = read(case);
    let before = [
        There::of(case.prev_state_of_task.as_ref()),
        There::of(case.prev_state_of_direct_downstream.as_ref()),
        There::of(case.prev_state_of_transitive_downstream.as_ref()),
    ];
    let asks = case.depends_on_past || case.wait_for_downstream;
    if asks && !case.ignore_first_depends_on_past && before[0] == There::Absent && case.previous_run_type.is_some() {
        return Outcome::NotYet("ignore_first_depends_on_past: false");
    }
    let mut world = World::new(Vec::new());
    world.mirror = stored(&case, before);
    world.reload();
    world.join(2, 100);
    world.quiesce();
    let runs_now = |key: TiKey| key.run == NOW.0 && key.task == TaskIdx(0);
    let met = world.attempts.iter().any(|(_, key, _)| runs_now(*key));
    Outcome::of(&case.expected, &if met { "met" } else { "not_met" }.to_owned())
}

fn stored(case: &Case, before: [There; 3]) -> Mirror {
    let mut mirror = World::new(Vec::new()).mirror;
    mirror.versions =
        vec![version(BEFORE.1, case, before), version(NOW.1, case, [There::State(TaskState::NoStatus); 3])];
    let dag_id = DagId::new(DAG).unwrap();
    let row = StoredDag::new(dag_id.clone(), NOW.1, false);
    mirror.dags.insert(dag_id, row);
    let date = |text: &str| -> Timestamp { text.parse().unwrap() };
    let now = rows::run(NOW.0, DAG, "now", NOW.1, DagRunState::Running, date("2024-01-02T00:00:00Z"));
    mirror.runs.insert(NOW.0, now);
    if let Some(run_type) = case.previous_run_type {
        let mut row = rows::run(BEFORE.0, DAG, "before", BEFORE.1, DagRunState::Failed, date("2024-01-01T00:00:00Z"));
        row.run_type = run_type;
        mirror.runs.insert(BEFORE.0, row);
        store_states(&mut mirror, before);
    }
    mirror
}

fn store_states(mirror: &mut Mirror, before: [There; 3]) {
    for (there, number) in before.into_iter().zip(0..) {
        if let There::State(state) = there
            && state != TaskState::NoStatus
        {
            let key = TiKey::unmapped(BEFORE.0, TaskIdx(number));
            let mut row = rows::instance(key, state);
            // Nothing of a run that has ended is live; its states count all the same.
            (row.live, row.attempt, row.worker) = (false, None, None);
            mirror.instances.insert(key, row);
        }
    }
}

/// A version with a chain of those tasks that are there; the first one asks for its past.
fn version(id: DagVersionId, case: &Case, there: [There; 3]) -> DagVersion {
    let mut tasks: Vec<Task> = Vec::new();
    let mut numbers = Vec::new();
    for ((name, number), there) in ["task", "direct", "transitive"].into_iter().zip(0..).zip(there) {
        if there == There::Absent {
            continue;
        }
        let mut known = task(name);
        known.upstream = tasks.len().checked_sub(1).map(TaskPos).into_iter().collect();
        if name == "task" {
            known.depends_on_past = case.depends_on_past;
            known.wait_for_downstream = case.wait_for_downstream;
        }
        tasks.push(known);
        numbers.push(TaskIdx(number));
    }
    let mut dag = dag_of(DAG, tasks);
    dag.catchup = if case.catchup { Catchup::All } else { Catchup::Latest };
    DagVersion { id, dag: dag.into(), task_idx: numbers.into() }
}
