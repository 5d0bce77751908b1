//! Setups and teardowns: how they are written, what is refused, and what follows from them.

use dag::{Dag, Phase, TaskPos};
use expect_test::{Expect, expect};
use model::TriggerRule;

use crate::support::{assert_canonical, load, messages, one, remarks};

/// A DAG of empty tasks, one a line: its name and what else it says.
fn text(tasks: &[(&str, &str)]) -> String {
    let task = |(name, rest): &(&str, &str)| format!("  - {{task_id: {name}, operator: empty{rest}}}\n");
    format!("dag_id: x\ntasks:\n{}", tasks.iter().map(task).collect::<String>())
}

fn refused(tasks: &[(&str, &str)], expected: Expect) {
    let loaded = load(&text(tasks));
    assert!(loaded.dags.is_empty(), "a DAG with a problem was not left out");
    expected.assert_eq(&messages(&loaded));
}

fn names(dag: &Dag, tasks: impl IntoIterator<Item = TaskPos>) -> Vec<&str> {
    tasks.into_iter().map(|pos| dag.task(pos).task_id.as_str()).collect()
}

fn position(dag: &Dag, name: &str) -> TaskPos {
    dag.positions().find(|pos| dag.task(*pos).task_id.as_str() == name).expect("the DAG has it")
}

const CLUSTER: [(&str, &str); 4] = [
    ("make", ""),
    ("load", ", dependencies: [make]"),
    ("check", ", dependencies: [load]"),
    ("take", ", dependencies: [check], teardown: {setups: make}"),
];

#[test]
fn a_teardown_makes_setups_of_what_it_names_and_comes_after_them() {
    let dag = one(&text(&CLUSTER)).dag;
    let task = |name| dag.task(position(&dag, name));
    assert_eq!(task("make").phase, Phase::Setup);
    assert_eq!(task("take").phase, Phase::Teardown { on_failure_fail_dagrun: false });
    assert_eq!(task("take").trigger_rule, TriggerRule::AllDoneSetupSuccess);
    assert_eq!(names(&dag, task("take").upstream.clone()), ["make", "check"]);
    let scopes = dag.scopes();
    assert_eq!(names(&dag, scopes.needs(position(&dag, "check"))), ["make"]);
    assert_eq!(names(&dag, scopes.span(position(&dag, "take"))), ["load", "check"]);
    assert_eq!(names(&dag, dag.leaves()), ["check"], "the run ends as if the teardown were not there");
}

#[test]
fn every_form_says_the_same() {
    let forms = [
        ", dependencies: [check], teardown: {of: [make]}",
        ", dependencies: [check], is_teardown: {setups: [make], on_failure_fail_dagrun: false}",
        ", dependencies: [check, make], teardown: true",
        ", dependencies: [check, make], is_teardown: true, on_failure_fail_dagrun: false",
    ];
    let expected = one(&text(&CLUSTER));
    for form in forms {
        for setup in [", setup: true", ", is_setup: true"] {
            let dag = one(&text(&[("make", setup), CLUSTER[1], CLUSTER[2], ("take", form)]));
            assert_eq!(dag.content_hash, expected.content_hash, "{form}");
        }
    }
    let again = one(&expected.canonical_yaml);
    assert_eq!((again.dag, again.content_hash), (expected.dag, expected.content_hash), "{}", expected.canonical_yaml);
    assert_canonical(&[
        "operator: empty, setup: true",
        "operator: empty, teardown: true",
        "operator: empty, teardown: {on_failure_fail_dagrun: true}",
        "operator: empty, teardown: true, on_failure_fail_dagrun: true",
    ]);
}

