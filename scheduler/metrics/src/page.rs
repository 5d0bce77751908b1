//! The text of `/metrics`, in the OpenMetrics format that every Prometheus since version 2.5 reads.

use std::{fmt, sync::Arc};

use axum::{
    Router,
    body::Body,
    http::header,
    response::{IntoResponse, Response},
    routing::get,
};
use prometheus_client::{encoding::text::encode, registry::Registry};

const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// How a process is, and why it is not well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// It does its work; the sentence says what that is.
    Well(String),
    /// It does not; the sentence says why.
    Ill(String),
}

/// Asks a process how it is. Never waits: the answer is of the process's own memory.
pub type Ask = Arc<dyn Fn() -> Health + Send + Sync>;

/// What a process shows; cheap to clone.
#[derive(Clone)]
pub struct Page {
    registry: Arc<Registry>,
    health: Option<Ask>,
}

impl fmt::Debug for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Page").field("registry", &self.registry).finish_non_exhaustive()
    }
}

impl Page {
    /// Shows a registry, to which nothing is added any more.
    #[must_use]
    pub fn new(registry: Registry) -> Self {
        Self { registry: Arc::new(registry), health: None }
    }

    /// The same with `/health`: 200 and a sentence, or 503 and the reason.
    #[must_use]
    pub fn with_health(mut self, ask: Ask) -> Self {
        self.health = Some(ask);
        self
    }

    /// Every metric as it is now.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("writing into a string does not fail");
        text
    }

    /// The routes `/metrics` and, where the process says how it is, `/health`.
    pub fn router(self) -> Router {
        let mut router = Router::new();
        if let Some(ask) = self.health.clone() {
            router = router.route("/health", get(async move || answer(&ask())));
        }
        router.route("/metrics", get(async move || self.into_response()))
    }
}

fn answer(health: &Health) -> Response {
    let (status, sentence) = match health {
        Health::Well(sentence) => (200, sentence),
        Health::Ill(reason) => (503, reason),
    };
    let answer = Response::builder().status(status).header(header::CONTENT_TYPE, "text/plain; charset=utf-8");
    answer.body(Body::from(format!("{sentence}\n"))).expect("status and header are valid")
}

impl IntoResponse for Page {
    fn into_response(self) -> Response {
        ([(header::CONTENT_TYPE, CONTENT_TYPE)], self.text()).into_response()
    }
}
