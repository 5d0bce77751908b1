//! The store against a real PostgreSQL: the server that `WINDLASS_TEST_DATABASE_URL` names, a database a test.

#![allow(clippy::unwrap_used, reason = "a test that can not go on has failed")]

// The name that every other crate of the workspace knows it by.
extern crate windlass_store as store;

mod admin;
mod assets;
mod backfills;
mod bundles;
mod forecast;
mod inbox;
mod leadership;
mod lists;
mod notifications;
mod plans;
mod pool;
mod provider_users;
mod quarantine;
mod retention;
mod schema;
mod secrets;
mod support;
mod turns;
mod upgrade;
mod versions;
