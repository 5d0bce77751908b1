//! Assets, as an attempt sees them: what it may say of its outlets, and the events that it may look at.
//!
//! A process that has outlets is given the name of a file by `WINDLASS_OUTLET_EVENTS`. Each line of it is a JSON object: `uri` or `name`
//! of an outlet, or `alias` with the `uri` or `name` of the asset that was written, and `extra`, which consumers of the event
//! are told. Python code says the same by `windlass.outlet_event`. What fits no outlet fails the task: a typing error would
//! else be an event that nobody hears of.

use std::{io::Read as _, path::Path};

use link::{AssetEvents, FetchItem, FetchKey, TaskContext, WhichAssets};
use model::{AssetNews, EndKind, XComValue};
use serde_json::{Value, json};

use crate::{Host, Outcome, xcom};

/// The variable that names the file.
pub(crate) const VARIABLE: &str = "WINDLASS_OUTLET_EVENTS";
/// The file's name in the attempt's directory.
pub(crate) const FILE: &str = "outlet_events.jsonl";
/// The most that the file may have.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Reads what a process has said of its outlets.
pub(crate) fn read(file: &Path, context: &TaskContext) -> Result<Vec<AssetNews>, String> {
    let Ok(opened) = std::fs::File::open(file) else { return Ok(Vec::new()) };
    let mut text = String::new();
    let read = opened.take(FILE_BYTES_MAX + 1).read_to_string(&mut text);
    read.map_err(|error| format!("what the task says of its outlets can not be read: {error}"))?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(format!("the file ${VARIABLE} has more than {FILE_BYTES_MAX} bytes"));
    }
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let mut news = Vec::new();
    for (number, line) in lines {
        let told = |why: String| format!("line {} of ${VARIABLE}: {why}", number + 1);
        let value = xcom::parse(line).map_err(|error| told(format!("{error:?}")))?;
        let one: AssetNews = serde_json::from_value(value)
            .map_err(|error| told(format!("expected {{\"uri\": …, \"extra\": {{…}}}}: {error}")))?;
        check(&one, context).map_err(told)?;
        add(&mut news, one)?;
    }
    Ok(news)
}

/// Keeps one more thing that was said, when there is room.
pub(crate) fn add(news: &mut Vec<AssetNews>, one: AssetNews) -> Result<(), String> {
    if news.len() >= AssetNews::MOST {
        return Err(format!("more than {} events of outlets of one attempt", AssetNews::MOST));
    }
    let bytes = |news: &AssetNews| serde_json::to_string(&news.extra).map_or(0, |text| text.len());
    let (own, all) = (bytes(&one), news.iter().map(bytes).sum::<usize>());
    if own > XComValue::BYTES_MAX || own + all > XComValue::BYTES_MAX_PER_ATTEMPT {
        return Err(format!(
            "the extra of outlet events has {} bytes of JSON, over the limit of {} each and {} together",
            own + all,
            XComValue::BYTES_MAX,
            XComValue::BYTES_MAX_PER_ATTEMPT
        ));
    }
    news.push(one);
    Ok(())
}

/// An outcome with what the attempt has said of its outlets, by the socket and in the file. Only a success says something; one that
/// says what does not fit is none.
pub(crate) fn told(outcome: Outcome, mut said: Vec<AssetNews>, written: Result<Vec<AssetNews>, String>) -> Outcome {
    if outcome.kind() != EndKind::Success {
        return outcome;
    }
    match written.and_then(|written| written.into_iter().try_for_each(|one| add(&mut said, one))) {
        Ok(()) => outcome.assets(said),
        Err(why) => Outcome::failed(why).exit_code(0),
    }
}

