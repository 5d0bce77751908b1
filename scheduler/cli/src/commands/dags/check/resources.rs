//! What tasks name and an installation has: pools and connections.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use daemon::home::{Home, HomeError};
use dag::{CompiledDag, Dag};
use model::{Operator, Pool, operator::PokeMode};
use serde_json::Value;

use super::Remarks;
use crate::{installation::Installation, settings::Settings};

/// An installation that does not answer within this is not looked at.
const WITHIN: Duration = Duration::from_secs(10);
/// Connections that there are without anybody making them.
const BUILT_IN: &[&str] = &["lake"];

/// What an installation has.
pub(super) struct Resources {
    pools: BTreeMap<String, Pool>,
    connections: BTreeSet<String>,
}

impl Resources {
    /// Asks the installation that the settings name, when one can be reached without starting anything.
    ///
    /// # Errors
    /// When a server is named in the command and does not answer.
    pub(super) async fn of(settings: &Settings) -> anyhow::Result<Option<Self>> {
        if settings.server.url.is_none() && settings.given_databases().is_none() && !runs_here(settings) {
            return Ok(None);
        }
        let asking = Installation::with(settings, async |here| {
            let pools = here.pools().await?.into_iter().map(|pool| (pool.name.clone(), pool)).collect();
            let connections = here.connections().await?.into_iter().map(|stored| stored.connection.conn_id).collect();
            Ok(Self { pools, connections })
        });
        match tokio::time::timeout(WITHIN, asking).await {
            Ok(Ok(found)) => Ok(Some(found)),
            Ok(Err(error)) if settings.server.is_explicit => Err(error),
            Ok(Err(error)) => {
                errln!("pools and connections are not looked at: {error:#}");
                Ok(None)
            }
            Err(_) => {
                errln!(
                    "pools and connections are not looked at: the installation does not answer within {} s",
                    WITHIN.as_secs()
                );
                Ok(None)
            }
        }
    }

    /// Says what a DAG names and the installation does not have.
    pub(super) fn remark(&self, dag: &Dag, all: &[&CompiledDag], remarks: &mut Remarks<'_>) {
        for task in &dag.tasks {
            let (id, name) = (task.task_id.as_str(), &task.pool);
            match self.pools.get(name) {
                None => remarks.of_task(
                    id,
                    "pool",
                    "",
                    format!("the installation has no pool {name}: the task waits for it; `windlass pools set {name} SLOTS` makes it"),
                ),
                Some(pool) => {
                    if let Some(slots) = pool.slots.filter(|slots| task.pool_slots > *slots) {
                        let message = format!(
                            "dead-lock: the task takes {} slots of pool {name}, which has {slots}: it never gets them",
                            task.pool_slots
                        );
                        remarks.of_task(id, "pool_slots", "", message);
                    }
                }
            }
            for (field, conn_id) in connections_of(&task.operator) {
                if !self.connections.contains(&conn_id) && !BUILT_IN.contains(&conn_id.as_str()) {
                    let message = format!(
                        "the installation has no connection {conn_id}: unless a secrets backend or the scheduler's environment \
                         has it, the task fails; `windlass connections add {conn_id} …` makes it"
                    );
                    remarks.of_task(id, &field, "", message);
                }
            }
        }
        self.remark_holders(dag, all, remarks);
    }

    /// Tasks that hold slots while they wait for a DAG that needs slots of the same pool.
    fn remark_holders(&self, dag: &Dag, all: &[&CompiledDag], remarks: &mut Remarks<'_>) {
        for task in &dag.tasks {
            let Some(slots) = self.pools.get(&task.pool).and_then(|pool| pool.slots) else { continue };
            let Some(target) = waits_holding(&task.operator) else { continue };
            let needs = |other: &&&CompiledDag| {
                other.dag.dag_id.as_str() == target && other.dag.tasks.iter().any(|task2| task2.pool == task.pool)
            };
            if all.iter().find(needs).is_none() {
                continue;
            }
            let together =
                dag.tasks.iter().filter(|other| other.pool == task.pool && waits_holding(&other.operator).is_some());
            let held: u32 = together.map(|other| other.pool_slots).fold(0, u32::saturating_add);
            if held >= slots {
                let message = format!(
                    "dead-lock: tasks of this DAG that wait for other DAGs can hold all {slots} slots of pool {}, and {target} needs \
                     slots of the same pool; use another pool, or mode: reschedule",
                    task.pool
                );
                remarks.of_task(task.task_id.as_str(), "pool", "", message);
            }
        }
    }
}

