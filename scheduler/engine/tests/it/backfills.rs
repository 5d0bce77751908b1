//! Backfills: stories, what a random history must not break, and who waits for whom.

use std::{collections::BTreeMap, time::Duration};

use chrono::TimeDelta;
use dag::{Catchup, CronTimetable, Dag, DeltaTimetable, Schedule};
use model::{
    AttemptEnd, BackfillId, BackfillOrder, Command, DagId, DagRunState, EndKind, NotMade, Pool, ReprocessBehavior,
    RunId, RunKey, RunType, TaskState, Timestamp,
    command::{AnswerStatus, ClearVersion, CreateBackfill, Paused, Relatives, TriggerDagRun},
    door::Conf,
};

use crate::{
    dags::{dag, with},
    simulation::{Dice, play_some},
    world::{World, trigger},
};

fn d() -> DagId {
    DagId::new("d").unwrap()
}

fn daily() -> Schedule {
    let (timezone, timetable) = (chrono_tz::Tz::UTC, CronTimetable::CronTrigger);
    Schedule::Cron {
        expressions: vec!["0 0 * * *".to_owned()],
        timezone,
        timetable,
        ticks: dag::TickOptions::default(),
    }
}

/// A DAG of one task each day, whose schedule begins in the next year, so that it makes no runs of its own.
fn of_days() -> Dag {
    Dag { schedule: daily(), start_date: Some("2027-01-01T00:00:00Z".parse().unwrap()), ..dag("d", "work") }
}

fn wish(from: &str, to: &str) -> CreateBackfill {
    CreateBackfill {
        dag_id: d(),
        from_date: from.parse().unwrap(),
        to_date: to.parse().unwrap(),
        order: BackfillOrder::Forwards,
        reprocess_behavior: ReprocessBehavior::None,
        max_active_runs: 2,
        conf: Conf::default(),
        version: ClearVersion::Latest,
    }
}

fn november(from: u32, to: u32) -> CreateBackfill {
    wish(&format!("2026-11-{from:02}T00:00:00Z"), &format!("2026-11-{to:02}T00:00:00Z"))
}

fn create(world: &mut World, wish: CreateBackfill) -> BackfillId {
    let (status, body) = world.command(Command::CreateBackfill(wish));
    assert_eq!(status, AnswerStatus::Done, "{body}");
    BackfillId(body["backfill_id"].as_i64().unwrap())
}

fn refused(world: &mut World, wish: CreateBackfill) -> (AnswerStatus, String) {
    let (status, body) = world.command(Command::CreateBackfill(wish));
    (status, body["detail"].as_str().unwrap_or("it was done").to_owned())
}

/// The runs of the DAG in the order in which they were made: date and state.
fn runs(world: &World) -> Vec<(String, DagRunState)> {
    let named = |run: &engine::RunRow| (run.run_id.to_string(), run.state);
    world.mirror.runs.values().map(named).collect()
}

/// The dates of november that are running.
fn running(world: &World) -> Vec<String> {
    let running = world.mirror.runs.values().filter(|run| run.state == DagRunState::Running);
    running.map(|run| run.logical_date.unwrap().format("%d").to_string()).collect()
}

/// What came of each date, in order.
fn seen(world: &World, id: BackfillId) -> Vec<(String, Result<RunKey, NotMade>)> {
    let of_it = world.mirror.seen.values().filter(|row| row.backfill == id);
    of_it.map(|row| (row.logical_date.format("%d").to_string(), row.outcome)).collect()
}

fn is_over(world: &World, id: BackfillId) -> bool {
    world.mirror.backfills[&id].completed_at.is_some()
}

fn end_all(world: &mut World) {
    while !world.attempts.is_empty() {
        world.end("work", EndKind::Success);
    }
}

