//! The routes and the layers around them. Who may use a route is said where it is declared, see [`crate::auth::table`].

use std::{any::Any, panic::AssertUnwindSafe, sync::Arc};

use ::metrics::Page;
use axum::{
    Json, Router,
    body::Body,
    extract::{DefaultBodyLimit, Request, State},
    http::{HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use dag::content::REVISION_BYTES_MAX;
use futures::FutureExt;
use serde_json::json;
use tokio::time::Duration;
use tower::ServiceBuilder;
use tower_http::{
    compression::{CompressionLayer, DefaultPredicate, Predicate, predicate::NotForContentType},
    request_id::{MakeRequestUuid, PropagateRequestIdLayer, SetRequestIdLayer},
    set_header::SetResponseHeaderLayer,
    trace::TraceLayer,
};

use crate::{
    CookieScope, api,
    app::App,
    assets,
    auth::{
        faces, guard,
        login::{self, LOGIN_BYTES_MAX},
        rights::Face,
        table,
    },
    error::ApiError,
    http::{
        intake,
        load::{self, Gate},
    },
    live,
    pages::{self, error::PageError},
};

/// Hands what stands above the guard down to it: which operations there are, and how a page tells of an error.
pub fn put_together() {
    table::hand_down(api::openapi::declared_document);
    faces::hand_down(faces::Pages {
        error: |error| PageError(error).into_response(),
        logout: || pages::login::logout_page().into_response(),
    });
}

/// The largest body: a conf is a few KiB, Airflow's notes end at 1,000 characters.
pub const BODY_BYTES_MAX: usize = 1024 * 1024;
/// The largest body of a deployment: base64 takes four bytes for three, and names stand beside.
pub const DEPLOY_BYTES_MAX: usize = REVISION_BYTES_MAX / 3 * 4 + 2 * 1024 * 1024;
/// A browser that has seen us over https does not come over http for a year.
const TRANSPORT_SECURITY: &str = "max-age=31536000; includeSubDomains";
/// No page uses a sensor or a payment, so nothing that gets into one may, either.
const PERMISSIONS: &str = "accelerometer=(), camera=(), display-capture=(), geolocation=(), gyroscope=(), \
    magnetometer=(), microphone=(), payment=(), usb=()";
/// Scripts, styles and data come from here alone, nothing is inline, and nobody may frame a page.
const CONTENT_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
    connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// The whole application.
pub fn router(app: App) -> Router {
    put_together();
    let requests = app.settings.requests.clone();
    let gate = Arc::new(Gate::default());
    let counted = app.clone();
    let patience = app.settings.answer_time_max;
    let secure = match app.settings.cookie {
        CookieScope::Plain => None,
        CookieScope::Secure => Some(header(header::STRICT_TRANSPORT_SECURITY, TRANSPORT_SECURITY)),
    };
    let routes = Router::new()
        .merge(auth_routes())
        .merge(api::openapi::declared())
        .merge(rest_routes())
        .merge(page_routes())
        .route("/static/{file}", get(assets::file))
        .route("/events", get(live::events))
        .route("/link/endpoint", get(api::link::endpoint))
        .route("/metrics", get(metrics))
        .method_not_allowed_fallback(async || wrong_method())
        .route_layer(middleware::from_fn_with_state(app.clone(), live::share))
        .route_layer(middleware::from_fn_with_state(app.clone(), guard::check))
        .fallback(unknown_path)
        .with_state(app);
    routes.layer(
        ServiceBuilder::new()
            .layer(middleware::from_fn_with_state(requests, ::metrics::http::time))
            .layer(middleware::from_fn_with_state(counted, load::count))
            .layer(SetRequestIdLayer::x_request_id(MakeRequestUuid))
            // What failed is told where it became an answer, and what there was no room for is counted.
            .layer(TraceLayer::new_for_http().make_span_with(span).on_failure(()))
            .layer(PropagateRequestIdLayer::x_request_id())
            .layer(header(header::CONTENT_SECURITY_POLICY, CONTENT_POLICY))
            .layer(header(header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
            .layer(header(header::X_FRAME_OPTIONS, "DENY"))
            .layer(header(header::REFERRER_POLICY, "same-origin"))
            .layer(header(HeaderName::from_static("permissions-policy"), PERMISSIONS))
            .option_layer(secure)
            .layer(header(HeaderName::from_static("cross-origin-opener-policy"), "same-origin"))
            .layer(header(HeaderName::from_static("cross-origin-resource-policy"), "same-origin"))
            .layer(header(header::CACHE_CONTROL, "no-store"))
            .layer(
                CompressionLayer::new()
                    .compress_when(DefaultPredicate::new().and(NotForContentType::const_new("text/event-stream"))),
            )
            .layer(middleware::from_fn(survive))
            .layer(middleware::from_fn_with_state(gate, load::admit))
            .layer(middleware::from_fn_with_state(patience, give_up))
            .layer(middleware::from_fn_with_state(patience / 4 * 3, intake::limit))
            .layer(DefaultBodyLimit::max(BODY_BYTES_MAX)),
    )
}

/// What Prometheus asks for.
async fn metrics(State(app): State<App>) -> Page {
    app.settings.live.open(app.hub.streams(), app.tails.count());
    app.settings.metrics.clone()
}

fn auth_routes() -> Router<App> {
    let short = DefaultBodyLimit::max(LOGIN_BYTES_MAX);
    Router::new()
        .route("/auth/logout", get(login::logout_question).post(login::logout))
        .route("/auth/oidc/login", get(pages::oidc::begin))
        .route("/auth/oidc/callback", get(pages::oidc::finish))
        .route("/login", get(pages::login::show).post(pages::login::submit).layer(short))
}

fn rest_routes() -> Router<App> {
    Router::new().route("/openapi.json", get(api::openapi::show)).merge(admin_rest_routes())
}

/// A connection may have a word as its id that is a route of its own.
fn admin_rest_routes() -> Router<App> {
    use api::connections::{ConnectionPath, delete, one, patch};
    let changes = |word: &'static str| {
        axum::routing::patch(async move |app, who, mask, body| {
            patch(app, who, ConnectionPath::of_word(word), mask, body).await
        })
        .delete(async move |app, who| delete(app, who, ConnectionPath::of_word(word)).await)
    };
    let all = |word: &'static str| changes(word).get(async move |app| one(app, ConnectionPath::of_word(word)).await);
    Router::new()
        .route("/api/v2/connections/test", all("test"))
        .route("/api/v2/connections/defaults", all("defaults"))
        .route("/api/v2/connections/enqueue-test", changes("enqueue-test"))
}

fn page_routes() -> Router<App> {
    Router::new()
        .route("/", get(pages::home))
        .route("/dags", get(pages::dags::show))
        .route("/dags/{dag_id}", get(pages::dag::show))
        .route("/dags/{dag_id}/trigger", get(pages::trigger::show).post(pages::trigger::submit))
        .route("/dags/{dag_id}/backfill", get(pages::backfill::show).post(pages::backfill::submit))
        .route("/dags/{dag_id}/backfills/{backfill_id}/{action}", post(pages::backfill::control))
        .route("/dags/{dag_id}/pause", post(pages::dags::pause))
        .route("/dags/{dag_id}/drain", post(pages::dags::drain))
        .route("/dags/{dag_id}/favorite", post(pages::dags::favorite))
        .route("/dags/{dag_id}/runs/{run_id}", get(pages::run::show))
        .route("/dags/{dag_id}/runs/{run_id}/tasks/{task_id}", get(pages::task::show))
        .route("/dags/{dag_id}/runs/{run_id}/tasks/{task_id}/log", get(pages::run_log::read))
        .route("/dags/{dag_id}/runs/{run_id}/tasks/{task_id}/log.txt", get(pages::run_log::download))
        .route("/dags/{dag_id}/runs/{run_id}/tasks/{task_id}/mark", post(pages::task::mark))
        .route("/dags/{dag_id}/runs/{run_id}/tasks/{task_id}/answer", post(pages::task::answer))
        .route("/dags/{dag_id}/runs/{run_id}/clear", get(pages::clear::show).post(pages::clear::submit))
        .route("/dags/{dag_id}/runs/{run_id}/mark", post(pages::clear::mark))
        .route("/runs", get(pages::runs::show))
        .route("/assets", get(pages::asset_list::show))
        .route("/assets/{asset_id}", get(pages::asset::show))
        .route("/assets/{asset_id}/{action}", post(pages::asset::act))
        .route("/services", get(pages::services::show))
        .route("/services/{dag_id}/{name}/{replica}/log", get(pages::services::log))
        .route("/services/{dag_id}/{name}/{action}", post(pages::services::control))
        .route("/approvals", get(pages::approvals::show))
        .route("/import-errors", get(pages::import_errors::show))
        .route("/bundles", get(pages::bundles::show))
        .route("/bundles/delete", get(pages::bundles::ask).post(pages::bundles::delete))
        .route("/bundles/poll", post(pages::bundles::poll))
        .route("/bundles/rollback", post(pages::bundles::rollback))
        .route("/quarantine/release", post(pages::import_errors::release))
        .route("/search", get(pages::search::show))
        .route("/docs", get(pages::docs::show))
        .route("/preferences", get(pages::preferences::show).post(pages::preferences::submit))
        .merge(admin_page_routes())
}

fn admin_page_routes() -> Router<App> {
    use pages::{audit, connections, forecast, notifications, pools, roles, tokens, users, variables};
    Router::new()
        .route("/pools", get(pools::show))
        .route("/pools/new", get(pools::new).post(pools::create))
        .route("/pools/edit", get(pools::edit).post(pools::update))
        .route("/pools/delete", get(pools::ask).post(pools::delete))
        .route("/connections", get(connections::show))
        .route("/connections/new", get(connections::new).post(connections::create))
        .route("/connections/edit", get(connections::edit).post(connections::update))
        .route("/connections/delete", get(connections::ask).post(connections::delete))
        .route("/variables", get(variables::show))
        .route("/variables/new", get(variables::new).post(variables::create))
        .route("/variables/edit", get(variables::edit).post(variables::update))
        .route("/variables/delete", get(variables::ask).post(variables::delete))
        .route("/audit", get(audit::show))
        .route("/forecast", get(forecast::show))
        .route("/notifications", get(notifications::show))
        .route("/users", get(users::show))
        .route("/users/new", get(users::new).post(users::create))
        .route("/users/edit", get(users::edit).post(users::update))
        .route("/users/delete", get(users::ask).post(users::delete))
        .route("/users/sessions", get(tokens::of_user).post(tokens::end))
        .route("/roles", get(roles::show))
        .route("/roles/new", get(roles::new).post(roles::create))
        .route("/roles/edit", get(roles::edit).post(roles::update))
        .route("/roles/delete", get(roles::ask).post(roles::delete))
        .route("/account", get(users::account).post(users::change_password))
        .route("/account/tokens", get(tokens::show).post(tokens::create))
        .route("/account/tokens/revoke", post(tokens::revoke_own))
}

/// Ends a request that takes too long, and says so. What it was waiting for is withdrawn by whoever waited.
async fn give_up(State(patience): State<Duration>, request: Request, next: Next) -> Response {
    let changes = !matches!(*request.method(), Method::GET | Method::HEAD);
    let face = guard::face_of(&request);
    match tokio::time::timeout(patience, next.run(request)).await {
        Ok(answer) => answer,
        Err(_) => faces::said_to(face, ApiError::GaveUp { after_secs: patience.as_secs(), changes }),
    }
}

/// Sets a header unless the handler has set it.
fn header(name: HeaderName, value: &'static str) -> SetResponseHeaderLayer<HeaderValue> {
    SetResponseHeaderLayer::if_not_present(name, HeaderValue::from_static(value))
}

/// The span of a request; its query is left out, because a client may put a secret there.
fn span(request: &axum::http::Request<Body>) -> tracing::Span {
    let id = request.headers().get("x-request-id").and_then(|id| id.to_str().ok()).unwrap_or_default();
    // At the level of errors, so that the lines of a failed request name it whatever else is logged.
    tracing::error_span!("request", method = %request.method(), path = request.uri().path(), request.id = id)
}

async fn unknown_path(request: Request) -> Response {
    let path = request.uri().path();
    if path.starts_with("/api/") {
        return (StatusCode::NOT_FOUND, Json(json!({ "error": "API route not found" }))).into_response();
    }
    PageError(ApiError::NotFound("There is no such page".to_owned())).into_response()
}

/// The path exists, the method does not.
pub fn wrong_method() -> Response {
    (StatusCode::METHOD_NOT_ALLOWED, Json(json!({ "detail": "Method Not Allowed" }))).into_response()
}

/// Answers also when a handler panics, in the way that its client understands.
async fn survive(request: Request, next: Next) -> Response {
    let face = guard::face_of(&request);
    AssertUnwindSafe(next.run(request)).catch_unwind().await.unwrap_or_else(|panic| after_panic(face, &*panic))
}

fn after_panic(face: Face, panic: &(dyn Any + Send)) -> Response {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    faces::said_to(face, ApiError::Internal(format!("a handler panicked: {}", text.unwrap_or("without a text"))))
}

#[cfg(test)]
mod tests {
    use tower::ServiceExt;

    use super::*;

    /// Kind of the answer and its text, of a route of each face behind a layer.
    async fn answers(layered: impl Fn(Router) -> Router) -> [(StatusCode, String, String); 2] {
        put_together();
        let idle = || async { std::future::pending::<()>().await };
        let app = layered(Router::new().route("/dags", get(idle)).route("/api/v2/dags", get(idle)));
        let ask = |path: &'static str| {
            let app = app.clone();
            async move {
                let answer = app.oneshot(Request::get(path).body(Body::empty()).unwrap()).await.unwrap();
                let kind = answer.headers()[header::CONTENT_TYPE].to_str().unwrap().to_owned();
                let status = answer.status();
                let text = axum::body::to_bytes(answer.into_body(), BODY_BYTES_MAX).await.unwrap();
                (status, kind, String::from_utf8(text.to_vec()).unwrap())
            }
        };
        [ask("/dags").await, ask("/api/v2/dags").await]
    }

    #[tokio::test(start_paused = true)]
    async fn people_get_a_page_and_programs_json_when_there_is_no_time_or_no_room() {
        let late = |app: Router| app.layer(middleware::from_fn_with_state(Duration::from_secs(1), give_up));
        let full = |app: Router| app.layer(middleware::from_fn_with_state(Arc::new(Gate::closed()), load::admit));
        for (status, answers) in [(504, answers(late).await), (503, answers(full).await)] {
            let [page, rest] = answers;
            assert_eq!((page.0.as_u16(), rest.0.as_u16()), (status, status));
            assert!(page.1.starts_with("text/html") && page.2.contains("</html>"), "{page:?}");
            assert!(rest.1 == "application/json" && rest.2.starts_with("{\"detail\":"), "{rest:?}");
        }
    }

    #[tokio::test]
    async fn a_page_that_panics_is_answered_by_a_page() {
        put_together();
        let app = Router::new().route("/runs", get(async || -> () { panic!("a mistake") }));
        let app = app.layer(middleware::from_fn(survive));
        let answer = app.oneshot(Request::get("/runs").body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert!(answer.headers()[header::CONTENT_TYPE].to_str().unwrap().starts_with("text/html"));
    }
}
