//! Forms of our pages. Each carries a token of its session, so that no other site can send one; a handler can not read a
//! form in any other way.

use axum::{
    extract::{FromRequest, Request},
    response::Response,
};

use model::door::Text;

use super::{Principal, faces, rights::Face, token::equal_in_constant_time};
use crate::{app::App, error::ApiError, http::intake, router::BODY_BYTES_MAX};

/// The hidden field that holds the token.
pub const FIELD: &str = "csrf";

/// The fields of a form, in their order.
pub struct PageForm(Vec<(String, String)>);

impl PageForm {
    /// A form with these fields, for tests of those who read one.
    #[cfg(test)]
    pub(crate) fn of(fields: Vec<(String, String)>) -> Self {
        Self(fields)
    }

    /// What of it can not be stored.
    fn check(&self) -> Result<(), String> {
        self.0.iter().try_for_each(|(field, value)| {
            Text::new(value.as_str()).map(drop).map_err(|error| format!("the field {field}: {error}"))
        })
    }

    /// The text of a field; empty when it was not sent.
    #[must_use]
    pub fn text(&self, name: &str) -> &str {
        self.0.iter().find(|(field, _)| field == name).map_or("", |(_, value)| value)
    }

    /// Whether a field was sent.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(field, _)| field == name)
    }

    /// Whether a box is ticked.
    #[must_use]
    pub fn ticked(&self, name: &str) -> bool {
        !self.text(name).is_empty()
    }
}

impl FromRequest<App> for PageForm {
    type Rejection = Response;

    async fn from_request(request: Request, app: &App) -> Result<Self, Response> {
        let refused = |error| faces::said_to(Face::Page, error);
        let session = request.extensions().get::<Principal>().map(|principal| principal.token_id);
        let session = session.ok_or_else(|| refused(ApiError::Unauthenticated))?;
        let form = Self(intake::read_form(request, BODY_BYTES_MAX).await.map_err(refused)?);
        form.check().map_err(|why| refused(ApiError::BadRequest(why)))?;
        if equal_in_constant_time(form.text(FIELD), &app.tokens.form_token(session)) {
            Ok(form)
        } else {
            Err(refused(ApiError::Forbidden))
        }
    }
}
