//! A file of outcomes: what the tasks of a DAG come to in a simulation, and what has to follow from it.

use std::{collections::BTreeMap, time::Duration};

use model::{DagRunState, TaskId, TaskState, Timestamp};
use serde_json::{Map, Value};

use crate::{
    Dag, DagFileError, problem, read,
    yaml::{self},
};

/// One simulation of a DAG.
#[derive(Debug, Clone, PartialEq)]
pub struct Case {
    /// What it is called.
    pub name: String,
    /// The date that its run stands for.
    pub logical_date: Timestamp,
    /// Values for the params of its run.
    pub conf: Map<String, Value>,
    /// Pools and their slots; none for no limit.
    pub pools: BTreeMap<String, Option<u32>>,
    /// How many attempts run at once.
    pub worker_slots: u32,
    /// How long an attempt takes of which nothing else is said.
    pub default_duration: Duration,
    /// What becomes of each try; the last one told counts for all that follow.
    pub tasks: BTreeMap<Named, Vec<Told>>,
    /// What has to come of it.
    pub expect: Expect,
}

/// A task, or one instance of an expanded one: `load` or `load[2]`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Named {
    /// The task.
    pub task_id: TaskId,
    /// The instance; all of them when absent.
    pub map_index: Option<u32>,
}

impl std::fmt::Display for Named {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.map_index {
            Some(index) => write!(f, "{}[{index}]", self.task_id),
            None => self.task_id.fmt(f),
        }
    }
}

/// How an attempt ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Outcome {
    /// It does what it should.
    #[default]
    Success,
    /// It fails, and its retries say what follows.
    Failed,
    /// It fails, and no try follows.
    FailedWithoutRetry,
    /// It asks to be skipped.
    Skipped,
    /// Its worker is lost.
    Lost,
}

/// What is told of an attempt.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Told {
    /// How it ends.
    pub outcome: Outcome,
    /// How long it takes; the case's default when absent.
    pub duration: Option<Duration>,
    /// Why, in one sentence.
    pub reason: Option<String>,
    /// The exit code of its process.
    pub exit_code: Option<i32>,
    /// The pause before the next try, in place of the task's own.
    pub retry_delay: Option<Duration>,
    /// What it leaves, by key.
    pub xcoms: BTreeMap<String, Value>,
    /// What a branch follows; everything directly after it when absent.
    pub follow: Option<Vec<String>>,
    /// Whether the condition of a short circuit holds; it does when absent.
    pub proceed: Option<bool>,
    /// What people answer.
    pub answer: Answered,
}

/// What people answer to a question.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Answered {
    /// The defaults of the question, or its first option.
    #[default]
    AsUsual,
    /// These options.
    Options(Vec<String>),
    /// Nobody answers.
    Nothing,
}

/// What has to come of a case.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Expect {
    /// The state of the run at its end.
    pub state: Option<DagRunState>,
    /// The state that each task ends in; of an expanded one each of its instances.
    pub tasks: BTreeMap<Named, TaskState>,
    /// How many tries each takes.
    pub tries: BTreeMap<Named, i16>,
    /// How many instances an expanded task has.
    pub instances: BTreeMap<TaskId, usize>,
    /// Each begins only when the one before it has ended.
    pub order: Vec<TaskId>,
    /// How long the run takes at most.
    pub ends_within: Option<Duration>,
}

impl Expect {
    /// Whether nothing is expected.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Reads a file of outcomes for a DAG.
///
/// # Errors
/// Everything that is wrong with it, each with its place: names that the DAG does not have, too.
pub fn load_outcomes(file_name: &str, text: &str, dag: &Dag) -> Result<Vec<Case>, Vec<DagFileError>> {
    let mut problems = problem::Problems::of(file_name);
    let cases = match yaml::parse(text) {
        Ok(root) => read::outcomes::read(&root, dag, &mut problems),
        Err(stop) => {
            problems.add_with(&stop.place, stop.message, stop.suggestion);
            Vec::new()
        }
    };
    let errors = problems.into_report(text).errors;
    if errors.is_empty() { Ok(cases) } else { Err(errors) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dag() -> Dag {
        let text =
            "dag_id: d\nparams: {n: 1}\ntasks:\n  a: {operator: empty}\n  b: {operator: empty, dependencies: [a]}\n";
        let loaded = crate::load("d.yaml", text, &crate::Content::default());
        assert_eq!(loaded.errors, []);
        loaded.dags.into_iter().next().unwrap().dag
    }

    fn errors(text: &str) -> Vec<String> {
        load_outcomes("o.yaml", text, &dag()).unwrap_err().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_file_is_one_case_or_several_that_share_what_stands_at_the_top() {
        let one = load_outcomes("o.yaml", "tasks: {a: failed}\nexpect: {state: failed}\n", &dag()).unwrap();
        assert_eq!((one.len(), one[0].name.as_str()), (1, "o.yaml"));
        let text = "default_duration: 5s\ntasks:\n  a: [{outcome: failed, duration: 2m, exit_code: 3}, success]\ncases:\n\
                    - {name: x, tasks: {b: {returns: [1, 2]}}}\n- {name: y, default_duration: 1, tasks: {a: skipped}}\n";
        let cases = load_outcomes("o.yaml", text, &dag()).unwrap();
        let a = Named { task_id: TaskId::new("a").unwrap(), map_index: None };
        assert_eq!(cases[0].default_duration, Duration::from_secs(5));
        assert_eq!(cases[0].tasks[&a].len(), 2, "what stands at the top counts in a case that says nothing else");
        assert_eq!(cases[0].tasks[&a][0].exit_code, Some(3));
        assert_eq!(cases[1].tasks[&a][0].outcome, Outcome::Skipped);
        assert_eq!(cases[1].default_duration, Duration::from_secs(1));
        let b = Named { task_id: TaskId::new("b").unwrap(), map_index: None };
        assert_eq!(cases[0].tasks[&b][0].xcoms["return_value"], serde_json::json!([1, 2]));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place_and_what_may_have_been_meant() {
        let text = "cases:\n- name: x\n  tasks:\n    aa: success\n    b: sucess\n  expect:\n    tasks: {a: don}\n    order: [a, z]\n";
        let found = errors(text).join("\n");
        for part in [
            "o.yaml:4:9: cases[0].tasks.aa: the DAG d has no task aa",
            "cases[0].tasks.b: expected one of success, failed,",
            "did you mean \"success\"?",
            "cases[0].expect.tasks.a: expected one of",
            "cases[0].expect.order[1]: the DAG d has no task z",
        ] {
            assert!(found.contains(part), "{part} is not in\n{found}");
        }
        assert!(errors("cases: [{name: x}, {name: x}]")[0].contains("a case of this name stands before it"));
        assert!(errors("tasks: {a: {outcomes: failed}}")[0].contains("did you mean \"outcome\"?"));
        assert!(errors("[]")[0].contains("expected a mapping"));
        assert!(errors("tasks: {'a[x]': failed}")[0].contains("a[x]"));
        assert!(errors("conf: {n: 1, m: 2}\ntasks: {a: {follow: [q]}}")[0].contains("q"));
    }
}
