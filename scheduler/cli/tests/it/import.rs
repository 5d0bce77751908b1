//! `windlass import airflow`: from another Windlass, which speaks Airflow 3's API, and from a server that answers as Airflow 2.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::{TcpListener, TcpStream},
};

use serde_json::{Value, json};

use crate::{
    printed, said,
    standalone::{Client, Place as _, Standalone, refusal},
};

fn dag(id: &str) -> String {
    format!("dag_id: {id}\nschedule: null\ntasks:\n  - {{task_id: a, operator: empty}}\n")
}

/// An installation that has something of everything.
fn filled() -> Standalone {
    let there =
        Standalone::start(&[("a.yaml", &dag("a")), ("b.yaml", &dag("b")), ("only_there.yaml", &dag("only_there"))]);
    there.good(&["pools", "set", "etl", "3", "of the warehouse", "--include-deferred"]);
    there.good(&["pools", "set", "open", "-1", "without a limit"]);
    there.good(&["variables", "set", "region", "eu", "--description", "where"]);
    there.good(&["variables", "set", "api_token", "canary"]);
    // More than a page of a list.
    let many: Value =
        (0..120).map(|number| (format!("many_{number:03}"), json!("x"))).collect::<serde_json::Map<_, _>>().into();
    assert!(there.run_with(&["variables", "import", "-"], &many.to_string()).status.success());
    let uri = "postgres://me:canary@db.example:5432/sales?token=canary&n=1";
    there.good(&["connections", "add", "db", "--conn-uri", uri]);
    there.good(&["connections", "add", "open", "--conn-type", "http", "--conn-host", "h"]);
    there.good(&["dags", "unpause", "a"]);
    let token = there.token();
    there.post(&token, "/api/v2/dags/a/favorite");
    there
}

/// The row of a kind in a summary.
fn of_kind<'r>(rows: &'r Value, kind: &str) -> &'r Value {
    rows.as_array().unwrap().iter().find(|row| row["kind"] == kind).unwrap_or_else(|| panic!("{kind} is not in {rows}"))
}

