//! The lake: Iceberg tables whose catalogue is in PostgreSQL, and Delta tables beside them.
//!
//! What always holds: tables are made by this module alone, never by SQL, so that their types are ones that every
//! reader takes; every change of an Iceberg table is a compare-and-swap of its catalogue row (see [`swap`]), together
//! with whatever has to be true at the same time; and a file that a commit names is never written again.

pub mod bronze;
pub mod expire;
pub mod files;
pub mod read;
pub mod settings;
pub mod swap;
pub mod sweep;
pub mod tables;
pub mod upkeep;
pub mod write;

mod bronze_iceberg;
mod compact;
mod conform;
mod delta;
mod delta_compact;
mod durable;
mod error;
mod month;
mod offsets;
mod partition;
mod sort;
mod stage;
mod summary;

use std::{collections::HashMap, sync::Arc};

use iceberg::{
    Catalog, CatalogBuilder, Runtime, TableIdent,
    io::FileIO,
    spec::{TableMetadata, TableMetadataRef},
    table::Table,
};
use iceberg_catalog_sql::{SqlCatalog, SqlCatalogBuilder};
use object_store::ObjectStore;
use sqlx::PgPool;

pub use error::LakeError;
pub use settings::{LakeSettings, S3Settings, Warehouse};

use crate::pg::{
    self,
    catalog::{CATALOG_NAME, CatalogKey},
};
use error::Doing;

/// Iceberg's own catalogue serves only the making of tables and engines that ask for one: a few connections do.
const CATALOG_CONNECTIONS_MAX: u32 = 2;

/// The open lake. Clones share everything.
#[derive(Debug, Clone)]
pub struct Lake {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    pool: PgPool,
    catalog: Arc<SqlCatalog>,
    warehouse: Warehouse,
    file_io: FileIO,
    store: Arc<dyn ObjectStore>,
    runtime: Runtime,
}

impl Lake {
    /// Opens the lake; its database is brought to this binary's version first.
    ///
    /// # Errors
    /// When the database cannot be reached or the warehouse cannot be opened.
    pub async fn connect(settings: &LakeSettings) -> Result<Self, LakeError> {
        let pool = pg::connect(&settings.database_url).await.doing("opening the lake's database")?;
        let warehouse = settings.warehouse.clone();
        let storage = warehouse.iceberg_storage();
        let properties = warehouse.iceberg_properties();
        let file_io = iceberg::io::FileIOBuilder::new(storage.clone()).with_props(properties.clone()).build();
        let mut catalog_properties: HashMap<String, String> = properties;
        catalog_properties.insert("uri".to_owned(), settings.database_url.clone());
        catalog_properties.insert("warehouse".to_owned(), warehouse.location().to_owned());
        catalog_properties.insert("pool.max-connections".to_owned(), CATALOG_CONNECTIONS_MAX.to_string());
        let catalog = SqlCatalogBuilder::default()
            .with_storage_factory(storage)
            .load(CATALOG_NAME, catalog_properties)
            .await
            .doing("opening the Iceberg catalogue")?;
        let store = warehouse.object_store()?;
        let runtime = Runtime::try_current().doing("opening the lake")?;
        Ok(Self { inner: Arc::new(Inner { pool, catalog: Arc::new(catalog), warehouse, file_io, store, runtime }) })
    }

    /// The lake's database.
    pub fn pool(&self) -> &PgPool {
        &self.inner.pool
    }

    /// The catalogue as Iceberg's own trait, for engines that want one. Do not commit through it.
    pub fn catalog(&self) -> Arc<dyn Catalog> {
        self.inner.catalog.clone()
    }

    /// Where the files are.
    pub fn warehouse(&self) -> &Warehouse {
        &self.inner.warehouse
    }

    /// Reads and writes files by their location.
    pub fn file_io(&self) -> &FileIO {
        &self.inner.file_io
    }

    /// Lists files, and holds the Delta tables; its root is that of the file system or of the bucket.
    pub(crate) fn store(&self) -> &Arc<dyn ObjectStore> {
        &self.inner.store
    }

