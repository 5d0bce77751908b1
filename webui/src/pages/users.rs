//! Users, for those who manage them, and everybody's own password.

use std::collections::BTreeSet;

use axum::{
    Extension,
    extract::State,
    http::HeaderMap,
    response::{IntoResponse, Redirect, Response},
};
use schemars::JsonSchema;
use serde::Serialize;
use store::{
    audit,
    secrets::{Creation, Mistake},
    users::{self, Account, NewUser, Role, RoleChange, USERS_OF_PAGE, UserChange},
};

use super::{
    Frame, Place,
    error::PageResult,
    forms::{self, DeletePage, Field, FormPage, Kind},
    roles, segment, show as print,
};
use crate::{
    app::App,
    auth::{Principal, form::PageForm, limiter::Attempt, login::authenticate},
    error::{ApiError, ApiResult},
    http::query::Query,
};

const BACK: (&str, &str) = ("/users", "Users");
const ROLES_HINT: &str = "Viewer sees; User also runs DAGs; Op also manages connections, variables and pools; Admin also users. Public may do what the \
     own roles allow, and nothing else.";

/// What the page shows.
#[derive(Serialize, JsonSchema)]
pub struct View {
    frame: Frame,
    rows: Vec<Row>,
    /// Back to the first page, on every other.
    first: Option<&'static str>,
    next: Option<String>,
}

#[derive(Serialize, JsonSchema)]
struct Row {
    name: String,
    roles: String,
    sessions_url: String,
    is_you: bool,
    edit_url: String,
    delete_url: String,
}

/// `GET /users?after=…`.
pub async fn show(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    headers: HeaderMap,
    query: Query,
) -> PageResult<Response> {
    let row = |account: Account| Row {
        edit_url: format!("/users/edit?username={}", segment(&account.username)),
        delete_url: format!("/users/delete?username={}", segment(&account.username)),
        is_you: account.username == who.name,
        sessions_url: format!("/users/sessions?username={}", segment(&account.username)),
        roles: account.role_names(),
        name: account.username,
    };
    let after = query.text("after").unwrap_or_default();
    let page = users::page(&app.pool, after).await?;
    let is_full = i64::try_from(page.len()).is_ok_and(|count| count >= USERS_OF_PAGE);
    let next = page.last().filter(|_| is_full).map(|last| format!("/users?after={}", segment(&last.username)));
    let first = (!after.is_empty()).then_some("/users");
    let rows = page.into_iter().map(row).collect();
    let frame = Frame::new(&app, &who, Place::Users, "Users").await?;
    Ok(print(&headers, &View { frame, rows, first, next })?)
}

/// `GET /users/new`.
pub async fn new(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    headers: HeaderMap,
) -> PageResult<Response> {
    new_form(&app, &who).await?.show(&headers)
}

async fn new_form(app: &App, who: &Principal) -> ApiResult<FormPage> {
    Ok(FormPage {
        frame: Frame::new(app, who, Place::Users, "New user").await?,
        heading: "New user".to_owned(),
        back: BACK,
        lead: String::new(),
        choose: None,
        action: "/users/new",
        fields: vec![
            Field::new(Kind::Text, "username", "Name"),
            role_field(Role::Viewer),
            own_roles_field(app, &[]).await?,
            Field::new(Kind::Password, "password", "Password"),
        ],
        button: "Create",
        mistake: None,
    })
}

fn role_field(role: Role) -> Field {
    Field::new(Kind::Choice, "role", "Role").choices(Role::ALL.map(Role::name)).value(role.name()).hint(ROLES_HINT)
}

async fn own_roles_field(app: &App, own: &[String]) -> ApiResult<Field> {
    let names: Vec<String> = users::own_roles(&app.pool).await?.into_iter().map(|role| role.name).collect();
    let hint = if names.is_empty() {
        "There are none yet: make one under Roles.".to_owned()
    } else {
        format!("Separated by commas. There are: {}", names.join(", "))
    };
    Ok(Field::new(Kind::Text, "own_roles", "Own roles").value(own.join(", ")).hint(hint))
}

