//! What a path and a query may hold, checked before any handler reads them: texts that are UTF-8 and have no NUL.

use axum::{
    RequestExt,
    extract::{RawPathParams, Request, rejection::RawPathParamsRejection},
};
use model::door::Text;

use crate::error::{ApiError, ApiResult, FieldError};

/// The id that stands for all in paths of lists.
pub const ALL: &str = "~";

/// The DAG that a path names by `dag_id`, for the guard; `~` names none.
#[derive(Debug, Clone)]
pub struct NamedDag(pub String);

/// Lets a request through whose path and query can be asked of the store, and notes the DAG that the path names.
///
/// # Errors
/// [`ApiError::Malformed`] with every part that can not.
pub async fn check(request: &mut Request) -> ApiResult<()> {
    let path = request.extract_parts::<RawPathParams>().await;
    let dag_id =
        path.as_ref().ok().and_then(|params| params.iter().find(|(name, text)| *name == "dag_id" && *text != ALL));
    if let Some((_, id)) = dag_id {
        let named = NamedDag(id.to_owned());
        request.extensions_mut().insert(named);
    }
    let mut errors = in_path(path);
    errors.extend(in_query(request.uri().query().unwrap_or_default()));
    if errors.is_empty() { Ok(()) } else { Err(ApiError::Malformed(errors)) }
}

fn in_path(path: Result<RawPathParams, RawPathParamsRejection>) -> Vec<FieldError> {
    match path {
        Ok(params) => params
            .iter()
            .filter_map(|(name, text)| {
                let error = Text::new(text).err()?;
                Some(FieldError::path_text(name, format!("Value error, {error}"), text))
            })
            .collect(),
        Err(error) => vec![FieldError::path_text("path", format!("the path can not be read: {error}"), "")],
    }
}

fn in_query(query: &str) -> Vec<FieldError> {
    url::form_urlencoded::parse(query.as_bytes())
        .filter_map(|(name, text)| {
            let error = Text::new(name.as_ref()).and_then(|_| Text::new(text.as_ref())).err()?;
            Some(FieldError::query(&name, "value_error", format!("Value error, {error}"), &text))
        })
        .collect()
}
