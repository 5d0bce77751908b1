//! The names that templates may use: Airflow's. Those that need a logical date are absent when a run has none.

use std::collections::BTreeMap;

use link::{AssetEvents, FetchItem, FetchKey, WhichAssets, WhichRun};
use minijinja::Value;
use model::{TiKey, Timestamp};
use serde_json::json;

use crate::assets;

use super::{Access, datetime::DateTime, fetching, macros, task_instance::TaskInstance};

/// All names of one attempt.
pub(super) fn names(access: &Access, ti: TiKey) -> BTreeMap<&'static str, Value> {
    let context = &access.context;
    let instance = Value::from_object(TaskInstance { access: access.clone(), ti });
    let mut names = BTreeMap::from([
        ("dag", dag(access)),
        ("dag_run", dag_run(access)),
        ("task", task(access)),
        ("ti", instance.clone()),
        ("task_instance", instance),
        ("run_id", context.run_id.as_str().into()),
        ("try_number", context.try_number.get().into()),
        ("map_index", context.map_index.get().into()),
        ("params", Value::from_serialize(&context.params)),
        ("conf", Value::from_serialize(&context.conf)),
        ("var", fetching::variables(access)),
        ("conn", fetching::connections(access)),
        ("macros", macros::macros()),
        ("outlets", Value::from_serialize(context.outlets.iter().map(assets::as_json).collect::<Vec<_>>())),
        ("inlets", Value::from_serialize(context.inlets.iter().map(assets::as_json).collect::<Vec<_>>())),
        ("test_mode", false.into()),
        ("task_instance_key_str", key_text(access).into()),
    ]);
    names.extend(interval(("data_interval_start", "data_interval_end"), context.data_interval));
    names.extend(context.logical_date.map(of_logical_date).into_iter().flatten());
    names
}

fn task(access: &Access) -> Value {
    let context = &access.context;
    let mut fields = context.task_fields.clone();
    fields.insert("task_id".to_owned(), json!(context.task_id));
    fields.insert("dag_id".to_owned(), json!(context.dag_id));
    Value::from_serialize(fields)
}