#[test]
fn the_runs_of_a_range_are_made_at_once_and_started_a_few_at_a_time() {
    let mut world = World::new(vec![of_days()]);
    let id = create(&mut world, CreateBackfill { conf: Conf::new(conf(7)).unwrap(), ..november(1, 5) });
    assert_eq!(runs(&world).len(), 5);
    assert_eq!(running(&world), ["01", "02"]);
    let first = world.mirror.run("backfill__2026-11-01T00:00:00+00:00").clone();
    assert_eq!((first.run_type, first.triggered_by), (RunType::Backfill, model::TriggeredBy::Backfill));
    assert_eq!((first.conf, first.triggering_user.as_deref()), (conf(7), Some("ada")));
    world.end("work", EndKind::Failed);
    assert_eq!(running(&world), ["02", "03"], "one that fails makes room, too");
    end_all(&mut world);
    assert!(is_over(&world, id));
    let row = &world.mirror.backfills[&id];
    assert_eq!((row.dates_seen, row.runs_made, row.is_planned), (5, 5, true));
}

fn conf(number: i32) -> serde_json::Map<String, serde_json::Value> {
    serde_json::Map::from_iter([("n".to_owned(), number.into())])
}

#[test]
fn backwards_the_last_date_comes_first() {
    let mut world = World::new(vec![of_days()]);
    let id = create(&mut world, CreateBackfill { order: BackfillOrder::Backwards, ..november(1, 4) });
    assert_eq!(running(&world), ["04", "03"]);
    let dates: Vec<_> = seen(&world, id).into_iter().map(|(date, _)| date).collect();
    assert_eq!(dates, ["04", "03", "02", "01"]);
    world.end("work", EndKind::Success);
    assert_eq!(running(&world), ["03", "02"]);
}

#[test]
fn what_has_not_ended_by_now_is_not_meant() {
    let mut world = World::new(vec![of_days()]);
    let id = create(&mut world, wish("2026-11-20T00:00:00Z", "2026-12-24T00:00:00Z"));
    assert_eq!(seen(&world, id).iter().map(|(date, _)| date.as_str()).collect::<Vec<_>>(), ["20", "21"]);
}

#[test]
fn a_range_without_dates_is_over_at_once() {
    let mut world = World::new(vec![of_days()]);
    let id = create(&mut world, wish("2026-11-01T01:00:00Z", "2026-11-01T02:00:00Z"));
    assert!(is_over(&world, id));
    assert_eq!(runs(&world), []);
}

/// A world in which the 1st succeeded, the 2nd failed, and the 3rd is running by hand.
fn with_runs() -> World {
    let mut world = World::new(vec![of_days()]);
    for (day, kind) in [("01", Some(EndKind::Success)), ("02", Some(EndKind::Failed)), ("03", None)] {
        let logical_date = Some(format!("2026-11-{day}T00:00:00Z").parse().unwrap());
        world.command(Command::TriggerDagRun(TriggerDagRun { logical_date, ..trigger("d", Some(&format!("m{day}"))) }));
        if let Some(kind) = kind {
            world.end("work", kind);
        }
    }
    world
}

#[test]
fn runs_that_there_are_run_again_as_far_as_they_are_meant() {
    use NotMade::{AlreadyExists, InFlight};
    let cases = [
        (ReprocessBehavior::None, [Some(AlreadyExists), Some(AlreadyExists), Some(InFlight), None]),
        (ReprocessBehavior::Failed, [Some(AlreadyExists), None, Some(InFlight), None]),
        (ReprocessBehavior::Completed, [None, None, Some(InFlight), None]),
    ];
    for (reprocess_behavior, expected) in cases {
        let mut world = with_runs();
        let id = create(&mut world, CreateBackfill { reprocess_behavior, max_active_runs: 10, ..november(1, 4) });
        let reasons: Vec<_> = seen(&world, id).into_iter().map(|(_, outcome)| outcome.err()).collect();
        assert_eq!(reasons, expected, "{reprocess_behavior}");
        for (day, reason) in ["m01", "m02"].into_iter().zip(expected) {
            let run = world.mirror.run(day);
            let (state, made_by) = match reason {
                None => (DagRunState::Running, RunType::Backfill),
                Some(_) if day == "m01" => (DagRunState::Success, RunType::Manual),
                Some(_) => (DagRunState::Failed, RunType::Manual),
            };
            assert_eq!((run.state, run.run_type), (state, made_by), "{day} {reprocess_behavior}");
        }
        end_all(&mut world);
        assert!(is_over(&world, id), "{reprocess_behavior}");
        assert!(world.mirror.runs.values().all(|run| run.state.is_finished()));
    }
}

