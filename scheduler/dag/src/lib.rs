//! DAG files: YAML as the user writes it, checked and compiled to a [`Dag`].
//!
//! [`load`] is the way in. Nothing here reads a disk, a clock or a user's template: the caller lends the DAG folder as a
//! [`ReadFile`], and texts such as `bash_command` are stored as they are. The same text and files give the same DAGs and
//! the same content hash on every machine.

pub mod assets;
mod canonical;
mod compile;
pub mod compiled;
mod conf;
pub mod content;
pub mod cron;
pub mod expand;
mod files;
mod keys;
pub mod outcomes;
mod params;
pub mod places;
mod plain;
mod problem;
mod python_imports;
mod read;
mod schema;
pub mod scopes;
mod yaml;

pub use assets::{AliasRef, AssetCondition, AssetRef, Outlet};
pub use canonical::yaml_of;
pub use compiled::{
    Catchup, CompiledDag, CronTimetable, Dag, DagFile, Deadline, DeadlineReference, DeltaTimetable, Overlap, Param,
    RelativeDate, RunCallbacks, RunImmediately, Schedule, Task, TaskCallbacks, TaskGroup, TaskPos, TickOptions,
};
pub use conf::check_input;
pub use content::Content;
pub use cron::{CronExpr, cron_check};
pub use expand::{Element, Expand, ExpandBy, Given, Over};
pub use files::{FILE_BYTES_MAX, FILES_BYTES_MAX, FileProblem, ReadFile};
pub use outcomes::load_outcomes;
pub use params::{Params, asked_params};
pub use places::FilePlaces;
pub use plain::yaml_as_json;
pub use problem::{DagFileError, ERRORS_PER_DAG_MAX, ERRORS_PER_FILE_MAX, Refused};
pub use read::parse_duration;
pub use schema::json_schema;
pub use scopes::{Phase, Scopes};

/// What a DAG file holds: its good DAGs, and what is wrong with the others.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Loaded {
    /// The DAGs without a problem, in the order of the file.
    pub dags: Vec<CompiledDag>,
    /// The problems, in the order of the file; at most [`ERRORS_PER_DAG_MAX`] of one DAG, and [`ERRORS_PER_FILE_MAX`] in
    /// all. Each says whose it is.
    pub errors: Vec<DagFileError>,
    /// What is no mistake and may not be meant, as many at most.
    pub warnings: Vec<DagFileError>,
    /// The DAGs that have problems: their last version stays.
    pub refused: Refused,
}

/// Reads, checks and compiles a DAG file.
///
/// `file_name` is its name below the DAG folder. A bad DAG does not stop the other DAGs of its file; bad YAML does.
#[must_use]
pub fn load(file_name: &str, text: &str, files: &dyn ReadFile) -> Loaded {
    let mut problems = problem::Problems::of(file_name);
    let dags = match yaml::parse(text) {
        Ok(root) => read::read_file(&DagFile::of(file_name, text.as_bytes()), &root, files, &mut problems),
        Err(stop) => {
            problems.add_with(&stop.place, stop.message, stop.suggestion);
            Vec::new()
        }
    };
    let problem::Report { errors, warnings, refused } = problems.into_report(text);
    Loaded { dags, errors, warnings, refused }
}
