//! All state SQL: what a leader loads and writes, the inbox, DAG versions, services, secrets, users, the audit log.
//!
//! What always holds here: states are written only by a turn ([`turn::apply`]) and only under its epoch's fence; every
//! other write of a leader is fenced by the same row; no SQL decides a state. Functions take the connection they are
//! given. A notification is a hint and never stands in a writing transaction.

pub mod asset_state;
pub mod assets;
pub mod audit;
pub mod bundles;
pub mod certificates;
pub mod changes;
pub mod cluster;
pub mod connect;
pub mod diagnosis;
pub mod error;
pub mod facts;
pub mod favorites;
pub mod forecast;
pub mod hints;
pub mod inbox;
pub mod leader;
pub mod lease;
pub mod limit;
pub mod load;
pub mod maintenance;
pub mod notifications;
pub mod pools;
pub mod quarantine;
pub mod read;
pub mod replace;
pub mod retention;
mod rows;
pub mod secrets;
pub mod services;
pub mod task_state;
mod texts;
pub mod turn;
pub mod users;
pub mod versions;
pub mod workers;
pub mod xcoms;

pub use changes::{Changes, Runs};
pub use connect::{STATEMENT_TIMEOUT, WebPools, Writer, migrate, open, open_for_web};
pub use error::StoreError;
pub use hints::{Hint, Hints};
pub use leader::{Candidate, Leadership, lead, resume, set_clock_back};
pub use lease::{Confirmed, Lease, LeaseView, Sight};
pub use limit::within;
pub use load::{Loaded, Unreadable, hold_unreadable, load, reserve_run_keys};
pub use secrets::SecretKey;
pub use services::{ServiceRow, Wanted, forget_services, load_services, save_services};
pub use turn::{Applied, apply};
pub use versions::{BundledDag, FileBatch, StoredFiles, blob, blob_heads, store_files, store_version, stored_files};
pub use workers::{WorkerRecord, register_worker, worker_lost};
