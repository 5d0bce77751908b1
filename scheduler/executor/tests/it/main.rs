//! Attempts with real processes and a real PostgreSQL.

mod bash;
mod python;
mod rig;
mod sql;
