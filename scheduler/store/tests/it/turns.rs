//! A turn is stored whole or not at all.

use std::collections::BTreeMap;

use engine::{DagChange, DueRun, Fact, FailureRow, Need, Plan, PreviousCounts, RunChange, TiExtra, TiRow, TryRow};
use model::{
    AnswerStatus, Command, DagRunState, MapIndex, Pool, RunKey, TaskIdx, TaskState, TiKey, TryNumber, XComValue,
    command::Paused,
};
use serde_json::json;
use sqlx::Executor;
use store::{
    StoreError, facts, inbox,
    maintenance::Swept,
    read::{self, Direction, QuestionFilter, QuestionOrder, Window},
    xcoms,
};

use crate::support::{Database, dag_id, day, ended, ending, noon, queued, run, run_id, starting};

#[tokio::test]
async fn a_turn_of_a_thousand_instances_is_stored_and_counted() {
    let database = Database::create().await;
    let mut leader = database.leader().await;
    let rows: Vec<_> = (0..1000).map(|task| queued(1, task)).collect();
    let first = leader.apply(&starting(&rows)).await.unwrap();
    let second = leader.apply(&ending(&rows)).await.unwrap();
    assert_eq!((first.turn.get(), second.turn.get()), (1, 2));
    assert_eq!(database.count("task_instance WHERE state = 4 AND NOT live").await, 1000);
}

#[tokio::test]
async fn a_diverged_turn_leaves_nothing_and_the_next_one_goes_on() {
    let database = Database::create().await;
    let mut leader = database.leader().await;
    let rows = [queued(1, 0), queued(1, 1)];
    leader.apply(&starting(&rows)).await.unwrap();
    leader.apply(&ending(&rows[..1])).await.unwrap();

    let plan = Plan { new_instances: vec![queued(1, 2)], ..ending(&rows) };
    let refused = leader.apply(&plan).await.unwrap_err();
    assert!(matches!(&refused, StoreError::Diverged { what } if what.contains("state")), "{refused:?}");
    let again = leader.apply(&starting(&rows[..1])).await.unwrap_err();
    assert!(matches!(again, StoreError::Database { .. } | StoreError::Diverged { .. }), "{again:?}");
    assert_eq!(database.count("task_instance").await, 2);
    assert_eq!(leader.apply(&ending(&rows[1..])).await.unwrap().turn.get(), 3);
}

#[tokio::test]
async fn the_instances_of_an_expanded_task_take_the_place_of_its_summary() {
    let database = Database::create().await;
    let mut leader = database.leader().await;
    let version = leader.store_dag("etl", &["a", "b"]).await;
    let summary = TiRow { state: TaskState::UpstreamFailed, live: false, ..queued(1, 1) };
    let said = TiExtra { reason: Some("why".to_owned()), ..TiExtra::default() };
    let first = Plan {
        new_runs: vec![run(&version, 1)],
        new_instances: vec![queued(1, 0), TiRow { extra: said.clone(), ..summary.clone() }],
        extras: vec![(summary.key, said)],
        ..Plan::default()
    };
    leader.apply(&first).await.unwrap();
    let left = TiExtra { map_length: Some(2), ..TiExtra::default() };
    let name = TiExtra { rendered_map_index: Some("eu".to_owned()), ..TiExtra::default() };
    let one = |map: i32| TiRow { key: TiKey { map: MapIndex(map), ..summary.key }, ..queued(1, 1) };
    let source = queued(1, 0).key;
    let second = Plan {
        new_instances: vec![one(0), one(1)],
        extras: vec![(source, left), (one(1).key, name)],
        instances_dropped: vec![summary.key],
        ..Plan::default()
    };
    leader.apply(&second).await.unwrap();

    let runs = store::load(leader.writer.connection()).await.unwrap().snapshot.runs;
    let found: Vec<_> = runs[0]
        .instances
        .iter()
        .map(|row| (row.key.task.get(), row.key.map.get(), row.extra.map_length, row.extra.rendered_map_index.clone()))
        .collect();
    assert_eq!(found, [(0, -1, Some(2), None), (1, 0, None, None), (1, 1, None, Some("eu".to_owned()))]);
    assert_eq!(database.count("task_instance_extra WHERE map_index = -1 AND task_idx = 1").await, 0);
    let again = Plan { instances_dropped: vec![summary.key], ..Plan::default() };
    let refused = leader.apply(&again).await.unwrap_err();
    assert!(matches!(&refused, StoreError::Diverged { what } if what.contains("gone")), "{refused:?}");
}

