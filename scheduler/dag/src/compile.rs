//! From names to positions: dependencies resolved, tasks in topological order, weights summed up.

mod graph;

use std::collections::BTreeSet;

use model::WeightRule;

use crate::{
    compiled::{Task, TaskPos},
    problem::{Place, Problems},
    read::{Draft, Groups},
};
use graph::Edges;

/// How many direct dependencies a DAG may have after groups are spread out; two groups of a thousand tasks have so many.
const EDGES_MAX: usize = 1_000_000;

/// Orders the tasks and joins them; none when a name or a cycle prevents it.
pub(crate) fn compile(drafts: Vec<Draft>, groups: &Groups<'_>, problems: &mut Problems) -> Option<Vec<Task>> {
    let edges = graph::edges(&drafts, &groups.all, problems)?;
    if edges.count() > EDGES_MAX {
        let place = drafts.first().map_or_else(Place::default, |draft| draft.place.clone());
        problems.add(&place, format!("the DAG has more than {EDGES_MAX} dependencies between tasks"));
        return None;
    }
    let order = match topological(&edges) {
        Ok(order) => order,
        Err(cycle) => {
            report_cycle(&cycle, &drafts, problems);
            return None;
        }
    };
    let mut position = vec![0; order.len()];
    for (pos, task) in order.iter().enumerate() {
        position[*task] = pos;
    }
    let positions = |neighbours: &BTreeSet<usize>| -> Vec<TaskPos> {
        neighbours.iter().map(|task| position[*task]).collect::<BTreeSet<_>>().into_iter().map(TaskPos).collect()
    };
    let mut drafts: Vec<Option<Draft>> = drafts.into_iter().map(Some).collect();
    let mut tasks = Vec::with_capacity(order.len());
    for index in order {
        let draft = drafts[index].take().expect("an order names every task once");
        let (upstream, downstream) = (positions(&edges.upstream[index]), positions(&edges.downstream[index]));
        tasks.push(Task { upstream, downstream, ..draft.task });
    }
    weigh(&mut tasks);
    Some(tasks)
}

/// The tasks so that each comes after what it depends on, ties in the order of the file; or a cycle.
fn topological(edges: &Edges) -> Result<Vec<usize>, Vec<usize>> {
    let mut open: Vec<usize> = edges.upstream.iter().map(BTreeSet::len).collect();
    let mut ready: BTreeSet<usize> = (0..open.len()).filter(|task| open[*task] == 0).collect();
    let mut order = Vec::with_capacity(open.len());
    while let Some(task) = ready.pop_first() {
        order.push(task);
        for next in &edges.downstream[task] {
            open[*next] -= 1;
            if open[*next] == 0 {
                ready.insert(*next);
            }
        }
    }
    if order.len() == open.len() { Ok(order) } else { Err(cycle(edges, &open)) }
}

/// Follows unfinished upstreams until a task comes again: what lies between is a cycle, in the order of running.
fn cycle(edges: &Edges, open: &[usize]) -> Vec<usize> {
    let mut path: Vec<usize> = Vec::new();
    let mut next = open.iter().position(|count| *count > 0);
    while let Some(task) = next {
        if let Some(start) = path.iter().position(|seen| *seen == task) {
            path.drain(..start);
            break;
        }
        path.push(task);
        next = edges.upstream[task].iter().copied().find(|upstream| open[*upstream] > 0);
    }
    path.reverse();
    let first = (0..path.len()).min_by_key(|index| path[*index]).unwrap_or(0);
    path.rotate_left(first);
    path
}

fn report_cycle(cycle: &[usize], drafts: &[Draft], problems: &mut Problems) {
    const NAMED_MAX: usize = 20;
    let name = |task: &usize| drafts[*task].task.task_id.as_str();
    let mut names: Vec<&str> = cycle.iter().take(NAMED_MAX).map(name).collect();
    if cycle.len() > NAMED_MAX {
        names.push("…");
    }
    names.extend(cycle.first().map(name));
    if let Some(first) = cycle.first() {
        let draft = &drafts[*first];
        let place = draft.dependencies.first().map_or(&draft.place, |dependency| &dependency.place);
        problems.add(place, format!("the tasks wait for each other: {}", names.join(" -> ")));
    }
}

/// Fills in the effective weights: a task's own and those of everything after or before it, each once, within 32 bits.
fn weigh(tasks: &mut [Task]) {
    let weights: Vec<i32> = (0..tasks.len()).map(|task| effective_weight(tasks, task)).collect();
    for (task, weight) in tasks.iter_mut().zip(weights) {
        task.effective_weight = weight;
    }
}

fn effective_weight(tasks: &[Task], start: usize) -> i32 {
    let neighbours = |task: usize| match tasks[start].weight_rule {
        WeightRule::Downstream => tasks[task].downstream.as_slice(),
        WeightRule::Upstream => tasks[task].upstream.as_slice(),
        WeightRule::Absolute => &[],
    };
    let mut seen = vec![false; tasks.len()];
    let mut open = vec![start];
    let mut sum: i64 = 0;
    seen[start] = true;
    while let Some(task) = open.pop() {
        sum += i64::from(tasks[task].priority_weight);
        for TaskPos(next) in neighbours(task) {
            if !seen[*next] {
                seen[*next] = true;
                open.push(*next);
            }
        }
    }
    i32::try_from(sum.clamp(i32::MIN.into(), i32::MAX.into())).expect("the sum is clamped")
}
