//! The operator `trigger_dag_run`.

use link::{FetchItem, FetchKey, IfExists, IfPaused, RunView, RunWish, Triggered};
use model::{
    DagRunState, EndKind, Operator, RunId,
    operator::{TriggerDagRunTask, TriggerDate},
};
use serde_json::json;

use crate::rig::Rig;

fn task() -> TriggerDagRunTask {
    TriggerDagRunTask {
        trigger_dag_id: "other".into(),
        trigger_run_id: Some("r".into()),
        conf: json!({"day": "{{ ds }}"}),
        logical_date: TriggerDate::At("{{ logical_date }}".into()),
        reset_dag_run: false,
        skip_when_already_exists: false,
        fail_when_dag_is_paused: false,
        wait_for_completion: false,
        deferrable: false,
        poke_interval_secs: 0.02,
        allowed_states: vec![DagRunState::Success],
        failed_states: vec![DagRunState::Failed],
    }
}

fn run(state: DagRunState) -> Box<RunView> {
    let run_id = RunId::new("r").unwrap();
    Box::new(RunView {
        run_id,
        state,
        dag_is_paused: true,
        tasks: std::collections::BTreeMap::new(),
        data_interval: None,
        started_at: None,
        ended_at: None,
    })
}

fn triggered(how: Triggered) -> FetchItem {
    FetchItem::Triggered { run: run(DagRunState::Queued), how }
}

fn answers(rig: &Rig, items: Vec<FetchItem>) {
    *rig.leader.runs.lock().unwrap() = items;
}

