//! Writes a value where it stands, or says why it can not be.

use super::{
    Form,
    command::{self, Role},
    here::ends_escaped,
    item::{Item, Kind},
    lexer::{Read, Reader, Stop},
    quote,
    refusal::{Refusal, Why},
    word::{Before, Word},
};

/// Characters that bash writes into arrays for itself; it doubles those that are in their values.
const USED_BY_BASH: [char; 2] = ['\u{1}', '\u{7f}'];

/// In what a value stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Quote {
    /// A bare word.
    Bare,
    /// A bare word in which raw text would not be read as text: patterns, names of commands.
    Forced,
    /// Single quotes.
    Single,
    /// Double quotes.
    Double,
    /// `$'…'`.
    Ansi,
    /// A here-document in which bash expands.
    Here {
        /// Whether `<<-` takes tabs from the start of its lines.
        strips_tabs: bool,
    },
    /// A here-document that is taken as it is.
    Raw {
        /// Whether `<<-` takes tabs from the start of its lines.
        strips_tabs: bool,
    },
    /// `$((…))`, `((…))`, a subscript.
    Arithmetic,
    /// `${…}`.
    Parameter,
    /// A comment.
    Comment,
}

impl Reader<'_> {
    /// Writes the value that is the next item.
    pub(super) fn place(&mut self, quote: Quote, word: &mut Word) -> Read<()> {
        let Some(Item { kind: Kind::Value(value), start, .. }) = self.current() else { return Ok(()) };
        let text = &self.kept[value].text;
        if text.contains('\0') {
            return Err(Stop::refused(value, Why::Nul));
        }
        let written = self.written_form(value, quote, word).map_err(|why| Stop::Refused(Refusal::of(value, why)))?;
        let written = self.backticks.iter().rev().fold(written, |text, within| quote::within_backticks(&text, *within));
        if self.is_in_here
            && written.split_inclusive('\n').any(|line| line.strip_suffix('\n').is_some_and(ends_escaped))
        {
            return Err(Stop::refused(value, Why::HereJoin));
        }
        // Written as code that means it, a value is put out as such.
        let is_quoted_code = self.kept[value].form == Form::Quoted && !matches!(quote, Quote::Bare | Quote::Forced);
        if quote != Quote::Comment && !is_quoted_code && !quote::is_plain(text) {
            self.own.push(value);
        }
        self.written.push((start, written));
        word.values.push(value);
        word.is_literal = false;
        word.before = Before::Other;
        self.advance();
        Ok(())
    }

    fn written_form(&self, value: usize, quote: Quote, word: &Word) -> Result<String, Why> {
        let text = &self.kept[value].text;
        let form = self.kept[value].form;
        match quote {
            Quote::Comment => return Ok(quote::within_comment(text)),
            Quote::Parameter => {
                return quote::number(text).filter(|number| !number.starts_with('-')).ok_or(Why::Parameter);
            }
            Quote::Arithmetic => {
                let number = quote::number(text).ok_or(Why::Number)?;
                // Two signs beside each other are an operator of their own.
                return Ok(if number.starts_with('-') { format!("({number})") } else { number });
            }
            _ if self.is_calculated(word) => return quote::number(text).ok_or(Why::Number),
            _ => {}
        }
        let is_code = self.is_code(word);
        self.allowed(value, word, is_code)?;
        let quoted;
        let text = match form {
            Form::Value => text,
            Form::Quoted if !is_code && matches!(quote, Quote::Bare | Quote::Forced) => {
                return Ok(if word.before == Before::Name { quote::single_quoted(text) } else { quote::word(text) });
            }
            Form::Quoted => {
                quoted = quote::word(text);
                &quoted
            }
        };
        self.in_quotes(text, quote, word)
    }

    fn in_quotes(&self, text: &str, quote: Quote, word: &Word) -> Result<String, Why> {
        let continues_name =
            word.before == Before::Name && text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
        Ok(match quote {
            Quote::Bare | Quote::Forced if word.before == Before::Dollar => return Err(Why::AfterDollar),
            Quote::Bare if word.before == Before::Other && !self.would_be_misread(word) => quote::bare(text),
            Quote::Bare | Quote::Forced => quote::single_quoted(text),
            Quote::Single => quote::within_single(text),
            Quote::Double if word.before == Before::Other => quote::within_double(text),
            // The quotes are closed and opened again, so that what is before the value ends.
            Quote::Double => format!("\"\"{}", quote::within_double(text)),
            Quote::Ansi => quote::within_ansi(text),
            Quote::Raw { strips_tabs: true } | Quote::Here { strips_tabs: true }
                if text.contains("\n\t") || text.starts_with('\t') =>
            {
                return Err(Why::HereTab);
            }
            Quote::Here { .. } if word.before == Before::Dollar => return Err(Why::AfterDollar),
            Quote::Here { .. } if continues_name => return Err(Why::AfterName),
            Quote::Here { .. } => quote::within_here(text),
            Quote::Raw { .. } => text.to_owned(),
            Quote::Arithmetic | Quote::Parameter | Quote::Comment => {
                unreachable!("they are written as numbers or blanks")
            }
        })
    }

    /// Whether the value may stand in its word at all.
    fn allowed(&self, value: usize, word: &Word, is_code: bool) -> Result<(), Why> {
        let kept = &self.kept[value];
        let is_plain = quote::is_plain(&kept.text);
        if kept.form == Form::Quoted
            && !matches!(word.role, Role::Delimiter | Role::Element | Role::Name | Role::Declared { .. })
        {
            return Ok(());
        }
        match word.role {
            Role::Delimiter => Err(Why::Delimiter),
            Role::Element if kept.text.contains(USED_BY_BASH) => Err(Why::Control),
            _ if is_code && !is_plain => Err(Why::Code),
            Role::Name if !is_plain => Err(Why::Name),
            Role::Declared { special: true, .. } if !is_plain => Err(Why::Name),
            Role::Declared { .. } if word.assigned.is_none() && !is_plain => Err(Why::Name),
            Role::Command if word.assigned.is_none() && (!is_plain || kept.text.contains('=')) => Err(Why::Command),
            _ => Ok(()),
        }
    }

    pub(super) fn is_code(&self, word: &Word) -> bool {
        let is_run = word.assigned.as_deref().is_some_and(command::is_run_by_bash);
        self.feeds_code
            || is_run
            || word.role == Role::Code
            || (word.role == Role::AfterShell && word.text.starts_with('-'))
    }

    fn is_calculated(&self, word: &Word) -> bool {
        let is_integer = |name: &String| self.all_integers || self.integers.contains(name);
        match word.role {
            Role::Number => true,
            Role::Declared { integer, .. } => {
                word.assigned.is_some() && (integer || word.assigned.as_ref().is_some_and(is_integer))
            }
            Role::Command => word.assigned.as_ref().is_some_and(is_integer),
            _ => false,
        }
    }

    /// Whether raw text would be more than a part of its word: a command's name, or what a redirection or a group follows.
    fn would_be_misread(&self, word: &Word) -> bool {
        let is_command = word.role == Role::Command && word.assigned.is_none();
        let before_group = matches!(self.nth(1), Some(Kind::Char('<' | '>' | '(')));
        is_command || word.role == Role::Pattern || before_group
    }
}
