//! A run's conf over the DAG's params.

use serde_json::{Value, json};

use crate::support::one;

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
