//! Keeps the embedded schema registry running, a child that ends with this process.

use std::{
    path::PathBuf,
    process::Stdio,
    time::{Duration, Instant},
};

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

/// It has come up when it has lived for so long.
const UP_AFTER: Duration = Duration::from_secs(10);
/// The longest pause before one that does not come up, as when its port is taken, is started again.
const RESTART_AT_LATEST: Duration = Duration::from_secs(60);

/// The pause before the next start, after one that has lived for so long.
fn pause_after(lived: Duration, before: Duration) -> Duration {
    if lived >= UP_AFTER { RESTART_AFTER } else { (before * 2).min(RESTART_AT_LATEST) }
}

/// Keeps it running until asked to stop.
pub async fn keep(plan: Plan, stop: CancellationToken) {
    let mut again_after = RESTART_AFTER / 2;
    if !plan.program.exists() {
        tracing::info!(program = %plan.program.display(), "the schema registry starts when windlass-tasks is built");
    }
    while !stop.is_cancelled() {
        if !plan.program.exists() {
            pause(&stop, LOOK_EVERY).await;
            continue;
        }
        let began = Instant::now();
        let ended = match plan.spawn() {
            Ok(child) => watch(child, &stop).await,
            Err(error) => Some(format!("it can not be started: {error}")),
        };
        again_after = pause_after(began.elapsed(), again_after);
        if let Some(ended) = ended {
            tracing::warn!(
                port = plan.port,
                "the schema registry has ended ({ended}); it is started again in {} s. When its port is taken, choose another by \
                 WINDLASS_REGISTRY_PORT",
                again_after.as_secs()
            );
        }
        pause(&stop, again_after).await;
    }
}

/// Watches it to its end, which is told; none when it was to end.
async fn watch(mut child: Child, stop: &CancellationToken) -> Option<String> {
    tokio::select! {
        ended = child.wait() => Some(match ended {
            Ok(status) => status.to_string(),
            Err(error) => format!("it can not be watched: {error}"),
        }),
        () = stop.cancelled() => {
            // It holds nothing that is not in PostgreSQL.
            if let Err(error) = child.kill().await {
                tracing::debug!(%error, "the schema registry had ended");
            }
            None
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

    #[test]
    fn a_registry_that_does_not_come_up_is_started_less_and_less_often() {
        let mut pause = RESTART_AFTER / 2;
        let mut pauses = Vec::new();
        for _ in 0..8 {
            pause = pause_after(Duration::ZERO, pause);
            pauses.push(pause.as_secs());
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(pause_after(UP_AFTER, pause), RESTART_AFTER);
    }

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