#[tokio::test]
async fn questions_are_stored_with_their_answers_and_listed() {
    let database = Database::create().await;
    let mut leader = database.leader().await;
    let version = leader.store_dag("etl", &["a", "b"]).await;
    let waits = |task| TiRow { state: TaskState::AwaitingInput, live: false, ..queued(1, task) };
    let asking = model::operator::Asking {
        subject: "{{ ds }}?".to_owned(),
        body: None,
        options: vec!["yes".to_owned(), "no".to_owned()],
        defaults: vec!["no".to_owned()],
        multiple: false,
        params: json!({"n": {"value": 1}}).as_object().unwrap().clone(),
        assigned_users: vec![model::operator::HitlUser::named("ann")],
        response_timeout_secs: None,
    };
    let asked = |task| engine::AskedRow {
        key: queued(1, task).key,
        try_number: TryNumber::FIRST,
        at: noon(),
        question: model::Question { subject: format!("Task {task}?"), body: Some("*why*".to_owned()) },
        asking: asking.clone(),
        response: None,
    };
    let response = |task| engine::ResponseRow {
        key: queued(1, task).key,
        try_number: TryNumber::FIRST,
        at: noon(),
        user: Some(model::operator::HitlUser::named("ann")),
        chosen_options: vec!["yes".to_owned()],
        params_input: json!({"n": 2}).as_object().unwrap().clone(),
    };
    let first = Plan {
        new_runs: vec![run(&version, 1)],
        new_instances: vec![waits(0), waits(1)],
        asked: vec![asked(0), engine::AskedRow { response: Some(response(1)), ..asked(1) }],
        ..Plan::default()
    };
    leader.apply(&first).await.unwrap();
    let open = QuestionFilter {
        is_answered: Some(false),
        states: vec![TaskState::AwaitingInput],
        subject: Some("task".to_owned()),
        window: Window { limit: 10, ..Window::default() },
        ..QuestionFilter::default()
    };
    let (found, total) = read::questions(&database.pool, &open).await.unwrap();
    let task = found.iter().map(|question| question.key.task.get()).collect::<Vec<_>>();
    assert_eq!((task, total.number()), (vec![0], 1));
    assert_eq!((found[0].subject.as_str(), found[0].assigned_users[0].name.as_str()), ("Task 0?", "ann"));
    leader.apply(&Plan { responses: vec![response(0)], ..Plan::default() }).await.unwrap();
    assert_eq!(read::questions(&database.pool, &open).await.unwrap().0, []);
    for task in [0, 1] {
        let of_task = read::questions_of(&database.pool, queued(1, task).key).await.unwrap();
        let given = of_task[0].response.as_ref().unwrap();
        assert_eq!((given.at, given.chosen_options.as_slice()), (noon(), &["yes".to_owned()][..]));
        assert_eq!(given.params_input["n"], 2);
    }
    let everything = [(QuestionOrder::Instance, Direction::Descending), (QuestionOrder::State, Direction::Ascending)];
    let all = QuestionFilter {
        order: everything.to_vec(),
        responded_by_ids: vec!["ann".to_owned()],
        window: Window { limit: 10, ..Window::default() },
        ..QuestionFilter::default()
    };
    assert_eq!(read::questions(&database.pool, &all).await.unwrap().0.len(), 2);
    leader.apply(&Plan { forgotten: vec![queued(1, 0).key], ..Plan::default() }).await.unwrap();
    assert_eq!(database.count("hitl_detail").await, 1);
}

fn failure_of(instance: &TiRow) -> FailureRow {
    FailureRow { key: instance.key, try_number: TryNumber::FIRST, failed_at: noon(), reason: "it broke".to_owned() }
}

