//! Variables: any JSON in, text out. A mask that comes back stands for what is stored.

use std::collections::BTreeSet;

use model::masking::{self, MASK, StillMasked};
use serde_json::Value;
use store::secrets::{
    self, Creation, Deletion, Together,
    variables::{self, KEY_CHARS_MAX, Variable},
};

use super::{Change, Managed, Mask, name_in, of_one};
use crate::{
    app::App,
    auth::Principal,
    declare::{AnyJson, Ignored, Sent, body, schema},
    error::{ApiError, ApiResult, FieldError},
    exact::{self, Exact, Spacing},
    http::body::Body,
    reads::variables::{missing, shown_value},
};

body! {
    /// A variable as it is to be.
    pub struct VariableBody {
        key: String => schema::text_like(r"\S", 1, KEY_CHARS_MAX),
        /// Any JSON: a text is kept as it is, everything else as JSON.
        value: AnyJson,
        description: Sent<Option<String>>,
        /// There are no teams here.
        _team_name: Ignored = "team_name",
    }
}

/// The resource, for bulk requests.
pub struct Variables;

/// A variable as a client wants it, and whether it sent a description.
pub struct Wish {
    variable: Variable,
    describes: bool,
}

impl Managed for Variables {
    type Id = String;
    type Wish = Wish;
    const SEVERAL: &'static str = "variables with these keys";

    fn read(&self, body: &mut Body, mask: &Mask) -> Wish {
        let was_named = body.has("key");
        let VariableBody { key, value, description, _team_name: _ } = VariableBody::read(body);
        let describes = description.was_sent();
        let variable = Variable { key, value: text_of(value.0), description: description.0.flatten() };
        if was_named {
            // What a mask leaves out only came along; the key is what is looked up.
            for mistake in variable.mistakes().into_iter().filter(|one| one.field == "key" || mask.has(one.field)) {
                body.wrong(mistake.field, "value_error", format!("Value error, {}", mistake.text), MASK.into());
            }
        }
        Wish { variable, describes }
    }

    fn id<'w>(&self, wish: &'w Wish) -> &'w String {
        &wish.variable.key
    }

    fn named(&self, entity: &Value) -> Option<String> {
        name_in(entity, "key")
    }

    async fn known(&self, app: &App, of: BTreeSet<String>) -> ApiResult<BTreeSet<String>> {
        Ok(secrets::variables_named(&app.pool, of.into_iter().collect()).await?.into_iter().collect())
    }

    async fn carry_out(
        &self,
        app: &App,
        who: &Principal,
        changes: &[Change<'_, Self>],
    ) -> ApiResult<Vec<ApiResult<()>>> {
        let mut together = Together::begin(&app.pool).await?;
        let mut results = Vec::with_capacity(changes.len());
        for change in changes {
            let done = match change {
                Change::Create(wish) => create_in(&mut together, app, who, wish).await,
                Change::Update(wish, mask) => update_in(&mut together, app, who, wish, mask).await,
                Change::Delete(key) => delete_in(&mut together, who, key).await,
            };
            results.push(of_one(done)?);
        }
        together.commit().await?;
        Ok(results)
    }
}

async fn create_in(together: &mut Together, app: &App, who: &Principal, wish: &Wish) -> ApiResult<()> {
    let key = &wish.variable.key;
    match variables::create_in(together, &app.settings.secret_key, who.actor(), &wish.variable).await? {
        Creation::Created => Ok(()),
        Creation::Exists => Err(ApiError::Conflict(format!("The Variable with key: `{key}` already exists"))),
    }
}

async fn update_in(
    together: &mut Together,
    app: &App,
    who: &Principal,
    Wish { variable, describes }: &Wish,
    mask: &Mask,
) -> ApiResult<()> {
    let (with_value, with_description) = (mask.has("value"), *describes && mask.has("description"));
    let new = variable.clone();
    let change = move |old: Variable| {
        let value = if with_value { kept_value(&old, new.value)? } else { old.value };
        let description = if with_description { new.description } else { old.description };
        Ok::<_, StillMasked>(Variable { value, description, key: old.key })
    };
    let done = variables::update_in(together, &app.settings.secret_key, who.actor(), &variable.key, change).await?;
    match done {
        Some(changed) => changed.map(drop).map_err(|error| still_masked("value", &error)),
        None => Err(missing(&variable.key)),
    }
}

async fn delete_in(together: &mut Together, who: &Principal, key: &str) -> ApiResult<()> {
    match variables::delete_in(together, who.actor(), key).await? {
        Deletion::Deleted => Ok(()),
        Deletion::Missing => Err(missing(key)),
    }
}

/// The value that is meant: what is still as it was shown is the stored one, member by member.
///
/// # Errors
/// [`StillMasked`] when a mask is left that stands for nothing.
fn kept_value(old: &Variable, new: String) -> Result<String, StillMasked> {
    if new == shown_value(old) {
        return Ok(old.value.clone());
    }
    if !new.contains(MASK) {
        return Ok(new);
    }
    if masking::is_secret_name(&old.key) {
        return Err(StillMasked { place: "the value".to_owned() });
    }
    let parsed = |text: &str| Exact::parse(text).filter(|json| json.get().is_object() || json.get().is_array());
    match (parsed(&new), parsed(&old.value)) {
        (Some(wanted), Some(stored)) => {
            let meant = wanted.unmasked(&stored)?;
            Ok(if meant == wanted { new } else { meant.to_text(Spacing::Python) })
        }
        _ => masking::unmasked_text(&new, &old.value),
    }
}

/// A mask that came back and stands for nothing.
pub fn still_masked(member: &str, error: &StillMasked) -> ApiError {
    ApiError::Malformed(vec![FieldError::body(member, "value_error", format!("Value error, {error}"), MASK.into())])
}

/// A value as it is stored: texts as they are, anything else as JSON in Python's spacing, which Airflow's clients compare.
fn text_of(value: Value) -> String {
    match value {
        Value::String(text) => text,
        other => exact::written(&other, Spacing::Python),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn one_member_of_a_json_value_is_changed_and_its_secrets_stay() {
        let old = |value: &str| Variable { key: "cfg".to_owned(), value: value.to_owned(), description: None };
        let stored = old(r#"{"password": "TOPSECRET", "host": "a", "url": "http://me:pw@h"}"#);
        let edited = r#"{"password": "***", "host": "b", "url": "http://me:***@i"}"#;
        let expected = r#"{"password": "TOPSECRET", "host": "b", "url": "http://me:pw@i"}"#;
        assert_eq!(kept_value(&stored, edited.to_owned()).unwrap(), expected);
        assert!(kept_value(&stored, r#"{"passwort": "***"}"#.to_owned()).is_err());
        let url = old("postgres://me:p/w@h/db");
        assert_eq!(kept_value(&url, "postgres://me:***@i/db".to_owned()).unwrap(), "postgres://me:p/w@i/db");
        assert_eq!(kept_value(&old("a hotel"), "a *** hotel".to_owned()).unwrap(), "a *** hotel");
        let token = Variable { key: "api_token".to_owned(), ..old("x") };
        assert!(kept_value(&token, "***!".to_owned()).is_err());
    }

    #[test]
    fn any_json_becomes_a_text() {
        assert_eq!(text_of(json!("as it is")), "as it is");
        assert_eq!(text_of(json!({"a": 1, "b": [true, null]})), r#"{"a": 1, "b": [true, null]}"#);
        assert_eq!(text_of(json!({})), "{}");
    }
}