#[test]
fn what_makes_no_sense_is_refused() {
    refused(
        &[("a", ", setup: true, teardown: true"), ("b", ", on_failure_fail_dagrun: true"), ("c", ", teardown: a")],
        expect![[r#"
            dags/x.yaml:3:42: tasks[0].setup: a task is a setup or a teardown, not both
            dags/x.yaml:4:59: tasks[1].on_failure_fail_dagrun: on_failure_fail_dagrun is for a teardown; write teardown: true, too
            dags/x.yaml:5:45: tasks[2].teardown: expected true, or what is torn down, such as {setups: [create_cluster]}, found the text "a"
        "#]],
    );
    refused(
        &[
            ("make", ", setup: true"),
            ("work", ", dependencies: [make], trigger_rule: all_done"),
            ("take", ", dependencies: [work], teardown: {setups: make}, trigger_rule: all_done"),
        ],
        expect![[r#"
            dags/x.yaml:4:5: tasks[1]: it comes directly after the setup make, so its trigger_rule is all_success, not all_done
            dags/x.yaml:5:100: tasks[2].trigger_rule: a teardown runs when everything between is over and a setup of it has succeeded; leave trigger_rule away
        "#]],
    );
    refused(
        &[("a", ", teardown: true"), ("b", ", teardown: {setups: [a, gone], extra: 1}")],
        expect![[r#"
        dags/x.yaml:4:58: tasks[1].teardown.setups[1]: there is no task or group "gone" in this DAG
        dags/x.yaml:4:65: tasks[1].teardown.extra: unknown field
    "#]],
    );
    refused(
        &[("make", ""), ("work", ", dependencies: [make], trigger_rule: all_done"), ("take", ", teardown: {of: make}")],
        expect![[r#"
            dags/x.yaml:4:5: tasks[1]: it comes directly after the setup make, so its trigger_rule is all_success, not all_done
        "#]],
    );
    let group = "dag_id: x\ntask_groups: [{group_name: g}]\ntasks:\n  - {task_id: a, task_group_name: g, operator: empty}\n  \
        - {task_id: b, operator: empty, teardown: {setups: g}}\n";
    expect![[r#"
        dags/x.yaml:5:54: tasks[1].teardown.setups: "g" is a group; name the setups in it
    "#]]
    .assert_eq(&messages(&load(group)));
    let defaults = "dag_id: x\ndefault_args: {setup: true}\ntasks:\n  - {task_id: a, operator: empty}\n";
    expect![[r#"
        dags/x.yaml:2:16: default_args.setup: not supported yet: setups by default; write it at the task
    "#]]
    .assert_eq(&messages(&load(defaults)));
}

#[test]
fn a_default_rule_and_fail_fast_leave_a_teardown_its_rule() {
    let dag = format!("fail_fast: true\n{}", text(&CLUSTER));
    assert_eq!(one(&dag).dag.tasks[3].trigger_rule, TriggerRule::AllDoneSetupSuccess);
    let with_default = "dag_id: x\ndefault_args: {trigger_rule: none_failed}\ntasks:\n  - {task_id: a, operator: empty, teardown: true}\n";
    assert_eq!(one(with_default).dag.tasks[0].trigger_rule, TriggerRule::AllDoneSetupSuccess);
}

#[test]
fn a_teardown_at_the_end_is_no_leaf_that_can_not_fail() {
    assert_eq!(remarks(&text(&CLUSTER)), "");
}

#[test]
fn what_follows_a_group_does_not_wait_for_its_teardowns() {
    let upstream_of_end = |tasks: &str| {
        let text = format!(
            "dag_id: x\ntask_groups:\n  - {{group_name: g}}\n  - {{group_name: inner, parent_group_name: g}}\ntasks:\n{tasks}  \
             - {{task_id: end, operator: empty, dependencies: [g]}}\n"
        );
        let dag = one(&text).dag;
        let upstream = dag.task(position(&dag, "end")).upstream.clone();
        names(&dag, upstream).into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let cluster = "  - {task_id: make, task_group_name: g, operator: empty, setup: true}\n  \
        - {task_id: work, task_group_name: g, operator: empty, dependencies: [make]}\n  \
        - {task_id: take, task_group_name: g, operator: empty, dependencies: [work], teardown: {of: make}}\n";
    assert_eq!(upstream_of_end(cluster), ["g.work"]);
    let two = format!(
        "{cluster}  - {{task_id: last, task_group_name: g, operator: empty, dependencies: [take], teardown: true}}\n"
    );
    assert_eq!(upstream_of_end(&two), ["g.work"], "one teardown after the other");
    let goes_on =
        format!("{cluster}  - {{task_id: more, task_group_name: g, operator: empty, dependencies: [work, take]}}\n");
    assert_eq!(upstream_of_end(&goes_on), ["g.more"]);
    let nested = cluster.replace("task_group_name: g", "task_group_name: inner");
    assert_eq!(upstream_of_end(&nested), ["g.inner.work"], "a group in the group");
    let alone = "  - {task_id: make, task_group_name: g, operator: empty, setup: true}\n  \
        - {task_id: take, task_group_name: g, operator: empty, teardown: {of: make}}\n";
    assert_eq!(upstream_of_end(alone), Vec::<String>::new(), "there is nothing between");
}

#[test]
fn scopes_lie_in_each_other_and_a_setup_without_an_end_has_no_end() {
    let dag = one(&text(&[
        ("for_all", ", setup: true"),
        ("outer", ", dependencies: [for_all]"),
        ("inner", ", dependencies: [outer]"),
        ("a", ", dependencies: [inner]"),
        ("end_inner", ", dependencies: [a], teardown: {of: inner}"),
        ("b", ", dependencies: [end_inner]"),
        ("end_outer", ", dependencies: [b], teardown: {of: outer}"),
        ("after", ", dependencies: [end_outer]"),
    ]))
    .dag;
    let scopes = dag.scopes();
    let needs = |name| names(&dag, scopes.needs(position(&dag, name)));
    assert_eq!(needs("a"), ["for_all", "outer", "inner"]);
    assert_eq!(needs("inner"), ["for_all", "outer"]);
    assert_eq!(needs("b"), ["for_all", "outer"]);
    assert_eq!(needs("after"), ["for_all"]);
    assert_eq!(needs("end_inner"), Vec::<&str>::new());
    assert_eq!(names(&dag, scopes.span(position(&dag, "end_outer"))), ["inner", "a", "end_inner", "b"]);
    assert_eq!(names(&dag, dag.leaves()), ["a", "b", "after"], "what only teardowns follow");
}

#[test]
fn more_pairs_than_a_word_has_bits_are_all_found() {
    let mut tasks = Vec::new();
    for number in 0..150 {
        tasks.push(format!("  - {{task_id: s{number}, operator: empty}}\n"));
        tasks.push(format!("  - {{task_id: w{number}, operator: empty, dependencies: [s{number}]}}\n"));
        tasks.push(format!(
            "  - {{task_id: t{number}, operator: empty, dependencies: [w{number}], teardown: {{of: s{number}}}}}\n"
        ));
    }
    let dag = one(&format!("dag_id: x\ntasks:\n{}", tasks.concat())).dag;
    let scopes = dag.scopes();
    for number in 0..150 {
        let (setup, work, teardown) = (format!("s{number}"), format!("w{number}"), format!("t{number}"));
        assert_eq!(names(&dag, scopes.needs(position(&dag, &work))), [setup]);
        assert_eq!(names(&dag, scopes.span(position(&dag, &teardown))), [work]);
    }
}
