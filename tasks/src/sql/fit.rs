//! Makes a query's rows fit the table that they go to: which column goes where, whether its type may, and in which order
//! rows arrive.

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::Column;
use datafusion::dataframe::DataFrame;
use datafusion::error::DataFusionError;
use datafusion::prelude::{Expr, cast, lit};
use datafusion::scalar::ScalarValue;
use iceberg::table::Table;

use super::command::Append;
use super::error::{Position, SqlError};
use super::names::lower;

/// Names a query's columns, by their order, after the columns of the table that an `INSERT` fills.
///
/// # Errors
/// [`SqlError::Statement`] when a column does not exist, is missing, or has a type that would lose something.
pub(super) fn fill(
    frame: DataFrame,
    append: &Append,
    columns: &SchemaRef,
    start: Position,
) -> Result<DataFrame, SqlError> {
    let named: Vec<String> = match append.columns.is_empty() {
        true => columns.fields().iter().map(|field| field.name().clone()).collect(),
        false => append.columns.iter().map(lower).collect(),
    };
    if let Some(unknown) = append.columns.iter().find(|name| columns.field_with_name(&lower(name)).is_err()) {
        let position = Position::of_span(unknown.span).unwrap_or(start);
        let all: Vec<_> = columns.fields().iter().map(|field| field.name().as_str()).collect();
        return Err(SqlError::at(
            position,
            format!("{} has no column {unknown}; its columns are {}", append.table, all.join(", ")),
        ));
    }
    let found: Vec<(Option<datafusion::sql::TableReference>, std::sync::Arc<Field>)> =
        frame.schema().iter().map(|(table, field)| (table.cloned(), field.clone())).collect();
    if found.len() != named.len() {
        let message =
            format!("{} columns of {} are to be filled, but the query has {}", named.len(), append.table, found.len());
        return Err(SqlError::at(start, message));
    }
    let given: Schema = Schema::new(
        found.iter().zip(&named).map(|((_, field), name)| field.as_ref().clone().with_name(name)).collect::<Vec<_>>(),
    );
    check(&given, columns, start)?;
    let projection = columns.fields().iter().map(|field| match named.iter().position(|name| name == field.name()) {
        Some(at) => Expr::Column(Column::from((found[at].0.as_ref(), &found[at].1))).alias(field.name()),
        None => cast(lit(ScalarValue::Null), field.data_type().clone()).alias(field.name()),
    });
    frame.select(projection.collect::<Vec<_>>()).map_err(|error| SqlError::planning(&error, start))
}

/// Refuses columns whose type could lose something on its way into the table, as Trino does.
///
/// # Errors
/// [`SqlError::Statement`].
pub(super) fn check(given: &Schema, columns: &SchemaRef, start: Position) -> Result<(), SqlError> {
    for column in columns.fields() {
        let Ok(found) = given.field_with_name(column.name()) else { continue };
        if !is_assignable(found.data_type(), column.data_type()) {
            let name = column.name();
            let message = format!(
                "column {name} is {}, but its value is {}; write CAST(… AS {}) if that is meant",
                sql_type(column.data_type()),
                sql_type(found.data_type()),
                sql_type(column.data_type())
            );
            return Err(SqlError::at(start, message));
        }
    }
    Ok(())
}

/// Sorts rows by the columns that the table is partitioned by, so that partitions are written one after the other and not
/// as many small files at once.
pub(super) fn cluster(frame: DataFrame, table: &Table) -> Result<DataFrame, DataFusionError> {
    let schema = table.metadata().current_schema();
    let fields = table.metadata().default_partition_spec().fields();
    let names = fields.iter().filter_map(|field| schema.name_by_field_id(field.source_id));
    let order: Vec<_> = names.map(|name| Expr::Column(Column::new_unqualified(name)).sort(true, true)).collect();
    if order.is_empty() { Ok(frame) } else { frame.sort(order) }
}

fn is_assignable(from: &DataType, to: &DataType) -> bool {
    use DataType as T;
    match (from, to) {
        (T::Null, _) => true,
        (T::Utf8 | T::LargeUtf8 | T::Utf8View, T::Utf8 | T::LargeUtf8 | T::Utf8View) => true,
        (T::Int8 | T::Int16 | T::Int32 | T::UInt8 | T::UInt16, T::Int32 | T::Int64 | T::Float64) => true,
        (T::Int64 | T::UInt32 | T::UInt64, T::Int64) | (T::Int64 | T::UInt32, T::Float64) => true,
        (T::Float32 | T::Decimal128(..), T::Float64) => true,
        (T::Decimal128(from, from_scale), T::Decimal128(to, to_scale)) => {
            let whole = |precision: u8, scale: i8| i16::from(precision) - i16::from(scale);
            to_scale >= from_scale && whole(*to, *to_scale) >= whole(*from, *from_scale)
        }
        (T::Int8 | T::Int16 | T::Int32 | T::Int64, T::Decimal128(..)) => true,
        (T::Timestamp(_, from), T::Timestamp(_, to)) => from.is_some() == to.is_some(),
        (from, to) => from == to,
    }
}

/// The type as SQL names it.
fn sql_type(data_type: &DataType) -> String {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "VARCHAR".to_owned(),
        DataType::Int32 => "INTEGER".to_owned(),
        DataType::Int64 => "BIGINT".to_owned(),
        DataType::Float64 => "DOUBLE".to_owned(),
        DataType::Date32 => "DATE".to_owned(),
        DataType::Boolean => "BOOLEAN".to_owned(),
        DataType::Decimal128(precision, scale) => format!("DECIMAL({precision}, {scale})"),
        DataType::Timestamp(_, None) => "TIMESTAMP(6)".to_owned(),
        DataType::Timestamp(_, Some(_)) => "TIMESTAMP(6) WITH TIME ZONE".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::datatypes::TimeUnit;

    #[test]
    fn values_may_become_wider_and_never_narrower() {
        use DataType as T;
        for (from, to) in [
            (T::Int32, T::Int64),
            (T::Utf8View, T::Utf8),
            (T::Null, T::Date32),
            (T::Decimal128(10, 2), T::Float64),
            (T::Decimal128(10, 2), T::Decimal128(18, 6)),
            (
                T::Timestamp(TimeUnit::Nanosecond, Some("+00:00".into())),
                T::Timestamp(TimeUnit::Microsecond, Some("+00:00".into())),
            ),
        ] {
            assert!(is_assignable(&from, &to), "{from} to {to}");
        }
        for (from, to) in [
            (T::Int64, T::Int32),
            (T::Float64, T::Int64),
            (T::Int64, T::Utf8),
            (T::Utf8, T::Int64),
            (T::Float64, T::Decimal128(18, 6)),
            (T::Decimal128(18, 6), T::Decimal128(10, 6)),
            (T::Timestamp(TimeUnit::Microsecond, None), T::Date32),
            (T::Timestamp(TimeUnit::Microsecond, None), T::Timestamp(TimeUnit::Microsecond, Some("+00:00".into()))),
        ] {
            assert!(!is_assignable(&from, &to), "{from} to {to}");
        }
    }
}
