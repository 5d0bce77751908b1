//! The tables that one statement sees, each at the snapshot that the catalogue named at one moment.

use std::collections::BTreeSet;
use std::sync::Arc;

use iceberg::TableIdent;
use iceberg::spec::TableMetadata;
use iceberg::table::Table;

use crate::lake::{Lake, LakeError, dotted};
use crate::pg::catalog::{CatalogKey, metadata_location};

/// Loads tables as of one read of the catalogue: a commit that changes two of them at once is seen whole or not at all.
/// The result has the order of `names`; `None` stands for a table that is not there.
///
/// # Errors
/// When catalogue or metadata cannot be read.
pub(super) async fn load(lake: &Lake, names: &[TableIdent]) -> Result<Vec<Option<Table>>, LakeError> {
    let locations = locations(lake, names).await?;
    let mut tables = Vec::with_capacity(names.len());
    for (name, location) in names.iter().zip(locations) {
        tables.push(match location {
            Some(location) => Some(open(lake, name, location).await?),
            None => None,
        });
    }
    Ok(tables)
}

/// The names of all tables, for messages.
///
/// # Errors
/// When the catalogue cannot be read.
pub(super) async fn known(lake: &Lake) -> Result<BTreeSet<String>, LakeError> {
    Ok(lake.table_names().await?.iter().map(dotted).collect())
}

async fn locations(lake: &Lake, names: &[TableIdent]) -> Result<Vec<Option<String>>, LakeError> {
    let doing = |source: sqlx::Error| failed("reading the catalogue", source);
    // One snapshot of PostgreSQL for all rows, which READ COMMITTED would take anew for each.
    let mut transaction = lake.pool().begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ").await.map_err(doing)?;
    let mut locations = Vec::with_capacity(names.len());
    for name in names {
        let namespace = name.namespace().join(".");
        let key = CatalogKey { namespace: &namespace, name: name.name() };
        locations.push(metadata_location(&mut *transaction, key).await.map_err(doing)?);
    }
    transaction.rollback().await.map_err(doing)?;
    Ok(locations)
}

async fn open(lake: &Lake, name: &TableIdent, location: String) -> Result<Table, LakeError> {
    let metadata = TableMetadata::read_from(lake.file_io(), &location)
        .await
        .map_err(|source| failed(&format!("reading the metadata of {}", dotted(name)), source))?;
    lake.table_of(name, Arc::new(metadata), location)
}

fn failed(doing: &str, source: impl std::error::Error + Send + Sync + 'static) -> LakeError {
    LakeError::Failed { doing: doing.to_owned(), source: Box::new(source) }
}
