//! Why a template could not be rendered, in words for the person who wrote it.

use super::{STEPS_MAX, TEXT_BYTES_MAX, shell::Refusal};
use crate::{Outcome, StopCause};

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
    /// The attempt was to end before it was rendered.
    #[error("{}", .0.reason)]
    Stopped(StopCause),
}

impl TemplateError {
    /// What the template engine says, with the line it says it of.
    pub(super) fn of(field: &str, source: &str, error: &minijinja::Error) -> Self {
        let field = field.to_owned();
        let what = match error.kind() {
            minijinja::ErrorKind::OutOfFuel => {
                format!("it takes more than {STEPS_MAX} steps; loop over less, or do it in a task")
            }
            kind => error.detail().map_or_else(|| kind.to_string(), |detail| format!("{kind}: {detail}")),
        };
        let place = error.line().and_then(|number| Some((number, source.lines().nth(number.checked_sub(1)?)?)));
        let advice = opening_by_accident(source, error).unwrap_or_default();
        let detail = match place {
            Some((number, line)) => format!("{what} (line {number}: {}){advice}", line.trim()),
            None => format!("{what}{advice}"),
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

    /// A value that a shell can not have where it stands.
    pub(super) fn refused(field: &str, refusal: &Refusal) -> Self {
        Self::Unsafe { field: field.to_owned(), detail: refusal.to_string() }
    }

    /// A text that has no end.
    pub(super) fn too_large(field: &str) -> Self {
        let detail = format!("it gives more than {TEXT_BYTES_MAX} bytes; pass large data by a file or a table");
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
            TemplateError::Stopped(cause) => cause.into(),
        }
    }
}

/// The advice for a shell's own `${#names[@]}` and the like, in which the template engine sees a comment.
fn opening_by_accident(source: &str, error: &minijinja::Error) -> Option<String> {
    (error.kind() == minijinja::ErrorKind::SyntaxError).then_some(())?;
    let at = ["${#", "${%", "${{"].iter().filter_map(|opening| source.find(opening)).min()?;
    let number = source[..at].matches('\n').count() + 1;
    let line = source.lines().nth(number - 1)?.trim();
    Some(format!(
        "; line {number} has {line:?}, where {} begins a template's own syntax: write it between {{% raw %}} and \
         {{% endraw %}}",
        source.get(at + 1..at + 3)?
    ))
}
