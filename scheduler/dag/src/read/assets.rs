//! Assets: what tasks write and read, and conditions of schedules. Airflow's words, and dag-factory's.

use model::AssetKey;

use super::fields::{Fields, Item};
use crate::{
    assets::{AliasRef, AssetCondition, AssetRef, Outlet},
    keys::{self, Here},
    problem::Problems,
    yaml::Value,
};

/// How many assets a condition or a task may name: an event is held against each.
const ASSETS_MAX: usize = 1_000;

/// The most that an asset's extra may have as JSON text: it is shown in lists.
const EXTRA_BYTES_MAX: usize = 16 * 1024;

/// What an asset looks like, for messages.
const FORMS: &str = "an asset: its name or uri, a mapping with name and uri, or one with alias";

/// What becomes of the parts of a condition.
type Combine = fn(Vec<AssetCondition>) -> AssetCondition;

/// Which part of a mapping names the assets of a condition, and whether all or any of them have to change.
const COMBINATIONS: [(&str, Combine); 8] = [
    ("all", AssetCondition::All),
    ("any", AssetCondition::Any),
    ("and", AssetCondition::All),
    ("or", AssetCondition::Any),
    ("__and__", AssetCondition::All),
    ("__or__", AssetCondition::Any),
    ("assets", AssetCondition::All),
    ("datasets", AssetCondition::All),
];

/// What a task writes or reads, by the key of that name.
pub(super) fn of_task(fields: &Fields<'_>, key: &str, problems: &mut Problems) -> Vec<Outlet> {
    let Some(item) = fields.take(key) else { return Vec::new() };
    let what = "a list of assets such as [{name: a, uri: \"s3://b/k\"}]";
    let items = match &item.node.value {
        // A single one, as Airflow takes it, too.
        Value::Text(_) => vec![item.clone()],
        _ => item.list(what, problems).unwrap_or_default(),
    };
    if items.len() > ASSETS_MAX {
        let message = format!("a task has {} {key}; at most {ASSETS_MAX} are allowed", items.len());
        problems.add(&item.place, message);
        return Vec::new();
    }
    let mut read: Vec<Outlet> = Vec::new();
    for item in &items {
        if let Some(outlet) = outlet(item, problems)
            && !read.contains(&outlet)
        {
            read.push(outlet);
        }
    }
    read
}

/// Whether a mapping is an asset or a condition of assets, and not a time.
pub(super) fn is_condition(fields: &Fields<'_>) -> bool {
    let names = COMBINATIONS.iter().map(|(name, _)| *name);
    names.chain(["name", "uri", "alias", "__type__"]).any(|name| fields.take(name).is_some())
}

/// A condition: an asset, an alias, a list of which all have to change, or `any` and `all` of further ones.
pub(super) fn condition(item: &Item<'_>, problems: &mut Problems) -> Option<AssetCondition> {
    let read = part(item, problems)?;
    let count = read.leaves().len();
    if count > ASSETS_MAX {
        return item.fail(format!("the condition names {count} assets; at most {ASSETS_MAX} are allowed"), problems);
    }
    Some(read)
}

fn part(item: &Item<'_>, problems: &mut Problems) -> Option<AssetCondition> {
    match &item.node.value {
        Value::List(_) => several(item, AssetCondition::All, problems),
        Value::Map(_) => {
            let fields = item.fields(FORMS, problems)?;
            let mut combined = COMBINATIONS.iter().filter_map(|(name, of)| Some((name, of, fields.take(name)?)));
            let Some((name, of, parts)) = combined.next() else {
                return outlet(item, problems).map(|outlet| match outlet {
                    Outlet::Asset(asset) => AssetCondition::Asset(asset),
                    Outlet::Alias(alias) => AssetCondition::Alias(alias),
                });
            };
            if let Some((other, _, second)) = combined.next() {
                let message = format!("{other} and {name} stand side by side; put one below the other");
                return second.fail(message, problems);
            }
            fields.check_keys(&[keys::ASSET_COMBINATION], &[], Here::Part, problems);
            several(&parts, *of, problems)
        }
        Value::Text(text) if text.contains(['&', '|', '(', ')']) && !text.contains('?') => {
            written_out(text, item, problems)
        }
        _ => outlet(item, problems).map(|outlet| match outlet {
            Outlet::Asset(asset) => AssetCondition::Asset(asset),
            Outlet::Alias(alias) => AssetCondition::Alias(alias),
        }),
    }
}

fn several(item: &Item<'_>, of: Combine, problems: &mut Problems) -> Option<AssetCondition> {
    if !matches!(item.node.value, Value::List(_)) {
        return part(item, problems);
    }
    let items = item.list("a list of assets", problems)?;
    let parts: Vec<Option<AssetCondition>> = items.iter().map(|item| part(item, problems)).collect();
    let mut parts = parts.into_iter().collect::<Option<Vec<_>>>()?;
    match parts.len() {
        0 => item.fail("expected at least one asset", problems),
        1 => parts.pop(),
        _ => Some(of(parts)),
    }
}