fn own_roles_of(form: &PageForm) -> BTreeSet<String> {
    form.text("own_roles").split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// Gives a user own roles, if these are not what it has.
async fn set_own_roles(app: &App, who: &Principal, username: &str, has: &[String], form: &PageForm) -> ApiResult<()> {
    let wanted = own_roles_of(form);
    if !form.has("own_roles") || wanted.iter().eq(has) {
        return Ok(());
    }
    match users::set_own_roles(&app.pool, who.actor(), username, &wanted).await? {
        RoleChange::NoRole(name) => {
            forms::checked(vec![Mistake { field: "own_roles", text: format!("there is no role {name}") }])
        }
        change => roles::done(change),
    }
}

fn role_of(form: &PageForm) -> ApiResult<Role> {
    form.text("role").parse().map_err(|error: model::UnknownCode| ApiError::BadRequest(error.to_string()))
}

/// `POST /users/new`.
pub async fn create(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    headers: HeaderMap,
    form: PageForm,
) -> PageResult<Response> {
    match create_user(&app, &who, &form).await {
        Ok(()) => Ok(Redirect::to("/users").into_response()),
        Err(error) => new_form(&app, &who).await?.refuse(&headers, &form, error),
    }
}

async fn create_user(app: &App, who: &Principal, form: &PageForm) -> ApiResult<()> {
    let (username, password) = (form.text("username").trim(), form.text("password"));
    forms::checked(users::mistakes(username, password, app.settings.password_chars_min))?;
    let user = NewUser { username, password, role: role_of(form)? };
    let _place = place(app).await?;
    match users::create_user(&app.pool, who.actor(), user).await? {
        Creation::Created => set_own_roles(app, who, username, &[], form).await,
        Creation::Exists => Err(ApiError::AlreadyExists(format!("There is a user {username} already"))),
    }
}

/// `GET /users/edit?username=…`.
pub async fn edit(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    headers: HeaderMap,
    query: Query,
) -> PageResult<Response> {
    edit_form(&app, &who, query.text("username").unwrap_or_default()).await?.show(&headers)
}

async fn edit_form(app: &App, who: &Principal, username: &str) -> ApiResult<FormPage> {
    let account = find(app, username).await?;
    let hint = "Leave it empty to keep it. A new one logs the user out everywhere.";
    Ok(FormPage {
        frame: Frame::new(app, who, Place::Users, username).await?,
        heading: username.to_owned(),
        back: BACK,
        lead: String::new(),
        choose: None,
        action: "/users/edit",
        fields: vec![
            Field::new(Kind::Fixed, "username", "Name").value(username),
            role_field(account.role),
            own_roles_field(app, &account.own_roles).await?,
            Field::new(Kind::Password, "password", "New password").hint(hint),
        ],
        button: "Save",
        mistake: None,
    })
}

async fn find(app: &App, username: &str) -> ApiResult<Account> {
    let found = users::named(&app.pool, username).await?;
    found.ok_or_else(|| missing(username))
}

fn missing(username: &str) -> ApiError {
    ApiError::NotFound(format!("There is no user {username:?}"))
}

fn done(change: UserChange, username: &str) -> ApiResult<()> {
    match change {
        UserChange::Done => Ok(()),
        UserChange::Missing => Err(missing(username)),
        UserChange::OfProvider => Err(ApiError::Conflict(format!(
            "{username} logs in by the identity provider, which knows the password: change it there"
        ))),
        UserChange::LastAdmin => Err(ApiError::Conflict(format!(
            "{username} is the only Admin: nobody could manage users any more. Make somebody else Admin first"
        ))),
    }
}

/// `POST /users/edit`.
pub async fn update(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    headers: HeaderMap,
    form: PageForm,
) -> PageResult<Response> {
    let username = form.text("username");
    match change_user(&app, &who, username, &form).await {
        Ok(()) => Ok(Redirect::to("/users").into_response()),
        Err(error) => edit_form(&app, &who, username).await?.refuse(&headers, &form, error),
    }
}

async fn change_user(app: &App, who: &Principal, username: &str, form: &PageForm) -> ApiResult<()> {
    let account = find(app, username).await?;
    let (role, password) = (role_of(form)?, form.text("password"));
    if !password.is_empty() {
        forms::checked(users::mistakes(username, password, app.settings.password_chars_min))?;
    }
    set_own_roles(app, who, username, &account.own_roles, form).await?;
    if role != account.role {
        done(users::set_role(&app.pool, who.actor(), username, role).await?, username)?;
    }
    if !password.is_empty() {
        let _place = place(app).await?;
        done(users::set_password(&app.pool, who.actor(), username, password).await?, username)?;
    }
    Ok(())
}

/// `GET /users/delete?username=…`: asks.
pub async fn ask(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    headers: HeaderMap,
    query: Query,
) -> PageResult<Response> {
    let account = find(&app, query.text("username").unwrap_or_default()).await?;
    delete_page(&app, &who, account.username, None).await?.show(&headers)
}

async fn delete_page(app: &App, who: &Principal, username: String, mistake: Option<String>) -> ApiResult<DeletePage> {
    Ok(DeletePage {
        frame: Frame::new(app, who, Place::Users, "Delete a user").await?,
        heading: format!("Delete the user {username}?"),
        back: BACK,
        consequence: "Every session and token of the user ends at once. What the user did stays in the audit log."
            .to_owned(),
        action: "/users/delete",
        named: ("username", username),
        mistake,
    })
}

/// `POST /users/delete`.
pub async fn delete(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    headers: HeaderMap,
    form: PageForm,
) -> PageResult<Response> {
    let username = form.text("username");
    let outcome = done(users::delete_user(&app.pool, who.actor(), username).await?, username);
    match outcome {
        Ok(()) => Ok(Redirect::to("/users").into_response()),
        Err(error @ ApiError::Conflict(_)) => {
            delete_page(&app, &who, username.to_owned(), Some(error.to_string())).await?.show(&headers)
        }
        Err(error) => Err(error.into()),
    }
}

/// `GET /account`: one's own password.
pub async fn account(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    headers: HeaderMap,
) -> PageResult<Response> {
    account_form(&app, &who).await?.show(&headers)
}

async fn account_form(app: &App, who: &Principal) -> ApiResult<FormPage> {
    Ok(FormPage {
        frame: Frame::new(app, who, Place::Account, "Your password").await?,
        heading: "Your password".to_owned(),
        back: ("/dags", "DAGs"),
        lead: format!(
            "You are {}, with these roles: {}. A new password ends all of your sessions and tokens.",
            who.name, who.roles
        ),
        choose: None,
        action: "/account",
        fields: vec![
            Field::new(Kind::Password, "current", "Current password"),
            Field::new(Kind::Password, "password", "New password"),
            Field::new(Kind::Password, "again", "New password, again"),
        ],
        button: "Change",
        mistake: None,
    })
}

/// `POST /account`: to the login page with the new password.
pub async fn change_password(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    headers: HeaderMap,
    form: PageForm,
) -> PageResult<Response> {
    match change_own(&app, &who, &form).await {
        Ok(()) => Ok(Redirect::to("/login").into_response()),
        Err(error) => account_form(&app, &who).await?.refuse(&headers, &form, error),
    }
}

/// Whoever found an open session does not know the password, and may guess no more often than at the login.
async fn change_own(app: &App, who: &Principal, form: &PageForm) -> ApiResult<()> {
    let new = form.text("password");
    forms::checked(users::mistakes(&who.name, new, app.settings.password_chars_min))?;
    let wrong = |field, text: &str| forms::checked(vec![Mistake { field, text: text.to_owned() }]);
    if new != form.text("again") {
        return wrong("again", "it is not the same as the one above");
    }
    let attempt = Attempt { user: &who.name, from: who.client.0, session: Some(who.token_id) };
    if authenticate(app, attempt, form.text("current")).await?.is_none() {
        audit::login_failed(&app.pool, who.actor()).await?;
        return wrong("current", "it is wrong");
    }
    let _place = place(app).await?;
    done(users::set_password(&app.pool, who.actor(), &who.name, new).await?, &who.name)
}

/// A place among those whose password is being hashed.
async fn place(app: &App) -> ApiResult<tokio::sync::OwnedSemaphorePermit> {
    Ok(app.logins.place().await?)
}