fn whole_extra() -> TiExtra {
    TiExtra {
        max_tries: Some(3),
        infrastructure_losses: 2,
        lost_at: Some(noon()),
        wake_at: Some(noon()),
        reason: Some("a NUL \0 in it".to_owned()),
        skips: Some(vec![TaskIdx(1)]),
        first_poke_at: Some(noon()),
        reschedules: 3,
        requeues: 2,
        ..TiExtra::default()
    }
}

fn change_of_etl(due: DueRun) -> DagChange {
    DagChange {
        dag_id: dag_id("etl"),
        is_paused: false,
        is_stale: false,
        next: Some(due),
        last_interval: Some((day(19), day(20))),
        failed_in_a_row: 2,
        is_draining: false,
        passed_over: None,
    }
}

#[tokio::test]
async fn everything_that_a_plan_has_is_stored_and_loaded_again() {
    let database = Database::create().await;
    let mut leader = database.leader().await;
    let version = leader.store_dag("etl", &["a", "b"]).await;
    let command = Command::PauseDag { dag_id: dag_id("etl"), to: Paused::Active };
    let id = inbox::submit(&database.pool, &command, "me").await.unwrap();
    let due = DueRun { logical_date: day(20), start: day(20), end: day(21), run_after: day(21) };
    let extra = whole_extra();
    let (mut first, second) = (queued(1, 0), queued(1, 1));
    first.extra = extra.clone();
    let mut new_run = run(&version, 1);
    new_run.conf.insert("text".to_owned(), json!("\0 and ü"));
    let plan = Plan {
        new_runs: vec![new_run.clone()],
        new_instances: vec![first.clone(), second],
        extras: vec![(first.key, extra)],
        tries: vec![TryRow {
            key: first.key,
            try_number: TryNumber::FIRST,
            state: TaskState::Failed,
            attempt: first.attempt,
            worker: None,
            queued_at: None,
            started_at: None,
            ended_at: Some(noon()),
            reason: Some("it broke".to_owned()),
            exit_code: Some(1),
        }],
        xcoms: vec![(first.key, XComValue { key: "return_value".to_owned(), value: json!({"b": null, "a": "\0"}) })],
        failures: vec![failure_of(&first)],
        dags: vec![change_of_etl(due)],
        pools: vec![Pool {
            name: "etl".to_owned(),
            slots: None,
            description: String::new(),
            include_deferred: true,
            rate_limit: None,
        }],
        answers: vec![(id, model::Answer { status: AnswerStatus::Done, body: json!({}) })],
        ..Plan::default()
    };
    let applied = leader.apply(&plan).await.unwrap();
    assert!(applied.existing_runs.is_empty());

    let snapshot = store::load(leader.writer.connection()).await.unwrap().snapshot;
    assert_eq!(snapshot.versions, [version]);
    assert_eq!(snapshot.runs.len(), 1);
    assert_eq!(snapshot.runs[0].run, new_run);
    let loaded = &snapshot.runs[0].instances[0];
    assert_eq!(loaded.extra.reason.as_deref(), Some("a NUL \u{fffd} in it"));
    assert_eq!((loaded.attempt, loaded.live, loaded.extra.max_tries), (first.attempt, true, Some(3)));
    assert_eq!((&loaded.extra.skips, loaded.extra.requeues), (&Some(vec![TaskIdx(1)]), 2));
    assert_eq!((snapshot.dags[0].next, snapshot.dags[0].failed_in_a_row), (Some(due), 2));
    let pools: Vec<_> = snapshot.pools.iter().map(|pool| (pool.name.as_str(), pool.slots)).collect();
    assert_eq!(pools, [("default_pool", Some(128)), ("etl", None)]);
    assert_eq!(database.count("task_try").await + database.count("task_failure").await, 2);
    assert_eq!(database.count("inbox").await, 0);
    let answer = inbox::find_answer(&database.pool, id).await.unwrap().unwrap();
    assert_eq!(answer.status, AnswerStatus::Done);
    let values = xcoms::values(&database.pool, RunKey(1), TaskIdx(0), None, "return_value").await.unwrap();
    assert_eq!(values, [json!({"b": null, "a": "\0"})]);
}

