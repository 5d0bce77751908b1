//! Logging in and out: `/auth/token` for programs, and what the login page shares with it.

use std::time::{Duration, Instant};

use axum::{
    Extension, Json,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{Html, IntoResponse, Redirect, Response},
};
use model::door::Text;
use serde_json::{Value, json};
use store::{
    audit::{self, Actor, Door},
    users,
};

use super::{
    client::Client,
    guard::{self, Source},
    limiter::Attempt,
    rights::Role,
    token::Claims,
};
use crate::{
    CookieScope,
    app::App,
    assets,
    error::{ApiError, ApiResult, FieldError},
    intake,
    pages::error::PageResult,
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

/// How somebody logs in.
pub struct Way<'a> {
    /// From where.
    pub client: Client,
    /// By which door.
    pub door: Door,
    /// What the audit log calls it.
    pub action: &'static str,
    /// How long the token lives.
    pub lifetime: Duration,
    /// A session that the client has had before, by its cookie.
    pub session: Option<&'a str>,
}

/// `POST /auth/token`: JSON or a form.
pub async fn token(
    State(app): State<App>,
    Extension(client): Extension<Client>,
    request: Request,
) -> ApiResult<Response> {
    issue(&app, client, "create_token", app.settings.token_lifetime, request).await
}

/// `POST /auth/token/cli`: the same with a shorter life.
pub async fn token_for_cli(
    State(app): State<App>,
    Extension(client): Extension<Client>,
    request: Request,
) -> ApiResult<Response> {
    issue(&app, client, "create_token_cli", app.settings.cli_token_lifetime, request).await
}

async fn issue(
    app: &App,
    client: Client,
    action: &'static str,
    lifetime: Duration,
    request: Request,
) -> ApiResult<Response> {
    let login = login_of(request).await?;
    let way = Way { client, door: Door::Api, action, lifetime, session: None };
    let token = log_in(app, &login, way).await?;
    Ok((StatusCode::CREATED, Json(json!({ "access_token": token }))).into_response())
}

async fn login_of(request: Request) -> ApiResult<Login> {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let is_form = kind.starts_with("application/x-www-form-urlencoded");
    let bytes = intake::read(request, LOGIN_BYTES_MAX).await?;
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
/// [`ApiError::BadLogin`] without saying what was wrong, [`ApiError::TooManyLogins`] after too many of those,
/// [`ApiError::CrowdedLogins`] while too many wait for their turn.
pub async fn log_in(app: &App, login: &Login, way: Way<'_>) -> ApiResult<String> {
    for (field, text) in [("username", &login.username), ("password", &login.password)] {
        if let Err(error) = Text::new(text.as_str()) {
            let message = format!("Value error, {error}");
            return Err(ApiError::Malformed(vec![FieldError::body(field, "value_error", message, Value::Null)]));
        }
    }
    let user = login.username.as_str();
    let session = way.session.and_then(|token| app.tokens.was_issued_to(token, user));
    let who = Actor { name: user, door: Some(way.door), address: Some(way.client.0) };
    let account = authenticate(app, Attempt { user, from: way.client.0, session }, &login.password).await?;
    let Some(account) = account else {
        tracing::warn!(user.name = user, client.address = %way.client.0, "a login failed");
        audit::login_failed(&app.pool, who).await?;
        return Err(ApiError::BadLogin);
    };
    let (token, claims) = app
        .tokens
        .issue(user, account.role, way.lifetime)
        .map_err(|error| ApiError::Internal(format!("a token could not be signed: {error}")))?;
    let issued = users::NewToken { jti: claims.jti, user_id: account.id, expires_at: claims.expires_at() };
    users::record_token(&app.pool, who, issued, way.action).await?;
    Ok(token)
}

/// The user of a name and a password. The attempt is counted before the password is compared, and forgotten when it was right.
///
/// # Errors
/// [`ApiError::TooManyLogins`], [`ApiError::CrowdedLogins`]; when PostgreSQL does not answer.
pub async fn authenticate(app: &App, attempt: Attempt<'_>, password: &str) -> ApiResult<Option<users::Account>> {
    let reserved = app.logins.reserve(attempt, Instant::now()).await?;
    match users::authenticate(&app.pool, attempt.user, password).await {
        Ok(Some(account)) => {
            reserved.succeeded(Instant::now());
            Ok(Some(account))
        }
        Ok(None) => Ok(None),
        Err(error) => {
            reserved.take_back();
            Err(error.into())
        }
    }
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
pub async fn logout(
    State(app): State<App>,
    Extension(client): Extension<Client>,
    headers: HeaderMap,
) -> ApiResult<Response> {
    if let Some((token, source)) = guard::token_of(&headers, app.settings.cookie) {
        if source == Source::Cookie && !guard::comes_from_here(&headers) {
            return Err(ApiError::Forbidden);
        }
        if let Ok(claims) = app.tokens.read(&token) {
            let door = if source == Source::Cookie { Door::Ui } else { Door::Api };
            let who = Actor { name: &claims.sub, door: Some(door), address: Some(client.0) };
            users::revoke_token(&app.pool, who, claims.jti).await?;
        }
    }
    Ok(with_cookie(Redirect::to("/login").into_response(), &cookie(&app, "", Duration::ZERO)))
}

/// `GET /auth/logout`: a program that shows its token in the header is logged out as in Airflow. A browser sends its cookie
/// whoever made it ask, a link in somebody's text included: it gets a page with the button that does it.
pub async fn logout_question(
    State(app): State<App>,
    client: Extension<Client>,
    headers: HeaderMap,
) -> PageResult<Response> {
    match guard::token_of(&headers, app.settings.cookie) {
        Some((_, Source::Header)) => Ok(logout(State(app), client, headers).await?),
        Some((_, Source::Cookie)) => {
            let page = assets::render("logout.html", &json!({ "title": "Log out" }));
            Ok(Html(page.map_err(|error| ApiError::Internal(error.to_string()))?).into_response())
        }
        None => Ok(Redirect::to("/login").into_response()),
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
    let name = guard::cookie_name(app.settings.cookie);
    format!("{name}={token}; Path=/; HttpOnly; SameSite=Lax; Max-Age={}{secure}", lifetime.as_secs())
}

/// Adds a cookie to an answer.
#[must_use]
pub fn with_cookie(mut response: Response, cookie: &str) -> Response {
    let value = HeaderValue::from_str(cookie).expect("a signed token and our own words are visible ASCII");
    response.headers_mut().append(header::SET_COOKIE, value);
    response
}
