//! The log of a try: asked of the leader, who asks the worker that has it, or read where a worker of this home wrote it, or
//! from where it was shipped to.

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context, bail};
use link::{LogArchive, LogChunk, LogPlace, Query, Reply, query::LogName};
use model::{AttemptId, MapIndex, WorkerId};
use serde_json::{Map, Value};
use sqlx::PgPool;
use store::read;

use super::runs::RunName;
use crate::{
    ask::Leader,
    console,
    exit::Failure,
    find,
    installation::{Follow, not_begun},
    output::visible,
    settings::Settings,
};

/// One question brings so much.
const CHUNK_BYTES: u32 = 256 * 1024;
/// A log that grows is looked at so often: workers write each 200 ms.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// A log that can be read.
pub struct AttemptLog {
    place: LogPlace,
    /// The worker that has it, when that is known.
    worker: Option<WorkerId>,
    /// Whether its attempt had ended when it was looked for.
    is_over: bool,
    archive: Option<Arc<dyn LogArchive>>,
    leader: Leader,
    folder: PathBuf,
}

impl AttemptLog {
    /// The log of a try of a task, of the last one when no number is given.
    ///
    /// # Errors
    /// When the task, the run or the try does not exist.
    pub async fn find(
        settings: &Settings,
        pool: &PgPool,
        run: &RunName,
        (task_id, map): (&str, Option<MapIndex>),
        try_number: Option<i16>,
    ) -> anyhow::Result<Self> {
        let found = find::run(pool, &run.dag_id, &run.run_id).await?;
        let task = found.task(task_id)?;
        let instance = found.instance(pool, &task, map).await?;
        let row = instance.map(|instance| instance.row);
        let row = row.filter(|row| row.try_number.get() > 0).ok_or_else(|| not_begun(task.as_str()))?;
        let current = row.try_number.get();
        let (attempt, worker): (Option<AttemptId>, Option<WorkerId>) = match try_number {
            None => (row.attempt, row.worker),
            Some(number) if number == current => (row.attempt, row.worker),
            Some(number) => {
                let past = read::tries(pool, row.key).await?;
                let past = past.iter().find(|past| past.try_number.get() == number);
                (past.and_then(|past| past.attempt), past.and_then(|past| past.worker_id))
            }
        };
        let Some(attempt) = attempt else {
            let number = try_number.unwrap_or(current);
            return Err(Failure::missing(format!("{task} has no log of try {number}: its tries are 1 to {current}")));
        };
        let place = LogPlace {
            dag_id: found.run.dag_id.clone(),
            run_id: found.run.run_id.clone(),
            task_id: task.clone(),
            map_index: row.key.map,
            try_number: try_number.unwrap_or(current),
            attempt,
        };
        let is_over = row.attempt != Some(attempt) || row.state.is_finished();
        let (leader, folder) = (Leader::find(settings).await?, settings.home.join("logs"));
        Ok(Self { place, worker, is_over, archive: settings.log_archive(), leader, folder })
    }

    async fn read(&self, offset: u64) -> anyhow::Result<LogChunk> {
        let name = LogName::Attempt(self.place.attempt);
        let question = Query::ReadLog { log: name.clone(), worker: self.worker, offset, bytes_max: CHUNK_BYTES };
        let at_worker = self.leader.ask(question).await;
        // A worker that does not have the log answers that it is empty.
        if let Ok(Reply::Log(chunk)) = &at_worker
            && chunk.length > 0
        {
            return Ok(chunk.clone());
        }
        let chunk = executor::log::read(&self.folder, &name, offset, CHUNK_BYTES)?;
        if chunk.length > 0 {
            // Without a leader nothing is written any more.
            return Ok(LogChunk { ended: true, ..chunk });
        }
        if let Some(archive) = &self.archive
            && let Some(chunk) = archive.read(&self.place, offset, CHUNK_BYTES).await?
        {
            // A worker that is gone may have taken the end with it.
            return Ok(LogChunk { ended: chunk.ended || self.is_over, ..chunk });
        }
        match at_worker {
            Ok(Reply::Log(empty)) => Ok(empty),
            Ok(_) | Err(_) => bail!("the log is not on this machine, and no leader can ask for it"),
        }
    }

    /// Prints it, a line a record.
    ///
    /// # Errors
    /// When it can not be read.
    pub async fn print(&self, follow: Follow) -> anyhow::Result<()> {
        let mut offset = 0;
        loop {
            let chunk = self.read(offset).await?;
            let text = String::from_utf8_lossy(&chunk.bytes);
            for line in text.lines() {
                outln!("{}", line_of(line));
            }
            offset += chunk.bytes.len() as u64;
            let has_all = offset >= chunk.length || chunk.bytes.is_empty();
            match follow {
                _ if !console::is_open() => return Ok(()),
                Follow::No if has_all => return Ok(()),
                Follow::ToTheEnd if has_all && chunk.ended => return Ok(()),
                Follow::ToTheEnd if has_all => tokio::time::sleep(LOOK_EVERY).await,
                Follow::No | Follow::ToTheEnd => {}
            }
        }
    }

    /// The rendered fields.
    ///
    /// # Errors
    /// When it can not be read, or the try has not got so far.
    pub async fn rendered(&self) -> anyhow::Result<Map<String, Value>> {
        let chunk = self.read(0).await?;
        let text = String::from_utf8_lossy(&chunk.bytes);
        let mut records = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let fields = records.find_map(|record| record.get("rendered").and_then(Value::as_object).cloned());
        fields.context("its fields have not been rendered yet")
    }
}

fn line_of(line: &str) -> String {
    let record: Value = serde_json::from_str(line).unwrap_or_default();
    let text = visible(record["text"].as_str().unwrap_or(line));
    format!("{} {text}", record["ts"].as_str().unwrap_or_default()).trim_start().to_owned()
}
