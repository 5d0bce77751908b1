//! From names to positions: dependencies resolved, tasks in topological order, weights summed up.

mod graph;
mod order;
mod spread;
mod weight;

use model::TriggerRule;

use crate::{
    compiled::{Task, TaskPos},
    problem::{Place, Problems},
    read::{Draft, Groups},
    scopes::{PLACES_MAX, Scopes},
};

/// How many direct dependencies a DAG may have after groups are spread out; two groups of a thousand tasks have so many.
const EDGES_MAX: usize = 1_000_000;

/// Orders the tasks and joins them; none when a name or a cycle prevents it.
pub(crate) fn compile(drafts: Vec<Draft>, groups: &Groups<'_>, problems: &mut Problems) -> Option<Vec<Task>> {
    let links = graph::links(&drafts, &groups.all, problems)?;
    let drafts = graph::with_setups(drafts, &groups.all, problems)?;
    let drafts = graph::with_sources(drafts, &groups.all, problems)?;
    let Some(spread) = spread::spread(&drafts, &groups.all, &links) else {
        let place = drafts.first().map_or_else(Place::default, |draft| draft.place.clone());
        problems.add(&place, format!("the DAG has more than {EDGES_MAX} dependencies between tasks"));
        return None;
    };
    let order = match order::topological(&spread.graph) {
        Ok(order) => order,
        Err(cycle) => {
            report_cycle(&cycle, &spread, &drafts, groups, problems);
            return None;
        }
    };
    let Some(upstream) = spread.upstream_of_tasks(&order) else {
        let place = drafts.first().map_or_else(Place::default, |draft| draft.place.clone());
        problems.add(&place, format!("the DAG has more than {EDGES_MAX} dependencies between tasks"));
        return None;
    };
    check_rules_behind_setups(&drafts, &upstream, problems);
    let place = drafts.first().map_or_else(Place::default, |draft| draft.place.clone());
    let mut tasks = joined(drafts, &order, &upstream);
    if Scopes::of(&tasks).is_none() {
        let message = format!("the tasks of the DAG lie between setups and teardowns more than {PLACES_MAX} times");
        problems.add(&place, message);
        return None;
    }
    weight::weigh(&mut tasks);
    Some(tasks)
}

/// A task needs what a setup directly before it makes, so no other rule makes sense; Airflow refuses it, too.
fn check_rules_behind_setups(drafts: &[Draft], upstream: &[Vec<usize>], problems: &mut Problems) {
    for (draft, before) in drafts.iter().zip(upstream) {
        let Draft { task, place, .. } = draft;
        if task.trigger_rule == TriggerRule::AllSuccess || task.phase.is_teardown() {
            continue;
        }
        if let Some(setup) = before.iter().map(|index| &drafts[*index].task).find(|before| before.phase.is_setup()) {
            let (rule, setup) = (task.trigger_rule, &setup.task_id);
            problems.add(
                place,
                format!("it comes directly after the setup {setup}, so its trigger_rule is all_success, not {rule}"),
            );
        }
    }
}

/// The tasks in their order, with the positions of their neighbours.
fn joined(drafts: Vec<Draft>, order: &[usize], upstream: &[Vec<usize>]) -> Vec<Task> {
    let of_tasks: Vec<usize> = order.iter().copied().filter(|node| *node < drafts.len()).collect();
    let mut position = vec![0; drafts.len()];
    for (pos, task) in of_tasks.iter().enumerate() {
        position[*task] = pos;
    }
    let mut drafts: Vec<Option<Draft>> = drafts.into_iter().map(Some).collect();
    let mut tasks: Vec<Task> = Vec::with_capacity(of_tasks.len());
    for (pos, index) in of_tasks.iter().enumerate() {
        let draft = drafts[*index].take().expect("an order names every task once");
        let mut before: Vec<TaskPos> = upstream[*index].iter().map(|task| TaskPos(position[*task])).collect();
        before.sort_unstable();
        // What comes before is in the list already, and tells of what comes after in ascending order.
        for TaskPos(earlier) in &before {
            tasks[*earlier].downstream.push(TaskPos(pos));
        }
        tasks.push(Task { upstream: before, downstream: Vec::new(), ..draft.task });
    }
    tasks
}

fn report_cycle(
    cycle: &[usize],
    spread: &spread::Spread,
    drafts: &[Draft],
    groups: &Groups<'_>,
    problems: &mut Problems,
) {
    const NAMED_MAX: usize = 20;
    let empty_group = |node: &usize| &groups.all[spread.empty[*node - drafts.len()]];
    let name = |node: &usize| match drafts.get(*node) {
        Some(draft) => draft.task.task_id.as_str(),
        None => empty_group(node).group_id.as_str(),
    };
    let mut names: Vec<&str> = cycle.iter().take(NAMED_MAX).map(name).collect();
    if cycle.len() > NAMED_MAX {
        names.push("…");
    }
    names.extend(cycle.first().map(name));
    if let Some(first) = cycle.first() {
        let place = match drafts.get(*first) {
            Some(draft) => draft.dependencies.first().map_or(&draft.place, |dependency| &dependency.place),
            None => {
                let group = empty_group(first);
                group.dependencies.first().map_or(&group.place, |dependency| &dependency.place)
            }
        };
        problems.add(place, format!("the tasks wait for each other: {}", names.join(" -> ")));
    }
}
