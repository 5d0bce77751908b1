//! SQL on the lake: the part of Trino's dialect that models and checks are written in, run by the embedded engine.
//!
//! A script is read whole ([`script`]), each statement becomes one of a few [`command`]s, and the [`engine`] runs them one
//! after the other, each seeing its tables at one moment and committing at most once. What is accepted here runs on Trino
//! unchanged. [`job`] is how the scheduler runs scripts, [`cli`] how people do.

pub mod cli;
pub mod command;
pub mod engine;
pub mod error;
pub mod job;
pub mod script;

mod cells;
mod ddl;
mod fit;
mod idle;
mod listing;
mod merge;
mod names;
mod pin;
mod predicate;
mod print;
mod scan;
mod session;
mod upkeep;

pub use engine::{Outcome, SqlEngine};
pub use error::{Position, SqlError};
pub use script::{Statement, parse};
