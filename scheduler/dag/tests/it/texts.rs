//! No text, number or instant of a DAG that loads is one that PostgreSQL refuses.

use std::fmt::Write;

use expect_test::{Expect, expect};
use proptest::prelude::*;

use crate::support::{load, messages, remarks};

fn check(text: &str, expected: Expect) {
    let loaded = load(text);
    assert!(loaded.dags.is_empty(), "a DAG with a problem was not left out");
    expected.assert_eq(&messages(&loaded));
}

#[test]
fn a_nul_is_refused_wherever_it_stands() {
    let places = [
        "description: \"a\\0b\"",
        "doc_md: \"a\\0b\"",
        "tags: [\"a\\0b\"]",
        "tags: \"\\x00\"",
        "owner: \"\\u0000\"",
        "params: {p: \"a\\0b\"}",
        "params: {p: {default: {deep: [{k: \"a\\0b\"}]}}}",
        "params: {p: {default: {deep: {\"a\\0b\": 1}}}}",
        "params: {\"a\\0b\": 1}",
        "params: {p: {type: string, description: \"\\0\", default: x}}",
        "default_args: {owner: \"a\\0b\"}",
        "task_groups: [{group_name: g, tooltip: \"a\\0b\"}]",
        "default_view: \"a\\0b\"",
        "schedule: \"0 0 * * *\\0\"",
        "\"a\\0b\": 1",
    ];
    for place in places {
        let loaded = load(&format!("dag_id: x\n{place}\ntasks: [{{task_id: a, operator: empty}}]"));
        assert!(loaded.dags.is_empty(), "{place}");
        let error = loaded.errors.iter().find(|error| error.message.contains("NUL")).expect(place);
        assert_eq!(error.line, 2, "{place}");
        assert!(!format!("{loaded:?}").contains("\\0b\"]\0"), "{place}");
    }
    let tasks = [
        "bash_command: \"tr '\\0' '\\n'\"",
        "bash_command: x, env: {A: \"\\0\"}",
        "bash_command: x, doc_md: \"\\0\"",
        "bash_command: x, outlets: [{name: a, uri: \"\\0\"}]",
        "bash_command: x, pool: \"\\0\"",
    ];
    for task in tasks {
        let loaded = load(&format!("dag_id: x\ntasks: [{{task_id: a, operator: bash, {task}}}]"));
        assert!(loaded.dags.is_empty() && loaded.errors[0].message.contains("NUL"), "{task}");
    }
}

