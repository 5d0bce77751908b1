//! One process of a fleet: started, killed, stopped, woken, started again.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{metrics_url, program, project, standalone::is_setting};

/// A process and how to start it again.
#[derive(Debug)]
pub struct Member {
    /// What it is called in logs and figures: `scheduler-1`.
    pub name: String,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    log: PathBuf,
    child: Option<Child>,
}

impl Member {
    /// A process that has not been started.
    #[must_use]
    pub fn new(folder: &Path, name: &str, arguments: &[&str], environment: &[(&str, String)]) -> Self {
        Self {
            name: name.to_owned(),
            arguments: arguments.iter().map(ToString::to_string).collect(),
            environment: environment.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect(),
            log: folder.join(format!("{name}.log")),
            child: None,
        }
    }

    /// A command with this process's environment and nothing of the test's own settings.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = Command::new(program("windlass"));
        for (name, _) in std::env::vars().filter(|(name, _)| is_setting(name)) {
            command.env_remove(name);
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value))).current_dir(project());
        command
    }

    /// Starts it.
    ///
    /// # Panics
    /// When the program can not be started.
    pub fn start(&mut self) {
        let log = File::options().create(true).append(true).open(&self.log).expect("a log file");
        let mut command = self.command();
        command.args(&self.arguments).stdin(Stdio::null()).stdout(log.try_clone().expect("a descriptor")).stderr(log);
        self.child = Some(command.spawn().expect("windlass starts"));
    }

    /// Where it shows its metrics, as its log says.
    #[must_use]
    pub fn metrics_url(&self) -> Option<String> {
        metrics_url(&self.log)
    }

    /// Its id, while it is there.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Kills it as `kill -9` does.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _gone_already = child.kill();
            let _reaped = child.wait();
        }
    }

    /// Stops it where it stands; its connections stay open.
    pub fn freeze(&self) {
        self.signal(Signal::SIGSTOP);
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        self.signal(Signal::SIGCONT);
    }

    /// What it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The end of it.
    #[must_use]
    pub fn log_tail(&self) -> String {
        const LINES: usize = 25;
        let text = self.log();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(LINES)..].join("\n")
    }

    fn signal(&self, signal: Signal) {
        if let Some(child) = &self.child {
            let _gone_already = kill(Pid::from_raw(child.id().cast_signed()), signal);
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.kill();
    }
}
