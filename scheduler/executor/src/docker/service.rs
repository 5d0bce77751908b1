//! A service in a container: its reports are lines of its standard output, its health is the engine's health check.
//!
//! Lines rather than a mounted socket, because they reach the worker from any engine, need nothing in the image, and are
//! kept by the engine while nobody reads them.

use std::time::Duration;

use bollard::models::{ContainerState, HealthStatusEnum};
use link::ServiceStart;
use model::{container::Container, operator::ReadyWhen};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::{
    DockerError, Ended, end,
    engine::Engine,
    follow::{Follow, Sink},
    image, judge, labels,
    mailbox::Mailbox,
    request::Request,
    short,
};
use crate::{
    Masker, Stop, StopCause, WorkerContext, environment,
    log::{Log, Part, Stream, Written},
    process::{GroupKind, LastLine},
};

/// How a line of standard output starts that is a report: a JSON object follows.
pub const REPORT_PREFIX: &str = "::windlass::";

/// How often a container's health is looked at.
const HEALTH_LOOK: Duration = Duration::from_secs(1);

/// How a service's container ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceEnd {
    /// Its exit code, none when it was never started or is out of sight.
    pub exit_code: Option<i32>,
    /// One sentence.
    pub reason: String,
}

/// Runs one instance of a service to its end. Its container goes with it.
pub async fn serve(
    start: &ServiceStart,
    container: &Container,
    worker: &WorkerContext,
    (log, masker): (&Log, &Masker),
    stop: &Stop,
    tell: &Mailbox,
) -> ServiceEnd {
    container.private_environment.values().for_each(|value| masker.add(value));
    let instance = Instance { start, container, worker, log, masker, tell };
    instance
        .run(stop)
        .await
        .unwrap_or_else(|error| ServiceEnd { exit_code: error.exit_code(), reason: error.to_string() })
}

struct Instance<'a> {
    start: &'a ServiceStart,
    container: &'a Container,
    worker: &'a WorkerContext,
    log: &'a Log,
    masker: &'a Masker,
    tell: &'a Mailbox,
}

impl Instance<'_> {
    async fn run(&self, stop: &Stop) -> Result<ServiceEnd, DockerError> {
        let engine = Engine::connect(self.container.docker_url.as_deref()).await?;
        let watch = self.worker.groups.watch(GroupKind::Service, self.start.instance, engine.url());
        let _watch = watch.map_err(|error| DockerError::Refused {
            doing: "telling the guard of the container",
            message: error.to_string(),
        })?;
        let id = tokio::select! {
            id = self.make(&engine) => id?,
            cause = stop.requested() => {
                self.discard(&engine).await;
                return Ok(ServiceEnd { exit_code: None, reason: cause.reason });
            }
        };
        let ended = self.attend(&engine, &id, stop).await;
        if let Err(error) = engine.remove(&id).await {
            self.log.system(&format!("The container could not be removed: {error}"));
        }
        Ok(ended)
    }

    async fn make(&self, engine: &Engine) -> Result<String, DockerError> {
        if let Some(refusal) = self.worker.docker.refusal(self.container) {
            return Err(DockerError::Policy(refusal));
        }
        image::provide(engine, self.container, None, self.log).await?;
        let command = &self.start.spec.command;
        let request = Request {
            container: self.container,
            command: (!command.is_empty()).then(|| command.clone()),
            environment: environment::of_container_service(self.start, self.container),
            labels: labels::of_service(self.worker.worker, self.start),
            tmp: None,
        };
        let name = format!("windlass-{}-{}-{}", self.start.spec.name, self.start.key.replica, self.start.instance);
        let id = engine.create(&name, request.body()).await?;
        self.log.system(&format!("Container {} of {}", short(&id), self.container.image));
        let started = async {
            for network in request.further_networks() {
                engine.join(&id, network).await?;
            }
            engine.start(&id).await
        };
        if let Err(error) = started.await {
            self.discard(engine).await;
            return Err(error);
        }
        self.tell.started();
        Ok(id)
    }

    async fn attend(&self, engine: &Engine, id: &str, stop: &Stop) -> ServiceEnd {
        let sink = Reports { log: self.log, masker: self.masker, tell: self.tell, last_error: LastLine::default() };
        let mut follow = Follow::new(engine, id, self.masker.clone(), Written::default(), sink);
        let grace = Duration::try_from_secs_f64(self.start.spec.stop_timeout_secs).unwrap_or(self.worker.kill_grace);
        // An unhealthy container is stopped as if somebody had asked for it; the supervisor starts another.
        let unwell = Stop::default();
        let asked = async {
            let cause = stop.requested().await;
            unwell.request(cause);
            std::future::pending::<std::convert::Infallible>().await
        };
        let ended = tokio::select! {
            ended = end(engine, id, follow.run(), &unwell, grace) => ended,
            never = asked => match never {},
            never = self.health(engine, id, &unwell) => match never {},
        };
        let last_error = follow.into_sink().last_error;
        self.ended(ended, last_error.text())
    }

    fn ended(&self, ended: Ended, last_error: &str) -> ServiceEnd {
        match ended {
            Ended::ByItself(Ok(state)) => {
                let code = judge::exit_code(&state);
                let reason = match (code, last_error) {
                    (0, _) => "exit code 0".to_owned(),
                    (_, "") => judge::sentence(&state, self.container.mem_limit),
                    (_, line) => format!("{}: {line}", judge::sentence(&state, self.container.mem_limit)),
                };
                ServiceEnd { exit_code: Some(code), reason }
            }
            Ended::ByItself(Err(error)) => ServiceEnd { exit_code: None, reason: error.to_string() },
            Ended::Stopped(cause, Ok(())) => ServiceEnd { exit_code: None, reason: cause.reason },
            Ended::Stopped(cause, Err(error)) => ServiceEnd {
                exit_code: None,
                reason: format!("{}; the container may still run: {error}", cause.reason),
            },
        }
    }

    /// Says `ready` as soon as the container is well, and asks for its end when it is not any more.
    async fn health(&self, engine: &Engine, id: &str, unwell: &Stop) -> std::convert::Infallible {
        let mut said_ready = self.start.spec.ready_when != ReadyWhen::Started;
        loop {
            // An engine that is away is the business of whoever carries the output.
            if let Ok(found) = engine.inspect(id).await {
                match Health::of(&found.state.unwrap_or_default()) {
                    Health::Well if !said_ready => {
                        said_ready = true;
                        self.tell.report(json!({"type": "ready"}));
                    }
                    Health::Unwell(words) => {
                        let reason = format!("its health check fails{words}");
                        unwell.request(StopCause { kind: model::EndKind::Failed, reason });
                    }
                    Health::Well | Health::Unknown => {}
                }
            }
            sleep(HEALTH_LOOK).await;
        }
    }

    async fn discard(&self, engine: &Engine) {
        let label = format!("{}={}", labels::INSTANCE, self.start.instance);
        for container in engine.labelled(label).await.unwrap_or_default() {
            if let Some(id) = container.id
                && let Err(error) = engine.remove(&id).await
            {
                self.log.system(&format!("The container could not be removed: {error}"));
            }
        }
    }
}

