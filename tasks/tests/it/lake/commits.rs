//! Commits to Iceberg tables: together or not at all, repeated when that is right, refused when it is not.

use std::{
    collections::{BTreeSet, HashSet},
    time::Duration,
};

use async_trait::async_trait;
use chrono::Utc;
use iceberg::spec::DataFile;
use sqlx::PgConnection;
use windlass_tasks::lake::{
    LakeError, files,
    read::data_files,
    swap::{Change, Commit, Removal, Rows},
    sweep::{Pass, sweep},
    table_name,
    write::TableWriter,
};

use super::{TestLake, numbers, stored};

async fn write(table: &iceberg::table::Table, range: std::ops::Range<i64>) -> Vec<DataFile> {
    let mut writer = TableWriter::new(table).unwrap();
    writer.write(&numbers(range)).await.unwrap();
    writer.close().await.unwrap()
}

async fn append(lake: &TestLake, name: &str, range: std::ops::Range<i64>) {
    let table = lake.table(name).await;
    let change = Change::append(&table, write(&table, range).await);
    Commit::new(&lake.lake).change(change).publish().await.unwrap();
}

/// Rows that cannot be written.
struct Failing;

#[async_trait]
impl Rows for Failing {
    async fn write(&self, _connection: &mut PgConnection) -> Result<(), LakeError> {
        Err(LakeError::BadBatch("these rows fail".to_owned()))
    }
}

/// Rows during which the writer dies.
struct Dying;

#[async_trait]
impl Rows for Dying {
    async fn write(&self, _connection: &mut PgConnection) -> Result<(), LakeError> {
        std::future::pending().await
    }
}

#[tokio::test]
async fn columns_land_under_their_names_and_rows_in_their_months() {
    let lake = TestLake::new().await;
    lake.numbers("silver.numbers").await;
    append(&lake, "silver.numbers", 0..40).await;
    assert_eq!(stored(&lake.table("silver.numbers").await).await, (0..40).collect::<Vec<_>>());
    let listed = files::files(&lake.lake, &table_name("silver.numbers").unwrap()).await.unwrap();
    let months: Vec<_> = listed.iter().map(|file| (file.partition.as_str(), file.rows)).collect();
    assert_eq!(months, [("day_month=2013-01", 1), ("day_month=2013-02", 28), ("day_month=2013-03", 11)]);
}

#[tokio::test]
async fn two_tables_change_together_or_not_at_all() {
    let lake = TestLake::new().await;
    let (one, two) = (lake.numbers("gold.one").await, lake.numbers("gold.two").await);
    let changes = [Change::append(&one, write(&one, 0..3).await), Change::append(&two, write(&two, 5..8).await)];
    let commit = || changes.iter().cloned().fold(Commit::new(&lake.lake), Commit::change);
    assert!(matches!(commit().publish_with(&Failing).await, Err(LakeError::BadBatch(_))));
    for name in ["gold.one", "gold.two"] {
        assert_eq!(stored(&lake.table(name).await).await, [] as [i64; 0]);
    }
    assert_eq!(commit().publish().await.unwrap().len(), 2);
    assert_eq!(stored(&lake.table("gold.one").await).await, [0, 1, 2]);
    assert_eq!(stored(&lake.table("gold.two").await).await, [5, 6, 7]);
}

#[tokio::test]
async fn a_writer_that_dies_between_staging_and_commit_leaves_only_files_to_sweep() {
    let lake = TestLake::new().await;
    lake.numbers("gold.one").await;
    append(&lake, "gold.one", 0..3).await;
    let live = lake.files("");
    let table = lake.table("gold.one").await;
    let change = Change::append(&table, write(&table, 3..6).await);
    let commit = Commit::new(&lake.lake).change(change);
    assert!(tokio::time::timeout(Duration::from_millis(500), commit.publish_with(&Dying)).await.is_err());
    assert!(lake.files("").len() > live.len());
    assert_eq!(stored(&lake.table("gold.one").await).await, [0, 1, 2]);

    let name = table_name("gold.one").unwrap();
    let hour = Duration::from_secs(3600);
    assert_eq!(sweep(&lake.lake, &name, Utc::now(), hour, Pass::Real).await.unwrap().deleted, 0);
    let later = Utc::now() + chrono::TimeDelta::hours(2);
    let planned = sweep(&lake.lake, &name, later, hour, Pass::Dry).await.unwrap();
    assert!(planned.deleted > 0 && planned.bytes > 0);
    assert_eq!(sweep(&lake.lake, &name, later, hour, Pass::Real).await.unwrap(), planned);
    assert_eq!(lake.files(""), live);
    assert_eq!(stored(&lake.table("gold.one").await).await, [0, 1, 2]);
    append(&lake, "gold.one", 3..6).await;
    assert_eq!(stored(&lake.table("gold.one").await).await, [0, 1, 2, 3, 4, 5]);
}

