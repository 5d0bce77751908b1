//! The OpenAPI document: what the operations declare, and from the table of routes those that declare nothing yet.

use std::sync::LazyLock;

use axum::Json;
use serde_json::{Map, Value, json};
use utoipa::openapi::{
    ComponentsBuilder, InfoBuilder, OpenApi, OpenApiBuilder,
    security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
};
use utoipa_axum::router::OpenApiRouter;

use super::declare::errors::{HTTPExceptionResponse, HTTPValidationError};
use crate::{
    app::App,
    auth::{
        login,
        rights::{Access, Route, WRITTEN},
        table::SECURITY_SCHEME,
    },
    error::FieldError,
};

/// All declared operations, as routes and as a document.
pub fn declared() -> OpenApiRouter<App> {
    OpenApiRouter::with_openapi(base())
        .merge(login::routes())
        .merge(super::pools::routes())
        .merge(super::variables::routes())
        .merge(super::connections::routes())
        .merge(super::connection_tests::routes())
        .merge(super::dags::routes())
        .merge(super::tasks::routes())
        .merge(super::event_logs::routes())
        .merge(super::import_errors::routes())
        .merge(super::monitor::routes())
        .merge(super::runs::routes())
        .merge(super::bulk_runs::routes())
        .merge(super::bundles::routes())
        .merge(super::clear_runs::routes())
        .merge(super::wait::routes())
        .merge(super::instances::routes())
        .merge(super::tries::routes())
        .merge(super::clear::routes())
        .merge(super::mark::routes())
        .merge(super::logs::routes())
        .merge(super::xcoms::routes())
        .merge(super::absent::routes())
        .merge(super::dag_parsing::routes())
        .merge(super::config::routes())
        .merge(super::assets::routes())
        .merge(super::backfills::routes())
        .merge(super::dag_versions::routes())
        .merge(super::dag_warnings::routes())
        .merge(super::control::routes())
        .merge(super::favorites::routes())
        .merge(super::forecast::routes())
        .merge(super::hitl::routes())
        .merge(super::notifications::routes())
        .merge(super::quarantine::routes())
        .merge(super::state_stores::routes())
}

fn base() -> OpenApi {
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT").build();
    let components = ComponentsBuilder::new()
        .security_scheme(SECURITY_SCHEME, SecurityScheme::Http(bearer))
        .schema_from::<HTTPExceptionResponse>()
        .schema_from::<HTTPValidationError>()
        .schema_from::<FieldError>();
    let info = InfoBuilder::new()
        .title("Windlass")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some("The part of Apache Airflow's REST API that Windlass serves."));
    OpenApiBuilder::new().info(info).components(Some(components.build())).build()
}

static DOCUMENT: LazyLock<Value> = LazyLock::new(|| {
    let declared = declared().split_for_parts().1;
    let mut document = serde_json::to_value(declared).expect("the document is of maps and texts");
    // What the router takes as the rest of a path is one parameter to clients.
    let declared = document["paths"].as_object().cloned().unwrap_or_default();
    let mut paths: Map<String, Value> =
        declared.into_iter().map(|(path, item)| (path.replace("{*", "{"), item)).collect();
    for route in WRITTEN.iter().filter(|route| !route.operation.is_empty()) {
        let path = paths.entry(route.path.replace("{*", "{")).or_insert_with(|| json!({}));
        path[route.method.to_ascii_lowercase()] = operation(route);
    }
    for operation in paths.values_mut().filter_map(Value::as_object_mut).flat_map(Map::values_mut) {
        if operation.get("requestBody").is_some() {
            operation["responses"]["408"] = failed("Request Timeout");
            operation["responses"]["413"] = failed("Payload Too Large");
        }
    }
    document["paths"] = paths.into();
    document
});

/// The document.
#[must_use]
pub fn document() -> &'static Value {
    &DOCUMENT
}

/// What the operations declare, and nothing else.
pub fn declared_document() -> Value {
    serde_json::to_value(declared().split_for_parts().1).expect("the document is of maps and texts")
}

/// `GET /openapi.json`.
pub async fn show() -> Json<&'static Value> {
    Json(document())
}

fn failed(reason: &str) -> Value {
    let error = json!({ "$ref": "#/components/schemas/HTTPExceptionResponse" });
    json!({ "description": reason, "content": { "application/json": { "schema": error } } })
}

/// What the table of routes knows of an operation that declares nothing.
fn operation(route: &Route) -> Value {
    let names = route.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let parameters: Vec<Value> = names
        .map(|name| name.trim_start_matches('*'))
        .map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }))
        .collect();
    let mut found = json!({
        "operationId": route.operation, "parameters": parameters,
        "responses": { "200": { "description": "Successful Response" }, "422": failed("Validation Error") },
    });
    if let Access::Needs(right) = route.access {
        found["security"] = json!([{ SECURITY_SCHEME: [right.to_string()] }]);
        found["responses"]["401"] = failed("Unauthorized");
        found["responses"]["403"] = failed("Forbidden");
    }
    if route.method != "GET" {
        found["requestBody"] = json!({ "content": { "application/json": { "schema": { "type": "object" } } } });
    }
    found
}
