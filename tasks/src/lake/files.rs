//! What the lake holds, as rows for people: `lake tables` and `lake files`.

use chrono::{DateTime, Utc};
use iceberg::{
    TableIdent,
    spec::{Literal, PartitionSpecRef, PrimitiveLiteral, SchemaRef, Struct, Transform},
    table::Table,
};

use super::{Lake, dotted, error::LakeError, read::data_entries, summary::Totals};

/// A table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableRow {
    /// Its name, `gold.stock_daily`.
    pub table: String,
    /// Its current snapshot; none when nothing was ever committed.
    pub snapshot: Option<i64>,
    /// Its rows, before deletes of other engines.
    pub rows: u64,
    /// Its data files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// When the current snapshot was made.
    pub committed_at: Option<DateTime<Utc>>,
}

/// A data file of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileRow {
    /// Its location.
    pub path: String,
    /// Its partition, `ts_month=2013-02`; empty when the table has none.
    pub partition: String,
    /// Its rows.
    pub rows: u64,
    /// Its size.
    pub bytes: u64,
    /// The snapshot that added it.
    pub snapshot: Option<i64>,
}

/// All tables, by name.
///
/// # Errors
/// When catalogue or storage fail.
pub async fn tables(lake: &Lake) -> Result<Vec<TableRow>, LakeError> {
    let mut rows = Vec::new();
    for name in lake.table_names().await? {
        // A table may be dropped while the list is made.
        if let Some(table) = lake.find_table(&name).await? {
            rows.push(row(&table).await?);
        }
    }
    Ok(rows)
}

async fn row(table: &Table) -> Result<TableRow, LakeError> {
    let snapshot = table.metadata().current_snapshot();
    let totals = match snapshot.map(Totals::recorded) {
        None => Totals::default(),
        Some(Some(totals)) => totals,
        Some(None) => {
            let mut totals = Totals::default();
            data_entries(table).await?.iter().for_each(|entry| totals.add(entry.data_file()));
            totals
        }
    };
    Ok(TableRow {
        table: dotted(table.identifier()),
        snapshot: snapshot.map(|snapshot| snapshot.snapshot_id()),
        rows: totals.records,
        files: totals.data_files,
        bytes: totals.bytes,
        committed_at: snapshot.and_then(|snapshot| DateTime::from_timestamp_millis(snapshot.timestamp_ms())),
    })
}

/// The data files of a table's current snapshot, by partition and path.
///
/// # Errors
/// [`LakeError::NoSuchTable`], or what the storage says.
pub async fn files(lake: &Lake, name: &TableIdent) -> Result<Vec<FileRow>, LakeError> {
    let table = lake.table(name).await?;
    let metadata = table.metadata();
    let (spec, schema) = (metadata.default_partition_spec(), metadata.current_schema());
    let mut rows: Vec<FileRow> = data_entries(&table)
        .await?
        .iter()
        .map(|entry| FileRow {
            path: entry.file_path().to_owned(),
            partition: partition_path(spec, schema, entry.data_file().partition()),
            rows: entry.record_count(),
            bytes: entry.file_size_in_bytes(),
            snapshot: entry.snapshot_id(),
        })
        .collect();
    rows.sort_unstable_by(|a, b| (&a.partition, &a.path).cmp(&(&b.partition, &b.path)));
    Ok(rows)
}

/// The partition as people read it; empty for a file that was written under another partitioning than today's.
fn partition_path(spec: &PartitionSpecRef, schema: &SchemaRef, values: &Struct) -> String {
    let Ok(kind) = spec.partition_type(schema) else { return String::new() };
    if kind.fields().len() != values.fields().len() {
        return String::new();
    }
    let parts = spec.fields().iter().zip(values.fields()).zip(kind.fields()).map(|((field, value), kind)| {
        let value = match (field.transform, value) {
            (Transform::Month, Some(Literal::Primitive(PrimitiveLiteral::Int(month)))) => month_name(*month),
            // The library names days and hours well, but writes months as a number.
            (transform, value) => transform.to_human_string(&kind.field_type, value.as_ref()),
        };
        format!("{}={value}", field.name)
    });
    parts.collect::<Vec<_>>().join("/")
}

/// `2013-02` for the number of months since January 1970.
fn month_name(month: i32) -> String {
    format!("{:04}-{:02}", 1970 + month.div_euclid(12), month.rem_euclid(12) + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_are_named_on_both_sides_of_1970() {
        assert_eq!([-1, 0, 517].map(month_name), ["1969-12", "1970-01", "2013-02"]);
    }
}
