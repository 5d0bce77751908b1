//! Variables: any JSON in, text out. The value of one with a secret's name is masked, and so are such members of values
//! that are JSON objects; a mask that comes back stands for what is stored.

use std::collections::BTreeSet;

use axum::{Extension, Json, extract::State, http::StatusCode};
use model::masking::{self, MASK, StillMasked};
use serde_json::Value;
use store::read::Pattern;
use store::secrets::{Creation, Deletion, variables, variables::Stored, variables::Variable};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    body::Body,
    bulk::{self, BulkResponse, Managed, Mask, UpdateMask, bulk_body},
    declare::{AnyJson, Errors, Ignored, OrderBy, OrderKey, Prefix, Sent, answer, body, path_params, query_params},
    query::{Page, in_order, matches},
};
use crate::{
    app::App,
    auth::{Principal, rights::Right},
    error::{ApiError, ApiResult, FieldError},
    exact::{self, Exact, Spacing},
};

/// The operations.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list, create, bulk)).routes(routes!(one, patch, delete))
}

path_params! {
    /// A variable.
    pub struct VariablePath {
        /// The key, which may have slashes.
        variable_key: String,
    }
}

query_params! {
    /// Which variables a list has.
    pub struct VariableListFilter {
        page: Page,
        order_by: OrderBy<VariableKey>,
        /// Part of the key, whatever its case; `%` and `_` are wildcards, `|` separates alternatives.
        variable_key_pattern: Pattern,
        /// How the key begins.
        variable_key_prefix_pattern: Prefix,
    }
}

/// What lists can be ordered by: all are stored encrypted, so the other attributes leave the order of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VariableKey {
    /// By the key.
    Key,
    /// By the description.
    Description,
}

impl OrderKey for VariableKey {
    const KEYS: &'static [(&'static str, Self)] = &[
        ("key", Self::Key),
        ("id", Self::Key),
        ("_val", Self::Key),
        ("description", Self::Description),
        ("is_encrypted", Self::Key),
        ("team_name", Self::Key),
    ];
    const DEFAULT: &'static str = "id";
}

body! {
    /// A variable as it is to be.
    pub struct VariableBody {
        key: String,
        /// Any JSON: a text is kept as it is, everything else as JSON.
        value: AnyJson,
        description: Sent<Option<String>>,
        /// There are no teams here.
        _team_name: Ignored = "team_name",
    }
}

bulk_body!(VariableBulkBody of VariableBody);

answer! {
    /// A variable, its secrets masked.
    pub struct VariableResponse {
        key: String,
        /// Null when it can not be decrypted.
        value: Option<String>,
        description: Option<String>,
        is_encrypted: bool,
        team_name: Option<String>,
    }
}

answer! {
    /// A part of the list of variables.
    pub struct VariableCollectionResponse {
        variables: Vec<VariableResponse>,
        total_entries: usize,
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
        let Wish { variable, describes } = wish;
        let (with_value, with_description) = (mask.has("value"), *describes && mask.has("description"));
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

fn shape(stored: &Stored) -> VariableResponse {
    let one = &stored.variable;
    VariableResponse {
        key: one.key.clone(),
        value: stored.problem.is_none().then(|| shown_value(one)),
        description: one.description.clone(),
        is_encrypted: true,
        team_name: None,
    }
}

/// Get Variables
#[utoipa::path(
    get, path = "/api/v2/variables", operation_id = "get_variables", tag = "Variable",
    params(VariableListFilter),
    responses((status = 200, description = "Successful Response", body = VariableCollectionResponse), Errors),
    security(("token" = [Right::ReadAdmin]))
)]
pub async fn list(State(app): State<App>, filter: VariableListFilter) -> ApiResult<Json<VariableCollectionResponse>> {
    let mut found = variables::all(&app.pool, &app.settings.secret_key).await?;
    found.retain(|stored| {
        let key = &stored.variable.key;
        matches(&filter.variable_key_pattern, key) && filter.variable_key_prefix_pattern.fits(key)
    });
    in_order(&mut found, &filter.order_by.0, VariableKey::Key, |key, a, b| match key {
        VariableKey::Key => a.variable.key.cmp(&b.variable.key),
        VariableKey::Description => a.variable.description.cmp(&b.variable.description),
    });
    let total_entries = found.len();
    let variables = filter.page.of(found).iter().map(shape).collect();
    Ok(Json(VariableCollectionResponse { variables, total_entries }))
}

/// Post Variable
#[utoipa::path(
    post, path = "/api/v2/variables", operation_id = "post_variable", tag = "Variable",
    request_body = VariableBody,
    responses((status = 201, description = "Successful Response", body = VariableResponse), Errors<409>),
    security(("token" = [Right::ChangeAdmin]))
)]
pub async fn create(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    body: Body,
) -> ApiResult<(StatusCode, Json<VariableResponse>)> {
    let id = Variables.create_from(&app, &who, body).await?;
    Ok((StatusCode::CREATED, Json(shape(&find(&app, &id).await?))))
}

/// Bulk Variables
#[utoipa::path(
    patch, path = "/api/v2/variables", operation_id = "bulk_variables", tag = "Variable",
    request_body = VariableBulkBody,
    responses((status = 200, description = "Successful Response", body = BulkResponse), Errors),
    security(("token" = [Right::ChangeAdmin]))
)]
pub async fn bulk(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    body: Body,
) -> ApiResult<Json<BulkResponse>> {
    bulk::apply(&Variables, &app, &who, body).await.map(Json)
}

/// Get Variable
#[utoipa::path(
    get, path = "/api/v2/variables/{*variable_key}", operation_id = "get_variable", tag = "Variable",
    params(VariablePath),
    responses((status = 200, description = "Successful Response", body = VariableResponse), Errors<404>),
    security(("token" = [Right::ReadAdmin]))
)]
pub async fn one(State(app): State<App>, path: VariablePath) -> ApiResult<Json<VariableResponse>> {
    Ok(Json(shape(&find(&app, &path.variable_key).await?)))
}

/// Patch Variable
#[utoipa::path(
    patch, path = "/api/v2/variables/{*variable_key}", operation_id = "patch_variable", tag = "Variable",
    params(VariablePath, UpdateMask),
    request_body = VariableBody,
    responses((status = 200, description = "Successful Response", body = VariableResponse), Errors<404>),
    security(("token" = [Right::ChangeAdmin]))
)]
pub async fn patch(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    VariablePath { variable_key: key }: VariablePath,
    UpdateMask { update_mask: mask }: UpdateMask,
    mut body: Body,
) -> ApiResult<Json<VariableResponse>> {
    let wish = Variables.read(&mut body, &mask);
    body.finish()?;
    if wish.variable.key != key {
        return Err(ApiError::BadRequest("Invalid body, key from request body doesn't match uri parameter".to_owned()));
    }
    Variables.update(&app, &who, &wish, &mask).await?;
    Ok(Json(shape(&find(&app, &key).await?)))
}

/// Delete Variable
#[utoipa::path(
    delete, path = "/api/v2/variables/{*variable_key}", operation_id = "delete_variable", tag = "Variable",
    params(VariablePath),
    responses((status = 204, description = "Successful Response"), Errors<404>),
    security(("token" = [Right::ChangeAdmin]))
)]
pub async fn delete(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    path: VariablePath,
) -> ApiResult<StatusCode> {
    Variables.delete(&app, &who, &path.variable_key).await?;
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
    use serde_json::json;

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
