//! Keys of the operators that ask people: `approval` and `choice` (Airflow's human in the loop, HITL).
//!
//! A worker renders the question and puts it; from then on the task instance waits in `awaiting_input`, without a worker and
//! without a slot, until somebody answers or the time is over.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::SkipReach;

/// A question to people.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Asking {
    /// The question, one line; a template.
    pub subject: String,
    /// What there is to know about it, in Markdown; a template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// What can be answered; no option stands twice.
    pub options: Vec<String>,
    /// What counts as the answer when nobody gives one in time; none: the task fails then.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub defaults: Vec<String>,
    /// Whether several options can be chosen.
    #[serde(default)]
    pub multiple: bool,
    /// What is asked for beside the options: names, each with `value`, `schema` and `description`.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub params: Map<String, Value>,
    /// Who may answer; everybody who may change the DAG when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub assigned_users: Vec<HitlUser>,
    /// How long it waits for an answer, in seconds; the task's execution_timeout when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_timeout_secs: Option<f64>,
}

/// Somebody who is asked, or who has answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HitlUser {
    /// The user name.
    pub id: String,
    /// What people call them.
    pub name: String,
}

impl HitlUser {
    /// Somebody of whom nothing but the user name is known.
    #[must_use]
    pub fn named(id: impl Into<String>) -> Self {
        let id = id.into();
        Self { name: id.clone(), id }
    }
}

/// Keys of `approval` (ApprovalOperator): its first option approves, its second one rejects.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Approval {
    /// The question.
    pub asking: Asking,
    /// What a rejection does.
    pub on_reject: OnReject,
}

/// What a rejection does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnReject {
    /// It skips what follows, so far.
    Skip(SkipReach),
    /// It fails the task, without a further try (`fail_on_reject`).
    Fail,
}

/// Keys of `choice` (HITLOperator, HITLEntryOperator, HITLBranchOperator).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Choice {
    /// The question.
    pub asking: Asking,
    /// The task or group that each option follows, when the answer is a branch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub options_mapping: Option<BTreeMap<String, String>>,
}

/// What a question becomes by its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AnswerMeans {
    /// The task succeeds, and what follows it goes on.
    GoOn,
    /// The task succeeds, and what follows it is skipped.
    Stop,
    /// The task fails without a further try.
    Fail,
    /// The task succeeds, and of what follows it these tasks and groups go on.
    Follow(Vec<String>),
}

impl Asking {
    /// The most options that a question has: each is a button.
    pub const OPTIONS_MAX: usize = 100;
    /// The longest option, in characters.
    pub const OPTION_CHARS_MAX: usize = 250;
    /// The most params that a question asks for.
    pub const PARAMS_MAX: usize = 100;

    /// Checks what somebody has chosen.
    ///
    /// # Errors
    /// What is wrong with it, in a sentence.
    pub fn check_chosen(&self, chosen: &[String]) -> Result<(), String> {
        if chosen.is_empty() {
            return Err("at least one option has to be chosen".to_owned());
        }
        if let Some(unknown) = chosen.iter().find(|option| !self.options.contains(option)) {
            return Err(format!("{unknown:?} is not among the options: {}", self.options.join(", ")));
        }
        if chosen.len() > 1 && !self.multiple {
            return Err(format!("one option can be chosen, and {} are", chosen.len()));
        }
        let distinct: BTreeSet<&String> = chosen.iter().collect();
        if distinct.len() < chosen.len() { Err("an option is chosen twice".to_owned()) } else { Ok(()) }
    }

    /// Whether somebody is among those who are asked.
    #[must_use]
    pub fn may_answer(&self, user: &str) -> bool {
        self.assigned_users.is_empty() || self.assigned_users.iter().any(|asked| asked.id == user)
    }

    /// The values of the params as the file has them, with what was given over them.
    #[must_use]
    pub fn with_input(&self, given: &Map<String, Value>) -> Map<String, Value> {
        let default = |param: &Value| param.get("value").cloned().unwrap_or(Value::Null);
        let value = |(name, param): (&String, &Value)| {
            (name.clone(), given.get(name).cloned().unwrap_or_else(|| default(param)))
        };
        self.params.iter().map(value).collect()
    }
}

impl Approval {
    /// What these options mean.
    #[must_use]
    pub fn means(&self, chosen: &[String]) -> AnswerMeans {
        match self.on_reject {
            _ if chosen.first() == self.asking.options.first() => AnswerMeans::GoOn,
            OnReject::Skip(_) => AnswerMeans::Stop,
            OnReject::Fail => AnswerMeans::Fail,
        }
    }
}

impl Choice {
    /// What these options mean.
    #[must_use]
    pub fn means(&self, chosen: &[String]) -> AnswerMeans {
        let Some(mapping) = &self.options_mapping else { return AnswerMeans::GoOn };
        let followed = |option: &String| mapping.get(option).unwrap_or(option).clone();
        AnswerMeans::Follow(chosen.iter().map(followed).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn asking() -> Asking {
        Asking {
            subject: "Which?".to_owned(),
            body: None,
            options: vec!["a".to_owned(), "b".to_owned()],
            defaults: Vec::new(),
            multiple: false,
            params: json!({"n": {"value": 1}, "m": {"schema": {}}}).as_object().unwrap().clone(),
            assigned_users: Vec::new(),
            response_timeout_secs: None,
        }
    }

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn an_answer_is_one_of_the_options_unless_several_may_be_chosen() {
        let one = asking();
        let several = Asking { multiple: true, ..asking() };
        assert!(one.check_chosen(&texts(&["a"])).is_ok() && several.check_chosen(&texts(&["b", "a"])).is_ok());
        for (asking, chosen, says) in [
            (&one, &[][..], "at least one"),
            (&one, &["c"][..], "not among the options: a, b"),
            (&one, &["a", "b"][..], "one option can be chosen"),
            (&several, &["a", "a"][..], "twice"),
        ] {
            let why = asking.check_chosen(&texts(chosen)).unwrap_err();
            assert!(why.contains(says), "{why}");
        }
    }

    #[test]
    fn who_is_not_assigned_may_not_answer() {
        let assigned = Asking { assigned_users: vec![HitlUser::named("ann")], ..asking() };
        assert!(assigned.may_answer("ann") && !assigned.may_answer("bob") && asking().may_answer("bob"));
    }

    #[test]
    fn what_is_given_lies_over_the_values_of_the_file_and_names_no_other_param() {
        let given = json!({"n": 2, "other": 3}).as_object().unwrap().clone();
        assert_eq!(Value::Object(asking().with_input(&given)), json!({"n": 2, "m": null}));
    }

    #[test]
    fn the_second_option_of_an_approval_rejects() {
        let skips = Approval { asking: asking(), on_reject: OnReject::Skip(SkipReach::DirectDownstream) };
        let fails = Approval { on_reject: OnReject::Fail, ..skips.clone() };
        assert_eq!(skips.means(&texts(&["a"])), AnswerMeans::GoOn);
        assert_eq!((skips.means(&texts(&["b"])), fails.means(&texts(&["b"]))), (AnswerMeans::Stop, AnswerMeans::Fail));
    }
}
