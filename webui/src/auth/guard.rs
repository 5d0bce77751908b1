//! The one place before any handler: who asks, from where, and whether the role suffices.
//!
//! A request reaches its handler only through [`check`]; a route that does not say who may use it is refused, and so is
//! a path or a query that nothing stored can match.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use axum::{
    extract::{ConnectInfo, MatchedPath, Request, State},
    http::{HeaderMap, Method, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

use store::{
    audit::Door,
    users::{self, ApiToken, Holder, Permissions, TokenKey},
};

use super::{
    Principal,
    client::Client,
    faces::said_to,
    rights::{Access, Face, NARROWED, Right, Route},
    table,
    token::Claims,
    way_back::login_redirect,
};
use crate::{
    CookieScope,
    app::App,
    error::{ApiError, ApiResult},
    http::door::{self, NamedDag},
    prefs::Prefs,
};

/// The cookie that holds the session of a browser, named as Airflow names it.
const COOKIE: &str = "_token";
/// The same over https alone: browsers take a cookie of this name from the host itself only, for all of its paths.
const HOST_COOKIE: &str = "__Host-_token";

/// The name of the session's cookie.
#[must_use]
pub const fn cookie_name(scope: CookieScope) -> &'static str {
    match scope {
        CookieScope::Plain => COOKIE,
        CookieScope::Secure => HOST_COOKIE,
    }
}

/// Lets a request through or refuses it.
pub async fn check(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let path = request.extensions().get::<MatchedPath>().cloned();
    let path = path.as_ref().map_or("", MatchedPath::as_str);
    let Some(route) = table::route(request.method().as_str(), path) else {
        return method_or_right_is_missing(path);
    };
    if let Err(error) = door::check(&mut request).await {
        return refuse(route.face, &request, error);
    }
    let client = client_of(&app, &request);
    request.extensions_mut().insert(client);
    let right = match route.access {
        Access::Public => return next.run(request).await,
        Access::JoinToken => {
            return match super::join::admit(&app, request.headers()).await {
                Ok(()) => next.run(request).await,
                Err(error) => refuse(route.face, &request, error),
            };
        }
        Access::Closed => return right_is_missing(path),
        Access::Needs(right) => right,
    };
    let admitted = admit(&app, request.method(), request.headers(), client).await.and_then(|principal| {
        let dag_id = named_dag(&request);
        principal.must(right, |permissions| may_use(permissions, right, route, dag_id)).map(|()| principal)
    });
    match admitted {
        Ok(principal) => {
            request.extensions_mut().insert(principal);
            next.run(request).await
        }
        Err(error) => refuse(route.face, &request, error),
    }
}

/// The router knows the path: either not with this method, or nobody said who may use it.
fn method_or_right_is_missing(path: &str) -> Response {
    if table::routes_at(path).is_empty() { right_is_missing(path) } else { crate::router::wrong_method() }
}

fn right_is_missing(path: &str) -> Response {
    tracing::error!(path, "a route does not say who may use it and is refused");
    ApiError::Forbidden.into_response()
}

/// For whom a request is to be answered, when nobody has looked at it yet: what the table of rights does not know is a page
/// unless it is below `/api/`.
#[must_use]
pub fn face_of(request: &Request) -> Face {
    let path = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    let known = table::routes_at(path).first().map(|route| route.face);
    known.unwrap_or(if request.uri().path().starts_with("/api/") { Face::Api } else { Face::Page })
}

fn refuse(face: Face, request: &Request, error: ApiError) -> Response {
    match (face, &error) {
        (Face::Page, ApiError::Unauthenticated | ApiError::InvalidToken) if request.method() == Method::GET => {
            login_redirect(request.uri())
        }
        _ => said_to(face, error),
    }
}

/// Where a request comes from.
fn client_of(app: &App, request: &Request) -> Client {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    let peer = peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |ConnectInfo(peer)| peer.ip());
    app.settings.trusted_proxies.client(peer, request.headers())
}

async fn admit(app: &App, method: &Method, headers: &HeaderMap, client: Client) -> ApiResult<Principal> {
    let (token, source) = token_of(headers, app.settings.cookie).ok_or(ApiError::Unauthenticated)?;
    let holder = holder_of(app, &token, source).await?.ok_or(ApiError::InvalidToken)?;
    let door = match source {
        Source::Header => Door::Api,
        Source::Cookie => Door::Ui,
    };
    if source == Source::Cookie && changes(method) && !comes_from_here(headers) {
        return Err(ApiError::Forbidden);
    }
    Ok(Principal {
        roles: holder.account.role_names(),
        name: holder.account.username,
        permissions: holder.permissions,
        limit: holder.limit,
        token_id: holder.token_id,
        prefs: Prefs::of(headers),
        door,
        client,
        came_at: app.hub.position(),
    })
}

