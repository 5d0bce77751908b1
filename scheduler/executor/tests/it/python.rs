//! The operator `python` and its module.

use std::collections::BTreeMap;

use model::{
    EndKind, Operator, RetryAction, RetryRule,
    operator::{Python, PythonCallable, PythonSource, Returns, SkipReach},
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

fn callable(function: &str) -> PythonCallable {
    PythonCallable {
        file: "etl/orders.py".into(),
        function: function.into(),
        op_args: Vec::new(),
        op_kwargs: serde_json::Map::new(),
        templates_dict: None,
        returns: Returns::Value,
        env: BTreeMap::new(),
        pass_env: Vec::new(),
        python_bin: None,
    }
}

fn rig_with(code: &str) -> Rig {
    let mut rig = Rig::new();
    rig.leader.files.insert("etl/orders.py".into(), code.into());
    rig.leader.files.insert("etl/__init__.py".into(), String::new());
    rig.leader.files.insert("etl/near.py".into(), "NEAR = 'near'\n".into());
    rig.leader.files.insert("top.py".into(), "TOP = 'top'\n".into());
    rig.leader.files.insert("data/x.csv".into(), "a,b\n".into());
    rig
}

fn object(value: serde_json::Value) -> serde_json::Map<String, serde_json::Value> {
    value.as_object().unwrap().clone()
}

#[tokio::test]
async fn a_function_gets_what_the_task_gives_and_of_the_context_what_it_has_parameters_for() {
    let code = "import datetime, pathlib\nimport top\nfrom etl.near import NEAR\nfrom . import near\n\
        def load(first, ds, *, region, logical_date, ti, dag_run, params, var, templates_dict, limit=5, nothing='absent'):\n\
        \x20   assert isinstance(logical_date, datetime.datetime), logical_date\n\
        \x20   ti.xcom_push(key='seen', value=ti.xcom_pull(task_ids='before')['n'])\n\
        \x20   data = (pathlib.Path(__file__).parent.parent / 'data/x.csv').read_text()\n\
        \x20   return [first, ds, region, logical_date.year, dag_run.run_id, params['p'], var.value.v, var.value.get('no', 'd'),\n\
        \x20           templates_dict['t'], limit, nothing, NEAR, near.NEAR, top.TOP, data, __name__]\n";
    let mut rig = rig_with(code);
    rig.params = json!({"p": 7});
    rig.leader.xcoms.insert((0, "return_value".into()), json!({"n": 20}));
    rig.leader.variables.insert("v".into(), "text".into());
    let keys = PythonCallable {
        op_args: vec![json!("{{ ds }}")],
        op_kwargs: object(json!({"region": {"a": ["{{ params.p }}"]}, "limit": 6, "unknown": 1})),
        templates_dict: Some(object(json!({"t": "{{ ds_nodash }}"}))),
        ..callable("load")
    };
    let ran = rig.run(Operator::PythonCallable(Box::new(keys))).await;
    let expected = json!([
        "2026-01-30", "2026-01-30", {"a": ["7"]}, 2026, "manual__1", 7, "text", "d", "20260130", 6, "absent", "near", "near",
        "top", "a,b\n", "etl.orders"
    ]);
    assert_eq!(ran.xcom("return_value"), Some(&expected), "{}", ran.text());
    assert_eq!(ran.xcom("seen"), Some(&json!(20)));
    assert!(ran.lines("err").join("\n").contains("op_kwargs has 'unknown'"), "{}", ran.text());
}

#[tokio::test]
async fn a_function_with_keywords_gets_the_whole_context() {
    let code = "class Loader:\n    @staticmethod\n    async def run(**kwargs):\n\
        \x20       kept = {'ds', 'ts_nodash', 'prev_start_date_success', 'x', 'task_instance', 'conn', 'test_mode'}\n\
        \x20       return [sorted(kept & set(kwargs)), kwargs['prev_start_date_success'], kwargs['conn'].get('none')]\n";
    let keys = PythonCallable { op_kwargs: object(json!({"x": 1})), ..callable("Loader.run") };
    let rig = rig_with(code);
    rig.leader.runs.lock().unwrap().push(link::FetchItem::Missing("no run was a success".into()));
    let ran = rig.run(Operator::PythonCallable(Box::new(keys))).await;
    let names = json!(["conn", "ds", "prev_start_date_success", "task_instance", "test_mode", "ts_nodash", "x"]);
    assert_eq!(ran.xcom("return_value"), Some(&json!([names, null, null])), "{}", ran.text());
}

#[tokio::test]
async fn a_function_ends_its_task_as_it_says() {
    for (code, kind, says) in [
        ("def f(): raise ValueError('boom')", EndKind::Failed, "ValueError: boom"),
        ("def g(): pass", EndKind::FailedForGood, "file 'etl/orders.py' has no 'f'"),
        ("f = 5", EndKind::FailedForGood, "'f' in 'etl/orders.py' is of type int, and can not be called"),
        ("def f(needed): pass", EndKind::Failed, "missing 1 required positional argument: 'needed'"),
        (
            "from airflow.exceptions import AirflowSkipException\ndef f(): raise AirflowSkipException('nothing new')",
            EndKind::Skipped,
            "nothing new",
        ),
        (
            "from airflow.sdk import AirflowFailException as E\ndef f(): raise E('bad input')",
            EndKind::FailedForGood,
            "bad input",
        ),
        ("import windlass\ndef f(): windlass.skip('own words')", EndKind::Skipped, "own words"),
        (
            "from airflow.providers.postgres.hooks.postgres import PostgresHook\ndef f(): pass",
            EndKind::Failed,
            "Airflow is not installed where this task runs, and airflow.providers.postgres",
        ),
        (
            "from airflow.models import DagBag\ndef f(): pass",
            EndKind::Failed,
            "airflow.models.DagBag is not among what Windlass has",
        ),
        ("def f(): return {1, 2}", EndKind::Failed, "is no JSON value: it is of type set"),
    ] {
        let ran = rig_with(code).run(Operator::PythonCallable(Box::new(callable("f")))).await;
        assert_eq!(ran.end.kind, kind, "{code}: {}", ran.text());
        assert!(ran.end.reason.contains(says), "{code}: {}", ran.end.reason);
    }
}

#[tokio::test]
async fn a_functions_traceback_begins_in_its_own_file() {
    let ran = rig_with("def f():\n    raise ValueError('boom')\n")
        .run(Operator::PythonCallable(Box::new(callable("f"))))
        .await;
    let trace = ran.lines("err").join("\n");
    assert!(trace.contains("etl/orders.py\", line 2, in f") && !trace.contains("windlass_call.py"), "{trace}");
    let ran = rig_with("raise KeyError('top')\n").run(Operator::PythonCallable(Box::new(callable("f")))).await;
    let trace = ran.lines("err").join("\n");
    assert!(trace.contains("etl/orders.py\", line 1") && !trace.contains("importlib"), "{trace}");
}

#[tokio::test]
async fn a_function_may_decide_what_runs_after_it() {
    let follow = |code: &'static str| async move {
        let keys = PythonCallable { returns: Returns::Follow, ..callable("f") };
        rig_with(code).run(Operator::PythonCallable(Box::new(keys))).await.end
    };
    assert_eq!(follow("def f(): return ['a', 'g.b']").await.follow, Some(vec!["a".to_owned(), "g.b".to_owned()]));
    assert_eq!(follow("def f(): return None").await.follow, Some(Vec::new()));
    let wrong = follow("def f(): return 5").await;
    assert!(wrong.kind == EndKind::Failed && wrong.reason.contains("f returned 5"), "{}", wrong.reason);
    for (code, proceed) in [("def f(): return 'no'", true), ("def f(): return []", false), ("def f(): pass", false)] {
        let keys = PythonCallable { returns: Returns::Proceed(SkipReach::AllDownstream), ..callable("f") };
        let end = rig_with(code).run(Operator::PythonCallable(Box::new(keys))).await.end;
        assert_eq!((end.kind, end.proceed), (EndKind::Success, Some(proceed)), "{code}: {}", end.reason);
    }
}

