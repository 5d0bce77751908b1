//! Who asks, and what they may do: tokens, sessions, roles, and the one guard before every handler.

pub mod client;
pub mod form;
pub mod guard;
pub mod join;
pub mod limiter;
pub mod login;
pub mod oidc;
pub mod rights;
pub mod table;
pub mod token;

use client::Client;
use model::masking;
use rights::Role;
use serde_json::Value;
use store::audit::{Actor, Door};

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
    /// By which door the request came.
    pub door: Door,
    /// From where.
    pub client: Client,
}

impl Principal {
    /// A value that a task has left, as this user may see it: who may run DAGs may read what they pass on, others see it
    /// without what has a secret's name or form.
    #[must_use]
    pub fn may_see(&self, key: &str, value: Value) -> Value {
        if self.role >= Role::User { value } else { masking::masked_member(key, &value) }
    }

    /// The user, as the audit log names one.
    #[must_use]
    pub fn actor(&self) -> Actor<'_> {
        Actor { name: &self.name, door: Some(self.door), address: Some(self.client.0) }
    }
}