#[tokio::test]
async fn a_new_try_drops_the_xcoms_of_the_last_one() {
    let database = Database::create().await;
    let mut leader = database.leader().await;
    let row = queued(1, 0);
    let xcom = |key: &str, value: i32| (row.key, XComValue { key: key.to_owned(), value: json!(value) });
    let plan = Plan { xcoms: vec![xcom("kept", 1), xcom("gone", 1)], ..starting(std::slice::from_ref(&row)) };
    leader.apply(&plan).await.unwrap();
    let plan = Plan { xcoms_dropped: vec![row.key], xcoms: vec![xcom("kept", 2)], ..Plan::default() };
    leader.apply(&plan).await.unwrap();
    let kept = xcoms::values(&database.pool, RunKey(1), TaskIdx(0), None, "kept").await.unwrap();
    assert_eq!((kept, database.count("xcom").await), (vec![json!(2)], 1));
}

#[tokio::test]
async fn a_timers_run_that_exists_is_left_out_with_its_instances() {
    let database = Database::create().await;
    let mut leader = database.leader().await;
    let version = leader.store_dag("etl", &["a"]).await;
    leader.apply(&Plan { new_runs: vec![run(&version, 1)], ..Plan::default() }).await.unwrap();
    let mut twin = run(&version, 2);
    twin.run_id = run_id(1);
    let plan = Plan { new_runs: vec![twin, run(&version, 3)], ..starting(&[queued(2, 0), queued(3, 0)]) };
    let applied = leader.apply(&plan).await.unwrap();
    assert_eq!(applied.existing_runs, [RunKey(2)]);
    assert_eq!(database.count("task_instance WHERE run_id = 3").await, 1);
    assert_eq!(database.count("task_instance").await, 1);
}

#[tokio::test]
async fn an_ended_run_is_loaded_while_an_attempt_of_it_lives() {
    let database = Database::create().await;
    let mut leader = database.leader().await;
    let version = leader.store_dag("etl", &["a"]).await;
    let row = queued(1, 0);
    let made = run(&version, 1);
    let plan = Plan { new_runs: vec![made.clone()], ..starting(std::slice::from_ref(&row)) };
    leader.apply(&plan).await.unwrap();

    // The task is marked while its attempt runs, and the run ends.
    let mut marked = ended(&row);
    marked.row.live = true;
    let mut over = made.clone();
    over.state = DagRunState::Success;
    over.ended_at = Some(noon());
    let change = RunChange { expected: DagRunState::Running, row: over };
    leader.apply(&Plan { instances: vec![marked.clone()], runs: vec![change], ..Plan::default() }).await.unwrap();
    let runs = store::load(leader.writer.connection()).await.unwrap().snapshot.runs;
    assert_eq!(runs.len(), 1, "its slot is still taken");

    let mut dead = marked.clone();
    dead.expected = TaskState::Success;
    dead.row.live = false;
    leader.apply(&Plan { instances: vec![dead], ..Plan::default() }).await.unwrap();
    assert!(store::load(leader.writer.connection()).await.unwrap().snapshot.runs.is_empty());
    let epoch = leader.epoch();
    store::maintenance::sweep(&mut leader.writer, epoch).await.unwrap();
    assert_eq!(database.count("dag_run WHERE has_leftovers").await, 0);
}

