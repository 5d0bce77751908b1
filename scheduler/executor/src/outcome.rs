//! How an attempt ended, before it becomes a report.

use model::{AssetNews, AttemptEnd, EndKind, Question, XComValue};

use crate::{Masker, StopCause, xcom};

/// The longest reason, in characters: it is a sentence on a page and a column of a row.
const REASON_CHARS_MAX: usize = 1000;

/// The end of an attempt.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome(Box<AttemptEnd>);

impl Outcome {
    /// It did what it should.
    #[must_use]
    pub fn success() -> Self {
        Self(Box::new(AttemptEnd::new(EndKind::Success, "")))
    }

    /// It failed; its retry policy decides what follows.
    #[must_use]
    pub fn failed(reason: impl Into<String>) -> Self {
        Self(Box::new(AttemptEnd::new(EndKind::Failed, reason)))
    }

    /// It failed in a way that no further try can mend.
    #[must_use]
    pub fn failed_for_good(reason: impl Into<String>) -> Self {
        Self(Box::new(AttemptEnd::new(EndKind::FailedForGood, reason)))
    }

    /// It asked to be skipped.
    #[must_use]
    pub fn skipped(reason: impl Into<String>) -> Self {
        Self(Box::new(AttemptEnd::new(EndKind::Skipped, reason)))
    }

    /// It has put a question to people.
    #[must_use]
    pub fn asked(question: Question) -> Self {
        let mut end = AttemptEnd::new(EndKind::Asked, "");
        end.question = Some(Box::new(question));
        Self(Box::new(end))
    }

    /// It looks again after so long, in a new attempt.
    #[must_use]
    pub(crate) fn rescheduled(pause: std::time::Duration, seen: impl Into<String>) -> Self {
        let mut end = AttemptEnd::new(EndKind::Rescheduled, seen);
        end.again_after_secs = Some(pause.as_secs_f64());
        Self(Box::new(end))
    }

    /// In which way it ended.
    #[must_use]
    pub fn kind(&self) -> EndKind {
        self.0.kind
    }

