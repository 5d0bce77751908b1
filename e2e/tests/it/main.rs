//! The project as a whole: its layers, and the product started as a user starts it.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails by panicking, and prints its seed")]

mod airflowctl;
mod bad_input;
mod chaos;
mod compose;
mod engines;
mod every_request;
mod first_day;
mod fleet;
mod identity_provider;
mod layering;
mod live;
mod monitoring;
mod pages;
mod readers;
mod rest_client;
mod stack;
mod stack_kills;
mod stock;
mod trades;
mod trino;
