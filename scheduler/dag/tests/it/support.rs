//! DAG folders in memory, and short ways to load from them.

use std::collections::BTreeMap;

use dag::{CompiledDag, FileProblem, Loaded, ReadFile};
use model::Operator;

/// Files by name.
#[derive(Default)]
pub struct Memory(BTreeMap<String, Vec<u8>>);

impl Memory {
    /// A folder with these files.
    pub fn with(files: &[(&str, &str)]) -> Self {
        Self(files.iter().map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec())).collect())
    }

    /// The same with a file of zeros.
    pub fn and_zeros(mut self, name: &str, bytes: usize) -> Self {
        self.0.insert(name.to_owned(), vec![0; bytes]);
        self
    }
}

impl ReadFile for Memory {
    fn read(&self, name: &str) -> Result<Vec<u8>, FileProblem> {
        match self.0.get(name) {
            Some(_) if name.starts_with("link/") => Err(FileProblem::Outside),
            Some(bytes) => Ok(bytes.clone()),
            None => Err(FileProblem::Missing),
        }
    }
}

/// Loads a text whose folder has nothing else.
pub fn load(text: &str) -> Loaded {
    dag::load("dags/x.yaml", text, &Memory::default())
}

/// The only DAG of a text without problems.
pub fn one(text: &str) -> CompiledDag {
    let loaded = load(text);
    assert!(loaded.errors.is_empty(), "{}\n{text}", messages(&loaded));
    let [dag] = <[CompiledDag; 1]>::try_from(loaded.dags).expect("the text has one DAG");
    dag
}

/// The remarks on a text without problems, one a line.
pub fn remarks(text: &str) -> String {
    let loaded = load(text);
    assert!(loaded.errors.is_empty(), "{}\n{text}", messages(&loaded));
    loaded.warnings.iter().map(|warning| format!("{warning}\n")).collect()
}

/// The operator of a DAG's only task, whose other keys these are.
pub fn operator(task: &str) -> Operator {
    one(&of_tasks(&[task])).dag.tasks.remove(0).operator
}

/// The problems of tasks of which none is right.
pub fn refused(tasks: &[&str]) -> String {
    let loaded = load(&of_tasks(tasks));
    assert!(loaded.dags.is_empty());
    messages(&loaded)
}

/// Fails unless each task, alone in a DAG, comes back the same from the DAG's canonical form.
pub fn assert_canonical(tasks: &[&str]) {
    for task in tasks {
        let dag = one(&of_tasks(&[task]));
        let again = one(&dag.canonical_yaml);
        assert_eq!(again.dag, dag.dag, "{}", dag.canonical_yaml);
        assert_eq!(again.content_hash, dag.content_hash);
    }
}

fn of_tasks(tasks: &[&str]) -> String {
    let tasks: String = tasks.iter().map(|task| format!("  - {{task_id: a, {task}}}\n")).collect();
    format!("dag_id: x\ntasks:\n{tasks}")
}

/// All problems, one a line.
pub fn messages(loaded: &Loaded) -> String {
    loaded.errors.iter().map(|error| format!("{error}\n")).collect()
}
