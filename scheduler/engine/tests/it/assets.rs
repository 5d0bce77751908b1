//! Assets: what makes an event, who hears of it, which runs come of it, and what a random history must not break.

use std::collections::{BTreeMap, BTreeSet};

use dag::{AliasRef, AssetCondition, AssetRef, Dag, Outlet, Schedule};
use engine::Event;
use model::{
    AssetKey, AssetNews, AttemptEnd, Command, CommandId, DagId, DagRunState, EndKind, RunId, RunType, Timestamp,
    TriggeredBy,
    command::{AnswerStatus, CreateAssetEvent, DeleteQueuedAssetEvents, Paused, Relatives},
    door::Conf,
};
use serde_json::json;

use crate::{
    dags::{dag, with},
    simulation::{Dice, play_some},
    world::{World, trigger},
};

fn asset(word: &str) -> AssetRef {
    AssetRef { name: word.to_owned(), uri: None, group: None, extra: None }
}

fn key(word: &str) -> AssetKey {
    AssetKey::of(word, word).unwrap()
}

fn alias(name: &str) -> AliasRef {
    AliasRef { alias: name.to_owned(), group: None }
}

fn on(word: &str) -> AssetCondition {
    AssetCondition::Asset(asset(word))
}

fn all(words: &[&str]) -> AssetCondition {
    AssetCondition::All(words.iter().map(|word| on(word)).collect())
}

fn any(words: &[&str]) -> AssetCondition {
    AssetCondition::Any(words.iter().map(|word| on(word)).collect())
}

/// A DAG whose one task writes these assets.
fn producer(id: &str, outlets: &[&str]) -> Dag {
    with(dag(id, "write"), "write", |task| {
        task.outlets = outlets.iter().map(|word| Outlet::Asset(asset(word))).collect()
    })
}

/// A DAG that waits for assets.
fn consumer(id: &str, condition: AssetCondition) -> Dag {
    Dag { assets: Some(condition), ..dag(id, "read") }
}

fn dag_id(id: &str) -> DagId {
    DagId::new(id).unwrap()
}

/// The runs that a DAG has by its assets, oldest first, with what each has taken up.
fn runs_of(world: &World, id: &str) -> Vec<Vec<(String, i64, i64)>> {
    let by_assets = |run: &&engine::RunRow| run.dag_id == dag_id(id) && run.run_type == RunType::AssetTriggered;
    let taken = |run: &engine::RunRow| {
        let rows = world.mirror.assets.consumed.iter().filter(|row| row.run == run.key);
        rows.map(|row| (row.asset.name.to_string(), row.first_event, row.last_event)).collect()
    };
    world.mirror.runs.values().filter(by_assets).map(taken).collect()
}

fn one(word: &str, first: i64, last: i64) -> (String, i64, i64) {
    (word.to_owned(), first, last)
}

/// A run of a producer that succeeds.
fn produce(world: &mut World, id: &str, run: &str) {
    world.trigger(id, run);
    world.end("write", EndKind::Success);
}

fn say(world: &mut World, word: &str) -> i64 {
    let wish = CreateAssetEvent { asset: key(word), extra: Conf::default() };
    let (status, body) = world.command(Command::CreateAssetEvent(wish));
    assert_eq!(status, AnswerStatus::Done, "{body}");
    body["asset_event_id"].as_i64().unwrap()
}

fn pause(world: &mut World, id: &str, to: Paused) {
    world.command(Command::PauseDag { dag_id: dag_id(id), to });
}

#[test]
fn a_success_makes_an_event_of_each_outlet_and_a_run_of_who_waits() {
    let mut world = World::new(vec![producer("p", &["a", "b"]), consumer("c", on("a"))]);
    world.trigger("p", "r1");
    world.pass(60);
    world.end("write", EndKind::Success);
    let events = &world.mirror.assets.events;
    assert_eq!(events.iter().map(|event| event.asset.clone()).collect::<Vec<_>>(), [key("a"), key("b")]);
    let source = events[0].source.clone().unwrap();
    assert_eq!((source.dag_id.as_str(), source.run_id.as_str(), source.task_id.as_str()), ("p", "r1", "write"));
    assert_eq!(runs_of(&world, "c"), [vec![one("a", 1, 1)]]);
    let run = world.mirror.runs.values().find(|run| run.dag_id == dag_id("c")).unwrap();
    assert_eq!((run.logical_date, run.data_interval, run.triggered_by), (None, None, TriggeredBy::Asset));
    assert_eq!(run.run_after, world.now, "it stands for the event's instant");
    assert!(run.run_id.as_str().starts_with("asset_triggered__2026-11-21T12:01:00+00:00_"), "{}", run.run_id);
    assert!(world.mirror.assets.queue.is_empty());
    assert_eq!(world.at_work(), ["read"]);
}

