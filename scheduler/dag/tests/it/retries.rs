//! Retry policies, and what depends on the past.

use expect_test::expect;
use model::{RetryAction, RetryRule};

use crate::support::{assert_canonical, one, refused};

fn task(keys: &str) -> dag::Task {
    one(&format!("dag_id: x\ntasks: [{{task_id: a, operator: empty, {keys}}}]")).dag.tasks.remove(0)
}

#[test]
fn a_retry_policy_is_a_list_of_rules() {
    let policy = "retry_policy: [{exit_code: 75, action: retry, delay: 1m}, {exit_code: [1, 2], log_matches: 'permission denied', action: fail}, \
                  {log_matches: timeout}]";
    let rule = |exit_codes: &[i32], log_matches: Option<&str>, action| RetryRule {
        exit_codes: exit_codes.to_vec(),
        log_matches: log_matches.map(str::to_owned),
        action,
    };
    let expected = [
        rule(&[75], None, RetryAction::Retry { delay_secs: Some(60.0) }),
        rule(&[1, 2], Some("permission denied"), RetryAction::Fail),
        rule(&[], Some("timeout"), RetryAction::Retry { delay_secs: None }),
    ];
    assert_eq!(task(policy).retry_policy, expected);
    assert_canonical(&[
        &format!("operator: empty, {policy}"),
        "operator: empty, depends_on_past: true, ignore_first_depends_on_past: false",
        "operator: empty, depends_on_past: true, wait_for_past_depends_before_skipping: true",
    ]);
}

#[test]
fn rules_that_say_nothing_or_too_much_are_refused() {
    expect![[r#"
        dags/x.yaml:3:35: tasks[0].retry_policy: expected a list of rules such as [{exit_code: 75, action: retry, delay: 1m}], found a mapping
        dags/x.yaml:4:15: tasks[1].task_id: there are two tasks "a"
        dags/x.yaml:4:50: tasks[1].retry_policy[0]: a rule names an exit_code, or a pattern by log_matches
        dags/x.yaml:5:15: tasks[2].task_id: there are two tasks "a"
        dags/x.yaml:5:62: tasks[2].retry_policy[0].exit_code: expected a whole number from 0 to 255, found the number 300
        dags/x.yaml:6:15: tasks[3].task_id: there are two tasks "a"
        dags/x.yaml:6:64: tasks[3].retry_policy[0].log_matches: "(a" is not a regular expression: unclosed group
        dags/x.yaml:7:15: tasks[4].task_id: there are two tasks "a"
        dags/x.yaml:7:73: tasks[4].retry_policy[0].action: expected one of retry, fail, found "stop"
        dags/x.yaml:8:15: tasks[5].task_id: there are two tasks "a"
        dags/x.yaml:8:86: tasks[5].retry_policy[0].delay: nothing follows a rule with action: fail; leave delay away
        dags/x.yaml:9:15: tasks[6].task_id: there are two tasks "a"
        dags/x.yaml:9:50: tasks[6].retry_policy[0]: a rule names an exit_code, or a pattern by log_matches
        dags/x.yaml:9:51: tasks[6].retry_policy[0].exitcode: unknown field; did you mean "exit_code"?
    "#]].assert_eq(&refused(&[
        "operator: empty, retry_policy: {exit_code: 1}",
        "operator: empty, retry_policy: [{action: fail}]",
        "operator: empty, retry_policy: [{exit_code: 300}]",
        "operator: empty, retry_policy: [{log_matches: '(a'}]",
        "operator: empty, retry_policy: [{exit_code: 1, action: stop}]",
        "operator: empty, retry_policy: [{exit_code: 1, action: fail, delay: 1m}]",
        "operator: empty, retry_policy: [{exitcode: 1}]",
    ]));
}

#[test]
fn a_first_past_counts_as_met_unless_it_is_said() {
    assert!(task("depends_on_past: true").ignore_first_depends_on_past);
    assert!(!task("ignore_first_depends_on_past: false").ignore_first_depends_on_past);
    assert!(task("wait_for_past_depends_before_skipping: true").wait_for_past_depends_before_skipping);
}
