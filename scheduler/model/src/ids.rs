//! Ids are newtypes: a run can not be mistaken for a task, nor a worker for an epoch.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The longest id of a DAG, a run or a task, which is what Airflow stores.
pub const ID_CHARS_MAX: usize = 250;

/// A text that can not be an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {found:?} is not valid: use 1 to 250 characters of A-Z a-z 0-9 {allowed}")]
pub struct InvalidId {
    /// The kind of id.
    pub what: &'static str,
    /// The text as it was given.
    pub found: String,
    /// The punctuation that is allowed beside letters and digits.
    pub allowed: &'static str,
}

macro_rules! text_id {
    ($(#[$meta:meta])* $name:ident, $what:literal, $punctuation:literal) => {
        $(#[$meta])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks the text.
            ///
            /// # Errors
            /// [`InvalidId`] when it is empty, too long, or has a character that ids may not have.
            pub fn new(text: impl AsRef<str>) -> Result<Self, InvalidId> {
                let text = text.as_ref();
                let fits = (1..=ID_CHARS_MAX).contains(&text.len())
                    && text.chars().all(|c| c.is_ascii_alphanumeric() || $punctuation.contains(c));
                if fits { Ok(Self(text.into())) } else {
                    Err(InvalidId { what: $what, found: text.chars().take(ID_CHARS_MAX).collect(), allowed: $punctuation })
                }
            }

            /// The id as text.
            #[must_use]
            pub fn as_str(&self) -> &str { &self.0 }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;
            fn try_from(text: String) -> Result<Self, InvalidId> { Self::new(text) }
        }
        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> { Self::new(text) }
        }
        impl From<$name> for String { fn from(id: $name) -> Self { id.0.as_ref().to_owned() } }
        impl fmt::Display for $name { fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.pad(&self.0) } }
        impl fmt::Debug for $name { fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { fmt::Debug::fmt(&self.0, f) } }
        impl AsRef<str> for $name { fn as_ref(&self) -> &str { &self.0 } }
    };
}

text_id!(
    /// The name of a DAG, unique in an installation.
    DagId, "dag_id", "_.-"
);
text_id!(
    /// The name of a task, unique in its DAG; a task in a group is `group.task`.
    TaskId, "task_id", "_.-"
);
text_id!(
    /// Airflow's `run_id`, such as `scheduled__2026-11-21T00:00:00+00:00`; unique in its DAG.
    RunId, "run_id", "_.~:+-"
);

text_id!(
    /// The name of a bundle of DAG files, unique in an installation.
    BundleName, "bundle name", "_.-"
);

impl BundleName {
    /// What the DAG folder is called, as in Airflow.
    pub const FOLDER: &'static str = "dags-folder";

    /// The DAG folder's.
    #[must_use]
    pub fn folder() -> Self {
        Self(Self::FOLDER.into())
    }

    /// Whether it is the DAG folder's.
    #[must_use]
    pub fn is_folder(&self) -> bool {
        self.as_str() == Self::FOLDER
    }
}

/// A file of a bundle, by its name below the bundle's root.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BundleFile {
    /// The bundle.
    pub bundle: BundleName,
    /// The name, with `/` between its parts.
    pub name: String,
}

impl BundleFile {
    /// The file of a bundle.
    #[must_use]
    pub fn new(bundle: BundleName, name: impl Into<String>) -> Self {
        Self { bundle, name: name.into() }
    }

    /// A file of the DAG folder.
    #[must_use]
    pub fn in_folder(name: impl Into<String>) -> Self {
        Self::new(BundleName::folder(), name)
    }
}

/// Files of the DAG folder are named alone, as long as there was nothing else.
impl fmt::Display for BundleFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.bundle.is_folder() {
            f.write_str(&self.name)
        } else {
            write!(f, "{} of bundle {}", self.name, self.bundle)
        }
    }
}

/// A run's id that stands for something else in a URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "run_id \"{found}\" can not be given to a run: in a URL it means something else; add a letter or a digit, such as \"{found}1\""
)]
pub struct ReservedRunId {
    /// The id.
    pub found: RunId,
}

