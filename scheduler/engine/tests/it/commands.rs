//! What people ask for: triggers, pauses, clears, marks.

use engine::Event;
use model::{
    AttemptEnd, Command, DagId, DagRunState, EndKind, RunId, TaskId, TaskState,
    command::{
        AnswerStatus, ClearEffect, ClearOnly, ClearTaskInstances, ClearVersion, EndedRuns, MarkTaskInstances, Paused,
        Relatives, ServiceAction, SetNote, TaskInstanceName, TaskSelector, XComName,
    },
    door::Json,
};

use crate::{
    dags::{branch, dag, with},
    world::{World, clear_of, trigger},
};

#[test]
fn a_task_cleared_while_it_runs_is_killed_and_runs_again() {
    let mut world = World::new(vec![dag("d", "a >> b")]);
    let run = world.trigger("d", "r");
    let (_, _, old) = world.attempt_of("a");
    world.clear("d", "r", "a", Relatives::default());
    assert_eq!(world.state(run, "a"), TaskState::Restarting);
    assert_eq!(world.kills, [old]);
    assert_eq!(world.attempts.len(), 1, "the next try waits for the old attempt");
    world.end("a", EndKind::Success);
    assert_eq!(world.state(run, "b"), TaskState::NoStatus);
    assert_ne!(world.attempt_of("a").2, old);
    world.end("a", EndKind::Success);
    world.end("b", EndKind::Success);
    assert_eq!(world.run_state(run), DagRunState::Success);
}

#[test]
fn a_finished_run_is_cleared_from_the_store_and_runs_again() {
    let mut world = World::new(vec![dag("d", "a >> b >> c")]);
    let run = world.trigger("d", "r");
    for task in ["a", "b", "c"] {
        world.end(task, EndKind::Success);
    }
    let dry = Command::ClearTaskInstances(model::command::ClearTaskInstances {
        effect: ClearEffect::DryRun,
        ..clear_of("d", "r", "b", Relatives { upstream: false, downstream: true })
    });
    let (_, body) = world.command(dry);
    assert_eq!(body["task_instances"].as_array().unwrap().len(), 2);
    assert_eq!(world.run_state(run), DagRunState::Success);
    world.clear("d", "r", "b", Relatives { upstream: false, downstream: true });
    assert_eq!(world.run_state(run), DagRunState::Running);
    assert_eq!(world.mirror.runs[&run].clear_number, 1);
    world.end("b", EndKind::Success);
    world.end("c", EndKind::Success);
    assert_eq!(world.run_state(run), DagRunState::Success);
    assert_eq!(world.mirror.tries.len(), 2);
}

#[test]
fn tasks_of_a_run_that_stays_ended_wait_until_it_goes_on() {
    let mut world = World::new(vec![dag("d", "a >> b")]);
    let run = world.trigger("d", "r");
    world.end("a", EndKind::Success);
    world.end("b", EndKind::Success);
    let clear =
        ClearTaskInstances { ended_runs: EndedRuns::StayEnded, ..clear_of("d", "r", "b", Relatives::default()) };
    world.command(Command::ClearTaskInstances(clear.clone()));
    assert_eq!((world.run_state(run), world.state(run, "b")), (DagRunState::Success, TaskState::NoStatus));
    assert_eq!(world.mirror.runs[&run].clear_number, 0);
    assert!(world.at_work().is_empty());
    let mark = Command::MarkDagRun { dag_id: clear.dag_id, run_id: clear.run_id, state: DagRunState::Queued };
    world.command(mark);
    assert_eq!(world.at_work(), ["b"]);
    world.end("b", EndKind::Success);
    assert_eq!(world.run_state(run), DagRunState::Success);
}

#[test]
fn only_what_failed_is_cleared_when_asked_so() {
    let mut world = World::new(vec![dag("d", "a >> b >> c")]);
    let run = world.trigger("d", "r");
    world.end("a", EndKind::Success);
    world.end("b", EndKind::Failed);
    let clear = model::command::ClearTaskInstances {
        tasks: Vec::new(),
        only: ClearOnly::Failed,
        ..clear_of("d", "r", "a", Relatives::default())
    };
    world.command(Command::ClearTaskInstances(clear));
    assert_eq!(world.state(run, "a"), TaskState::Success);
    assert_eq!(world.at_work(), ["b"]);
}

