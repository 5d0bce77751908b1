//! One answer of the statement protocol.
//!
//! A page may be megabytes of rows. Those that nobody will look at are counted as they are read and never stored.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{IgnoredAny, SeqAccess, Visitor},
};
use serde_json::Value;
use url::Url;

/// So many rows of a statement are kept: for a check's evidence and for an XCom, whose limit more of them would not fit.
pub(super) const ROWS_KEPT_MAX: usize = 10_000;

/// Trino's name of a query.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct QueryId(String);

impl QueryId {
    /// Whether the text can stand in a path as it is: Trino makes ids of digits, letters and underscores.
    pub(super) fn is_plain(&self) -> bool {
        !self.0.is_empty() && self.0.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    }
}

impl fmt::Display for QueryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One answer; `R` says what becomes of its rows.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", bound = "R: Deserialize<'de> + Default")]
pub(super) struct Page<R> {
    /// The query.
    pub(super) id: QueryId,
    /// Its page for people.
    pub(super) info_uri: Option<String>,
    /// Where the next answer is; none after the last.
    pub(super) next_uri: Option<Url>,
    /// The result's columns, once they are known.
    pub(super) columns: Option<Vec<Column>>,
    /// Rows of this page.
    #[serde(default)]
    pub(super) data: Option<R>,
    /// How far it is.
    pub(super) stats: Stats,
    /// Why it failed.
    pub(super) error: Option<QueryError>,
    /// What it wants people to know.
    #[serde(default)]
    pub(super) warnings: Vec<Warning>,
    /// How many rows it changed.
    pub(super) update_count: Option<u64>,
}

/// An answer but for its rows.
#[derive(Debug)]
pub(super) struct Head {
    /// The query.
    pub(super) id: QueryId,
    /// Its page for people.
    pub(super) info_uri: Option<String>,
    /// Where the next answer is; none after the last.
    pub(super) next_uri: Option<Url>,
    /// How far it is.
    pub(super) stats: Stats,
    /// Why it failed.
    pub(super) error: Option<QueryError>,
    /// What it wants people to know.
    pub(super) warnings: Vec<Warning>,
}

impl<R> Page<R> {
    /// What is left when columns and rows have been taken out.
    pub(super) fn into_head(self) -> Head {
        let Self { id, info_uri, next_uri, stats, error, warnings, .. } = self;
        Head { id, info_uri, next_uri, stats, error, warnings }
    }
}

/// A column of a result.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Column {
    /// Its name.
    pub(super) name: String,
    /// Its type, taken apart.
    pub(super) type_signature: TypeSignature,
}

/// A type with its parameters.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TypeSignature {
    /// `bigint`, `array`, `row` …
    pub(super) raw_type: String,
    /// What is between its parentheses.
    #[serde(default)]
    pub(super) arguments: Vec<TypeArgument>,
}

/// A type's parameter.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "kind", content = "value", rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum TypeArgument {
    /// The type of elements.
    Type(TypeSignature),
    /// A field of a row.
    NamedType(NamedType),
    /// A length or precision.
    Long(i64),
    /// Something that a newer server says.
    #[serde(untagged)]
    Other(IgnoredValue),
}

/// A field of a row; it may have no name.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct NamedType {
    /// Its name.
    #[serde(default)]
    pub(super) field_name: Option<FieldName>,
    /// Its type.
    pub(super) type_signature: TypeSignature,
}

/// The name of a row's field.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct FieldName {
    /// The name.
    pub(super) name: String,
}

/// A value that is passed over.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct IgnoredValue;

impl<'de> Deserialize<'de> for IgnoredValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Self)
    }
}

/// How far a query is, and what it has cost.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Stats {
    /// `QUEUED`, `RUNNING`, `FINISHED` …
    pub(super) state: String,
    /// Parts of the work, as far as they are known.
    pub(super) total_splits: u64,
    /// Parts that are done.
    pub(super) completed_splits: u64,
    /// Milliseconds since it came.
    pub(super) elapsed_time_millis: u64,
    /// Milliseconds of it in the queue.
    pub(super) queued_time_millis: u64,
    /// Milliseconds of all processors together.
    pub(super) cpu_time_millis: u64,
    /// Rows read.
    pub(super) processed_rows: u64,
    /// Bytes read.
    pub(super) processed_bytes: u64,
    /// The most memory that it held.
    pub(super) peak_memory_bytes: u64,
    /// Bytes that did not fit into memory.
    pub(super) spilled_bytes: u64,
}

/// Why a query failed.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct QueryError {
    /// For people; it may begin with `line 1:8: `.
    pub(super) message: Option<String>,
    /// Its number.
    #[serde(default)]
    pub(super) error_code: i64,
    /// Its name, such as `COLUMN_NOT_FOUND`.
    #[serde(default)]
    pub(super) error_name: String,
    /// `USER_ERROR`, `INTERNAL_ERROR`, `INSUFFICIENT_RESOURCES` or `EXTERNAL`.
    #[serde(default)]
    pub(super) error_type: String,
    /// Where in the statement.
    pub(super) error_location: Option<Location>,
}

