//! What the leader needs from memory to hand an attempt to its worker.

use std::{collections::BTreeMap, sync::Arc};

use dag::{Dag, Given, TaskPos};
use model::{AttemptId, TaskId, TaskIdx, TaskState, TiKey, TryNumber, WorkerId};
use serde_json::{Map, Value};

use crate::{
    Engine,
    memory::{instance::TiPos, run::Run},
    state::RunRow,
};

/// An attempt with everything that its worker is told, apart from what only the leader knows.
#[derive(Debug, Clone, PartialEq)]
pub struct Assignment {
    /// The execution's id.
    pub attempt: AttemptId,
    /// The worker that it is given to.
    pub worker: WorkerId,
    /// The instance.
    pub key: TiKey,
    /// The definition that the run is pinned to.
    pub dag: Arc<Dag>,
    /// Which of its tasks.
    pub task: TaskPos,
    /// The numbers of the DAG's tasks.
    pub task_numbers: Arc<BTreeMap<TaskId, TaskIdx>>,
    /// The run.
    pub run: RunRow,
    /// Which try.
    pub try_number: TryNumber,
    /// The last try that a failure may lead to.
    pub max_tries: i16,
    /// The DAG's params with the task's and the run's conf over them.
    pub params: Map<String, Value>,
    /// What an instance of an expanded task gets; none for a task that is not expanded, and when its inputs have gone.
    pub given: Option<Given>,
    /// How long a sensor has looked before, when it looks again, or when another worker takes its wait.
    pub poked: Option<Poked>,
}

/// What a sensor has done in its try before the attempt at hand.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Poked {
    /// How long ago it looked first, in seconds.
    pub waited_secs: f64,
    /// How often it was put off.
    pub times: i32,
}

/// The defaults of a DAG's params with a run's conf over them.
pub(crate) fn params_of_run(dag: &Dag, conf: &Map<String, Value>) -> Map<String, Value> {
    let mut params: Map<String, Value> =
        dag.params.iter().map(|(name, param)| (name.clone(), param.default.clone())).collect();
    params.extend(conf.iter().map(|(name, value)| (name.clone(), value.clone())));
    params
}

/// What the templates of a task know as `params`: the DAG's, the task's own over them, and a run's conf over both, as in Airflow.
#[must_use]
pub fn params_of(dag: &Dag, task: TaskPos, conf: &Map<String, Value>) -> Map<String, Value> {
    let own = dag.task(task).params.iter().map(|(name, value)| (name.clone(), value.clone()));
    let mut params = params_of_run(dag, &Map::new());
    params.extend(own);
    params.extend(conf.iter().map(|(name, value)| (name.clone(), value.clone())));
    params
}

impl Run {
    /// What an instance of an expanded task gets of its inputs.
    fn given(&self, at: TiPos) -> Option<Given> {
        let expand = self.def.task(at.task).expand.as_ref()?;
        let left = |id: &TaskId| self.length_left(self.def.position_of(id)?);
        expand.given(u64::try_from(at.map.get()).ok()?, &left)
    }
}

impl Engine {
    /// What the worker of an instance's live attempt is told; none when the instance has no live attempt.
    #[must_use]
    pub fn assignment(&self, key: TiKey) -> Option<Assignment> {
        let run = self.run(key.run)?;
        let task = run.def.position(key.task)?;
        let at = TiPos { task, map: key.map };
        if !run.has(at) {
            return None;
        }
        let instance = run.instance(at);
        let core = instance.core;
        let (true, Some(attempt), Some(worker)) = (core.live, core.attempt, core.worker) else { return None };
        let goes_on = core.state == TaskState::Deferred || !run.def.task(task).operator.defers();
        Some(Assignment {
            attempt,
            worker,
            key,
            dag: Arc::clone(&run.def.dag),
            task,
            task_numbers: Arc::clone(&run.def.task_numbers),
            run: run.row.clone(),
            try_number: core.try_number,
            max_tries: run.max_tries(at),
            params: params_of(&run.def.dag, task, &run.row.conf),
            given: run.given(at),
            // Of a deferrable one only its wait goes on; an attempt that has to begin begins its looks, too.
            poked: instance.extra.as_deref().filter(|_| goes_on).and_then(|extra| {
                let waited_secs = (self.now - extra.first_poke_at?).as_seconds_f64();
                Some(Poked { waited_secs, times: extra.reschedules })
            }),
        })
    }
}
