//! Renders templates: Jinja with Airflow's names, in the worker and nowhere else.
//!
//! A name that does not exist is an error that says which one, never an empty text. Connections, variables and XComs are
//! fetched when a template names them, so rendering may block and runs on a thread of its own.

mod datetime;
mod error;
mod fetching;
mod filters;
mod macros;
mod methods;
mod names;
mod scan;
mod shell;
mod task_instance;

use std::{collections::BTreeMap, sync::Arc};

use link::TaskContext;
use minijinja::{Environment, UndefinedBehavior, Value};
use model::TiKey;
use tokio::runtime::Handle;

pub use error::TemplateError;

use crate::{Host, Masker};

/// How deep templates may nest calls of their own macros.
const RECURSION_MAX: usize = 100;

/// Renders the fields of one attempt.
pub(crate) struct Renderer {
    environment: Environment<'static>,
    names: BTreeMap<&'static str, Value>,
}

/// What objects inside templates need to fetch.
#[derive(Clone)]
struct Access {
    context: Arc<TaskContext>,
    host: Arc<dyn Host>,
    masker: Masker,
    handle: Handle,
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the leader")
    }
}

impl Renderer {
    /// A renderer for one attempt; it may be used only where blocking is allowed.
    pub(crate) fn new(context: TaskContext, ti: TiKey, host: Arc<dyn Host>, masker: Masker, handle: Handle) -> Self {
        let access = Access { context: Arc::new(context), host, masker, handle };
        Self { environment: environment(), names: names::names(&access, ti) }
    }

    /// The same with one name more.
    pub(crate) fn with(&self, name: &'static str, value: Value) -> Self {
        let mut names = self.names.clone();
        names.insert(name, value);
        Self { environment: self.environment.clone(), names }
    }

    /// Renders a field to text.
    pub(crate) fn text(&self, field: &str, source: &str) -> Result<String, TemplateError> {
        self.environment
            .render_named_str(field, source, &self.names)
            .map_err(|error| self.explain(field, source, &error))
    }

    /// Renders a field that a shell will read: what comes from params, conf or XComs may not be code.
    pub(crate) fn shell(&self, field: &str, source: &str) -> Result<String, TemplateError> {
        let guarded = shell::guarded(&self.environment, source);
        self.environment
            .render_named_str(field, &guarded, &self.names)
            .map_err(|error| self.explain(field, source, &error))
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

    /// The value of a field that is one expression, as it is (a list stays a list); otherwise its text.
    pub(crate) fn value(&self, field: &str, source: &str) -> Result<Value, TemplateError> {
        let Some(expression) = scan::only_expression(source) else {
            return self.text(field, source).map(Value::from);
        };
        let value = self.environment.compile_expression(expression).and_then(|compiled| compiled.eval(&self.names));
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

fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    environment.set_keep_trailing_newline(true);
    environment.set_recursion_limit(RECURSION_MAX);
    environment.set_unknown_method_callback(methods::call);
    // It would print every name with its value, whatever they are.
    environment.remove_global("debug");
    filters::add_to(&mut environment);
    shell::add_to(&mut environment);
    environment
}

/// The JSON of a template's value.
pub(crate) fn to_json(field: &str, value: &Value) -> Result<serde_json::Value, TemplateError> {
    serde_json::to_value(value).map_err(|error| TemplateError::not_json(field, &error.to_string()))
}

#[cfg(test)]
mod tests;
