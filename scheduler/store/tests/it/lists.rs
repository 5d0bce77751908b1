//! Lists at size: their plans walk along indexes, their pages and numbers are right, and their cost is bounded.

use std::collections::BTreeMap;

use chrono::{Duration, TimeZone, Utc};
use model::{DagRunState, DagVersionId, MapIndex, RunKey, RunType, TaskIdx, TaskState, Timestamp};
use sqlx::{Execute, Executor, PgPool, Postgres, QueryBuilder};
use store::{
    StoreError,
    audit::{self, AuditFilter, AuditOrder},
    read::{
        self, Direction, InstanceFilter, InstanceOrder, InstancesOf, Pattern, Range, RunFilter, RunOrder, SecondsRange,
        Total, Walk, Window, XComFilter,
    },
};

use crate::support::{Database, dag_id};

/// 20,000 runs of ten DAGs with three instances each; each hundredth runs, each fiftieth failed in its last task.
const ROWS: &str = "
    INSERT INTO dag (dag_id, current_version, fileloc, is_paused) SELECT 'dag_' || d, d, 'dags.yaml', false
    FROM generate_series(0, 9) d;
    INSERT INTO dag_task SELECT 'dag_' || d, 'task_' || t, t FROM generate_series(0, 9) d, generate_series(0, 2) t;
    INSERT INTO dag_run (id, dag_id, run_id, run_type, triggered_by, version_id, state, logical_date, run_after, queued_at,
                         started_at, ended_at, conf)
    SELECT n, 'dag_' || n % 10, 'r' || n, 0, 0, n % 10, CASE WHEN n % 100 = 7 THEN 1 WHEN n % 50 = 0 THEN 3 ELSE 2 END, at, at,
           at, at, CASE WHEN n % 100 = 7 THEN NULL ELSE at + interval '30 s' END, '{}'
    FROM generate_series(1, 20000) n, LATERAL (SELECT timestamptz '2026-01-01Z' + n * interval '1 minute' AS at) AS a;
    INSERT INTO task_instance (run_id, task_idx, map_index, try_number, state, live, queued_at, started_at, ended_at)
    SELECT n, t, -1, 1, CASE WHEN n % 50 = 0 AND t = 2 THEN 5 ELSE 4 END, false, at, at, at + interval '5 s'
    FROM generate_series(1, 20000) n, generate_series(0, 2) t,
         LATERAL (SELECT timestamptz '2026-01-01Z' + n * interval '1 minute' AS at) AS a
    WHERE NOT (n % 100 = 7 AND t > 0);
    INSERT INTO xcom SELECT n, 1, -1, 'return_value', '1' FROM generate_series(1, 20000) n;
    INSERT INTO audit_log (at, who, action, dag_id, details)
    SELECT timestamptz '2026-01-01Z' + n * interval '1 s', 'u' || n % 50, 'a' || n % 20, 'dag_' || n % 10, '{}'
    FROM generate_series(1, 20000) n;
    ANALYZE";

fn minute(number: i64) -> Timestamp {
    Utc.with_ymd_and_hms(2026, 1, 1, 0, 0, 0).unwrap() + Duration::minutes(number)
}

async fn filled() -> (Database, PgPool) {
    let database = Database::create().await;
    database.pool.execute(ROWS).await.unwrap();
    // A busy machine has its counts come to their end, too.
    let web = store::open_for_web(&database.url, std::time::Duration::from_secs(300)).await.unwrap().pool;
    (database, web)
}

/// A page of runs, newest first.
fn newest(filter: RunFilter) -> RunFilter {
    RunFilter { order: vec![(RunOrder::RunAfter, Direction::Descending)], limit: 50, ..filter }
}

/// Instances of many runs; of those that have not ended all three tasks are known.
fn instances(runs: RunFilter) -> InstanceFilter {
    let tasks: BTreeMap<_, _> =
        (0..10).map(|version| (DagVersionId(version), vec![TaskIdx(0), TaskIdx(1), TaskIdx(2)])).collect();
    InstanceFilter {
        of: InstancesOf::Runs { filter: Box::new(runs), tasks, only_these: false },
        states: Vec::new(),
        map_indexes: Vec::new(),
        try_numbers: Vec::new(),
        start_date: Range::default(),
        end_date: Range::default(),
        updated_at: Range::default(),
        duration: SecondsRange::default(),
        mapped_pattern: Pattern::default(),
        mapped_prefix: None,
        order: Vec::new(),
        window: Window { limit: 50, offset: 0 },
    }
}

