//! `CREATE TABLE IF NOT EXISTS`: Trino's column types and partitioning, as an Iceberg table.

use datafusion::sql::sqlparser::ast::{
    ColumnDef, ColumnOption, CreateTable, CreateTableOptions, DataType, ExactNumberInfo, Expr, Ident, ObjectName,
    Spanned, SqlOption, TimezoneInfo, Value,
};
use iceberg::spec::{PrimitiveType, Transform};

use super::command::refused;
use super::error::{Position, SqlError};
use super::names::lower;
use crate::lake::tables::Column;

const TYPES: &str =
    "VARCHAR, BIGINT, INTEGER, DOUBLE, DATE, BOOLEAN, DECIMAL(p, s), TIMESTAMP(6) and TIMESTAMP(6) WITH TIME ZONE";
const PARTITIONINGS: &str = "'column', 'year(column)', 'month(column)', 'day(column)', 'hour(column)', 'bucket(column, n)' and 'truncate(column, n)'";

/// The most digits of a decimal in Iceberg and in Trino.
const DECIMAL_DIGITS_MAX: u32 = 38;

/// A table as a script describes it.
#[derive(Clone, Debug)]
pub struct NewTable {
    /// Its name as written.
    pub name: ObjectName,
    /// Its columns, in order.
    pub columns: Vec<Column>,
    /// The columns that it is partitioned by, and how.
    pub partitioning: Vec<(String, Transform)>,
}

impl NewTable {
    /// Takes a parsed `CREATE TABLE`, or says why not.
    pub(super) fn read(table: CreateTable, position: Position) -> Result<Self, SqlError> {
        if !table.if_not_exists {
            return Err(refused("CREATE TABLE without IF NOT EXISTS", position));
        }
        if table.query.is_some() || table.columns.is_empty() {
            return Err(refused("CREATE TABLE … AS", position));
        }
        let plain = !(table.or_replace || table.temporary || table.external || table.transient)
            && table.like.is_none()
            && table.constraints.is_empty()
            && table.partition_by.is_none()
            && table.location.is_none();
        if !plain {
            return Err(refused("this form of CREATE TABLE", position));
        }
        let columns = table.columns.iter().map(read_column).collect::<Result<Vec<_>, _>>()?;
        let partitioning = read_options(&table.table_options, position)?;
        for (column, _) in &partitioning {
            if !table.columns.iter().any(|declared| &lower(&declared.name) == column) {
                return Err(SqlError::at(
                    position,
                    format!("the table is partitioned by {column}, which is none of its columns"),
                ));
            }
        }
        Ok(Self { name: table.name, columns, partitioning })
    }
}

fn read_column(column: &ColumnDef) -> Result<Column, SqlError> {
    let position = Position::of_span(column.name.span).unwrap_or(Position::START);
    let name = lower(&column.name);
    let kind = primitive(&column.data_type, &name, position)?;
    match column.options.as_slice() {
        [] => Ok(Column::optional(name, kind)),
        [only] if only.option == ColumnOption::NotNull => Ok(Column::required(name, kind)),
        _ => Err(SqlError::at(position, format!("column {name} may only be declared NOT NULL beside its type"))),
    }
}

fn primitive(data_type: &DataType, column: &str, position: Position) -> Result<PrimitiveType, SqlError> {
    let unknown = || SqlError::at(position, format!("column {column} has the type {data_type}; the types are {TYPES}"));
    match data_type {
        DataType::Varchar(None) => Ok(PrimitiveType::String),
        DataType::BigInt(None) => Ok(PrimitiveType::Long),
        DataType::Integer(None) | DataType::Int(None) => Ok(PrimitiveType::Int),
        DataType::Double(_) => Ok(PrimitiveType::Double),
        DataType::Date => Ok(PrimitiveType::Date),
        DataType::Boolean => Ok(PrimitiveType::Boolean),
        DataType::Decimal(ExactNumberInfo::PrecisionAndScale(precision, scale)) => {
            decimal(*precision, *scale).ok_or_else(unknown)
        }
        DataType::Timestamp(Some(6), TimezoneInfo::None) => Ok(PrimitiveType::Timestamp),
        DataType::Timestamp(Some(6), TimezoneInfo::WithTimeZone) => Ok(PrimitiveType::Timestamptz),
        _ => Err(unknown()),
    }
}

fn decimal(precision: u64, scale: i64) -> Option<PrimitiveType> {
    let (precision, scale) = (u32::try_from(precision).ok()?, u32::try_from(scale).ok()?);
    (1..=DECIMAL_DIGITS_MAX).contains(&precision).then_some(())?;
    (scale <= precision).then_some(PrimitiveType::Decimal { precision, scale })
}

fn read_options(options: &CreateTableOptions, start: Position) -> Result<Vec<(String, Transform)>, SqlError> {
    let options = match options {
        CreateTableOptions::None => return Ok(Vec::new()),
        CreateTableOptions::With(options) => options,
        CreateTableOptions::Options(_) | CreateTableOptions::Plain(_) | CreateTableOptions::TableProperties(_) => {
            return Err(SqlError::at(start, "table options are written WITH (partitioning = ARRAY['month(ts)'])"));
        }
    };
    match options.as_slice() {
        [SqlOption::KeyValue { key, value }] if lower(key) == "partitioning" => read_partitioning(key, value),
        _ => Err(SqlError::at(
            start,
            "the only table option is partitioning, as in WITH (partitioning = ARRAY['month(ts)'])",
        )),
    }
}

