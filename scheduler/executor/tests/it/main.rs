//! Attempts with real processes and a real PostgreSQL.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails by panicking, and says when it is skipped")]

mod asking;
mod bash;
mod docker;
mod http;
mod kafka;
mod mapped;
mod processes;
mod python;
mod rig;
mod sensor;
mod server;
mod sql;
mod trial;
mod trigger;
mod trino;
