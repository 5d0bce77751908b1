//! Login by an identity provider: the way there and the way back. See [`crate::auth::oidc`] for what is checked.

use std::time::{Duration, Instant};

use axum::{
    Extension,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Redirect, Response},
};
use serde_json::json;
use store::{
    StoreError,
    audit::{self, Actor, Door},
    users::{self, ProviderLogin, ProviderRefusal},
};

use super::{
    error::{PageError, PageResult, safe_next},
    login,
};
use crate::{
    CookieScope,
    app::App,
    auth::{
        client::Client,
        guard,
        limiter::Attempt as Guess,
        login::{cookie, with_cookie},
        oidc::{Attempt, LOGIN_LASTS, NoLogin, Oidc, Person},
    },
    error::ApiError,
    http::query::Query,
};

/// What the audit log calls these logins.
const ACTION: &str = "login_oidc";
const REFUSED: &str = "login_failed";
/// Who has not said yet who it is.
const NOBODY: &str = "somebody";

/// `GET /auth/oidc/login`: to the provider.
pub async fn begin(State(app): State<App>, query: Query) -> PageResult<Response> {
    let oidc = provider(&app)?;
    let next = safe_next(query.text("next").unwrap_or("/"));
    match oidc.begin(next).await {
        Ok((url, attempt)) => {
            let taken_along = app.tokens.sign_attempt(&attempt, LOGIN_LASTS);
            let cookie = attempt_cookie(&app, &taken_along, LOGIN_LASTS);
            Ok(with_cookie(Redirect::to(url.as_str()).into_response(), &cookie))
        }
        Err(error) => {
            tracing::warn!(%error, "nobody can log in by the identity provider");
            login::refused(&app, next, StatusCode::BAD_GATEWAY, error.to_string())
        }
    }
}

/// `GET /auth/oidc/callback`: back from the provider, to where the login began.
pub async fn finish(
    State(app): State<App>,
    Extension(client): Extension<Client>,
    headers: HeaderMap,
    query: Query,
) -> PageResult<Response> {
    let oidc = provider(&app)?;
    let taken_along = guard::cookie_of(&headers, attempt_cookie_name(app.settings.cookie));
    let attempt = taken_along.and_then(|text| app.tokens.read_attempt(text));
    // Any page can send a browser here: without a login that began in it nobody has tried anything, and nothing is counted.
    let Some(attempt) = attempt else {
        let error = stale().to_string();
        return login::refused(&app, "/", StatusCode::FORBIDDEN, error);
    };
    // Counted as guesses are: an address that comes with made-up answers is told to wait.
    let user = format!("provider/{}", attempt.state);
    let reserved = app.logins.reserve(Guess { user: &user, from: client.0, session: None }, Instant::now()).await?;
    let next = safe_next(&attempt.next).to_owned();
    let done = match person(oidc, &attempt, &query).await {
        Ok(person) => log_in(&app, oidc, client, &person).await?,
        Err(error) => Err((NOBODY.to_owned(), error)),
    };
    let response = match done {
        Ok(token) => {
            reserved.succeeded(Instant::now());
            let session = cookie(&app, &token, app.settings.token_lifetime);
            with_cookie(Redirect::to(&next).into_response(), &session)
        }
        Err((name, error)) => {
            tracing::warn!(user.name = name, client.address = %client.0, %error, "a login by the identity provider failed");
            let who = Actor { name: &name, door: Some(Door::Ui), address: Some(client.0), api_token: None };
            let details = json!({ "provider": oidc.issuer(), "reason": error.to_string() });
            audit::record(&app.pool, who, REFUSED, &details).await?;
            let status = match error {
                NoLogin::Provider(_) => {
                    reserved.take_back();
                    StatusCode::BAD_GATEWAY
                }
                NoLogin::Refused(_) => StatusCode::FORBIDDEN,
            };
            login::refused(&app, &next, status, error.to_string())?
        }
    };
    // It is good for one way back.
    Ok(with_cookie(response, &attempt_cookie(&app, "", Duration::ZERO)))
}

fn provider(app: &App) -> PageResult<&Oidc> {
    let missing = || PageError(ApiError::NotFound("There is no identity provider here".to_owned()));
    app.settings.oidc.as_deref().ok_or_else(missing)
}

fn stale() -> NoLogin {
    NoLogin::Refused("this login was not begun in this browser, or it took too long; log in again".to_owned())
}

/// Who comes back.
async fn person(oidc: &Oidc, attempt: &Attempt, query: &Query) -> Result<Person, NoLogin> {
    if !attempt.is_state(query.text("state").unwrap_or_default()) {
        return Err(stale());
    }
    // RFC 9207: the answer of another provider is told from ours.
    if query.text("iss").is_some_and(|issuer| issuer != oidc.issuer()) {
        return Err(NoLogin::Refused("another provider than ours has answered".to_owned()));
    }
    if let Some(error) = query.text("error") {
        let words = query.text("error_description").unwrap_or_default();
        return Err(NoLogin::Refused(format!("the provider says no: {}", oidc.quoted(&format!("{error} {words}")))));
    }
    match query.text("code") {
        Some(code) if !code.is_empty() => oidc.finish(attempt, code).await,
        _ => Err(NoLogin::Refused("the provider sent no code; log in again".to_owned())),
    }
}

/// A session for somebody that the provider vouches for, or the name and why not.
async fn log_in(
    app: &App,
    oidc: &Oidc,
    client: Client,
    person: &Person,
) -> PageResult<Result<String, (String, NoLogin)>> {
    let user = person.username.as_str();
    let who = Actor { name: user, door: Some(Door::Ui), address: Some(client.0), api_token: None };
    let login =
        ProviderLogin { provider: oidc.issuer(), subject: &person.subject, username: user, roles: &person.roles };
    let account = match users::log_in_by_provider(&app.pool, who, login).await {
        Ok(account) => account,
        Err(ProviderRefusal::Store(error)) => return Err(PageError(StoreError::into(error))),
        Err(ProviderRefusal::NoRole) => {
            let why = format!("{user} is in no group that has a role here; ask who administers Windlass");
            return Ok(Err((user.to_owned(), NoLogin::Refused(why))));
        }
        Err(refusal) => return Ok(Err((user.to_owned(), NoLogin::Refused(refusal.to_string())))),
    };
    let (token, claims) = app
        .tokens
        .issue(&account.username, account.role, app.settings.token_lifetime)
        .map_err(|error| ApiError::Internal(format!("a token could not be signed: {error}")))?;
    let issued = users::NewToken { jti: claims.jti, user_id: account.id, expires_at: claims.expires_at() };
    users::record_token(&app.pool, who, issued, ACTION).await?;
    Ok(Ok(token))
}

const fn attempt_cookie_name(scope: CookieScope) -> &'static str {
    match scope {
        CookieScope::Plain => "_oidc",
        CookieScope::Secure => "__Host-_oidc",
    }
}

/// What a browser takes along to the provider: sent with the way back, which is another site's link, so `Lax`.
fn attempt_cookie(app: &App, text: &str, lasts: Duration) -> String {
    let secure = match app.settings.cookie {
        CookieScope::Plain => "",
        CookieScope::Secure => "; Secure",
    };
    let name = attempt_cookie_name(app.settings.cookie);
    format!("{name}={text}; Path=/; HttpOnly; SameSite=Lax; Max-Age={}{secure}", lasts.as_secs())
}
