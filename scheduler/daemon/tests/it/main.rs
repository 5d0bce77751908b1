//! The daemon's parts with real processes.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod worker;
