//! Forms that are equal give equal DAGs.

use std::time::Duration;

use dag::{Catchup, CronTimetable, DeltaTimetable, RunImmediately, Schedule, TickOptions};
use expect_test::expect_file;
use model::{Operator, TriggerRule};

use crate::support::{load, messages, one};

const LIST: &str = "
dag_id: x
schedule: '@daily'
start_date: 2026-01-01
default_args: {owner: me, retries: 2, retry_delay: 5m}
tasks:
  - {task_id: a, operator: bash, bash_command: 'echo {{ ds }}'}
  - {task_id: b, operator: empty, dependencies: [a]}
";

fn same_as_list(text: &str) {
    assert_eq!(one(text).canonical_yaml, one(LIST).canonical_yaml, "{text}");
}

#[test]
fn a_mapping_of_dags_is_the_same_as_one_dag() {
    same_as_list(
        "default:\n  default_args: {owner: me, retries: 2, retry_delay: 5m}\nx:\n  schedule: '@daily'\n  start_date: 2026-01-01\n  \
         tasks:\n    - {task_id: a, operator: bash, bash_command: 'echo {{ ds }}'}\n    - {task_id: b, operator: empty, dependencies: [a]}\n",
    );
}

#[test]
fn tasks_as_a_mapping_are_the_same_as_a_list() {
    same_as_list(
        "dag_id: x\nschedule: '@daily'\nstart_date: 2026-01-01\ndefault_args: {owner: me, retries: 2, retry_delay: 5m}\n\
         tasks:\n  a: {operator: bash, bash_command: 'echo {{ ds }}'}\n  b: {operator: empty, depends_on: a}\n",
    );
}

#[test]
fn the_words_of_dag_factory_and_older_airflow_are_understood() {
    same_as_list(
        "default:\n  default_args: {owner: me, retries: 2, retry_delay_sec: 300, start_date: 2026-01-01}\n  default_view: grid\n\
         x:\n  schedule_interval: '0 0 * * *'\n  orientation: LR\n  concurrency: 16\n  tasks:\n    a:\n      \
         operator: airflow.operators.bash_operator.BashOperator\n      bash_command: 'echo {{ ds }}'\n    b:\n      \
         operator: airflow.operators.dummy.DummyOperator\n      dependencies: [a]\n",
    );
}

#[test]
fn every_spelling_of_a_duration_is_the_same() {
    for spelling in ["5m", "300", "'300'", "PT5M", "300s", "5 minutes", "300.0"] {
        same_as_list(&LIST.replace("5m", spelling));
    }
}

#[test]
fn anchors_and_merges_are_the_same_as_what_they_stand_for() {
    same_as_list(
        "dag_id: x\nschedule: '@daily'\nstart_date: 2026-01-01\ntasks:\n  - &first\n    task_id: a\n    operator: bash\n    \
         bash_command: 'echo {{ ds }}'\n    owner: &me me\n    retries: 2\n    retry_delay: 300\n  - task_id: b\n    operator: empty\n    \
         dependencies: [a]\n    owner: *me\n    retries: 2\n    retry_delay: 5m\n",
    );
}

#[test]
fn absent_fields_have_airflows_defaults() {
    let dag = one("dag_id: x\ntasks: [{task_id: a, operator: bash, bash_command: x}]").dag;
    assert_eq!((dag.schedule, dag.catchup), (Schedule::Never, Catchup::Latest));
    assert_eq!((dag.max_active_runs, dag.max_active_tasks), (16, 16));
    assert!(dag.is_paused_upon_creation);
    let task = &dag.tasks[0];
    assert_eq!((task.retries, task.retry_delay), (0, Duration::from_secs(300)));
    assert_eq!((task.pool.as_str(), task.pool_slots, task.effective_weight), ("default_pool", 1, 1));
    assert_eq!((task.trigger_rule, task.do_xcom_push), (TriggerRule::AllSuccess, true));
    let Operator::Bash(bash) = &task.operator else { panic!("expected bash") };
    assert_eq!(bash.skip_on_exit_code, [99]);
}

