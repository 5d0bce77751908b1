//! `var` and `conn`: asked of the leader when a template names one. Secrets are masked from that moment on.

use std::{fmt, sync::Arc};

use link::{ConnectionFields, FetchItem, FetchKey};
use minijinja::{
    Error, ErrorKind, State, Value,
    value::{Object, ObjectRepr, from_args},
};

use super::{Access, datetime::invalid};
use crate::{attempt::mask_connection, is_secret_name};
use model::door::inexact;

/// Said of what was asked of the leader when the attempt was to end.
pub(crate) const GIVEN_UP: &str = "the attempt was to end before the leader had answered";

/// Whether asking the value for an attribute asks the leader.
pub(super) fn fetches(value: &Value) -> bool {
    value.downcast_object_ref::<Variables>().is_some() || value.downcast_object_ref::<Connections>().is_some()
}

/// How a variable's text is read.
#[derive(Debug, Clone, Copy)]
enum Form {
    Text,
    Json,
}

/// What the leader answered.
enum Found {
    Value(Value),
    /// Nothing; the text says where it was looked for.
    Nowhere(String),
}

impl Found {
    fn or_missing(self, what: &str, name: &str) -> Result<Value, Error> {
        match self {
            Self::Value(value) => Ok(value),
            Self::Nowhere(where_looked) => {
                Err(invalid(format!("there is no {what} {name:?}: {where_looked}; or use .get with a default")))
            }
        }
    }
}

/// The object `var`, with `value` and `json`.
pub(super) fn variables(access: &Access) -> Value {
    let of = |form| Value::from_object(Variables { access: access.clone(), form });
    Value::from_iter([("value", of(Form::Text)), ("json", of(Form::Json))])
}

/// The object `conn`.
pub(super) fn connections(access: &Access) -> Value {
    Value::from_object(Connections { access: access.clone() })
}

/// `var.value` or `var.json`: each attribute is a variable's key.
#[derive(Debug)]
struct Variables {
    access: Access,
    form: Form,
}

impl Variables {
    fn fetch(&self, key: &str) -> Result<Found, Error> {
        let item = self.access.fetch(FetchKey::Variable(key.to_owned()));
        let text = match item {
            FetchItem::Variable(text) => text,
            FetchItem::Missing(where_looked) => return Ok(Found::Nowhere(where_looked)),
            other => return Err(unexpected("variable", key, other)),
        };
        self.access.masker.add_named(key, &text);
        match self.form {
            Form::Text => Ok(Found::Value(text.into())),
            Form::Json => self.json(key, &text).map(Found::Value),
        }
    }

    fn json(&self, key: &str, text: &str) -> Result<Value, Error> {
        let value: serde_json::Value = serde_json::from_str(text).map_err(|error| {
            invalid(format!("variable {key:?} is no JSON, line {} column {}", error.line(), error.column()))
        })?;
        if inexact(text).is_some() {
            let why = "has a whole number of more than 64 bits, which would not be exact: keep it as a text in quotes";
            return Err(invalid(format!("variable {key:?} {why}")));
        }
        if is_secret_name(key) {
            self.access.masker.add_texts(&value);
        }
        if let Some(fields) = value.as_object() {
            fields
                .iter()
                .filter(|(name, _)| is_secret_name(name))
                .for_each(|(_, value)| self.access.masker.add_texts(value));
        }
        Ok(Value::from_serialize(value))
    }
}

impl Object for Variables {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let key = key.as_str()?;
        Some(self.fetch(key).and_then(|found| found.or_missing("variable", key)).unwrap_or_else(Value::from))
    }

    fn call_method(self: &Arc<Self>, _: &State<'_, '_>, method: &str, args: &[Value]) -> Result<Value, Error> {
        get_or_default(method, args, |key| self.fetch(key))
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("variables")
    }
}

/// `conn`: each attribute is a connection's id.
#[derive(Debug)]
struct Connections {
    access: Access,
}

impl Connections {
    fn fetch(&self, id: &str) -> Result<Found, Error> {
        match self.access.fetch(FetchKey::Connection(id.to_owned())) {
            FetchItem::Connection(fields) => {
                mask_connection(&self.access.masker, &fields);
                Ok(Found::Value(Value::from_object(Connection(*fields))))
            }
            FetchItem::Missing(where_looked) => Ok(Found::Nowhere(where_looked)),
            other => Err(unexpected("connection", id, other)),
        }
    }
}

impl Object for Connections {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let id = key.as_str()?;
        Some(self.fetch(id).and_then(|found| found.or_missing("connection", id)).unwrap_or_else(Value::from))
    }

    fn call_method(self: &Arc<Self>, _: &State<'_, '_>, method: &str, args: &[Value]) -> Result<Value, Error> {
        get_or_default(method, args, |id| self.fetch(id))
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("connections")
    }
}

/// One connection with Airflow's attributes.
#[derive(Debug)]
struct Connection(ConnectionFields);

impl Object for Connection {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let fields = &self.0;
        Some(match key.as_str()? {
            "conn_id" => fields.conn_id.as_str().into(),
            "conn_type" => fields.conn_type.as_str().into(),
            "host" => fields.host.as_deref().into(),
            "schema" => fields.schema.as_deref().into(),
            "login" => fields.login.as_deref().into(),
            "password" => fields.password.as_deref().into(),
            "port" => fields.port.into(),
            "extra" => fields.extra.as_deref().into(),
            "extra_dejson" => {
                let extra = fields.extra.as_deref().unwrap_or("{}");
                Value::from_serialize(serde_json::from_str::<serde_json::Value>(extra).unwrap_or_default())
            }
            _ => return None,
        })
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.conn_id)
    }
}

impl Access {
    /// Asks and waits. Only where blocking is allowed.
    pub(super) fn fetch(&self, key: FetchKey) -> FetchItem {
        self.wait_for(self.host.fetch(key)).unwrap_or_else(|| FetchItem::Unavailable(GIVEN_UP.to_owned()))
    }

    /// Waits for an answer of the leader's; none once nobody waits for the template.
    pub(super) fn wait_for<T>(&self, answer: impl Future<Output = T>) -> Option<T> {
        self.handle.block_on(self.given_up.run_until_cancelled(answer))
    }
}

fn get_or_default(
    method: &str,
    args: &[Value],
    fetch: impl FnOnce(&str) -> Result<Found, Error>,
) -> Result<Value, Error> {
    if method != "get" {
        return Err(Error::from(ErrorKind::UnknownMethod));
    }
    let (key, default): (&str, Option<Value>) = from_args(args)?;
    Ok(match fetch(key)? {
        Found::Value(value) => value,
        Found::Nowhere(_) => default.unwrap_or(Value::from(())),
    })
}

fn unexpected(what: &str, name: &str, item: FetchItem) -> Error {
    invalid(format!("{what} {name:?}: {}", item.misfit()))
}
