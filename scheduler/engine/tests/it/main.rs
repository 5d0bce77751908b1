//! The engine from outside: stories, a seeded simulation against a second implementation, and its speed.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

extern crate windlass_engine as engine;

mod asset_tables;
mod assets;
mod backfills;
mod commands;
mod control;
mod dags;
mod defers;
mod faults;
mod foretold;
mod limits;
mod mapping;
mod mirror;
mod notifications;
mod oracle;
mod pokes;
mod questions;
mod random_dags;
mod reference;
mod schedules;
mod scopes;
mod shipped;
mod simulated;
mod simulation;
mod speed;
mod stories;
mod told;
mod waits;
mod whys;
mod world;
