//! Whole runs with branches, sensors, retries with back-off, marks and catchup.

use std::time::Duration;

use chrono::TimeDelta;
use dag::{Catchup, CronTimetable, Dag, Schedule};
use model::{
    AttemptEnd, Command, DagId, DagRunState, EndKind, Operator, RunId, TaskId, TaskState, TriggerRule, XComValue,
    command::{AnswerStatus, ClearEffect, MarkTaskInstances, Relatives, TaskSelector},
    operator::{FileSensor, Poking, SkipReach},
};

use crate::{
    dags::{branch, dag, short_circuit, with},
    world::World,
};

fn sensor() -> Operator {
    Operator::FileSensor(FileSensor {
        filepath: "/in.csv".to_owned(),
        fs_conn_id: None,
        recursive: false,
        poking: Poking::default(),
    })
}

fn success() -> AttemptEnd {
    AttemptEnd::new(EndKind::Success, "")
}

fn xcom(value: i32) -> XComValue {
    XComValue { key: "found".to_owned(), value: value.into() }
}

#[test]
fn a_sensor_whose_time_is_over_fails_without_a_further_try_and_a_soft_one_skips_what_follows() {
    let graph = || {
        with(dag("d", "wait >> load"), "wait", |task| {
            task.operator = sensor();
            task.retries = 3;
        })
    };
    let mut world = World::new(vec![graph()]);
    let run = world.trigger("d", "r");
    world.end("wait", EndKind::FailedForGood);
    assert_eq!(world.state(run, "wait"), TaskState::Failed);
    assert_eq!(world.state(run, "load"), TaskState::UpstreamFailed);
    let soft = world.trigger("d", "soft");
    world.end("wait", EndKind::Skipped);
    assert_eq!(world.state(soft, "load"), TaskState::Skipped);
    assert_eq!(world.run_state(soft), DagRunState::Success);
}

#[test]
fn a_sensors_failed_look_is_tried_again_and_its_pool_slot_is_free_meanwhile() {
    let graph = with(dag("d", "wait"), "wait", |task| {
        task.operator = sensor();
        task.retries = 1;
        task.retry_delay = Duration::from_secs(60);
        task.pool_slots = 128;
    });
    let mut world = World::new(vec![graph, dag("other", "work")]);
    let run = world.trigger("d", "r");
    world.trigger("other", "o");
    assert_eq!(world.at_work(), ["wait"], "the sensor holds all slots of its pool while it looks");
    assert!(world.why("other", "o", "work").starts_with("pool default_pool is full"));
    world.end("wait", EndKind::Failed);
    assert_eq!(world.at_work(), ["work"]);
    assert_eq!(world.state(run, "wait"), TaskState::UpForRetry);
}

#[test]
fn a_growing_pause_is_told_and_kept() {
    let graph = with(dag("d", "a"), "a", |task| {
        task.retries = 3;
        task.retry_delay = Duration::from_secs(10);
        task.retry_exponential_backoff = Some(2.0);
        task.max_retry_delay = Some(Duration::from_secs(25));
    });
    let mut world = World::new(vec![graph]);
    let run = world.trigger("d", "r");
    let mut pauses = Vec::new();
    for _ in 0..3 {
        world.end("a", EndKind::Failed);
        let why = world.why("d", "r", "a");
        assert!(why.starts_with("retry in "), "{why}");
        let began = world.now;
        while world.attempts.is_empty() {
            world.pass(1);
        }
        pauses.push((world.now - began).num_seconds());
    }
    world.end("a", EndKind::Failed);
    assert_eq!(world.state(run, "a"), TaskState::Failed);
    let within = |at: usize, least: i64| (least..2 * least).contains(&pauses[at]);
    assert!(within(0, 10) && (20..=25).contains(&pauses[1]) && pauses[2] == 25, "{pauses:?}");
}

#[test]
fn what_an_attempt_left_is_there_although_it_failed_until_its_next_try() {
    let graph = with(dag("d", "a"), "a", |task| {
        task.retries = 1;
        task.retry_delay = Duration::ZERO;
    });
    let mut world = World::new(vec![graph]);
    world.trigger("d", "r");
    let failed = |value| AttemptEnd { xcoms: vec![xcom(value)], ..AttemptEnd::new(EndKind::Failed, "exit code 1") };
    let event = world.ended("a", failed(1));
    let plan = world.turn(vec![event]);
    assert!(plan.xcoms.is_empty(), "the next try began in the same turn");
    let event = world.ended("a", failed(2));
    let plan = world.turn(vec![event]);
    assert_eq!(plan.xcoms.iter().map(|(_, xcom)| xcom.clone()).collect::<Vec<_>>(), [xcom(2)]);
}

#[test]
fn a_cleared_task_that_a_branch_passed_over_is_passed_over_again() {
    let graph = with(dag("d", "choose >> [left, right]; left >> after; right >> after"), "choose", |task| {
        task.operator = branch();
    });
    let graph = with(graph, "after", |task| task.trigger_rule = TriggerRule::NoneFailedMinOneSuccess);
    let mut world = World::new(vec![graph]);
    let run = world.trigger("d", "r");
    world.end_with("choose", AttemptEnd { follow: Some(vec!["left".to_owned()]), ..success() });
    world.end("left", EndKind::Success);
    world.end("after", EndKind::Success);
    assert_eq!(world.run_state(run), DagRunState::Success);
    world.clear("d", "r", "right", Relatives { upstream: false, downstream: true });
    assert_eq!(world.state(run, "right"), TaskState::Skipped);
    assert_eq!(world.at_work(), ["after"]);
    world.end("after", EndKind::Success);
    // The branch itself decides anew.
    world.clear("d", "r", "choose", Relatives { upstream: false, downstream: true });
    world.end_with("choose", AttemptEnd { follow: Some(Vec::new()), ..success() });
    assert_eq!((world.state(run, "left"), world.state(run, "after")), (TaskState::Skipped, TaskState::Skipped));
    assert_eq!(world.run_state(run), DagRunState::Success);
}

