//! Renders templates: Jinja with Airflow's names, in the worker and nowhere else.
//!
//! A name that does not exist is an error that says which one, never an empty text. Connections, variables and XComs are
//! fetched when a template names them, so rendering may block and runs on a thread of its own.

mod arithmetic;
pub mod check;
mod datetime;
mod error;
mod fetching;
mod filters;
mod literal;
mod macros;
mod methods;
mod names;
mod scan;
mod shell;
mod task_instance;

use std::{borrow::Cow, collections::BTreeMap, io, sync::Arc};

use link::TaskContext;
use minijinja::{Environment, UndefinedBehavior, Value};
use model::TiKey;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

pub use error::TemplateError;
pub(crate) use fetching::GIVEN_UP;

use crate::{Host, Masker, xcom};

/// How deep templates may nest calls of their own macros.
const RECURSION_MAX: usize = 100;

/// How the names of the last successful run begin.
const PREVIOUS: &[&str] = &["prev_data_interval", "prev_start_date", "prev_end_date"];
/// What asks for the value of a name.
type Asks = fn(&Access) -> Result<Value, String>;
/// The names of events of assets, which are asked for when a template has one of them.
const EVENTS: &[(&str, Asks)] =
    &[("triggering_asset_events", names::of_triggering_events), ("inlet_events", names::of_inlet_events)];
/// How many steps one template may take: some seconds. A loop without an end of its own ends there.
const STEPS_MAX: u64 = 20_000_000;
/// The largest text that a template may give.
const TEXT_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Whether a text is its own rendering: nothing in it is a template's. It needs no renderer, and no thread that may block.
pub(crate) fn is_plain(text: &str) -> bool {
    text.len() <= TEXT_BYTES_MAX && !["{{", "{%", "{#"].iter().any(|mark| text.contains(mark))
}

/// Renders the fields of one attempt.
pub(crate) struct Renderer {
    environment: Environment<'static>,
    names: BTreeMap<Cow<'static, str>, Value>,
    access: Access,
}

/// What objects inside templates need to fetch.
#[derive(Clone)]
struct Access {
    context: Arc<TaskContext>,
    host: Arc<dyn Host>,
    masker: Masker,
    handle: Handle,
    given_up: CancellationToken,
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the leader")
    }
}

impl Renderer {
    /// A renderer for one attempt; it may be used only where blocking is allowed. Once `given_up` is cancelled nobody waits
    /// for it any more: it fetches and renders nothing further.
    pub(crate) fn new(
        context: TaskContext,
        ti: TiKey,
        host: Arc<dyn Host>,
        masker: Masker,
        handle: Handle,
        given_up: CancellationToken,
    ) -> Self {
        let access = Access { context: Arc::new(context), host, masker, handle, given_up };
        let mut environment = environment();
        // A name of Airflow's goes before one of the DAG's own.
        for (name, value) in &access.context.macros {
            environment.add_global(name.clone(), Value::from_serialize(value));
        }
        let names = names::names(&access, ti).into_iter().map(|(name, value)| (Cow::Borrowed(name), value));
        Self { environment, names: names.collect(), access }
    }

    /// The same with one name more.
    pub(crate) fn with(&self, name: &'static str, value: Value) -> Self {
        let mut names = self.names.clone();
        names.insert(Cow::Borrowed(name), value);
        Self { environment: self.environment.clone(), names, access: self.access.clone() }
    }

    /// The same with the elements of an instance of an expanded task. What a name meant before it goes on meaning.
    pub(crate) fn with_elements(mut self, elements: Vec<(String, serde_json::Value)>) -> Self {
        for (name, value) in elements {
            self.names.entry(Cow::Owned(name)).or_insert_with(|| Value::from_serialize(value));
        }
        self
    }

    /// Renders a field to text.
    pub(crate) fn text(&self, field: &str, source: &str) -> Result<String, TemplateError> {
        self.rendered(&self.environment, field, source, source)
    }

    /// Renders a field that bash will read: what comes from params, conf or XComs is quoted for the place where it stands.
    pub(crate) fn shell(&self, field: &str, source: &str) -> Result<String, TemplateError> {
        let refused = |refusal| TemplateError::refused(field, &refusal);
        let guarded = shell::Guarded::new(&self.environment, source).map_err(refused)?;
        let text = self.rendered(&guarded.environment, field, source, &guarded.source)?;
        guarded.command(&text).map_err(refused)
    }