#[test]
fn a_null_hides_what_would_be_inherited() {
    let text = "dag_id: x\ndefault_args: {execution_timeout: 5m, retries: 3}\ntasks:\n  \
                - {task_id: a, operator: empty, execution_timeout: null}\n  - {task_id: b, operator: empty}\n";
    let tasks = one(text).dag.tasks;
    assert_eq!((tasks[0].execution_timeout, tasks[0].retries), (None, 3));
    assert_eq!(tasks[1].execution_timeout, Some(Duration::from_secs(300)));
}

#[test]
fn templates_are_stored_as_they_are() {
    let text = "dag_id: x\ntasks: [{task_id: a, operator: bash, bash_command: '{{ 1 / 0 }} {% bad'}]";
    let Operator::Bash(bash) = one(text).dag.tasks.remove(0).operator else { panic!("expected bash") };
    assert_eq!(bash.bash_command, "{{ 1 / 0 }} {% bad");
}

#[test]
fn a_cron_takes_the_nearest_timezone_that_is_named() {
    let schedule = |text: &str| {
        one(&format!("dag_id: x\n{text}\nstart_date: 2026-07-01\ntasks: [{{task_id: a, operator: empty}}]")).dag
    };
    let cron = |timezone, timetable| Schedule::Cron {
        expressions: vec!["30 2 * * mon-fri".into()],
        timezone,
        timetable,
        ticks: TickOptions::default(),
    };
    let zurich =
        schedule("schedule: {cron: '30 2 * * MON-FRI', timezone: Europe/Zurich, timetable: cron_data_interval}");
    assert_eq!(zurich.schedule, cron(chrono_tz::Europe::Zurich, CronTimetable::CronDataInterval));
    assert_eq!(zurich.start_date.unwrap().to_rfc3339(), "2026-06-30T22:00:00+00:00");
    let paris = schedule("timezone: Europe/Paris\nschedule: 30 2 * * mon-fri");
    assert_eq!(paris.schedule, cron(chrono_tz::Europe::Paris, CronTimetable::CronTrigger));
    let utc = schedule("schedule: ['30 2 * * mon-fri']");
    assert_eq!(utc.schedule, cron(chrono_tz::UTC, CronTimetable::CronTrigger));
    let delta = |timetable| Schedule::Delta { every: Duration::from_secs(900), months: 0, timetable };
    for text in ["PT15M", "{duration: 15m}", "{duration: 900, timetable: delta_trigger}"] {
        assert_eq!(schedule(&format!("schedule: {text}")).schedule, delta(DeltaTimetable::DeltaTrigger));
    }
    let before = schedule("schedule: {duration: 15m, timetable: delta_data_interval}");
    assert_eq!(before.schedule, delta(DeltaTimetable::DeltaDataInterval));
    let stored = serde_json::json!({ "kind": "delta", "every": { "secs": 900, "nanos": 0 } });
    let stored: Schedule = serde_json::from_value(stored).unwrap();
    assert_eq!(stored, before.schedule, "a version that an older Windlass has stored keeps its meaning");
    assert_eq!(schedule("schedule: '@once'").schedule, Schedule::Once);
    assert_eq!(schedule("schedule: '@continuous'").max_active_runs, 1);
}

#[test]
fn weights_follow_the_rule_within_32_bits() {
    let dag = one("dag_id: x\ntasks:\n  - {task_id: a, operator: empty, priority_weight: 2147483647}\n  \
        - {task_id: b, operator: empty, priority_weight: 5, dependencies: [a]}\n  \
        - {task_id: c, operator: empty, priority_weight: 7, dependencies: [a], weight_rule: upstream}\n  \
        - {task_id: d, operator: empty, dependencies: [b, c], weight_rule: absolute}\n")
    .dag;
    let weights: Vec<(&str, i32)> =
        dag.tasks.iter().map(|task| (task.task_id.as_str(), task.effective_weight)).collect();
    assert_eq!(weights, [("a", i32::MAX), ("b", 6), ("c", i32::MAX), ("d", 1)]);
}

#[test]
fn tasks_come_after_what_they_depend_on_and_otherwise_in_the_order_of_the_file() {
    let dag = one(
        "dag_id: x\ntasks:\n  - {task_id: d, operator: empty, dependencies: [b]}\n  - {task_id: c, operator: empty}\n  \
        - {task_id: b, operator: empty}\n  - {task_id: a, operator: empty}\n",
    )
    .dag;
    let ids: Vec<&str> = dag.tasks.iter().map(|task| task.task_id.as_str()).collect();
    assert_eq!(ids, ["c", "b", "d", "a"]);
}

