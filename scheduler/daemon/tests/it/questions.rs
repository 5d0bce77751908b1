//! Questions to a leader: they starve no turn, go to the worker that knows, and are refused when there are too many.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use futures::future::join_all;
use link::{
    FromWorker, LeaderPort, Query, Reply, ToWorker,
    query::LogName,
    transport::{Connector, WorkerLink},
};
use model::{AttemptId, Command, DagId, WorkerId, command::Paused};
use sqlx::PgPool;
use store::Hints;
use uuid::Uuid;

use crate::leader::{Running, WITHIN, done, hello, lead, migrated, receive};

async fn leader() -> (Running, PgPool, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let (url, pool) = migrated().await;
    (lead(&url, "asked", folder.path()), pool, folder)
}

/// A worker that has been welcomed, and its number.
async fn worker(leader: &Running, pool: &PgPool) -> (WorkerLink, WorkerId) {
    let identity = Uuid::new_v4();
    let mut worker = leader.connector.connect().await.unwrap();
    worker.send(hello(identity, BTreeSet::new())).await.unwrap();
    while !matches!(receive(&mut worker).await, ToWorker::Welcome { .. }) {}
    let id = sqlx::query_scalar("SELECT id FROM worker WHERE identity = $1").bind(identity).fetch_one(pool).await;
    (worker, WorkerId(id.unwrap()))
}

fn read(worker: Option<WorkerId>, offset: u64) -> Query {
    let log = LogName::Attempt(AttemptId(Uuid::from_u128(7)));
    Query::ReadLog { log, worker, offset, bytes_max: 100 }
}

/// The next question for a log that reaches a worker, answered with ten bytes.
async fn answer_one(worker: &mut WorkerLink) -> u64 {
    loop {
        if let ToWorker::ReadLog { id, offset, .. } = receive(worker).await {
            worker.send(FromWorker::Log { id, bytes: vec![b'x'; 10], length: 10, ended: true }).await.unwrap();
            return offset;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_flood_of_questions_starves_no_turn() {
    let (leader, pool, _folder) = leader().await;
    let hints = Hints::listen(&pool).await.unwrap();
    let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let why = Query::WhyDag { dag_id: DagId::new("none").unwrap() };
    let asking: Vec<_> = (0..64)
        .map(|_| {
            let (port, stop, answered, why) = (leader.port.clone(), stop.clone(), answered.clone(), why.clone());
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    answered.fetch_add(u64::from(port.ask(why.clone()).await.is_ok()), Ordering::Relaxed);
                }
            })
        })
        .collect();
    let mut slowest = Duration::ZERO;
    for _ in 0..20 {
        let nothing = Command::PauseDag { dag_id: DagId::new("none").unwrap(), to: Paused::Active };
        let before = Instant::now();
        done(&pool, &hints, nothing).await;
        slowest = slowest.max(before.elapsed());
    }
    stop.store(true, Ordering::Relaxed);
    join_all(asking).await;
    assert!(slowest < WITHIN / 5, "a command waited for {slowest:?}");
    assert!(answered.load(Ordering::Relaxed) > 100, "questions are answered meanwhile");
    leader.task.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_is_asked_of_the_worker_that_has_it_and_of_all_when_nobody_knows() {
    let (leader, pool, _folder) = leader().await;
    let (mut first, first_id) = worker(&leader, &pool).await;
    let (mut second, second_id) = worker(&leader, &pool).await;
    let (reply, offset) = tokio::join!(leader.port.ask(read(Some(second_id), 1)), answer_one(&mut second));
    assert!(matches!(reply, Ok(Reply::Log(_))) && offset == 1, "{reply:?}");
    // Had the first one been asked, too, the question at 1 would be its next message.
    let (reply, offset) = tokio::join!(leader.port.ask(read(Some(first_id), 2)), answer_one(&mut first));
    assert!(matches!(reply, Ok(Reply::Log(_))) && offset == 2, "{reply:?}, {offset}");
    let (_, of_first, of_second) =
        tokio::join!(leader.port.ask(read(None, 3)), answer_one(&mut first), answer_one(&mut second));
    assert_eq!((of_first, of_second), (3, 3));
    let gone = leader.port.ask(read(Some(WorkerId(9999)), 4)).await;
    assert!(matches!(gone, Ok(Reply::NotFound { .. })), "{gone:?}");
    leader.task.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn more_reads_of_logs_than_fit_are_told_that_the_leader_is_busy() {
    let (leader, pool, _folder) = leader().await;
    let (_silent, id) = worker(&leader, &pool).await;
    let replies = join_all((0..300).map(|n| leader.port.ask(read(Some(id), n)))).await;
    let busy = replies.iter().filter(|reply| reply.as_ref().is_err_and(|no| no.reason.contains("busy"))).count();
    let late = replies.iter().filter(|reply| matches!(reply, Ok(Reply::NotFound { .. }))).count();
    assert_eq!((busy, late), (44, 256), "none is told that the log does not exist because others read");
    leader.task.abort();
}
