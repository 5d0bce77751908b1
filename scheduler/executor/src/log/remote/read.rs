//! Reads shipped logs: what a worker's file would give, from the parts that are there.

use std::{ops::Range, time::Duration};

use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _, future::BoxFuture};
use link::{ArchiveError, LogArchive, LogChunk, LogPlace};
use object_store::{ObjectMeta, ObjectStore as _, ObjectStoreExt as _, path::Path};

use super::{PART_BYTES, PARTS_MAX, Part, PartPlace, RemoteLogs};
use crate::log::read::{CHUNK_BYTES_MAX, cut_to_lines};

/// How long one piece may take to be had: somebody looks at a page meanwhile.
const READ_WAIT: Duration = Duration::from_secs(10);

/// The parts of a log that are there without a gap from its beginning, in order.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Shipped {
    parts: Vec<(Part, u64)>,
}

impl Shipped {
    /// What a listing shows. Of two forms of a part the one that ends the log counts, and nothing after it.
    pub(super) fn of(objects: &[ObjectMeta]) -> Self {
        let mut found: Vec<(Part, u64)> =
            objects.iter().filter_map(|object| Some((Part::named(&object.location)?, object.size))).collect();
        found.sort_by_key(|(part, _)| (part.number, part.place == PartPlace::Open));
        found.dedup_by_key(|(part, _)| part.number);
        let mut parts: Vec<(Part, u64)> = Vec::new();
        for (part, size) in found {
            let follows = parts.last().is_none_or(|(before, size)| {
                before.place == PartPlace::Open && *size == PART_BYTES && before.number + 1 == part.number
            });
            if !follows || parts.is_empty() && part.number != 0 {
                break;
            }
            parts.push((part, size));
        }
        Self { parts }
    }

    /// How many bytes there are.
    pub(super) fn length(&self) -> u64 {
        self.parts.iter().map(|(_, size)| size).sum()
    }

    /// Whether they are all that there will ever be.
    pub(super) fn is_whole(&self) -> bool {
        self.parts.last().is_some_and(|(part, _)| part.place == PartPlace::Last)
    }

    /// The parts, and the bytes within each, that have these bytes of the log.
    fn pieces(&self, wanted: &Range<u64>) -> impl Iterator<Item = (Part, Range<u64>)> {
        self.parts.iter().filter_map(move |(part, size)| {
            let first = part.number * PART_BYTES;
            let start = wanted.start.max(first) - first;
            let end = wanted.end.saturating_sub(first).min(*size);
            (start < end).then_some((*part, start..end))
        })
    }
}

impl RemoteLogs {
    async fn chunk(&self, folder: &Path, offset: u64, bytes_max: u32) -> object_store::Result<Option<LogChunk>> {
        let objects: Vec<ObjectMeta> = self.store.list(Some(folder)).take(PARTS_MAX).try_collect().await?;
        let shipped = Shipped::of(&objects);
        if shipped.parts.is_empty() {
            return Ok(None);
        }
        let length = shipped.length();
        let offset = if offset > length { 0 } else { offset };
        let end = length.min(offset + u64::from(bytes_max.min(CHUNK_BYTES_MAX)));
        let mut bytes = Vec::new();
        for (part, range) in shipped.pieces(&(offset..end)) {
            bytes.extend_from_slice(&self.store.get_range(&part.path(folder), range).await?);
        }
        cut_to_lines(&mut bytes);
        let ended = shipped.is_whole() && offset + bytes.len() as u64 >= length;
        Ok(Some(LogChunk { bytes, length, ended }))
    }
}

impl LogArchive for RemoteLogs {
    fn read<'a>(
        &'a self,
        place: &'a LogPlace,
        offset: u64,
        bytes_max: u32,
    ) -> BoxFuture<'a, Result<Option<LogChunk>, ArchiveError>> {
        async move {
            let folder = self.folder(place);
            let failed = |reason| ArchiveError { address: self.address_of(&folder), reason };
            match tokio::time::timeout(READ_WAIT, self.chunk(&folder, offset, bytes_max)).await {
                Ok(read) => read.map_err(|error| failed(error.to_string())),
                Err(_) => Err(failed(format!("nothing answers within {} s", READ_WAIT.as_secs()))),
            }
        }
        .boxed()
    }

    fn address(&self, place: &LogPlace) -> String {
        self.address_of(&self.folder(place))
    }
}
