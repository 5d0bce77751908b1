//! Commands with a real leader: withdrawn at any moment, in floods, refused by PostgreSQL; none harms another.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use link::{FromWorker, ToWorker, transport::Connector as _};
use model::{
    AnswerStatus, AttemptEnd, Command, CommandId, DagId, DagRunState, EndKind, RunId, TaskState, TriggeredBy,
    XComValue,
    command::{Answer, ClearTaskInstances, Paused, TriggerDagRun},
};
use serde_json::json;
use sqlx::Executor;
use store::{
    inbox::{self, Withdrawal},
    read,
};
use uuid::Uuid;

use crate::leader::{Scene, WITHIN, done, hello, lead, next_assignment, number, receive, until};

const DAGS: &str = "
d:
  schedule: null
  is_paused_upon_creation: false
  tasks: [{task_id: a, operator: empty}]
wide:
  schedule: null
  is_paused_upon_creation: false
  max_active_runs: 1000
  tasks: [{task_id: a, operator: bash, bash_command: 'true'}]
";

impl Scene {
    async fn count(&self, what: &str) -> i64 {
        number(&self.pool, &format!("SELECT count(*) FROM {what}")).await
    }

    async fn epoch(&self) -> i64 {
        store::cluster::leader_seat(&self.pool).await.unwrap().epoch.get()
    }

    async fn submit(&self, command: &Command, by: &str) -> CommandId {
        inbox::submit(&self.pool, command, by).await.unwrap()
    }

    async fn answer(&self, id: CommandId) -> Answer {
        inbox::await_answer(&self.pool, &self.hints, id, WITHIN).await.unwrap().expect("a leader answers")
    }
}

fn trigger(dag: &str, run: &str) -> Command {
    let wish = TriggerDagRun::by_hand(DagId::new(dag).unwrap(), TriggeredBy::Test);
    Command::TriggerDagRun(TriggerDagRun { run_id: Some(RunId::new(run).unwrap()), ..wish })
}

fn pause(to: Paused) -> Command {
    Command::PauseDag { dag_id: DagId::new("d").unwrap(), to }
}