#[tokio::test]
async fn several_outputs_of_one_mapping_are_xcoms_of_their_own() {
    let run = |code: &'static str| async move {
        let rig = Rig::new();
        let assignment = link::Assignment { multiple_outputs: true, ..rig.assignment(inline(code)) };
        let attempt = rig.attempt(assignment);
        let end = windlass_executor::run(&attempt, &rig.stop).await;
        rig.ran(end, &attempt.assignment)
    };
    let ran = run("result = {'a': 1, 'b': [2]}").await;
    assert_eq!((ran.xcom("a"), ran.xcom("b")), (Some(&json!(1)), Some(&json!([2]))), "{}", ran.text());
    assert_eq!(ran.xcom("return_value"), Some(&json!({"a": 1, "b": [2]})));
    assert_eq!(run("pass").await.end.kind, EndKind::Success);
    let other = run("result = [1]").await.end;
    assert_eq!(
        (other.kind, other.reason.as_str()),
        (EndKind::Failed, "multiple_outputs asks for a mapping, and it returned [1]")
    );
}

#[tokio::test]
async fn values_are_native_where_the_dag_asks_for_it() {
    let mut rig =
        rig_with("def f(**kwargs): return [kwargs[name] for name in ('list', 'number', 'text', 'mixed', 'none')]\n");
    rig.leader.xcoms.insert((0, "return_value".into()), json!([{"n": 20}]));
    rig.leader.runs.lock().unwrap().push(link::FetchItem::Missing("no run was a success".into()));
    let given = json!({
        "list": "{{ ti.xcom_pull('before') }}", "number": "{{ 5 }}", "text": "{{ ds }}", "mixed": "[{{ 1 }}, 'a', None]", "none": "None"
    });
    for (native, expected) in [
        (true, json!([[{"n": 20}], 5, "2026-01-30", [1, "a", null], null])),
        (false, json!(["[{\"n\": 20}]", "5", "2026-01-30", "[1, 'a', None]", "None"])),
    ] {
        let keys = PythonCallable { op_kwargs: object(given.clone()), ..callable("f") };
        let mut assignment = rig.assignment(Operator::PythonCallable(Box::new(keys)));
        assignment.context.native = native;
        let attempt = rig.attempt(assignment);
        let end = windlass_executor::run(&attempt, &rig.stop).await;
        let ran = rig.ran(end, &attempt.assignment);
        assert_eq!(ran.xcom("return_value"), Some(&expected), "{}", ran.text());
    }
}

