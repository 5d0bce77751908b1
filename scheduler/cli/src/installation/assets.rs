//! Assets: listed, looked at, told to have changed, and made.

use anyhow::Context;
use model::{
    Command, RunId, RunType, TriggeredBy,
    command::{CreateAssetEvent, TriggerDagRun},
    door::Conf,
};
use serde::Deserialize;
use serde_json::{Value, json};
use store::read::{
    self, AssetEventView, AssetFacts, AssetFilter, AssetOrder, AssetUse, AssetView, Direction, EventFilter, EventOrder,
    Pattern, Visible, Window,
};

use super::{
    Here, Installation,
    dags::{conf_object, parse_conf},
};
use crate::{exit::Failure, find};

/// An asset, as a list has it.
#[derive(Debug, Clone)]
pub struct AssetRow {
    /// Its number.
    pub id: i64,
    /// Its properties: as the REST API writes them.
    pub fields: Value,
}

/// How a list of assets is narrowed.
#[derive(Debug, Default)]
pub struct AssetsWanted {
    /// Part of the name.
    pub name: Option<String>,
    /// Whether those count that no DAG names any more.
    pub with_inactive: bool,
    /// So many at most.
    pub most: usize,
}

impl Installation<'_> {
    /// Assets by their names.
    ///
    /// # Errors
    /// When the installation does not answer.
    pub async fn assets(&self, wanted: &AssetsWanted) -> anyhow::Result<Vec<AssetRow>> {
        let found: Vec<Value> = match self {
            Self::Here(here) => {
                let pool = here.access.pool().await?;
                let filter = AssetFilter {
                    name: Pattern(wanted.name.iter().cloned().collect()),
                    only_active: !wanted.with_inactive,
                    order: vec![(AssetOrder::Name, Direction::Ascending)],
                    ..AssetFilter::default()
                };
                let window = Window { limit: i64::try_from(wanted.most)?, offset: 0 };
                let (found, _) = read::assets(pool, &filter, window).await?;
                let ids: Vec<i64> = found.iter().map(|asset| asset.id).collect();
                let facts = read::asset_facts(pool, &ids, &Visible::All).await?;
                found.iter().map(|asset| fields_of(asset, &facts)).collect()
            }
            Self::Server(server) => {
                let active = if wanted.with_inactive { "false" } else { "true" };
                let name = wanted.name.as_deref().unwrap_or_default();
                let query = [("order_by", "name"), ("only_active", active), ("name_pattern", name)];
                let named = &query[..if name.is_empty() { 2 } else { 3 }];
                server.first(&["assets"], "assets", named, wanted.most).await?
            }
        };
        Ok(found.into_iter().map(|fields| AssetRow { id: fields["id"].as_i64().unwrap_or(0), fields }).collect())
    }

    /// The asset of a number, a name or a uri.
    ///
    /// # Errors
    /// When there is none.
    pub async fn asset(&self, which: &str) -> anyhow::Result<AssetRow> {
        let missing = || Failure::missing(format!("there is no asset {which}; `windlass assets list` lists them"));
        match self {
            Self::Here(here) => {
                let asset = here.asset(which).await?.ok_or_else(missing)?;
                let facts = read::asset_facts(here.access.pool().await?, &[asset.id], &Visible::All).await?;
                Ok(AssetRow { id: asset.id, fields: fields_of(&asset, &facts) })
            }
            Self::Server(server) => {
                if which.parse::<i64>().is_ok() {
                    match server.get::<Value>(&["assets", which], &[]).await {
                        Ok(fields) => {
                            return Ok(AssetRow { id: fields["id"].as_i64().unwrap_or(0), fields });
                        }
                        Err(error) if error.is_missing() => {}
                        Err(error) => return Err(error.into()),
                    }
                }
                for parameter in ["name_prefix_pattern", "uri_prefix_pattern"] {
                    let query = [(parameter, which), ("only_active", "false"), ("order_by", "id")];
                    let found: Vec<Value> = server.first(&["assets"], "assets", &query, FOUND_MAX).await?;
                    let is_it = |fields: &Value| fields["name"] == which || fields["uri"] == which;
                    if let Some(fields) = found.into_iter().find(is_it) {
                        return Ok(AssetRow { id: fields["id"].as_i64().unwrap_or(0), fields });
                    }
                }
                Err(missing())
            }
        }
    }

    /// The newest events of an asset, or of all, as the REST API writes them.
    ///
    /// # Errors
    /// When there is no such asset.
    pub async fn asset_events(&self, which: Option<&str>, most: usize) -> anyhow::Result<Vec<Value>> {
        let asset_id = match which {
            Some(which) => Some(self.asset(which).await?.id),
            None => None,
        };
        match self {
            Self::Here(here) => {
                let filter = EventFilter {
                    asset_id,
                    order: vec![(EventOrder::Timestamp, Direction::Descending)],
                    ..EventFilter::default()
                };
                let window = Window { limit: i64::try_from(most)?, offset: 0 };
                let (found, _) = read::asset_events(here.access.pool().await?, &filter, window).await?;
                Ok(found.iter().map(event_fields).collect())
            }
            Self::Server(server) => {
                let id = asset_id.map(|id| id.to_string()).unwrap_or_default();
                let query = [("order_by", "-timestamp"), ("asset_id", id.as_str())];
                let query = &query[..if asset_id.is_some() { 2 } else { 1 }];
                Ok(server.first(&["assets", "events"], "asset_events", query, most).await?)
            }
        }
    }

    /// Says that an asset has changed: the event, as the REST API writes it.
    ///
    /// # Errors
    /// When there is no such asset, or the extra is no JSON object.
    pub async fn create_asset_event(&self, which: &str, extra: Option<&str>) -> anyhow::Result<Value> {
        let extra = extra_object(extra)?;
        let asset = self.asset(which).await?;
        match self {
            Self::Here(here) => {
                let pool = here.access.pool().await?;
                let known = read::asset(pool, asset.id, &Visible::All).await?.context("the asset is gone")?;
                let wish = CreateAssetEvent { asset: known.key, extra };
                let answer = here.access.command(Command::CreateAssetEvent(wish)).await?;
                let filter = EventFilter { id: answer["asset_event_id"].as_i64(), ..EventFilter::default() };
                let (found, _) = read::asset_events(pool, &filter, Window { limit: 1, offset: 0 }).await?;
                found.first().map(event_fields).context("the event is gone")
            }
            Self::Server(server) => {
                Ok(server.post(&["assets", "events"], &json!({ "asset_id": asset.id, "extra": extra })).await?)
            }
        }
    }

    /// Starts a run of the one DAG that writes an asset: its DAG and its id.
    ///
    /// # Errors
    /// When there is no such asset, or not exactly one DAG that writes it.
    pub async fn materialize(&self, which: &str, conf: Option<&str>) -> anyhow::Result<(String, String)> {
        let asset = self.asset(which).await?;
        let here = match self {
            Self::Here(here) => here,
            Self::Server(server) => {
                #[derive(Deserialize)]
                struct Made {
                    dag_id: String,
                    dag_run_id: RunId,
                }
                let body = json!({ "conf": conf_object(conf)? });
                let made: Made = server.post(&["assets", &asset.id.to_string(), "materialize"], &body).await?;
                return Ok((made.dag_id, made.dag_run_id.to_string()));
            }
        };
        let mut dags: Vec<&str> = asset.fields["producing_tasks"]
            .as_array()
            .map_or_else(Vec::new, |tasks| tasks.iter().filter_map(|task| task["dag_id"].as_str()).collect());
        dags.dedup();
        let [dag_id] = dags.as_slice() else {
            let found = if dags.is_empty() { "no DAG writes".to_owned() } else { format!("{} write", dags.join(", ")) };
            return Err(Failure::refused(format!("{found} the asset {which}: one alone can be started for it")));
        };
        let pool = here.access.pool().await?;
        let known = find::dag(pool, dag_id).await?;
        let version = read::version(pool, known.current).await?.context("the DAG's version is gone")?;
        let command = TriggerDagRun {
            conf: parse_conf(&version.dag, conf)?,
            run_type: RunType::AssetMaterialization,
            ..TriggerDagRun::by_hand(known.dag_id.clone(), TriggeredBy::Cli)
        };
        let body = here.access.command(Command::TriggerDagRun(command)).await?;
        let run_id = body["run_id"].as_str().context("the leader's answer names no run")?;
        Ok((known.dag_id.to_string(), run_id.to_owned()))
    }
}

