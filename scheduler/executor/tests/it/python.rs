//! The operator `python` and its module.

use std::collections::BTreeMap;

use model::{
    EndKind, Operator,
    operator::{Python, PythonSource},
};
use serde_json::json;

use crate::rig::Rig;

fn python(source: PythonSource) -> Python {
    Python { source, args: Vec::new(), env: BTreeMap::new(), pass_env: Vec::new(), python_bin: None }
}

fn inline(code: &str) -> Operator {
    Operator::Python(python(PythonSource::Inline(code.into())))
}

#[tokio::test]
async fn values_pass_between_python_and_other_tasks_in_both_directions() {
    let mut rig = Rig::new();
    rig.leader.xcoms.insert((0, "return_value".into()), json!({"n": 20}));
    rig.params = json!({"add": 1});
    let code = "from windlass import context, xcom_pull, xcom_push\n\
        n = xcom_pull(task_ids='before')['n']\n\
        xcom_push('seen', [n, xcom_pull(task_ids='before', key='none', default='d'), context['ds']])\n\
        print('hello')\n\
        result = {'n': n + context['params']['add']}\n";
    let ran = rig.run(inline(code)).await;
    assert_eq!(ran.end.kind, EndKind::Success, "{}", ran.text());
    assert_eq!(ran.xcom("return_value"), Some(&json!({"n": 21})));
    assert_eq!(ran.xcom("seen"), Some(&json!([20, "d", "2026-01-30"])));
    assert_eq!(ran.lines("out"), ["hello"]);
}

#[tokio::test]
async fn a_script_of_the_dag_version_gets_its_arguments() {
    let mut rig = Rig::new();
    let code = "import sys, dataclasses\n\
        @dataclasses.dataclass\nclass Row:\n    x: 'int'\n\
        if __name__ == '__main__':\n    result = [sys.argv[1:], Row(1).x]\n";
    rig.leader.files.insert("scripts/a.py".into(), code.into());
    let keys = Python { args: vec!["{{ ds }}".into()], ..python(PythonSource::Script("scripts/a.py".into())) };
    let ran = rig.run(Operator::Python(keys)).await;
    assert_eq!(ran.xcom("return_value"), Some(&json!([["2026-01-30"], 1])), "{}", ran.text());
    let missing = rig.run(Operator::Python(python(PythonSource::Script("scripts/b.py".into())))).await.end;
    assert!(missing.reason.contains("no file \"scripts/b.py\"; it has: scripts/a.py"), "{}", missing.reason);
}

#[tokio::test]
async fn code_can_ask_to_be_skipped_or_to_fail_for_good() {
    let rig = Rig::new();
    let skipped = rig
        .run(inline("import windlass\ntry:\n    windlass.skip('nothing new')\nexcept Exception:\n    pass"))
        .await
        .end;
    assert_eq!((skipped.kind, skipped.reason.as_str()), (EndKind::Skipped, "nothing new"));
    let failed = rig.run(inline("import windlass\nwindlass.fail('bad input')")).await.end;
    assert_eq!((failed.kind, failed.reason.as_str()), (EndKind::FailedForGood, "bad input"));
}

#[tokio::test]
async fn an_exception_is_shown_without_the_wrappers_frames() {
    let ran = Rig::new().run(inline("def f():\n    raise ValueError('boom')\nf()\n")).await;
    assert_eq!((ran.end.kind, ran.end.exit_code), (EndKind::Failed, Some(1)));
    let trace = ran.lines("err").join("\n");
    assert!(trace.contains("inline.py\", line 2, in f") && trace.contains("ValueError: boom"), "{trace}");
    assert!(!trace.contains("windlass.py"), "{trace}");
}

#[tokio::test]
async fn a_result_that_is_no_json_is_a_failure_in_words() {
    let ran = Rig::new().run(inline("result = {1, 2}")).await;
    assert_eq!(ran.end.kind, EndKind::Failed);
    assert!(ran.text().contains("`result` is no JSON value"), "{}", ran.text());
}
