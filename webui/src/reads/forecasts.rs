//! Forecasts: made of what is stored, one at a time, and kept for a minute, so that many readers cost as much as one.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use engine::ahead::forecast::{DEFAULT_SECS, Forecast};
use sqlx::PgPool;
use store::forecast::{Question, foretell};
use tokio::sync::Mutex;

use crate::error::ApiResult;

/// How long one is worked at: half of what a request may take, so that one who waits for it gets it, too.
const WITHIN: Duration = Duration::from_secs(12);
/// How long one is kept.
const KEPT: Duration = Duration::from_secs(60);
/// The default that is assumed in seconds where nothing was learnt, at most: a day.
pub const DEFAULT_SECS_MAX: i64 = 86_400;
/// The hours that are foretold when nothing else is asked for.
pub const HOURS: u32 = 24;

/// The last forecast. Whoever asks waits for who asked before.
#[derive(Default)]
pub struct Forecasts(Mutex<Option<Kept>>);

struct Kept {
    wish: Asked,
    since: Instant,
    forecast: Arc<Forecast>,
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// How many hours.
    pub hours: u32,
    /// How long an attempt takes of whose task nothing is known, in seconds.
    pub default_secs: u32,
}

impl Asked {
    /// So many hours.
    #[must_use]
    pub fn hours(hours: u32) -> Self {
        Self { hours, default_secs: DEFAULT_SECS as u32 }
    }
}

impl Forecasts {
    /// A forecast that is not older than a minute.
    ///
    /// # Errors
    /// When there is more than a forecast is made of, and when PostgreSQL does not answer.
    pub async fn get(&self, pool: &PgPool, asked: Asked) -> ApiResult<Arc<Forecast>> {
        let mut last = self.0.lock().await;
        if let Some(kept) = last.as_ref().filter(|kept| kept.wish == asked && kept.since.elapsed() < KEPT) {
            return Ok(Arc::clone(&kept.forecast));
        }
        let question = Question { hours: asked.hours, default_secs: f64::from(asked.default_secs), within: WITHIN };
        let forecast = Arc::new(foretell(pool, question).await?);
        *last = Some(Kept { wish: asked, since: Instant::now(), forecast: Arc::clone(&forecast) });
        Ok(forecast)
    }
}