#[test]
fn another_installation_is_taken_over_by_its_api() {
    let there = filled();
    let here = Standalone::start(&[("a.yaml", &dag("a")), ("b.yaml", &dag("b"))]);
    here.good(&["variables", "set", "region", "us"]);
    here.good(&["connections", "add", "open", "--conn-type", "http", "--conn-host", "mine", "--conn-password", "kept"]);
    let url = there.url();
    let import = ["import", "airflow", "--url", url.as_str(), "--username", "airflow", "-o", "json"];

    let plan = here.run_with(&[&import[..], &["--dry-run"]].concat(), "airflow\n");
    let rows: Value = serde_json::from_str(&printed(&plan)).unwrap_or_else(|error| panic!("{error} {}", said(&plan)));
    let action = |kind: &str, name: &str| {
        let found = rows.as_array().unwrap().iter().find(|row| row["kind"] == kind && row["name"] == name);
        found.unwrap_or_else(|| panic!("{kind} {name} is not in {rows}"))["action"].clone()
    };
    assert_eq!((action("pools", "etl"), action("variables", "region")), ("create".into(), "keep".into()));
    assert_eq!((action("connections", "db"), action("paused", "a")), ("create".into(), "unpause".into()));
    assert_eq!((action("favorites", "a"), action("paused", "only_there")), ("mark".into(), "skip".into()));
    assert_eq!(here.json(&["pools", "list"]).as_array().unwrap().len(), 1, "a plan changes nothing");

    let done = here.run_with(&import, "airflow\n");
    assert!(done.status.success(), "{}", said(&done));
    let (rows, told): (Value, _) = (serde_json::from_str(&printed(&done)).unwrap(), said(&done));
    let pools = json!({"kind": "pools", "created": 2, "changed": 0, "same": 1, "kept": 0, "skipped": 0, "failed": 0});
    assert_eq!(*of_kind(&rows, "pools"), pools);
    assert_eq!(
        (&of_kind(&rows, "variables")["created"], &of_kind(&rows, "variables")["skipped"]),
        (&120.into(), &1.into())
    );
    assert!(told.contains("variables api_token (skip)") && told.contains("set anew: password, extra.token"), "{told}");
    assert!(!told.contains('\u{1b}'), "a bar is for terminals: {told}");
    assert!(told.contains("1 DAGs run here from now on") && !told.contains("canary"), "{told}");
    assert_eq!(here.json(&["pools", "get", "etl"])[0]["slots"], 3);
    assert_eq!(here.good(&["variables", "get", "region"]), "us\n");
    let exported = here.good(&["connections", "export", "-"]);
    assert!(exported.contains("db.example") && !exported.contains("***"), "no mask is a secret: {exported}");
    assert_eq!(here.json(&["dags", "list"])[0]["is_paused"], false);

    let again = here.run_with(&import, "airflow\n");
    let rows: Value = serde_json::from_str(&printed(&again)).unwrap();
    assert_eq!((&of_kind(&rows, "favorites")["same"], &of_kind(&rows, "variables")["same"]), (&1.into(), &120.into()));

    let more = here.run_with(&[&import[..], &["--overwrite"]].concat(), "airflow\n");
    assert!(more.status.success(), "{}", said(&more));
    assert_eq!(here.good(&["variables", "get", "region"]), "eu\n");
    let exported = here.good(&["connections", "export", "-"]);
    assert!(exported.contains(r#""host": "h""#) && exported.contains("kept"), "a password stays: {exported}");
    a_server_takes_it_over_as_well(&there, &here);
}

fn a_server_takes_it_over_as_well(there: &Standalone, here: &Standalone) {
    here.good(&["pools", "delete", "etl"]);
    here.good(&["dags", "pause", "a"]);
    here.good(&["connections", "delete", "db"]);
    let client = Client::of(&here.url()).logged_in().with("WINDLASS_AIRFLOW_TOKEN", &there.token());
    let rows = client.json(&["import", "airflow", "--url", &there.url(), "--overwrite"]);
    assert_eq!((&of_kind(&rows, "pools")["created"], &of_kind(&rows, "paused")["changed"]), (&1.into(), &1.into()));
    assert_eq!(of_kind(&rows, "favorites")["same"], 1);
    assert_eq!(here.json(&["connections", "get", "db"])[0]["host"], "db.example");
    here.good(&["pools", "set", "etl", "4", "of the warehouse"]);
    let only = client.json(&["import", "airflow", "--url", &there.url(), "--only", "pools"]);
    assert_eq!((only.as_array().unwrap().len(), &of_kind(&only, "pools")["kept"]), (1, &1.into()));
    let bad = Client::of(&here.url()).logged_in().with("WINDLASS_AIRFLOW_TOKEN", "canary");
    let told = bad.bad(1, &["import", "airflow", "--url", &there.url()]);
    assert!(told.contains("pools failed") && told.contains("favorites failed") && !told.contains("canary"), "{told}");
}

/// A server with the shapes of Airflow 2's `/api/v1`, as its documentation has them: basic logins only, lists of connections
/// without `extra`, answers to errors as problems with a title. It is a mock, and knows nothing beyond this test.
struct Airflow2 {
    address: String,
}

impl Airflow2 {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        // It ends with the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let _hung_up = answer(stream);
            }
        });
        Self { address }
    }
}

fn answer(stream: TcpStream) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let target = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut is_known = false;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        // `me:right` in base64.
        is_known |= header.to_ascii_lowercase().starts_with("authorization: basic") && header.contains("bWU6cmlnaHQ=");
        if header.trim().is_empty() {
            break;
        }
    }
    let (status, body) = if is_known || target == "/api/v1/version" {
        body_of(&target)
    } else {
        ("401 UNAUTHORIZED", json!({"detail": null, "status": 401, "title": "Unauthorized", "type": "about:blank"}))
    };
    let body = body.to_string();
    let mut stream = reader.into_inner();
    write!(
        stream,
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
}

