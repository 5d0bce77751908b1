//! One request: rendered, completed by its connection, sent.

use std::{collections::BTreeMap, error::Error as _, time::Duration};

use link::ConnectionFields;
use model::operator::{HttpMethod, HttpPayload, HttpRequest, HttpTarget};
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    Response,
    address::address,
    settings::{CONNECT_WAIT, SETTINGS, Settings},
};
use crate::{Attempt, Outcome};

/// The largest body that is read: it is held in memory, and an XCom may have far less.
const BODY_BYTES_MAX: usize = 8 * 1024 * 1024;

/// A request that can be sent, again and again.
pub(crate) struct Exchange {
    client: Client,
    method: HttpMethod,
    url: String,
    login: Option<(String, Option<String>)>,
    headers: BTreeMap<String, String>,
    payload: HttpPayload,
    timeout: Duration,
    checks_response: bool,
}

impl Exchange {
    /// Renders a request, looks its connection up, and shows both in the log.
    ///
    /// # Errors
    /// How the attempt ends when that is not possible.
    pub(crate) async fn prepare(attempt: &Attempt, request: &HttpRequest) -> Result<Self, Outcome> {
        Self::rendered(attempt, render(attempt, request).await?).await
    }

    /// The same of a request whose texts are no templates.
    ///
    /// # Errors
    /// How the attempt ends when that is not possible.
    pub(crate) async fn rendered(attempt: &Attempt, rendered: HttpRequest) -> Result<Self, Outcome> {
        let mut headers = BTreeMap::new();
        let mut settings = Settings::of_task(rendered.options);
        let (url, login) = match &rendered.target {
            HttpTarget::Url(url) => (url.clone(), None),
            HttpTarget::Connection { http_conn_id, endpoint } => {
                let connection =
                    attempt.connection(http_conn_id).await.map_err(|no| Outcome::failed(no.to_string()))?;
                settings = settings.with(&connection).map_err(Outcome::failed)?;
                headers.extend(headers_of(&connection).map_err(Outcome::failed)?);
                let login = connection.login.clone().filter(|login| !login.is_empty());
                (address(&connection, endpoint), login.map(|login| (login, connection.password.clone())))
            }
        };
        headers.extend(rendered.headers);
        headers.iter().for_each(|(name, value)| attempt.masker.add_header(name, value));
        attempt.masker.add_in_text(&url);
        attempt.log_rendered(json!({"method": rendered.method.name(), "url": url, "payload": rendered.payload}));
        Ok(Self {
            client: settings.client().map_err(Outcome::failed)?,
            method: rendered.method,
            url,
            login,
            headers,
            payload: rendered.payload,
            timeout: seconds(settings.options.timeout_secs),
            checks_response: settings.options.check_response,
        })
    }

    /// Whether a status of 400 or more is a failure.
    pub(crate) fn checks_response(&self) -> bool {
        self.checks_response
    }

    /// What is asked, for sentences.
    pub(crate) fn name(&self) -> String {
        format!("{} {}", self.method.name(), self.url)
    }

    /// Sends it and reads the answer.
    ///
    /// # Errors
    /// One sentence: no such host, no connection, no trust, no answer in time, too large an answer.
    pub(crate) async fn send(&self, attempt: &Attempt) -> Result<Response, String> {
        let began = Instant::now();
        let told = |error: &reqwest::Error| format!("{}: {}", self.name(), self.explain(error));
        let mut answer = self.builder().send().await.map_err(|error| told(&error))?;
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| told(&error))? {
            if body.len() + chunk.len() > BODY_BYTES_MAX {
                return Err(format!("{}: the answer has more than {BODY_BYTES_MAX} bytes", self.name()));
            }
            body.extend_from_slice(&chunk);
        }
        let response = Response::new(self.name(), &answer, &body);
        let millis = began.elapsed().as_millis();
        attempt.log.system(&format!(
            "{}: {}, {} bytes in {millis} ms",
            self.name(),
            response.status_line(),
            body.len()
        ));
        Ok(response)
    }

    fn builder(&self) -> RequestBuilder {
        let mut builder = self.client.request(method(self.method), &self.url).timeout(self.timeout);
        if let Some((login, password)) = &self.login {
            builder = builder.basic_auth(login, password.as_ref());
        }
        for (name, value) in &self.headers {
            builder = builder.header(name, value);
        }
        let in_query = matches!(self.method, HttpMethod::Get | HttpMethod::Head);
        match &self.payload {
            HttpPayload::None => builder,
            HttpPayload::Json(body) => builder.json(body),
            HttpPayload::Data(Value::Object(fields)) => {
                let pairs = pairs(fields);
                if in_query { builder.query(&pairs) } else { builder.form(&pairs) }
            }
            HttpPayload::Data(text) if in_query => {
                let pairs: Vec<(String, String)> =
                    url::form_urlencoded::parse(plain(text).as_bytes()).into_owned().collect();
                builder.query(&pairs)
            }
            HttpPayload::Data(text) => builder.body(plain(text)),
        }
    }

    fn explain(&self, error: &reqwest::Error) -> String {
        if error.is_timeout() && !error.is_connect() {
            format!("no whole answer within {} s (extra_options.timeout)", self.timeout.as_secs_f64())
        } else if error.is_timeout() {
            format!("no connection within {} s", CONNECT_WAIT.min(self.timeout).as_secs_f64())
        } else if error.is_connect() {
            format!("no connection: {}", sentence(error))
        } else {
            sentence(error)
        }
    }
}