fn xcoms(runs: RunFilter) -> XComFilter {
    XComFilter { runs, window: Window { limit: 50, offset: 0 }, ..XComFilter::default() }
}

const FAILED_OR_RUNNING: [DagRunState; 2] = [DagRunState::Failed, DagRunState::Running];
const LONG: SecondsRange = SecondsRange { gte: Some(9_999.0), gt: None, lte: None, lt: None };

fn in_states(states: &[TaskState], runs: RunFilter) -> InstanceFilter {
    InstanceFilter { states: states.to_vec(), ..instances(runs) }
}

async fn assert_walks(web: &PgPool, what: &str, mut statement: QueryBuilder<'_, Postgres>) -> String {
    let mut query = statement.build();
    let arguments = query.take_arguments().unwrap().unwrap_or_default();
    let explain = format!("EXPLAIN {}", query.sql());
    let plan: Vec<String> = sqlx::query_scalar_with(&explain, arguments).fetch_all(web).await.unwrap();
    let plan = plan.join("\n");
    for table in ["dag_run", "task_instance", "xcom", "audit_log"] {
        assert!(!plan.contains(&format!("Seq Scan on {table} ")), "{what} reads all of {table}:\n{plan}");
    }
    plan
}

#[tokio::test]
async fn every_hot_list_walks_along_an_index() {
    let (_database, web) = filled().await;
    let since = Range { gte: Some(minute(19_900)), ..Range::default() };
    let of_dag = RunFilter { dag_ids: vec![dag_id("dag_3")], ..RunFilter::default() };
    let runs = [
        ("the newest runs", RunFilter::default()),
        ("the newest runs of a DAG", of_dag.clone()),
        ("failed runs", RunFilter { states: vec![DagRunState::Failed], ..RunFilter::default() }),
        ("failed runs of a DAG", RunFilter { states: vec![DagRunState::Failed], ..of_dag.clone() }),
        ("running runs", RunFilter { states: vec![DagRunState::Running], ..RunFilter::default() }),
        ("runs due since", RunFilter { run_after: since, ..RunFilter::default() }),
        ("runs dated since", RunFilter { logical_date: since, ..RunFilter::default() }),
        ("runs begun since", RunFilter { start_date: since, ..RunFilter::default() }),
        ("runs ended since", RunFilter { end_date: since, ..RunFilter::default() }),
        ("runs changed since", RunFilter { updated_at: since, ..RunFilter::default() }),
        ("runs that no schedule made", RunFilter { run_types: vec![RunType::Manual], ..RunFilter::default() }),
        ("backfilled runs of a DAG", RunFilter { run_types: vec![RunType::Backfill], ..of_dag.clone() }),
        ("open and failed runs of a DAG", RunFilter { states: FAILED_OR_RUNNING.to_vec(), ..of_dag.clone() }),
        ("runs with a text in their conf", RunFilter { conf_contains: Some("x".to_owned()), ..RunFilter::default() }),
        ("runs that took long", RunFilter { duration: LONG, ..of_dag.clone() }),
        ("a search among the newest", RunFilter { newest: Some(1_000), ..RunFilter::default() }),
    ];
    for (what, filter) in runs {
        assert_walks(&web, what, read::page_of_runs(&newest(filter.clone()))).await;
        let from = Walk::After(vec![Some(minute(9_000).to_rfc3339()), Some("9000".to_owned())]);
        let walked = newest(filter.clone());
        assert_walks(&web, what, read::part_of_runs(&walked, &from).unwrap()).await;
        assert_walks(&web, what, read::page_of_runs(&RunFilter { limit: 50, ..filter })).await;
    }
    let all = instances(RunFilter::default());
    let running = InstanceFilter { states: vec![TaskState::Running], ..all.clone() };
    let begun = InstanceFilter { start_date: since, ..all.clone() };
    let slow = InstanceFilter { duration: LONG, ..all.clone() };
    let by_start = vec![(InstanceOrder::StartDate, Direction::Descending)];
    for (what, filter) in [
        ("all instances", &all),
        ("instances of a DAG", &instances(of_dag.clone())),
        ("running", &running),
        ("begun", &begun),
        ("those that took long", &slow),
        ("those that began last", &InstanceFilter { order: by_start, ..all.clone() }),
    ] {
        assert_walks(&web, what, read::page_of_instances(filter)).await;
    }
    let failed = in_states(&[TaskState::Failed], RunFilter::default());
    let plan = assert_walks(&web, "failed", read::page_of_instances(&failed)).await;
    assert!(plan.contains("Backward using run_instance_state_newest"), "the notes are not walked along:\n{plan}");
    let failed = in_states(&[TaskState::Failed], of_dag.clone());
    let plan = assert_walks(&web, "failed of a DAG", read::page_of_instances(&failed)).await;
    assert!(plan.contains("run_instance_state_of_dag"), "the notes of the DAG are not walked along:\n{plan}");
    let of_run = InstancesOf::Run(RunKey(77), vec![TaskIdx(0), TaskIdx(1), TaskIdx(2)]);
    assert_walks(&web, "instances of a run", read::page_of_instances(&InstanceFilter { of: of_run, ..all })).await;
    assert_walks(&web, "XComs", read::page_of_xcoms(&xcoms(RunFilter::default()))).await;
    assert_walks(&web, "XComs of a DAG", read::page_of_xcoms(&xcoms(of_dag))).await;
    let log =
        |filter: AuditFilter| AuditFilter { order: vec![(AuditOrder::Id, Direction::Descending)], limit: 50, ..filter };
    let one = |text: &str| Some(text.to_owned());
    for (what, filter) in [
        ("the newest lines", AuditFilter::default()),
        ("lines of a DAG", AuditFilter { dag_id: one("dag_3"), ..AuditFilter::default() }),
        ("lines of an action", AuditFilter { actions: vec!["a3".to_owned()], ..AuditFilter::default() }),
        ("lines of a user", AuditFilter { who: one("u7"), ..AuditFilter::default() }),
        ("lines of a run", AuditFilter { run_id: one("r7"), ..AuditFilter::default() }),
        ("lines since", AuditFilter { after: Some(minute(300)), ..AuditFilter::default() }),
        ("a search", AuditFilter { anywhere: one("x"), newest: Some(1_000), ..AuditFilter::default() }),
    ] {
        assert_walks(&web, what, audit::page_of_events(&log(filter))).await;
    }
}

