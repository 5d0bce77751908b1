//! Attempts that wait: what they wait for reaches the leader, and a stop reaches them.

use link::{Assignment, FromWorker, ToWorker};
use model::{
    EndKind, Epoch, Operator,
    operator::{FileSensor, Poking},
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
