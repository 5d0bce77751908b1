//! Commands with every odd text and instant that passes the door: the leader stores what follows from them, or refuses
//! them, and goes on leading.

use model::{
    AnswerStatus, Command, DagId, DagRunState, MapIndex, RunId, RunType, TaskId, TriggeredBy,
    command::{Paused, Pool, ServiceAction, SetNote, TaskSelector, TriggerDagRun, XComName},
    door::{Conf, Instant, Json, Note, Text, XComKey, Zone},
};
use serde_json::{Value, json};
use sqlx::PgPool;
use store::{Hints, inbox, read};

use crate::leader::{WITHIN, lead, migrated, until};

/// A schedule each, so that a date's interval is asked of every kind of timetable.
const SCHEDULES: [(&str, &str); 5] = [
    ("never", "null"),
    ("hourly", "'0 * * * *'"),
    ("leap", "{cron: '0 0 29 2 *', timetable: cron_data_interval}"),
    ("yearly", "{cron: '0 0 1 1 *', timetable: cron_data_interval}"),
    ("delta", "400d"),
];

fn texts() -> Vec<String> {
    let mut texts: Vec<String> = [
        "",
        " ",
        "\0",
        "a\0",
        "'",
        "\"",
        "\\",
        "\\u0000",
        "%",
        "\u{fffd}\u{ffff}",
        "\u{202e}x",
        "👩‍👩‍👧",
        "\r\n\t",
        "\u{1}\u{1b}\u{7f}",
        "{\"a\": 1}",
        "null",
        "NaN",
        "\u{feff}",
        "$1",
        "'; DROP TABLE inbox; --",
    ]
    .map(str::to_owned)
    .to_vec();
    texts.extend(["x".repeat(256), "é".repeat(512), "k".repeat(513), "n".repeat(1000), "y".repeat(100_000)]);
    texts
}

fn instants() -> Vec<Instant> {
    let texts = [
        "0001-01-01",
        "0001-01-01T00:00:00.000001Z",
        "0001-12-31T23:59:59Z",
        "0004-02-29",
        "1582-10-10",
        "1883-11-18",
        "1969-12-31T23:59:59.999999Z",
        "1970-01-01",
        "2026-03-29T01:30:00Z",
        "4000-02-29",
        "9996-02-29",
        "9998-12-31",
        "9999-01-01",
        "9999-12-31",
        "9999-12-31T23:59:59.999999Z",
        "0000-01-01",
        "10000-01-01",
    ];
    texts.iter().filter_map(|text| Instant::parse(text, Zone::Utc).ok()).collect()
}

fn values(texts: &[String]) -> Vec<Value> {
    let mut values: Vec<Value> = texts.iter().flat_map(|text| [json!(text), json!({text: [text]})]).collect();
    let deep = (0..62).fold(json!(1), |inner, _| json!([inner]));
    values.extend([
        json!(f64::MAX),
        json!(f64::MIN_POSITIVE),
        json!(u64::MAX),
        json!(i64::MIN),
        json!(-0.0),
        Value::Null,
        deep,
    ]);
    values
}

fn triggers(texts: &[String]) -> Vec<TriggerDagRun> {
    let by_hand = |dag: &str| TriggerDagRun::by_hand(DagId::new(dag).unwrap(), TriggeredBy::RestApi);
    let mut wishes = Vec::new();
    for (dag, _) in SCHEDULES {
        for at in instants() {
            wishes.push(TriggerDagRun { logical_date: Some(at), ..by_hand(dag) });
            wishes.push(TriggerDagRun { run_after: Some(at), ..by_hand(dag) });
            wishes.push(TriggerDagRun {
                logical_date: Some(at),
                data_interval: Some((at, Instant::MAX)),
                ..by_hand("never")
            });
        }
    }
    for note in texts.iter().filter_map(|text| Note::new(text.as_str()).ok()) {
        wishes.push(TriggerDagRun { note: Some(note), ..by_hand("never") });
    }
    for value in values(texts) {
        let members = [("odd".to_owned(), value)].into_iter().collect();
        let Ok(conf) = Conf::new(members) else { continue };
        wishes.push(TriggerDagRun { conf, run_type: RunType::Manual, ..by_hand("never") });
    }
    for id in ["~", "a:b+c", "-", &"r".repeat(250)] {
        wishes.push(TriggerDagRun { run_id: Some(RunId::new(id).unwrap()), ..by_hand("never") });
    }
    wishes
}

