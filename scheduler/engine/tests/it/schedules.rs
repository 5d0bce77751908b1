//! Runs that schedules make.

use chrono::TimeDelta;
use dag::{Catchup, CronTimetable, Dag, Schedule, Task, TaskPos};
use model::{
    Command, DagRunState, EndKind, Operator, RunType, TaskState, Timestamp, TriggerRule,
    command::{AnswerStatus, Relatives, TriggerDagRun},
};

use crate::{
    dags::{dag, dag_of, task, with},
    world::{NOON, World, trigger},
};

fn scheduled(schedule: Schedule, catchup: Catchup) -> World {
    let start_date = Some("2026-11-21T09:30:00Z".parse().unwrap());
    let mut world = World::new(vec![Dag { schedule, catchup, start_date, ..dag("d", "work") }]);
    world.quiesce();
    world
}

/// Where each run's interval begins and ends, in minutes from noon.
fn intervals(world: &World) -> Vec<(i64, i64)> {
    let noon: Timestamp = NOON.parse().unwrap();
    let minutes = |at: Timestamp| (at - noon).num_minutes();
    let all = world.mirror.runs.values().filter_map(|run| run.data_interval);
    all.map(|(start, end)| (minutes(start), minutes(end))).collect()
}

fn hourly() -> Schedule {
    let (timezone, timetable) = (chrono_tz::Tz::UTC, CronTimetable::CronDataInterval);
    Schedule::Cron {
        expressions: vec!["0 * * * *".to_owned()],
        timezone,
        timetable,
        ticks: dag::TickOptions::default(),
    }
}

#[test]
fn continuous_runs_cover_all_the_time_one_after_the_other() {
    let mut world = scheduled(Schedule::Continuous, Catchup::Latest);
    for _ in 0..3 {
        world.now += TimeDelta::minutes(7);
        world.end("work", EndKind::Success);
    }
    assert_eq!(intervals(&world), [(-150, 0), (0, 7), (7, 14), (14, 21)]);
}

#[test]
fn after_an_outage_the_stored_run_comes_first_and_then_the_newest() {
    let mut world = scheduled(hourly(), Catchup::Latest);
    assert_eq!(intervals(&world), [(-60, 0)]);
    world.pass(5 * 3_600);
    assert_eq!(intervals(&world), [(-60, 0), (0, 60), (240, 300)]);
}

#[test]
fn with_catchup_every_missed_run_is_made() {
    let mut world = scheduled(hourly(), Catchup::All);
    assert_eq!(intervals(&world), [(-120, -60), (-60, 0)]);
    world.pass(2 * 3_600);
    assert_eq!(intervals(&world), [(-120, -60), (-60, 0), (0, 60), (60, 120)]);
}

/// The tasks of each run by its date's day, and how they have ended.
fn by_day(world: &World) -> Vec<(String, std::collections::BTreeMap<String, TaskState>)> {
    let runs = world.mirror.runs.values();
    runs.map(|run| (run.logical_date.unwrap().format("%d").to_string(), world.states(run.key))).collect()
}

fn daily_from(start: &str, graph: Dag) -> World {
    let (timezone, timetable) = (chrono_tz::Tz::UTC, CronTimetable::CronDataInterval);
    let expressions = vec!["0 0 * * *".to_owned()];
    let schedule = Schedule::Cron { expressions, timezone, timetable, ticks: dag::TickOptions::default() };
    let start_date = start.parse().ok();
    let mut world = World::new(vec![Dag { schedule, catchup: Catchup::All, start_date, ..graph }]);
    world.quiesce();
    while let Some(task) = world.at_work().first().cloned() {
        world.end(&task, EndKind::Success);
    }
    world
}

#[test]
fn latest_only_passes_over_what_follows_it_in_all_but_the_newest_interval() {
    let graph = with(dag("d", "latest >> [one, two]; other >> two"), "latest", |task| {
        task.operator = Operator::LatestOnly;
    });
    let graph = with(graph, "two", |task| task.trigger_rule = TriggerRule::NoneFailed);
    let mut world = daily_from("2026-11-18T00:00:00Z", graph);
    let of = |states: &std::collections::BTreeMap<String, TaskState>| (states["one"], states["two"]);
    let days: Vec<_> = by_day(&world).iter().map(|(day, states)| (day.clone(), of(states))).collect();
    let old = (TaskState::Skipped, TaskState::Skipped);
    let newest = (TaskState::Success, TaskState::Success);
    assert_eq!(days, [("18".to_owned(), old), ("19".to_owned(), old), ("20".to_owned(), newest)]);
    // What was passed over is again when it is cleared alone, and the task decides anew when it is cleared itself.
    let run = world.mirror.runs.values().next().unwrap().clone();
    world.clear("d", run.run_id.as_str(), "one", Relatives::default());
    assert_eq!(world.state(run.key, "one"), TaskState::Skipped);
    let by_hand = world.trigger("d", "by_hand");
    assert_eq!(world.at_work(), ["one", "other"], "one that somebody has started is never old");
    assert_eq!(world.state(by_hand, "latest"), TaskState::Success);
}

