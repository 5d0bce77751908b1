//! Templates, the stylesheet and the script: part of the binary, so that a page never meets another version's files.

use std::sync::LazyLock;

use axum::{
    extract::Path,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use include_dir::{Dir, include_dir};
use sha2::{Digest, Sha256};
use tera::{Context, Tera};

use crate::{
    error::{ApiError, ApiResult},
    pages::view::{Page, Part},
};

static TEMPLATES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/templates");
static FILES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/static");

/// The templates, ready to be printed.
pub(crate) static ENGINE: LazyLock<Tera> = LazyLock::new(|| {
    let mut tera = Tera::default();
    tera.add_raw_templates(templates(&TEMPLATES)).expect("templates are part of the program, and a test parses them");
    tera
});

/// Every template of a folder and of those in it: its path from the first one, and its text.
fn templates(folder: &'static Dir<'static>) -> Vec<(&'static str, &'static str)> {
    let here = folder.files().filter_map(|file| Some((file.path().to_str()?, file.contents_utf8()?)));
    here.chain(folder.dirs().flat_map(templates)).collect()
}

/// Prints a part of a page. Names of templates end in `.html`, so that everything printed is escaped.
///
/// # Errors
/// [`ApiError::Internal`] when the template asks for something that the view does not have.
pub fn render<P: Page>(part: Part, view: &P) -> ApiResult<String> {
    let template = part.template::<P>();
    let printed = Context::from_serialize(view).and_then(|context| ENGINE.render(&template, &context));
    printed.map_err(|error| ApiError::Internal(format!("the template {template} could not be printed: {error:?}")))
}

/// `/static/{file}`: revalidated by its hash, so that a new version is seen at once and an old one costs no bytes.
pub async fn file(Path(name): Path<String>, headers: HeaderMap) -> Response {
    let Some(file) = FILES.get_file(&name) else {
        return (StatusCode::NOT_FOUND, "no such file").into_response();
    };
    let tag = format!("\"{}\"", hex::encode(&Sha256::digest(file.contents())[..12]));
    let caching = [(header::ETAG, tag.clone()), (header::CACHE_CONTROL, "no-cache".to_owned())];
    if headers.get(header::IF_NONE_MATCH).is_some_and(|seen| seen.as_bytes() == tag.as_bytes()) {
        return (StatusCode::NOT_MODIFIED, caching).into_response();
    }
    (caching, [(header::CONTENT_TYPE, content_type(&name))], file.contents()).into_response()
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map(|(_, ending)| ending) {
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_template_parses_and_escapes() {
        let names: Vec<_> = ENGINE.get_template_names().collect();
        assert!(!names.is_empty());
        assert!(names.iter().all(|name| name.ends_with(".html")), "{names:?}");
    }

    #[test]
    fn no_template_has_an_inline_handler_or_style() {
        for (path, text) in templates(&TEMPLATES) {
            for forbidden in ["onclick=", "onchange=", "onsubmit=", "style=", "javascript:", "| safe"] {
                assert!(!text.contains(forbidden), "{path}: {forbidden}");
            }
        }
    }
}
