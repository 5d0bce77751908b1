//! Variables: those of the database, to be changed here, and those of the environment, which are shown as such.

use axum::{
    Extension,
    extract::State,
    http::HeaderMap,
    response::{IntoResponse, Redirect, Response},
};
use schemars::JsonSchema;
use serde::Serialize;
use store::secrets::{self, SecretFilter, variables::Stored};

use super::{
    Frame, Place,
    connections::{FromEnvironment, from_environment, hidden_by},
    error::PageResult,
    forms::{self, Deletion, Field, FormPage, Kind, Pager},
    segment, show as print,
};
use crate::{
    app::App,
    auth::{Principal, form::PageForm},
    changes::{Managed, Mask, variables::Variables},
    error::ApiResult,
    http::{body::Body, query::Query},
    reads::variables::{find, shown_value},
};

const BACK: (&str, &str) = ("/variables", "Variables");
/// What is said before one is deleted.
const DELETION: Deletion = Deletion {
    place: Place::Variables,
    kind: "variable",
    back: BACK,
    consequence: "Tasks that read it fail from then on. Its value can not be brought back.",
    action: "/variables/delete",
    member: "key",
};
/// A list shows the beginning of a value.
const SHOWN_CHARS: usize = 120;

/// What the page shows.
#[derive(Serialize, JsonSchema)]
pub struct View {
    frame: Frame,
    search: String,
    rows: Vec<Row>,
    environment: Vec<FromEnvironment>,
    pager: Pager,
}

#[derive(Serialize, JsonSchema)]
struct Row {
    key: String,
    value: String,
    description: String,
    problem: Option<String>,
    edit_url: String,
    delete_url: String,
    hidden_by: Option<String>,
}

/// `GET /variables?q=…&page=…`.
pub async fn show(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    headers: HeaderMap,
    query: Query,
) -> PageResult<Response> {
    let search = query.text("q").unwrap_or_default().to_owned();
    let number = forms::page_number(&query);
    let filter = SecretFilter { text: Some(search.clone()).filter(|text| !text.is_empty()), ..SecretFilter::default() };
    let key = &app.settings.secret_key;
    let window = forms::rows_of(number).window();
    let (found, total) = secrets::variable_page(&app.pool, key, &filter, &[], window).await?;
    let environment = from_environment(secrets::Kind::Variable);
    let rows = found.into_iter().map(|stored| row(stored, &environment)).collect();
    let frame = Frame::new(&app, &who, Place::Variables, "Variables").await?;
    let pager = Pager::new(total, number, &format!("/variables?q={}&page=", segment(&search)));
    Ok(print(&headers, &View { frame, search, rows, environment, pager })?)
}

fn row(stored: Stored, environment: &[FromEnvironment]) -> Row {
    let one = stored.variable;
    let shown = shown_value(&one);
    let cut = shown.char_indices().nth(SHOWN_CHARS).map(|(at, _)| format!("{}…", &shown[..at]));
    Row {
        edit_url: format!("/variables/edit?key={}", segment(&one.key)),
        delete_url: format!("/variables/delete?key={}", segment(&one.key)),
        hidden_by: hidden_by(environment, &one.key),
        value: if stored.problem.is_some() { String::new() } else { cut.unwrap_or(shown) },
        description: one.description.unwrap_or_default(),
        key: one.key,
        problem: stored.problem,
    }
}

/// `GET /variables/new`.
pub async fn new(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    headers: HeaderMap,
) -> PageResult<Response> {
    new_form(&app, &who).await?.show(&headers)
}

async fn new_form(app: &App, who: &Principal) -> ApiResult<FormPage> {
    let secret = "It is stored encrypted. The value of a key such as api_token or db_password is never shown again.";
    Ok(FormPage {
        frame: Frame::new(app, who, Place::Variables, "New variable").await?,
        heading: "New variable".to_owned(),
        back: BACK,
        lead: String::new(),
        choose: None,
        action: "/variables/new",
        fields: vec![
            Field::new(Kind::Text, "key", "Key"),
            Field::new(Kind::Area, "value", "Value").hint(secret),
            Field::new(Kind::Text, "description", "Description"),
        ],
        button: "Create",
        mistake: None,
    })
}

/// A value may be empty, and stands as it was typed.
fn body_of(form: &PageForm) -> Body {
    let mut body = forms::body_of(form, &["key", "description"], &[]);
    body.fill_in("value", &form.text("value").replace("\r\n", "\n"));
    body
}

/// `POST /variables/new`.
pub async fn create(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    headers: HeaderMap,
    form: PageForm,
) -> PageResult<Response> {
    let body = body_of(&form);
    match Variables.create_from(&app, &who, body).await {
        Ok(_) => Ok(Redirect::to("/variables").into_response()),
        Err(error) => new_form(&app, &who).await?.refuse(&headers, &form, error),
    }
}

/// `GET /variables/edit?key=…`.
pub async fn edit(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    headers: HeaderMap,
    query: Query,
) -> PageResult<Response> {
    edit_form(&app, &who, query.text("key").unwrap_or_default()).await?.show(&headers)
}

async fn edit_form(app: &App, who: &Principal, key: &str) -> ApiResult<FormPage> {
    let Stored { variable, problem } = find(app, key).await?;
    let hint = "Secrets show as ***, and stay as they are unless you write something else.";
    Ok(FormPage {
        frame: Frame::new(app, who, Place::Variables, key).await?,
        heading: key.to_owned(),
        back: BACK,
        lead: hidden_by(&from_environment(secrets::Kind::Variable), key)
            .map(|name| format!("{name} of the environment is in force instead of what stands here."))
            .unwrap_or_default(),
        choose: None,
        action: "/variables/edit",
        fields: vec![
            Field::new(Kind::Fixed, "key", "Key").value(key),
            Field::new(Kind::Area, "value", "Value").value(shown_value(&variable)).hint(hint),
            Field::new(Kind::Text, "description", "Description").value(variable.description.unwrap_or_default()),
        ],
        button: "Save",
        mistake: problem,
    })
}

/// `POST /variables/edit`.
pub async fn update(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    headers: HeaderMap,
    form: PageForm,
) -> PageResult<Response> {
    let body = body_of(&form);
    match Variables.update_from(&app, &who, body, &Mask::default()).await {
        Ok(()) => Ok(Redirect::to("/variables").into_response()),
        Err(error) => edit_form(&app, &who, form.text("key")).await?.refuse(&headers, &form, error),
    }
}

/// `GET /variables/delete?key=…`: asks.
pub async fn ask(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    headers: HeaderMap,
    query: Query,
) -> PageResult<Response> {
    let key = find(&app, query.text("key").unwrap_or_default()).await?.variable.key;
    DELETION.ask(&app, &who, &headers, key).await
}

/// `POST /variables/delete`.
pub async fn delete(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    form: PageForm,
) -> PageResult<Response> {
    Variables.delete(&app, &who, &form.text("key").to_owned()).await?;
    Ok(Redirect::to("/variables").into_response())
}
