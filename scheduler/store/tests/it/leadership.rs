//! One leader at a time: whoever is deposed writes nothing, and an unknown outcome becomes known.

use std::time::{Duration, Instant};

use engine::{Plan, TiRow};
use model::{Capability, Epoch, TurnNumber, WorkerId};
use sqlx::{Executor, PgConnection};
use store::{
    Lease, Sight, StoreError, WorkerRecord, Writer,
    maintenance::{self, Swept},
};
use uuid::Uuid;

use crate::support::{Database, Leader, candidate, compile, queued, starting};

#[tokio::test]
async fn a_deposed_leader_writes_nothing() {
    let database = Database::create().await;
    let mut old = database.leader().await;
    // A connection of its own, so that it is refused by the fence and not by the loss of its connection.
    let mut writer = Writer::connect(&database.url).await.unwrap();
    let new = Leader::take_over(&database.url, "second").await;
    assert_eq!(new.epoch().get(), old.epoch().get() + 1);

    let plan = starting(&[queued(1, 0)]);
    let refused = store::apply(&mut writer, old.epoch(), new.leadership.now, &plan).await.unwrap_err();
    assert!(matches!(refused, StoreError::Deposed), "{refused:?}");
    let with_rare_parts = Plan { pools_dropped: vec!["default_pool".to_owned()], ..plan.clone() };
    let refused = store::apply(&mut writer, old.epoch(), new.leadership.now, &with_rare_parts).await.unwrap_err();
    assert!(matches!(refused, StoreError::Deposed), "{refused:?}");
    let refused = store::store_version(&mut writer, old.epoch(), &compile("etl", &["a"])).await.unwrap_err();
    assert!(matches!(refused, StoreError::Deposed), "{refused:?}");
    let refused = store::worker_lost(&mut writer, old.epoch(), WorkerId(1)).await.unwrap_err();
    assert!(matches!(refused, StoreError::Deposed), "{refused:?}");

    let cut_off = old.apply(&plan).await.unwrap_err();
    assert!(matches!(cut_off, StoreError::Unknown { .. }), "its connection was ended: {cut_off:?}");
    let resumed = store::resume(&mut Writer::connect(&database.url).await.unwrap(), old.epoch()).await;
    assert!(matches!(resumed, Err(StoreError::Deposed)));
    assert_eq!(database.count("task_instance").await + database.count("dag").await, 0);
    assert_eq!(database.count("pool").await, 1);
}

#[tokio::test]
async fn a_takeover_ends_a_leader_that_sleeps_in_its_transaction() {
    let database = Database::create().await;
    let mut old = database.leader().await;
    let epoch = old.epoch().get();
    old.writer.connection().execute("BEGIN").await.unwrap();
    let lock = format!("UPDATE leader SET turn = turn + 1 WHERE epoch = {epoch}");
    old.writer.connection().execute(lock.as_str()).await.unwrap();
    let begun = Instant::now();
    let new = Leader::take_over(&database.url, "second").await;
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert_eq!(new.leadership.turn, TurnNumber(0), "what the old one had not committed is gone");
}

#[tokio::test]
async fn of_several_candidates_one_leads() {
    let database = Database::create().await;
    let mut tries = Vec::new();
    for number in 0..6 {
        let url = database.url.clone();
        tries.push(tokio::spawn(async move {
            let mut writer = Writer::connect(&url).await?;
            let leadership = store::lead(&mut writer, &candidate(&format!("candidate {number}"))).await?;
            Ok::<_, StoreError>((writer, leadership))
        }));
    }
    let mut leaders = Vec::new();
    for attempt in tries {
        leaders.extend(attempt.await.unwrap());
    }
    let newest = leaders.iter().map(|(_, leadership)| leadership.epoch).max().unwrap();
    let mut in_force = 0;
    for (writer, leadership) in &mut leaders {
        let stored = store::apply(writer, leadership.epoch, leadership.now, &Plan::default()).await;
        in_force += u32::from(stored.is_ok());
        assert_eq!(stored.is_ok(), leadership.epoch == newest, "{stored:?}");
    }
    assert_eq!(in_force, 1);
}

