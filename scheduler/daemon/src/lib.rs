//! The processes of Windlass: leader, worker with its guard, service supervisor, private PostgreSQL.

pub mod bundles;
pub mod cluster;
pub mod folder;
pub mod guard;
pub mod home;
pub mod leader;
pub mod postgres;
pub mod private;
pub mod services;
pub mod worker;