fn of_logical_date(date: Timestamp) -> [(&'static str, Value); 6] {
    [
        ("logical_date", instant(date)),
        ("ds", date.format("%Y-%m-%d").to_string().into()),
        ("ds_nodash", date.format("%Y%m%d").to_string().into()),
        ("ts", DateTime::from(date).isoformat().into()),
        ("ts_nodash", date.format("%Y%m%dT%H%M%S").to_string().into()),
        ("ts_nodash_with_tz", date.format("%Y%m%dT%H%M%S+0000").to_string().into()),
    ]
}

/// The names that say something of the last successful run before this one's date; none has a value when there is none.
pub(super) fn of_previous_success(access: &Access) -> Result<[(&'static str, Value); 4], String> {
    let context = &access.context;
    let previous = match context.logical_date {
        None => None,
        Some(date) => {
            let which = WhichRun::SuccessBefore(date);
            let key = FetchKey::Run { dag_id: context.dag_id.clone(), which, tasks: Vec::new() };
            match access.fetch(key) {
                FetchItem::Run(run) => Some(run),
                FetchItem::Missing(_) => None,
                other => return Err(format!("the last successful run before this one: {}", other.misfit())),
            }
        }
    };
    let of = |at: Option<Timestamp>| at.map_or(Value::from(()), instant);
    let interval = previous.as_ref().and_then(|run| run.data_interval);
    Ok([
        ("prev_data_interval_start_success", of(interval.map(|(start, _)| start))),
        ("prev_data_interval_end_success", of(interval.map(|(_, end)| end))),
        ("prev_start_date_success", of(previous.as_ref().and_then(|run| run.started_at))),
        ("prev_end_date_success", of(previous.as_ref().and_then(|run| run.ended_at))),
    ])
}

/// The events that the run was made by: a list for each asset, by its uri.
pub(super) fn of_triggering_events(access: &Access) -> Result<Value, String> {
    let by_uri = |of: AssetEvents| (of.uri.clone(), events(&of));
    Ok(asked(access, WhichAssets::Triggering)?.into_iter().map(by_uri).collect())
}

/// The newest events of the inlets: a list for each, by its uri, its name, and its place.
pub(super) fn of_inlet_events(access: &Access) -> Result<Value, String> {
    let found = asked(access, assets::of_inlets(&access.context))?;
    let mut by_word: BTreeMap<Value, Value> = BTreeMap::new();
    for of in &found {
        by_word.insert(of.uri.as_str().into(), events(of));
        by_word.insert(of.name.as_str().into(), events(of));
    }
    for (place, inlet) in access.context.inlets.iter().enumerate() {
        let is_meant = |of: &&AssetEvents| {
            let key = model::AssetKey::of(&of.name, &of.uri);
            inlet.alias.is_none() && key.is_some_and(|key| inlet.is_about(&key))
        };
        let own = found.iter().find(is_meant).map_or_else(|| Value::from(Vec::<Value>::new()), events);
        // An inlet without events has an empty list, whichever way it is asked for.
        for word in [&inlet.uri, &inlet.name].into_iter().flatten() {
            by_word.entry(word.as_str().into()).or_insert_with(|| own.clone());
        }
        by_word.insert(place.into(), own);
    }
    Ok(by_word.into_iter().collect())
}

fn asked(access: &Access, which: WhichAssets) -> Result<Vec<AssetEvents>, String> {
    let asking = assets::events(&*access.host, which);
    access.wait_for(asking).unwrap_or_else(|| Err(fetching::GIVEN_UP.to_owned()))
}

fn events(of: &AssetEvents) -> Value {
    let asset = json!({ "name": of.name, "uri": of.uri });
    let event = |event: &link::AssetEvent| {
        let run = event.source_dag_run.as_ref().map_or(Value::from(()), |run| {
            let (start, end) = run.data_interval.unzip();
            let optional = |at: Option<Timestamp>| at.map_or(Value::from(()), instant);
            Value::from_iter([
                ("run_id", run.run_id.as_str().into()),
                ("dag_id", event.source_dag_id.as_deref().into()),
                ("logical_date", optional(run.logical_date)),
                ("data_interval_start", optional(start)),
                ("data_interval_end", optional(end)),
            ])
        });
        Value::from_iter([
            ("id", event.id.into()),
            ("asset", Value::from_serialize(&asset)),
            ("uri", of.uri.as_str().into()),
            ("name", of.name.as_str().into()),
            ("timestamp", instant(event.timestamp)),
            ("extra", Value::from_serialize(&event.extra)),
            ("source_dag_id", event.source_dag_id.as_deref().into()),
            ("source_task_id", event.source_task_id.as_deref().into()),
            ("source_run_id", event.source_run_id.as_deref().into()),
            ("source_map_index", event.source_map_index.into()),
            ("source_dag_run", run),
        ])
    };
    of.events.iter().map(event).collect::<Vec<_>>().into()
}

fn interval(
    (start, end): (&'static str, &'static str),
    interval: Option<(Timestamp, Timestamp)>,
) -> impl Iterator<Item = (&'static str, Value)> {
    interval.into_iter().flat_map(move |(from, to)| [(start, instant(from)), (end, instant(to))])
}

fn instant(at: Timestamp) -> Value {
    Value::from_object(DateTime::from(at))
}

fn dag(access: &Access) -> Value {
    let mut fields = access.context.dag_fields.clone();
    fields.insert("dag_id".to_owned(), access.context.dag_id.as_str().into());
    Value::from_serialize(fields)
}

fn dag_run(access: &Access) -> Value {
    let context = &access.context;
    let (start, end) = context.data_interval.map_or((None, None), |(start, end)| (Some(start), Some(end)));
    let optional = |at: Option<Timestamp>| at.map_or(Value::from(()), instant);
    Value::from_iter([
        ("dag_id", context.dag_id.as_str().into()),
        ("run_id", context.run_id.as_str().into()),
        ("run_type", context.run_type.name().into()),
        ("logical_date", optional(context.logical_date)),
        ("data_interval_start", optional(start)),
        ("data_interval_end", optional(end)),
        ("run_after", instant(context.run_after)),
        ("start_date", instant(context.run_started_at)),
        ("conf", Value::from_serialize(&context.conf)),
    ])
}

fn key_text(access: &Access) -> String {
    let context = &access.context;
    let last =
        context.logical_date.map_or_else(|| context.run_id.to_string(), |date| date.format("%Y%m%d").to_string());
    format!("{}__{}__{last}", context.dag_id, context.task_id)
}
