//! Names of tables in SQL: with or without the catalogue in front, and what is said when there is no such table.

use std::collections::BTreeSet;

use datafusion::sql::TableReference;
use datafusion::sql::sqlparser::ast::{Ident, ObjectName, Query, Spanned, visit_relations};
use iceberg::{NamespaceIdent, TableIdent};
use std::ops::ControlFlow;

use super::error::{Position, SqlError};

/// The one catalogue that there is.
pub(super) const CATALOG: &str = "lake";

/// More differing letters than this are another word, not a typing error.
const TYPING_ERRORS_MAX: usize = 3;

/// How many tables a message lists before it stops.
const LISTED_MAX: usize = 10;

/// An identifier as SQL means it: small letters unless quoted.
pub(super) fn lower(ident: &Ident) -> String {
    match ident.quote_style {
        Some(_) => ident.value.clone(),
        None => ident.value.to_lowercase(),
    }
}

/// The table that a statement writes to.
pub(super) fn target(name: &ObjectName, start: Position) -> Result<TableIdent, SqlError> {
    let position = Position::of_span(name.span()).unwrap_or(start);
    let parts: Option<Vec<String>> = name.0.iter().map(|part| part.as_ident().map(lower)).collect();
    let parts = parts.unwrap_or_default();
    match parts.as_slice() {
        [schema, table] => Ok(ident(schema, table)),
        [catalog, schema, table] if catalog == CATALOG => Ok(ident(schema, table)),
        _ => Err(not_a_table(&name.to_string(), position)),
    }
}

/// The schema that `CREATE SCHEMA` makes.
pub(super) fn schema(name: &ObjectName, start: Position) -> Result<NamespaceIdent, SqlError> {
    let parts: Option<Vec<String>> = name.0.iter().map(|part| part.as_ident().map(lower)).collect();
    match parts.unwrap_or_default().as_slice() {
        [schema] => Ok(NamespaceIdent::new(schema.clone())),
        [catalog, schema] if catalog == CATALOG => Ok(NamespaceIdent::new(schema.clone())),
        _ => Err(SqlError::at(start, format!("{name} is no schema of the lake; write schema or {CATALOG}.schema"))),
    }
}

/// The table that a query reads.
pub(super) fn source(reference: &TableReference, query: &Query, start: Position) -> Result<TableIdent, SqlError> {
    match reference {
        TableReference::Partial { schema, table } => Ok(ident(schema, table)),
        TableReference::Full { catalog, schema, table } if catalog.as_ref() == CATALOG => Ok(ident(schema, table)),
        TableReference::Bare { .. } | TableReference::Full { .. } => {
            Err(not_a_table(&reference.to_string(), place(query, reference.table(), start)))
        }
    }
}

/// The error for a table that is not there, with the nearest ones that are.
pub(super) fn missing(wanted: &TableIdent, known: &BTreeSet<String>, position: Position) -> SqlError {
    let wanted = format!("{}.{}", wanted.namespace().to_url_string(), wanted.name());
    let near: Vec<_> = known.iter().filter(|name| is_near(name, &wanted)).cloned().collect();
    let hint = match (near.as_slice(), known.len()) {
        ([], 0) => "the lake has no tables yet".to_owned(),
        ([], _) => format!("there are {}", list(known)),
        (near, _) => format!("did you mean {}?", near.join(" or ")),
    };
    SqlError::at(position, format!("there is no table {wanted}; {hint}"))
}

/// Where a query names a table.
pub(super) fn place(query: &Query, table: &str, start: Position) -> Position {
    let found = visit_relations(query, |name| {
        let is_it = name.0.last().and_then(|part| part.as_ident()).is_some_and(|last| lower(last) == table);
        if is_it { ControlFlow::Break(Position::of_span(name.span())) } else { ControlFlow::Continue(()) }
    });
    match found {
        ControlFlow::Break(Some(position)) => position,
        ControlFlow::Break(None) | ControlFlow::Continue(()) => start,
    }
}

fn ident(schema: &str, table: &str) -> TableIdent {
    TableIdent::new(NamespaceIdent::new(schema.to_owned()), table.to_owned())
}

fn not_a_table(name: &str, position: Position) -> SqlError {
    SqlError::at(position, format!("{name} is no table of the lake; write schema.table or {CATALOG}.schema.table"))
}

fn list(known: &BTreeSet<String>) -> String {
    let mut text = known.iter().take(LISTED_MAX).cloned().collect::<Vec<_>>().join(", ");
    if known.len() > LISTED_MAX {
        text.push_str(", …");
    }
    text
}

/// Whether a person may have meant `name`: a few letters off, or the right table in the wrong schema.
fn is_near(name: &str, wanted: &str) -> bool {
    let table = |text: &str| text.rsplit('.').next().map(str::to_owned);
    table(name) == table(wanted) || distance(name, wanted) <= TYPING_ERRORS_MAX
}

/// How many letters have to be changed, added or taken away (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let changed = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_table_names_the_nearest_one() {
        let known = ["bronze.stock_trades", "gold.stock_daily"].map(str::to_owned).into();
        let message = |name: &str| {
            let (schema, table) = name.split_once('.').unwrap();
            missing(&ident(schema, table), &known, Position { line: 2, column: 7 }).to_string()
        };
        assert_eq!(
            message("gold.stok_daily"),
            "line 2, column 7: there is no table gold.stok_daily; did you mean gold.stock_daily?"
        );
        assert!(message("silver.stock_trades").ends_with("did you mean bronze.stock_trades?"));
        assert!(message("x.y").ends_with("there are bronze.stock_trades, gold.stock_daily"));
    }

    #[test]
    fn distance_counts_letters() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("same", "same"), 0);
    }
}
