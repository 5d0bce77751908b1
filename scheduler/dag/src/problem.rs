//! What is wrong with a DAG file: where, in which field, what was expected, and what may have been meant.
//!
//! Problems are collected, not thrown: a file shows all that is wrong with it at once, up to a limit. Each belongs to
//! the DAG that it is in, or to the whole file. Every step here is bounded whatever the file holds: only the first
//! problems are kept, paths are built when they are shown, and words are compared only so often.

use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet},
    fmt,
    rc::Rc,
};

use model::DagId;

use crate::yaml::Position;

/// How many problems of one DAG, and of what a file's DAGs share, are kept: enough for a work session, too few to fill a
/// page with the results of one typo.
pub const ERRORS_PER_DAG_MAX: usize = 20;

/// How many problems of one file are kept.
pub const ERRORS_PER_FILE_MAX: usize = 100;

/// How much of a line is kept with its problem: more than a terminal is wide, and a minified file can not grow a row.
const EXCERPT_CHARS_MAX: usize = 240;

/// How many characters of a field's path are kept.
const FIELD_CHARS_MAX: usize = 240;

/// How alike two words must be before one is suggested for the other, from 0 to 1 (Jaro-Winkler).
const LIKENESS_MIN: f64 = 0.8;

/// How many pairs of words are compared for one file: some hundred suggestions, in milliseconds.
const COMPARISONS_MAX: usize = 50_000;

/// Longer words are no typing errors, and comparing takes the product of the lengths.
const COMPARED_CHARS_MAX: usize = 100;

/// One thing that is wrong with a DAG file, or a remark about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct DagFileError {
    /// The file, below the DAG folder.
    pub file: String,
    /// The DAG, as the file names it; none when the whole file is meant.
    pub dag_id: Option<String>,
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

impl DagFileError {
    /// An error of a whole file, such as one that can not be opened.
    #[must_use]
    pub fn of_file(file: &str, message: String) -> Self {
        Self {
            file: file.to_owned(),
            dag_id: None,
            line: 0,
            column: 0,
            field: String::new(),
            message,
            suggestion: None,
            excerpt: None,
        }
    }
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

/// The DAGs of a file that could not be read: whoever knew them keeps what he knew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// The file can not be read, or what its DAGs share: any DAG may be among them.
    File,
    /// These, by id.
    Dags(BTreeSet<DagId>),
}

impl Refused {
    /// Whether a DAG is among them.
    #[must_use]
    pub fn has(&self, dag: &DagId) -> bool {
        match self {
            Self::File => true,
            Self::Dags(dags) => dags.contains(dag),
        }
    }
}

impl Default for Refused {
    fn default() -> Self {
        Self::Dags(BTreeSet::new())
    }
}

/// The way to a field from the root of its file. It is shared, not copied, from a field to those in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct FieldPath(Option<Rc<(FieldPath, Step)>>);

#[derive(Debug, PartialEq, Eq)]
enum Step {
    Key(Rc<str>),
    Item(usize),
}

impl FieldPath {
    /// The field `name` of what this path names.
    pub(crate) fn key(&self, name: &Rc<str>) -> Self {
        Self(Some(Rc::new((self.clone(), Step::Key(name.clone())))))
    }

    /// The item `index` of the list that this path names.
    pub(crate) fn item(&self, index: usize) -> Self {
        Self(Some(Rc::new((self.clone(), Step::Item(index)))))
    }

    /// Whether its first step is this key.
    pub(crate) fn begins_with(&self, name: &str) -> bool {
        match &self.0 {
            None => false,
            Some(step) if step.0.0.is_some() => step.0.begins_with(name),
            Some(step) => matches!(&step.1, Step::Key(key) if **key == *name),
        }
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(step) = &self.0 else { return Ok(()) };
        step.0.fmt(f)?;
        match &step.1 {
            Step::Item(index) => write!(f, "[{index}]"),
            Step::Key(name) if step.0.0.is_none() => f.write_str(&shortened(name)),
            Step::Key(name) => write!(f, ".{}", shortened(name)),
        }
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
    /// The first is the whole file.
    scopes: Vec<Scope>,
    /// What is being read.
    current: usize,
    /// The block that all DAGs of the file inherit from: what is wrong in it belongs to the file.
    shared: Option<&'static str>,
    comparisons: Cell<usize>,
}

/// What is wrong with one DAG, or with the file itself.
#[derive(Debug, Default)]
struct Scope {
    dag: Option<Named>,
    is_refused: bool,
    errors: Found,
    warnings: Found,
}

#[derive(Debug)]
enum Named {
    /// As the file names it.
    Known(String),
    /// By nothing that could be an id.
    Unknown,
}

/// The first problems by their places.
#[derive(Debug, Default)]
struct Found {
    by_place: BTreeMap<Position, Vec<DagFileError>>,
    count: usize,
}

/// What came of reading a file, beside its DAGs.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// The errors, in the order of the file.
    pub(crate) errors: Vec<DagFileError>,
    /// The remarks, in the order of the file.
    pub(crate) warnings: Vec<DagFileError>,
    /// Whose errors they are.
    pub(crate) refused: Refused,
}