    /// The sentence that says why.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.0.reason
    }

    /// The same with a sentence that says why.
    #[must_use]
    pub fn because(mut self, reason: impl Into<String>) -> Self {
        self.0.reason = reason.into();
        self
    }

    /// The same with the exit code of its process.
    #[must_use]
    pub fn exit_code(mut self, code: i32) -> Self {
        self.0.exit_code = Some(code);
        self
    }

    /// The failure of a process: its exit code, with what it said last when that is a short line.
    #[must_use]
    pub(crate) fn exited(code: i32, last_words: Option<&str>) -> Self {
        let said = last_words.map(|words| format!(": {words}")).unwrap_or_default();
        Self::failed(format!("exit code {code}{said}")).exit_code(code)
    }

    /// The same with what it leaves for others; a value of the same key is replaced.
    #[must_use]
    pub fn xcoms(mut self, values: impl IntoIterator<Item = XComValue>) -> Self {
        for value in values {
            self.0.xcoms.retain(|earlier| earlier.key != value.key);
            self.0.xcoms.push(value);
        }
        self
    }

    /// The same with what it says of its outlets.
    #[must_use]
    pub fn assets(mut self, news: Vec<AssetNews>) -> Self {
        self.0.assets = news;
        self
    }

    /// The same with what it returned.
    #[must_use]
    pub fn returned(self, value: serde_json::Value) -> Self {
        self.xcoms([XComValue { key: XComValue::RETURN_VALUE.to_owned(), value }])
    }

    /// The same with each key of the mapping that it returned as a value of its own (`multiple_outputs`). A success that
    /// returned something else is a failure, as in Airflow; one that returned nothing is none.
    #[must_use]
    pub(crate) fn with_each_output(self) -> Self {
        if self.0.kind != EndKind::Success {
            return self;
        }
        let returned =
            self.0.xcoms.iter().find(|xcom| xcom.key == XComValue::RETURN_VALUE).map(|xcom| xcom.value.clone());
        match returned {
            None => self,
            Some(serde_json::Value::Object(fields)) => {
                self.xcoms(fields.into_iter().map(|(key, value)| XComValue { key, value }))
            }
            Some(other) => Self::failed(format!(
                "multiple_outputs asks for a mapping, and it returned {}",
                other.to_string().chars().take(100).collect::<String>()
            )),
        }
    }

    /// The same as a failure that no further try follows.
    #[must_use]
    pub(crate) fn for_good(mut self) -> Self {
        self.0.kind = EndKind::FailedForGood;
        self
    }

    /// The same with the pause before the next try, in seconds.
    #[must_use]
    pub(crate) fn retry_after(mut self, secs: Option<f64>) -> Self {
        self.0.retry_delay_secs = secs;
        self
    }

    /// The exit code of its process.
    #[must_use]
    pub(crate) fn code(&self) -> Option<i32> {
        self.0.exit_code
    }

    /// The same with what a branch follows.
    #[must_use]
    pub fn follow(mut self, ids: Vec<String>) -> Self {
        self.0.follow = Some(ids);
        self
    }

    /// The same with what a short circuit decided.
    #[must_use]
    pub fn proceed(mut self, proceed: bool) -> Self {
        self.0.proceed = Some(proceed);
        self
    }

    /// A success that leaves more than XComs may hold is a failure: a cut value would mislead whoever pulls it.
    #[must_use]
    pub fn within_limits(self) -> Self {
        if let Some(why) = self.0.xcoms.iter().find_map(|xcom| xcom::check_key(&xcom.key).err()) {
            return Self::failed(why);
        }
        let sizes = self.0.xcoms.iter().map(|xcom| (xcom.key.as_str(), xcom.value.to_string().len()));
        let mut total = 0;
        for (key, bytes) in sizes {
            total += bytes;
            if bytes > XComValue::BYTES_MAX {
                let max = XComValue::BYTES_MAX;
                return Self::failed(format!(
                    "XCom {key:?} has {bytes} bytes of JSON, over the limit of {max}: pass large data by a file or a table"
                ));
            }
        }
        if total > XComValue::BYTES_MAX_PER_ATTEMPT {
            let max = XComValue::BYTES_MAX_PER_ATTEMPT;
            return Self::failed(format!("its XComs have {total} bytes of JSON together, over the limit of {max}"));
        }
        self
    }

    /// How it ended, for the log's last line.
    #[must_use]
    pub fn sentence(&self) -> String {
        match self.0.reason.as_str() {
            "" => format!("Ended: {}", self.0.kind),
            reason => format!("Ended: {}: {reason}", self.0.kind),
        }
    }

    /// The report, free of secrets.
    #[must_use]
    pub fn into_end(self, masker: &Masker) -> AttemptEnd {
        let reason = masker.mask(&self.0.reason).chars().take(REASON_CHARS_MAX).collect();
        AttemptEnd { reason, ..*self.0 }
    }
}

impl From<StopCause> for Outcome {
    fn from(cause: StopCause) -> Self {
        Self(Box::new(AttemptEnd::new(cause.kind, cause.reason)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_xcom_over_its_limit_is_a_failure_that_says_so() {
        let large = Outcome::success().returned("x".repeat(XComValue::BYTES_MAX).into());
        let end = large.within_limits().into_end(&Masker::default());
        assert_eq!(end.kind, EndKind::Failed);
        assert!(end.reason.contains("return_value") && end.reason.contains("65536"), "{}", end.reason);
        assert!(end.xcoms.is_empty());
    }

    #[test]
    fn an_xcom_whose_key_nobody_could_read_is_a_failure_that_says_so() {
        for (key, says) in [("", "is empty"), (&"k".repeat(600), "600 characters"), ("a\0", "has a NUL")] {
            let outcome = Outcome::success().xcoms([XComValue { key: key.to_owned(), value: 1.into() }]);
            let end = outcome.within_limits().into_end(&Masker::default());
            assert_eq!(end.kind, EndKind::Failed);
            assert!(end.reason.contains(says), "{}", end.reason);
        }
    }

    #[test]
    fn the_last_value_of_a_key_counts() {
        let outcome = Outcome::success().returned(1.into()).returned(2.into());
        assert_eq!(
            outcome.into_end(&Masker::default()).xcoms,
            [XComValue { key: "return_value".into(), value: 2.into() }]
        );
    }

    #[test]
    fn a_reason_carries_no_secret() {
        let masker = Masker::default();
        masker.add("hunter22");
        let end = Outcome::failed("login hunter22 refused").into_end(&masker);
        assert_eq!(end.reason, "login *** refused");
    }
}
