//! Names of dependencies, resolved to tasks and groups.

use std::collections::{BTreeMap, BTreeSet};

use model::TaskId;

use crate::{
    expand::Expand,
    problem::Problems,
    read::{Dependency, Draft, Group, leaves_nothing},
    scopes::Phase,
};

/// One end of a dependency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum End {
    /// A task, by its place in the file.
    Task(usize),
    /// A group, by its place in the file.
    Group(usize),
}

/// Dependencies: what comes before, and what comes after it. Each stands there once.
pub(super) type Links = BTreeSet<(End, End)>;

struct Names<'d> {
    drafts: &'d [Draft],
    groups: &'d [Group<'d>],
    whole: BTreeMap<&'d str, End>,
    short: BTreeMap<&'d str, Vec<End>>,
}

/// Resolves every dependency; none when a name means nothing.
pub(super) fn links(drafts: &[Draft], groups: &[Group<'_>], problems: &mut Problems) -> Option<Links> {
    let names = Names::new(drafts, groups);
    let mut links = Links::new();
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
                Some(source) => drop(links.insert((source, target))),
                None => complete = false,
            }
        }
    }
    complete.then_some(links)
}

/// Makes setups of the tasks that teardowns name; none when one of them can not be a setup.
pub(super) fn with_setups(drafts: Vec<Draft>, groups: &[Group<'_>], problems: &mut Problems) -> Option<Vec<Draft>> {
    let names = Names::new(&drafts, groups);
    let mut found = BTreeSet::new();
    let mut complete = true;
    for draft in &drafts {
        for setup in &draft.setups {
            let name = &setup.name;
            let refused = match names.resolve(setup, draft.task.group.as_deref(), problems)? {
                End::Group(_) => format!("{name:?} is a group; name the setups in it"),
                End::Task(index) if drafts[index].task.phase.is_teardown() => {
                    format!("{name:?} is a teardown itself, and so no setup")
                }
                End::Task(index) => {
                    found.insert(index);
                    continue;
                }
            };
            problems.add(&setup.place, refused);
            complete = false;
        }
    }
    let mut drafts = drafts;
    found.into_iter().for_each(|index| drafts[index].task.phase = Phase::Setup);
    complete.then_some(drafts)
}

/// Writes the whole id of each task whose return value another one is expanded over; none when it returns nothing.
pub(super) fn with_sources(drafts: Vec<Draft>, groups: &[Group<'_>], problems: &mut Problems) -> Option<Vec<Draft>> {
    let mut found: Vec<BTreeMap<String, TaskId>> = Vec::new();
    let names = Names::new(&drafts, groups);
    let mut complete = true;
    for draft in &drafts {
        let written = draft.task.expand.iter().flat_map(Expand::sources).map(|task| task.as_str().to_owned());
        let mut ids = BTreeMap::new();
        // What a group is expanded over is named as seen from around it.
        let of = draft.task.expand.as_ref().and_then(|expand| expand.group.as_deref());
        let (scope, dependencies) = match of.and_then(|id| groups.iter().find(|group| group.group_id == id)) {
            Some(group) => (group.group_id.rsplit_once('.').map(|(outer, _)| outer), &group.dependencies),
            None => (draft.task.group.as_deref(), &draft.dependencies),
        };
        for name in written.collect::<BTreeSet<_>>() {
            let dependency = dependencies.iter().rfind(|dependency| dependency.name == name)?;
            let end = names.resolve(dependency, scope, problems)?;
            match source_of(&drafts, end) {
                Ok(id) => drop(ids.insert(name, id)),
                Err(why) => {
                    problems
                        .add(&dependency.place, format!("nothing can be expanded over {:?}: {why}", dependency.name));
                    complete = false;
                }
            }
        }
        found.push(ids);
    }
    let mut drafts = drafts;
    for (draft, ids) in drafts.iter_mut().zip(found) {
        if let Some(expand) = &mut draft.task.expand {
            expand.rename(&|task| ids.get(task.as_str()).cloned().unwrap_or_else(|| task.clone()));
        }
    }
    complete.then_some(drafts)
}

fn source_of(drafts: &[Draft], end: End) -> Result<TaskId, &'static str> {
    match end {
        End::Task(index) => {
            let task = &drafts[index].task;
            leaves_nothing(&task.operator, task.do_xcom_push).map_or_else(|| Ok(task.task_id.clone()), Err)
        }
        End::Group(_) => Err("it is a group; name a task of it"),
    }
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
        const NAMED_MAX: usize = 5;
        let name = dependency.name.as_str();
        if let Some(end) = self.in_scope(name, scope).or_else(|| self.whole.get(name).copied()) {
            return Some(end);
        }
        match self.short.get(name).map(Vec::as_slice) {
            Some([end]) => Some(*end),
            Some(ends) => {
                let mut ids: Vec<&str> = ends.iter().take(NAMED_MAX).map(|end| self.id(*end)).collect();
                if ends.len() > NAMED_MAX {
                    ids.push("…");
                }
                problems.add(&dependency.place, format!("{name:?} can mean {}; write the whole id", ids.join(", ")));
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

    /// Whether one end contains the other: such a dependency would be a cycle.
    fn overlap(&self, a: End, b: End) -> bool {
        let contains = |outer: End, inner: End| match outer {
            End::Group(index) => self.group_of(inner).is_some_and(|own| is_within(own, &self.groups[index].group_id)),
            End::Task(_) => outer == inner,
        };
        contains(a, b) || contains(b, a)
    }
}

fn is_within(group: &str, outer: &str) -> bool {
    group.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}