    /// Renders a field that `split` takes apart into words: what comes from params, conf or XComs is a part of one word.
    pub(crate) fn words(
        &self,
        field: &str,
        source: &str,
        split: impl FnOnce(&str) -> Result<Vec<String>, &'static str>,
    ) -> Result<Vec<String>, TemplateError> {
        let refused = |refusal| TemplateError::refused(field, &refusal);
        let guarded = shell::Guarded::new(&self.environment, source).map_err(refused)?;
        let text = self.rendered(&guarded.environment, field, source, &guarded.source)?;
        let words =
            split(&text).map_err(|why| TemplateError::Render { field: field.to_owned(), detail: why.to_owned() })?;
        guarded.words(words).map_err(refused)
    }

    fn rendered(
        &self,
        environment: &Environment<'_>,
        field: &str,
        source: &str,
        prepared: &str,
    ) -> Result<String, TemplateError> {
        if self.access.given_up.is_cancelled() {
            return Err(TemplateError::broken("nobody waits for them any more"));
        }
        let names = self.names_for(field, prepared)?;
        let prepared = arithmetic::rewritten(prepared);
        let mut bounded = Bounded::default();
        let template = environment.template_from_named_str(field, &prepared);
        let template = template.map_err(|error| self.explain(field, source, &error))?;
        let rendered = template.render_captured_to(&*names, &mut bounded).map(|_| ());
        match rendered {
            Err(_) if bounded.is_full => Err(TemplateError::too_large(field)),
            Err(error) => Err(self.explain(field, source, &error)),
            // Only whole characters are written.
            Ok(()) => Ok(String::from_utf8_lossy(&bounded.bytes).into_owned()),
        }
    }

    /// Renders every value of a map; its keys are not templates.
    pub(crate) fn map(
        &self,
        field: &str,
        map: &BTreeMap<String, String>,
    ) -> Result<BTreeMap<String, String>, TemplateError> {
        map.iter().map(|(key, source)| Ok((key.clone(), self.text(&format!("{field}.{key}"), source)?))).collect()
    }

    /// Renders every text of a list.
    pub(crate) fn list(&self, field: &str, list: &[String]) -> Result<Vec<String>, TemplateError> {
        list.iter().enumerate().map(|(at, source)| self.text(&format!("{field}[{at}]"), source)).collect()
    }

    /// Renders every text in a JSON value.
    pub(crate) fn json(&self, field: &str, value: &serde_json::Value) -> Result<serde_json::Value, TemplateError> {
        use serde_json::Value as V;
        Ok(match value {
            V::String(source) if self.access.context.native => self.native(field, source)?,
            V::String(source) => V::String(self.text(field, source)?),
            V::Array(items) => V::Array(items.iter().map(|item| self.json(field, item)).collect::<Result<_, _>>()?),
            V::Object(fields) => {
                let render =
                    |(name, value): (&String, &V)| Ok((name.clone(), self.json(&format!("{field}.{name}"), value)?));
                V::Object(fields.iter().map(render).collect::<Result<_, TemplateError>>()?)
            }
            V::Null | V::Bool(_) | V::Number(_) => value.clone(),
        })
    }

    /// What a text gives where values are native: the value of one expression as it is, and what its text is in Python's
    /// spelling otherwise, as Jinja's native environment has it.
    fn native(&self, field: &str, source: &str) -> Result<serde_json::Value, TemplateError> {
        let value = to_json(field, &self.value(field, source)?)?;
        Ok(value.as_str().and_then(literal::value_of).unwrap_or(value))
    }

    /// A field that is one template and gives an object or a list: as a value, or as its JSON text.
    pub(crate) fn structure(&self, field: &str, source: &str) -> Result<serde_json::Value, TemplateError> {
        let value = to_json(field, &self.value(field, source)?)?;
        match value.as_str().map(str::trim).filter(|text| text.starts_with(['{', '['])).map(xcom::parse) {
            Some(Ok(parsed)) => Ok(parsed),
            Some(Err(xcom::ParseError::NotExact(number))) => Err(TemplateError::not_json(
                field,
                &format!("{number} has more than 64 bits and would not be exact; write it as a text"),
            )),
            Some(Err(xcom::ParseError::NotJson(_))) | None => Ok(value),
        }
    }

