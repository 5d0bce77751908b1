//! DAG files: YAML as the user writes it, checked and compiled to a [`Dag`].
//!
//! [`load`] is the way in. Nothing here reads a disk, a clock or a user's template: the caller lends the DAG folder as a
//! [`ReadFile`], and texts such as `bash_command` are stored as they are. The same text and files give the same DAGs and
//! the same content hash on every machine.

mod canonical;
mod compile;
pub mod compiled;
mod conf;
pub mod cron;
mod files;
mod keys;
mod params;
mod problem;
mod read;
mod schema;
mod yaml;

pub use compiled::{
    AssetRef, Catchup, CompiledDag, CronTimetable, Dag, DagFile, Param, Schedule, Task, TaskGroup, TaskPos,
};
pub use cron::{CronExpr, cron_check};
pub use files::{FILE_BYTES_MAX, FILES_BYTES_MAX, FileProblem, ReadFile};
pub use params::Params;
pub use problem::{DagFileError, ERRORS_PER_FILE_MAX};
pub use schema::json_schema;

/// What a DAG file holds: its good DAGs, and what is wrong with the others.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// The DAGs without a problem, in the order of the file.
    pub dags: Vec<CompiledDag>,
    /// The problems, in the order of the file; at most [`ERRORS_PER_FILE_MAX`].
    pub errors: Vec<DagFileError>,
}

/// Reads, checks and compiles a DAG file.
///
/// `file_name` is its name below the DAG folder. A bad DAG does not stop the other DAGs of its file; bad YAML does.
#[must_use]
pub fn load(file_name: &str, text: &str, files: &dyn ReadFile) -> Loaded {
    let mut problems = problem::Problems::of(file_name);
    let dags = match yaml::parse(text, &mut problems) {
        Some(root) => read::read_file(&DagFile::of(file_name, text.as_bytes()), &root, files, &mut problems),
        None => Vec::new(),
    };
    Loaded { dags, errors: problems.into_errors(text) }
}
