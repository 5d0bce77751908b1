//! Connections. Passwords never leave, secrets within `extra` and in addresses are masked; a mask that comes back stands
//! for what is stored.

use std::collections::BTreeSet;

use axum::{Extension, Json, extract::State, http::StatusCode};
use model::masking::{self, MASK, StillMasked};
use serde_json::Value;
use store::read::Pattern;
use store::secrets::{Connection, Creation, Deletion, connections, connections::Stored};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    body::Body,
    bulk::{self, BulkResponse, Managed, Mask, UpdateMask, bulk_body},
    declare::{Errors, Ignored, OrderBy, OrderKey, Prefix, answer, body, path_params, query_params},
    query::{Page, in_order, matches},
    variables::still_masked,
};
use crate::{
    app::App,
    auth::{Principal, rights::Right},
    error::{ApiError, ApiResult},
    exact::{Exact, Spacing},
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
        order_by: OrderBy<ConnectionKey>,
        /// Part of the id, whatever its case; `%` and `_` are wildcards, `|` separates alternatives.
        connection_id_pattern: Pattern,
        /// How the id begins.
        connection_id_prefix_pattern: Prefix,
    }
}

/// What lists can be ordered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionKey {
    /// By the id.
    Id,
    /// By the type.
    Type,
    /// By the description.
    Description,
    /// By the host.
    Host,
    /// By the port.
    Port,
}

impl OrderKey for ConnectionKey {
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

body! {
    /// A connection as it is to be.
    pub struct ConnectionBody {
        connection_id: String,
        conn_type: String,
        description: Option<String>,
        host: Option<String>,
        login: Option<String>,
        schema: Option<String>,
        port: Option<i64>,
        /// `***` stands for the stored one, and so does null.
        password: Option<String>,
        /// JSON as a text; what it holds masked stands for what is stored.
        extra: Option<String>,
        /// There are no teams here.
        _team_name: Ignored = "team_name",
    }
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
        total_entries: usize,
    }
}

/// The resource, for bulk requests.
pub struct Connections;

/// A connection as a client wants it, and which members it sent.
pub struct Wish {
    connection: Connection,
    sent: BTreeSet<String>,
}

impl Managed for Connections {
    type Id = String;
    type Wish = Wish;
    const SEVERAL: &'static str = "connections with these connection_ids";

    fn read(&self, body: &mut Body, mask: &Mask) -> Wish {
        let sent = body.names();
        let read = ConnectionBody::read(body);
        let connection = Connection {
            conn_id: read.connection_id,
            conn_type: read.conn_type,
            host: read.host,
            schema: read.schema,
            login: read.login,
            password: read.password,
            port: read.port.map(|port| i32::try_from(port).unwrap_or(-1)),
            extra: read.extra,
            description: read.description,
        };
        if sent.contains("connection_id") && sent.contains("conn_type") {
            // What a mask leaves out only came along; the id is what is looked up.
            let is_meant = |field: &str| field == "connection_id" || mask.has(field);
            for mistake in connection.mistakes().into_iter().filter(|mistake| is_meant(mistake.field)) {
                body.wrong(mistake.field, "value_error", format!("Value error, {}", mistake.text), MASK.into());
            }
        }
        Wish { connection, sent }
    }

