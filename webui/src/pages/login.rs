//! The login page.

use axum::{
    Extension,
    extract::{Request, State},
    http::{HeaderMap, StatusCode},
    response::{Html, IntoResponse, Redirect, Response},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use store::audit::Door;

use super::{
    error::{PageError, PageResult, safe_next},
    view::Part,
};
use crate::{
    LocalLogins,
    app::App,
    assets,
    auth::{
        client::Client,
        guard,
        login::{LOGIN_BYTES_MAX, Login, Way, cookie, log_in, with_cookie},
    },
    error::ApiError,
    http::{intake, query::Query},
};

/// What the page shows.
#[derive(Serialize, JsonSchema)]
pub struct View<'a> {
    title: &'static str,
    username: &'a str,
    next: &'a str,
    mistake: Option<String>,
    hint: Option<&'a str>,
    /// Whether there is a form for name and password.
    takes_passwords: bool,
    /// The identity provider's name and the way there.
    provider: Option<Provider<'a>>,
}

#[derive(Serialize, JsonSchema)]
struct Provider<'a> {
    name: &'a str,
    way: String,
}

/// The question whether somebody wants to log out.
#[derive(Serialize, JsonSchema)]
pub struct LogoutView {
    title: &'static str,
}

/// The page with the button that logs out.
///
/// # Errors
/// When its template can not be printed.
pub fn logout_page() -> PageResult<Response> {
    Ok(Html(assets::render(Part::Page, &LogoutView { title: "Log out" })?).into_response())
}

/// `GET /login`.
pub async fn show(State(app): State<App>, query: Query) -> PageResult<Response> {
    let next = safe_next(query.text("next").unwrap_or("/"));
    page(&app, "", next, None)
}

fn page(app: &App, username: &str, next: &str, mistake: Option<&ApiError>) -> PageResult<Response> {
    let status = mistake.map_or(StatusCode::OK, ApiError::status);
    let mistake = mistake.map(|error| match error {
        ApiError::BadLogin => "Name or password is wrong.".to_owned(),
        other => other.to_string(),
    });
    render(app, username, next, (status, mistake))
}

/// The page again for somebody whom the identity provider, or we, have refused.
pub(super) fn refused(app: &App, next: &str, status: StatusCode, why: String) -> PageResult<Response> {
    render(app, "", next, (status, Some(why)))
}

fn render(
    app: &App,
    username: &str,
    next: &str,
    (status, mistake): (StatusCode, Option<String>),
) -> PageResult<Response> {
    let takes_passwords = app.settings.local_logins == LocalLogins::Taken;
    let escaped: String = url::form_urlencoded::byte_serialize(next.as_bytes()).collect();
    let provider = app.settings.oidc.as_deref();
    let provider = provider.map(|oidc| Provider { name: oidc.name(), way: format!("/auth/oidc/login?next={escaped}") });
    let hint = app.settings.login_hint.as_deref().filter(|_| takes_passwords);
    let view = View { title: "Log in", username, next, mistake, hint, takes_passwords, provider };
    let html = assets::render(Part::Page, &view)?;
    Ok((status, Html(html)).into_response())
}

/// What the form sends.
#[derive(Deserialize)]
pub struct Fields {
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
    #[serde(default)]
    next: String,
}

/// `POST /login`: a cookie and the way back, or the form again with what was wrong.
pub async fn submit(
    State(app): State<App>,
    Extension(client): Extension<Client>,
    headers: HeaderMap,
    request: Request,
) -> PageResult<Response> {
    let fields: Fields = intake::read_form(request, LOGIN_BYTES_MAX).await?;
    // There is no session yet to bind a form token to; that the form is ours is told by the browser.
    if !guard::comes_from_here(&headers) {
        return Err(PageError(ApiError::Forbidden));
    }
    let next = safe_next(&fields.next);
    let login = Login { username: fields.username, password: fields.password };
    let way = Way {
        client,
        door: Door::Ui,
        action: "login",
        lifetime: app.settings.token_lifetime,
        session: guard::session_cookie(&headers, app.settings.cookie),
    };
    match log_in(&app, &login, way).await {
        Ok(token) => {
            let cookie = cookie(&app, &token, app.settings.token_lifetime);
            Ok(with_cookie(Redirect::to(next).into_response(), &cookie))
        }
        Err(
            error @ (ApiError::BadLogin
            | ApiError::Refused(_)
            | ApiError::TooManyLogins { .. }
            | ApiError::CrowdedLogins),
        ) => page(&app, &login.username, next, Some(&error)),
        Err(error) => Err(PageError(error)),
    }
}
