//! Lists of connections and variables: filtered, ordered, counted and paged by PostgreSQL, and only what a page shows is opened.

use sqlx::{FromRow, PgPool, Postgres, QueryBuilder, postgres::PgRow};

use super::{ConnectionRow, SecretKey, connections, variables};
use crate::{
    error::{Doing, StoreError},
    read::{Direction, Pattern, Window, word, word_missing_last},
};

/// What was being done, for errors.
const LISTING: &str = "this list of connections or variables";

/// Which ones.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SecretFilter {
    /// Whose name matches.
    pub pattern: Pattern,
    /// Whose name begins so.
    pub prefix: Option<String>,
    /// With a text somewhere in what is not secret.
    pub text: Option<String>,
    /// With one of these names; any when there are none.
    pub names: Option<Vec<String>>,
}

impl SecretFilter {
    /// Limits a query: `name` is the column of names, `texts` is what a text is looked for in.
    fn limit(&self, query: &mut QueryBuilder<'_, Postgres>, name: &str, texts: &str) {
        query.push(" WHERE true");
        self.pattern.limit(query, name);
        if let Some(prefix) = &self.prefix {
            query.push(format_args!(" AND starts_with({name}, ")).push_bind(prefix.clone()).push(")");
        }
        if let Some(text) = &self.text {
            query.push(format_args!(" AND strpos(lower(concat_ws(' ', {texts})), lower("));
            query.push_bind(text.clone()).push(")) > 0");
        }
        if let Some(names) = &self.names {
            query.push(format_args!(" AND {name} = ANY(")).push_bind(names.clone()).push(")");
        }
    }
}

/// A table of them.
struct Table {
    name: &'static str,
    column: &'static str,
    columns: &'static str,
    texts: &'static str,
}

const VARIABLES: Table =
    Table { name: "variable", column: "key", columns: "key, value_sealed, description", texts: "key, description" };

/// An address may hold a password, which nobody shall find out by searching for its letters.
const CONNECTIONS: Table = Table {
    name: "connection",
    column: "conn_id",
    columns: "conn_id, conn_type, host, schema, login, port, password_sealed, extra_sealed, description",
    texts: "conn_id, conn_type, description, CASE WHEN host !~ '[@?=/]' THEN host END",
};

/// What variables are ordered by: their values are sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VariableOrder {
    /// By key.
    Key,
    /// By description.
    Description,
}

impl VariableOrder {
    const fn sql(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Description => "description",
        }
    }
}

/// What connections are ordered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionOrder {
    /// By id.
    Id,
    /// By type.
    Type,
    /// By description.
    Description,
    /// By host.
    Host,
    /// By port.
    Port,
}

impl ConnectionOrder {
    const fn sql(self) -> &'static str {
        match self {
            Self::Id => "conn_id",
            Self::Type => "conn_type",
            Self::Description => "description",
            Self::Host => "host",
            Self::Port => "port",
        }
    }
}

#[derive(FromRow)]
struct VariableRow {
    key: String,
    value_sealed: Vec<u8>,
    description: Option<String>,
}

/// A part of the variables, and how many there are in all. The order is by key where it says nothing else.
///
/// # Errors
/// [`StoreError::Refused`] for an offset that is too far away; [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn variable_page(
    pool: &PgPool,
    key: &SecretKey,
    filter: &SecretFilter,
    order: &[(VariableOrder, Direction)],
    window: Window,
) -> Result<(Vec<variables::Stored>, i64), StoreError> {
    let order: Vec<_> = order.iter().map(|(column, direction)| (column.sql(), *direction)).collect();
    let (rows, total) = page::<VariableRow>(pool, &VARIABLES, filter, &order, window).await?;
    let open = |row: VariableRow| variables::stored(key, row.key, &row.value_sealed, row.description);
    Ok((rows.into_iter().map(open).collect(), total))
}

/// A part of the connections, and how many there are in all. The order is by id where it says nothing else.
///
/// # Errors
/// As [`variable_page`].
pub async fn connection_page(
    pool: &PgPool,
    key: &SecretKey,
    filter: &SecretFilter,
    order: &[(ConnectionOrder, Direction)],
    window: Window,
) -> Result<(Vec<connections::Stored>, i64), StoreError> {
    let order: Vec<_> = order.iter().map(|(column, direction)| (column.sql(), *direction)).collect();
    let (rows, total) = page::<ConnectionRow>(pool, &CONNECTIONS, filter, &order, window).await?;
    Ok((rows.into_iter().map(|row| connections::stored(row, key)).collect(), total))
}

/// Those of these keys that variables have.
///
/// # Errors
/// [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn variables_named(pool: &PgPool, names: Vec<String>) -> Result<Vec<String>, StoreError> {
    named(pool, &VARIABLES, names).await
}

/// Those of these ids that connections have.
///
/// # Errors
/// [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn connections_named(pool: &PgPool, names: Vec<String>) -> Result<Vec<String>, StoreError> {
    named(pool, &CONNECTIONS, names).await
}

async fn named(pool: &PgPool, table: &Table, names: Vec<String>) -> Result<Vec<String>, StoreError> {
    let mut query = QueryBuilder::new(format!("SELECT {} FROM {}", table.column, table.name));
    SecretFilter { names: Some(names), ..SecretFilter::default() }.limit(&mut query, table.column, table.texts);
    query.build_query_scalar().fetch_all(pool).await.doing(LISTING)
}

async fn page<R: for<'r> FromRow<'r, PgRow> + Send + Unpin>(
    pool: &PgPool,
    table: &Table,
    filter: &SecretFilter,
    order: &[(&str, Direction)],
    window: Window,
) -> Result<(Vec<R>, i64), StoreError> {
    window.check()?;
    let mut page = QueryBuilder::new(format!("SELECT {} FROM {}", table.columns, table.name));
    filter.limit(&mut page, table.column, table.texts);
    page.push(" ORDER BY ");
    for (column, direction) in order {
        page.push(column).push(word_missing_last(*direction)).push(", ");
    }
    page.push(table.column).push(order.first().map_or(" ASC", |(_, direction)| word(*direction)));
    page.push(" LIMIT ").push_bind(window.limit).push(" OFFSET ").push_bind(window.offset);
    let rows = page.build_query_as().fetch_all(pool).await.doing(LISTING)?;
    let mut count = QueryBuilder::new(format!("SELECT count(*) FROM {}", table.name));
    filter.limit(&mut count, table.column, table.texts);
    Ok((rows, count.build_query_scalar().fetch_one(pool).await.doing(LISTING)?))
}