#[test]
fn what_does_not_succeed_makes_no_event_and_what_runs_again_makes_one_again() {
    let mut world = World::new(vec![producer("p", &["a"])]);
    for (run, kind) in [("r1", EndKind::Failed), ("r2", EndKind::Skipped), ("r3", EndKind::FailedForGood)] {
        world.trigger("p", run);
        world.end("write", kind);
    }
    world.trigger("p", "r4");
    world.command(Command::MarkDagRun {
        dag_id: dag_id("p"),
        run_id: RunId::new("r4").unwrap(),
        state: DagRunState::Success,
    });
    // Its attempt ends all the same.
    world.end("write", EndKind::Success);
    assert_eq!(world.mirror.assets.events, [], "failed, skipped and marked by hand say nothing");
    produce(&mut world, "p", "r5");
    world.clear("p", "r5", "write", Relatives::default());
    world.end("write", EndKind::Success);
    assert_eq!(world.mirror.assets.events.len(), 2);
}

#[test]
fn a_task_without_work_makes_its_events_too() {
    let empty = with(producer("p", &["a"]), "write", |task| task.operator = model::Operator::Empty);
    let mut world = World::new(vec![empty, consumer("c", on("a"))]);
    world.trigger("p", "r1");
    world.quiesce();
    assert_eq!(runs_of(&world, "c").len(), 1);
}

#[test]
fn all_waits_for_the_last_one_and_takes_every_event_along() {
    let mut world = World::new(vec![producer("p", &["a"]), producer("q", &["b"]), consumer("c", all(&["a", "b"]))]);
    produce(&mut world, "p", "r1");
    produce(&mut world, "p", "r2");
    assert!(runs_of(&world, "c").is_empty());
    assert_eq!(
        world.engine.why_dag(&dag_id("c"), world.now).unwrap(),
        "it waits for the assets b to change; a has already"
    );
    produce(&mut world, "q", "r3");
    assert_eq!(runs_of(&world, "c"), [vec![one("a", 1, 2), one("b", 3, 3)]], "two of one asset are one run");
    produce(&mut world, "q", "r4");
    assert_eq!(runs_of(&world, "c").len(), 1, "what a run has taken up does not count again");
}

#[test]
fn conditions_nest() {
    let nested = AssetCondition::Any(vec![all(&["a", "b"]), on("z")]);
    let mut world = World::new(vec![consumer("c", nested)]);
    assert_eq!(
        world.engine.why_dag(&dag_id("c"), world.now).unwrap(),
        "it waits for the assets (a and b) or z to change"
    );
    say(&mut world, "a");
    assert!(runs_of(&world, "c").is_empty());
    say(&mut world, "z");
    assert_eq!(runs_of(&world, "c"), [vec![one("a", 1, 1), one("z", 2, 2)]]);
    say(&mut world, "b");
    say(&mut world, "a");
    assert_eq!(runs_of(&world, "c").len(), 2);
}

#[test]
fn a_paused_dag_collects_nothing_and_keeps_what_it_had() {
    let mut world = World::new(vec![consumer("c", all(&["a", "b"]))]);
    say(&mut world, "a");
    pause(&mut world, "c", Paused::Paused);
    say(&mut world, "b");
    pause(&mut world, "c", Paused::Active);
    assert!(runs_of(&world, "c").is_empty(), "b came while it was paused");
    say(&mut world, "b");
    assert_eq!(runs_of(&world, "c"), [vec![one("a", 1, 1), one("b", 3, 3)]]);
    let mut world = World::new(vec![Dag { max_active_runs: 1, ..consumer("c", on("a")) }]);
    say(&mut world, "a");
    say(&mut world, "a");
    pause(&mut world, "c", Paused::Paused);
    world.end("read", EndKind::Success);
    assert_eq!(runs_of(&world, "c").len(), 1);
    pause(&mut world, "c", Paused::Active);
    assert_eq!(runs_of(&world, "c").len(), 2, "the condition held before the pause");
}