/// What can be asked of the run `r` and of the cluster.
fn others(texts: &[String]) -> Vec<Command> {
    let (dag_id, run_id) = (DagId::new("never").unwrap(), RunId::new("r").unwrap());
    let xcom = |key: XComKey| XComName {
        dag_id: dag_id.clone(),
        run_id: run_id.clone(),
        task_id: TaskId::new("a").unwrap(),
        map_index: MapIndex::UNMAPPED,
        key,
    };
    let mut commands = Vec::new();
    for text in texts {
        if let Ok(note) = Note::new(text.as_str()) {
            for tasks in [Vec::new(), vec![TaskSelector { task_id: TaskId::new("a").unwrap(), map_index: None }]] {
                let note = Some(note.clone());
                commands.push(Command::SetNote(SetNote {
                    dag_id: dag_id.clone(),
                    run_id: run_id.clone(),
                    tasks,
                    note,
                }));
            }
        }
        if let Ok(key) = XComKey::new(text.as_str()) {
            let value = Json::new(json!({ "k": key.as_str() })).unwrap();
            commands.push(Command::SetXCom { xcom: xcom(key.clone()), value });
            commands.push(Command::DeleteXCom(xcom(key)));
        }
        let pool = Pool {
            name: text.clone(),
            slots: Some(1),
            description: text.clone(),
            include_deferred: false,
            rate_limit: None,
        };
        commands.extend([Command::CreatePool(pool.clone()), Command::SetPool(Pool { slots: None, ..pool.clone() })]);
        commands.push(Command::SetPool(Pool { slots: Some(u32::MAX), ..pool }));
        if let Ok(name) = Text::new(text.as_str()) {
            commands.push(Command::DeletePool { name: name.clone() });
            let (dag_id, action) = (dag_id.clone(), ServiceAction::Stop);
            commands.push(Command::ControlService { dag_id, name, action });
        }
    }
    for value in values(texts).into_iter().filter_map(|value| Json::new(value).ok()) {
        commands.push(Command::SetXCom { xcom: xcom(XComKey::new("v").unwrap()), value });
    }
    let state = DagRunState::Queued;
    commands.push(Command::MarkDagRun { dag_id: dag_id.clone(), run_id: run_id.clone(), state });
    commands.push(Command::DeleteDagRun { dag_id, run_id: RunId::new("~").unwrap() });
    commands
}

/// Sends many at once, so that odd ones meet in one turn, and waits for every answer.
async fn send(pool: &PgPool, hints: &Hints, mut commands: Vec<Command>) -> Vec<AnswerStatus> {
    let mut ids = Vec::new();
    commands.retain(|command| command.check().is_ok());
    for command in &commands {
        match inbox::submit(pool, command, "o'brien \u{202e}").await {
            Ok(id) => ids.push(id),
            Err(error) => panic!("the inbox refuses what has passed the door: {error}; {command:?}"),
        }
    }
    let mut answers = Vec::new();
    for (id, command) in ids.into_iter().zip(&commands) {
        let answer = inbox::await_answer(pool, hints, id, WITHIN).await.unwrap();
        let answer = answer.unwrap_or_else(|| panic!("no answer to {command:?}"));
        let detail = answer.body["detail"].as_str().unwrap_or_default();
        assert!(!detail.contains("three times"), "{command:?}: {detail}");
        answers.push(answer.status);
    }
    answers
}

#[tokio::test(flavor = "multi_thread")]
async fn no_command_that_passes_the_door_makes_the_store_refuse_a_turn() {
    let folder = tempfile::tempdir().unwrap();
    for (dag, schedule) in SCHEDULES {
        let yaml = format!(
            "dag_id: {dag}\nschedule: {schedule}\nstart_date: 2026-01-01\nmax_active_runs: 1\ntasks:\n  \
             - {{task_id: a, operator: bash, bash_command: 'true'}}\n"
        );
        std::fs::write(folder.path().join(format!("{dag}.yaml")), yaml).unwrap();
    }
    let (url, pool) = migrated().await;
    let hints = Hints::listen(&pool).await.unwrap();
    let leader = lead(&url, "only", folder.path());
    for (dag, _) in SCHEDULES {
        let dag_id = DagId::new(dag).unwrap();
        until(dag, async || read::dag(&pool, &dag_id).await.unwrap().is_some()).await;
    }
    let epoch = || async { read::leader(&pool).await.unwrap().epoch };
    let before = epoch().await;
    let texts = texts();
    let r = TriggerDagRun {
        run_id: Some(RunId::new("r").unwrap()),
        ..TriggerDagRun::by_hand(DagId::new("never").unwrap(), TriggeredBy::Test)
    };
    assert_eq!(send(&pool, &hints, vec![Command::TriggerDagRun(r)]).await, [AnswerStatus::Done]);
    let answers = send(&pool, &hints, triggers(&texts).into_iter().map(Command::TriggerDagRun).collect()).await;
    assert!(answers.iter().filter(|status| **status == AnswerStatus::Done).count() > 100, "{answers:?}");
    let answers = send(&pool, &hints, others(&texts)).await;
    assert!(answers.iter().filter(|status| **status == AnswerStatus::Done).count() > 50, "{answers:?}");
    // Runs of every odd date are served, too, and their next runs are asked of the schedule.
    let unpause = |dag: &str| Command::PauseDag { dag_id: DagId::new(dag).unwrap(), to: Paused::Active };
    send(&pool, &hints, SCHEDULES.iter().map(|(dag, _)| unpause(dag)).collect()).await;
    send(&pool, &hints, vec![Command::DeletePool { name: Text::new("none").unwrap() }]).await;
    assert_eq!(epoch().await, before, "the leader has not been thrown out of its reign");
    leader.task.abort();
}
