//! Tables that another engine has deleted rows of: Trino's MERGE, UPDATE and DELETE leave position deletes behind.

use std::{collections::HashSet, str::FromStr, sync::Arc};

use arrow::{
    array::{ArrayRef, Int64Array, RecordBatch, StringArray},
    datatypes::{DataType, Field, Schema},
};
use bytes::Bytes;
use iceberg::{
    MetadataLocation,
    spec::{
        DataContentType, DataFile, DataFileBuilder, DataFileFormat, Datum, ManifestListWriter, ManifestWriterBuilder,
        Operation, Snapshot, Summary,
    },
    table::Table,
};
use parquet::arrow::{ArrowWriter, PARQUET_FIELD_ID_META_KEY};
use windlass_tasks::{
    lake::{
        LakeError,
        read::data_files,
        swap::{Change, Commit, Removal},
        write::TableWriter,
    },
    pg::catalog::{CatalogKey, Locations, Swap, swap},
};

use super::{TestLake, numbers, stored};

/// The columns of a position delete file, by the specification's names and numbers.
fn positions(path: &str, rows: &[i64]) -> Vec<u8> {
    let field = |name: &str, kind, id: i32| {
        Field::new(name, kind, false).with_metadata([(PARQUET_FIELD_ID_META_KEY.to_owned(), id.to_string())].into())
    };
    let schema = Arc::new(Schema::new(vec![
        field("file_path", DataType::Utf8, 2_147_483_546),
        field("pos", DataType::Int64, 2_147_483_545),
    ]));
    let paths: ArrayRef = Arc::new(StringArray::from_iter_values(rows.iter().map(|_| path)));
    let batch = RecordBatch::try_new(schema.clone(), vec![paths, Arc::new(Int64Array::from(rows.to_vec()))]).unwrap();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, schema, None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    bytes
}

/// Deletes rows of one file as another engine would.
async fn delete_elsewhere(lake: &TestLake, table: &Table, file: &DataFile, rows: &[i64]) -> Table {
    const SNAPSHOT: i64 = 4711;
    let (metadata, io) = (table.metadata(), table.file_io());
    let path = format!("{}/data/elsewhere-deletes.parquet", metadata.location());
    let bytes = positions(file.file_path(), rows);
    let deletes = DataFileBuilder::default()
        .content(DataContentType::PositionDeletes)
        .file_path(path.clone())
        .file_format(DataFileFormat::Parquet)
        .partition(file.partition().clone())
        .partition_spec_id(metadata.default_partition_spec_id())
        .record_count(rows.len() as u64)
        .file_size_in_bytes(bytes.len() as u64)
        .build()
        .unwrap();
    io.new_output(&path).unwrap().write(Bytes::from(bytes)).await.unwrap();
    let sequence = metadata.next_sequence_number();
    let manifest = format!("{}/metadata/elsewhere-m0.avro", metadata.location());
    let (schema, spec) = (metadata.current_schema().clone(), metadata.default_partition_spec().as_ref().clone());
    let mut writer =
        ManifestWriterBuilder::new(io.new_output(&manifest).unwrap(), Some(SNAPSHOT), schema, spec).build_v2_deletes();
    writer.add_file(deletes, sequence).unwrap();
    let manifest = writer.write_manifest_file().await.unwrap();
    let before = metadata.current_snapshot().unwrap();
    let list = format!("{}/metadata/elsewhere-list.avro", metadata.location());
    let output = io.new_output(&list).unwrap().writer().await.unwrap();
    let mut writer = ManifestListWriter::v2(output, SNAPSHOT, Some(before.snapshot_id()), sequence);
    let old = table.manifest_list_reader(before).load().await.unwrap();
    writer.add_manifests(old.consume_entries().into_iter().chain([manifest])).unwrap();
    writer.close().await.unwrap();
    let snapshot = Snapshot::builder()
        .with_snapshot_id(SNAPSHOT)
        .with_parent_snapshot_id(Some(before.snapshot_id()))
        .with_sequence_number(sequence)
        .with_timestamp_ms(metadata.last_updated_ms())
        .with_manifest_list(list)
        .with_summary(Summary { operation: Operation::Delete, additional_properties: Default::default() })
        .with_schema_id(metadata.current_schema_id())
        .build();
    publish(lake, table, snapshot).await
}

