//! The commands by a server's URL, from a folder that has nothing of the installation.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::json;

use crate::{
    clients::DAG,
    printed, said,
    standalone::{Client, Place as _, Standalone, refusal},
};

#[test]
fn every_command_that_a_server_can_do_works_by_its_url() {
    let standalone = Standalone::start(&[("etl.yaml", DAG)]);
    logins_are_kept_for_one_user_and_shown_to_nobody(&standalone);
    let client = Client::of(&standalone.url()).logged_in();
    dags_are_found(&client);
    a_failed_run_is_looked_into(&client);
    a_paused_run_is_noted_marked_and_deleted(&client);
    limits_settings_and_addresses_are_changed(&client);
    what_a_server_can_not_do_is_refused(&client);
    a_role_bounds_what_can_be_done(&standalone);
    a_logout_ends_the_token(&standalone);
}

fn logins_are_kept_for_one_user_and_shown_to_nobody(standalone: &Standalone) {
    let client = Client::of(&standalone.url());
    let nobody = client.bad(5, &["dags", "list"]);
    assert!(nobody.contains("windlass login --server") && nobody.contains("WINDLASS_TOKEN"), "{nobody}");
    let login = ["login", "--username", "airflow"];
    let wrong = refusal(5, &login, &client.run_with(&login, "canary\n"));
    assert!(wrong.contains("Invalid credentials") && !wrong.contains("canary"), "{wrong}");
    let told = client.run_with(&login, "airflow\n");
    assert!(printed(&told).contains("airflow is logged in at"), "{}", said(&told));
    let files: Vec<_> = std::fs::read_dir(client.logins()).unwrap().map(|file| file.unwrap().path()).collect();
    let [file] = files.as_slice() else { panic!("{files:?}") };
    assert_eq!(std::fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
    let kept: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    let token = kept["token"].as_str().unwrap();
    assert!(!(printed(&told) + &said(&told)).contains(token));
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(client.bad(1, &["dags", "list"]).contains("can be read by others"));

    let by_file = Client::of(&standalone.url()).with("WINDLASS_TOKEN_FILE", "token");
    assert!(by_file.bad(1, &["dags", "list"]).contains("WINDLASS_TOKEN_FILE: token can not be read"));
    let own = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(own.path(), format!("{token}\n")).unwrap();
    let named = ["dags", "list", "--token-file", own.path().to_str().unwrap()];
    assert!(by_file.good(&named).contains("etl"), "an option goes before the environment");
    std::fs::set_permissions(own.path(), std::fs::Permissions::from_mode(0o604)).unwrap();
    assert!(by_file.bad(1, &named).contains("everybody may read"));
    let by_name = Client::of(&standalone.url()).with("WINDLASS_TOKEN", token);
    assert_eq!(by_name.json(&["dags", "list"])[0]["dag_id"], "etl");
    let forged = Client::of(&standalone.url()).with("WINDLASS_TOKEN", "canary");
    let refused = forged.bad(5, &["dags", "list"]);
    assert!(refused.contains("windlass login --server") && !refused.contains("canary"), "{refused}");
}

fn dags_are_found(client: &Client) {
    let listed = client.json(&["dags", "list"]);
    assert_eq!((&listed[0]["dag_id"], &listed[0]["fileloc"]), (&"etl".into(), &"etl.yaml".into()));
    let details = client.json(&["dags", "details", "etl"]);
    let value = |name: &str| {
        let found = details.as_array().unwrap().iter().find(|row| row["property"] == name);
        found.unwrap_or_else(|| panic!("{name} is not in {details}"))["value"].clone()
    };
    assert_eq!((value("tasks"), value("params"), value("max_active_runs")), (json!(2), json!({"code": 0}), json!(1)));
    assert_eq!(client.good(&["dags", "next-execution", "etl"]), "None\n");
    assert_eq!(client.json(&["dags", "list-import-errors"]), json!([]));
    let tasks = client.json(&["tasks", "list", "etl"]);
    assert_eq!((&tasks[0]["task_id"], &tasks[1]["upstream"]), (&"extract".into(), &"extract".into()));
    let unknown = client.bad(3, &["dags", "details", "elt"]);
    assert!(unknown.contains("did you mean etl?") && unknown.contains("windlass dags list"), "{unknown}");
    assert!(client.bad(4, &["dags", "trigger", "etl", "--conf", r#"{"code": "x"}"#]).contains("code"));
    assert!(client.bad(4, &["dags", "trigger", "etl", "--conf", "[]"]).contains("not a JSON object"));
    assert_eq!(client.json(&["quarantine", "list"]), json!([]));
    assert!(client.bad(3, &["quarantine", "release", "command:1"]).contains("nothing in quarantine"));
    assert!(client.good(&["health"]).contains("healthy"));
    assert_eq!(client.json(&["version"]).as_array().unwrap().len(), 2);
}

fn a_failed_run_is_looked_into(client: &Client) {
    let failed = client.bad(7, &["dags", "trigger", "etl", "-r", "one", "--conf", r#"{"code": 3}"#, "--wait"]);
    assert!(failed.contains("extract failed") && failed.contains("run one failed"), "{failed}");
    let states = client.json(&["tasks", "states-for-dag-run", "etl", "one"]);
    assert_eq!((&states[0]["state"], &states[1]["state"]), (&"failed".into(), &"upstream_failed".into()));
    let log = client.good(&["tasks", "logs", "etl", "one", "extract", "--follow"]);
    assert!(log.contains("extracting") && !log.contains("kept by"), "{log}");
    assert!(client.good(&["tasks", "logs", "etl", "latest", "extract"]).contains("extracting"));
    assert!(client.bad(3, &["tasks", "logs", "etl", "one", "load"]).contains("has not begun"));
    assert!(client.good(&["tasks", "render", "etl", "latest", "extract"]).contains("exit 3"));
    assert!(client.good(&["tasks", "why", "etl", "one", "extract"]).contains("extract is failed"));
    assert!(client.bad(3, &["tasks", "why", "etl", "one", "extrct"]).contains("did you mean extract"));
    assert!(client.good(&["tasks", "clear", "etl", "one", "extract", "-d", "--dry-run"]).contains("extract"));
    client.good(&["tasks", "mark", "etl", "one", "extract", "success"]);
    assert!(client.good(&["runs", "clear", "etl", "one", "--only-failed"]).contains("cleared"));
    client.run(&["runs", "wait", "etl", "one"]);
    assert_eq!(client.json(&["runs", "list", "etl"])[0]["run_id"], "one");
    assert!(client.bad(3, &["runs", "show", "etl", "oen"]).contains("windlass runs list etl"));
    assert!(client.bad(3, &["runs", "show", "elt", "one"]).contains("did you mean etl?"));
    assert_eq!(client.json(&["dags", "list"])[0]["last_run_state"], client.json(&["runs", "list"])[0]["state"]);
}

fn a_paused_run_is_noted_marked_and_deleted(client: &Client) {
    client.good(&["dags", "pause", "etl"]);
    client.good(&["dags", "trigger", "etl", "-r", "two", "--note", "by the test"]);
    assert!(client.good(&["tasks", "why", "etl", "two", "extract"]).contains("paused"));
    let shown = client.run(&["runs", "show", "etl", "two"]);
    assert!(said(&shown).contains("by the test") && said(&shown).contains("paused"), "{}", said(&shown));
    client.good(&["runs", "note", "etl", "two", ""]);
    assert!(!said(&client.run(&["runs", "show", "etl", "two"])).contains("by the test"));
    client.good(&["runs", "mark", "etl", "two", "failed"]);
    assert_eq!(client.json(&["dags", "list-runs", "etl", "--state", "failed"])[0]["run_id"], "two");
    client.good(&["runs", "delete", "etl", "two"]);
    assert!(client.bad(4, &["dags", "delete", "etl"]).contains("--yes"));
    client.good(&["dags", "unpause", "etl"]);
    let waited = client.good(&["dags", "trigger", "etl", "-r", "three", "--wait"]);
    assert!(waited.contains("run three success"), "{waited}");
    client.good(&["dags", "delete", "etl", "--yes"]);
    assert_eq!(client.json(&["runs", "list"]), json!([]));
}

fn limits_settings_and_addresses_are_changed(client: &Client) {
    client.good(&["pools", "set", "etl", "3", "first"]);
    client.good(&["pools", "set", "etl", "-1", "second", "--include-deferred"]);
    client.good(&["pools", "set", "default_pool", "64", "Default pool"]);
    let etl = client.json(&["pools", "get", "etl"]);
    assert_eq!(
        etl[0],
        json!({"pool": "etl", "slots": -1, "description": "second", "include_deferred": true, "rate_limit": null})
    );
    assert_eq!(client.json(&["pools", "get", "default_pool"])[0]["slots"], 64);
    client.good(&["pools", "delete", "etl"]);
    assert!(client.bad(3, &["pools", "get", "etl"]).contains("no pool etl"));

    client.good(&["variables", "set", "a/b c", "1", "--description", "kept"]);
    assert!(client.good(&["variables", "set", "a/b c", r#"{"x": 2}"#]).contains("replaced"));
    assert_eq!(client.good(&["variables", "get", "a/b c"]), "{\"x\": 2}\n");
    assert_eq!(client.json(&["variables", "list"]), json!([{"key": "a/b c", "description": "kept"}]));
    client.good(&["variables", "set", "api_token", "canary"]);
    assert!(client.bad(4, &["variables", "get", "api_token"]).contains("gives its value"));
    assert!(client.bad(4, &["variables", "export", "-"]).contains("api_token can not be exported"));
    client.good(&["variables", "delete", "api_token"]);
    assert_eq!(client.good(&["variables", "export", "-"]).matches("a/b c").count(), 1);
    client.bad(3, &["variables", "get", "none"]);

    client.good(&["connections", "add", "db", "--conn-uri", "postgres://me:canary@db.example:5432/sales"]);
    assert!(client.bad(4, &["connections", "add", "db", "--conn-type", "http"]).contains("already"));
    let listed = client.json(&["connections", "list"]);
    assert_eq!((&listed[0]["password"], &listed[0]["host"]), (&"***".into(), &"db.example".into()));
    assert!(client.bad(2, &["connections", "export", "-"]).contains("needs the database"));
    assert!(client.bad(5, &["connections", "test", "db"]).contains("disabled"));
    client.good(&["connections", "delete", "db"]);
    client.bad(3, &["connections", "get", "db"]);
}

fn what_a_server_can_not_do_is_refused(client: &Client) {
    for arguments in [&["users", "list"][..], &["services", "list"], &["workers", "list"], &["db", "check"]] {
        assert!(client.bad(2, arguments).contains("needs the databases"), "{arguments:?}");
    }
    let here = client.bad(2, &["--server", "http://h:1", "standalone"]);
    assert!(here.contains("on this machine"), "{here}");
    assert!(client.good(&["dags", "schema"]).contains("tasks"), "a command of this machine does not ask the server");
    for bad in ["h:1", "http://u:canary@h:1"] {
        let error = client.bad(2, &["--server", bad, "dags", "list"]);
        assert!(error.contains("--server") && !error.contains("canary"), "{error}");
    }
    let nobody = Client::of("http://127.0.0.1:9").with("WINDLASS_TOKEN", "t");
    assert!(nobody.bad(6, &["dags", "list"]).contains("can not be reached"));
    nobody.bad(6, &["health"]);
    assert_eq!(nobody.bad(6, &["health", "--quiet"]), "");
}

fn a_role_bounds_what_can_be_done(standalone: &Standalone) {
    standalone.good(&["users", "create", "-u", "vera", "-r", "Viewer", "-p", "long enough"]);
    let viewer = Client::of(&standalone.url());
    assert!(viewer.run_with(&["login", "-u", "vera"], "long enough\n").status.success());
    assert_eq!(viewer.json(&["dags", "list"])[0]["dag_id"], "etl");
    assert!(viewer.bad(5, &["variables", "list"]).contains("takes the role Op"));
    assert!(viewer.bad(5, &["dags", "pause", "etl"]).contains("takes the role User"));
}

fn a_logout_ends_the_token(standalone: &Standalone) {
    let client = Client::of(&standalone.url()).logged_in();
    let file = std::fs::read_dir(client.logins()).unwrap().next().unwrap().unwrap().path();
    let kept: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    assert!(client.good(&["logout"]).contains("airflow is logged out"));
    assert!(!file.exists());
    client.bad(3, &["logout"]);
    let holder = Client::of(&standalone.url()).with("WINDLASS_TOKEN", kept["token"].as_str().unwrap());
    holder.bad(5, &["dags", "list"]);
}
