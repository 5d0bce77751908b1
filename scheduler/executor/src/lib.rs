//! Carries out attempts: renders their templates, runs their processes, SQL and requests, and says how they ended.
//!
//! However an attempt ends, it is an [`Outcome`], never an error of this crate. No process of an attempt starts before
//! its process group is known to the guard, and none outlives the attempt. Secrets do not reach logs or reasons.

mod asking;
mod assets;
mod attempt;
mod bash;
mod branch;
pub mod docker;
pub mod environment;
mod http;
mod kafka;
pub mod log;
mod mapped;
mod mask;
pub mod notify;
mod outcome;
mod output;
pub mod process;
mod python;
mod retry;
mod sensor;
mod service;
mod sql;
mod stop;
mod template;
pub mod trial;
mod trigger;
mod workspace;
mod xcom;

use std::time::Duration;

use futures::future::BoxFuture;
use kafka::KafkaTask;
use model::{AttemptEnd, EndKind, Operator};
use tokio::time::Instant;

pub use attempt::{Attempt, GivenOperators, Host, LakeSettings, WorkerContext};
pub use mapped::Elements;
pub use mask::Masker;
pub use model::masking::{MASK, is_secret_name};
pub use outcome::Outcome;
pub use stop::{Stop, StopCause};
pub use template::{TemplateError, check};
pub use workspace::{Workspace, Workspaces};

/// Where an attempt is carried out.
pub trait Executor: Send + Sync {
    /// Runs the attempt to its end; a request on `stop` ends it early, with everything that it started.
    fn run<'a>(&'a self, attempt: &'a Attempt, stop: &'a Stop) -> BoxFuture<'a, Outcome>;
}

/// Runs an attempt by the executor of its operator, within its execution_timeout.
pub async fn run(attempt: &Attempt, stop: &Stop) -> AttemptEnd {
    if stop.is_requested() {
        return ended(attempt, stop.requested().await.into(), Instant::now());
    }
    resume(attempt, stop, Duration::ZERO).await
}

/// The same for an attempt that an earlier worker began so long ago. A stop that was asked for already is left to the
/// executor: what it started then has to be ended.
pub async fn resume(attempt: &Attempt, stop: &Stop, age: Duration) -> AttemptEnd {
    let now = Instant::now();
    let began = now.checked_sub(age).unwrap_or(now);
    let work = async {
        match attempt.operator().await {
            Ok(operator) => executor_of(&operator).run(attempt, stop).await,
            Err(outcome) => outcome,
        }
    };
    let outcome = within_limits(attempt, (stop, began), work).await;
    finish(attempt, (stop, began), outcome).await
}

/// Goes on with a wait without a slot that began so long ago: one more look, unless its time is over or it is to stop.
pub async fn look_again(attempt: &Attempt, stop: &Stop, age: Duration) -> AttemptEnd {
    if let Some(timeout) = attempt.execution_timeout().filter(|timeout| age >= *timeout) {
        stop.request(too_long(timeout));
    }
    if !stop.is_requested() {
        return resume(attempt, stop, age).await;
    }
    // It has started nothing that would have to be ended.
    let now = Instant::now();
    let cause = stop.requested().await;
    let outcome = match attempt.assignment.operator.poking() {
        Some(poking) => sensor::stopped(poking, cause),
        None => cause.into(),
    };
    finish(attempt, (stop, now.checked_sub(age).unwrap_or(now)), outcome).await
}

async fn finish(attempt: &Attempt, (stop, began): (&Stop, Instant), outcome: Outcome) -> AttemptEnd {
    // What fails because it is to end, such as a question that nobody waits for any more, has ended for that reason.
    if outcome.kind() == EndKind::Failed && stop.is_requested() {
        return ended(attempt, stop.requested().await.into(), began);
    }
    let outcome = retry::judged(attempt, outcome).await;
    let name = attempt::STOP.scope(stop.clone(), attempt.rendered_map_index()).await;
    AttemptEnd { rendered_map_index: name, ..ended(attempt, outcome, began) }
}

/// Does the work of an attempt until its time is over or its log can not be written.
async fn within_limits(
    attempt: &Attempt,
    (stop, began): (&Stop, Instant),
    work: impl Future<Output = Outcome>,
) -> Outcome {
    tokio::select! {
        biased;
        outcome = attempt::STOP.scope(stop.clone(), work) => outcome,
        never = stop_at_limits(attempt, stop, began) => match never {},
    }
}

