//! The operator `docker`, and services in containers, on any Docker engine.
//!
//! A container carries the ids of its worker and attempt as labels, and is made only after the guard knows of it. An attempt
//! that finds its container on the engine goes on with it: that is how a worker which was killed takes up what it left, with
//! every line of the log once. A container that may still run outlives its attempt in no case.

mod engine;
mod error;
mod follow;
mod image;
mod judge;
pub mod labels;
mod left;
mod mailbox;
mod policy;
mod render;
mod request;
mod service;
mod words;

use std::{future::Future, path::PathBuf, time::Duration};

use bollard::models::{ContainerState, ContainerSummaryStateEnum as Stage};
use futures::{FutureExt as _, future::BoxFuture};
use model::{
    EndKind,
    container::{Docker, Mount, MountAccess, MountSource},
};
use tokio::time::timeout;

use self::{
    engine::Engine,
    follow::{Follow, Sink},
    judge::{End, Push, Returned, not_started},
    render::Rendered,
    request::Request,
};
use crate::{
    Attempt, Executor, Outcome, Stop, StopCause,
    environment::{self, Variables},
    log::{Log, Part, Stream, Written},
    output::could_not_run,
    process::GroupKind,
};

pub(crate) use self::render::container as render_container;
pub use self::{
    engine::{check, default_url},
    error::DockerError,
    left::{Left, left_by},
    mailbox::{Mailbox, ServiceNews},
    policy::{DockerPolicy, Mounts, Rights},
    service::{REPORT_PREFIX, ServiceEnd, serve},
};

/// How the directories are named that are mounted for an attempt, below the worker's directory for temporary files.
pub const TMP_PREFIX: &str = "container-";

/// What the engine and the last lines need after the grace of a stop.
const STOP_MARGIN: Duration = Duration::from_secs(40);

/// Runs a command in a container.
pub(crate) struct DockerExecutor {
    keys: Docker,
}

/// A container that was started, now or by an earlier worker.
struct Started {
    id: String,
    inherited: Written,
}

impl DockerExecutor {
    /// An executor for one task.
    pub(crate) fn new(keys: Docker) -> Self {
        Self { keys }
    }

    async fn outcome(&self, attempt: &Attempt, stop: &Stop) -> Result<Outcome, Outcome> {
        let url = self.keys.container.docker_url.as_deref();
        let engine = Engine::connect(url).await.map_err(|error| not_started(&error))?;
        let groups = &attempt.worker.groups;
        let watch = groups.watch(GroupKind::Attempt, attempt.assignment.attempt.0, engine.url());
        let _watch = watch.map_err(could_not_run)?;
        let found = self.find(attempt, &engine).await.map_err(|error| not_started(&error))?;
        let started = match found {
            Some(started) => started,
            None => tokio::select! {
                started = self.start(attempt, &engine) => started?,
                cause = stop.requested() => {
                    self.discard(attempt, &engine).await;
                    return Ok(cause.into());
                }
            },
        };
        let outcome = self.follow(attempt, stop, &engine, &started).await;
        remove_dir(self.tmp_path(attempt));
        outcome
    }

    /// The attempt's container, when an earlier worker has started one.
    async fn find(&self, attempt: &Attempt, engine: &Engine) -> Result<Option<Started>, DockerError> {
        for found in engine.labelled(labels::attempt_is(attempt.assignment.attempt)).await? {
            let Some(id) = found.id else { continue };
            if found.state == Some(Stage::CREATED) {
                // The worker died before it started; nothing ran.
                engine.remove(&id).await?;
                continue;
            }
            let inherited = attempt.log.written().await;
            attempt.log.system(&format!("The worker is back; going on with container {}", short(&id)));
            self.mask_again(attempt).await;
            return Ok(Some(Started { id, inherited }));
        }
        Ok(None)
    }

    /// What is secret is found out by rendering; the container has its values already.
    async fn mask_again(&self, attempt: &Attempt) {
        if self.render(attempt).await.is_err() {
            tracing::warn!(attempt.id = %attempt.assignment.attempt, "the secrets of a running container are not known again");
        }
    }

    async fn render(&self, attempt: &Attempt) -> Result<Rendered, Outcome> {
        let keys = self.keys.clone();
        let rendered = attempt.render(move |renderer| Rendered::of(renderer, &keys)).await?;
        attempt.mask_named(&rendered.environment);
        rendered.container.private_environment.values().for_each(|value| attempt.masker.add(value));
        Ok(rendered)
    }

