//! What attempts that wait said last, for pages: "not there yet, the next look is in 30 s".
//!
//! It is kept in memory only. A worker says it again to a new leader, and whatever is lost costs a sentence.

use std::collections::BTreeMap;

use engine::Engine;
use model::{AttemptId, DagId, MapIndex, RunId, RunKey, TaskId};

/// So many lines are kept before those of attempts that are not live any more are thrown away.
const LINES_MAX: usize = 10_000;
/// So much of a line is kept: it is a part of a sentence.
const LINE_CHARS_MAX: usize = 300;

/// The last line of each attempt that waits.
#[derive(Debug, Default)]
pub struct Said {
    lines: BTreeMap<AttemptId, String>,
}

impl Said {
    /// A live attempt says something.
    pub fn hear(&mut self, attempt: AttemptId, line: &str, engine: &Engine) {
        if self.lines.len() >= LINES_MAX {
            self.lines.retain(|attempt, _| engine.instance_of_attempt(*attempt).is_some());
        }
        if self.lines.len() < LINES_MAX && engine.instance_of_attempt(attempt).is_some() {
            self.lines.insert(attempt, line.chars().take(LINE_CHARS_MAX).collect());
        }
    }

    /// An attempt has ended.
    pub fn forget(&mut self, attempt: AttemptId) {
        self.lines.remove(&attempt);
    }

    /// What the attempts of a run said, by task instance.
    pub fn of_run(&self, dag: &DagId, run: &RunId, engine: &Engine) -> BTreeMap<(TaskId, MapIndex), &str> {
        let mut found = BTreeMap::new();
        // Whose lines they are is looked up once a run.
        let mut is_of: BTreeMap<RunKey, bool> = BTreeMap::new();
        for (attempt, line) in &self.lines {
            let Some(key) = engine.instance_of_attempt(*attempt) else { continue };
            let held = || engine.assignment(key);
            let is_this = || held().is_some_and(|held| held.run.dag_id == *dag && held.run.run_id == *run);
            if *is_of.entry(key.run).or_insert_with(is_this)
                && let Some(held) = held()
            {
                found.insert((held.dag.task(held.task).task_id.clone(), key.map), line.as_str());
            }
        }
        found
    }
}

/// A sentence with what the attempt said last.
pub fn with_line(sentence: String, line: Option<&&str>) -> String {
    match line {
        Some(line) => format!("{sentence}; {line}"),
        None => sentence,
    }
}
