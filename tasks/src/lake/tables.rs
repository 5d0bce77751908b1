//! Making tables.
//!
//! What always holds: a table of ours is of format version 2, and its columns are of types that pyiceberg, Trino and
//! DataFusion all read (no nanoseconds).

use std::collections::HashMap;

use iceberg::{
    Catalog, NamespaceIdent, TableCreation, TableIdent,
    spec::{NestedField, NestedFieldRef, PrimitiveType, Schema, Transform, Type, UnboundPartitionSpec},
    table::Table,
};

use super::{
    Lake, dotted,
    error::{Doing, LakeError},
};

/// How many superseded metadata files the metadata names; those it does not name are swept.
const PREVIOUS_METADATA_MAX: &str = "20";

/// A table to be made.
#[derive(Debug, Clone)]
pub struct TableSpec {
    name: TableIdent,
    columns: Vec<Column>,
    partitioning: Vec<(String, Transform)>,
}

/// A column of a table to be made.
#[derive(Debug, Clone)]
pub struct Column {
    name: String,
    kind: PrimitiveType,
    presence: Presence,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Presence {
    Required,
    Optional,
}

impl Column {
    /// A column without nulls.
    pub fn required(name: impl Into<String>, kind: PrimitiveType) -> Self {
        Self { name: name.into(), kind, presence: Presence::Required }
    }

    /// A column that may hold nulls.
    pub fn optional(name: impl Into<String>, kind: PrimitiveType) -> Self {
        Self { name: name.into(), kind, presence: Presence::Optional }
    }

    fn field(&self, id: i32) -> NestedFieldRef {
        let kind = Type::Primitive(self.kind.clone());
        match self.presence {
            Presence::Required => NestedField::required(id, &self.name, kind).into(),
            Presence::Optional => NestedField::optional(id, &self.name, kind).into(),
        }
    }
}

impl TableSpec {
    /// An unpartitioned table.
    pub fn new(name: TableIdent, columns: Vec<Column>) -> Self {
        Self { name, columns, partitioning: Vec::new() }
    }

    /// Partitions by a column, after the columns already named.
    #[must_use]
    pub fn partitioned_by(mut self, column: impl Into<String>, transform: Transform) -> Self {
        self.partitioning.push((column.into(), transform));
        self
    }

    /// The table's name.
    pub fn name(&self) -> &TableIdent {
        &self.name
    }

    /// The Iceberg schema; columns are numbered in their order.
    ///
    /// # Errors
    /// When two columns share a name.
    pub fn schema(&self) -> Result<Schema, LakeError> {
        let fields = (1..).zip(&self.columns).map(|(id, column)| column.field(id));
        Schema::builder().with_fields(fields).build().doing(format!("making the schema of {}", dotted(&self.name)))
    }

    fn partition_spec(&self, schema: &Schema) -> Result<Option<UnboundPartitionSpec>, LakeError> {
        if self.partitioning.is_empty() {
            return Ok(None);
        }
        let mut spec = UnboundPartitionSpec::builder();
        for (column, transform) in &self.partitioning {
            let id = schema.field_id_by_name(column).ok_or_else(|| {
                LakeError::BadBatch(format!("{} is partitioned by {column}, which it has not", dotted(&self.name)))
            })?;
            spec = spec
                .add_partition_field(id, partition_name(column, transform), *transform)
                .doing(format!("partitioning {} by {column}", dotted(&self.name)))?;
        }
        Ok(Some(spec.build()))
    }

    fn creation(&self, location: String) -> Result<TableCreation, LakeError> {
        let schema = self.schema()?;
        let spec = self.partition_spec(&schema)?;
        let properties = [
            ("write.metadata.previous-versions-max".to_owned(), PREVIOUS_METADATA_MAX.to_owned()),
            ("write.parquet.compression-codec".to_owned(), "zstd".to_owned()),
        ];
        Ok(TableCreation::builder()
            .name(self.name.name().to_owned())
            .location(location)
            .schema(schema)
            .partition_spec_opt(spec)
            .properties(properties)
            .build())
    }
}

/// The name that Trino gives a partition field.
fn partition_name(column: &str, transform: &Transform) -> String {
    match transform {
        Transform::Identity => column.to_owned(),
        Transform::Bucket(_) => format!("{column}_bucket"),
        Transform::Truncate(_) => format!("{column}_trunc"),
        other => format!("{column}_{other}"),
    }
}

impl Lake {
    /// The table, made first when it is missing. Any number of processes may call this at once.
    ///
    /// # Errors
    /// When the specification contradicts itself, or catalogue or storage fail.
    pub async fn ensure_table(&self, spec: &TableSpec) -> Result<Table, LakeError> {
        if let Some(table) = self.find_table(&spec.name).await? {
            return Ok(table);
        }
        self.ensure_namespace(spec.name.namespace()).await?;
        let path = format!("{}/{}", spec.name.namespace().join("/"), spec.name.name());
        let creation = spec.creation(self.warehouse().url_of(&path)?.to_string())?;
        let made = self.inner.catalog.create_table(spec.name.namespace(), creation).await;
        // The loser of a race gets an unspecific error, and the winner may have committed in silence: only the row counts.
        match self.find_table(&spec.name).await? {
            Some(table) => Ok(table),
            None => made.doing(format!("making the table {}", dotted(&spec.name))),
        }
    }

    async fn ensure_namespace(&self, namespace: &NamespaceIdent) -> Result<(), LakeError> {
        let doing = || format!("making the namespace {}", namespace.join("."));
        let catalog = &self.inner.catalog;
        if catalog.namespace_exists(namespace).await.doing(doing())? {
            return Ok(());
        }
        match catalog.create_namespace(namespace, HashMap::new()).await {
            Ok(_) => Ok(()),
            // Somebody else may just have made it.
            Err(error) => match catalog.namespace_exists(namespace).await.doing(doing())? {
                true => Ok(()),
                false => Err(error).doing(doing()),
            },
        }
    }
}
