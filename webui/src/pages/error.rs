//! Errors as pages, and the way to the login page and back.

use axum::{
    http::{HeaderValue, Uri, header},
    response::{Html, IntoResponse, Redirect, Response},
};
use schemars::JsonSchema;
use serde::Serialize;

use super::view::Part;
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

/// Sends a browser to the login page, with the way back.
#[must_use]
pub fn login_redirect(from: &Uri) -> Response {
    let back = from.path_and_query().map_or("/", |path| path.as_str());
    let mut response = Redirect::to(&login_page(back)).into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The address of the login page with the way back.
#[must_use]
pub fn login_page(back: &str) -> String {
    let next: String = url::form_urlencoded::byte_serialize(safe_next(back).as_bytes()).collect();
    format!("/login?next={next}")
}

/// A path of our own to go to after the login; the start page instead of anything else.
#[must_use]
pub fn safe_next(next: &str) -> &str {
    let is_local = next.starts_with('/') && !next.starts_with("//") && !next.starts_with("/\\");
    let is_plain = next.chars().all(|c| !c.is_control() && c != '\\');
    // Going to the logout page after the login would undo it.
    if is_local && is_plain && !next.starts_with("/auth/") && !next.starts_with("/login") { next } else { "/" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_back_never_leads_away() {
        for bad in ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:alert(1)", "", "/a\nb"] {
            assert_eq!(safe_next(bad), "/", "{bad:?}");
        }
        assert_eq!(safe_next("/dags/a?tab=1"), "/dags/a?tab=1");
    }
}
