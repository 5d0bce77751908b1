//! `windlass lake …` and `windlass topics …`: run by `windlass-tasks`, which alone knows the lake and the log.
//!
//! They work beside a running standalone and, with nothing running, on a private PostgreSQL that is started and stopped
//! for them. Only their result is on standard output.

use std::{ffi::OsString, process::ExitCode};

use anyhow::Context;
use clap::Args;
use tokio::process::Command;

use crate::{access::Access, exit::Exit, settings::Settings};

/// What follows the word; `windlass-tasks` reads it.
#[derive(Debug, Args)]
pub struct Arguments {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<OsString>,
}

/// Runs `windlass-tasks <group> …` with the environment of this home.
///
/// # Errors
/// When it can not be started, or there is no database to be had.
pub async fn run(settings: &Settings, group: &str, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let program = settings.program_dir()?.join("windlass-tasks");
    let access = Access::open(settings).await?;
    if group == "lake" && arguments.rest.first().is_some_and(|word| word == "environment") {
        print_environment(&access, settings);
        access.close().await;
        return Ok(ExitCode::SUCCESS);
    }
    let status = Command::new(&program)
        .arg(group)
        .args(&arguments.rest)
        .envs(access.task_environment(settings))
        .status()
        .await
        .with_context(|| format!("{} can not be run; build it with `cargo build --release`", program.display()));
    access.close().await;
    let code = status?.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or_else(|| Exit::Error.into(), ExitCode::from))
}

/// `windlass lake environment`: what other engines need to open the same tables, as `NAME=value` lines.
fn print_environment(access: &Access, settings: &Settings) {
    for (name, value) in access.task_environment(settings) {
        outln!("{name}={value}");
    }
}
