//! How long requests take, by the route's template: never by the path, which has ids and whatever a client sends.

use std::time::Instant;

use axum::{
    extract::{MatchedPath, Request, State},
    http::Method,
    middleware::Next,
    response::Response,
};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, histogram::Histogram},
    registry::Registry,
};

/// The route of a request for which there is none.
const NO_ROUTE: &str = "unknown";

/// A kind of requests.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    method: &'static str,
    route: String,
    status: &'static str,
}

/// The requests of a web server, counted and timed until their answer begins.
#[derive(Debug, Clone)]
pub struct Requests {
    times: Family<Kind, Histogram, fn() -> Histogram>,
    refused: Counter,
}

impl Default for Requests {
    fn default() -> Self {
        Self { times: Family::new_with_constructor(crate::work_seconds), refused: Counter::default() }
    }
}

impl Requests {
    /// Shows them.
    pub fn register(&self, registry: &mut Registry) {
        let help = "Time until a request is answered, by route template and class of the status";
        let all = crate::windlass(registry);
        all.register("http_request_duration_seconds", help, self.times.clone());
        all.register("http_requests_refused", "Requests for which there was no room", self.refused.clone());
    }

    /// One was refused for want of room.
    pub fn refused(&self) {
        self.refused.inc();
    }
}

/// The layer that times each request.
pub async fn time(State(requests): State<Requests>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let route = request.extensions().get::<MatchedPath>().map_or(NO_ROUTE, MatchedPath::as_str).to_owned();
    let method = name_of(request.method());
    let response = next.run(request).await;
    let status = class_of(response.status().as_u16());
    requests.times.get_or_create(&Kind { method, route, status }).observe(began.elapsed().as_secs_f64());
    response
}

/// A method's name; a client may invent others.
fn name_of(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

const fn class_of(status: u16) -> &'static str {
    match status / 100 {
        1 => "1xx",
        2 => "2xx",
        3 => "3xx",
        4 => "4xx",
        _ => "5xx",
    }
}
