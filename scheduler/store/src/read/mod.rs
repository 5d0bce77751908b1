//! What pages and the REST API read: views over committed rows, nothing is locked and nothing is changed.
//!
//! A function takes the pool or the connection that it is given and makes a fixed number of statements, however many
//! rows it is about.

mod cluster;
mod dags;
mod instances;
mod list;
mod runs;

pub use cluster::{LeaderView, ServiceView, leader, pools, services};
pub use dags::{DagView, ImportError, Version, canonical_yaml, dag, dags, import_errors, version, versions};
pub use instances::{Instance, Try, instances, task_counts, tries};
pub use list::{Direction, Pattern, Range, RunFilter, RunOrder, runs};
pub use runs::{RunBrief, latest_runs, recent_runs, run, run_states, runs_of};

/// What was being done, for errors of the driver.
const DOING: &str = "reading for a page";
