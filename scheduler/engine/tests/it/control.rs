//! Who may start, and when: attempts that do not begin, runs that overlap, DAGs that drain, priorities that age, pools that limit
//! starts.

use std::time::Duration;

use chrono::TimeDelta;
use dag::{CronTimetable, Dag, Overlap, Schedule};
use engine::{AuditedRow, Event};
use model::{AttemptEnd, Command, DagId, DagRunState, EndKind, TaskState, command::Draining};

use crate::{
    dags::{dag, with},
    world::World,
};

/// A DAG of one task whose attempts have a minute to begin.
fn of_a_minute() -> Dag {
    with(dag("d", "a"), "a", |task| task.task_queued_timeout = Some(Duration::from_secs(60)))
}

#[test]
fn an_attempt_that_does_not_begin_is_given_out_anew_twice_and_then_its_task_fails() {
    let graph = with(dag("d", "a >> b"), "a", |task| {
        task.retries = 3;
        task.task_queued_timeout = Some(Duration::from_secs(60));
    });
    let mut world = World::new(vec![graph]);
    let run = world.trigger("d", "r");
    let why = world.why("d", "r", "a");
    assert!(
        why.ends_with("has not said yet that it has started; it is taken back in 1 min (task_queued_timeout)"),
        "{why}"
    );
    world.pass(59);
    assert_eq!(world.kills.len(), 0);
    for requeues in 1..=2 {
        world.pass(if requeues == 1 { 1 } else { 60 });
        let (.., attempt) = world.attempt_of("a");
        assert!(world.kills.contains(&attempt) && world.attempts.len() == 1, "its old attempt is stopped");
        let why = world.why("d", "r", "a");
        let told = format!("it is queued again ({requeues} of 2)");
        assert!(why.starts_with("it waits for its old attempt on worker-1 to end") && why.ends_with(&told), "{why}");
        world.reload();
        world.join(1, 1_000);
        world.end_with("a", AttemptEnd::new(EndKind::Killed, "it was stopped"));
        assert_eq!(world.at_work(), ["a"], "and it is queued again");
    }
    world.pass(60);
    let row = &world.mirror.instances_of(run)[0];
    assert_eq!((row.state, row.live, row.try_number.get()), (TaskState::Failed, true, 3));
    let reason =
        "worker-1 did not begin it within its task_queued_timeout of 60 s, and was queued again 2 times before";
    assert_eq!(row.extra.reason.as_deref(), Some(reason));
    world.end("a", EndKind::Killed);
    assert_eq!((world.state(run, "a"), world.state(run, "b")), (TaskState::Failed, TaskState::UpstreamFailed));
}

#[test]
fn an_attempt_that_begins_is_not_taken_back_and_costs_no_retry() {
    let mut world = World::new(vec![of_a_minute()]);
    let run = world.trigger("d", "r");
    world.pass(60);
    world.end("a", EndKind::Killed);
    let (worker, key, attempt) = world.attempt_of("a");
    assert_eq!(world.mirror.instances[&key].extra.requeues, 1);
    world.turn(vec![Event::AttemptStarted { worker, attempt, at: world.now }]);
    world.pass(100_000);
    assert_eq!((world.state(run, "a"), world.kills.len()), (TaskState::Running, 1));
    assert_eq!(world.mirror.instances[&key].extra.requeues, 0, "the next one counts from the beginning");
    world.end("a", EndKind::Success);
    assert_eq!(world.state(run, "a"), TaskState::Success);
}

#[test]
fn what_was_said_while_nobody_led_goes_before_the_time_of_what_has_not_begun() {
    let mut world = World::new(vec![of_a_minute()]);
    let run = world.trigger("d", "r");
    // Nobody leads for an hour; the task has ended meanwhile.
    world.now += TimeDelta::hours(1);
    world.reload();
    let plan = world.turn(vec![Event::Continue]);
    assert_eq!((world.state(run, "a"), plan.effects.len()), (TaskState::Queued, 0), "its worker has not been heard");
    world.join(1, 1_000);
    world.end("a", EndKind::Success);
    assert_eq!((world.state(run, "a"), world.kills.len()), (TaskState::Success, 0));
    // What comes with the turn in which its time is over counts.
    let run = world.trigger("d", "s");
    world.now += TimeDelta::minutes(1);
    world.end("a", EndKind::Success);
    assert_eq!((world.state(run, "a"), world.kills.len()), (TaskState::Success, 0));
}

#[test]
fn an_attempt_that_was_lost_before_it_began_leaves_the_count_as_it_is() {
    let mut world = World::new(vec![of_a_minute()]);
    world.trigger("d", "r");
    world.pass(60);
    world.end("a", EndKind::Killed);
    world.end("a", EndKind::Lost);
    world.pass(5);
    let (_, key, _) = world.attempt_of("a");
    assert_eq!(world.mirror.instances[&key].extra.requeues, 1, "it has not begun");
}

