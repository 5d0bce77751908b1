//! Who says how many of the messages that the program shows are taken.

use futures::future::BoxFuture;
use model::XComValue;
use serde_json::Value;

use crate::{Attempt, Outcome};

/// What a list of messages may take of an XCom: the brackets and commas around them are counted, some room is left.
const LIST_BYTES_MAX: usize = XComValue::BYTES_MAX - 1024;

/// What follows from a batch of messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The first so many are taken, and that is all.
    Enough(usize),
    /// All are taken, or passed over; more are wanted.
    More,
}

/// Looks at messages.
pub(crate) trait Judge: Send {
    /// Judges a batch.
    fn judge<'a>(&'a mut self, attempt: &'a Attempt, messages: Vec<Value>) -> BoxFuture<'a, Result<Verdict, Outcome>>;

    /// Forgets what was taken so far: others have come into the group, and it is shown again to whom it belongs.
    fn restart(&mut self) {}
}

/// For requests that show no messages.
pub(crate) struct Unasked;

impl Judge for Unasked {
    fn judge<'a>(&'a mut self, _: &'a Attempt, messages: Vec<Value>) -> BoxFuture<'a, Result<Verdict, Outcome>> {
        Box::pin(std::future::ready(Ok(Verdict::Enough(messages.len()))))
    }
}

/// Takes messages up to a number, and no more than an XCom holds.
pub(crate) struct Collect {
    /// What was taken.
    pub(crate) messages: Vec<Value>,
    wanted: usize,
    bytes: usize,
}

impl Collect {
    /// Takes at most `wanted`.
    pub(crate) fn new(wanted: u32) -> Self {
        Self { messages: Vec::new(), wanted: usize::try_from(wanted).unwrap_or(usize::MAX), bytes: 0 }
    }

    fn take(&mut self, batch: Vec<Value>) -> Result<Verdict, Outcome> {
        for (taken, message) in batch.into_iter().enumerate() {
            let bytes = message.to_string().len() + 1;
            if self.messages.len() == self.wanted || self.bytes + bytes > LIST_BYTES_MAX {
                if self.messages.is_empty() {
                    return Err(Outcome::failed(too_large(&message, bytes)));
                }
                return Ok(Verdict::Enough(taken));
            }
            self.bytes += bytes;
            self.messages.push(message);
        }
        Ok(if self.messages.len() == self.wanted { Verdict::Enough(usize::MAX) } else { Verdict::More })
    }
}

/// Why a message can not be returned at all.
pub(crate) fn too_large(message: &Value, bytes: usize) -> String {
    let place = |name: &str| message.get(name).unwrap_or(&Value::Null);
    format!(
        "the message at offset {} of {}, partition {}, has {bytes} bytes of JSON, more than an XCom holds",
        place("offset"),
        place("topic"),
        place("partition")
    )
}

impl Judge for Collect {
    fn judge<'a>(&'a mut self, _: &'a Attempt, messages: Vec<Value>) -> BoxFuture<'a, Result<Verdict, Outcome>> {
        Box::pin(std::future::ready(self.take(messages)))
    }

    fn restart(&mut self) {
        self.messages.clear();
        self.bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn no_more_messages_are_taken_than_wanted() {
        let mut collect = Collect::new(3);
        assert_eq!(collect.take(vec![json!(1), json!(2)]).unwrap(), Verdict::More);
        assert_eq!(collect.take(vec![json!(3), json!(4)]).unwrap(), Verdict::Enough(1));
        assert_eq!(collect.messages, [json!(1), json!(2), json!(3)]);
    }

    #[test]
    fn no_more_messages_are_taken_than_an_xcom_holds() {
        let half = json!("x".repeat(LIST_BYTES_MAX / 2 - 10));
        let mut collect = Collect::new(100);
        assert_eq!(collect.take(vec![half.clone(), half.clone(), half.clone()]).unwrap(), Verdict::Enough(2));
        assert!(Value::from(collect.messages).to_string().len() <= XComValue::BYTES_MAX);
        let said = Collect::new(1).take(vec![json!({"offset": 7, "value": "x".repeat(LIST_BYTES_MAX)})]).unwrap_err();
        assert!(said.reason().contains("offset 7"), "{}", said.reason());
    }
}
