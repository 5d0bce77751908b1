//! What fails again and again is held, shown and released.

use model::{Command, command::Paused};
use serde_json::json;
use sqlx::Executor;
use store::{
    StoreError, inbox,
    quarantine::{self, Kind, Standing, Subject},
};

use crate::support::{Database, dag_id};

#[tokio::test]
async fn the_third_failure_holds_and_a_release_hands_it_out_once() {
    let database = Database::create().await;
    let mut leader = database.leader().await;
    let epoch = leader.epoch();
    let report = Subject::new(Kind::Report, "attempt\0 1");
    let content = json!({"zebra": "a\0b", "ant": 1});
    for expected in [Standing::Counted, Standing::Counted, Standing::Held] {
        let counted = quarantine::count(&mut leader.writer, epoch, &report, "it broke\0", Some(&content)).await;
        assert_eq!(counted.unwrap(), expected);
        let (entries, total) = quarantine::list(&database.pool, None, (10, 0)).await.unwrap();
        assert_eq!(i64::from(expected == Standing::Held), total);
        assert_eq!(entries.len(), usize::from(expected == Standing::Held));
    }
    let held = quarantine::held(leader.writer.connection()).await.unwrap();
    let clean = Subject::new(Kind::Report, "attempt\u{fffd} 1");
    assert!(held.iter().eq([&clean]));
    let (entries, _) = quarantine::list(&database.pool, Some(&clean), (10, 0)).await.unwrap();
    assert_eq!((entries[0].reason.as_str(), entries[0].failures), ("it broke\u{fffd}", 3));
    assert_eq!(entries[0].id.parse::<Subject>().unwrap(), clean);
    assert!("nothing:1".parse::<Subject>().is_err() && "report".parse::<Subject>().is_err());
    let other = Subject::new(Kind::Version, "1");
    assert_eq!(quarantine::list(&database.pool, Some(&other), (10, 0)).await.unwrap().1, 0);

    assert!(quarantine::take_released(&mut leader.writer, epoch).await.unwrap().is_empty());
    assert!(quarantine::release(&database.pool, "me", &clean).await.unwrap());
    assert!(!quarantine::release(&database.pool, "me", &clean).await.unwrap(), "it is released already");
    let released = quarantine::take_released(&mut leader.writer, epoch).await.unwrap();
    assert_eq!(released.len(), 1);
    assert_eq!((&released[0].subject, released[0].content.as_ref()), (&clean, Some(&content)));
    assert!(quarantine::take_released(&mut leader.writer, epoch).await.unwrap().is_empty());
    assert_eq!(database.count("audit_log WHERE who = 'me' AND action = 'release_quarantine'").await, 1);
}

#[tokio::test]
async fn a_command_that_was_put_aside_is_in_quarantine_and_comes_again_when_released() {
    let database = Database::create().await;
    let mut leader = database.leader().await;
    let epoch = leader.epoch();
    let command = Command::PauseDag { dag_id: dag_id("a"), to: Paused::Paused };
    let id = inbox::submit(&database.pool, &command, "me").await.unwrap();
    inbox::mark_dead(&mut leader.writer, epoch, id, "it broke").await.unwrap();
    let (entries, total) = quarantine::list(&database.pool, None, (10, 0)).await.unwrap();
    assert_eq!((total, entries[0].kind.as_str(), entries[0].reason.as_str()), (1, "command", "it broke"));
    let subject: Subject = entries[0].id.parse().unwrap();
    assert!(quarantine::release(&database.pool, "me", &subject).await.unwrap());
    assert!(!quarantine::release(&database.pool, "me", &Subject::new(Kind::Command, "no number")).await.unwrap());
    assert!(inbox::find_answer(&database.pool, id).await.unwrap().is_none(), "it is answered anew");
    assert_eq!(
        database.count("inbox WHERE dead_because IS NULL AND deliveries = 0 AND delivered_epoch IS NULL").await,
        1
    );
}

#[tokio::test]
async fn a_deposed_leader_holds_nothing_and_old_failures_are_forgotten() {
    let database = Database::create().await;
    let mut leader = database.leader().await;
    let epoch = leader.epoch();
    for (name, kind) in [("1", Kind::Run), ("2", Kind::Version)] {
        quarantine::count(&mut leader.writer, epoch, &Subject::new(kind, name), "it broke", None).await.unwrap();
    }
    database
        .pool
        .execute("UPDATE quarantine SET last_at = now() - interval '2 days' WHERE kind <> 'run'")
        .await
        .unwrap();
    store::maintenance::sweep(&mut leader.writer, epoch).await.unwrap();
    assert_eq!(database.count("quarantine WHERE kind = 'run'").await, 1);
    assert_eq!(database.count("quarantine").await, 1);

    database.pool.execute("UPDATE leader SET epoch = epoch + 1").await.unwrap();
    let refused = quarantine::count(&mut leader.writer, epoch, &Subject::new(Kind::Run, "1"), "it broke", None).await;
    assert!(matches!(refused, Err(StoreError::Deposed)), "{refused:?}");
    assert!(quarantine::take_released(&mut leader.writer, epoch).await.unwrap().is_empty());
}