#[test]
fn a_dag_that_no_file_defines_collects_nothing() {
    let mut world = World::new(vec![consumer("c", on("a"))]);
    world.turn(vec![Event::DagGone(dag_id("c"))]);
    say(&mut world, "a");
    assert!(world.mirror.assets.queue.is_empty() && runs_of(&world, "c").is_empty());
    assert_eq!(world.mirror.assets.events.len(), 1, "the event is there all the same");
}

#[test]
fn at_its_limit_a_dag_collects_into_the_next_run() {
    let mut world = World::new(vec![Dag { max_active_runs: 1, ..consumer("c", on("a")) }]);
    for _ in 0..4 {
        say(&mut world, "a");
    }
    assert_eq!(runs_of(&world, "c"), [vec![one("a", 1, 1)]]);
    let why = world.engine.why_dag(&dag_id("c"), world.now).unwrap();
    assert!(
        why.starts_with("its assets have changed, and the run for them waits because max_active_runs (1)"),
        "{why}"
    );
    world.reload();
    world.join(1, 1_000);
    world.end("read", EndKind::Success);
    assert_eq!(runs_of(&world, "c"), [vec![one("a", 1, 1)], vec![one("a", 2, 4)]]);
}

#[test]
fn what_a_task_says_is_told_along_and_an_alias_becomes_an_asset() {
    let writes = with(dag("p", "write"), "write", |task| {
        task.outlets = vec![Outlet::Asset(asset("a")), Outlet::Alias(alias("daily"))];
    });
    let by_alias = AssetCondition::Alias(alias("daily"));
    let mut world = World::new(vec![writes, consumer("c", by_alias), consumer("u", on("s3://b/1"))]);
    world.trigger("p", "r1");
    let said = |text: serde_json::Value| serde_json::from_value::<AssetNews>(text).unwrap();
    let assets = vec![
        said(json!({ "uri": "a", "extra": { "rows": 7 } })),
        said(json!({ "alias": "daily", "uri": "s3://b/1", "name": "one", "extra": { "n": 1 } })),
        said(json!({ "alias": "unknown", "uri": "s3://b/2" })),
        said(json!({ "uri": "nobody declares this" })),
    ];
    world.end_with("write", AttemptEnd { assets, ..AttemptEnd::new(EndKind::Success, "") });
    let events = &world.mirror.assets.events;
    assert_eq!(events.len(), 2);
    assert_eq!((&events[0].asset, &events[0].extra["rows"]), (&key("a"), &json!(7)));
    assert_eq!(events[1].asset, AssetKey::of("one", "s3://b/1").unwrap());
    assert_eq!(events[1].aliases, BTreeSet::from(["daily".to_owned()]));
    assert_eq!(runs_of(&world, "c").len(), 1, "the alias has changed");
    assert_eq!(runs_of(&world, "u").len(), 1, "a uri means the asset, whatever its name");
}

#[test]
fn a_task_that_says_nothing_of_its_alias_changes_no_asset() {
    let writes = with(dag("p", "write"), "write", |task| task.outlets = vec![Outlet::Alias(alias("daily"))]);
    let mut world = World::new(vec![writes]);
    produce(&mut world, "p", "r1");
    assert_eq!(world.mirror.assets.events, []);
}

#[test]
fn a_new_version_forgets_what_it_does_not_wait_for() {
    let mut world = World::new(vec![consumer("c", all(&["a", "b"]))]);
    say(&mut world, "a");
    world.store_version(7, consumer("c", all(&["b", "z"])));
    world.quiesce();
    assert!(world.mirror.assets.queue.is_empty(), "nobody waits for a any more");
    say(&mut world, "b");
    world.store_version(8, consumer("c", any(&["b", "z"])));
    world.quiesce();
    assert_eq!(runs_of(&world, "c"), [vec![one("b", 2, 2)]], "what has changed is enough for the new condition");
}

