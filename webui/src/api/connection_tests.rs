//! What Airflow has beside connections: tests of them, which workers carry out when the settings allow it, and the ones that it
//! comes with.

use axum::{
    Extension, Json,
    extract::State,
    http::{HeaderMap, StatusCode},
};
use link::{ConnectionFields, Query, Reply};
use serde_json::json;
use store::{
    audit,
    secrets::{Connection, connections},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::declare::{At, Errors, Flag, Ignored, answer, body};
use crate::{
    app::App,
    auth::{Principal, rights::Right},
    changes::connections::{ConnectionBody, as_it_would_be},
    error::{ApiError, ApiResult, FieldError},
    http::body::Body,
    settings::ConnectionTests,
};

/// What Airflow answers unless its deployment allows it: a test reaches out to any address that a client names.
const TEST_DISABLED: &str =
    "Testing connections is disabled in Airflow configuration. Contact your deployment admin to enable it.";
/// What is said of a test that is to wait.
const NO_QUEUE: &str = "Tests of connections do not wait: POST the connection to /api/v2/connections/test, which answers what \
    came of it";
/// The header that names a test.
const TOKEN: &str = "Airflow-Connection-Test-Token";

/// The operations.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(test)).routes(routes!(enqueue, queued)).routes(routes!(create_defaults))
}

body! {
    /// A connection that is to be tested, and where.
    pub struct ConnectionTestRequestBody {
        _connection_id: String = "connection_id",
        _conn_type: String = "conn_type",
        _description: Option<String> = "description",
        _host: Option<String> = "host",
        _login: Option<String> = "login",
        _schema: Option<String> = "schema",
        _port: Option<i64> = "port",
        _password: Option<String> = "password",
        _extra: Option<String> = "extra",
        _team_name: Ignored = "team_name",
        _commit_on_success: Flag<false> = "commit_on_success",
        _executor: Option<String> = "executor",
        _queue: Option<String> = "queue",
    }
}

answer! {
    /// What came of a test.
    pub struct ConnectionTestResponse {
        status: bool,
        message: String,
    }
}

answer! {
    /// A test that waits for a worker.
    pub struct ConnectionTestQueuedResponse {
        token: String,
        connection_id: String,
        state: String,
    }
}

answer! {
    /// A test that waited for a worker.
    pub struct AsyncConnectionTestResponse {
        token: String,
        connection_id: String,
        state: String,
        result_message: Option<String>,
        created_at: At,
    }
}

/// Test Connection
///
/// A worker tries it out as a task would use it, when `WINDLASS_TEST_CONNECTION` allows it: databases answer `SELECT 1`, an HTTP
/// server answers below 400, a Kafka cluster answers at all. What is sent masked stands for what is stored.
#[utoipa::path(
    post, path = "/api/v2/connections/test", operation_id = "test_connection", tag = "Connection",
    request_body = ConnectionBody,
    responses((status = 200, description = "Successful Response", body = ConnectionTestResponse), Errors),
    security(("token" = [Right::ChangeAdmin]))
)]
pub async fn test(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    body: Body,
) -> ApiResult<Json<ConnectionTestResponse>> {
    if app.settings.connection_tests != ConnectionTests::Enabled {
        return Err(ApiError::Refused(TEST_DISABLED.to_owned()));
    }
    let connection = as_it_would_be(&app, body).await?;
    let told = json!({"connection_id": connection.conn_id, "conn_type": connection.conn_type, "host": connection.host});
    audit::record(&app.pool, who.actor(), "test_connection", &told).await?;
    let query = Query::TryConnection { connection: Box::new(fields_of(connection)) };
    match app.leader.ask(query).await? {
        Reply::Tried { works, message } => Ok(Json(ConnectionTestResponse { status: works, message })),
        Reply::NotFound { detail } => Err(ApiError::NoLeader(detail)),
        Reply::Why { .. } | Reply::Log(_) | Reply::Cluster(_) | Reply::Pools { .. } | Reply::Noted => {
            Err(ApiError::Internal("the leader answered another question than that for a connection".to_owned()))
        }
    }
}

