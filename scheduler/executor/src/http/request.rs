//! One request: rendered, completed by its connection, sent.

use std::{collections::BTreeMap, error::Error as _, time::Duration};

use link::ConnectionFields;
use model::operator::{HttpMethod, HttpOptions, HttpPayload, HttpRequest, HttpTarget};
use reqwest::{Client, Method, RequestBuilder, redirect::Policy};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::Response;
use crate::{Attempt, Outcome};

/// How long connecting may take, within the time limit of the whole exchange.
const CONNECT_WAIT: Duration = Duration::from_secs(15);

/// The largest body that is read: it is held in memory, and an XCom may have far less.
const BODY_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Settings in a connection's `extra` that are no headers.
const NO_HEADERS: &[&str] = &[
    "allow_redirects",
    "auth_kwargs",
    "auth_type",
    "cert",
    "check_response",
    "max_redirects",
    "proxies",
    "stream",
    "timeout",
    "trust_env",
    "verify",
];

/// A request that can be sent, again and again.
pub(crate) struct Exchange {
    client: Client,
    method: HttpMethod,
    url: String,
    login: Option<(String, Option<String>)>,
    headers: BTreeMap<String, String>,
    payload: HttpPayload,
    timeout: Duration,
}

impl Exchange {
    /// Renders a request, looks its connection up, and shows both in the log.
    ///
    /// # Errors
    /// How the attempt ends when that is not possible.
    pub(crate) async fn prepare(attempt: &Attempt, request: &HttpRequest) -> Result<Self, Outcome> {
        let rendered = render(attempt, request).await?;
        rendered.headers.iter().for_each(|(name, value)| attempt.masker.add_named(name, value));
        let mut headers = BTreeMap::new();
        let (url, login) = match &rendered.target {
            HttpTarget::Url(url) => (url.clone(), None),
            HttpTarget::Connection { http_conn_id, endpoint } => {
                let connection =
                    attempt.connection(http_conn_id).await.map_err(|no| Outcome::failed(no.to_string()))?;
                headers.extend(headers_of(&connection));
                let login = connection.login.clone().filter(|login| !login.is_empty());
                (address(&connection, endpoint), login.map(|login| (login, connection.password.clone())))
            }
        };
        headers.extend(rendered.headers);
        attempt.log_rendered(json!({"method": rendered.method.name(), "url": url, "payload": rendered.payload}));
        Ok(Self {
            client: client(&rendered.options).map_err(|error| Outcome::failed(sentence(&error)))?,
            method: rendered.method,
            url,
            login,
            headers,
            payload: rendered.payload,
            timeout: seconds(rendered.options.timeout_secs),
        })
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
                let pairs: Vec<(&String, String)> = fields.iter().map(|(name, value)| (name, plain(value))).collect();
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

/// A connection's host, with its schema and port, and the endpoint below it, put together as Airflow's HttpHook does.
fn address(connection: &ConnectionFields, endpoint: &str) -> String {
    let host = connection.host.as_deref().unwrap_or_default();
    let mut base = if host.contains("://") {
        host.to_owned()
    } else {
        format!("{}://{host}", connection.schema.as_deref().filter(|schema| !schema.is_empty()).unwrap_or("http"))
    };
    if let Some(port) = connection.port {
        base = format!("{base}:{port}");
    }
    if endpoint.is_empty() || endpoint.starts_with('/') || base.ends_with('/') {
        format!("{base}{endpoint}")
    } else {
        format!("{base}/{endpoint}")
    }
}

/// Every text in a connection's `extra` that is no setting is a header.
fn headers_of(connection: &ConnectionFields) -> BTreeMap<String, String> {
    let extra: Value = serde_json::from_str(connection.extra.as_deref().unwrap_or("{}")).unwrap_or_default();
    let own = extra.get("headers").and_then(Value::as_object).into_iter().flatten();
    let fields = extra.as_object().into_iter().flatten().filter(|(name, _)| !NO_HEADERS.contains(&name.as_str()));
    fields.chain(own).filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect()
}

fn client(options: &HttpOptions) -> Result<Client, reqwest::Error> {
    let redirects = usize::try_from(options.max_redirects).unwrap_or(usize::MAX);
    Client::builder()
        .user_agent(concat!("windlass/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_WAIT)
        .redirect(if options.allow_redirects { Policy::limited(redirects) } else { Policy::none() })
        .danger_accept_invalid_certs(!options.verify)
        .build()
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
    use super::*;

    fn connection(host: &str, schema: Option<&str>, port: Option<i32>, extra: Option<&str>) -> ConnectionFields {
        ConnectionFields {
            conn_id: "api".into(),
            conn_type: "http".into(),
            host: Some(host.into()),
            schema: schema.map(str::to_owned),
            login: None,
            password: None,
            port,
            extra: extra.map(str::to_owned),
        }
    }

    #[test]
    fn an_endpoint_is_put_below_its_connection_as_airflow_does() {
        let plain = connection("x.test", None, None, None);
        assert_eq!(address(&plain, "v1/a"), "http://x.test/v1/a");
        let tls = connection("x.test", Some("https"), Some(8443), None);
        assert_eq!(address(&tls, "/v1/a"), "https://x.test:8443/v1/a");
        let whole = connection("https://x.test/api/", None, None, None);
        assert_eq!(address(&whole, "v1"), "https://x.test/api/v1");
        assert_eq!(address(&whole, ""), "https://x.test/api/");
    }

    #[test]
    fn texts_in_a_connections_extra_are_headers() {
        let extra = r#"{"X-Key": "k", "timeout": "5", "verify": false, "headers": {"Accept": "text/csv"}}"#;
        let expected = [("Accept".to_owned(), "text/csv".to_owned()), ("X-Key".to_owned(), "k".to_owned())];
        assert_eq!(headers_of(&connection("x.test", None, None, Some(extra))), expected.into());
    }
}
