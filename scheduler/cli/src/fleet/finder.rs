//! Asks api processes where the leader is.

use std::{
    io,
    sync::atomic::{AtomicI64, Ordering},
    time::Duration,
};

use futures::future::{BoxFuture, join_all};
use link::transport::tls::{Finder, JoinToken, Secret};
use reqwest::{Client, Response};
use serde::Deserialize;
use url::Url;

/// How long an api process may take to answer; the others are asked at the same time.
const ANSWER_WITHIN: Duration = Duration::from_millis(1500);

/// Asks every api process it knows; the word of the newest leadership counts.
pub struct ApiFinder {
    client: Client,
    urls: Vec<Url>,
    secret: Secret,
    /// The highest epoch that was heard of: an api process that lags behind is not heeded.
    highest: AtomicI64,
}

/// An api process's answer.
#[derive(Debug, Deserialize)]
struct Seat {
    epoch: i64,
    endpoint: String,
}

/// Why an api process did not help.
#[derive(Debug, Deserialize)]
struct Refusal {
    detail: String,
}

impl ApiFinder {
    /// Asks these api processes as the holder of this token.
    ///
    /// # Errors
    /// When no HTTP client can be made.
    pub fn new(urls: Vec<Url>, token: &JoinToken) -> reqwest::Result<Self> {
        let client = Client::builder().timeout(ANSWER_WITHIN).build()?;
        Ok(Self { client, urls, secret: token.endpoint_secret(), highest: AtomicI64::new(0) })
    }

    async fn ask(&self, url: &Url) -> Result<Seat, String> {
        // A URL may hold a password; its origin does not.
        let about = |problem: &dyn std::fmt::Display| format!("{}: {problem}", url.origin().ascii_serialization());
        let route = url.join("/link/endpoint").map_err(|error| about(&error))?;
        let asked = self.client.get(route).bearer_auth(self.secret.reveal()).send().await;
        let answer = asked.map_err(|error| about(&error.without_url()))?;
        if answer.status().is_success() {
            return answer.json().await.map_err(|error| about(&error.without_url()));
        }
        Err(about(&refusal(answer).await))
    }
}

async fn refusal(answer: Response) -> String {
    let status = answer.status();
    answer.json::<Refusal>().await.map_or_else(|_| format!("it answers {status}"), |refusal| refusal.detail)
}

impl Finder for ApiFinder {
    fn endpoints(&self) -> BoxFuture<'_, io::Result<Vec<String>>> {
        Box::pin(async move {
            let answers = join_all(self.urls.iter().map(|url| self.ask(url))).await;
            let (seats, problems): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
            let seats: Vec<Seat> = seats.into_iter().flatten().collect();
            let newest = seats.iter().map(|seat| seat.epoch).max().unwrap_or(0);
            let highest = self.highest.fetch_max(newest, Ordering::Relaxed).max(newest);
            let current = seats.into_iter().filter(|seat| seat.epoch == highest).map(|seat| seat.endpoint);
            let endpoints: Vec<String> = current.collect();
            if endpoints.is_empty() {
                let problems: Vec<String> = problems.into_iter().filter_map(Result::err).collect();
                return Err(io::Error::other(format!(
                    "no api process says where the leader is: {}",
                    problems.join("; ")
                )));
            }
            Ok(endpoints)
        })
    }
}