#[tokio::test]
async fn a_list_over_all_runs_sees_every_run_and_the_tasks_of_open_ones_that_have_no_row() {
    let (_database, web) = filled().await;
    let all = instances(RunFilter::default());
    let (page, total) = read::instance_list(&web, &all).await.unwrap();
    assert_eq!((page.len(), total), (50, Total::AtLeast(read::COUNT_MAX)), "60,000 instances are not counted");
    assert_eq!(page[0].key.run, RunKey(20_000), "the newest run comes first");
    let far = InstanceFilter { window: Window { limit: 3, offset: read::INSTANCE_OFFSET_MAX + 1 }, ..all.clone() };
    let refused = read::instance_list(&web, &far).await.unwrap_err().to_string();
    assert!(refused.contains("at most 10000 rows") && refused.contains("cursor"), "{refused}");
    let order = vec![(InstanceOrder::RunAfter, Direction::Ascending)];
    let first = InstanceFilter { window: Window { limit: 3, offset: 0 }, order, ..all.clone() };
    let (oldest, _) = read::instance_list(&web, &first).await.unwrap();
    assert!(oldest.iter().all(|one| one.key.run == RunKey(1)), "{oldest:?}");
    let failed = InstanceFilter { states: vec![TaskState::Failed], ..all.clone() };
    assert_eq!(read::instance_list(&web, &failed).await.unwrap().1, Total::Exactly(400));
    // Each of the 200 open runs has one row; its other two tasks are in no state yet.
    let waiting = InstanceFilter { states: vec![TaskState::NoStatus], ..all.clone() };
    let (page, total) = read::instance_list(&web, &waiting).await.unwrap();
    assert_eq!(total, Total::Exactly(400));
    assert!(
        page.iter().all(|one| one.stored.is_none() && one.key.map == MapIndex::UNMAPPED && one.key.task != TaskIdx(0))
    );
    let dag = RunFilter { dag_ids: vec![dag_id("dag_7")], ..RunFilter::default() };
    let since = Range { gte: Some(minute(19_800)), ..Range::default() };
    let begun = InstanceFilter { start_date: since, ..instances(dag) };
    // Runs 19,807 and 19,907 are open and have one row, the other 18 of the last 20 have three.
    assert_eq!(read::instance_list(&web, &begun).await.unwrap().1, Total::Exactly(2 + 18 * 3));
    let by_start = vec![(InstanceOrder::StartDate, Direction::Descending)];
    let ordered = InstanceFilter { order: by_start, ..begun };
    let (page, _) = read::instance_list(&web, &ordered).await.unwrap();
    let starts: Vec<_> = page.iter().map(|one| one.stored.as_ref().unwrap().row.started_at).collect();
    assert!(starts.is_sorted_by(|a, b| a >= b), "{starts:?}");
}

