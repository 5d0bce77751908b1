//! Databases of released versions are upgraded in place and keep everything.
//!
//! `fixtures/<version>.sql` is a dump of that version's schema with the data of a used installation, made by
//! `scripts/dump-database.sh` at its release and never changed afterwards; `<version>.key` opens its secrets.

use std::{fs, path::PathBuf};

use model::DagRunState;
use sqlx::{Connection, Executor, PgConnection, PgPool};
use store::{SecretKey, Writer, secrets};

use crate::{
    schema::catalogue,
    support::{Database, candidate, compile},
};

/// A dump and the key that belongs to it.
struct Release {
    name: String,
    dump: String,
    key: SecretKey,
}

fn releases() -> Vec<Release> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let mut dumps: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    dumps.retain(|path| path.extension().is_some_and(|extension| extension == "sql"));
    dumps.sort();
    assert!(!dumps.is_empty(), "no release has left its dump");
    let read = |path: PathBuf| Release {
        name: path.file_stem().unwrap().to_string_lossy().into_owned(),
        dump: fs::read_to_string(&path).unwrap(),
        key: SecretKey::parse(&fs::read_to_string(path.with_extension("key")).unwrap()).unwrap(),
    };
    dumps.into_iter().map(read).collect()
}

/// Restores a dump as `psql` would; its first lines change the session, so the connection is not kept.
async fn restored(release: &Release) -> Database {
    let database = Database::create_empty().await;
    let mut connection = PgConnection::connect(&database.url).await.unwrap();
    connection.execute(release.dump.as_str()).await.unwrap();
    connection.close().await.unwrap();
    database
}

/// How many rows each table has, the record of migrations left out.
async fn row_counts(pool: &PgPool) -> Vec<(String, i64)> {
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT tablename::text FROM pg_tables WHERE schemaname = 'public' AND tablename <> '_sqlx_migrations' ORDER BY 1",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    let mut counts = Vec::new();
    for table in tables {
        let count = sqlx::query_scalar(&format!("SELECT count(*) FROM {table}")).fetch_one(pool).await.unwrap();
        counts.push((table, count));
    }
    counts
}

#[tokio::test]
async fn every_release_is_upgraded_to_this_schema_and_loses_no_row() {
    let fresh = Database::create().await;
    for release in releases() {
        let database = restored(&release).await;
        let before = row_counts(&database.pool).await;
        store::migrate(&database.pool).await.unwrap();
        assert_eq!(catalogue(&database.pool).await, catalogue(&fresh.pool).await, "{}", release.name);
        let after = row_counts(&database.pool).await;
        for (table, count) in before {
            // A table that nothing was written to may go.
            let is_gone = count == 0 && !after.iter().any(|(name, _)| *name == table);
            assert!(is_gone || after.contains(&(table.clone(), count)), "{}: {table} had {count} rows", release.name);
        }
    }
}

#[tokio::test]
async fn a_leader_goes_on_from_every_release() {
    for release in releases() {
        let database = restored(&release).await;
        store::migrate(&database.pool).await.unwrap();
        let mut writer = Writer::connect(&database.url).await.unwrap();
        let leadership = store::lead(&mut writer, &candidate("upgraded")).await.unwrap();
        let snapshot = store::load(writer.connection()).await.unwrap().snapshot;
        assert!(snapshot.runs.iter().any(|run| run.run.state == DagRunState::Running), "{}", release.name);
        assert!(!snapshot.dags.is_empty() && !snapshot.pools.is_empty(), "{}", release.name);
        // It writes, too.
        store::store_version(&mut writer, leadership.epoch, &compile("after_the_upgrade", &["only"])).await.unwrap();
    }
}

#[tokio::test]
async fn the_secrets_of_every_release_are_opened_by_its_key() {
    let nothing = |_: &str| None;
    for release in releases() {
        let database = restored(&release).await;
        store::migrate(&database.pool).await.unwrap();
        let connection =
            secrets::connection(&database.pool, &release.key, &nothing, "warehouse").await.unwrap().unwrap();
        assert_eq!(connection.password.as_deref(), Some("fixture-password"), "{}", release.name);
        let variable = secrets::variable(&database.pool, &release.key, &nothing, "region").await.unwrap();
        assert_eq!(variable.as_deref(), Some("eu"), "{}", release.name);
    }
}