#[tokio::test(flavor = "multi_thread")]
async fn senders_that_give_up_at_any_moment_disturb_nobody() {
    let scene = Scene::with(DAGS, &["d"]).await;
    // Without a hint, so that the leader finds them within a second, and some are withdrawn before it does.
    let body = serde_json::to_string(&trigger("d", "NAME")).unwrap();
    let flood = format!(
        "INSERT INTO inbox (id, command, sent_by, is_bulk) OVERRIDING SYSTEM VALUE
         SELECT nextval(pg_get_serial_sequence('audit_log', 'id')), replace('{body}', 'NAME', 'r' || n)::json, 'flood', true FROM generate_series(1, 300) n RETURNING id"
    );
    let ids: Vec<i64> = sqlx::query_scalar(&flood).fetch_all(&scene.pool).await.unwrap();
    let mut senders = Vec::new();
    for (number, id) in (0_u64..).zip(ids) {
        let (pool, hints, id) = (scene.pool.clone(), scene.hints.clone(), CommandId(id));
        senders.push(tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(number * 37 % 1_500)).await;
            match inbox::cancel_command(&pool, id).await.unwrap() {
                Withdrawal::Withdrawn => 0,
                Withdrawal::AlreadyTaken => {
                    let answer = inbox::await_answer(&pool, &hints, id, WITHIN).await.unwrap();
                    i64::from(answer.expect("what was taken is answered").status == AnswerStatus::Done)
                }
            }
        }));
    }
    let mut made = 0;
    for sender in senders {
        made += sender.await.unwrap();
    }
    println!("{made} of 300 were taken before their sender gave up");
    assert_eq!(scene.count("dag_run").await, made);
    assert!(made > 0 && made < 300, "{made}: both happened");
    assert_eq!(scene.epoch().await, 1);
    scene.leader.task.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_triggers_delays_no_pause_and_no_clear() {
    const FLOOD: i64 = 5_000;
    let scene = Scene::with(DAGS, &["d"]).await;
    done(&scene.pool, &scene.hints, trigger("d", "mine")).await;
    let body = |run: &str| serde_json::to_string(&trigger("d", run)).unwrap();
    // As a client would leave them, but all at once.
    let flood = format!(
        "INSERT INTO inbox (id, command, sent_by, is_bulk) OVERRIDING SYSTEM VALUE
         SELECT nextval(pg_get_serial_sequence('audit_log', 'id')), replace('{}', 'NAME', 'f' || n)::json, 'flood', true FROM generate_series(1, {FLOOD}) n",
        body("NAME")
    );
    scene.pool.execute(flood.as_str()).await.unwrap();
    // By how much of the flood is taken before it, not by the clock: that is the same on a busy machine.
    let (mut asked, mut left, mut overtaken_max) = (0, FLOOD, 0);
    while left > 0 {
        for by in ["me", "flood"] {
            let clear = ClearTaskInstances::of_run(DagId::new("d").unwrap(), RunId::new("mine").unwrap());
            for command in [pause(Paused::Paused), Command::ClearTaskInstances(clear), pause(Paused::Active)] {
                let before = scene.count("dag_run").await;
                let id = scene.submit(&command, by).await;
                assert_eq!(scene.answer(id).await.status, AnswerStatus::Done);
                overtaken_max = overtaken_max.max(scene.count("dag_run").await - before);
                asked += 1;
            }
        }
        left = scene.count("inbox WHERE is_bulk").await;
    }
    println!("{asked} other commands; of {FLOOD} triggers at most {overtaken_max} were taken before one of them");
    assert!(asked >= 12, "the flood lasted");
    assert!(overtaken_max < FLOOD / 4, "{overtaken_max}");
    assert_eq!((scene.count("dag_run").await, scene.epoch().await), (FLOOD + 1, 1));
    scene.leader.task.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_database_refuses_of_one_command_is_the_error_of_that_command() {
    let scene = Scene::with(DAGS, &["d"]).await;
    let mut worker = scene.leader.connector.connect().await.unwrap();
    worker.send(hello(Uuid::new_v4(), BTreeSet::new())).await.unwrap();
    done(&scene.pool, &scene.hints, trigger("wide", "first")).await;
    let attempt = next_assignment(&mut worker).await;
    let refuse = "ALTER TABLE dag_run ADD CONSTRAINT no_evil CHECK (run_id NOT LIKE 'evil%')";
    scene.pool.execute(refuse).await.unwrap();
    for round in 0..3 {
        let mut fine = Vec::new();
        let mut evil = Vec::new();
        for number in 0..10 {
            fine.push(scene.submit(&trigger("d", &format!("r{round}-{number}")), &format!("sender {number}")).await);
            if number % 5 == 2 {
                evil.push(scene.submit(&trigger("d", &format!("evil{round}-{number}")), "evil").await);
            }
        }
        for id in fine {
            assert_eq!(scene.answer(id).await.status, AnswerStatus::Done);
        }
        for id in evil {
            let answer = scene.answer(id).await;
            let detail = answer.body["detail"].as_str().unwrap().to_owned();
            assert_eq!(answer.status, AnswerStatus::Invalid);
            assert!(detail.contains("no_evil"), "{detail}");
        }
    }
    assert_eq!(scene.count("inbox WHERE dead_because IS NOT NULL AND deliveries = 1").await, 6);
    assert_eq!((scene.count("dag_run WHERE dag_id = 'd'").await, scene.epoch().await), (30, 1));
    // The worker heard nothing of it: its attempt goes on, and it is given new ones.
    worker
        .send(FromWorker::Ended { seq: 1, attempt, end: Box::new(AttemptEnd::new(EndKind::Success, "")) })
        .await
        .unwrap();
    let (dag, run) = (DagId::new("wide").unwrap(), RunId::new("first").unwrap());
    until("the run succeeds", async || {
        read::run(&scene.pool, &dag, &run).await.unwrap().unwrap().state == DagRunState::Success
    })
    .await;
    done(&scene.pool, &scene.hints, trigger("wide", "second")).await;
    next_assignment(&mut worker).await;
    scene.leader.task.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_database_refuses_of_one_report_is_the_end_of_that_attempt() {
    let scene = Scene::with(DAGS, &["d"]).await;
    let mut worker = scene.leader.connector.connect().await.unwrap();
    worker.send(hello(Uuid::new_v4(), BTreeSet::new())).await.unwrap();
    let mut attempts = Vec::new();
    for number in 0..3 {
        done(&scene.pool, &scene.hints, trigger("wide", &format!("r{number}"))).await;
        attempts.push(next_assignment(&mut worker).await);
    }
    scene.pool.execute("ALTER TABLE xcom ADD CONSTRAINT no_evil CHECK (key <> 'evil')").await.unwrap();
    for (seq, attempt) in (1..).zip(attempts) {
        let mut end = Box::new(AttemptEnd::new(EndKind::Success, ""));
        if seq == 2 {
            end.xcoms.push(XComValue { key: "evil".to_owned(), value: json!(1) });
        }
        worker.send(FromWorker::Ended { seq, attempt, end }).await.unwrap();
    }
    until("the runs end", async || scene.count("dag_run WHERE state IN (2, 3)").await == 3).await;
    let failed = format!("task_instance WHERE state = {}", TaskState::Failed.code());
    assert_eq!((scene.count(&failed).await, scene.epoch().await), (1, 1));
    let why: String = sqlx::query_scalar("SELECT reason FROM task_instance_extra WHERE reason IS NOT NULL")
        .fetch_one(&scene.pool)
        .await
        .unwrap();
    assert!(why.contains("can not be stored") && why.contains("no_evil"), "{why}");
    // All three are stored, so the worker may forget them.
    loop {
        if let ToWorker::Ack { seq: 3.. } = receive(&mut worker).await {
            break;
        }
    }
    scene.leader.task.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dag_that_this_binary_can_not_read_holds_up_no_other() {
    let scene = Scene::with(DAGS, &["d"]).await;
    done(&scene.pool, &scene.hints, trigger("wide", "waits")).await;
    scene.leader.task.abort();
    // As a newer version would have left it: its file is not one that this one can read either.
    let newer =
        r#"UPDATE dag_version SET compiled = replace(compiled::text, '"bash"', '"flink"')::json WHERE dag_id = 'wide'"#;
    scene.pool.execute(newer).await.unwrap();
    let file = DAGS.replace("operator: bash", "operator: flink");
    std::fs::write(scene.folder.path().join("dags.yaml"), &file).unwrap();
    let second = lead(&scene.url, "second", scene.folder.path());
    until("a leader begins anew", async || scene.epoch().await == 2).await;
    let answer = done(&scene.pool, &scene.hints, trigger("d", "after")).await;
    assert_eq!(answer["run_id"], "after");
    let (dag, run) = (DagId::new("d").unwrap(), RunId::new("after").unwrap());
    until("the run succeeds", async || {
        read::run(&scene.pool, &dag, &run).await.unwrap().unwrap().state == DagRunState::Success
    })
    .await;
    let wide = Command::PauseDag { dag_id: DagId::new("wide").unwrap(), to: Paused::Paused };
    done(&scene.pool, &scene.hints, wide).await;
    assert_eq!(scene.count("dag WHERE dag_id = 'wide' AND is_paused").await, 1, "its switch can be set");
    let refused = scene.submit(&trigger("wide", "r"), "me").await;
    let refused = scene.answer(refused).await;
    assert!(refused.body["detail"].as_str().unwrap().contains("quarantine"), "{refused:?}");
    assert_eq!(scene.count("quarantine WHERE kind = 'version' AND reason LIKE '%flink%'").await, 1);
    assert_eq!(scene.count("quarantine WHERE kind = 'run' AND reason LIKE '%waits%'").await, 1);
    assert_eq!(scene.count("dag_run WHERE dag_id = 'wide' AND state IN (0, 1)").await, 1, "its run is left alone");
    assert_eq!(scene.epoch().await, 2);
    second.task.abort();
    // A leader that can read it takes it up again.
    let older =
        r#"UPDATE dag_version SET compiled = replace(compiled::text, '"flink"', '"bash"')::json WHERE dag_id = 'wide'"#;
    scene.pool.execute(older).await.unwrap();
    let third = lead(&scene.url, "third", scene.folder.path());
    until("it is released", async || scene.epoch().await == 3 && scene.count("quarantine").await == 0).await;
    let wide = Command::PauseDag { dag_id: DagId::new("wide").unwrap(), to: Paused::Active };
    done(&scene.pool, &scene.hints, wide).await;
    let mut worker = third.connector.connect().await.unwrap();
    worker.send(hello(Uuid::new_v4(), BTreeSet::new())).await.unwrap();
    next_assignment(&mut worker).await;
    third.task.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dag_with_a_long_history_is_deleted_while_others_go_on() {
    let scene = Scene::with(DAGS, &["d"]).await;
    done(&scene.pool, &scene.hints, pause(Paused::Paused)).await;
    let history = "INSERT INTO dag_run (id, dag_id, run_id, run_type, triggered_by, version_id, state, run_after, queued_at, conf)
        SELECT -n, 'd', 'old' || n, 1, 0, 1, 2, now(), now(), '{}' FROM generate_series(1, 30000) n;
        INSERT INTO task_instance (run_id, task_idx, map_index, try_number, state, live)
        SELECT -n, 0, -1, 1, 4, false FROM generate_series(1, 30000) n";
    scene.pool.execute(history).await.unwrap();
    let deleting = scene.submit(&Command::DeleteDag { dag_id: DagId::new("d").unwrap() }, "me").await;
    let begun = Instant::now();
    let other = scene.submit(&trigger("wide", "r"), "me").await;
    assert_eq!(scene.answer(other).await.status, AnswerStatus::Done);
    let other = begun.elapsed();
    assert_eq!(scene.answer(deleting).await.status, AnswerStatus::Done);
    println!("30000 runs went in {:?}, another command took {other:?} meanwhile", begun.elapsed());
    assert_eq!((scene.count("dag_run WHERE dag_id = 'd'").await, scene.epoch().await), (0, 1));
    until("the deleted runs are gone", async || scene.count("dropped_run").await == 0).await;
    assert_eq!(scene.count("task_instance WHERE run_id < 0").await, 0);
    scene.leader.task.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_hear_of_the_leader_during_long_consequences() {
    let tasks: String = (0..1_000).map(|number| format!("    - {{task_id: t{number}, operator: empty}}\n")).collect();
    let scene =
        Scene::with(&format!("{DAGS}many:\n  schedule: null\n  max_active_runs: 1000\n  tasks:\n{tasks}"), &["d"])
            .await;
    let mut worker = scene.leader.connector.connect().await.unwrap();
    worker.send(hello(Uuid::new_v4(), BTreeSet::new())).await.unwrap();
    while !matches!(receive(&mut worker).await, ToWorker::Ack { .. }) {}
    let many = DagId::new("many").unwrap();
    for number in 0..80 {
        done(&scene.pool, &scene.hints, trigger("many", &format!("r{number}"))).await;
    }
    let begun = Instant::now();
    // 80,000 instances follow from this one command.
    done(&scene.pool, &scene.hints, Command::PauseDag { dag_id: many, to: Paused::Active }).await;
    let (mut last, mut longest) = (Instant::now(), Duration::ZERO);
    while scene.count("dag_run WHERE dag_id = 'many' AND state = 2").await < 80 {
        match tokio::time::timeout(Duration::from_millis(100), worker.recv()).await {
            Ok(Ok(Some(ToWorker::Ack { .. }))) => {
                longest = longest.max(last.elapsed());
                last = Instant::now();
            }
            Ok(Ok(Some(_))) | Err(_) => {}
            Ok(Ok(None) | Err(_)) => panic!("the leader has closed the connection"),
        }
        assert!(begun.elapsed() < Duration::from_secs(120));
    }
    let (took, longest) = (begun.elapsed(), longest.max(last.elapsed()));
    println!("80,000 instances in {took:?}; the longest silence was {longest:?}");
    assert!(longest < (took * 2 / 3).max(Duration::from_secs(3)), "{longest:?} of {took:?}");
    assert_eq!(scene.epoch().await, 1);
    scene.leader.task.abort();
}
