//! One module a group of commands.

pub mod approvals;
pub mod assets;
pub mod attempt_log;
pub mod backfill;
pub mod completion;
pub mod connections;
pub mod dags;
pub mod db;
pub mod doctor;
pub mod health;
pub mod import;
pub mod instances;
pub mod login;
pub mod notifications;
pub mod pools;
pub mod quarantine;
pub mod roles;
pub mod runs;
pub mod services;
pub mod tasks;
pub mod tokens;
pub mod users;
pub mod variables;
pub mod version;
pub mod watch;
pub mod workers;
