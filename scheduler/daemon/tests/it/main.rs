//! The daemon's parts with real processes.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails by panicking, and says why it was skipped")]

extern crate windlass_daemon as daemon;

mod bundles;
mod cluster;
mod commands;
mod deferred;
mod elsewhere;
mod folder_scale;
mod held;
mod leader;
mod lease;
mod leaving;
mod notifications;
mod odd_commands;
mod pools;
mod questions;
mod reign;
mod secrets_backends;
mod worker;
