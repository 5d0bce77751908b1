//! The operators that ask people: `approval` and `choice`.
//!
//! An attempt renders the question and ends with it. Nothing is left on the worker: the answer goes to the leader, who ends
//! the task by it.

use futures::{FutureExt as _, future::BoxFuture};
use model::{Question, operator::Asking};
use serde_json::json;

use crate::{Attempt, Executor, Outcome, Stop, template::TemplateError};

/// Puts a question to people.
pub(crate) struct AskingExecutor {
    asking: Asking,
}

impl AskingExecutor {
    /// An executor for one task.
    pub(crate) fn new(asking: Asking) -> Self {
        Self { asking }
    }

    async fn outcome(&self, attempt: &Attempt) -> Result<Outcome, TemplateError> {
        let (subject, body) = (self.asking.subject.clone(), self.asking.body.clone());
        let rendered = attempt.render(move |renderer| {
            Ok(Question {
                subject: renderer.text("subject", &subject)?,
                body: body.map(|body| renderer.text("body", &body)).transpose()?,
            })
        });
        let Question { subject, body } = rendered.await?;
        // People read it, wherever they are: a secret has no place in it.
        let question = Question {
            subject: attempt.masker.mask(subject.trim()).into_owned(),
            body: body.map(|body| attempt.masker.mask(&body).into_owned()),
        };
        attempt.log_rendered(json!({"subject": question.subject, "body": question.body}));
        if let Err(why) = check(&question) {
            return Ok(Outcome::failed(why));
        }
        attempt.log.system(&format!("Asks: {} ({})", question.subject, self.asking.options.join(", ")));
        Ok(Outcome::asked(question))
    }
}

/// What is wrong with a question, in a sentence.
fn check(question: &Question) -> Result<(), String> {
    let (chars, bytes) = (question.subject.chars().count(), question.body.as_ref().map_or(0, String::len));
    if chars == 0 {
        return Err("subject gives nothing; a question is expected".to_owned());
    }
    if chars > Question::SUBJECT_CHARS_MAX {
        return Err(format!("subject gives {chars} characters, over the limit of {}", Question::SUBJECT_CHARS_MAX));
    }
    if bytes > Question::BODY_BYTES_MAX {
        return Err(format!("body gives {bytes} bytes, over the limit of {}", Question::BODY_BYTES_MAX));
    }
    Ok(())
}

impl Executor for AskingExecutor {
    fn run<'a>(&'a self, attempt: &'a Attempt, _: &'a Stop) -> BoxFuture<'a, Outcome> {
        self.outcome(attempt).map(|outcome| outcome.unwrap_or_else(Outcome::from)).boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_has_a_subject_and_limits() {
        let of = |subject: String, body: Option<String>| check(&Question { subject, body });
        assert!(of("Publish?".to_owned(), None).is_ok());
        assert!(of(String::new(), None).unwrap_err().contains("gives nothing"));
        assert!(of("x".repeat(1_001), None).unwrap_err().contains("1001 characters"));
        assert!(of("x".to_owned(), Some("x".repeat(70_000))).unwrap_err().contains("70000 bytes"));
    }
}
