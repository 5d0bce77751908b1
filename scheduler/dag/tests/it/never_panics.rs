//! Garbage gives problems, not panics.

use proptest::prelude::*;

use crate::support::load;

/// Pieces that reach deeper into the reader than plain noise does.
fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec![
            "dag_id",
            "tasks",
            "task_id",
            "operator",
            "schedule",
            "params",
            "task_groups",
            "default",
            "default_args",
            "services",
            "dependencies",
            "retries",
            "bash",
            "service",
            "sql",
            "x",
            ": ",
            "- ",
            "\n",
            "\n  ",
            "\n    ",
            "{",
            "}",
            "[",
            "]",
            ", ",
            "&a ",
            "*a",
            "<<: ",
            "|\n",
            ">-\n",
            "'",
            "\"",
            "#",
            "!!str ",
            "---\n",
            "\t",
            "? ",
            "@daily",
            "0 0 * * 5#1",
            "1h",
            "PT",
            "2026-01-01",
            "null",
            "-1",
            "1e400",
            ".inf",
            "\u{feff}",
            "é",
            "\0",
        ])
        .prop_map(str::to_owned),
        "[ -~]{0,8}",
        any::<char>().prop_map(String::from),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_answered(pieces in prop::collection::vec(piece(), 0..60)) {
        let loaded = load(&pieces.concat());
        prop_assert!(loaded.errors.len() <= dag::ERRORS_PER_FILE_MAX);
        prop_assert!(loaded.errors.iter().all(|error| !error.to_string().is_empty()));
    }

    #[test]
    fn any_value_in_any_field_is_answered(
        field in prop::sample::select(vec!["schedule", "start_date", "params", "tags", "timezone", "dagrun_timeout", "task_groups", "files"]),
        value in prop::collection::vec(piece(), 0..12),
    ) {
        load(&format!("dag_id: x\n{field}: {}\ntasks: [{{task_id: a, operator: empty}}]", value.concat()));
    }

    #[test]
    fn any_cron_is_answered(text in "[0-9*/,#LWRH? a-z()@-]{0,30}") {
        if let Ok(expression) = dag::CronExpr::parse(&text) {
            // What is accepted has a plain form that means the same.
            prop_assert_eq!(dag::CronExpr::parse(expression.as_str()), Ok(expression.clone()));
            let _ = expression.can_fire();
        }
    }

    #[test]
    fn any_text_comes_back_from_the_canonical_form(text in any::<String>()) {
        let quoted = serde_json::to_string(&text).expect("text is JSON");
        let loaded = load(&format!("dag_id: x\nparams: {{p: {quoted}}}\ntasks: [{{task_id: a, operator: empty}}]"));
        if let [dag] = loaded.dags.as_slice() {
            let again = load(&dag.canonical_yaml);
            prop_assert_eq!(again.errors, []);
            prop_assert_eq!(&again.dags[0].dag, &dag.dag);
        }
    }
}
