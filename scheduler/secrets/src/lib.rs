//! Secrets backends: connections and variables that lie in files, in Vault or in AWS Secrets Manager.
//!
//! [`Backends`] is an ordered chain. The first that knows a name answers; what none of them knows comes from the environment
//! or the database, as without backends. A backend that can not answer ends the question with an error: what another place
//! holds under the same name may be old. Calls, waits and what is kept in memory have limits, and no message holds a secret.

mod aws;
mod backend;
mod chain;
mod files;
mod http;
mod settings;
mod vault;

pub use backend::BackendError;
pub use chain::Backends;
pub use settings::{Settings, SettingsError};