#[test]
fn a_pause_starts_nothing_more_and_leaves_alone_what_runs() {
    let mut world = World::new(vec![of_days()]);
    let backfill = create(&mut world, november(1, 4));
    world.command(Command::PauseBackfill { dag_id: d(), backfill, to: Paused::Paused });
    world.end("work", EndKind::Success);
    assert_eq!(running(&world), ["02"]);
    assert_eq!(
        world.engine.why_run(&d(), &RunId::new("backfill__2026-11-03T00:00:00+00:00").unwrap(), world.now).unwrap().0,
        format!("the run waits because its backfill {backfill} is paused")
    );
    world.command(Command::PauseBackfill { dag_id: d(), backfill, to: Paused::Active });
    assert_eq!(running(&world), ["02", "03"]);
    end_all(&mut world);
    assert!(is_over(&world, backfill));
    let (status, body) = world.command(Command::PauseBackfill { dag_id: d(), backfill, to: Paused::Paused });
    assert_eq!((status, body["detail"].as_str()), (AnswerStatus::Conflict, Some("Backfill is already completed.")));
}

#[test]
fn a_cancel_fails_what_waits_and_lets_go_on_what_runs() {
    let mut world = World::new(vec![of_days()]);
    let backfill = create(&mut world, november(1, 4));
    world.command(Command::CancelBackfill { dag_id: d(), backfill });
    assert!(is_over(&world, backfill));
    assert!(world.mirror.backfills[&backfill].is_paused, "as Airflow leaves it");
    let states: Vec<_> = runs(&world).into_iter().map(|(_, state)| state).collect();
    use DagRunState::{Failed, Running};
    assert_eq!(states, [Running, Running, Failed, Failed]);
    let waited = world.mirror.run("backfill__2026-11-03T00:00:00+00:00");
    assert_eq!(waited.note, Some(format!("backfill {backfill} was cancelled before the run began")));
    assert_eq!(world.attempts.len(), 2);
    // The next one does not wait for what the last one left.
    let next = create(&mut world, november(10, 12));
    assert_eq!(running(&world), ["01", "02", "10", "11"]);
    end_all(&mut world);
    assert!(is_over(&world, next));
}

#[test]
fn a_run_that_is_cleared_after_its_backfill_goes_by_its_dag() {
    let mut world = World::new(vec![Dag { max_active_runs: 1, ..of_days() }]);
    let backfill = create(&mut world, november(1, 3));
    world.command(Command::CancelBackfill { dag_id: d(), backfill });
    end_all(&mut world);
    world.trigger("d", "by_hand");
    let cancelled = "backfill__2026-11-03T00:00:00+00:00";
    world.command(Command::MarkDagRun {
        dag_id: d(),
        run_id: RunId::new(cancelled).unwrap(),
        state: DagRunState::Queued,
    });
    let run = world.mirror.run(cancelled);
    assert_eq!((run.state, run.backfill), (DagRunState::Queued, None));
    world.end("work", EndKind::Success);
    assert_eq!(world.mirror.run(cancelled).state, DagRunState::Running);
}

#[test]
fn a_run_that_waits_in_a_backfill_that_is_over_goes_by_its_dag_after_a_takeover() {
    let mut world = World::new(vec![of_days()]);
    create(&mut world, november(1, 2));
    end_all(&mut world);
    // What a leader leaves that does not know of backfills.
    let run = world.mirror.runs.values_mut().next().unwrap();
    run.state = DagRunState::Queued;
    world.mirror.instances.clear();
    world.reload();
    world.join(1, 1_000);
    world.quiesce();
    assert_eq!(running(&world), ["01"]);
}

