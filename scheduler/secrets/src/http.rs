//! Calls over HTTP with limits: their time is the chain's, and an answer is read up to a size.

use std::{error::Error, fs, path::Path, time::Duration};

use reqwest::{Certificate, Client, RequestBuilder, redirect::Policy};

use crate::backend::{Failure, SECRET_BYTES_MAX};

/// A server that takes no connection for so long is not there.
const CONNECT_WITHIN: Duration = Duration::from_secs(3);
/// No call goes on longer, whoever waits for it.
const CALL_WITHIN_MAX: Duration = Duration::from_secs(10);
/// A standby of Vault sends its callers on to the one that is active.
const REDIRECTS_MAX: usize = 2;
/// An answer holds a secret and little more.
const ANSWER_BYTES_MAX: usize = 2 * SECRET_BYTES_MAX;

/// An answer that has been read whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

/// A client that also trusts the authorities of a file.
///
/// # Errors
/// What is wrong with the file.
pub(crate) fn client(authorities: Option<&Path>) -> Result<Client, String> {
    let mut builder = builder().redirect(Policy::custom(|attempt| {
        // The token goes along, so it must not leave an encrypted way.
        let is_weaker =
            attempt.previous().iter().any(|url| url.scheme() == "https") && attempt.url().scheme() != "https";
        if is_weaker || attempt.previous().len() > REDIRECTS_MAX { attempt.stop() } else { attempt.follow() }
    }));
    if let Some(path) = authorities {
        let pem = fs::read(path).map_err(|error| format!("{} can not be read: {error}", path.display()))?;
        let found = Certificate::from_pem_bundle(&pem).map_err(|error| format!("{}: {error}", path.display()))?;
        if found.is_empty() {
            return Err(format!("{} holds no certificate in PEM form", path.display()));
        }
        builder = found.into_iter().fold(builder, reqwest::ClientBuilder::add_root_certificate);
    }
    builder.build().map_err(|error| error.to_string())
}

/// A client for servers of this machine that give out credentials: no proxy stands before them.
///
/// # Errors
/// When TLS can not be set up.
pub(crate) fn direct_client() -> Result<Client, String> {
    builder().redirect(Policy::none()).no_proxy().build().map_err(|error| error.to_string())
}

fn builder() -> reqwest::ClientBuilder {
    Client::builder()
        .user_agent(concat!("windlass/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_WITHIN)
        .timeout(CALL_WITHIN_MAX)
}

/// Makes a call and reads its answer, whatever its status.
pub(crate) async fn call(request: RequestBuilder) -> Result<Answer, Failure> {
    let mut response = request.send().await.map_err(|error| no_answer(&error))?;
    let status = response.status().as_u16();
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| no_answer(&error))? {
        if body.len() + chunk.len() > ANSWER_BYTES_MAX {
            return Err(Failure::lasting(format!("its answer has more than {ANSWER_BYTES_MAX} bytes")));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Answer { status, body })
}

/// Why there is no answer. The error's own text begins with the URL, which the message has already.
fn no_answer(error: &reqwest::Error) -> Failure {
    let mut cause: &dyn Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    Failure::passing(format!("no answer: {cause}; is the address right, and the server reached from here?"))
}

/// A status that may pass by itself: too many calls, or a server in trouble.
pub(crate) const fn may_pass(status: u16) -> bool {
    matches!(status, 408 | 412 | 425 | 429 | 472 | 473 | 500..=599)
}

/// A server's own words, cut to what fits into a line.
pub(crate) fn quoted(words: &str) -> String {
    const CHARS_MAX: usize = 300;
    let words: String = words.chars().map(|c| if c.is_control() { ' ' } else { c }).take(CHARS_MAX).collect();
    words.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_servers_words_stay_one_short_line() {
        assert_eq!(quoted("a\nb\u{1b}[31m "), "a b [31m");
        assert_eq!(quoted(&"x".repeat(1_000)).len(), 300);
    }

    #[tokio::test]
    async fn an_address_where_nobody_listens_is_told_without_repeating_it() {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let request = client(None).unwrap().get(format!("http://127.0.0.1:{port}/v1/s3cret"));
        let failure = call(request).await.unwrap_err();
        assert!(failure.passes && failure.what.contains("refused") && !failure.what.contains("s3cret"), "{failure:?}");
    }

    #[test]
    fn a_file_without_a_certificate_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        assert!(client(Some(&path)).unwrap_err().contains("can not be read"));
        fs::write(&path, "no pem").unwrap();
        assert!(client(Some(&path)).unwrap_err().contains("no certificate"));
    }
}
