//! The methods of Python's texts and dictionaries that templates use every day.

use minijinja::{
    Error, ErrorKind, State, Value,
    value::{ValueKind, from_args},
};

/// The methods of a text.
const OF_TEXT: &[&str] =
    &["upper", "lower", "strip", "lstrip", "rstrip", "replace", "split", "startswith", "endswith", "join", "title"];
/// The methods of a dictionary.
const OF_MAP: &[&str] = &["get", "keys", "values", "items"];

/// Whether the value answers to the method.
pub(super) fn has(value: &Value, method: &str) -> bool {
    match value.kind() {
        ValueKind::String => OF_TEXT.contains(&method),
        ValueKind::Map => OF_MAP.contains(&method),
        _ => false,
    }
}

/// Calls a method that the template engine does not know.
pub(super) fn call(state: &State<'_, '_>, value: &Value, method: &str, args: &[Value]) -> Result<Value, Error> {
    match (value.as_str(), value.kind()) {
        (Some(text), _) => of_text(text, method, args),
        (None, ValueKind::Map) => of_map(state, value, method, args),
        _ => Err(Error::from(ErrorKind::UnknownMethod)),
    }
}

fn of_text(text: &str, method: &str, args: &[Value]) -> Result<Value, Error> {
    Ok(match method {
        "upper" => from_args::<()>(args).map(|()| text.to_uppercase())?.into(),
        "lower" => from_args::<()>(args).map(|()| text.to_lowercase())?.into(),
        "title" => from_args::<()>(args).map(|()| title(text))?.into(),
        "strip" => trimmed(args, |set| text.trim_matches(|c| in_set(set, c)))?,
        "lstrip" => trimmed(args, |set| text.trim_start_matches(|c| in_set(set, c)))?,
        "rstrip" => trimmed(args, |set| text.trim_end_matches(|c| in_set(set, c)))?,
        "replace" => from_args::<(&str, &str)>(args).map(|(from, to)| text.replace(from, to))?.into(),
        "startswith" => from_args::<(&str,)>(args).map(|(start,)| text.starts_with(start))?.into(),
        "endswith" => from_args::<(&str,)>(args).map(|(end,)| text.ends_with(end))?.into(),
        "split" => split(text, from_args::<(Option<&str>,)>(args)?.0),
        "join" => {
            let (items,): (Value,) = from_args(args)?;
            items.try_iter()?.map(|item| item.to_string()).collect::<Vec<_>>().join(text).into()
        }
        _ => return Err(Error::from(ErrorKind::UnknownMethod)),
    })
}

fn of_map(state: &State<'_, '_>, map: &Value, method: &str, args: &[Value]) -> Result<Value, Error> {
    match method {
        "get" => {
            let (key, default): (Value, Option<Value>) = from_args(args)?;
            let found = map.get_item(&key).ok().filter(|value| !value.is_undefined());
            Ok(found.or(default).unwrap_or(Value::from(())))
        }
        "keys" => from_args::<()>(args).and_then(|()| Ok(Value::from_iter(map.try_iter()?))),
        "values" => {
            from_args::<()>(args)?;
            map.try_iter()?.map(|key| map.get_item(&key)).collect::<Result<Vec<_>, _>>().map(Value::from)
        }
        "items" => from_args::<()>(args).and_then(|()| state.apply_filter("items", std::slice::from_ref(map))),
        _ => Err(Error::from(ErrorKind::UnknownMethod)),
    }
}

fn trimmed<'a>(args: &'a [Value], trim: impl FnOnce(Option<&'a str>) -> &'a str) -> Result<Value, Error> {
    let (set,): (Option<&str>,) = from_args(args)?;
    Ok(trim(set).into())
}

fn in_set(set: Option<&str>, c: char) -> bool {
    set.map_or(c.is_whitespace(), |set| set.contains(c))
}

fn split(text: &str, separator: Option<&str>) -> Value {
    match separator {
        Some(separator) => text.split(separator).map(Value::from).collect(),
        None => text.split_whitespace().map(Value::from).collect(),
    }
}

fn title(text: &str) -> String {
    let mut starts = true;
    let cased = text.chars().flat_map(|c| {
        let at_start = std::mem::replace(&mut starts, !c.is_alphabetic());
        if at_start { c.to_uppercase().collect::<Vec<_>>() } else { c.to_lowercase().collect() }
    });
    cased.collect()
}
