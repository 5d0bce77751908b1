//! The way to the login page and back.

use axum::{
    http::{HeaderValue, Uri, header},
    response::{IntoResponse, Redirect, Response},
};

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
