//! How the program ends: one code a reason, so that scripts can tell them apart. docs/cli.md lists them.

use std::{fmt, process::ExitCode};

use link::NoLeader;
use store::StoreError;

use crate::server::ServerError;

/// Why the program ended. `clap` itself ends with 2 for a command line that makes no sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It is done.
    Done,
    /// It went wrong in a way that has no code of its own, or a check found something.
    Error,
    /// The command makes no sense here: it can not be had from a server, or a setting contradicts it.
    Usage,
    /// What was named does not exist.
    NotFound,
    /// It was refused: it contradicts what is there, or breaks a rule.
    Refused,
    /// Nobody is logged in, or who is has not the right.
    NotAllowed,
    /// No server, scheduler or database answers.
    Unreachable,
    /// The run that was waited for did not succeed.
    RunFailed,
    /// It is done, but for what was told line by line.
    InPart,
}

impl Exit {
    /// Every one, in the order of the codes.
    #[cfg(test)]
    const ALL: [Self; 9] = [
        Self::Done,
        Self::Error,
        Self::Usage,
        Self::NotFound,
        Self::Refused,
        Self::NotAllowed,
        Self::Unreachable,
        Self::RunFailed,
        Self::InPart,
    ];

    /// The number that the shell sees.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Error => 1,
            Self::Usage => 2,
            Self::NotFound => 3,
            Self::Refused => 4,
            Self::NotAllowed => 5,
            Self::Unreachable => 6,
            Self::RunFailed => 7,
            Self::InPart => 8,
        }
    }

    /// The code of an error: that of the first of its causes that has one.
    #[must_use]
    pub fn of(error: &anyhow::Error) -> Self {
        error.chain().find_map(Self::of_cause).unwrap_or(Self::Error)
    }

    fn of_cause(cause: &(dyn std::error::Error + 'static)) -> Option<Self> {
        if let Some(failure) = cause.downcast_ref::<Failure>() {
            return Some(failure.exit);
        }
        if let Some(refusal) = cause.downcast_ref::<ServerError>() {
            return Some(refusal.exit());
        }
        if cause.is::<NoLeader>() {
            return Some(Self::Unreachable);
        }
        let stored = cause.downcast_ref::<StoreError>()?;
        if matches!(stored, StoreError::Unreachable { .. }) {
            return Some(Self::Unreachable);
        }
        matches!(stored, StoreError::Refused { .. }).then_some(Self::Refused)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.number())
    }
}

/// An error whose code is known.
#[derive(Debug)]
pub struct Failure {
    exit: Exit,
    text: String,
}

impl Failure {
    /// What ends the program with this code and these words.
    #[must_use]
    pub fn of(exit: Exit, text: impl Into<String>) -> anyhow::Error {
        Self { exit, text: text.into() }.into()
    }

    /// What was named does not exist.
    #[must_use]
    pub fn missing(text: impl Into<String>) -> anyhow::Error {
        Self::of(Exit::NotFound, text)
    }

    /// It contradicts what is there, or breaks a rule.
    #[must_use]
    pub fn refused(text: impl Into<String>) -> anyhow::Error {
        Self::of(Exit::Refused, text)
    }

    /// Nobody answers.
    #[must_use]
    pub fn unreachable(text: impl Into<String>) -> anyhow::Error {
        Self::of(Exit::Unreachable, text)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    /// Where people look the codes up.
    const DOCS: &str = include_str!("../../../docs/cli.md");

    #[test]
    fn every_code_has_a_number_of_its_own_and_a_line_in_the_docs() {
        for (number, exit) in (0_u8..).zip(Exit::ALL) {
            assert_eq!(exit.number(), number, "{exit:?}");
            assert!(DOCS.contains(&format!("| {number} |")), "docs/cli.md does not tell of {exit:?}, {number}");
        }
    }

    #[test]
    fn an_error_keeps_its_code_under_whatever_is_said_around_it() {
        let wrapped = Err::<(), _>(Failure::missing("there is no pool x")).context("pools").unwrap_err();
        assert_eq!(
            (Exit::of(&wrapped), format!("{wrapped:#}").as_str()),
            (Exit::NotFound, "pools: there is no pool x")
        );
        let nobody = anyhow::Error::from(NoLeader { reason: "nothing runs".to_owned() });
        assert_eq!(Exit::of(&nobody), Exit::Unreachable);
        assert_eq!(Exit::of(&anyhow::anyhow!("something else")), Exit::Error);
    }
}
