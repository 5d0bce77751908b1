//! Forgetting old snapshots of Iceberg tables. Their files stay until they are swept.
//!
//! What always holds: the current snapshot, those that a branch or tag names, and those that a reader which began while
//! they were current may still be reading are never forgotten. Nothing else rests on old snapshots: sinks and models find
//! what they have handled in rows. Forgetting is a swap of the catalogue's row like any commit, so it never undoes one.

use std::{collections::HashSet, time::Duration};

use iceberg::{TableIdent, spec::TableMetadata};

use super::{
    Lake, dotted,
    error::LakeError,
    now_ms,
    stage::Staged,
    swap::{self, Swapped},
    sweep::Pass,
};

/// Snapshots that a table remembers at least; more only for [`READERS_GRACE`].
const SNAPSHOTS_MIN: usize = 20;
/// Snapshots at which commits begin to forget: some at a time, not one with each commit.
const SNAPSHOTS_MAX: usize = 50;
/// How long after its replacement a snapshot may still be read: longer than a query of ours takes.
pub const READERS_GRACE: Duration = Duration::from_secs(30 * 60);
/// How often forgetting begins anew because somebody committed meanwhile.
const ATTEMPTS_MAX: u32 = 50;

/// Which snapshots stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// So many of the newest, at least one.
    pub keep: usize,
    /// Those that were current within this time.
    pub age: Duration,
}

/// The snapshots that a commit made at `now_ms` may forget.
pub(crate) fn expired_by_commit(metadata: &TableMetadata, now_ms: i64) -> Vec<i64> {
    if metadata.snapshots().len() <= SNAPSHOTS_MAX {
        return Vec::new();
    }
    expired(metadata, Retention { keep: SNAPSHOTS_MIN, age: READERS_GRACE }, now_ms)
}

/// The snapshots that do not stay.
fn expired(metadata: &TableMetadata, retention: Retention, now_ms: i64) -> Vec<i64> {
    let mut snapshots: Vec<_> = metadata.snapshots().collect();
    snapshots.sort_unstable_by_key(|snapshot| std::cmp::Reverse(snapshot.sequence_number()));
    let named = named_snapshots(metadata);
    let age_ms = i64::try_from(retention.age.as_millis()).unwrap_or(i64::MAX);
    snapshots
        .windows(2)
        .skip(retention.keep.saturating_sub(1))
        // Its successor's time is when it was replaced.
        .filter(|pair| pair[0].timestamp_ms().saturating_add(age_ms) < now_ms)
        .map(|pair| pair[1].snapshot_id())
        .filter(|id| !named.contains(id))
        .collect()
}

/// The snapshots that a branch or a tag names. The library keeps them to itself, but not in what it writes.
fn named_snapshots(metadata: &TableMetadata) -> HashSet<i64> {
    let written = serde_json::to_value(metadata).unwrap_or_default();
    let names = written.get("refs").and_then(|refs| refs.as_object()).into_iter().flatten();
    names.filter_map(|(_, name)| name.get("snapshot-id")?.as_i64()).collect()
}

/// Forgets the snapshots of a table that do not stay; answers how many.
///
/// # Errors
/// [`LakeError::Conflict`] when others commit without pause, or what catalogue and storage say.
pub async fn expire(lake: &Lake, name: &TableIdent, retention: Retention, pass: Pass) -> Result<usize, LakeError> {
    for attempt in 1..=ATTEMPTS_MAX {
        let table = lake.table(name).await?;
        let expired = expired(table.metadata(), retention, now_ms());
        if expired.is_empty() || pass == Pass::Dry {
            return Ok(expired.len());
        }
        let staged = Staged::without(&table, &expired).await?;
        match swap::publish_staged(lake, staged).await? {
            Swapped::Done => return Ok(expired.len()),
            Swapped::Lost => tokio::time::sleep(swap::pause(attempt)).await,
        }
    }
    Err(LakeError::Conflict { table: dotted(name) })
}
