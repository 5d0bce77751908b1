//! Lines of a log as pages show them, printed with the page or pushed by its stream.

use chrono::DateTime;
use schemars::JsonSchema;
use serde::Serialize;

use super::ansi::{self, Piece};
use crate::{reads::logs::LogLine, words::Clock};

/// A line as the page prints it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Line {
    /// `00:01:12.031` in the reader's zone, empty when unknown.
    pub time: String,
    /// Where it comes from: `out`, `err`, `sys`.
    pub class: &'static str,
    /// Its text in pieces, each with its colour.
    pub pieces: Vec<Piece>,
}

impl Line {
    fn of(line: &LogLine, clock: Clock) -> Self {
        let at = DateTime::parse_from_rfc3339(&line.ts).ok();
        let time = at.map(|at| at.with_timezone(&clock.zone).format("%H:%M:%S%.3f").to_string());
        let class = match line.stream.as_str() {
            "err" => "err",
            "sys" => "sys",
            _ => "out",
        };
        Self { time: time.unwrap_or_default(), class, pieces: ansi::pieces(&line.text) }
    }
}

/// Lines as the page prints them.
#[must_use]
pub fn lines(lines: &[LogLine], clock: Clock) -> Vec<Line> {
    lines.iter().map(|line| Line::of(line, clock)).collect()
}
