//! What may stand in a file of outcomes, by which a DAG is simulated.

use super::{Key, Shape, key};

/// Cases of one file at most.
pub(crate) const CASES_MAX: usize = 1_000;

/// Tries that may be told of one task.
pub(crate) const TRIES_MAX: usize = 1_000;

/// The outcomes of an attempt.
pub(crate) const OUTCOMES: &[&str] = &["success", "failed", "failed_without_retry", "skipped", "lost"];

/// What a case has, which may also stand at the top of the file, for all of its cases.
pub(crate) const CASE: &[Key] = &[
    key("logical_date", Shape::Date, "The date that the run stands for; 2026-01-01 when absent."),
    key("conf", Shape::Any, "Values for the params of the run."),
    key("pools", Shape::Any, "Pools and their slots; -1 for no limit. A pool that is not named has no limit."),
    key("worker_slots", Shape::Whole(1, 1_000_000), "How many attempts run at once; 1000 when absent."),
    key(
        "default_duration",
        Shape::Duration,
        "How long an attempt takes of which nothing else is said; 1s when absent.",
    ),
    key("tasks", Shape::Any, "Tasks, each with its outcome, or a list with one outcome a try."),
    key("expect", Shape::Any, "What has to come of it."),
];

/// The name of a case.
pub(crate) const NAME: &[Key] = &[key("name", Shape::Text, "What the case is called.")];

/// The cases of a file.
pub(crate) const CASES: &[Key] = &[key("cases", Shape::List, "Cases, each a simulation of its own.")];

/// What is told of an attempt.
pub(crate) const ATTEMPT: &[Key] = &[
    key("outcome", Shape::OneOf(OUTCOMES), "How it ends; success when absent."),
    key("duration", Shape::Duration, "How long it takes; of a sensor: after so long it finds what it waits for."),
    key("reason", Shape::Text, "Why it fails or is skipped, in one sentence."),
    key("exit_code", Shape::Whole(0, 255), "The exit code of its process."),
    key("retry_delay", Shape::Duration, "The pause before the next try, where a retry_policy would say it."),
    key("returns", Shape::Any, "What it returns: the XCom return_value."),
    key("xcoms", Shape::Any, "Further XComs, by their keys."),
    key("follow", Shape::Texts, "Of a branch: the tasks or groups that it follows."),
    key("proceed", Shape::Bool, "Of a short circuit: whether its condition holds."),
    key("answer", Shape::Texts, "Of an approval or choice: the options that are chosen; null when nobody answers."),
];

/// What has to come of a case.
pub(crate) const EXPECT: &[Key] = &[
    key("state", Shape::OneOf(&["success", "failed"]), "The state of the run at its end."),
    key("tasks", Shape::Any, "Tasks and the state that each ends in."),
    key("tries", Shape::Any, "Tasks and how many tries each takes."),
    key("instances", Shape::Any, "Expanded tasks and how many instances each has."),
    key("order", Shape::TextList, "Tasks of which each begins only when the one before it has ended."),
    key("ends_within", Shape::Duration, "How long the run takes at most."),
];
