//! Texts that PostgreSQL can keep.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// The character at which a NUL stands, counted from 0; none when there is none.
#[must_use]
pub fn nul_at(text: &str) -> Option<usize> {
    let at = text.find('\0')?;
    Some(text[..at].chars().count())
}

/// A text that is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidText {
    /// PostgreSQL has no text with this character.
    #[error("a NUL character stands at position {at}: a text has none; leave it out")]
    Nul {
        /// Where, in characters from 1.
        at: usize,
    },
    /// It is longer than what it is for allows.
    #[error("it has {found} characters, and at most {max} are allowed: shorten it")]
    TooLong {
        /// How many it has.
        found: usize,
        /// How many it may have.
        max: usize,
    },
    /// There is nothing.
    #[error("it is empty: at least one character is needed")]
    Empty,
}

macro_rules! checked_text {
    ($(#[$meta:meta])* $name:ident, $least:expr, $most:expr) => {
        $(#[$meta])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Checks the text.
            ///
            /// # Errors
            /// [`InvalidText`], in words for people.
            pub fn new(text: impl Into<String>) -> Result<Self, InvalidText> {
                let text = text.into();
                check(&text, $least, $most)?;
                Ok(Self(text))
            }

            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str { &self.0 }

            /// The text, to keep.
            #[must_use]
            pub fn into_string(self) -> String { self.0 }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidText;
            fn try_from(text: String) -> Result<Self, InvalidText> { Self::new(text) }
        }
        impl FromStr for $name {
            type Err = InvalidText;
            fn from_str(text: &str) -> Result<Self, InvalidText> { Self::new(text) }
        }
        impl From<$name> for String { fn from(text: $name) -> Self { text.0 } }
        impl AsRef<str> for $name { fn as_ref(&self) -> &str { &self.0 } }
        impl fmt::Display for $name { fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.pad(&self.0) } }
        impl fmt::Debug for $name { fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { fmt::Debug::fmt(&self.0, f) } }
    };
}

checked_text!(
    /// Any text without a NUL. How long it may be is decided where it is taken: a body, a query and a file have bounds.
    Text, 0, usize::MAX
);
checked_text!(
    /// A remark on a run or a task, as long as Airflow's.
    Note, 0, Note::CHARS_MAX
);
checked_text!(
    /// The key of an XCom, as long as Airflow's.
    XComKey, 1, XComKey::CHARS_MAX
);

impl Note {
    /// The longest, in characters.
    pub const CHARS_MAX: usize = 1000;
}

impl XComKey {
    /// The longest, in characters.
    pub const CHARS_MAX: usize = 512;
}

fn check(text: &str, least: usize, most: usize) -> Result<(), InvalidText> {
    if let Some(at) = nul_at(text) {
        return Err(InvalidText::Nul { at: at + 1 });
    }
    // A text that has no more bytes than characters are allowed need not be counted.
    if text.len() > most {
        let found = text.chars().count();
        if found > most {
            return Err(InvalidText::TooLong { found, max: most });
        }
    }
    if text.len() < least { Err(InvalidText::Empty) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_with_a_nul_is_refused_with_its_place() {
        assert_eq!(Text::new("ä\0b"), Err(InvalidText::Nul { at: 2 }));
        assert_eq!(Text::new("\u{202e}العربية '; \u{fffd}").unwrap().as_str().chars().count(), 13);
        assert!(serde_json::from_str::<Text>(r#""a\u0000b""#).is_err());
        assert_eq!(serde_json::to_string(&Text::new("a").unwrap()).unwrap(), r#""a""#);
    }

    #[test]
    fn a_remark_and_a_key_have_airflows_lengths_in_characters() {
        assert!(Note::new("ü".repeat(1000)).is_ok());
        assert_eq!(Note::new("ü".repeat(1001)), Err(InvalidText::TooLong { found: 1001, max: 1000 }));
        assert!(XComKey::new("k".repeat(512)).is_ok());
        assert_eq!(XComKey::new("k".repeat(513)), Err(InvalidText::TooLong { found: 513, max: 512 }));
        assert_eq!(XComKey::new(""), Err(InvalidText::Empty));
    }
}
