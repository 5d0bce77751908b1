//! Connections: a mask that comes back stands for what is stored.

use std::collections::BTreeSet;

use model::masking::{self, MASK, StillMasked};
use serde_json::Value;
use store::secrets::{
    self, Connection, Creation, Deletion, Together,
    connections::{self, ID_CHARS_MAX, TEXT_CHARS_MAX},
};
use utoipa::openapi::schema::Schema;

use super::{Change, Managed, Mask, name_in, of_one, variables::still_masked};
use crate::{
    app::App,
    auth::Principal,
    declare::{Ignored, body, schema},
    error::{ApiError, ApiResult},
    exact::{Exact, Spacing},
    http::body::Body,
    reads::connections::missing,
};

body! {
    /// A connection as it is to be.
    pub struct ConnectionBody {
        connection_id: String => schema::text_like(r"^[\w.\-]+$", 1, ID_CHARS_MAX),
        conn_type: String => schema::text_like(r"\S", 1, TEXT_CHARS_MAX),
        description: Option<String>,
        host: Option<String> => short_text(),
        login: Option<String> => short_text(),
        schema: Option<String> => short_text(),
        port: Option<i64> => schema::nullable(schema::integer(0, u16::MAX)),
        /// `***` stands for the stored one, and so does null.
        password: Option<String>,
        /// JSON as a text; what it holds masked stands for what is stored.
        extra: Option<String>,
        /// There are no teams here.
        _team_name: Ignored = "team_name",
    }
}

/// A text of a connection, if it is there.
fn short_text() -> Schema {
    schema::nullable(schema::text_of(0, TEXT_CHARS_MAX))
}

/// The resource, for bulk requests.
pub struct Connections;

/// A connection as a client wants it, and which members it sent.
pub struct Wish {
    connection: Connection,
    sent: BTreeSet<String>,
}

impl Managed for Connections {
    type Id = String;
    type Wish = Wish;
    const SEVERAL: &'static str = "connections with these connection_ids";

    fn read(&self, body: &mut Body, mask: &Mask) -> Wish {
        let sent = body.names();
        let read = ConnectionBody::read(body);
        let connection = Connection {
            conn_id: read.connection_id,
            conn_type: read.conn_type,
            host: read.host,
            schema: read.schema,
            login: read.login,
            password: read.password,
            port: read.port.map(|port| i32::try_from(port).unwrap_or(-1)),
            extra: read.extra,
            description: read.description,
        };
        if sent.contains("connection_id") && sent.contains("conn_type") {
            // What a mask leaves out only came along; the id is what is looked up.
            let is_meant = |field: &str| field == "connection_id" || mask.has(field);
            for mistake in connection.mistakes().into_iter().filter(|mistake| is_meant(mistake.field)) {
                body.wrong(mistake.field, "value_error", format!("Value error, {}", mistake.text), MASK.into());
            }
        }
        Wish { connection, sent }
    }

    fn id<'w>(&self, wish: &'w Wish) -> &'w String {
        &wish.connection.conn_id
    }

    fn named(&self, entity: &Value) -> Option<String> {
        name_in(entity, "connection_id")
    }

    async fn known(&self, app: &App, of: BTreeSet<String>) -> ApiResult<BTreeSet<String>> {
        Ok(secrets::connections_named(&app.pool, of.into_iter().collect()).await?.into_iter().collect())
    }

    async fn carry_out(
        &self,
        app: &App,
        who: &Principal,
        changes: &[Change<'_, Self>],
    ) -> ApiResult<Vec<ApiResult<()>>> {
        let mut together = Together::begin(&app.pool).await?;
        let mut results = Vec::with_capacity(changes.len());
        for change in changes {
            let done = match change {
                Change::Create(wish) => create_in(&mut together, app, who, wish).await,
                Change::Update(wish, mask) => update_in(&mut together, app, who, wish, mask).await,
                Change::Delete(id) => delete_in(&mut together, who, id).await,
            };
            results.push(of_one(done)?);
        }
        together.commit().await?;
        Ok(results)
    }
}

async fn create_in(together: &mut Together, app: &App, who: &Principal, wish: &Wish) -> ApiResult<()> {
    let id = &wish.connection.conn_id;
    match connections::create_in(together, &app.settings.secret_key, who.actor(), &wish.connection).await? {
        Creation::Created => Ok(()),
        Creation::Exists => {
            Err(ApiError::AlreadyExists(format!("The Connection with connection_id: `{id}` already exists")))
        }
    }
}

async fn update_in(together: &mut Together, app: &App, who: &Principal, wish: &Wish, mask: &Mask) -> ApiResult<()> {
    let id = wish.connection.conn_id.clone();
    let new = wish.connection.clone();
    let meant: BTreeSet<String> = wish.sent.iter().filter(|field| mask.has(field)).cloned().collect();
    let change = move |old| merged(old, new, &meant);
    let done = connections::update_in(together, &app.settings.secret_key, who.actor(), &id, change).await?;
    match done {
        Some(changed) => changed.map(drop).map_err(|(field, error)| still_masked(field, &error)),
        None => Err(missing(&id)),
    }
}

