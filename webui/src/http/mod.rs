//! A request before any handler: the socket, who is let in, how much of a body is taken, and what path, query and body say.

pub mod body;
pub mod door;
pub mod intake;
pub mod load;
pub mod path;
pub mod query;
pub mod server;
