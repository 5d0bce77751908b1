//! Follows a run to its end with a line for each thing that happens.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::Context;
use link::{Query, Reply};
use model::{DagId, DagRunState, RunId, TaskIdx, TaskState};
use sqlx::PgPool;
use store::{Hints, read};

use crate::{ask::Leader, output::visible, text};

/// Hints tell what changed; without one it is looked at least so often.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// While nothing changes, a line says at least so often what goes on.
const SIGN_OF_LIFE_EVERY: Duration = Duration::from_secs(5);

/// A run that is followed.
pub struct Watch<'a> {
    pool: &'a PgPool,
    leader: &'a Leader,
    dag: &'a DagId,
    run: &'a RunId,
    since: Instant,
    last_line: Instant,
    shown: BTreeMap<TaskIdx, TaskState>,
    failures: Vec<String>,
}

impl<'a> Watch<'a> {
    /// Prepares to follow a run.
    #[must_use]
    pub fn new(pool: &'a PgPool, leader: &'a Leader, dag: &'a DagId, run: &'a RunId) -> Self {
        Self {
            pool,
            leader,
            dag,
            run,
            since: Instant::now(),
            last_line: Instant::now(),
            shown: BTreeMap::new(),
            failures: Vec::new(),
        }
    }

    /// Follows it to its end.
    ///
    /// # Errors
    /// When PostgreSQL does not answer, or the run is gone.
    pub async fn follow(mut self) -> anyhow::Result<DagRunState> {
        let hints = Hints::listen(self.pool).await?;
        let mut changes = hints.subscribe();
        loop {
            let state = self.look().await?;
            if state.is_finished() {
                let failed = std::mem::take(&mut self.failures);
                let why = if failed.is_empty() { String::new() } else { format!(": {}", failed.join("; ")) };
                self.say(&format!("run {} {state}{why}", self.run));
                return Ok(state);
            }
            let _look_in_any_case = tokio::time::timeout(LOOK_EVERY, changes.recv()).await;
        }
    }

    async fn look(&mut self) -> anyhow::Result<DagRunState> {
        let run = read::run(self.pool, self.dag, self.run).await?;
        let run = run.with_context(|| format!("run {} of {} is gone", self.run, self.dag))?;
        let version = read::version(self.pool, run.version).await?.context("the run's DAG version is gone")?;
        let instances = read::instances(self.pool, &[run.key]).await?;
        for (task, number) in version.dag.tasks.iter().zip(&version.task_idx) {
            let Some(instance) = instances.iter().find(|instance| instance.row.key.task == *number) else { continue };
            let row = &instance.row;
            if self.shown.insert(*number, row.state) == Some(row.state) {
                continue;
            }
            let took = row.started_at.zip(row.ended_at).filter(|_| row.state.is_finished());
            let took = took.map(|(from, to)| text::duration((to - from).as_seconds_f64()));
            let reason =
                row.extra.reason.clone().filter(|_| row.state.is_failed_like() || row.state == TaskState::UpForRetry);
            if row.state == TaskState::Failed {
                let why = reason.as_deref().unwrap_or("no reason was given");
                self.failures.push(format!("{} failed, {}", task.task_id, visible(why)));
            }
            let reason = reason.map(|reason| visible(&reason));
            let detail = [took, reason].into_iter().flatten().collect::<Vec<_>>().join(": ");
            self.say(format!("{:<24} {:<12} {detail}", task.task_id, row.state).trim_end());
        }
        if self.last_line.elapsed() >= SIGN_OF_LIFE_EVERY {
            self.sign_of_life().await?;
        }
        Ok(run.state)
    }

    async fn sign_of_life(&mut self) -> anyhow::Result<()> {
        let services = read::services(self.pool).await?;
        let lines: Vec<_> = services.iter().filter(|service| service.key.dag == *self.dag).map(progress).collect();
        let line = if lines.is_empty() { self.sentence().await } else { lines.join("; ") };
        self.say(&line);
        Ok(())
    }

    /// How the run stands, in the leader's words: that its DAG is paused, or has as many runs as it may.
    async fn sentence(&self) -> String {
        let question = Query::WhyRun { dag_id: self.dag.clone(), run_id: self.run.clone() };
        match self.leader.ask(question).await {
            Ok(Reply::Why { sentence, .. }) => visible(&sentence),
            Ok(_) => "still running".to_owned(),
            Err(error) => format!("still running; {error}"),
        }
    }

    fn say(&mut self, line: &str) {
        self.last_line = Instant::now();
        println!("{:>10}  {line}", text::duration(self.since.elapsed().as_secs_f64()));
    }
}

fn progress(service: &read::ServiceView) -> String {
    let number = |name: &str| service.progress[name].as_u64();
    let records = number("records").map(|records| format!(", {records} records")).unwrap_or_default();
    let lag = number("lag").map(|lag| format!(", {lag} behind")).unwrap_or_default();
    format!("{} {}{records}{lag}", service.key.name, service.state)
}
