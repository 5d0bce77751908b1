//! The operator `service`: declares services and waits until all of them are ready.
//!
//! The leader's supervisor runs them; this only says what is wanted and looks on. They outlive the attempt.

use std::{collections::BTreeMap, time::Duration};

use futures::{FutureExt as _, future::BoxFuture};
use link::ServiceStatus;
use model::{
    ServiceState,
    operator::{ServiceSpec, ServiceTask},
};
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use crate::{Attempt, Executor, Outcome, Stop, docker, template::TemplateError};

/// The leader tells how services stand each second. A longer silence is the leader's, and does not count against them.
const SILENCE_COUNTED_MAX: Duration = Duration::from_secs(3);

/// Waits for services.
pub(crate) struct ServiceExecutor {
    keys: ServiceTask,
}

impl ServiceExecutor {
    /// An executor for one task.
    pub(crate) fn new(keys: ServiceTask) -> Self {
        Self { keys }
    }

    async fn outcome(&self, attempt: &Attempt, stop: &Stop) -> Result<Outcome, TemplateError> {
        let specs = self.render(attempt).await?;
        let hashes = specs.iter().map(|spec| hash(attempt, spec)).collect();
        let mut statuses = attempt.host.services();
        attempt.host.declare(specs.clone(), hashes).await;
        let mut watch = Watch::new(specs, self.patience());
        loop {
            tokio::select! {
                changed = statuses.changed() => if changed.is_err() {
                    return Ok(Outcome::failed("the worker stopped listening to the leader"));
                },
                cause = stop.requested() => return Ok(cause.into()),
            }
            let status = statuses.borrow_and_update().clone();
            for line in watch.see(&status, Instant::now()) {
                attempt.log.system(&line);
            }
            if let Some(outcome) = watch.decide() {
                return Ok(outcome);
            }
        }
    }

    async fn render(&self, attempt: &Attempt) -> Result<Vec<ServiceSpec>, TemplateError> {
        let services = self.keys.services.clone();
        let rendered = attempt.render(move |renderer| {
            let render = |spec: ServiceSpec| {
                let container = spec.container.as_ref();
                let prefix = format!("{}.", spec.name);
                let rendered = container.map(|container| docker::render_container(renderer, &prefix, container));
                Ok(ServiceSpec {
                    container: rendered.transpose()?.map(Box::new),
                    command: renderer.list(&format!("{}.command", spec.name), &spec.command)?,
                    env: renderer.map(&format!("{}.env", spec.name), &spec.env)?,
                    ..spec
                })
            };
            services.into_iter().map(render).collect::<Result<Vec<_>, TemplateError>>()
        });
        let specs = rendered.await?;
        for spec in &specs {
            attempt.mask_named(&spec.env);
            let hidden = spec.container.iter().flat_map(|container| container.private_environment.values());
            hidden.for_each(|value| attempt.masker.add(value));
        }
        attempt.log_rendered(serde_json::json!({"services": specs}));
        Ok(specs)
    }

    fn patience(&self) -> Duration {
        Duration::try_from_secs_f64(self.keys.ready_timeout_secs).unwrap_or(Duration::MAX)
    }
}

impl Executor for ServiceExecutor {
    fn run<'a>(&'a self, attempt: &'a Attempt, stop: &'a Stop) -> BoxFuture<'a, Outcome> {
        self.outcome(attempt, stop).map(|outcome| outcome.unwrap_or_else(Outcome::from)).boxed()
    }
}

/// A service's identity: what it is, and the values that its environment passes to it.
fn hash(attempt: &Attempt, spec: &ServiceSpec) -> String {
    let passed = attempt.passed(&spec.pass_env);
    let identity = serde_json::json!({"spec": spec, "passed": passed});
    format!("{:x}", Sha256::digest(identity.to_string()))
}

/// What is known of the declared services, and how long they have made no progress.
struct Watch {
    specs: Vec<ServiceSpec>,
    patience: Duration,
    states: BTreeMap<(String, i32), ServiceStatus>,
    progress: u64,
    waited: Duration,
    heard_at: Option<Instant>,
}

impl Watch {
    fn new(specs: Vec<ServiceSpec>, patience: Duration) -> Self {
        Self { specs, patience, states: BTreeMap::new(), progress: 0, waited: Duration::ZERO, heard_at: None }
    }

    /// Takes the news; the lines to log are those of replicas whose state has changed.
    fn see(&mut self, news: &[ServiceStatus], now: Instant) -> Vec<String> {
        let silence = self.heard_at.map_or(Duration::ZERO, |at| now.duration_since(at));
        self.waited += silence.min(SILENCE_COUNTED_MAX);
        self.heard_at = Some(now);
        let progress: u64 = news.iter().map(|status| status.progress).sum();
        if progress > self.progress {
            self.waited = Duration::ZERO;
        }
        self.progress = progress;
        news.iter().filter_map(|status| self.see_one(status)).collect()
    }

