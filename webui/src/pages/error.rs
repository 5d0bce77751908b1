//! Errors as pages.

use axum::response::{Html, IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;

use super::view::Part;
pub use crate::auth::way_back::safe_next;
use crate::{
    assets,
    error::{ApiError, with_retry},
};

/// An error that a person sees.
#[derive(Debug)]
pub struct PageError(pub ApiError);

/// The result of a page.
pub type PageResult<T> = Result<T, PageError>;

/// What the page shows.
#[derive(Serialize, JsonSchema)]
pub struct View {
    status: u16,
    title: &'static str,
    detail: String,
}

impl<E: Into<ApiError>> From<E> for PageError {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for PageError {
    fn into_response(self) -> Response {
        let Self(error) = self;
        error.log();
        let status = error.status();
        let title = match status.as_u16() {
            401 => "Log in first",
            403 => "Not allowed",
            404 => "Not found",
            408 => "Too slow",
            409 => "It has changed meanwhile",
            429 => "Too many attempts",
            503 => "Not now",
            500..=599 => "Something went wrong",
            _ => "That can not be done",
        };
        let view = View { status: status.as_u16(), title, detail: error.to_string() };
        let body = assets::render(Part::Page, &view).unwrap_or_else(|_| view.detail.clone());
        with_retry(&error, (status, Html(body)).into_response())
    }
}
