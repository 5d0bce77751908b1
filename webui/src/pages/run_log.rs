//! The log beside a run: which task and try it is of, its lines, and the piece-wise reading that the script does.

use axum::{
    Json,
    extract::{Path, State},
};
use link::query::LogName;
use model::MapIndex;
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    api::{instances::lookup, logs::attempt_of, query::Query},
    app::App,
    error::{ApiError, ApiResult},
    logs::{self, LogLine, LogPage},
};

/// A line as the page prints it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Line {
    /// `00:01:12.031`, empty when unknown.
    pub time: String,
    /// The class that gives it its colour: `out`, `err`, `sys`.
    pub class: &'static str,
    /// The text, without escape sequences of terminals.
    pub text: String,
}

impl From<&LogLine> for Line {
    fn from(line: &LogLine) -> Self {
        let time = line.ts.split_once('T').map_or("", |(_, time)| time).trim_end_matches('Z');
        let class = match line.stream.as_str() {
            "err" => "err",
            "sys" => "sys",
            _ => "out",
        };
        Self { time: time.chars().take(12).collect(), class, text: without_escapes(&line.text) }
    }
}

/// Leaves out what moves cursors and sets colours: it would be noise at best.
fn without_escapes(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        match c {
            '\u{1b}' => {
                if rest.next() == Some('[') {
                    // A control sequence ends with its first letter.
                    let _ = rest.find(|c| ('\u{40}'..='\u{7e}').contains(c));
                }
            }
            '\t' => clean.push_str("    "),
            c if c.is_control() => {}
            c => clean.push(c),
        }
    }
    clean
}

/// Lines as the page prints them.
#[must_use]
pub fn lines(page: &LogPage) -> Vec<Line> {
    page.lines.iter().map(Line::from).collect()
}

/// `GET /dags/{dag_id}/runs/{run_id}/log?task=…&try=…&offset=…`: what has been written since.
pub async fn read(
    State(app): State<App>,
    Path((dag_id, run_id)): Path<(String, String)>,
    query: Query,
) -> ApiResult<Json<Value>> {
    let number = |name: &str| query.text(name).and_then(|text| text.parse::<i64>().ok());
    let map = number("map_index").and_then(|map| i32::try_from(map).ok()).map_or(MapIndex::UNMAPPED, MapIndex);
    let of = lookup(&app, &dag_id, &run_id, query.text("task").unwrap_or_default(), map).await?;
    let try_number = number("try").and_then(|number| i16::try_from(number).ok()).unwrap_or(of.try_number());
    let missing = || ApiError::NotFound("This try has not been started".to_owned());
    let attempt = attempt_of(&app, &of, try_number).await?.ok_or_else(missing)?;
    let offset = number("offset").and_then(|offset| u64::try_from(offset).ok()).unwrap_or(0);
    Ok(answer(&logs::read(&app, LogName::Attempt(attempt), offset).await?))
}

/// A piece of a log for the script.
pub fn answer(page: &LogPage) -> Json<Value> {
    Json(json!({ "lines": lines(page), "next": page.next, "ended": page.ended }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_of_a_terminal_are_left_out() {
        assert_eq!(without_escapes("\u{1b}[31mred\u{1b}[0m\tend\u{7}"), "red    end");
        assert_eq!(without_escapes("\u{1b}[never ends"), "ever ends");
        assert_eq!(without_escapes("<script>"), "<script>");
    }
}
