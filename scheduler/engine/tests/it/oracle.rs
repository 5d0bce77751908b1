//! What a leader would say that takes over now: it knows what is stored, hears the same workers, and has nothing to do.
//!
//! Memory that follows from rows must not know more than they do. Where the leader that is there and the one that comes
//! differ, one of them is wrong: a task is stranded, or a takeover changes an outcome.

use engine::{Event, WorkerJoined};

use crate::world::World;

/// A store with more instances is not looked at after every step: each look loads all of it.
const INSTANCES_MAX: usize = 2_000;

/// Holds a world at rest against a leader that has just taken over.
pub fn check(world: &World) {
    if world.mirror.instances.len() > INSTANCES_MAX {
        return;
    }
    let mut fresh = world.successor();
    let hello = |joined: WorkerJoined| {
        let attempts = world.engine.attempts_on(joined.worker);
        Event::WorkerJoined(WorkerJoined { attempts, ..joined })
    };
    fresh.turn(world.engine.connected_workers().into_iter().map(hello).collect());
    fresh.come_to_rest();
    assert_eq!(fresh.attempts, world.attempts, "a new leader grants nothing");
    for key in world.mirror.instances.keys().chain(fresh.mirror.instances.keys()) {
        let row = |world: &World| world.mirror.instances.get(key).cloned();
        assert_eq!(row(&fresh), row(world), "a new leader changes no task");
    }
    assert_eq!(fresh.mirror.runs, world.mirror.runs, "a new leader changes no run");
    assert_eq!(fresh.mirror.backfills, world.mirror.backfills, "a new leader changes no backfill");
    assert_eq!(fresh.mirror.dags, world.mirror.dags, "a new leader changes no DAG");
    assert_eq!(fresh.mirror.assets, world.mirror.assets, "a new leader makes no event and takes none up");
    for run in world.mirror.runs.values() {
        let why = |world: &World| world.engine.why_run(&run.dag_id, &run.run_id, world.now);
        assert_eq!(why(&fresh), why(world), "a new leader says the same of {}", run.run_id);
    }
    for dag in world.mirror.dags.keys() {
        let why = |world: &World| world.engine.why_dag(dag, world.now);
        assert_eq!(why(&fresh), why(world), "a new leader says the same of {dag}");
    }
}
