//! Attempts that ask for runs of other DAGs, with a real leader and a worker that is played by hand.

use std::collections::BTreeSet;

use link::{
    FetchItem, FetchKey, Fetched, FromWorker, IfExists, IfPaused, LeaderPort as _, Query, Reply, RunView, RunWish,
    ToWorker, Triggered, WhichRun,
    transport::{Connector as _, WorkerLink},
};
use model::{
    AttemptId, Command, DagId, DagRunState, MapIndex, RunId, RunType, TaskId, TaskState, TriggeredBy,
    command::{Paused, TriggerDagRun},
};
use store::read;
use uuid::Uuid;

use crate::leader::{Scene, done, hello, next_assignment, number, receive};

const DAGS: &str = "
asking:
  schedule: null
  tasks: [{task_id: a, operator: bash, bash_command: 'true'}]
other:
  schedule: null
  params: {n: {type: integer, default: 1}}
  tasks: [{task_id: b, operator: empty}]
";

/// A leader with both DAGs, and an attempt of the first one that may ask.
struct Asking {
    scene: Scene,
    worker: WorkerLink,
    attempt: AttemptId,
}

impl Asking {
    async fn new() -> Self {
        let scene = Scene::with(DAGS, &["asking", "other"]).await;
        let mut worker = scene.leader.connector.connect().await.unwrap();
        worker.send(hello(Uuid::new_v4(), BTreeSet::new())).await.unwrap();
        let asking = DagId::new("asking").unwrap();
        done(&scene.pool, &scene.hints, Command::PauseDag { dag_id: asking.clone(), to: Paused::Active }).await;
        let wish = TriggerDagRun::by_hand(asking, TriggeredBy::Test);
        done(&scene.pool, &scene.hints, Command::TriggerDagRun(wish)).await;
        let attempt = next_assignment(&mut worker).await;
        Self { scene, worker, attempt }
    }

    async fn ask(&mut self, attempt: AttemptId, key: FetchKey) -> FetchItem {
        self.worker.send(FromWorker::Fetch { id: 7, attempt: Some(attempt), key }).await.unwrap();
        loop {
            if let ToWorker::Fetched(Fetched { id: 7, item }) = receive(&mut self.worker).await {
                return item;
            }
        }
    }

    async fn trigger(&mut self, wish: RunWish) -> FetchItem {
        self.ask(self.attempt, FetchKey::TriggerRun(Box::new(wish))).await
    }

    async fn runs(&self) -> i64 {
        number(&self.scene.pool, "SELECT count(*) FROM dag_run WHERE dag_id = 'other'").await
    }
}

fn wish(run: &str) -> RunWish {
    RunWish {
        dag_id: DagId::new("other").unwrap(),
        run_id: RunId::new(run).unwrap(),
        logical_date: None,
        conf: serde_json::Map::new(),
        existing: IfExists::Keep,
        paused: IfPaused::Wait,
    }
}

