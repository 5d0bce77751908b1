//! One table per enum ties a variant to its Airflow name and its `smallint` code in the database.

/// A text or number names no variant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} has no value {found:?}; known are {known}")]
pub struct UnknownCode {
    /// The kind of value, such as `task state`.
    pub what: &'static str,
    /// What was found instead.
    pub found: String,
    /// The names that exist, comma separated.
    pub known: String,
}

/// Declares an enum whose variants have a stable name and a stable database code.
///
/// Codes are stored: they are never reused and never renumbered.
macro_rules! coded_enum {
    ($(#[$meta:meta])* $name:ident, $what:literal { $($(#[$doc:meta])* $variant:ident = $code:literal, $text:literal;)+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        pub enum $name { $($(#[$doc])* #[serde(rename = $text)] $variant,)+ }

        impl $name {
            /// Every variant, in the order of the codes.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The name that Airflow uses, as in YAML, REST and on screen.
            #[must_use]
            pub const fn name(self) -> &'static str { match self { $(Self::$variant => $text,)+ } }

            /// The `smallint` that stands for it in the database.
            #[must_use]
            pub const fn code(self) -> i16 { match self { $(Self::$variant => $code,)+ } }
        }

        impl TryFrom<i16> for $name {
            type Error = $crate::UnknownCode;
            fn try_from(code: i16) -> Result<Self, Self::Error> {
                match code { $($code => Ok(Self::$variant),)+ other => Err($crate::codes::unknown($what, other, Self::ALL.iter().map(|v| v.name()))) }
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::UnknownCode;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text { $($text => Ok(Self::$variant),)+ other => Err($crate::codes::unknown($what, other, Self::ALL.iter().map(|v| v.name()))) }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { f.pad(self.name()) }
        }
    };
}
pub(crate) use coded_enum;

/// Says which value was found and which would have been known.
pub(crate) fn unknown(
    what: &'static str,
    found: impl ToString,
    known: impl Iterator<Item = &'static str>,
) -> UnknownCode {
    UnknownCode { what, found: found.to_string(), known: known.collect::<Vec<_>>().join(", ") }
}
