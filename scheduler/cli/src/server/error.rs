//! How talking to a server fails, with what to do about it.

use std::error::Error;

use serde_json::Value;

use crate::{exit::Exit, output::visible};

/// More of what a server says is not repeated.
const DETAIL_CHARS_MAX: usize = 1_000;

/// A request to a server failed.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// Nothing answers there, or it hung up.
    #[error("{address} can not be reached: {reason}; is the server running, and is the address right?")]
    Unreachable {
        /// What was asked for.
        address: String,
        /// What the network says.
        reason: String,
    },
    /// It did not answer in time. What was to be changed may have been changed.
    #[error("{address} did not answer within {secs} s{}", doubt(*.changes))]
    Late {
        /// What was asked for.
        address: String,
        /// How long it was waited for.
        secs: u64,
        /// Whether the request was to change something.
        changes: bool,
    },
    /// It said no.
    #[error("{address}: {status}: {detail}{}", advice(*.status, .detail, .server, .takes))]
    Refused {
        /// What was asked for.
        address: String,
        /// The server, for what to do.
        server: String,
        /// The status of HTTP.
        status: u16,
        /// What the server said.
        detail: String,
        /// Which role the request takes.
        takes: &'static str,
    },
    /// What answers is no server of this kind.
    #[error("{address} answered {what}; is this the address of a Windlass or Airflow server?")]
    Odd {
        /// What was asked for.
        address: String,
        /// What came instead of an answer.
        what: String,
    },
    /// The request can not be made.
    #[error("{0}")]
    Unsendable(String),
}

impl ServerError {
    /// How a program that gives up for it ends.
    #[must_use]
    pub const fn exit(&self) -> Exit {
        match self {
            Self::Refused { status: 401 | 403, .. } => Exit::NotAllowed,
            Self::Refused { status: 404, .. } => Exit::NotFound,
            Self::Refused { status: 429 | 500..=599, .. } if !self.is_absent() => Exit::Unreachable,
            Self::Refused { .. } => Exit::Refused,
            Self::Unreachable { .. } | Self::Late { .. } | Self::Odd { .. } => Exit::Unreachable,
            Self::Unsendable(_) => Exit::Usage,
        }
    }

    /// Whether the server says that what was named does not exist.
    #[must_use]
    pub const fn is_missing(&self) -> bool {
        matches!(self, Self::Refused { status: 404, .. })
    }

    /// Whether the server says that it exists already.
    #[must_use]
    pub const fn is_conflict(&self) -> bool {
        matches!(self, Self::Refused { status: 409, .. })
    }

    /// Whether nothing has answered at all.
    #[must_use]
    pub const fn is_silence(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Late { .. })
    }

    /// Whether the server does not have what was asked for at all.
    const fn is_absent(&self) -> bool {
        matches!(self, Self::Refused { status: 501, .. })
    }

    /// The error of a request that brought no answer.
    #[must_use]
    pub fn of_transport(address: String, changes: bool, secs: u64, error: reqwest::Error) -> Self {
        if error.is_timeout() && !error.is_connect() {
            return Self::Late { address, secs, changes };
        }
        let error = error.without_url();
        let mut reason = error.to_string();
        let mut cause = error.source();
        // The last cause is what the system says, such as "Connection refused".
        while let Some(inner) = cause {
            reason = inner.to_string();
            cause = inner.source();
        }
        Self::Unreachable { address, reason: visible(&reason) }
    }
}

/// What is not known when no answer has come.
const fn doubt(changes: bool) -> &'static str {
    if changes { "; what was asked may have been done, so look before you repeat it" } else { "" }
}

fn advice(status: u16, detail: &str, server: &str, takes: &str) -> String {
    match status {
        // Airflow answers 403 to a token that is no longer good.
        401 => format!("; log in anew: `windlass login --server {server}`"),
        403 if detail.contains("JWT") => format!("; log in anew: `windlass login --server {server}`"),
        403 if detail == "Forbidden" => format!("; {takes}"),
        _ => String::new(),
    }
}

/// What a refusal says, in the shapes of Airflow 2 and 3.
#[must_use]
pub fn detail_of(body: &[u8]) -> String {
    let Ok(answer) = serde_json::from_slice::<Value>(body) else {
        return shortened(String::from_utf8_lossy(body).lines().next().unwrap_or_default());
    };
    let text = match &answer["detail"] {
        Value::String(text) => text.clone(),
        Value::Array(mistakes) => mistakes.iter().map(mistake).collect::<Vec<_>>().join("; "),
        Value::Object(parts) => {
            let part = |name: &str| parts.get(name).and_then(Value::as_str);
            part("message").or_else(|| part("reason")).unwrap_or("it was refused").to_owned()
        }
        _ => {
            let text = answer["title"].as_str().or_else(|| answer["error"].as_str());
            text.unwrap_or("the server did not say why").to_owned()
        }
    };
    shortened(&text)
}

fn mistake(one: &Value) -> String {
    let place = one["loc"].as_array().and_then(|places| places.last()).and_then(Value::as_str).unwrap_or_default();
    format!("{place}: {}", one["msg"].as_str().unwrap_or("it is not valid"))
}

fn shortened(text: &str) -> String {
    let mut shown: String = visible(text).chars().take(DETAIL_CHARS_MAX).collect();
    if shown.is_empty() {
        "the server did not say why".clone_into(&mut shown);
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, detail: &str) -> ServerError {
        ServerError::Refused {
            address: "GET http://h/api/v2/dags".to_owned(),
            server: "http://h".to_owned(),
            status,
            detail: detail.to_owned(),
            takes: "it takes the role Op",
        }
    }

    #[test]
    fn each_refusal_says_what_to_do_and_has_its_code() {
        for (status, detail, says, exit) in [
            (401, "Not authenticated", "windlass login --server http://h", Exit::NotAllowed),
            (403, "Invalid JWT token", "windlass login --server http://h", Exit::NotAllowed),
            (403, "Forbidden", "it takes the role Op", Exit::NotAllowed),
            (404, "The Dag was not found", "not found", Exit::NotFound),
            (409, "exists", "409: exists", Exit::Refused),
            (501, "not there yet", "not there yet", Exit::Refused),
            (503, "no leader", "no leader", Exit::Unreachable),
        ] {
            let error = refused(status, detail);
            assert!(error.to_string().contains(says), "{error}");
            assert_eq!(error.exit(), exit, "{error}");
        }
    }

    #[test]
    fn refusals_are_read_in_every_shape_that_airflow_has() {
        for (body, expected) in [
            (r#"{"detail": "no \u001b[31m"}"#, r"no \u{1b}[31m"),
            (r#"{"detail": [{"loc": ["body", "slots"], "msg": "too few"}]}"#, "slots: too few"),
            (r#"{"detail": {"reason": "Unique constraint violation"}}"#, "Unique constraint violation"),
            (r#"{"title": "Unauthorized", "status": 401, "detail": null}"#, "Unauthorized"),
            (r#"{"error": "API route not found"}"#, "API route not found"),
            ("<html>\n<body>", "<html>"),
            ("", "the server did not say why"),
        ] {
            assert_eq!(detail_of(body.as_bytes()), expected);
        }
    }
}
