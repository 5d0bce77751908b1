//! Keeps the embedded schema registry running, a child that ends with this process.

use std::{path::PathBuf, process::Stdio, time::Duration};

use daemon::postgres::Urls;
use nix::sys::{prctl, signal::Signal};
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

use super::process::RESTART_AFTER;
use crate::settings::{LogFormat, Settings};

/// During a first build the program comes minutes after the scheduler; it is looked for at this pace.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// What is run.
pub struct Plan {
    program: PathBuf,
    port: u16,
    lake_database_url: String,
    log_format: LogFormat,
}

impl Plan {
    /// The registry of these settings.
    ///
    /// # Errors
    /// When this program's folder can not be told.
    pub fn new(settings: &Settings, urls: &Urls) -> anyhow::Result<Self> {
        let program = settings.program_dir()?.join("windlass-tasks");
        Ok(Self {
            program,
            port: settings.registry_port,
            lake_database_url: urls.lake.clone(),
            log_format: settings.log_format,
        })
    }

    fn spawn(&self) -> std::io::Result<Child> {
        let mut command = Command::new(&self.program);
        command
            .args(["schema-registry", "--port", &self.port.to_string()])
            .env("WINDLASS_LAKE_DATABASE_URL", &self.lake_database_url)
            // Its lines stand among those of this process.
            .env("WINDLASS_LOG_FORMAT", self.log_format.name())
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .process_group(0);
        // SAFETY: prctl is a system call without memory of its own, so it may run between fork and exec.
        unsafe { command.pre_exec(|| prctl::set_pdeathsig(Signal::SIGTERM).map_err(Into::into)) };
        command.spawn()
    }
}

/// Keeps it running until asked to stop.
pub async fn keep(plan: Plan, stop: CancellationToken) {
    if !plan.program.exists() {
        tracing::info!(program = %plan.program.display(), "the schema registry starts when windlass-tasks is built");
    }
    while !stop.is_cancelled() {
        if !plan.program.exists() {
            pause(&stop, LOOK_EVERY).await;
            continue;
        }
        match plan.spawn() {
            Ok(child) => watch(child, &stop).await,
            Err(error) => tracing::error!(%error, "the schema registry can not be started"),
        }
        pause(&stop, RESTART_AFTER).await;
    }
}

async fn watch(mut child: Child, stop: &CancellationToken) {
    tokio::select! {
        ended = child.wait() => match ended {
            Ok(status) => tracing::warn!(
                %status,
                port_setting = "WINDLASS_REGISTRY_PORT",
                "the schema registry has ended; starting it again"
            ),
            Err(error) => tracing::error!(%error, "the schema registry can not be watched"),
        },
        () = stop.cancelled() => {
            // It holds nothing that is not in PostgreSQL.
            if let Err(error) = child.kill().await {
                tracing::debug!(%error, "the schema registry had ended");
            }
        }
    }
}

async fn pause(stop: &CancellationToken, time: Duration) {
    tokio::select! {
        () = tokio::time::sleep(time) => {}
        () = stop.cancelled() => {}
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    #[tokio::test]
    async fn the_registry_writes_its_lines_as_the_standalone_does() {
        let folder = tempfile::tempdir().unwrap();
        let (program, said) = (folder.path().join("registry"), folder.path().join("said"));
        fs::write(&program, format!("#!/bin/sh\nprintf %s \"$WINDLASS_LOG_FORMAT\" > {}\n", said.display())).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).unwrap();
        for (log_format, name) in [(LogFormat::Json, "json"), (LogFormat::Text, "text")] {
            let plan = Plan { program: program.clone(), port: 1, lake_database_url: String::new(), log_format };
            plan.spawn().unwrap().wait().await.unwrap();
            assert_eq!(fs::read_to_string(&said).unwrap(), name);
        }
    }
}