/// What consumers of an event are told, as it was written.
fn extra_object(extra: Option<&str>) -> anyhow::Result<Conf> {
    match extra.map(serde_json::from_str).transpose().context("--extra is not JSON")? {
        None => Ok(Conf::default()),
        Some(Value::Object(extra)) => Conf::new(extra).context("--extra"),
        Some(_) => Err(Failure::refused("--extra is not a JSON object, such as {\"rows\": 12}")),
    }
}

/// So many assets that begin alike are looked through for one.
const FOUND_MAX: usize = 1_000;

impl Here<'_> {
    async fn asset(&self, which: &str) -> anyhow::Result<Option<AssetView>> {
        let pool = self.access.pool().await?;
        if let Ok(id) = which.parse()
            && let Some(found) = read::asset(pool, id, &Visible::All).await?
        {
            return Ok(Some(found));
        }
        Ok(read::asset_named(pool, which, &Visible::All).await?)
    }
}

/// An asset with the members that the REST API has.
fn fields_of(asset: &AssetView, facts: &AssetFacts) -> Value {
    let of = |kind| facts.references.iter().filter(move |r| r.asset_id == asset.id && r.kind == kind);
    let tasks = |kind| of(kind).map(|r| json!({ "dag_id": r.dag_id, "task_id": r.task_id })).collect::<Vec<_>>();
    let aliases = facts.aliases.iter().filter(|(id, _)| *id == asset.id);
    json!({
        "id": asset.id,
        "name": asset.key.name,
        "uri": asset.key.uri,
        "group": asset.group,
        "extra": asset.extra,
        "created_at": asset.created_at,
        "updated_at": asset.updated_at,
        "scheduled_dags": of(AssetUse::Waits).map(|r| json!({ "dag_id": r.dag_id })).collect::<Vec<_>>(),
        "producing_tasks": tasks(AssetUse::Writes),
        "consuming_tasks": tasks(AssetUse::Reads),
        "aliases": aliases.map(|(_, alias)| json!({ "id": alias.id, "name": alias.name })).collect::<Vec<_>>(),
        "last_asset_event": facts.last_events.get(&asset.id).map(|(id, at)| json!({ "id": id, "timestamp": at })),
    })
}

fn event_fields(event: &AssetEventView) -> Value {
    json!({
        "id": event.id,
        "asset_id": event.asset_id,
        "name": event.asset.name,
        "uri": event.asset.uri,
        "timestamp": event.at,
        "extra": event.extra,
        "source_dag_id": event.source_dag_id,
        "source_task_id": event.source_task_id,
        "source_run_id": event.source_run_id,
        "source_map_index": event.source_map_index,
    })
}