    /// The table as it is now.
    ///
    /// # Errors
    /// [`LakeError::NoSuchTable`] with the names that exist.
    pub async fn table(&self, name: &TableIdent) -> Result<Table, LakeError> {
        match self.find_table(name).await? {
            Some(table) => Ok(table),
            None => {
                let known: Vec<String> = self.table_names().await?.iter().map(dotted).collect();
                let known = if known.is_empty() { "none yet".to_owned() } else { known.join(", ") };
                Err(LakeError::NoSuchTable { table: dotted(name), known })
            }
        }
    }

    /// The table as it is now, if there is one of this name.
    ///
    /// # Errors
    /// When the catalogue or the metadata file cannot be read.
    pub async fn find_table(&self, name: &TableIdent) -> Result<Option<Table>, LakeError> {
        let Some(location) = self.location(name).await? else { return Ok(None) };
        let metadata = TableMetadata::read_from(self.file_io(), &location)
            .await
            .doing(format!("reading {location}, the metadata of {}", dotted(name)))?;
        self.table_of(name, Arc::new(metadata), location).map(Some)
    }

    /// The metadata file that the catalogue names for a table now.
    pub(crate) async fn location(&self, name: &TableIdent) -> Result<Option<String>, LakeError> {
        let namespace = name.namespace().join(".");
        let key = CatalogKey { namespace: &namespace, name: name.name() };
        let location = pg::catalog::metadata_location(self.pool(), key).await;
        location.doing(format!("looking up {} in the catalogue", dotted(name)))
    }

    /// The names of all tables, in order.
    ///
    /// # Errors
    /// When the catalogue cannot be read.
    pub async fn table_names(&self) -> Result<Vec<TableIdent>, LakeError> {
        let rows = pg::catalog::tables(self.pool()).await.doing("listing the tables")?;
        rows.into_iter().map(|(namespace, name)| ident(&format!("{namespace}.{name}"))).collect()
    }

    /// A table made of metadata that is already in memory.
    pub(crate) fn table_of(
        &self,
        name: &TableIdent,
        metadata: TableMetadataRef,
        location: String,
    ) -> Result<Table, LakeError> {
        Table::builder()
            .identifier(name.clone())
            .file_io(self.file_io().clone())
            .metadata(metadata)
            .metadata_location(location)
            .runtime(self.inner.runtime.clone())
            .build()
            .doing(format!("opening {}", dotted(name)))
    }
}

/// Reads a table's name as people write it: `gold.stock_daily` or `lake.gold.stock_daily`.
///
/// # Errors
/// [`LakeError::BadName`].
pub fn table_name(text: &str) -> Result<TableIdent, LakeError> {
    match text.split('.').collect::<Vec<_>>()[..] {
        [namespace, name] | [CATALOG_NAME, namespace, name] => ident(&format!("{namespace}.{name}")),
        _ => Err(LakeError::BadName(text.to_owned())),
    }
}

/// The table's name as people read it: `gold.stock_daily`.
pub fn dotted(name: &TableIdent) -> String {
    format!("{}.{}", name.namespace().join("."), name.name())
}

fn ident(dotted: &str) -> Result<TableIdent, LakeError> {
    let parts: Vec<&str> = dotted.split('.').collect();
    if parts.len() < 2 || parts.iter().any(|part| part.is_empty()) {
        return Err(LakeError::BadName(dotted.to_owned()));
    }
    TableIdent::from_strs(parts).map_err(|_| LakeError::BadName(dotted.to_owned()))
}

/// Milliseconds since 1970, by this machine's clock. Snapshots carry it for people; no decision of correctness rests on it.
pub(crate) fn now_ms() -> i64 {
    chrono::Utc::now().timestamp_millis()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_named_with_or_without_the_catalogue() {
        assert_eq!(dotted(&table_name("gold.stock_daily").unwrap()), "gold.stock_daily");
        assert_eq!(dotted(&table_name("lake.gold.stock_daily").unwrap()), "gold.stock_daily");
        for wrong in ["stock_daily", "a.b.c", "lake.gold.stock.daily", "gold.", ""] {
            assert!(table_name(wrong).is_err(), "{wrong}");
        }
    }
}
