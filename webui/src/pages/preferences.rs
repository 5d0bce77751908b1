//! Theme and time zone of one browser. The script changes them in place; this page does it without one.

use axum::{
    Extension,
    extract::State,
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse, Redirect, Response},
};
use schemars::JsonSchema;
use serde::Serialize;

use super::{
    Frame, Place,
    error::{PageResult, safe_next},
    show as print,
};
use crate::{
    app::App,
    auth::{Principal, form::PageForm},
    error::ApiError,
    http::query::Query,
    prefs::{Prefs, Theme},
};

/// What the page shows.
#[derive(Serialize, JsonSchema)]
pub struct View {
    frame: Frame,
    themes: Vec<&'static str>,
    zones: Vec<&'static str>,
    back: String,
}

/// `GET /preferences?back=…`.
pub async fn show(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    headers: HeaderMap,
    query: Query,
) -> PageResult<Response> {
    let view = View {
        frame: Frame::new(&app, &who, Place::Elsewhere, "Preferences").await?,
        themes: Theme::ALL.iter().map(|theme| theme.name()).collect(),
        zones: chrono_tz::TZ_VARIANTS.iter().map(|zone| zone.name()).collect(),
        back: safe_next(query.text("back").unwrap_or("/")).to_owned(),
    };
    Ok(print(&headers, &view)?)
}

/// `POST /preferences`: sets the cookies and goes back.
pub async fn submit(Extension(who): Extension<Principal>, form: PageForm) -> PageResult<Response> {
    let theme = match form.text("theme") {
        "" => who.prefs.theme,
        text => Theme::of(text).ok_or_else(|| ApiError::BadRequest(format!("there is no theme {text:?}")))?,
    };
    let zone = match form.text("zone") {
        "" => who.prefs.zone,
        text => text.parse().map_err(|_| ApiError::BadRequest(format!("there is no time zone {text:?}")))?,
    };
    let mut response = Redirect::to(safe_next(form.text("back"))).into_response();
    for cookie in (Prefs { theme, zone }).cookies() {
        let value = HeaderValue::from_str(&cookie).expect("names of themes and zones are visible ASCII");
        response.headers_mut().append(header::SET_COOKIE, value);
    }
    Ok(response)
}
