//! Task groups: their names with those of the groups around them, and what they depend on.

use model::TaskId;

use super::fields::{Fields, Item, Layer};
use crate::{
    keys,
    problem::{Place, Problems, did_you_mean},
};

/// A group as it was read.
#[derive(Debug, Clone)]
pub(crate) struct Group<'n> {
    /// Its id, with those of the groups that it is in.
    pub(crate) group_id: String,
    /// One line for people.
    pub(crate) tooltip: Option<String>,
    /// What all of its tasks come after.
    pub(crate) dependencies: Vec<Dependency>,
    /// Values for its tasks, its own before those of the groups around it.
    pub(super) defaults: Vec<Layer<'n>>,
}

/// A name that something comes after.
#[derive(Debug, Clone)]
pub(crate) struct Dependency {
    /// The name of a task or group.
    pub(crate) name: String,
    /// Where it is named.
    pub(crate) place: Place,
}

/// A group whose parents are not known yet.
struct Named<'n> {
    name: String,
    parent: Option<(String, Place)>,
    fields: Fields<'n>,
}

/// Reads all groups of a DAG.
pub(super) fn read_all<'n>(dag: &Fields<'n>, problems: &mut Problems) -> Vec<Group<'n>> {
    let Some(item) = dag.take("task_groups") else { return Vec::new() };
    let found = item.named("a list or mapping of task groups", problems);
    let mut named: Vec<Named<'n>> = Vec::new();
    for (key, item) in found {
        let Some(group) = read_name(key.map(|key| key.name.as_str()), &item, problems) else { continue };
        if named.iter().any(|known| known.name == group.name) {
            problems.add(&item.place, format!("there are two groups {:?}", group.name));
        } else {
            named.push(group);
        }
    }
    (0..named.len()).filter_map(|index| read(index, &named, problems)).collect()
}

fn read_name<'n>(key: Option<&str>, item: &Item<'n>, problems: &mut Problems) -> Option<Named<'n>> {
    let fields = item.fields("a task group, a mapping", problems)?;
    fields.check_keys(&[keys::GROUP], keys::GROUP_NOT_YET, problems);
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
    Some(Named { name, parent, fields })
}

fn read<'n>(index: usize, all: &[Named<'n>], problems: &mut Problems) -> Option<Group<'n>> {
    let own = &all[index];
    let mut path = vec![own.name.as_str()];
    let mut defaults: Vec<Layer<'n>> = Vec::new();
    let mut next = Some(own);
    while let Some(group) = next {
        if let Some(item) = group.fields.take("default_args") {
            defaults.extend(super::dag::defaults_layer(&item, problems));
        }
        next = match &group.parent {
            None => None,
            Some((name, place)) => {
                let Some(parent) = all.iter().find(|candidate| candidate.name == *name) else {
                    let names = all.iter().map(|group| group.name.as_str());
                    problems.add_with(place, format!("there is no group {name:?}"), did_you_mean(name, names));
                    return None;
                };
                if path.contains(&parent.name.as_str()) {
                    problems.add(place, format!("the group {:?} would be inside itself", parent.name));
                    return None;
                }
                path.push(&parent.name);
                Some(parent)
            }
        };
    }
    path.reverse();
    Some(Group {
        group_id: path.join("."),
        tooltip: own.fields.take("tooltip").and_then(|item| item.text(problems)),
        dependencies: dependencies(&own.fields, problems),
        defaults,
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

/// The group of that name: its whole id, or its own name when no other group has it.
pub(crate) fn find<'g, 'n>(groups: &'g [Group<'n>], name: &str) -> Option<&'g Group<'n>> {
    let whole = groups.iter().find(|group| group.group_id == name);
    whole.or_else(|| groups.iter().find(|group| group.group_id.rsplit('.').next() == Some(name)))
}
