//! Follows a run to its end with a line for each thing that happens.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use model::{DagId, DagRunState, RunId, TaskState};
use store::{Hint, Hints, read};
use tokio::sync::broadcast::Receiver;

use super::runs::RunName;
use crate::{
    installation::{Installation, InstanceView, RunLook},
    output::visible,
    progress::Progress,
    text,
};

/// Hints tell what changed; without one it is looked at least so often.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// While nothing changes, a line says at least so often what goes on.
const SIGN_OF_LIFE_EVERY: Duration = Duration::from_secs(5);

/// A run that is followed.
pub struct Watch<'a> {
    installation: &'a Installation<'a>,
    dag: &'a DagId,
    run: RunName,
    since: Instant,
    last_line: Instant,
    shown: BTreeMap<String, TaskState>,
    failures: Vec<String>,
    progress: Progress,
}

impl<'a> Watch<'a> {
    /// Prepares to follow a run.
    #[must_use]
    pub fn new(installation: &'a Installation<'a>, dag: &'a DagId, run: &RunId) -> Self {
        Self {
            installation,
            dag,
            run: RunName { dag_id: dag.to_string(), run_id: run.to_string() },
            since: Instant::now(),
            last_line: Instant::now(),
            shown: BTreeMap::new(),
            failures: Vec::new(),
            progress: Progress::of(0, "tasks"),
        }
    }

    /// Follows it to its end.
    ///
    /// # Errors
    /// When the installation does not answer, or the run is gone.
    pub async fn follow(mut self) -> anyhow::Result<DagRunState> {
        let hints = match self.installation {
            Installation::Here(here) => Some(Hints::listen(here.access.pool().await?).await?),
            // A server is asked again and again: what it would push costs it a connection for as long.
            Installation::Server(_) => None,
        };
        let mut changes = hints.as_ref().map(Hints::subscribe);
        loop {
            let state = self.look().await?;
            if state.is_finished() {
                let failed = std::mem::take(&mut self.failures);
                let why = if failed.is_empty() { String::new() } else { format!(": {}", failed.join("; ")) };
                self.say(&format!("run {} {state}{why}", self.run.run_id));
                return Ok(state);
            }
            let _look_in_any_case = tokio::time::timeout(LOOK_EVERY, news(changes.as_mut())).await;
        }
    }

    async fn look(&mut self) -> anyhow::Result<DagRunState> {
        let look = self.installation.look(&self.run).await?;
        let is_over = |one: &&InstanceView| one.state.is_some_and(TaskState::is_finished);
        self.progress.at(look.instances.iter().filter(is_over).count(), look.instances.len());
        for instance in &look.instances {
            let Some(state) = instance.state else { continue };
            if self.shown.insert(instance.task_id.clone(), state) != Some(state) {
                self.tell(instance, state);
            }
        }
        if self.last_line.elapsed() >= SIGN_OF_LIFE_EVERY && !look.run.state.is_finished() {
            self.sign_of_life(&look).await?;
        }
        Ok(look.run.state)
    }

    fn tell(&mut self, instance: &InstanceView, state: TaskState) {
        let took = instance.start_date.zip(instance.end_date).filter(|_| state.is_finished());
        let took = took.map(|(from, to)| text::duration((to - from).as_seconds_f64()));
        let reason = instance.reason.as_deref().filter(|_| state.is_failed_like() || state == TaskState::UpForRetry);
        let reason = reason.map(visible);
        if state == TaskState::Failed {
            let why = reason.as_deref().unwrap_or("`windlass tasks logs` has the reason");
            self.failures.push(format!("{} failed, {why}", instance.task_id));
        }
        let detail = [took, reason].into_iter().flatten().collect::<Vec<_>>().join(": ");
        self.say(format!("{:<24} {state:<12} {detail}", instance.task_id).trim_end());
    }

    async fn sign_of_life(&mut self, look: &RunLook) -> anyhow::Result<()> {
        let services = match self.installation {
            Installation::Here(here) => read::services(here.access.pool().await?).await?,
            Installation::Server(_) => Vec::new(),
        };
        let lines: Vec<_> = services.iter().filter(|service| service.key.dag == *self.dag).map(progress).collect();
        let line = if lines.is_empty() { self.sentence(look).await } else { lines.join("; ") };
        self.say(&line);
        Ok(())
    }

    /// How the run stands, in the leader's words: that its DAG is paused, or has as many runs as it may.
    async fn sentence(&self, look: &RunLook) -> String {
        match self.installation.why_run(look).await {
            Ok(Some(sentence)) => sentence,
            Ok(None) => "still running".to_owned(),
            Err(error) => format!("still running; {error:#}"),
        }
    }

    fn say(&mut self, line: &str) {
        self.last_line = Instant::now();
        self.progress.line(&format!("{:>10}  {line}", text::duration(self.since.elapsed().as_secs_f64())));
    }
}

/// The next hint; without hints there is none ever, and the look at the clock remains.
async fn news(changes: Option<&mut Receiver<Hint>>) {
    match changes {
        Some(changes) => {
            let _any = changes.recv().await;
        }
        None => std::future::pending().await,
    }
}

fn progress(service: &read::ServiceView) -> String {
    let number = |name: &str| service.progress[name].as_u64();
    let records = number("records").map(|records| format!(", {records} records")).unwrap_or_default();
    let lag = number("lag").map(|lag| format!(", {lag} behind")).unwrap_or_default();
    format!("{} {}{records}{lag}", service.key.name, service.state)
}