/// Walks to the end and back, and looks at every row once each way.
async fn assert_walk_and_back<T, I: PartialEq + std::fmt::Debug>(
    what: &str,
    expected: &[I],
    part: impl AsyncFn(Walk) -> read::Part<T>,
    id: impl Fn(&T) -> I,
) {
    let mut seen: Vec<I> = Vec::new();
    let mut walk = Walk::First;
    let last = loop {
        let found = part(walk).await;
        assert_eq!(found.previous.is_some(), !seen.is_empty(), "{what}: only the first part has nothing before it");
        seen.extend(found.rows.iter().map(&id));
        match found.next {
            Some(place) => walk = Walk::After(place),
            None => break found.previous,
        }
    };
    assert_eq!(seen, expected, "{what}");
    let last_part = expected.len() % 7;
    let mut back: Vec<I> = Vec::new();
    let mut previous = last;
    while let Some(place) = previous {
        let found = part(Walk::Before(place)).await;
        assert!(found.next.is_some(), "{what}: it is known what comes after");
        back.splice(0..0, found.rows.iter().map(&id));
        previous = found.previous;
    }
    let ends = if last_part == 0 { 7 } else { last_part };
    assert_eq!(back, expected[..expected.len() - ends], "{what}, backwards");
}

#[tokio::test]
async fn a_walk_by_places_meets_every_row_once_in_every_order() {
    use Direction::{Ascending, Descending};
    let (_database, web) = filled().await;
    // 20 runs, two of them without an end.
    let since = Range { gte: Some(minute(19_801)), ..Range::default() };
    let few = RunFilter { dag_ids: vec![dag_id("dag_7")], run_after: since, limit: 100, ..RunFilter::default() };
    for order in [
        vec![],
        vec![(RunOrder::RunAfter, Descending)],
        vec![(RunOrder::EndDate, Ascending)],
        vec![(RunOrder::EndDate, Descending), (RunOrder::RunId, Ascending)],
        vec![(RunOrder::Duration, Descending)],
        vec![(RunOrder::State, Ascending), (RunOrder::Conf, Descending), (RunOrder::UpdatedAt, Descending)],
    ] {
        let what = format!("{order:?}");
        let whole = RunFilter { order, ..few.clone() };
        let expected: Vec<_> = read::runs(&web, &whole).await.unwrap().0.into_iter().map(|run| run.key).collect();
        assert_eq!(expected.len(), 20);
        let filter = RunFilter { limit: 7, ..whole };
        let part = async |walk| read::run_part(&web, &filter, &walk).await.unwrap();
        assert_walk_and_back(&what, &expected, part, |run| run.key).await;
    }
    for order in [
        vec![],
        vec![(InstanceOrder::StartDate, Ascending)],
        vec![(InstanceOrder::Duration, Descending), (InstanceOrder::State, Ascending)],
        vec![(InstanceOrder::Id, Descending)],
    ] {
        let what = format!("{order:?}");
        let whole = InstanceFilter { order, window: Window { limit: 100, offset: 0 }, ..instances(few.clone()) };
        let expected: Vec<_> =
            read::instance_list(&web, &whole).await.unwrap().0.into_iter().map(|one| one.key).collect();
        assert_eq!(expected.len(), 60, "three tasks of each run, also where they have no row");
        let filter = InstanceFilter { window: Window { limit: 7, offset: 0 }, ..whole };
        let part = async |walk| read::instance_part(&web, &filter, &walk).await.unwrap();
        assert_walk_and_back(&what, &expected, part, |one| one.key).await;
    }
    let other = read::run_part(&web, &few, &Walk::After(vec![Some("1".to_owned()); 3])).await.unwrap_err();
    assert!(matches!(other, StoreError::Refused { .. }), "{other}");
    let forged = read::run_part(&web, &few, &Walk::After(vec![Some("soon".to_owned())])).await.unwrap_err();
    assert!(forged.refused_value().is_some(), "{forged}");
}

