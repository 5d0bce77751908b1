//! Task groups: their names with those of the groups around them, and what they depend on.

use std::collections::BTreeMap;

use model::TaskId;

use super::{
    expand,
    fields::{Fields, Item, Layer},
};
use crate::{
    expand::Expand,
    keys::{self, Here},
    problem::{Place, Problems},
};

/// A task's id begins with its group's, so that is no longer than an id may be.
const ID_CHARS_MAX: usize = 250;

/// A group as it was read.
#[derive(Debug, Clone)]
pub(crate) struct Group<'n> {
    /// Its id, with those of the groups that it is in.
    pub(crate) group_id: String,
    /// One line for people.
    pub(crate) tooltip: Option<String>,
    /// What all of its tasks come after.
    pub(crate) dependencies: Vec<Dependency>,
    /// What it is expanded over, as the file names it.
    pub(crate) expand: Option<Expand>,
    /// Values for its tasks, its own before those of the groups around it.
    pub(super) defaults: Vec<Layer<'n>>,
    /// Where it is.
    pub(crate) place: Place,
}

/// A name that something comes after.
#[derive(Debug, Clone)]
pub(crate) struct Dependency {
    /// The name of a task or group.
    pub(crate) name: String,
    /// Where it is named.
    pub(crate) place: Place,
}

/// The groups of a DAG, by their names.
#[derive(Debug, Default)]
pub(crate) struct Groups<'n> {
    /// All of them, in the order of the file.
    pub(crate) all: Vec<Group<'n>>,
    by_id: BTreeMap<String, usize>,
    /// The first group that has a name of its own like this.
    by_name: BTreeMap<String, usize>,
}

impl<'n> Groups<'n> {
    fn new(all: Vec<Group<'n>>) -> Self {
        let mut groups = Self { all: Vec::new(), by_id: BTreeMap::new(), by_name: BTreeMap::new() };
        for (index, group) in all.iter().enumerate() {
            let name = group.group_id.rsplit('.').next().unwrap_or(&group.group_id);
            groups.by_name.entry(name.to_owned()).or_insert(index);
            groups.by_id.entry(group.group_id.clone()).or_insert(index);
        }
        Self { all, ..groups }
    }

    /// The group of that name: its whole id, or its own name when no other group has it.
    pub(crate) fn find(&self, name: &str) -> Option<&Group<'n>> {
        self.by_id.get(name).or_else(|| self.by_name.get(name)).map(|index| &self.all[*index])
    }

    /// The expanded group that a group is, or is in.
    pub(crate) fn expanded_around(&self, group_id: &str) -> Option<&Group<'n>> {
        let mut id = Some(group_id);
        while let Some(group) = id {
            let found = self.by_id.get(group).map(|index| &self.all[*index]);
            if let Some(found) = found.filter(|found| found.expand.is_some()) {
                return Some(found);
            }
            id = group.rsplit_once('.').map(|(outer, _)| outer);
        }
        None
    }

    /// Notes groups that are expanded within expanded ones.
    fn check_expanded(&self, problems: &mut Problems) {
        for group in self.all.iter().filter(|group| group.expand.is_some()) {
            let outer = group.group_id.rsplit_once('.').and_then(|(outer, _)| self.expanded_around(outer));
            if let Some(outer) = outer {
                let message =
                    format!("it is in the group {}, which is expanded itself; expand one of them", outer.group_id);
                problems.add(&group.place, message);
            }
        }
    }

    /// Whether there is a group with this whole id.
    pub(crate) fn has(&self, group_id: &str) -> bool {
        self.by_id.contains_key(group_id)
    }
}

/// A group whose parents are not known yet.
struct Named<'n> {
    name: String,
    parent: Option<(String, Place)>,
    fields: Fields<'n>,
    place: Place,
}