/// A place in a statement, both numbers from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Location {
    /// The line.
    pub(super) line_number: usize,
    /// The column.
    pub(super) column_number: usize,
}

/// A warning.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Warning {
    /// For people.
    pub(super) message: String,
}

/// What becomes of a page's rows.
pub(super) trait Rows: for<'de> Deserialize<'de> + Default + Send {
    /// How many there are.
    fn count(&self) -> u64;
    /// Those that were kept.
    fn kept(self) -> Vec<Vec<Value>>;
}

/// Rows that are counted only.
#[derive(Debug, Default)]
pub(super) struct Counted(u64);

/// Rows of which the first are kept.
#[derive(Debug, Default)]
pub(super) struct Kept {
    rows: Vec<Vec<Value>>,
    count: u64,
}

impl Rows for Counted {
    fn count(&self) -> u64 {
        self.0
    }

    fn kept(self) -> Vec<Vec<Value>> {
        Vec::new()
    }
}

impl Rows for Kept {
    fn count(&self) -> u64 {
        self.count
    }

    fn kept(self) -> Vec<Vec<Value>> {
        self.rows
    }
}

/// How rows are taken in, one at a time.
trait Take<'de>: Default {
    fn take<A: SeqAccess<'de>>(&mut self, rows: &mut A) -> Result<Option<()>, A::Error>;
}

impl<'de> Take<'de> for Counted {
    fn take<A: SeqAccess<'de>>(&mut self, rows: &mut A) -> Result<Option<()>, A::Error> {
        let row = rows.next_element::<IgnoredAny>()?;
        self.0 += u64::from(row.is_some());
        Ok(row.map(|_| ()))
    }
}

impl<'de> Take<'de> for Kept {
    fn take<A: SeqAccess<'de>>(&mut self, rows: &mut A) -> Result<Option<()>, A::Error> {
        let found = if self.rows.len() < ROWS_KEPT_MAX {
            rows.next_element::<Vec<Value>>()?.map(|row| self.rows.push(row))
        } else {
            rows.next_element::<IgnoredAny>()?.map(|_| ())
        };
        self.count += u64::from(found.is_some());
        Ok(found)
    }
}

struct TakeVisitor<T>(PhantomData<T>);

impl<'de, T: Take<'de>> Visitor<'de> for TakeVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of rows")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut rows: A) -> Result<T, A::Error> {
        let mut taken = T::default();
        while let Some(()) = taken.take(&mut rows)? {}
        Ok(taken)
    }
}

impl<'de> Deserialize<'de> for Counted {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(TakeVisitor(PhantomData))
    }
}

impl<'de> Deserialize<'de> for Kept {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(TakeVisitor(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn page(data: &Value) -> String {
        json!({
            "id": "20261121_134536_00001_abcde",
            "infoUri": "http://h:8080/ui/query.html?20261121_134536_00001_abcde",
            "nextUri": "http://h:8080/v1/statement/executing/20261121_134536_00001_abcde/x/1",
            "columns": [{"name": "d", "type": "decimal(12,2)", "typeSignature": {"rawType": "decimal", "arguments": [
                {"kind": "LONG", "value": 12}, {"kind": "LONG", "value": 2}, {"kind": "SOMETHING_NEW", "value": {}}
            ]}}],
            "data": data,
            "stats": {"state": "RUNNING", "queued": false, "totalSplits": 212, "completedSplits": 41, "new": 1},
            "warnings": [{"warningCode": {"code": 1, "name": "X"}, "message": "mind the gap"}],
        })
        .to_string()
    }

    #[test]
    fn rows_nobody_looks_at_are_counted_only() {
        let text = page(&json!([["1.50"], ["2.50"]]));
        let counted: Page<Counted> = serde_json::from_str(&text).unwrap();
        assert_eq!(counted.data.unwrap().count(), 2);
        let kept: Page<Kept> = serde_json::from_str(&text).unwrap();
        assert_eq!((kept.stats.completed_splits, kept.warnings[0].message.as_str()), (41, "mind the gap"));
        assert_eq!(kept.columns.unwrap()[0].type_signature.raw_type, "decimal");
        assert_eq!(kept.data.unwrap().kept(), [[json!("1.50")], [json!("2.50")]]);
    }

    #[test]
    fn only_the_first_rows_are_kept_and_all_are_counted() {
        let rows: Vec<Value> = (0..ROWS_KEPT_MAX + 5).map(|n| json!([n])).collect();
        let page: Page<Kept> = serde_json::from_str(&page(&rows.into())).unwrap();
        let data = page.data.unwrap();
        assert_eq!((data.count(), data.rows.len()), (ROWS_KEPT_MAX as u64 + 5, ROWS_KEPT_MAX));
    }

    #[test]
    fn an_error_may_say_little() {
        let text = r#"{"id":"q","stats":{"state":"FAILED"},"error":{"message":null}}"#;
        let page: Page<Counted> = serde_json::from_str(text).unwrap();
        let error = page.error.unwrap();
        assert_eq!((error.message, error.error_code, error.error_location), (None, 0, None));
    }
}