#[tokio::test]
async fn what_has_no_date_comes_last_in_both_directions() {
    use Direction::{Ascending, Descending};
    let (_database, web) = filled().await;
    let since = Range { gte: Some(minute(19_801)), ..Range::default() };
    let few = RunFilter { dag_ids: vec![dag_id("dag_7")], run_after: since, limit: 100, ..RunFilter::default() };
    for direction in [Ascending, Descending] {
        let filter = RunFilter { order: vec![(RunOrder::EndDate, direction)], ..few.clone() };
        let (runs, _) = read::runs(&web, &filter).await.unwrap();
        let (ended, open) = runs.split_at(18);
        assert!(ended.iter().all(|run| run.ended_at.is_some()) && open.iter().all(|run| run.ended_at.is_none()));
        let order = vec![(InstanceOrder::StartDate, direction)];
        let filter = InstanceFilter { order, window: Window { limit: 100, offset: 0 }, ..instances(few.clone()) };
        let (found, _) = read::instance_list(&web, &filter).await.unwrap();
        let begun = |one: &read::Listed| one.stored.as_ref().is_some_and(|stored| stored.row.started_at.is_some());
        assert_eq!(found.iter().map(begun).collect::<Vec<_>>(), [vec![true; 56], vec![false; 4]].concat());
    }
}

/// The latest starts are found by the runs that changed last, whatever began long ago and goes on.
#[tokio::test]
async fn the_instances_that_began_last_are_found_without_looking_at_all() {
    let (database, web) = filled().await;
    let late = "UPDATE task_instance SET started_at = timestamptz '2026-02-01Z' + run_id * interval '1 s'
                WHERE run_id IN (107, 7) AND task_idx = 0";
    database.pool.execute(late).await.unwrap();
    let order = vec![(InstanceOrder::StartDate, Direction::Descending)];
    let list =
        |offset, runs| InstanceFilter { order: order.clone(), window: Window { limit: 50, offset }, ..instances(runs) };
    for runs in [RunFilter::default(), RunFilter { dag_ids: vec![dag_id("dag_7")], ..RunFilter::default() }] {
        let of_dag = runs.dag_ids.first().map_or_else(|| "true".to_owned(), |dag| format!("r.dag_id = '{dag}'"));
        let all = format!(
            "SELECT i.run_id, task_idx FROM task_instance i JOIN dag_run r ON r.id = i.run_id
             WHERE {of_dag} AND i.started_at IS NOT NULL
             ORDER BY i.started_at DESC, i.run_id DESC, task_idx DESC LIMIT 400"
        );
        let expected: Vec<(i64, i32)> = sqlx::query_as(&all).fetch_all(&web).await.unwrap();
        assert_eq!(expected[..2], [(107, 0), (7, 0)]);
        for offset in [0, 50, 350] {
            let (found, total) = read::instance_list(&web, &list(offset, runs.clone())).await.unwrap();
            let found: Vec<_> = found.iter().map(|one| (one.key.run.get(), one.key.task.get())).collect();
            let from = usize::try_from(offset).unwrap();
            assert_eq!(found, expected[from..from + 50]);
            assert!(matches!(total, Total::AtLeast(_)), "the older ones were not looked at: {total:?}");
        }
    }
}

