//! What the tests know of other processes.

use std::{path::Path, time::Duration};

/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(10);
/// Nothing in these tests takes longer unless it is broken.
const PATIENCE: Duration = Duration::from_secs(30);

/// Waits for a condition.
pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let look = async {
        while !holds() {
            tokio::time::sleep(LOOK).await;
        }
    };
    tokio::time::timeout(PATIENCE, look).await.unwrap_or_else(|_| panic!("never: {what}"));
}

/// The number that a process writes into a file, once it is there.
pub async fn number_in(file: &Path) -> i32 {
    let read = || std::fs::read_to_string(file).ok().and_then(|text| text.strip_suffix('\n')?.parse().ok());
    until(&format!("a number in {}", file.display()), || read().is_some()).await;
    read().unwrap()
}

/// Whether a process runs; one that is dead and not yet reaped does not.
pub fn runs(process: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.trim_start().starts_with('Z'))
}