fn body_of(target: &str) -> (&'static str, Value) {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let is_first = query.is_empty() || query.contains("offset=0");
    let list = |name: &str, rows: Value| {
        let total = rows.as_array().map_or(0, Vec::len);
        json!({ name: if is_first { rows } else { json!([]) }, "total_entries": total })
    };
    let db = json!({
        "connection_id": "db", "conn_type": "postgres", "description": null, "host": "db.example", "login": "me",
        "schema": "sales", "port": 5432,
    });
    let mut whole = db.clone();
    whole["extra"] = json!(r#"{"sslmode": "require", "token": "***"}"#);
    let body = match path {
        "/api/v1/version" => json!({"version": "2.10.5", "git_version": null}),
        "/api/v1/pools" => list(
            "pools",
            json!([{"name": "etl", "slots": 3, "description": null, "include_deferred": false, "occupied_slots": 0,
                    "running_slots": 0, "queued_slots": 0, "scheduled_slots": 0, "open_slots": 3, "deferred_slots": 0},
                   {"name": "bad", "slots": -7, "description": null, "include_deferred": false}]),
        ),
        "/api/v1/variables" => list(
            "variables",
            json!([{"key": "region", "value": "eu", "description": null}, {"key": "secret", "value": "***", "description": null}]),
        ),
        "/api/v1/connections" => list("connections", json!([db])),
        "/api/v1/connections/db" => whole,
        "/api/v1/dags" => {
            list("dags", json!([{"dag_id": "a", "is_paused": false}, {"dag_id": "c", "is_paused": null}]))
        }
        _ => {
            return (
                "404 NOT FOUND",
                json!({"detail": null, "status": 404, "title": "Not Found", "type": "about:blank"}),
            );
        }
    };
    ("200 OK", body)
}

/// Runs the import on a terminal of its own.
fn a_terminal_sees_how_far_it_is(here: &Standalone, url: &str) {
    let program = env!("CARGO_BIN_EXE_windlass");
    let command = format!("{program} import airflow --url {url} --username me --overwrite");
    let mut terminal = std::process::Command::new("script");
    terminal.args(["--quiet", "--return", "--command", &command, "/dev/null"]);
    terminal.current_dir(here.path()).env_remove("DATABASE_URL").env("WINDLASS_AIRFLOW_PASSWORD", "right");
    let shown = terminal.stdin(std::process::Stdio::null()).output().expect("script is a part of every Linux");
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("import ") && shown.contains('\u{1b}') && shown.contains("] "), "{shown}");
}

#[test]
fn a_mock_of_airflow_2_is_read_by_its_older_api() {
    let there = Airflow2::start();
    let here = Standalone::start(&[("a.yaml", &dag("a"))]);
    let import = ["import", "airflow", "--url", there.address.as_str(), "--username", "me", "-o", "json"];
    let done = here.run_with(&import, "right\n");
    let (rows, told): (Value, _) = (serde_json::from_str(&printed(&done)).unwrap_or_default(), said(&done));
    assert_eq!(done.status.code(), Some(1), "one pool is refused: {told}");
    assert!(told.contains("is Airflow 2.10.5") && told.contains("pools bad failed: -7 slots"), "{told}");
    assert!(
        told.contains("set anew: extra.token") && told.contains("does not say whether it has a password"),
        "{told}"
    );
    assert_eq!((&of_kind(&rows, "pools")["created"], &of_kind(&rows, "paused")["changed"]), (&1.into(), &1.into()));
    assert_eq!(rows.as_array().unwrap().len(), 4, "it has no favorites: {rows}");
    let db = here.json(&["connections", "get", "db"]);
    assert_eq!((&db[0]["extra"], &db[0]["login"]), (&r#"{"sslmode":"require"}"#.into(), &"me".into()));
    assert_eq!(here.good(&["variables", "get", "region"]), "eu\n");
    here.bad(3, &["variables", "get", "secret"]);
    assert_eq!(here.json(&["dags", "list"])[0]["is_paused"], false);

    a_terminal_sees_how_far_it_is(&here, &there.address);
    let wrong = here.run_with(&import, "wrong\n");
    let told = refusal(1, &import, &wrong);
    assert!(told.contains("401: Unauthorized") && !told.contains("wrong"), "{told}");
    let nowhere = ["import", "airflow", "--url", "http://127.0.0.1:9", "--username", "me"];
    refusal(6, &nowhere, &here.run_with(&nowhere, "x\n"));
    let silent = ["import", "airflow", "--url", there.address.as_str()];
    assert!(refusal(2, &silent, &here.run(&silent)).contains("--username NAME"));
}
