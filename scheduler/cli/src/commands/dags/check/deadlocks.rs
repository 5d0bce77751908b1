//! DAGs that wait for each other, so that none goes on.
//!
//! A run of a date waits for what its sensors look for in runs of the same date, and a task for the tasks before it. Where that goes
//! round in a circle, nothing in it ever begins. DAGs that trigger each other and wait for the end make run after run, of which none ends.
//! Sensors that look at another date are in no circle: what they wait for came before.

use std::collections::{BTreeMap, BTreeSet};

use dag::{CompiledDag, Dag};
use model::{DagId, Operator};

use super::Scope;

/// What may wait: a task, or the end of a run.
type Node = (String, Option<String>);

/// Remarks of DAGs: the task that each is about, and what is said.
pub(super) type Between = BTreeMap<DagId, Vec<(String, String)>>;

/// Looks at all DAGs together.
pub(super) fn between(dags: &[&CompiledDag], scope: Scope) -> Between {
    let mut found = Between::new();
    let by_id: BTreeMap<&str, &Dag> = dags.iter().map(|one| (one.dag.dag_id.as_str(), &one.dag)).collect();
    let waits = waits(&by_id);
    for circle in circles(&waits) {
        for (dag, task) in &circle {
            let (Some(task), Some(owner)) = (task, by_id.get(dag.as_str())) else { continue };
            if external(owner, task).is_some() {
                let around: Vec<String> = circle.iter().map(name).collect();
                let message = format!(
                    "dead-lock: in runs of one date each of these waits for the next, round in a circle: {}; let one of the \
                     sensors look at an earlier date (execution_delta), or at a task that comes before",
                    around.join(", ")
                );
                found.entry(owner.dag_id.clone()).or_default().push((task.clone(), message));
            }
        }
    }
    triggers(&by_id, &mut found);
    if scope == Scope::Folder {
        nobody(&by_id, &mut found);
    }
    found
}

fn name((dag, task): &Node) -> String {
    task.as_ref().map_or_else(|| format!("the run of {dag}"), |task| format!("{dag}.{task}"))
}

/// The DAG and the tasks that a sensor looks for in the run of its own date.
fn external<'d>(dag: &'d Dag, task_id: &str) -> Option<(&'d str, Vec<&'d str>)> {
    let task = dag.tasks.iter().find(|task| task.task_id.as_str() == task_id)?;
    match &task.operator {
        Operator::ExternalTaskSensor(keys) if keys.execution_delta_secs == 0.0 => {
            Some((keys.external_dag_id.as_str(), keys.external_task_ids.iter().map(|task| task.as_str()).collect()))
        }
        _ => None,
    }
}

/// Who waits for whom, in runs of one date.
fn waits(dags: &BTreeMap<&str, &Dag>) -> BTreeMap<Node, BTreeSet<Node>> {
    let mut waits: BTreeMap<Node, BTreeSet<Node>> = BTreeMap::new();
    for (id, dag) in dags {
        let of = |task: &str| ((*id).to_owned(), Some(task.to_owned()));
        let mut leaves = BTreeSet::new();
        for task in &dag.tasks {
            let mut before: BTreeSet<Node> =
                task.upstream.iter().map(|pos| of(dag.task(*pos).task_id.as_str())).collect();
            if let Some((other, tasks)) = external(dag, task.task_id.as_str()) {
                if tasks.is_empty() {
                    before.insert((other.to_owned(), None));
                }
                before.extend(tasks.into_iter().map(|task| (other.to_owned(), Some(task.to_owned()))));
            }
            waits.insert(of(task.task_id.as_str()), before);
            leaves.insert(of(task.task_id.as_str()));
        }
        waits.insert(((*id).to_owned(), None), leaves);
    }
    waits
}

/// One circle of each group of nodes that wait for each other.
fn circles(waits: &BTreeMap<Node, BTreeSet<Node>>) -> Vec<Vec<Node>> {
    // What waits for nothing that stays goes, again and again: what stays is in a circle, or waits for one.
    let mut open: BTreeMap<&Node, usize> = BTreeMap::new();
    let mut followers: BTreeMap<&Node, Vec<&Node>> = BTreeMap::new();
    for (node, before) in waits {
        let known = before.iter().filter(|other| waits.contains_key(*other));
        open.insert(node, known.clone().count());
        known.for_each(|other| followers.entry(other).or_default().push(node));
    }
    let mut free: Vec<&Node> = open.iter().filter(|(_, count)| **count == 0).map(|(node, _)| *node).collect();
    while let Some(node) = free.pop() {
        open.remove(node);
        for follower in followers.get(node).into_iter().flatten() {
            if let Some(count) = open.get_mut(follower) {
                *count -= 1;
                if *count == 0 {
                    free.push(follower);
                }
            }
        }
    }
    let mut found = Vec::new();
    let mut seen: BTreeSet<&Node> = BTreeSet::new();
    for start in open.keys() {
        // From each a way to what it waits for comes back to itself somewhere.
        let (mut way, mut at): (Vec<&Node>, &Node) = (Vec::new(), start);
        while !seen.contains(at) && !way.contains(&at) {
            way.push(at);
            let Some(next) = waits[at].iter().find(|next| open.contains_key(*next)) else { break };
            at = next;
        }
        if let Some(begin) = way.iter().position(|node| *node == at).filter(|_| !seen.contains(at)) {
            found.push(way[begin..].iter().map(|node| (*node).clone()).collect());
        }
        seen.extend(way);
    }
    found
}

