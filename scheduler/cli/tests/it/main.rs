//! The command as people type it.

#![allow(clippy::unwrap_used, reason = "a test that can not go on has failed")]

mod admin;
mod clients;
mod dag_test;

use std::{
    path::Path,
    process::{Command, Output},
};

fn windlass(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    windlass_in(Path::new("."), arguments, environment)
}

fn windlass_in(folder: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_windlass"));
    command.current_dir(folder);
    for name in ["DATABASE_URL", "WINDLASS_HOME", "WINDLASS_REGISTRY_PORT"] {
        command.env_remove(name);
    }
    for name in ["STOCK_SOURCE", "WINDLASS_DAGS_FOLDER", "WINDLASS_PORT", "WINDLASS_WORKER_SLOTS"] {
        command.env_remove(name);
    }
    command.args(arguments).envs(environment.iter().copied()).output().expect("windlass starts")
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
