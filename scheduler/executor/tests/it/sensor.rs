//! The sensors.

use std::{collections::BTreeMap, time::Duration};

use link::{FetchItem, FetchKey, Poked, RunView, WhichRun};
use model::{
    DagId, DagRunState, EndKind, Operator, RunId, TaskId, TaskState,
    operator::{
        DateTimeSensor, ExternalTaskSensor, FileSensor, HttpMethod, HttpOptions, HttpPayload, HttpRequest, HttpSensor,
        HttpTarget, PokeMode, Poking, SqlParameters, SqlSensor, SqlSource, TimeDeltaSensor,
    },
};
use windlass_executor::StopCause;

use crate::{rig::Rig, server::Server, sql::with_database};

fn poking() -> Poking {
    Poking { poke_interval_secs: 0.02, timeout_secs: 30.0, ..Poking::default() }
}

fn file(path: &std::path::Path, poking: Poking) -> Operator {
    let filepath = path.to_str().unwrap().to_owned();
    Operator::FileSensor(FileSensor { filepath, fs_conn_id: None, recursive: false, poking })
}

#[tokio::test]
async fn a_file_is_waited_for_and_each_look_is_in_the_log() {
    let rig = Rig::new();
    let path = rig.dir.path().join("in.csv");
    let write = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        std::fs::write(&path, "x").unwrap();
    };
    let (ran, ()) = tokio::join!(rig.run(file(&path, poking())), write);
    assert_eq!(ran.end.kind, EndKind::Success, "{}", ran.text());
    assert!(ran.end.reason.contains("in.csv is there, last modified"), "{}", ran.end.reason);
    let said = ran.lines("sys");
    let first = format!("Poke 1: {} is not there; the next look is in 20 ms", path.display());
    assert!(said.contains(&first), "{said:?}");
}

#[tokio::test]
async fn a_sensor_whose_time_is_over_fails_for_good_or_is_skipped() {
    let rig = Rig::new();
    let path = rig.dir.path().join("gone/in.csv");
    let short = Poking { timeout_secs: 0.1, ..poking() };
    let end = rig.run(file(&path, short.clone())).await.end;
    assert_eq!(end.kind, EndKind::FailedForGood);
    assert!(end.reason.starts_with("its timeout of 0.1 s is over") && end.reason.contains("nor is the folder"));
    let end = rig.run(file(&path, Poking { soft_fail: true, ..short })).await.end;
    assert_eq!(end.kind, EndKind::Skipped, "{}", end.reason);
}

#[tokio::test]
async fn a_stop_ends_a_sensor_at_once_and_an_execution_timeout_counts_as_its_own() {
    let mut rig = Rig::new();
    let path = rig.dir.path().join("gone");
    let hour = Poking { poke_interval_secs: 3_600.0, ..Poking::default() };
    let stop = rig.stop.clone();
    let kill = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        stop.request(StopCause { kind: EndKind::Killed, reason: "cleared".into() });
    };
    let (ran, ()) = tokio::join!(rig.run(file(&path, hour.clone())), kill);
    assert_eq!((ran.end.kind, ran.end.reason.as_str()), (EndKind::Killed, "cleared"));
    (rig.stop, rig.execution_timeout_secs) = (windlass_executor::Stop::default(), Some(0.1));
    let end = rig.run(file(&path, Poking { soft_fail: true, ..hour })).await.end;
    assert_eq!(end.kind, EndKind::Skipped, "{}", end.reason);
}

