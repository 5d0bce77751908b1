//! Texts that PostgreSQL can keep: it has no place for NUL, and what programs and people say may hold any character.

/// What is kept of a reason: a page shows it whole.
const REASON_CHARS_MAX: usize = 2_000;

/// A text with another character in place of each NUL.
pub(crate) fn storable(text: impl Into<String>) -> String {
    let text = text.into();
    if text.contains('\0') { text.replace('\0', "\u{fffd}") } else { text }
}

/// A reason as it is kept: storable, and of a bearable length.
pub(crate) fn reason(text: &str) -> String {
    storable(text).chars().take(REASON_CHARS_MAX).collect()
}
