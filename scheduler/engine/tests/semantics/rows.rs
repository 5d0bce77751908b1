//! Stored rows for cases that begin in the middle of things.

use engine::{RunRow, TiExtra, TiRow};
use model::{
    AttemptId, DagId, DagRunState, DagVersionId, RunId, RunKey, RunType, TaskState, TiKey, Timestamp, TriggeredBy,
    TryNumber, WorkerId,
};
use uuid::Uuid;

/// The worker that runs what is running already; it is given nothing new.
const BUSY_WORKER: WorkerId = WorkerId(1);

/// A run of a date. One that is queued stays so: it may start in a far future only.
pub fn run(key: RunKey, dag: &str, run: &str, version: DagVersionId, state: DagRunState, date: Timestamp) -> RunRow {
    let far: Timestamp = "2100-01-01T00:00:00Z".parse().unwrap();
    RunRow {
        key,
        dag_id: DagId::new(dag).unwrap(),
        run_id: RunId::new(run).unwrap(),
        run_type: RunType::Scheduled,
        triggered_by: TriggeredBy::Timetable,
        triggering_user: None,
        version,
        state,
        logical_date: Some(date),
        data_interval: Some((date, date)),
        run_after: if state == DagRunState::Queued { far } else { date },
        queued_at: date,
        started_at: (state != DagRunState::Queued).then_some(date),
        ended_at: state.is_finished().then_some(date),
        conf: serde_json::Map::new(),
        note: None,
        clear_number: 0,
        backfill: None,
    }
}

/// An instance in its first try; what is queued or running has a live attempt.
pub fn instance(key: TiKey, state: TaskState) -> TiRow {
    let live = matches!(state, TaskState::Queued | TaskState::Running);
    TiRow {
        key,
        try_number: TryNumber::FIRST,
        state,
        attempt: live.then(|| AttemptId(Uuid::from_u128(key.uuid().as_u128() ^ 1))),
        live,
        worker: live.then_some(BUSY_WORKER),
        queued_at: None,
        started_at: None,
        ended_at: None,
        extra: TiExtra::default(),
    }
}