impl RunId {
    /// Ids that no URL leads to: clients take `.` and `..` out of a path, `~` stands for all runs, and `list` is a route.
    const RESERVED: [&str; 4] = [".", "..", "~", "list"];

    /// Whether a new run may have this id. What is stored may be older than this rule, so that every id can be read.
    ///
    /// # Errors
    /// [`ReservedRunId`].
    pub fn may_be_given(&self) -> Result<(), ReservedRunId> {
        if Self::RESERVED.contains(&self.as_str()) { Err(ReservedRunId { found: self.clone() }) } else { Ok(()) }
    }
}

macro_rules! number_id {
    ($(#[$meta:meta])* $name:ident, $inner:ty) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl $name {
            /// The bare number, as the database has it.
            #[must_use]
            pub const fn get(self) -> $inner { self.0 }
        }
        impl fmt::Display for $name { fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { self.0.fmt(f) } }
    };
}

number_id!(
    /// `dag_run.id`: a run, told apart in the whole installation.
    RunKey, i64
);
number_id!(
    /// `backfill.id`: a backfill, told apart in the whole installation. It is the number of the command that made it.
    BackfillId, i64
);
number_id!(
    /// A task's number in its DAG: given once, never reused, the same in every version.
    TaskIdx, i32
);
number_id!(
    /// Which instance of an expanded task; -1 when the task is not expanded.
    MapIndex, i32
);
number_id!(
    /// Which try of a task instance, from 1.
    TryNumber, i16
);
number_id!(
    /// `worker.id`: a worker as the database numbers it.
    WorkerId, i32
);
number_id!(
    /// `dag_version.id`: one stored version of a DAG.
    DagVersionId, i64
);
number_id!(
    /// `inbox.id`: a command that waits for the leader.
    CommandId, i64
);
number_id!(
    /// Which leadership; it only rises.
    Epoch, i64
);
number_id!(
    /// Which turn of a leader; it only rises.
    TurnNumber, i64
);

impl MapIndex {
    /// The index of a task that is not expanded.
    pub const UNMAPPED: Self = Self(-1);
}

impl TryNumber {
    /// The first try.
    pub const FIRST: Self = Self(1);

    /// The try after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// A task instance: a task in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TiKey {
    /// The run.
    pub run: RunKey,
    /// The task's number in its DAG.
    pub task: TaskIdx,
    /// Which instance of an expanded task.
    pub map: MapIndex,
}

impl TiKey {
    /// The instance of a task that is not expanded.
    #[must_use]
    pub const fn unmapped(run: RunKey, task: TaskIdx) -> Self {
        Self { run, task, map: MapIndex::UNMAPPED }
    }

    /// The id that REST shows for it: the same for ever, stored or not (RFC 9562, version 5).
    #[must_use]
    pub fn uuid(self) -> Uuid {
        const NAMESPACE: Uuid = Uuid::from_u128(0x5e9c_62f1_5d1b_4c0e_9c62_77d8_6c07_51a4);
        Uuid::new_v5(&NAMESPACE, format!("{}/{}/{}", self.run, self.task, self.map).as_bytes())
    }
}

/// One execution of a try: random, so that a lost one is never issued again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AttemptId(pub Uuid);

impl fmt::Display for AttemptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A notification that is owed to the outside: the same however often it is sent, so that who gets it twice can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NotificationId(pub Uuid);

impl fmt::Display for NotificationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_with_a_slash_or_a_nul_is_refused() {
        for bad in ["", "a/b", "a\0b", "..\\x", &"x".repeat(251)] {
            assert!(DagId::new(bad).is_err(), "{bad:?}");
        }
        assert_eq!(DagId::new("stock_data_pipeline").unwrap().as_str(), "stock_data_pipeline");
    }

    #[test]
    fn a_run_id_may_carry_a_date() {
        assert!(RunId::new("manual__2026-11-21T10:00:00.123456+00:00").is_ok());
        assert!(RunId::new("manual 1").is_err());
    }

    #[test]
    fn an_instance_has_the_same_uuid_for_ever() {
        let key = TiKey::unmapped(RunKey(7), TaskIdx(2));
        assert_eq!(key.uuid(), key.uuid());
        assert_ne!(key.uuid(), TiKey { map: MapIndex(0), ..key }.uuid());
    }
}
