//! `windlass dags check`: what is wrong with DAG files, what is no mistake and may not be meant, and when the next runs come.
//!
//! Mistakes are those of the reader. The warnings here are made after it, of what it does not see: the calendar, templates, other DAGs, and
//! what an installation has. No warning changes the status.

mod deadlocks;
mod resources;
mod schedules;
mod templates;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;
use daemon::folder::{FileNews, Folder};
use dag::{CompiledDag, DagFileError, FilePlaces, places::FilePlace};
use model::{BundleFile, Timestamp};
use serde_json::{Value, json};

use super::files::Place;
use crate::{
    exit::Exit,
    installation::now,
    output::{Format, Listing, Output},
    settings::Settings,
};
use resources::Resources;

/// Warnings of one DAG at most, as many as the reader keeps.
const WARNINGS_PER_DAG_MAX: usize = dag::ERRORS_PER_DAG_MAX;
/// Runs that are told of in advance.
const TICKS: usize = 5;

/// Options of `dags check`.
#[derive(Debug, Args)]
pub struct Check {
    /// A file or a folder; WINDLASS_DAGS_FOLDER when absent.
    path: Option<PathBuf>,
    /// Do not look whether the installation has the pools and connections that tasks name.
    #[arg(long)]
    offline: bool,
    #[command(flatten)]
    output: Output,
}

/// A file with what was found of it.
struct Checked {
    name: String,
    dags: Vec<(CompiledDag, Vec<Timestamp>)>,
    errors: Vec<DagFileError>,
    warnings: Vec<DagFileError>,
}

/// Checks one file or every file of a folder; the status says whether all are well. A warning is no mistake.
///
/// # Errors
/// When there is no such file, or a server that is named does not answer.
pub async fn run(settings: &Settings, wish: &Check) -> anyhow::Result<ExitCode> {
    let path = wish.path.as_deref().unwrap_or(&settings.dags_folder);
    let (files, scope) = found(settings, path)?;
    let resources = if wish.offline { None } else { Resources::of(settings).await? };
    let now = now()?.get();
    let all: Vec<&CompiledDag> = files.values().flat_map(|file| &file.dags).collect();
    let mut between = deadlocks::between(&all, scope);
    let mut checked = Vec::new();
    for (name, file) in &files {
        let mut one = Checked {
            name: name.to_string(),
            dags: Vec::new(),
            errors: file.errors.clone(),
            warnings: file.warnings.clone(),
        };
        for compiled in &file.dags {
            let ticks = schedules::next(&compiled.dag, now, TICKS);
            let mut remarks = Remarks::of(name, compiled);
            schedules::remark(&compiled.dag, &ticks, now, &mut remarks);
            templates::remark(compiled, &mut remarks);
            for (task, why) in between.remove(&compiled.dag.dag_id).unwrap_or_default() {
                remarks.of_task(&task, "", "", why);
            }
            if let Some(resources) = &resources {
                resources.remark(&compiled.dag, &all, &mut remarks);
            }
            one.warnings.extend(remarks.found);
            one.dags.push((compiled.clone(), ticks));
        }
        one.warnings.sort_by_key(|warning| (warning.line, warning.column));
        checked.push(one);
    }
    print(&checked, wish.output);
    if checked.is_empty() && wish.output.format == Format::Table {
        outln!("{} has no DAG file (*.yaml, *.yml)", path.display());
    }
    Ok(if checked.iter().all(|file| file.errors.is_empty()) { ExitCode::SUCCESS } else { Exit::Error.into() })
}

/// Which DAGs are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// Those of one file: there may be others.
    File,
    /// Those of a folder.
    Folder,
}

fn found(settings: &Settings, path: &Path) -> anyhow::Result<(BTreeMap<BundleFile, FileNews>, Scope)> {
    if path.is_dir() {
        return Ok((Folder::new(path).look().changed, Scope::Folder));
    }
    let place = Place::of(settings, path)?;
    Ok((BTreeMap::from([(BundleFile::in_folder(&place.name), place.read())]), Scope::File))
}

/// The warnings of one DAG, each with its place in the file.
pub(super) struct Remarks<'c> {
    file: String,
    compiled: &'c CompiledDag,
    places: FilePlaces,
    found: Vec<DagFileError>,
}

