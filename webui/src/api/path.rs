//! The named parts of a request's path, and the task instance that many paths name, with or without its map index.

use std::{collections::BTreeMap, str::FromStr};

use axum::{
    extract::{FromRequestParts, RawPathParams},
    http::request::Parts,
};
use model::MapIndex;

use super::instances::lookup;
use crate::{
    app::App,
    error::{ApiError, ApiResult, FieldError},
    instances::TaskOfRun,
};

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

    /// The task instance that `dag_id`, `dag_run_id` and `task_id` name.
    ///
    /// # Errors
    /// [`ApiError::NotFound`].
    pub async fn instance(&self, app: &App) -> ApiResult<TaskOfRun> {
        lookup(app, self.text("dag_id"), self.text("dag_run_id"), self.text("task_id"), MapIndex::UNMAPPED).await
    }
}