#[tokio::test]
async fn a_rescheduled_sensor_looks_once_and_its_time_counts_from_the_first_look() {
    let rig = Rig::new();
    let path = rig.dir.path().join("gone/in.csv");
    let again = Poking { mode: PokeMode::Reschedule, poke_interval_secs: 5.0, ..poking() };
    let ran = rig.run(file(&path, again.clone())).await;
    assert_eq!((ran.end.kind, ran.end.again_after_secs), (EndKind::Rescheduled, Some(5.0)), "{}", ran.text());
    assert!(ran.end.reason.starts_with("poke 1: "), "{}", ran.end.reason);
    let later = |waited_secs, times| {
        let mut assignment = rig.assignment(file(&path, again.clone()));
        assignment.poked = Some(Poked { waited_secs, times });
        rig.attempt(assignment)
    };
    let end = windlass_executor::run(&later(28.0, 3), &rig.stop).await;
    assert!(end.kind == EndKind::Rescheduled && end.reason.starts_with("poke 4: "), "{}", end.reason);
    assert!(end.again_after_secs.is_some_and(|secs| (1.0..=2.0).contains(&secs)), "{:?}", end.again_after_secs);
    let end = windlass_executor::run(&later(30.0, 3), &rig.stop).await;
    assert_eq!(end.kind, EndKind::FailedForGood, "{}", end.reason);
    let target_time = (chrono::Utc::now() + chrono::TimeDelta::seconds(20)).to_rfc3339();
    let end = rig.run(Operator::DateTimeSensor(DateTimeSensor { target_time, poking: again })).await.end;
    assert!(end.again_after_secs.is_some_and(|secs| (15.0..=20.0).contains(&secs)), "it comes back at its moment");
}

#[tokio::test]
async fn a_deferrable_sensor_looks_once_at_a_time_and_ends_when_its_execution_timeout_is_over() {
    let mut rig = Rig::new();
    let path = rig.dir.path().join("gone/in.csv");
    let waits = Poking { mode: PokeMode::Deferrable, poke_interval_secs: 5.0, soft_fail: true, ..poking() };
    let ran = rig.run(file(&path, waits.clone())).await;
    assert_eq!((ran.end.kind, ran.end.again_after_secs), (EndKind::Rescheduled, Some(5.0)), "{}", ran.text());
    assert!(!ran.text().contains("Ended"), "it goes on: {}", ran.text());
    rig.execution_timeout_secs = Some(8.0);
    let again = |rig: &Rig| {
        let mut assignment = rig.assignment(file(&path, waits.clone()));
        assignment.poked = Some(Poked { waited_secs: 7.0, times: 1 });
        rig.attempt(assignment)
    };
    let secs = Duration::from_secs;
    let end = windlass_executor::look_again(&again(&rig), &rig.stop, secs(7)).await;
    assert!(end.kind == EndKind::Rescheduled && end.reason.starts_with("poke 2: "), "{}", end.reason);
    let end = windlass_executor::look_again(&again(&rig), &rig.stop, secs(8)).await;
    assert!(end.kind == EndKind::Skipped && end.reason.contains("execution_timeout of 8 s"), "{}", end.reason);
    rig.stop = windlass_executor::Stop::default();
    rig.stop.request(StopCause { kind: EndKind::Killed, reason: "cleared".into() });
    let end = windlass_executor::look_again(&again(&rig), &rig.stop, secs(7)).await;
    assert_eq!((end.kind, end.reason.as_str()), (EndKind::Killed, "cleared"));
}

#[tokio::test]
async fn a_relative_path_needs_something_that_it_is_below() {
    let end = Rig::new().run(file(std::path::Path::new("in.csv"), poking())).await.end;
    assert!(end.reason.contains("relative") && end.reason.contains("fs_conn_id"), "{}", end.reason);
}

fn http(server: &Server, check: Option<&str>, poking: Poking) -> Operator {
    Operator::HttpSensor(HttpSensor {
        request: HttpRequest {
            target: HttpTarget::Url(server.url("/state")),
            method: HttpMethod::Get,
            headers: BTreeMap::new(),
            payload: HttpPayload::None,
            options: HttpOptions::default(),
        },
        response_check: check.map(str::to_owned),
        response_error_codes_allowlist: vec![404],
        poking,
    })
}

