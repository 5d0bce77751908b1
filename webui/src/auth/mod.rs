//! Who asks, and what they may do: tokens, sessions, roles, and the one guard before every handler.

pub mod client;
pub mod faces;
pub mod form;
pub mod guard;
pub mod join;
pub mod limiter;
pub mod login;
pub mod oidc;
pub mod rights;
pub mod table;
pub mod token;
pub mod way_back;

use client::Client;
use model::{DagId, masking};
use serde_json::Value;
use store::{
    audit::{Actor, Door},
    read::Visible,
    users::{Permissions, Right, TokenLimit},
};

use crate::{
    error::{ApiError, ApiResult},
    live::Position,
    prefs::Prefs,
};

/// Why an API token does not suffice though its user's roles do.
fn limited_by(limit: &TokenLimit, right: Right) -> String {
    match &limit.scope {
        Some(scope) if Right::GIVEN.contains(&right) => {
            let scope = scope.join(", ");
            format!("The API token is limited to {scope}, and this takes {right}: use a token whose scope has it")
        }
        _ => "An API token does not open the account of its user: log in with the password".to_owned(),
    }
}

/// Who asks. Put into the request by the guard; handlers that need it take it as an extension.
#[derive(Debug, Clone)]
pub struct Principal {
    /// The user's name.
    pub name: String,
    /// The names of the user's roles.
    pub roles: String,
    /// What the user may do.
    pub permissions: Permissions,
    /// What the API token takes away by which the user asks.
    pub limit: Option<TokenLimit>,
    /// The token's id, which form tokens are bound to.
    pub token_id: uuid::Uuid,
    /// How pages look to the browser that asks.
    pub prefs: Prefs,
    /// By which door the request came.
    pub door: Door,
    /// From where.
    pub client: Client,
    /// How far changes had been heard of when the request came: a page says it, and is told of what comes after.
    pub came_at: Position,
}

impl Principal {
    /// Anybody who may do the same and sees the same zone: without a name, a session, or what is chosen besides.
    #[must_use]
    pub fn as_anybody(&self) -> Self {
        Self {
            name: String::new(),
            roles: String::new(),
            token_id: uuid::Uuid::nil(),
            prefs: Prefs { zone: self.prefs.zone, ..Prefs::default() },
            ..self.clone()
        }
    }

    /// Whether the user has a right, over everything.
    #[must_use]
    pub fn may(&self, right: Right) -> bool {
        self.permissions.has(right)
    }

    /// The DAGs that lists tell this user of.
    #[must_use]
    pub fn visible(&self) -> Visible {
        self.permissions.visible()
    }

    /// Refuses to change a DAG that a body names: the guard knows only that of the path.
    ///
    /// # Errors
    /// [`ApiError::Forbidden`].
    pub fn must_change(&self, dag_id: &str) -> ApiResult<()> {
        self.must(Right::ChangeDags, |permissions| permissions.has_on(Right::ChangeDags, dag_id))
    }

    /// Refuses what is not allowed. When the user may do it and the API token may not, the answer says so: another role would not
    /// help.
    ///
    /// # Errors
    /// [`ApiError::Refused`], [`ApiError::Forbidden`].
    pub fn must(&self, right: Right, may: impl Fn(&Permissions) -> bool) -> ApiResult<()> {
        if may(&self.permissions) {
            return Ok(());
        }
        let limit = self.limit.as_ref().filter(|limit| may(&limit.of_user));
        Err(limit.map_or(ApiError::Forbidden, |limit| ApiError::Refused(limited_by(limit, right))))
    }

    /// A value that a task of a DAG has left, as this user may see it: who may run the DAG may read what its tasks pass on,
    /// others see it without what has a secret's name or form.
    #[must_use]
    pub fn may_see(&self, dag_id: &DagId, key: &str, value: Value) -> Value {
        let may_run = self.permissions.has_on(Right::ChangeDags, dag_id.as_str());
        if may_run { value } else { masking::masked_member(key, &value) }
    }

    /// The user, as the audit log names one.
    #[must_use]
    pub fn actor(&self) -> Actor<'_> {
        let api_token = self.limit.is_some().then_some(self.token_id);
        Actor { name: &self.name, door: Some(self.door), address: Some(self.client.0), api_token }
    }
}