#[tokio::test]
async fn an_append_is_repeated_upon_whatever_came_first() {
    let lake = TestLake::new().await;
    let stale = lake.numbers("gold.one").await;
    append(&lake, "gold.one", 0..3).await;
    let change = Change::append(&stale, write(&stale, 3..6).await).with_summary("note", "kept");
    let now = Commit::new(&lake.lake).change(change).publish().await.unwrap();
    assert_eq!(stored(&now[0]).await, [0, 1, 2, 3, 4, 5]);
    append(&lake, "gold.one", 6..7).await;
    let table = lake.table("gold.one").await;
    let summary = &table.metadata().current_snapshot().unwrap().summary().additional_properties;
    assert_eq!(summary["lake.note"], "kept");
    assert_eq!(summary["total-records"], "7");
}

#[tokio::test]
async fn an_overwrite_replaces_its_partitions_and_refuses_a_table_that_moved() {
    let lake = TestLake::new().await;
    lake.numbers("gold.one").await;
    append(&lake, "gold.one", 0..40).await;
    let table = lake.table("gold.one").await;
    let february = data_files(&table).await.unwrap().into_iter().find(|file| file.record_count() == 28).unwrap();
    let removal = Removal::Partitions(HashSet::from([february.partition().clone()]));
    let change = Change::overwrite(&table, write(&table, 1..3).await, removal);
    let commit = |change: &Change| Commit::new(&lake.lake).change(change.clone());
    let now = commit(&change).publish().await.unwrap();
    let expected: Vec<i64> = (0..3).chain(29..40).collect();
    assert_eq!(stored(&now[0]).await, expected);
    let totals = &now[0].metadata().current_snapshot().unwrap().summary().additional_properties;
    assert_eq!((totals["total-records"].as_str(), totals["deleted-records"].as_str()), ("14", "28"));
    assert!(matches!(commit(&change).publish().await, Err(LakeError::Conflict { .. })));
    assert_eq!(stored(&lake.table("gold.one").await).await, expected);
}

#[tokio::test]
async fn files_can_be_replaced_only_once() {
    let lake = TestLake::new().await;
    lake.numbers("gold.one").await;
    append(&lake, "gold.one", 1..3).await;
    let table = lake.table("gold.one").await;
    let paths: BTreeSet<String> =
        data_files(&table).await.unwrap().iter().map(|file| file.file_path().to_owned()).collect();
    let change = Change::replace(&table, write(&table, 1..3).await, Removal::Files(paths));
    append(&lake, "gold.one", 3..4).await;
    let commit = |change: &Change| Commit::new(&lake.lake).change(change.clone());
    assert_eq!(stored(&commit(&change).publish().await.unwrap()[0]).await, [1, 2, 3]);
    assert!(matches!(commit(&change).publish().await, Err(LakeError::Conflict { .. })));
    assert_eq!(stored(&lake.table("gold.one").await).await, [1, 2, 3]);
}

#[tokio::test]
async fn a_commit_of_nothing_changes_nothing() {
    let lake = TestLake::new().await;
    let table = lake.numbers("gold.one").await;
    let commit = Commit::new(&lake.lake).change(Change::append(&table, Vec::new()));
    assert!(commit.publish().await.unwrap().is_empty());
    assert_eq!(lake.table("gold.one").await.metadata_location(), table.metadata_location());
}

#[tokio::test]
async fn many_commits_leave_a_table_that_opens_fast() {
    const COMMITS: i64 = 105;
    let lake = TestLake::new().await;
    lake.numbers("gold.one").await;
    for n in 0..COMMITS {
        append(&lake, "gold.one", n..n + 1).await;
    }
    let table = lake.table("gold.one").await;
    let snapshot = table.metadata().current_snapshot().unwrap();
    let manifests = table.manifest_list_reader(snapshot).load().await.unwrap();
    assert!(manifests.entries().len() < 10, "{} manifests", manifests.entries().len());
    assert_eq!(stored(&table).await, (0..COMMITS).collect::<Vec<_>>());
    assert_eq!(snapshot.summary().additional_properties["total-records"], COMMITS.to_string());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_is_made_once_by_any_number_of_makers() {
    let lake = TestLake::new().await;
    let makers = futures::future::join_all((0..6).map(|_| lake.numbers("gold.race"))).await;
    let ids: HashSet<_> = makers.iter().map(|table| table.metadata().uuid()).collect();
    assert_eq!(ids.len(), 1);
}

#[tokio::test]
async fn a_missing_table_is_reported_with_those_that_exist() {
    let lake = TestLake::new().await;
    lake.numbers("gold.one").await;
    let refusal = lake.lake.table(&table_name("gold.won").unwrap()).await.unwrap_err().to_string();
    assert_eq!(refusal, "there is no table gold.won; the tables are: gold.one");
}
