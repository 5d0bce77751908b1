//! Task instances as columns: a turn's rows travel as one array a column.

use engine::{TiChange, TiRow};
use model::Timestamp;
use uuid::Uuid;

/// The columns of `task_instance`.
#[derive(Debug, Default)]
pub(super) struct InstanceColumns {
    pub run_id: Vec<i64>,
    pub task_idx: Vec<i32>,
    pub map_index: Vec<i32>,
    pub try_number: Vec<i16>,
    pub state: Vec<i16>,
    pub attempt: Vec<Option<Uuid>>,
    pub live: Vec<bool>,
    pub worker_id: Vec<Option<i32>>,
    pub queued_at: Vec<Option<Timestamp>>,
    pub started_at: Vec<Option<Timestamp>>,
    pub ended_at: Vec<Option<Timestamp>>,
}

impl InstanceColumns {
    pub(super) fn of<'a>(rows: impl IntoIterator<Item = &'a TiRow>) -> Self {
        let mut columns = Self::default();
        for row in rows {
            columns.push(row);
        }
        columns
    }

    fn push(&mut self, row: &TiRow) {
        self.run_id.push(row.key.run.get());
        self.task_idx.push(row.key.task.get());
        self.map_index.push(row.key.map.get());
        self.try_number.push(row.try_number.get());
        self.state.push(row.state.code());
        self.attempt.push(row.attempt.map(|attempt| attempt.0));
        self.live.push(row.live);
        self.worker_id.push(row.worker.map(|worker| worker.get()));
        self.queued_at.push(row.queued_at);
        self.started_at.push(row.started_at);
        self.ended_at.push(row.ended_at);
    }
}

/// The columns of instances that change: what is expected to be stored, and what will be.
#[derive(Debug)]
pub(super) struct ChangedColumns {
    pub expected: Vec<i16>,
    pub next: InstanceColumns,
}

impl ChangedColumns {
    pub(super) fn of(changes: &[TiChange]) -> Self {
        Self {
            expected: changes.iter().map(|change| change.expected.code()).collect(),
            next: InstanceColumns::of(changes.iter().map(|change| &change.row)),
        }
    }
}
