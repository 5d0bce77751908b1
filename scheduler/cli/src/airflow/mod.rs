//! What is taken over from an Airflow: read from its REST API, compared with what is here, and written one entry at a time.

mod plan;
mod secrets;
mod source;

pub use plan::{Act, Entry, Kind, Mode, plan};
pub use source::{Credentials, Source};
