//! Why a value can not be written where it stands, and what to write instead.

use super::{Form, Kept, doubt::Expression, quote};

/// A value, or a template, that a shell command can not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    why: Why,
    /// The number of the value among those that were kept.
    value: Option<usize>,
    place: Option<Expression>,
    /// The character that makes the value more than a word.
    found: Option<char>,
    form: Form,
}

/// Why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Why {
    /// It would be read as code once more.
    Code,
    /// It would be calculated.
    Number,
    /// It would choose a variable.
    Name,
    /// It would choose the program.
    Command,
    /// It is inside `${…}`.
    Parameter,
    /// It is a part of the delimiter of a here-document.
    Delimiter,
    /// It would end the here-document with this delimiter.
    HereEnd(String),
    /// A here-document would join its lines.
    HereJoin,
    /// `<<-` would take its tabs away.
    HereTab,
    /// A variable's name before it, in a here-document, would go on into it.
    AfterName,
    /// A `$` is right before it.
    AfterDollar,
    /// A backslash is right before it.
    AfterBackslash,
    /// It has a character that bash doubles in an array.
    Control,
    /// It has a NUL.
    Nul,
    /// The text before it can not be followed.
    Lost(&'static str),
    /// A text with values in it is used otherwise than put out.
    Captured,
    /// A text with values in it goes through a filter as a whole.
    FilteredText,
    /// A mark was taken apart.
    TakenApart,
}

impl Refusal {
    /// Of a value.
    pub(super) fn of(value: usize, why: Why) -> Self {
        Self { why, value: Some(value), place: None, found: None, form: Form::Value }
    }

    /// Of a place in the template.
    pub(super) fn in_template(place: Expression, why: Why) -> Self {
        Self { why, value: None, place: Some(place), found: None, form: Form::Value }
    }

    /// Of the template as a whole.
    pub(super) fn everywhere(why: Why) -> Self {
        Self { why, value: None, place: None, found: None, form: Form::Value }
    }

    /// The same with the place of its value's expression.
    pub(super) fn at(mut self, expressions: &[Expression], kept: &[Kept]) -> Self {
        if let Some(kept) = self.value.and_then(|value| kept.get(value)) {
            self.place = expressions.get(kept.expression).cloned();
            self.found = quote::not_plain(&kept.text);
            self.form = kept.form;
        }
        self
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(Expression { line, column, text }) = &self.place {
            write!(f, "line {line}, column {column}: {text} ")?;
        }
        let contains = self.found.map_or_else(String::new, |found| format!(" and its value contains {found:?}"));
        match &self.why {
            Why::Code => write!(
                f,
                "stands in code that another shell reads{contains}; give it to that shell as an argument, as in \
                 bash -c 'echo \"$1\"' _ {{{{ … }}}}, pipe it through `| quote` to quote it for that code, or through \
                 `| unquoted` if it is code itself"
            ),
            Why::Number => f.write_str(
                "stands where the shell calculates, and its value is no whole number; assign it to a variable and check it \
                 first, or pipe it through `| int` or `| unquoted`",
            ),
            Why::Name => write!(
                f,
                "stands where a command takes the name of a variable{contains}; write the name out, or pipe it through \
                 `| unquoted` if the value is meant to choose it"
            ),
            Why::Command => write!(
                f,
                "stands where the name of a command does{contains}; pipe it through `| unquoted` if it is shell code, or \
                 through `| quote` if it is the name of a program"
            ),
            Why::Parameter => f.write_str(
                "stands inside ${…}, where it could be an operator; assign it first, as in x={{ … }}, and write ${…$x…}, or \
                 pipe it through `| unquoted` if it is shell code",
            ),
            Why::Delimiter => f.write_str("is a part of a here-document's delimiter; write the delimiter out"),
            Why::HereEnd(delimiter) => write!(
                f,
                "would end its here-document: its value has the line {delimiter}; choose a delimiter that no value has"
            ),
            Why::HereJoin => f.write_str(
                "has a backslash at the end of a line, which bash takes away inside a substitution in a here-document; assign it \
                 to a variable first, as in x={{ … }}, and write $x",
            ),
            Why::HereTab => f.write_str("has tabs at the start of a line, which <<- takes away; write << instead"),
            Why::AfterName => {
                f.write_str("would continue the name of the variable before it; write that one as ${name}")
            }
            Why::AfterDollar => f.write_str(
                "stands right after a $, which would take it for a name; write \\$ for the sign, or pipe it through \
                 `| unquoted` if it is shell code",
            ),
            Why::AfterBackslash => f.write_str("stands right after a backslash, which would take its first character"),
            Why::Control => f.write_str(
                "has a control character (U+0001 or U+007F) that bash doubles in an array; assign it to a variable first, as in \
                 x={{ … }}, and write \"$x\"",
            ),
            Why::Nul => f.write_str("gives a text with a NUL, which no command can take"),
            Why::Lost(what) => write!(
                f,
                "stands after {what}, from where on this check can not tell how the shell reads the text{contains}; put that \
                 part into a line of its own after it, or pipe the value through `| quote` to pass it as one word"
            ),
            Why::Captured => f.write_str(
                "looks into a text that holds values ({% set x %}…{% endset %} or a macro); such a text can only be put out: \
                 write {% set x = … %}",
            ),
            Why::FilteredText => f.write_str(
                "a filter over a whole text ({% filter … %}, {% set x | … %}) can not know the values in it; put the filter \
                 into the expressions",
            ),
            Why::TakenApart => f.write_str(
                "a text that holds values ({% set x %}…{% endset %} or a macro) was taken apart; such a text can only be put \
                 out: write {% set x = … %}",
            ),
        }
    }
}

impl std::error::Error for Refusal {}
