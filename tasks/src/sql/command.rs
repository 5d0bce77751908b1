//! The statements that the lake's SQL has: the part of Trino's dialect that models are written in, and nothing else.
//!
//! What gets through here is known to be one of five forms with nothing left over, so the engine need not look again.
//! A refusal says what is allowed instead.

use datafusion::sql::sqlparser::ast::{
    Ident, Insert, ObjectName, Query, SchemaName, SetExpr, Spanned, Statement, TableObject,
};
use datafusion::sql::sqlparser::tokenizer::Token;

use super::ddl::NewTable;
use super::error::{Position, SqlError};
use super::merge::Merge;

/// What a refused statement is told.
const ALLOWED: &str = "allowed are SELECT, CREATE SCHEMA IF NOT EXISTS, CREATE TABLE IF NOT EXISTS with columns, INSERT INTO … SELECT and MERGE INTO … USING (SELECT …) ON …";

/// Words that an accepted statement can start with; checked before parsing, so that a refusal is never a syntax error.
const FIRST_WORDS: [&str; 5] = ["SELECT", "WITH", "CREATE", "INSERT", "MERGE"];

/// One accepted statement.
#[derive(Clone, Debug)]
pub enum Command {
    /// `SELECT` or `WITH … SELECT`.
    Select(Box<Query>),
    /// `CREATE SCHEMA IF NOT EXISTS`.
    CreateSchema(ObjectName),
    /// `CREATE TABLE IF NOT EXISTS` with columns.
    CreateTable(NewTable),
    /// `INSERT INTO … SELECT`.
    Insert(Append),
    /// `MERGE INTO … USING … ON …`.
    Merge(Box<Merge>),
}

/// Rows of a query that are added to a table.
#[derive(Clone, Debug)]
pub struct Append {
    /// The table.
    pub table: ObjectName,
    /// The columns that the query's columns fill, in order; all of the table's when empty.
    pub columns: Vec<Ident>,
    /// The rows.
    pub query: Box<Query>,
}

impl Command {
    /// Refuses a statement by its first word.
    pub(super) fn expect_known(first: &Token, position: Position) -> Result<(), SqlError> {
        match first {
            Token::LParen => Ok(()),
            Token::Word(word) if FIRST_WORDS.iter().any(|known| word.value.eq_ignore_ascii_case(known)) => Ok(()),
            other => Err(refused(&format!("a statement that starts with {other}"), position)),
        }
    }

    /// Takes a parsed statement, or says why not.
    pub(super) fn read(statement: Statement, position: Position) -> Result<Self, SqlError> {
        match statement {
            Statement::Query(query) => read_query(query, position).map(Self::Select),
            Statement::CreateSchema { schema_name: SchemaName::Simple(name), if_not_exists: true, .. } => {
                Ok(Self::CreateSchema(name))
            }
            Statement::CreateSchema { .. } => Err(refused("CREATE SCHEMA without IF NOT EXISTS", position)),
            Statement::CreateTable(table) => NewTable::read(table, position).map(Self::CreateTable),
            Statement::Insert(insert) => read_insert(insert, position).map(Self::Insert),
            Statement::Merge(merge) => Merge::read(merge, position).map(|merge| Self::Merge(Box::new(merge))),
            Statement::CreateView { .. } => Err(refused("CREATE VIEW", position)),
            _ => Err(refused("this statement", position)),
        }
    }

    /// The statement's name in messages.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Select(_) => "SELECT",
            Self::CreateSchema(_) => "CREATE SCHEMA",
            Self::CreateTable(_) => "CREATE TABLE",
            Self::Insert(_) => "INSERT",
            Self::Merge(_) => "MERGE",
        }
    }
}

/// The error for what the lake's SQL does not have.
pub(super) fn refused(what: &str, position: Position) -> SqlError {
    SqlError::at(position, format!("{what} is not available here; {ALLOWED}"))
}

fn read_query(query: Box<Query>, position: Position) -> Result<Box<Query>, SqlError> {
    match query.body.as_ref() {
        SetExpr::Select(select) if select.into.is_some() => Err(refused("SELECT INTO", position)),
        SetExpr::Select(_) | SetExpr::Query(_) | SetExpr::SetOperation { .. } => Ok(query),
        SetExpr::Values(_) | SetExpr::Table(_) => Err(refused("a query without SELECT", position)),
        SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) | SetExpr::Merge(_) => {
            Err(refused("a change behind WITH", position))
        }
    }
}

fn read_insert(insert: Insert, position: Position) -> Result<Append, SqlError> {
    let plain = insert.into
        && !(insert.overwrite
            || insert.ignore
            || insert.replace_into
            || insert.or.is_some()
            || insert.has_table_keyword)
        && insert.on.is_none()
        && insert.returning.is_none()
        && insert.partitioned.is_none()
        && insert.table_alias.is_none()
        && insert.assignments.is_empty();
    let (TableObject::TableName(table), Some(query), true) = (insert.table, insert.source, plain) else {
        return Err(refused("this form of INSERT", position));
    };
    let start = Position::of_span(query.span()).unwrap_or(position);
    let query = read_query(query, start)?;
    Ok(Append { table, columns: insert.columns, query })
}