fn ended(attempt: &Attempt, outcome: Outcome, began: Instant) -> AttemptEnd {
    let outcome = if attempt.assignment.multiple_outputs { outcome.with_each_output() } else { outcome };
    let outcome = outcome.within_limits();
    // One that goes on without a slot has not ended.
    if outcome.kind() != EndKind::Rescheduled || !attempt.assignment.operator.defers() {
        attempt.log.system(&outcome.sentence());
    }
    attempt.log.flush();
    let mut end = outcome.into_end(&attempt.masker);
    end.ran_micros = i64::try_from(began.elapsed().as_micros()).unwrap_or(i64::MAX);
    end
}

fn executor_of(operator: &Operator) -> Box<dyn Executor> {
    match operator {
        Operator::Empty | Operator::LatestOnly => Box::new(branch::EmptyExecutor),
        Operator::Bash(keys) => Box::new(bash::BashExecutor::new(keys.clone())),
        Operator::Python(keys) => Box::new(python::PythonExecutor::new(keys.clone())),
        Operator::PythonCallable(keys) => Box::new(python::CallableExecutor::new((**keys).clone())),
        Operator::Sql(keys) => Box::new(sql::SqlExecutor::new(keys.clone(), sql::Purpose::Execute)),
        Operator::SqlCheck(keys) => Box::new(sql::SqlExecutor::new(keys.clone(), sql::Purpose::Check)),
        Operator::Docker(keys) => Box::new(docker::DockerExecutor::new((**keys).clone())),
        Operator::Service(keys) => Box::new(service::ServiceExecutor::new(keys.clone())),
        Operator::Branch(keys) => Box::new(branch::BranchExecutor::new(keys.clone())),
        Operator::ShortCircuit(keys) => Box::new(branch::ShortCircuitExecutor::new(keys.clone())),
        Operator::Http(keys) => Box::new(http::HttpExecutor::new(keys.clone())),
        Operator::TriggerDagRun(keys) => Box::new(trigger::TriggerExecutor::new(keys.clone())),
        Operator::FileSensor(keys) => Box::new(sensor::FileSensorExecutor::new(keys.clone())),
        Operator::HttpSensor(keys) => Box::new(sensor::HttpSensorExecutor::new(keys.clone())),
        Operator::SqlSensor(keys) => Box::new(sensor::SqlSensorExecutor::new(keys.clone())),
        Operator::ExternalTaskSensor(keys) => Box::new(sensor::ExternalTaskSensorExecutor::new(keys.clone())),
        Operator::DateTimeSensor(keys) => Box::new(sensor::TimeSensorExecutor::until(keys.clone())),
        Operator::TimeDeltaSensor(keys) => Box::new(sensor::TimeSensorExecutor::after(keys.clone())),
        Operator::KafkaSensor(keys) => Box::new(sensor::KafkaSensorExecutor::new(keys.clone())),
        Operator::KafkaProduce(keys) => kafka(KafkaTask::Produce(keys.clone())),
        Operator::KafkaConsume(keys) => kafka(KafkaTask::Consume(keys.clone())),
        Operator::KafkaTopic(keys) => kafka(KafkaTask::Topic(keys.clone())),
        Operator::KafkaLag(keys) => kafka(KafkaTask::Lag(keys.clone())),
        Operator::Approval(keys) => Box::new(asking::AskingExecutor::new(keys.asking.clone())),
        Operator::Choice(keys) => Box::new(asking::AskingExecutor::new(keys.asking.clone())),
    }
}

fn kafka(task: KafkaTask) -> Box<dyn Executor> {
    Box::new(kafka::KafkaExecutor::new(task))
}

fn too_long(timeout: Duration) -> StopCause {
    let reason = format!("it ran longer than its execution_timeout of {} s", timeout.as_secs_f64());
    StopCause { kind: EndKind::TimedOut, reason }
}

/// Asks for a stop when the attempt runs too long or its log can not be written; never ends by itself.
async fn stop_at_limits(attempt: &Attempt, stop: &Stop, began: Instant) -> std::convert::Infallible {
    let timeout = async {
        match attempt.execution_timeout() {
            Some(timeout) => {
                tokio::time::sleep(timeout.saturating_sub(began.elapsed())).await;
                too_long(timeout)
            }
            None => std::future::pending().await,
        }
    };
    let cause = tokio::select! {
        cause = timeout => cause,
        reason = attempt.log.fault() => StopCause { kind: EndKind::Failed, reason },
    };
    stop.request(cause);
    std::future::pending().await
}
