//! Airflow's enums: as filters read them, and as answers write them.

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
}
