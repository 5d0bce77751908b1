//! What pages and the REST API read: views over committed rows, nothing is locked and nothing is changed.
//!
//! A function takes the pool or the connection that it is given and makes a fixed number of statements, however many
//! rows it is about.

mod cluster;
mod dags;
mod elsewhere;
mod instances;
mod list;
mod runs;
mod xcom_entries;
mod xcoms;

pub use cluster::{LeaderView, ServiceView, leader, pools, services};
pub use dags::{
    DagView, ImportError, Version, VersionBrief, dag, dags, import_errors, source, version, version_ids, version_list,
    versions,
};
pub use elsewhere::{run_on, task_states};
pub use instances::{Instance, Try, instances, task_counts, tries, tries_of_run};
pub use list::{Direction, Pattern, Range, RunFilter, RunOrder, SecondsRange, runs};
pub use runs::{RunBrief, latest_runs, neighbours, recent_runs, run, run_counts, run_states, runs_of};
pub use xcom_entries::{XComEntry, xcom_entries};
pub use xcoms::{XcomView, xcoms};

/// What was being done, for errors of the driver.
const DOING: &str = "reading for a page";
