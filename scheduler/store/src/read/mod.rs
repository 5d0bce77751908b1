//! What pages and the REST API read: views over committed rows, nothing is locked and nothing is changed.
//!
//! A function takes the pool or the connection that it is given and makes a fixed number of statements, however many
//! rows it is about.

mod cluster;
mod dags;
mod instances;
mod list;
mod runs;
mod xcoms;

pub use cluster::{ConnectionView, LeaderView, ServiceView, connections, leader, pools, services, variables};
pub use dags::{
    DagView, ImportError, Version, VersionBrief, canonical_yaml, dag, dags, import_errors, version, version_list,
    versions,
};
pub use instances::{Instance, Try, instances, task_counts, tries, tries_of_run};
pub use list::{Direction, Pattern, Range, RunFilter, RunOrder, runs};
pub use runs::{RunBrief, latest_runs, neighbours, recent_runs, run, run_states, runs_of};
pub use xcoms::{XcomView, xcoms};

/// What was being done, for errors of the driver.
const DOING: &str = "reading for a page";
