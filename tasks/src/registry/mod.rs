//! The schema registry: a server of Confluent's REST interface on the lake database, and a client of any such server.

mod access;
mod avro;
pub mod client;
mod compatibility;
mod config;
mod error;
mod level;
mod resolution;
pub mod schema;
pub mod server;

pub use access::{Login, RegistryAccess};
pub use client::{RegistryClient, RegistryError};
