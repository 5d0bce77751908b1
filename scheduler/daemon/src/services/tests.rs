//! The supervisor by example: what it starts, stops and leaves alone.

use super::Declared;
use super::*;
use chrono::DateTime;
use engine::Declares;
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

/// A worker that can run processes has come, with the instances that it holds.
fn joins(supervisor: &mut Supervisor, secs: i64, worker: WorkerId, holds: &[Uuid]) {
    let process = BTreeSet::from([Capability::Process]);
    supervisor.worker_joined(at(secs), worker, &process, &holds.iter().copied().collect(), Presence::Accepting);
}

fn with_worker() -> Supervisor {
    let mut supervisor = Supervisor::default();
    joins(&mut supervisor, 0, WORKER, &[]);
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
    joins(&mut supervisor, 3, other, &[]);
    supervisor.take_output();
    supervisor.worker_lost(at(80), WORKER);
    let output = supervisor.take_output();
    assert!(matches!(output.actions.as_slice(), [Action::Start(worker, _)] if *worker == other));
}

#[test]
fn a_reconnecting_worker_keeps_what_it_holds_and_loses_the_rest() {
    let (mut supervisor, instance) = running();
    supervisor.take_output();
    joins(&mut supervisor, 5, WORKER, &[instance]);
    assert!(started(&supervisor.take_output()).is_empty());
    joins(&mut supervisor, 6, WORKER, &[]);
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
    supervisor.worker_joined(at(2), other, &both, &BTreeSet::new(), Presence::Accepting);
    let output = supervisor.take_output();
    assert!(matches!(output.actions.as_slice(), [Action::Start(worker, _), ..] if *worker == other), "{output:?}");
}

fn declared_names(names: &[&str]) -> Declares {
    Declares::Services(names.iter().map(ToString::to_string).collect())
}

#[test]
fn a_service_ends_with_its_dag_and_its_row_goes() {
    let (mut supervisor, instance) = running();
    supervisor.forget(AttemptId(Uuid::from_u128(1)));
    supervisor.take_output();
    supervisor.retire(at(10), |_| declared_names(&["sink"]));
    supervisor.retire(at(500), |_| Declares::NoDag);
    assert!(supervisor.take_output().actions.contains(&Action::Stop(WORKER, instance)));
    supervisor.exited(at(501), &ServiceExit { instance, exit_code: Some(0), reason: String::new() });
    supervisor.retire(at(502), |_| Declares::NoDag);
    let output = supervisor.take_output();
    assert_eq!(output.gone.iter().map(|key| key.name.as_str()).collect::<Vec<_>>(), ["sink"]);
    assert!(supervisor.replicas().next().is_none() && output.rows.is_empty() && started(&output).is_empty());
}

#[test]
fn a_file_that_is_gone_for_a_moment_or_a_run_that_still_wants_it_ends_no_service() {
    let (mut supervisor, _) = running();
    supervisor.take_output();
    supervisor.retire(at(10), |_| Declares::NoFile);
    supervisor.retire(at(500), |_| declared_names(&["other"]));
    assert!(supervisor.take_output().actions.is_empty(), "the attempt that declared it still waits for it");
    supervisor.forget(AttemptId(Uuid::from_u128(1)));
    supervisor.retire(at(501), |_| Declares::NoFile);
    supervisor.retire(at(550), |_| declared_names(&["sink"]));
    supervisor.retire(at(600), |_| declared_names(&["other"]));
    supervisor.retire(at(659), |_| Declares::NoFile);
    assert!(supervisor.take_output().actions.is_empty(), "it was gone for less than a minute at a time");
    supervisor.retire(at(660), |_| Declares::NoFile);
    assert_eq!(supervisor.take_output().actions.len(), 1);
}

/// A service of three replicas that all are ready, with their instances in order.
fn three_ready() -> (Supervisor, Vec<Uuid>) {
    let mut supervisor = with_worker();
    supervisor.declare(at(1), three("h1"));
    let instances = started(&supervisor.take_output());
    for instance in &instances {
        become_ready(&mut supervisor, 2, *instance);
    }
    supervisor.take_output();
    (supervisor, instances)
}