#[tokio::test]
async fn an_http_sensor_waits_while_the_answer_is_404_or_its_check_does_not_hold() {
    let server = Server::new(&["404 Not Found", "200 OK\n\n{\"ready\": false}", "200 OK\n\n{\"ready\": true}"]).await;
    let ran = Rig::new().run(http(&server, Some("{{ response.json().ready }}"), poking())).await;
    assert_eq!(ran.end.kind, EndKind::Success, "{}", ran.text());
    let pokes: Vec<String> = ran.lines("sys").into_iter().filter(|line| line.starts_with("Poke")).collect();
    assert!(pokes[0].contains("answered 404 Not Found"), "{pokes:?}");
    assert!(pokes[1].contains("response_check does not hold: 200 OK: {\"ready\": false}"), "{pokes:?}");
    assert_eq!(server.asked().len(), 3);
}

#[tokio::test]
async fn another_error_fails_the_sensor_unless_it_may_not_fail() {
    let broken = ["500 Internal Server Error\n\nboom", "200 OK"];
    let run = async |poking| {
        let server = Server::new(&broken).await;
        Rig::new().run(http(&server, None, poking)).await.end
    };
    let end = run(poking()).await;
    assert_eq!(end.kind, EndKind::Failed);
    assert!(end.reason.ends_with("expected 2xx, got 500 Internal Server Error: boom"), "{}", end.reason);
    assert_eq!(run(Poking { never_fail: true, ..poking() }).await.kind, EndKind::Skipped);
    assert_eq!(run(Poking { silent_fail: true, ..poking() }).await.kind, EndKind::Success);
}

fn sql(query: &str, success: Option<&str>, failure: Option<&str>) -> SqlSensor {
    SqlSensor {
        conn_id: "pg".into(),
        sql: SqlSource::Text(query.into()),
        parameters: SqlParameters::default(),
        success: success.map(str::to_owned),
        failure: failure.map(str::to_owned),
        fail_on_empty: false,
        poking: poking(),
    }
}

#[tokio::test]
async fn a_sql_sensor_looks_at_the_first_value_of_the_first_row() {
    let mut rig = with_database().await;
    let counting = "CREATE SEQUENCE IF NOT EXISTS looks; SELECT nextval('looks'), 'x'";
    let ran = rig.run(Operator::SqlSensor(sql(counting, Some("{{ value >= 3 and row[1] == 'x' }}"), None))).await;
    assert_eq!((ran.end.kind, ran.end.reason.as_str()), (EndKind::Success, "the query gave 3"), "{}", ran.text());
    let end = rig.run(Operator::SqlSensor(sql("SELECT -1", None, Some("{{ value < 0 }}")))).await.end;
    assert_eq!((end.kind, end.reason.as_str()), (EndKind::Failed, "the query gave -1, for which failure holds"));
    let empty = SqlSensor { fail_on_empty: true, ..sql("SELECT 1 WHERE false", None, None) };
    assert_eq!(rig.run(Operator::SqlSensor(empty)).await.end.reason, "the query gave no row (fail_on_empty)");
    rig.execution_timeout_secs = Some(0.3);
    let end = rig.run(Operator::SqlSensor(sql("SELECT pg_sleep(300)", None, None))).await.end;
    assert_eq!(end.kind, EndKind::TimedOut, "{}", end.reason);
}

fn external(tasks: &[&str]) -> ExternalTaskSensor {
    ExternalTaskSensor {
        external_dag_id: DagId::new("other").unwrap(),
        external_task_ids: tasks.iter().map(|task| TaskId::new(task).unwrap()).collect(),
        execution_delta_secs: 3_600.0,
        allowed_states: vec![TaskState::Success],
        failed_states: vec![TaskState::Failed],
        skipped_states: vec![TaskState::Skipped],
        check_existence: false,
        poking: poking(),
    }
}