    fn see_one(&mut self, status: &ServiceStatus) -> Option<String> {
        let place = (status.key.name.clone(), status.key.replica);
        let before = self.states.insert(place, status.clone());
        let changed = before.is_none_or(|before| before.state != status.state);
        changed.then(|| format!("{} {}: {}: {}", status.key.name, status.key.replica, status.state, status.sentence))
    }

    fn decide(&self) -> Option<Outcome> {
        let waiting = self.waiting();
        if waiting.is_empty() {
            return Some(Outcome::success());
        }
        let stopped =
            waiting.iter().find(|(_, status)| status.is_some_and(|status| status.state == ServiceState::Stopped));
        if let Some((name, _)) = stopped {
            return Some(Outcome::failed(format!(
                "service {name} was stopped by command; start it, then run this task again"
            )));
        }
        (self.waited >= self.patience).then(|| Outcome::failed(self.complaint(&waiting)))
    }

    /// The replicas that are neither ready nor completed.
    fn waiting(&self) -> Vec<(String, Option<&ServiceStatus>)> {
        let replicas =
            self.specs.iter().flat_map(|spec| (0..spec.replicas).map(move |replica| (spec.name.clone(), replica)));
        let stands = replicas.map(|place| (format!("{} {}", place.0, place.1), self.states.get(&place)));
        let done = |state| matches!(state, ServiceState::Ready | ServiceState::Completed);
        stands.filter(|(_, status)| !status.is_some_and(|status| done(status.state))).collect()
    }

    fn complaint(&self, waiting: &[(String, Option<&ServiceStatus>)]) -> String {
        let parts = waiting.iter().map(|(name, status)| match status {
            Some(status) => format!("{name} is {} ({})", status.state, status.sentence),
            None => format!("{name} is unknown to the leader"),
        });
        let parts = parts.collect::<Vec<_>>().join("; ");
        format!("no progress for {} s (ready_timeout): {parts}", self.patience.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use model::{DagId, EndKind, ServiceKey, operator::ReadyWhen};

    use super::*;
    use crate::Masker;

    fn watch() -> Watch {
        let spec = ServiceSpec {
            name: "sink".into(),
            command: vec!["sink".into()],
            container: None,
            replicas: 1,
            env: BTreeMap::new(),
            pass_env: Vec::new(),
            ready_when: ReadyWhen::CaughtUp,
            stop_timeout_secs: 10.0,
        };
        Watch::new(vec![spec], Duration::from_secs(10))
    }

    fn status(state: ServiceState, progress: u64) -> ServiceStatus {
        let key = ServiceKey { dag: DagId::new("d").unwrap(), name: "sink".into(), replica: 0 };
        ServiceStatus { key, state, progress, sentence: format!("{progress} records") }
    }

    fn kind(outcome: Option<Outcome>) -> Option<(EndKind, String)> {
        outcome.map(|outcome| outcome.into_end(&Masker::default())).map(|end| (end.kind, end.reason))
    }

    #[test]
    fn patience_is_counted_from_the_last_progress() {
        let (mut watch, start) = (watch(), Instant::now());
        for second in 0..60 {
            watch.see(&[status(ServiceState::Running, second)], start + Duration::from_secs(second));
            assert_eq!(kind(watch.decide()), None);
        }
        for second in 60..69 {
            watch.see(&[status(ServiceState::Running, 59)], start + Duration::from_secs(second));
            assert_eq!(kind(watch.decide()), None, "{second}");
        }
        watch.see(&[status(ServiceState::Running, 59)], start + Duration::from_secs(70));
        let (kind, reason) = kind(watch.decide()).unwrap();
        assert_eq!(kind, EndKind::Failed);
        assert!(reason.contains("sink 0 is running (59 records)"), "{reason}");
    }

    #[test]
    fn a_leaders_silence_is_not_the_services_fault() {
        let (mut watch, start) = (watch(), Instant::now());
        watch.see(&[status(ServiceState::Running, 1)], start);
        watch.see(&[status(ServiceState::Running, 1)], start + Duration::from_secs(3600));
        assert_eq!(kind(watch.decide()), None);
    }

    #[test]
    fn a_change_of_state_is_logged_once_and_ready_is_success() {
        let (mut watch, now) = (watch(), Instant::now());
        assert_eq!(watch.see(&[status(ServiceState::Running, 1)], now), ["sink 0: running: 1 records"]);
        assert!(watch.see(&[status(ServiceState::Running, 2)], now).is_empty());
        assert_eq!(kind(watch.decide()), None);
        watch.see(&[status(ServiceState::Ready, 2)], now);
        assert_eq!(kind(watch.decide()).unwrap().0, EndKind::Success);
    }
}
