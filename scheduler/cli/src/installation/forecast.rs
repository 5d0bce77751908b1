//! What will happen, foretold of what an installation has stored.

use std::time::Duration;

use engine::ahead::forecast::Forecast;
use store::forecast::{Question, foretell};

use super::Installation;

/// How long it is worked at on this machine: nobody else waits for it.
const WITHIN: Duration = Duration::from_secs(120);

impl Installation<'_> {
    /// What will happen in so many hours. The default is how many seconds an attempt takes of whose task nothing is known.
    ///
    /// # Errors
    /// When the installation does not answer, or has more than a forecast is made of.
    pub async fn forecast(&self, hours: u32, default_secs: u32) -> anyhow::Result<Forecast> {
        match self {
            Self::Here(here) => {
                let question = Question { hours, default_secs: f64::from(default_secs), within: WITHIN };
                Ok(foretell(here.access.pool().await?, question).await?)
            }
            Self::Server(server) => {
                let (hours, default_secs) = (hours.to_string(), default_secs.to_string());
                let query = [("hours", hours.as_str()), ("default_duration", default_secs.as_str())];
                Ok(server.get(&["forecast"], &query).await?)
            }
        }
    }
}
