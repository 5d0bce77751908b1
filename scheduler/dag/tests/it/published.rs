//! The examples in the documentation load.

use std::{fs, path::PathBuf};

use dag::{FileProblem, ReadFile};

/// A folder that has every file; modules have the functions of the examples.
struct Anything;

impl ReadFile for Anything {
    fn read(&self, name: &str) -> Result<Vec<u8>, FileProblem> {
        Ok(if name.ends_with(".py") { b"def load(): pass\n".to_vec() } else { Vec::new() })
    }
}

/// The YAML blocks of a page.
fn blocks(page: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut open: Option<String> = None;
    for line in page.lines() {
        match (&mut open, line.trim()) {
            (None, "```yaml") => open = Some(String::new()),
            (Some(_), "```") => blocks.extend(open.take()),
            (Some(block), _) => {
                block.push_str(line);
                block.push('\n');
            }
            (None, _) => {}
        }
    }
    blocks
}

/// A block as a DAG file: a whole one, or a list of tasks; none when it is about something else.
fn dag_file(block: &str) -> Option<String> {
    let task = block.trim_start().starts_with("- task_id:");
    match block {
        _ if block.lines().any(|line| line.starts_with("dag_id:")) => Some(block.to_owned()),
        _ if task => Some(format!("dag_id: example\ntasks:\n{block}")),
        _ => None,
    }
}

#[test]
fn every_example_of_the_documentation_loads() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut pages = vec![root.join("README.md")];
    pages.extend(fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path()));
    let mut loaded = 0;
    for page in pages.iter().filter(|page| page.extension().is_some_and(|extension| extension == "md")) {
        for file in blocks(&fs::read_to_string(page).unwrap()).iter().filter_map(|block| dag_file(block)) {
            let found = dag::load("example.yaml", &file, &Anything);
            // An example of a few tasks leaves away those that they come after.
            let wrong = found.errors.iter().filter(|error| !error.message.starts_with("there is no task or group"));
            let shown: String = wrong.map(|error| format!("{error}\n")).collect();
            assert_eq!(shown, "", "{}:\n{file}", page.display());
            assert_eq!(found.warnings, [], "{}:\n{file}", page.display());
            loaded += 1;
        }
    }
    assert!(loaded >= 5, "only {loaded} examples were found");
}
