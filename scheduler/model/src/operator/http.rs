//! Keys of `http`, and of the request that it shares with `http_sensor`.

use std::{collections::BTreeMap, str::FromStr};

use serde::{Deserialize, Serialize};

/// Keys of `http`, as Airflow's HttpOperator has them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Http {
    /// What is asked.
    pub request: HttpRequest,
    /// A template with the name `response`; the task fails when it does not hold.
    #[serde(default)]
    pub response_check: Option<String>,
    /// A template with the name `response` that gives what the task returns; its body when absent.
    #[serde(default)]
    pub response_filter: Option<String>,
    /// Whether the body is written to the log.
    #[serde(default)]
    pub log_response: bool,
}

/// One HTTP request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HttpRequest {
    /// Where it goes.
    pub target: HttpTarget,
    /// Its method.
    pub method: HttpMethod,
    /// Headers beside those of the connection.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// What it carries.
    #[serde(default)]
    pub payload: HttpPayload,
    /// How it is made.
    #[serde(default)]
    pub options: HttpOptions,
}

/// Where a request goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HttpTarget {
    /// Below a connection's host, with its login and headers.
    Connection {
        /// The connection.
        http_conn_id: String,
        /// The path, and what follows it.
        endpoint: String,
    },
    /// A whole URL, without a connection.
    Url(String),
}

/// What a request carries. Texts are templates.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HttpPayload {
    /// Nothing.
    #[default]
    None,
    /// A mapping or a text: the query of GET and HEAD; otherwise the body, a mapping as a form.
    Data(serde_json::Value),
    /// A body in JSON.
    Json(serde_json::Value),
}

/// Airflow's `extra_options`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HttpOptions {
    /// How long the whole exchange may take, in seconds.
    pub timeout_secs: f64,
    /// Whether redirects are followed.
    pub allow_redirects: bool,
    /// How many of them.
    pub max_redirects: u32,
    /// Whether a status of 400 or more is a failure.
    pub check_response: bool,
    /// Whether the server's certificate is checked.
    pub verify: bool,
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self { timeout_secs: 60.0, allow_redirects: true, max_redirects: 30, check_response: true, verify: true }
    }
}

/// The method of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum HttpMethod {
    /// GET
    Get,
    /// HEAD
    Head,
    /// POST
    Post,
    /// PUT
    Put,
    /// PATCH
    Patch,
    /// DELETE
    Delete,
    /// OPTIONS
    Options,
}

impl HttpMethod {
    /// Every method's name.
    pub const NAMES: &'static [&'static str] = &["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

    /// As it is written in a request.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
            Self::Options => "OPTIONS",
        }
    }
}

impl FromStr for HttpMethod {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let all = [Self::Get, Self::Head, Self::Post, Self::Put, Self::Patch, Self::Delete, Self::Options];
        let found = all.into_iter().find(|method| method.name() == text);
        found.ok_or_else(|| format!("{text:?} is no HTTP method; there are {}", Self::NAMES.join(", ")))
    }
}
