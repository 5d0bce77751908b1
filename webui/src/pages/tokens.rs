//! Sessions and API tokens: everybody's own, with the form that makes a token, and those of a user for who manages users.

use std::collections::BTreeSet;

use axum::{
    Extension,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Redirect, Response},
};
use schemars::JsonSchema;
use serde::Serialize;
use store::users::{
    self, Issued, LIFETIME_DAYS_DEFAULT, LIFETIME_DAYS_MAX, NewApiToken, OpenToken, TOKENS_SHOWN_MAX, TokenRefusal,
};

use super::{
    Frame, Place,
    error::PageResult,
    segment, show as print,
    words::{Clock, Moment},
};
use crate::{
    app::App,
    auth::{Principal, form::PageForm, rights::Right},
    error::{ApiError, ApiResult},
    http::query::Query,
};

/// What the page shows.
#[derive(Serialize, JsonSchema)]
pub struct View {
    frame: Frame,
    heading: String,
    back: (&'static str, &'static str),
    /// Whose they are, when it is not who asks.
    username: Option<String>,
    /// Where the button beside a row is sent.
    revoke: &'static str,
    rows: Vec<Row>,
    is_cut: bool,
    form: Option<Form>,
    made: Option<Made>,
    mistake: Option<String>,
}

#[derive(Serialize, JsonSchema)]
struct Row {
    id: String,
    what: String,
    scope: String,
    from: String,
    issued: Moment,
    used: Option<Moment>,
    expires: Moment,
    is_this: bool,
}

/// What was typed into the form, or what stands in it first.
#[derive(Serialize, JsonSchema)]
struct Form {
    name: String,
    days: String,
    days_max: u32,
    rights: Vec<Tick>,
}

#[derive(Serialize, JsonSchema)]
struct Tick {
    name: &'static str,
    ticked: bool,
}

/// A token that was made just now: its text is on this page and nowhere else.
#[derive(Serialize, JsonSchema)]
struct Made {
    name: String,
    text: String,
    expires: Moment,
}

fn row(open: OpenToken, who: &Principal, clock: Clock) -> Row {
    let place = open.address.unwrap_or_else(|| "this machine".to_owned());
    Row {
        is_this: open.id == who.token_id,
        id: open.id.to_string(),
        what: if open.is_api_token { open.name.unwrap_or_default() } else { "session".to_owned() },
        scope: match open.scope {
            None => "everything that the user may do".to_owned(),
            Some(rights) => rights.join(", "),
        },
        from: open.door.map_or_else(|| place.clone(), |door| format!("{door}, {place}")),
        issued: clock.moment(open.issued_at),
        used: open.last_used_at.map(|at| clock.moment(at)),
        expires: clock.moment(open.expires_at),
    }
}

/// The rights that a token of this user can be limited to.
fn offered(who: &Principal) -> impl Iterator<Item = Right> {
    Right::GIVEN.into_iter().filter(|right| who.permissions.has_somewhere(*right))
}

fn first_form(who: &Principal) -> Form {
    Form {
        name: String::new(),
        days: LIFETIME_DAYS_DEFAULT.to_string(),
        days_max: LIFETIME_DAYS_MAX,
        rights: offered(who).map(|right| Tick { name: right.name(), ticked: right == Right::Read }).collect(),
    }
}

async fn own(app: &App, who: &Principal) -> ApiResult<View> {
    let clock = Clock::of(who);
    let open = users::open_tokens(&app.pool, Some(&who.name)).await?;
    Ok(View {
        frame: Frame::new(app, who, Place::Account, "Sessions and tokens").await?,
        heading: "Your sessions and tokens".to_owned(),
        back: ("/account", "Your account"),
        username: None,
        revoke: "/account/tokens/revoke",
        is_cut: is_cut(&open),
        rows: open.into_iter().map(|open| row(open, who, clock)).collect(),
        form: Some(first_form(who)),
        made: None,
        mistake: None,
    })
}