#[tokio::test]
async fn an_unknown_outcome_becomes_known_on_a_new_connection() {
    let database = Database::create().await;
    let mut leader = database.leader().await;
    leader.apply(&starting(&[queued(1, 0)])).await.unwrap();
    end_backends_of(&database, "windlass leader").await;
    let broken = leader.apply(&starting(&[queued(1, 1)])).await.unwrap_err();
    assert!(matches!(broken, StoreError::Unknown { .. }), "{broken:?}");

    let mut writer = Writer::connect(&database.url).await.unwrap();
    let stored = store::resume(&mut writer, leader.epoch()).await.unwrap();
    assert_eq!(stored, TurnNumber(1), "the turn that broke is not stored");
    let mut leader = Leader { writer, leadership: leader.leadership };
    assert_eq!(leader.apply(&starting(&[queued(1, 1)])).await.unwrap().turn, TurnNumber(2));

    // The next leader knows which backend to end.
    let _new = Leader::take_over(&database.url, "second").await;
    assert!(matches!(leader.apply(&Plan::default()).await, Err(StoreError::Unknown { .. })));
}

#[tokio::test]
async fn a_standby_sees_a_living_leader_a_silent_one_and_one_that_let_go() {
    let database = Database::create().await;
    let leader = database.leader().await;
    let mut lease = Lease::connect(&database.url).await.unwrap();
    let mut standby = Lease::connect(&database.url).await.unwrap();
    assert_eq!(lease.bump(leader.epoch()).await.unwrap().waiting, 0);

    let start = Instant::now();
    assert_eq!(standby.watch(start).await.unwrap(), Sight::Alive);
    lease.bump(leader.epoch()).await.unwrap();
    assert_eq!(standby.watch(start + Duration::from_secs(6)).await.unwrap(), Sight::Alive);
    assert_eq!(standby.watch(start + Duration::from_secs(10)).await.unwrap(), Sight::Alive);
    assert_eq!(standby.watch(start + Duration::from_secs(11)).await.unwrap(), Sight::Vacant);

    let mut other = Lease::connect(&database.url).await.unwrap();
    assert_eq!(other.watch(start).await.unwrap(), Sight::Alive);
    lease.close().await;
    // The server notices the end of a connection a moment later.
    let begun = Instant::now();
    while other.watch(start).await.unwrap() == Sight::Alive {
        assert!(begun.elapsed() < Duration::from_secs(5), "the lock is not free");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let view = other.view().await.unwrap();
    assert_eq!((view.holder.as_str(), view.endpoint.as_str()), ("first", "unix:first"));
}

#[tokio::test]
async fn a_newer_format_is_not_led() {
    let database = Database::create().await;
    database.pool.execute("UPDATE leader SET format = 99").await.unwrap();
    let mut writer = Writer::connect(&database.url).await.unwrap();
    let refused = store::lead(&mut writer, &candidate("old binary")).await.unwrap_err();
    assert!(matches!(refused, StoreError::NewerFormat { found: 99, .. }), "{refused:?}");
}

#[tokio::test]
async fn a_state_that_older_binaries_can_not_read_says_so_to_them() {
    let database = Database::create().await;
    let mut leader = database.leader().await;
    let epoch = leader.epoch();
    assert_eq!(database.count("leader WHERE format = 1").await, 1, "a binary of 0.1.0 may lead");
    let format_of = |task: &str| {
        let text = format!("dag_id: d\ntasks: [{{task_id: before, operator: empty}}, {{task_id: t, {task}}}]\n");
        let loaded = dag::load("test.yaml", &text, &dag::Content::default());
        store::leader::format_of_dag(&loaded.dags[0].dag)
    };
    assert_eq!(format_of("operator: empty"), 1);
    assert_eq!(format_of("operator: kafka_topic, topic: t, state: absent"), 2);
    assert_eq!(format_of("operator: bash, bash_command: x, expand: {part: [1, 2]}"), 4);
    assert_eq!(format_of("operator: empty, outlets: [{alias: a}]"), 4);
    for task in ["on_failure_callback: {command: x}", "teardown: true", "start_date: 2026-01-01"] {
        assert_eq!(format_of(&format!("operator: empty, {task}")), 5, "{task}");
    }
    assert_eq!(format_of("operator: empty, task_queued_timeout: 5m"), 6);
    let overlapping = "dag_id: d\nschedule: '@daily'\noverlap: skip\ntasks: [{task_id: t, operator: empty}]\n";
    let overlapping = dag::load("test.yaml", overlapping, &dag::Content::default());
    assert_eq!(store::leader::format_of_dag(&overlapping.dags[0].dag), 6);
    assert_eq!(format_of("operator: file_sensor, filepath: /x, deferrable: true"), 6);
    assert_eq!(format_of("operator: empty, params: {x: 1}"), 6);
    store::leader::raise_format(&mut leader.writer, epoch, 2).await.unwrap();
    store::leader::raise_format(&mut leader.writer, epoch, 1).await.unwrap();
    let next = Leader::take_over(&database.url, "second").await;
    assert_eq!(database.count("leader WHERE format = 2").await, 1, "it never falls");
    let refused = store::leader::raise_format(&mut Writer::connect(&database.url).await.unwrap(), epoch, 2).await;
    assert!(matches!(refused, Err(StoreError::Deposed)), "{refused:?}");
    drop(next);
}

#[tokio::test]
async fn a_clock_that_was_wrong_into_the_future_is_followed_back_with_what_it_planned() {
    let database = Database::create().await;
    let mut leader = database.leader().await;
    let epoch = leader.epoch();
    leader.store_dag("etl", &["a"]).await;
    // A year ahead: a run that was due then, a wait for a retry in ten minutes, and a schedule that went on from there.
    let planned = "UPDATE leader SET turn_at = now() + interval '1 year';
        INSERT INTO dag_run (id, dag_id, run_id, run_type, triggered_by, version_id, state, logical_date, interval_start,
                             interval_end, run_after, queued_at, conf)
        SELECT n, 'etl', 'r' || n, 0, 4, 1, CASE WHEN n = 2 THEN 0 ELSE 1 END, at, at, at, at, at, '{}'
        FROM (VALUES (1, now() - interval '1 day'), (2, now() + interval '364 days'), (3, now() + interval '2 years')) v (n, at);
        UPDATE dag_run SET state = 0, run_type = 1 WHERE id = 3;
        INSERT INTO task_instance (run_id, task_idx, map_index, try_number, state, live, queued_at)
        VALUES (1, 0, -1, 1, 2, true, now() + interval '364 days'), (1, 1, -1, 1, 2, true, now() - interval '1 minute');
        UPDATE pool SET recent_starts = ARRAY[now(), now() + interval '364 days'];
        INSERT INTO task_instance_extra (run_id, task_idx, map_index, wake_at)
        VALUES (1, 0, -1, now() + interval '1 year 10 minutes'), (1, 1, -1, now() + interval '10 minutes'),
               (1, 2, -1, now() + interval '364 days'), (1, 3, -1, now() - interval '1 minute');
        UPDATE dag SET next_run_after = now() + interval '366 days', last_interval_end = now() + interval '364 days'";
    database.pool.execute(planned).await.unwrap();
    let wrong = chrono::Utc::now() + chrono::TimeDelta::days(365);
    let now = store::set_clock_back(&mut leader.writer, epoch, wrong).await.unwrap();
    assert!((now - chrono::Utc::now()).abs() < chrono::TimeDelta::minutes(1));
    for (what, why) in [
        ("leader WHERE turn_at <= clock_timestamp()", "the next leader begins now"),
        ("dag_run WHERE id = 2 AND run_after <= clock_timestamp()", "what was due may start"),
        ("dag_run WHERE id = 3 AND run_after > now() + interval '1 year'", "what was asked for later comes later"),
        (
            "task_instance_extra WHERE task_idx = 0 AND wake_at BETWEEN now() AND now() + interval '1 day'",
            "the wait goes on",
        ),
        (
            "task_instance_extra WHERE task_idx = 1 AND wake_at <= now()",
            "a wait from before was over by the wrong clock",
        ),
        ("task_instance_extra WHERE task_idx = 2 AND wake_at <= now()", "so was one that the wrong clock began"),
        ("task_instance_extra WHERE task_idx = 3 AND wake_at < now() - interval '59 seconds'", "it was over"),
        ("task_instance WHERE task_idx = 0 AND queued_at <= now()", "it is queued since now, and taken back in time"),
        ("task_instance WHERE task_idx = 1 AND queued_at < now() - interval '59 seconds'", "that one was true"),
        ("pool WHERE recent_starts = '{}'", "a pool with a rate limit begins anew"),
        ("dag WHERE next_run_after IS NULL AND last_interval_end < now()", "the schedule goes on after what was real"),
    ] {
        assert_eq!(database.count(what).await, 1, "{why}");
    }
    let next = Leader::take_over(&database.url, "second").await;
    assert!((next.leadership.now - now).abs() < chrono::TimeDelta::minutes(1));
}

#[tokio::test]
async fn what_this_binary_can_not_read_concerns_its_dag_only() {
    let database = Database::create().await;
    let mut leader = database.leader().await;
    for (key, name) in (1..).zip(["fine", "newer", "wrong_conf", "wrong_state", "gone"]) {
        let version = leader.store_dag(name, &["a"]).await;
        let instance = TiRow { worker: Some(WorkerId(1)), ..queued(key, 0) };
        let plan = Plan { new_runs: vec![crate::support::run(&version, key)], ..starting(&[instance]) };
        leader.apply(&plan).await.unwrap();
    }
    let newer = r#"UPDATE dag_version SET compiled = replace(compiled::text, '"empty"', '"flink"')::json WHERE dag_id = 'newer';
        UPDATE dag_run SET conf = '[]' WHERE dag_id = 'wrong_conf';
        UPDATE task_instance SET state = 99 WHERE run_id = 4;
        DELETE FROM dag_version WHERE dag_id = 'gone'"#;
    database.pool.execute(newer).await.unwrap();
    let loaded = store::load(leader.writer.connection()).await.unwrap();
    let runs: Vec<_> = loaded.snapshot.runs.iter().map(|run| run.run.dag_id.as_str()).collect();
    assert_eq!(runs, ["fine"]);
    assert_eq!(loaded.snapshot.dags.len(), 5, "their switches can be set");
    assert_eq!(loaded.snapshot.versions.len(), 3);
    let mut told: Vec<_> = loaded.unreadable.iter().map(|what| (what.dag_id.as_str(), what.why.as_str())).collect();
    told.sort_unstable();
    told.dedup();
    let said = |dag: &str, why: &str| told.iter().any(|(of, said)| *of == dag && said.contains(why));
    assert!(said("newer", "flink") && said("wrong_conf", "conf") && said("wrong_state", "99"), "{told:?}");
    assert!(said("gone", "not stored") && !told.iter().any(|(of, _)| *of == "fine"), "{told:?}");
    // An engine goes on from it.
    drop(engine::Engine::load(loaded.snapshot, crate::support::noon()));
}

#[tokio::test]
async fn a_worker_keeps_its_number() {
    let database = Database::create().await;
    let mut leader = database.leader().await;
    let epoch = leader.epoch();
    let mut worker = WorkerRecord {
        identity: Uuid::new_v4(),
        name: "host:1".to_owned(),
        slots: 4,
        queues: ["default".to_owned()].into(),
        capabilities: [Capability::Light, Capability::LakeLocal].into(),
    };
    let first = store::register_worker(&mut leader.writer, epoch, &worker).await.unwrap();
    "host:2".clone_into(&mut worker.name);
    let again = store::register_worker(&mut leader.writer, epoch, &worker).await.unwrap();
    assert_eq!(first, again);
    let workers = store::load(leader.writer.connection()).await.unwrap().snapshot.workers;
    assert_eq!((workers[0].name.as_str(), &workers[0].capabilities), ("host:2", &worker.capabilities));
    store::worker_lost(&mut leader.writer, epoch, first).await.unwrap();
    assert!(store::load(leader.writer.connection()).await.unwrap().snapshot.workers.is_empty());
}

#[tokio::test]
async fn a_try_shows_the_name_that_its_worker_had_then() {
    let database = Database::create().await;
    let mut leader = database.leader().await;
    let epoch = leader.epoch();
    let named = |name: &str| WorkerRecord {
        identity: Uuid::from_u128(7),
        name: name.to_owned(),
        slots: 4,
        queues: ["default".to_owned()].into(),
        capabilities: [Capability::Light].into(),
    };
    let worker = store::register_worker(&mut leader.writer, epoch, &named("host:1")).await.unwrap();
    let version = leader.store_dag("etl", &["a", "b"]).await;
    let mut before = queued(1, 0);
    before.worker = Some(worker);
    leader
        .apply(&Plan { new_runs: vec![crate::support::run(&version, 1)], ..starting(&[before.clone()]) })
        .await
        .unwrap();
    // A restart under the same name is none of a name.
    for name in ["host:1", "host:2"] {
        store::register_worker(&mut leader.writer, epoch, &named(name)).await.unwrap();
    }
    let mut after = queued(1, 1);
    (after.worker, after.queued_at) = (Some(worker), Some(chrono::Utc::now() + chrono::TimeDelta::seconds(1)));
    leader.apply(&starting(&[after.clone()])).await.unwrap();
    let found = store::read::instances(&database.pool, &[before.key.run]).await.unwrap();
    let names: Vec<_> = found.iter().map(|one| one.worker.as_deref()).collect();
    assert_eq!(names, [Some("host:1"), Some("host:2")]);
    for number in 3..300 {
        store::register_worker(&mut leader.writer, epoch, &named(&format!("host:{number}"))).await.unwrap();
    }
    assert_eq!(database.count("worker_name").await, 200, "names are of processes, and there are many in a year");
    assert_eq!(database.count("worker_name WHERE until = 'infinity' AND name = 'host:299'").await, 1);
}

#[tokio::test]
async fn a_worker_that_is_gone_for_a_month_is_forgotten_with_its_certificate() {
    let database = Database::create().await;
    let mut leader = database.leader().await;
    let epoch = leader.epoch();
    let seed = "INSERT INTO worker (identity, name, slots, queues, capabilities, lost_at)
        SELECT uuid, name, 1, '{}', '{}', now() - age::interval
        FROM (VALUES (gen_random_uuid(), 'gone', '31 days'), (gen_random_uuid(), 'serves', '31 days'),
                     (gen_random_uuid(), 'taken back', '31 days'), (gen_random_uuid(), 'lately', '29 days'),
                     (gen_random_uuid(), 'here', NULL)) AS v (uuid, name, age);
        INSERT INTO service (dag_id, name, replica, spec, spec_hash, is_wanted, state, worker_id, deaths, restarts, changed_at,
                             progress, progress_seq)
        SELECT 'etl', 'sink', 0, '{}', '', true, 1, id, 0, 0, now(), '{}', 0 FROM worker WHERE name = 'serves';
        INSERT INTO worker_certificate (identity, fingerprint, token_id, issued_at, used_at, revoked_at)
        SELECT identity, '', name, now() - interval '90 days', now() - interval '90 days',
               CASE WHEN name = 'taken back' THEN now() END FROM worker;
        INSERT INTO worker_certificate (identity, fingerprint, token_id, issued_at)
        VALUES (gen_random_uuid(), '', 'never used', now() - interval '31 days'), (gen_random_uuid(), '', 'new', now())";
    database.pool.execute(seed).await.unwrap();
    store::maintenance::sweep(&mut leader.writer, epoch).await.unwrap();
    let names = |query| sqlx::query_scalar::<_, String>(query).fetch_all(&database.pool);
    assert_eq!(names("SELECT name FROM worker ORDER BY name").await.unwrap(), ["here", "lately", "serves"]);
    let kept = names("SELECT token_id FROM worker_certificate ORDER BY token_id").await.unwrap();
    assert_eq!(kept, ["here", "lately", "new", "serves", "taken back"]);
}

#[tokio::test]
async fn services_come_back_as_they_were_stored() {
    use model::{ServiceKey, ServiceState, operator::ServiceSpec};
    use store::{ServiceRow, Wanted};
    let database = Database::create().await;
    let mut leader = database.leader().await;
    let epoch = leader.epoch();
    let spec: ServiceSpec =
        serde_json::from_value(serde_json::json!({"name": "sink", "command": ["windlass-tasks", "bronze-sink"]}))
            .unwrap();
    let row = ServiceRow {
        key: ServiceKey { dag: crate::support::dag_id("etl"), name: "sink".to_owned(), replica: 0 },
        spec,
        hash: "abc".to_owned(),
        wanted: Wanted::Running,
        state: ServiceState::Starting,
        instance: Some(Uuid::new_v4()),
        worker: Some(WorkerId(1)),
        deaths: 1,
        restarts: 2,
        not_before: None,
        started_at: None,
        changed_at: crate::support::noon(),
        progress: serde_json::Value::Null,
        progress_seq: 7,
        progress_stored_at: None,
        last_error: Some("it broke".to_owned()),
    };
    store::save_services(&mut leader.writer, epoch, std::slice::from_ref(&row)).await.unwrap();
    let ready = ServiceRow { state: ServiceState::Ready, progress: serde_json::json!({"lag": 0}), ..row };
    store::save_services(&mut leader.writer, epoch, std::slice::from_ref(&ready)).await.unwrap();
    assert_eq!(store::load_services(leader.writer.connection()).await.unwrap(), [ready]);
}

/// Ends other connections from the server's side, as a failing network would.
async fn end_backends_of(database: &Database, application: &str) {
    let mut connection: sqlx::pool::PoolConnection<sqlx::Postgres> = database.pool.acquire().await.unwrap();
    let connection: &mut PgConnection = &mut connection;
    sqlx::query(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
         WHERE application_name = $1 AND datname = current_database()",
    )
    .bind(application)
    .execute(connection)
    .await
    .unwrap();
}

/// PostgreSQL ends a connection whose transaction stays open, and an idle leader sends nothing for long.
#[tokio::test]
async fn no_transaction_of_a_leader_stays_open() {
    let database = Database::create().await;
    let mut leader = database.leader().await;
    let backend: i32 =
        sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(leader.writer.connection()).await.unwrap();
    let assert_idle = async |after: &str| {
        let state: String = sqlx::query_scalar("SELECT state FROM pg_stat_activity WHERE pid = $1")
            .bind(backend)
            .fetch_one(&database.pool)
            .await
            .unwrap();
        assert_eq!(state, "idle", "after {after}");
    };
    let (epoch, writer) = (leader.epoch(), &mut leader.writer);
    assert_eq!(maintenance::sweep_dropped_runs(writer, epoch).await.unwrap(), Swept::All);
    assert_idle("a look at nothing").await;
    maintenance::sweep(writer, epoch).await.unwrap();
    assert_idle("a sweep").await;
    let deposed = Epoch(epoch.get() + 1);
    let compiled = compile("etl", &["a"]);
    assert!(maintenance::sweep_dropped_runs(writer, deposed).await.is_err());
    assert_idle("a look that is refused").await;
    assert!(maintenance::sweep(writer, deposed).await.is_err());
    assert_idle("a sweep that is refused").await;
    assert!(store::store_version(writer, deposed, &compiled).await.is_err());
    assert_idle("a file that is refused").await;
}