#[test]
fn a_run_is_cleared_onto_the_newest_version() {
    let mut world = World::new(vec![dag("d", "a >> b >> c")]);
    let run = world.trigger("d", "r");
    world.end("a", EndKind::Success);
    world.end("b", EndKind::Failed);
    world.store_version(2, dag("d", "a >> b"));
    let clear = model::command::ClearTaskInstances {
        version: ClearVersion::Latest,
        ..clear_of("d", "r", "b", Relatives { upstream: false, downstream: true })
    };
    world.command(Command::ClearTaskInstances(clear));
    let c = world.mirror.instances.values().find(|row| row.key.task == model::TaskIdx(2)).unwrap();
    assert_eq!(c.state, TaskState::Removed);
    world.end("b", EndKind::Success);
    assert_eq!(world.run_state(run), DagRunState::Success);
}

#[test]
fn a_skipped_child_that_is_cleared_is_skipped_again() {
    let graph = with(dag("d", "choose >> [left, right]"), "choose", |task| task.operator = branch());
    let mut world = World::new(vec![graph]);
    let run = world.trigger("d", "r");
    let end = AttemptEnd { follow: Some(vec!["left".to_owned()]), ..AttemptEnd::new(EndKind::Success, "") };
    world.end_with("choose", end);
    world.end("left", EndKind::Success);
    world.clear("d", "r", "right", Relatives::default());
    assert_eq!(world.state(run, "right"), TaskState::Skipped);
    assert_eq!(world.run_state(run), DagRunState::Success);
}

#[test]
fn a_task_set_to_success_lets_what_failed_behind_it_go_on() {
    let mut world = World::new(vec![dag("d", "a >> b >> c")]);
    let run = world.trigger("d", "r");
    world.end("a", EndKind::Failed);
    world.command(Command::MarkTaskInstances(MarkTaskInstances {
        dag_id: DagId::new("d").unwrap(),
        run_id: RunId::new("r").unwrap(),
        also: Vec::new(),
        effect: ClearEffect::Apply,
        tasks: vec![TaskSelector { task_id: TaskId::new("a").unwrap(), map_index: None }],
        relatives: Relatives::default(),
        state: TaskState::Success,
    }));
    assert_eq!(world.at_work(), ["b"]);
    assert_eq!(world.run_state(run), DagRunState::Running);
}

#[test]
fn a_run_set_to_failed_stops_what_runs_and_skips_the_rest() {
    let mut world = World::new(vec![dag("d", "a >> b")]);
    let run = world.trigger("d", "r");
    let (worker, _, attempt) = world.attempt_of("a");
    world.turn(vec![Event::AttemptStarted { worker, attempt, at: world.now }]);
    world.command(Command::MarkDagRun {
        dag_id: DagId::new("d").unwrap(),
        run_id: RunId::new("r").unwrap(),
        state: DagRunState::Failed,
    });
    assert_eq!(world.state(run, "a"), TaskState::Failed);
    assert_eq!(world.state(run, "b"), TaskState::Skipped);
    assert_eq!(world.kills, [attempt]);
    // The killed attempt still counts until its end is reported.
    assert!(world.mirror.instances.values().next().unwrap().live);
    world.end("a", EndKind::Killed);
    assert!(!world.mirror.instances.values().next().unwrap().live);
}

#[test]
fn a_paused_dag_starts_nothing_and_goes_on_afterwards() {
    let mut world = World::new(vec![dag("d", "a >> b")]);
    let run = world.trigger("d", "r");
    let pause = |to| Command::PauseDag { dag_id: DagId::new("d").unwrap(), to };
    world.command(pause(Paused::Paused));
    world.end("a", EndKind::Success);
    world.trigger("d", "later");
    assert!(world.attempts.is_empty());
    assert_eq!(world.run_state(run), DagRunState::Running);
    world.command(pause(Paused::Active));
    assert_eq!(world.at_work(), ["a", "b"]);
}

#[test]
fn a_run_id_or_a_date_is_taken_once() {
    let mut world = World::new(vec![dag("d", "a")]);
    world.trigger("d", "r");
    world.end("a", EndKind::Success);
    let (status, body) = world.command(Command::TriggerDagRun(trigger("d", Some("r"))));
    assert_eq!(status, AnswerStatus::Conflict, "{body}");
    let dated = |run: &str| {
        Command::TriggerDagRun(model::command::TriggerDagRun {
            logical_date: Some(NOON_DATE.parse().unwrap()),
            ..trigger("d", Some(run))
        })
    };
    assert_eq!(world.command(dated("r1")).0, AnswerStatus::Done);
    assert_eq!(world.command(dated("r2")).0, AnswerStatus::Conflict);
}