    async fn start(&self, attempt: &Attempt, engine: &Engine) -> Result<Started, Outcome> {
        let rendered = self.render(attempt).await?;
        attempt.log_rendered(rendered.shown());
        if let Some(refusal) = attempt.worker.docker.refusal(&rendered.container) {
            return Err(Outcome::failed_for_good(refusal));
        }
        let login = image::login(attempt, &rendered.container).await?;
        let failed = |error: DockerError| not_started(&error);
        image::provide(engine, &rendered.container, login, &attempt.log).await.map_err(failed)?;
        let id = self.create(attempt, engine, &rendered).await.map_err(failed)?;
        attempt.log.system(&format!("Container {} of {}", short(&id), rendered.container.image));
        match started(engine, &id, &rendered).await {
            Ok(()) => Ok(Started { id, inherited: Written::default() }),
            Err(error) => {
                self.discard(attempt, engine).await;
                Err(not_started(&error))
            }
        }
    }

    async fn create(&self, attempt: &Attempt, engine: &Engine, rendered: &Rendered) -> Result<String, DockerError> {
        let name = rendered.name.clone().unwrap_or_else(|| made_up_name(attempt));
        let tmp = self.tmp(attempt);
        let with_tmp = engine.create(&name, self.request(attempt, rendered, tmp.clone()).body()).await;
        match (with_tmp, tmp) {
            (Err(error), Some(tmp)) if is_about(&error, &tmp) => {
                attempt
                    .log
                    .system("The engine does not see the worker's files (it is elsewhere): no directory at tmp_dir");
                engine.create(&name, self.request(attempt, rendered, None).body()).await
            }
            (made, _) => made,
        }
    }

    fn request<'a>(&self, attempt: &Attempt, rendered: &'a Rendered, tmp: Option<Mount>) -> Request<'a> {
        let mut environment = environment::of_attempt(&attempt.worker, &attempt.assignment);
        // The guard finds a dead worker's processes by this one and would kill the container before its time.
        environment.remove(environment::WORKER);
        if let Some(tmp) = &tmp {
            environment.insert("AIRFLOW_TMP_DIR".to_owned(), tmp.target.clone());
        }
        let mut all = Variables::new();
        all.extend(attempt.passed(&self.keys.pass_env));
        all.extend(rendered.environment.clone());
        all.extend(rendered.container.private_environment.clone());
        all.extend(environment);
        Request {
            container: &rendered.container,
            command: rendered.command.clone(),
            environment: all,
            labels: labels::of_attempt(attempt.worker.worker, &attempt.assignment),
            tmp,
        }
    }

    /// The attempt's own directory and its place in the container.
    fn tmp(&self, attempt: &Attempt) -> Option<Mount> {
        let target = self.keys.tmp_dir.clone()?;
        let path = self.tmp_path(attempt);
        if let Err(error) = private_dir(&path) {
            attempt.log.system(&format!("No directory at tmp_dir: {error}"));
            return None;
        }
        let source = MountSource::Bind(path.to_string_lossy().into_owned());
        Some(Mount { target, source, access: MountAccess::ReadWrite })
    }

    fn tmp_path(&self, attempt: &Attempt) -> PathBuf {
        attempt.worker.workspaces.parent().join(format!("{TMP_PREFIX}{}", attempt.assignment.attempt))
    }

    async fn follow(
        &self,
        attempt: &Attempt,
        stop: &Stop,
        engine: &Engine,
        started: &Started,
    ) -> Result<Outcome, Outcome> {
        let sink = Lines { log: attempt.log.clone(), returned: Returned::default() };
        let mut follow = Follow::new(engine, &started.id, attempt.masker.clone(), started.inherited, sink);
        let grace = self.grace(attempt);
        let ended = end(engine, &started.id, follow.run(), stop, grace).await;
        let returned = follow.into_sink().returned;
        let (outcome, how) = match ended {
            Ended::ByItself(Ok(state)) => {
                let push = if attempt.assignment.do_xcom_push { Push::Wanted } else { Push::Unwanted };
                let how = if judge::exit_code(&state) == 0 { End::Succeeded } else { End::Failed };
                (judge::outcome(&self.keys, push, &state, returned), how)
            }
            Ended::ByItself(Err(error)) => (lost_sight(&error), End::Failed),
            Ended::Stopped(cause, stopped) => {
                if let Err(error) = stopped {
                    attempt.log.system(&format!("The container may still run: {error}"));
                }
                let taken = cause.kind == EndKind::Lost;
                (cause.into(), if taken { End::TakenAway } else { End::Failed })
            }
        };
        if judge::goes(self.keys.auto_remove, how) {
            remove(attempt, engine, &started.id).await;
        }
        Ok(outcome)
    }

    fn grace(&self, attempt: &Attempt) -> Duration {
        let own = self.keys.stop_timeout_secs.and_then(|secs| Duration::try_from_secs_f64(secs).ok());
        own.unwrap_or(attempt.worker.kill_grace)
    }

    /// Removes what was made for an attempt whose command never ran.
    async fn discard(&self, attempt: &Attempt, engine: &Engine) {
        let found = engine.labelled(labels::attempt_is(attempt.assignment.attempt)).await;
        for container in found.unwrap_or_default() {
            if let Some(id) = container.id {
                remove(attempt, engine, &id).await;
            }
        }
    }
}

