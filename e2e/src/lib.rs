//! Starts Windlass as a user starts it, and looks at it from outside: commands, HTTP, files, processes.

pub mod browser;
pub mod fleet;
pub mod processes;
pub mod prometheus;
pub mod python;
pub mod standalone;
pub mod trino;

pub use browser::Browser;
pub use prometheus::Prometheus;
pub use standalone::{Standalone, StandaloneBuilder};

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

/// A port of the system's choice: tests run beside one another.
pub(crate) const ANY_PORT: &str = "127.0.0.1:0";

/// Where a process shows its metrics, as the newest line of its log says.
pub(crate) fn metrics_url(log: &Path) -> Option<String> {
    let text = std::fs::read_to_string(log).ok()?;
    let (_, url) = text.lines().rev().find_map(|line| line.split_once("metrics are on "))?;
    Some(url.trim().to_owned())
}

/// The project's folder.
#[must_use]
pub fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("e2e lies below the project").to_owned()
}

/// A program of the same build as this test.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("the test has a path");
    let deps = test.parent().expect("the test lies in deps");
    deps.parent().expect("deps lies in the profile's folder").join(name)
}

/// Copies the shipped DAGs to `dags` below a folder, where a test may change them, and gives that path.
///
/// # Panics
/// When they can not be copied.
#[must_use]
pub fn copy_dags(folder: &Path) -> PathBuf {
    let dags = folder.join("dags");
    let copied = Command::new("cp").arg("-r").arg(project().join("dags")).arg(&dags).status().expect("cp is there");
    assert!(copied.success(), "the DAGs are not copied to {}", dags.display());
    dags
}

/// Waits until `look` gives a value, beside other work.
///
/// # Panics
/// When it gives none for `limit`.
pub async fn within<T>(what: &str, limit: Duration, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(start.elapsed() < limit, "{what}: not within {limit:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Waits until `what` gives a value.
///
/// # Panics
/// When it gives none for `limit`.
pub fn eventually<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < limit, "{what}: not within {limit:?}");
        std::thread::park_timeout(Duration::from_millis(100));
    }
}
