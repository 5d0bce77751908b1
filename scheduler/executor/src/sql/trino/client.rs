//! Trino's HTTP API: one request at a time, with patience where it is safe.
//!
//! What always holds: a statement is handed over a second time only when the server surely did not take it; login and
//! user go to the connection's server alone, whatever an answer names as the next address.

use std::{error::Error as _, io, time::Duration};

use reqwest::{
    Certificate, Method, RequestBuilder, Response,
    header::{HeaderMap, HeaderName, HeaderValue},
    redirect::Policy,
};
use serde::Deserialize;
use url::Url;

use super::{
    caller::{Caller, SOURCE},
    page::{Page, QueryId, Rows},
    retry::{Patience, retry_after},
    session::Session,
    settings::{Login, Settings, Verify},
};
use crate::log::Log;

/// How long connecting may take.
const CONNECT_WAIT: Duration = Duration::from_secs(10);
/// A coordinator answers within a second or two, if only to say that there is nothing new.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// The largest answer: Trino's own pages have 16 MiB, and at most 128 MiB where somebody configured that.
const ANSWER_BYTES_MAX: usize = 160 * 1024 * 1024;
/// So much of a refusal's text is shown.
const REFUSAL_CHARS_SHOWN: usize = 300;
/// Without the second one, instants come without their microseconds.
const CAPABILITIES: &str = "PATH,PARAMETRIC_DATETIME,SESSION_AUTHORIZATION";

/// A request failed for good.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClientError {
    /// The client could not be made from the settings.
    #[error("{0}")]
    Settings(String),
    /// The server could not answer for as long as it was asked again.
    #[error("{doing}: {detail}, after {spent}")]
    GaveUp {
        /// What was being done.
        doing: &'static str,
        /// The last problem.
        detail: String,
        /// How often and how long it was tried.
        spent: String,
    },
    /// The connection broke in a request that may not be repeated.
    #[error("{doing}: {detail}; whether Trino took the statement is not known, so it is not sent again by this try")]
    Unclear {
        /// What was being done.
        doing: &'static str,
        /// The problem.
        detail: String,
    },
    /// The server refused.
    #[error("{doing}: Trino answered HTTP {status}{}", shown(text))]
    Refused {
        /// What was being done.
        doing: &'static str,
        /// The status.
        status: u16,
        /// What it said.
        text: String,
    },
    /// The server does not know the query any more.
    #[error(
        "{doing}: Trino does not know the query any more; it was restarted, or the query was without a client too long"
    )]
    Gone {
        /// What was being done.
        doing: &'static str,
    },
    /// An answer that is none of the protocol's.
    #[error("{doing}: the answer is not Trino's: {detail}")]
    Garbage {
        /// What was being done.
        doing: &'static str,
        /// What is wrong with it.
        detail: String,
    },
    /// An answer leads to another server.
    #[error(
        "Trino names {next} as its next address, but the connection is {server}: behind a proxy, set \
         http-server.process-forwarded=true on the coordinator"
    )]
    Elsewhere {
        /// What it names, without a path.
        next: String,
        /// The connection's server.
        server: String,
    },
}

/// When a request that failed may be sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Repeat {
    /// After any passing problem: asking twice is asking once.
    Safely,
    /// Only when the server surely did not take it.
    UnlessTaken,
}

/// A request's problem.
struct Problem {
    detail: String,
    passes: Passes,
    asked: Option<Duration>,
}

/// Whether a problem may pass by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Passes {
    /// It may, and the server took nothing.
    NothingTaken,
    /// It may, and the server may have taken the request.
    PerhapsTaken,
    /// It does not.
    Never,
}

/// A good answer.
#[derive(Debug)]
pub(super) struct Reply {
    /// The session's changes are here.
    pub(super) headers: HeaderMap,
    doing: &'static str,
    body: Vec<u8>,
}

impl Reply {
    /// The answer, with its rows as `R` takes them.
    pub(super) fn page<R: Rows>(&self) -> Result<Page<R>, ClientError> {
        self.json()
    }

    /// Its length.
    pub(super) fn bytes(&self) -> usize {
        self.body.len()
    }

