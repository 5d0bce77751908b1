//! What a service in a container tells its worker: the newest report of each kind, which is all that a worker keeps.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use serde_json::Value;
use tokio::sync::Notify;

/// The kinds of reports that a supervisor knows; others are dropped, so that a service can not fill the memory.
const KINDS: &[&str] = &["progress", "ready", "completed", "error"];

/// What a service in a container tells.
#[derive(Debug, Clone, PartialEq)]
pub enum ServiceNews {
    /// Its container has started.
    Started,
    /// It reports.
    Report(Value),
}

/// News that nobody has taken yet. Putting some in never waits.
#[derive(Debug, Default)]
pub struct Mailbox {
    untaken: Mutex<Untaken>,
    arrived: Notify,
}

#[derive(Debug, Default)]
struct Untaken {
    started: bool,
    reports: BTreeMap<&'static str, Value>,
}

impl Mailbox {
    /// The container has started.
    pub(super) fn started(&self) {
        self.lock().started = true;
        self.arrived.notify_one();
    }

    /// A report, instead of an earlier one of its kind.
    pub(super) fn report(&self, report: Value) {
        let kind = report.get("type").and_then(Value::as_str);
        if let Some(kind) = kind.and_then(|kind| KINDS.iter().find(|known| **known == kind)) {
            self.lock().reports.insert(kind, report);
            self.arrived.notify_one();
        }
    }

    /// Waits until there may be news.
    pub async fn wait(&self) {
        self.arrived.notified().await;
    }

    /// Takes what is there.
    pub fn take(&self) -> Vec<ServiceNews> {
        let Untaken { started, reports } = std::mem::take(&mut *self.lock());
        let started = started.then_some(ServiceNews::Started);
        started.into_iter().chain(reports.into_values().map(ServiceNews::Report)).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Untaken> {
        // Each change is one step, so that a panic elsewhere leaves nothing half done.
        self.untaken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_newest_report_of_each_kind_is_kept() {
        let mailbox = Mailbox::default();
        mailbox.started();
        for records in 0..100_000 {
            mailbox.report(json!({"type": "progress", "records": records}));
        }
        mailbox.report(json!({"type": "completed"}));
        mailbox.report(json!({"type": "gossip"}));
        let reports = [json!({"type": "completed"}), json!({"type": "progress", "records": 99_999})];
        let [first, second] = reports.map(ServiceNews::Report);
        assert_eq!(mailbox.take(), [ServiceNews::Started, first, second]);
        assert!(mailbox.take().is_empty());
    }
}
