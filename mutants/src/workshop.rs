//! A copy of the project in which bugs are planted, and its tests.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, ensure};
use tokio::{process::Command, time::timeout};

use crate::{list::Mutant, project};

/// A planted bug may make a loop endless: what runs longer than this is ended, and the bug has been found.
const TESTS_WITHIN: Duration = Duration::from_secs(600);

/// The tests that look for a bug, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suite {
    /// The engine's simulation: histories from seeds.
    Simulation,
    /// All other tests of the engine, and the cases that Airflow has computed.
    Engine,
    /// The store's, on a PostgreSQL.
    Store,
}

impl Suite {
    /// Those that can meet a bug.
    pub fn of(mutant: &Mutant) -> &'static [Self] {
        if mutant.is_of_store() { &[Self::Store] } else { &[Self::Simulation, Self::Engine] }
    }

    /// Its name in the report.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Simulation => "simulation",
            Self::Engine => "tests of the engine",
            Self::Store => "tests of the store",
        }
    }

    const fn package(self) -> &'static str {
        match self {
            Self::Simulation | Self::Engine => "windlass-engine",
            Self::Store => "windlass-store",
        }
    }

    const fn programs(self) -> &'static [&'static str] {
        match self {
            Self::Simulation => &["--test", "it"],
            Self::Engine | Self::Store => &[],
        }
    }

    const fn tests(self) -> &'static [&'static str] {
        match self {
            // Those that play histories from seeds.
            Self::Simulation => &["--", "simulation::", "backfills::whatever_happens", "assets::whatever_happens"],
            Self::Engine | Self::Store => &[],
        }
    }
}

/// What came of a suite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// No test failed.
    Passed,
    /// One did, or did not end.
    Failed,
    /// It could not be built: nothing is said about the tests.
    NotBuilt,
}

/// A copy of the project. It is built in the project's own folder, so that libraries need not be built again, or in that which
/// `CARGO_TARGET_DIR` names.
pub struct Workshop {
    tree: PathBuf,
    build: PathBuf,
    histories: u64,
    database: Option<String>,
}

impl Workshop {
    /// Copies what git knows of the project. `database` is a migrated one, for bugs in statements.
    ///
    /// # Errors
    /// When git or the disk fails.
    pub async fn open(histories: u64, database: Option<String>) -> anyhow::Result<Self> {
        let build = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| project().join("target"), PathBuf::from);
        let build = std::path::absolute(build)?;
        let workshop = Self { tree: build.join("mutants"), build, histories, database };
        let listed = Command::new("git").args(["ls-files", "-z"]).current_dir(project()).output().await?;
        ensure!(listed.status.success(), "git does not list the project's files");
        for name in String::from_utf8(listed.stdout)?.split('\0').filter(|name| !name.is_empty()) {
            let from = project().join(name);
            if from.is_file() {
                workshop.write(Path::new(name), &fs::read(&from)?)?;
            }
        }
        Ok(workshop)
    }

    /// Writes a file of the copy, unless it says the same already: what has not changed is not built again.
    fn write(&self, name: &Path, text: &[u8]) -> anyhow::Result<()> {
        let file = self.tree.join(name);
        if fs::read(&file).is_ok_and(|known| known == text) {
            return Ok(());
        }
        fs::create_dir_all(file.parent().context("a file is in a folder")?)?;
        fs::write(&file, text).with_context(|| format!("{} can not be written", file.display()))
    }

    /// Plants a bug, runs something, and takes the bug away again.
    ///
    /// # Errors
    /// When the bug's text is not there, or as `run`.
    pub async fn with<T>(&self, mutant: &Mutant, run: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
        let text = fs::read_to_string(self.tree.join(&mutant.file))?;
        self.write(&mutant.file, mutant.planted(&text)?.as_bytes())?;
        let done = run.await;
        self.write(&mutant.file, text.as_bytes())?;
        done
    }

    /// Builds and runs a suite.
    ///
    /// # Errors
    /// When cargo can not be started.
    pub async fn run(&self, suite: Suite, is_sql: bool) -> anyhow::Result<Outcome> {
        let build = [&["test", "--locked", "--quiet", "-p", suite.package()], suite.programs()].concat();
        if !self.cargo(&[&build[..], &["--no-run"]].concat(), is_sql).await? {
            return Ok(Outcome::NotBuilt);
        }
        let passed = self.cargo(&[&build[..], suite.tests()].concat(), is_sql).await?;
        Ok(if passed { Outcome::Passed } else { Outcome::Failed })
    }

    /// Whether cargo has ended well, and in time.
    async fn cargo(&self, arguments: &[&str], is_sql: bool) -> anyhow::Result<bool> {
        let mut command = Command::new("cargo");
        command
            // Each bug is built for itself: what is quick to build is found sooner.
            .args(["--config", "profile.dev.package.windlass-engine.opt-level=0"])
            .args(arguments)
            .current_dir(&self.tree)
            .env("CARGO_TARGET_DIR", &self.build)
            .env("WINDLASS_SIM_HISTORIES", self.histories.to_string())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0);
        if let Some(url) = self.database.as_ref().filter(|_| is_sql) {
            command.env("DATABASE_URL", url).env("SQLX_OFFLINE", "false");
        }
        let mut running = command.spawn().context("cargo can not be started")?;
        let group = running.id().map(|id| format!("-{id}"));
        if let Ok(status) = timeout(TESTS_WITHIN, running.wait()).await {
            return Ok(status?.success());
        }
        // With what it has started.
        Command::new("kill").args(["-KILL", "--"]).args(group).status().await?;
        running.wait().await?;
        Ok(false)
    }
}