async fn publish(lake: &TestLake, table: &Table, snapshot: Snapshot) -> Table {
    let old = table.metadata_location().unwrap().to_owned();
    let builder = table.metadata().clone().into_builder(Some(old.clone()));
    let metadata = builder.set_branch_snapshot(snapshot, "main").unwrap().build().unwrap().metadata;
    let location = MetadataLocation::from_str(&old).unwrap().with_next_version().with_new_metadata(&metadata);
    metadata.write_to(table.file_io(), &location).await.unwrap();
    let mut connection = lake.lake.pool().acquire().await.unwrap();
    let key = CatalogKey { namespace: "gold", name: "one" };
    let new = location.to_string();
    assert_eq!(swap(&mut connection, key, Locations { old: &old, new: &new }).await.unwrap(), Swap::Done);
    lake.table("gold.one").await
}

async fn write(table: &Table, range: std::ops::Range<i64>) -> Vec<DataFile> {
    let mut writer = TableWriter::new(table).unwrap();
    writer.write(&numbers(range)).await.unwrap();
    writer.close().await.unwrap()
}

async fn publish_one(lake: &TestLake, change: Change) -> Result<Table, LakeError> {
    Ok(Commit::new(&lake.lake).change(change).publish().await?.remove(0))
}

/// A table of three months; another engine has deleted the numbers 1 and 2 of February.
async fn with_deletes(lake: &TestLake) -> (Table, DataFile) {
    let table = lake.numbers("gold.one").await;
    let table = publish_one(lake, Change::append(&table, write(&table, 0..30).await)).await.unwrap();
    let february = data_files(&table).await.unwrap().into_iter().find(|file| file.record_count() == 28).unwrap();
    let table = delete_elsewhere(lake, &table, &february, &[0, 1]).await;
    assert_eq!(stored(&table).await, [0].into_iter().chain(3..30).collect::<Vec<_>>());
    (table, february)
}

#[tokio::test]
async fn appends_carry_the_deletes_of_others() {
    let lake = TestLake::new().await;
    let (table, _) = with_deletes(&lake).await;
    let table = publish_one(&lake, Change::append(&table, write(&table, 1..2).await)).await.unwrap();
    assert_eq!(stored(&table).await, [0, 1].into_iter().chain(3..30).collect::<Vec<_>>());
    let summary = &table.metadata().current_snapshot().unwrap().summary().additional_properties;
    assert_eq!((summary["total-records"].as_str(), summary["total-position-deletes"].as_str()), ("31", "2"));
}

#[tokio::test]
async fn an_overwritten_partition_takes_its_deletes_along_and_others_keep_theirs() {
    let lake = TestLake::new().await;
    let (table, february) = with_deletes(&lake).await;
    let march = data_files(&table).await.unwrap().into_iter().find(|file| file.lower_bounds()[&1] == Datum::long(29));
    let of = |file: &DataFile| Removal::Partitions(HashSet::from([file.partition().clone()]));
    let removed = Change::overwrite(&table, write(&table, 29..31).await, of(&march.unwrap()));
    let table = publish_one(&lake, removed).await.unwrap();
    assert_eq!(stored(&table).await, [0].into_iter().chain(3..31).collect::<Vec<_>>());
    let replaced = Change::overwrite(&table, write(&table, 1..4).await, of(&february));
    let table = publish_one(&lake, replaced).await.unwrap();
    assert_eq!(stored(&table).await, [0, 1, 2, 3, 29, 30]);
    let summary = &table.metadata().current_snapshot().unwrap().summary().additional_properties;
    assert_eq!((summary["total-records"].as_str(), summary["total-delete-files"].as_str()), ("6", "0"));
}

#[tokio::test]
async fn files_are_not_replaced_by_copies_that_know_no_later_deletes() {
    let lake = TestLake::new().await;
    let table = lake.numbers("gold.one").await;
    let table = publish_one(&lake, Change::append(&table, write(&table, 1..20).await)).await.unwrap();
    let file = data_files(&table).await.unwrap().remove(0);
    let copy = write(&table, 1..20).await;
    let removal = Removal::Files([file.file_path().to_owned()].into());
    delete_elsewhere(&lake, &table, &file, &[4]).await;
    let refused = publish_one(&lake, Change::replace(&table, copy, removal)).await;
    assert!(matches!(refused, Err(LakeError::Conflict { .. })));
}
