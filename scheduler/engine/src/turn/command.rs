//! Commands: each is applied and answered, and changes nothing when its answer is not `Done`.

use model::{
    Answer, AnswerStatus, Command, CommandId, DagId, Pool, RunId,
    command::{Draining, Paused},
};
use serde_json::{Value, json};

use crate::Engine;

/// A command that is not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// What it names does not exist.
    #[error("{0}")]
    NotFound(String),
    /// It contradicts what is there.
    #[error("{0}")]
    Conflict(String),
    /// It makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// It is not for who asks.
    #[error("{0}")]
    Forbidden(String),
}

impl Refusal {
    pub fn no_dag(dag: &DagId) -> Self {
        Self::NotFound(format!("The Dag with ID: `{dag}` was not found"))
    }

    pub fn no_run(dag: &DagId, run: &RunId) -> Self {
        Self::NotFound(format!("The DagRun with dag_id: `{dag}` and run_id: `{run}` was not found"))
    }

    fn status(&self) -> AnswerStatus {
        match self {
            Self::NotFound(_) => AnswerStatus::NotFound,
            Self::Conflict(_) => AnswerStatus::Conflict,
            Self::Invalid(_) => AnswerStatus::Invalid,
            Self::Forbidden(_) => AnswerStatus::Forbidden,
        }
    }
}

impl Engine {
    /// Carries a command out.
    pub(super) fn obey(&mut self, id: CommandId, command: Command, by: String) -> Answer {
        let done = match command {
            Command::TriggerDagRun(trigger) => self.trigger(trigger, Some(by)),
            Command::PauseDag { dag_id, to } => self.pause(&dag_id, to),
            Command::DrainDag { dag_id, to } => self.drain(&dag_id, to),
            Command::ClearTaskInstances(clear) => self.clear(&clear),
            Command::MarkTaskInstances(mark) => self.mark_tasks(&mark),
            Command::MarkDagRun { dag_id, run_id, state } => self.mark_run(&dag_id, &run_id, state),
            Command::SetNote(note) => self.set_note(note),
            Command::DeleteDagRun { dag_id, run_id } => self.delete_run(&dag_id, &run_id),
            Command::DeleteDag { dag_id } => self.delete_dag(&dag_id),
            Command::SetXCom { xcom, value } => self.set_xcom(xcom, value),
            Command::DeleteXCom(xcom) => self.delete_xcom(xcom),
            Command::DeleteTaskInstance(name) => self.delete_instance(&name),
            Command::AnswerQuestion(wish) => self.answer_question(wish),
            Command::CreatePool(pool) => self.create_pool(pool),
            Command::SetPool(pool) => self.set_pool(pool),
            Command::DeletePool { name } => self.delete_pool(name.into_string()),
            Command::CreateBackfill(wish) => self.create_backfill(id, wish, by),
            Command::PauseBackfill { dag_id, backfill, to } => self.pause_backfill(&dag_id, backfill, to),
            Command::CancelBackfill { dag_id, backfill } => self.cancel_backfill(&dag_id, backfill),
            Command::CreateAssetEvent(wish) => Ok(self.create_asset_event(wish)),
            Command::DeleteQueuedAssetEvents(wish) => self.delete_queued_assets(&wish),
            Command::ControlService { .. } => {
                Err(Refusal::Invalid("services are handled by the supervisor, not by the scheduler".to_owned()))
            }
        };
        match done {
            Ok(body) => Answer { status: AnswerStatus::Done, body },
            Err(refusal) => Answer { status: refusal.status(), body: json!({ "detail": refusal.to_string() }) },
        }
    }

    fn pause(&mut self, dag_id: &DagId, to: Paused) -> Result<Value, Refusal> {
        let row = &mut self.dags.get_mut(dag_id).ok_or_else(|| Refusal::no_dag(dag_id))?.row;
        let pauses = to == Paused::Paused;
        if row.is_paused != pauses {
            row.is_paused = pauses;
            self.draft.dags.insert(dag_id.clone());
            if pauses {
                self.hold_back(dag_id);
            } else {
                self.unpause(dag_id);
            }
        }
        Ok(json!({}))
    }

    /// Lets no further run of a DAG start, or lets them start again. What is running goes on to its end.
    fn drain(&mut self, dag_id: &DagId, to: Draining) -> Result<Value, Refusal> {
        let row = &mut self.dags.get_mut(dag_id).ok_or_else(|| Refusal::no_dag(dag_id))?.row;
        let drains = to == Draining::Draining;
        if row.is_draining != drains {
            row.is_draining = drains;
            self.draft.dags.insert(dag_id.clone());
            if !drains {
                self.look_anew(dag_id);
            }
        }
        Ok(json!({}))
    }

    fn create_pool(&mut self, pool: Pool) -> Result<Value, Refusal> {
        if self.pools.has(&pool.name) {
            return Err(Refusal::Conflict(format!("The Pool with name: `{}` already exists", pool.name)));
        }
        self.set_pool(pool)
    }

    fn set_pool(&mut self, pool: Pool) -> Result<Value, Refusal> {
        pool.check().map_err(Refusal::Invalid)?;
        self.draft.plan.pools.retain(|other| other.name != pool.name);
        self.draft.plan.pools_dropped.retain(|name| *name != pool.name);
        self.draft.plan.pools.push(pool.clone());
        self.ready.pool_has_room(&pool.name);
        self.pools.set(pool);
        Ok(json!({}))
    }

    fn delete_pool(&mut self, name: String) -> Result<Value, Refusal> {
        if name == Pool::DEFAULT {
            return Err(Refusal::Invalid(format!("{name} can not be deleted: every task that names no pool uses it")));
        }
        if self.pools.remove(&name).is_none() {
            return Err(Refusal::NotFound(format!("The Pool with name: `{name}` was not found")));
        }
        self.draft.plan.pools.retain(|pool| pool.name != name);
        self.draft.plan.pools_dropped.push(name);
        Ok(json!({}))
    }
}
