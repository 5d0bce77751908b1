//! What is wrong with a DAG file: where, in which field, what was expected, and what may have been meant.
//!
//! Problems are collected, not thrown: a file shows all that is wrong with it at once, up to a limit.

use std::fmt;

use crate::yaml::Position;

/// How many problems of one file are kept: enough for a work session, too few to fill a page with the results of one typo.
pub const ERRORS_PER_FILE_MAX: usize = 20;

/// How much of a line is kept with its problem: more than a terminal is wide, and a minified file can not grow a row.
const EXCERPT_CHARS_MAX: usize = 240;

/// How alike two words must be before one is suggested for the other, from 0 to 1 (Jaro-Winkler).
const LIKENESS_MIN: f64 = 0.8;

/// One thing that is wrong with a DAG file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct DagFileError {
    /// The file, below the DAG folder.
    pub file: String,
    /// Where: line from 1, or 0 when the whole file is meant.
    pub line: usize,
    /// Where in the line: character from 1, or 0 when the whole file is meant.
    pub column: usize,
    /// Which field, such as `tasks[2].retries`; empty when none is to blame.
    pub field: String,
    /// What was found and what was expected.
    pub message: String,
    /// What to do, as the end of the sentence: `did you mean "retries"?`
    pub suggestion: Option<String>,
    /// The line itself, cut to a bearable length; none when the whole file is meant.
    pub excerpt: Option<String>,
}

impl fmt::Display for DagFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file)?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        if !self.field.is_empty() {
            write!(f, ": {}", self.field)?;
        }
        write!(f, ": {}", self.message)?;
        match &self.suggestion {
            Some(suggestion) => write!(f, "; {suggestion}"),
            None => Ok(()),
        }
    }
}

/// The way to a field from the root of its file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct FieldPath(String);

impl FieldPath {
    /// The field `name` of what this path names.
    pub(crate) fn key(&self, name: &str) -> Self {
        if self.0.is_empty() { Self(name.to_owned()) } else { Self(format!("{}.{name}", self.0)) }
    }

    /// The item `index` of the list that this path names.
    pub(crate) fn item(&self, index: usize) -> Self {
        Self(format!("{}[{index}]", self.0))
    }
}

/// Where a value is in its file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Place {
    /// Line and column.
    pub(crate) at: Position,
    /// The field.
    pub(crate) path: FieldPath,
}

/// The problems of one file.
#[derive(Debug)]
pub(crate) struct Problems {
    file: String,
    errors: Vec<DagFileError>,
}

impl Problems {
    /// No problem yet.
    pub(crate) fn of(file: &str) -> Self {
        Self { file: file.to_owned(), errors: Vec::new() }
    }

    /// Notes a problem.
    pub(crate) fn add(&mut self, place: &Place, message: impl Into<String>) {
        self.note(place, message.into(), None);
    }

    /// Notes a problem together with what to do about it.
    pub(crate) fn add_with(&mut self, place: &Place, message: impl Into<String>, suggestion: Option<String>) {
        self.note(place, message.into(), suggestion);
    }

    /// Whether something is wrong with the field or with anything in it.
    pub(crate) fn touch(&self, path: &FieldPath) -> bool {
        self.errors.iter().any(|error| match error.field.strip_prefix(&path.0) {
            Some(rest) => path.0.is_empty() || rest.is_empty() || rest.starts_with(['.', '[']),
            None => false,
        })
    }

    /// All of them, in the order of the file, each with its line of `text`.
    pub(crate) fn into_errors(mut self, text: &str) -> Vec<DagFileError> {
        self.errors.sort_by_key(|error| (error.line, error.column));
        self.errors.truncate(ERRORS_PER_FILE_MAX);
        for error in &mut self.errors {
            let line = error.line.checked_sub(1).and_then(|before| text.lines().nth(before));
            error.excerpt = line.map(|line| line.chars().take(EXCERPT_CHARS_MAX).collect());
        }
        self.errors
    }

    /// The same problem of a shared default is seen once for every task that uses it, and kept once.
    fn note(&mut self, place: &Place, message: String, suggestion: Option<String>) {
        let error = DagFileError {
            file: self.file.clone(),
            line: place.at.line,
            column: place.at.column,
            field: place.path.0.clone(),
            message,
            suggestion,
            excerpt: None,
        };
        if !self.errors.contains(&error) {
            self.errors.push(error);
        }
    }
}

/// The known word that is most like `word`, as the end of a sentence; none when nothing is alike.
pub(crate) fn did_you_mean<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<String> {
    let likeness = |name: &str| strsim::jaro_winkler(&word.to_lowercase(), &name.to_lowercase());
    known
        .into_iter()
        .map(|name| (likeness(name), name))
        .filter(|(score, _)| *score >= LIKENESS_MIN)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| format!("did you mean {name:?}?"))
}