#[test]
fn time_and_assets_go_side_by_side() {
    let hourly = Schedule::Cron {
        expressions: vec!["0 * * * *".to_owned()],
        timezone: chrono_tz::Tz::UTC,
        timetable: dag::CronTimetable::CronTrigger,
        ticks: dag::TickOptions::default(),
    };
    let mut world = World::new(vec![Dag { schedule: hourly, ..consumer("c", on("a")) }]);
    world.quiesce();
    let scheduled = |world: &World| world.mirror.runs.values().filter(|run| run.run_type == RunType::Scheduled).count();
    let before = scheduled(&world);
    say(&mut world, "a");
    assert_eq!(runs_of(&world, "c").len(), 1);
    world.pass(3_600);
    assert_eq!(scheduled(&world), before + 1);
    let why = world.engine.why_dag(&dag_id("c"), world.now).unwrap();
    assert!(
        why.starts_with("the next run is due in") && why.ends_with("; it waits for the assets a to change"),
        "{why}"
    );
}

#[test]
fn queued_events_are_forgotten_by_dag_by_asset_and_by_age() {
    let mut world = World::new(vec![consumer("c", all(&["a", "b", "z"])), consumer("e", all(&["a", "z"]))]);
    say(&mut world, "a");
    world.pass(10);
    say(&mut world, "b");
    let delete = |world: &mut World, dag: Option<&str>, asset: Option<&str>, before: Option<Timestamp>| {
        let before = before.map(|at| model::door::Instant::new(at).unwrap());
        let wish = DeleteQueuedAssetEvents { dag_id: dag.map(dag_id), asset: asset.map(key), before };
        let (status, body) = world.command(Command::DeleteQueuedAssetEvents(wish));
        (status, body["deleted"].as_u64())
    };
    let then = world.now;
    assert_eq!(delete(&mut world, Some("c"), None, Some(then)), (AnswerStatus::Done, Some(1)), "a is older");
    assert_eq!(delete(&mut world, None, Some("a"), None), (AnswerStatus::Done, Some(1)), "e has one, c none");
    assert_eq!(delete(&mut world, Some("c"), Some("a"), None), (AnswerStatus::Done, Some(0)));
    assert_eq!(delete(&mut world, Some("c"), None, None), (AnswerStatus::Done, Some(1)));
    assert!(world.mirror.assets.queue.is_empty());
    assert_eq!(delete(&mut world, Some("nobody"), None, None).0, AnswerStatus::NotFound);
    assert_eq!(delete(&mut world, None, None, None).0, AnswerStatus::Invalid);
}

#[test]
fn a_dag_that_is_deleted_waits_for_nothing() {
    let mut world = World::new(vec![consumer("c", all(&["a", "b"]))]);
    say(&mut world, "a");
    assert_eq!(world.command(Command::DeleteDag { dag_id: dag_id("c") }).0, AnswerStatus::Done);
    assert!(world.mirror.assets.queue.is_empty());
    say(&mut world, "b");
    assert!(runs_of(&world, "c").is_empty());
    world.turn(vec![Event::DagGone(dag_id("c"))]);
    assert_eq!(world.command(Command::DeleteDag { dag_id: dag_id("c") }).0, AnswerStatus::Done);
    say(&mut world, "a");
    assert!(world.mirror.assets.queue.is_empty());
}

#[test]
fn how_many_events_a_turn_takes_changes_no_run() {
    let dags = || vec![Dag { max_active_runs: 2, ..consumer("c", any(&["a", "b"])) }, consumer("e", all(&["a", "b"]))];
    let said = |number: usize| Event::Command {
        id: CommandId(i64::try_from(number).unwrap() + 100),
        by: "ada".to_owned(),
        command: Command::CreateAssetEvent(CreateAssetEvent {
            asset: key(["a", "b", "a"][number % 3]),
            extra: Conf::default(),
        }),
    };
    let mut together = World::new(dags());
    together.turn((0..7).map(said).collect());
    together.quiesce();
    let mut alone = World::new(dags());
    for number in 0..7 {
        alone.turn(vec![said(number)]);
        alone.quiesce();
    }
    for dag in ["c", "e"] {
        assert_eq!(runs_of(&together, dag), runs_of(&alone, dag), "{dag}");
    }
}

