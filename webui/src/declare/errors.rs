//! The errors that operations declare.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use utoipa::{
    IntoResponses, PartialSchema, ToSchema,
    openapi::{
        Ref, RefOr,
        content::ContentBuilder,
        response::{Response, ResponseBuilder},
        schema::{AnyOfBuilder, Schema, Type},
    },
};

use super::schema;
use crate::error::FieldError;

/// What an operation may be refused with. Who asks, what is malformed and what is too much concerns every operation; the
/// statuses named here are those of the operation itself, as in `Errors<404, 409>`.
pub struct Errors<const A: u16 = 0, const B: u16 = 0, const C: u16 = 0>;

/// What any operation may be refused with.
const USUAL: [StatusCode; 6] = [
    StatusCode::BAD_REQUEST,
    StatusCode::UNAUTHORIZED,
    StatusCode::FORBIDDEN,
    StatusCode::UNPROCESSABLE_ENTITY,
    StatusCode::SERVICE_UNAVAILABLE,
    StatusCode::GATEWAY_TIMEOUT,
];

impl<const A: u16, const B: u16, const C: u16> IntoResponses for Errors<A, B, C> {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let own = [A, B, C].into_iter().filter_map(|code| StatusCode::from_u16(code).ok());
        USUAL.into_iter().chain(own).map(|status| (status.as_str().to_owned(), refusal(status).into())).collect()
    }
}

fn refusal(status: StatusCode) -> Response {
    let name = if status == StatusCode::UNPROCESSABLE_ENTITY {
        HTTPValidationError::name()
    } else {
        HTTPExceptionResponse::name()
    };
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name(name))).build();
    let reason = status.canonical_reason().unwrap_or("Error");
    ResponseBuilder::new().description(reason).content("application/json", content).build()
}

/// Why a request was refused: a text, or an object where Airflow has one.
pub struct HTTPExceptionResponse;

impl PartialSchema for HTTPExceptionResponse {
    fn schema() -> RefOr<Schema> {
        let detail = AnyOfBuilder::new().item(schema::text()).item(schema::of(Type::Object));
        schema::of(Type::Object).property("detail", detail).required("detail").into()
    }
}

impl ToSchema for HTTPExceptionResponse {}

/// What is malformed in a request: each mistake with its place, or a text where Airflow has one.
pub struct HTTPValidationError;

impl PartialSchema for HTTPValidationError {
    fn schema() -> RefOr<Schema> {
        let mistakes = schema::list(Ref::from_schema_name(FieldError::name()));
        let detail = AnyOfBuilder::new().item(mistakes).item(schema::text());
        schema::of(Type::Object).property("detail", detail).required("detail").into()
    }
}

impl ToSchema for HTTPValidationError {}