async fn delete_in(together: &mut Together, who: &Principal, id: &str) -> ApiResult<()> {
    match connections::delete_in(together, who.actor(), id).await? {
        Deletion::Deleted => Ok(()),
        Deletion::Missing => Err(missing(id)),
    }
}

/// The connection that a body describes, as it would be stored: what comes masked, and what is not sent, is as it is stored now.
///
/// # Errors
/// What is wrong with it.
pub async fn as_it_would_be(app: &App, mut body: Body) -> ApiResult<Connection> {
    let wish = Connections.read(&mut body, &Mask::default());
    body.finish()?;
    let stored = connections::find(&app.pool, &app.settings.secret_key, &wish.connection.conn_id).await?;
    match stored {
        None => Ok(wish.connection),
        Some(stored) => {
            merged(stored.connection, wish.connection, &wish.sent).map_err(|(field, error)| still_masked(field, &error))
        }
    }
}

/// A field that still holds a mask.
type Lost = (&'static str, StillMasked);

/// The stored connection with the fields that are meant replaced. A secret that comes back masked, and a password that is
/// null, stay what they are.
///
/// # Errors
/// The field in which a mask is left that stands for nothing.
fn merged(old: Connection, new: Connection, meant: &BTreeSet<String>) -> Result<Connection, Lost> {
    let is_meant = |field: &str| meant.contains(field);
    let pick = |field: &str, new: Option<String>, old: Option<String>| if is_meant(field) { new } else { old };
    let host = match (new.host.filter(|_| is_meant("host")), &old.host) {
        (Some(new), Some(old)) => Some(masking::unmasked_text(&new, old).map_err(|error| ("host", error))?),
        (new, _) => new,
    };
    let sent = new.extra.filter(|_| is_meant("extra"));
    let extra = merged_extra(sent, old.extra.as_deref()).map_err(|error| ("extra", error))?;
    let password = new.password.filter(|password| password != MASK);
    Ok(Connection {
        conn_id: old.conn_id,
        conn_type: if is_meant("conn_type") { new.conn_type } else { old.conn_type },
        host: pick("host", host, old.host),
        schema: pick("schema", new.schema, old.schema),
        login: pick("login", new.login, old.login),
        password: pick("password", password.or_else(|| old.password.clone()), old.password),
        port: if is_meant("port") { new.port } else { old.port },
        extra: pick("extra", extra, old.extra),
        description: pick("description", new.description, old.description),
    })
}

fn merged_extra(new: Option<String>, old: Option<&str>) -> Result<Option<String>, StillMasked> {
    let Some(new) = new.filter(|text| !text.trim().is_empty()) else { return Ok(None) };
    let Some(old) = old else { return Ok(Some(new)) };
    match (Exact::parse(&new), Exact::parse(old)) {
        (Some(wanted), Some(stored)) => {
            let meant = wanted.unmasked(&stored)?;
            Ok(Some(if meant == wanted { new } else { meant.to_text(Spacing::None) }))
        }
        _ if new == MASK => Ok(Some(old.to_owned())),
        _ => Ok(Some(new)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::reads::connections::shown_extra;

    fn stored() -> Connection {
        Connection {
            conn_id: "db".to_owned(),
            conn_type: "http".to_owned(),
            host: Some("http://me:pw@h".to_owned()),
            password: Some("secret".to_owned()),
            extra: Some(r#"{"token": "t", "a": 1}"#.to_owned()),
            port: Some(1),
            ..Connection::default()
        }
    }

    fn fields(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn what_was_shown_masked_comes_back_as_it_is_stored() {
        let old = stored();
        let shown = Connection {
            host: Some("http://me:***@h".to_owned()),
            password: Some(MASK.to_owned()),
            extra: old.extra.as_deref().map(shown_extra),
            ..old.clone()
        };
        let merged = merged(old.clone(), shown, &fields(&["host", "password", "extra", "port"])).unwrap();
        assert_eq!((merged.host, merged.password), (old.host, old.password));
        let extra: Value = serde_json::from_str(&merged.extra.unwrap()).unwrap();
        assert_eq!(extra, json!({"token": "t", "a": 1}));
    }

    #[test]
    fn one_part_of_a_url_is_changed_and_its_secret_stays() {
        let edited = Connection { host: Some("http://you:***@new.example".to_owned()), ..stored() };
        let merged = merged(stored(), edited, &fields(&["host"])).unwrap();
        assert_eq!(merged.host.as_deref(), Some("http://you:pw@new.example"));
        for (host, extra) in [("http://a:***@b http://c:***@d", "{}"), ("h", r#"{"tokens": "***"}"#)] {
            let lost = Connection { host: Some(host.to_owned()), extra: Some(extra.to_owned()), ..stored() };
            assert!(super::merged(stored(), lost, &fields(&["host", "extra"])).is_err(), "{host} {extra}");
        }
    }

    #[test]
    fn null_clears_a_field_but_not_the_password_and_what_was_not_sent_stays() {
        let nothing = Connection { conn_id: "db".to_owned(), conn_type: "http".to_owned(), ..Connection::default() };
        let merged = merged(stored(), nothing, &fields(&["host", "password", "extra"])).unwrap();
        assert_eq!((merged.host, merged.extra, merged.port), (None, None, Some(1)));
        assert_eq!(merged.password.as_deref(), Some("secret"));
    }
}
