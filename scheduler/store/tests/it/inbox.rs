//! A command is applied once, or withdrawn, or put aside: never lost and never twice.

use std::time::Duration;

use engine::Plan;
use model::{
    Answer, AnswerStatus, Command, CommandId, RunId, TriggeredBy,
    command::{Paused, TriggerDagRun},
};
use serde_json::json;
use sqlx::Executor;
use store::{
    Hints, Lease, StoreError, hints, inbox,
    inbox::{Room, Trace, Withdrawal},
};

use crate::support::{Database, Leader, dag_id};

const ROOM: Room = Room { few: 10, bulk: 10 };

fn trigger(name: &str, run: &str) -> Command {
    let wish = TriggerDagRun::by_hand(dag_id(name), TriggeredBy::Operator);
    Command::TriggerDagRun(TriggerDagRun { run_id: Some(RunId::new(run).unwrap()), ..wish })
}

fn pause(name: &str) -> Command {
    Command::PauseDag { dag_id: dag_id(name), to: Paused::Paused }
}

fn answering(ids: impl IntoIterator<Item = CommandId>) -> Plan {
    let done = Answer { status: AnswerStatus::Done, body: json!({}) };
    Plan { answers: ids.into_iter().map(|id| (id, done.clone())).collect(), ..Plan::default() }
}

#[tokio::test]
async fn commands_come_in_order_and_stay_until_they_are_answered() {
    let database = Database::create().await;
    let mut leader = database.leader().await;
    let epoch = leader.epoch();
    let mut sent = Vec::new();
    for name in ["a", "b", "c"] {
        sent.push(inbox::submit(&database.pool, &pause(name), "me").await.unwrap());
    }
    let mut lease = Lease::connect(&database.url).await.unwrap();
    assert_eq!(lease.bump(epoch).await.unwrap().waiting, 3);
    let read = inbox::read_inbox(&mut leader.writer, epoch, Room { few: 2, bulk: 2 }).await.unwrap();
    assert_eq!(read.iter().map(|waiting| waiting.id).collect::<Vec<_>>(), sent[..2]);
    assert_eq!(read[0].command, Ok(pause("a")));

    // The leader fails before its turn: the next one reads them again.
    let mut next = Leader::take_over(&database.url, "second").await;
    let epoch = next.epoch();
    let again = inbox::read_inbox(&mut next.writer, epoch, ROOM).await.unwrap();
    assert_eq!(again.iter().map(|waiting| waiting.deliveries).collect::<Vec<_>>(), [2, 2, 1]);
    next.apply(&answering(sent.clone())).await.unwrap();
    assert!(inbox::read_inbox(&mut next.writer, epoch, ROOM).await.unwrap().is_empty());
    let refused = next.apply(&answering(sent)).await.unwrap_err();
    assert!(matches!(refused, StoreError::Diverged { .. }), "answered twice: {refused:?}");
    assert_eq!(database.count("audit_log WHERE who = 'me' AND action = 'pause_dag'").await, 3);
}

#[tokio::test]
async fn commands_that_are_left_together_are_all_there_or_none() {
    let database = Database::create().await;
    let mut leader = database.leader().await;
    let several: Vec<Command> = ["a", "b", "c"].map(pause).into();
    let ids = inbox::submit_all(&database.pool, &several, "me").await.unwrap();
    let epoch = leader.epoch();
    let read = inbox::read_inbox(&mut leader.writer, epoch, ROOM).await.unwrap();
    assert_eq!(read.iter().map(|waiting| waiting.id).collect::<Vec<_>>(), ids);
    let transactions = database.count("(SELECT DISTINCT xmin::text FROM audit_log WHERE action = 'pause_dag') t").await;
    assert_eq!(transactions, 1);
    let nameless = model::Pool {
        name: String::new(),
        slots: None,
        description: String::new(),
        include_deferred: false,
        rate_limit: None,
    };
    let refused = inbox::submit_all(&database.pool, &[pause("d"), Command::CreatePool(nameless)], "me").await;
    assert!(matches!(refused, Err(StoreError::Refused { .. })), "{refused:?}");
    assert_eq!(database.count("inbox").await, 3, "not even the good one of them");
}

#[tokio::test]
async fn a_withdrawn_command_is_not_applied_and_a_taken_one_is_not_withdrawn() {
    let database = Database::create().await;
    let mut leader = database.leader().await;
    let epoch = leader.epoch();
    let gone = inbox::submit(&database.pool, &pause("a"), "me").await.unwrap();
    let kept = inbox::submit(&database.pool, &pause("b"), "me").await.unwrap();
    assert_eq!(inbox::cancel_command(&database.pool, gone).await.unwrap(), Withdrawal::Withdrawn);
    let read = inbox::read_inbox(&mut leader.writer, epoch, ROOM).await.unwrap();
    assert_eq!(read.iter().map(|waiting| waiting.id).collect::<Vec<_>>(), [kept]);
    // Between the delivery and the turn nobody contradicts what the leader decides.
    assert_eq!(inbox::cancel_command(&database.pool, kept).await.unwrap(), Withdrawal::AlreadyTaken);
    leader.apply(&answering([kept])).await.unwrap();
    assert_eq!(inbox::cancel_command(&database.pool, kept).await.unwrap(), Withdrawal::AlreadyTaken);
    assert!(inbox::find_answer(&database.pool, kept).await.unwrap().is_some());
    assert_eq!(database.count("audit_log WHERE outcome = 'withdrawn'").await, 1);
}

