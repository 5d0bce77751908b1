//! The end of services that nothing declares any more: their DAG was deleted, no file defines it, or its newest version
//! has no such service.

use std::collections::{BTreeMap, BTreeSet};

use chrono::TimeDelta;
use engine::Declares;
use model::{DagId, ServiceEvent, ServiceKey, Timestamp};

use super::Supervisor;

/// How long a service goes on when the newest version does not declare it, or its file is gone: a checkout replaces files one
/// by one, and an editor removes before it writes. A DAG that was deleted takes its services with it at once.
const UNDECLARED_MAX: TimeDelta = TimeDelta::seconds(60);

impl Supervisor {
    /// Stops what nothing declares any more, and forgets it once it has ended. A replica that an attempt waits for is
    /// declared by that attempt, whatever newer versions say.
    pub fn retire(&mut self, now: Timestamp, declared: impl Fn(&DagId) -> Declares) {
        let dags: BTreeSet<&DagId> = self.replicas.keys().map(|key| &key.dag).collect();
        let declared: BTreeMap<DagId, Declares> = dags.into_iter().map(|dag| (dag.clone(), declared(dag))).collect();
        let awaited: BTreeSet<&ServiceKey> = self.waiting.values().flat_map(|waiting| &waiting.keys).collect();
        let mut due = Vec::new();
        let mut undeclared = BTreeMap::new();
        for key in self.replicas.keys().filter(|key| !awaited.contains(key)) {
            let grace = match &declared[&key.dag] {
                Declares::Services(names) if names.contains(&key.name) => continue,
                Declares::Services(_) | Declares::NoFile => UNDECLARED_MAX,
                Declares::NoDag => TimeDelta::zero(),
            };
            let since = self.undeclared.get(key).copied().unwrap_or(now);
            undeclared.insert(key.clone(), since);
            if now - since >= grace {
                due.push(key.clone());
            }
        }
        self.undeclared = undeclared;
        for key in due {
            self.retire_one(now, &key);
        }
    }

    fn retire_one(&mut self, now: Timestamp, key: &ServiceKey) {
        let Some(replica) = self.replicas.get(key) else { return };
        if replica.living().is_none() {
            tracing::info!(service = %key, "a service that nothing declares any more is forgotten");
            self.replicas.remove(key);
            self.rolls.drop(key);
            self.undeclared.remove(key);
            self.dirty.remove(key);
            self.gone.push(key.clone());
        } else if replica.row.wanted == store::Wanted::Running {
            tracing::info!(service = %key, "nothing declares the service any more: it is stopped");
            self.rolls.drop(key);
            self.change(key, |replica| {
                replica.row.wanted = store::Wanted::Stopped;
                replica.ask_to_stop(now, ServiceEvent::StopAsked)
            });
        }
    }
}
