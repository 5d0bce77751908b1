//! What the Kafka client complains about, kept as the reason of the errors that follow.
//!
//! librdkafka answers a call that failed with a code such as "broker transport failure"; why that is (a refused login, a
//! certificate that nobody trusts) it only writes to its log. The newest line is remembered here, without secrets, for as
//! long as it explains anything, together with what a person can do about it.

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a complaint explains what fails: the client leaves out what it has said shortly before.
const FRESH: Duration = Duration::from_secs(120);
/// The longest complaint that is kept: a sentence, not a page.
const CHARS_MAX: usize = 400;

/// What a complaint contains, and what to do about it. The first that fits counts.
const ADVICE: &[(&str, &str)] = &[
    (
        "certificate verify failed",
        "ssl.ca.location (KAFKA_SSL_CA_LOCATION) has to name the file with the authority that signed the brokers' certificates",
    ),
    ("mismatch", "the certificate is for another host: reach the brokers by a name that stands in it"),
    (
        "plaintext broker listener",
        "this port does not speak TLS: set security.protocol (KAFKA_SECURITY_PROTOCOL) to PLAINTEXT or SASL_PLAINTEXT, or name the TLS port",
    ),
    (
        "ssl connection closed by peer",
        "perhaps this port does not speak TLS: set security.protocol (KAFKA_SECURITY_PROTOCOL) to PLAINTEXT or SASL_PLAINTEXT, or name the TLS port",
    ),
    ("unsupported sasl mechanism", "set sasl.mechanism (KAFKA_SASL_MECHANISM) to one that the brokers offer"),
    (
        "authentication",
        "check sasl.username and sasl.password (KAFKA_SASL_USERNAME, KAFKA_SASL_PASSWORD), and sasl.mechanism",
    ),
    (
        "security.protocol",
        "this port expects TLS or a login: set security.protocol (KAFKA_SECURITY_PROTOCOL) to SSL, SASL_SSL or SASL_PLAINTEXT",
    ),
    ("connection refused", "is the broker up, and bootstrap.servers (KAFKA_BOOTSTRAP_SERVERS) right?"),
    ("failed to resolve", "is the host's name in bootstrap.servers (KAFKA_BOOTSTRAP_SERVERS) right?"),
];

/// The newest complaint of a client; clones are one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Complaints(Arc<Mutex<Option<Complaint>>>);

#[derive(Debug)]
struct Complaint {
    text: String,
    at: Instant,
}

impl Complaints {
    fn lock(&self) -> MutexGuard<'_, Option<Complaint>> {
        // A panic of another thread leaves the complaint whole: it is replaced in one step.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers a complaint.
    pub(crate) fn note(&self, text: &str) {
        *self.lock() = Some(Complaint { text: shortened(text), at: Instant::now() });
    }

    /// Forgets it: what was complained about works.
    pub(crate) fn clear(&self) {
        *self.lock() = None;
    }

    /// The complaint that explains what fails now, with advice.
    pub(crate) fn fresh(&self) -> Option<String> {
        let text = self.lock().as_ref().filter(|complaint| complaint.at.elapsed() < FRESH)?.text.clone();
        Some(match advice(&text) {
            Some(advice) => format!("{text}; {advice}"),
            None => text,
        })
    }
}

/// What to do about a complaint.
fn advice(text: &str) -> Option<&'static str> {
    let text = text.to_ascii_lowercase();
    ADVICE.iter().find(|(part, _)| text.contains(part)).map(|(_, advice)| *advice)
}

/// The line without the client's threads, states and times, which mean nothing to people.
fn shortened(line: &str) -> String {
    let line = line.strip_prefix("[thrd:").and_then(|rest| rest.split_once("]: ")).map_or(line, |(_, text)| text);
    let address = line.split_once(": ").map(|(address, _)| address);
    let line = match address.and_then(|address| line.strip_prefix(address)) {
        // "host:port/1: host:port/1: what happened"
        Some(rest) => {
            rest.strip_prefix(": ").filter(|rest| address.is_some_and(|a| rest.starts_with(a))).unwrap_or(line)
        }
        None => line,
    };
    let line = line.split_once(" (after ").map_or(line, |(text, _)| text);
    line.chars().take(CHARS_MAX).collect()
}

/// Hears what a client says.
#[derive(Debug, Clone, Default)]
pub(crate) struct Listener {
    pub(crate) complaints: Complaints,
}

impl ClientContext for Listener {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        use RDKafkaLogLevel as Level;
        match level {
            Level::Emerg | Level::Alert | Level::Critical | Level::Error => {
                self.complaints.note(line);
                tracing::debug!(facility, "kafka: {line}");
            }
            // Said as an everyday matter, since it may be a broker that just goes away.
            Level::Warning | Level::Notice | Level::Info if line.contains("security.protocol") => {
                self.complaints.note(line)
            }
            Level::Warning | Level::Notice => tracing::debug!(facility, "kafka: {line}"),
            Level::Info | Level::Debug => tracing::trace!(facility, "kafka: {line}"),
        }
    }

    fn error(&self, error: rdkafka::error::KafkaError, reason: &str) {
        tracing::debug!(%error, "kafka: {reason}");
    }
}

impl ConsumerContext for Listener {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_complaint_is_told_without_threads_and_with_advice_until_it_is_cleared() {
        let complaints = Complaints::default();
        assert_eq!(complaints.fresh(), None);
        complaints.note("[thrd:h:1/bootstrap]: h:1/bootstrap: Connect to ipv4#127.0.0.1:1 failed: Connection refused (after 0ms in state CONNECT)");
        let told = complaints.fresh().unwrap();
        assert!(told.starts_with("h:1/bootstrap: Connect to ipv4"), "{told}");
        assert!(told.ends_with("is the broker up, and bootstrap.servers (KAFKA_BOOTSTRAP_SERVERS) right?"), "{told}");
        complaints.clear();
        assert_eq!(complaints.fresh(), None);
    }

    #[test]
    fn each_misconfiguration_has_its_own_advice() {
        for (complaint, part) in [
            (
                "SSL handshake failed: certificate verify failed: broker certificate could not be verified",
                "ssl.ca.location",
            ),
            (
                "SSL handshake failed: wrong version number: connecting to a PLAINTEXT broker listener?",
                "does not speak TLS",
            ),
            ("Disconnected: SSL connection closed by peer", "does not speak TLS"),
            ("SASL authentication error: Authentication failed: invalid credentials", "sasl.password"),
            ("SASL SCRAM-SHA-512 mechanism handshake failed: Broker: Unsupported SASL mechanism", "sasl.mechanism"),
            ("Disconnected while requesting ApiVersion: might be caused by incorrect security.protocol", "expects TLS"),
        ] {
            assert!(advice(complaint).is_some_and(|advice| advice.contains(part)), "{complaint}");
        }
        assert_eq!(advice("the moon is full"), None);
    }
}
