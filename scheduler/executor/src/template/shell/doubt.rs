//! Which expressions of a template can give a value from outside, and their wrapping.
//!
//! Outside are params, conf and XComs. What a template binds to a name is from outside when the expression that it binds is;
//! scopes are not looked at, so too many names may count, never too few. Texts that are put together from template text
//! (`{% set x %}…{% endset %}`, macros) hold marks for their values; they may be put out and nothing else.

use std::collections::BTreeSet;

use minijinja::Environment;

use super::{
    super::scan::{Piece, pieces},
    Refusal,
    refusal::Why,
};

/// Names from which values of others come.
const FROM_OUTSIDE: &[&str] = &[
    "params",
    "conf",
    "dag_run",
    "ti",
    "task_instance",
    "triggering_asset_events",
    "inlet_events",
    // What callbacks are told: a reason is whatever somebody's program has said.
    "notification",
    "reason",
    "exception",
];
/// What Windlass itself says below some of these names.
const OWN: &[&str] = &[
    "dag_run.dag_id",
    "dag_run.run_id",
    "dag_run.run_type",
    "dag_run.logical_date",
    "dag_run.data_interval_start",
    "dag_run.data_interval_end",
    "dag_run.run_after",
    "dag_run.start_date",
    "ti.dag_id",
    "ti.task_id",
    "ti.run_id",
    "ti.map_index",
    "ti.try_number",
    "ti.max_tries",
    "ti.id",
    "ti.start_date",
    "task_instance.dag_id",
    "task_instance.task_id",
    "task_instance.run_id",
    "task_instance.map_index",
    "task_instance.try_number",
    "task_instance.max_tries",
    "task_instance.id",
    "task_instance.start_date",
];

/// An expression of a template, with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Expression {
    pub(super) line: usize,
    pub(super) column: usize,
    pub(super) text: String,
}

/// The names that a template binds.
#[derive(Debug, Default)]
struct Bound {
    /// To what may be from outside.
    doubtful: BTreeSet<String>,
    /// To text with marks in it: by `{% set x %}` and as macros.
    captured: BTreeSet<String>,
    /// Those of `captured` that are called.
    macros: BTreeSet<String>,
    /// Text is put through a filter as a whole.
    filters_text: bool,
}

/// The template with its doubtful expressions wrapped in the filter `keep`, which is told the number of each, and the
/// expressions by number.
///
/// # Errors
/// [`Refusal`] when a text with marks in it is used otherwise than put out.
pub(super) fn wrapped(
    environment: &Environment<'_>,
    source: &str,
    keep: &str,
) -> Result<(String, Vec<Expression>), Refusal> {
    let pieces = pieces(source);
    let bound = Bound::by(environment, &pieces);
    let mut found = Vec::new();
    let mut whole = String::with_capacity(source.len());
    let mut captured_use = None;
    for piece in pieces {
        let place = |text: &str| Expression {
            line: 1 + whole_lines(source, offset(source, text)),
            column: 1 + column(source, offset(source, text)),
            text: text.to_owned(),
        };
        match piece {
            Piece::Text(text) => whole.push_str(text),
            Piece::Tag { text, keyword } => {
                if bound.tag_looks_into_captured(text, keyword) {
                    captured_use.get_or_insert_with(|| place(text));
                }
                whole.push_str(text);
            }
            Piece::Expression { open, expression, close } => {
                let whole_text = &source[offset(source, open)..offset(source, close) + close.len()];
                let puts_out = bound.puts_out_captured(expression);
                let names = identifiers(expression);
                if !puts_out && names.iter().any(|name| bound.captured.contains(*name)) {
                    captured_use.get_or_insert_with(|| place(whole_text));
                }
                if puts_out || !bound.is_doubtful(environment, expression) {
                    whole.push_str(whole_text);
                } else {
                    let number = found.len();
                    whole.push_str(&format!("{open} ({expression}) | {keep}({number}) {close}"));
                    found.push(place(whole_text));
                }
            }
        }
    }
    match captured_use {
        Some(place) if !found.is_empty() => Err(Refusal::in_template(place, Why::Captured)),
        _ if bound.filters_text && !found.is_empty() => Err(Refusal::everywhere(Why::FilteredText)),
        Some(_) | None => Ok((whole, found)),
    }
}