async fn render(attempt: &Attempt, request: &HttpRequest) -> Result<HttpRequest, Outcome> {
    let request = request.clone();
    let rendered = attempt.render(move |renderer| {
        let target = match &request.target {
            HttpTarget::Url(url) => HttpTarget::Url(renderer.text("url", url)?),
            HttpTarget::Connection { http_conn_id, endpoint } => HttpTarget::Connection {
                http_conn_id: renderer.text("http_conn_id", http_conn_id)?,
                endpoint: renderer.text("endpoint", endpoint)?,
            },
        };
        let payload = match &request.payload {
            HttpPayload::None => HttpPayload::None,
            HttpPayload::Data(data) => HttpPayload::Data(renderer.json("data", data)?),
            HttpPayload::Json(body) => HttpPayload::Json(renderer.json("json", body)?),
        };
        Ok(HttpRequest { target, payload, headers: renderer.map("headers", &request.headers)?, ..request })
    });
    Ok(rendered.await?)
}

/// What is no setting in a connection's `extra` is a header.
///
/// # Errors
/// One sentence with the name of what is no text: it would be left out without a word.
fn headers_of(connection: &ConnectionFields) -> Result<BTreeMap<String, String>, String> {
    let extra = connection.extra_settings().unwrap_or_default();
    let own = match extra.get("headers") {
        None | Some(Value::Null) => None,
        Some(Value::Object(own)) => Some(own),
        Some(_) => {
            return Err(format!("connection {:?}, extra \"headers\": a mapping is expected", connection.conn_id));
        }
    };
    let is_header = |name: &str| name != "headers" && !SETTINGS.contains(&name);
    let fields = extra.iter().filter(|(name, _)| is_header(name));
    let text = |(name, value): (&String, &Value)| match value.as_str() {
        Some(text) => Ok((name.clone(), text.to_owned())),
        None => Err(format!(
            "connection {:?}, extra {name:?}: it is no setting, and as a header it has to be a text",
            connection.conn_id
        )),
    };
    fields.chain(own.into_iter().flatten()).filter(|(_, value)| !value.is_null()).map(text).collect()
}

fn method(method: HttpMethod) -> Method {
    match method {
        HttpMethod::Get => Method::GET,
        HttpMethod::Head => Method::HEAD,
        HttpMethod::Post => Method::POST,
        HttpMethod::Put => Method::PUT,
        HttpMethod::Patch => Method::PATCH,
        HttpMethod::Delete => Method::DELETE,
        HttpMethod::Options => Method::OPTIONS,
    }
}

fn seconds(secs: f64) -> Duration {
    Duration::try_from_secs_f64(secs).unwrap_or(Duration::MAX)
}

/// The fields of a form or query, as Python's `requests` writes them: a list is the field again and again, and none is nothing.
fn pairs(fields: &serde_json::Map<String, Value>) -> Vec<(&String, String)> {
    let mut pairs = Vec::new();
    for (name, value) in fields {
        match value {
            Value::Null => {}
            Value::Array(items) => {
                pairs.extend(items.iter().filter(|item| !item.is_null()).map(|item| (name, plain(item))))
            }
            one => pairs.push((name, plain(one))),
        }
    }
    pairs
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// What the innermost causes of an error say, without the URL, which the caller names.
fn sentence(error: &reqwest::Error) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let text = inner.to_string();
        if !parts.iter().any(|part| part.contains(&text)) {
            parts.push(text);
        }
        cause = inner.source();
    }
    if parts.is_empty() { error.to_string() } else { parts.join(": ") }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::connection, *};

    #[test]
    fn lists_and_nothing_in_a_form_are_written_as_requests_does() {
        let fields = json!({"id": [1, null, "two"], "none": null, "flag": true});
        let fields = fields.as_object().unwrap();
        let written: Vec<String> = pairs(fields).into_iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(written.join("&"), "id=1&id=two&flag=true");
    }

    #[test]
    fn texts_in_a_connections_extra_are_headers() {
        let extra = r#"{"X-Key": "k", "timeout": "5", "verify": false, "headers": {"Accept": "text/csv"}}"#;
        let expected = [("Accept".to_owned(), "text/csv".to_owned()), ("X-Key".to_owned(), "k".to_owned())];
        assert_eq!(headers_of(&connection("x.test", extra)), Ok(expected.into()));
        let refused = headers_of(&connection("x.test", r#"{"X-Retries": 5}"#)).unwrap_err();
        assert!(refused.contains("X-Retries") && refused.contains("text"), "{refused}");
    }
}
