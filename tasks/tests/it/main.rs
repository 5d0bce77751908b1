//! Integration tests of the workers: real PostgreSQL, real files, and a real Kafka where one is given.

mod event_log;
mod lake;
mod producer;
mod registry;
mod sink;
mod sql;
mod support;