    fn json<'a, T: Deserialize<'a>>(&'a self) -> Result<T, ClientError> {
        serde_json::from_slice(&self.body)
            .map_err(|error| ClientError::Garbage { doing: self.doing, detail: error.to_string() })
    }
}

/// A query as the coordinator lists it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    query_id: QueryId,
    state: QueryState,
    session: ListedSession,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListedSession {
    #[serde(default)]
    client_tags: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Known {
    state: QueryState,
}

/// How a query stands, as far as it matters to somebody else than its client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum QueryState {
    /// It did what it should.
    Finished,
    /// It had no effect.
    Failed,
    /// It is under way, in whichever phase.
    #[serde(other)]
    Alive,
}

/// A coordinator, as one attempt talks to it.
pub(super) struct Client {
    http: reqwest::Client,
    settings: Settings,
    statement: HeaderMap,
    log: Log,
}

impl Client {
    /// A client for one attempt.
    pub(super) fn new(settings: Settings, caller: &Caller, log: Log) -> Result<Self, ClientError> {
        let mut builder = reqwest::Client::builder()
            .connect_timeout(CONNECT_WAIT)
            .read_timeout(SILENCE_MAX)
            .redirect(Policy::none())
            .user_agent(SOURCE);
        match &settings.verify {
            Verify::Usual => {}
            Verify::Never => builder = builder.danger_accept_invalid_certs(true),
            Verify::Authorities(path) => {
                let wrong =
                    |detail: String| ClientError::Settings(format!("the PEM file {}: {detail}", path.display()));
                let pem = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
                for authority in Certificate::from_pem_bundle(&pem).map_err(|error| wrong(chain(&error)))? {
                    builder = builder.add_root_certificate(authority);
                }
            }
        }
        let http = builder.build().map_err(|error| ClientError::Settings(chain(&error)))?;
        let statement = headers([
            ("x-trino-source", SOURCE.to_owned()),
            ("x-trino-client-tags", caller.tags.join(",")),
            ("x-trino-client-info", caller.info.clone()),
            ("x-trino-trace-token", caller.instance.clone()),
            ("x-trino-time-zone", settings.time_zone.clone()),
            ("x-trino-client-capabilities", CAPABILITIES.to_owned()),
        ])?;
        Ok(Self { http, settings, statement, log })
    }

    /// Hands a statement over.
    pub(super) async fn submit(&self, session: &Session, sql: &str) -> Result<Reply, ClientError> {
        let url = self.url("v1/statement");
        let mut sent = self.statement.clone();
        for (name, value) in headers(session.headers())?.iter() {
            sent.append(name.clone(), value.clone());
        }
        if let Some(other) = session.user() {
            sent.extend(headers([("x-trino-original-user", self.settings.user.clone())])?);
            sent.extend(headers([("x-trino-user", other.to_owned())])?);
        } else {
            sent.extend(headers([("x-trino-user", self.settings.user.clone())])?);
        }
        let request = || self.request(Method::POST, url.clone()).headers(sent.clone()).body(sql.to_owned());
        self.send("handing the statement to Trino", Repeat::UnlessTaken, request).await.map_err(no_such_resource)
    }

    /// The next answer about a query.
    pub(super) async fn next(&self, uri: &Url) -> Result<Reply, ClientError> {
        self.own(uri)?;
        self.send("asking Trino how the query is", Repeat::Safely, || self.get(uri.clone())).await
    }

    /// Ends the query whose next answer would be at this address.
    pub(super) async fn cancel(&self, uri: &Url) -> Result<(), ClientError> {
        self.own(uri)?;
        self.delete(uri.clone()).await
    }

    /// Ends a query by its id.
    pub(super) async fn cancel_query(&self, query: &QueryId) -> Result<(), ClientError> {
        self.delete(self.url_of(query)).await
    }