impl Bound {
    fn by(environment: &Environment<'_>, pieces: &[Piece<'_>]) -> Self {
        let mut bound = Self::default();
        let tags = || {
            pieces.iter().filter_map(|piece| match piece {
                Piece::Tag { text, keyword } => Some((inner(text, keyword), *keyword)),
                Piece::Text(_) | Piece::Expression { .. } => None,
            })
        };
        tags().for_each(|(inner, keyword)| bound.take_captures(inner, keyword));
        // What is bound to something doubtful is doubtful, until nothing is added any more.
        loop {
            let before = bound.doubtful.len();
            for (inner, keyword) in tags() {
                let Some((names, expression)) = binding(inner, keyword) else { continue };
                if bound.is_doubtful(environment, expression) {
                    bound.doubtful.extend(names.into_iter().map(str::to_owned));
                }
            }
            if bound.doubtful.len() == before {
                return bound;
            }
        }
    }

    fn take_captures(&mut self, inner: &str, keyword: &str) {
        match keyword {
            "set" if assignment(inner).is_none() => {
                self.captured.extend(identifiers(inner).first().map(|name| (*name).to_owned()));
                self.filters_text |= inner.contains('|');
            }
            "filter" => self.filters_text = true,
            "macro" => {
                let names = identifiers(inner);
                if let Some((name, arguments)) = names.split_first() {
                    self.macros.insert((*name).to_owned());
                    self.captured.insert((*name).to_owned());
                    self.doubtful.extend(arguments.iter().map(|name| (*name).to_owned()));
                }
                self.macros.insert("caller".to_owned());
            }
            "call" if inner.starts_with('(') => {
                let arguments = inner.split_once(')').map_or("", |(arguments, _)| arguments);
                self.doubtful.extend(identifiers(arguments).into_iter().map(str::to_owned));
            }
            "for" if inner.split_whitespace().next_back() == Some("recursive") => {
                self.macros.insert("loop".to_owned());
            }
            _ => {}
        }
    }

    /// Whether the expression can depend on something from outside. One that can not be compiled will fail when it is
    /// rendered.
    fn is_doubtful(&self, environment: &Environment<'_>, expression: &str) -> bool {
        let Ok(compiled) = environment.compile_expression(expression) else { return true };
        compiled.undeclared_variables(true).iter().any(|name| {
            let root = name.split('.').next().unwrap_or_default();
            let is_own = OWN
                .iter()
                .any(|own| name.strip_prefix(own).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')));
            self.doubtful.contains(root) || (FROM_OUTSIDE.contains(&root) && !is_own)
        })
    }

    /// Whether the expression is one text with marks in it, as it is.
    fn puts_out_captured(&self, expression: &str) -> bool {
        let expression = expression.trim();
        let name_length = expression.find(|c: char| !is_name(c)).unwrap_or(expression.len());
        let (name, rest) = expression.split_at(name_length);
        if rest.is_empty() {
            return self.captured.contains(name) && !self.macros.contains(name);
        }
        self.macros.contains(name) && is_one_call(rest)
    }

    fn tag_looks_into_captured(&self, tag: &str, keyword: &str) -> bool {
        let inner = inner(tag, keyword);
        match keyword {
            "macro" | "call" | "endmacro" | "endcall" | "endset" | "block" | "endblock" => false,
            "set" if assignment(inner).is_none() => false,
            _ => identifiers(inner).iter().any(|name| self.captured.contains(*name)),
        }
    }
}

/// What a tag binds, and to what.
fn binding<'t>(inner: &'t str, keyword: &str) -> Option<(Vec<&'t str>, &'t str)> {
    match keyword {
        "set" => assignment(inner).map(|(names, expression)| (identifiers(names), expression)),
        "for" => {
            let (names, expression) = inner.split_once(" in ")?;
            let mut names = identifiers(names);
            names.push("loop");
            Some((names, expression))
        }
        // Several assignments are no expression, so all of its names count as doubtful unless there is just one.
        "with" => assignment(inner).map(|(names, expression)| {
            let mut names = identifiers(names);
            names.extend(if expression.contains('=') { identifiers(expression) } else { Vec::new() });
            (names, expression)
        }),
        _ => None,
    }
}

/// The two sides of the first `=` that is no comparison.
fn assignment(inner: &str) -> Option<(&str, &str)> {
    let at = outside_quotes(inner).find(|(at, c)| {
        let before = inner[..*at].chars().next_back();
        *c == '=' && !inner[at + 1..].starts_with('=') && !matches!(before, Some('=' | '!' | '<' | '>'))
    });
    at.map(|(at, _)| (&inner[..at], &inner[at + 1..]))
}

/// What is between a tag's keyword and its end.
fn inner<'t>(tag: &'t str, keyword: &str) -> &'t str {
    let inner = tag.trim_start_matches("{%").trim_end_matches("%}");
    let inner = inner.trim_start_matches(['-', '+']).trim_end_matches(['-', '+']).trim();
    inner.strip_prefix(keyword).unwrap_or(inner).trim()
}

/// The names in a piece of template code, in order, without attributes.
fn identifiers(code: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut start = None;
    let mut last = ' ';
    for (at, c) in outside_quotes(code).chain([(code.len(), ' ')]) {
        match (start, is_name(c)) {
            (None, true) if last != '.' => start = Some(at),
            (Some(from), false) => {
                found.push(&code[from..at]);
                start = None;
            }
            _ => {}
        }
        last = c;
    }
    found.retain(|name| !name.starts_with(|c: char| c.is_ascii_digit()));
    found
}

/// The characters that are in no text in quotes; such a text is a blank.
fn outside_quotes(code: &str) -> impl Iterator<Item = (usize, char)> {
    let mut quote = None;
    let mut escaped = false;
    code.char_indices().map(move |(at, c)| {
        match quote {
            None if c == '\'' || c == '"' => quote = Some(c),
            None => return (at, c),
            Some(_) if escaped => escaped = false,
            Some(_) if c == '\\' => escaped = true,
            Some(open) if c == open => quote = None,
            Some(_) => {}
        }
        (at, ' ')
    })
}

/// Whether the text is the arguments of one call and nothing after them.
fn is_one_call(text: &str) -> bool {
    let mut depth = 0_usize;
    for (at, c) in outside_quotes(text) {
        match c {
            '(' => depth += 1,
            ')' if depth == 1 => return text[at + 1..].trim().is_empty(),
            ')' => depth = depth.saturating_sub(1),
            _ if depth == 0 => return false,
            _ => {}
        }
    }
    false
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Where a part of the source is in it.
fn offset(source: &str, part: &str) -> usize {
    part.as_ptr() as usize - source.as_ptr() as usize
}

fn whole_lines(source: &str, at: usize) -> usize {
    source[..at].matches('\n').count()
}

fn column(source: &str, at: usize) -> usize {
    source[..at].rsplit('\n').next().unwrap_or_default().chars().count()
}
