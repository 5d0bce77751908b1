//! Attempts with real processes and a real PostgreSQL.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bash;
mod http;
mod python;
mod rig;
mod sensor;
mod server;
mod sql;
mod trigger;
