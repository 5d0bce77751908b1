//! `windlass dags test`, as a new user types it: nothing is running, and nothing is left.

use std::{fs, path::Path};

use crate::{printed, said, windlass_in};

/// Two tasks, a file beside the DAG, a param, and a schedule with years to catch up.
const GOOD: &str = r#"
dag_id: demo
schedule: "@daily"
start_date: 2020-01-01
catchup: true
is_paused_upon_creation: false
params:
  who: {type: string, default: world}
tasks:
  - {task_id: hello, operator: bash, bash_command: "echo hello {{ params.who | quote }} on {{ ds }}"}
  - {task_id: count, operator: python, script: scripts/count.py, pool: made_elsewhere, dependencies: [hello]}
"#;

/// Its task fails with a code of its own.
const FAILING: &str = r#"
dag_id: failing
schedule: null
tasks:
  - {task_id: first, operator: bash, bash_command: "echo on the way; exit 3"}
  - {task_id: second, operator: bash, bash_command: "echo second runs", dependencies: [first]}
"#;

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder
}

/// The command makes its home below TMPDIR, so a folder of the test's own shows what is left.
fn test(folder: &Path, arguments: &[&str]) -> (std::process::Output, Vec<String>) {
    let temporary = tempfile::Builder::new().prefix("wt").tempdir().unwrap();
    let all: Vec<&str> = ["dags", "test"].iter().chain(arguments).copied().collect();
    let output = windlass_in(folder, &all, &[("TMPDIR", temporary.path().to_str().unwrap())]);
    let left = fs::read_dir(temporary.path()).unwrap();
    (output, left.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect())
}

#[test]
fn a_dag_runs_once_with_its_files_and_leaves_nothing() {
    let folder =
        folder(&[("demo.yaml", GOOD), ("scripts/count.py", "print('counted', 1 + 1)"), ("broken.yaml", "dag_id: [")]);
    let (output, left) = test(folder.path(), &["demo.yaml", "-l", "2026-11-20", "--conf", r#"{"who": "ada"}"#]);
    let text = printed(&output);
    assert!(output.status.success(), "{text}{}", said(&output));
    assert!(text.contains("hello | hello ada on 2026-11-20"), "{text}");
    assert!(text.contains("count | counted 2"), "{text}");
    assert_eq!(text.matches("run manual__").count(), 1, "the schedule starts nothing: {text}");
    assert_eq!(left, Vec::<String>::new());
}

#[test]
fn a_failure_is_told_and_one_task_runs_alone() {
    let folder = folder(&[("failing.yaml", FAILING)]);
    let (output, _) = test(folder.path(), &["failing.yaml"]);
    let text = printed(&output);
    assert_eq!(output.status.code(), Some(7), "{text}{}", said(&output));
    assert!(text.contains("first | on the way") && text.contains("first | [failed"), "{text}");
    assert!(!text.contains("second runs"), "{text}");
    let (output, _) = test(folder.path(), &["failing.yaml", "--task", "second"]);
    let text = printed(&output);
    assert!(output.status.success(), "{text}{}", said(&output));
    assert!(text.contains("second | second runs") && !text.contains("on the way"), "{text}");
}

#[test]
fn mistakes_of_a_file_are_told_before_anything_starts() {
    let folder = folder(&[("bad.yaml", "dag_id: bad\nschedule: null\ntasks:\n  - {task_id: a, operator: bsh}\n")]);
    let (output, _) = test(folder.path(), &["bad.yaml"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("bad.yaml:4:") && said(&output).contains("bash"), "{}", said(&output));
    let (output, _) = test(folder.path(), &["nowhere.yaml"]);
    assert!(said(&output).contains("nowhere.yaml can not be read"), "{}", said(&output));
}