impl Executor for DockerExecutor {
    fn run<'a>(&'a self, attempt: &'a Attempt, stop: &'a Stop) -> BoxFuture<'a, Outcome> {
        self.outcome(attempt, stop).map(|outcome| outcome.unwrap_or_else(|outcome| outcome)).boxed()
    }
}

/// An attempt's lines: they go to its log, and the last one may be what it returns.
struct Lines {
    log: Log,
    returned: Returned,
}

impl Sink for Lines {
    fn part(&mut self, stream: Stream, part: Part<'_>) {
        self.returned.see(stream, part);
        self.log.part(stream, part);
    }

    fn seen(&mut self, stream: Stream, part: Part<'_>) {
        self.returned.see(stream, part);
    }
}

/// How the watch over a container came to its end.
enum Ended {
    ByItself(Result<ContainerState, DockerError>),
    Stopped(StopCause, Result<(), DockerError>),
}

/// Waits for a container's end, or brings it about, while its output goes on.
async fn end<F>(engine: &Engine, id: &str, output: F, stop: &Stop, grace: Duration) -> Ended
where
    F: Future<Output = Result<ContainerState, DockerError>>,
{
    tokio::pin!(output);
    tokio::select! {
        state = &mut output => Ended::ByItself(state),
        cause = stop.requested() => {
            let (stopped, _) = tokio::join!(engine.stop(id, grace), timeout(grace + STOP_MARGIN, output));
            Ended::Stopped(cause, stopped)
        }
    }
}

async fn started(engine: &Engine, id: &str, rendered: &Rendered) -> Result<(), DockerError> {
    let request = Request {
        container: &rendered.container,
        command: None,
        environment: Variables::new(),
        labels: Default::default(),
        tmp: None,
    };
    for network in request.further_networks() {
        engine.join(id, network).await?;
    }
    engine.start(id).await
}

async fn remove(attempt: &Attempt, engine: &Engine, id: &str) {
    if let Err(error) = engine.remove(id).await {
        attempt.log.system(&format!("The container could not be removed: {error}"));
    }
}

fn lost_sight(error: &DockerError) -> Outcome {
    Outcome::failed(format!("its container is out of sight: {error}"))
}

/// Whether the engine complains about the attempt's own directory.
fn is_about(error: &DockerError, tmp: &Mount) -> bool {
    let MountSource::Bind(path) = &tmp.source else { return false };
    match error {
        DockerError::Refused { message, .. } | DockerError::Missing { message, .. } => message.contains(path.as_str()),
        DockerError::Away { .. } | DockerError::Image { .. } | DockerError::Policy(_) => false,
    }
}

/// A name that says whose it is and belongs to nobody else.
fn made_up_name(attempt: &Attempt) -> String {
    let context = &attempt.assignment.context;
    let plain = |c: char| if c.is_ascii_alphanumeric() || "_.-".contains(c) { c } else { '-' };
    let words: String = format!("{}-{}", context.dag_id, context.task_id).chars().map(plain).take(100).collect();
    format!("windlass-{words}-{}", attempt.assignment.attempt)
}

/// Enough of an id to find it by.
fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

fn private_dir(path: &std::path::Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Removing a large tree takes long, so that a thread which may block does it.
fn remove_dir(path: PathBuf) {
    tokio::task::spawn_blocking(move || match std::fs::remove_dir_all(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            tracing::warn!(%error, dir = %path.display(), "a container's directory could not be removed");
        }
        Ok(()) | Err(_) => {}
    });
}
