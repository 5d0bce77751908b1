//! Variables: any JSON in, text out. The value of one with a secret's name is masked, and so are such members of values
//! that are JSON objects; a mask that comes back stands for what is stored.

use std::{cmp::Ordering, collections::BTreeSet};

use axum::{
    Extension, Json,
    extract::{Path, State},
    http::StatusCode,
};
use model::masking::{self, MASK, StillMasked};
use serde_json::{Value, json};
use store::secrets::{Creation, Deletion, variables, variables::Stored, variables::Variable};

use super::{
    body::Body,
    bulk::{self, Managed, Mask},
    query::{Query, in_order, matches},
};
use crate::{
    app::App,
    auth::Principal,
    error::{ApiError, ApiResult, FieldError},
    exact::{self, Exact, Spacing},
};

/// The resource, for bulk requests.
pub struct Variables;

/// A variable as a client wants it, and which members it sent.
pub struct Wish {
    variable: Variable,
    sent: BTreeSet<String>,
}

impl Managed for Variables {
    type Id = String;
    type Wish = Wish;
    const SEVERAL: &'static str = "variables with these keys";

    fn read(&self, body: &mut Body, mask: &Mask) -> Wish {
        let sent = body.names();
        body.take("team_name");
        let key = body.required_text("key");
        if !sent.contains("value") {
            body.missing("value");
        }
        let value = body.take("value").unwrap_or_default();
        let variable = Variable { key, value: text_of(value), description: body.text("description") };
        if sent.contains("key") {
            // What a mask leaves out only came along; the key is what is looked up.
            for mistake in variable.mistakes().into_iter().filter(|one| one.field == "key" || mask.has(one.field)) {
                body.wrong(mistake.field, "value_error", format!("Value error, {}", mistake.text), MASK.into());
            }
        }
        Wish { variable, sent }
    }

    fn id<'w>(&self, wish: &'w Wish) -> &'w String {
        &wish.variable.key
    }

    fn named(&self, entity: &Value) -> Option<String> {
        bulk::name_in(entity, "key")
    }

    async fn known(&self, app: &App, of: BTreeSet<String>) -> ApiResult<BTreeSet<String>> {
        let all = variables::all(&app.pool, &app.settings.secret_key).await?;
        Ok(all.into_iter().map(|stored| stored.variable.key).filter(|key| of.contains(key)).collect())
    }

    async fn create(&self, app: &App, who: &Principal, wish: &Wish) -> ApiResult<()> {
        let key = &wish.variable.key;
        match variables::create(&app.pool, &app.settings.secret_key, who.actor(), &wish.variable).await? {
            Creation::Created => Ok(()),
            Creation::Exists => Err(ApiError::Conflict(format!("The Variable with key: `{key}` already exists"))),
        }
    }

    async fn update(&self, app: &App, who: &Principal, wish: &Wish, mask: &Mask) -> ApiResult<()> {
        let Wish { variable, sent } = wish;
        let is_meant = |field: &str| sent.contains(field) && mask.has(field);
        let (with_value, with_description) = (is_meant("value"), is_meant("description"));
        let new = variable.clone();
        let change = move |old: Variable| {
            let value = if with_value { kept_value(&old, new.value)? } else { old.value };
            let description = if with_description { new.description } else { old.description };
            Ok::<_, StillMasked>(Variable { value, description, key: old.key })
        };
        let done = variables::update(&app.pool, &app.settings.secret_key, who.actor(), &variable.key, change).await?;
        match done {
            Some(changed) => changed.map(drop).map_err(|error| still_masked("value", &error)),
            None => Err(missing(&variable.key)),
        }
    }

    async fn delete(&self, app: &App, who: &Principal, key: &String) -> ApiResult<()> {
        match variables::delete(&app.pool, who.actor(), key).await? {
            Deletion::Deleted => Ok(()),
            Deletion::Missing => Err(missing(key)),
        }
    }
}

