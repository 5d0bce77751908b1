//! What a `sql_check` found, statement by statement: the task's XCom, whether it succeeds or fails.
//!
//! A JSON list with an object for each statement that ran: `check` (the text of a comment `-- check: …` before the statement,
//! else its script and number), `rows` (how many came back; a check passes with none) and `first` (the first of them, as
//! objects).

use std::sync::Mutex;

use model::XComValue;
use serde_json::{Value, json};

use super::{objects, script::lead};

/// So many rows of a check are handed on.
const ROWS_HANDED_ON_MAX: usize = 10;
/// The comment that names a check.
const NAMED_BY: &str = "check:";

/// What the statements of a task found so far.
#[derive(Debug, Default)]
pub(super) struct Checks(Mutex<Vec<Value>>);

impl Checks {
    /// Adds a statement with what it gave. Its text begins with its comments.
    pub(super) fn add(&self, script: &str, statement: &str, count: u64, columns: &[String], rows: &[Vec<Value>]) {
        let mut found = self.0.lock().expect("nothing panics while it is held");
        let check = name(statement).unwrap_or_else(|| format!("{script} #{}", found.len() + 1));
        let first = objects(columns, rows.iter().take(ROWS_HANDED_ON_MAX).cloned().collect());
        found.push(json!({"check": check, "rows": count, "first": first}));
    }

    /// All of it. Rows that would not fit an XCom are left out, and the counts stay.
    pub(super) fn into_value(self) -> Value {
        let mut found = self.0.into_inner().expect("nothing panics while it is held");
        let bytes: usize = found.iter().map(|entry| entry.to_string().len() + 1).sum();
        if bytes + 2 > XComValue::BYTES_MAX {
            for entry in &mut found {
                entry["first"] = json!([]);
            }
        }
        Value::Array(found)
    }
}

fn name(statement: &str) -> Option<String> {
    let comments = lead(statement).lines().filter_map(|line| line.trim().strip_prefix("--"));
    comments.filter_map(|text| text.trim().strip_prefix(NAMED_BY)).map(|text| text.trim().to_owned()).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_has_the_name_of_its_comment_or_its_place() {
        let checks = Checks::default();
        checks.add("a.sql", "-- check: orders.unique: once each\n-- more\nSELECT 1", 0, &[], &[]);
        checks.add("a.sql", "SELECT '-- check: no comment'", 2, &["id".into()], &[vec![json!(1)], vec![json!(2)]]);
        let found = checks.into_value();
        assert_eq!(found[0], json!({"check": "orders.unique: once each", "rows": 0, "first": []}));
        assert_eq!(found[1], json!({"check": "a.sql #2", "rows": 2, "first": [{"id": 1}, {"id": 2}]}));
    }

    #[test]
    fn rows_too_large_for_an_xcom_are_left_out_and_the_counts_stay() {
        let checks = Checks::default();
        checks.add("a.sql", "SELECT 1", 3, &["text".into()], &[vec![json!("x".repeat(XComValue::BYTES_MAX))]]);
        assert_eq!(checks.into_value(), json!([{"check": "a.sql #1", "rows": 3, "first": []}]));
    }
}
