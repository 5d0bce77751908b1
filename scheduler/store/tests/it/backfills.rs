//! Backfills are stored with the turns that move them, read by pages, and swept when they are gone.

use engine::{BackfillRow, BackfillRunRow, InBackfill, Plan, RunChange, RunRow};
use model::{
    BackfillId, BackfillOrder, DagRunState, NotMade, ReprocessBehavior, RunKey, RunType, TriggeredBy,
    command::ClearVersion,
};
use store::{
    maintenance,
    read::{self, BackfillFilter, Direction, Progress},
};

use crate::support::{Database, dag_id, day, noon, run};

fn row(id: i64) -> BackfillRow {
    BackfillRow {
        id: BackfillId(id),
        dag_id: dag_id("etl"),
        from_date: day(1),
        to_date: day(5),
        order: BackfillOrder::Backwards,
        reprocess_behavior: ReprocessBehavior::Failed,
        version: ClearVersion::Own,
        max_active_runs: 3,
        conf: serde_json::from_str(r#"{"a": "\u0000"}"#).unwrap(),
        is_paused: false,
        triggering_user: Some("ada".to_owned()),
        created_at: noon(),
        updated_at: noon(),
        completed_at: None,
        cursor: None,
        dates_seen: 0,
        runs_made: 0,
        is_planned: false,
    }
}

fn seen(ordinal: i32, outcome: Result<RunKey, NotMade>) -> BackfillRunRow {
    let logical_date = day(u32::try_from(6 - ordinal).unwrap());
    BackfillRunRow { backfill: BackfillId(7), ordinal, logical_date, outcome }
}

#[tokio::test]
async fn a_backfill_is_stored_with_its_runs_and_loaded_by_the_next_leader() {
    let database = Database::create().await;
    let mut leader = database.leader().await;
    let version = leader.store_dag("etl", &["a"]).await;
    let old = RunRow { state: DagRunState::Failed, logical_date: Some(day(4)), ..run(&version, 1) };
    leader.apply(&Plan { new_runs: vec![old.clone()], ..Plan::default() }).await.unwrap();
    let place = |ordinal, is_first| Some(InBackfill { id: BackfillId(7), ordinal, is_first });
    let made = RunRow {
        run_type: RunType::Backfill,
        backfill: place(1, true),
        logical_date: Some(day(5)),
        ..run(&version, 2)
    };
    let again = RunRow {
        state: DagRunState::Queued,
        run_type: RunType::Backfill,
        triggered_by: TriggeredBy::Backfill,
        backfill: place(2, false),
        ..old.clone()
    };
    let begun = BackfillRow { cursor: Some((day(3), day(4))), dates_seen: 3, runs_made: 2, ..row(7) };
    let plan = Plan {
        new_runs: vec![made.clone()],
        runs: vec![RunChange { expected: DagRunState::Failed, row: again.clone() }],
        backfills: vec![begun.clone()],
        backfill_runs: vec![seen(1, Ok(RunKey(2))), seen(2, Ok(RunKey(1))), seen(3, Err(NotMade::AlreadyExists))],
        ..Plan::default()
    };
    leader.apply(&plan).await.unwrap();

    let loaded = store::load(leader.writer.connection()).await.unwrap();
    assert!(loaded.unreadable.is_empty(), "{:?}", loaded.unreadable);
    let stored = |row: BackfillRow| {
        let conf = serde_json::from_str(r#"{"a": "\u0000"}"#).unwrap();
        BackfillRow { conf, ..row }
    };
    assert_eq!(loaded.snapshot.backfills, [stored(begun.clone())]);
    let runs: Vec<_> = loaded.snapshot.runs.iter().map(|stored| &stored.run).collect();
    assert_eq!(runs, [&again, &made]);

    assert_eq!(read::backfill(&database.pool, BackfillId(7)).await.unwrap(), Some(stored(begun.clone())));
    assert_eq!(read::backfill_of_run(&database.pool, RunKey(1)).await.unwrap(), Some(BackfillId(7)));
    let expected = Progress { queued: 1, running: 1, passed: 1, ..Progress::default() };
    let progress = read::backfill_progress(&database.pool, BackfillId(7)).await.unwrap();
    assert_eq!((progress, progress.done()), (expected, 1));
    let dates = read::backfill_dates(&database.pool, BackfillId(7), 1, 10).await.unwrap();
    let told: Vec<_> =
        dates.into_iter().map(|date| (date.ordinal, date.reason, date.run.map(|(_, state)| state))).collect();
    assert_eq!(told, [(2, None, Some(DagRunState::Queued)), (3, Some(NotMade::AlreadyExists), None)]);
    let states = read::states_on(&database.pool, &dag_id("etl"), &[day(3), day(4), day(5)]).await.unwrap();
    assert_eq!(states.into_iter().collect::<Vec<_>>(), [(day(4), DagRunState::Queued), (day(5), DagRunState::Running)]);
}

#[tokio::test]
async fn a_dag_has_one_backfill_at_a_time_and_the_next_may_begin_in_the_turn_that_ends_the_last() {
    let database = Database::create().await;
    let mut leader = database.leader().await;
    leader.store_dag("etl", &["a"]).await;
    leader.apply(&Plan { backfills: vec![row(1)], ..Plan::default() }).await.unwrap();
    let refused = leader.apply(&Plan { backfills: vec![row(2)], ..Plan::default() }).await;
    assert!(refused.is_err(), "two that are not over");
    let over = BackfillRow { completed_at: Some(noon()), is_paused: true, ..row(1) };
    leader.apply(&Plan { backfills: vec![row(2), over], ..Plan::default() }).await.unwrap();
    let filter = BackfillFilter { dag_id: dag_id("etl"), order: Direction::Descending, offset: 0, limit: 10 };
    let (found, total) = read::backfills(&database.pool, &filter).await.unwrap();
    let ids: Vec<_> = found.iter().map(|row| (row.id.get(), row.completed_at.is_some())).collect();
    assert_eq!((ids, total), (vec![(2, false), (1, true)], 2));
}

#[tokio::test]
async fn what_belongs_to_a_deleted_dag_is_swept() {
    let database = Database::create().await;
    let mut leader = database.leader().await;
    leader.store_dag("etl", &["a"]).await;
    let begun = BackfillRow { id: BackfillId(7), ..row(7) };
    let dates = (1..=5).map(|ordinal| seen(ordinal, Err(NotMade::InFlight))).collect();
    leader.apply(&Plan { backfills: vec![begun], backfill_runs: dates, ..Plan::default() }).await.unwrap();
    leader.apply(&Plan { dags_dropped: vec![dag_id("etl")], ..Plan::default() }).await.unwrap();
    assert_eq!(read::backfill(&database.pool, BackfillId(7)).await.unwrap(), None);
    assert!(store::load(leader.writer.connection()).await.unwrap().snapshot.backfills.is_empty());
    let epoch = leader.epoch();
    maintenance::sweep(&mut leader.writer, epoch).await.unwrap();
    assert_eq!((database.count("backfill_dag_run").await, database.count("backfill").await), (0, 0));
}
