//! Dependencies of and on groups, spread out to dependencies between tasks.
//!
//! A dependency on a group means its leaves, a dependency of a group means its roots: the tasks that nothing in the group
//! comes after, or before. A group without tasks passes a dependency through, as in Airflow: until the end it is a node of
//! its own, and then whatever came before it comes before what came after it.
//!
//! A task is a root of a group when no dependency that lies within the group leads to it, or to a group that it is in.
//! A dependency lies within a group when both of its ends do, so it is enough to know of each end how deep the innermost
//! common group of its dependencies lies. This takes time in proportion to tasks times depth, not to pairs. Only of groups with
//! teardowns in them, which are no leaves, the arrows are looked at one by one.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use petgraph::{Direction::Incoming, graph::NodeIndex};

use super::{
    EDGES_MAX,
    graph::{End, Links},
    order::Graph,
};
use crate::{
    read::{Draft, Group},
    scopes::Phase,
};

/// The graph of tasks and empty groups.
pub(super) struct Spread {
    /// Tasks come first, by their place in the file, then the empty groups.
    pub(super) graph: Graph,
    /// The empty groups, by their place in the file.
    pub(super) empty: Vec<usize>,
    tasks: usize,
}

/// Spreads the dependencies out; none when there are more than a DAG may have.
pub(super) fn spread(drafts: &[Draft], groups: &[Group<'_>], links: &Links) -> Option<Spread> {
    let nest = Nest::new(drafts, groups, links);
    let nodes = nest.group_of_node.len();
    let mut edges: Vec<(u32, u32)> = Vec::new();
    for (source, target) in links {
        let (one_source, one_target);
        let sources = match source {
            End::Task(task) => {
                one_source = [*task];
                &one_source[..]
            }
            End::Group(group) => &nest.leaves[*group],
        };
        let targets = match target {
            End::Task(task) => {
                one_target = [*task];
                &one_target[..]
            }
            End::Group(group) => &nest.roots[*group],
        };
        // Dependencies can give the same edge again, hence the room before they are sorted out.
        if edges.len() + sources.len().saturating_mul(targets.len()) > 2 * EDGES_MAX {
            return None;
        }
        let pair = |source: usize, target: usize| Some((u32::try_from(source).ok()?, u32::try_from(target).ok()?));
        edges.extend(sources.iter().flat_map(|source| targets.iter().filter_map(move |target| pair(*source, *target))));
    }
    edges.sort_unstable();
    edges.dedup();
    if edges.len() > EDGES_MAX {
        return None;
    }
    let mut graph = Graph::with_capacity(nodes, edges.len());
    for _ in 0..nodes {
        graph.add_node(());
    }
    for (source, target) in edges {
        graph.add_edge(source.into(), target.into(), ());
    }
    Some(Spread { graph, empty: nest.empty, tasks: drafts.len() })
}

impl Spread {
    /// What comes directly before each task, empty groups passed through; none when that is more than a DAG may have.
    pub(super) fn upstream_of_tasks(&self, order: &[usize]) -> Option<Vec<Vec<usize>>> {
        let mut count = 0;
        let mut upstream: Vec<Vec<usize>> = vec![Vec::new(); self.graph.node_count()];
        for node in order {
            let mut before: Vec<usize> = Vec::new();
            for source in self.graph.neighbors_directed(NodeIndex::new(*node), Incoming) {
                match source.index() {
                    task if task < self.tasks => before.push(task),
                    empty => before.extend(&upstream[empty]),
                }
                if count + before.len() > 2 * EDGES_MAX {
                    return None;
                }
            }
            before.sort_unstable();
            before.dedup();
            count += before.len();
            upstream[*node] = before;
        }
        upstream.truncate(self.tasks);
        (upstream.iter().map(Vec::len).sum::<usize>() <= EDGES_MAX).then_some(upstream)
    }
}

/// How groups lie in each other, and what their ends are.
struct Nest {
    /// The group that each node is in.
    group_of_node: Vec<Option<usize>>,
    /// The groups that have neither tasks nor groups.
    empty: Vec<usize>,
    roots: Vec<Vec<usize>>,
    leaves: Vec<Vec<usize>>,
}

/// A group's group, and how many groups it is in, itself counted.
#[derive(Clone, Copy, Default)]
struct Level {
    outer: Option<usize>,
    depth: usize,
}

impl Nest {
    fn new(drafts: &[Draft], groups: &[Group<'_>], links: &Links) -> Self {
        let by_id: std::collections::BTreeMap<&str, usize> =
            groups.iter().enumerate().map(|(index, group)| (group.group_id.as_str(), index)).collect();
        let find = |id: Option<&str>| id.and_then(|id| by_id.get(id).copied());
        let level = |group: &Group<'_>| {
            let outer = group.group_id.rsplit_once('.').map(|(outer, _)| outer);
            Level { outer: find(outer), depth: group.group_id.split('.').count() }
        };
        let levels: Vec<Level> = groups.iter().map(level).collect();
        let mut group_of_node: Vec<Option<usize>> =
            drafts.iter().map(|draft| find(draft.task.group.as_deref())).collect();
        let mut has_content = vec![false; groups.len()];
        let within = group_of_node.iter().copied().chain(levels.iter().map(|level| level.outer));
        within.flatten().for_each(|group| has_content[group] = true);
        let empty: Vec<usize> = (0..groups.len()).filter(|group| !has_content[*group]).collect();
        group_of_node.extend(empty.iter().copied().map(Some));
        let mut nest = Self { group_of_node, empty, roots: Vec::new(), leaves: Vec::new() };
        nest.find_ends(drafts.len(), &levels, links);
        nest.leave_teardowns_out(drafts, &levels, links);
        nest
    }

    fn find_ends(&mut self, tasks: usize, levels: &[Level], links: &Links) {
        let mut after = Deepest::new(self.group_of_node.len(), levels.len());
        let mut before = Deepest::new(self.group_of_node.len(), levels.len());
        let mut is_end = vec![false; levels.len()];
        for (source, target) in links {
            let depth = self.common_depth(*source, *target, levels);
            after.see(*source, depth);
            before.see(*target, depth);
            for end in [source, target] {
                if let End::Group(group) = end {
                    is_end[*group] = true;
                }
            }
        }
        let mut has_task = vec![false; levels.len()];
        for group in self.group_of_node[..tasks].iter().flatten() {
            around(*group, levels).for_each(|group| has_task[group] = true);
        }
        self.roots = vec![Vec::new(); levels.len()];
        self.leaves = vec![Vec::new(); levels.len()];
        for (node, group) in self.group_of_node.iter().enumerate() {
            let Some(group) = group else { continue };
            let (after, before) = (after.of(node, *group, levels), before.of(node, *group, levels));
            for outer in around(*group, levels).filter(|group| is_end[*group]) {
                let depth = levels[outer].depth;
                let (is_root, is_leaf) = (before < depth, after < depth);
                // An empty group that nothing in the group leads to or from adds nothing beside tasks.
                if node >= tasks && is_root && is_leaf && has_task[outer] {
                    continue;
                }
                if is_root {
                    self.roots[outer].push(node);
                }
                if is_leaf {
                    self.leaves[outer].push(node);
                }
            }
        }
    }

    /// What follows a group does not wait for its teardowns, as in Airflow: it follows what they come after.
    fn leave_teardowns_out(&mut self, drafts: &[Draft], levels: &[Level], links: &Links) {
        let mut inner: BTreeMap<usize, Inner> = BTreeMap::new();
        for (node, _) in drafts.iter().enumerate().filter(|(_, draft)| draft.task.phase.is_teardown()) {
            for group in self.group_of_node[node].into_iter().flat_map(|group| around(group, levels)) {
                inner.entry(group).or_insert_with(|| Inner::new(drafts));
            }
        }
        if inner.is_empty() {
            return;
        }
        for (node, group) in self.group_of_node[..drafts.len()].iter().enumerate() {
            for group in group.iter().flat_map(|group| around(*group, levels)) {
                inner.entry(group).and_modify(|inner| inner.tasks.push(node));
            }
        }
        for (source, target) in links {
            for group in self.common_group(*source, *target, levels).into_iter().flat_map(|group| around(group, levels))
            {
                inner.entry(group).and_modify(|inner| inner.links.push((*source, *target)));
            }
        }
        let mut inner: Vec<(usize, Inner)> = inner.into_iter().collect();
        // The leaves of a group are asked for by the groups around it.
        inner.sort_by_key(|(group, _)| Reverse(levels[*group].depth));
        for (group, inner) in inner {
            let empty = self.leaves[group].iter().copied().filter(|node| *node >= drafts.len());
            self.leaves[group] = inner.leaves(self).into_iter().chain(empty).collect();
        }
    }

    fn common_depth(&self, a: End, b: End, levels: &[Level]) -> usize {
        self.common_group(a, b, levels).map_or(0, |group| levels[group].depth)
    }

    /// The innermost group that both ends are in.
    fn common_group(&self, a: End, b: End, levels: &[Level]) -> Option<usize> {
        let group = |end| match end {
            End::Task(task) => self.group_of_node[task],
            End::Group(group) => Some(group),
        };
        let (mut a, mut b) = (group(a), group(b));
        while let (Some(first), Some(second)) = (a, b) {
            if first == second {
                return Some(first);
            }
            if levels[first].depth >= levels[second].depth {
                a = levels[first].outer;
            } else {
                b = levels[second].outer;
            }
        }
        None
    }
}

/// What lies in a group that has teardowns in it.
struct Inner<'d> {
    drafts: &'d [Draft],
    tasks: Vec<usize>,
    links: Vec<(End, End)>,
}