#[test]
fn a_branch_that_follows_a_task_that_joins_spares_it() {
    let graph = with(dag("d", "choose >> [work, join]; work >> join"), "choose", |task| task.operator = branch());
    let graph = with(graph, "join", |task| task.trigger_rule = TriggerRule::NoneFailed);
    let mut world = World::new(vec![graph]);
    let run = world.trigger("d", "r");
    world.end_with("choose", AttemptEnd { follow: Some(vec!["work".to_owned()]), ..success() });
    assert_eq!(world.at_work(), ["work"]);
    assert_eq!(world.state(run, "join"), TaskState::NoStatus, "it is reached from what is followed");
}

#[test]
fn a_short_circuit_survives_a_new_leader() {
    let graph = with(dag("d", "ask >> work >> tidy"), "ask", |task| {
        task.operator = short_circuit(SkipReach::DirectDownstream);
    });
    let graph = with(graph, "tidy", |task| task.trigger_rule = TriggerRule::AllDone);
    let mut world = World::new(vec![graph]);
    let run = world.trigger("d", "r");
    world.end_with("ask", AttemptEnd { proceed: Some(false), ..success() });
    world.end("tidy", EndKind::Success);
    world.reload();
    world.join(1, 10);
    world.clear("d", "r", "work", Relatives::default());
    assert_eq!(world.state(run, "work"), TaskState::Skipped);
    assert_eq!(world.run_state(run), DagRunState::Success);
}

fn mark(world: &mut World, run: &str, task: &str, state: TaskState) -> AnswerStatus {
    let (status, _) = world.command(Command::MarkTaskInstances(MarkTaskInstances {
        dag_id: DagId::new("d").unwrap(),
        run_id: RunId::new(run).unwrap(),
        also: Vec::new(),
        tasks: vec![TaskSelector { task_id: TaskId::new(task).unwrap(), map_index: None }],
        relatives: Relatives::default(),
        state,
        effect: ClearEffect::Apply,
    }));
    status
}

#[test]
fn marking_a_waiting_sensor_ends_it_and_lets_the_run_go_on() {
    let graph = with(dag("d", "wait >> load"), "wait", |task| task.operator = sensor());
    let mut world = World::new(vec![graph]);
    let run = world.trigger("d", "r");
    let (_, _, attempt) = world.attempt_of("wait");
    assert_eq!(mark(&mut world, "r", "wait", TaskState::Success), AnswerStatus::Done);
    assert_eq!(world.kills, [attempt]);
    assert_eq!(world.state(run, "wait"), TaskState::Success);
    assert!(world.at_work().contains(&"load".to_owned()));
    world.end("wait", EndKind::Killed);
    assert_eq!(world.state(run, "wait"), TaskState::Success, "the end of its attempt changes nothing any more");
    assert_eq!(mark(&mut world, "r", "load", TaskState::Failed), AnswerStatus::Done);
    assert_eq!(world.run_state(run), DagRunState::Failed);
}

#[test]
fn many_missed_intervals_are_made_up_as_fast_as_runs_end_and_no_faster() {
    let (timezone, timetable) = (chrono_tz::Tz::UTC, CronTimetable::CronDataInterval);
    let schedule = Schedule::Cron {
        expressions: vec!["* * * * *".to_owned()],
        timezone,
        timetable,
        ticks: dag::TickOptions::default(),
    };
    let start_date = Some("2026-11-20T12:00:00Z".parse().unwrap());
    let graph = Dag { schedule, catchup: Catchup::All, start_date, max_active_runs: 3, ..dag("d", "work") };
    let mut world = World::new(vec![graph]);
    world.quiesce();
    assert_eq!(world.mirror.runs.len(), 3, "a day of minutes is missed; three runs may be unfinished");
    for ended in 1..=50 {
        world.end("work", EndKind::Success);
        assert_eq!(world.mirror.runs.len(), 3 + ended);
    }
    let dates: Vec<_> = world.mirror.runs.values().filter_map(|run| run.logical_date).collect();
    assert!(dates.windows(2).all(|pair| pair[1] - pair[0] == TimeDelta::minutes(1)), "none is left out");
}

#[test]
fn a_thousand_missed_intervals_take_many_turns_and_each_is_made_once() {
    let (timezone, timetable) = (chrono_tz::Tz::UTC, CronTimetable::CronTrigger);
    let schedule = Schedule::Cron {
        expressions: vec!["* * * * *".to_owned()],
        timezone,
        timetable,
        ticks: dag::TickOptions::default(),
    };
    let start_date = Some("2026-11-20T00:01:00Z".parse().unwrap());
    let mut graph = dag("d", "a >> b >> c >> d >> e >> f >> g >> h >> i >> j");
    for task in &mut graph.tasks {
        task.operator = Operator::Empty;
    }
    let graph = Dag { schedule, catchup: Catchup::All, start_date, max_active_runs: 10_000, ..graph };
    let mut world = World::new(Vec::new());
    world.store_version(1, graph);
    world.quiesce();
    assert_eq!(world.mirror.runs.len(), 36 * 60, "a day and a half of minutes");
    assert!(world.mirror.runs.values().all(|run| run.state == DagRunState::Success));
}
