//! Tasks that ask people: how a question waits, and what each answer does.

use std::time::Duration;

use dag::Dag;
use model::{
    AttemptEnd, DagRunState, EndKind, Operator, TaskState,
    command::{AnswerStatus, Relatives},
    operator::{HitlUser, OnReject, SkipReach},
};
use serde_json::json;

use crate::{
    dags::{approval, choice, dag, with},
    world::World,
};

const SKIP_NEXT: OnReject = OnReject::Skip(SkipReach::DirectDownstream);

fn asks(on_reject: OnReject, limit: Option<f64>) -> Dag {
    with(dag("d", "ask >> publish >> tell"), "ask", |task| {
        task.operator = Operator::Approval(Box::new(approval(on_reject, limit)));
    })
}

fn asking(on_reject: OnReject, limit: Option<f64>) -> (World, model::RunKey) {
    let mut world = World::new(vec![asks(on_reject, limit)]);
    let run = world.trigger("d", "r");
    world.ask("ask");
    assert_eq!(world.state(run, "ask"), TaskState::AwaitingInput);
    (world, run)
}

#[test]
fn a_question_holds_no_slot_and_an_approval_lets_go_on_what_follows() {
    let graph = with(asks(SKIP_NEXT, None), "ask", |task| task.pool_slots = 128);
    let mut world = World::new(vec![graph, dag("other", "work")]);
    let run = world.trigger("d", "r");
    world.trigger("other", "o");
    assert_eq!(world.at_work(), ["ask"], "it holds its pool while it renders");
    world.ask("ask");
    assert_eq!(world.at_work(), ["work"]);
    let (status, told) = world.answer("d", "r", "ask", &["Approve"]);
    assert_eq!((status, &told["chosen_options"]), (AnswerStatus::Done, &json!(["Approve"])));
    assert_eq!(told["responded_by_user"], json!({"id": "ada", "name": "ada"}));
    assert_eq!(world.state(run, "ask"), TaskState::Success);
    assert_eq!(world.at_work(), ["publish", "work"]);
    let (key, answer) = world.mirror.questions.iter().next().unwrap();
    assert_eq!((key.1, answer.as_ref().unwrap().user.as_ref()), (1, Some(&HitlUser::named("ada"))));
}

#[test]
fn a_rejection_skips_what_follows_as_far_as_it_says_or_fails() {
    for (on_reject, ask, publish, run_state) in [
        (SKIP_NEXT, TaskState::Success, TaskState::Skipped, DagRunState::Success),
        (OnReject::Skip(SkipReach::AllDownstream), TaskState::Success, TaskState::Skipped, DagRunState::Success),
        (OnReject::Fail, TaskState::Failed, TaskState::UpstreamFailed, DagRunState::Failed),
    ] {
        let graph = with(asks(on_reject, None), "ask", |task| task.retries = 3);
        let mut world = World::new(vec![graph]);
        let run = world.trigger("d", "r");
        world.ask("ask");
        world.answer("d", "r", "ask", &["Reject"]);
        assert_eq!((world.state(run, "ask"), world.state(run, "publish")), (ask, publish), "{on_reject:?}");
        assert_eq!(world.run_state(run), run_state, "{on_reject:?}");
    }
}

#[test]
fn a_choice_is_a_branch_when_its_options_lead_somewhere() {
    let graph = with(dag("d", "pick >> [full, part]"), "pick", |task| {
        let mapping = [("All".to_owned(), "full".to_owned()), ("Some".to_owned(), "part".to_owned())];
        let keys = choice(&["All", "Some"], None);
        let keys = model::operator::Choice { options_mapping: Some(mapping.into()), ..keys };
        task.operator = Operator::Choice(Box::new(keys));
    });
    let mut world = World::new(vec![graph]);
    let run = world.trigger("d", "r");
    world.ask("pick");
    world.answer("d", "r", "pick", &["Some"]);
    assert_eq!((world.state(run, "full"), world.at_work()), (TaskState::Skipped, vec!["part".to_owned()]));
    // A clear of what was passed over passes it over again.
    world.clear("d", "r", "full", Relatives::default());
    assert_eq!(world.state(run, "full"), TaskState::Skipped);
}

#[test]
fn an_answer_that_does_not_fit_changes_nothing() {
    let (mut world, run) = asking(SKIP_NEXT, None);
    for (task, chosen, status, says) in [
        ("ask", &["Maybe"][..], AnswerStatus::Invalid, "not among the options"),
        ("ask", &["Approve", "Reject"][..], AnswerStatus::Invalid, "one option can be chosen"),
        ("publish", &["Approve"][..], AnswerStatus::NotFound, "asks nobody"),
    ] {
        let (got, body) = world.answer("d", "r", task, chosen);
        assert_eq!(got, status, "{body}");
        assert!(body["detail"].as_str().unwrap().contains(says), "{body}");
    }
    assert_eq!(world.state(run, "ask"), TaskState::AwaitingInput);
    world.answer("d", "r", "ask", &["Approve"]);
    let (status, body) = world.answer("d", "r", "ask", &["Reject"]);
    assert_eq!(status, AnswerStatus::Conflict, "{body}");
}