    /// All names; those of an earlier run are asked for when a template has one of them.
    fn names_for(
        &self,
        field: &str,
        source: &str,
    ) -> Result<Cow<'_, BTreeMap<Cow<'static, str>, Value>>, TemplateError> {
        let asks_previous = PREVIOUS.iter().any(|name| source.contains(name));
        let asked_events: Vec<_> = EVENTS.iter().filter(|(name, _)| source.contains(name)).collect();
        if !asks_previous && asked_events.is_empty() {
            return Ok(Cow::Borrowed(&self.names));
        }
        let failed = |detail| TemplateError::Render { field: field.to_owned(), detail };
        let mut names = self.names.clone();
        let named = |(name, value)| (Cow::Borrowed(name), value);
        if asks_previous {
            names.extend(names::of_previous_success(&self.access).map_err(failed)?.into_iter().map(named));
        }
        for (name, events) in asked_events {
            names.insert(Cow::Borrowed(*name), events(&self.access).map_err(failed)?);
        }
        Ok(Cow::Owned(names))
    }

    /// The value of a field that is one expression, as it is (a list stays a list); otherwise its text.
    pub(crate) fn value(&self, field: &str, source: &str) -> Result<Value, TemplateError> {
        let Some(expression) = scan::only_expression(source) else {
            return self.text(field, source).map(Value::from);
        };
        let names = self.names_for(field, expression)?;
        let prepared = arithmetic::expression(expression);
        let value = self.environment.compile_expression(&prepared).and_then(|compiled| compiled.eval(&*names));
        match value {
            Ok(value) if value.is_undefined() => Err(self.undefined(field, source)),
            Ok(value) => Ok(value),
            Err(error) => Err(self.explain(field, source, &error)),
        }
    }

    fn explain(&self, field: &str, source: &str, error: &minijinja::Error) -> TemplateError {
        match error.kind() {
            minijinja::ErrorKind::UndefinedError => self.undefined(field, source),
            _ => TemplateError::of(field, source, error),
        }
    }

    fn undefined(&self, field: &str, source: &str) -> TemplateError {
        let names = self.environment.template_from_str(source).map(|template| template.undeclared_variables(true));
        let names = names.unwrap_or_default();
        TemplateError::undefined(field, names.into_iter().filter(|name| !self.knows(name)).collect())
    }

    /// Whether a name such as `params.region` has a value. Objects that fetch are not asked.
    fn knows(&self, name: &str) -> bool {
        let mut parts = name.split('.');
        let root = parts.next().unwrap_or_default();
        let Some(mut value) = self.names.get(root).cloned() else {
            return self.environment.globals().any(|(global, _)| global == root);
        };
        for part in parts {
            if fetching::fetches(&value) || methods::has(&value, part) {
                return true;
            }
            match value.get_attr(part) {
                Ok(next) if !next.is_undefined() => value = next,
                // Objects answer methods that are no attributes.
                Ok(_) | Err(_) => {
                    return value.downcast_object_ref::<task_instance::TaskInstance>().is_some()
                        || value.downcast_object_ref::<datetime::DateTime>().is_some()
                        || value.downcast_object_ref::<crate::http::Response>().is_some();
                }
            }
        }
        true
    }
}

/// A text that is being rendered.
#[derive(Debug, Default)]
struct Bounded {
    bytes: Vec<u8>,
    is_full: bool,
}

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + bytes.len() > TEXT_BYTES_MAX {
            self.is_full = true;
            return Err(io::Error::other("the text is too large"));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_fuel(Some(STEPS_MAX));
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    environment.set_keep_trailing_newline(true);
    environment.set_recursion_limit(RECURSION_MAX);
    environment.set_unknown_method_callback(methods::call);
    // It would print every name with its value, whatever they are.
    environment.remove_global("debug");
    filters::add_to(&mut environment);
    shell::add_to(&mut environment);
    arithmetic::add_to(&mut environment);
    environment
}

/// The instant that a text is: a date, or a date and a time, UTC unless it says otherwise.
pub(crate) fn read_instant(text: &str) -> Result<chrono::DateTime<chrono::Utc>, String> {
    datetime::DateTime::parse(text).map(|at| at.0.to_utc()).map_err(|error| error.to_string())
}

/// The JSON of a template's value.
pub(crate) fn to_json(field: &str, value: &Value) -> Result<serde_json::Value, TemplateError> {
    serde_json::to_value(value).map_err(|error| TemplateError::not_json(field, &error.to_string()))
}

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) use tests::tests_context;
