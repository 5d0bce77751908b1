//! A task's weight by its rule, as the compiled DAG has it.

use std::{collections::BTreeMap, fmt::Write};

use dag::{FileProblem, ReadFile};
use serde::Deserialize;
use serde_json::Value;

use crate::sections::{Outcome, read};

#[derive(Deserialize)]
struct Case {
    rule: String,
    priority_weight: BTreeMap<String, i64>,
    edges: Vec<(String, String)>,
    expected: BTreeMap<String, i64>,
}

/// A DAG folder without files beside the DAG.
struct NoFiles;

impl ReadFile for NoFiles {
    fn read(&self, _name: &str) -> Result<Vec<u8>, FileProblem> {
        Err(FileProblem::Missing)
    }
}

pub fn weights(case: &Value) -> Outcome {
    let case: Case = read(case);
    let loaded = dag::load("weights.yaml", &yaml(&case), &NoFiles);
    let [compiled] = loaded.dags.as_slice() else { panic!("the DAG is refused: {:?}", loaded.errors) };
    let tasks = compiled.dag.tasks.iter();
    let actual = tasks.map(|task| (task.task_id.to_string(), i64::from(task.effective_weight))).collect();
    Outcome::of(&case.expected, &actual)
}

fn yaml(case: &Case) -> String {
    let mut text = "dag_id: weights\nschedule: null\ntasks:\n".to_owned();
    for (task, weight) in &case.priority_weight {
        let before: Vec<&str> = case.edges.iter().filter(|(_, to)| to == task).map(|(from, _)| from.as_str()).collect();
        let (rule, before) = (&case.rule, before.join(", "));
        writeln!(
            text,
            "  - {{task_id: {task}, operator: empty, priority_weight: {weight}, weight_rule: {rule}, \
             dependencies: [{before}]}}"
        )
        .unwrap();
    }
    text
}
