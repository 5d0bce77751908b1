//! The command as people type it.

#![allow(clippy::unwrap_used, reason = "a test that can not go on has failed")]

mod admin;
mod assets;
mod backfill;
mod bundles;
mod check;
mod clients;
mod completion;
mod convert;
mod dag_test;
mod import;
mod operate;
mod remote;
mod restarts;
mod simulate;
mod standalone;

use std::{
    io::Write as _,
    path::Path,
    process::{Command, Output, Stdio},
};

fn windlass(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    windlass_in(Path::new("."), arguments, environment)
}

fn windlass_in(folder: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    windlass_with(folder, arguments, environment, "")
}

/// Runs it with this on its standard input.
fn windlass_with(folder: &Path, arguments: &[&str], environment: &[(&str, &str)], input: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_windlass"));
    command.current_dir(folder);
    let is_setting = |name: &str| name.starts_with("WINDLASS_") || ["STOCK_SOURCE", "DATABASE_URL"].contains(&name);
    for (name, _) in std::env::vars().filter(|(name, _)| is_setting(name)) {
        command.env_remove(name);
    }
    command.args(arguments).envs(environment.iter().copied());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("windlass starts");
    // One that reads nothing may have ended before it is written.
    let _unread = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn printed(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_mistyped_number_names_its_variable() {
    let output = windlass(&["check-settings"], &[("WINDLASS_PORT", "eighty")]);
    assert!(!output.status.success());
    assert!(said(&output).contains("WINDLASS_PORT is \"eighty\""), "{}", said(&output));
}

#[test]
fn a_folder_that_is_not_there_is_named() {
    let output = windlass(&["check-settings"], &[("WINDLASS_DAGS_FOLDER", "/nowhere/dags")]);
    assert!(!output.status.success());
    assert!(said(&output).contains("/nowhere/dags"), "{}", said(&output));
}

#[test]
fn the_schema_of_dag_files_is_json() {
    let output = windlass(&["dags", "schema"], &[]);
    assert!(output.status.success());
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.trim_start().starts_with('{') && text.contains("tasks"), "{text}");
}

/// Runs it with this as its standard output, and gives its status and what it said.
fn printing_to(arguments: &[&str], output: impl Into<Stdio>) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_windlass"));
    let ended = command.args(arguments).stdin(Stdio::null()).stdout(output).stderr(Stdio::piped()).output().unwrap();
    (ended.status.code(), said(&ended))
}

#[test]
fn a_reader_that_stops_before_the_end_is_no_error() {
    for arguments in [&["dags", "schema"][..], &["completion", "bash"]] {
        let (unread, output) = std::io::pipe().unwrap();
        drop(unread);
        assert_eq!(printing_to(arguments, output), (Some(0), String::new()), "{arguments:?}");
    }
}

#[test]
fn an_output_that_can_not_be_written_is_an_error_and_no_panic() {
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let (status, said) = printing_to(&["dags", "schema"], full);
    assert_eq!(status, Some(1), "{said}");
    assert!(said.starts_with("windlass: standard output can not be written: "), "{said}");
}

/// Ends `arguments` with an error and gives what it said; the home is a new one.
fn refused(arguments: &[&str], environment: &[(&str, &str)]) -> String {
    let home = std::env::temp_dir().join(format!("windlass-cli-{}-{}", std::process::id(), arguments.join("-")));
    let home_text = home.display().to_string();
    let environment = [environment, &[("WINDLASS_HOME", home_text.as_str())]].concat();
    let output = windlass(arguments, &environment);
    let _not_made = std::fs::remove_dir_all(home);
    assert!(!output.status.success());
    said(&output)
}

#[test]
fn an_address_or_token_that_is_none_is_found_before_anything_starts() {
    let cases = [
        ("WINDLASS_LINK_LISTEN", "localhost", "0.0.0.0:8084"),
        ("WINDLASS_LINK_ADVERTISE", "a:1,b:2", "expected one host:port"),
        ("WINDLASS_LEADER_ENDPOINTS", "10.0.0.5", "host:port"),
        ("WINDLASS_API_URL", "10.0.0.5:8083", "http://10.0.0.5:8083"),
        ("WINDLASS_API_BEHIND_TLS", "yes", "true or false"),
        ("WINDLASS_LOGS_REMOTE", "logs/here", "s3://bucket/prefix"),
        ("WINDLASS_TRUSTED_PROXIES", "proxy.internal", "10.0.0.0/8"),
        ("WINDLASS_PASSWORD_LENGTH_MIN", "eight", "a whole number"),
        ("WINDLASS_PASSWORD_LENGTH_MIN", "0", "4 to 128"),
        ("WINDLASS_PASSWORD_LENGTH_MIN", "100000", "4 to 128"),
        ("WINDLASS_TEST_CONNECTION", "yes", "Disabled, Hidden or Enabled"),
        ("WINDLASS_SECRET_KEY", "hunter2", "32 bytes in base64"),
        ("WINDLASS_JOIN_TOKEN", "hunter2", "windlass workers token"),
        ("WINDLASS_JOIN_TOKEN_FILE", "/nowhere/token", "/nowhere/token can not be read"),
    ];
    let dags = env!("CARGO_MANIFEST_DIR");
    for (name, value, says) in cases {
        let error = refused(&["check-settings"], &[(name, value), ("WINDLASS_DAGS_FOLDER", dags)]);
        assert!(error.contains(name) && error.contains(says), "{error}");
        assert!(!error.contains("hunter2"), "a secret is shown: {error}");
    }
}

#[test]
fn what_a_process_of_a_cluster_lacks_is_said_with_what_to_do() {
    let dags = ("WINDLASS_DAGS_FOLDER", env!("CARGO_MANIFEST_DIR"));
    let database = ("DATABASE_URL", "postgres://127.0.0.1:1/none");
    assert!(refused(&["scheduler"], &[dags]).contains("DATABASE_URL is not set"));
    assert!(refused(&["scheduler"], &[dags, database]).contains("head -c 32 /dev/urandom | base64"));
    assert!(refused(&["api", "--port", "0"], &[database]).contains("WINDLASS_SECRET_KEY is not set"));
    assert!(refused(&["worker"], &[]).contains("WINDLASS_JOIN_TOKEN is not set"));
    let token = format!("windlass1.ab.{0}.{0}", "A".repeat(43));
    assert!(refused(&["worker"], &[("WINDLASS_JOIN_TOKEN", &token)]).contains("WINDLASS_API_URL"));
}