#[tokio::test]
async fn what_no_index_knows_is_looked_for_in_the_newest_rows_first_and_in_all_when_these_do_not_answer() {
    let (_database, web) = filled().await;
    let total = async |filter: RunFilter| read::runs(&web, &newest(filter)).await.unwrap().1;
    let named = |text: &str| RunFilter { run_id_pattern: Pattern(vec![text.to_owned()]), ..RunFilter::default() };
    assert_eq!(total(named("r15")).await, Total::AtLeast(1_000), "the newest come first and fill the page");
    assert_eq!(total(named("r5000")).await, Total::Exactly(1), "it is older than what is looked at first");
    let newest_alone = RunFilter { newest: Some(read::SEARCHED_RUNS_MAX), ..named("r5000") };
    assert_eq!(total(newest_alone).await, Total::Among { found: 0, newest: read::SEARCHED_RUNS_MAX });
    let then = Range { lte: Some(minute(6_000)), ..Range::default() };
    assert_eq!(total(RunFilter { run_after: then, ..named("r5000") }).await, Total::Exactly(1));
    let of_dag = RunFilter { dag_ids: vec![dag_id("dag_0")], ..named("r500") };
    assert_eq!(total(of_dag).await, Total::Exactly(2), "r500 and r5000: all runs of a small DAG are looked at");
    let of_dags = RunFilter { dag_id_pattern: Pattern(vec!["g_3".to_owned()]), ..RunFilter::default() };
    assert_eq!(total(of_dags).await, Total::Exactly(2_000));
    let nowhere = RunFilter { dag_id_pattern: Pattern(vec!["nothing".to_owned()]), ..RunFilter::default() };
    assert_eq!(total(nowhere).await, Total::Exactly(0));
    // A range beside another order: all that it has, when that is little.
    let since = Range { gte: Some(minute(19_000)), ..Range::default() };
    let ended = RunFilter { run_after: since, limit: 50, ..RunFilter::default() };
    let (page, in_all) = read::runs(&web, &ended).await.unwrap();
    assert_eq!((page[0].key, in_all), (RunKey(19_000), Total::Exactly(1_001)));

    let total = async |filter: InstanceFilter| read::instance_list(&web, &filter).await.unwrap().1;
    let second = |runs| InstanceFilter { try_numbers: vec![2], ..instances(runs) };
    assert_eq!(total(second(RunFilter::default())).await, Total::Exactly(0));
    let lately = RunFilter { run_after: since, ..RunFilter::default() };
    assert_eq!(total(second(lately)).await, Total::Exactly(0));
    let lines = |filter: AuditFilter| AuditFilter { limit: 50, ..filter };
    let total = async |filter: AuditFilter| audit::events(&web, &lines(filter)).await.unwrap().1;
    let anywhere = AuditFilter { dag_id_pattern: Pattern(vec!["nothing".to_owned()]), ..AuditFilter::default() };
    assert_eq!(total(anywhere.clone()).await, Total::Exactly(0));
    let newest_alone = AuditFilter { newest: Some(10_000), ..anywhere.clone() };
    assert_eq!(total(newest_alone).await, Total::Among { found: 0, newest: 10_000 });
    assert_eq!(total(AuditFilter { dag_id: Some("dag_3".to_owned()), ..anywhere }).await, Total::Exactly(0));
    let keyed = XComFilter { key: Some("other".to_owned()), ..xcoms(RunFilter::default()) };
    assert_eq!(read::xcom_entries(&web, &keyed).await.unwrap().1, Total::Exactly(0));
}

