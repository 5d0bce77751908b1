//! A snapshot's summary: what it changed, what the table holds afterwards, and the lake's own keys.
//!
//! What always holds: the running totals count live files only, and keys that start with [`OWN_PREFIX`] pass from each
//! snapshot to the next, so that no compaction and no other writer of ours loses a copy of a watermark.

use std::collections::{BTreeMap, HashMap};

use iceberg::spec::{DataContentType, DataFile, SnapshotRef};

/// Marks the summary keys that are the lake's own.
pub(crate) const OWN_PREFIX: &str = "lake.";

/// What a table holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    /// Live data files.
    pub(crate) data_files: u64,
    /// Rows in them, before deletes.
    pub(crate) records: u64,
    /// Bytes of data and delete files.
    pub(crate) bytes: u64,
    /// Live delete files.
    pub(crate) delete_files: u64,
    /// Rows that position deletes name.
    pub(crate) position_deletes: u64,
    /// Rows in equality deletes.
    pub(crate) equality_deletes: u64,
}

const DATA_FILES: &str = "total-data-files";
const RECORDS: &str = "total-records";
const BYTES: &str = "total-files-size";
const DELETE_FILES: &str = "total-delete-files";
const POSITION_DELETES: &str = "total-position-deletes";
const EQUALITY_DELETES: &str = "total-equality-deletes";

impl Totals {
    /// The totals that a snapshot's writer left in its summary; `None` when it left not all of them.
    pub(crate) fn recorded(snapshot: &SnapshotRef) -> Option<Self> {
        let properties = &snapshot.summary().additional_properties;
        let number = |key: &str| properties.get(key)?.parse().ok();
        Some(Self {
            data_files: number(DATA_FILES)?,
            records: number(RECORDS)?,
            bytes: number(BYTES)?,
            delete_files: number(DELETE_FILES)?,
            position_deletes: number(POSITION_DELETES)?,
            equality_deletes: number(EQUALITY_DELETES)?,
        })
    }

    /// Counts a file in.
    pub(crate) fn add(&mut self, file: &DataFile) {
        self.bytes += file.file_size_in_bytes();
        let records = file.record_count();
        match file.content_type() {
            DataContentType::Data => {
                self.data_files += 1;
                self.records += records;
            }
            DataContentType::PositionDeletes => {
                self.delete_files += 1;
                self.position_deletes += records;
            }
            DataContentType::EqualityDeletes => {
                self.delete_files += 1;
                self.equality_deletes += records;
            }
        }
    }

    /// Counts a file out. Other writers' totals may be too low, so nothing goes below zero.
    pub(crate) fn remove(&mut self, file: &DataFile) {
        let mut gone = Self::default();
        gone.add(file);
        self.data_files = self.data_files.saturating_sub(gone.data_files);
        self.records = self.records.saturating_sub(gone.records);
        self.bytes = self.bytes.saturating_sub(gone.bytes);
        self.delete_files = self.delete_files.saturating_sub(gone.delete_files);
        self.position_deletes = self.position_deletes.saturating_sub(gone.position_deletes);
        self.equality_deletes = self.equality_deletes.saturating_sub(gone.equality_deletes);
    }

    fn entries(self) -> [(&'static str, u64); 6] {
        [
            (DATA_FILES, self.data_files),
            (RECORDS, self.records),
            (BYTES, self.bytes),
            (DELETE_FILES, self.delete_files),
            (POSITION_DELETES, self.position_deletes),
            (EQUALITY_DELETES, self.equality_deletes),
        ]
    }
}

/// All properties of a new snapshot's summary.
pub(crate) fn properties(
    previous: Option<&SnapshotRef>,
    own: &BTreeMap<String, String>,
    changes: HashMap<String, String>,
    totals: Totals,
) -> HashMap<String, String> {
    let mut all: HashMap<String, String> = previous
        .into_iter()
        .flat_map(|snapshot| &snapshot.summary().additional_properties)
        .filter(|(key, _)| key.starts_with(OWN_PREFIX))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    all.extend(own.iter().map(|(key, value)| (key.clone(), value.clone())));
    all.extend(changes);
    all.extend(totals.entries().map(|(key, value)| (key.to_owned(), value.to_string())));
    all
}
