//! Why a connection to Alpaca ended, and whether another one can do better.

use crate::runtime::LogError;
use std::time::Duration;
use tokio_tungstenite::tungstenite;

/// What Alpaca answers instead of doing what it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Alpaca's code.
    pub code: u16,
    /// Its words.
    pub message: String,
}

impl Refusal {
    /// What a person can do about it.
    fn advice(&self) -> &'static str {
        match self.code {
            400 => "the stream did not understand the request; are STOCK_SYMBOLS symbols of this feed?",
            401 | 402 => {
                "are APCA_API_KEY_ID and APCA_API_SECRET_KEY the keys of one account, and of this environment?"
            }
            403 => "the connection is made again",
            404 => "authentication took too long; the connection is made again",
            405 => "name fewer symbols in STOCK_SYMBOLS, or subscribe to a larger plan",
            406 => "another connection of this account is open; this one is tried again until that one is gone",
            407 => "trades came faster than they could be stored; the connection is made again",
            408..=410 => "this account's plan does not have what STOCK_ALPACA_FEED and STOCK_SYMBOLS ask for",
            _ => "the connection is made again",
        }
    }

    /// Whether the same question can get another answer later.
    fn verdict(&self) -> Verdict {
        match self.code {
            400 | 401 | 402 | 405 | 408 | 409 | 410 => Verdict::Final,
            _ => Verdict::Retry,
        }
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Alpaca refuses with {} ({}): {}", self.code, self.message, self.advice())
    }
}

/// Whether another connection can do better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It can.
    Retry,
    /// Somebody has to change something first.
    Final,
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub enum AlpacaError {
    /// Alpaca said why.
    #[error("{0}")]
    Refused(Refusal),
    /// The server answered the request for a WebSocket with something else.
    #[error("{host} answers with the HTTP status {status} instead of opening the stream; {advice}")]
    Http {
        /// The server.
        host: String,
        /// The status.
        status: u16,
        /// What can be done.
        advice: &'static str,
    },
    /// No connection could be made, or it broke.
    #[error("the connection to Alpaca at {host} failed while {doing}: {cause}")]
    Broken {
        /// The server.
        host: String,
        /// What was being done.
        doing: &'static str,
        /// What happened.
        cause: Box<tungstenite::Error>,
    },
    /// The server ended the connection.
    #[error("Alpaca at {host} closed the connection while {doing}{reason}")]
    Closed {
        /// The server.
        host: String,
        /// What was being done.
        doing: &'static str,
        /// The server's reason, after a colon, when it gave one.
        reason: String,
    },
    /// The handshake took too long.
    #[error("Alpaca at {host} did not answer within {} s while {doing}", .within.as_secs_f32())]
    Slow {
        /// The server.
        host: String,
        /// What was being done.
        doing: &'static str,
        /// How long it was waited for.
        within: Duration,
    },
    /// Nothing was heard, not even the answer to a ping.
    #[error("Alpaca at {host} was silent for {} s, pings unanswered", .silence.as_secs_f32())]
    Silent {
        /// The server.
        host: String,
        /// For how long.
        silence: Duration,
    },
    /// The log failed; nothing of Alpaca's.
    #[error(transparent)]
    Log(#[from] LogError),
}

impl AlpacaError {
    /// What a failure of the WebSocket library means.
    pub(super) fn of(error: tungstenite::Error, host: &str, doing: &'static str) -> Self {
        let host = host.to_owned();
        match error {
            tungstenite::Error::ConnectionClosed | tungstenite::Error::AlreadyClosed => {
                Self::Closed { host, doing, reason: String::new() }
            }
            tungstenite::Error::Http(response) => {
                let status = response.status().as_u16();
                let advice = match status {
                    401..=403 => "does this account's plan have the feed, and are the keys right?",
                    404 => "is STOCK_ALPACA_FEED, or STOCK_ALPACA_URL, right?",
                    _ => "it is tried again",
                };
                Self::Http { host, status, advice }
            }
            cause => Self::Broken { host, doing, cause: Box::new(cause) },
        }
    }

    /// Whether another connection can do better.
    pub fn verdict(&self) -> Verdict {
        match self {
            Self::Refused(refusal) => refusal.verdict(),
            Self::Http { status: 401..=404, .. } | Self::Log(_) => Verdict::Final,
            Self::Http { .. } | Self::Broken { .. } | Self::Closed { .. } | Self::Slow { .. } | Self::Silent { .. } => {
                Verdict::Retry
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waiting_cannot_mend_is_final_and_the_rest_is_tried_again() {
        let verdict = |code| AlpacaError::Refused(Refusal { code, message: "no".to_owned() }).verdict();
        for code in [400, 401, 402, 405, 408, 409, 410] {
            assert_eq!(verdict(code), Verdict::Final, "{code}");
        }
        for code in [403, 404, 406, 407, 500, 599] {
            assert_eq!(verdict(code), Verdict::Retry, "{code}");
        }
    }

    #[test]
    fn a_refusal_says_what_to_do() {
        let refusal = Refusal { code: 402, message: "auth failed".to_owned() };
        let told = refusal.to_string();
        assert!(told.contains("402 (auth failed)") && told.contains("APCA_API_SECRET_KEY"), "{told}");
    }
}
