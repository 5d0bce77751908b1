//! Logging in and out: `/auth/token` for programs, and what the login page shares with it.

use std::time::{Duration, Instant};

use axum::{
    Extension, Json,
    extract::{DefaultBodyLimit, Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Redirect, Response},
};
use model::door::Text;
use serde::Deserialize;
use serde_json::Value;
use store::{
    audit::{self, Actor, Door},
    users,
};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    client::Client,
    faces,
    guard::{self, Source},
    limiter::Attempt,
    rights::Face,
    way_back::login_page,
};
use crate::{
    CookieScope, LocalLogins,
    app::App,
    declare::{
        Errors, answer,
        errors::{HTTPExceptionResponse, HTTPValidationError},
        query_params,
    },
    error::{ApiError, ApiResult, FieldError},
    http::intake,
};

/// A body of two short texts needs no more.
pub const LOGIN_BYTES_MAX: usize = 16 * 1024;

/// What nobody may ask for: everybody would be an administrator.
const NO_ALL_ADMINS: &str = "This method is only allowed where everybody is an administrator, which is nowhere here: send a \
    username and a password";

/// What somebody with a password is told where none is taken.
const NO_LOCAL_LOGINS: &str = "Passwords are not taken here: log in by the identity provider";

/// The operations.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(token, token_for_all))
        .routes(routes!(token_for_cli))
        .layer(DefaultBodyLimit::max(LOGIN_BYTES_MAX))
        .routes(routes!(login_for_all))
        .routes(routes!(to_login))
        .routes(routes!(to_logout))
}

/// Name and password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = LoginBody)]
pub struct Login {
    /// The name.
    #[schema(min_length = 1)]
    pub username: String,
    /// The password.
    #[schema(min_length = 1)]
    pub password: String,
}

answer! {
    /// A login.
    pub struct LoginResponse {
        /// What to send as `Authorization: Bearer`.
        access_token: String,
    }
}

query_params! {
    /// Where to go after the login.
    pub struct LoginWay {
        /// A path of ours; the start page instead of anything else.
        next: Option<String>,
    }
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

/// Create Token
///
/// Of JSON or of a form.
#[utoipa::path(
    post, path = "/auth/token", operation_id = "create_token", tag = "SimpleAuthManagerLogin",
    request_body(content((Login = "application/json"), (Login = "application/x-www-form-urlencoded"))),
    responses((status = 201, description = "Successful Response", body = LoginResponse), Errors<413, 415, 429>),
    security(())
)]
pub async fn token(
    State(app): State<App>,
    Extension(client): Extension<Client>,
    request: Request,
) -> ApiResult<(StatusCode, Json<LoginResponse>)> {
    issue(&app, client, "create_token", app.settings.token_lifetime, request).await
}

/// Create Token Cli
///
/// The same with a shorter life.
#[utoipa::path(
    post, path = "/auth/token/cli", operation_id = "create_token_cli", tag = "SimpleAuthManagerLogin",
    request_body(content((Login = "application/json"), (Login = "application/x-www-form-urlencoded"))),
    responses((status = 201, description = "Successful Response", body = LoginResponse), Errors<413, 415, 429>),
    security(())
)]
pub async fn token_for_cli(
    State(app): State<App>,
    Extension(client): Extension<Client>,
    request: Request,
) -> ApiResult<(StatusCode, Json<LoginResponse>)> {
    issue(&app, client, "create_token_cli", app.settings.cli_token_lifetime, request).await
}

/// Create Token All Admins
///
/// Refused: nobody gets a token without a password.
#[utoipa::path(
    get, path = "/auth/token", operation_id = "create_token_all_admins", tag = "SimpleAuthManagerLogin",
    responses(
        (status = 201, description = "Successful Response", body = LoginResponse),
        (status = 403, description = "Forbidden", body = HTTPExceptionResponse),
    ),
    security(())
)]
pub async fn token_for_all() -> ApiError {
    ApiError::Refused(NO_ALL_ADMINS.to_owned())
}

/// Login All Admins
///
/// Refused: nobody is logged in without a password.
#[utoipa::path(
    get, path = "/auth/token/login", operation_id = "login_all_admins", tag = "SimpleAuthManagerLogin",
    responses(
        (status = 307, description = "Temporary Redirect"),
        (status = 403, description = "Forbidden", body = HTTPExceptionResponse),
    ),
    security(())
)]
pub async fn login_for_all() -> ApiError {
    ApiError::Refused(NO_ALL_ADMINS.to_owned())
}