/// Set `UPDATE_EXPECT=1` to write the canonical form anew.
#[test]
fn a_tour_of_the_format_comes_back_from_its_canonical_form() {
    let dag = one(include_str!("tour.yaml"));
    expect_file!["tour.canonical.yaml"].assert_eq(&dag.canonical_yaml);
    let again = one(&dag.canonical_yaml);
    assert_eq!(again.dag, dag.dag);
    assert_eq!(again.content_hash, dag.content_hash);
}

#[test]
fn a_dag_may_be_named_tasks() {
    let loaded = load("tasks:\n  tasks: [{task_id: a, operator: empty}]\n");
    assert!(loaded.errors.is_empty(), "{}", messages(&loaded));
    assert_eq!(loaded.dags[0].dag.dag_id.as_str(), "tasks");
}

#[test]
fn ticks_have_an_interval_and_a_first_run() {
    let read = |schedule: &str| {
        let dag = one(&format!("dag_id: x\nschedule: {schedule}\ntasks: [{{task_id: a, operator: empty}}]"));
        assert_eq!(one(&dag.canonical_yaml).content_hash, dag.content_hash, "{}", dag.canonical_yaml);
        match dag.dag.schedule {
            Schedule::Cron { ticks, .. } => ticks,
            other => panic!("{other:?}"),
        }
    };
    let ticks = |interval: Option<u64>, run_immediately| TickOptions {
        interval: interval.map(Duration::from_secs),
        run_immediately,
    };
    assert_eq!(read("{cron: '0 6 * * *', interval: 1d}"), ticks(Some(86_400), RunImmediately::WhenRecent));
    assert_eq!(read("{cron: '0 6 * * *', run_immediately: true}"), ticks(None, RunImmediately::Always));
    assert_eq!(read("{cron: '0 6 * * *', run_immediately: false}"), TickOptions::default());
    let within = RunImmediately::Within(Duration::from_secs(600));
    assert_eq!(read("{cron: ['0 6 * * *', '@hourly'], run_immediately: 10m, interval: 0}"), ticks(None, within));
    let object = "{__type__: airflow.timetables.trigger.CronTriggerTimetable, cron: '0 6 * * *', timezone: UTC, \
        interval: {__type__: datetime.timedelta, hours: 6}, run_immediately: true}";
    assert_eq!(read(object), ticks(Some(21_600), RunImmediately::Always));
    let refused = |schedule: &str| {
        messages(&load(&format!("dag_id: x\nschedule: {schedule}\ntasks: [{{task_id: a, operator: empty}}]")))
    };
    expect_test::expect![[r#"
        dags/x.yaml:2:69: schedule.interval: this is for the timetable cron_trigger, whose runs stand for their ticks
    "#]]
    .assert_eq(&refused("{cron: '@daily', timetable: cron_data_interval, interval: 1h}"));
    expect_test::expect![[r#"
        dags/x.yaml:2:43: schedule.run_immediately: a schedule by duration has no run_immediately; name a cron or a duration
    "#]].assert_eq(&refused("{duration: 1h, run_immediately: true}"));
}

#[test]
fn a_duration_of_a_schedule_may_have_months_and_years() {
    let read = |duration: &str| {
        let dag = one(&format!("dag_id: x\nschedule: {duration}\ntasks: [{{task_id: a, operator: empty}}]"));
        assert_eq!(one(&dag.canonical_yaml).content_hash, dag.content_hash, "{}", dag.canonical_yaml);
        match dag.dag.schedule {
            Schedule::Delta { months, every, .. } => (months, every.as_secs()),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(read("P1M"), (1, 0));
    assert_eq!(read("P1Y2M3DT4H"), (14, 3 * 86_400 + 4 * 3_600));
    assert_eq!(read("1 month"), (1, 0));
    assert_eq!(read("{duration: 2 years 1 month 12h}"), (25, 43_200));
    assert_eq!(read("{duration: 3 months, timetable: delta_data_interval}"), (3, 0));
    assert_eq!(read("{duration: {__type__: dateutil.relativedelta.relativedelta, months: 1, days: 2}}"), (1, 172_800));
    assert_eq!(read("PT5M"), (0, 300), "minutes are minutes");
    assert_eq!(read("1m"), (0, 60));
    let refused = |schedule: &str| {
        messages(&load(&format!("dag_id: x\nschedule: {schedule}\ntasks: [{{task_id: a, operator: empty}}]")))
    };
    expect_test::expect![[r#"
        dags/x.yaml:2:22: schedule.duration: expected at most 100 years between runs
    "#]]
    .assert_eq(&refused("{duration: 101 years}"));
    expect_test::expect![[r#"
        dags/x.yaml:2:22: schedule.duration: expected a duration such as 30s, 5m, 1h30m, PT5M, 1 days or a number of seconds, found the text "1.5 months"
    "#]].assert_eq(&refused("{duration: 1.5 months}"));
}

#[test]
fn a_task_has_dates_of_its_own() {
    let text = "dag_id: x\ntimezone: Europe/Zurich\nstart_date: 2026-01-01\ntasks:\n  \
        - {task_id: a, operator: empty, start_date: 2026-02-01, end_date: 2026-03-01T00:00:00Z}\n";
    let dag = one(text);
    let task = &dag.dag.tasks[0];
    assert_eq!(task.start_date.unwrap().to_rfc3339(), "2026-01-31T23:00:00+00:00");
    assert_eq!(task.end_date.unwrap().to_rfc3339(), "2026-03-01T00:00:00+00:00");
    assert!(task.is_in_window(task.start_date.unwrap()) && task.is_in_window(task.end_date.unwrap()));
    assert!(!task.is_in_window(dag.dag.start_date.unwrap()));
    assert_eq!(one(&dag.canonical_yaml).content_hash, dag.content_hash);
    let turned = text.replace("end_date: 2026-03-01T00:00:00Z", "end_date: 2026-01-15");
    expect_test::expect![[r#"
        dags/x.yaml:5:69: tasks[0].end_date: the end_date is before the start_date; no run would have the task
    "#]]
    .assert_eq(&messages(&load(&turned)));
}

#[test]
fn a_dag_says_what_its_runs_may_come_of() {
    let read =
        |types: &str| one(&format!("dag_id: x\nallowed_run_types: {types}\ntasks: [{{task_id: a, operator: empty}}]"));
    let two = read("[scheduled, manual, manual]");
    assert_eq!(two.dag.allowed_run_types, Some(vec![model::RunType::Scheduled, model::RunType::Manual]));
    assert_eq!(one(&two.canonical_yaml).content_hash, two.content_hash);
    assert_eq!(read("manual").dag.allowed_run_types, Some(vec![model::RunType::Manual]));
    assert_eq!(read("null").dag.allowed_run_types, None);
    let never = "dag_id: x\nschedule: '@daily'\nallowed_run_types: backfill\ntasks: [{task_id: a, operator: empty}]";
    expect_test::expect![[r#"
        dags/x.yaml:3:20: allowed_run_types: the schedule makes no run, because allowed_run_types has no scheduled; it only says what a backfill goes through
    "#]].assert_eq(&crate::support::remarks(never));
    let bad = |types: &str| {
        messages(&load(&format!("dag_id: x\nallowed_run_types: {types}\ntasks: [{{task_id: a, operator: empty}}]")))
    };
    expect_test::expect![[r#"
        dags/x.yaml:2:1: allowed_run_types: expected at least one type of runs; without any the DAG never runs
        dags/x.yaml:2:21: allowed_run_types[0]: expected one of scheduled, manual, backfill, operator_triggered, asset_triggered, asset_materialization, found "by_hand"
    "#]].assert_eq(&(bad("[]") + &bad("[by_hand]")));
}

#[test]
fn what_happens_when_runs_overlap_is_read_and_written() {
    for (word, overlap) in [("skip", dag::Overlap::Skip), ("cancel_older", dag::Overlap::CancelOlder)] {
        let text =
            format!("dag_id: x\nschedule: '@daily'\noverlap: {word}\ntasks: [{{task_id: a, operator: empty}}]\n");
        let read = one(&text);
        assert_eq!(read.dag.overlap, overlap);
        assert!(read.canonical_yaml.contains(&format!("overlap: {word}")), "{}", read.canonical_yaml);
        assert_eq!(one(&read.canonical_yaml).dag, read.dag);
    }
}