fn read_partitioning(key: &Ident, value: &Expr) -> Result<Vec<(String, Transform)>, SqlError> {
    let position = Position::of_span(value.span()).or(Position::of_span(key.span)).unwrap_or(Position::START);
    let wrong = |found: &dyn std::fmt::Display| {
        SqlError::at(position, format!("partitioning is an ARRAY of {PARTITIONINGS}, but {found} was found"))
    };
    let Expr::Array(array) = value else { return Err(wrong(value)) };
    let text = |element: &Expr| match element {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) => transform(text).ok_or_else(|| wrong(element)),
            _ => Err(wrong(element)),
        },
        _ => Err(wrong(element)),
    };
    array.elem.iter().map(text).collect()
}

/// Reads `month(ts)` and the like.
fn transform(text: &str) -> Option<(String, Transform)> {
    let text = text.trim().to_lowercase();
    let Some((function, arguments)) = text.strip_suffix(')').and_then(|text| text.split_once('(')) else {
        let is_name = !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || c == '_');
        return is_name.then_some((text, Transform::Identity));
    };
    let (column, number) = match arguments.split_once(',') {
        Some((column, number)) => {
            (column.trim(), Some(number.trim().parse::<u32>().ok().filter(|number| *number > 0)?))
        }
        None => (arguments.trim(), None),
    };
    let transform = match (function.trim(), number) {
        ("year", None) => Transform::Year,
        ("month", None) => Transform::Month,
        ("day", None) => Transform::Day,
        ("hour", None) => Transform::Hour,
        ("bucket", Some(buckets)) => Transform::Bucket(buckets),
        ("truncate", Some(width)) => Transform::Truncate(width),
        _ => return None,
    };
    Some((column.to_owned(), transform))
}

#[cfg(test)]
mod tests {
    use super::super::command::Command;
    use super::super::script::parse;
    use super::*;
    use crate::lake::{table_name, tables::TableSpec};

    fn table(sql: &str) -> Result<NewTable, String> {
        match parse(sql).map_err(|error| error.to_string())?.remove(0).command {
            Command::CreateTable(table) => Ok(table),
            other => panic!("not a CREATE TABLE but {}", other.name()),
        }
    }

    #[test]
    fn every_type_of_trino_that_the_lake_has_is_read() {
        let table = table(
            "CREATE TABLE IF NOT EXISTS lake.gold.x (a VARCHAR NOT NULL, b BIGINT, c INTEGER, d DOUBLE, e DATE, f BOOLEAN, \
             g DECIMAL(18, 6), h TIMESTAMP(6), i TIMESTAMP(6) WITH TIME ZONE) WITH (partitioning = ARRAY['month(i)', 'bucket(a, 4)', 'e'])",
        )
        .unwrap();
        let schema = TableSpec::new(table_name("gold.x").unwrap(), table.columns).schema().unwrap();
        let fields = schema.as_struct().fields();
        let types: Vec<_> = fields.iter().map(|field| field.field_type.to_string()).collect();
        assert_eq!(
            types,
            ["string", "long", "int", "double", "date", "boolean", "decimal(18, 6)", "timestamp", "timestamptz"]
        );
        assert!(fields[0].required && !fields[1].required);
        assert_eq!(
            table.partitioning,
            [("i".into(), Transform::Month), ("a".into(), Transform::Bucket(4)), ("e".into(), Transform::Identity)]
        );
    }

    #[test]
    fn what_iceberg_or_trino_lacks_is_refused_with_its_place() {
        let refused = |sql: &str| table(sql).expect_err("should be refused");
        assert!(
            refused("CREATE TABLE IF NOT EXISTS g.x (\n  a BIGINT,\n  b TIMESTAMP)")
                .starts_with("line 3, column 3: column b has the type TIMESTAMP")
        );
        assert!(refused("CREATE TABLE g.x (a BIGINT)").contains("without IF NOT EXISTS"));
        assert!(refused("CREATE TABLE IF NOT EXISTS g.x AS SELECT 1 AS a").contains("CREATE TABLE … AS"));
        assert!(refused("CREATE OR REPLACE TABLE g.x (a BIGINT)").contains("is not available here"));
        assert!(
            refused("CREATE TABLE IF NOT EXISTS g.x (a BIGINT) WITH (partitioning = ARRAY['week(a)'])")
                .contains("'week(a)' was found")
        );
        assert!(
            refused("CREATE TABLE IF NOT EXISTS g.x (a BIGINT) WITH (partitioning = ARRAY['month(b)'])")
                .contains("none of its columns")
        );
        assert!(
            refused("CREATE TABLE IF NOT EXISTS g.x (a BIGINT) WITH (format = 'ORC')").contains("only table option")
        );
    }
}
