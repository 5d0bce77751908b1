//! What of a query's conditions the table's reader can use to skip files and row groups.
//!
//! The engine checks every row again, so a condition may be left out here but never narrowed: only comparisons of a column
//! with a constant of exactly its type are taken, and no floating-point ones, whose order differs between the two (NaN).

use datafusion::common::ScalarValue;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};
use iceberg::expr::{Predicate, Reference};
use iceberg::spec::Datum;

/// The part of the conditions that the reader understands; `None` when that is nothing.
pub(super) fn of(filters: &[Expr]) -> Option<Predicate> {
    filters.iter().filter_map(convert).reduce(Predicate::and)
}

fn convert(expr: &Expr) -> Option<Predicate> {
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => match (convert(left), convert(right)) {
            (Some(left), Some(right)) => Some(left.and(right)),
            (one, other) => one.or(other),
        },
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => Some(convert(left)?.or(convert(right)?)),
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => match (left.as_ref(), right.as_ref()) {
            (Expr::Column(column), Expr::Literal(value, _)) => compare(column.name(), *op, value),
            (Expr::Literal(value, _), Expr::Column(column)) => compare(column.name(), op.swap()?, value),
            _ => None,
        },
        Expr::IsNull(inner) => Some(Reference::new(inner.try_as_col()?.name()).is_null()),
        Expr::IsNotNull(inner) => Some(Reference::new(inner.try_as_col()?.name()).is_not_null()),
        _ => None,
    }
}

fn compare(column: &str, op: Operator, value: &ScalarValue) -> Option<Predicate> {
    let (column, value) = (Reference::new(column), datum(value)?);
    match op {
        Operator::Eq => Some(column.equal_to(value)),
        Operator::Lt => Some(column.less_than(value)),
        Operator::LtEq => Some(column.less_than_or_equal_to(value)),
        Operator::Gt => Some(column.greater_than(value)),
        Operator::GtEq => Some(column.greater_than_or_equal_to(value)),
        _ => None,
    }
}

fn datum(value: &ScalarValue) -> Option<Datum> {
    match value {
        ScalarValue::Int32(Some(value)) => Some(Datum::int(*value)),
        ScalarValue::Int64(Some(value)) => Some(Datum::long(*value)),
        ScalarValue::Utf8(Some(value)) => Some(Datum::string(value)),
        ScalarValue::Date32(Some(days)) => Some(Datum::date(*days)),
        ScalarValue::TimestampMicrosecond(Some(micros), None) => Some(Datum::timestamp_micros(*micros)),
        ScalarValue::TimestampMicrosecond(Some(micros), Some(_)) => Some(Datum::timestamptz_micros(*micros)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::prelude::{col, lit};

    fn text(expr: &Expr) -> Option<String> {
        of(std::slice::from_ref(expr)).map(|predicate| predicate.to_string())
    }

    #[test]
    fn comparisons_of_a_column_with_a_constant_are_used() {
        assert_eq!(text(&col("a").gt(lit(5_i64))).unwrap(), "a > 5");
        assert_eq!(text(&lit(5_i64).gt(col("a"))).unwrap(), "a < 5");
        assert_eq!(text(&col("a").eq(lit("x")).and(col("b").is_null())).unwrap(), "(a = \"x\") AND (b IS NULL)");
    }

    #[test]
    fn what_cannot_be_told_exactly_is_left_to_the_engine() {
        assert_eq!(text(&col("a").gt(lit(5.0))), None);
        assert_eq!(text(&col("a").eq(col("b"))), None);
        assert_eq!(text(&col("a").eq(lit(1_i64)).or(col("b").gt(lit(1.5)))), None);
        assert_eq!(text(&col("a").eq(lit(1_i64)).and(col("b").gt(lit(1.5)))).unwrap(), "a = 1");
    }
}