#[tokio::test]
async fn a_delivery_of_an_earlier_leader_does_not_hold_a_command_and_none_reads_it_twice() {
    let database = Database::create().await;
    let mut leader = database.leader().await;
    let epoch = leader.epoch();
    let (first, second) = (
        inbox::submit(&database.pool, &pause("a"), "me").await.unwrap(),
        inbox::submit(&database.pool, &pause("b"), "me").await.unwrap(),
    );
    assert_eq!(inbox::read_inbox(&mut leader.writer, epoch, ROOM).await.unwrap().len(), 2);
    assert!(inbox::read_inbox(&mut leader.writer, epoch, ROOM).await.unwrap().is_empty());
    let mut next = Leader::take_over(&database.url, "second").await;
    assert_eq!(inbox::cancel_command(&database.pool, first).await.unwrap(), Withdrawal::Withdrawn);
    let epoch = next.epoch();
    let read = inbox::read_inbox(&mut next.writer, epoch, ROOM).await.unwrap();
    assert_eq!(read.iter().map(|waiting| (waiting.id, waiting.deliveries)).collect::<Vec<_>>(), [(second, 2)]);
    assert_eq!(inbox::cancel_command(&database.pool, second).await.unwrap(), Withdrawal::AlreadyTaken);
}

#[tokio::test]
async fn a_withdrawal_that_meets_a_delivery_is_decided_by_who_was_first() {
    let database = Database::create().await;
    let mut leader = database.leader().await;
    let epoch = leader.epoch();
    for _ in 0..50 {
        let id = inbox::submit(&database.pool, &pause("a"), "me").await.unwrap();
        let withdrawing = tokio::spawn({
            let pool = database.pool.clone();
            async move { inbox::cancel_command(&pool, id).await.unwrap() }
        });
        let read = inbox::read_inbox(&mut leader.writer, epoch, ROOM).await.unwrap();
        let expected = if read.is_empty() { Withdrawal::Withdrawn } else { Withdrawal::AlreadyTaken };
        assert_eq!(withdrawing.await.unwrap(), expected);
        leader.apply(&answering(read.iter().map(|waiting| waiting.id))).await.unwrap();
    }
}

/// An api process of 0.1.0 numbers its commands by the inbox's own sequence, this version by the audit log's.
#[tokio::test]
async fn commands_of_an_older_api_process_meet_no_number_of_this_version() {
    let database = Database::create().await;
    let mut leader = database.leader().await;
    let old = r#"INSERT INTO inbox (command, sent_by) VALUES ('{"command": "pause_dag", "dag_id": "a", "to": "paused"}', 'old')
                 RETURNING id"#;
    let mut pending = Vec::new();
    for name in ["a", "b", "c"] {
        let older: i64 = sqlx::query_scalar(old).fetch_one(&database.pool).await.unwrap();
        pending.push((CommandId(older), inbox::submit(&database.pool, &pause(name), "me").await.unwrap()));
    }
    for (older, newer) in &pending {
        assert!(older.get() > newer.get() && older.get() < 1 << 53, "{older} {newer}");
        leader.apply(&answering([*older])).await.unwrap();
    }
    assert_eq!(
        database.count("audit_log WHERE outcome = 'asked'").await,
        3,
        "no other command's line says that it is done"
    );
}

#[tokio::test]
async fn an_attempt_whose_command_was_withdrawn_has_left_none() {
    let database = Database::create().await;
    let (dag, run) = (dag_id("etl"), RunId::new("r").unwrap());
    let since = chrono::Utc::now();
    let trace = || inbox::trace(&database.pool, "attempt 1", (&dag, &run), since);
    let id = inbox::submit(&database.pool, &trigger("etl", "r"), "attempt 1").await.unwrap();
    assert_eq!(trace().await.unwrap(), Trace::Waits);
    inbox::cancel_command(&database.pool, id).await.unwrap();
    assert_eq!(trace().await.unwrap(), Trace::None, "what was withdrawn has made no run");
    let id = inbox::submit(&database.pool, &trigger("etl", "r"), "attempt 1").await.unwrap();
    let mut leader = database.leader().await;
    leader.apply(&answering([id])).await.unwrap();
    assert_eq!(trace().await.unwrap(), Trace::Done);
}