#[tokio::test]
async fn an_instance_in_a_rare_state_is_found_wherever_it_is_until_its_run_goes() {
    let (database, web) = filled().await;
    let removed = |runs| in_states(&[TaskState::Removed], runs);
    let total = async |filter: &InstanceFilter| read::instance_list(&web, filter).await.unwrap().1;
    let everywhere = removed(RunFilter::default());
    assert_eq!(total(&everywhere).await, Total::Exactly(0));
    let remove = "UPDATE task_instance SET state = 8 WHERE run_id = 13 AND task_idx = 1";
    database.pool.execute(remove).await.unwrap();
    database.pool.execute(remove).await.unwrap();
    assert_eq!(database.count("run_instance_state WHERE state = 8").await, 1, "a run is noted once");
    let of_dag = RunFilter { dag_ids: vec![dag_id("dag_3")], ..RunFilter::default() };
    for filter in
        [&everywhere, &removed(of_dag), &in_states(&[TaskState::Removed, TaskState::Running], RunFilter::default())]
    {
        let (page, _) = read::instance_list(&web, filter).await.unwrap();
        assert!(page.iter().any(|one| one.key.run == RunKey(13)), "{filter:?}");
    }
    let since = Range { gte: Some(minute(14)), ..Range::default() };
    assert_eq!(total(&removed(RunFilter { run_after: since, ..RunFilter::default() })).await, Total::Exactly(0));
    // What is not in that state any more is not listed, whatever is noted.
    database.pool.execute("UPDATE task_instance SET state = 4 WHERE run_id = 13").await.unwrap();
    assert_eq!(total(&everywhere).await, Total::Exactly(0));
    let mut leader = database.leader().await;
    database.pool.execute("DELETE FROM dag_run WHERE id = 13; INSERT INTO dropped_run VALUES (13)").await.unwrap();
    store::maintenance::sweep_dropped_runs(&mut leader.writer, leader.leadership.epoch).await.unwrap();
    assert_eq!(database.count("run_instance_state WHERE run_id = 13").await, 0);
}

#[tokio::test]
async fn a_page_that_is_not_full_tells_the_number_and_a_full_one_counts_to_a_bound() {
    let (_database, web) = filled().await;
    let page = async |filter: RunFilter| {
        let (runs, total) = read::runs(&web, &filter).await.unwrap();
        (runs.len(), total)
    };
    let of_dag = |limit, offset| RunFilter { dag_ids: vec![dag_id("dag_3")], limit, offset, ..RunFilter::default() };
    assert_eq!(page(of_dag(50, 0)).await, (50, Total::Exactly(2_000)));
    assert_eq!(page(of_dag(50, 1_990)).await, (10, Total::Exactly(2_000)));
    assert_eq!(page(of_dag(50, 5_000)).await, (0, Total::Exactly(2_000)));
    assert_eq!(page(RunFilter { limit: 50, ..RunFilter::default() }).await, (50, Total::AtLeast(10_000)));
    assert_eq!(
        page(RunFilter { limit: 50, offset: 19_990, ..RunFilter::default() }).await,
        (10, Total::Exactly(20_000))
    );
    let far = read::runs(&web, &of_dag(50, read::OFFSET_MAX + 1)).await.unwrap_err();
    assert!(matches!(far, StoreError::Refused { .. }), "{far}");
    let (entries, total) = read::xcom_entries(&web, &xcoms(RunFilter::default())).await.unwrap();
    assert_eq!((entries[0].run_id.as_str(), entries[0].task_id.as_str(), entries.len()), ("r20000", "task_1", 50));
    assert_eq!(total, Total::AtLeast(10_000));
}

#[tokio::test]
async fn a_statement_that_takes_too_long_is_ended_and_its_connection_is_free_again() {
    let database = Database::create().await;
    let web = store::open_for_web(&database.url, std::time::Duration::from_millis(30)).await.unwrap().pool;
    let fill = "INSERT INTO dag_run (id, dag_id, run_id, run_type, triggered_by, version_id, state, run_after, queued_at, conf)
                SELECT n, 'd', repeat('x', 200) || n, 0, 0, 1, 2, now(), now(), json_build_object('a', repeat('y', 2000))
                FROM generate_series(1, 60000) n";
    database.pool.execute(fill).await.unwrap();
    let rare = RunFilter { conf_contains: Some("zzzz".to_owned()), limit: 50, ..RunFilter::default() };
    // All of them are looked at, not the newest only.
    let slow = RunFilter { run_id_pattern: Pattern(vec!["%x%x%x%x%x%x%z".to_owned()]), newest: Some(60_000), ..rare };
    for _ in 0..20 {
        let error = read::runs(&web, &slow).await.unwrap_err();
        assert!(matches!(error, StoreError::TooHeavy { .. }), "{error}");
    }
    // A busy machine may be late for so short a limit, too.
    let mut is_free = false;
    for _ in 0..20 {
        is_free = is_free || read::leader(&web).await.is_ok();
    }
    assert!(is_free);
}
