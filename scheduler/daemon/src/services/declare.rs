//! Declarations: what an attempt of operator `service` wants, held against what is there.

use super::{Declaration, Replica, ServiceEvent, ServiceKey, ServiceSpec, Supervisor};
use model::{AttemptId, DagId, Timestamp, WorkerId};

/// A declaration as it comes from a worker.
#[derive(Debug, Clone)]
pub struct Declared {
    /// The attempt that wants them.
    pub attempt: AttemptId,
    /// Its worker.
    pub worker: WorkerId,
    /// Its DAG.
    pub dag: DagId,
    /// What it wants, with the hash of each spec and its passed values.
    pub services: Vec<(ServiceSpec, String)>,
}

impl Supervisor {
    /// Makes what is declared the desired state. The same declaration again changes nothing: a service that runs is
    /// left alone, one that has completed stays so; a changed one is replaced, one replica after the other.
    pub fn declare(&mut self, now: Timestamp, declared: Declared) {
        let mut keys = Vec::new();
        for (spec, hash) in &declared.services {
            for replica in 0..spec.replicas {
                let key = ServiceKey { dag: declared.dag.clone(), name: spec.name.clone(), replica };
                self.want(now, &key, spec, hash);
                keys.push(key);
            }
            self.retire_beyond(now, &declared.dag, spec);
        }
        self.waiting.insert(declared.attempt, Declaration { worker: declared.worker, keys });
        self.reconcile(now);
        self.tell(declared.attempt);
    }

    fn want(&mut self, now: Timestamp, key: &ServiceKey, spec: &ServiceSpec, hash: &str) {
        if self.replicas.contains_key(key) {
            self.redeclare(now, key, spec, hash);
        } else {
            self.replicas.insert(key.clone(), Replica::new(key.clone(), spec.clone(), hash.to_owned(), now));
            self.dirty.insert(key.clone());
        }
    }

    /// Stops replicas above the wanted number.
    fn retire_beyond(&mut self, now: Timestamp, dag: &DagId, spec: &ServiceSpec) {
        let surplus: Vec<_> = self
            .replicas
            .keys()
            .filter(|key| key.dag == *dag && key.name == spec.name && key.replica >= spec.replicas)
            .cloned()
            .collect();
        for key in surplus {
            self.rolls.drop(&key);
            self.change(&key, |replica| {
                replica.row.wanted = store::Wanted::Stopped;
                replica.ask_to_stop(now, ServiceEvent::StopAsked)
            });
        }
    }
}
