//! Files that come from Airflow and dag-factory: what asks for nothing is taken, what asks for something is done or refused.

use dag::{CronTimetable, Schedule};
use expect_test::{Expect, expect};
use model::{Operator, operator::HttpTarget};

use crate::support::{Memory, load, messages, one, operator, remarks};

fn check(text: &str, expected: Expect) {
    let loaded = load(text);
    assert!(loaded.dags.is_empty(), "a DAG with a problem was not left out");
    expected.assert_eq(&messages(&loaded));
}

fn dag(fields: &str) -> String {
    format!("dag_id: x\n{fields}\ntasks: [{{task_id: a, operator: empty}}]")
}

#[test]
fn a_task_may_have_params_of_its_own() {
    let file = "a:\n  params: {x: 1, y: 2}\n  default_args: {params: {y: 3}}\n  tasks:\n    t: {operator: bash, bash_command: \"{{ params.x }}\", \
                params: {x: {type: integer, default: 5}, z: {k: [1]}}}\n    u: {operator: empty}\n";
    let loaded = load(file);
    assert_eq!(loaded.errors, []);
    let dag = &loaded.dags[0].dag;
    let params = |pos: usize| serde_json::to_string(&dag.tasks[pos].params).unwrap();
    assert_eq!((params(0).as_str(), params(1).as_str()), (r#"{"x":5,"z":{"k":[1]}}"#, r#"{"y":3}"#));
    let again = load(&loaded.dags[0].canonical_yaml);
    assert_eq!((again.errors.len(), &again.dags[0].dag), (0, dag), "{}", loaded.dags[0].canonical_yaml);
    let wrong = load("a:\n  tasks: [{task_id: t, operator: empty, params: {x: {type: integer, default: five}}}]\n");
    assert!(wrong.errors[0].field.to_string().ends_with("params.x"), "{:?}", wrong.errors);
}

#[test]
fn dag_factorys_variables_stand_for_keys_when_the_task_runs() {
    let of = |task: &str| {
        let loaded = load(&format!("a:\n  tasks:\n    t:\n      operator: bash\n{task}"));
        assert_eq!(loaded.errors, []);
        let model::Operator::Bash(keys) = &loaded.dags[0].dag.tasks[0].operator else { panic!("it is a bash task") };
        keys.bash_command.to_string()
    };
    let asked = "      variables_as_arguments: [{variable: \"it's\", attribute: bash_command}]\n";
    assert_eq!(of(asked), r"{{ var.value['it\'s'] }}");
    let value = r"var.value.get('it\'s', none)";
    assert_eq!(
        of(&format!("{asked}      bash_command: echo 1\n")),
        format!("{{% if {value} is none %}}echo 1{{% else %}}{{{{ {value} }}}}{{% endif %}}")
    );
    let wrong = load(
        "a:\n  tasks: [{task_id: t, operator: empty, retries: 1, variables_as_arguments: [{variable: a, attribute: retries}]}]\n",
    );
    assert!(wrong.errors[0].message.contains("retries is no text"), "{:?}", wrong.errors);
}

#[test]
fn a_key_of_the_dag_among_the_values_for_tasks_that_makes_no_sense_is_left_out() {
    let loaded = load("a:\n  default_args:\n    catchup: false,\n  tasks: [{task_id: a, operator: empty}]\n");
    assert_eq!(loaded.dags[0].dag.catchup, dag::Catchup::Latest);
    let warnings: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
    assert!(warnings.iter().any(|said| said.contains("neither true nor false")), "{warnings:?}");
    // Where it counts it is refused.
    assert_eq!(load("a:\n  catchup: false,\n  tasks: [{task_id: a, operator: empty}]\n").errors.len(), 1);
}

#[test]
fn what_switches_something_off_is_taken() {
    let defaults = "default_args:\n  owner: data\n  email: [\"a@example.com\"]\n  email_on_failure: false\n  email_on_retry: false\n  \
        sla: null\n  executor_config: {}\n  inlets: []\n  on_failure_callback: null\n  is_setup: false\n  allow_nested_operators: true\n  \
        doc: \"\"\n  run_as_user: null\n  params: {}\n";
    let task = "email: [], sla_secs: null, multiple_outputs: false, retry_policy: [], setup: false, start_date: null";
    let text = format!(
        "dag_id: x\n{defaults}render_template_as_native_obj: false\nsla_miss_callback: null\naccess_control: {{}}\n\
         user_defined_macros: {{}}\ntemplate_searchpath: []\ntask_groups: [{{group_name: g, prefix_group_id: true, ui_color: null}}]\n\
         tasks: [{{task_id: a, operator: bash, bash_command: x, {task}}}, {{task_id: b, operator: docker, image: i, tls_ca_cert: null}}]\n"
    );
    assert_eq!(one(&text).dag.tasks[0].owner, "data");
}

#[test]
fn what_asks_for_something_that_is_not_there_is_refused() {
    check(
        "dag_id: x\nsla_miss_callback: f\ndefault_args: {sla: 1h}\n\
         task_groups: [{group_name: g, prefix_group_id: false}]\n\
         tasks: [{task_id: a, operator: empty, executor_config: {a: 1}, inlets: [x], allow_nested_operators: false}]\n",
        expect![[r#"
            dags/x.yaml:2:1: sla_miss_callback: not supported yet: Airflow 2's sla; write a deadline with its callback
            dags/x.yaml:3:16: default_args.sla: not supported yet: Airflow 2's sla; write the DAG's deadline
            dags/x.yaml:4:31: task_groups[0].prefix_group_id: not supported yet: task ids without their group
            dags/x.yaml:5:77: tasks[0].allow_nested_operators: not supported yet: a check of nested operators
        "#]],
    );
}

#[test]
fn a_key_in_the_wrong_mapping_is_told_where_it_belongs() {
    check(
        "dag_id: x\nretries: 3\nbash_command: x\n\
         default_args: {catchup: false, schedule: \"@daily\", tags: [a], dagrun_timeout: 1h, task_id: a, dependencies: [b], task_group_name: g, nonsense: 1}\n\
         task_groups: [{group_name: g, retries: 1, catchup: true, default_args: {start_date: 2026-01-01, depends_on: [b]}}]\n\
         tasks: [{task_id: a, operator: empty, catchup: false, timezone: UTC}]\n",
        expect![[r#"
            dags/x.yaml:2:1: retries: this key belongs to a task, or to default_args for all tasks
            dags/x.yaml:3:1: bash_command: this key belongs to a task, or to default_args for all tasks
            dags/x.yaml:4:83: default_args.task_id: this key has no default: each task has its own
            dags/x.yaml:4:95: default_args.dependencies: this key has no default: each task has its own
            dags/x.yaml:4:114: default_args.task_group_name: this key has no default: each task has its own
            dags/x.yaml:4:134: default_args.nonsense: unknown field
            dags/x.yaml:5:31: task_groups[0].retries: this key belongs to a task, or to default_args for all tasks
            dags/x.yaml:5:43: task_groups[0].catchup: this key belongs to the DAG
            dags/x.yaml:5:73: task_groups[0].default_args.start_date: this key has no default: each task has its own
            dags/x.yaml:5:97: task_groups[0].default_args.depends_on: this key has no default: each task has its own
            dags/x.yaml:6:39: tasks[0].catchup: this key belongs to the DAG
            dags/x.yaml:6:55: tasks[0].timezone: this key belongs to the DAG
        "#]],
    );
    check(
        "default: {dag_id: y}\na: {tasks: [{task_id: a, operator: empty}]}\n",
        expect![[r#"
        dags/x.yaml:1:19: default.dag_id: a dag_id is not inherited: each DAG has its own
        dags/x.yaml:1:19: default.dag_id: the DAG stands below the key "a"; leave dag_id away
    "#]],
    );
}

#[test]
fn other_spellings_of_never_are_understood() {
    for never in ["none", "None", "\"\"", "\"@None\"", "\"@none\"", "null", "~", "'null'", "\" \""] {
        assert_eq!(one(&dag(&format!("schedule: {never}"))).dag.schedule, Schedule::Never, "{never}");
    }
}

#[test]
fn dag_factorys_spellings_of_durations_are_understood() {
    let text = "dag_id: x\ndefault_args: {retry_delay_sec: 60, execution_timeout_secs: 90}\ndagrun_timeout_sec: 3600\n\
        tasks: [{task_id: a, operator: external_task_sensor, external_dag_id: y, execution_delta_secs: 300}]\n";
    let dag = one(text).dag;
    assert_eq!(dag.tasks[0].execution_timeout.unwrap().as_secs(), 90);
    let Operator::ExternalTaskSensor(sensor) = &dag.tasks[0].operator else { panic!("expected a sensor") };
    assert_eq!(sensor.execution_delta_secs, 300.0);
    check(
        "dag_id: x\ntasks: [{task_id: a, operator: empty, execution_timeout: 1m, execution_timeout_secs: 60}]",
        expect![[r#"
            dags/x.yaml:2:86: tasks[0].execution_timeout_secs: execution_timeout_secs and execution_timeout mean the same; keep execution_timeout
        "#]],
    );
}

#[test]
fn a_text_that_needs_quotes_is_told_with_its_key() {
    check(
        "dag_id: x\nschedule: */15 * * * *\ntasks: []",
        expect![[r#"
        dags/x.yaml:2:16: this is not valid YAML: while scanning an anchor or alias, did not find expected alphabetic or numeric character; write it in quotes: schedule: "*/15 * * * *"
    "#]],
    );
    check(
        "dag_id: x\nschedule: @daily\ntasks: []",
        expect![[r#"
        dags/x.yaml:2:11: schedule: this is not valid YAML: unexpected character: `@'; write it in quotes: schedule: "@daily"
    "#]],
    );
    check(
        "dag_id: x\nschedule: * * * * *\ntasks: []",
        expect![[r#"
        dags/x.yaml:2:11: schedule: this is not valid YAML: while scanning an anchor or alias, did not find expected alphabetic or numeric character; write it in quotes: schedule: "* * * * *"
    "#]],
    );
    check(
        "dag_id: x\ndescription: {{ var.value.x }}\ntasks: [{task_id: a, operator: empty}]",
        expect![[r#"
        dags/x.yaml:2:14: description: expected a key, found a mapping; write a text with {{ }} in quotes, such as "{{ ds }}"
    "#]],
    );
    check(
        "dag_id: x\ntasks:\n  - task_id: a\n    operator: bash\n    bash_command: {{ params.x }} --all\n",
        expect![[r#"
            dags/x.yaml:5:34: tasks[0]: this is not valid YAML: while parsing a block mapping, did not find expected key; write it in quotes: bash_command: "{{ … }}"
        "#]],
    );
    check(
        "dag_id: x\ntasks:\n  - task_id: a\n    operator: bash\n    bash_command: echo done: yes\n",
        expect![[r#"
            dags/x.yaml:5:28: tasks[0]: this is not valid YAML: mapping values are not allowed in this context; write it in quotes: bash_command: "echo done: yes"
        "#]],
    );
}

#[test]
fn an_empty_text_is_as_good_as_none() {
    let bare = one(&dag("")).canonical_yaml;
    assert_eq!(one(&dag("description: \"\"\ndoc_md: ''")).canonical_yaml, bare);
    let Operator::Bash(bash) = operator("operator: bash, bash_command: x, cwd: \"\"") else { panic!("expected bash") };
    assert_eq!(bash.cwd, None);
    let url = |task: &str| match operator(task) {
        Operator::Http(http) => http.request.target,
        other => panic!("{other:?}"),
    };
    let whole = "https://example.com/x".to_owned();
    assert_eq!(url("operator: http, http_conn_id: \"\", endpoint: \"https://example.com/x\""), HttpTarget::Url(whole));
    check(
        "dag_id: x\ntasks: [{task_id: a, operator: http, http_conn_id: \"\", endpoint: v1/x}]",
        expect![[r#"
        dags/x.yaml:2:66: tasks[0].endpoint: expected a URL that begins with http:// or https://, or a template
    "#]],
    );
}

#[test]
fn a_number_is_a_text_where_a_text_is_expected() {
    let text = "dag_id: x\ntags: [2026, 1.10, a]\ndescription: 7\ndefault_args: {owner: 12}\ntask_groups: [{group_name: 5}]\n\
        tasks: [{task_id: 1, operator: empty}, {task_id: 2, operator: empty, task_group_name: 5, dependencies: [1]}, \
        {task_id: 3, operator: bash, bash_command: true, dependencies: 1}]\n";
    let dag = one(text).dag;
    assert_eq!(dag.tags, ["2026", "1.10", "a"]);
    assert_eq!((dag.tasks[1].task_id.as_str(), dag.tasks[0].downstream.len()), ("5.2", 2));
}

#[test]
fn a_default_block_is_merged_as_dag_factory_merges_it() {
    let text = "default:\n  tags: [a, b]\n  schedule: {cron: '0 6 * * *', timetable: cron_data_interval, timezone: Europe/Zurich}\n  \
        start_date: 2026-01-01\n  default_args: {retries: 2, owner: team, retry_delay: 1m}\n  \
        params: {region: {type: string, default: eu}, rows: 5}\n  \
        task_groups: {load: {tooltip: first}}\n  \
        tasks:\n    extract: {operator: bash, bash_command: echo default, pool: p}\n    report: {operator: empty, dependencies: [extract]}\n\
        one:\n  schedule: {cron: '0 7 * * *'}\n  tags: [c]\n  default_args: {retries: 5}\n  params: {region: {default: us}, more: 1}\n  \
        task_groups:\n    - {group_name: load, tooltip: second}\n    - {group_name: other}\n  \
        tasks:\n    - {task_id: extract, bash_command: echo one}\n    - {task_id: own, operator: empty, dependencies: [report]}\n\
        two: {}\n";
    let loaded = load(text);
    assert_eq!(messages(&loaded), "");
    let [one, two] = loaded.dags.as_slice() else { panic!("expected two DAGs") };
    let ids = |compiled: &dag::CompiledDag| {
        compiled.dag.tasks.iter().map(|task| task.task_id.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(
        (ids(one), ids(two)),
        (vec!["extract".into(), "report".into(), "own".into()], vec!["extract".into(), "report".into()])
    );
    let Operator::Bash(bash) = &one.dag.tasks[0].operator else { panic!("expected bash") };
    assert_eq!((bash.bash_command.as_str(), one.dag.tasks[0].pool.as_str()), ("echo one", "p"));
    assert_eq!((one.dag.tasks[0].retries, one.dag.tasks[0].owner.as_str()), (5, "team"));
    assert_eq!((&one.dag.tags[..], &two.dag.tags[..]), (&["c".to_owned()][..], &["a".to_owned(), "b".to_owned()][..]));
    assert_eq!(one.dag.params.names().collect::<Vec<_>>(), ["region", "more", "rows"]);
    assert_eq!(
        (&one.dag.params["region"].default, &one.dag.params["region"].schema["type"]),
        (&"us".into(), &"string".into())
    );
    assert_eq!(one.dag.groups[0].tooltip.as_deref(), Some("second"));
    let Schedule::Cron { expressions, timezone, timetable, .. } = &one.dag.schedule else { panic!("expected a cron") };
    assert_eq!((expressions[0].as_str(), *timetable), ("0 7 * * *", CronTimetable::CronDataInterval));
    assert_eq!(*timezone, chrono_tz::Europe::Zurich);
}

#[test]
fn a_mapping_is_a_params_value_unless_it_speaks_json_schema() {
    let text =
        dag("params:\n  columns: {ident: id, name: label}\n  empty: {}\n  schema: {type: integer, default: 5}\n  \
        bare: {default: null}\n  limits: {min: 1, max: 2}");
    let params = one(&text).dag.params;
    assert_eq!(params["columns"].default, serde_json::json!({"ident": "id", "name": "label"}));
    assert_eq!((&params["empty"].default, &params["schema"].default), (&serde_json::json!({}), &5.into()));
    assert_eq!((&params["bare"].default, &params["limits"].default["max"]), (&serde_json::Value::Null, &2.into()));
    let again = one(&one(&text).canonical_yaml);
    assert_eq!(again.dag.params, params);
}

#[test]
fn a_misspelt_word_of_a_params_schema_is_refused() {
    check(
        &dag("params:\n  opts: {typ: integer, defualt: 5}\n  mixed: {type: string, path: x, default: y}\n  \
              deep: {type: object, default: {typ: 1}, properties: {a: {typ: integer}}, anyOf: [{requierd: [a]}]}"),
        expect![[r#"
            dags/x.yaml:3:10: params.opts.typ: JSON Schema has no such word; did you mean "type"? if the mapping is the value itself, write it below default
            dags/x.yaml:3:24: params.opts.defualt: JSON Schema has no such word; did you mean "default"? if the mapping is the value itself, write it below default
            dags/x.yaml:4:25: params.mixed.path: JSON Schema has no such word; if the mapping is the value itself, write it below default
            dags/x.yaml:5:60: params.deep.properties.a.typ: JSON Schema has no such word; did you mean "type"? if the mapping is the value itself, write it below default
            dags/x.yaml:5:85: params.deep.anyOf[0].requierd: JSON Schema has no such word; did you mean "required"? if the mapping is the value itself, write it below default
        "#]],
    );
}

#[test]
fn formats_are_checked() {
    let fits = |format: &str, value: &str| {
        let loaded = load(&dag(&format!("params: {{p: {{type: string, format: {format}, default: \"{value}\"}}}}")));
        loaded.errors.is_empty()
    };
    for (format, value) in [
        ("date", "2026-02-28"),
        ("date-time", "2026-02-28T06:30:00Z"),
        ("date-time", "2026-02-28T06:30:00.5+01:00"),
        ("date-time", "2026-02-28T06:30"),
        ("time", "12:13:14"),
        ("time", "12:13"),
        ("time", "12:13:14+02:00"),
        ("email", "a@example.com"),
        ("uuid", "6ba7b810-9dad-11d1-80b4-00c04fd430c8"),
        ("multiline", "anything"),
    ] {
        assert!(fits(format, value), "{format} {value}");
    }
    for (format, value) in [
        ("date", "tomorrow"),
        ("date", "2026-02-30"),
        ("date", "2026-2-3"),
        ("date", "2026-02-28T00:00:00Z"),
        ("date-time", "2026-02-30T06:30:00Z"),
        ("date-time", "2026-02-28"),
        ("date-time", "2026-02-28T25:30:00Z"),
        ("time", "25:00"),
        ("time", "noon"),
        ("email", "nobody"),
        ("uuid", "x"),
    ] {
        assert!(!fits(format, value), "{format} {value}");
    }
    check(
        &dag("params: {day: {type: string, format: date, default: tomorrow}}"),
        expect![[r#"
        dags/x.yaml:2:10: params.day: the default does not fit the schema: "tomorrow" is not a "date" (write 2026-01-31)
    "#]],
    );
    let dag = one(&dag("params: {day: {type: [string, \"null\"], format: date, default: null}}")).dag;
    let conf = serde_json::json!({"day": "2026-02-30"});
    expect![[r#"param day: "2026-02-30" is not a "date" (write 2026-01-31)"#]]
        .assert_eq(&dag.validate_conf(conf.as_object().unwrap()).unwrap_err().join("\n"));
}

#[test]
fn params_have_a_limit() {
    let params: String = (0..1_001).map(|n| format!("  p{n}: {n}\n")).collect();
    check(
        &format!("dag_id: x\nparams:\n{params}tasks: [{{task_id: a, operator: empty}}]"),
        expect![[r#"
        dags/x.yaml:2:1: params: the DAG has 1001 params; at most 1000 are allowed
    "#]],
    );
}

#[test]
fn a_dag_that_can_not_fail_is_remarked() {
    let tasks = |leaf: &str, more: &str| {
        format!(
            "dag_id: x\ntasks:\n  - {{task_id: load, operator: empty}}\n  - {{task_id: report, operator: empty, dependencies: [load], trigger_rule: {leaf}}}\n{more}"
        )
    };
    expect![[r#"
        dags/x.yaml:2:1: tasks: every leaf of this DAG runs whatever happened before it (report: all_done), and a run ends as its leaves do: it can not fail by what comes before them; let a task with the rule all_success follow what matters, too
    "#]].assert_eq(&remarks(&tasks("all_done", "")));
    for rule in ["always", "one_done", "all_failed", "one_failed"] {
        assert!(remarks(&tasks(rule, "")).contains(rule), "{rule}");
    }
    for rule in ["all_success", "none_failed", "all_done_min_one_success"] {
        assert_eq!(remarks(&tasks(rule, "")), "", "{rule}");
    }
    assert_eq!(remarks(&tasks("all_done", "  - {task_id: judge, operator: empty, dependencies: [load]}\n")), "");
    assert_eq!(
        remarks("dag_id: x\ntasks: [{task_id: a, operator: empty, trigger_rule: always}]"),
        "",
        "it fails itself"
    );
}

#[test]
fn keys_that_hold_a_mapping_or_list_take_a_template_for_all_of_it() {
    let Operator::Sql(sql) =
        operator("operator: sql, conn_id: c, sql: SELECT 1, parameters: \"{{ params.p | tojson }}\"")
    else {
        panic!("expected sql")
    };
    assert_eq!(serde_json::to_value(&sql.parameters).unwrap(), "{{ params.p | tojson }}");
    for task in [
        "operator: sql_sensor, conn_id: c, sql: SELECT 1, parameters: \"{{ params.p | tojson }}\"",
        "operator: trigger_dag_run, trigger_dag_id: y, conf: \"{{ ti.xcom_pull('x') | tojson }}\"",
        "operator: kafka_produce, topic: t, messages: \"{{ ti.xcom_pull('x') | tojson }}\"",
    ] {
        let text = format!("dag_id: x\ntasks: [{{task_id: a, {task}}}]");
        let dag = one(&text);
        assert_eq!(one(&dag.canonical_yaml).dag, dag.dag);
    }
    check(
        "dag_id: x\ntasks: [{task_id: a, operator: sql, conn_id: c, sql: SELECT 1, parameters: [1]}]",
        expect![[r#"
            dags/x.yaml:2:64: tasks[0].parameters: expected a mapping of names to values, or a template that gives one, found a list
        "#]],
    );
    check(
        "dag_id: x\ntasks: [{task_id: a, operator: sql, conn_id: c, sql: SELECT 1, parameters: plain}]",
        expect![[r#"
            dags/x.yaml:2:76: tasks[0].parameters: expected a mapping of names to values, or a template that gives one, found the text "plain"
        "#]],
    );
}

#[test]
fn a_relative_start_date_follows_from_when_the_dag_is_first_seen() {
    let text = "dag_id: x\ntimezone: Europe/Zurich\nschedule: 1 days\ncatchup: true\ndefault_args: {start_date: 2 days}\n\
                tasks: [{task_id: a, operator: empty}]";
    let compiled = one(text);
    assert!(
        remarks(text).contains("default_args.start_date: this start_date is so long before the day"),
        "{}",
        remarks(text)
    );
    let again = one(&compiled.canonical_yaml);
    assert_eq!(
        (&again.dag, &again.content_hash),
        (&compiled.dag, &compiled.content_hash),
        "{}",
        compiled.canonical_yaml
    );
    let mut dag = compiled.dag;
    assert_eq!(dag.start_date, None);
    dag.pin_start_date("2026-07-10T23:30:00Z".parse().unwrap());
    let start = dag.start_date.unwrap();
    // In Zurich it is the 11th already.
    assert_eq!(start.to_rfc3339(), "2026-07-08T22:00:00+00:00");
    let fixed = one("dag_id: x\nstart_date: 2026-01-01\ntasks: [{task_id: a, operator: empty}]").dag;
    let mut pinned = fixed.clone();
    pinned.pin_start_date("2026-07-10T23:30:00Z".parse().unwrap());
    assert_eq!(pinned, fixed);
}

#[test]
fn keys_of_the_dag_among_the_defaults_of_its_tasks_count_with_a_remark() {
    let text = "dag_id: x\ndefault_args: {schedule: '@daily', catchup: true, max_active_runs: 3, start_date: 2026-01-01, doc_md: T}\n\
                max_active_runs: 2\ntasks: [{task_id: a, operator: empty}]";
    let dag = one(text).dag;
    assert_eq!((dag.catchup, dag.max_active_runs), (dag::Catchup::All, 2));
    assert_ne!(dag.schedule, dag::Schedule::Never);
    // A text for tasks is none of the DAG.
    assert_eq!((dag.doc_md, dag.tasks[0].doc_md.as_deref()), (None, Some("T")));
    assert_eq!(remarks(text).matches("this key belongs to the DAG, one level up; it counts there").count(), 3);
}

#[test]
fn objects_of_python_that_dag_factory_writes_are_their_values() {
    let text = "dag_id: x\ndagrun_timeout: {__type__: datetime.timedelta, minutes: 10, seconds: 1.5}\n\
                start_date: {__type__: pendulum.datetime, __args__: [2026, 3, 1], hour: 6}\n\
                schedule: {__type__: airflow.timetables.interval.CronDataIntervalTimetable, __args__: [0 1 * * 3], timezone: Europe/Zurich}\n\
                tasks:\n  - {task_id: a, operator: bash, bash_command: {__join__: ['echo ', {__join__: [1, ' b']}]}, \
                retry_delay: {__type__: datetime.timedelta, __args__: [0, 300]}}\n";
    let dag = one(text).dag;
    assert_eq!(dag.dagrun_timeout.unwrap().as_secs_f64(), 601.5);
    assert_eq!(dag.start_date.unwrap().to_rfc3339(), "2026-03-01T05:00:00+00:00");
    assert_eq!(dag.tasks[0].retry_delay.as_secs(), 300);
    let model::Operator::Bash(bash) = &dag.tasks[0].operator else { panic!() };
    assert_eq!(bash.bash_command, "echo 1 b");
    let dag::Schedule::Cron { timetable, timezone, .. } = &dag.schedule else { panic!() };
    assert_eq!((*timetable, timezone.name()), (dag::CronTimetable::CronDataInterval, "Europe/Zurich"));
    for (bad, says) in [
        ("{__type__: datetime.timedelta, fortnights: 1}", "expected a duration"),
        ("{__type__: datetime.timedelta, days: -1}", "expected a duration"),
        ("{__type__: my.Thing, seconds: 1}", "expected a duration"),
    ] {
        let loaded = load(&format!("dag_id: x\ndagrun_timeout: {bad}\ntasks: [{{task_id: a, operator: empty}}]"));
        assert!(messages(&loaded).contains(says), "{bad}: {}", messages(&loaded));
    }
    for (bad, says) in [
        ("{__type__: my.Timetable}", "timetable Timetable is not known"),
        ("{__type__: CronTriggerTimetable}", "CronTriggerTimetable is given nothing"),
        (
            "{__type__: CronTriggerTimetable, cron: '@daily', colour: red}",
            "not supported yet: colour of a CronTriggerTimetable",
        ),
    ] {
        let loaded = load(&format!("dag_id: x\nschedule: {bad}\ntasks: [{{task_id: a, operator: empty}}]"));
        assert!(messages(&loaded).contains(says), "{bad}: {}", messages(&loaded));
    }
}

#[test]
fn a_dags_documentation_may_lie_in_a_file() {
    let files = Memory::with(&[("docs/a.md", "# A\n")]);
    let text = "dag_id: x\ndoc_md_file_path: /usr/local/airflow/dags/docs/a.md\ntasks: [{task_id: a, operator: empty}]";
    let loaded = dag::load("x.yaml", text, &files);
    assert_eq!(loaded.dags[0].dag.doc_md.as_deref(), Some("# A\n"), "{}", messages(&loaded));
    let again = dag::load("x.yaml", &loaded.dags[0].canonical_yaml, &files);
    assert_eq!(again.dags[0].content_hash, loaded.dags[0].content_hash);
}