#[tokio::test]
async fn a_flood_of_one_sender_stands_before_nobody() {
    let database = Database::create().await;
    let mut leader = database.leader().await;
    let epoch = leader.epoch();
    let mut flood = Vec::new();
    for number in 0..30 {
        flood.push(inbox::submit(&database.pool, &trigger("etl", &format!("r{number}")), "flood").await.unwrap());
    }
    let other_trigger = inbox::submit(&database.pool, &trigger("etl", "mine"), "me").await.unwrap();
    let mut pauses = Vec::new();
    for sender in ["flood", "flood", "flood", "me"] {
        pauses.push(inbox::submit(&database.pool, &pause("etl"), sender).await.unwrap());
    }
    let room = Room { few: 3, bulk: 3 };
    let read = inbox::read_inbox(&mut leader.writer, epoch, room).await.unwrap();
    let read: Vec<_> = read.iter().map(|waiting| waiting.id).collect();
    // The first of each sender, then the second; the few before the flood.
    assert_eq!(read, [pauses[0], pauses[1], pauses[3], flood[0], flood[1], other_trigger]);
    leader.apply(&answering(read)).await.unwrap();
    let rest = inbox::read_inbox(&mut leader.writer, epoch, room).await.unwrap();
    let rest: Vec<_> = rest.iter().map(|waiting| waiting.id).collect();
    assert_eq!(rest, [pauses[2], flood[2], flood[3], flood[4]], "in the order of their sender");
}

#[tokio::test]
async fn a_command_is_stored_as_it_was_sent() {
    let database = Database::create().await;
    let conf = serde_json::from_str(r#"{"zebra": 1, "a": {"z": 1, "b": 2}}"#).unwrap();
    let wish = TriggerDagRun { conf, ..TriggerDagRun::by_hand(dag_id("etl"), TriggeredBy::Test) };
    inbox::submit(&database.pool, &Command::TriggerDagRun(wish), "me").await.unwrap();
    let stored: String = sqlx::query_scalar("SELECT command::text FROM inbox").fetch_one(&database.pool).await.unwrap();
    assert!(stored.contains(r#""conf":{"zebra":1,"a":{"z":1,"b":2}}"#), "{stored}");
}

#[tokio::test]
async fn an_answer_is_awaited_with_a_hint_and_without_one() {
    let database = Database::create().await;
    let mut leader = database.leader().await;
    let hints = Hints::listen(&database.pool).await.unwrap();
    for hinted in [true, false] {
        let id = inbox::submit(&database.pool, &pause("a"), "me").await.unwrap();
        let waiting = tokio::spawn({
            let (pool, hints) = (database.pool.clone(), hints.clone());
            async move { inbox::await_answer(&pool, &hints, id, Duration::from_secs(20)).await }
        });
        leader.apply(&answering([id])).await.unwrap();
        if hinted {
            hints::notify_answers(&database.pool, [id]).await.unwrap();
        }
        assert_eq!(waiting.await.unwrap().unwrap().unwrap().status, AnswerStatus::Done);
    }
    let never = inbox::await_answer(&database.pool, &hints, CommandId(999), Duration::from_millis(20)).await.unwrap();
    assert_eq!(never, None);
}

#[tokio::test]
async fn a_command_that_can_not_be_read_is_put_aside_with_an_answer() {
    let database = Database::create().await;
    let mut leader = database.leader().await;
    let epoch = leader.epoch();
    let foreign = r#"INSERT INTO inbox (command, sent_by) VALUES ('{"command": "fly"}', 'a newer version')"#;
    database.pool.execute(foreign).await.unwrap();
    let read = inbox::read_inbox(&mut leader.writer, epoch, ROOM).await.unwrap();
    let why = read[0].command.clone().unwrap_err();
    inbox::mark_dead(&mut leader.writer, epoch, read[0].id, &why).await.unwrap();
    assert!(inbox::read_inbox(&mut leader.writer, epoch, ROOM).await.unwrap().is_empty());
    let answer = inbox::find_answer(&database.pool, read[0].id).await.unwrap().unwrap();
    assert_eq!(answer.status, AnswerStatus::Invalid);
    assert!(answer.body["detail"].as_str().unwrap().contains("fly"), "{answer:?}");
}

#[tokio::test]
async fn old_answers_are_swept() {
    let database = Database::create().await;
    let mut leader = database.leader().await;
    let epoch = leader.epoch();
    for name in ["a", "b"] {
        let id = inbox::submit(&database.pool, &pause(name), "me").await.unwrap();
        leader.apply(&answering([id])).await.unwrap();
    }
    let age = "UPDATE inbox_answer SET answered_at = now() - interval '61 seconds' WHERE command_id = 1";
    database.pool.execute(age).await.unwrap();
    store::maintenance::sweep(&mut leader.writer, epoch).await.unwrap();
    assert_eq!(database.count("inbox_answer").await, 1);
}
