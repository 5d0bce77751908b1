//! How an attempt ended, as its worker reports it and the engine takes it.

use serde::{Deserialize, Serialize};

use crate::codes::coded_enum;

coded_enum! {
    /// In which way an attempt ended.
    EndKind, "end of an attempt" {
        /// It did what it should.
        Success = 0, "success";
        /// It failed; its retry policy decides what follows.
        Failed = 1, "failed";
        /// It failed in a way that no further try can mend.
        FailedForGood = 2, "failed_for_good";
        /// It asked to be skipped.
        Skipped = 3, "skipped";
        /// It ran longer than its execution_timeout.
        TimedOut = 4, "timed_out";
        /// It was stopped by command: cleared, marked, or its run failed.
        Killed = 5, "killed";
        /// Its worker is gone or could not run it through no fault of the task.
        Lost = 6, "lost";
        /// It has put a question to people, who end the task by their answer.
        Asked = 7, "asked";
        /// It looks again later, in a new attempt of the same try.
        Rescheduled = 8, "rescheduled";
    }
}

/// A value that a task left for others.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct XComValue {
    /// Its key; `return_value` for what the task returned.
    pub key: String,
    /// The value, at most [`XComValue::BYTES_MAX`] as JSON text.
    pub value: serde_json::Value,
}

impl XComValue {
    /// The key of what a task returned.
    pub const RETURN_VALUE: &'static str = "return_value";
    /// The most that one value may take, in bytes of JSON: XComs are rows, not files.
    pub const BYTES_MAX: usize = 64 * 1024;
    /// The most that all values of one attempt may take together.
    pub const BYTES_MAX_PER_ATTEMPT: usize = 256 * 1024;
}

/// A question to people, rendered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// The question, one line.
    pub subject: String,
    /// What there is to know about it, in Markdown.
    #[serde(default)]
    pub body: Option<String>,
}

impl Question {
    /// The longest subject, in characters.
    pub const SUBJECT_CHARS_MAX: usize = 1_000;
    /// The largest body, in bytes: it is a column of a row, and shown on a page.
    pub const BODY_BYTES_MAX: usize = 64 * 1024;
}

/// The end of an attempt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AttemptEnd {
    /// In which way.
    pub kind: EndKind,
    /// The exit code of its process, when it had one.
    #[serde(default)]
    pub exit_code: Option<i32>,
    /// One sentence for people; empty for a success that needs none.
    #[serde(default)]
    pub reason: String,
    /// What it left for others.
    #[serde(default)]
    pub xcoms: Vec<XComValue>,
    /// What a branch decided to follow: task or group ids, none for other tasks.
    #[serde(default)]
    pub follow: Option<Vec<String>>,
    /// What a short circuit decided; none for other tasks.
    #[serde(default)]
    pub proceed: Option<bool>,
    /// After how many seconds the next try follows, when a rule of the task's retry policy says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_delay_secs: Option<f64>,
    /// How long it ran, in microseconds by the worker's monotonic clock; workers report durations, never times.
    #[serde(default)]
    pub ran_micros: i64,
    /// What the instance of an expanded task is called (`map_index_template`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rendered_map_index: Option<String>,
    /// Whether a worker that leaves gives it back: a planned end, which costs no budget. Only with [`EndKind::Lost`].
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub handed_back: bool,
    /// What it says of assets that it has changed, beside that its outlets have. At most [`crate::AssetNews::MOST`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub assets: Vec<crate::AssetNews>,
    /// What it asks. Only with [`EndKind::Asked`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub question: Option<Box<Question>>,
    /// After how many seconds it looks again. Only with [`EndKind::Rescheduled`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub again_after_secs: Option<f64>,
}

impl AttemptEnd {
    /// An end with nothing but its kind and a sentence.
    #[must_use]
    pub fn new(kind: EndKind, reason: impl Into<String>) -> Self {
        Self {
            kind,
            exit_code: None,
            reason: reason.into(),
            xcoms: Vec::new(),
            follow: None,
            proceed: None,
            retry_delay_secs: None,
            ran_micros: 0,
            rendered_map_index: None,
            handed_back: false,
            assets: Vec::new(),
            question: None,
            again_after_secs: None,
        }
    }

    /// The end of an attempt that a leaving worker gives back, to be run elsewhere at no cost.
    #[must_use]
    pub fn handed_back(reason: impl Into<String>) -> Self {
        Self { handed_back: true, ..Self::new(EndKind::Lost, reason) }
    }
}
