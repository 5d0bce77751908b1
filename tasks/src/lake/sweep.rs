//! Deleting files of Iceberg tables that nothing names any more.
//!
//! What always holds: a file is deleted only when no remembered snapshot names it and it is too old to belong to a commit
//! under way. Files are compared by their last name, which is unique, so that no spelling of a location can make a live
//! file look dead. An interrupted sweep has deleted some of them; the next one finds the others.

use std::{collections::HashSet, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use futures::TryStreamExt;
use iceberg::{TableIdent, table::Table};
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};

use super::{
    Lake, dotted,
    error::{Doing, LakeError},
};

/// How old a file that no snapshot names has to be: far older than any commit is long.
pub const ORPHAN_GRACE: Duration = Duration::from_secs(6 * 60 * 60);

/// Whether something is done, or only found out what would be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pass {
    /// It is done.
    Real,
    /// Nothing changes.
    Dry,
}

/// What a sweep found and deleted, or would delete.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    /// Files that were there.
    pub found: usize,
    /// Files that went.
    pub deleted: usize,
    /// Their bytes.
    pub bytes: u64,
}

/// Deletes the files below a table's location that nothing names and that were last written `grace` before `now`.
///
/// # Errors
/// When catalogue or storage fail; what was deleted by then stays deleted.
pub async fn sweep(
    lake: &Lake,
    name: &TableIdent,
    now: DateTime<Utc>,
    grace: Duration,
    pass: Pass,
) -> Result<Swept, LakeError> {
    let doing = || format!("sweeping {}", dotted(name));
    let grace = TimeDelta::from_std(grace).doing(doing())?;
    // Listed before the table is loaded: a file that is committed in between is then found named.
    let location = lake.table(name).await?.metadata().location().to_owned();
    let prefix = lake.warehouse().store_path(&location)?;
    let all: Vec<ObjectMeta> = lake.store().list(Some(&prefix)).try_collect().await.doing(doing())?;
    let mut swept = Swept { found: all.len(), ..Swept::default() };
    let old: Vec<ObjectMeta> = all.into_iter().filter(|file| file.last_modified + grace < now).collect();
    if old.is_empty() {
        return Ok(swept);
    }
    let table = lake.table(name).await?;
    let named = named_files(&table).await?;
    for file in old {
        let last = file.location.filename().unwrap_or_default();
        if !is_ours(last) || named.contains(last) {
            continue;
        }
        if pass == Pass::Real {
            match lake.store().delete(&file.location).await {
                // Another sweep was faster.
                Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(error).doing(doing()),
            }
        }
        swept.deleted += 1;
        swept.bytes += file.size;
    }
    Ok(swept)
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
