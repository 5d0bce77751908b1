//! A command is applied once, or withdrawn, or put aside: never lost and never twice.

use std::time::Duration;

use engine::Plan;
use model::{Answer, AnswerStatus, Command, CommandId, command::Paused};
use serde_json::json;
use sqlx::Executor;
use store::{Hints, Lease, StoreError, hints, inbox, inbox::Withdrawal};

use crate::support::{Database, Leader, dag_id};

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
    assert_eq!(lease.bump(epoch).await.unwrap(), 3);
    let read = inbox::read_inbox(&mut leader.writer, epoch, 2).await.unwrap();
    assert_eq!(read.iter().map(|waiting| waiting.id).collect::<Vec<_>>(), sent[..2]);
    assert_eq!(read[0].command, Ok(pause("a")));

    // The leader fails before its turn: the next one reads them again.
    let mut next = Leader::take_over(&database.url, "second").await;
    let epoch = next.epoch();
    let again = inbox::read_inbox(&mut next.writer, epoch, 10).await.unwrap();
    assert_eq!(again.iter().map(|waiting| waiting.deliveries).collect::<Vec<_>>(), [2, 2, 1]);
    next.apply(&answering(sent.clone())).await.unwrap();
    assert!(inbox::read_inbox(&mut next.writer, epoch, 10).await.unwrap().is_empty());
    let refused = next.apply(&answering(sent)).await.unwrap_err();
    assert!(matches!(refused, StoreError::Diverged { .. }), "answered twice: {refused:?}");
    assert_eq!(database.count("audit_log WHERE who = 'me' AND action = 'pause_dag'").await, 3);
}

#[tokio::test]
async fn a_withdrawn_command_is_not_applied_and_a_taken_one_is_not_withdrawn() {
    let database = Database::create().await;
    let mut leader = database.leader().await;
    let epoch = leader.epoch();
    let gone = inbox::submit(&database.pool, &pause("a"), "me").await.unwrap();
    let kept = inbox::submit(&database.pool, &pause("b"), "me").await.unwrap();
    inbox::read_inbox(&mut leader.writer, epoch, 10).await.unwrap();
    assert_eq!(inbox::cancel_command(&database.pool, gone).await.unwrap(), Withdrawal::Withdrawn);
    let refused = leader.apply(&answering([gone, kept])).await.unwrap_err();
    assert!(matches!(&refused, StoreError::Diverged { what } if what.contains("withdrawn")), "{refused:?}");
    assert!(inbox::find_answer(&database.pool, kept).await.unwrap().is_none());
    leader.apply(&answering([kept])).await.unwrap();
    assert_eq!(inbox::cancel_command(&database.pool, kept).await.unwrap(), Withdrawal::AlreadyTaken);
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
    let read = inbox::read_inbox(&mut leader.writer, epoch, 10).await.unwrap();
    let why = read[0].command.clone().unwrap_err();
    inbox::mark_dead(&mut leader.writer, epoch, read[0].id, &why).await.unwrap();
    assert!(inbox::read_inbox(&mut leader.writer, epoch, 10).await.unwrap().is_empty());
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
