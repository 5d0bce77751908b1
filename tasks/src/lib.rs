//! The streaming workers and the lake: everything behind the `windlass-tasks` command.
//!
//! A worker reads an event log (Kafka or the one embedded in PostgreSQL, behind the same trait), decodes, and commits to
//! tables together with the offsets it has read, so that a kill at any instruction loses and doubles nothing.

pub mod cli;
pub mod errors;
pub mod kafka_exporter;
pub mod lake;
pub mod operators;
pub mod pg;
pub mod registry;
pub mod runtime;
pub mod settings;
pub mod sql;
pub mod stock;
pub mod topics;
