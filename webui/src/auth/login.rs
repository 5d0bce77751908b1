//! Logging in and out: `/auth/token` for programs, and what the login page shares with it.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use axum::{
    Json,
    body::Bytes,
    extract::{ConnectInfo, FromRequest, Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Redirect, Response},
};
use model::door::Text;
use serde_json::{Value, json};
use store::users;

use super::{
    guard::{self, COOKIE, Source},
    rights::Role,
    token::Claims,
};
use crate::{
    CookieScope,
    api::body::unread,
    app::App,
    error::{ApiError, ApiResult, FieldError},
};

/// A body of two short texts needs no more.
pub const LOGIN_BYTES_MAX: usize = 16 * 1024;

/// Name and password.
pub struct Login {
    /// The name.
    pub username: String,
    /// The password.
    pub password: String,
}

/// `POST /auth/token`: JSON or a form.
pub async fn token(
    State(app): State<App>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    request: Request,
) -> ApiResult<Response> {
    issue(&app, from, request, app.settings.token_lifetime).await
}

/// `POST /auth/token/cli`: the same with a shorter life.
pub async fn token_for_cli(
    State(app): State<App>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    request: Request,
) -> ApiResult<Response> {
    issue(&app, from, request, app.settings.cli_token_lifetime).await
}

async fn issue(app: &App, from: SocketAddr, request: Request, lifetime: Duration) -> ApiResult<Response> {
    let login = login_of(request).await?;
    let token = log_in(app, &login, from, lifetime).await?;
    Ok((StatusCode::CREATED, Json(json!({ "access_token": token }))).into_response())
}

async fn login_of(request: Request) -> ApiResult<Login> {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let is_form = kind.starts_with("application/x-www-form-urlencoded");
    let bytes = Bytes::from_request(request, &());
    let bytes = bytes.await.map_err(|error| unread(error.status(), &error, LOGIN_BYTES_MAX))?;
    let (username, password) = if is_form { of_form(&bytes) } else { of_json(&bytes) };
    match (username, password) {
        (Some(username), Some(password)) if !username.is_empty() && !password.is_empty() => {
            Ok(Login { username, password })
        }
        (Some(_), Some(_)) => Err(ApiError::BadRequest("Username and password must be provided".to_owned())),
        _ => Err(ApiError::MalformedText("username and password are required".to_owned())),
    }
}

fn of_form(bytes: &[u8]) -> (Option<String>, Option<String>) {
    let find = |name| url::form_urlencoded::parse(bytes).find(|(key, _)| key == name).map(|(_, value)| value.into());
    (find("username"), find("password"))
}

fn of_json(bytes: &[u8]) -> (Option<String>, Option<String>) {
    let body: Value = serde_json::from_slice(bytes).unwrap_or_default();
    let find = |name: &str| body.get(name).and_then(Value::as_str).map(str::to_owned);
    (find("username"), find("password"))
}

/// A token for whoever knows the password.
///
/// # Errors
/// [`ApiError::BadLogin`] without saying what was wrong, [`ApiError::TooManyLogins`] after too many of those.
pub async fn log_in(app: &App, login: &Login, from: SocketAddr, lifetime: Duration) -> ApiResult<String> {
    for (field, text) in [("username", &login.username), ("password", &login.password)] {
        if let Err(error) = Text::new(text.as_str()) {
            let message = format!("Value error, {error}");
            return Err(ApiError::Malformed(vec![FieldError::body(field, "value_error", message, Value::Null)]));
        }
    }
    let (user, address) = (login.username.as_str(), from.ip());
    if let Some(retry_after_secs) = app.logins.wait_secs(user, address, Instant::now()) {
        return Err(ApiError::TooManyLogins { retry_after_secs });
    }
    let Some(account) = users::authenticate(&app.pool, user, &login.password).await? else {
        app.logins.failed(user, address, Instant::now());
        tracing::warn!(user.name = user, client.address = %address, "a login failed");
        return Err(ApiError::BadLogin);
    };
    app.logins.succeeded(user, address);
    let (token, claims) = app
        .tokens
        .issue(user, account.role, lifetime)
        .map_err(|error| ApiError::Internal(format!("a token could not be signed: {error}")))?;
    users::record_token(&app.pool, claims.jti, account.id, claims.expires_at()).await?;
    Ok(token)
}

/// The role of a token's user today; none when the token is revoked or the user is gone.
///
/// # Errors
/// When PostgreSQL does not answer.
pub async fn role_of_session(app: &App, claims: &Claims) -> ApiResult<Option<Role>> {
    let account = users::of_token(&app.pool, claims.jti).await?;
    Ok(account.filter(|account| account.username == claims.sub).map(|account| account.role))
}

/// `POST /auth/logout`: the token is void from now on, wherever else it may be.
pub async fn logout(State(app): State<App>, headers: HeaderMap) -> ApiResult<Response> {
    if let Some((token, source)) = guard::token_of(&headers) {
        if source == Source::Cookie && !guard::comes_from_here(&headers) {
            return Err(ApiError::Forbidden);
        }
        if let Ok(claims) = app.tokens.read(&token) {
            users::revoke_token(&app.pool, claims.jti).await?;
        }
    }
    Ok(with_cookie(Redirect::to("/login").into_response(), &cookie(&app, "", Duration::ZERO)))
}

/// `GET /auth/logout`: a program that shows its token in the header is logged out as in Airflow; a browser, which sends
/// its cookie whoever made it ask, only gets to the login page.
pub async fn logout_question(State(app): State<App>, headers: HeaderMap) -> ApiResult<Response> {
    match guard::token_of(&headers) {
        Some((_, Source::Header)) => logout(State(app), headers).await,
        Some((_, Source::Cookie)) if guard::comes_from_here(&headers) => logout(State(app), headers).await,
        Some((_, Source::Cookie)) | None => Ok(Redirect::to("/login").into_response()),
    }
}

/// `GET /api/v2/auth/logout`, where Airflow's UI goes.
pub async fn to_logout() -> Redirect {
    Redirect::temporary("/auth/logout")
}

/// `GET /api/v2/auth/login`, where Airflow's UI goes.
pub async fn to_login() -> Redirect {
    Redirect::temporary("/login")
}

/// The session cookie: not for scripts, not for other sites, gone with its token.
#[must_use]
pub fn cookie(app: &App, token: &str, lifetime: Duration) -> String {
    let secure = match app.settings.cookie {
        CookieScope::Plain => "",
        CookieScope::Secure => "; Secure",
    };
    format!("{COOKIE}={token}; Path=/; HttpOnly; SameSite=Lax; Max-Age={}{secure}", lifetime.as_secs())
}

/// Adds a cookie to an answer.
#[must_use]
pub fn with_cookie(mut response: Response, cookie: &str) -> Response {
    let value = HeaderValue::from_str(cookie).expect("a signed token and our own words are visible ASCII");
    response.headers_mut().append(header::SET_COOKIE, value);
    response
}
