//! The OpenAPI document of what exists, made from the table of routes, so that it can not lag behind.

use axum::Json;
use serde_json::{Map, Value, json};

use crate::auth::rights::{Access, ROUTES, Route};

/// `GET /openapi.json`.
pub async fn document() -> Json<Value> {
    let mut paths: Map<String, Value> = Map::new();
    for route in ROUTES.iter().filter(|route| !route.operation.is_empty()) {
        let path = paths.entry(route.path.replace("{*", "{")).or_insert_with(|| json!({}));
        path[route.method.to_ascii_lowercase()] = operation(route);
    }
    Json(json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Windlass", "version": env!("CARGO_PKG_VERSION"),
            "description": "The part of Apache Airflow's REST API that Windlass serves.",
        },
        "components": {
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer", "bearerFormat": "JWT" } },
            "schemas": { "Error": { "type": "object", "properties": { "detail": {} }, "required": ["detail"] } },
        },
        "paths": paths,
    }))
}

fn operation(route: &Route) -> Value {
    let names = route.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let parameters: Vec<Value> = names
        .map(|name| name.trim_start_matches('*'))
        .map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }))
        .collect();
    let success = match route.operation {
        "create_token" | "create_token_cli" | "post_connection" | "post_pool" | "post_variable" => "201",
        "delete_connection" | "delete_pool" | "delete_variable" => "204",
        _ => "200",
    };
    let error = json!({ "$ref": "#/components/schemas/Error" });
    let failed = |text: &str| json!({ "description": text, "content": { "application/json": { "schema": error } } });
    let mut found = json!({
        "operationId": route.operation, "parameters": parameters,
        "responses": { success: { "description": "Successful Response" }, "422": failed("Validation Error") },
    });
    if let Access::Needs(_) = route.access {
        found["security"] = json!([{ "token": [] }]);
        found["responses"]["401"] = failed("Unauthorized");
        found["responses"]["403"] = failed("Forbidden");
    }
    if route.method != "GET" {
        found["requestBody"] = json!({ "content": { "application/json": { "schema": { "type": "object" } } } });
    }
    found
}
