//! Bad files, and the exact words in which each is refused.

use expect_test::{Expect, expect};

use crate::support::{Memory, load, messages};

fn check(text: &str, expected: Expect) {
    let loaded = load(text);
    assert!(loaded.dags.is_empty(), "a DAG with a problem was not left out");
    expected.assert_eq(&messages(&loaded));
}

fn task(fields: &str) -> String {
    format!("dag_id: x\ntasks:\n  - task_id: a\n    operator: bash\n    bash_command: echo\n{fields}")
}

#[test]
fn an_unknown_field_is_refused_with_the_nearest_known_one() {
    check(
        &task("    retires: 2\n"),
        expect![[r#"
        dags/x.yaml:6:5: tasks[0].retires: unknown field; did you mean "retries"?
    "#]],
    );
    check(
        "dag_id: x\nschedul: null\ncatch_up: true\ntasks: [{task_id: a, operator: empty}]",
        expect![[r#"
        dags/x.yaml:2:1: schedul: unknown field; did you mean "schedule"?
        dags/x.yaml:3:1: catch_up: unknown field; did you mean "catchup"?
    "#]],
    );
    check(
        "dag_id: x\ndefault_args: {ownr: me}\ntasks: [{task_id: a, operator: empty}]",
        expect![[r#"
        dags/x.yaml:2:16: default_args.ownr: unknown field; did you mean "owner"?
    "#]],
    );
    check(
        "dag_id: x\ntasks: [{task_id: a, operator: empty, bash_command: x}]",
        expect![[r#"
        dags/x.yaml:2:39: tasks[0].bash_command: unknown field
    "#]],
    );
}

#[test]
fn a_wrong_type_names_what_was_expected() {
    check(
        &task(
            "    retries: two\n    retry_delay: soon\n    pool_slots: 0\n    depends_on_past: yes\n    trigger_rule: all_succes\n    priority_weight: 3000000000\n    owner: [a]\n    env: {A: [1], 2B: x}\n    execution_timeout: 0\n",
        ),
        expect![[r#"
            dags/x.yaml:6:14: tasks[0].retries: expected a whole number from 0 to 10000, found the text "two"
            dags/x.yaml:7:18: tasks[0].retry_delay: expected a duration such as 30s, 5m, 1h30m, PT5M, 1 days or a number of seconds, found the text "soon"
            dags/x.yaml:8:17: tasks[0].pool_slots: expected a whole number from 1 to 1000000, found the number 0
            dags/x.yaml:9:22: tasks[0].depends_on_past: expected true or false, found the text "yes"
            dags/x.yaml:10:19: tasks[0].trigger_rule: expected one of all_success, all_failed, all_done, all_done_min_one_success, one_success, one_failed, one_done, none_failed, none_failed_min_one_success, none_skipped, all_skipped, always, found "all_succes"; did you mean "all_success"?
            dags/x.yaml:11:22: tasks[0].priority_weight: expected a whole number from -2147483648 to 2147483647, found the number 3000000000
            dags/x.yaml:12:5: tasks[0].owner: expected text, found a list
            dags/x.yaml:13:11: tasks[0].env.A: expected text, found a list
            dags/x.yaml:13:23: tasks[0].env.2B: a variable's name has only letters, digits and _
            dags/x.yaml:14:24: tasks[0].execution_timeout: expected a duration longer than 0
        "#]],
    );
    check(
        "dag_id: x\nmax_active_runs: 0\ntags: {a: b}\nparams: 3\ntasks: []",
        expect![[r#"
            dags/x.yaml:2:18: max_active_runs: expected a whole number from 1 to 1000000, found the number 0
            dags/x.yaml:3:1: tags: expected text or a list of texts, found a mapping
            dags/x.yaml:4:9: params: expected a mapping of names to params, found the number 3
            dags/x.yaml:5:1: tasks: expected at least one task
        "#]],
    );
    check(
        "- a\n- b",
        expect![[r#"
        dags/x.yaml:1:1: expected a DAG, a mapping with dag_id and tasks; found a list
    "#]],
    );
    check(
        "dag_id: x\ntasks: [3, {operator: empty}, {task_id: a}]",
        expect![[r#"
        dags/x.yaml:2:9: tasks[0]: expected a task, a mapping, found the number 3
        dags/x.yaml:2:12: tasks[1]: task_id is missing
        dags/x.yaml:2:31: tasks[2]: operator is missing
    "#]],
    );
}

#[test]
fn broken_yaml_is_refused_with_its_place() {
    check(
        "dag_id: x\ntasks:\n  - task_id: a\n   operator: bash\n",
        expect![[r#"
            dags/x.yaml:4:4: tasks[1]: this is not valid YAML: while parsing a block collection, did not find expected '-' indicator
        "#]],
    );
    check(
        "dag_id: x\ndag_id: y\ntasks: [{task_id: a, operator: empty, operator: bash}]",
        expect![[r#"
        dags/x.yaml:2:1: dag_id: this key stands here twice
        dags/x.yaml:3:39: tasks[0].operator: this key stands here twice
    "#]],
    );
    check(
        "dag_id: x\nschedule: {{ x }}\ntasks: []",
        expect![[r#"
            dags/x.yaml:2:11: schedule: expected a key, found a mapping; write a text with {{ }} in quotes, such as "{{ ds }}"
            dags/x.yaml:3:1: tasks: expected at least one task
        "#]],
    );
    check(
        "dag_id: !python/object x",
        expect![[r#"
            dags/x.yaml:1:1: tasks is missing: a DAG has at least one task
            dags/x.yaml:1:9: dag_id: tag !python/object is not known; DAG files use plain YAML
        "#]],
    );
    check(
        "dag_id: x\n---\ndag_id: y",
        expect![[r#"
        dags/x.yaml:2:1: expected one YAML document; several DAGs of a file are a mapping of dag_id to DAG
    "#]],
    );
    check(
        "",
        expect![[r#"
        dags/x.yaml: the file is empty; it defines no DAG
    "#]],
    );
    check(
        "{}",
        expect![[r#"
        dags/x.yaml:1:1: the file defines no DAG
    "#]],
    );
}

#[test]
fn a_cycle_is_named() {
    check(
        "dag_id: x\ntasks:\n  - {task_id: start, operator: empty}\n  - {task_id: a, operator: empty, dependencies: [start, c]}\n  - {task_id: b, operator: empty, dependencies: [a]}\n  - {task_id: c, operator: empty, dependencies: [b]}\n",
        expect![[r#"
            dags/x.yaml:4:50: tasks[1].dependencies[0]: the tasks wait for each other: a -> b -> c -> a
        "#]],
    );
    check(
        "dag_id: x\ntasks: [{task_id: a, operator: empty, dependencies: a}]",
        expect![[r#"
        dags/x.yaml:2:53: tasks[0].dependencies: "a" can not wait for itself
    "#]],
    );
}

#[test]
fn an_unknown_name_is_refused_with_the_nearest_one() {
    check(
        "dag_id: x\ntasks:\n  - {task_id: extract, operator: empty}\n  - {task_id: load, operator: empty, dependencies: [extrct]}\n  - {task_id: more, operator: empty, task_group_name: g}\n  - {task_id: load, operator: empty}\n",
        expect![[r#"
            dags/x.yaml:4:53: tasks[1].dependencies[0]: there is no task or group "extrct" in this DAG; did you mean "extract"?
            dags/x.yaml:5:55: tasks[2].task_group_name: there is no group "g"
            dags/x.yaml:6:15: tasks[3].task_id: there are two tasks "load"
        "#]],
    );
    check(
        "dag_id: x\ntasks: [{task_id: a, operator: bsh, bash_command: x}]",
        expect![[r#"
            dags/x.yaml:2:32: tasks[0].operator: operator "bsh" is not known; there are empty, bash, python, sql, sql_check, service, docker, branch, short_circuit, http, trigger_dag_run, file_sensor, http_sensor, sql_sensor, external_task_sensor, kafka_produce, kafka_consume, kafka_sensor, kafka_topic, kafka_lag, python_callable, date_time_sensor, time_delta_sensor, latest_only, approval, choice; did you mean "bash"?
        "#]],
    );
}

#[test]
fn ids_keep_to_their_letters() {
    check(
        "dag_id: a/b\ntasks: [{task_id: \"a b\", operator: empty}]",
        expect![[r#"
        dags/x.yaml:1:9: dag_id: dag_id "a/b" is not valid: use 1 to 250 characters of A-Z a-z 0-9 _.-
        dags/x.yaml:2:19: tasks[0].task_id: task_id "a b" is not valid: use 1 to 250 characters of A-Z a-z 0-9 _.-
    "#]],
    );
    check(
        "tasks: [{task_id: a, operator: empty}]",
        expect![[r#"
        dags/x.yaml:1:1: dag_id is missing
    "#]],
    );
}

fn scheduled(fields: &str) -> String {
    format!("dag_id: x\n{fields}\ntasks: [{{task_id: a, operator: empty}}]")
}

#[test]
fn schedules_are_checked() {
    let dag = scheduled;
    check(
        &dag("schedule: \"60 * * * *\""),
        expect![[r#"
        dags/x.yaml:2:11: schedule: "60 * * * *" is not a cron expression: minute: "60" does not fit; expected 0 to 59
    "#]],
    );
    check(
        &dag("schedule: \"@dayly\""),
        expect![[r#"
        dags/x.yaml:2:11: schedule: "@dayly" is not a cron expression: the preset "@dayly" is not known; there are @hourly @daily @weekly @monthly @quarterly @yearly, and the schedules @once and @continuous
    "#]],
    );
    check(
        &dag("schedule: [\"0 0 * * *\", \"0 0 30 2 *\"]"),
        expect![[r#"
        dags/x.yaml:2:25: schedule[1]: no day fits the cron "0 0 30 2 *"; there would never be a run
    "#]],
    );
    check(
        &dag("schedule: {cron: \"0 0 * *\", timezone: Europe/Zürich, timetable: cron}"),
        expect![[r#"
            dags/x.yaml:2:18: schedule.cron: "0 0 * *" is not a cron expression: expected a cron expression of 5, 6 or 7 fields, found 4
            dags/x.yaml:2:39: schedule.timezone: expected a time zone such as Europe/Zurich, found "Europe/Zürich"; did you mean "Europe/Zurich"?
            dags/x.yaml:2:65: schedule.timetable: expected one of cron_trigger, cron_data_interval, delta_trigger, delta_data_interval, found "cron"; did you mean "cron_trigger"?
        "#]],
    );
    check(
        &dag("schedule: hourly"),
        expect![[r#"
        dags/x.yaml:2:11: schedule: "hourly" is not a cron expression: expected a cron expression of 5, 6 or 7 fields, found 1
    "#]],
    );
    check(
        &dag("schedule: {cron: '@daily', timetable: delta_trigger}"),
        expect![[r#"
        dags/x.yaml:2:39: schedule.timetable: a cron has the timetable cron_trigger or cron_data_interval
    "#]],
    );
    check(
        &dag("schedule: {duration: 1h, timetable: cron_trigger}"),
        expect![[r#"
        dags/x.yaml:2:37: schedule.timetable: a duration has the timetable delta_trigger or delta_data_interval
    "#]],
    );
    check(
        &dag("schedule: {duration: 1h, cron: '@daily'}"),
        expect![[r#"
        dags/x.yaml:2:32: schedule.cron: a schedule by duration has no cron; name a cron or a duration
    "#]],
    );
    check(
        &dag("schedule: 0.1s"),
        expect![[r#"
        dags/x.yaml:2:11: schedule: expected at least 1s between runs
    "#]],
    );
    check(
        &dag("schedule: true"),
        expect![[r#"
        dags/x.yaml:2:11: schedule: expected a cron, a preset such as @daily, a duration, assets or null, found true
    "#]],
    );
}

#[test]
fn dates_that_leave_no_run_are_refused() {
    let dag = scheduled;
    check(
        &dag("schedule: \"@continuous\"\nmax_active_runs: 2"),
        expect![[r#"
        dags/x.yaml:2:11: schedule: start_date is missing: @continuous begins there
        dags/x.yaml:3:18: max_active_runs: a DAG with schedule @continuous has max_active_runs 1
    "#]],
    );
    check(
        &dag("schedule: {cron: \"@daily\", timetable: cron_data_interval}\ncatchup: true"),
        expect![[r#"
        dags/x.yaml:2:1: schedule: start_date is missing: catchup: true makes up every run since then
    "#]],
    );
    check(
        &dag("start_date: 2 days\nend_date: 2026-13-01"),
        expect![[r#"
            dags/x.yaml:3:11: end_date: expected a date such as 2026-01-31, or a time such as 2026-01-31T06:00:00+01:00, found the text "2026-13-01"
        "#]],
    );
    check(
        &dag("start_date: 2026-02-01\nend_date: 2026-01-01"),
        expect![[r#"
        dags/x.yaml:3:11: end_date: the end_date is before the start_date; there would be no run
    "#]],
    );
    check(
        &dag("schedule: null\nschedule_interval: null"),
        expect![[r#"
        dags/x.yaml:3:1: schedule_interval: schedule_interval and schedule mean the same; keep schedule
    "#]],
    );
}

#[test]
fn what_comes_later_is_called_by_its_name() {
    check(
        "dag_id: x\noverlap: skip\nschedule: {interval: 1h, cron: '@daily'}\ntasks:\n  - {task_id: a, operator: time_sensor, topic: x}\n  - {task_id: b, operator: empty, sla: 1h}\n  - {task_id: c, operator: airflow.operators.python.PythonOperator, python_callable_name: f}\n",
        expect![[r#"
            dags/x.yaml:5:28: tasks[0].operator: operator time_sensor is not supported yet; there are empty, bash, python, sql, sql_check, service, docker, branch, short_circuit, http, trigger_dag_run, file_sensor, http_sensor, sql_sensor, external_task_sensor, kafka_produce, kafka_consume, kafka_sensor, kafka_topic, kafka_lag, python_callable, date_time_sensor, time_delta_sensor, latest_only, approval, choice
            dags/x.yaml:6:35: tasks[1].sla: not supported yet: Airflow 2's sla; write the DAG's deadline
            dags/x.yaml:7:5: tasks[2]: python_callable is missing: module.function, or python_callable_file and python_callable_name
        "#]],
    );
}

#[test]
fn files_that_can_not_be_read_are_refused() {
    let files = Memory::with(&[("link/x.sql", "")]).and_zeros("big.sql", dag::FILE_BYTES_MAX + 1);
    let text = "dag_id: x\ntasks:\n  - {task_id: a, operator: sql, conn_id: lake, sql: [missing.sql, ../up.sql, /etc/x.sql, link/x.sql, big.sql]}\n  - {task_id: b, operator: python, script: gone.py}\n  - {task_id: c, operator: python}\n  - {task_id: d, operator: python, script: a.py, python: x}\n";
    let loaded = dag::load("dags/x.yaml", text, &files);
    assert!(loaded.dags.is_empty());
    expect![[r#"
        dags/x.yaml:3:54: tasks[0].sql[0]: file "missing.sql": there is no such file below the DAG folder
        dags/x.yaml:3:67: tasks[0].sql[1]: file "../up.sql": ".." would leave the DAG folder
        dags/x.yaml:3:78: tasks[0].sql[2]: file "/etc/x.sql": expected a name relative to the DAG folder, with / between its parts
        dags/x.yaml:3:90: tasks[0].sql[3]: file "link/x.sql": it leads out of the DAG folder, through a symbolic link or otherwise
        dags/x.yaml:3:102: tasks[0].sql[4]: file "big.sql": it has 1048577 bytes, but a file of a DAG has at most 1048576
        dags/x.yaml:4:44: tasks[1].script: file "gone.py": there is no such file below the DAG folder
        dags/x.yaml:5:5: tasks[2]: script is missing: the code's file, or the code itself below python
        dags/x.yaml:6:58: tasks[3].python: script and python are both given; keep one
    "#]].assert_eq(&messages(&loaded));
}

#[test]
fn all_files_of_a_dag_have_a_limit_together() {
    let names: Vec<String> = (0..17).map(|number| format!("f{number}.bin")).collect();
    let files = names.iter().fold(Memory::default(), |files, name| files.and_zeros(name, dag::FILE_BYTES_MAX));
    let text = format!("dag_id: x\nfiles: [{}]\ntasks: [{{task_id: a, operator: empty}}]", names.join(", "));
    let loaded = dag::load("dags/x.yaml", &text, &files);
    expect![[r#"
        dags/x.yaml:2:143: files[16]: with file "f16.bin" the files of this DAG have 17825792 bytes together; at most 16777216 are allowed
    "#]].assert_eq(&messages(&loaded));
}

#[test]
fn a_service_is_checked() {
    let text = |services: &str| format!("dag_id: x\ntasks: [{{task_id: a, operator: service, services: {services}}}]");
    check(
        &text("[]"),
        expect![[r#"
        dags/x.yaml:2:41: tasks[0].services: expected at least one service
    "#]],
    );
    check(
        &text(
            "[{name: a/b, command: [x]}, {name: b, command: run it}, {name: c}, {name: d, command: [x], ready_when: caught-up, pass_env: [\"*\"]}, {name: e, command: [x], image: y}, {name: f, command: [x], ready_when: {metric: m}}]",
        ),
        expect![[r#"
            dags/x.yaml:2:59: tasks[0].services[0].name: a service's name has at most 100 of A-Z a-z 0-9 _ and -
            dags/x.yaml:2:98: tasks[0].services[1].command: expected a list: [program, argument, …]; no shell takes it apart
            dags/x.yaml:2:107: tasks[0].services[2]: command is missing
            dags/x.yaml:2:176: tasks[0].services[3].pass_env[0]: expected a variable's name or a pattern such as STOCK_*; * alone would pass on secrets
            dags/x.yaml:2:242: tasks[0].services[5].ready_when: at_least is missing
        "#]],
    );
    check(
        &text("[{name: a, command: [x]}, {name: a, command: [y]}]"),
        expect![[r#"
        dags/x.yaml:2:1: tasks: a: the service name "a" is used twice in this DAG
    "#]],
    );
}

#[test]
fn params_keep_to_their_schema() {
    let dag = |params: &str| {
        format!("dag_id: x\nschedule: \"@daily\"\nparams: {params}\ntasks: [{{task_id: a, operator: empty}}]")
    };
    check(
        &dag("{region: {type: string, enum: [eu, us], default: asia}}"),
        expect![[r#"
        dags/x.yaml:3:10: params.region: the default does not fit the schema: "asia" is not one of "eu" or "us"
    "#]],
    );
    check(
        &dag("{n: {type: integer}}"),
        expect![[r#"
        dags/x.yaml:3:10: params.n: default is missing: nobody is asked for it when a scheduled run starts
    "#]],
    );
    check(
        &dag("{n: {type: wholenumber, default: 1}}"),
        expect![[r#"
            dags/x.yaml:3:10: params.n: this is not a JSON Schema: "wholenumber" is not valid under any of the schemas listed in the 'anyOf' keyword; a mapping that is the value stands below default
        "#]],
    );
    check(
        &dag("{n: {default: .nan}}"),
        expect![[r#"
        dags/x.yaml:3:23: params.n.default: expected a finite number, found the number .nan
    "#]],
    );
    check(
        &dag("{n: {$ref: \"http://example.com/schema.json\", default: 1}}"),
        expect![[r#"
            dags/x.yaml:3:10: params.n: this is not a JSON Schema: Resource 'http://example.com/schema.json' is not present in a registry and retrieving it failed: a param's schema can only refer to itself; a mapping that is the value stands below default
        "#]],
    );
}

#[test]
fn fail_fast_needs_the_default_rule() {
    check(
        "dag_id: x\nfail_fast: true\ntasks: [{task_id: a, operator: empty, trigger_rule: all_done}]",
        expect![[r#"
            dags/x.yaml:2:12: fail_fast: fail_fast needs trigger_rule all_success everywhere; a has another
        "#]],
    );
}

#[test]
fn a_problem_of_a_shared_default_is_told_once() {
    check(
        "dag_id: x\ndefault_args: {retries: -1}\ntasks: [{task_id: a, operator: empty}, {task_id: b, operator: empty}]",
        expect![[r#"
            dags/x.yaml:2:25: default_args.retries: expected a whole number from 0 to 10000, found the number -1
        "#]],
    );
}

#[test]
fn at_most_twenty_problems_are_told() {
    let tasks: String = (0..50).map(|n| format!("  - {{task_id: t{n}, operator: empty, retires: 1}}\n")).collect();
    let loaded = load(&format!("dag_id: x\ntasks:\n{tasks}"));
    assert_eq!(loaded.errors.len(), dag::ERRORS_PER_DAG_MAX);
    assert_eq!(loaded.errors[0].line, 3, "they are in the order of the file");
}

#[test]
fn a_bad_dag_does_not_stop_the_others_of_its_file() {
    let loaded = load(
        "good:\n  tasks: [{task_id: a, operator: empty}]\nbad:\n  tasks: [{task_id: a, operator: empty, retries: x}]\nworse: 3\n",
    );
    assert_eq!(loaded.dags.len(), 1);
    assert_eq!(loaded.dags[0].dag.dag_id.as_str(), "good");
    expect![[r#"
        dags/x.yaml:4:50: bad.tasks[0].retries: expected a whole number from 0 to 10000, found the text "x"
        dags/x.yaml:5:1: worse: expected a DAG, a mapping with tasks, found the number 3
    "#]]
    .assert_eq(&messages(&loaded));
}

#[test]
fn a_bad_default_block_stops_all_dags_of_its_file() {
    let loaded = load("default: {catchup: 3}\na:\n  tasks: [{task_id: a, operator: empty}]\n");
    assert!(loaded.dags.is_empty());
    expect![[r#"
        dags/x.yaml:1:20: default.catchup: expected true or false, found the number 3
    "#]]
    .assert_eq(&messages(&loaded));
}

#[test]
fn a_file_that_is_too_large_is_not_read() {
    check(
        &"x".repeat(1024 * 1024 + 1),
        expect![[r#"
        dags/x.yaml: the file has 1048577 bytes; a DAG file has at most 1048576
    "#]],
    );
}

#[test]
fn an_overlap_that_decides_nothing_is_refused() {
    let dag =
        |head: &str| format!("dag_id: x\nstart_date: 2026-01-01\n{head}\ntasks: [{{task_id: a, operator: empty}}]\n");
    for schedule in ["null", "\"@once\"", "\"@continuous\"", "[{name: asset}]"] {
        let loaded = load(&dag(&format!("schedule: {schedule}\noverlap: skip")));
        assert_eq!(loaded.errors.len(), 1, "{schedule}: {:?}", loaded.errors);
        assert!(loaded.errors[0].message.ends_with("leave overlap away"), "{:?}", loaded.errors);
    }
    check(
        &dag("schedule: '@daily'\noverlap: cancel_older\ncatchup: true"),
        expect![[r#"
        dags/x.yaml:4:10: overlap: cancel_older and catchup: true contradict each other: runs that are made up are all due at once; choose one
    "#]],
    );
    check(
        &dag("schedule: '@daily'\noverlap: cancle_older"),
        expect![[r#"
        dags/x.yaml:4:10: overlap: expected one of queue, skip, cancel_older, found "cancle_older"; did you mean "cancel_older"?
    "#]],
    );
}
