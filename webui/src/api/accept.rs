//! In which form an answer is wanted: the first of a request's `Accept` that there is.

use axum::http::{HeaderMap, header};

use crate::error::{ApiError, ApiResult};

/// JSON, or the one other form that an answer has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// `application/json`, also for a client to which all is the same.
    Json,
    /// The other.
    Other,
}

/// The form that a client wants of JSON and `other`.
///
/// # Errors
/// [`ApiError::NotAcceptable`] when it takes neither.
pub fn form(headers: &HeaderMap, other: &str) -> ApiResult<Form> {
    let accepted = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or("*/*");
    let mut kinds = accepted.split(',').map(|kind| kind.split(';').next().unwrap_or_default().trim());
    let form = kinds.find_map(|kind| match kind {
        "application/json" | "*/*" | "application/*" => Some(Form::Json),
        "text/*" if other.starts_with("text/") => Some(Form::Other),
        kind if kind == other => Some(Form::Other),
        _ => None,
    });
    form.ok_or_else(|| ApiError::NotAcceptable(format!("Only application/json or {other} is supported")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_form_that_there_is_counts() {
        let of = |accept: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, accept.parse().unwrap());
            form(&headers, "text/plain").ok()
        };
        assert_eq!(form(&HeaderMap::new(), "text/plain").unwrap(), Form::Json);
        assert_eq!(of("text/plain, */*"), Some(Form::Other));
        assert_eq!(of("image/png, application/json;q=0.9"), Some(Form::Json));
        assert_eq!(of("text/*"), Some(Form::Other));
        assert_eq!(of("text/html"), None);
    }
}