async fn issue(
    app: &App,
    client: Client,
    action: &'static str,
    lifetime: Duration,
    request: Request,
) -> ApiResult<(StatusCode, Json<LoginResponse>)> {
    let login = login_of(request).await?;
    let way = Way { client, door: Door::Api, action, lifetime, session: None };
    let access_token = log_in(app, &login, way).await?;
    Ok((StatusCode::CREATED, Json(LoginResponse { access_token })))
}

async fn login_of(request: Request) -> ApiResult<Login> {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let bytes = intake::read(request, LOGIN_BYTES_MAX).await?;
    let login = match kind.as_str() {
        "" | "application/json" => serde_json::from_slice(&bytes).ok(),
        "application/x-www-form-urlencoded" => of_form(&bytes),
        _ => return Err(ApiError::UnknownKind("Send application/json or application/x-www-form-urlencoded")),
    };
    let Some(login) = login else {
        let text = "username and password are required, as texts, and nothing else is taken";
        return Err(ApiError::MalformedText(text.to_owned()));
    };
    if login.username.is_empty() || login.password.is_empty() {
        return Err(ApiError::BadRequest("Username and password must be provided".to_owned()));
    }
    Ok(login)
}

fn of_form(bytes: &[u8]) -> Option<Login> {
    let find = |name| url::form_urlencoded::parse(bytes).find(|(key, _)| key == name).map(|(_, value)| value.into());
    Some(Login { username: find("username")?, password: find("password")? })
}

/// A token for whoever knows the password.
///
/// # Errors
/// [`ApiError::Refused`] where passwords are not taken, [`ApiError::BadLogin`] without saying what was wrong, [`ApiError::TooManyLogins`] after too many of those,
/// [`ApiError::CrowdedLogins`] while too many wait for their turn.
pub async fn log_in(app: &App, login: &Login, way: Way<'_>) -> ApiResult<String> {
    if app.settings.local_logins == LocalLogins::Refused {
        return Err(ApiError::Refused(NO_LOCAL_LOGINS.to_owned()));
    }
    for (field, text) in [("username", &login.username), ("password", &login.password)] {
        if let Err(error) = Text::new(text.as_str()) {
            let message = format!("Value error, {error}");
            return Err(ApiError::Malformed(vec![FieldError::body(field, "value_error", message, Value::Null)]));
        }
    }
    let user = login.username.as_str();
    let session = way.session.and_then(|token| app.tokens.was_issued_to(token, user));
    let who = Actor { name: user, door: Some(way.door), address: Some(way.client.0), api_token: None };
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
            let who = Actor { name: &claims.sub, door: Some(door), address: Some(client.0), api_token: None };
            users::revoke_token(&app.pool, who, claims.jti).await?;
            app.hub.end_session(claims.jti);
        }
    }
    Ok(with_cookie(Redirect::to("/login").into_response(), &cookie(&app, "", Duration::ZERO)))
}

/// `GET /auth/logout`: a program that shows its token in the header is logged out as in Airflow. A browser sends its cookie
/// whoever made it ask, a link in somebody's text included: it gets a page with the button that does it.
pub async fn logout_question(State(app): State<App>, client: Extension<Client>, headers: HeaderMap) -> Response {
    match guard::token_of(&headers, app.settings.cookie) {
        Some((_, Source::Header)) => {
            let done = logout(State(app), client, headers).await;
            done.unwrap_or_else(|error| faces::said_to(Face::Page, error))
        }
        Some((_, Source::Cookie)) => faces::logout_page(),
        None => Redirect::to("/login").into_response(),
    }
}

/// Logout
///
/// Where Airflow's UI goes.
#[utoipa::path(
    get, path = "/api/v2/auth/logout", operation_id = "logout", tag = "Login",
    responses(
        (status = 200, description = "Successful Response"),
        (status = 307, description = "Temporary Redirect"),
    ),
    security(())
)]
pub async fn to_logout() -> Redirect {
    Redirect::temporary("/auth/logout")
}

/// Login
///
/// Where Airflow's UI goes.
#[utoipa::path(
    get, path = "/api/v2/auth/login", operation_id = "login", tag = "Login",
    params(LoginWay),
    responses(
        (status = 200, description = "Successful Response"),
        (status = 307, description = "Temporary Redirect"),
        (status = 400, description = "Bad Request", body = HTTPExceptionResponse),
        (status = 422, description = "Validation Error", body = HTTPValidationError),
    ),
    security(())
)]
pub async fn to_login(LoginWay { next }: LoginWay) -> Redirect {
    Redirect::temporary(&next.map_or_else(|| "/login".to_owned(), |next| login_page(&next)))
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
