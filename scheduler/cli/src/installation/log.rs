//! The log of a try: of this machine's workers and stores, or by a server.

use std::time::Duration;

use anyhow::Context;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Installation, runs::run_at};
use crate::{
    commands::{attempt_log::AttemptLog, instances::TaskName},
    console,
    exit::Failure,
    output::visible,
    server::Server,
};

/// A server is asked for more of a log that grows so often.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Whether a log is read on while it grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Follow {
    /// What is there now.
    No,
    /// Until nothing more will come.
    ToTheEnd,
}

/// A log that can be read.
pub enum TaskLog<'i> {
    /// Through the leader, or where it lies.
    Here(Box<AttemptLog>),
    /// Through a server.
    Server {
        /// Which.
        server: &'i Server,
        /// The way to the task instance, without its index.
        path: Vec<String>,
        /// Which instance of an expanded task.
        map_index: Option<String>,
        /// Which try.
        try_number: String,
    },
}

/// A piece of a log as the API writes it.
#[derive(Deserialize)]
struct Piece {
    content: Vec<Line>,
    continuation_token: Option<String>,
}

#[derive(Deserialize)]
struct Line {
    timestamp: Option<String>,
    level: Option<String>,
    #[serde(default)]
    event: String,
}

impl Installation<'_> {
    /// The log of a try of a task, of the last one when no number is given.
    ///
    /// # Errors
    /// When the task, the run or the try does not exist.
    pub async fn log(&self, name: &TaskName, try_number: Option<i16>) -> anyhow::Result<TaskLog<'_>> {
        let server = match self {
            Self::Here(here) => {
                let pool = here.access.pool().await?;
                let log =
                    AttemptLog::find(here.settings, pool, &name.run, (&name.task_id, name.map()), try_number).await?;
                return Ok(TaskLog::Here(Box::new(log)));
            }
            Self::Server(server) => server,
        };
        let instance = self.instance_at(server, name).await?;
        let number = match try_number {
            Some(number) => number,
            None if instance.try_number == 0 => return Err(not_begun(&name.task_id)),
            None => instance.try_number,
        };
        let run = run_at(server, &name.run).await?;
        let path = ["dags", run.dag_id.as_str(), "dagRuns", run.run_id.as_str(), "taskInstances", &name.task_id];
        Ok(TaskLog::Server {
            server,
            path: path.into_iter().map(str::to_owned).collect(),
            map_index: name.map().map(|map| map.to_string()),
            try_number: number.to_string(),
        })
    }
}

/// A task that has no log yet.
#[must_use]
pub fn not_begun(task: &str) -> anyhow::Error {
    Failure::missing(format!(
        "{task} has not begun in this run, so it has no log; `windlass tasks why` says what it waits for"
    ))
}

impl TaskLog<'_> {
    /// Prints it, a line a record.
    ///
    /// # Errors
    /// When it can not be read.
    pub async fn print(&self, follow: Follow) -> anyhow::Result<()> {
        let (server, path, map_index, try_number) = match self {
            Self::Here(log) => return log.print(follow).await,
            Self::Server { server, path, map_index, try_number } => (server, path, map_index, try_number),
        };
        let path: Vec<&str> = path.iter().map(String::as_str).chain(["logs", try_number]).collect();
        let mut token: Option<String> = None;
        loop {
            let map = map_index.iter().map(|map| ("map_index", map.as_str()));
            let query: Vec<(&str, &str)> = token.iter().map(|token| ("token", token.as_str())).chain(map).collect();
            let piece: Piece = server.get(&path, &query).await?;
            let lines: Vec<String> = piece.content.iter().filter_map(Line::text).collect();
            for line in &lines {
                outln!("{line}");
            }
            let Some(next) = piece.continuation_token.filter(|_| console::is_open()) else { return Ok(()) };
            let has_all = lines.is_empty() || token.as_ref() == Some(&next);
            token = Some(next);
            match follow {
                Follow::No if has_all => return Ok(()),
                Follow::ToTheEnd if has_all => tokio::time::sleep(LOOK_EVERY).await,
                Follow::No | Follow::ToTheEnd => {}
            }
        }
    }

    /// The fields as they were rendered.
    ///
    /// # Errors
    /// When it can not be read, or the try has not got so far.
    pub async fn rendered(&self) -> anyhow::Result<Map<String, Value>> {
        #[derive(Deserialize)]
        struct Answer {
            rendered_fields: Map<String, Value>,
        }
        match self {
            Self::Here(log) => log.rendered().await,
            Self::Server { server, path, map_index, .. } => {
                let path: Vec<&str> = path.iter().chain(map_index).map(String::as_str).collect();
                let answer: Answer = server.get(&path, &[]).await?;
                let fields = Some(answer.rendered_fields).filter(|fields| !fields.is_empty());
                fields.context("its fields have not been rendered yet")
            }
        }
    }
}

impl Line {
    /// The line for people; none for the server's own remark on where the log comes from.
    fn text(&self) -> Option<String> {
        let time = self.timestamp.as_deref().unwrap_or_default();
        let is_of_task = !time.is_empty() || self.level.is_some();
        is_of_task.then(|| format!("{} {}", visible(time), visible(&self.event)).trim_start().to_owned())
    }
}
