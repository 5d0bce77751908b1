//! Variables as they may be shown: the value of one with a secret's name is masked, and so are such members of values that are
//! JSON objects.

use model::masking::{self, MASK};
use store::secrets::{
    variables,
    variables::{Stored, Variable},
};

use crate::{
    app::App,
    error::{ApiError, ApiResult},
    exact::{Exact, Spacing},
};

/// One by its name, with its secrets.
///
/// # Errors
/// [`ApiError::NotFound`].
pub async fn find(app: &App, key: &str) -> ApiResult<Stored> {
    variables::find(&app.pool, &app.settings.secret_key, key).await?.ok_or_else(|| missing(key))
}

/// What is said of one that is not there.
pub fn missing(key: &str) -> ApiError {
    ApiError::NotFound(format!("The Variable with key: `{key}` was not found"))
}

/// The value as it may be shown.
#[must_use]
pub fn shown_value(variable: &Variable) -> String {
    if masking::is_secret_name(&variable.key) {
        return MASK.to_owned();
    }
    match Exact::parse(&variable.value) {
        Some(value) => {
            let masked = value.masked();
            if masked == value { variable.value.clone() } else { masked.to_text(Spacing::Python) }
        }
        None => masking::masked_text(&variable.value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(key: &str, value: &str) -> String {
        shown_value(&Variable { key: key.to_owned(), value: value.to_owned(), description: None })
    }

    #[test]
    fn a_value_is_masked_by_its_key_and_its_members_by_their_names() {
        assert_eq!(shown("api_token", r#"{"a": 1}"#), "***");
        assert_eq!(shown("settings", r#"{"password": "p", "a": 1}"#), r#"{"password": "***", "a": 1}"#);
        assert_eq!(shown("settings", r#"{"a":1}"#), r#"{"a":1}"#);
        assert_eq!(shown("url", "http://me:pw@h/x"), "http://me:***@h/x");
    }
}
