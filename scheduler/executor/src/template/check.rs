//! Whether a template can be rendered at all, found out without anything to render it with.
//!
//! What is told is certain: a template that can not be read, a filter, function or test that nobody has, a name that nothing gives. What
//! depends on values is not told, because no values are known.

use std::{collections::BTreeSet, sync::Arc};

use minijinja::{
    Environment, Error, ErrorKind, Value,
    value::{Enumerator, Object, ObjectRepr},
};

use super::{EVENTS, PREVIOUS, TemplateError, arithmetic, environment, is_plain};

/// Names that every attempt has: those of [`super::names`].
const NAMES: &[&str] = &[
    "dag",
    "dag_run",
    "task",
    "ti",
    "task_instance",
    "run_id",
    "try_number",
    "map_index",
    "params",
    "conf",
    "var",
    "conn",
    "macros",
    "outlets",
    "inlets",
    "test_mode",
    "task_instance_key_str",
    "data_interval_start",
    "data_interval_end",
    "logical_date",
    "ds",
    "ds_nodash",
    "ts",
    "ts_nodash",
    "ts_nodash_with_tz",
];
/// Names that some fields of some operators have beside.
const NAMES_OF_FIELDS: &[&str] = &["value", "row", "response", "message"];

/// Which names a template may have beside Airflow's.
#[derive(Debug, Clone)]
pub enum Names {
    /// Only these.
    These(BTreeSet<String>),
    /// Whatever it names: it is not known what is given to it.
    Any,
}

/// Looks at a template.
///
/// # Errors
/// Why it can not be rendered, in one sentence.
pub fn check_template(source: &str, names: &Names) -> Result<(), String> {
    if is_plain(source) {
        return Ok(());
    }
    let environment = environment();
    let prepared = arithmetic::rewritten(source);
    let explained = |error: &Error| match TemplateError::of("it", source, error) {
        TemplateError::Render { detail, .. } | TemplateError::Unsafe { detail, .. } => detail,
        TemplateError::Stopped(cause) => cause.reason.to_string(),
    };
    let template = environment.template_from_named_str("it", &prepared).map_err(|error| explained(&error))?;
    if let Names::These(more) = names {
        let mut unknown: Vec<String> = template.undeclared_variables(false).into_iter().collect();
        unknown.retain(|name| !is_known(&environment, name, more) && !may_be_missing(source, name));
        unknown.sort();
        if !unknown.is_empty() {
            return Err(format!("{} is not defined", unknown.join(", ")));
        }
    }
    match template.render(Value::from_object(Anything)) {
        Err(error) if is_certain(error.kind()) => Err(explained(&error)),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Names of params that a template asks for: `params.region`, or `params['region']` in its plain form.
#[must_use]
pub fn params_named(source: &str) -> BTreeSet<String> {
    if is_plain(source) {
        return BTreeSet::new();
    }
    let environment = environment();
    let prepared = arithmetic::rewritten(source);
    let Ok(template) = environment.template_from_named_str("it", &prepared) else { return BTreeSet::new() };
    let nested = template.undeclared_variables(true);
    let named = nested.iter().filter_map(|name| name.strip_prefix("params."));
    let names = named.filter_map(|rest| rest.split('.').next()).map(str::to_owned);
    // What Python's mappings have is no param.
    let is_method = |name: &String| ["get", "items", "keys", "values"].contains(&name.as_str());
    names.filter(|name| !is_method(name) && !may_be_missing(source, &format!("params.{name}"))).collect()
}

fn is_known(environment: &Environment<'_>, name: &str, more: &BTreeSet<String>) -> bool {
    NAMES.contains(&name)
        || NAMES_OF_FIELDS.contains(&name)
        || PREVIOUS.iter().any(|begin| name.starts_with(begin))
        || EVENTS.iter().any(|(event, _)| *event == name)
        || more.contains(name)
        || environment.globals().any(|(global, _)| global == name)
}

/// Whether a template says itself what happens without the name: `x is defined`, `x | default(…)`.
fn may_be_missing(source: &str, name: &str) -> bool {
    source.match_indices(name).any(|(at, _)| {
        let rest = source[at + name.len()..].trim_start();
        let words: Vec<&str> = rest.split_whitespace().take(3).collect();
        let asks = matches!(words.as_slice(), ["is", word, ..] if word.starts_with("defined"))
            || matches!(words.as_slice(), ["is", "not", word, ..] if word.starts_with("defined"))
            || matches!(words.as_slice(), ["is", word, ..] if word.starts_with("undefined"));
        let filter = rest.strip_prefix('|').map(str::trim_start).unwrap_or_default();
        asks || filter.starts_with("default") || filter.starts_with("d(")
    })
}

/// Errors that no value mends.
const fn is_certain(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::SyntaxError | ErrorKind::UnknownFilter | ErrorKind::UnknownTest | ErrorKind::UnknownFunction
    )
}

/// A value that has every attribute, method and item, each the same again.
#[derive(Debug)]
struct Anything;

impl Object for Anything {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Map
    }

    fn get_value(self: &Arc<Self>, _key: &Value) -> Option<Value> {
        Some(Value::from_object(Self))
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Empty
    }

    fn call(self: &Arc<Self>, _state: &minijinja::State<'_, '_>, _arguments: &[Value]) -> Result<Value, Error> {
        Ok(Value::from_object(Self))
    }

    fn call_method(
        self: &Arc<Self>,
        _state: &minijinja::State<'_, '_>,
        _method: &str,
        _arguments: &[Value],
    ) -> Result<Value, Error> {
        Ok(Value::from_object(Self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(source: &str) -> String {
        let more = Names::These(BTreeSet::from(["bucket".to_owned()]));
        check_template(source, &more).err().unwrap_or_default()
    }

    #[test]
    fn what_airflow_has_and_what_the_file_gives_can_be_rendered() {
        for source in [
            "plain",
            "{{ ds }} {{ params.x }} {{ ti.xcom_pull(task_ids='a')['b'] }}",
            "{{ logical_date - macros.timedelta(days=1) }}",
            "{{ bucket }} {{ prev_start_date_success }} {{ conn.x.host }} {{ var.value.y | upper }}",
            "{% for x in params.list %}{{ x.name | trim }}{% endfor %}",
            "{% if maybe is defined %}{{ maybe }}{% endif %} {{ other | default('x') }}",
            "{{ inlet_events['a'][-1].extra }} {{ range(3) | list }}",
        ] {
            assert_eq!(check(source), "", "{source}");
        }
    }

    #[test]
    fn what_no_value_mends_is_told() {
        assert!(check("{{ dss }} {{ ds }} {{ zone }}").contains("dss, zone is not defined"));
        assert!(check("{{ ds").contains("syntax error"), "{}", check("{{ ds"));
        assert!(check("{{ ds | uper }}").contains("uper"), "{}", check("{{ ds | uper }}"));
        assert!(check("{{ 1 is oddd }}").contains("oddd"), "{}", check("{{ 1 is oddd }}"));
        assert!(check("{% for x in y %}").contains("syntax error"));
        assert_eq!(check_template("{{ anything }}", &Names::Any), Ok(()));
        assert!(check_template("{{ anything | nothing_such }}", &Names::Any).is_err());
    }

    #[test]
    fn params_are_named() {
        let named =
            params_named("{{ params.region }} {{ params.get('x') }} {{ params.zone | default('z') }} {{ conf.a }}");
        assert_eq!(named, BTreeSet::from(["region".to_owned()]));
    }
}
