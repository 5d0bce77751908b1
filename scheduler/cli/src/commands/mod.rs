//! One module a group of commands.

pub mod connections;
pub mod dags;
pub mod health;
pub mod pools;
pub mod services;
pub mod tasks;
pub mod users;
pub mod variables;
pub mod watch;
