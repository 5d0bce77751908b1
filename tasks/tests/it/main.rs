//! Integration tests of the workers: real PostgreSQL, real files, and a real Kafka where one is given.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that cannot go on has failed, and says why it was skipped"
)]

mod alpaca;
mod event_log;
mod kafka_operators;
mod kafka_security;
mod kafka_streams;
mod lake;
mod producer;
mod registry;
mod registry_access;
mod sink;
mod sql;
mod support;