#[test]
fn a_paused_dag_keeps_the_runs_of_its_backfill_waiting() {
    let mut world = World::new(vec![of_days()]);
    world.command(Command::PauseDag { dag_id: d(), to: Paused::Paused });
    create(&mut world, november(1, 3));
    assert_eq!((runs(&world).len(), running(&world).len()), (3, 0));
    let (why, _) =
        world.engine.why_run(&d(), &RunId::new("backfill__2026-11-01T00:00:00+00:00").unwrap(), world.now).unwrap();
    assert_eq!(why, "DAG is paused");
    world.command(Command::PauseDag { dag_id: d(), to: Paused::Active });
    assert_eq!(running(&world), ["01", "02"]);
}

#[test]
fn what_makes_no_sense_is_refused_with_a_sentence() {
    let mut world = World::new(vec![of_days()]);
    let says = |status: AnswerStatus, text: &str| (status, text.to_owned());
    use AnswerStatus::{Conflict, Invalid, NotFound};
    let unknown = CreateBackfill { dag_id: DagId::new("none").unwrap(), ..november(1, 2) };
    assert_eq!(refused(&mut world, unknown), says(NotFound, "The Dag with ID: `none` was not found"));
    assert_eq!(
        refused(&mut world, wish("2026-12-01T00:00:00Z", "2026-12-03T00:00:00Z")),
        says(Invalid, "Backfill cannot be executed for future dates.")
    );
    assert!(refused(&mut world, november(3, 2)).1.contains("is after to_date"));
    assert!(refused(&mut world, CreateBackfill { max_active_runs: 0, ..november(1, 2) }).1.contains("from 1 to"));
    create(&mut world, november(1, 2));
    assert_eq!(refused(&mut world, november(5, 6)), says(Conflict, "There is already a running backfill for dag d"));
    for (schedule, text) in [
        (Schedule::Never, "d has no schedule"),
        (Schedule::Once, "d has no periodic schedule: only a cron or a duration has dates to backfill"),
    ] {
        let mut world = World::new(vec![Dag { schedule, ..of_days() }]);
        assert_eq!(refused(&mut world, november(1, 2)), says(Invalid, text));
    }
    let mut world = World::new(vec![with(of_days(), "work", |task| task.depends_on_past = true)]);
    let backwards = CreateBackfill { order: BackfillOrder::Backwards, ..november(1, 2) };
    assert!(refused(&mut world, backwards).1.starts_with("Backfill cannot be run in reverse"));
    assert!(refused(&mut world, november(1, 2)).1.starts_with("DAG has tasks for which depends_on_past=True"));
}

#[test]
fn the_first_run_of_a_backfill_depends_on_no_past_and_the_others_on_those_before() {
    let mut world = World::new(vec![with(of_days(), "work", |task| task.depends_on_past = true)]);
    let before = Some("2026-10-31T00:00:00Z".parse().unwrap());
    world.command(Command::TriggerDagRun(TriggerDagRun { logical_date: before, ..trigger("d", Some("failed")) }));
    world.end("work", EndKind::Failed);
    let again = ReprocessBehavior::Completed;
    let id = create(&mut world, CreateBackfill { reprocess_behavior: again, ..november(1, 3) });
    let first = world.mirror.run("backfill__2026-11-01T00:00:00+00:00").key;
    let second = world.mirror.run("backfill__2026-11-02T00:00:00+00:00").key;
    assert_eq!((world.state(first, "work"), world.state(second, "work")), (TaskState::Queued, TaskState::NoStatus));
    world.end("work", EndKind::Success);
    assert_eq!(world.state(second, "work"), TaskState::Queued);
    end_all(&mut world);
    assert!(is_over(&world, id));
}