fn three(hash: &str) -> Declared {
    let mut wish = declared(hash);
    wish.services[0].0.replicas = 3;
    wish
}

fn become_ready(supervisor: &mut Supervisor, secs: i64, instance: Uuid) {
    supervisor.started(at(secs), instance);
    supervisor.report(at(secs), &ServiceReport { instance, line: json!({"type": "ready"}) });
}

fn ended(supervisor: &mut Supervisor, secs: i64, instance: Uuid) {
    supervisor.exited(at(secs), &ServiceExit { instance, exit_code: Some(0), reason: String::new() });
}

fn stopped(output: &Output) -> Vec<Uuid> {
    let stop = |action: &Action| if let Action::Stop(_, instance) = action { Some(*instance) } else { None };
    output.actions.iter().filter_map(stop).collect()
}

#[test]
fn replicas_are_replaced_one_after_the_other_as_each_becomes_ready() {
    let (mut supervisor, old) = three_ready();
    supervisor.declare(at(10), three("h2"));
    let output = supervisor.take_output();
    assert_eq!(stopped(&output), [old[0]], "the others go on");
    let told = output
        .actions
        .iter()
        .find_map(|action| if let Action::Tell(_, _, status) = action { Some(status) } else { None });
    assert!(told.unwrap().iter().all(|status| status.state != ServiceState::Ready), "{told:?}");
    ended(&mut supervisor, 11, old[0]);
    let first = started(&supervisor.take_output());
    assert_eq!(first.len(), 1);
    supervisor.started(at(12), first[0]);
    supervisor.tick(at(13));
    assert!(stopped(&supervisor.take_output()).is_empty(), "it runs, and is not ready yet");
    become_ready(&mut supervisor, 14, first[0]);
    supervisor.tick(at(15));
    assert_eq!(stopped(&supervisor.take_output()), [old[1]]);
    ended(&mut supervisor, 16, old[1]);
    // The second one never becomes ready: after a minute the last one has its turn.
    supervisor.tick(at(74));
    assert!(stopped(&supervisor.take_output()).is_empty());
    assert_eq!(supervisor.next_wakeup(), Some(at(75)));
    supervisor.tick(at(75));
    assert_eq!(stopped(&supervisor.take_output()), [old[2]]);
}

#[test]
fn another_number_of_replicas_replaces_all_at_once() {
    let (mut supervisor, old) = three_ready();
    let mut two = three("h2");
    two.services[0].0.replicas = 2;
    supervisor.declare(at(10), two);
    assert_eq!(stopped(&supervisor.take_output()).len(), old.len());
}

#[test]
fn a_worker_that_comes_back_while_it_leaves_is_given_nothing() {
    let (mut supervisor, instance) = running();
    supervisor.take_output();
    let process = BTreeSet::from([Capability::Process]);
    // The connection broke, and the service ended meanwhile.
    supervisor.worker_joined(at(5), WORKER, &process, &BTreeSet::new(), Presence::Leaving);
    assert!(started(&supervisor.take_output()).is_empty(), "it would end {instance} again at once");
    joins(&mut supervisor, 6, WorkerId(2), &[]);
    assert_eq!(started(&supervisor.take_output()).len(), 1);
}

#[test]
fn what_ends_with_a_worker_that_leaves_starts_elsewhere_at_once_and_is_no_death() {
    let (mut supervisor, instance) = running();
    supervisor.take_output();
    supervisor.worker_leaving(WORKER);
    let other = WorkerId(2);
    joins(&mut supervisor, 3, other, &[]);
    assert!(started(&supervisor.take_output()).is_empty(), "it goes on where it is until that ends");
    ended(&mut supervisor, 4, instance);
    let output = supervisor.take_output();
    let on = |action: &Action| if let Action::Start(worker, _) = action { Some(*worker) } else { None };
    assert_eq!(output.actions.iter().filter_map(on).collect::<Vec<_>>(), [other]);
    assert_eq!(output.rows[0].row.deaths, 0);
}