fn fields_of(connection: Connection) -> ConnectionFields {
    let Connection { conn_id, conn_type, host, schema, login, password, port, extra, description: _ } = connection;
    ConnectionFields { conn_id, conn_type, host, schema, login, password, port, extra }
}

/// Enqueue Connection Test
#[utoipa::path(
    post, path = "/api/v2/connections/enqueue-test", operation_id = "enqueue_connection_test", tag = "Connection",
    request_body = ConnectionTestRequestBody,
    responses((status = 202, description = "Successful Response", body = ConnectionTestQueuedResponse), Errors<409, 501>),
    security(("token" = [Right::ChangeAdmin]))
)]
pub async fn enqueue(State(app): State<App>) -> ApiError {
    match app.settings.connection_tests {
        ConnectionTests::Enabled => ApiError::NotThere(NO_QUEUE.into()),
        ConnectionTests::Disabled | ConnectionTests::Hidden => ApiError::Refused(TEST_DISABLED.to_owned()),
    }
}

/// Get Connection Test
#[utoipa::path(
    get, path = "/api/v2/connections/enqueue-test", operation_id = "get_connection_test", tag = "Connection",
    params(("Airflow-Connection-Test-Token" = String, Header, description = "Which test, as it was named when it was made.")),
    responses((status = 200, description = "Successful Response", body = AsyncConnectionTestResponse), Errors<404>),
    security(("token" = [Right::ReadAdmin]))
)]
pub async fn queued(headers: HeaderMap) -> ApiResult<Json<AsyncConnectionTestResponse>> {
    let Some(token) = headers.get(TOKEN) else {
        return Err(ApiError::Malformed(vec![FieldError::missing_header(&TOKEN.to_ascii_lowercase())]));
    };
    let token = token.to_str().unwrap_or_default();
    Err(ApiError::NotFound(format!("No connection test found for token: `{token}`")))
}

/// Create Default Connections
///
/// Those of Airflow's whose types operators here know. One that is there stays as it is.
#[utoipa::path(
    post, path = "/api/v2/connections/defaults", operation_id = "create_default_connections", tag = "Connection",
    responses((status = 204, description = "Successful Response"), Errors),
    security(("token" = [Right::ChangeAdmin]))
)]
pub async fn create_defaults(State(app): State<App>, Extension(who): Extension<Principal>) -> ApiResult<StatusCode> {
    for connection in defaults() {
        // Whether it was there makes no difference.
        connections::create(&app.pool, &app.settings.secret_key, who.actor(), &connection).await?;
    }
    Ok(StatusCode::NO_CONTENT)
}

fn defaults() -> [Connection; 5] {
    let of = |conn_id: &str, conn_type: &str, host: Option<&str>| Connection {
        conn_id: conn_id.to_owned(),
        conn_type: conn_type.to_owned(),
        host: host.map(str::to_owned),
        ..Connection::default()
    };
    [
        Connection { extra: Some(r#"{"path": "/"}"#.to_owned()), ..of("fs_default", "fs", None) },
        of("http_default", "http", Some("https://www.httpbin.org/")),
        Connection {
            extra: Some(r#"{"bootstrap.servers": "broker:29092", "group.id": "my-group"}"#.to_owned()),
            ..of("kafka_default", "kafka", None)
        },
        Connection {
            login: Some("postgres".to_owned()),
            password: Some("airflow".to_owned()),
            schema: Some("airflow".to_owned()),
            ..of("postgres_default", "postgres", Some("postgres"))
        },
        Connection {
            login: Some("trino".to_owned()),
            schema: Some("hive".to_owned()),
            port: Some(3400),
            ..of("trino_default", "trino", Some("localhost"))
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_connections_are_in_order() {
        for connection in defaults() {
            assert!(connection.mistakes().is_empty(), "{}", connection.conn_id);
        }
    }
}
