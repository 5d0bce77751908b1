//! The daemon's parts with real processes.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

extern crate windlass_daemon as daemon;

mod elsewhere;
mod leader;
mod pools;
mod worker;
