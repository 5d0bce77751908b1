//! Why a template could not be rendered, in words for the person who wrote it.

use std::error::Error as _;

use super::shell::NotAWord;
use crate::Outcome;

/// Names that exist only in runs with a logical date.
const NEED_A_LOGICAL_DATE: &[&str] = &["ds", "ds_nodash", "logical_date", "ts", "ts_nodash", "ts_nodash_with_tz"];

/// A template could not be rendered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// It is wrong, or names something that does not exist.
    #[error("could not render {field}: {detail}")]
    Render {
        /// The field.
        field: String,
        /// What is wrong, and where.
        detail: String,
    },
    /// A value from outside would have become shell code.
    #[error("could not render {field}: {detail}")]
    Unsafe {
        /// The field.
        field: String,
        /// The expression, and what to do.
        detail: String,
    },
}

impl TemplateError {
    /// What the template engine says, with the line it says it of.
    pub(super) fn of(field: &str, source: &str, error: &minijinja::Error) -> Self {
        let field = field.to_owned();
        if let Some(unsafe_value) = error.source().and_then(|source| source.downcast_ref::<NotAWord>()) {
            return Self::Unsafe { field, detail: unsafe_value.to_string() };
        }
        let what =
            error.detail().map_or_else(|| error.kind().to_string(), |detail| format!("{}: {detail}", error.kind()));
        let place = error.line().and_then(|number| Some((number, source.lines().nth(number.checked_sub(1)?)?)));
        let detail = match place {
            Some((number, line)) => format!("{what} (line {number}: {})", line.trim()),
            None => what,
        };
        Self::Render { field, detail }
    }

    /// Names without a value.
    pub(super) fn undefined(field: &str, mut names: Vec<String>) -> Self {
        names.sort();
        let dates = names.iter().any(|name| NEED_A_LOGICAL_DATE.contains(&name.as_str()));
        let detail = match names.as_slice() {
            [] => "something that it names has no value".to_owned(),
            names if dates => format!("{} needs a logical date, and this run has none", names.join(", ")),
            names => format!("{} is not defined", names.join(", ")),
        };
        Self::Render { field: field.to_owned(), detail }
    }

    /// A value that has no form in JSON.
    pub(super) fn not_json(field: &str, detail: &str) -> Self {
        Self::Render { field: field.to_owned(), detail: format!("its value is no JSON: {detail}") }
    }

    /// The renderer itself gave up.
    pub(crate) fn broken(detail: &str) -> Self {
        Self::Render { field: "the templates".to_owned(), detail: detail.to_owned() }
    }
}

impl From<TemplateError> for Outcome {
    /// A value that is not safe today will not be safe at the next try.
    fn from(error: TemplateError) -> Self {
        match error {
            TemplateError::Render { .. } => Self::failed(error.to_string()),
            TemplateError::Unsafe { .. } => Self::failed_for_good(error.to_string()),
        }
    }
}
