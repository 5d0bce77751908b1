//! Dynamic task mapping, told as short stories.

use std::{fmt::Write, time::Duration, time::Instant};

use dag::{Dag, Element, Expand, ExpandBy, Given, Over, Task};
use engine::Event;
use expect_test::{Expect, expect};
use model::{
    AttemptEnd, Command, DagId, DagRunState, EndKind, MapIndex, RunId, RunKey, TaskId, TaskState, TiKey, TriggerRule,
    XComValue,
    command::{AnswerStatus, ClearTaskInstances, MarkTaskInstances, Relatives, TaskSelector},
};
use serde_json::{Value, json};

use crate::{
    dags::{dag, with},
    world::{World, clear_of},
};

fn over(inputs: &[(&str, Over)]) -> Option<Expand> {
    let inputs = inputs.iter().map(|(name, over)| ((*name).to_owned(), over.clone())).collect();
    Some(Expand { by: ExpandBy::Product(inputs), map_index_template: None, keys: Vec::new(), group: None })
}

fn output(task: &str) -> Over {
    Over::Output(TaskId::new(task).unwrap())
}

fn literal(count: usize) -> Over {
    Over::Literal((0..count).map(Value::from).collect())
}

/// `list >> work >> sum`, where work is expanded over what list returns.
fn mapped() -> Dag {
    with(dag("d", "list >> work >> sum"), "work", |task| task.expand = over(&[("x", output("list"))]))
}

fn returns(value: Value) -> AttemptEnd {
    let value = XComValue { key: XComValue::RETURN_VALUE.to_owned(), value };
    AttemptEnd { xcoms: vec![value], ..AttemptEnd::new(EndKind::Success, "") }
}

fn list_of(count: usize) -> AttemptEnd {
    returns((0..count).map(Value::from).collect())
}

/// Every row of a run, and the run.
fn rows(world: &World, run: RunKey) -> String {
    let mut text = String::new();
    for row in world.mirror.instances_of(run) {
        let map = if row.key.map == MapIndex::UNMAPPED { String::new() } else { format!(" {}", row.key.map) };
        writeln!(text, "{}{map}: {}", world.name(row.key), row.state).unwrap();
    }
    writeln!(text, "run: {}", world.run_state(run)).unwrap();
    text
}

fn check(world: &World, run: RunKey, expected: Expect) {
    expected.assert_eq(&rows(world, run));
}

fn end_all(world: &mut World, task: &str) {
    while world.at_work().iter().any(|name| name == task) {
        world.end(task, EndKind::Success);
    }
}

fn started(graph: Dag, end: AttemptEnd) -> (World, RunKey) {
    let mut world = World::new(vec![graph]);
    let run = world.trigger("d", "r");
    world.end_with("list", end);
    (world, run)
}