#[test]
fn a_nul_is_told_with_its_place_and_what_to_write() {
    check(
        "dag_id: x\ntasks:\n  - {task_id: a, operator: bash, bash_command: \"tr '\\0' '\\n' < /proc/self/environ\"}\n",
        expect![[r#"
            dags/x.yaml:3:48: tasks[0].bash_command: this text has a NUL character (\0), which can not be stored; for a backslash and a zero, as in tr '\0' '\n', put the text in single quotes or write \\0
        "#]],
    );
    let quoted = "dag_id: x\ntasks:\n  - {task_id: a, operator: bash, bash_command: 'tr ''\\0'' ''\\n'''}\n";
    assert_eq!(load(quoted).errors, []);
    assert_eq!(
        load(&quoted.replace("''", "'").replace(": 'tr", ": \"tr").replace("\\", "\\\\").replace("'}", "\"}")).errors,
        []
    );
}

#[test]
fn a_nul_as_it_is_ends_the_file() {
    check(
        "dag_id: x\ntags: [a\0]\n",
        expect![[r#"
        dags/x.yaml:2:9: a NUL character stands here as it is; it is no part of YAML, and what follows could not be read
    "#]],
    );
}

#[test]
fn dates_have_room_before_and_after_them() {
    let dag = |fields: &str| format!("dag_id: x\n{fields}\ntasks: [{{task_id: a, operator: empty}}]");
    check(
        &dag("start_date: 0001-01-01\nend_date: 9999-12-31"),
        expect![[r#"
        dags/x.yaml:2:13: start_date: expected a year from 1900 to 2200; leave a date away that is never reached
        dags/x.yaml:3:11: end_date: expected a year from 1900 to 2200; leave a date away that is never reached
    "#]],
    );
    for date in ["-0001-01-01", "0000-01-01", "10000-01-01", "+262142-12-31", "294277-01-01T00:00:00Z"] {
        assert!(!load(&dag(&format!("start_date: \"{date}\""))).errors.is_empty(), "{date}");
    }
}

#[test]
fn whole_numbers_are_exact_or_refused() {
    let dag = |value: &str| format!("dag_id: x\nparams: {{limit: {value}}}\ntasks: [{{task_id: a, operator: empty}}]");
    for exact in ["12345678901234567890", "-9223372036854775808", "18446744073709551615", "0x7fffffffffffffff"] {
        let loaded = load(&dag(exact));
        assert_eq!(loaded.errors, [], "{exact}");
        let json = serde_json::to_string(&loaded.dags[0].dag.params["limit"].default).unwrap();
        let again: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(again, loaded.dags[0].dag.params["limit"].default);
        assert!(exact.starts_with("0x") || json == exact, "{json}");
    }
    check(
        &dag("18446744073709551616"),
        expect![[r#"
        dags/x.yaml:2:17: params.limit: a whole number is exact from -9223372036854775808 to 18446744073709551615 only; put a longer one in quotes
    "#]],
    );
    check(
        &dag("0xffffffffffffffffffffffffffffffffffffffff"),
        expect![[r#"
        dags/x.yaml:2:17: params.limit: a whole number is exact from -9223372036854775808 to 18446744073709551615 only; put a longer one in quotes
    "#]],
    );
    let as_text = "dag_id: x\ntasks: [{task_id: a, operator: bash, bash_command: x, env: {N: 18446744073709551616}}]";
    assert_eq!(load(as_text).errors, [], "as a text it is exact");
}

#[test]
fn what_meant_something_else_in_older_yaml_is_remarked() {
    let dag = "dag_id: x\ntags: [on, \"on\"]\nparams: {flag: no, mode: 010, big: 1_000, quoted: \"no\", zero: 0}\n\
               tasks:\n  - {task_id: a, operator: bash, bash_command: x, env: {A: Off, B: 'off', C: 2026-01-01, D: 12:30}}\n";
    expect![[r#"
        dags/x.yaml:2:8: tags[0]: on is the text "on", not true; write true, or put it in quotes
        dags/x.yaml:3:16: params.flag: no is the text "no", not false; write false, or put it in quotes
        dags/x.yaml:3:26: params.mode: 010 is the number 10, not an octal one; for the text, put it in quotes
        dags/x.yaml:3:36: params.big: 1_000 is a text, not a number; write 1000, or put it in quotes
        dags/x.yaml:5:60: tasks[0].env.A: Off is the text "Off", not false; write false, or put it in quotes
    "#]]
    .assert_eq(&remarks(dag));
    let error = load("dag_id: x\ncatchup: no\ntasks: [{task_id: a, operator: empty}]");
    assert_eq!((error.errors.len(), error.warnings.len()), (1, 0), "an error needs no remark beside it");
}

/// A scalar as a user may write it, with what PostgreSQL does not take among it.
fn scalar() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z0-9 ._-]{0,12}",
        any::<String>().prop_map(|text| serde_json::to_string(&text).expect("text is JSON")),
        prop::sample::select(vec![
            "\"\\0\"",
            "\"a\\x00b\"",
            "\"\\u0000\"",
            "\"\\U00000000\"",
            "'\\0'",
            "99999999999999999999999",
            "-1e400",
            "1e308",
            ".nan",
            ".inf",
            "0x10000000000000000",
            "0001-01-01",
            "9999-12-31T23:59:59Z",
            "262143-01-01",
            "\"\\ud800\"",
            "\"\\uFFFF\"",
            "!!str 1",
            "!x y",
            "*a",
            "&a b",
            "null",
            "~",
            "|-\n  a\n",
            "{{ x }}",
            "yes",
            "010",
            "1_0",
        ])
        .prop_map(str::to_owned),
        any::<i128>().prop_map(|number| number.to_string()),
        any::<f64>().prop_map(|number| number.to_string()),
    ]
}

/// Fails when a value of a definition is one that PostgreSQL's text or jsonb can not hold.
fn assert_storable(value: &serde_json::Value) -> Result<(), TestCaseError> {
    match value {
        serde_json::Value::String(text) => prop_assert!(!text.contains('\0')),
        serde_json::Value::Array(items) => return items.iter().try_for_each(assert_storable),
        serde_json::Value::Object(entries) => {
            for (key, value) in entries {
                prop_assert!(!key.contains('\0'));
                assert_storable(value)?;
            }
        }
        serde_json::Value::Number(number) => prop_assert!(number.as_f64().is_some_and(f64::is_finite)),
        serde_json::Value::Null | serde_json::Value::Bool(_) => {}
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_loads_can_be_stored(values in prop::collection::vec(scalar(), 16)) {
        let mut text = String::from("dag_id: x\n");
        let fields = ["description", "doc_md", "start_date", "end_date", "schedule", "timezone", "tags", "dagrun_timeout"];
        // One field at a time besides those that nearly everything fits, so that many cases load.
        let chosen = values[0].len() % fields.len();
        writeln!(text, "{}: {}", fields[chosen], values[1].replace('\n', "\n ")).unwrap();
        writeln!(text, "params: {{p: {}, q: {{default: [{}, {{k: {}}}]}}}}", values[2], values[3], values[4]).unwrap();
        let task = format!("task_id: t, operator: bash, bash_command: {}, env: {{A: {}}}", values[5], values[6]);
        writeln!(text, "tasks: [{{{task}, owner: {}, doc_md: {}}}]", values[7], values[8]).unwrap();
        let loaded = load(&text);
        for compiled in &loaded.dags {
            assert_storable(&serde_json::to_value(&compiled.dag).expect("a DAG is JSON"))?;
            prop_assert!(!compiled.canonical_yaml.contains('\0'));
            for date in [compiled.dag.start_date, compiled.dag.end_date].into_iter().flatten() {
                prop_assert!((1900..=2200).contains(&chrono::Datelike::year(&date)));
            }
        }
        for error in loaded.errors.iter().chain(&loaded.warnings) {
            let shown = error.to_string() + error.excerpt.as_deref().unwrap_or_default();
            prop_assert!(!shown.contains('\0'));
            prop_assert!(error.dag_id.as_ref().is_none_or(|id| !id.contains('\0')));
        }
    }
}
