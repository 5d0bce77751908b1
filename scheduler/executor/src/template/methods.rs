//! The methods of Python's texts and dictionaries that templates use every day.

use minijinja::{
    Error, ErrorKind, FormatStyle, State, Value,
    value::{Kwargs, ValueKind, from_args},
};

use super::{arithmetic::format_text, datetime::invalid};

/// The methods of a text.
const OF_TEXT: &[&str] = &[
    "upper",
    "lower",
    "title",
    "capitalize",
    "strip",
    "lstrip",
    "rstrip",
    "replace",
    "split",
    "rsplit",
    "splitlines",
    "startswith",
    "endswith",
    "removeprefix",
    "removesuffix",
    "join",
    "zfill",
    "ljust",
    "rjust",
    "format",
    "count",
    "find",
    "isdigit",
];
/// The methods of a dictionary.
const OF_MAP: &[&str] = &["get", "keys", "values", "items"];
/// No text is padded further.
const WIDTH_MAX: usize = 10_000;

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

/// The error that says which methods there are. Of the kind for unknown methods it would be asked for once more, as a method of
/// any value, and lost.
pub(super) fn unknown(whose: &str, method: &str, known: &[&str]) -> Error {
    Error::new(ErrorKind::InvalidOperation, format!("{whose} has no method {method}; it has: {}", known.join(", ")))
}

fn of_text(text: &str, method: &str, args: &[Value]) -> Result<Value, Error> {
    Ok(match method {
        "upper" => from_args::<()>(args).map(|()| text.to_uppercase())?.into(),
        "lower" => from_args::<()>(args).map(|()| text.to_lowercase())?.into(),
        "title" => from_args::<()>(args).map(|()| title(text))?.into(),
        "strip" => trimmed(args, |set| text.trim_matches(|c| in_set(set, c)))?,
        "lstrip" => trimmed(args, |set| text.trim_start_matches(|c| in_set(set, c)))?,
        "rstrip" => trimmed(args, |set| text.trim_end_matches(|c| in_set(set, c)))?,
        "capitalize" => from_args::<()>(args).map(|()| capitalized(text))?.into(),
        "replace" => replaced(text, from_args(args)?).into(),
        "startswith" => from_args::<(&str,)>(args).map(|(start,)| text.starts_with(start))?.into(),
        "endswith" => from_args::<(&str,)>(args).map(|(end,)| text.ends_with(end))?.into(),
        "removeprefix" => from_args::<(&str,)>(args).map(|(start,)| text.strip_prefix(start).unwrap_or(text))?.into(),
        "removesuffix" => from_args::<(&str,)>(args).map(|(end,)| text.strip_suffix(end).unwrap_or(text))?.into(),
        "split" => split(text, args, Side::Left)?,
        "rsplit" => split(text, args, Side::Right)?,
        "splitlines" => from_args::<()>(args).map(|()| text.lines().map(Value::from).collect())?,
        "zfill" => zero_filled(text, width(from_args::<(usize,)>(args)?.0)?).into(),
        "ljust" | "rjust" => {
            let (columns, fill): (usize, Option<char>) = from_args(args)?;
            let missing = width(columns)?.saturating_sub(text.chars().count());
            let padding: String = std::iter::repeat_n(fill.unwrap_or(' '), missing).collect();
            if method == "ljust" { format!("{text}{padding}") } else { format!("{padding}{text}") }.into()
        }
        "format" => format_text(FormatStyle::StrFormat, text, args)?,
        "count" => from_args::<(&str,)>(args).map(|(part,)| text.matches(part).count())?.into(),
        "find" => {
            let (part,): (&str,) = from_args(args)?;
            text.find(part).map_or(-1, |at| i64::try_from(text[..at].chars().count()).unwrap_or(i64::MAX)).into()
        }
        "isdigit" => {
            from_args::<()>(args).map(|()| !text.is_empty() && text.chars().all(|c| c.is_ascii_digit()))?.into()
        }
        "join" => {
            let (items,): (Value,) = from_args(args)?;
            items.try_iter()?.map(|item| item.to_string()).collect::<Vec<_>>().join(text).into()
        }
        _ => return Err(unknown("a text", method, OF_TEXT)),
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

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Left,
    Right,
}

/// Python's `split` and `rsplit`: by blanks without a separator, at most so many times.
fn split(text: &str, args: &[Value], side: Side) -> Result<Value, Error> {
    let (separator, times, kwargs): (Option<Value>, Option<i64>, Kwargs) = from_args(args)?;
    let separator = separator.or(kwargs.get("sep")?).filter(|value| !value.is_none());
    let times = times.or(kwargs.get("maxsplit")?).and_then(|times| usize::try_from(times).ok());
    kwargs.assert_all_used()?;
    let parts = times.map_or(usize::MAX, |times| times.saturating_add(1));
    let mut found: Vec<&str> = match (&separator, side) {
        (Some(separator), _) if separator.as_str().is_none_or(str::is_empty) => {
            return Err(invalid("a separator is a text that is not empty".to_owned()));
        }
        (Some(separator), Side::Left) => text.splitn(parts, separator.as_str().unwrap_or_default()).collect(),
        (Some(separator), Side::Right) => text.rsplitn(parts, separator.as_str().unwrap_or_default()).collect(),
        (None, Side::Left) => by_blanks(text.trim(), parts, |rest| {
            rest.split_once(char::is_whitespace).map(|(word, rest)| (word, rest.trim_start()))
        }),
        (None, Side::Right) => by_blanks(text.trim(), parts, |rest| {
            rest.rsplit_once(char::is_whitespace).map(|(rest, word)| (word, rest.trim_end()))
        }),
    };
    if side == Side::Right {
        found.reverse();
    }
    Ok(found.into_iter().map(Value::from).collect())
}

fn by_blanks<'t>(text: &'t str, parts: usize, cut: impl Fn(&'t str) -> Option<(&'t str, &'t str)>) -> Vec<&'t str> {
    let mut found = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        match cut(rest).filter(|_| found.len() + 1 < parts) {
            Some((word, left)) => {
                found.push(word);
                rest = left;
            }
            None => {
                found.push(rest);
                break;
            }
        }
    }
    found
}

fn replaced(text: &str, (from, to, times): (&str, &str, Option<usize>)) -> String {
    times.map_or_else(|| text.replace(from, to), |times| text.replacen(from, to, times))
}

fn capitalized(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().into_iter().flat_map(char::to_uppercase).chain(chars.flat_map(char::to_lowercase)).collect()
}

fn width(columns: usize) -> Result<usize, Error> {
    if columns > WIDTH_MAX {
        return Err(invalid(format!("a width of {columns} is over the limit of {WIDTH_MAX}")));
    }
    Ok(columns)
}

fn zero_filled(text: &str, columns: usize) -> String {
    let (sign, digits) = match text.strip_prefix(['-', '+']) {
        Some(digits) => text.split_at(text.len() - digits.len()),
        None => ("", text),
    };
    format!("{sign}{}{digits}", "0".repeat(columns.saturating_sub(text.chars().count())))
}

fn title(text: &str) -> String {
    let mut starts = true;
    let cased = text.chars().flat_map(|c| {
        let at_start = std::mem::replace(&mut starts, !c.is_alphabetic());
        if at_start { c.to_uppercase().collect::<Vec<_>>() } else { c.to_lowercase().collect() }
    });
    cased.collect()
}
