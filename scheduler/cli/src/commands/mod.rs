//! One module a group of commands.

pub mod dags;
pub mod db;
pub mod health;
pub mod services;
pub mod tasks;
pub mod watch;
pub mod workers;
