//! Roles: Airflow's, which are as they are, and those of the installation, to be made, changed and deleted here.

use axum::{
    Extension,
    extract::State,
    http::HeaderMap,
    response::{IntoResponse, Redirect, Response},
};
use schemars::JsonSchema;
use serde::Serialize;
use store::{
    secrets::{Creation, Mistake},
    users::{self, DagPermission, OwnRole, Role, RoleChange},
};

use super::{
    Frame, Place,
    error::PageResult,
    forms::{self, Deletion, Field, FormPage, Kind},
    segment, show as print,
};
use crate::{
    app::App,
    auth::{Principal, form::PageForm, rights::Right},
    error::{ApiError, ApiResult},
    http::query::Query,
};

const BACK: (&str, &str) = ("/roles", "Roles");
/// What is said before one is deleted.
const DELETION: Deletion = Deletion {
    place: Place::Roles,
    kind: "role",
    back: BACK,
    consequence: "Whoever has it has it no more, with the next request.",
    action: "/roles/delete",
    member: "name",
};

/// What the page shows.
#[derive(Serialize, JsonSchema)]
pub struct View {
    frame: Frame,
    rows: Vec<Row>,
}

#[derive(Serialize, JsonSchema)]
struct Row {
    name: String,
    rights: String,
    dags: Vec<String>,
    edit_url: Option<String>,
    delete_url: Option<String>,
}

fn words(rights: impl Iterator<Item = Right>) -> String {
    rights.filter(|right| Right::GIVEN.contains(right)).map(Right::name).collect::<Vec<_>>().join(", ")
}

/// `GET /roles`.
pub async fn show(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    headers: HeaderMap,
) -> PageResult<Response> {
    let given = Role::ALL.into_iter().map(|role| Row {
        name: role.name().to_owned(),
        rights: words(role.rights()),
        dags: Vec::new(),
        edit_url: None,
        delete_url: None,
    });
    let own = users::own_roles(&app.pool).await?.into_iter().map(|role| Row {
        rights: words(role.rights.iter().copied()),
        dags: role.permissions(),
        edit_url: Some(format!("/roles/edit?name={}", segment(&role.name))),
        delete_url: Some(format!("/roles/delete?name={}", segment(&role.name))),
        name: role.name,
    });
    let rows = given.chain(own).collect();
    let frame = Frame::new(&app, &who, Place::Roles, "Roles").await?;
    Ok(print(&headers, &View { frame, rows })?)
}

fn fields(name: Field, role: &OwnRole) -> Vec<Field> {
    let ticks = Right::GIVEN.into_iter().map(|right| {
        let ticked = if role.rights.contains(&right) { "1" } else { "" };
        Field::new(Kind::Tick, right.name(), format!("{}: {}", right.name(), about(right))).value(ticked)
    });
    let hint = format!("One a line: {}", DagPermission::FORM);
    let dags = Field::new(Kind::Area, "dags", "Permissions on DAGs").value(role.permissions().join("\n")).hint(hint);
    std::iter::once(name).chain(ticks).chain([dags]).collect()
}

const fn about(right: Right) -> &'static str {
    match right {
        Right::Read => "see every DAG, run, log, pool and service",
        Right::ChangeDags => "pause, trigger, clear and mark every DAG",
        Right::ReadAdmin => "see variables, connections and the audit log",
        Right::ChangeAdmin => "change variables, connections and pools",
        Right::ChangeServices => "start and stop services",
        Right::ManageUsers => "manage users and roles, and so give oneself everything",
        Right::OwnAccount | Right::ChangeOwnView => "",
    }
}

fn no_role() -> OwnRole {
    OwnRole { name: String::new(), rights: [].into(), dags: [].into() }
}

/// `GET /roles/new`.
pub async fn new(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    headers: HeaderMap,
) -> PageResult<Response> {
    new_form(&app, &who).await?.show(&headers)
}

async fn new_form(app: &App, who: &Principal) -> ApiResult<FormPage> {
    let fields = fields(Field::new(Kind::Text, "name", "Name"), &no_role());
    form(app, who, "New role".to_owned(), "/roles/new", fields, "Create").await
}

