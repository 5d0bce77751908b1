//! Attempts that wait: what they wait for reaches the leader, and a stop reaches them.

use std::{collections::BTreeSet, time::Duration};

use link::{Assignment, FromWorker, Poked, ToWorker, query::LogName};
use model::{
    AttemptEnd, AttemptId, EndKind, Epoch, Operator,
    operator::{FileSensor, PokeMode, Poking},
};

use super::leader::{Leader, Place, bash};

fn sensor(filepath: String) -> Assignment {
    let poking = Poking { poke_interval_secs: 3_600.0, ..Poking::default() };
    let sensor = FileSensor { filepath, fs_conn_id: None, recursive: false, poking };
    Assignment { operator: Operator::FileSensor(sensor), ..bash("") }
}

async fn said(leader: &mut Leader) -> String {
    let fits = |message| match message {
        FromWorker::Said { line, .. } => Some(line),
        _ => None,
    };
    leader.until("what its attempt waits for", fits).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sensor_says_what_it_waits_for_to_every_leader_and_ends_at_once_when_killed() {
    let mut place = Place::new();
    let worker = place.worker();
    let mut leader = place.accept().await;
    let assignment = sensor(place.dir.path().join("in.csv").display().to_string());
    let attempt = assignment.attempt;
    leader.send(ToWorker::Assign(Box::new(assignment))).await;
    let line = said(&mut leader).await;
    assert!(line.starts_with("Poke 1: ") && line.contains("in.csv is not there"), "{line}");

    drop(leader);
    let mut next = place.accept_with(Epoch(2), |hello| hello.attempts.clone()).await;
    assert_eq!(said(&mut next).await, line, "a new leader hears it too");
    next.send(ToWorker::Kill { attempt, reason: "cleared".to_owned() }).await;
    assert_eq!(next.ended(attempt).await.kind, EndKind::Killed);
    worker.stop().await;
}

/// A sensor that waits without a slot, and looks again after so many seconds.
fn deferrable(place: &Place, poke_interval_secs: f64) -> Assignment {
    let poking = Poking { mode: PokeMode::Deferrable, poke_interval_secs, ..Poking::default() };
    let filepath = place.dir.path().join("in.csv").display().to_string();
    let sensor = FileSensor { filepath, fs_conn_id: None, recursive: false, poking };
    Assignment { operator: Operator::FileSensor(sensor), ..bash("") }
}

async fn deferred(leader: &mut Leader, attempt: AttemptId) -> AttemptEnd {
    let fits = |message| match message {
        FromWorker::Deferred { attempt: of, end, .. } if of == attempt => Some(*end),
        _ => None,
    };
    leader.until("that its attempt is deferred", fits).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deferred_wait_frees_its_slot_looks_again_by_itself_and_reports_its_end() {
    let mut place = Place::new();
    let worker = place.worker_with(|settings| settings.slots = 1);
    let mut leader = place.accept().await;
    let assignment = deferrable(&place, 0.2);
    let attempt = assignment.attempt;
    leader.send(ToWorker::Assign(Box::new(assignment))).await;
    let end = deferred(&mut leader, attempt).await;
    assert!(end.reason.starts_with("poke 1: ") && end.reason.contains("in.csv is not there"), "{}", end.reason);
    // The only slot is free.
    let other = leader.assign("true").await;
    assert_eq!(leader.ended(other).await.kind, EndKind::Success);
    let line = said(&mut leader).await;
    assert!(line.starts_with("poke ") && line.contains("; the next look is at 2"), "{line}");
    std::fs::write(place.dir.path().join("in.csv"), "x").unwrap();
    let mut starts = 0;
    let fits = |message| match message {
        FromWorker::Ended { attempt: ended, end, .. } if ended == attempt => Some(*end),
        FromWorker::Started { attempt: of, .. } | FromWorker::Deferred { attempt: of, .. } if of == attempt => {
            starts += 1;
            None
        }
        _ => None,
    };
    let end = leader.until("the end of the wait", fits).await;
    assert_eq!(end.kind, EndKind::Success, "{}", end.reason);
    assert_eq!(starts, 0, "a look is told to nobody");
    let log = leader.log(LogName::Attempt(attempt)).await;
    assert_eq!(log.matches("Rendered fields").count(), 1, "{log}");
    assert!(log.contains("Poke 1: ") && log.contains("Poke 2: ") && log.contains("Ended: success"), "{log}");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_of_another_worker_goes_on_here_and_its_times_count_from_its_first_look() {
    let mut place = Place::new();
    // It has no slot at all, and needs none.
    let worker = place.worker_with(|settings| settings.slots = 0);
    let mut leader = place.accept().await;
    let timeout = |secs, waited_secs| {
        let mut assignment = deferrable(&place, 0.2);
        let Operator::FileSensor(keys) = &mut assignment.operator else { panic!("a sensor") };
        (keys.poking.timeout_secs, keys.poking.soft_fail) = (secs, true);
        assignment.poked = Some(Poked { waited_secs, times: 0 });
        assignment
    };
    let late = timeout(100.0, 99.9);
    let mut long = timeout(1_000.0, 50.0);
    long.execution_timeout_secs = Some(50.5);
    let (first, second) = (late.attempt, long.attempt);
    leader.send(ToWorker::Assign(Box::new(late))).await;
    leader.send(ToWorker::Assign(Box::new(long))).await;
    let end = leader.ended(first).await;
    assert!(end.kind == EndKind::Skipped && end.reason.contains("its timeout of 100 s is over"), "{}", end.reason);
    let end = leader.ended(second).await;
    assert!(end.kind == EndKind::Skipped && end.reason.contains("execution_timeout of 50.5 s"), "{}", end.reason);
    assert!(end.ran_micros >= 50_500_000, "{} µs", end.ran_micros);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_ends_when_it_is_killed_is_forgotten_when_it_is_not_live_and_is_kept_over_a_change_of_leaders() {
    let mut place = Place::new();
    let worker = place.worker();
    let mut leader = place.accept().await;
    let (killed, kept, gone) = (deferrable(&place, 3_600.0), deferrable(&place, 3_600.0), deferrable(&place, 3_600.0));
    let ids = [killed.attempt, kept.attempt, gone.attempt];
    for assignment in [killed, kept, gone] {
        let attempt = assignment.attempt;
        leader.send(ToWorker::Assign(Box::new(assignment))).await;
        deferred(&mut leader, attempt).await;
    }
    leader.send(ToWorker::Kill { attempt: ids[0], reason: "cleared".to_owned() }).await;
    let end = leader.ended(ids[0]).await;
    assert_eq!((end.kind, end.reason.as_str()), (EndKind::Killed, "cleared"));
    drop(leader);
    let live = BTreeSet::from([ids[1]]);
    let next = place.accept_with(Epoch(2), |_| live.clone()).await;
    assert!(next.hello.attempts.is_superset(&BTreeSet::from([ids[1], ids[2]])), "{:?}", next.hello.attempts);
    drop(next);
    let last = place.accept_with(Epoch(3), |hello| hello.attempts.clone()).await;
    assert!(last.hello.attempts.contains(&ids[1]) && !last.hello.attempts.contains(&ids[2]));
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_leaves_forgets_its_waits_and_waits_for_none_of_them() {
    let mut place = Place::new();
    let worker = place.worker_with(|settings| settings.drain_max = Duration::from_secs(600));
    let mut leader = place.accept().await;
    let assignment = deferrable(&place, 3_600.0);
    let attempt = assignment.attempt;
    leader.send(ToWorker::Assign(Box::new(assignment))).await;
    deferred(&mut leader, attempt).await;
    worker.asked.leave();
    worker.ends(leader).await;
}
