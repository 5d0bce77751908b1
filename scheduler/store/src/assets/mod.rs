//! What DAGs say of assets: rows by which pages and clients find who writes, reads and waits for them.
//!
//! They are written with the version that becomes current, in its transaction. Who a DAG's schedule means is decided when it is
//! read: a word may be the name or the uri of an asset that another DAG declares later.

use dag::{AliasRef, AssetRef, CompiledDag, Outlet, assets::Leaf};
use sqlx::PgConnection;

use crate::error::{Doing, StoreError};

const DOING: &str = "storing what DAGs say of assets";

/// What a reference is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The DAG waits for it.
    Schedule = 0,
    /// A task writes it.
    Outlet = 1,
    /// A task reads it.
    Inlet = 2,
}

#[derive(Default)]
struct Columns {
    dag_id: Vec<String>,
    kind: Vec<i16>,
    task_id: Vec<String>,
    is_alias: Vec<bool>,
    name: Vec<String>,
    uri: Vec<Option<String>>,
}

/// Assets and aliases, each with what is said of it.
#[derive(Default)]
struct Said {
    references: Columns,
    names: Vec<String>,
    uris: Vec<String>,
    groups: Vec<Option<String>>,
    extras: Vec<Option<String>>,
    /// Words of schedules that may be names or uris.
    words: Vec<String>,
    aliases: Vec<String>,
    alias_groups: Vec<Option<String>>,
}

impl Said {
    fn of(dags: &[&CompiledDag]) -> Self {
        let mut said = Self::default();
        for dag in dags.iter().map(|compiled| &compiled.dag) {
            let dag_id = dag.dag_id.as_str();
            for leaf in dag.assets.iter().flat_map(dag::AssetCondition::leaves) {
                match leaf {
                    Leaf::Asset(asset) => said.meant((dag_id, Kind::Schedule, ""), asset),
                    Leaf::Alias(alias) => said.alias((dag_id, Kind::Schedule, ""), alias),
                }
            }
            for task in &dag.tasks {
                let outlets = task.outlets.iter().map(|outlet| (Kind::Outlet, outlet));
                for (kind, outlet) in outlets.chain(task.inlets.iter().map(|inlet| (Kind::Inlet, inlet))) {
                    let place = (dag_id, kind, task.task_id.as_str());
                    match (kind, outlet) {
                        // Who reads an asset may name it by a word, as who waits for it.
                        (Kind::Inlet, Outlet::Asset(asset)) => said.meant(place, asset),
                        (Kind::Schedule | Kind::Outlet, Outlet::Asset(asset)) => said.declared(place, asset),
                        (_, Outlet::Alias(alias)) => said.alias(place, alias),
                    }
                }
            }
        }
        said
    }

    /// An asset that somebody else may declare: a single word is its name or its uri.
    fn meant(&mut self, place: (&str, Kind, &str), asset: &AssetRef) {
        match &asset.uri {
            Some(_) => self.declared(place, asset),
            None => {
                self.words.push(asset.name.clone());
                self.refer(place, false, &asset.name, None);
            }
        }
    }

    fn declared(&mut self, place: (&str, Kind, &str), asset: &AssetRef) {
        let uri = asset.uri.as_ref().unwrap_or(&asset.name);
        self.refer(place, false, &asset.name, Some(uri.clone()));
        self.names.push(asset.name.clone());
        self.uris.push(uri.clone());
        self.groups.push(asset.group.clone());
        self.extras.push(asset.extra.as_ref().map(|extra| serde_json::to_string(extra).unwrap_or_default()));
    }

    fn alias(&mut self, place: (&str, Kind, &str), alias: &AliasRef) {
        self.refer(place, true, &alias.alias, None);
        self.aliases.push(alias.alias.clone());
        self.alias_groups.push(alias.group.clone());
    }

    fn refer(&mut self, (dag_id, kind, task_id): (&str, Kind, &str), is_alias: bool, name: &str, uri: Option<String>) {
        let columns = &mut self.references;
        columns.dag_id.push(dag_id.to_owned());
        columns.kind.push(kind as i16);
        columns.task_id.push(task_id.to_owned());
        columns.is_alias.push(is_alias);
        columns.name.push(name.to_owned());
        columns.uri.push(uri);
    }
}

/// Stores what the versions that become current say of assets.
pub(crate) async fn refer(transaction: &mut PgConnection, dags: &[&CompiledDag]) -> Result<(), StoreError> {
    let said = Said::of(dags);
    let ids: Vec<String> = dags.iter().map(|compiled| compiled.dag.dag_id.to_string()).collect();
    let Columns { dag_id, kind, task_id, is_alias, name, uri } = &said.references;
    sqlx::query_file!(
        "queries/asset_reference_set.sql",
        &ids,
        dag_id,
        kind,
        task_id,
        is_alias,
        name,
        uri as &[Option<String>]
    )
    .execute(&mut *transaction)
    .await
    .doing(DOING)?;
    if !said.names.is_empty() {
        let become_real = sqlx::query_file!("queries/asset_become.sql", &said.names, &said.uris);
        become_real.execute(&mut *transaction).await.doing(DOING)?;
        let declare = sqlx::query_file!(
            "queries/asset_declare.sql",
            &said.names,
            &said.uris,
            &said.groups as &[Option<String>],
            &said.extras as &[Option<String>]
        );
        declare.execute(&mut *transaction).await.doing(DOING)?;
    }
    if !said.words.is_empty() {
        let guess = sqlx::query_file!("queries/asset_guess.sql", &said.words);
        guess.execute(&mut *transaction).await.doing(DOING)?;
    }
    if !said.aliases.is_empty() {
        let declare = sqlx::query_file!(
            "queries/asset_alias_declare.sql",
            &said.aliases,
            &said.alias_groups as &[Option<String>]
        );
        declare.execute(transaction).await.doing(DOING)?;
    }
    Ok(())
}
