//! Backends against servers that speak as the real ones do.

#![allow(clippy::unwrap_used, reason = "a test that can not go on has failed")]

// The name that every other crate of the workspace knows it by.
extern crate windlass_secrets as secrets;

mod aws;
mod chain;
mod server;
mod vault;
