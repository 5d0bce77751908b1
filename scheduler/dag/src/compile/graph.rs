//! Dependencies between tasks and groups, spread out to dependencies between tasks.
//!
//! A dependency on a group means its leaves, a dependency of a group means its roots.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    problem::Problems,
    read::{Dependency, Draft, Group},
};

/// The direct neighbours of each task, by its place in the file.
#[derive(Debug, Clone)]
pub(super) struct Edges {
    /// What is directly before each task.
    pub(super) upstream: Vec<BTreeSet<usize>>,
    /// What is directly after each task.
    pub(super) downstream: Vec<BTreeSet<usize>>,
}

impl Edges {
    pub(super) fn count(&self) -> usize {
        self.upstream.iter().map(BTreeSet::len).sum()
    }
}

/// One end of a dependency.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Task(usize),
    Group(usize),
}

struct Names<'d> {
    drafts: &'d [Draft],
    groups: &'d [Group<'d>],
    whole: BTreeMap<&'d str, End>,
    short: BTreeMap<&'d str, Vec<End>>,
}

/// Resolves every dependency; none when a name means nothing.
pub(super) fn edges(drafts: &[Draft], groups: &[Group<'_>], problems: &mut Problems) -> Option<Edges> {
    let names = Names::new(drafts, groups);
    let mut links = Vec::new();
    let mut complete = true;
    let of_tasks = drafts
        .iter()
        .enumerate()
        .map(|(index, draft)| (End::Task(index), draft.task.group.as_deref(), draft.dependencies.as_slice()));
    let of_groups = groups.iter().enumerate().map(|(index, group)| {
        (End::Group(index), group.group_id.rsplit_once('.').map(|(outer, _)| outer), group.dependencies.as_slice())
    });
    for (target, scope, dependencies) in of_tasks.chain(of_groups) {
        for dependency in dependencies {
            match names.resolve(dependency, scope, problems) {
                Some(source) if names.overlap(source, target) => {
                    problems.add(&dependency.place, format!("{:?} can not wait for itself", dependency.name));
                    complete = false;
                }
                Some(source) => links.push((source, target)),
                None => complete = false,
            }
        }
    }
    if complete { Some(names.spread(&links)) } else { None }
}

impl<'d> Names<'d> {
    fn new(drafts: &'d [Draft], groups: &'d [Group<'d>]) -> Self {
        let mut names = Self { drafts, groups, whole: BTreeMap::new(), short: BTreeMap::new() };
        let tasks = drafts.iter().enumerate().map(|(index, draft)| (draft.task.task_id.as_str(), End::Task(index)));
        let groups = groups.iter().enumerate().map(|(index, group)| (group.group_id.as_str(), End::Group(index)));
        for (name, end) in tasks.chain(groups) {
            names.whole.entry(name).or_insert(end);
            let short = name.rsplit('.').next().unwrap_or(name);
            names.short.entry(short).or_default().push(end);
        }
        names
    }

    /// A whole id, else a name in the same group or one around it, else a name that only one task or group has.
    fn resolve(&self, dependency: &Dependency, scope: Option<&str>, problems: &mut Problems) -> Option<End> {
        let name = dependency.name.as_str();
        if let Some(end) = self.in_scope(name, scope).or_else(|| self.whole.get(name).copied()) {
            return Some(end);
        }
        match self.short.get(name).map(Vec::as_slice) {
            Some([end]) => Some(*end),
            Some(ends) => {
                let ids = ends.iter().map(|end| self.id(*end)).collect::<Vec<_>>().join(", ");
                problems.add(&dependency.place, format!("{name:?} can mean {ids}; write the whole id"));
                None
            }
            None => {
                let known = self.whole.keys().chain(self.short.keys()).copied();
                let message = format!("there is no task or group {name:?} in this DAG");
                problems.add_with(&dependency.place, message, problems.did_you_mean(name, known));
                None
            }
        }
    }

    fn in_scope(&self, name: &str, scope: Option<&str>) -> Option<End> {
        let mut scope = scope;
        while let Some(group) = scope {
            if let Some(end) = self.whole.get(format!("{group}.{name}").as_str()) {
                return Some(*end);
            }
            scope = group.rsplit_once('.').map(|(outer, _)| outer);
        }
        None
    }

    fn id(&self, end: End) -> &'d str {
        match end {
            End::Task(index) => self.drafts[index].task.task_id.as_str(),
            End::Group(index) => self.groups[index].group_id.as_str(),
        }
    }

    /// The group that an end is, or is directly in.
    fn group_of(&self, end: End) -> Option<&'d str> {
        match end {
            End::Task(index) => self.drafts[index].task.group.as_deref(),
            End::Group(index) => Some(self.groups[index].group_id.as_str()),
        }
    }

    /// Whether an end is a group or lies in it.
    fn within(&self, end: End, group: &str) -> bool {
        self.group_of(end).is_some_and(|own| is_within(own, group))
    }

    /// Whether one end contains the other: such a dependency would be a cycle.
    fn overlap(&self, a: End, b: End) -> bool {
        let contains = |outer: End, inner: End| match outer {
            End::Group(index) => self.within(inner, &self.groups[index].group_id),
            End::Task(_) => outer == inner,
        };
        contains(a, b) || contains(b, a)
    }

    fn spread(&self, links: &[(End, End)]) -> Edges {
        let ends: Vec<GroupEnds> = self.groups.iter().map(|group| self.ends_of(&group.group_id, links)).collect();
        let none = vec![BTreeSet::new(); self.drafts.len()];
        let mut edges = Edges { upstream: none.clone(), downstream: none };
        for (source, target) in links {
            let sources = match source {
                End::Task(index) => std::slice::from_ref(index),
                End::Group(index) => ends[*index].leaves.as_slice(),
            };
            let targets = match target {
                End::Task(index) => std::slice::from_ref(index),
                End::Group(index) => ends[*index].roots.as_slice(),
            };
            for (source, target) in sources.iter().flat_map(|source| targets.iter().map(move |target| (source, target)))
            {
                edges.upstream[*target].insert(*source);
                edges.downstream[*source].insert(*target);
            }
        }
        edges
    }

    /// The tasks of a group that nothing in it comes before, and those that nothing in it comes after.
    fn ends_of(&self, group: &str, links: &[(End, End)]) -> GroupEnds {
        let inner: Vec<&(End, End)> = links
            .iter()
            .filter(|(source, target)| self.within(*source, group) && self.within(*target, group))
            .collect();
        let has_after: BTreeSet<usize> = inner.iter().flat_map(|(source, _)| self.tasks_of(*source)).collect();
        let has_before: BTreeSet<usize> = inner.iter().flat_map(|(_, target)| self.tasks_of(*target)).collect();
        let tasks = |marked: &BTreeSet<usize>| {
            let members = (0..self.drafts.len()).filter(|task| self.within(End::Task(*task), group));
            members.filter(|task| !marked.contains(task)).collect()
        };
        GroupEnds { roots: tasks(&has_before), leaves: tasks(&has_after) }
    }

    fn tasks_of(&self, end: End) -> Vec<usize> {
        match end {
            End::Task(index) => vec![index],
            End::Group(index) => {
                let group = &self.groups[index].group_id;
                (0..self.drafts.len()).filter(|task| self.within(End::Task(*task), group)).collect()
            }
        }
    }
}

struct GroupEnds {
    roots: Vec<usize>,
    leaves: Vec<usize>,
}

fn is_within(group: &str, outer: &str) -> bool {
    group.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}