const NOON_DATE: &str = "2026-11-20T12:00:00Z";

#[test]
fn a_run_by_hand_takes_no_id_that_the_schedule_or_a_backfill_would_give() {
    let mut world = World::new(vec![dag("d", "a")]);
    for kind in ["scheduled", "backfill", "asset_triggered"] {
        let id = format!("{kind}__2026-11-20T12:00:00+00:00");
        let (status, why) = world.command(Command::TriggerDagRun(trigger("d", Some(&id))));
        let expected = format!("A manual DAG run cannot use ID '{id}' since it is reserved for {kind} runs");
        assert!(status == AnswerStatus::Invalid && why.to_string().contains(&expected), "{id}: {why}");
    }
    for id in ["manual__2026-11-20T12:00:00+00:00", "scheduled", "scheduled_by_hand"] {
        assert_eq!(world.command(Command::TriggerDagRun(trigger("d", Some(id)))).0, AnswerStatus::Done, "{id}");
    }
}

#[test]
fn a_run_gets_no_id_that_no_url_leads_to() {
    let mut world = World::new(vec![dag("d", "a")]);
    for id in [".", "..", "~", "list"] {
        let (status, body) = world.command(Command::TriggerDagRun(trigger("d", Some(id))));
        let why = body["detail"].as_str().unwrap();
        assert!(status == AnswerStatus::Invalid && why.contains(&format!("{id:?} can not be given")), "{id}: {why}");
    }
    for id in ["...", "list1", "~a", "List"] {
        assert_eq!(world.command(Command::TriggerDagRun(trigger("d", Some(id)))).0, AnswerStatus::Done, "{id}");
    }
}

#[test]
fn runs_without_a_name_are_named_after_their_instant() {
    let mut world = World::new(vec![dag("d", "a")]);
    let (_, first) = world.command(Command::TriggerDagRun(trigger("d", None)));
    let (_, second) = world.command(Command::TriggerDagRun(trigger("d", None)));
    assert_eq!(first["run_id"], "manual__2026-11-21T12:00:00+00:00");
    assert_eq!(second["run_id"], "manual__2026-11-21T12:00:00.000001+00:00");
}

#[test]
fn what_does_not_exist_is_not_found() {
    let mut world = World::new(vec![dag("d", "a")]);
    assert_eq!(world.command(Command::TriggerDagRun(trigger("other", None))).0, AnswerStatus::NotFound);
    assert_eq!(world.clear("d", "nowhere", "a", Relatives::default()).0, AnswerStatus::NotFound);
    world.trigger("d", "r");
    assert_eq!(world.clear("d", "r", "b", Relatives::default()).0, AnswerStatus::NotFound);
    let service = Command::ControlService {
        dag_id: DagId::new("d").unwrap(),
        name: "sink".parse().unwrap(),
        action: ServiceAction::Stop,
    };
    assert_eq!(world.command(service).0, AnswerStatus::Invalid);
}

fn d() -> DagId {
    DagId::new("d").unwrap()
}

fn run_id(run: &str) -> RunId {
    RunId::new(run).unwrap()
}

fn selector(task: &str) -> TaskSelector {
    TaskSelector { task_id: TaskId::new(task).unwrap(), map_index: None }
}

#[test]
fn one_clear_names_tasks_of_several_runs_each_in_its_own_version() {
    let mut world = World::new(vec![dag("d", "a >> b")]);
    let old = world.trigger("d", "old");
    world.end("a", EndKind::Success);
    world.end("b", EndKind::Failed);
    world.store_version(2, dag("d", "a >> b >> c"));
    let new = world.trigger("d", "new");
    for task in ["a", "b", "c"] {
        world.end(task, EndKind::Success);
    }
    let clear = ClearTaskInstances {
        also: vec![run_id("old"), run_id("new")],
        ..clear_of("d", "new", "c", Relatives::default())
    };
    let dry = ClearTaskInstances {
        effect: ClearEffect::DryRun,
        relatives: Relatives { upstream: true, downstream: false },
        ..clear.clone()
    };
    let (_, body) = world.command(Command::ClearTaskInstances(dry));
    let listed = body["task_instances"].as_array().unwrap();
    assert_eq!(listed.len(), 3, "the old run has no task c, so nothing of it is meant: {body}");
    assert!(listed.iter().all(|one| one["run_id"] == "new"));
    let both = ClearTaskInstances { tasks: vec![selector("b")], ..clear };
    world.command(Command::ClearTaskInstances(both));
    assert_eq!(world.at_work(), ["b", "b"]);
    assert_eq!((world.run_state(old), world.run_state(new)), (DagRunState::Running, DagRunState::Running));
}

