//! Starts the worker's guard, watches it, and replaces one that dies or falls silent.

use std::{
    ffi::OsString,
    io,
    os::{
        fd::{AsRawFd as _, OwnedFd, RawFd},
        unix::process::CommandExt as _,
    },
    path::PathBuf,
    process::{Command as StdCommand, Stdio},
    sync::Arc,
    time::Duration,
};

use executor::{WorkerContext, environment, process::LAUNCHER};
use nix::libc;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    sync::mpsc,
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{WorkerSettings, event::Event, identity::Identity};
use crate::guard::{ALIVE_EVERY, EXPIRED};

/// A guard that says nothing for so long is stopped or stuck.
const SILENT_MAX: Duration = ALIVE_EVERY.saturating_mul(6);
/// The pause before another guard is tried.
const RESTART_PAUSE: Duration = Duration::from_secs(1);
/// How long a guard may take to end after its worker: it looks through every process of the machine.
const END_WAIT: Duration = Duration::from_secs(10);

/// How to start guards.
struct Recipe {
    command: Vec<OsString>,
    worker: Uuid,
    silence_max: Duration,
    lock: OwnedFd,
    /// The folder of the worker's control groups.
    cgroups: Option<PathBuf>,
}

/// The guard of the moment.
struct Guard {
    child: Child,
    words: Lines<BufReader<ChildStdout>>,
}

/// Whoever keeps a guard alive.
pub(super) struct Keeper {
    recipe: Recipe,
    guard: Guard,
}

/// A keeper at work.
pub(super) struct Keeping {
    task: JoinHandle<()>,
    over: CancellationToken,
}

impl Keeper {
    /// Starts the first guard, which removes the folder of control groups last; the descriptor is the pipe to it.
    pub(super) fn start(
        settings: &WorkerSettings,
        identity: &Identity,
        cgroups: Option<PathBuf>,
    ) -> io::Result<(Self, OwnedFd)> {
        let recipe = Recipe {
            command: settings.guard_command.clone(),
            worker: identity.id(),
            silence_max: settings.silence_max,
            lock: identity.lock().try_clone()?.into(),
            cgroups,
        };
        let (guard, pipe) = recipe.start()?;
        Ok((Self { recipe, guard }, pipe))
    }

    /// Watches the guard from now on.
    pub(super) fn keep(self, context: Arc<WorkerContext>, events: mpsc::Sender<Event>) -> Keeping {
        let over = CancellationToken::new();
        let task = tokio::spawn(self.watch(Arc::downgrade(&context), events, over.clone()));
        Keeping { task, over }
    }

    /// The register is held only while a new guard is told of it: its pipe must close with the worker's last use.
    async fn watch(
        mut self,
        context: std::sync::Weak<WorkerContext>,
        events: mpsc::Sender<Event>,
        over: CancellationToken,
    ) {
        while let Some(()) = over.run_until_cancelled(self.guard.watch(&events)).await {
            let _ = self.guard.child.kill().await;
            let Some(context) = context.upgrade() else { return };
            tracing::warn!("the guard is gone; starting another");
            while let Err(error) = self.replace(&context) {
                tracing::error!(%error, "no guard could be started; nothing starts before there is one");
                if over.run_until_cancelled(tokio::time::sleep(RESTART_PAUSE)).await.is_none() {
                    return;
                }
            }
        }
        drop(events);
        if timeout(END_WAIT, self.guard.child.wait()).await.is_err() {
            tracing::warn!("the guard is still busy ending processes");
        }
    }

    fn replace(&mut self, context: &WorkerContext) -> io::Result<()> {
        let (guard, pipe) = self.recipe.start()?;
        self.guard = guard;
        context.groups.change_guard(pipe)
    }
}

impl Keeping {
    /// Waits until the guard has seen the end of the worker and is done.
    pub(super) async fn finish(self) {
        self.over.cancel();
        // A keeper that panicked has nothing left to wait for.
        let _ = self.task.await;
    }
}

impl Guard {
    /// Listens until the guard is gone or silent.
    async fn watch(&mut self, events: &mpsc::Sender<Event>) {
        while let Ok(Ok(Some(word))) = timeout(SILENT_MAX, self.words.next_line()).await {
            if word == EXPIRED && events.send(Event::LeaderSilent).await.is_err() {
                return;
            }
        }
    }
}

impl Recipe {
    fn start(&self) -> io::Result<(Guard, OwnedFd)> {
        let (reader, writer) = io::pipe()?;
        let mut words = self.command.iter();
        let program = words.next().ok_or_else(|| io::Error::other("the guard's command is empty"))?;
        let mut command = StdCommand::new(program);
        command.args(words).arg("--worker").arg(self.worker.to_string());
        command.arg("--silence-secs").arg(self.silence_max.as_secs().to_string());
        // The guard must not find itself by the marks that it looks for.
        command.env_remove(environment::WORKER).env_remove(environment::ATTEMPT).env_remove(LAUNCHER);
        if let Some(dir) = &self.cgroups {
            command.arg("--cgroups").arg(dir);
        }
        command.stdin(reader).stdout(Stdio::piped()).stderr(Stdio::inherit()).current_dir("/");
        let lock = self.lock.as_raw_fd();
        command.arg("--lock-fd").arg(lock.to_string());
        // SAFETY: between fork and exec the closure only makes system calls on numbers.
        unsafe { command.pre_exec(move || leave_session_with(lock)) };
        let mut child = Command::from(command).spawn()?;
        let stdout = child.stdout.take().expect("standard output is a pipe");
        Ok((Guard { child, words: BufReader::new(stdout).lines() }, writer.into()))
    }
}

/// Runs in the child: a session of its own, out of reach of the terminal's signals, and the lock goes with it.
fn leave_session_with(lock: RawFd) -> io::Result<()> {
    // SAFETY: both calls take plain numbers.
    let done = unsafe { libc::setsid() >= 0 && libc::fcntl(lock, libc::F_SETFD, 0) >= 0 };
    if done { Ok(()) } else { Err(io::Error::last_os_error()) }
}
