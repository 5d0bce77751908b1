//! How long a task waits between two tries.

use std::time::Duration;

use engine::retry::Pause;
use model::{DagId, TaskId, Timestamp, TryNumber};
use serde::Deserialize;
use serde_json::Value;

use crate::sections::{Outcome, read};

#[derive(Deserialize)]
struct Case {
    retry_delay_s: f64,
    exponential_multiplier: Option<f64>,
    max_retry_delay_s: Option<f64>,
    finished_try_number: i16,
    hash_key: String,
    expected_delay_s: f64,
}

pub fn delay(case: &Value) -> Outcome {
    let case: Case = read(case);
    let pause = Pause {
        delay: Duration::from_secs_f64(case.retry_delay_s),
        multiplier: case.exponential_multiplier,
        max: case.max_retry_delay_s.map(Duration::from_secs_f64),
    };
    let [dag, task, date, _] = case.hash_key.split('#').collect::<Vec<_>>()[..] else {
        panic!("the hash key {:?} has another form", case.hash_key)
    };
    let date: Timestamp = date.parse().unwrap();
    let failed = TryNumber(case.finished_try_number);
    let actual = pause.after(&DagId::new(dag).unwrap(), &TaskId::new(task).unwrap(), Some(date), failed);
    Outcome::of(&case.expected_delay_s, &actual.as_secs_f64())
}
