//! The operators that ask people.

use model::{
    Operator,
    operator::{Choice, HitlUser, OnReject, SkipReach},
};
use serde_json::json;

use crate::support::{assert_canonical, operator, refused};

fn choice(keys: &str) -> Choice {
    match operator(keys) {
        Operator::Choice(keys) => *keys,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_option_that_leads_nowhere_is_refused_where_it_stands() {
    let file = |operator: &str| {
        format!(
            "dag_id: d\ntasks:\n- {{task_id: ask, {operator}, subject: q}}\n- {{task_id: go, operator: empty, dependencies: [ask]}}\n"
        )
    };
    for (operator, to) in [
        ("operator: airflow.providers.standard.operators.hitl.HITLBranchOperator, options: [go, nosuch]", "nosuch"),
        ("operator: choice, options: [a, go], options_mapping: {a: x}", "x"),
    ] {
        let loaded = dag::load("d.yaml", &file(operator), &dag::Content::default());
        let said: Vec<String> = loaded.errors.iter().map(|error| error.message.clone()).collect();
        assert!(said.len() == 1 && said[0].contains(&format!("leads to {to:?}")), "{said:?}");
    }
    let good = dag::load(
        "d.yaml",
        &file("operator: choice, options: [a], options_mapping: {a: go}"),
        &dag::Content::default(),
    );
    assert_eq!(good.errors, []);
}

#[test]
fn airflows_classes_mean_approvals_and_choices() {
    const HITL: &str = "airflow.providers.standard.operators.hitl";
    let Operator::Approval(approval) = operator(&format!("operator: {HITL}.ApprovalOperator, subject: Go on?")) else {
        panic!("an approval")
    };
    assert_eq!(approval.asking.options, ["Approve", "Reject"]);
    assert_eq!(approval.on_reject, OnReject::Skip(SkipReach::DirectDownstream));
    let entry = choice(&format!("operator: {HITL}.HITLEntryOperator, subject: Give, params: {{n: 1}}"));
    assert_eq!((entry.asking.options, entry.asking.defaults), (vec!["OK".to_owned()], vec!["OK".to_owned()]));
    assert_eq!(entry.asking.params["n"]["value"], json!(1));
    let branch = choice("operator: HITLBranchOperator, subject: Which?, options: [a, b], options_mapping: {b: a}");
    let leads = branch.options_mapping.unwrap();
    assert_eq!((leads["a"].as_str(), leads["b"].as_str()), ("a", "a"));
    let plain = choice("operator: HITLOperator, subject: Which?, options: [a, b], defaults: a, assigned_users: ann");
    assert_eq!((plain.options_mapping, plain.asking.assigned_users), (None, vec![HitlUser::named("ann")]));
}

#[test]
fn every_key_comes_back_from_the_canonical_form() {
    assert_canonical(&[
        "operator: approval, subject: 'Publish {{ ds }}?', body: '**x**', options: [Publish, Discard], timeout: 12h, fail_on_reject: true",
        "operator: approval, subject: s, ignore_downstream_trigger_rules: true, defaults: [Reject], params: {n: {type: integer, minimum: 1, default: 2, description: how many}}",
        "operator: choice, subject: s, options: [a, b, c], multiple: true, defaults: [a, c], assigned_users: [ann, {id: b7, name: Bob}]",
        "operator: HITLBranchOperator, subject: s, options: [a, b], options_mapping: {b: a}, response_timeout: 90",
        "operator: choice, subject: s, params: {when: {type: string, format: date}}",
    ]);
}

#[test]
fn an_answer_is_checked_against_what_is_asked() {
    let Operator::Choice(keys) = operator(
        "operator: choice, subject: s, params: {n: {type: integer, minimum: 1, default: 2}, day: {type: string, format: date}}",
    ) else {
        panic!("a choice")
    };
    let check = |given: serde_json::Value| dag::check_input(&keys.asking, given.as_object().unwrap());
    assert_eq!(check(json!({"day": "2026-11-30"})), Ok(()));
    let wrong = check(json!({"n": 0, "more": 1})).unwrap_err();
    let told = ["param more: the question does not ask for it", "param n: ", "param day: a value is missing"];
    assert!(wrong.len() == 3 && wrong.iter().zip(told).all(|(why, told)| why.starts_with(told)), "{wrong:?}");
}

#[test]
fn mistakes_are_refused_with_what_is_wrong() {
    for (keys, says) in [
        ("operator: approval", "subject is missing"),
        ("operator: approval, subject: s, options: [one]", "expected two options"),
        ("operator: approval, subject: s, multiple: true", "unknown field"),
        (
            "operator: approval, subject: s, fail_on_reject: true, ignore_downstream_trigger_rules: true",
            "fail_on_reject: true skips nothing",
        ),
        ("operator: choice, subject: s, options: [a, a]", "stands twice"),
        ("operator: choice, subject: s, options: []", "at least one option"),
        ("operator: choice, subject: s, options: [a, b], defaults: [a, b]", "one option can be chosen"),
        ("operator: choice, subject: s, options: [a, b], defaults: c", "not among the options: a, b"),
        ("operator: choice, subject: s, options: [a, b], options_mapping: {c: x}", "not among the options: a, b"),
        ("operator: HITLBranchOperator, subject: s", "options is missing"),
        ("operator: choice, subject: s, response_timeout: 1h, timeout: 2h", "mean the same"),
        ("operator: choice, subject: s, response_timeout: 0", "longer than 0"),
        ("operator: choice, subject: s, assigned_users: [{name: Bob}]", "id is missing"),
        ("operator: choice, subject: s, params: {_options: 1}", "_options"),
        ("operator: choice, options: [a], expand: {subject: [x, y]}", "can not be expanded"),
    ] {
        let told = refused(&[keys]);
        assert!(told.contains(says), "{keys}: {told}");
    }
}
