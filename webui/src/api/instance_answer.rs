//! Task instances and their tries as answers show them.

use model::{TaskState, Timestamp};
use serde_json::{Map, Value};
use store::read::{Listed, Part, Try};

use super::{
    cursor::CursorPage,
    dag_shapes::{DagVersionResponse, dag_version},
    declare::{At, answer, words},
    run_answer::duration,
};
use crate::reads::instances::TaskOfRun;

answer! {
    /// A trigger that a deferred task waits for. None is here: services of the leader keep what waits.
    pub struct TriggerResponse {
        id: i64,
        classpath: String,
        kwargs: String,
        created_date: At,
        queue: Option<String>,
        triggerer_id: Option<i64>,
    }
}

answer! {
    /// The job of a triggerer. There is none here.
    pub struct TriggererJob {
        id: i64,
        dag_id: Option<String>,
        state: Option<String>,
        job_type: Option<String>,
        start_date: Option<At>,
        end_date: Option<At>,
        latest_heartbeat: Option<At>,
        executor_class: Option<String>,
        hostname: Option<String>,
        unixname: Option<String>,
        dag_display_name: Option<String>,
    }
}

answer! {
    /// A task instance.
    pub struct TaskInstanceResponse {
        id: String,
        task_id: String,
        task_display_name: String,
        dag_id: String,
        dag_display_name: String,
        dag_run_id: String,
        map_index: i32,
        logical_date: Option<At>,
        run_after: At,
        start_date: Option<At>,
        end_date: Option<At>,
        /// In seconds.
        duration: Option<f64>,
        state: Option<words::TaskInstanceState>,
        try_number: i16,
        max_tries: i16,
        /// The worker.
        hostname: Option<String>,
        unixname: Option<String>,
        pool: String,
        pool_slots: u32,
        queue: Option<String>,
        priority_weight: Option<i32>,
        operator: Option<String>,
        operator_name: Option<String>,
        queued_when: Option<At>,
        scheduled_when: Option<At>,
        pid: Option<i64>,
        executor: Option<String>,
        executor_config: String,
        note: Option<String>,
        rendered_map_index: Option<String>,
        rendered_fields: Map<String, Value>,
        trigger: Option<TriggerResponse>,
        triggerer_job: Option<TriggererJob>,
        dag_version: Option<DagVersionResponse>,
    }
}

answer! {
    /// A try of a task instance.
    pub struct TaskInstanceHistoryResponse {
        task_id: String,
        task_display_name: String,
        dag_id: String,
        dag_display_name: String,
        dag_run_id: String,
        map_index: i32,
        start_date: Option<At>,
        end_date: Option<At>,
        /// In seconds.
        duration: Option<f64>,
        state: Option<words::TaskInstanceState>,
        try_number: i16,
        max_tries: i16,
        /// The worker.
        hostname: Option<String>,
        unixname: Option<String>,
        pool: String,
        pool_slots: u32,
        queue: Option<String>,
        priority_weight: Option<i32>,
        operator: Option<String>,
        operator_name: Option<String>,
        queued_when: Option<At>,
        scheduled_when: Option<At>,
        pid: Option<i64>,
        executor: Option<String>,
        executor_config: String,
        dag_version: Option<DagVersionResponse>,
    }
}

answer! {
    /// A part of a list of task instances.
    pub struct TaskInstanceCollectionResponse {
        task_instances: Vec<TaskInstanceResponse>,
        /// How many there are, as far as they were counted.
        total_entries: i64,
        /// Where the count was ended, when it was.
        total_entries_limit: Option<i64>,
        next_cursor: Option<String>,
        previous_cursor: Option<String>,
    }
}

/// When a try was queued, began and ended.
#[derive(Debug, Clone, Copy, Default)]
pub struct Times {
    /// When it was given a slot.
    pub queued: Option<Timestamp>,
    /// When it began.
    pub started: Option<Timestamp>,
    /// When it ended.
    pub ended: Option<Timestamp>,
}

impl Times {
    /// Those of the current try.
    #[must_use]
    pub fn of(of: &TaskOfRun) -> Self {
        let row = of.stored.as_ref().map(|stored| &stored.row);
        row.map_or_else(Self::default, |row| Self {
            queued: row.queued_at,
            started: row.started_at,
            ended: row.ended_at,
        })
    }
}

/// There is none: tasks run where their pool and queue send them.
const EXECUTOR_CONFIG: &str = "{}";