    /// How a query stands; none when the coordinator has forgotten it.
    pub(super) async fn state_of(&self, query: &QueryId) -> Result<Option<QueryState>, ClientError> {
        let mut url = self.url_of(query);
        url.set_query(Some("pruned=true"));
        match self.send("asking Trino about an earlier query", Repeat::Safely, || self.get(url.clone())).await {
            Ok(reply) => Ok(Some(reply.json::<Known>()?.state)),
            Err(ClientError::Gone { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The queries with a client tag that are under way.
    pub(super) async fn alive_with_tag(&self, tag: &str) -> Result<Vec<QueryId>, ClientError> {
        let url = self.url("v1/query");
        let reply = self.send("looking for queries of earlier tries", Repeat::Safely, || self.get(url.clone())).await;
        let reply = reply.map_err(no_such_resource)?;
        let listed: Vec<Listed> = reply.json()?;
        let ours = listed.into_iter().filter(|one| one.state == QueryState::Alive && one.query_id.is_plain());
        Ok(ours.filter(|one| one.session.client_tags.iter().any(|own| own == tag)).map(|one| one.query_id).collect())
    }

    /// Login and user are for the connection's server.
    fn own(&self, uri: &Url) -> Result<(), ClientError> {
        let server = &self.settings.server;
        if uri.origin() == server.origin() {
            return Ok(());
        }
        let next = uri.origin().ascii_serialization();
        Err(ClientError::Elsewhere { next, server: server.origin().ascii_serialization() })
    }

    fn url(&self, path: &str) -> Url {
        self.settings.server.join(path).expect("a plain path joins any server's address")
    }

    fn url_of(&self, query: &QueryId) -> Url {
        self.url(&format!("v1/query/{query}"))
    }

    fn get(&self, url: Url) -> RequestBuilder {
        self.request(Method::GET, url).header("x-trino-user", &self.settings.user)
    }

    async fn delete(&self, url: Url) -> Result<(), ClientError> {
        let request = || self.request(Method::DELETE, url.clone()).header("x-trino-user", &self.settings.user);
        match self.send("cancelling the query", Repeat::Safely, request).await {
            Ok(_) | Err(ClientError::Gone { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn request(&self, method: Method, url: Url) -> RequestBuilder {
        let request = self.http.request(method, url);
        match &self.settings.login {
            Login::Trusted => request,
            Login::Password(password) => request.basic_auth(&self.settings.user, Some(password)),
            Login::Token(token) => request.bearer_auth(token),
        }
    }

    async fn send(
        &self,
        doing: &'static str,
        repeat: Repeat,
        request: impl Fn() -> RequestBuilder,
    ) -> Result<Reply, ClientError> {
        let mut patience = Patience::begin();
        loop {
            let problem = match request().send().await {
                Err(error) => broken(&error),
                Ok(response) => match answer(doing, response).await? {
                    Ok(reply) => return Ok(reply),
                    Err(problem) => problem,
                },
            };
            let detail = problem.detail;
            match (problem.passes, repeat) {
                (Passes::NothingTaken, _) | (Passes::PerhapsTaken, Repeat::Safely) => {}
                (Passes::PerhapsTaken, Repeat::UnlessTaken) => return Err(ClientError::Unclear { doing, detail }),
                (Passes::Never, _) => return Err(ClientError::GaveUp { doing, detail, spent: "one try".to_owned() }),
            }
            let Some(pause) = patience.pause(problem.asked) else {
                return Err(ClientError::GaveUp { doing, detail, spent: patience.spent() });
            };
            self.log.system(&format!("{doing}: {detail}; trying again in {:.1} s", pause.as_secs_f64()));
            tokio::time::sleep(pause).await;
        }
    }
}

impl ClientError {
    /// Whether a statement may be under way although handing it over failed.
    pub(super) const fn may_have_been_taken(&self) -> bool {
        match self {
            Self::Unclear { .. } | Self::Garbage { .. } | Self::Elsewhere { .. } => true,
            Self::Settings(_) | Self::GaveUp { .. } | Self::Refused { .. } | Self::Gone { .. } => false,
        }
    }
}

/// Where no query is named, "not found" is about the server.
fn no_such_resource(error: ClientError) -> ClientError {
    match error {
        ClientError::Gone { doing } => {
            ClientError::Refused { doing, status: 404, text: "is this a Trino coordinator?".to_owned() }
        }
        other => other,
    }
}

/// The answer as it is to be taken: whole, a problem that may pass, or a refusal.
async fn answer(doing: &'static str, response: Response) -> Result<Result<Reply, Problem>, ClientError> {
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let (asked, good) = (retry_after(&headers), response.status().is_success());
    let body = match body_of(doing, response).await? {
        Ok(body) => body,
        Err(problem) => return Ok(Err(problem)),
    };
    let passing = |passes| Problem { detail: format!("Trino answered HTTP {status}"), passes, asked };
    match status {
        _ if good => Ok(Ok(Reply { headers, doing, body })),
        // Both say that the request was not looked at.
        429 | 503 => Ok(Err(passing(Passes::NothingTaken))),
        502 | 504 => Ok(Err(passing(Passes::PerhapsTaken))),
        404 | 410 => Err(ClientError::Gone { doing }),
        _ => Err(ClientError::Refused { doing, status, text: String::from_utf8_lossy(&body).into_owned() }),
    }
}

async fn body_of(doing: &'static str, mut response: Response) -> Result<Result<Vec<u8>, Problem>, ClientError> {
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() <= ANSWER_BYTES_MAX => body.extend_from_slice(&chunk),
            Ok(Some(_)) => {
                let detail = format!("it has more than {ANSWER_BYTES_MAX} bytes");
                return Err(ClientError::Garbage { doing, detail });
            }
            Ok(None) => return Ok(Ok(body)),
            Err(error) => return Ok(Err(Problem { passes: Passes::PerhapsTaken, ..broken(&error) })),
        }
    }
}

/// A connection that could not be made took nothing; one that broke may have.
fn broken(error: &reqwest::Error) -> Problem {
    let passes = match io_kind(error) {
        Some(io::ErrorKind::ConnectionRefused) => Passes::NothingTaken,
        _ if error.is_connect() && error.is_timeout() => Passes::NothingTaken,
        Some(io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted) if error.is_connect() => {
            Passes::NothingTaken
        }
        // Such as a certificate that is not trusted, or a host that does not exist.
        _ if error.is_connect() || error.is_builder() => Passes::Never,
        _ => Passes::PerhapsTaken,
    };
    Problem { detail: chain(error), passes, asked: None }
}

fn io_kind(error: &reqwest::Error) -> Option<io::ErrorKind> {
    let mut source = error.source();
    while let Some(one) = source {
        if let Some(error) = one.downcast_ref::<io::Error>() {
            return Some(error.kind());
        }
        source = one.source();
    }
    None
}

/// The innermost cause says most; the address has a query's secret in it and is left out.
fn chain(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    match cause.downcast_ref::<reqwest::Error>() {
        Some(_) if error.is_timeout() => "no answer in time".to_owned(),
        Some(_) => "the request failed".to_owned(),
        None => cause.to_string(),
    }
}

/// A refusal's text as it follows the status.
fn shown(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let cut: String = line.chars().take(REFUSAL_CHARS_SHOWN).collect();
    if cut.is_empty() { cut } else { format!(": {cut}") }
}

fn headers(pairs: impl IntoIterator<Item = (&'static str, String)>) -> Result<HeaderMap, ClientError> {
    let mut map = HeaderMap::new();
    for (name, value) in pairs {
        let bad = |_| {
            ClientError::Settings(format!("{name} can not be sent: it has a line break or another control character"))
        };
        map.append(HeaderName::from_static(name), HeaderValue::from_bytes(value.as_bytes()).map_err(bad)?);
    }
    Ok(map)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_over_or_alive() {
        for (text, state) in [
            ("\"FINISHED\"", QueryState::Finished),
            ("\"FAILED\"", QueryState::Failed),
            ("\"WAITING_FOR_RESOURCES\"", QueryState::Alive),
            ("\"FINISHING\"", QueryState::Alive),
        ] {
            assert_eq!(serde_json::from_str::<QueryState>(text).unwrap(), state);
        }
    }

    #[test]
    fn a_refusal_is_one_short_line() {
        assert_eq!(shown(" Access\n Denied "), ": Access Denied");
        assert_eq!(shown(""), "");
        assert_eq!(shown(&"x".repeat(1000)).chars().count(), REFUSAL_CHARS_SHOWN + 2);
    }
}