    fn id<'w>(&self, wish: &'w Wish) -> &'w String {
        &wish.connection.conn_id
    }

    fn named(&self, entity: &Value) -> Option<String> {
        bulk::name_in(entity, "connection_id")
    }

    async fn known(&self, app: &App, of: BTreeSet<String>) -> ApiResult<BTreeSet<String>> {
        let all = connections::all(&app.pool, &app.settings.secret_key).await?;
        Ok(all.into_iter().map(|stored| stored.connection.conn_id).filter(|id| of.contains(id)).collect())
    }

    async fn create(&self, app: &App, who: &Principal, wish: &Wish) -> ApiResult<()> {
        let id = &wish.connection.conn_id;
        match connections::create(&app.pool, &app.settings.secret_key, who.actor(), &wish.connection).await? {
            Creation::Created => Ok(()),
            Creation::Exists => {
                Err(ApiError::AlreadyExists(format!("The Connection with connection_id: `{id}` already exists")))
            }
        }
    }

    async fn update(&self, app: &App, who: &Principal, wish: &Wish, mask: &Mask) -> ApiResult<()> {
        let id = wish.connection.conn_id.clone();
        let new = wish.connection.clone();
        let meant: BTreeSet<String> = wish.sent.iter().filter(|field| mask.has(field)).cloned().collect();
        let change = move |old| merged(old, new, &meant);
        let done = connections::update(&app.pool, &app.settings.secret_key, who.actor(), &id, change).await?;
        match done {
            Some(changed) => changed.map(drop).map_err(|(field, error)| still_masked(field, &error)),
            None => Err(missing(&id)),
        }
    }

    async fn delete(&self, app: &App, who: &Principal, id: &String) -> ApiResult<()> {
        match connections::delete(&app.pool, who.actor(), id).await? {
            Deletion::Deleted => Ok(()),
            Deletion::Missing => Err(missing(id)),
        }
    }
}

fn missing(id: &str) -> ApiError {
    ApiError::NotFound(format!("The Connection with connection_id: `{id}` was not found"))
}

