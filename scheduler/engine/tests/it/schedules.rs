//! Runs that schedules make.

use chrono::TimeDelta;
use dag::{Catchup, CronTimetable, Dag, Schedule};
use model::{EndKind, Timestamp};

use crate::{
    dags::dag,
    world::{NOON, World},
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
    Schedule::Cron { expressions: vec!["0 * * * *".to_owned()], timezone, timetable, ticks: dag::TickOptions::default() }
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
