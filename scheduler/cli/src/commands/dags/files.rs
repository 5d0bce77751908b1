//! DAG files of a folder, without a store.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context;
use daemon::folder::{FileNews, Folder};

use crate::{exit::Exit, settings::Settings};

/// Where a DAG file is: the folder that the SQL and scripts it names are looked for in, and its name below that.
#[derive(Debug, PartialEq, Eq)]
pub struct Place {
    /// The DAG folder when the file lies in it, else the file's own folder.
    pub root: PathBuf,
    /// The file's name below it.
    pub name: String,
}

impl Place {
    /// Finds a file.
    ///
    /// # Errors
    /// When there is none, or its name is not text.
    pub fn of(settings: &Settings, file: &Path) -> anyhow::Result<Self> {
        let path = file.canonicalize().with_context(|| format!("{} can not be read", file.display()))?;
        let parent = path.parent().context("a file has a folder")?;
        let dags = settings.dags_folder.canonicalize().ok().filter(|dags| path.starts_with(dags));
        let root = dags.unwrap_or_else(|| parent.to_owned());
        let name = path.strip_prefix(&root).ok().and_then(Path::to_str);
        let name = name.with_context(|| format!("{} is no name of a DAG file", file.display()))?.to_owned();
        Ok(Self { root, name })
    }

    /// Reads the file.
    #[must_use]
    pub fn read(&self) -> FileNews {
        Folder::new(&self.root).file(&self.name)
    }
}

/// Prints the canonical form of a DAG of the folder, or of each DAG of a file.
///
/// # Errors
/// When no file defines it, or the file has mistakes.
pub fn show(settings: &Settings, dag_id: &str) -> anyhow::Result<ExitCode> {
    let path = Path::new(dag_id);
    if path.is_file() {
        return Ok(show_file(&Place::of(settings, path)?.read()));
    }
    let found = Folder::new(&settings.dags_folder).look();
    let mut dags = found.changed.values().flat_map(|file| &file.dags);
    let compiled = dags.find(|compiled| compiled.dag.dag_id.as_str() == dag_id);
    let compiled = compiled.with_context(|| {
        format!(
            "no file of {} defines a DAG {dag_id}; `windlass dags check` lists them",
            settings.dags_folder.display()
        )
    })?;
    out!("{}", compiled.canonical_yaml);
    Ok(ExitCode::SUCCESS)
}

fn show_file(file: &FileNews) -> ExitCode {
    for error in &file.errors {
        errln!("{error}");
    }
    for compiled in &file.dags {
        out!("{}", compiled.canonical_yaml);
    }
    if file.errors.is_empty() { ExitCode::SUCCESS } else { Exit::Error.into() }
}