#[test]
fn a_task_becomes_as_many_instances_as_the_list_has_elements() {
    let (mut world, run) = started(mapped(), list_of(3));
    assert_eq!(world.at_work(), ["work", "work", "work"]);
    world.end("work", EndKind::Success);
    world.reload();
    world.join(1, 1_000);
    world.quiesce();
    assert_eq!(world.why("d", "r", "sum"), "2 of 3 instances of upstream work are not finished");
    assert_eq!(world.why("d", "r", "work"), "it is expanded into 3 instances: 2 queued, 1 success");
    end_all(&mut world, "work");
    world.end("sum", EndKind::Success);
    check(
        &world,
        run,
        expect![[r#"
            list: success
            work 0: success
            work 1: success
            work 2: success
            sum: success
            run: success
        "#]],
    );
}

#[test]
fn each_instance_is_told_which_element_is_its_own() {
    let graph = with(mapped(), "work", |task| task.expand = over(&[("x", output("list")), ("y", literal(2))]));
    let (world, _) = started(graph, returns(json!({"a": 1, "b": 2})));
    let given: Vec<Given> =
        world.attempts.iter().map(|(_, key, _)| world.engine.assignment(*key).unwrap().given.unwrap()).collect();
    let list = TaskId::new("list").unwrap();
    let expected = |index, y: u64| {
        let x = ("x".to_owned(), Element::Output { task: list.clone(), index });
        Given::Named(vec![x, ("y".to_owned(), Element::Value(y.into()))])
    };
    assert_eq!(given, [expected(0, 0), expected(0, 1), expected(1, 0), expected(1, 1)]);
}

#[test]
fn nothing_to_expand_over_skips_the_task_and_what_is_behind_it() {
    let (world, run) = started(mapped(), list_of(0));
    assert_eq!(world.mirror.instances_of(run)[1].extra.reason.as_deref(), Some("there is nothing to expand it over"));
    check(
        &world,
        run,
        expect![[r#"
            list: success
            work: skipped
            sum: skipped
            run: success
        "#]],
    );
}

#[test]
fn a_source_that_fails_or_is_skipped_is_felt_whatever_the_rule() {
    for (kind, expected) in [(EndKind::Failed, TaskState::UpstreamFailed), (EndKind::Skipped, TaskState::Skipped)] {
        let graph = with(mapped(), "work", |task| task.trigger_rule = TriggerRule::AllDone);
        let (world, run) = started(graph, AttemptEnd::new(kind, "as told"));
        assert_eq!(world.state(run, "work"), expected, "{kind:?}");
    }
}

#[test]
fn a_source_that_returns_no_list_fails_and_one_that_was_set_to_success_leaves_nothing() {
    let (world, run) = started(mapped(), returns(json!("text")));
    let row = &world.mirror.instances_of(run)[0];
    assert_eq!(row.state, TaskState::Failed);
    let why = "it has returned a text, and a task is expanded over what it returns: a list or a mapping";
    assert_eq!(row.extra.reason.as_deref(), Some(why));
    let mut world = World::new(vec![mapped()]);
    let run = world.trigger("d", "r");
    world.command(Command::MarkTaskInstances(mark("list", None, TaskState::Success)));
    assert_eq!(world.state(run, "work"), TaskState::UpstreamFailed);
}

fn mark(task: &str, map: Option<i32>, state: TaskState) -> MarkTaskInstances {
    let ClearTaskInstances { dag_id, run_id, .. } = clear_of("d", "r", task, Relatives::default());
    MarkTaskInstances {
        dag_id,
        run_id,
        also: Vec::new(),
        tasks: vec![named(task, map)],
        relatives: Relatives::default(),
        effect: model::command::ClearEffect::Apply,
        state,
    }
}

fn named(task: &str, map: Option<i32>) -> TaskSelector {
    TaskSelector { task_id: TaskId::new(task).unwrap(), map_index: map.map(MapIndex) }
}

fn clear(world: &mut World, task: &str, map: Option<i32>) -> (AnswerStatus, Value) {
    let clear = clear_of("d", "r", task, Relatives { downstream: true, upstream: false });
    world.command(Command::ClearTaskInstances(ClearTaskInstances { tasks: vec![named(task, map)], ..clear }))
}

#[test]
fn a_list_that_shrinks_or_grows_on_a_rerun_removes_or_adds_instances() {
    let (mut world, run) = started(mapped(), list_of(3));
    end_all(&mut world, "work");
    world.end("sum", EndKind::Success);
    clear(&mut world, "list", None);
    world.end_with("list", list_of(1));
    end_all(&mut world, "work");
    world.end("sum", EndKind::Success);
    check(
        &world,
        run,
        expect![[r#"
            list: success
            work 0: success
            work 1: removed
            work 2: removed
            sum: success
            run: success
        "#]],
    );
    clear(&mut world, "list", None);
    world.end_with("list", list_of(4));
    assert_eq!(world.at_work(), ["work"; 4]);
    end_all(&mut world, "work");
    world.end("sum", EndKind::Success);
    check(
        &world,
        run,
        expect![[r#"
            list: success
            work 0: success
            work 1: success
            work 2: success
            work 3: success
            sum: success
            run: success
        "#]],
    );
}

#[test]
fn one_instance_can_be_cleared_and_marked() {
    let (mut world, run) = started(mapped(), list_of(3));
    world.end("work", EndKind::Failed);
    end_all(&mut world, "work");
    assert_eq!(world.state(run, "sum"), TaskState::UpstreamFailed);
    assert_eq!(world.run_state(run), DagRunState::Failed);
    let (status, body) = clear(&mut world, "work", Some(0));
    assert_eq!(status, AnswerStatus::Done);
    let cleared =
        json!([{"run_id": "r", "task_id": "work", "map_index": 0}, {"run_id": "r", "task_id": "sum", "map_index": -1}]);
    assert_eq!(body["task_instances"], cleared);
    assert_eq!(world.at_work(), ["work"]);
    world.command(Command::MarkTaskInstances(mark("work", Some(0), TaskState::Success)));
    world.end("sum", EndKind::Success);
    assert_eq!(world.run_state(run), DagRunState::Success);
    let (status, body) = clear(&mut world, "work", Some(7));
    assert_eq!(status, AnswerStatus::NotFound);
    assert_eq!(body["detail"], "the task work has the map indexes 0 to 2 in the run, and not 7");
    assert_eq!(clear(&mut world, "sum", Some(0)).0, AnswerStatus::NotFound, "sum is not expanded");
}

#[test]
fn the_row_of_a_summary_goes_when_the_task_is_expanded_after_all() {
    let (mut world, run) = started(mapped(), AttemptEnd::new(EndKind::Failed, "exit code 1"));
    assert_eq!(world.state(run, "work"), TaskState::UpstreamFailed);
    clear(&mut world, "list", None);
    world.end_with("list", list_of(2));
    assert!(!world.mirror.instances.contains_key(&TiKey::unmapped(run, model::TaskIdx(1))), "{}", rows(&world, run));
    end_all(&mut world, "work");
    world.end("sum", EndKind::Success);
    assert_eq!(world.run_state(run), DagRunState::Success);
}

#[test]
fn max_active_tis_per_dagrun_holds_in_each_run() {
    let graph = with(mapped(), "work", |task| task.max_active_tis_per_dagrun = Some(2));
    let (mut world, _) = started(graph, list_of(5));
    assert_eq!(world.at_work(), ["work", "work"]);
    let why = |world: &World, map| {
        let (dag, run) = (model::DagId::new("d").unwrap(), model::RunId::new("r").unwrap());
        world.engine.why_task(&dag, &run, &TaskId::new("work").unwrap(), MapIndex(map), world.now).unwrap()
    };
    assert_eq!(why(&world, 4), "2 instances of it are active in its run, as many as max_active_tis_per_dagrun allows");
    for left in [2, 2, 2, 1, 0] {
        world.end("work", EndKind::Success);
        assert_eq!(world.at_work().iter().filter(|name| *name == "work").count(), left);
    }
    world.trigger("d", "s");
    world.end_with("list", list_of(3));
    assert_eq!(world.at_work(), ["sum", "work", "work"]);
}

#[test]
fn a_list_that_is_too_long_fails_the_task_that_returns_it() {
    let (world, run) = started(mapped(), list_of(1_025));
    let why = "it has returned 1025 elements for a task that is expanded over them, more than max_map_length, 1024";
    assert_eq!(world.mirror.instances_of(run)[0].extra.reason.as_deref(), Some(why));
    let graph = with(mapped(), "work", |task| task.expand = over(&[("x", output("list")), ("y", output("list"))]));
    let (world, run) = started(graph, list_of(1_000));
    let why = "its inputs give 1000000 instances, and a task may have 20000 in a run at most: expand it over less";
    assert_eq!(world.mirror.instances_of(run)[1].extra.reason.as_deref(), Some(why));
    assert_eq!(world.run_state(run), DagRunState::Failed);
}

#[test]
fn an_expansion_that_is_refused_ends_what_was_decided_beside_it_by_fail_fast() {
    let graph = with(dag("d", "list >> [work, also, empty]"), "work", |task| {
        task.expand = over(&[("x", output("list")), ("y", output("list"))]);
    });
    let graph = with(graph, "empty", |task| task.operator = model::Operator::Empty);
    let (world, run) = started(Dag { fail_fast: true, ..graph }, list_of(1_000));
    check(
        &world,
        run,
        expect![[r#"
        list: success
        work: failed
        also: skipped
        empty: success
        run: failed
    "#]],
    );
}

#[test]
fn a_failed_instance_is_tried_again_alone() {
    let graph = with(mapped(), "work", |task| {
        task.retries = 1;
        task.retry_delay = Duration::from_secs(60);
    });
    let (mut world, run) = started(graph, list_of(2));
    world.end("work", EndKind::Failed);
    world.end("work", EndKind::Success);
    assert!(world.at_work().is_empty());
    world.pass(61);
    assert_eq!(world.attempt_of("work").1.map, MapIndex(0));
    world.end("work", EndKind::Success);
    world.end("sum", EndKind::Success);
    assert_eq!(world.run_state(run), DagRunState::Success);
}

#[test]
fn a_task_can_be_expanded_over_what_the_instances_of_another_return() {
    let graph = with(mapped(), "sum", |task| task.expand = over(&[("y", output("work"))]));
    let (mut world, run) = started(graph, list_of(3));
    world.end_with("work", returns(json!("a")));
    world.end_with("work", returns(Value::Null));
    world.end_with("work", returns(json!([1, 2])));
    assert_eq!(world.at_work(), ["sum", "sum"], "one has returned nothing");
    end_all(&mut world, "sum");
    assert_eq!(world.run_state(run), DagRunState::Success);
}

#[test]
fn what_removed_instances_have_returned_counts_no_more() {
    let graph = with(mapped(), "sum", |task| {
        task.expand = over(&[("y", output("work"))]);
        task.trigger_rule = TriggerRule::AllDone;
    });
    let (mut world, run) = started(graph, list_of(3));
    (0..3).for_each(|_| world.end_with("work", returns(json!("a"))));
    end_all(&mut world, "sum");
    clear(&mut world, "list", None);
    world.end_with("list", list_of(1));
    world.end_with("work", returns(json!("a")));
    end_all(&mut world, "sum");
    check(
        &world,
        run,
        expect![[r#"
            list: success
            work 0: success
            work 1: removed
            work 2: removed
            sum 0: success
            sum 1: removed
            sum 2: removed
            run: success
        "#]],
    );
}

#[test]
fn a_list_that_is_left_by_hand_counts() {
    let mut world = World::new(vec![mapped()]);
    let run = world.trigger("d", "r");
    let ClearTaskInstances { dag_id, run_id, .. } = clear_of("d", "r", "list", Relatives::default());
    let xcom = model::command::XComName {
        dag_id,
        run_id,
        task_id: TaskId::new("list").unwrap(),
        map_index: MapIndex::UNMAPPED,
        key: model::door::XComKey::new(XComValue::RETURN_VALUE).unwrap(),
    };
    world.end_with("list", list_of(1));
    world.command(Command::MarkTaskInstances(mark("work", Some(0), TaskState::Failed)));
    let value = model::door::Json::new(json!(["a", "b"])).unwrap();
    world.command(Command::SetXCom { xcom: xcom.clone(), value });
    clear(&mut world, "work", None);
    assert_eq!(world.at_work(), ["work"; 2], "{}", rows(&world, run));
    let (status, body) =
        world.command(Command::SetXCom { xcom, value: model::door::Json::new(json!("text")).unwrap() });
    assert_eq!(status, AnswerStatus::Invalid, "{body}");
}

#[test]
fn a_list_that_is_left_by_hand_is_heard_of_by_all_that_are_expanded_over_it() {
    let (mut world, run) = started(grouped(), list_of(2));
    world.command(Command::PauseDag { dag_id: DagId::new("d").unwrap(), to: model::command::Paused::Paused });
    end_all(&mut world, "a");
    let ClearTaskInstances { dag_id, run_id, .. } = clear_of("d", "r", "list", Relatives::default());
    let xcom = model::command::XComName {
        dag_id,
        run_id,
        task_id: TaskId::new("list").unwrap(),
        map_index: MapIndex::UNMAPPED,
        key: model::door::XComKey::new(XComValue::RETURN_VALUE).unwrap(),
    };
    // The world looks after each turn whether everything is decided as it would be decided now.
    world.command(Command::SetXCom { xcom, value: model::door::Json::new(json!(["a"])).unwrap() });
    check(
        &world,
        run,
        expect![[r#"
        list: success
        a 0: success
        a 1: success
        b 0: no_status
        b 1: removed
        run: running
    "#]],
    );
}

#[test]
fn an_expanded_task_waits_for_a_worker_that_knows_such_tasks() {
    let mut world = World::new(vec![mapped()]);
    let Event::WorkerJoined(mut old) = world.hello(1, 1_000) else { panic!("a hello") };
    old.operators.remove(model::Operator::EXPANDED);
    world.turn(vec![Event::WorkerJoined(old.clone())]);
    world.mirror.workers = vec![old];
    world.trigger("d", "r");
    world.end_with("list", list_of(1));
    assert!(world.at_work().is_empty());
    let (dag, run) = (model::DagId::new("d").unwrap(), model::RunId::new("r").unwrap());
    let why = world.engine.why_task(&dag, &run, &TaskId::new("work").unwrap(), MapIndex(0), world.now).unwrap();
    assert!(why.contains("knows expanded tasks of the operator bash"), "{why}");
    world.join(2, 1);
    assert_eq!(world.at_work(), ["work"]);
}

/// `work` and `more`, each of so many instances, one after the other; the time that the engine takes.
fn time_of(count: usize) -> Duration {
    let graph = dag("d", "work >> more >> sum");
    let graph = with(graph, "work", |task| task.expand = over(&[("x", literal(count))]));
    let graph = with(graph, "more", |task: &mut Task| {
        task.expand = over(&[("x", literal(count))]);
        task.trigger_rule = TriggerRule::OneSuccess;
    });
    let mut world = World::new(vec![Dag { max_active_tasks: 1_000_000, ..graph }]);
    world.is_checked = false;
    world.command(Command::SetPool(model::Pool {
        name: model::Pool::DEFAULT.to_owned(),
        slots: None,
        description: String::new(),
        include_deferred: false,
        rate_limit: None,
    }));
    let run = world.trigger("d", "r");
    let mut spent = Duration::ZERO;
    while world.run_state(run) == DagRunState::Running {
        let mut ended = std::mem::take(&mut world.attempts);
        let rest = ended.split_off(ended.len().min(100));
        world.attempts = rest;
        let end = |(worker, _, attempt)| Event::AttemptEnded {
            worker,
            attempt,
            end: AttemptEnd::new(EndKind::Success, "").into(),
        };
        let start = Instant::now();
        let events: Vec<Event> = ended.into_iter().map(end).collect();
        let input = engine::Input { now: world.now, seed: spent.as_nanos(), run_keys: 0..0, events };
        let plan = world.engine.turn(input);
        spent += start.elapsed();
        world.mirror.apply(&plan);
        for effect in plan.effects {
            if let engine::Effect::Assign { worker, key, attempt } = effect {
                world.attempts.push((worker, key, attempt));
            }
        }
    }
    assert_eq!(world.run_state(run), DagRunState::Success);
    spent
}

#[test]
#[cfg_attr(
    debug_assertions,
    ignore = "it takes the time of an engine that does not recount itself: cargo test --release"
)]
fn many_instances_cost_their_number_and_not_its_square() {
    let best = |count| (0..3).map(|_| time_of(count)).min().unwrap();
    // More than the worker's slots, so that both wait for them.
    let (few, many) = (best(1_500), best(12_000));
    println!("2 x 1500 instances: {few:?}, 2 x 12000: {many:?}");
    // Other work on the machine slows the longer one down more; the square would be 64 times as much.
    assert!(many < few * 40, "8 times as many take {many:?} after {few:?}");
}

/// `list >> a >> b >> sum`, where a and b are in a group that is expanded over what list returns.
fn grouped() -> Dag {
    let in_group = |task: &mut Task| {
        task.expand = over(&[("x", output("list"))]).map(|expand| Expand { group: Some("g".to_owned()), ..expand });
    };
    with(with(dag("d", "list >> a >> b >> sum"), "a", in_group), "b", in_group)
}

#[test]
fn in_an_expanded_group_an_instance_comes_after_those_with_its_index() {
    let (mut world, run) = started(grouped(), list_of(3));
    assert_eq!(world.at_work(), ["a", "a", "a"]);
    let why = |world: &World, task: &str, map| {
        let (dag, run, task) = (DagId::new("d").unwrap(), RunId::new("r").unwrap(), TaskId::new(task).unwrap());
        world.engine.why_task(&dag, &run, &task, MapIndex(map), world.now).unwrap()
    };
    let a_1 =
        world.attempts.iter().find(|(_, key, _)| world.name(*key) == "a" && key.map == MapIndex(1)).copied().unwrap();
    let end = |world: &mut World, (worker, _, attempt): (model::WorkerId, TiKey, model::AttemptId), kind| {
        world.attempts.retain(|(.., other)| *other != attempt);
        world.turn(vec![Event::AttemptEnded { worker, attempt, end: AttemptEnd::new(kind, "as told").into() }]);
        world.quiesce();
    };
    end(&mut world, a_1, EndKind::Success);
    assert_eq!(world.at_work(), ["a", "a", "b"], "the second goes on alone");
    assert_eq!(why(&world, "b", 0), "upstream a [0] is still running");
    world.reload();
    world.join(1, 1_000);
    world.quiesce();
    let a_0 =
        world.attempts.iter().find(|(_, key, _)| world.name(*key) == "a" && key.map == MapIndex(0)).copied().unwrap();
    end(&mut world, a_0, EndKind::Failed);
    end_all(&mut world, "a");
    end_all(&mut world, "b");
    check(
        &world,
        run,
        expect![[r#"
            list: success
            a 0: failed
            a 1: success
            a 2: success
            b 0: upstream_failed
            b 1: success
            b 2: success
            sum: upstream_failed
            run: failed
        "#]],
    );
    // A clear takes along what follows within the group with the same index, and what follows the group.
    clear(&mut world, "a", Some(0));
    assert_eq!(world.at_work(), ["a"]);
    world.end("a", EndKind::Success);
    assert_eq!(world.at_work(), ["b"]);
    end_all(&mut world, "b");
    end_all(&mut world, "sum");
    assert_eq!(world.run_state(run), DagRunState::Success);
}

#[test]
fn an_expanded_group_is_skipped_and_fails_with_what_it_is_expanded_over() {
    let (world, run) = started(grouped(), list_of(0));
    check(
        &world,
        run,
        expect![[r#"
            list: success
            a: skipped
            b: skipped
            sum: skipped
            run: success
        "#]],
    );
    let (world, run) = started(grouped(), AttemptEnd::new(EndKind::Failed, "no"));
    check(
        &world,
        run,
        expect![[r#"
            list: failed
            a: upstream_failed
            b: upstream_failed
            sum: upstream_failed
            run: failed
        "#]],
    );
}

#[test]
fn an_expanded_group_shrinks_and_grows_with_its_list() {
    let (mut world, run) = started(grouped(), list_of(2));
    end_all(&mut world, "a");
    end_all(&mut world, "b");
    end_all(&mut world, "sum");
    for (count, instances) in [(3, "b 2: success"), (1, "b 1: removed")] {
        for task in ["list", "a", "b", "sum"] {
            clear(&mut world, task, None);
        }
        world.end_with("list", list_of(count));
        end_all(&mut world, "a");
        end_all(&mut world, "b");
        end_all(&mut world, "sum");
        let rows = rows(&world, run);
        assert!(rows.contains(instances) && rows.contains("run: success"), "{count}: {rows}");
    }
}
