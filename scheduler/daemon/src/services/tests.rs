//! The supervisor by example: what it starts, stops and leaves alone.

use super::Declared;
use super::*;
use chrono::DateTime;
use model::{ServiceState, operator::ReadyWhen};
use serde_json::json;

const WORKER: WorkerId = WorkerId(1);

fn at(secs: i64) -> Timestamp {
    DateTime::from_timestamp(secs, 0).unwrap()
}

fn spec(name: &str, ready_when: ReadyWhen) -> ServiceSpec {
    ServiceSpec {
        name: name.to_owned(),
        command: vec!["true".to_owned()],
        container: None,
        replicas: 1,
        env: BTreeMap::new(),
        pass_env: Vec::new(),
        ready_when,
        stop_timeout_secs: 10.0,
    }
}

fn declared(hash: &str) -> Declared {
    Declared {
        attempt: AttemptId(Uuid::from_u128(1)),
        worker: WORKER,
        dag: DagId::new("stock").unwrap(),
        services: vec![(spec("sink", ReadyWhen::CaughtUp), hash.to_owned())],
    }
}

fn with_worker() -> Supervisor {
    let mut supervisor = Supervisor::default();
    supervisor.worker_joined(at(0), WORKER, &BTreeSet::from([Capability::Process]), &BTreeSet::new());
    supervisor
}

fn started(output: &Output) -> Vec<Uuid> {
    let start = |action: &Action| if let Action::Start(_, start) = action { Some(start.instance) } else { None };
    output.actions.iter().filter_map(start).collect()
}

fn state(supervisor: &Supervisor) -> ServiceState {
    supervisor.replicas().next().unwrap().row.state
}

fn running() -> (Supervisor, Uuid) {
    let mut supervisor = with_worker();
    supervisor.declare(at(1), declared("h1"));
    let instance = started(&supervisor.take_output())[0];
    supervisor.started(at(2), instance);
    (supervisor, instance)
}

#[test]
fn the_same_declaration_again_starts_nothing() {
    let (mut supervisor, _) = running();
    supervisor.take_output();
    supervisor.declare(at(3), declared("h1"));
    assert!(started(&supervisor.take_output()).is_empty());
    assert_eq!(state(&supervisor), ServiceState::Running);
}

#[test]
fn a_changed_declaration_stops_the_old_instance_before_a_new_one_starts() {
    let (mut supervisor, old) = running();
    supervisor.take_output();
    supervisor.declare(at(3), declared("h2"));
    let output = supervisor.take_output();
    assert!(output.actions.contains(&Action::Stop(WORKER, old)));
    assert!(started(&output).is_empty());
    supervisor.exited(at(4), &ServiceExit { instance: old, exit_code: Some(0), reason: String::new() });
    assert_eq!(started(&supervisor.take_output()).len(), 1);
}

#[test]
fn a_service_that_dies_comes_back_after_a_pause_that_doubles() {
    let (mut supervisor, first) = running();
    supervisor.exited(at(10), &ServiceExit { instance: first, exit_code: Some(1), reason: "exit code 1".to_owned() });
    assert!(started(&supervisor.take_output()).is_empty());
    assert_eq!(supervisor.next_wakeup(), Some(at(11)));
    supervisor.tick(at(11));
    let second = started(&supervisor.take_output())[0];
    supervisor.exited(at(12), &ServiceExit { instance: second, exit_code: Some(1), reason: "exit code 1".to_owned() });
    assert_eq!(supervisor.next_wakeup(), Some(at(14)));
}

#[test]
fn a_completed_service_is_not_started_again_by_the_same_declaration() {
    let (mut supervisor, instance) = running();
    supervisor.report(at(5), &ServiceReport { instance, line: json!({"type": "completed", "end_offsets": {"0": 5}}) });
    supervisor.exited(at(6), &ServiceExit { instance, exit_code: Some(0), reason: String::new() });
    assert_eq!(state(&supervisor), ServiceState::Completed);
    supervisor.take_output();
    supervisor.declare(at(7), declared("h1"));
    assert!(started(&supervisor.take_output()).is_empty());
    supervisor.declare(at(8), declared("h2"));
    assert_eq!(started(&supervisor.take_output()).len(), 1);
}

#[test]
fn what_an_older_instance_says_changes_nothing() {
    let (mut supervisor, _) = running();
    let stranger = Uuid::from_u128(99);
    supervisor.report(at(5), &ServiceReport { instance: stranger, line: json!({"type": "completed"}) });
    assert_eq!(state(&supervisor), ServiceState::Running);
}

#[test]
fn a_service_lost_with_its_worker_starts_at_once_on_another() {
    let (mut supervisor, _) = running();
    let other = WorkerId(2);
    supervisor.worker_joined(at(3), other, &BTreeSet::from([Capability::Process]), &BTreeSet::new());
    supervisor.take_output();
    supervisor.worker_lost(at(80), WORKER);
    let output = supervisor.take_output();
    assert!(matches!(output.actions.as_slice(), [Action::Start(worker, _)] if *worker == other));
}

#[test]
fn a_reconnecting_worker_keeps_what_it_holds_and_loses_the_rest() {
    let (mut supervisor, instance) = running();
    supervisor.take_output();
    supervisor.worker_joined(at(5), WORKER, &BTreeSet::from([Capability::Process]), &BTreeSet::from([instance]));
    assert!(started(&supervisor.take_output()).is_empty());
    supervisor.worker_joined(at(6), WORKER, &BTreeSet::from([Capability::Process]), &BTreeSet::new());
    assert_eq!(started(&supervisor.take_output()).len(), 1);
}

#[test]
fn a_stopped_service_stays_stopped_until_it_is_wanted_again() {
    let (mut supervisor, instance) = running();
    let dag = DagId::new("stock").unwrap();
    assert!(supervisor.control(at(3), &dag, "sink", ServiceAction::Stop));
    supervisor.exited(at(4), &ServiceExit { instance, exit_code: Some(0), reason: String::new() });
    supervisor.tick(at(100));
    assert!(started(&supervisor.take_output()).is_empty());
    assert!(supervisor.control(at(101), &dag, "sink", ServiceAction::Start));
    assert_eq!(started(&supervisor.take_output()).len(), 1);
    assert!(!supervisor.control(at(102), &dag, "nobody", ServiceAction::Stop));
}

#[test]
fn a_service_in_a_container_waits_for_a_worker_with_docker() {
    let mut supervisor = with_worker();
    let mut contained = declared("h1");
    for (spec, _) in &mut contained.services {
        spec.container = Some(Box::default());
    }
    supervisor.declare(at(1), contained);
    assert!(started(&supervisor.take_output()).is_empty());
    let sentence = supervisor.replicas().next().unwrap().sentence();
    assert_eq!(sentence, "waits for a worker with docker: start one where the Docker engine runs");
    let other = WorkerId(2);
    let both = BTreeSet::from([Capability::Process, Capability::Docker]);
    supervisor.worker_joined(at(2), other, &both, &BTreeSet::new());
    let output = supervisor.take_output();
    assert!(matches!(output.actions.as_slice(), [Action::Start(worker, _), ..] if *worker == other), "{output:?}");
}