impl<'d> Inner<'d> {
    const fn new(drafts: &'d [Draft]) -> Self {
        Self { drafts, tasks: Vec::new(), links: Vec::new() }
    }

    fn phase(&self, task: usize) -> Phase {
        self.drafts[task].task.phase
    }

    /// The tasks that nothing in the group comes after, but in the place of a teardown what it comes after: unless that is a
    /// setup, or something else in the group comes after it.
    fn leaves(&self, nest: &Nest) -> BTreeSet<usize> {
        let (before, after) = self.neighbours(nest);
        let after = |task: usize| after.get(&task).into_iter().flatten().copied();
        let mut leaves = BTreeSet::new();
        let mut seen = BTreeSet::new();
        let mut open = Vec::new();
        for task in self.tasks.iter().copied().filter(|task| after(*task).next().is_none()) {
            if self.phase(task).is_teardown() {
                open.push(task);
            } else {
                leaves.insert(task);
            }
        }
        while let Some(teardown) = open.pop() {
            for earlier in before.get(&teardown).into_iter().flatten().copied() {
                match self.phase(earlier) {
                    Phase::Teardown { .. } if seen.insert(earlier) => open.push(earlier),
                    Phase::Work if after(earlier).all(|task| self.phase(task).is_teardown()) => {
                        leaves.insert(earlier);
                    }
                    Phase::Teardown { .. } | Phase::Work | Phase::Setup => {}
                }
            }
        }
        leaves
    }

