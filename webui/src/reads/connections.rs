//! Connections as they may be shown: passwords never leave, secrets within `extra` and in addresses are masked.

use model::masking::MASK;
use store::secrets::{connections, connections::Stored};

use crate::{
    app::App,
    error::{ApiError, ApiResult},
    exact::{Exact, Spacing},
};

/// One by its name, with its secrets.
///
/// # Errors
/// [`ApiError::NotFound`].
pub async fn find(app: &App, id: &str) -> ApiResult<Stored> {
    connections::find(&app.pool, &app.settings.secret_key, id).await?.ok_or_else(|| missing(id))
}

/// What is said of one that is not there.
pub fn missing(id: &str) -> ApiError {
    ApiError::NotFound(format!("The Connection with connection_id: `{id}` was not found"))
}

/// `extra` as it may be shown.
#[must_use]
pub fn shown_extra(extra: &str) -> String {
    if extra.trim().is_empty() {
        return extra.to_owned();
    }
    match Exact::parse(extra) {
        Some(value) => {
            let masked = value.masked();
            if masked == value { extra.to_owned() } else { masked.to_text(Spacing::None) }
        }
        None => MASK.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extra_that_is_no_json_is_masked_whole() {
        assert_eq!(shown_extra("token=abc"), MASK);
        assert_eq!(shown_extra(""), "", "nothing hides nothing");
        assert_eq!(shown_extra(r#"{"sslmode": "require"}"#), r#"{"sslmode": "require"}"#);
    }
}