#[test]
fn a_long_range_is_made_in_pieces_that_are_few_at_any_time() {
    let minutes =
        Schedule::Delta { every: Duration::from_secs(60), months: 0, timetable: DeltaTimetable::DeltaTrigger };
    let mut world = World::new(vec![Dag { schedule: minutes, ..of_days() }]);
    world.is_checked = false;
    let two_days = wish("2026-11-01T00:00:00Z", "2026-11-02T23:59:00Z");
    let id = create(&mut world, CreateBackfill { max_active_runs: 500, ..two_days });
    let mut turns = 0;
    while !is_over(&world, id) {
        let plan = world.turn(Vec::new());
        assert!(plan.new_runs.len() <= 600, "{} runs in one turn", plan.new_runs.len());
        let waiting = world.mirror.runs.values().filter(|run| run.state == DagRunState::Queued).count();
        assert!(waiting <= 1_000, "{waiting} runs wait");
        let end = |(worker, _, attempt)| {
            let end = AttemptEnd::new(EndKind::Success, "").into();
            engine::Event::AttemptEnded { worker, attempt, end }
        };
        let ends: Vec<_> = std::mem::take(&mut world.attempts).into_iter().map(end).collect();
        world.turn(ends);
        turns += 1;
        assert!(turns < 2_000, "it goes on");
    }
    assert_eq!(world.mirror.backfills[&id].runs_made, 2 * 24 * 60);
    assert_eq!(world.engine.verify(), Vec::<String>::new());
}

#[test]
fn a_dag_that_is_deleted_takes_its_backfill_along() {
    let mut world = World::new(vec![of_days()]);
    let backfill = create(&mut world, november(1, 3));
    world.command(Command::PauseDag { dag_id: d(), to: Paused::Paused });
    end_all(&mut world);
    let (status, body) = world.command(Command::DeleteDag { dag_id: d() });
    assert_eq!(status, AnswerStatus::Done, "{body}");
    assert!(world.mirror.backfills.is_empty());
    let (status, _) = world.command(Command::CancelBackfill { dag_id: d(), backfill });
    assert_eq!(status, AnswerStatus::Conflict);
}

/// One slot for everything. The schedule alone wants it all the time, and a backfill of old dates wants it too.
#[test]
fn a_backfill_and_a_schedule_that_want_the_last_slot_wait_equally_long() {
    let every = Duration::from_secs(600);
    let schedule = Schedule::Delta { every, months: 0, timetable: DeltaTimetable::DeltaTrigger };
    let start_date = Some("2026-11-21T12:00:00Z".parse().unwrap());
    let graph = Dag { schedule, start_date, catchup: Catchup::All, max_active_runs: 3, ..dag("d", "work") };
    let mut world = World::new(vec![with(graph, "work", |task| task.pool = "one".to_owned())]);
    let one = Pool {
        name: "one".to_owned(),
        slots: Some(1),
        description: String::new(),
        include_deferred: false,
        rate_limit: None,
    };
    world.command(Command::SetPool(one));
    create(&mut world, wish("2026-11-20T00:00:00Z", "2026-11-20T23:00:00Z"));
    let mut waits: BTreeMap<RunType, Vec<i64>> = BTreeMap::new();
    for _ in 0..90 {
        world.pass(600);
        let (_, key, _) = world.attempt_of("work");
        let run = world.mirror.runs[&key.run].clone();
        world.end("work", EndKind::Success);
        // One of the schedule has come when it was due, one of the backfill when it was its turn to begin.
        let came = if run.run_type == RunType::Backfill { run.started_at.unwrap() } else { run.run_after };
        waits.entry(run.run_type).or_default().push((world.now - came).num_seconds() / 600);
    }
    let (scheduled, filled) = (&waits[&RunType::Scheduled], &waits[&RunType::Backfill]);
    assert!(filled.len() >= 10 && scheduled.len() >= 50, "{waits:?}");
    let (longest, last) = (filled.iter().max().unwrap(), scheduled.iter().max().unwrap());
    assert!((longest - last).abs() <= 4, "neither passes the other for ever: {waits:?}");
}