#[tokio::test]
async fn facts_are_found_by_id_by_date_and_by_what_came_before() {
    let database = Database::create().await;
    let mut leader = database.leader().await;
    let version = leader.store_dag("etl", &["a"]).await;
    let dated = |key: i64, date: u32, run_type| {
        let mut row = run(&version, key);
        row.logical_date = Some(day(date));
        row.run_type = run_type;
        row
    };
    let scheduled = dated(1, 10, model::RunType::Scheduled);
    let manual = dated(2, 12, model::RunType::Manual);
    let plan = Plan { new_runs: vec![scheduled.clone(), manual.clone()], ..starting(&[queued(1, 0)]) };
    leader.apply(&plan).await.unwrap();

    let dag = dag_id("etl");
    let mut found = BTreeMap::new();
    for counts in [PreviousCounts::EveryRun, PreviousCounts::AllButManual] {
        let needs = [day(15), day(11), day(10)].map(|before| Need::PreviousRun { dag: dag.clone(), before, counts });
        let facts = facts::facts(leader.writer.connection(), needs.to_vec()).await.unwrap();
        let runs: Vec<_> = facts.into_iter().map(|fact| of_run(fact).map(|run| run.run.key.get())).collect();
        found.insert(counts, runs);
    }
    assert_eq!(found.into_values().collect::<Vec<_>>(), [[Some(2), Some(1), None], [Some(1), Some(1), None]]);

    let newest = |most| Need::NewestRuns { dag: dag.clone(), most };
    let none = Need::NewestRuns { dag: dag_id("other"), most: 3 };
    let asked = vec![newest(1), none, newest(9)];
    let facts = facts::facts(leader.writer.connection(), asked.clone()).await.unwrap();
    let told = facts.into_iter().map(|fact| match fact {
        Fact::NewestRuns { need, runs } => (need, runs.into_iter().map(|(_, key, state)| (key.get(), state)).collect()),
        other => panic!("{other:?}"),
    });
    let told: Vec<(Need, Vec<_>)> = told.collect();
    let (first, second) = ((2, DagRunState::Running), (1, DagRunState::Running));
    assert_eq!(told, asked.into_iter().zip([vec![first], vec![], vec![first, second]]).collect::<Vec<_>>());

    // Questions of all kinds at once: each answer belongs to its question.
    let exists = |key, date| Need::RunExists { dag: dag.clone(), run: run_id(key), logical_date: date };
    let by_id = |key| Need::Run { dag: dag.clone(), run: run_id(key) };
    let (missing, known) = (Need::Version(model::DagVersionId(999)), Need::Version(version.id));
    let needs = vec![
        exists(98, None),
        by_id(99),
        exists(99, Some(day(10))),
        missing.clone(),
        by_id(1),
        exists(2, Some(day(10))),
        known.clone(),
    ];
    let facts = facts::facts(leader.writer.connection(), needs.clone()).await.unwrap();
    let answers: BTreeMap<_, _> = facts.into_iter().map(|fact| (need_of(&fact), fact)).collect();
    assert_eq!(answers.len(), needs.len());
    let taken = |need: &Need| match &answers[need] {
        Fact::Exists { existing, .. } => existing.as_ref().map(|(key, _, state)| (key.get(), *state)),
        other => panic!("{other:?}"),
    };
    assert_eq!(taken(&needs[0]), None);
    assert_eq!(taken(&needs[2]), Some((1, DagRunState::Running)), "by its date");
    assert_eq!(taken(&needs[5]), Some((2, DagRunState::Running)), "the id is the better answer");
    assert!(of_run(answers[&needs[1]].clone()).is_none());
    let found = of_run(answers[&needs[4]].clone()).unwrap();
    assert_eq!((found.run, found.instances.len()), (scheduled, 1));
    assert!(matches!(&answers[&missing], Fact::Version { version: None, .. }));
    assert!(matches!(&answers[&known], Fact::Version { version: Some(found), .. } if **found == version));
}

fn of_run(fact: Fact) -> Option<engine::StoredRun> {
    match fact {
        Fact::Run { run, .. } => run.map(|run| *run),
        Fact::Exists { .. } | Fact::NewestRuns { .. } | Fact::Runtimes { .. } | Fact::Version { .. } => {
            panic!("{fact:?}")
        }
    }
}

fn need_of(fact: &Fact) -> Need {
    match fact {
        Fact::Run { need, .. }
        | Fact::Exists { need, .. }
        | Fact::NewestRuns { need, .. }
        | Fact::Runtimes { need, .. }
        | Fact::Version { need, .. } => need.clone(),
    }
}

