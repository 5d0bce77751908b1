//! A worker with a leader that is the test: real processes, a real guard, a real socket.

mod docker;
mod leader;
mod leaving;
pub mod lives;
mod log_retention;
mod notices;
mod processes;
mod services;
mod shipping;
mod waits;
