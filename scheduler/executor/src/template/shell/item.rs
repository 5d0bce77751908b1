//! The rendered text as characters and marks.

use super::{Kept, Refusal, refusal::Why};

/// How a mark begins and ends: characters that mean nothing to anybody.
const OPEN: char = '\u{f8e0}';
const CLOSE: char = '\u{f8e1}';

/// The marks of one rendering.
#[derive(Debug, Clone, Copy)]
pub(super) struct Marks {
    nonce: u64,
}

/// A character or a mark, with the bytes of the text that it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Item {
    pub(super) kind: Kind,
    pub(super) start: usize,
    pub(super) end: usize,
}

/// What an item is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A character, as bash sees it: within backticks, `\$` is a `$`.
    Char(char),
    /// The mark of a value.
    Value(usize),
}

impl Item {
    /// Whether it is a mark.
    pub(super) fn is_value(&self) -> bool {
        self.value().is_some()
    }

    /// The value that it is the mark of.
    pub(super) fn value(&self) -> Option<usize> {
        match self.kind {
            Kind::Value(value) => Some(value),
            Kind::Char(_) => None,
        }
    }
}

impl Marks {
    /// Marks that no value knows.
    pub(super) fn new() -> Self {
        Self { nonce: rand::random() }
    }

    /// The mark of a value.
    pub(super) fn mark(self, value: usize) -> String {
        format!("{OPEN}{}.{value}{CLOSE}", self.nonce)
    }

    /// The value of the mark at the start of a text, and the mark's length.
    fn at_start(self, text: &str) -> Option<(usize, usize)> {
        let inner = text.strip_prefix(OPEN)?;
        let end = inner.find(CLOSE)?;
        let (nonce, value) = inner[..end].split_once('.')?;
        (nonce.parse() == Ok(self.nonce)).then_some(())?;
        Some((value.parse().ok()?, OPEN.len_utf8() + end + CLOSE.len_utf8()))
    }
}

/// Takes a text apart.
///
/// # Errors
/// [`Refusal`] when a mark was taken apart, by a filter on a text that was put together with values in it.
pub(super) fn items(text: &str, marks: Marks, values: usize) -> Result<Vec<Item>, Refusal> {
    let mut items = Vec::with_capacity(text.len());
    let nonce = marks.nonce.to_string();
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        let (kind, length) = match marks.at_start(&text[at..]) {
            Some((value, length)) if value < values => (Kind::Value(value), length),
            _ if c == OPEN && text[at..].contains(&nonce) => return Err(Refusal::everywhere(Why::TakenApart)),
            _ => (Kind::Char(c), c.len_utf8()),
        };
        items.push(Item { kind, start: at, end: at + length });
        at += length;
    }
    Ok(items)
}

/// The text with what was written for its marks.
pub(super) fn put_together(text: &str, items: &[Item], written: &[(usize, String)]) -> String {
    let mut whole = String::with_capacity(text.len());
    let mut written: Vec<_> = written.iter().collect();
    written.sort_by_key(|(start, _)| *start);
    let mut written = written.into_iter().peekable();
    for item in items {
        if item.is_value() {
            while let Some((_, text)) = written.next_if(|(start, _)| *start <= item.start) {
                whole.push_str(text);
            }
        } else {
            whole.push_str(&text[item.start..item.end]);
        }
    }
    whole
}

/// A text with the values in place of their marks.
pub(super) fn resolved(text: &str, marks: Marks, kept: &[Kept]) -> String {
    if !text.contains(OPEN) {
        return text.to_owned();
    }
    let mut whole = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(OPEN) {
        whole.push_str(&rest[..at]);
        rest = &rest[at..];
        match marks.at_start(rest) {
            Some((value, length)) if value < kept.len() => {
                whole.push_str(&kept[value].text);
                rest = &rest[length..];
            }
            _ => {
                whole.push(OPEN);
                rest = &rest[OPEN.len_utf8()..];
            }
        }
    }
    whole + rest
}
