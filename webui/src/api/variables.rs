//! Variables: any JSON in, text out. The value of one with a secret's name is masked, and so are such members of values
//! that are JSON objects; a mask that comes back stands for what is stored.

use axum::{Extension, Json, extract::State, http::StatusCode};
use store::read::Pattern;
use store::secrets::{self, SecretFilter, VariableOrder, variables::Stored};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    body::Body,
    bulk::{self, BulkResponse, UpdateMask, bulk_body},
    declare::{Errors, OrderBy, OrderKey, Prefix, answer, path_params, query_params},
    query::Page,
};
use crate::{
    app::App,
    auth::{Principal, rights::Right},
    changes::{
        Managed,
        variables::{VariableBody, Variables},
    },
    error::{ApiError, ApiResult},
    reads::variables::{find, shown_value},
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
        order_by: OrderBy<VariableOrder>,
        /// Part of the key, whatever its case; `%` and `_` are wildcards, `|` separates alternatives.
        variable_key_pattern: Pattern,
        /// How the key begins.
        variable_key_prefix_pattern: Prefix,
    }
}

/// All values are stored encrypted, so the other attributes leave the order of keys.
impl OrderKey for VariableOrder {
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
        total_entries: i64,
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
    let meant = SecretFilter {
        pattern: filter.variable_key_pattern,
        prefix: filter.variable_key_prefix_pattern.0,
        ..SecretFilter::default()
    };
    let key = &app.settings.secret_key;
    let (found, total_entries) =
        secrets::variable_page(&app.pool, key, &meant, &filter.order_by.0, filter.page.window()).await?;
    let variables = found.iter().map(shape).collect();
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
    if Variables.id(&wish) != &key {
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
