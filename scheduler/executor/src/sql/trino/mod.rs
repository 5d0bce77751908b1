//! SQL on a Trino cluster, by its statement protocol over HTTP.
//!
//! A statement is handed over by POST; its answer names the address of the next one, until there is none. Progress is in
//! the log, results are paged through in bounded memory, and a query never outlives its attempt, unless the worker dies:
//! then the next try goes on with it.

mod attach;
mod caller;
mod client;
mod failure;
mod given;
mod note;
mod page;
mod progress;
mod retry;
mod session;
mod settings;
mod talk;
mod value;

use link::ConnectionFields;

use self::{settings::Settings, talk::Talk};
use super::{Table, Work};
use crate::Outcome;

pub(crate) use settings::mask;

/// Runs the scripts.
pub(super) async fn run(work: &Work<'_>, fields: &ConnectionFields) -> Result<Table, Outcome> {
    let settings = Settings::of(fields).map_err(Outcome::failed)?;
    let talk = Talk::new(work, settings).map_err(|error| Outcome::failed(error.to_string()))?;
    talk.run().await
}
