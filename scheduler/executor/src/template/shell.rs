//! The rule for templates that a shell reads: a value from params, conf or an XCom is one harmless word.
//!
//! Each expression that can depend on such a value is wrapped in a filter that looks at what comes out. Which ones can is
//! decided by the names that they use; as soon as the template binds names of its own, every one can. What went through
//! `| quote` or `| unquoted` carries that in its type, so no other filter can fake it.

use std::{fmt, sync::Arc};

use minijinja::{
    Environment, Error, ErrorKind, Value,
    value::{Object, ObjectRepr},
};

use super::scan::{Piece, pieces};

/// The filter that looks; no template can name it, for it is no identifier that a person would write.
const CHECK: &str = "windlass_shell_word";
/// Names from which values of others come.
const FROM_OUTSIDE: &[&str] = &["params", "conf", "dag_run", "ti", "task_instance"];
/// Tags that bind no names.
const HARMLESS_TAGS: &[&str] = &["if", "elif", "else", "endif"];
/// Beside letters and digits, what no shell interprets within a word.
const SAFE_PUNCTUATION: &str = "_@%+=:,./-";

/// A value from outside has characters that a shell may interpret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a value from params, conf or an XCom contains {found:?}, which the shell may interpret; pipe it through `| quote` to pass \
     it as one word, or through `| unquoted` if it is meant to be shell code"
)]
pub(super) struct NotAWord {
    found: char,
}

/// Text that was quoted, or knowingly not.
#[derive(Debug)]
struct ShellSafe(String);

impl Object for ShellSafe {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn is_true(self: &Arc<Self>) -> bool {
        !self.0.is_empty()
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Adds the filters of this rule.
pub(super) fn add_to(environment: &mut Environment<'static>) {
    environment.add_filter("quote", |value: Value| Value::from_object(ShellSafe(quoted(&value.to_string()))));
    environment.add_filter("unquoted", |value: Value| Value::from_object(ShellSafe(value.to_string())));
    environment.add_filter(CHECK, check);
}

/// The template with its doubtful expressions wrapped. Lines stay where they are.
pub(super) fn guarded(environment: &Environment<'_>, source: &str) -> String {
    let pieces = pieces(source);
    let binds = |piece: &Piece<'_>| matches!(piece, Piece::Tag { keyword, .. } if !HARMLESS_TAGS.contains(keyword));
    let all_doubtful = pieces.iter().any(binds);
    let wrap = |piece: Piece<'_>| match piece {
        Piece::Text(text) | Piece::Tag { text, .. } => text.to_owned(),
        Piece::Expression { open, expression, close } if all_doubtful || is_doubtful(environment, expression) => {
            format!("{open} ({expression}) | {CHECK} {close}")
        }
        Piece::Expression { open, expression, close } => format!("{open}{expression}{close}"),
    };
    pieces.into_iter().map(wrap).collect()
}

/// Whether the expression names something from outside. One that can not be compiled will fail when it is rendered.
fn is_doubtful(environment: &Environment<'_>, expression: &str) -> bool {
    environment.compile_expression(expression).map_or(true, |compiled| {
        compiled.undeclared_variables(false).iter().any(|name| FROM_OUTSIDE.contains(&name.as_str()))
    })
}

fn check(value: Value) -> Result<Value, Error> {
    if value.downcast_object_ref::<ShellSafe>().is_some() {
        return Ok(value);
    }
    if value.is_undefined() {
        return Err(Error::from(ErrorKind::UndefinedError));
    }
    match value.to_string().chars().find(|c| !is_safe(*c)) {
        None => Ok(value),
        Some(found) => {
            Err(Error::new(ErrorKind::InvalidOperation, "unsafe in a shell").with_source(NotAWord { found }))
        }
    }
}

fn is_safe(c: char) -> bool {
    c.is_ascii_alphanumeric() || SAFE_PUNCTUATION.contains(c)
}

/// The text as one word of a POSIX shell.
fn quoted(text: &str) -> String {
    if !text.is_empty() && text.chars().all(is_safe) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r#"'"'"'"#))
}