/// A field that still holds a mask.
type Lost = (&'static str, StillMasked);

/// The stored connection with the fields that are meant replaced. A secret that comes back masked, and a password that is
/// null, stay what they are.
///
/// # Errors
/// The field in which a mask is left that stands for nothing.
fn merged(old: Connection, new: Connection, meant: &BTreeSet<String>) -> Result<Connection, Lost> {
    let is_meant = |field: &str| meant.contains(field);
    let pick = |field: &str, new: Option<String>, old: Option<String>| if is_meant(field) { new } else { old };
    let host = match (new.host.filter(|_| is_meant("host")), &old.host) {
        (Some(new), Some(old)) => Some(masking::unmasked_text(&new, old).map_err(|error| ("host", error))?),
        (new, _) => new,
    };
    let sent = new.extra.filter(|_| is_meant("extra"));
    let extra = merged_extra(sent, old.extra.as_deref()).map_err(|error| ("extra", error))?;
    let password = new.password.filter(|password| password != MASK);
    Ok(Connection {
        conn_id: old.conn_id,
        conn_type: if is_meant("conn_type") { new.conn_type } else { old.conn_type },
        host: pick("host", host, old.host),
        schema: pick("schema", new.schema, old.schema),
        login: pick("login", new.login, old.login),
        password: pick("password", password.or_else(|| old.password.clone()), old.password),
        port: if is_meant("port") { new.port } else { old.port },
        extra: pick("extra", extra, old.extra),
        description: pick("description", new.description, old.description),
    })
}

fn merged_extra(new: Option<String>, old: Option<&str>) -> Result<Option<String>, StillMasked> {
    let Some(new) = new.filter(|text| !text.trim().is_empty()) else { return Ok(None) };
    let Some(old) = old else { return Ok(Some(new)) };
    match (Exact::parse(&new), Exact::parse(old)) {
        (Some(wanted), Some(stored)) => {
            let meant = wanted.unmasked(&stored)?;
            Ok(Some(if meant == wanted { new } else { meant.to_text(Spacing::None) }))
        }
        _ if new == MASK => Ok(Some(old.to_owned())),
        _ => Ok(Some(new)),
    }
}

/// `extra` as it may be shown.
#[must_use]
pub fn shown_extra(extra: &str) -> String {
    if extra.trim().is_empty() {
        return extra.to_owned();
    }
    match Exact::parse(extra) {
        Some(value) => {
            let masked = value.masked();
            if masked == value { extra.to_owned() } else { masked.to_text(Spacing::None) }
        }
        None => MASK.to_owned(),
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
    let mut found = connections::all(&app.pool, &app.settings.secret_key).await?;
    found.retain(|stored| {
        let id = &stored.connection.conn_id;
        matches(&filter.connection_id_pattern, id) && filter.connection_id_prefix_pattern.fits(id)
    });
    in_order(&mut found, &filter.order_by.0, ConnectionKey::Id, |key, a, b| {
        let (a, b) = (&a.connection, &b.connection);
        match key {
            ConnectionKey::Id => a.conn_id.cmp(&b.conn_id),
            ConnectionKey::Type => a.conn_type.cmp(&b.conn_type),
            ConnectionKey::Description => a.description.cmp(&b.description),
            ConnectionKey::Host => a.host.cmp(&b.host),
            ConnectionKey::Port => a.port.cmp(&b.port),
        }
    });
    let total_entries = found.len();
    let connections = filter.page.of(found).iter().map(shape).collect();
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
    if wish.connection.conn_id != id {
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

/// One by its name, with its secrets.
///
/// # Errors
/// [`ApiError::NotFound`].
pub async fn find(app: &App, id: &str) -> ApiResult<Stored> {
    connections::find(&app.pool, &app.settings.secret_key, id).await?.ok_or_else(|| missing(id))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn stored() -> Connection {
        Connection {
            conn_id: "db".to_owned(),
            conn_type: "http".to_owned(),
            host: Some("http://me:pw@h".to_owned()),
            password: Some("secret".to_owned()),
            extra: Some(r#"{"token": "t", "a": 1}"#.to_owned()),
            port: Some(1),
            ..Connection::default()
        }
    }

    fn fields(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn what_was_shown_masked_comes_back_as_it_is_stored() {
        let old = stored();
        let shown = Connection {
            host: Some("http://me:***@h".to_owned()),
            password: Some(MASK.to_owned()),
            extra: old.extra.as_deref().map(shown_extra),
            ..old.clone()
        };
        let merged = merged(old.clone(), shown, &fields(&["host", "password", "extra", "port"])).unwrap();
        assert_eq!((merged.host, merged.password), (old.host, old.password));
        let extra: Value = serde_json::from_str(&merged.extra.unwrap()).unwrap();
        assert_eq!(extra, json!({"token": "t", "a": 1}));
    }

    #[test]
    fn one_part_of_a_url_is_changed_and_its_secret_stays() {
        let edited = Connection { host: Some("http://you:***@new.example".to_owned()), ..stored() };
        let merged = merged(stored(), edited, &fields(&["host"])).unwrap();
        assert_eq!(merged.host.as_deref(), Some("http://you:pw@new.example"));
        for (host, extra) in [("http://a:***@b http://c:***@d", "{}"), ("h", r#"{"tokens": "***"}"#)] {
            let lost = Connection { host: Some(host.to_owned()), extra: Some(extra.to_owned()), ..stored() };
            assert!(super::merged(stored(), lost, &fields(&["host", "extra"])).is_err(), "{host} {extra}");
        }
    }

    #[test]
    fn null_clears_a_field_but_not_the_password_and_what_was_not_sent_stays() {
        let nothing = Connection { conn_id: "db".to_owned(), conn_type: "http".to_owned(), ..Connection::default() };
        let merged = merged(stored(), nothing, &fields(&["host", "password", "extra"])).unwrap();
        assert_eq!((merged.host, merged.extra, merged.port), (None, None, Some(1)));
        assert_eq!(merged.password.as_deref(), Some("secret"));
    }

    #[test]
    fn extra_that_is_no_json_is_masked_whole() {
        assert_eq!(shown_extra("token=abc"), MASK);
        assert_eq!(shown_extra(""), "", "nothing hides nothing");
        assert_eq!(shown_extra(r#"{"sslmode": "require"}"#), r#"{"sslmode": "require"}"#);
    }
}