/// DAGs that trigger each other and wait for the end.
fn triggers(dags: &BTreeMap<&str, &Dag>, found: &mut Between) {
    let of = |dag: &Dag| {
        let waiting = dag.tasks.iter().filter_map(|task| match &task.operator {
            Operator::TriggerDagRun(keys) if keys.wait_for_completion => {
                Some((task.task_id.to_string(), keys.trigger_dag_id.clone()))
            }
            _ => None,
        });
        waiting.collect::<Vec<_>>()
    };
    let started: BTreeMap<&str, Vec<(String, String)>> = dags.iter().map(|(id, dag)| (*id, of(dag))).collect();
    let waits: BTreeMap<Node, BTreeSet<Node>> = started
        .iter()
        .map(|(id, targets)| {
            let targets = targets.iter().map(|(_, target)| (target.clone(), None)).collect();
            (((*id).to_owned(), None), targets)
        })
        .collect();
    for circle in circles(&waits) {
        let members: Vec<&str> = circle.iter().map(|(dag, _)| dag.as_str()).collect();
        for id in &members {
            for (task, target) in started.get(id).into_iter().flatten() {
                if members.contains(&target.as_str()) {
                    let message = format!(
                        "dead-lock: each of these DAGs starts the next and waits for its end, so that none ends: {}; let one \
                         of them not wait (wait_for_completion: false)",
                        members.join(", ")
                    );
                    found.entry(dags[id].dag_id.clone()).or_default().push((task.clone(), message));
                }
            }
        }
    }
}

/// Sensors and triggers whose DAG or task no file of the folder defines.
fn nobody(dags: &BTreeMap<&str, &Dag>, found: &mut Between) {
    for dag in dags.values() {
        for task in &dag.tasks {
            let message = match &task.operator {
                Operator::ExternalTaskSensor(keys) => {
                    lacking(dags, keys.external_dag_id.as_str(), &keys.external_task_ids)
                }
                Operator::TriggerDagRun(keys) if !keys.trigger_dag_id.contains(['{', '}']) => {
                    lacking(dags, &keys.trigger_dag_id, &[])
                }
                _ => None,
            };
            if let Some(message) = message {
                found.entry(dag.dag_id.clone()).or_default().push((task.task_id.to_string(), message));
            }
        }
    }
}

fn lacking(dags: &BTreeMap<&str, &Dag>, id: &str, tasks: &[model::TaskId]) -> Option<String> {
    let Some(dag) = dags.get(id) else {
        return Some(format!(
            "no file of this folder defines the DAG {id}: it has to come from elsewhere, such as a bundle"
        ));
    };
    let unknown = tasks.iter().find(|task| !dag.tasks.iter().any(|other| other.task_id == **task))?;
    Some(format!("the DAG {id} has no task {unknown}: it is waited for until the sensor's time is over"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compile(texts: &[&str]) -> Vec<CompiledDag> {
        let load = |text: &&str| {
            let loaded = dag::load("d.yaml", text, &dag::Content::default());
            assert_eq!(loaded.errors, []);
            loaded.dags
        };
        texts.iter().flat_map(load).collect()
    }

    fn told(texts: &[&str]) -> Vec<String> {
        let dags = compile(texts);
        let all: Vec<&CompiledDag> = dags.iter().collect();
        let found = between(&all, Scope::Folder);
        found
            .into_iter()
            .flat_map(|(dag, told)| told.into_iter().map(move |(task, why)| format!("{dag}.{task}: {why}")))
            .collect()
    }

    #[test]
    fn sensors_that_wait_in_a_circle_are_told_and_others_are_not() {
        let a = "dag_id: a\ntasks:\n  wait: {operator: external_task_sensor, external_dag_id: b, external_task_id: make}\n  make: {operator: empty, dependencies: [wait]}\n";
        let b = "dag_id: b\ntasks:\n  wait: {operator: external_task_sensor, external_dag_id: a}\n  make: {operator: empty, dependencies: [wait]}\n";
        let found = told(&[a, b]);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(
            found[0].starts_with("a.wait: dead-lock: in runs of one date") && found[0].contains("b.wait"),
            "{found:?}"
        );
        let earlier = b.replace("external_dag_id: a", "external_dag_id: a, execution_delta: 1d");
        assert_eq!(told(&[a, &earlier]), Vec::<String>::new());
        let itself = "dag_id: c\ntasks:\n  wait: {operator: external_task_sensor, external_dag_id: c, external_task_id: last}\n  last: {operator: empty, dependencies: [wait]}\n";
        assert_eq!(told(&[itself]).len(), 1);
        let first = itself.replace("dependencies: [wait]", "dependencies: []");
        assert_eq!(told(&[&first]), Vec::<String>::new(), "what comes before is no circle");
    }

    #[test]
    fn dags_that_trigger_each_other_and_wait_are_told() {
        let a = "dag_id: a\ntasks:\n  go: {operator: trigger_dag_run, trigger_dag_id: b, wait_for_completion: true}\n";
        let b = "dag_id: b\ntasks:\n  go: {operator: trigger_dag_run, trigger_dag_id: a, wait_for_completion: true}\n";
        let found = told(&[a, b]);
        assert!(found.len() == 2 && found[0].contains("starts the next and waits for its end"), "{found:?}");
        assert_eq!(told(&[a, &b.replace("true", "false")]), Vec::<String>::new());
    }

    #[test]
    fn who_waits_for_nobody_is_told() {
        let a = "dag_id: a\ntasks:\n  go: {operator: trigger_dag_run, trigger_dag_id: nobody}\n  wait: {operator: external_task_sensor, external_dag_id: a, external_task_id: z}\n";
        let found = told(&[a]).join("\n");
        assert!(found.contains("no file of this folder defines the DAG nobody"), "{found}");
        assert!(found.contains("the DAG a has no task z"), "{found}");
    }
}