impl Problems {
    /// No problem yet.
    pub(crate) fn of(file: &str) -> Self {
        Self {
            file: file.to_owned(),
            scopes: vec![Scope::default()],
            current: 0,
            shared: None,
            comparisons: Cell::new(COMPARISONS_MAX),
        }
    }

    /// The file whose problems these are.
    pub(crate) fn file(&self) -> &str {
        &self.file
    }

    /// Says that what is wrong below this key of the file belongs to the file, and spoils each DAG that comes upon it.
    pub(crate) fn share(&mut self, key: &'static str) {
        self.shared = Some(key);
    }

    /// What is noted from here on belongs to a DAG, until the next one begins.
    pub(crate) fn begin_dag(&mut self) {
        self.current = self.scopes.len();
        self.scopes.push(Scope { dag: Some(Named::Unknown), ..Scope::default() });
    }

    /// Says which DAG is being read.
    pub(crate) fn name_dag(&mut self, name: &str) {
        self.scopes[self.current].dag = Some(Named::Known(name.to_owned()));
    }

    /// Whether something is wrong with the DAG that is being read.
    pub(crate) fn is_refused(&self) -> bool {
        self.scopes[self.current].is_refused
    }

    /// Notes a problem.
    pub(crate) fn add(&mut self, place: &Place, message: impl Into<String>) {
        self.add_with(place, message, None);
    }

    /// Notes a problem together with what to do about it.
    pub(crate) fn add_with(&mut self, place: &Place, message: impl Into<String>, suggestion: Option<String>) {
        let error = self.noted(place, message.into(), suggestion);
        self.scopes[self.current].is_refused = true;
        let scope = self.scope_of(place);
        scope.is_refused = true;
        scope.errors.put(place.at, error);
    }

    /// Notes what is no mistake and may not be meant.
    pub(crate) fn warn(&mut self, place: &Place, message: impl Into<String>) {
        let warning = self.noted(place, message.into(), None);
        self.scope_of(place).warnings.put(place.at, warning);
    }

