//! DAG folders in memory, and short ways to load from them.

use std::collections::BTreeMap;

use dag::{CompiledDag, FileProblem, Loaded, ReadFile};

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

/// All problems, one a line.
pub fn messages(loaded: &Loaded) -> String {
    loaded.errors.iter().map(|error| format!("{error}\n")).collect()
}