fn triggered(item: FetchItem) -> (RunView, Triggered) {
    match item {
        FetchItem::Triggered { run, how } => (*run, how),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_made_once_however_often_its_attempt_asks() {
    let mut asking = Asking::new().await;
    let (run, how) = triggered(asking.trigger(wish("r")).await);
    assert_eq!((run.state, run.dag_is_paused, how), (DagRunState::Queued, true, Triggered::Made));
    let (_, again) = triggered(asking.trigger(wish("r")).await);
    assert_eq!((again, asking.runs().await), (Triggered::Made, 1));
    let stored = read::run(&asking.scene.pool, &DagId::new("other").unwrap(), &run.run_id).await.unwrap().unwrap();
    assert_eq!((stored.run_type, stored.triggered_by), (RunType::OperatorTriggered, TriggeredBy::Operator));

    let by_hand = TriggerDagRun::by_hand(DagId::new("other").unwrap(), TriggeredBy::Test);
    let earlier = TriggerDagRun { run_id: Some(RunId::new("earlier").unwrap()), ..by_hand };
    done(&asking.scene.pool, &asking.scene.hints, Command::TriggerDagRun(earlier)).await;
    assert_eq!(triggered(asking.trigger(wish("earlier")).await).1, Triggered::Existed);
    let reset = RunWish { existing: IfExists::Reset, ..wish("earlier") };
    assert_eq!(triggered(asking.trigger(reset.clone()).await).1, Triggered::Made);
    let (run, _) = triggered(asking.trigger(reset).await);
    let stored = read::run(&asking.scene.pool, &DagId::new("other").unwrap(), &run.run_id).await.unwrap().unwrap();
    assert_eq!(stored.clear_number, 1, "a question that is repeated clears no second time");
    asking.scene.leader.task.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_not_be_triggered_is_refused_with_the_reason() {
    let mut asking = Asking::new().await;
    let refused = |item| match item {
        FetchItem::Refused(detail) => detail,
        other => panic!("{other:?}"),
    };
    let unknown = RunWish { dag_id: DagId::new("nobody").unwrap(), ..wish("r") };
    assert_eq!(refused(asking.trigger(unknown).await), "there is no DAG nobody");
    let paused = RunWish { paused: IfPaused::Refuse, ..wish("r") };
    assert_eq!(refused(asking.trigger(paused).await), "DAG other is paused");
    let conf = serde_json::Map::from_iter([("n".to_owned(), "many".into())]);
    let detail = refused(asking.trigger(RunWish { conf, ..wish("r") }).await);
    assert!(detail.contains("does not fit the param n"), "{detail}");
    let stranger = AttemptId(Uuid::new_v4());
    let item = asking.ask(stranger, FetchKey::TriggerRun(Box::new(wish("r")))).await;
    assert!(matches!(item, FetchItem::Missing(_)), "{item:?}");
    assert_eq!(asking.runs().await, 0);
    asking.scene.leader.task.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_attempt_waits_for_is_part_of_the_reason() {
    let mut asking = Asking::new().await;
    let line = "Poke 2: /in.csv is not there".to_owned();
    asking.worker.send(FromWorker::Said { attempt: asking.attempt, line }).await.unwrap();
    let dag_id = DagId::new("asking").unwrap();
    let run = read::recent_runs(&asking.scene.pool, std::slice::from_ref(&dag_id), 1).await.unwrap().remove(0);
    // The answer to a question comes after what was said before it.
    asking.ask(asking.attempt, FetchKey::Variable("nothing".to_owned())).await;
    let query = Query::WhyTask {
        dag_id,
        run_id: run.run_id,
        task_id: TaskId::new("a").unwrap(),
        map_index: MapIndex::UNMAPPED,
    };
    match asking.scene.leader.port.ask(query).await.unwrap() {
        Reply::Why { sentence, .. } => assert!(sentence.ends_with("; Poke 2: /in.csv is not there"), "{sentence}"),
        other => panic!("{other:?}"),
    }
    asking.scene.leader.task.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_elsewhere_is_found_by_its_date_with_its_tasks() {
    let mut asking = Asking::new().await;
    let dag_id = DagId::new("other").unwrap();
    done(&asking.scene.pool, &asking.scene.hints, Command::PauseDag { dag_id: dag_id.clone(), to: Paused::Active })
        .await;
    let date = "2026-01-30T00:00:00Z".parse().unwrap();
    let look = |date, tasks: &[&str]| FetchKey::Run {
        dag_id: dag_id.clone(),
        which: WhichRun::LogicalDate(date),
        tasks: tasks.iter().map(|task| TaskId::new(task).unwrap()).collect(),
    };
    let item = asking.ask(asking.attempt, look(date, &[])).await;
    assert!(matches!(&item, FetchItem::Missing(detail) if detail.contains("2026-01-30")), "{item:?}");
    triggered(asking.trigger(RunWish { logical_date: Some(date), ..wish("r") }).await);
    match asking.ask(asking.attempt, look(date, &["b", "gone"])).await {
        FetchItem::Run(run) => {
            assert_eq!((run.run_id.as_str(), run.state), ("r", DagRunState::Success));
            assert_eq!(run.tasks, [(TaskId::new("b").unwrap(), TaskState::Success)].into());
        }
        other => panic!("{other:?}"),
    }
    let before =
        |date| FetchKey::Run { dag_id: dag_id.clone(), which: WhichRun::SuccessBefore(date), tasks: Vec::new() };
    assert!(matches!(asking.ask(asking.attempt, before(date)).await, FetchItem::Missing(_)));
    match asking.ask(asking.attempt, before(date + chrono::TimeDelta::days(1))).await {
        FetchItem::Run(run) => {
            assert!(run.run_id.as_str() == "r" && run.started_at.is_some() && run.ended_at.is_some())
        }
        other => panic!("{other:?}"),
    }
    asking.scene.leader.task.abort();
}