fn outlet(item: &Item<'_>, problems: &mut Problems) -> Option<Outlet> {
    if item.is_scalar() {
        let name = word(item, problems)?;
        return Some(Outlet::Asset(AssetRef { name, uri: None, group: None, extra: None }));
    }
    let Value::Map(_) = &item.node.value else { return item.expected(FORMS, problems) };
    let fields = item.fields(FORMS, problems)?;
    fields.check_keys(&[keys::OUTLET], &[], Here::Part, problems);
    let class = fields.take("__type__").and_then(|item| item.text(problems)).unwrap_or_default();
    let is_alias = class.ends_with("Alias");
    let mut words = ["name", "uri", "alias"].map(|key| fields.take(key).map(|item| word(&item, problems)));
    if words.contains(&Some(None)) {
        return None;
    }
    let group = fields.take("group").and_then(|item| item.text(problems));
    let [name, uri, alias] = &mut words;
    let alias = alias.take().flatten().or_else(|| if is_alias { name.take().flatten() } else { None });
    match (alias, name.take().flatten(), uri.take().flatten()) {
        (Some(alias), None, None) => Some(Outlet::Alias(AliasRef { alias, group })),
        (Some(_), ..) => item.fail("an alias has no name and uri: the task that writes it names the asset", problems),
        (None, Some(name), uri) => {
            // Said twice is said once.
            let uri = uri.filter(|uri| *uri != name);
            Some(Outlet::Asset(AssetRef { name, uri, group, extra: extra(&fields, problems) }))
        }
        (None, None, Some(uri)) => {
            Some(Outlet::Asset(AssetRef { name: uri, uri: None, group, extra: extra(&fields, problems) }))
        }
        (None, None, None) => item.fail("an asset needs a name or a uri", problems),
    }
}

fn word(item: &Item<'_>, problems: &mut Problems) -> Option<String> {
    let text = item.text(problems)?;
    if AssetKey::of(&text, &text).is_some() {
        return Some(text);
    }
    let chars = text.chars().count();
    item.fail(format!("it has {chars} characters; an asset's word has at most {}", AssetKey::CHARS_MAX), problems)
}

fn extra(fields: &Fields<'_>, problems: &mut Problems) -> Option<serde_json::Map<String, serde_json::Value>> {
    let item = fields.take("extra")?;
    let serde_json::Value::Object(extra) = item.json(problems)? else {
        return item.expected("a mapping", problems);
    };
    let bytes = serde_json::to_string(&extra).map_or(usize::MAX, |text| text.len());
    if bytes > EXTRA_BYTES_MAX {
        let message = format!("an asset's extra has {bytes} bytes as JSON; at most {EXTRA_BYTES_MAX} are allowed");
        return item.fail(message, problems);
    }
    Some(extra).filter(|extra| !extra.is_empty())
}

/// A condition in one text, as dag-factory writes it: `((a & b) | c)`.
fn written_out(text: &str, item: &Item<'_>, problems: &mut Problems) -> Option<AssetCondition> {
    let mut reader = Written { rest: text, depth: 0 };
    match reader.any() {
        Ok(condition) if reader.rest.trim().is_empty() => Some(condition),
        Ok(_) => item.fail(format!("expected & or | before {:?}", reader.rest.trim()), problems),
        Err(why) => item.fail(format!("this is no condition of assets such as ((a & b) | c): {why}"), problems),
    }
}

/// Parentheses may be nested so deeply.
const DEPTH_MAX: usize = 32;

struct Written<'t> {
    rest: &'t str,
    depth: usize,
}

impl Written<'_> {
    fn any(&mut self) -> Result<AssetCondition, String> {
        let mut parts = vec![self.all()?];
        while self.takes('|') {
            parts.push(self.all()?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { AssetCondition::Any(parts) })
    }

    fn all(&mut self) -> Result<AssetCondition, String> {
        let mut parts = vec![self.one()?];
        while self.takes('&') {
            parts.push(self.one()?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { AssetCondition::All(parts) })
    }

    fn one(&mut self) -> Result<AssetCondition, String> {
        if self.takes('(') {
            self.depth += 1;
            if self.depth > DEPTH_MAX {
                return Err(format!("it is nested more than {DEPTH_MAX} levels deep"));
            }
            let inner = self.any()?;
            self.depth -= 1;
            return if self.takes(')') { Ok(inner) } else { Err("a ) is missing".to_owned()) };
        }
        let end = self.rest.find(['&', '|', '(', ')']).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        let word = word.trim();
        self.rest = rest;
        match AssetKey::of(word, word) {
            Some(_) => {
                Ok(AssetCondition::Asset(AssetRef { name: word.to_owned(), uri: None, group: None, extra: None }))
            }
            None => Err("an asset's name or uri is missing".to_owned()),
        }
    }

    fn takes(&mut self, sign: char) -> bool {
        match self.rest.trim_start().strip_prefix(sign) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }
}