#[test]
fn a_run_of_a_date_that_a_tasks_own_dates_leave_out_does_without_it() {
    let graph = with(dag("d", "a >> late >> b"), "late", |task| task.start_date = "2026-11-19T00:00:00Z".parse().ok());
    let graph = with(graph, "a", |task| task.end_date = "2026-11-19T00:00:00Z".parse().ok());
    let graph = with(graph, "late", |task| task.depends_on_past = true);
    let world = daily_from("2026-11-18T00:00:00Z", graph);
    let of = |states: &std::collections::BTreeMap<String, TaskState>| (states["a"], states["late"], states["b"]);
    let days: Vec<_> = by_day(&world).iter().map(|(_, states)| of(states)).collect();
    let (yes, no) = (TaskState::Success, TaskState::Removed);
    assert_eq!(days, [(yes, no, yes), (yes, yes, yes), (no, yes, yes)], "and what it never was in is no past of it");
    assert!(world.mirror.runs.values().all(|run| run.state == DagRunState::Success));
}

#[test]
fn no_rule_counts_what_its_own_dates_leave_out() {
    let later = Some("2027-01-01T00:00:00Z".parse().unwrap());
    for rule in TriggerRule::ALL.iter().copied() {
        let after = Task { upstream: vec![TaskPos(0)], trigger_rule: rule, ..task("after") };
        let graph = dag_of("d", vec![Task { start_date: later, ..task("new") }, after]);
        let mut world = World::new(vec![graph]);
        let logical_date = "2026-11-20T00:00:00Z".parse().ok();
        world.command(Command::TriggerDagRun(TriggerDagRun { logical_date, ..trigger("d", Some("r")) }));
        let run = world.mirror.run("r").key;
        world.end("after", EndKind::Success);
        assert_eq!(world.run_state(run), DagRunState::Success, "{rule:?}");
    }
}

#[test]
fn without_dates_of_its_own_a_dag_begins_with_its_first_task() {
    let graph = with(dag("d", "a; b"), "a", |task| task.start_date = "2026-11-19T00:00:00Z".parse().ok());
    let graph = with(graph, "b", |task| task.start_date = "2026-11-20T00:00:00Z".parse().ok());
    let world = daily_from("", graph);
    assert_eq!(by_day(&world).iter().map(|(day, _)| day.as_str()).collect::<Vec<_>>(), ["19", "20"]);
}

#[test]
fn months_lie_between_the_runs_of_a_duration() {
    let timetable = dag::DeltaTimetable::DeltaTrigger;
    let monthly = Schedule::Delta { every: std::time::Duration::ZERO, months: 1, timetable };
    let start_date = "2026-08-31T00:00:00Z".parse().ok();
    let graph = Dag { schedule: monthly, catchup: Catchup::All, start_date, max_active_runs: 16, ..dag("d", "work") };
    let mut world = World::new(vec![graph]);
    world.quiesce();
    let days = world.mirror.runs.values().map(|run| run.logical_date.unwrap().format("%m-%d").to_string());
    assert_eq!(days.collect::<Vec<_>>(), ["08-31", "09-30", "10-30"]);
}

#[test]
fn a_dag_has_runs_of_the_types_that_it_allows_alone() {
    let only = |types: &[RunType]| {
        let graph = Dag { allowed_run_types: Some(types.to_vec()), ..dag("d", "work") };
        daily_from("2026-11-18T00:00:00Z", graph)
    };
    let by_hand = |world: &mut World| world.command(Command::TriggerDagRun(trigger("d", Some("r"))));
    let mut manual = only(&[RunType::Manual]);
    assert!(manual.mirror.runs.is_empty(), "the schedule makes none");
    assert_eq!(by_hand(&mut manual).0, AnswerStatus::Done);
    let mut scheduled = only(&[RunType::Scheduled]);
    assert_eq!(scheduled.mirror.runs.len(), 3);
    let (status, body) = by_hand(&mut scheduled);
    assert_eq!(status, AnswerStatus::Invalid);
    assert_eq!(body["detail"], "Dag with dag_id: 'd' does not allow manual runs", "{body}");
}
