//! Rolling replacement: the replicas of a changed service are replaced one after the other, each when the one before is
//! ready, so that most of the service is there all the time.
//!
//! What is declared for a replica that runs waits beside its row until its turn comes. A leader that takes over in between
//! hears the declaration again, from the attempt that waits for it. When the number of replicas changes all are replaced at
//! once: each replica's share of the work depends on how many there are.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use model::{DagId, ServiceKey, ServiceState, Timestamp, operator::ServiceSpec};

use super::{Supervisor, replica::Touched};

/// How long a replica that was replaced is waited for before the next one's turn.
const READY_WITHIN: TimeDelta = TimeDelta::seconds(60);

/// Which service a replica belongs to.
type Name = (DagId, String);

/// The replacements under way.
#[derive(Debug, Default)]
pub(super) struct Rolls {
    /// What waits for its turn.
    pending: BTreeMap<ServiceKey, (ServiceSpec, String)>,
    /// The replica of each service that was replaced last, and when.
    current: BTreeMap<Name, (ServiceKey, Timestamp)>,
}

fn name_of(key: &ServiceKey) -> Name {
    (key.dag.clone(), key.name.clone())
}

impl Rolls {
    /// Whether a replica is still to be replaced: it is not what was declared, however well it runs.
    pub(super) fn awaits(&self, key: &ServiceKey) -> bool {
        self.pending.contains_key(key)
    }

    pub(super) fn put(&mut self, key: &ServiceKey, spec: &ServiceSpec, hash: &str) {
        self.pending.insert(key.clone(), (spec.clone(), hash.to_owned()));
    }

    pub(super) fn drop(&mut self, key: &ServiceKey) {
        self.pending.remove(key);
    }

    /// When a wait ends by itself.
    pub(super) fn next_wakeup(&self) -> Option<Timestamp> {
        let waited_for = |name: &Name| self.pending.keys().any(|key| key.dag == name.0 && key.name == name.1);
        self.current.iter().filter(|(name, _)| waited_for(name)).map(|(_, (_, since))| *since + READY_WITHIN).min()
    }
}

impl Supervisor {
    /// Replaces the next replica of each changed service whose turn it is.
    pub(super) fn roll(&mut self, now: Timestamp) {
        let first: BTreeMap<Name, ServiceKey> =
            self.rolls.pending.keys().rev().map(|key| (name_of(key), key.clone())).collect();
        self.rolls.current.retain(|name, _| first.contains_key(name));
        for (name, key) in first {
            if self.is_waited_for(now, &name) {
                continue;
            }
            if let Some((spec, hash)) = self.rolls.pending.remove(&key) {
                self.rolls.current.insert(name, (key.clone(), now));
                self.change(&key, |replica| replica.declared(now, &spec, &hash));
            }
        }
    }

    /// Whether the replica that was replaced last may still become ready.
    fn is_waited_for(&self, now: Timestamp, name: &Name) -> bool {
        self.rolls.current.get(name).is_some_and(|(key, since)| {
            let settled = self
                .replicas
                .get(key)
                .is_none_or(|replica| matches!(replica.state(), ServiceState::Ready | ServiceState::Completed));
            !settled && now - *since < READY_WITHIN
        })
    }

    /// What a declaration means for a replica that is there: a changed one that runs beside others waits for its turn.
    pub(super) fn redeclare(&mut self, now: Timestamp, key: &ServiceKey, spec: &ServiceSpec, hash: &str) {
        let Some(replica) = self.replicas.get(key) else { return };
        let changed = replica.row.hash != hash;
        let waits = changed && replica.state().is_alive() && replica.row.spec.replicas == spec.replicas;
        if waits {
            self.rolls.put(key, spec, hash);
            self.change(key, |replica| {
                replica.row.wanted = store::Wanted::Running;
                Touched { store: true, stop: false, tell: false }
            });
        } else {
            self.rolls.drop(key);
            self.change(key, |replica| replica.declared(now, spec, hash));
        }
    }
}