fn is_cut(open: &[OpenToken]) -> bool {
    i64::try_from(open.len()).is_ok_and(|count| count >= TOKENS_SHOWN_MAX)
}

/// `GET /account/tokens`.
pub async fn show(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    headers: HeaderMap,
) -> PageResult<Response> {
    Ok(print(&headers, &own(&app, &who).await?)?)
}

/// `POST /account/tokens`: makes one and shows it, once.
pub async fn create(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    headers: HeaderMap,
    form: PageForm,
) -> PageResult<Response> {
    let name = form.text("name").trim();
    let scope: BTreeSet<Right> = offered(&who).filter(|right| form.ticked(right.name())).collect();
    // What is no number is not between 1 and the most, which is what the answer says.
    let days = form.text("days").trim().parse().unwrap_or(0);
    let wish = NewApiToken { username: &who.name, name, scope: Some(scope.clone()), days };
    let made = users::create_api_token(&app.pool, who.actor(), &wish).await?;
    let mut view = own(&app, &who).await?;
    let status = match made {
        Ok(Issued { text, expires_at, .. }) => {
            let expires = Clock::of(&who).moment(expires_at);
            view.made = Some(Made { name: name.to_owned(), text: text.reveal().to_owned(), expires });
            StatusCode::OK
        }
        Err(refusal) => {
            view.mistake = Some(said(refusal));
            let rights =
                offered(&who).map(|right| Tick { name: right.name(), ticked: scope.contains(&right) }).collect();
            let days = form.text("days").to_owned();
            view.form = Some(Form { name: name.to_owned(), days, rights, ..first_form(&who) });
            StatusCode::BAD_REQUEST
        }
    };
    Ok((status, print(&headers, &view)?).into_response())
}

fn said(refusal: TokenRefusal) -> String {
    match refusal {
        TokenRefusal::NoUser => "you have been deleted".to_owned(),
        TokenRefusal::Mistakes(mistakes) => {
            mistakes.into_iter().map(|mistake| mistake.text).collect::<Vec<_>>().join("; ")
        }
    }
}

/// `POST /account/tokens/revoke`.
pub async fn revoke_own(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    form: PageForm,
) -> PageResult<Response> {
    revoke(&app, &who, Some(&who.name), form.text("id")).await?;
    Ok(Redirect::to("/account/tokens").into_response())
}

async fn revoke(app: &App, who: &Principal, of: Option<&str>, id: &str) -> ApiResult<()> {
    let missing = || ApiError::NotFound("There is no such session or token any more".to_owned());
    let id = id.parse().map_err(|_| missing())?;
    if users::revoke_open_token(&app.pool, who.actor(), of, id).await? { Ok(()) } else { Err(missing()) }
}

/// `GET /users/sessions?username=…`.
pub async fn of_user(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    headers: HeaderMap,
    query: Query,
) -> PageResult<Response> {
    let username = query.text("username").unwrap_or_default().to_owned();
    let clock = Clock::of(&who);
    let open = users::open_tokens(&app.pool, Some(&username)).await?;
    let view = View {
        frame: Frame::new(&app, &who, Place::Users, "Sessions and tokens").await?,
        heading: format!("Sessions and tokens of {username}"),
        back: ("/users", "Users"),
        username: Some(username),
        revoke: "/users/sessions",
        is_cut: is_cut(&open),
        rows: open.into_iter().map(|open| row(open, &who, clock)).collect(),
        form: None,
        made: None,
        mistake: None,
    };
    Ok(print(&headers, &view)?)
}

/// `POST /users/sessions`: ends one by its id, or all of the user.
pub async fn end(State(app): State<App>, Extension(who): Extension<Principal>, form: PageForm) -> PageResult<Response> {
    let username = form.text("username");
    if form.ticked("all") {
        users::end_sessions(&app.pool, who.actor(), username).await?;
    } else {
        revoke(&app, &who, Some(username), form.text("id")).await?;
    }
    Ok(Redirect::to(&format!("/users/sessions?username={}", segment(username))).into_response())
}
