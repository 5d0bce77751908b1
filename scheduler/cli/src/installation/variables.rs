//! Variables. A server masks the values of those with a secret's name; what is masked is no value.

use model::masking::MASK;
use serde::Deserialize;
use serde_json::{Value, json};
use store::{
    audit::Actor,
    secrets::{
        Creation, Deletion, variables,
        variables::{Stored, Variable},
    },
};

use super::Installation;
use crate::{
    access::{Access, caller},
    exit::Failure,
};

/// A variable as the API writes it.
#[derive(Deserialize)]
struct Row {
    key: String,
    value: Option<String>,
    description: Option<String>,
}

impl From<Row> for Stored {
    fn from(row: Row) -> Self {
        let problem = match row.value.as_deref() {
            None => Some("the server can not open its value"),
            Some(value) if is_masked(value) => Some("the server gives its value, or a part of it, to nobody"),
            Some(_) => None,
        };
        let value = row.value.filter(|_| problem.is_none()).unwrap_or_default();
        let variable = Variable { key: row.key, value, description: row.description };
        Self { variable, problem: problem.map(str::to_owned) }
    }
}

/// Whether a server has put a mask in place of a value, or of a part of it.
#[must_use]
pub fn is_masked(value: &str) -> bool {
    fn has_mask(value: &Value) -> bool {
        match value {
            Value::String(text) => text == MASK,
            Value::Array(items) => items.iter().any(has_mask),
            Value::Object(members) => members.values().any(has_mask),
            Value::Null | Value::Bool(_) | Value::Number(_) => false,
        }
    }
    value == MASK || serde_json::from_str(value).is_ok_and(|value| has_mask(&value))
}

impl Installation<'_> {
    /// Every variable; with a problem in place of a value that can not be had.
    ///
    /// # Errors
    /// When the installation does not answer.
    pub async fn variables(&self) -> anyhow::Result<Vec<Stored>> {
        match self {
            Self::Here(here) => {
                let key = Access::secret_key(here.settings)?;
                Ok(variables::all(here.access.pool().await?, &key).await?)
            }
            Self::Server(server) => {
                let rows: Vec<Row> = server.list(&["variables"], "variables", &[]).await?;
                Ok(rows.into_iter().map(Stored::from).collect())
            }
        }
    }

    /// One variable.
    ///
    /// # Errors
    /// When the installation does not answer.
    pub async fn variable(&self, name: &str) -> anyhow::Result<Option<Stored>> {
        match self {
            Self::Here(here) => {
                let key = Access::secret_key(here.settings)?;
                Ok(variables::find(here.access.pool().await?, &key, name).await?)
            }
            Self::Server(server) => match server.get::<Row>(&["variables", name], &[]).await {
                Err(error) if error.is_missing() => Ok(None),
                found => Ok(Some(found?.into())),
            },
        }
    }

    /// Creates a variable, or replaces the one that exists; a description that is not given stays.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn set_variable(&self, new: Variable) -> anyhow::Result<Creation> {
        let here = match self {
            Self::Here(here) => here,
            Self::Server(server) => {
                let mut body = json!({ "key": new.key, "value": new.value });
                if let Some(description) = &new.description {
                    body["description"] = json!(description);
                }
                return match server.patch::<Value>(&["variables", &new.key], &[], &body).await {
                    Err(error) if error.is_missing() => {
                        server.post::<Value>(&["variables"], &body).await?;
                        Ok(Creation::Created)
                    }
                    done => Ok(done.map(|_| Creation::Exists)?),
                };
            }
        };
        let (pool, key) = (here.access.pool().await?, Access::secret_key(here.settings)?);
        let name = new.key.clone();
        let who = caller();
        let done = variables::create(pool, &key, Actor::at_the_command_line(&who), &new).await?;
        if done == Creation::Exists {
            let change = |old: Variable| {
                Ok::<_, std::convert::Infallible>(Variable { description: new.description.or(old.description), ..new })
            };
            variables::update(pool, &key, Actor::at_the_command_line(&who), &name, change).await?;
        }
        Ok(done)
    }

    /// Deletes a variable.
    ///
    /// # Errors
    /// When there is none of this key.
    pub async fn delete_variable(&self, name: &str) -> anyhow::Result<()> {
        let here = match self {
            Self::Here(here) => here,
            Self::Server(server) => return Ok(server.delete(&["variables", name]).await?),
        };
        match variables::delete(here.access.pool().await?, Actor::at_the_command_line(&caller()), name).await? {
            Deletion::Deleted => Ok(()),
            Deletion::Missing => Err(Failure::missing(format!("there is no variable {name}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_anywhere_in_a_value_is_seen() {
        for masked in [MASK, r#"{"a": [{"password": "***"}]}"#, r#""***""#] {
            assert!(is_masked(masked), "{masked}");
        }
        for open in ["", "a *** b", r#"{"a": "x"}"#, "3"] {
            assert!(!is_masked(open), "{open}");
        }
    }
}
