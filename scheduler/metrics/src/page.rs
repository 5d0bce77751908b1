//! The text of `/metrics`, in the OpenMetrics format that every Prometheus since version 2.5 reads.

use std::sync::Arc;

use axum::{
    Router,
    http::header,
    response::{IntoResponse, Response},
    routing::get,
};
use prometheus_client::{encoding::text::encode, registry::Registry};

const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What a process shows; cheap to clone.
#[derive(Debug, Clone)]
pub struct Page(Arc<Registry>);

impl Page {
    /// Shows a registry, to which nothing is added any more.
    #[must_use]
    pub fn new(registry: Registry) -> Self {
        Self(Arc::new(registry))
    }

    /// Every metric as it is now.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.0).expect("writing into a string does not fail");
        text
    }

    /// The route `/metrics`.
    pub fn router(self) -> Router {
        Router::new().route("/metrics", get(async move || self.into_response()))
    }
}

impl IntoResponse for Page {
    fn into_response(self) -> Response {
        ([(header::CONTENT_TYPE, CONTENT_TYPE)], self.text()).into_response()
    }
}
