//! Whose an error is: the DAG's that it is in, and the file's only when it spoils all of it.

use dag::{Loaded, Refused};
use expect_test::{Expect, expect};
use model::DagId;

use crate::support::load;

const GOOD: &str = "good:\n  tasks: [{task_id: a, operator: empty}]\n";

/// The DAGs that load, and each error with its DAG.
fn check(text: &str, expected: Expect) -> Loaded {
    let loaded = load(text);
    let mut shown: String = loaded.dags.iter().map(|compiled| format!("{}\n", compiled.dag.dag_id)).collect();
    for error in &loaded.errors {
        shown += &format!("{} | {error}\n", error.dag_id.as_deref().unwrap_or("the file"));
    }
    expected.assert_eq(&shown);
    loaded
}

fn id(text: &str) -> DagId {
    DagId::new(text).expect("it is an id")
}

#[test]
fn what_can_not_be_read_in_one_dag_leaves_the_others() {
    let text = format!(
        "{GOOD}twice:\n  tags: [a]\n  tags: [b]\n  tasks: [{{task_id: a, operator: empty}}]\n\
         nul:\n  tasks: [{{task_id: a, operator: bash, bash_command: \"tr '\\0' '\\n'\"}}]\n\
         tag:\n  tasks: !!python/object [{{task_id: a, operator: empty}}]\n\
         braces:\n  schedule: {{{{ var.value.cron }}}}\n  tasks: [{{task_id: a, operator: empty}}]\n\
         alias:\n  description: *nothing\n  tasks: [{{task_id: a, operator: empty}}]\n\
         merge:\n  <<: 3\n  tasks: [{{task_id: a, operator: empty}}]\n\
         field:\n  tasks: [{{task_id: a, operator: empty, retries: x}}]\n\
         key:\n  \"a\\0b\": 1\n  tasks: [{{task_id: a, operator: empty}}]\n\
         again:\n  tasks: [{{task_id: a, operator: empty}}]\nagain:\n  tasks: [{{task_id: b, operator: empty}}]\n\
         also_good:\n  tasks: [{{task_id: a, operator: empty}}]\n"
    );
    let loaded = check(
        &text,
        expect![[r#"
        good
        also_good
        twice | dags/x.yaml:5:3: twice.tags: this key stands here twice
        nul | dags/x.yaml:8:54: nul.tasks[0].bash_command: this text has a NUL character (\0), which can not be stored; for a backslash and a zero, as in tr '\0' '\n', put the text in single quotes or write \\0
        tag | dags/x.yaml:10:10: tag.tasks: tag tag:yaml.org,2002:python/object is not known; DAG files use plain YAML
        braces | dags/x.yaml:12:13: braces.schedule: expected a key, found a mapping; write a text with {{ }} in quotes, such as "{{ ds }}"
        alias | dags/x.yaml:15:16: alias.description: *nothing refers to no anchor &nothing before it; if it is a text, write it in quotes
        merge | dags/x.yaml:18:3: merge.<<: expected << to be followed by a mapping or a list of mappings
        field | dags/x.yaml:21:50: field.tasks[0].retries: expected a whole number from 0 to 10000, found the text "x"
        key | dags/x.yaml:23:3: key.?: this text has a NUL character (\0), which can not be stored; for a backslash and a zero, as in tr '\0' '\n', put the text in single quotes or write \\0
        again | dags/x.yaml:27:1: again: this key stands here twice
    "#]],
    );
    assert!(loaded.refused.has(&id("again")) && loaded.refused.has(&id("nul")));
    assert!(!loaded.refused.has(&id("good")) && !loaded.refused.has(&id("of_another_file")));
}

#[test]
fn what_spoils_the_whole_file_is_the_files() {
    for text in ["a:\n  tasks: [\n", "", "a: {}\n---\nb: {}\n", "- a\n", "a: \"\0\"\n"] {
        let loaded = load(text);
        assert_eq!((loaded.refused, loaded.errors[0].dag_id.as_deref()), (Refused::File, None), "{text}");
    }
}

#[test]
fn a_dag_whose_id_is_wrong_may_be_any_that_was_known() {
    let loaded = check(
        &format!("{GOOD}a/b:\n  tasks: [{{task_id: a, operator: empty}}]\n"),
        expect![[r#"
        good
        a/b | dags/x.yaml:3:1: a/b: dag_id "a/b" is not valid: use 1 to 250 characters of A-Z a-z 0-9 _.-
    "#]],
    );
    assert_eq!(loaded.refused, Refused::File);
    let nameless = load("schedule: null\ntasks: [{task_id: a, operator: empty}]");
    assert_eq!(nameless.refused, Refused::File);
}

#[test]
fn an_error_of_a_single_dag_names_it() {
    let loaded = check(
        "dag_id: x\ntasks: [{task_id: a, operator: empty, retries: -1}]",
        expect![[r#"
        x | dags/x.yaml:2:48: tasks[0].retries: expected a whole number from 0 to 10000, found the number -1
    "#]],
    );
    assert_eq!(loaded.refused, Refused::Dags([id("x")].into()));
}

#[test]
fn an_error_of_the_default_block_is_told_once_and_spoils_those_that_inherit_it() {
    check(
        "default:\n  start_date: soon\n  tasks: {a: {operator: empty, retries: x}}\n  doc_md: \"\\0\"\none: {}\ntwo: {}\n",
        expect![[r#"
            the file | dags/x.yaml:2:15: default.start_date: expected a date such as 2026-01-31, or a time such as 2026-01-31T06:00:00+01:00, found the text "soon"
            the file | dags/x.yaml:3:41: default.tasks.a.retries: expected a whole number from 0 to 10000, found the text "x"
            the file | dags/x.yaml:4:11: default.doc_md: this text has a NUL character (\0), which can not be stored; for a backslash and a zero, as in tr '\0' '\n', put the text in single quotes or write \\0
        "#]],
    );
    // A value that nobody inherits is nobody's error.
    check(
        "default: {start_date: soon}\none: {start_date: 2026-01-01, tasks: [{task_id: a, operator: empty}]}\n",
        expect![[r#"
            one
        "#]],
    );
}

#[test]
fn an_alias_carries_what_is_wrong_with_its_anchor() {
    check(
        "one:\n  doc_md: &doc \"a\\0b\"\n  tasks: [{task_id: a, operator: empty}]\n\
         two:\n  doc_md: *doc\n  tasks: [{task_id: a, operator: empty}]\n",
        expect![[r#"
            one | dags/x.yaml:2:16: one.doc_md: this text has a NUL character (\0), which can not be stored; for a backslash and a zero, as in tr '\0' '\n', put the text in single quotes or write \\0
            two | dags/x.yaml:2:16: two.doc_md: this text has a NUL character (\0), which can not be stored; for a backslash and a zero, as in tr '\0' '\n', put the text in single quotes or write \\0
        "#]],
    );
}

#[test]
fn many_bad_dags_of_a_file_are_each_told() {
    let text: String =
        (0..90).map(|n| format!("d{n}: {{tasks: [{{task_id: a, operator: empty, retires: 1}}]}}\n")).collect();
    let loaded = load(&text);
    assert_eq!(loaded.errors.len(), 90);
    let text: String = (0..500).map(|n| format!("d{n}: 3\n")).collect();
    let loaded = load(&text);
    assert_eq!(loaded.errors.len(), dag::ERRORS_PER_FILE_MAX);
    assert!(loaded.refused.has(&id("d499")), "a DAG whose error is not shown is refused, too");
}