fn missing(key: &str) -> ApiError {
    ApiError::NotFound(format!("The Variable with key: `{key}` was not found"))
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

/// The value as it may be shown.
#[must_use]
pub fn shown_value(variable: &Variable) -> String {
    if masking::is_secret_name(&variable.key) {
        return MASK.to_owned();
    }
    match Exact::parse(&variable.value) {
        Some(value) => {
            let masked = value.masked();
            if masked == value { variable.value.clone() } else { masked.to_text(Spacing::Python) }
        }
        None => masking::masked_text(&variable.value),
    }
}

/// A value as it is stored: texts as they are, anything else as JSON in Python's spacing, which Airflow's clients compare.
fn text_of(value: Value) -> String {
    match value {
        Value::String(text) => text,
        other => exact::written(&other, Spacing::Python),
    }
}

fn shape(stored: &Stored) -> Value {
    let one = &stored.variable;
    let value = if stored.problem.is_some() { Value::Null } else { Value::from(shown_value(one)) };
    json!({ "key": one.key, "value": value, "description": one.description, "is_encrypted": true, "team_name": null })
}

/// What lists can be ordered by: all are stored encrypted, so the other attributes leave the order of keys.
#[derive(Debug, Clone, Copy)]
enum Key {
    Key,
    Description,
}

fn key(name: &str) -> Option<Key> {
    match name {
        "key" | "id" | "_val" | "is_encrypted" | "team_name" => Some(Key::Key),
        "description" => Some(Key::Description),
        _ => None,
    }
}

fn compare(key: Key, a: &Variable, b: &Variable) -> Ordering {
    match key {
        Key::Key => a.key.cmp(&b.key),
        Key::Description => a.description.cmp(&b.description),
    }
}

/// `GET /api/v2/variables`.
pub async fn list(State(app): State<App>, mut query: Query) -> ApiResult<Json<Value>> {
    let page = query.page();
    let order = query.order(key)?;
    let pattern = query.pattern("variable_key_pattern");
    let prefix = query.prefix("variable_key_prefix_pattern");
    query.finish()?;
    let mut found = variables::all(&app.pool, &app.settings.secret_key).await?;
    found.retain(|stored| {
        let key = &stored.variable.key;
        matches(&pattern, key) && prefix.as_ref().is_none_or(|prefix| key.starts_with(prefix))
    });
    in_order(&mut found, &order, Key::Key, |key, a, b| compare(key, &a.variable, &b.variable));
    let total = found.len();
    let shaped: Vec<Value> = page.of(found).iter().map(shape).collect();
    Ok(Json(json!({ "variables": shaped, "total_entries": total })))
}

/// `POST /api/v2/variables`.
pub async fn create(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    body: Body,
) -> ApiResult<(StatusCode, Json<Value>)> {
    let id = Variables.create_from(&app, &who, body).await?;
    Ok((StatusCode::CREATED, Json(shape(&find(&app, &id).await?))))
}

/// `PATCH /api/v2/variables`.
pub async fn bulk(State(app): State<App>, Extension(who): Extension<Principal>, body: Body) -> ApiResult<Json<Value>> {
    bulk::apply(&Variables, &app, &who, body).await.map(Json)
}

/// `GET /api/v2/variables/{variable_key}`; a key may have slashes.
pub async fn one(State(app): State<App>, Path(key): Path<String>) -> ApiResult<Json<Value>> {
    Ok(Json(shape(&find(&app, &key).await?)))
}

/// `PATCH /api/v2/variables/{variable_key}?update_mask=…`.
pub async fn patch(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    Path(key): Path<String>,
    query: Query,
    mut body: Body,
) -> ApiResult<Json<Value>> {
    let mask = Mask::of(query.all("update_mask"));
    let wish = Variables.read(&mut body, &mask);
    body.finish()?;
    if wish.variable.key != key {
        return Err(ApiError::BadRequest("Invalid body, key from request body doesn't match uri parameter".to_owned()));
    }
    Variables.update(&app, &who, &wish, &mask).await?;
    Ok(Json(shape(&find(&app, &key).await?)))
}

/// `DELETE /api/v2/variables/{variable_key}`.
pub async fn delete(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    Path(key): Path<String>,
) -> ApiResult<StatusCode> {
    Variables.delete(&app, &who, &key).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// One by its name, with its secrets.
///
/// # Errors
/// [`ApiError::NotFound`].
pub async fn find(app: &App, key: &str) -> ApiResult<Stored> {
    variables::find(&app.pool, &app.settings.secret_key, key).await?.ok_or_else(|| missing(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(key: &str, value: &str) -> String {
        shown_value(&Variable { key: key.to_owned(), value: value.to_owned(), description: None })
    }

    #[test]
    fn a_value_is_masked_by_its_key_and_its_members_by_their_names() {
        assert_eq!(shown("api_token", r#"{"a": 1}"#), "***");
        assert_eq!(shown("settings", r#"{"password": "p", "a": 1}"#), r#"{"password": "***", "a": 1}"#);
        assert_eq!(shown("settings", r#"{"a":1}"#), r#"{"a":1}"#);
        assert_eq!(shown("url", "http://me:pw@h/x"), "http://me:***@h/x");
    }

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
