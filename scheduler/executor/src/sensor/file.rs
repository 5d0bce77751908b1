//! The operator `file_sensor`: a file, or a folder that holds one, on the worker's machine.

use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use futures::{FutureExt as _, future::BoxFuture};
use model::operator::FileSensor;
use serde_json::{Value, json};

use super::{
    Found, Sight,
    glob::{self, Depth},
    unless_stopped, watch,
};
use crate::{Attempt, Executor, Outcome, Stop};

/// Waits for a file.
pub(crate) struct FileSensorExecutor {
    keys: FileSensor,
}

/// A pattern to look for.
struct Pattern {
    text: String,
    depth: Depth,
}

impl FileSensorExecutor {
    /// An executor for one task.
    pub(crate) fn new(keys: FileSensor) -> Self {
        Self { keys }
    }

    async fn outcome(&self, attempt: &Attempt, stop: &Stop) -> Result<Outcome, Outcome> {
        let depth = if self.keys.recursive { Depth::AnyFolders } else { Depth::OneFolder };
        let mut pattern = Pattern { text: self.pattern(attempt).await?, depth };
        Ok(watch(&mut pattern, &self.keys.poking, attempt, stop).await)
    }

    async fn pattern(&self, attempt: &Attempt) -> Result<String, Outcome> {
        let filepath = self.keys.filepath.clone();
        let filepath = attempt.render(move |renderer| renderer.text("filepath", &filepath)).await?;
        let base = match &self.keys.fs_conn_id {
            Some(conn_id) => base(attempt, conn_id).await?,
            None => PathBuf::new(),
        };
        let whole = base.join(&filepath);
        attempt.log_rendered(json!({"filepath": filepath}));
        match whole.to_str() {
            Some(text) if Path::new(text).is_absolute() => Ok(text.to_owned()),
            Some(_) | None => Err(Outcome::failed(format!(
                "filepath {filepath:?} is relative: make it absolute, or name by fs_conn_id what it is below"
            ))),
        }
    }
}

impl Executor for FileSensorExecutor {
    fn run<'a>(&'a self, attempt: &'a Attempt, stop: &'a Stop) -> BoxFuture<'a, Outcome> {
        self.outcome(attempt, stop).map(|outcome| outcome.unwrap_or_else(|outcome| outcome)).boxed()
    }
}

/// The folder that a connection names in its extra setting `path`.
async fn base(attempt: &Attempt, conn_id: &str) -> Result<PathBuf, Outcome> {
    let connection = attempt.connection(conn_id).await.map_err(|no| Outcome::failed(no.to_string()))?;
    let extra = connection.extra_settings().unwrap_or_default();
    match extra.get("path").and_then(Value::as_str) {
        Some(path) => Ok(PathBuf::from(path)),
        None => Err(Outcome::failed(format!("connection {conn_id:?} has no path in its extra settings"))),
    }
}

impl Sight for Pattern {
    fn look<'a>(&'a mut self, _: &'a Attempt, stop: &'a Stop) -> BoxFuture<'a, Result<Found, Outcome>> {
        let (pattern, depth) = (self.text.clone(), self.depth);
        let search = tokio::task::spawn_blocking(move || look(&pattern, depth));
        let search = async { search.await.unwrap_or_else(|panic| Err(Outcome::failed(panic.to_string()))) };
        unless_stopped(stop, search).boxed()
    }
}

fn look(pattern: &str, depth: Depth) -> Result<Found, Outcome> {
    match glob::find(pattern, depth) {
        Ok(Some(path)) => Ok(Found::There(format!("{} is there{}", path.display(), modified(&path)))),
        Ok(None) => Ok(Found::NotYet(missing(pattern))),
        Err(too_much) => Err(Outcome::failed_for_good(format!("filepath {pattern}: {too_much}"))),
    }
}

fn modified(path: &Path) -> String {
    let modified = path.metadata().and_then(|entry| entry.modified()).map(DateTime::<Utc>::from);
    modified.map(|at| format!(", last modified {}", at.format("%Y-%m-%d %H:%M:%S UTC"))).unwrap_or_default()
}

/// What is missing: of a plain name also the folder that is not there.
fn missing(pattern: &str) -> String {
    let parent = Path::new(pattern).parent().filter(|_| !pattern.contains(['*', '?', '[']));
    match parent {
        Some(folder) if !folder.exists() => format!("{pattern} is not there, nor is the folder {}", folder.display()),
        Some(_) if Path::new(pattern).is_dir() => format!("{pattern} is a folder without a file"),
        Some(_) => format!("{pattern} is not there"),
        None => format!("nothing fits {pattern}"),
    }
}
