//! The web server as clients meet it: real HTTP, a real PostgreSQL, and a leader made for the test.

mod api;
mod guard;
mod pages;
mod support;
