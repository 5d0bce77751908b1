//! DAG files of a folder, without a store.

use std::{path::Path, process::ExitCode};

use anyhow::Context;
use daemon::folder::Folder;

use crate::settings::Settings;

/// Checks every file of a folder; the status says whether all are well.
pub fn check(folder: &Path) -> ExitCode {
    let found = Folder::new(folder).look();
    let mut errors = 0;
    for (name, file) in &found.changed {
        for compiled in &file.dags {
            println!("{name}: {} is well: {} tasks", compiled.dag.dag_id, compiled.dag.tasks.len());
        }
        for error in &file.errors {
            errors += 1;
            println!("{error}");
        }
    }
    if found.changed.is_empty() {
        println!("{} has no DAG file (*.yaml, *.yml)", folder.display());
    }
    if errors == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Prints the canonical form of a DAG.
///
/// # Errors
/// When no file defines it.
pub fn show(settings: &Settings, dag_id: &str) -> anyhow::Result<ExitCode> {
    let found = Folder::new(&settings.dags_folder).look();
    let mut dags = found.changed.values().flat_map(|file| &file.dags);
    let compiled = dags.find(|compiled| compiled.dag.dag_id.as_str() == dag_id);
    let compiled = compiled.with_context(|| {
        format!(
            "no file of {} defines a DAG {dag_id}; `windlass dags check` lists them",
            settings.dags_folder.display()
        )
    })?;
    print!("{}", compiled.canonical_yaml);
    Ok(ExitCode::SUCCESS)
}