#[test]
fn only_those_who_are_asked_may_answer() {
    let graph = with(asks(SKIP_NEXT, None), "ask", |task| {
        let mut keys = approval(SKIP_NEXT, None);
        keys.asking.assigned_users = vec![HitlUser::named("grace")];
        task.operator = Operator::Approval(Box::new(keys));
    });
    let mut world = World::new(vec![graph]);
    world.trigger("d", "r");
    world.ask("ask");
    assert_eq!(world.why("d", "r", "ask"), "it waits for grace to answer");
    let (status, body) = world.answer("d", "r", "ask", &["Approve"]);
    assert_eq!(status, AnswerStatus::Forbidden, "{body}");
}

#[test]
fn a_question_whose_time_is_over_is_answered_by_its_defaults_or_fails() {
    let (mut world, run) = asking(SKIP_NEXT, Some(60.0));
    let why = world.why("d", "r", "ask");
    assert_eq!(why, "it waits for somebody to answer; in 1 min, at 2026-11-21 12:01:00 UTC, it fails");
    world.reload();
    world.join(1, 1_000);
    world.pass(59);
    assert_eq!(world.state(run, "ask"), TaskState::AwaitingInput);
    world.pass(1);
    assert_eq!((world.state(run, "ask"), world.run_state(run)), (TaskState::Failed, DagRunState::Failed));

    let graph = with(asks(SKIP_NEXT, Some(60.0)), "ask", |task| {
        let mut keys = approval(SKIP_NEXT, Some(60.0));
        keys.asking.defaults = vec!["Approve".to_owned()];
        task.operator = Operator::Approval(Box::new(keys));
    });
    let mut world = World::new(vec![graph]);
    let run = world.trigger("d", "r");
    world.ask("ask");
    world.pass(60);
    assert_eq!((world.state(run, "ask"), world.at_work()), (TaskState::Success, vec!["publish".to_owned()]));
    assert_eq!(world.mirror.questions.values().next().unwrap().as_ref().unwrap().user, None);
}

#[test]
fn the_execution_timeout_is_the_time_for_an_answer_when_there_is_no_other_and_a_retry_asks_again() {
    let graph = with(asks(SKIP_NEXT, None), "ask", |task| {
        task.execution_timeout = Some(Duration::from_secs(30));
        task.retries = 1;
        task.retry_delay = Duration::from_secs(10);
    });
    let mut world = World::new(vec![graph]);
    let run = world.trigger("d", "r");
    world.ask("ask");
    world.pass(30);
    assert_eq!(world.state(run, "ask"), TaskState::UpForRetry);
    world.pass(10);
    world.ask("ask");
    assert_eq!(world.state(run, "ask"), TaskState::AwaitingInput);
    world.answer("d", "r", "ask", &["Approve"]);
    let tries: Vec<i16> = world.mirror.questions.keys().map(|(_, number)| *number).collect();
    assert_eq!((world.state(run, "ask"), tries), (TaskState::Success, vec![1, 2]));
}

#[test]
fn a_question_counts_as_active_and_ends_with_its_run() {
    let graph = with(asks(SKIP_NEXT, None), "ask", |task| task.max_active_tis_per_dag = Some(1));
    let mut world = World::new(vec![graph]);
    let first = world.trigger("d", "r");
    world.ask("ask");
    world.trigger("d", "s");
    assert!(world.at_work().is_empty(), "one instance of the task is active already");
    let to = model::Command::MarkDagRun {
        dag_id: model::DagId::new("d").unwrap(),
        run_id: model::RunId::new("r").unwrap(),
        state: DagRunState::Failed,
    };
    world.command(to);
    assert_eq!(world.state(first, "ask"), TaskState::Failed);
    assert_eq!(world.at_work(), ["ask"]);
}

#[test]
fn a_cleared_question_is_asked_again() {
    let (mut world, run) = asking(SKIP_NEXT, Some(60.0));
    world.clear("d", "r", "ask", Relatives::default());
    assert_eq!(world.at_work(), ["ask"]);
    world.pass(100);
    assert_eq!(world.state(run, "ask"), TaskState::Queued, "the first question's time means nothing to the second");
    world.end_with("ask", AttemptEnd::new(EndKind::Failed, "the template is wrong"));
    assert_eq!(world.state(run, "ask"), TaskState::Failed);
}