/// Reads all groups of a DAG.
pub(super) fn read_all<'n>(dag: &Fields<'n>, problems: &mut Problems) -> Groups<'n> {
    let Some(item) = dag.take("task_groups") else { return Groups::default() };
    let found = item.named("a list or mapping of task groups", problems);
    let mut named: Vec<Named<'n>> = Vec::new();
    let mut by_name: BTreeMap<String, usize> = BTreeMap::new();
    for (key, item) in found {
        let Some(group) = read_name(key.map(|key| &*key.name), &item, problems) else { continue };
        if by_name.contains_key(&group.name) {
            problems.add(&item.place, format!("there are two groups {:?}", group.name));
        } else {
            by_name.insert(group.name.clone(), named.len());
            named.push(group);
        }
    }
    let groups = (0..named.len()).filter_map(|index| read(index, &named, &by_name, problems)).collect();
    let groups = Groups::new(groups);
    groups.check_expanded(problems);
    groups
}

fn read_name<'n>(key: Option<&str>, item: &Item<'n>, problems: &mut Problems) -> Option<Named<'n>> {
    let fields = item.fields("a task group, a mapping", problems)?;
    fields.check_keys(&[keys::GROUP], &[keys::GROUP_NOT_YET], Here::Group, problems);
    let name = match (fields.either(["group_name", "group_id"], problems), key) {
        (Some(item), _) => item.text(problems)?,
        (None, Some(key)) => key.to_owned(),
        (None, None) => {
            problems.add(&item.place, "group_name is missing");
            return None;
        }
    };
    if TaskId::new(&name).is_err() || name.contains('.') {
        problems.add(&item.place, format!("group_name {name:?} is not valid: use A-Z a-z 0-9 _ and -"));
        return None;
    }
    let parent = match fields.take("parent_group_name") {
        Some(item) => Some((item.text(problems)?, item.place)),
        None => None,
    };
    Some(Named { name, parent, fields, place: item.place.clone() })
}

fn read<'n>(
    index: usize,
    all: &[Named<'n>],
    by_name: &BTreeMap<String, usize>,
    problems: &mut Problems,
) -> Option<Group<'n>> {
    let own = &all[index];
    let mut path = vec![own.name.as_str()];
    let mut length = own.name.len();
    let mut defaults: Vec<Layer<'n>> = Vec::new();
    let mut next = Some(own);
    while let Some(group) = next {
        if let Some(item) = group.fields.take("default_args") {
            defaults.extend(super::dag::defaults_layer(&item, Here::GroupDefaults, problems));
        }
        next = match &group.parent {
            None => None,
            Some((name, place)) => {
                let Some(parent) = by_name.get(name).map(|parent| &all[*parent]) else {
                    let suggestion = problems.did_you_mean(name, all.iter().map(|group| group.name.as_str()));
                    problems.add_with(place, format!("there is no group {name:?}"), suggestion);
                    return None;
                };
                if path.contains(&parent.name.as_str()) {
                    problems.add(place, format!("the group {:?} would be inside itself", parent.name));
                    return None;
                }
                length += 1 + parent.name.len();
                if length > ID_CHARS_MAX {
                    let message =
                        format!("with those around it the group's id has more than {ID_CHARS_MAX} characters");
                    problems.add(&own.place, message);
                    return None;
                }
                path.push(&parent.name);
                Some(parent)
            }
        };
    }
    path.reverse();
    let group_id = path.join(".");
    let expanded = expand::read_group(&own.fields, problems);
    let (expand, sources) = expanded.map(|read| (read.expand, read.sources)).unzip();
    let mut dependencies = dependencies(&own.fields, problems);
    dependencies.extend(sources.unwrap_or_default());
    Some(Group {
        expand: expand.map(|expand| Expand { group: Some(group_id.clone()), ..expand }),
        group_id,
        tooltip: own.fields.take("tooltip").and_then(|item| item.text_or_none(problems)),
        dependencies,
        defaults,
        place: own.place.clone(),
    })
}

/// The names below `dependencies` or `depends_on`, of a group's or task's own.
pub(super) fn dependencies(fields: &Fields<'_>, problems: &mut Problems) -> Vec<Dependency> {
    let item = match (fields.own("dependencies"), fields.own("depends_on")) {
        (Some(_), Some(second)) => {
            problems.add(&second.place, "depends_on and dependencies mean the same; keep dependencies");
            return Vec::new();
        }
        (first, second) => first.or(second),
    };
    let items = item.and_then(|item| item.text_items(problems)).unwrap_or_default();
    items.into_iter().map(|(name, item)| Dependency { name, place: item.place }).collect()
}
