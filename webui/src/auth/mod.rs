//! Who asks, and what they may do: tokens, sessions, roles, and the one guard before every handler.

pub mod form;
pub mod guard;
pub mod join;
pub mod limiter;
pub mod login;
pub mod rights;
pub mod token;

use rights::Role;

use crate::prefs::Prefs;

/// Who asks. Put into the request by the guard; handlers that need it take it as an extension.
#[derive(Debug, Clone)]
pub struct Principal {
    /// The user's name.
    pub name: String,
    /// What the user may do.
    pub role: Role,
    /// The token's id, which form tokens are bound to.
    pub token_id: uuid::Uuid,
    /// How pages look to the browser that asks.
    pub prefs: Prefs,
}
