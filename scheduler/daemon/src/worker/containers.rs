//! Attempts in containers, remembered on disk: a worker that was killed goes on with them when it is started again.
//!
//! A container is the engine's child and outlives its worker for a while (see the guard). What it takes to go on with it is
//! the assignment; where its log stands is in the log.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use executor::docker::{self, DockerError};
use link::Assignment;
use model::{AttemptId, Operator};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::spool::write_whole;

/// How long an engine may take to come back together with its worker, when there is something to go on with.
const ENGINE_WAIT: Duration = Duration::from_secs(15);
/// How often it is asked meanwhile.
const ENGINE_LOOK: Duration = Duration::from_millis(500);

/// The remembered attempts of a worker.
#[derive(Debug)]
pub(super) struct Containers {
    dir: PathBuf,
    /// Those that may have a file; most attempts have no container.
    remembered: BTreeSet<AttemptId>,
}

/// An attempt that is gone on with.
#[derive(Debug)]
pub(super) struct TakenUp {
    /// What it is.
    pub(super) assignment: Assignment,
    /// How long ago it began.
    pub(super) age: Duration,
}

/// An attempt on disk.
#[derive(Debug, Serialize, Deserialize)]
struct Remembered {
    assignment: Assignment,
    began_at: SystemTime,
}

impl Containers {
    /// The memory below a worker's log directory.
    pub(super) fn open(log_dir: &Path) -> io::Result<Self> {
        let dir = log_dir.join("containers");
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
        Ok(Self { dir, remembered: BTreeSet::new() })
    }

    /// Remembers an attempt, when it is one that makes a container.
    pub(super) fn remember(&mut self, assignment: &Assignment) {
        if !matches!(assignment.operator, Operator::Docker(_)) {
            return;
        }
        self.remembered.insert(assignment.attempt);
        let remembered = Remembered { assignment: assignment.clone(), began_at: SystemTime::now() };
        if let Err(error) = write_whole(&self.path(remembered.assignment.attempt), &remembered) {
            // Only a death of this worker would make a difference: the attempt is lost then, as any other.
            tracing::warn!(%error, attempt.id = %assignment.attempt, "an attempt's container could not be remembered");
        }
    }

    /// The attempt has ended, and its end is stored.
    pub(super) fn forget(&mut self, attempt: AttemptId) {
        if self.remembered.remove(&attempt) {
            let _ = fs::remove_file(self.path(attempt));
        }
    }

    /// Ends whatever an earlier worker of this identity left on its engines, but for the attempts that can be gone on with.
    /// `ended` are those whose end waits to be reported.
    pub(super) async fn take_up(&mut self, worker: Uuid, ended: &BTreeSet<AttemptId>) -> Vec<TakenUp> {
        let mut remembered = self.read();
        self.remembered = remembered.keys().copied().collect();
        remembered.retain(|attempt, _| !ended.contains(attempt));
        let known: BTreeSet<AttemptId> = remembered.keys().copied().collect();
        let mut engines: BTreeSet<Option<String>> = remembered.values().map(engine_of).collect();
        engines.insert(None);
        let mut found = BTreeSet::new();
        for engine in engines {
            match left_by(worker, engine.as_deref(), &known).await {
                Ok(left) => {
                    if left.removed > 0 {
                        tracing::info!(containers = left.removed, "removed what an earlier worker has left running");
                    }
                    found.extend(left.attempts);
                }
                Err(error) if known.is_empty() => tracing::debug!(%error, "no engine to look for containers on"),
                Err(error) => tracing::warn!(%error, "the containers of an earlier worker can not be gone on with"),
            }
        }
        let (kept, lost): (BTreeMap<_, _>, BTreeMap<_, _>) =
            remembered.into_iter().partition(|(attempt, _)| found.contains(attempt));
        lost.keys().chain(ended).for_each(|attempt| self.forget(*attempt));
        kept.into_values().map(Remembered::taken_up).collect()
    }

    fn read(&self) -> BTreeMap<AttemptId, Remembered> {
        let entries = fs::read_dir(&self.dir).into_iter().flatten().flatten();
        let parsed = entries.filter_map(|entry| {
            let bytes = fs::read(entry.path()).ok()?;
            // Half a file: the worker died while it wrote, before there was a container.
            serde_json::from_slice::<Remembered>(&bytes).ok()
        });
        parsed.map(|remembered| (remembered.assignment.attempt, remembered)).collect()
    }

    fn path(&self, attempt: AttemptId) -> PathBuf {
        self.dir.join(format!("{attempt}.json"))
    }
}

impl Remembered {
    fn taken_up(self) -> TakenUp {
        // A clock that was set back makes it younger than it is.
        TakenUp { assignment: self.assignment, age: self.began_at.elapsed().unwrap_or_default() }
    }
}

fn engine_of(remembered: &Remembered) -> Option<String> {
    match &remembered.assignment.operator {
        Operator::Docker(keys) => keys.container.docker_url.clone(),
        _ => None,
    }
}

/// An engine that is away is waited for when something is known to be there.
async fn left_by(worker: Uuid, engine: Option<&str>, known: &BTreeSet<AttemptId>) -> Result<docker::Left, DockerError> {
    let began = Instant::now();
    loop {
        match docker::left_by(worker, engine, known).await {
            Err(DockerError::Away { .. }) if !known.is_empty() && began.elapsed() < ENGINE_WAIT => {
                sleep(ENGINE_LOOK).await;
            }
            answer => return answer,
        }
    }
}