fn run(state: DagRunState, tasks: &[(&str, TaskState)]) -> FetchItem {
    let tasks = tasks.iter().map(|(task, state)| (TaskId::new(task).unwrap(), *state)).collect();
    FetchItem::Run(Box::new(RunView {
        run_id: RunId::new("r").unwrap(),
        state,
        dag_is_paused: false,
        tasks,
        data_interval: None,
        started_at: None,
        ended_at: None,
    }))
}

#[tokio::test]
async fn another_dags_run_is_found_by_its_date_and_judged_by_its_state() {
    let rig = Rig::new();
    let missing = FetchItem::Missing("DAG other has no run with that date".into());
    *rig.leader.runs.lock().unwrap() = vec![missing, run(DagRunState::Running, &[]), run(DagRunState::Success, &[])];
    let ran = rig.run(Operator::ExternalTaskSensor(external(&[]))).await;
    assert_eq!(ran.end.kind, EndKind::Success, "{}", ran.text());
    let asked = rig.leader.asked.lock().unwrap()[0].clone();
    let which = WhichRun::LogicalDate("2026-01-29T23:00:00Z".parse().unwrap());
    assert_eq!(asked, FetchKey::Run { dag_id: DagId::new("other").unwrap(), which, tasks: Vec::new() });
}

#[tokio::test]
async fn another_dags_tasks_decide_by_their_states() {
    let rig = Rig::new();
    let judge = async |b: TaskState| {
        *rig.leader.runs.lock().unwrap() = vec![run(DagRunState::Running, &[("a", TaskState::Success), ("b", b)])];
        let sensor = ExternalTaskSensor { poking: Poking { timeout_secs: 0.05, ..poking() }, ..external(&["a", "b"]) };
        rig.run(Operator::ExternalTaskSensor(sensor)).await.end
    };
    assert_eq!(judge(TaskState::Success).await.kind, EndKind::Success);
    assert_eq!(judge(TaskState::Skipped).await.kind, EndKind::Skipped);
    let failed = judge(TaskState::Failed).await;
    assert_eq!(failed.reason, "task b in run r of other is failed, one of failed_states");
    let waits = judge(TaskState::NoStatus).await;
    assert!(waits.reason.ends_with("task b in run r of other is no_status"), "{}", waits.reason);
}

fn date_time(target_time: &str, poking: Poking) -> Operator {
    Operator::DateTimeSensor(DateTimeSensor { target_time: target_time.to_owned(), poking })
}

#[tokio::test]
async fn a_moment_is_waited_for_to_its_end_and_not_beyond_the_timeout() {
    let rig = Rig::new();
    let of = |timeout_secs| Poking { timeout_secs, ..Poking::default() };
    let past = rig.run(date_time("{{ logical_date.add(days=1) }}", of(60.0))).await;
    assert_eq!(past.end.kind, EndKind::Success, "{}", past.text());
    let began = std::time::Instant::now();
    let soon = chrono::Utc::now() + chrono::TimeDelta::milliseconds(700);
    let ran = rig.run(date_time(&soon.to_rfc3339(), of(60.0))).await;
    assert_eq!(ran.end.kind, EndKind::Success, "{}", ran.text());
    assert!(chrono::Utc::now() >= soon && began.elapsed() < Duration::from_secs(30));
    let late = chrono::Utc::now() + chrono::TimeDelta::seconds(30);
    let ran = rig.run(date_time(&late.to_rfc3339(), of(0.2))).await;
    assert_eq!(ran.end.kind, EndKind::FailedForGood);
    assert!(ran.end.reason.contains("its timeout of 0.2 s is over"), "{}", ran.end.reason);
    let wrong = rig.run(date_time("{{ params }}", of(1.0))).await;
    assert!(wrong.end.reason.contains("is no date"), "{}", wrong.end.reason);
    // The run was due in the past.
    let keys = TimeDeltaSensor { delta_secs: 60.0, poking: of(1.0) };
    let ran = rig.run(Operator::TimeDeltaSensor(keys)).await;
    assert_eq!(ran.end.kind, EndKind::Success, "{}", ran.text());
}
