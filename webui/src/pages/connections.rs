//! Connections: those of the database, to be changed here, and those of the environment, which are shown as such.

use std::collections::BTreeSet;

use axum::{
    Extension,
    extract::State,
    http::HeaderMap,
    response::{IntoResponse, Redirect, Response},
};
use model::masking;
use schemars::JsonSchema;
use serde::Serialize;
use store::secrets::{self, Connection, SecretFilter, connections::Stored};

use super::{
    Frame, Place,
    error::PageResult,
    forms::{self, Choose, Deletion, Field, FormPage, Kind, Pager},
    segment, show as print,
};
use crate::{
    app::App,
    auth::{Principal, form::PageForm},
    changes::{Managed, Mask, connections::Connections},
    error::ApiResult,
    http::query::Query,
    reads::connections::{find, shown_extra},
};

const BACK: (&str, &str) = ("/connections", "Connections");
/// What is said before one is deleted.
const DELETION: Deletion = Deletion {
    place: Place::Connections,
    kind: "connection",
    back: BACK,
    consequence: "Tasks that use it fail from then on. Its password can not be brought back.",
    action: "/connections/delete",
    member: "id",
};
/// The members that the form sends as texts.
const TEXTS: [&str; 9] =
    ["connection_id", "conn_type", "description", "host", "login", "password", "schema", "port", "extra"];

/// The fields that matter for a type, with what they hold there.
struct TypeFields {
    conn_type: &'static str,
    host: &'static str,
    port: &'static str,
    login: &'static str,
    password: &'static str,
    schema: &'static str,
    extra: &'static str,
}

/// An empty label leaves a field out, unless it has a value.
const TYPES: [TypeFields; 7] = [
    TypeFields {
        conn_type: "postgres",
        host: "Host",
        port: "Port, 5432 when empty",
        login: "User",
        password: "Password",
        schema: "Database",
        extra: "",
    },
    TypeFields {
        conn_type: "trino",
        host: "Host",
        port: "Port, 8080 when empty",
        login: "User",
        password: "Password",
        schema: "Schema",
        extra: "Extra",
    },
    TypeFields {
        conn_type: "http",
        host: "Address, such as https://api.example.org",
        port: "Port",
        login: "User",
        password: "Password",
        schema: "Scheme: http or https",
        extra: "Headers, as a JSON object",
    },
    TypeFields {
        conn_type: "kafka",
        host: "Broker, such as kafka:9092",
        port: "Port, 9092 when empty",
        login: "User, sasl.username",
        password: "Password, sasl.password",
        schema: "",
        extra: "Properties of librdkafka, as a JSON object",
    },
    TypeFields { conn_type: "lake", host: "", port: "", login: "", password: "", schema: "", extra: "Extra" },
    TypeFields {
        conn_type: "aws",
        host: "",
        port: "",
        login: "Access key id",
        password: "Secret access key",
        schema: "",
        extra: "Region and endpoint, as a JSON object",
    },
    TypeFields {
        conn_type: "generic",
        host: "Host",
        port: "Port",
        login: "Login",
        password: "Password",
        schema: "Schema",
        extra: "Extra",
    },
];

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
    id: String,
    conn_type: String,
    address: String,
    login: String,
    description: String,
    has_password: bool,
    problem: Option<String>,
    edit_url: String,
    delete_url: String,
    hidden_by: Option<String>,
}

/// What an environment variable defines.
#[derive(Serialize, JsonSchema)]
pub struct FromEnvironment {
    id: String,
    variable: String,
}

/// Everything of a kind that the environment of this process defines, by id.
#[must_use]
pub fn from_environment(kind: secrets::Kind) -> Vec<FromEnvironment> {
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    let found = secrets::defined(kind, names);
    found.into_iter().map(|(id, variable)| FromEnvironment { id, variable }).collect()
}

/// The environment variable that is in force instead of a stored one.
#[must_use]
pub fn hidden_by(environment: &[FromEnvironment], id: &str) -> Option<String> {
    environment.iter().find(|one| one.id == id.to_lowercase()).map(|one| one.variable.clone())
}

/// `GET /connections?q=…&page=…`.
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
    let (found, total) = secrets::connection_page(&app.pool, key, &filter, &[], window).await?;
    let environment = from_environment(secrets::Kind::Connection);
    let rows = found.into_iter().map(|stored| row(stored, &environment)).collect();
    let frame = Frame::new(&app, &who, Place::Connections, "Connections").await?;
    let pager = Pager::new(total, number, &format!("/connections?q={}&page=", segment(&search)));
    Ok(print(&headers, &View { frame, search, rows, environment, pager })?)
}

fn row(stored: Stored, environment: &[FromEnvironment]) -> Row {
    let one = stored.connection;
    let port = one.port.map(|port| format!(":{port}")).unwrap_or_default();
    let schema = one.schema.as_deref().map(|schema| format!("/{schema}")).unwrap_or_default();
    let host = one.host.as_deref().map(masking::masked_text).unwrap_or_default();
    Row {
        edit_url: format!("/connections/edit?id={}", segment(&one.conn_id)),
        delete_url: format!("/connections/delete?id={}", segment(&one.conn_id)),
        hidden_by: hidden_by(environment, &one.conn_id),
        address: format!("{host}{port}{schema}"),
        login: one.login.unwrap_or_default(),
        description: one.description.unwrap_or_default(),
        has_password: one.password.is_some(),
        conn_type: one.conn_type,
        id: one.conn_id,
        problem: stored.problem,
    }
}