#[test]
fn a_clear_of_several_runs_onto_the_newest_version_changes_all_or_none() {
    let mut world = World::new(vec![dag("d", "a >> b")]);
    let done = world.trigger("d", "done");
    world.end("a", EndKind::Success);
    world.end("b", EndKind::Success);
    world.trigger("d", "busy");
    world.store_version(2, dag("d", "a >> b >> c"));
    let clear = ClearTaskInstances {
        also: vec![run_id("busy")],
        version: ClearVersion::Latest,
        ..clear_of("d", "done", "b", Relatives::default())
    };
    let (status, body) = world.command(Command::ClearTaskInstances(clear));
    assert_eq!(status, AnswerStatus::Conflict);
    assert!(body["detail"].as_str().unwrap().contains("run busy"), "{body}");
    assert_eq!(world.run_state(done), DagRunState::Success);
}

#[test]
fn a_mark_tells_first_what_it_would_set() {
    let mut world = World::new(vec![dag("d", "a >> b")]);
    let first = world.trigger("d", "first");
    world.end("a", EndKind::Success);
    world.end("b", EndKind::Failed);
    let second = world.trigger("d", "second");
    let mark = |effect| {
        Command::MarkTaskInstances(MarkTaskInstances {
            dag_id: d(),
            run_id: run_id("second"),
            also: vec![run_id("first")],
            tasks: vec![selector("a")],
            relatives: Relatives { upstream: false, downstream: true },
            state: TaskState::Success,
            effect,
        })
    };
    let (_, body) = world.command(mark(ClearEffect::DryRun));
    assert_eq!(body["task_instances"].as_array().unwrap().len(), 3, "a of the first run is a success already");
    assert_eq!(world.run_state(first), DagRunState::Failed);
    world.command(mark(ClearEffect::Apply));
    assert_eq!(world.state(first, "b"), TaskState::Success);
    assert_eq!(world.run_state(second), DagRunState::Success);
}

#[test]
fn a_run_knows_who_asked_for_it_and_keeps_remarks() {
    let mut world = World::new(vec![dag("d", "a")]);
    let run = world.trigger("d", "r");
    let note = |tasks, text: &str| {
        Command::SetNote(SetNote { dag_id: d(), run_id: run_id("r"), tasks, note: Some(text.parse().unwrap()) })
    };
    world.command(note(Vec::new(), "of the run"));
    world.command(note(vec![selector("a")], "of the task"));
    assert_eq!(world.mirror.runs[&run].triggering_user.as_deref(), Some("ada"));
    assert_eq!(world.mirror.runs[&run].note.as_deref(), Some("of the run"));
    let row = world.mirror.instances_of(run).into_iter().next().unwrap();
    assert_eq!(row.extra.note.as_deref(), Some("of the task"));
    assert_eq!(world.at_work(), ["a"], "a remark decides nothing");
}

#[test]
fn a_run_at_work_is_not_deleted_and_an_ended_one_leaves_nothing() {
    let mut world = World::new(vec![dag("d", "a")]);
    let run = world.trigger("d", "r");
    let delete = || Command::DeleteDagRun { dag_id: d(), run_id: run_id("r") };
    assert_eq!(world.command(delete()).0, AnswerStatus::Conflict);
    world.end("a", EndKind::Success);
    assert_eq!(world.command(delete()).0, AnswerStatus::Done);
    assert!(!world.mirror.runs.contains_key(&run));
    assert_eq!(world.command(delete()).0, AnswerStatus::NotFound);
    world.trigger("d", "r");
    assert_eq!(world.at_work(), ["a"], "its name is free again");
}