#[tokio::test]
async fn a_retry_policy_decides_by_exit_code_and_log() {
    let rule = |exit_codes: &[i32], log_matches: Option<&str>, action| RetryRule {
        exit_codes: exit_codes.to_vec(),
        log_matches: log_matches.map(str::to_owned),
        action,
    };
    let policy = vec![
        rule(&[75], None, RetryAction::Retry { delay_secs: Some(60.0) }),
        rule(&[1, 2], Some("permission +denied"), RetryAction::Fail),
        rule(&[], Some("^ValueError"), RetryAction::Fail),
    ];
    for (code, kind, delay) in [
        ("import sys; sys.exit(75)", EndKind::Failed, Some(60.0)),
        ("import sys; print('x: permission  denied for y'); print('other'); sys.exit(2)", EndKind::FailedForGood, None),
        ("import sys; print('permission denied'); sys.exit(3)", EndKind::Failed, None),
        ("raise ValueError('boom')", EndKind::FailedForGood, None),
        ("print('permission denied')", EndKind::Success, None),
    ] {
        let rig = Rig::new();
        let assignment = link::Assignment { retry_policy: policy.clone(), ..rig.assignment(inline(code)) };
        let end = windlass_executor::run(&rig.attempt(assignment), &rig.stop).await;
        assert_eq!((end.kind, end.retry_delay_secs), (kind, delay), "{code}: {}", end.reason);
        assert_eq!(end.reason.contains("of its retry_policy: fail"), kind == EndKind::FailedForGood, "{}", end.reason);
    }
}

#[tokio::test]
async fn templates_know_the_macros_of_their_dag() {
    let rig = rig_with("def f(a, b): return [a, b]\n");
    let given = object(json!({"a": "{{ limits.rows[1] }} {{ bucket }}", "b": "{{ ds }}"}));
    let keys = PythonCallable { op_kwargs: given, ..callable("f") };
    let mut assignment = rig.assignment(Operator::PythonCallable(Box::new(keys)));
    assignment.context.macros = object(json!({"bucket": "s3://b", "limits": {"rows": [1, 2]}, "ds": "never"}));
    let attempt = rig.attempt(assignment);
    let end = windlass_executor::run(&attempt, &rig.stop).await;
    let ran = rig.ran(end, &attempt.assignment);
    assert_eq!(ran.xcom("return_value"), Some(&json!(["2 s3://b", "2026-01-30"])), "{}", ran.text());
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