#[test]
fn an_attempt_that_ends_after_it_was_taken_back_changes_nothing() {
    let mut world = World::new(vec![of_a_minute()]);
    let run = world.trigger("d", "r");
    world.pass(60);
    world.end("a", EndKind::Success);
    assert_eq!((world.state(run, "a"), world.attempts.len()), (TaskState::Queued, 1), "its next attempt decides");
    world.end("a", EndKind::Success);
    assert_eq!(world.state(run, "a"), TaskState::Success);
}

/// A DAG of a run each ten minutes, the first at noon.
fn each_ten_minutes(overlap: Overlap) -> Dag {
    Dag {
        schedule: Schedule::Cron {
            expressions: vec!["*/10 * * * *".to_owned()],
            timezone: chrono_tz::Tz::UTC,
            timetable: CronTimetable::CronTrigger,
            ticks: dag::TickOptions::default(),
        },
        start_date: Some(crate::world::NOON.parse().unwrap()),
        overlap,
        ..dag("d", "a >> b")
    }
}

fn d() -> DagId {
    DagId::new("d").unwrap()
}

/// The runs of a world in their order, each with its state.
fn runs(world: &World) -> Vec<(String, DagRunState)> {
    let of = |run: &engine::RunRow| (run.run_after.format("%H:%M").to_string(), run.state);
    world.mirror.runs.values().map(of).collect()
}

fn audited(world: &World) -> Vec<&AuditedRow> {
    world.mirror.audited.iter().collect()
}

fn why_dag(world: &World) -> String {
    world.engine.why_dag(&d(), world.now).unwrap()
}

#[test]
fn a_run_that_is_due_while_another_is_active_is_not_made_and_that_is_told() {
    let mut world = World::new(vec![each_ten_minutes(Overlap::Skip)]);
    world.quiesce();
    assert_eq!(runs(&world), [("12:00".to_owned(), DagRunState::Running)]);
    world.pass(1_300);
    // 12:10 was the one that was stored as the next, and 12:20 is the newest.
    assert_eq!(runs(&world).len(), 1);
    let told = audited(&world);
    assert_eq!(told.iter().map(|row| row.action).collect::<Vec<_>>(), ["pass_over_dag_run"; 2]);
    assert_eq!(told[0].details["active_run"], "scheduled__2026-11-21T12:00:00+00:00");
    let why = why_dag(&world);
    assert!(why.ends_with("the run that was due at 2026-11-21 12:20:00 UTC was not made, because another one was active (overlap: skip)"), "{why}");
    world.reload();
    world.join(1, 1_000);
    assert_eq!(why_dag(&world), why, "a new leader knows");
    world.end("a", EndKind::Success);
    world.end("b", EndKind::Success);
    world.pass(500);
    assert_eq!(runs(&world).last(), Some(&("12:30".to_owned(), DagRunState::Running)));
    assert!(!why_dag(&world).contains("was not made"), "it is over");
}

#[test]
fn a_run_by_hand_is_in_the_way_once_it_may_start_and_not_before() {
    let mut world = World::new(vec![Dag { max_active_runs: 1, ..each_ten_minutes(Overlap::Skip) }]);
    world.quiesce();
    world.end("a", EndKind::Success);
    world.end("b", EndKind::Success);
    let later = model::command::TriggerDagRun {
        run_after: Some(model::door::Instant::new(world.now + chrono::TimeDelta::seconds(900)).unwrap()),
        ..crate::world::trigger("d", Some("later"))
    };
    world.command(Command::TriggerDagRun(later));
    world.pass(600);
    assert_eq!(runs(&world)[2], ("12:10".to_owned(), DagRunState::Running), "what waits for its date is not active");
    world.end("a", EndKind::Success);
    world.end("b", EndKind::Success);
    world.pass(600);
    assert_eq!(runs(&world).len(), 3, "the run by hand has begun at 12:15");
    assert_eq!(audited(&world).len(), 1);
}

#[test]
fn an_older_run_ends_for_the_newer_one_and_says_why() {
    let mut world = World::new(vec![Dag { max_active_runs: 1, ..each_ten_minutes(Overlap::CancelOlder) }]);
    world.quiesce();
    let (_, key, attempt) = world.attempt_of("a");
    world.pass(600);
    assert_eq!(runs(&world), [("12:00".to_owned(), DagRunState::Failed), ("12:10".to_owned(), DagRunState::Running)]);
    assert!(world.kills.contains(&attempt), "what was at work is stopped");
    let note = "cancelled because scheduled__2026-11-21T12:10:00+00:00 was due, and the DAG has overlap: cancel_older";
    assert_eq!(world.mirror.runs[&key.run].note.as_deref(), Some(note));
    let states: Vec<_> = world.states(key.run).into_iter().collect();
    assert_eq!(states, [("a".to_owned(), TaskState::Failed), ("b".to_owned(), TaskState::Skipped)]);
    let reason = world.mirror.instances[&key].extra.reason.clone().unwrap();
    assert_eq!(reason, format!("its run was {note}"));
    assert_eq!(audited(&world)[0].action, "cancel_dag_run");
    assert_eq!(world.attempts.len(), 2, "the new one begins while the old attempt ends");
    world.end("a", EndKind::Killed);
    world.end("a", EndKind::Success);
    world.end("b", EndKind::Success);
    assert_eq!(runs(&world)[1].1, DagRunState::Success);
}