#[test]
fn neither_counts_for_the_limit_of_the_other() {
    let start_date = Some("2026-11-15T00:00:00Z".parse().unwrap());
    let graph = Dag { start_date, catchup: Catchup::All, max_active_runs: 1, ..of_days() };
    let mut world = World::new(vec![graph]);
    world.quiesce();
    assert_eq!(running(&world), ["15"]);
    create(&mut world, november(1, 5));
    assert_eq!(running(&world), ["15", "01", "02"]);
    world.end("work", EndKind::Success);
    assert_eq!(running(&world), ["01", "02", "16"], "the schedule goes on beside it");
}

/// What the text says of a backfill, by a mind that lists all its dates at once.
struct Told {
    wish: CreateBackfill,
    dates: Vec<Timestamp>,
}

impl Told {
    fn new(wish: CreateBackfill, now: Timestamp) -> Self {
        let days = (0..60).map(|day| "2026-10-15T00:00:00Z".parse::<Timestamp>().unwrap() + TimeDelta::days(day));
        let meant = days.filter(|day| wish.from_date.get() <= *day && *day <= wish.to_date.get() && *day < now);
        let mut dates: Vec<_> = meant.collect();
        if wish.order == BackfillOrder::Backwards {
            dates.reverse();
        }
        Self { wish, dates }
    }

    /// Holds what a backfill has done against the text.
    fn check(&self, world: &World, id: BackfillId) {
        let row = &world.mirror.backfills[&id];
        let seen: Vec<_> = world.mirror.seen.values().filter(|seen| seen.backfill == id).collect();
        let expected: Vec<_> = self.dates.iter().take(seen.len()).copied().collect();
        assert_eq!(seen.iter().map(|seen| seen.logical_date).collect::<Vec<_>>(), expected);
        assert_eq!(usize::try_from(row.dates_seen).unwrap(), seen.len());
        assert_eq!(usize::try_from(row.runs_made).unwrap(), seen.iter().filter(|seen| seen.outcome.is_ok()).count());
        let active = world.mirror.runs.values().filter(|run| run.backfill.is_some_and(|place| place.id == id));
        let running = active.clone().filter(|run| run.state == DagRunState::Running).count();
        assert!(running <= self.wish.max_active_runs as usize, "{running} runs of {id} at once");
        let unfinished = active.filter(|run| !run.state.is_finished()).count();
        if row.completed_at.is_none() {
            assert!(!row.is_planned || unfinished > 0, "it is over when nothing of it is left");
        } else if !row.is_paused {
            assert_eq!((seen.len(), unfinished), (self.dates.len(), 0), "all of it is done");
        }
    }
}

fn random_wish(dice: &mut Dice, asks_past: bool) -> CreateBackfill {
    let from = u32::try_from(1 + dice.below(20)).unwrap();
    let to = from + u32::try_from(dice.below(8)).unwrap();
    let order = if !asks_past && dice.below(2) == 0 { BackfillOrder::Backwards } else { BackfillOrder::Forwards };
    let kinds = if asks_past { &ReprocessBehavior::ALL[1..] } else { ReprocessBehavior::ALL };
    let reprocess_behavior = kinds[dice.below(kinds.len())];
    let version = if dice.below(2) == 0 { ClearVersion::Latest } else { ClearVersion::Own };
    let max_active_runs = 1 + u32::try_from(dice.below(3)).unwrap();
    CreateBackfill { order, reprocess_behavior, max_active_runs, version, ..november(from, to) }
}

