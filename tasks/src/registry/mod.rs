//! The schema registry: a server of Confluent's REST interface on the lake database, and a client of any such server.

pub mod client;
mod error;
pub mod schema;
pub mod server;

pub use client::{RegistryClient, RegistryError};
