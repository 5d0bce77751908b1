//! The operator `http`, and the requests that `http_sensor` makes, too.
//!
//! A request has a time limit, follows a bounded number of redirects and reads a bounded body. Nothing is tried again
//! here: that is for the task's retries.

mod address;
mod request;
mod response;
mod settings;

use futures::{FutureExt as _, future::BoxFuture};
use model::operator::Http;
use serde_json::Value;

pub(crate) use request::Exchange;
pub(crate) use response::Response;

use crate::{
    Attempt, Executor, Outcome, Stop,
    branch::is_yes,
    log::Stream,
    template::{TemplateError, to_json},
};

/// Makes one request.
pub(crate) struct HttpExecutor {
    keys: Http,
}

impl HttpExecutor {
    /// An executor for one task.
    pub(crate) fn new(keys: Http) -> Self {
        Self { keys }
    }

    async fn outcome(&self, attempt: &Attempt) -> Result<Outcome, Outcome> {
        let exchange = Exchange::prepare(attempt, &self.keys.request).await?;
        let response = exchange.send(attempt).await.map_err(Outcome::failed)?;
        if self.keys.log_response {
            response.text().lines().for_each(|line| attempt.log.line(Stream::Out, line));
        }
        if exchange.checks_response() && response.is_error() {
            return Err(Outcome::failed(response.complaint()));
        }
        if let Some(template) = &self.keys.response_check
            && !holds(attempt, template, &response).await?
        {
            return Err(Outcome::failed(format!("response_check does not hold: {}", response.summary())));
        }
        if !attempt.assignment.do_xcom_push {
            return Ok(Outcome::success());
        }
        let value = match &self.keys.response_filter {
            Some(template) => filtered(attempt, template, &response).await?,
            None => response.value(),
        };
        Ok(Outcome::success().returned(value))
    }
}

impl Executor for HttpExecutor {
    fn run<'a>(&'a self, attempt: &'a Attempt, stop: &'a Stop) -> BoxFuture<'a, Outcome> {
        async move {
            tokio::select! {
                outcome = self.outcome(attempt) => outcome.unwrap_or_else(|outcome| outcome),
                cause = stop.requested() => cause.into(),
            }
        }
        .boxed()
    }
}

/// Whether a `response_check` holds.
pub(crate) async fn holds(attempt: &Attempt, template: &str, response: &Response) -> Result<bool, TemplateError> {
    let (template, response) = (template.to_owned(), response.as_template_value());
    attempt
        .render(move |renderer| Ok(is_yes(&renderer.with("response", response).value("response_check", &template)?)))
        .await
}

async fn filtered(attempt: &Attempt, template: &str, response: &Response) -> Result<Value, TemplateError> {
    let (template, response) = (template.to_owned(), response.as_template_value());
    attempt
        .render(move |renderer| {
            let value = renderer.with("response", response).value("response_filter", &template)?;
            to_json("response_filter", &value)
        })
        .await
}

#[cfg(test)]
mod tests {
    use link::ConnectionFields;

    /// A connection with this host and extra, and nothing else.
    pub(super) fn connection(host: &str, extra: &str) -> ConnectionFields {
        ConnectionFields {
            conn_id: "api".into(),
            conn_type: "http".into(),
            host: Some(host.into()),
            schema: None,
            login: None,
            password: None,
            port: None,
            extra: Some(extra.into()),
        }
    }
}