#[tokio::test]
async fn a_history_of_thousands_of_runs_goes_in_small_steps_and_nothing_else_with_it() {
    let database = Database::create().await;
    let mut leader = database.leader().await;
    let history = "INSERT INTO dag_run (id, dag_id, run_id, run_type, triggered_by, version_id, state, run_after, queued_at, conf)
        SELECT n, dag, 'r' || n, 1, 0, 1, CASE WHEN n % 1000 = 0 THEN 1 ELSE 2 END, now(), now(), '{}'
        FROM generate_series(1, 5000) n, LATERAL (SELECT CASE WHEN n > 4900 THEN 'other' ELSE 'etl' END) d (dag);
        INSERT INTO task_instance (run_id, task_idx, map_index, try_number, state, live)
        SELECT n, task, -1, 1, 4, false FROM generate_series(1, 5000) n, generate_series(0, 2) task";
    database.pool.execute(history).await.unwrap();
    let epoch = leader.epoch();
    let mut steps = 1;
    while store::maintenance::drop_ended_runs(&mut leader.writer, epoch, &dag_id("etl")).await.unwrap() == Swept::Some {
        steps += 1;
    }
    assert_eq!((steps, database.count("dag_run WHERE dag_id = 'other'").await), (3, 100));
    assert_eq!(database.count("dag_run WHERE dag_id = 'etl'").await, 4, "those that run are the engine's");
    let mut steps = 0;
    let mut left = database.count("task_instance").await;
    while store::maintenance::sweep_dropped_runs(&mut leader.writer, epoch).await.unwrap() == Swept::Some {
        let now = database.count("task_instance").await;
        assert!(left - now <= 5_000, "a step is bounded");
        (steps, left) = (steps + 1, now);
    }
    assert!(steps >= 3, "{steps}");
    assert_eq!((left, database.count("dropped_run").await), (104 * 3, 0));
}

#[tokio::test]
async fn a_forgotten_instance_loses_its_tries_and_what_it_keeps_and_no_other_does() {
    let database = Database::create().await;
    let mut leader = database.leader().await;
    let version = leader.store_dag("etl", &["a", "b"]).await;
    let rows = [queued(1, 0), queued(1, 1)];
    let ended_try = |row: &TiRow| TryRow {
        key: row.key,
        try_number: TryNumber::FIRST,
        state: TaskState::Failed,
        attempt: row.attempt,
        worker: None,
        queued_at: None,
        started_at: None,
        ended_at: Some(noon()),
        reason: None,
        exit_code: None,
    };
    let plan =
        Plan { new_runs: vec![run(&version, 1)], tries: rows.iter().map(ended_try).collect(), ..starting(&rows) };
    leader.apply(&plan).await.unwrap();
    let told = json!({});
    for row in &rows {
        let keeper = store::task_state::Keeper { key: row.key, told: &told };
        let forever = store::task_state::Expiry::At(None);
        let known = store::task_state::Known::NotNeeded;
        let kept =
            store::task_state::keep(&database.pool, "me".into(), (keeper, "k"), (&json!(1), forever), "set", known)
                .await;
        assert_eq!(kept.unwrap(), store::task_state::Keeping::Done);
    }
    leader.apply(&Plan { forgotten: vec![rows[0].key], ..Plan::default() }).await.unwrap();
    for table in ["task_try", "task_state_store"] {
        assert_eq!(database.count(table).await, 1, "{table}");
        assert_eq!(database.count(&format!("{table} WHERE task_idx = 1")).await, 1, "{table}");
    }
    // What is left goes with the run.
    leader.apply(&Plan { runs_dropped: vec![RunKey(1)], ..Plan::default() }).await.unwrap();
    let epoch = leader.epoch();
    while store::maintenance::sweep_dropped_runs(&mut leader.writer, epoch).await.unwrap() == Swept::Some {}
    assert_eq!(database.count("task_state_store").await, 0);
}