/// Whether something that is said is about an outlet of the task.
pub(crate) fn check(news: &AssetNews, context: &TaskContext) -> Result<(), String> {
    model::door::Conf::new(news.extra.clone()).map_err(|error| format!("extra: {error}"))?;
    let names = || {
        let name = |outlet: &AssetNews| outlet.alias.clone().or_else(|| outlet.name.clone()).unwrap_or_default();
        context.outlets.iter().map(name).collect::<Vec<_>>().join(", ")
    };
    if let Some(alias) = &news.alias {
        if !context.outlets.iter().any(|outlet| outlet.alias.as_ref() == Some(alias)) {
            return Err(format!("the task has no outlet alias {alias:?}; it has: {}", names()));
        }
        return match news.key() {
            Some(_) => Ok(()),
            None => Err(format!("name the asset that was written for the alias {alias:?} by uri or name")),
        };
    }
    let declared = context.outlets.iter().filter(|outlet| outlet.alias.is_none()).filter_map(AssetNews::key);
    if declared.into_iter().any(|key| news.is_about(&key)) {
        return Ok(());
    }
    let what = news.uri.as_ref().or(news.name.as_ref()).map_or("nothing", String::as_str);
    Err(format!("the task has no outlet {what:?}; it has: {}", names()))
}

/// Asks for events: those that the run was made by, or those of the task's inlets.
pub(crate) async fn events(host: &dyn Host, which: WhichAssets) -> Result<Vec<AssetEvents>, String> {
    match host.fetch(FetchKey::AssetEvents(which)).await {
        FetchItem::AssetEvents(events) => Ok(events),
        FetchItem::Missing(_) => Ok(Vec::new()),
        other => Err(format!("events of assets: {}", other.misfit())),
    }
}

/// Which assets are meant by the inlets of a task.
pub(crate) fn of_inlets(context: &TaskContext) -> WhichAssets {
    WhichAssets::Named(context.inlets.clone())
}

/// An asset as templates and code see it.
pub(crate) fn as_json(asset: &AssetNews) -> Value {
    match &asset.alias {
        Some(alias) => json!({ "alias": alias, "name": alias }),
        None => {
            let either = |one: &Option<String>, other: &Option<String>| one.clone().or_else(|| other.clone());
            json!({
                "name": either(&asset.name, &asset.uri),
                "uri": either(&asset.uri, &asset.name),
                "extra": asset.extra,
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_has_to_be_about_an_outlet() {
        let outlet = |text: &str| serde_json::from_str::<AssetNews>(text).unwrap();
        let context = TaskContext {
            outlets: vec![outlet(r#"{"name": "n", "uri": "s3://b/k"}"#), outlet(r#"{"alias": "daily"}"#)],
            ..crate::template::tests_context()
        };
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(FILE);
        assert_eq!(read(&file, &context), Ok(Vec::new()), "a task need not say anything");
        for (line, why) in [
            (r#"{"uri": "s3://b/k", "extra": {"rows": 3}}"#, ""),
            (r#"{"name": "n"}"#, ""),
            (r#"{"alias": "daily", "uri": "s3://b/1"}"#, ""),
            (r#"{"uri": "s3://b/other"}"#, "line 2 of $WINDLASS_OUTLET_EVENTS: the task has no outlet"),
            (r#"{"alias": "weekly", "uri": "s3://b/1"}"#, "no outlet alias \"weekly\"; it has: n, daily"),
            (r#"{"alias": "daily"}"#, "by uri or name"),
            (r#"{"uri": "s3://b/k", "extra": 3}"#, "line 2"),
            ("nonsense", "line 2"),
        ] {
            std::fs::write(&file, format!("\n{line}\n")).unwrap();
            match read(&file, &context) {
                Ok(news) => assert_eq!((news.len(), why), (1, ""), "{line}"),
                Err(told) => assert!(!why.is_empty() && told.contains(why), "{line}: {told}"),
            }
        }
        let large = format!("{{\"uri\": \"s3://b/k\", \"extra\": {{\"x\": \"{}\"}}}}", "x".repeat(70_000));
        std::fs::write(&file, large).unwrap();
        assert!(read(&file, &context).unwrap_err().contains("65536"));
    }
}
