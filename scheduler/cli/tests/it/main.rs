//! The command as people type it, with nothing running.

#![allow(clippy::unwrap_used, reason = "a test that can not go on has failed")]

mod admin;

use std::process::{Command, Output};

fn windlass(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_windlass"));
    for name in ["STOCK_SOURCE", "WINDLASS_DAGS_FOLDER", "WINDLASS_PORT", "WINDLASS_WORKER_SLOTS"] {
        command.env_remove(name);
    }
    command.args(arguments).envs(environment.iter().copied()).output().expect("windlass starts")
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
