//! The named parts of a request's path.

use std::{collections::BTreeMap, str::FromStr};

use axum::{
    extract::{FromRequestParts, RawPathParams},
    http::request::Parts,
};

use crate::error::{ApiError, ApiResult, FieldError};

/// The parts by their names in the router.
pub struct Names(BTreeMap<String, String>);

impl<S: Send + Sync> FromRequestParts<S> for Names {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let params = RawPathParams::from_request_parts(parts, state)
            .await
            .map_err(|error| ApiError::BadRequest(format!("the path could not be read: {error}")))?;
        Ok(Self(params.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()))
    }
}

impl Names {
    /// A part.
    #[must_use]
    pub fn text(&self, name: &str) -> &str {
        self.0.get(name).expect("a handler asks for parts of its own route")
    }

    /// A part that is a number.
    ///
    /// # Errors
    /// [`ApiError::Malformed`].
    pub fn number<T: FromStr>(&self, name: &str) -> ApiResult<T> {
        let text = self.text(name);
        text.parse().map_err(|_| ApiError::Malformed(vec![FieldError::path(name, text)]))
    }
}