    /// The known word that is most like `word`, as the end of a sentence; none when nothing is alike.
    pub(crate) fn did_you_mean<'k>(&self, word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<String> {
        self.nearest(word, known).map(|name| format!("did you mean {name:?}?"))
    }

    /// The known word that is most like `word`.
    pub(crate) fn nearest<'k>(&self, word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
        if word.len() > COMPARED_CHARS_MAX {
            return None;
        }
        let word = word.to_lowercase();
        known
            .into_iter()
            .filter(|name| name.len() <= COMPARED_CHARS_MAX)
            .take_while(|_| {
                let left = self.comparisons.get();
                self.comparisons.set(left.saturating_sub(1));
                left > 0
            })
            .map(|name| (strsim::jaro_winkler(&word, &name.to_lowercase()), name))
            .filter(|(score, _)| *score >= LIKENESS_MIN)
            .max_by(|a, b| a.0.total_cmp(&b.0))
            .map(|(_, name)| name)
    }

    /// All of them, in the order of the file, each with its line of `text`.
    pub(crate) fn into_report(self, text: &str) -> Report {
        let mut report = Report::default();
        let mut refused = BTreeSet::new();
        let mut whole_file = false;
        for scope in self.scopes {
            let errors = scope.errors.into_list(scope.dag.as_ref());
            // A word that is an error where it stands needs no remark.
            let is_error = |warning: &DagFileError| {
                errors.iter().any(|error| (error.line, error.column) == (warning.line, warning.column))
            };
            let warnings = scope.warnings.into_list(scope.dag.as_ref());
            report.warnings.extend(warnings.into_iter().filter(|warning| !is_error(warning)));
            report.errors.extend(errors);
            match (scope.is_refused, scope.dag) {
                (false, _) => {}
                (true, Some(Named::Known(name))) => match DagId::new(&name) {
                    Ok(id) => drop(refused.insert(id)),
                    Err(_) => whole_file = true,
                },
                (true, None | Some(Named::Unknown)) => whole_file = true,
            }
        }
        report.refused = if whole_file { Refused::File } else { Refused::Dags(refused) };
        let lines: Vec<&str> = text.lines().collect();
        for list in [&mut report.errors, &mut report.warnings] {
            list.sort_by_key(|error| (error.line, error.column));
            list.truncate(ERRORS_PER_FILE_MAX);
            for error in list {
                error.excerpt = error.line.checked_sub(1).and_then(|line| lines.get(line)).map(|line| excerpt(line));
            }
        }
        report
    }

    fn scope_of(&mut self, place: &Place) -> &mut Scope {
        let is_shared = self.shared.is_some_and(|key| place.path.begins_with(key));
        &mut self.scopes[if is_shared { 0 } else { self.current }]
    }

    fn noted(&self, place: &Place, message: String, suggestion: Option<String>) -> DagFileError {
        DagFileError {
            line: place.at.line,
            column: place.at.column,
            field: storable(place.path.to_string().chars().take(FIELD_CHARS_MAX).collect()),
            suggestion: suggestion.map(storable),
            ..DagFileError::of_file(&self.file, storable(message))
        }
    }
}

impl Found {
    /// The same problem of a shared default is seen once for every task that uses it, and kept once.
    fn put(&mut self, at: Position, error: DagFileError) {
        let there = self.by_place.entry(at).or_default();
        if there.contains(&error) {
            return;
        }
        there.push(error);
        self.count += 1;
        if self.count > ERRORS_PER_DAG_MAX
            && let Some(mut last) = self.by_place.last_entry()
        {
            last.get_mut().pop();
            self.count -= 1;
            if last.get().is_empty() {
                last.remove();
            }
        }
    }

    fn into_list(self, dag: Option<&Named>) -> Vec<DagFileError> {
        let dag_id = match dag {
            Some(Named::Known(name)) => Some(storable(name.clone())),
            Some(Named::Unknown) | None => None,
        };
        let all = self.by_place.into_values().flatten();
        all.map(|error| DagFileError { dag_id: dag_id.clone(), ..error }).collect()
    }
}

/// A text without what PostgreSQL can not hold.
fn storable(text: String) -> String {
    if text.contains('\0') { text.replace('\0', "\\0") } else { text }
}

fn excerpt(line: &str) -> String {
    line.chars().take(EXCERPT_CHARS_MAX).map(|c| if c == '\0' { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// Enough of a text to recognise it by.
pub(crate) fn shortened(text: &str) -> String {
    const SHOWN_MAX: usize = 60;
    match text.char_indices().nth(SHOWN_MAX) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_problems_are_kept_and_each_once() {
        let mut problems = Problems::of("x.yaml");
        let place = |line| Place { at: Position { line, column: 1 }, path: FieldPath::default() };
        for line in (1..=1_000).rev() {
            problems.add(&place(line), "wrong");
            problems.add(&place(line), "wrong");
        }
        let errors = problems.into_report("").errors;
        assert_eq!(errors.len(), ERRORS_PER_DAG_MAX);
        assert_eq!((errors[0].line, errors[19].line), (1, 20));
    }

    #[test]
    fn a_path_is_cut_where_nobody_reads_on() {
        let long: Rc<str> = "k".repeat(100_000).into();
        let path = (0..64).fold(FieldPath::default(), |path, _| path.key(&long).item(3));
        assert!(path.begins_with(&long) && !path.begins_with("k"));
        let mut problems = Problems::of("x.yaml");
        problems.add(&Place { at: Position::default(), path }, "a\0b");
        let errors = problems.into_report("").errors;
        assert_eq!((errors[0].field.chars().count(), errors[0].message.as_str()), (FIELD_CHARS_MAX, "a\\0b"));
    }
}