impl<'c> Remarks<'c> {
    fn of(file: &BundleFile, compiled: &'c CompiledDag) -> Self {
        let places = FilePlaces::of(&String::from_utf8_lossy(&compiled.source.bytes));
        Self { file: file.to_string(), compiled, places, found: Vec::new() }
    }

    /// Notes something about a key of the DAG.
    pub(super) fn of_dag(&mut self, key: &str, message: impl Into<String>) {
        let place = self.places.of_dag(self.compiled.dag.dag_id.as_str(), key);
        self.add(place, message.into());
    }

    /// Notes something about a key of a task, or about a text there that holds `part`.
    pub(super) fn of_task(&mut self, task_id: &str, key: &str, part: &str, message: impl Into<String>) {
        let place = self.places.of_task(self.compiled.dag.dag_id.as_str(), task_id, key, part);
        self.add(place, message.into());
    }

    fn add(&mut self, place: FilePlace, message: String) {
        if self.found.len() >= WARNINGS_PER_DAG_MAX {
            return;
        }
        let text = String::from_utf8_lossy(&self.compiled.source.bytes);
        let excerpt = place.line.checked_sub(1).and_then(|line| text.lines().nth(line)).map(str::to_owned);
        let warning = DagFileError {
            dag_id: Some(self.compiled.dag.dag_id.to_string()),
            line: place.line,
            column: place.column,
            field: place.field,
            excerpt,
            ..DagFileError::of_file(&self.file, message)
        };
        if !self.found.contains(&warning) {
            self.found.push(warning);
        }
    }
}

fn print(checked: &[Checked], output: Output) {
    match output.format {
        Format::Table => checked.iter().for_each(print_file),
        Format::Json => {
            let all = Value::Array(checked.iter().map(object).collect());
            outln!("{}", serde_json::to_string_pretty(&all).expect("JSON values can be written as JSON"));
        }
        Format::Yaml => out!("{}", dag::yaml_of(&Value::Array(checked.iter().map(object).collect()))),
        Format::Plain => {
            let mut listing = Listing::new(&["severity", "file", "line", "column", "dag_id", "field", "message"]);
            for file in checked {
                let errors = file.errors.iter().map(|error| ("error", error));
                for (severity, found) in errors.chain(file.warnings.iter().map(|warning| ("warning", warning))) {
                    listing.push([
                        json!(severity),
                        json!(found.file),
                        json!(found.line),
                        json!(found.column),
                        json!(found.dag_id),
                        json!(found.field),
                        json!(message(found)),
                    ]);
                }
            }
            out!("{}", listing.render(Format::Plain));
        }
    }
}

fn print_file(file: &Checked) {
    for (compiled, ticks) in &file.dags {
        outln!("{}: {} is well: {} tasks", file.name, compiled.dag.dag_id, compiled.dag.tasks.len());
        if !ticks.is_empty() {
            let ticks: Vec<String> =
                ticks.iter().map(|tick| tick.format("%Y-%m-%d %H:%M:%S UTC").to_string()).collect();
            outln!("  the next runs of its schedule: {}", ticks.join(", "));
        }
    }
    for warning in &file.warnings {
        outln!("warning: {warning}");
    }
    for error in &file.errors {
        outln!("{error}");
    }
}

fn message(found: &DagFileError) -> String {
    match &found.suggestion {
        Some(suggestion) => format!("{}; {suggestion}", found.message),
        None => found.message.clone(),
    }
}

fn object(file: &Checked) -> Value {
    let dag = |(compiled, ticks): &(CompiledDag, Vec<Timestamp>)| json!({ "dag_id": compiled.dag.dag_id, "tasks": compiled.dag.tasks.len(), "next_runs": ticks });
    let problem = |found: &DagFileError| {
        json!({
            "dag_id": found.dag_id,
            "line": found.line,
            "column": found.column,
            "field": found.field,
            "message": found.message,
            "suggestion": found.suggestion,
            "excerpt": found.excerpt,
        })
    };
    json!({
        "file": file.name,
        "dags": file.dags.iter().map(dag).collect::<Vec<_>>(),
        "errors": file.errors.iter().map(problem).collect::<Vec<_>>(),
        "warnings": file.warnings.iter().map(problem).collect::<Vec<_>>(),
    })
}