async fn edit_form(app: &App, who: &Principal, name: &str) -> ApiResult<FormPage> {
    let role = users::own_role(&app.pool, name).await?.ok_or_else(|| missing(name))?;
    let fields = fields(Field::new(Kind::Fixed, "name", "Name").value(name), &role);
    form(app, who, name.to_owned(), "/roles/edit", fields, "Save").await
}

async fn form(
    app: &App,
    who: &Principal,
    heading: String,
    action: &'static str,
    fields: Vec<Field>,
    button: &'static str,
) -> ApiResult<FormPage> {
    Ok(FormPage {
        frame: Frame::new(app, who, Place::Roles, heading.clone()).await?,
        heading,
        back: BACK,
        lead: "A right is over everything; a permission is on one DAG, or on each with a tag.".to_owned(),
        choose: None,
        action,
        fields,
        button,
        mistake: None,
    })
}

fn missing(name: &str) -> ApiError {
    ApiError::NotFound(format!("There is no role {name}"))
}

/// The role that a form describes.
fn role_of(form: &PageForm) -> ApiResult<OwnRole> {
    let mut mistakes: Vec<Mistake> = Vec::new();
    let mut role = OwnRole { name: form.text("name").trim().to_owned(), ..no_role() };
    role.rights = Right::GIVEN.into_iter().filter(|right| form.ticked(right.name())).collect();
    for line in form.text("dags").lines().map(str::trim).filter(|line| !line.is_empty()) {
        match line.parse() {
            Ok(permission) => drop(role.dags.insert(permission)),
            Err(error) => mistakes.push(Mistake { field: "dags", text: error.to_string() }),
        }
    }
    if mistakes.is_empty() {
        mistakes = users::role_mistakes(&role);
    }
    forms::checked(mistakes)?;
    Ok(role)
}

/// `POST /roles/new`.
pub async fn create(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    headers: HeaderMap,
    form: PageForm,
) -> PageResult<Response> {
    match create_role(&app, &who, &form).await {
        Ok(()) => Ok(Redirect::to("/roles").into_response()),
        Err(error) => new_form(&app, &who).await?.refuse(&headers, &form, error),
    }
}

async fn create_role(app: &App, who: &Principal, form: &PageForm) -> ApiResult<()> {
    let role = role_of(form)?;
    match users::create_role(&app.pool, who.actor(), &role).await? {
        Creation::Created => Ok(()),
        Creation::Exists => Err(ApiError::AlreadyExists(format!("There is a role {} already", role.name))),
    }
}

/// `GET /roles/edit?name=…`.
pub async fn edit(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    headers: HeaderMap,
    query: Query,
) -> PageResult<Response> {
    edit_form(&app, &who, query.text("name").unwrap_or_default()).await?.show(&headers)
}

/// `POST /roles/edit`.
pub async fn update(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    headers: HeaderMap,
    form: PageForm,
) -> PageResult<Response> {
    match update_role(&app, &who, &form).await {
        Ok(()) => Ok(Redirect::to("/roles").into_response()),
        Err(error) => edit_form(&app, &who, form.text("name")).await?.refuse(&headers, &form, error),
    }
}

async fn update_role(app: &App, who: &Principal, form: &PageForm) -> ApiResult<()> {
    let role = role_of(form)?;
    done(users::update_role(&app.pool, who.actor(), &role).await?)
}

/// `GET /roles/delete?name=…`: asks.
pub async fn ask(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    headers: HeaderMap,
    query: Query,
) -> PageResult<Response> {
    let name = query.text("name").unwrap_or_default();
    let role = users::own_role(&app.pool, name).await?.ok_or_else(|| missing(name))?;
    DELETION.ask(&app, &who, &headers, role.name).await
}

/// `POST /roles/delete`.
pub async fn delete(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    form: PageForm,
) -> PageResult<Response> {
    done(users::delete_role(&app.pool, who.actor(), form.text("name")).await?)?;
    Ok(Redirect::to("/roles").into_response())
}

/// What became of a wish to change roles, as an answer.
///
/// # Errors
/// [`ApiError::NotFound`] for what is not there.
pub fn done(change: RoleChange) -> ApiResult<()> {
    match change {
        RoleChange::Done => Ok(()),
        RoleChange::NoRole(name) => Err(missing(&name)),
        RoleChange::NoUser => Err(ApiError::NotFound("There is no such user".to_owned())),
    }
}
