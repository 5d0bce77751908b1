//! Housekeeping of Iceberg tables: forgetting old snapshots, and deleting files that nothing names any more.
//!
//! What always holds: a snapshot is forgotten only when no reader that began while it was current can still be running;
//! a file is deleted only when no remembered snapshot names it and it is too old to belong to a commit under way. Files
//! are compared by their last name, which is unique, so that no spelling of a location can make a live file look dead.

use std::{collections::HashSet, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use futures::TryStreamExt;
use iceberg::{TableIdent, spec::TableMetadata, table::Table};
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};

use super::{
    Lake, dotted,
    error::{Doing, LakeError},
};

/// Snapshots that a table remembers at least; more only for [`READERS_GRACE_MS`].
const SNAPSHOTS_MIN: usize = 20;
/// Snapshots at which forgetting begins: some at a time, not one with each commit.
const SNAPSHOTS_MAX: usize = 50;
/// How long after its replacement a snapshot may still be read: longer than a query of ours takes.
const READERS_GRACE_MS: i64 = 30 * 60 * 1000;
/// How old a file that no snapshot names has to be: far older than any commit is long.
pub const ORPHAN_GRACE: Duration = Duration::from_secs(6 * 60 * 60);

/// The snapshots that a commit made at `now_ms` may forget.
pub(crate) fn expired_snapshots(metadata: &TableMetadata, now_ms: i64) -> Vec<i64> {
    if metadata.snapshots().len() <= SNAPSHOTS_MAX {
        return Vec::new();
    }
    let mut snapshots: Vec<_> = metadata.snapshots().collect();
    snapshots.sort_unstable_by_key(|snapshot| std::cmp::Reverse(snapshot.sequence_number()));
    let named = named_snapshots(metadata);
    snapshots
        .windows(2)
        .skip(SNAPSHOTS_MIN - 1)
        .filter(|pair| pair[0].timestamp_ms() + READERS_GRACE_MS < now_ms)
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

/// Deletes the files below a table's location that nothing names and that were last written `grace` before `now`.
///
/// # Errors
/// When catalogue or storage fail; what was deleted by then stays deleted.
pub async fn sweep(lake: &Lake, name: &TableIdent, now: DateTime<Utc>, grace: Duration) -> Result<usize, LakeError> {
    let doing = || format!("sweeping {}", dotted(name));
    let grace = TimeDelta::from_std(grace).doing(doing())?;
    // Listed before the table is loaded: a file that is committed in between is then found named.
    let location = lake.table(name).await?.metadata().location().to_owned();
    let prefix = lake.warehouse().store_path(&location)?;
    let old: Vec<ObjectMeta> = lake
        .store()
        .list(Some(&prefix))
        .try_filter(|file| std::future::ready(file.last_modified + grace < now))
        .try_collect()
        .await
        .doing(doing())?;
    if old.is_empty() {
        return Ok(0);
    }
    let table = lake.table(name).await?;
    let named = named_files(&table).await?;
    let mut deleted = 0;
    for file in old {
        let last = file.location.filename().unwrap_or_default();
        if is_ours(last) && !named.contains(last) {
            lake.store().delete(&file.location).await.doing(doing())?;
            deleted += 1;
        }
    }
    Ok(deleted)
}

/// Whether a file is of a kind that tables consist of; whatever else somebody has put there stays.
fn is_ours(name: &str) -> bool {
    [".parquet", ".avro", ".metadata.json"].iter().any(|kind| name.ends_with(kind))
}

/// The last names of all files that the table's metadata leads to.
async fn named_files(table: &Table) -> Result<HashSet<String>, LakeError> {
    let doing = || format!("collecting the files of {}", dotted(table.identifier()));
    let metadata = table.metadata();
    let mut named = HashSet::new();
    named.insert(last_name(table.metadata_location_result().doing(doing())?));
    named.extend(metadata.metadata_log().iter().map(|entry| last_name(&entry.metadata_file)));
    named.extend(metadata.statistics_iter().map(|file| last_name(&file.statistics_path)));
    named.extend(metadata.partition_statistics_iter().map(|file| last_name(&file.statistics_path)));
    for snapshot in metadata.snapshots() {
        named.insert(last_name(snapshot.manifest_list()));
        let list = table.manifest_list_reader(snapshot).load().await.doing(doing())?;
        for manifest in list.entries() {
            if !named.insert(last_name(&manifest.manifest_path)) {
                continue;
            }
            let manifest = manifest.load_manifest(table.file_io()).await.doing(doing())?;
            named.extend(manifest.entries().iter().map(|entry| last_name(entry.file_path())));
        }
    }
    Ok(named)
}

fn last_name(location: &str) -> String {
    location.rsplit('/').next().unwrap_or(location).to_owned()
}