/// What the engine says of a container's health.
#[derive(Debug, PartialEq, Eq)]
enum Health {
    Well,
    Unknown,
    Unwell(String),
}

impl Health {
    /// One without a health check is well while it runs.
    fn of(state: &ContainerState) -> Self {
        if state.running != Some(true) {
            return Self::Unknown;
        }
        let Some(health) = &state.health else { return Self::Well };
        match health.status {
            Some(HealthStatusEnum::STARTING) => Self::Unknown,
            Some(HealthStatusEnum::UNHEALTHY) => {
                let last = health.log.as_ref().and_then(|log| log.last()).and_then(|check| check.output.as_deref());
                let words = last.map(str::trim).filter(|output| !output.is_empty());
                Self::Unwell(words.map(|words| format!(": {words}")).unwrap_or_default())
            }
            Some(HealthStatusEnum::HEALTHY | HealthStatusEnum::NONE | HealthStatusEnum::EMPTY) | None => Self::Well,
        }
    }
}

/// A service's lines: reports go to the worker, the others to the log.
struct Reports<'a> {
    log: &'a Log,
    masker: &'a Masker,
    tell: &'a Mailbox,
    last_error: LastLine,
}

impl Sink for Reports<'_> {
    fn part(&mut self, stream: Stream, part: Part<'_>) {
        let Some(line) = part.lasting() else { return };
        match report(stream, line) {
            Some(Ok(report)) => self.tell.report(report),
            Some(Err(text)) => self.log.system(&format!("Not a report: {}", self.masker.mask(text))),
            None => {
                if stream == Stream::Err {
                    self.last_error.see(line);
                }
                self.log.line(stream, line);
            }
        }
    }
}

/// The report in a line, or what was meant to be one.
fn report(stream: Stream, line: &str) -> Option<Result<Value, &str>> {
    let text = line.strip_prefix(REPORT_PREFIX).filter(|_| stream == Stream::Out)?.trim();
    Some(serde_json::from_str::<Value>(text).ok().filter(Value::is_object).ok_or(text))
}

#[cfg(test)]
mod tests {
    use bollard::models::Health as ApiHealth;

    use super::*;

    #[test]
    fn a_report_is_a_line_of_standard_output_with_the_prefix() {
        let ready = json!({"type": "ready"});
        assert_eq!(report(Stream::Out, "::windlass:: {\"type\": \"ready\"}"), Some(Ok(ready)));
        assert_eq!(report(Stream::Out, "::windlass:: no json"), Some(Err("no json")));
        assert_eq!(report(Stream::Err, "::windlass:: {}"), None);
        assert_eq!(report(Stream::Out, "{\"type\": \"ready\"}"), None);
    }

    #[test]
    fn a_container_without_a_health_check_is_well_while_it_runs() {
        let running = ContainerState { running: Some(true), ..ContainerState::default() };
        assert_eq!(Health::of(&running), Health::Well);
        assert_eq!(Health::of(&ContainerState::default()), Health::Unknown);
        let with = |status| {
            let health = Some(ApiHealth { status: Some(status), ..ApiHealth::default() });
            Health::of(&ContainerState { health, ..running.clone() })
        };
        assert_eq!(with(HealthStatusEnum::STARTING), Health::Unknown);
        assert_eq!(with(HealthStatusEnum::HEALTHY), Health::Well);
        assert_eq!(with(HealthStatusEnum::UNHEALTHY), Health::Unwell(String::new()));
    }
}
