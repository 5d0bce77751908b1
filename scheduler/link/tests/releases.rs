//! The link of released versions: frames that 0.1.0 wrote are read, and what this version says has all that 0.1.0 looks for.

#![allow(clippy::unwrap_used, reason = "a test that can not go on has failed")]

use std::collections::BTreeSet;

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use windlass_link::{
    FromWorker, ToWorker,
    remote::{Answer, Question},
    transport::{FrameError, read_frame, write_frame},
};

async fn all<M: DeserializeOwned>(mut frames: &[u8]) -> Vec<M> {
    let mut messages = Vec::new();
    while let Some(message) = read_frame(&mut frames).await.unwrap() {
        messages.push(message);
    }
    messages
}

/// The same as plain values; none for a frame that has bytes in it.
async fn values(mut frames: &[u8]) -> Vec<Option<Value>> {
    let mut values = Vec::new();
    loop {
        match read_frame(&mut frames).await {
            Ok(Some(value)) => values.push(Some(value)),
            Ok(None) => return values,
            Err(FrameError::Decode(_)) => values.push(None),
            Err(error) => panic!("{error}"),
        }
    }
}

/// Reads each frame as a message of this version, says it again, and holds what is written then against what 0.1.0 wrote: all
/// of its members are there with the same values, so that it finds what it knows. The further ones it ignores.
async fn speaks_as_before<M: Serialize + DeserializeOwned>(frames: &[u8], count: usize) -> Vec<M> {
    let (before, messages): (Vec<Option<Value>>, Vec<M>) = (values(frames).await, all(frames).await);
    assert_eq!((messages.len(), before.len()), (count, count));
    for (before, message) in before.iter().zip(&messages) {
        let mut written = Vec::new();
        write_frame(&mut written, message).await.unwrap();
        match (values(&written).await.pop().unwrap(), before) {
            (Some(now), Some(before)) => assert_contains(&now, before, "message"),
            // A piece of a log: its bytes have no form in JSON.
            (now, before) => assert_eq!(now.is_none(), before.is_none()),
        }
    }
    messages
}

/// Null stands for a member that is left out.
fn assert_contains(now: &Value, before: &Value, place: &str) {
    match (now, before) {
        (Value::Object(now), Value::Object(before)) => {
            for (name, value) in before {
                let place = format!("{place}.{name}");
                match now.get(name) {
                    Some(found) => assert_contains(found, value, &place),
                    None => assert!(value.is_null(), "{place} is missing"),
                }
            }
        }
        (Value::Array(now), Value::Array(before)) => {
            assert_eq!(now.len(), before.len(), "{place}");
            now.iter().zip(before).for_each(|(now, before)| assert_contains(now, before, place));
        }
        (now, before) => assert_eq!(now, before, "{place}"),
    }
}

#[tokio::test]
async fn what_a_worker_of_0_1_0_says_is_understood() {
    let frames = include_bytes!("fixtures/0.1.0-from-worker.bin");
    let messages: Vec<FromWorker> = speaks_as_before(frames, 10).await;
    let Some(FromWorker::Hello(hello)) = messages.first() else { panic!("Hello comes first") };
    assert!(windlass_link::speaks(hello.protocol, hello.protocol_oldest));
    assert!(!hello.leaving && hello.up_micros.is_none());
    assert!(hello.operators.contains("bash") && !hello.operators.contains("kafka_produce"), "{:?}", hello.operators);
    let ends = messages.iter().filter_map(|m| if let FromWorker::Ended { end, .. } = m { Some(end) } else { None });
    assert!(ends.into_iter().all(|end| !end.handed_back), "its losses are losses");
}

#[tokio::test]
async fn what_a_leader_of_0_1_0_says_is_understood() {
    let frames = include_bytes!("fixtures/0.1.0-to-worker.bin");
    let messages: Vec<ToWorker> = speaks_as_before(frames, 10).await;
    assert!(messages.iter().all(|message| !matches!(message, ToWorker::Unreadable { .. })));
}

#[tokio::test]
async fn questions_and_answers_of_0_1_0_are_understood() {
    let questions: Vec<Question> = speaks_as_before(include_bytes!("fixtures/0.1.0-questions.bin"), 2).await;
    assert_eq!(questions[0].id, 1);
    let answers: Vec<Answer> = speaks_as_before(include_bytes!("fixtures/0.1.0-answers.bin"), 1).await;
    assert!(answers[0].reply.is_ok());
}

/// 0.1.0 closes the connection at a message of another kind than these. `tried` and `notified` answer `try_connection` and `notify`,
/// which no leader of 0.1.0 says, and `deferred` comes of tasks that it does not know.
#[tokio::test]
async fn workers_say_nothing_that_0_1_0_does_not_know() {
    const KNOWN: &[&str] = &[
        "hello",
        "started",
        "deferred",
        "ended",
        "beat",
        "said",
        "service_exited",
        "declare_services",
        "fetch",
        "log",
        "tried",
        "notified",
    ];
    let error = serde_json::from_value::<FromWorker>(serde_json::json!({"type": "?"})).unwrap_err().to_string();
    let kinds: BTreeSet<&str> = error.split('`').skip(3).step_by(2).collect();
    assert_eq!(kinds, KNOWN.iter().copied().collect(), "{error}");
}