/// Who shows a token; none when it is revoked, over, or the user is gone. A browser has a session; an API token is for programs,
/// which send it in the header.
async fn holder_of(app: &App, token: &str, source: Source) -> ApiResult<Option<Holder>> {
    match ApiToken::parse(token) {
        Some(token) if source == Source::Header => Ok(users::holder(&app.token_pool, TokenKey::Api(&token)).await?),
        Some(_) => Ok(None),
        None => {
            let claims: Claims = app.tokens.read(token).map_err(|_| ApiError::InvalidToken)?;
            let holder = users::holder(&app.token_pool, TokenKey::Session(claims.jti)).await?;
            Ok(holder.filter(|holder| holder.account.username == claims.sub))
        }
    }
}

/// The DAG that a path names.
fn named_dag(request: &Request) -> Option<&str> {
    request.extensions().get::<NamedDag>().map(|NamedDag(id)| id.as_str())
}

/// Whether somebody may use a route: by a right over everything, on the DAG that the path names, or because the route tells
/// everybody of those DAGs alone that the user may see.
fn may_use(permissions: &Permissions, right: Right, route: &Route, dag_id: Option<&str>) -> bool {
    if permissions.has(right) {
        return true;
    }
    match dag_id {
        Some(dag_id) => permissions.has_on(right, dag_id),
        None => permissions.has_somewhere(right) && is_narrowed(route),
    }
}

fn is_narrowed(route: &Route) -> bool {
    NARROWED.contains(&(&*route.method, &*route.path))
}

/// How a token came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// In the Authorization header: a program chose to send it.
    Header,
    /// As a cookie: a browser sends it whoever made it ask.
    Cookie,
}

/// The token of a request.
#[must_use]
pub fn token_of(headers: &HeaderMap, scope: CookieScope) -> Option<(String, Source)> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(value) = text(header::AUTHORIZATION) {
        let (scheme, token) = value.split_once(' ')?;
        return scheme.eq_ignore_ascii_case("bearer").then(|| (token.trim().to_owned(), Source::Header));
    }
    session_cookie(headers, scope).map(|token| (token.to_owned(), Source::Cookie))
}

/// The token in the session's cookie.
#[must_use]
pub fn session_cookie(headers: &HeaderMap, scope: CookieScope) -> Option<&str> {
    cookie_of(headers, cookie_name(scope))
}

/// The text of the cookie of a name.
#[must_use]
pub fn cookie_of<'h>(headers: &'h HeaderMap, named: &str) -> Option<&'h str> {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = lines.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, token)| *name == named && !token.is_empty()).map(|(_, token)| token)
}

fn changes(method: &Method) -> bool {
    !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// Whether a browser says that one of our own pages made the request. Without any sign it did not.
#[must_use]
pub fn comes_from_here(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    match (text("origin"), text("host")) {
        (Some(origin), Some(host)) => origin.split_once("://").is_some_and(|(_, from)| from.eq_ignore_ascii_case(host)),
        (None, _) => text("sec-fetch-site") == Some("same-origin"),
        (Some(_), None) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn a_request_of_another_site_is_told_from_our_own() {
        let ours = [("origin", "http://127.0.0.1:8083"), ("host", "127.0.0.1:8083")];
        assert!(comes_from_here(&headers(&ours)));
        assert!(!comes_from_here(&headers(&[("origin", "http://evil.example"), ours[1]])));
        assert!(!comes_from_here(&headers(&[("origin", "null"), ours[1]])));
        assert!(!comes_from_here(&headers(&[ours[1]])));
        assert!(comes_from_here(&headers(&[("sec-fetch-site", "same-origin"), ours[1]])));
    }

    #[test]
    fn a_token_comes_in_the_header_or_in_the_cookie() {
        let plain = |pairs: &[(&'static str, &'static str)]| token_of(&headers(pairs), CookieScope::Plain);
        assert_eq!(plain(&[("authorization", "Bearer a.b.c")]), Some(("a.b.c".to_owned(), Source::Header)));
        assert_eq!(plain(&[("cookie", "x=1; _token=t; y=2")]), Some(("t".to_owned(), Source::Cookie)));
        assert_eq!(plain(&[("cookie", "_tokens=t")]), None);
        assert_eq!(plain(&[("authorization", "Basic eHg=")]), None);
        let both = headers(&[("cookie", "_token=planted; __Host-_token=ours")]);
        assert_eq!(token_of(&both, CookieScope::Secure), Some(("ours".to_owned(), Source::Cookie)));
    }
}