/// What a naive mind believes: for each event, the DAGs that were there to hear of it.
#[derive(Debug, Default)]
struct Heard(BTreeMap<i64, BTreeSet<DagId>>);

impl Heard {
    /// New events since the last look, heard by the DAGs that were listening before the step.
    fn look(&mut self, world: &World, listening: &[(DagId, Vec<AssetKey>)]) {
        for event in &world.mirror.assets.events {
            let hears = |(dag, assets): &(DagId, Vec<AssetKey>)| assets.contains(&event.asset).then(|| dag.clone());
            self.0.entry(event.id).or_insert_with(|| listening.iter().filter_map(hears).collect());
        }
    }

    /// Each event that was heard is in one run or in the queue of who heard it, and nowhere twice.
    fn check(&self, world: &World, forgotten: &BTreeSet<(DagId, i64)>) {
        let tables = &world.mirror.assets;
        for event in &tables.events {
            let spans = |dag: &DagId, asset: &AssetKey, first: i64, last: i64, of: &DagId| {
                dag == of && *asset == event.asset && (first..=last).contains(&event.id)
            };
            for dag in &self.0[&event.id] {
                let taken = tables.consumed.iter();
                let taken = taken.filter(|r| spans(&r.dag_id, &r.asset, r.first_event, r.last_event, dag)).count();
                let queued = tables.queue.values();
                let queued = queued
                    .filter(|r| spans(&r.dag_id, &r.asset, r.changes.first_event, r.changes.last_event, dag))
                    .count();
                let gone = usize::from(forgotten.contains(&(dag.clone(), event.id)));
                assert_eq!(taken + queued + gone, 1, "event {} for {dag}", event.id);
            }
        }
    }
}

fn random_condition(dice: &mut Dice, depth: usize) -> AssetCondition {
    match dice.below(if depth == 0 { 1 } else { 3 }) {
        0 => on(["a", "b", "z"][dice.below(3)]),
        1 => AssetCondition::All((0..2).map(|_| random_condition(dice, depth - 1)).collect()),
        _ => AssetCondition::Any((0..2).map(|_| random_condition(dice, depth - 1)).collect()),
    }
}

/// Whether a run's events, or a queue's, are enough for a condition.
fn suffices(condition: &AssetCondition, assets: &[AssetKey]) -> bool {
    match condition {
        AssetCondition::All(parts) => parts.iter().all(|part| suffices(part, assets)),
        AssetCondition::Any(parts) => parts.iter().any(|part| suffices(part, assets)),
        AssetCondition::Asset(named) => assets.contains(&key(&named.name)),
        AssetCondition::Alias(_) => false,
    }
}

fn names_of(condition: &AssetCondition) -> Vec<AssetKey> {
    match condition {
        AssetCondition::All(parts) | AssetCondition::Any(parts) => parts.iter().flat_map(names_of).collect(),
        AssetCondition::Asset(named) => vec![key(&named.name)],
        AssetCondition::Alias(_) => Vec::new(),
    }
}

#[test]
fn whatever_happens_each_event_is_taken_up_once_and_each_condition_that_holds_makes_one_run() {
    // Each looks at the fresh leader after every step, which takes its time.
    play_some(40, |history| {
        let mut dice = Dice::new(history + 9_000_000);
        let conditions: BTreeMap<DagId, AssetCondition> =
            ["c", "e", "f"].map(|id| (dag_id(id), random_condition(&mut dice, 2))).into();
        let mut dags: Vec<Dag> = vec![producer("p", &["a", "b"]), producer("q", &["z"])];
        for (id, condition) in &conditions {
            let max_active_runs = 1 + u32::try_from(dice.below(3)).unwrap();
            dags.push(Dag { max_active_runs, ..consumer(id.as_str(), condition.clone()) });
        }
        let mut world = World::new(dags);
        let (mut heard, mut forgotten, mut runs) = (Heard::default(), BTreeSet::new(), 0);
        for step in 0..40 {
            let listening = listening(&world, &conditions);
            disturb(&mut world, &mut dice, step, &mut forgotten);
            world.quiesce();
            heard.look(&world, &listening);
            heard.check(&world, &forgotten);
            check_runs(&world, &conditions, &mut runs);
        }
        // In a kind world nothing that could run waits.
        for id in conditions.keys() {
            pause(&mut world, id.as_str(), Paused::Active);
        }
        for _ in 0..200 {
            if world.attempts.is_empty() {
                break;
            }
            let task = world.at_work().remove(0);
            let listening = self::listening(&world, &conditions);
            world.end(&task, EndKind::Success);
            heard.look(&world, &listening);
        }
        heard.check(&world, &forgotten);
        check_runs(&world, &conditions, &mut runs);
        for (id, condition) in &conditions {
            assert!(!suffices(condition, &queued(&world, id)), "{id} has a run to make");
        }
    });
}

