//! Messages to Slack, and to what understands the same JSON: by an incoming webhook, or by a token of Slack's API.

use futures::{FutureExt as _, future::BoxFuture};
use link::ConnectionFields;
use model::{
    callback::Slack,
    operator::{HttpMethod, HttpOptions, HttpPayload, HttpRequest, HttpTarget},
};
use serde_json::{Map, Value};

use super::until_stopped;
use crate::{Attempt, Executor, Outcome, Stop, http::Exchange};

/// What is said when a callback says nothing of its own.
const SUMMARY: &str = "{{ notification.summary }}";
/// Slack's API, unless the connection names another address.
const API: &str = "https://slack.com/api/";
/// How the tokens of Slack's API begin.
const TOKEN: &str = "xox";

pub(super) struct SlackExecutor {
    keys: Slack,
}

/// Where a message goes, and what proves who sends it.
#[derive(Debug, PartialEq, Eq)]
struct Way {
    url: String,
    token: Option<String>,
}

impl SlackExecutor {
    pub(super) fn new(keys: Slack) -> Self {
        Self { keys }
    }

    async fn outcome(&self, attempt: &Attempt) -> Result<Outcome, Outcome> {
        let keys = self.keys.clone();
        let rendered = attempt.render(move |renderer| {
            let conn_id = renderer.text("slack_conn_id", &keys.slack_conn_id)?;
            let mut body = Map::new();
            let text = keys.text.unwrap_or_else(|| SUMMARY.to_owned());
            body.insert("text".to_owned(), renderer.text("text", &text)?.into());
            for (name, source) in [("channel", keys.channel), ("username", keys.username)] {
                if let Some(source) = source {
                    body.insert(name.to_owned(), renderer.text(name, &source)?.into());
                }
            }
            for (name, value) in [("blocks", keys.blocks), ("attachments", keys.attachments)] {
                match value {
                    Some(Value::String(source)) => {
                        drop(body.insert(name.to_owned(), renderer.structure(name, &source)?));
                    }
                    Some(value) => drop(body.insert(name.to_owned(), renderer.json(name, &value)?)),
                    None => {}
                }
            }
            Ok((conn_id, body))
        });
        let (conn_id, body) = rendered.await?;
        let connection = attempt.connection(&conn_id).await.map_err(|no| Outcome::failed(no.to_string()))?;
        let way = way(&connection).map_err(Outcome::failed)?;
        attempt.masker.add(&way.url);
        if way.token.is_some() && !body.contains_key("channel") {
            return Err(Outcome::failed_for_good(format!(
                "connection {conn_id:?} has a token of Slack's API, which needs a channel: write it below slack"
            )));
        }
        let mut headers = std::collections::BTreeMap::new();
        if let Some(token) = &way.token {
            attempt.masker.add(token);
            headers.insert("Authorization".to_owned(), format!("Bearer {token}"));
        }
        let request = HttpRequest {
            target: HttpTarget::Url(way.url),
            method: HttpMethod::Post,
            headers,
            payload: HttpPayload::Json(Value::Object(body)),
            options: HttpOptions::default(),
        };
        let exchange = Exchange::rendered(attempt, request).await?;
        let response = exchange.send(attempt).await.map_err(Outcome::failed)?;
        if response.is_error() {
            return Err(Outcome::failed(response.complaint()));
        }
        // The API says with status 200 what is wrong.
        let answer = response.value();
        if way.token.is_some() && answer["ok"] != Value::Bool(true) {
            let why = answer["error"].as_str().unwrap_or("it did not say why");
            return Err(Outcome::failed(format!("Slack refused the message: {why}")));
        }
        Ok(Outcome::success())
    }
}

impl Executor for SlackExecutor {
    fn run<'a>(&'a self, attempt: &'a Attempt, stop: &'a Stop) -> BoxFuture<'a, Outcome> {
        until_stopped(stop, self.outcome(attempt).boxed()).boxed()
    }
}

/// As Airflow's connections of types `slack` and `slackwebhook` have it: a token as password, or a webhook's address, whose last
/// part may be the password.
fn way(connection: &ConnectionFields) -> Result<Way, String> {
    let given =
        |field: &Option<String>| field.as_deref().map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned);
    let (host, password) = (given(&connection.host), given(&connection.password));
    let extra = connection.extra_settings().unwrap_or_default();
    let base = |absent: &str| extra.get("base_url").and_then(Value::as_str).unwrap_or(absent).to_owned();
    match (host, password) {
        (_, Some(token)) if token.starts_with(TOKEN) => {
            Ok(Way { url: format!("{}/chat.postMessage", base(API).trim_end_matches('/')), token: Some(token) })
        }
        (_, Some(url)) if url.starts_with("http://") || url.starts_with("https://") => Ok(Way { url, token: None }),
        (Some(host), password) => {
            let scheme = given(&connection.schema).unwrap_or_else(|| "https".to_owned());
            let host = if host.contains("://") { host } else { format!("{scheme}://{host}") };
            let host = connection.port.map_or_else(|| host.clone(), |port| with_port(&host, port));
            let path = password.map(|path| format!("/{}", path.trim_start_matches('/'))).unwrap_or_default();
            Ok(Way { url: format!("{}{path}", host.trim_end_matches('/')), token: None })
        }
        (None, _) => Err(format!(
            "connection {:?} names neither a webhook (its address as host, its last part may be the password) nor a token as password",
            connection.conn_id
        )),
    }
}

fn with_port(host: &str, port: i32) -> String {
    let start = host.find("://").map_or(0, |at| at + 3);
    let end = host[start..].find('/').map_or(host.len(), |at| start + at);
    format!("{}:{port}{}", &host[..end], &host[end..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(host: &str, password: &str) -> Result<Way, String> {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        way(&ConnectionFields {
            conn_id: "s".into(),
            conn_type: "slack".into(),
            host: some(host),
            schema: None,
            login: None,
            password: some(password),
            port: None,
            extra: None,
        })
    }

    #[test]
    fn a_connection_is_a_webhook_or_a_token() {
        let webhook = |url: &str| Ok(Way { url: url.to_owned(), token: None });
        assert_eq!(
            at("https://hooks.slack.com/services", "/T00/B00/x"),
            webhook("https://hooks.slack.com/services/T00/B00/x")
        );
        assert_eq!(at("hooks.example.com/a", ""), webhook("https://hooks.example.com/a"));
        assert_eq!(at("", "https://hooks.slack.com/services/T/B/x"), webhook("https://hooks.slack.com/services/T/B/x"));
        let token = at("", "xoxb-1").unwrap();
        assert_eq!(
            (token.url.as_str(), token.token.as_deref()),
            ("https://slack.com/api/chat.postMessage", Some("xoxb-1"))
        );
        assert!(at("", "").unwrap_err().contains("neither a webhook"));
    }
}
