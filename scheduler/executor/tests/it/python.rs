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
async fn the_reason_of_a_failure_is_what_the_code_says_last() {
    let rig = Rig::new();
    for (code, reason) in [
        ("raise ValueError('boom')", "ValueError: boom"),
        ("raise ValueError('two\\nlines')", "ValueError: two lines"),
        ("x = (", "SyntaxError: '(' was never closed"),
        ("raise SystemExit('no input')", "exit code 1: no input"),
        ("import sys; sys.exit(3)", "exit code 3"),
        ("import os; os.kill(os.getpid(), 9)", "ended by signal SIGKILL"),
    ] {
        let end = rig.run(inline(code)).await.end;
        assert_eq!((end.kind, end.reason.as_str()), (EndKind::Failed, reason), "{code}");
    }
}

#[tokio::test]
async fn a_value_that_would_not_arrive_as_it_is_is_refused_by_name() {
    let rig = Rig::new();
    for (code, says) in [
        ("result = {1, 2}", "`result` is no JSON value: it is of type set"),
        ("result = {'a': [1, 2**64]}", "`result['a'][1]` is no JSON value: it is a whole number of 65 bits"),
        ("result = [10**30, 2**64]", "`result[0]` is no JSON value: it is a whole number of 100 bits"),
        ("result = {'a': float('nan')}", "`result['a']` is no JSON value: it is nan"),
        ("result = ['ok', '\\ud800']", "`result[1]` is no JSON value: its character 0 is U+D800, half of a pair"),
        ("result = []\nfor _ in range(300): result = [result]", "is no JSON value: it is nested more than 100 deep"),
        ("from windlass import xcom_push\nxcom_push('', 1)", "the key of an XCom is empty"),
        ("from windlass import xcom_push\nxcom_push('k' * 600, 1)", "has 600 characters, over the limit of 512"),
        ("from windlass import xcom_push\nxcom_push('a\\0b', 1)", "has a NUL"),
        ("from windlass import xcom_push\nxcom_push(5, 1)", "the key of an XCom is a text, not 5"),
        (
            "from windlass import xcom_push\nxcom_push('k', b'x')",
            "`xcom_push('k')` is no JSON value: it is of type bytes",
        ),
        ("result = 'x' * 70000", "XCom \"return_value\" has 70002 bytes"),
    ] {
        let end = rig.run(inline(code)).await.end;
        assert_eq!(end.kind, EndKind::Failed, "{code}");
        assert!(end.reason.contains(says), "{code}: {}", end.reason);
    }
}

#[tokio::test]
async fn numbers_arrive_as_they_were_left() {
    let code = "import random, struct\nrandom.seed(7)\n\
        result = [struct.unpack('d', random.randbytes(8))[0] for _ in range(1001)]\n\
        result = [x for x in result if x == x and abs(x) != float('inf')] + [0.1 + 0.2, 1e16, 5e-324, -0.0, 2**64 - 1, -2**63]\n";
    let mut rig = Rig::new();
    let left = rig.run(inline(code)).await;
    let value = left.xcom("return_value").unwrap_or_else(|| panic!("{}", left.text()));
    // As the database keeps it.
    let kept: serde_json::Value = serde_json::from_str(&value.to_string()).unwrap();
    rig.leader.xcoms.insert((0, "return_value".into()), kept);
    let again = format!(
        "{code}import struct\nfrom windlass import xcom_pull\nbits = lambda x: struct.pack('d', x) if isinstance(x, float) else x\n\
        result = [list(map(bits, result)) == list(map(bits, xcom_pull('before'))), len(result)]"
    );
    let compared = rig.run(inline(&again)).await;
    assert_eq!(compared.xcom("return_value").unwrap()[0], json!(true), "{}", compared.text());
}

#[tokio::test]
async fn code_says_more_of_its_outlets_and_sees_events() {
    let mut rig = Rig::new();
    rig.outlets = [json!({"name": "trades", "uri": "s3://b/k"}), json!({"alias": "daily"})]
        .map(|outlet| serde_json::from_value(outlet).unwrap())
        .into();
    let event = json!({
        "id": 4, "timestamp": "2026-01-30T00:00:00Z", "extra": {"rows": 5}, "source_dag_id": "writes",
        "source_task_id": "write", "source_run_id": "r", "source_map_index": -1, "source_dag_run": null,
    });
    let events = json!([{"name": "raw", "uri": "s3://b/raw", "events": [event]}]);
    rig.leader.asset_events = serde_json::from_value(events).unwrap();
    let code = "import windlass\n\
        rows = windlass.triggering_asset_events('raw')[-1]['extra']['rows']\n\
        assert list(windlass.inlet_events()) == ['s3://b/raw']\n\
        windlass.outlet_event('s3://b/k', {'rows': rows})\n\
        windlass.outlet_event('s3://b/k/1', alias='daily')\n\
        try:\n    windlass.outlet_event('s3://b/other')\nexcept windlass.WindlassError as error:\n    result = str(error)\n";
    let ran = rig.run(inline(code)).await;
    assert_eq!(ran.end.kind, EndKind::Success, "{}", ran.text());
    let said: Vec<_> = ran.end.assets.iter().map(|news| (news.uri.as_deref(), news.alias.as_deref())).collect();
    assert_eq!(said, [(Some("s3://b/k"), None), (Some("s3://b/k/1"), Some("daily"))]);
    assert_eq!(ran.end.assets[0].extra["rows"], 5);
    assert!(ran.xcom("return_value").unwrap().as_str().unwrap().contains("it has: trades, daily"));
}
