//! Connections. Passwords never leave, secrets within `extra` and in addresses are masked; a mask that comes back stands
//! for what is stored.

use axum::{Extension, Json, extract::State, http::StatusCode};
use model::masking::{self, MASK};
use store::read::Pattern;
use store::secrets::{self, ConnectionOrder, SecretFilter, connections::Stored};
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
        connections::{ConnectionBody, Connections},
    },
    error::{ApiError, ApiResult},
    reads::connections::{find, shown_extra},
};

/// The operations.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list, create, bulk)).routes(routes!(one, patch, delete))
}

path_params! {
    /// A connection.
    pub struct ConnectionPath {
        connection_id: String,
    }
}

query_params! {
    /// Which connections a list has.
    pub struct ConnectionListFilter {
        page: Page,
        order_by: OrderBy<ConnectionOrder>,
        /// Part of the id, whatever its case; `%` and `_` are wildcards, `|` separates alternatives.
        connection_id_pattern: Pattern,
        /// How the id begins.
        connection_id_prefix_pattern: Prefix,
    }
}

impl OrderKey for ConnectionOrder {
    const KEYS: &'static [(&'static str, Self)] = &[
        ("connection_id", Self::Id),
        ("conn_id", Self::Id),
        ("conn_type", Self::Type),
        ("description", Self::Description),
        ("host", Self::Host),
        ("port", Self::Port),
        ("id", Self::Id),
        ("team_name", Self::Id),
    ];
    const DEFAULT: &'static str = "id";
}

bulk_body!(ConnectionBulkBody of ConnectionBody);

answer! {
    /// A connection, its secrets masked.
    pub struct ConnectionResponse {
        connection_id: String,
        conn_type: String,
        description: Option<String>,
        host: Option<String>,
        login: Option<String>,
        schema: Option<String>,
        port: Option<i32>,
        password: Option<&'static str>,
        extra: Option<String>,
        team_name: Option<String>,
    }
}

answer! {
    /// A part of the list of connections.
    pub struct ConnectionCollectionResponse {
        connections: Vec<ConnectionResponse>,
        total_entries: i64,
    }
}

fn shape(stored: &Stored) -> ConnectionResponse {
    let one = &stored.connection;
    ConnectionResponse {
        connection_id: one.conn_id.clone(),
        conn_type: one.conn_type.clone(),
        description: one.description.clone(),
        host: one.host.as_deref().map(masking::masked_text),
        login: one.login.clone(),
        schema: one.schema.clone(),
        port: one.port,
        password: one.password.as_ref().map(|_| MASK),
        extra: one.extra.as_deref().map(shown_extra),
        team_name: None,
    }
}

/// Get Connections
#[utoipa::path(
    get, path = "/api/v2/connections", operation_id = "get_connections", tag = "Connection",
    params(ConnectionListFilter),
    responses((status = 200, description = "Successful Response", body = ConnectionCollectionResponse), Errors<404>),
    security(("token" = [Right::ReadAdmin]))
)]
pub async fn list(
    State(app): State<App>,
    filter: ConnectionListFilter,
) -> ApiResult<Json<ConnectionCollectionResponse>> {
    let meant = SecretFilter {
        pattern: filter.connection_id_pattern,
        prefix: filter.connection_id_prefix_pattern.0,
        ..SecretFilter::default()
    };
    let key = &app.settings.secret_key;
    let (found, total_entries) =
        secrets::connection_page(&app.pool, key, &meant, &filter.order_by.0, filter.page.window()).await?;
    let connections = found.iter().map(shape).collect();
    Ok(Json(ConnectionCollectionResponse { connections, total_entries }))
}

/// Post Connection
#[utoipa::path(
    post, path = "/api/v2/connections", operation_id = "post_connection", tag = "Connection",
    request_body = ConnectionBody,
    responses((status = 201, description = "Successful Response", body = ConnectionResponse), Errors<409>),
    security(("token" = [Right::ChangeAdmin]))
)]
pub async fn create(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    body: Body,
) -> ApiResult<(StatusCode, Json<ConnectionResponse>)> {
    let id = Connections.create_from(&app, &who, body).await?;
    Ok((StatusCode::CREATED, Json(shape(&find(&app, &id).await?))))
}

/// Bulk Connections
#[utoipa::path(
    patch, path = "/api/v2/connections", operation_id = "bulk_connections", tag = "Connection",
    request_body = ConnectionBulkBody,
    responses((status = 200, description = "Successful Response", body = BulkResponse), Errors),
    security(("token" = [Right::ChangeAdmin]))
)]
pub async fn bulk(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    body: Body,
) -> ApiResult<Json<BulkResponse>> {
    bulk::apply(&Connections, &app, &who, body).await.map(Json)
}

/// Get Connection
#[utoipa::path(
    get, path = "/api/v2/connections/{connection_id}", operation_id = "get_connection", tag = "Connection",
    params(ConnectionPath),
    responses((status = 200, description = "Successful Response", body = ConnectionResponse), Errors<404>),
    security(("token" = [Right::ReadAdmin]))
)]
pub async fn one(State(app): State<App>, path: ConnectionPath) -> ApiResult<Json<ConnectionResponse>> {
    Ok(Json(shape(&find(&app, &path.connection_id).await?)))
}

/// Patch Connection
#[utoipa::path(
    patch, path = "/api/v2/connections/{connection_id}", operation_id = "patch_connection", tag = "Connection",
    params(ConnectionPath, UpdateMask),
    request_body = ConnectionBody,
    responses((status = 200, description = "Successful Response", body = ConnectionResponse), Errors<404>),
    security(("token" = [Right::ChangeAdmin]))
)]
pub async fn patch(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    ConnectionPath { connection_id: id }: ConnectionPath,
    UpdateMask { update_mask: mask }: UpdateMask,
    mut body: Body,
) -> ApiResult<Json<ConnectionResponse>> {
    let wish = Connections.read(&mut body, &mask);
    body.finish()?;
    if Connections.id(&wish) != &id {
        return Err(ApiError::BadRequest(
            "The connection_id in the request body does not match the URL parameter".to_owned(),
        ));
    }
    Connections.update(&app, &who, &wish, &mask).await?;
    Ok(Json(shape(&find(&app, &id).await?)))
}

/// Delete Connection
#[utoipa::path(
    delete, path = "/api/v2/connections/{connection_id}", operation_id = "delete_connection", tag = "Connection",
    params(ConnectionPath),
    responses((status = 204, description = "Successful Response"), Errors<404>),
    security(("token" = [Right::ChangeAdmin]))
)]
pub async fn delete(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    path: ConnectionPath,
) -> ApiResult<StatusCode> {
    Connections.delete(&app, &who, &path.connection_id).await?;
    Ok(StatusCode::NO_CONTENT)
}

impl ConnectionPath {
    /// A connection whose id is a word that is a route of its own.
    #[must_use]
    pub fn of_word(word: &str) -> Self {
        Self { connection_id: word.to_owned() }
    }
}