fn queued(world: &World, id: &DagId) -> Vec<AssetKey> {
    world.mirror.assets.queue.keys().filter(|(dag, _)| dag == id).map(|(_, asset)| asset.clone()).collect()
}

fn listening(world: &World, conditions: &BTreeMap<DagId, AssetCondition>) -> Vec<(DagId, Vec<AssetKey>)> {
    let is_there = |id: &DagId| !world.mirror.dags[id].is_paused;
    conditions.iter().filter(|(id, _)| is_there(id)).map(|(id, of)| (id.clone(), names_of(of))).collect()
}

/// Every run's events are enough for its DAG's condition; a queue that is enough belongs to a DAG that may not run.
fn check_runs(world: &World, conditions: &BTreeMap<DagId, AssetCondition>, seen: &mut usize) {
    let tables = &world.mirror.assets;
    let mut by_run: BTreeMap<_, Vec<AssetKey>> = BTreeMap::new();
    for row in &tables.consumed {
        by_run.entry((row.dag_id.clone(), row.run)).or_default().push(row.asset.clone());
    }
    for ((dag, run), assets) in &by_run {
        assert!(suffices(&conditions[dag], assets), "run {run} of {dag} was made too early, by {assets:?}");
    }
    assert!(by_run.len() >= *seen, "what runs have taken up is kept");
    *seen = by_run.len();
    for (id, condition) in conditions {
        let active = world.mirror.runs.values().filter(|run| run.dag_id == *id && !run.state.is_finished()).count();
        let most = world.mirror.versions.iter().find(|v| v.dag.dag_id == *id).unwrap().dag.max_active_runs;
        let may_run = !world.mirror.dags[id].is_paused && active < usize::try_from(most).unwrap();
        assert!(!may_run || !suffices(condition, &queued(world, id)), "{id} could run, and does not");
    }
}

fn disturb(world: &mut World, dice: &mut Dice, step: usize, forgotten: &mut BTreeSet<(DagId, i64)>) {
    let any_dag = ["c", "e", "f"][dice.below(3)];
    match dice.below(12) {
        0 | 1 => drop(say(world, ["a", "b", "z"][dice.below(3)])),
        2 | 3 => {
            let (producer, run) = (["p", "q"][dice.below(2)], format!("r{step}"));
            world.command(Command::TriggerDagRun(trigger(producer, Some(&run))));
        }
        4 => pause(world, any_dag, if dice.below(3) == 0 { Paused::Paused } else { Paused::Active }),
        5 => {
            world.reload();
            world.join(1, 1_000);
        }
        6 => world.pass(i64::try_from(dice.below(600)).unwrap()),
        7 => {
            for ((dag, _), row) in world.mirror.assets.queue.clone() {
                if dag == dag_id(any_dag) {
                    let range = row.changes.first_event..=row.changes.last_event;
                    let events = world.mirror.assets.events.iter().filter(|event| event.asset == row.asset);
                    forgotten.extend(events.filter(|e| range.contains(&e.id)).map(|e| (dag.clone(), e.id)));
                }
            }
            let wish = DeleteQueuedAssetEvents { dag_id: Some(dag_id(any_dag)), asset: None, before: None };
            world.command(Command::DeleteQueuedAssetEvents(wish));
        }
        _ if !world.attempts.is_empty() => {
            let at_work = world.at_work();
            let kind = if dice.below(4) == 0 { EndKind::Failed } else { EndKind::Success };
            world.end(&at_work[dice.below(at_work.len())], kind);
        }
        _ => {}
    }
}
