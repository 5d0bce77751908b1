//! The operators `sql` and `sql_check` on Trino: on a real one that `TRINO_URL_TEST` names, such as
//! `trino://me@127.0.0.1:8080/memory/default` with the catalogues `memory` and `tpch`; and on a small server that fails on
//! command, where a real one can not be made to.

mod coordinator;
mod faults;
mod lost;
mod real;

use std::time::Duration;

use link::ConnectionFields;
use model::{
    Operator,
    operator::{Sql, SqlOutput, SqlParameters, SqlSource},
};
use tokio::time::Instant;
use url::Url;
use uuid::Uuid;

use crate::rig::Rig;

/// How long something may take on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn sql(text: &str) -> Sql {
    Sql {
        conn_id: "trino".into(),
        sql: vec![SqlSource::Text(text.into())],
        parameters: SqlParameters::default(),
        output: SqlOutput::None,
    }
}

fn rows(text: &str) -> Operator {
    Operator::Sql(Sql { output: SqlOutput::Rows, ..sql(text) })
}

/// A rig with a connection `trino`, and a run that no other test has.
fn rig_with(connection: ConnectionFields) -> Rig {
    let mut rig = Rig::new();
    rig.run_id = format!("manual__{}", Uuid::new_v4());
    rig.leader.connections.insert("trino".into(), connection);
    rig
}

fn connection(url: &Url) -> ConnectionFields {
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    ConnectionFields {
        conn_id: "trino".into(),
        conn_type: "trino".into(),
        host: url.host_str().map(str::to_owned),
        schema: some(url.path().trim_matches('/')),
        login: some(url.username()),
        password: url.password().map(str::to_owned),
        port: url.port().map(i32::from),
        extra: None,
    }
}

/// A rig on the real Trino; none, and a line that says so, when there is none.
fn with_trino() -> Option<Rig> {
    let Some(url) = std::env::var("TRINO_URL_TEST").ok().filter(|url| !url.is_empty()) else {
        println!("skipped: TRINO_URL_TEST names no Trino");
        return None;
    };
    Some(rig_with(connection(&url.parse().unwrap())))
}

/// Waits until a log of the rig has a text, and gives the line.
async fn logged(rig: &Rig, text: &str) -> String {
    let began = Instant::now();
    loop {
        let logs = std::fs::read_dir(rig.dir.path()).unwrap().flatten().map(|entry| entry.path());
        let logs = logs.filter(|path| path.extension().is_some_and(|extension| extension == "jsonl"));
        let all: String = logs.map(|path| std::fs::read_to_string(path).unwrap()).collect();
        if let Some(line) = all.lines().find(|line| line.contains(text)) {
            return line.to_owned();
        }
        assert!(began.elapsed() < PATIENCE, "no line with {text:?} in:\n{all}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