/// The DAG that a task waits for while it holds its slots.
fn waits_holding(operator: &Operator) -> Option<&str> {
    match operator {
        Operator::ExternalTaskSensor(keys) if keys.poking.mode == PokeMode::Poke => Some(keys.external_dag_id.as_str()),
        Operator::TriggerDagRun(keys) if keys.wait_for_completion => Some(&keys.trigger_dag_id),
        _ => None,
    }
}

/// The connections that an operator names, each with its key; a template names none that is known.
fn connections_of(operator: &Operator) -> Vec<(String, String)> {
    let mut found = Vec::new();
    if let Ok(value) = serde_json::to_value(operator) {
        gather(&value, &mut found);
    }
    found
}

fn gather(value: &Value, found: &mut Vec<(String, String)>) {
    let Value::Object(entries) = value else {
        if let Value::Array(items) = value {
            items.iter().for_each(|item| gather(item, found));
        }
        return;
    };
    for (name, value) in entries {
        match value {
            Value::String(conn_id) if name == "conn_id" || name.ends_with("_conn_id") => {
                if !conn_id.contains('{') && !conn_id.is_empty() {
                    found.push((name.clone(), conn_id.clone()));
                }
            }
            other => gather(other, found),
        }
    }
}

/// Whether a standalone holds the home, so that its databases can be asked.
fn runs_here(settings: &Settings) -> bool {
    if !settings.home.is_dir() {
        return false;
    }
    let Ok(home) = Home::open(&settings.home) else { return false };
    matches!(home.lock(), Err(HomeError::InUse { .. }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_installation_lacks_is_told_where_it_is_named() {
        let text = "
dag_id: d
tasks:
  a: {operator: sql, conn_id: warehouse, sql: SELECT 1, pool: nowhere}
  b: {operator: bash, bash_command: run, pool: small, pool_slots: 3}
  c: {operator: sql, conn_id: lake, sql: SELECT 1}
  d: {operator: sql, conn_id: known, sql: SELECT 1}
  e: {operator: trigger_dag_run, trigger_dag_id: e, wait_for_completion: true, pool: one}
";
        let other = "dag_id: e\ntasks:\n  x: {operator: bash, bash_command: run, pool: one}\n";
        let load = |text: &str| dag::load("d.yaml", text, &dag::Content::default()).dags.remove(0);
        let (compiled, other) = (load(text), load(other));
        let pool = |name: &str, slots| Pool {
            name: name.to_owned(),
            slots: Some(slots),
            description: String::new(),
            include_deferred: false,
            rate_limit: None,
        };
        let pools = [pool("small", 2), pool("one", 1), pool(Pool::DEFAULT, 128)];
        let resources = Resources {
            pools: pools.into_iter().map(|pool| (pool.name.clone(), pool)).collect(),
            connections: BTreeSet::from(["known".to_owned()]),
        };
        let mut remarks = Remarks::of(&model::BundleFile::in_folder("d.yaml"), &compiled);
        resources.remark(&compiled.dag, &[&compiled, &other], &mut remarks);
        let found: Vec<String> = remarks.found.iter().map(ToString::to_string).collect();
        let expected = [
            ("d.yaml:4:", "the installation has no pool nowhere"),
            ("d.yaml:4:", "the installation has no connection warehouse"),
            ("d.yaml:5:", "takes 3 slots of pool small, which has 2"),
            ("d.yaml:8:", "can hold all 1 slots of pool one, and e needs slots"),
        ];
        assert_eq!(found.len(), expected.len(), "{found:#?}");
        for (found, (place, part)) in found.iter().zip(expected) {
            assert!(found.starts_with(place) && found.contains(part), "{found} is not {place} {part}");
        }
    }
}
