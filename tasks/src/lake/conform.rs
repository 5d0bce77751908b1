//! Bringing batches into the shape of the table they go to.
//!
//! What always holds: writers downstream take columns by position; this is the one place where names become positions,
//! so a batch with its columns in another order can never be written swapped.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, new_null_array},
    compute::{CastOptions, cast_with_options},
    datatypes::{Field, SchemaRef},
};

use super::error::{Doing, LakeError};

/// The batch with exactly the columns of `target`, found by name and cast where the type differs.
///
/// A column that the batch lacks is null when the target allows it; columns that the target lacks are left out.
///
/// # Errors
/// [`LakeError::BadBatch`] when a required column is missing, holds a null, or holds a value that does not fit.
pub fn conform(batch: &RecordBatch, target: &SchemaRef) -> Result<RecordBatch, LakeError> {
    if batch.schema_ref() == target {
        return Ok(batch.clone());
    }
    let columns = target.fields().iter().map(|field| column(batch, field)).collect::<Result<Vec<_>, _>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::clone(target), columns, &options).doing("arranging columns for a table")
}

fn column(batch: &RecordBatch, field: &Field) -> Result<ArrayRef, LakeError> {
    let name = field.name();
    let found = match batch.column_by_name(name) {
        Some(found) => found,
        None if field.is_nullable() => return Ok(new_null_array(field.data_type(), batch.num_rows())),
        None => return Err(LakeError::BadBatch(format!("the column {name} is missing, and the table requires it"))),
    };
    if found.null_count() > 0 && !field.is_nullable() {
        return Err(LakeError::BadBatch(format!("the column {name} holds a null, which the table does not allow")));
    }
    if found.data_type() == field.data_type() {
        return Ok(Arc::clone(found));
    }
    let strict = CastOptions { safe: false, ..CastOptions::default() };
    cast_with_options(found, field.data_type(), &strict).map_err(|error| {
        LakeError::BadBatch(format!(
            "the column {name} is {} and does not become {}: {error}",
            found.data_type(),
            field.data_type()
        ))
    })
}

#[cfg(test)]
mod tests {
    use arrow::{
        array::{AsArray, Int32Array, Int64Array, StringArray},
        datatypes::{DataType, Int64Type, Schema},
    };

    use super::*;

    fn target() -> SchemaRef {
        Arc::new(Schema::new(vec![
            Field::new("a", DataType::Int64, false),
            Field::new("b", DataType::Int64, false),
            Field::new("note", DataType::Utf8, true),
        ]))
    }

    #[test]
    fn columns_are_found_by_name_and_cast() {
        let batch = RecordBatch::try_from_iter([
            ("b", Arc::new(Int64Array::from(vec![2])) as ArrayRef),
            ("extra", Arc::new(Int64Array::from(vec![9]))),
            ("a", Arc::new(Int32Array::from(vec![1]))),
        ])
        .unwrap();
        let conformed = conform(&batch, &target()).unwrap();
        assert_eq!(conformed.schema(), target());
        assert_eq!(conformed.column(0).as_primitive::<Int64Type>().value(0), 1);
        assert_eq!(conformed.column(1).as_primitive::<Int64Type>().value(0), 2);
        assert!(conformed.column(2).is_null(0));
    }

    #[test]
    fn what_does_not_fit_is_refused_by_name() {
        let text = Arc::new(StringArray::from(vec!["x"])) as ArrayRef;
        let number = Arc::new(Int64Array::from(vec![1])) as ArrayRef;
        let null = Arc::new(Int64Array::from(vec![None])) as ArrayRef;
        for (columns, complaint) in [
            (vec![("a", number.clone())], "the column b is missing"),
            (vec![("a", number.clone()), ("b", text)], "the column b is Utf8 and does not become Int64"),
            (vec![("a", number), ("b", null)], "the column b holds a null"),
        ] {
            let batch = RecordBatch::try_from_iter_with_nullable(
                columns.into_iter().map(|(name, column)| (name, column, true)),
            )
            .unwrap();
            let refusal = conform(&batch, &target()).unwrap_err().to_string();
            assert!(refusal.contains(complaint), "{refusal}");
        }
    }
}
