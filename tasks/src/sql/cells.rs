//! Values of a result as text and as JSON.
//!
//! A double is written in the shortest form that reads back as the same number, with `.0` when it is whole, so that two
//! results are equal exactly when their text is.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float64Type};
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use serde_json::Value;

/// The values of one batch.
pub(super) struct Cells<'a> {
    batch: &'a RecordBatch,
    formatters: Vec<ArrayFormatter<'a>>,
}

/// A place in a batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct At {
    /// The row.
    pub(super) row: usize,
    /// The column.
    pub(super) column: usize,
}

impl<'a> Cells<'a> {
    /// Prepares a batch.
    pub(super) fn new(batch: &'a RecordBatch) -> Result<Self, ArrowError> {
        const OPTIONS: FormatOptions<'static> = FormatOptions::new().with_display_error(true);
        let formatters = batch.columns().iter().map(|column| ArrayFormatter::try_new(column.as_ref(), &OPTIONS));
        Ok(Self { batch, formatters: formatters.collect::<Result<_, _>>()? })
    }

    /// The number of rows.
    pub(super) fn rows(&self) -> usize {
        self.batch.num_rows()
    }

    /// A value as text; `None` for null.
    pub(super) fn text(&self, at: At) -> Option<String> {
        let column = self.batch.column(at.column);
        if column.is_null(at.row) {
            return None;
        }
        match column.as_primitive_opt::<Float64Type>() {
            Some(doubles) => Some(format!("{:?}", doubles.value(at.row))),
            None => Some(self.formatters[at.column].value(at.row).to_string()),
        }
    }

    /// One row as text.
    pub(super) fn text_row(&self, row: usize) -> Vec<Option<String>> {
        (0..self.formatters.len()).map(|column| self.text(At { row, column })).collect()
    }

    /// One row as JSON: numbers and truth values as such, everything else as text. Decimals are text too, since readers
    /// of JSON would make doubles of them; so are numbers that JSON has not.
    pub(super) fn json_row(&self, row: usize) -> Vec<Value> {
        (0..self.formatters.len()).map(|column| self.json(At { row, column })).collect()
    }

    fn json(&self, at: At) -> Value {
        let Some(text) = self.text(at) else { return Value::Null };
        let column = self.batch.column(at.column);
        match column.data_type() {
            DataType::Boolean => Value::Bool(column.as_boolean().value(at.row)),
            kind if kind.is_integer() || kind.is_floating() => {
                serde_json::from_str(&text).unwrap_or(Value::String(text))
            }
            _ => Value::String(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, Date32Array, Float64Array, Int64Array, StringArray, TimestampMicrosecondArray};
    use serde_json::json;
    use std::sync::Arc;

    #[test]
    fn values_read_as_people_and_programs_expect() {
        let batch = RecordBatch::try_from_iter([
            ("d", Arc::new(Float64Array::from(vec![Some(127.0), Some(0.1 + 0.2), Some(f64::NAN), None])) as ArrayRef),
            ("n", Arc::new(Int64Array::from(vec![1, 2, 3, 4]))),
            ("s", Arc::new(StringArray::from(vec![Some("a"), Some(""), None, Some("b")]))),
            ("day", Arc::new(Date32Array::from(vec![11_017, 0, 0, 0]))),
            (
                "ts",
                Arc::new(TimestampMicrosecondArray::from(vec![951_921_000_000_000, 0, 0, 1]).with_timezone("+00:00")),
            ),
        ])
        .unwrap();
        let cells = Cells::new(&batch).unwrap();
        let text = |row| {
            cells.text_row(row).into_iter().map(|cell| cell.unwrap_or("null".into())).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(text(0), "127.0 1 a 2000-03-01 2000-03-01T14:30:00Z");
        assert_eq!(text(1), "0.30000000000000004 2  1970-01-01 1970-01-01T00:00:00Z");
        assert_eq!(text(3), "null 4 b 1970-01-01 1970-01-01T00:00:00.000001Z");
        assert_eq!(
            cells.json_row(0),
            [json!(127.0), json!(1), json!("a"), json!("2000-03-01"), json!("2000-03-01T14:30:00Z")]
        );
        assert_eq!(cells.json_row(2)[..3], [json!("NaN"), json!(3), json!(null)]);
    }
}
