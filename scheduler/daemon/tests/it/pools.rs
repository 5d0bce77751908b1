//! A pool that is changed while tasks wait for it lets them run at once.

use std::collections::BTreeSet;

use link::transport::Connector;
use model::{
    Command, DagId, Pool, TriggeredBy,
    command::{AnswerStatus, Paused, TriggerDagRun},
};
use store::{Hints, inbox, read};
use uuid::Uuid;

use crate::leader::{WITHIN, done, hello, lead, migrated, next_assignment, until};

fn etl(slots: u32) -> Pool {
    Pool {
        name: "etl".to_owned(),
        slots: Some(slots),
        description: String::new(),
        include_deferred: false,
        rate_limit: None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_larger_pool_lets_waiting_tasks_run_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let yaml = "dag_id: pooled\nschedule: null\nis_paused_upon_creation: false\ntasks:\n  \
                - {task_id: a, operator: bash, bash_command: 'true', pool: etl}\n  \
                - {task_id: b, operator: bash, bash_command: 'true', pool: etl}\n";
    std::fs::write(folder.path().join("pooled.yaml"), yaml).unwrap();
    let (url, pool) = migrated().await;
    let hints = Hints::listen(&pool).await.unwrap();
    let leader = lead(&url, "first", folder.path());
    let mut worker = leader.connector.connect().await.unwrap();
    worker.send(hello(Uuid::new_v4(), BTreeSet::new())).await.unwrap();
    let dag = DagId::new("pooled").unwrap();
    until("the DAG is there", async || read::dag(&pool, &dag).await.unwrap().is_some()).await;
    done(&pool, &hints, Command::PauseDag { dag_id: dag.clone(), to: Paused::Active }).await;
    done(&pool, &hints, Command::TriggerDagRun(TriggerDagRun::by_hand(dag.clone(), TriggeredBy::Test))).await;

    // Both wait for a pool that does not exist; each change lets one more go, and no task has ended meanwhile.
    done(&pool, &hints, Command::CreatePool(etl(1))).await;
    let first = next_assignment(&mut worker).await;
    let again = inbox::submit(&pool, &Command::CreatePool(etl(5)), "test").await.unwrap();
    let refused = inbox::await_answer(&pool, &hints, again, WITHIN).await.unwrap().unwrap();
    assert_eq!(refused.status, AnswerStatus::Conflict);
    done(&pool, &hints, Command::SetPool(etl(2))).await;
    assert_ne!(next_assignment(&mut worker).await, first);
    let stored = read::pools(&pool).await.unwrap();
    assert!(stored.contains(&etl(2)), "{stored:?}");
    leader.task.abort();
}
