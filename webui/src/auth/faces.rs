//! How a refusal is said to who reads it: JSON to programs, a page to people. Pages stand above this module: whoever puts the
//! server together hands down what it needs of them.

use std::sync::OnceLock;

use axum::response::{IntoResponse, Response};

use super::rights::Face;
use crate::error::ApiError;

/// What is needed of the pages here.
#[derive(Debug, Clone, Copy)]
pub struct Pages {
    /// The page of an error.
    pub error: fn(ApiError) -> Response,
    /// The page with the button that logs out.
    pub logout: fn() -> Response,
}

static PAGES: OnceLock<Pages> = OnceLock::new();

/// Hands the pages down; those of the first call stay.
pub fn hand_down(handed: Pages) {
    PAGES.get_or_init(|| handed);
}

/// An error in the way that its reader understands.
pub fn said_to(face: Face, error: ApiError) -> Response {
    match (face, PAGES.get()) {
        (Face::Page, Some(handed)) => (handed.error)(error),
        (Face::Page, None) | (Face::Api, _) => error.into_response(),
    }
}

/// The page with the button that logs out.
pub fn logout_page() -> Response {
    let missing = || ApiError::Internal("no page was handed down".to_owned()).into_response();
    PAGES.get().map_or_else(missing, |handed| (handed.logout)())
}
