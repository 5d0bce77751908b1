//! Splitting batches by partition.
//!
//! What always holds: each row of a batch comes out exactly once, rows of a partition in the order they came in.

use std::{collections::HashMap, sync::Arc};

use arrow::{
    array::{ArrayRef, AsArray, RecordBatch, UInt32Array},
    compute::take_record_batch,
    datatypes::DataType,
    row::{OwnedRow, Row, RowConverter, SortField},
};
use iceberg::{
    arrow::{PartitionValueCalculator, arrow_struct_to_literal},
    spec::{Literal, PartitionKey, PartitionSpecRef, SchemaRef, Struct},
};

use super::error::{Doing, LakeError};

const SPLITTING: &str = "splitting rows by partition";

/// The rows of a batch that belong to one partition.
#[derive(Debug)]
pub(crate) struct Part {
    /// Tells partitions apart, cheaply.
    pub(crate) id: OwnedRow,
    /// The partition.
    pub(crate) key: PartitionKey,
    /// Its rows.
    pub(crate) rows: RecordBatch,
}

/// Splits batches by the partitioning of one table.
pub(crate) struct Splitter {
    calculator: PartitionValueCalculator,
    converter: RowConverter,
    spec: PartitionSpecRef,
    schema: SchemaRef,
}

impl Splitter {
    /// A splitter for a table that is partitioned.
    pub(crate) fn new(spec: PartitionSpecRef, schema: SchemaRef) -> Result<Self, LakeError> {
        let calculator = PartitionValueCalculator::try_new(&spec, &schema).doing(SPLITTING)?;
        let fields = match calculator.partition_arrow_type() {
            DataType::Struct(fields) => fields.iter().map(|field| SortField::new(field.data_type().clone())).collect(),
            other => return Err(LakeError::BadBatch(format!("partition values are {other}, not a struct"))),
        };
        let converter = RowConverter::new(fields).doing(SPLITTING)?;
        Ok(Self { calculator, converter, spec, schema })
    }

    /// Splits a batch that conforms to the table.
    pub(crate) fn split(&self, batch: &RecordBatch) -> Result<Vec<Part>, LakeError> {
        let values = self.calculator.calculate(batch).doing(SPLITTING)?;
        let rows = self.converter.convert_columns(values.as_struct().columns()).doing(SPLITTING)?;
        let mut groups: HashMap<Row<'_>, Vec<u32>> = HashMap::new();
        for (index, row) in (0_u32..).zip(rows.iter()) {
            groups.entry(row).or_default().push(index);
        }
        let mut groups: Vec<_> = groups.into_iter().collect();
        groups.sort_unstable_by_key(|(row, _)| *row);
        groups.into_iter().map(|(row, indices)| self.part(batch, &values, row, indices)).collect()
    }

    fn part(&self, batch: &RecordBatch, values: &ArrayRef, row: Row<'_>, indices: Vec<u32>) -> Result<Part, LakeError> {
        let first = indices[0] as usize;
        let key = PartitionKey::new(self.spec.as_ref().clone(), Arc::clone(&self.schema), self.value(values, first)?);
        let rows = if indices.len() == batch.num_rows() {
            batch.clone()
        } else {
            take_record_batch(batch, &UInt32Array::from(indices)).doing(SPLITTING)?
        };
        Ok(Part { id: row.owned(), key, rows })
    }

    fn value(&self, values: &ArrayRef, index: usize) -> Result<Struct, LakeError> {
        let one = values.slice(index, 1);
        let literals = arrow_struct_to_literal(&one, self.calculator.partition_type()).doing(SPLITTING)?;
        match literals.into_iter().next() {
            Some(Some(Literal::Struct(value))) => Ok(value),
            other => Err(LakeError::BadBatch(format!("a partition value is {other:?}, not a struct"))),
        }
    }
}