#[test]
fn whatever_happens_a_backfill_does_what_the_text_says() {
    // Each looks at the fresh leader after every step, which takes its time.
    play_some(100, |history| {
        let mut dice = Dice::new(history + 3_000_000);
        let asks_past = dice.below(4) == 0;
        let graph = Dag { max_active_runs: 2, ..of_days() };
        let graph = if dice.below(2) == 0 {
            Dag { start_date: Some("2026-11-15T00:00:00Z".parse().unwrap()), catchup: Catchup::All, ..graph }
        } else {
            graph
        };
        let mut world = World::new(vec![with(graph, "work", |task| task.depends_on_past = asks_past)]);
        let mut told: BTreeMap<BackfillId, Told> = BTreeMap::new();
        for _ in 0..40 {
            disturb(&mut world, &mut dice, asks_past, &mut told);
            world.quiesce();
            told.iter().for_each(|(id, told)| told.check(&world, *id));
        }
        // In a kind world everything ends.
        for backfill in told.keys().copied().collect::<Vec<_>>() {
            world.command(Command::PauseBackfill { dag_id: d(), backfill, to: Paused::Active });
        }
        for _ in 0..60 {
            let is_idle = world.mirror.runs.values().all(|run| run.state.is_finished());
            if is_idle && told.keys().all(|id| is_over(&world, *id)) {
                break;
            }
            world.command(Command::PauseDag { dag_id: d(), to: Paused::Active });
            end_all(&mut world);
            free_from_the_past(&mut world);
        }
        for (id, told) in &told {
            told.check(&world, *id);
            assert!(is_over(&world, *id), "backfill {id} ends: {:?}", world.mirror.backfills[id]);
        }
        assert!(world.mirror.runs.values().all(|run| run.state.is_finished()), "{:?}", runs(&world));
    });
}

/// A run that failed holds back what depends on it, until somebody says otherwise.
fn free_from_the_past(world: &mut World) {
    let stuck = world.mirror.runs.values().filter(|run| run.state == DagRunState::Running);
    for run_id in stuck.map(|run| run.run_id.clone()).collect::<Vec<_>>() {
        world.command(Command::MarkDagRun { dag_id: d(), run_id, state: DagRunState::Success });
    }
}

fn disturb(world: &mut World, dice: &mut Dice, asks_past: bool, told: &mut BTreeMap<BackfillId, Told>) {
    let ids: Vec<_> = world.mirror.runs.values().map(|run| run.run_id.clone()).collect();
    let any = (!ids.is_empty()).then(|| ids[dice.below(ids.len())].clone());
    let active = world.mirror.backfills.values().find(|row| row.completed_at.is_none()).map(|row| row.id);
    match (dice.below(16), active, any) {
        (0 | 1, None, _) => {
            let wish = random_wish(dice, asks_past);
            let expected = Told::new(wish.clone(), world.now);
            told.insert(create(world, wish), expected);
        }
        (2, Some(backfill), _) => {
            let to = if dice.below(2) == 0 { Paused::Paused } else { Paused::Active };
            world.command(Command::PauseBackfill { dag_id: d(), backfill, to });
        }
        (3, Some(backfill), _) if dice.below(4) == 0 => {
            world.command(Command::CancelBackfill { dag_id: d(), backfill });
        }
        (4, ..) => {
            world.reload();
            world.join(1, 1_000);
        }
        (5, ..) => {
            let to = if dice.below(2) == 0 { Paused::Paused } else { Paused::Active };
            world.command(Command::PauseDag { dag_id: d(), to });
        }
        (6, ..) => {
            let date = format!("2026-11-{:02}T00:00:00Z", 1 + dice.below(20));
            let run = format!("x{}", dice.below(1_000_000));
            let logical_date = Some(date.parse().unwrap());
            world.command(Command::TriggerDagRun(TriggerDagRun { logical_date, ..trigger("d", Some(&run)) }));
        }
        (7, _, Some(run_id)) => {
            let states = [DagRunState::Success, DagRunState::Failed, DagRunState::Queued];
            world.command(Command::MarkDagRun { dag_id: d(), run_id, state: states[dice.below(3)] });
        }
        (8, _, Some(run_id)) => drop(world.clear("d", run_id.as_str(), "work", Relatives::default())),
        (9, _, Some(run_id)) => drop(world.command(Command::DeleteDagRun { dag_id: d(), run_id })),
        (10, ..) => world.pass(i64::try_from(dice.below(40_000)).unwrap()),
        _ if !world.attempts.is_empty() => {
            let kind = if dice.below(4) == 0 { EndKind::Failed } else { EndKind::Success };
            world.end("work", kind);
        }
        _ => {}
    }
}
