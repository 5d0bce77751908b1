//! The operators that only decide: `branch`, `short_circuit` and `empty`.

use futures::{FutureExt as _, future::BoxFuture};
use minijinja::{Value, value::ValueKind};
use model::operator::{Branch, ShortCircuit};
use serde_json::json;

use crate::{
    Attempt, Executor, Outcome, Stop,
    template::{TemplateError, to_json},
};

/// Texts that a condition gives when it means no, whatever their case.
const NO: &[&str] = &["", "0", "false", "n", "no", "none", "null", "off"];

/// Chooses which of the tasks after it run.
pub(crate) struct BranchExecutor {
    keys: Branch,
}

/// Lets what is after it run, or not.
pub(crate) struct ShortCircuitExecutor {
    keys: ShortCircuit,
}

/// Does nothing. The engine ends such tasks itself; a worker that is given one agrees.
pub(crate) struct EmptyExecutor;

impl BranchExecutor {
    /// An executor for one task.
    pub(crate) fn new(keys: Branch) -> Self {
        Self { keys }
    }

    async fn outcome(&self, attempt: &Attempt) -> Result<Outcome, TemplateError> {
        let follow = self.keys.follow.clone();
        let value = attempt.render(move |renderer| to_json("follow", &renderer.value("follow", &follow)?)).await?;
        attempt.log_rendered(json!({"follow": value}));
        Ok(match ids(&value) {
            Some(ids) => {
                attempt.log.system(&format!("Follows: {}", ids.join(", ")));
                returned(attempt, value).follow(ids)
            }
            None => {
                Outcome::failed(format!("follow gives {value}; a task or group id, or a list of them, is expected"))
            }
        })
    }
}

impl ShortCircuitExecutor {
    /// An executor for one task.
    pub(crate) fn new(keys: ShortCircuit) -> Self {
        Self { keys }
    }

    async fn outcome(&self, attempt: &Attempt) -> Result<Outcome, TemplateError> {
        let condition = self.keys.condition.clone();
        let rendered = attempt.render(move |renderer| {
            let value = renderer.value("condition", &condition)?;
            Ok((to_json("condition", &value)?, is_yes(&value)))
        });
        let (value, proceed) = rendered.await?;
        attempt.log_rendered(json!({"condition": value}));
        attempt.log.system(if proceed { "The condition holds." } else { "The condition does not hold." });
        Ok(returned(attempt, value).proceed(proceed))
    }
}

/// A success that leaves what was decided, as in Airflow.
fn returned(attempt: &Attempt, value: serde_json::Value) -> Outcome {
    let outcome = Outcome::success();
    if attempt.assignment.do_xcom_push { outcome.returned(value) } else { outcome }
}

/// The ids of a branch: a text, a list of texts, a text that is such a list in JSON, or nothing at all for none.
pub(crate) fn ids(value: &serde_json::Value) -> Option<Vec<String>> {
    use serde_json::Value as V;
    match value {
        V::Null => Some(Vec::new()),
        V::String(text) if text.trim().starts_with('[') => ids(&serde_json::from_str(text.trim()).ok()?),
        V::String(text) if text.trim().is_empty() => None,
        V::String(text) => Some(vec![text.trim().to_owned()]),
        V::Array(items) => items.iter().map(|item| item.as_str().map(str::to_owned)).collect(),
        V::Bool(_) | V::Number(_) | V::Object(_) => None,
    }
}

/// Whether a condition holds: as Jinja sees truth, and texts by what they say.
pub(crate) fn is_yes(value: &Value) -> bool {
    match value.kind() {
        ValueKind::String => !NO.contains(&value.to_string().trim().to_ascii_lowercase().as_str()),
        _ => value.is_true(),
    }
}

impl Executor for BranchExecutor {
    fn run<'a>(&'a self, attempt: &'a Attempt, _: &'a Stop) -> BoxFuture<'a, Outcome> {
        self.outcome(attempt).map(|outcome| outcome.unwrap_or_else(Outcome::from)).boxed()
    }
}

impl Executor for ShortCircuitExecutor {
    fn run<'a>(&'a self, attempt: &'a Attempt, _: &'a Stop) -> BoxFuture<'a, Outcome> {
        self.outcome(attempt).map(|outcome| outcome.unwrap_or_else(Outcome::from)).boxed()
    }
}

impl Executor for EmptyExecutor {
    fn run<'a>(&'a self, _: &'a Attempt, _: &'a Stop) -> BoxFuture<'a, Outcome> {
        std::future::ready(Outcome::success()).boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_branch_takes_one_id_or_a_list_in_any_form() {
        assert_eq!(ids(&json!(" a ")), Some(vec!["a".to_owned()]));
        assert_eq!(ids(&json!(["a", "g.b"])), Some(vec!["a".to_owned(), "g.b".to_owned()]));
        assert_eq!(ids(&json!("[\"a\"]\n")), Some(vec!["a".to_owned()]));
        assert_eq!(ids(&json!(null)), Some(vec![]));
        assert_eq!((ids(&json!("")), ids(&json!(5)), ids(&json!([1]))), (None, None, None));
    }

    #[test]
    fn a_text_is_yes_unless_it_says_no() {
        for (text, yes) in [("true", true), ("False", false), (" no\n", false), ("", false), ("0", false), ("eu", true)]
        {
            assert_eq!(is_yes(&Value::from(text)), yes, "{text:?}");
        }
        assert!(is_yes(&Value::from(vec![0])) && !is_yes(&Value::from(Vec::<i32>::new())) && !is_yes(&Value::from(())));
    }
}
