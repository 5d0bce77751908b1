//! The web server as clients meet it: real HTTP, a real PostgreSQL, and a leader made for the test.

#![allow(clippy::unwrap_used, reason = "a test that can not go on has failed")]

mod admin;
mod admin_pages;
mod apart;
mod api;
mod approvals;
mod assets;
mod backfills;
mod bodies;
mod bundles;
mod document;
mod features;
mod filters;
mod forecast;
mod guard;
mod instances;
mod layers;
mod lists;
mod live;
mod many;
mod mapped;
mod notifications;
mod odd_values;
mod oidc;
mod pages;
mod roles;
mod runs;
mod safety;
mod sample_dags;
mod support;
mod views;