fn wish(rig: &Rig) -> RunWish {
    match &rig.leader.asked.lock().unwrap()[0] {
        FetchKey::TriggerRun(wish) => (**wish).clone(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_run_is_asked_for_and_its_id_left_as_an_xcom() {
    let rig = Rig::new();
    answers(&rig, vec![triggered(Triggered::Made)]);
    let ran = rig.run(Operator::TriggerDagRun(task())).await;
    assert_eq!(ran.end.kind, EndKind::Success, "{}", ran.text());
    assert_eq!(ran.xcom("trigger_run_id"), Some(&json!("r")));
    let wish = wish(&rig);
    assert_eq!(json!(wish.conf), json!({"day": "2026-01-30"}));
    assert_eq!(wish.logical_date, Some("2026-01-30T00:00:00Z".parse().unwrap()));
    assert_eq!((wish.existing, wish.paused), (IfExists::Keep, IfPaused::Wait));
}

#[tokio::test]
async fn a_run_without_a_name_gets_one_that_is_its_own() {
    let rig = Rig::new();
    answers(&rig, vec![triggered(Triggered::Made)]);
    let nameless = TriggerDagRunTask { trigger_run_id: None, logical_date: TriggerDate::None, ..task() };
    let template = TriggerDagRunTask { conf: json!("{{ params }}"), reset_dag_run: true, ..nameless };
    rig.run(Operator::TriggerDagRun(template)).await;
    let wish = wish(&rig);
    assert!(wish.run_id.as_str().starts_with("operator_triggered__20"), "{}", wish.run_id);
    assert_eq!((wish.logical_date, wish.existing), (None, IfExists::Reset));
}

#[tokio::test]
async fn a_run_that_exists_already_fails_or_skips_the_task() {
    let rig = Rig::new();
    answers(&rig, vec![triggered(Triggered::Existed)]);
    let end = rig.run(Operator::TriggerDagRun(task())).await.end;
    assert_eq!(end.kind, EndKind::Failed);
    assert!(end.reason.starts_with("run r of other exists already"), "{}", end.reason);
    let skips = TriggerDagRunTask { skip_when_already_exists: true, ..task() };
    assert_eq!(rig.run(Operator::TriggerDagRun(skips)).await.end.kind, EndKind::Skipped);
}

#[tokio::test]
async fn the_end_of_the_run_is_waited_for_when_asked() {
    let rig = Rig::new();
    let waits = Operator::TriggerDagRun(TriggerDagRunTask { wait_for_completion: true, ..task() });
    let of = |state| FetchItem::Run(run(state));
    let away = FetchItem::Unavailable("the leader is changing".into());
    answers(&rig, vec![triggered(Triggered::Made), of(DagRunState::Running), away, of(DagRunState::Success)]);
    let ran = rig.run(waits.clone()).await;
    assert_eq!(ran.end.kind, EndKind::Success, "{}", ran.text());
    assert!(ran.lines("sys").contains(&"Run r of other is queued, and its DAG is paused".to_owned()), "{}", ran.text());
    answers(&rig, vec![triggered(Triggered::Made), of(DagRunState::Failed)]);
    let ran = rig.run(waits).await;
    assert_eq!(ran.end.reason, "run r of other is failed, one of failed_states");
    assert_eq!(ran.xcom("trigger_run_id"), Some(&json!("r")), "the id is there although the task failed");
}

#[tokio::test]
async fn a_deferrable_task_looks_once_and_the_next_look_finds_its_run_by_what_the_first_has_left() {
    let mut rig = Rig::new();
    let keys = TriggerDagRunTask { trigger_run_id: None, wait_for_completion: true, deferrable: true, ..task() };
    let waits = Operator::TriggerDagRun(keys);
    let of = |state| FetchItem::Run(run(state));
    answers(&rig, vec![triggered(Triggered::Made)]);
    let ran = rig.run(waits.clone()).await;
    assert_eq!((ran.end.kind, ran.end.again_after_secs), (EndKind::Rescheduled, Some(0.02)), "{}", ran.text());
    assert_eq!(ran.end.reason, "Run r of other is queued, and its DAG is paused");
    assert_eq!(ran.xcom("trigger_run_id"), Some(&json!("r")), "the id is there before the end");
    let again = |rig: &Rig, waited_secs| {
        let mut assignment = rig.assignment(waits.clone());
        assignment.poked = Some(link::Poked { waited_secs, times: 1 });
        rig.attempt(assignment)
    };
    // The leader has not stored it yet, or somebody has deleted it.
    let age = std::time::Duration::from_secs(5);
    assert_eq!(windlass_executor::look_again(&again(&rig, 5.0), &rig.stop, age).await.kind, EndKind::Rescheduled);
    let end = windlass_executor::look_again(&again(&rig, 500.0), &rig.stop, age).await;
    assert!(
        end.kind == EndKind::Failed && end.reason.contains("trigger_run_id of this task is gone"),
        "{}",
        end.reason
    );
    let own = rig.assignment(waits.clone()).ti.task.get();
    rig.leader.xcoms.insert((own, "trigger_run_id".to_owned()), json!("r"));
    for (answer, kind) in [
        (of(DagRunState::Running), EndKind::Rescheduled),
        (FetchItem::Unavailable("the leader is changing".into()), EndKind::Rescheduled),
        (of(DagRunState::Failed), EndKind::Failed),
        (of(DagRunState::Success), EndKind::Success),
    ] {
        answers(&rig, vec![answer]);
        let end = windlass_executor::look_again(&again(&rig, 5.0), &rig.stop, age).await;
        assert_eq!(end.kind, kind, "{}", end.reason);
        assert!(end.ran_micros >= 5_000_000, "its time counts from its first look");
    }
    let asked = rig.leader.asked.lock().unwrap();
    let made = asked.iter().filter(|key| matches!(key, FetchKey::TriggerRun(_))).count();
    assert_eq!(made, 1, "a further look makes no run");
}

#[tokio::test]
async fn a_refusal_is_the_reason() {
    let rig = Rig::new();
    answers(&rig, vec![FetchItem::Refused("there is no DAG other".into())]);
    let end = rig.run(Operator::TriggerDagRun(task())).await.end;
    assert_eq!((end.kind, end.reason.as_str()), (EndKind::Failed, "triggering other: there is no DAG other"));
}
