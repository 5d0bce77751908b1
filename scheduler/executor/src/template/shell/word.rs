//! One word of a command while it is read.

use super::command::Role;

/// A word: what is known of it so far.
#[derive(Debug)]
pub(super) struct Word {
    /// What it is to its command.
    pub(super) role: Role,
    /// Its characters without quotes, as far as they are known.
    pub(super) text: String,
    /// Whether `text` is all of it: no expansion and no value.
    pub(super) is_literal: bool,
    /// Whether a part of it is in quotes.
    pub(super) is_quoted: bool,
    /// The name before its first `=`, when it assigns.
    pub(super) assigned: Option<String>,
    /// A subscript follows its name.
    pub(super) has_subscript: bool,
    /// Its values.
    pub(super) values: Vec<usize>,
    /// What is right before the next character.
    pub(super) before: Before,
}

/// What is right before a place, as far as it would go on into a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Before {
    /// Nothing of that kind.
    Other,
    /// A `$`.
    Dollar,
    /// `$name`.
    Name,
}

impl Word {
    /// An empty word.
    pub(super) fn new(role: Role) -> Self {
        Self {
            role,
            text: String::new(),
            is_literal: true,
            is_quoted: false,
            assigned: None,
            has_subscript: false,
            values: Vec::new(),
            before: Before::Other,
        }
    }

    /// Adds a character that stands for itself.
    pub(super) fn push(&mut self, c: char) {
        let assigns = c == '=' && self.assigned.is_none() && self.may_assign();
        if assigns {
            self.assigned = Some(self.text.trim_end_matches('+').to_owned());
        }
        self.text.push(c);
        self.before = Before::Other;
    }

    /// Its text, when that is all of it.
    pub(super) fn literal(&self) -> Option<&str> {
        self.is_literal.then_some(self.text.as_str())
    }

    /// Its text, when bash may read it as a part of the language.
    pub(super) fn reserved(&self) -> Option<&str> {
        self.literal().filter(|_| !self.is_quoted)
    }

    /// Whether a `[` now begins a subscript.
    pub(super) fn may_have_subscript(&self) -> bool {
        self.may_assign() && !self.has_subscript && !self.text.ends_with('+')
    }

    fn may_assign(&self) -> bool {
        let is_place = matches!(self.role, Role::Command | Role::Declared { .. });
        let name = self.text.strip_suffix('+').unwrap_or(&self.text);
        is_place && (self.is_literal || self.has_subscript) && !self.is_quoted && is_identifier(name)
    }

    /// Whether `(` now begins the values of an array.
    pub(super) fn may_be_array(&self) -> bool {
        self.assigned.is_some() && self.text.ends_with('=') && !self.is_quoted
    }

    /// Whether `(` now begins a pattern such as `@(a|b)`.
    pub(super) fn may_have_pattern(&self) -> bool {
        self.text.ends_with(['?', '*', '+', '@', '!']) && self.before == Before::Other
    }
}

/// Whether the text can be the name of a variable.
pub(super) fn is_identifier(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}