#[test]
fn deleting_a_queued_run_forgets_what_it_waited_for() {
    let mut world = World::new(vec![dag("d", "a >> b")]);
    world.trigger("d", "r");
    world.end("a", EndKind::Success);
    world.command(Command::PauseDag { dag_id: d(), to: Paused::Paused });
    world.end("b", EndKind::Success);
    let queued = world.trigger("d", "queued");
    assert_eq!(world.command(Command::DeleteDagRun { dag_id: d(), run_id: run_id("queued") }).0, AnswerStatus::Done);
    world.command(Command::PauseDag { dag_id: d(), to: Paused::Active });
    assert!(world.attempts.is_empty() && !world.mirror.runs.contains_key(&queued));
}

#[test]
fn a_deleted_dag_begins_anew_when_its_file_is_there_and_goes_when_it_is_not() {
    let mut world = World::new(vec![dag("d", "a")]);
    world.trigger("d", "r");
    let delete = || Command::DeleteDag { dag_id: d() };
    assert_eq!(world.command(delete()).0, AnswerStatus::Conflict);
    world.end("a", EndKind::Success);
    assert_eq!(world.command(delete()).0, AnswerStatus::Done);
    assert!(world.mirror.runs.is_empty() && world.mirror.dags.contains_key(&d()));
    world.turn(vec![Event::DagGone(d())]);
    assert_eq!(world.command(delete()).0, AnswerStatus::Done);
    assert!(world.mirror.dags.is_empty());
    world.store_version(7, dag("d", "a"));
    world.trigger("d", "r");
    assert_eq!(world.at_work(), ["a"]);
}

#[test]
fn a_deleted_instance_is_as_if_nothing_had_happened_to_it() {
    let mut world = World::new(vec![dag("d", "a >> b")]);
    let run = world.trigger("d", "r");
    let delete = |task: &str| {
        Command::DeleteTaskInstance(TaskInstanceName {
            dag_id: d(),
            run_id: run_id("r"),
            task_id: TaskId::new(task).unwrap(),
            map_index: model::MapIndex::UNMAPPED,
        })
    };
    assert_eq!(world.command(delete("a")).0, AnswerStatus::Conflict, "it is at work");
    assert_eq!(world.command(delete("z")).0, AnswerStatus::NotFound);
    world.end("a", EndKind::Success);
    world.clear("d", "r", "a", Relatives::default());
    world.end("a", EndKind::Success);
    assert_eq!(world.mirror.tries.len(), 1);
    // The run goes on, so it starts again, with its first try.
    assert_eq!(world.command(delete("a")).0, AnswerStatus::Done);
    assert!(world.mirror.tries.is_empty());
    let (_, key, _) = world.attempt_of("a");
    assert_eq!(world.mirror.instances[&key].try_number.get(), 1);
    world.end("a", EndKind::Success);
    world.end("b", EndKind::Success);
    assert_eq!(world.run_state(run), DagRunState::Success);
    // One that has ended stays as it is.
    assert_eq!(world.command(delete("b")).0, AnswerStatus::Done);
    assert_eq!((world.run_state(run), world.state(run, "b")), (DagRunState::Success, TaskState::NoStatus));
    assert!(world.at_work().is_empty());
}

#[test]
fn of_xcoms_that_are_left_under_one_key_in_one_turn_the_last_counts() {
    let mut world = World::new(vec![dag("d", "a")]);
    world.trigger("d", "r");
    let name = |key: &str| XComName {
        dag_id: d(),
        run_id: run_id("r"),
        task_id: TaskId::new("a").unwrap(),
        map_index: model::MapIndex::UNMAPPED,
        key: key.parse().unwrap(),
    };
    let command = |command| Event::Command { id: model::CommandId(90), by: "ada".to_owned(), command };
    let json = |value: i64| Json::new(value.into()).unwrap();
    let set = |value: i64| command(Command::SetXCom { xcom: name("k"), value: json(value) });
    let plan = world.turn(vec![set(1), set(2), command(Command::DeleteXCom(name("other")))]);
    assert_eq!(plan.xcoms.iter().map(|(_, xcom)| xcom.value.clone()).collect::<Vec<_>>(), [2]);
    assert_eq!(plan.xcoms_deleted.len(), 1);
    let plan = world.turn(vec![set(3), command(Command::DeleteXCom(name("k")))]);
    assert!(plan.xcoms.is_empty());
    let missing =
        Command::SetXCom { xcom: XComName { task_id: TaskId::new("z").unwrap(), ..name("k") }, value: json(1) };
    assert_eq!(world.command(missing).0, AnswerStatus::NotFound);
}
