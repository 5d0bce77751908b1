//! The door for texts, JSON and instants that come from outside: files, requests, forms, arguments, reports.
//!
//! PostgreSQL has no text with a NUL, no year 0 and no JSON deeper than its reader goes. What has passed the door fits, so
//! that a command, once accepted, is never what the store refuses. Every type checks when it is made and when it is read
//! back, and says in words what is wrong and where.

mod instant;
mod json;
mod text;

pub use instant::{Instant, InvalidInstant, Zone};
pub(crate) use json::Place;
pub use json::{Conf, InvalidJson, Json, inexact};
pub use text::{InvalidText, Note, Text, XComKey, nul_at};