impl TaskInstanceResponse {
    /// The answer for an instance.
    #[must_use]
    pub fn of(of: &TaskOfRun) -> Self {
        let task = of.task();
        let row = of.stored.as_ref().map(|stored| &stored.row);
        let times = Times::of(of);
        Self {
            id: of.key.uuid().to_string(),
            task_id: task.task_id.to_string(),
            task_display_name: task.display_name().to_owned(),
            dag_id: of.run.dag_id.to_string(),
            dag_display_name: of.version.dag.display_name().to_owned(),
            dag_run_id: of.run.run_id.to_string(),
            map_index: of.key.map.get(),
            logical_date: of.run.logical_date.map(At),
            run_after: At(of.run.run_after),
            start_date: times.started.map(At),
            end_date: times.ended.map(At),
            duration: duration(times.started, times.ended),
            state: words::task_state(of.state()),
            try_number: of.try_number(),
            max_tries: of.tries_max() - 1,
            hostname: of.stored.as_ref().and_then(|stored| stored.worker.clone()),
            unixname: None,
            pool: task.pool.clone(),
            pool_slots: task.pool_slots,
            queue: Some(task.queue.clone()),
            priority_weight: Some(task.effective_weight),
            operator: Some(task.operator.name().to_owned()),
            operator_name: Some(task.operator.name().to_owned()),
            queued_when: times.queued.map(At),
            scheduled_when: None,
            pid: None,
            executor: None,
            executor_config: EXECUTOR_CONFIG.to_owned(),
            note: row.and_then(|row| row.extra.note.clone()),
            rendered_map_index: of.rendered_map_index(),
            rendered_fields: Map::new(),
            trigger: None,
            triggerer_job: None,
            dag_version: Some(dag_version(&of.version)),
        }
    }

    /// The same with the fields as the task's operator got them.
    #[must_use]
    pub fn with_fields(self, rendered_fields: Map<String, Value>) -> Self {
        Self { rendered_fields, ..self }
    }
}

impl TaskInstanceHistoryResponse {
    /// The answer for a superseded try.
    #[must_use]
    pub fn superseded(of: &TaskOfRun, past: &Try) -> Self {
        let times = Times { queued: past.queued_at, started: past.started_at, ended: past.ended_at };
        Self::of(of, past.try_number.get(), past.state, times, past.worker.clone())
    }

    /// The answer for the current try.
    #[must_use]
    pub fn current(of: &TaskOfRun) -> Self {
        let worker = of.stored.as_ref().and_then(|stored| stored.worker.clone());
        Self::of(of, of.try_number(), of.state(), Times::of(of), worker)
    }

    fn of(of: &TaskOfRun, try_number: i16, state: TaskState, times: Times, worker: Option<String>) -> Self {
        let one = TaskInstanceResponse::of(of);
        Self {
            task_id: one.task_id,
            task_display_name: one.task_display_name,
            dag_id: one.dag_id,
            dag_display_name: one.dag_display_name,
            dag_run_id: one.dag_run_id,
            map_index: one.map_index,
            start_date: times.started.map(At),
            end_date: times.ended.map(At),
            duration: duration(times.started, times.ended),
            state: words::task_state(state),
            try_number,
            max_tries: one.max_tries,
            hostname: worker,
            unixname: one.unixname,
            pool: one.pool,
            pool_slots: one.pool_slots,
            queue: one.queue,
            priority_weight: one.priority_weight,
            operator: one.operator,
            operator_name: one.operator_name,
            queued_when: times.queued.map(At),
            scheduled_when: one.scheduled_when,
            pid: one.pid,
            executor: one.executor,
            executor_config: one.executor_config,
            dag_version: one.dag_version,
        }
    }
}

impl TaskInstanceCollectionResponse {
    /// The answer for a part of a list; `found` are its instances.
    #[must_use]
    pub fn of(page: &CursorPage, part: &Part<Listed>, found: impl Iterator<Item = TaskOfRun>) -> Self {
        let (next_cursor, previous_cursor) = page.beside(part);
        let whole = Self::whole(found.map(|of| TaskInstanceResponse::of(&of)).collect(), part.total.number());
        Self { total_entries_limit: part.total.limit(), next_cursor, previous_cursor, ..whole }
    }

    /// The answer that has all there is.
    #[must_use]
    pub fn whole(task_instances: Vec<TaskInstanceResponse>, total_entries: i64) -> Self {
        Self { task_instances, total_entries, total_entries_limit: None, next_cursor: None, previous_cursor: None }
    }
}
