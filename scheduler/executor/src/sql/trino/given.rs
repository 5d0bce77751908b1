//! What a statement gives: counted in whole, kept in part.

use serde_json::Value;

use super::{
    client::{ClientError, Reply},
    page::{Column, Counted, Head, Kept, Page, ROWS_KEPT_MAX, Rows},
    value::json_of,
};

/// An XCom's limit is far below; rows are kept until so many bytes of pages are.
const KEPT_BYTES_MAX: usize = 1024 * 1024;

/// Whether anybody will look at a statement's rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Keeping {
    /// They are counted only.
    #[default]
    Nothing,
    /// The first ones are kept.
    First,
}

/// What a statement gave so far.
#[derive(Debug, Default)]
pub(super) struct Given {
    keeping: Keeping,
    columns: Vec<Column>,
    rows: Vec<Vec<Value>>,
    received: u64,
    changed: Option<u64>,
    kept_bytes: usize,
}

impl Given {
    /// Nothing yet.
    pub(super) fn new(keeping: Keeping) -> Self {
        Self { keeping, ..Self::default() }
    }

    /// Takes an answer in.
    pub(super) fn take(&mut self, reply: &Reply) -> Result<Head, ClientError> {
        let room = self.rows.len() < ROWS_KEPT_MAX && self.kept_bytes < KEPT_BYTES_MAX;
        if self.keeping == Keeping::First && room {
            self.kept_bytes += reply.bytes();
            Ok(self.add(reply.page::<Kept>()?))
        } else {
            Ok(self.add(reply.page::<Counted>()?))
        }
    }

    fn add<R: Rows>(&mut self, mut page: Page<R>) -> Head {
        if let Some(columns) = page.columns.take() {
            self.columns = columns;
        }
        self.changed = page.update_count.or(self.changed);
        if let Some(rows) = page.data.take() {
            self.received += rows.count();
            let columns = &self.columns;
            let typed = |row: Vec<Value>| {
                row.into_iter().zip(columns).map(|(value, column)| json_of(value, &column.type_signature)).collect()
            };
            self.rows.extend(rows.kept().into_iter().map(typed));
        }
        page.into_head()
    }

    /// Rows that came over the wire.
    pub(super) const fn received(&self) -> u64 {
        self.received
    }

    /// Rows that the statement changed, or gave.
    pub(super) fn count(&self) -> u64 {
        self.changed.unwrap_or(self.received)
    }

    /// The names of its columns and the rows that were kept.
    pub(super) fn into_rows(self) -> (Vec<String>, Vec<Vec<Value>>) {
        (self.columns.into_iter().map(|column| column.name).collect(), self.rows)
    }
}