#[test]
fn a_dag_that_drains_lets_running_runs_end_and_starts_none() {
    let mut world = World::new(vec![each_ten_minutes(Overlap::Queue)]);
    world.quiesce();
    let drain = |to| Command::DrainDag { dag_id: d(), to };
    world.command(drain(Draining::Draining));
    assert_eq!(
        why_dag(&world),
        "DAG drains: 1 of its runs are still running, 0 wait, and none starts until it is undrained"
    );
    let by_hand = world.trigger("d", "by_hand");
    world.pass(1_500);
    assert_eq!((runs(&world).len(), world.run_state(by_hand)), (2, DagRunState::Queued), "what is triggered waits");
    let why = world.why("d", "by_hand", "a");
    assert!(why.starts_with("DAG drains: 1 of its runs are still running, 1 wait"), "{why}");
    world.end("a", EndKind::Success);
    world.end("b", EndKind::Success);
    world.reload();
    world.join(1, 1_000);
    world.pass(10);
    let why = why_dag(&world);
    assert!(why.starts_with("DAG drains: no run of it is running any more, 1 wait"), "{why}");
    world.command(drain(Draining::Active));
    let states: Vec<_> = runs(&world).into_iter().map(|(at, state)| format!("{at} {state}")).collect();
    assert_eq!(
        states,
        ["12:00 success", "12:00 running", "12:20 running"],
        "of what was due meanwhile the newest comes"
    );
}

/// The order in which tasks of weight 1 in a run that begins at noon, and of weight 4 in runs that begin later, get the one slot.
fn order_with(aging: Option<Duration>) -> Vec<String> {
    let graph = |id: &str, weight| {
        with(dag(id, id), id, |task| {
            task.effective_weight = weight;
            task.pool = "one".to_owned();
        })
    };
    let mut world = World::new(vec![graph("busy", 9), graph("light", 1), graph("heavy", 4)]);
    world.settings.priority_aging = aging;
    world.reload();
    world.join(1, 1_000);
    let one = model::Pool {
        name: "one".to_owned(),
        slots: Some(1),
        description: String::new(),
        include_deferred: false,
        rate_limit: None,
    };
    world.command(Command::SetPool(one));
    world.trigger("busy", "busy");
    world.trigger("light", "light");
    for run in 1..=4 {
        world.pass(60);
        world.trigger("heavy", &format!("h{run}"));
    }
    let mut order = Vec::new();
    while !world.attempts.is_empty() {
        let (_, key, _) = world.attempts[0];
        order.push(world.mirror.runs[&key.run].run_id.to_string());
        let name = world.name(key);
        world.end(&name, EndKind::Success);
    }
    order
}

#[test]
fn with_priority_aging_what_has_waited_goes_before_what_is_heavier_and_newer() {
    assert_eq!(order_with(None), ["busy", "h1", "h2", "h3", "h4", "light"], "weights alone decide");
    let minute = Some(Duration::from_secs(60));
    assert_eq!(order_with(minute), ["busy", "h1", "h2", "light", "h3", "h4"], "three points are three minutes");
    assert_eq!(order_with(Some(Duration::from_secs(1))), ["busy", "light", "h1", "h2", "h3", "h4"]);
}

#[test]
fn a_pool_starts_no_more_in_any_span_than_its_rate_limit_allows_whoever_leads() {
    let mut graph = dag("d", "[a, b, c, e, f]");
    graph.tasks.iter_mut().for_each(|task| task.pool = "api".to_owned());
    let mut world = World::new(vec![graph]);
    let api = |rate_limit: &str| {
        Command::SetPool(model::Pool {
            name: "api".to_owned(),
            slots: None,
            description: String::new(),
            include_deferred: false,
            rate_limit: rate_limit.parse().ok(),
        })
    };
    world.command(api("2/1m"));
    world.trigger("d", "r");
    assert_eq!(world.at_work(), ["a", "b"]);
    world.end("a", EndKind::Success);
    assert_eq!(world.at_work(), ["b"], "that one has ended gives no start back");
    assert_eq!(
        world.why("d", "r", "c"),
        "pool api starts 2/1m at most (rate_limit): the next one in 1 min, 0 ahead of it"
    );
    world.pass(59);
    world.reload();
    world.join(1, 1_000);
    world.quiesce();
    assert_eq!(world.at_work(), ["b"], "a new leader counts on");
    assert_eq!(
        world.why("d", "r", "e"),
        "pool api starts 2/1m at most (rate_limit): the next one in 1 s, 1 ahead of it"
    );
    world.pass(1);
    assert_eq!(world.at_work(), ["b", "c", "e"]);
    world.command(api("3/1m"));
    assert_eq!(world.at_work(), ["b", "c", "e", "f"], "one more, at once");
}
