//! What services reported lately: lag and rate, a short past of each replica, in memory of this process.
//!
//! A ring of a fixed length, so it never grows; lost with the process, which nobody misses. While no service is active
//! nothing is asked of PostgreSQL until a change is heard of: an idle system stays idle.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use chrono::{TimeDelta, Utc};
use model::{ServiceKey, ServiceState, Timestamp};
use serde_json::Value;
use store::read::{self, ServiceView};

use crate::app::App;

/// The distance of two samples; workers report about as often.
const EVERY: Duration = Duration::from_secs(5);
/// A sample that follows another one more closely is left out.
const CLOSE: TimeDelta = TimeDelta::milliseconds(1_900);
/// Samples of one replica: a quarter of an hour.
const SAMPLES_MAX: usize = 180;

/// What a replica reported at an instant.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// When it was read.
    pub at: Timestamp,
    /// How many records it is behind.
    pub lag: Option<f64>,
    /// How many records it handles a second.
    pub rate: Option<f64>,
}

/// The newest samples of every replica.
#[derive(Debug, Default)]
pub struct Samples(Mutex<BTreeMap<ServiceKey, VecDeque<Sample>>>);

impl Samples {
    /// Adds what the replicas say now; replicas that are gone are forgotten.
    pub fn add(&self, services: &[ServiceView], at: Timestamp) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|key, _| services.iter().any(|service| service.key == *key));
        for service in services {
            let number =
                |name: &str| service.progress.get(name).and_then(Value::as_f64).filter(|number| number.is_finite());
            let ring = kept.entry(service.key.clone()).or_default();
            // The sampler and every open page add; what comes close behind another shows nothing more.
            if ring.back().is_some_and(|last| at - last.at < CLOSE) {
                continue;
            }
            if ring.len() == SAMPLES_MAX {
                ring.pop_front();
            }
            ring.push_back(Sample { at, lag: number("lag"), rate: number("rate_per_s") });
        }
    }

    /// The samples of a replica, oldest first.
    pub fn of(&self, key: &ServiceKey) -> Vec<Sample> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.get(key).map(|ring| ring.iter().copied().collect()).unwrap_or_default()
    }
}

/// Takes samples until the server stops.
pub async fn keep(app: App) {
    let mut news = app.hints.subscribe();
    let stop = app.shutdown.clone();
    loop {
        let active = match read::services(&app.pool).await {
            Ok(services) => {
                app.samples.add(&services, Utc::now());
                services.iter().any(is_active)
            }
            // PostgreSQL is away: there is nothing to draw, and pages say so themselves.
            Err(_) => false,
        };
        if !active {
            tokio::select! {
                () = stop.cancelled() => return,
                // Whatever was heard or missed, it is a reason to look again.
                _heard = news.recv() => {}
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
        news = news.resubscribe();
    }
}

fn is_active(service: &ServiceView) -> bool {
    match service.state {
        ServiceState::Starting
        | ServiceState::Running
        | ServiceState::Ready
        | ServiceState::BackOff
        | ServiceState::Stopping => true,
        ServiceState::Completed | ServiceState::Stopped => false,
    }
}

#[cfg(test)]
mod tests {
    use model::DagId;
    use serde_json::json;

    use super::*;

    fn service(name: &str, lag: i64) -> ServiceView {
        ServiceView {
            key: ServiceKey { dag: DagId::new("d").unwrap(), name: name.to_owned(), replica: 0 },
            state: ServiceState::Ready,
            is_wanted: true,
            spec: json!({}),
            instance: None,
            worker_id: None,
            worker: None,
            restarts: 0,
            not_before: None,
            started_at: None,
            changed_at: Utc::now(),
            progress: json!({"lag": lag}),
            last_error: None,
        }
    }

    #[test]
    fn the_past_is_short_and_ends_with_the_service() {
        let samples = Samples::default();
        let start = Utc::now();
        for step in 0..=SAMPLES_MAX as i64 {
            samples.add(&[service("a", step)], start + TimeDelta::seconds(2 * step));
        }
        let kept = samples.of(&service("a", 0).key);
        assert_eq!((kept.len(), kept[0].lag, kept[0].rate), (SAMPLES_MAX, Some(1.0), None));
        samples.add(&[service("b", 0)], start);
        assert!(samples.of(&service("a", 0).key).is_empty());
    }
}