#[tokio::test]
async fn a_deleted_run_goes_at_once_and_what_belongs_to_it_with_the_next_sweep() {
    let database = Database::create().await;
    let mut leader = database.leader().await;
    let version = leader.store_dag("etl", &["a", "b"]).await;
    let rows = [queued(1, 0), queued(2, 0)];
    let left = |run: usize, key: &str| (rows[run].key, XComValue { key: key.to_owned(), value: json!(1) });
    let plan = Plan {
        new_runs: vec![run(&version, 1), run(&version, 2)],
        xcoms: vec![left(0, "k"), left(1, "k"), left(1, "other")],
        ..starting(&rows)
    };
    leader.apply(&plan).await.unwrap();
    leader.apply(&Plan { xcoms_deleted: vec![(rows[1].key, "k".to_owned())], ..Plan::default() }).await.unwrap();
    assert_eq!(database.count("xcom WHERE run_id = 2 AND key = 'other'").await, 1);
    assert_eq!(database.count("xcom WHERE run_id = 2").await, 1);

    leader.apply(&Plan { runs_dropped: vec![RunKey(1)], ..Plan::default() }).await.unwrap();
    assert_eq!(database.count("dag_run").await, 1);
    let epoch = leader.epoch();
    while store::maintenance::sweep_dropped_runs(&mut leader.writer, epoch).await.unwrap() == Swept::Some {}
    assert_eq!(database.count("task_instance WHERE run_id = 1").await, 0);
    assert_eq!(database.count("xcom").await, 1);
    assert_eq!(database.count("dropped_run").await, 0);

    sqlx::query("UPDATE dag SET is_stale = true").execute(&database.pool).await.unwrap();
    leader.apply(&Plan { dags_dropped: vec![dag_id("etl")], ..Plan::default() }).await.unwrap();
    for table in ["dag", "dag_run", "dag_version"] {
        assert_eq!(database.count(table).await, 0, "{table}");
    }
}

#[tokio::test]
async fn that_a_dag_drains_is_stored_and_what_the_scheduler_does_of_itself_is_audited() {
    let database = Database::create().await;
    let mut leader = database.leader().await;
    leader.store_dag("etl", &["a"]).await;
    let change = DagChange {
        dag_id: dag_id("etl"),
        is_paused: false,
        is_stale: false,
        next: None,
        last_interval: None,
        failed_in_a_row: 0,
        is_draining: true,
        passed_over: Some(noon()),
    };
    let told = engine::AuditedRow {
        dag_id: dag_id("etl"),
        run_id: None,
        action: "pass_over_dag_run",
        details: json!({ "run_after": day(21) }),
    };
    leader.apply(&Plan { dags: vec![change], audited: vec![told], ..Plan::default() }).await.unwrap();
    let snapshot = store::load(leader.writer.connection()).await.unwrap().snapshot;
    assert_eq!((snapshot.dags[0].is_draining, snapshot.dags[0].passed_over), (true, Some(noon())));
    assert_eq!(database.count("leader WHERE format = 6").await, 1, "an older binary would let its runs start");
    let lines =
        "audit_log WHERE who = 'scheduler' AND action = 'pass_over_dag_run' AND dag_id = 'etl' AND outcome = 'done'";
    assert_eq!(database.count(lines).await, 1);
}

#[tokio::test]
async fn what_a_rate_limit_counts_is_kept_as_long_as_the_pool_has_one() {
    let database = Database::create().await;
    let mut leader = database.leader().await;
    let api = |limit: Option<&str>, slots| Pool {
        name: "api".to_owned(),
        slots: Some(slots),
        description: String::new(),
        include_deferred: false,
        rate_limit: limit.map(|limit| limit.parse().unwrap()),
    };
    let starts = |at: &[model::Timestamp]| vec![("api".to_owned(), at.to_vec())];
    let plans = [
        Plan { pools: vec![api(Some("10/1m"), 1)], pool_starts: starts(&[noon()]), ..Plan::default() },
        Plan { pool_starts: starts(&[noon(), day(22)]), ..Plan::default() },
        Plan { pools: vec![api(Some("5/1m"), 2)], ..Plan::default() },
    ];
    for plan in plans {
        leader.apply(&plan).await.unwrap();
    }
    let snapshot = store::load(leader.writer.connection()).await.unwrap().snapshot;
    assert_eq!(snapshot.pools[0], api(Some("5/1m"), 2));
    assert_eq!(snapshot.pool_starts, starts(&[noon(), day(22)]), "another limit counts on");
    assert_eq!(database.count("leader WHERE format = 6").await, 1, "an older binary would start too many");
    for limit in [None, Some("5/1m")] {
        leader.apply(&Plan { pools: vec![api(limit, 2)], ..Plan::default() }).await.unwrap();
    }
    let snapshot = store::load(leader.writer.connection()).await.unwrap().snapshot;
    assert_eq!(snapshot.pool_starts, starts(&[]), "one that is set anew begins to count");
}
