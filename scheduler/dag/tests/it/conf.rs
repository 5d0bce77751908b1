//! A run's conf over the DAG's params.

use serde_json::{Value, json};

use crate::support::{load, messages, one};

fn validate(conf: Value) -> Result<Value, Vec<String>> {
    let dag = one("dag_id: x\nparams:\n  region: {type: string, enum: [eu, us], default: eu}\n  \
        rows: {type: integer, minimum: 1, default: 5}\n  who: {type: string}\n  free: {default: null}\n\
        tasks: [{task_id: a, operator: empty}]")
    .dag;
    let Value::Object(conf) = conf else { panic!("a conf is an object") };
    dag.validate_conf(&conf).map(Value::Object)
}

#[test]
fn a_conf_lies_over_the_defaults_and_may_have_more() {
    assert_eq!(
        validate(json!({"who": "me", "rows": 7, "extra": [1]})),
        Ok(json!({"free": null, "region": "eu", "rows": 7, "who": "me", "extra": [1]}))
    );
}

#[test]
fn each_param_that_does_not_fit_is_named() {
    assert_eq!(
        validate(json!({"region": "asia", "rows": 0})).unwrap_err(),
        [
            "param region: \"asia\" is not one of \"eu\" or \"us\"",
            "param rows: 0 is less than the minimum of 1",
            "param who: a value is missing",
        ]
    );
}

#[test]
fn a_schema_that_is_its_own_condition_is_refused_and_ends_nothing_else() {
    for schema in [
        "{$ref: '#', default: 1}",
        "{allOf: [{$ref: '#'}], default: 1}",
        "{not: {$ref: '#'}, default: 1}",
        "{$defs: {a: {$ref: '#/$defs/b'}, b: {anyOf: [{$ref: '#/$defs/a'}]}}, $ref: '#/$defs/a', default: 1}",
        "{properties: {p: {allOf: [{$ref: '#/prop%65rties/p'}]}}, default: {p: 1}}",
        "{properties: {p: {$id: 'http://h/p', if: {$ref: 'p'}}}, default: {p: 1}}",
        "{$defs: {a: {$anchor: a, oneOf: [{$ref: '#a'}]}}, $ref: '#a', default: 1}",
    ] {
        let text = format!("dag_id: x\nparams: {{p: {schema}}}\ntasks: [{{task_id: a, operator: empty}}]");
        let loaded = load(&text);
        assert!(loaded.dags.is_empty(), "{schema}");
        assert!(messages(&loaded).contains("refers to itself"), "{schema}: {}", messages(&loaded));
    }
}

#[test]
fn references_that_multiply_are_refused() {
    let doubled = |n: usize| format!("d{n}: {{allOf: [{{$ref: '#/$defs/d{}'}}, {{$ref: '#/$defs/d{0}'}}]}}", n + 1);
    let chained = |n: usize| format!("d{n}: {{$ref: '#/$defs/d{}'}}", n + 1);
    for (definitions, what) in
        [((0..40).map(doubled).collect::<Vec<_>>(), "10000 schemas"), ((0..5000).map(chained).collect(), "at most 100")]
    {
        let last = definitions.len();
        let schema = format!(
            "{{$defs: {{{}, d{last}: {{type: integer}}}}, $ref: '#/$defs/d0', default: 1}}",
            definitions.join(", ")
        );
        let loaded = load(&format!("dag_id: x\nparams: {{p: {schema}}}\ntasks: [{{task_id: a, operator: empty}}]"));
        assert!(loaded.dags.is_empty() && messages(&loaded).contains(what), "{}", messages(&loaded));
    }
}

#[test]
fn a_schema_may_describe_a_tree() {
    let schema = "{type: object, properties: {left: {$ref: '#'}, right: {$ref: '#'}}, default: {left: {right: {}}}}";
    let loaded = load(&format!("dag_id: x\nparams: {{p: {schema}}}\ntasks: [{{task_id: a, operator: empty}}]"));
    assert_eq!(messages(&loaded), "");
}