    /// What comes directly before, and after, each task within the group.
    fn neighbours(&self, nest: &Nest) -> (BTreeMap<usize, BTreeSet<usize>>, BTreeMap<usize, BTreeSet<usize>>) {
        let (mut before, mut after) = (BTreeMap::new(), BTreeMap::new());
        let tasks = |end: End, ends: &[Vec<usize>]| match end {
            End::Task(task) => vec![task],
            End::Group(group) => ends[group].iter().copied().filter(|node| *node < self.drafts.len()).collect(),
        };
        let mut count = 0;
        for (source, target) in &self.links {
            let (sources, targets) = (tasks(*source, &nest.leaves), tasks(*target, &nest.roots));
            count += sources.len().saturating_mul(targets.len());
            // The DAG is refused for so many.
            if count > 2 * EDGES_MAX {
                break;
            }
            for source in sources {
                for target in &targets {
                    before.entry(*target).or_insert_with(BTreeSet::new).insert(source);
                    after.entry(source).or_insert_with(BTreeSet::new).insert(*target);
                }
            }
        }
        (before, after)
    }
}

/// A group and those around it, from the inside.
fn around(group: usize, levels: &[Level]) -> impl Iterator<Item = usize> {
    std::iter::successors(Some(group), |group| levels[*group].outer)
}

/// How deep the innermost group lies in which something leads to, or from, each task and group.
struct Deepest {
    nodes: Vec<usize>,
    groups: Vec<usize>,
}

impl Deepest {
    fn new(nodes: usize, groups: usize) -> Self {
        Self { nodes: vec![0; nodes], groups: vec![0; groups] }
    }

    fn see(&mut self, end: End, depth: usize) {
        let known = match end {
            End::Task(task) => &mut self.nodes[task],
            End::Group(group) => &mut self.groups[group],
        };
        *known = depth.max(*known);
    }

    /// The same for a node with the groups that it is in.
    fn of(&self, node: usize, group: usize, levels: &[Level]) -> usize {
        around(group, levels).map(|group| self.groups[group]).max().unwrap_or(0).max(self.nodes[node])
    }
}
