//! The pure scheduler: events in, plans out.
//!
//! No I/O, no clock, no randomness of its own: the same input gives the same plan on every machine. Events come in with
//! [`Engine::turn`], what it lacks to decide is asked with [`Engine::needs`], and what it knows is explained by
//! `why_task`, `why_run` and `why_dag`. [`Engine::verify`] counts all of it anew.

pub mod ahead;
pub mod assets;
mod assignment;
pub mod backfill;
pub mod event;
mod explain;
mod lookup;
mod memory;
mod needs;
pub mod plan;
pub mod retry;
pub mod rules;
pub mod selection;
mod settings;
pub mod state;
pub mod timetable;
mod turn;
mod verify;

pub use assets::{AssetEventRow, AssetSource, Changes, ConsumedAssetRow, QueuedAssetRow};
pub use assignment::{Assignment, Poked, params_of};
pub use event::{Event, Fact, Input, Need, PreviousCounts, WorkerJoined};
pub use explain::TaskWhy;
pub use lookup::{DagCounts, Declares, PoolUse, RunCounts};
pub use memory::{Engine, PoolSlots};
pub use plan::{
    AskedRow, AuditedRow, DagChange, Effect, FailureRow, NotificationRow, NotifiedTask, Plan, ResponseRow, Rest,
    RunChange, Started, TiChange, TryRow,
};
pub use settings::Settings;
pub use state::{
    BackfillRow, BackfillRunRow, DagVersion, DeadlineRow, DueRun, InBackfill, RunRow, Snapshot, StoredDag, StoredRun,
    TiExtra, TiRow,
};
