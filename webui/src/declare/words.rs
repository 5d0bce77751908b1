//! Airflow's enums: as filters read them, and as answers write them.

use std::str::FromStr;

use model::{TaskState, UnknownCode};
use serde::{Serialize, Serializer};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{RefOr, schema::Schema},
};

use super::{param::Word, schema};

/// An enum of ours as a filter, and under Airflow's name as a member of answers.
macro_rules! words {
    ($($(#[$meta:meta])* $name:ident of $of:ty;)*) => {
        $(
            impl Word for $of {
                fn names() -> Vec<&'static str> {
                    Self::ALL.iter().map(|word| word.name()).collect()
                }
            }

            $(#[$meta])*
            #[derive(Debug, Clone, Copy, PartialEq, Eq)]
            pub struct $name(pub $of);

            impl Serialize for $name {
                fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                    serializer.serialize_str(self.0.name())
                }
            }

            impl PartialSchema for $name {
                fn schema() -> RefOr<Schema> {
                    // What the API writes as null is no word of it.
                    schema::words(<$of as Word>::names().into_iter().filter(|name| *name != "no_status")).into()
                }
            }

            impl ToSchema for $name {}
        )*
    };
}

words! {
    /// The state of a run.
    DagRunState of model::DagRunState;
    /// Why there is a run.
    DagRunType of model::RunType;
    /// Through which door a run came.
    DagRunTriggeredByType of model::TriggeredBy;
    /// How far a notification is.
    NotificationStateWord of model::NotificationState;
    /// What a notification is about.
    NotificationEvent of model::CallbackEvent;
    /// The state of a task instance that has one.
    TaskInstanceState of model::TaskState;
}

/// The state in an answer: none is null.
#[must_use]
pub fn task_state(state: TaskState) -> Option<TaskInstanceState> {
    (state != TaskState::NoStatus).then_some(TaskInstanceState(state))
}

/// The states that task instances have in answers.
pub fn task_states() -> impl Iterator<Item = &'static str> {
    TaskState::ALL.iter().filter(|state| **state != TaskState::NoStatus).map(|state| state.name())
}

/// A state that task instances are looked for in. Airflow writes no state as `none` in queries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StateFilter(pub TaskState);

impl FromStr for StateFilter {
    type Err = UnknownCode;

    fn from_str(text: &str) -> Result<Self, UnknownCode> {
        match text {
            "none" => Ok(Self(TaskState::NoStatus)),
            text => text.parse().map(Self),
        }
    }
}

impl Word for StateFilter {
    fn names() -> Vec<&'static str> {
        task_states().chain(["none", TaskState::NoStatus.name()]).collect()
    }
}