/// `GET /connections/new?type=…`.
pub async fn new(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    headers: HeaderMap,
    query: Query,
) -> PageResult<Response> {
    new_form(&app, &who, query.text("type").unwrap_or(TYPES[0].conn_type)).await?.show(&headers)
}

async fn new_form(app: &App, who: &Principal, conn_type: &str) -> ApiResult<FormPage> {
    let id = Field::new(Kind::Text, "connection_id", "Connection id").hint("Letters, digits and _ . -");
    let empty = Connection { conn_type: conn_type.to_owned(), ..Connection::default() };
    Ok(FormPage {
        frame: Frame::new(app, who, Place::Connections, "New connection").await?,
        heading: "New connection".to_owned(),
        back: BACK,
        lead: String::new(),
        choose: Some(Choose {
            name: "type",
            label: "Type",
            value: conn_type.to_owned(),
            choices: TYPES.iter().map(|of| of.conn_type).collect(),
        }),
        action: "/connections/new",
        fields: std::iter::once(id).chain(fields(&empty)).collect(),
        button: "Create",
        mistake: None,
    })
}

fn fields(of: &Connection) -> Vec<Field> {
    let labels = TYPES.iter().find(|labels| labels.conn_type == of.conn_type).unwrap_or(&TYPES[TYPES.len() - 1]);
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let host = of.host.as_deref().map(masking::masked_text).unwrap_or_default();
    let extra = of.extra.as_deref().map(shown_extra).unwrap_or_default();
    let port = of.port.map(|port| port.to_string()).unwrap_or_default();
    let password_hint = if of.password.is_some() { "Leave it empty to keep the stored one." } else { "" };
    let all = [
        (Kind::Text, "host", labels.host, "Host", host),
        (Kind::Number, "port", labels.port, "Port", port),
        (Kind::Text, "login", labels.login, "Login", text(&of.login)),
        (Kind::Password, "password", labels.password, "Password", String::new()),
        (Kind::Text, "schema", labels.schema, "Schema", text(&of.schema)),
        (Kind::Area, "extra", labels.extra, "Extra", extra),
    ];
    let needed = all.into_iter().filter(|(_, name, label, _, value)| {
        !label.is_empty() || !value.is_empty() || (*name == "password" && of.password.is_some())
    });
    let special = needed.map(|(kind, name, label, plain, value)| {
        let label = if label.is_empty() { plain } else { label };
        let hint = match name {
            "password" => password_hint,
            "extra" => "Secrets show as ***, and stay as they are unless you write something else.",
            _ => "",
        };
        Field::new(kind, name, label).value(value).hint(hint)
    });
    let conn_type = Field::new(Kind::Text, "conn_type", "Type").value(of.conn_type.clone());
    let description = Field::new(Kind::Text, "description", "Description").value(text(&of.description));
    std::iter::once(conn_type).chain(special).chain([description]).collect()
}

/// `POST /connections/new`.
pub async fn create(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    headers: HeaderMap,
    form: PageForm,
) -> PageResult<Response> {
    let body = forms::body_of(&form, &TEXTS, &[]);
    match Connections.create_from(&app, &who, body).await {
        Ok(_) => Ok(Redirect::to("/connections").into_response()),
        Err(error) => new_form(&app, &who, form.text("conn_type")).await?.refuse(&headers, &form, error),
    }
}

/// `GET /connections/edit?id=…`.
pub async fn edit(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    headers: HeaderMap,
    query: Query,
) -> PageResult<Response> {
    edit_form(&app, &who, query.text("id").unwrap_or_default()).await?.show(&headers)
}

async fn edit_form(app: &App, who: &Principal, id: &str) -> ApiResult<FormPage> {
    let Stored { connection, problem } = find(app, id).await?;
    let id_field = Field::new(Kind::Fixed, "connection_id", "Connection id").value(id);
    Ok(FormPage {
        frame: Frame::new(app, who, Place::Connections, id).await?,
        heading: id.to_owned(),
        back: BACK,
        lead: hidden_by(&from_environment(secrets::Kind::Connection), id)
            .map(|variable| format!("{variable} of the environment is in force instead of what stands here."))
            .unwrap_or_default(),
        choose: None,
        action: "/connections/edit",
        fields: std::iter::once(id_field).chain(fields(&connection)).collect(),
        button: "Save",
        mistake: problem,
    })
}

/// `POST /connections/edit`.
pub async fn update(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    headers: HeaderMap,
    form: PageForm,
) -> PageResult<Response> {
    let id = form.text("connection_id").to_owned();
    // A form without a field leaves what it would have shown.
    let sent: BTreeSet<&str> = TEXTS.into_iter().filter(|name| form.has(name)).collect();
    let body = forms::body_of(&form, &TEXTS, &[]);
    match Connections.update_from(&app, &who, body, &Mask::of(sent.into_iter())).await {
        Ok(()) => Ok(Redirect::to("/connections").into_response()),
        Err(error) => edit_form(&app, &who, &id).await?.refuse(&headers, &form, error),
    }
}

/// `GET /connections/delete?id=…`: asks.
pub async fn ask(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    headers: HeaderMap,
    query: Query,
) -> PageResult<Response> {
    let id = find(&app, query.text("id").unwrap_or_default()).await?.connection.conn_id;
    DELETION.ask(&app, &who, &headers, id).await
}

/// `POST /connections/delete`.
pub async fn delete(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    form: PageForm,
) -> PageResult<Response> {
    Connections.delete(&app, &who, &form.text("id").to_owned()).await?;
    Ok(Redirect::to("/connections").into_response())
}
