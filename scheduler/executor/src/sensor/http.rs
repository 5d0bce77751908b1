//! The operator `http_sensor`: an answer below 400 for which its check holds.

use futures::{FutureExt as _, future::BoxFuture};
use model::operator::HttpSensor;

use super::{Found, Sight, unless_stopped, watch};
use crate::{
    Attempt, Executor, Outcome, Stop,
    http::{Exchange, holds},
};

/// Waits for an answer.
pub(crate) struct HttpSensorExecutor {
    keys: HttpSensor,
}

struct Question<'k> {
    exchange: Exchange,
    keys: &'k HttpSensor,
}

impl HttpSensorExecutor {
    /// An executor for one task.
    pub(crate) fn new(keys: HttpSensor) -> Self {
        Self { keys }
    }

    async fn outcome(&self, attempt: &Attempt, stop: &Stop) -> Result<Outcome, Outcome> {
        let exchange = Exchange::prepare(attempt, &self.keys.request).await?;
        let mut question = Question { exchange, keys: &self.keys };
        Ok(watch(&mut question, &self.keys.poking, attempt, stop).await)
    }
}

impl Executor for HttpSensorExecutor {
    fn run<'a>(&'a self, attempt: &'a Attempt, stop: &'a Stop) -> BoxFuture<'a, Outcome> {
        self.outcome(attempt, stop).map(|outcome| outcome.unwrap_or_else(|outcome| outcome)).boxed()
    }
}

impl Question<'_> {
    async fn ask(&self, attempt: &Attempt) -> Result<Found, Outcome> {
        let response = self.exchange.send(attempt).await.map_err(Outcome::failed)?;
        let said = format!("{} answered {}", self.exchange.name(), response.status_line());
        if self.keys.response_error_codes_allowlist.contains(&response.status()) {
            return Ok(Found::NotYet(said));
        }
        if self.exchange.checks_response() && response.is_error() {
            return Err(Outcome::failed(response.complaint()));
        }
        match &self.keys.response_check {
            Some(check) if !holds(attempt, check, &response).await? => {
                let summary = response.summary();
                Ok(Found::NotYet(format!("{}: response_check does not hold: {summary}", self.exchange.name())))
            }
            Some(_) | None => Ok(Found::There(said)),
        }
    }
}

impl Sight for Question<'_> {
    fn look<'a>(&'a mut self, attempt: &'a Attempt, stop: &'a Stop) -> BoxFuture<'a, Result<Found, Outcome>> {
        unless_stopped(stop, self.ask(attempt)).boxed()
    }
}
