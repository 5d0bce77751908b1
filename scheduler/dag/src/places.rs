//! Where in a DAG file something stands that is known by its name: for remarks that are made after a file was read.

use crate::yaml::{Key, Node, Position, Value, parse};

/// A place in a DAG file. Line and column are from 1; 0 when they are not known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FilePlace {
    /// The line.
    pub line: usize,
    /// The character in the line.
    pub column: usize,
    /// The field, such as `tasks.load.bash_command`.
    pub field: String,
}

/// The places of one file. It is parsed once, and looked through once a question.
#[derive(Debug)]
pub struct FilePlaces(Option<Node>);

impl FilePlaces {
    /// Those of a file's text; a text that can not be read has none.
    #[must_use]
    pub fn of(text: &str) -> Self {
        Self(parse(text).ok())
    }

    /// Where a DAG has a key; the DAG itself when it has none of its own.
    #[must_use]
    pub fn of_dag(&self, dag_id: &str, key: &str) -> FilePlace {
        let Some((at, dag)) = self.dag(dag_id) else { return named(Position::default(), key.to_owned()) };
        match entry(dag, key) {
            Some((key_at, _)) => named(key_at, key.to_owned()),
            None => named(at, key.to_owned()),
        }
    }

    /// Where a task of a DAG has a key, or a text that holds `part`; the task itself when it is not found there.
    #[must_use]
    pub fn of_task(&self, dag_id: &str, task_id: &str, key: &str, part: &str) -> FilePlace {
        let field = if key.is_empty() { format!("tasks.{task_id}") } else { format!("tasks.{task_id}.{key}") };
        let Some((at, dag)) = self.dag(dag_id) else { return named(Position::default(), field) };
        let Some((at, task)) = task(dag, task_id) else { return named(at, field) };
        let first = key.split(['.', '[']).next().unwrap_or_default();
        let of_key = entry(task, first).map(|(at, _)| at);
        let of_part = (!part.is_empty()).then(|| holder(task, part)).flatten();
        named(of_part.or(of_key).unwrap_or(at), field)
    }

    /// The mapping of a DAG: the file itself, or what stands below the DAG's id.
    fn dag(&self, dag_id: &str) -> Option<(Position, &Node)> {
        let root = self.0.as_ref()?;
        match entry(root, dag_id).filter(|(_, node)| matches!(node.value, Value::Map(_))) {
            Some(found) => Some(found),
            None => Some((root.at, root)),
        }
    }
}

const fn named(at: Position, field: String) -> FilePlace {
    FilePlace { line: at.line, column: at.column, field }
}

fn entries(node: &Node) -> &[(Key, Node)] {
    match &node.value {
        Value::Map(entries) => entries,
        _ => &[],
    }
}

fn entry<'n>(node: &'n Node, name: &str) -> Option<(Position, &'n Node)> {
    entries(node).iter().find(|(key, _)| *key.name == *name).map(|(key, node)| (key.at, node))
}

/// A task by its id: in a list or a mapping of tasks, here or in a group. A task of a group may be named by its last part.
fn task<'n>(of: &'n Node, task_id: &str) -> Option<(Position, &'n Node)> {
    let own = entry(of, "tasks").and_then(|(_, tasks)| in_tasks(tasks, task_id));
    own.or_else(|| entry(of, "task_groups").and_then(|(_, groups)| in_groups(groups, task_id)))
}

fn in_tasks<'n>(tasks: &'n Node, task_id: &str) -> Option<(Position, &'n Node)> {
    let last = task_id.rsplit('.').next().unwrap_or(task_id);
    let is_meant = |name: &str| name == task_id || name == last;
    match &tasks.value {
        Value::Map(entries) => {
            let own = entries.iter().find(|(key, _)| is_meant(&key.name)).map(|(key, node)| (key.at, node));
            own.or_else(|| entries.iter().find_map(|(_, node)| task(node, task_id)))
        }
        Value::List(items) => {
            let id = |item: &Node| match entry(item, "task_id").map(|(_, id)| &id.value) {
                Some(Value::Text(id)) => Some(id.to_string()),
                _ => None,
            };
            let own = items.iter().find(|item| id(item).is_some_and(|id| is_meant(&id))).map(|item| (item.at, item));
            own.or_else(|| items.iter().find_map(|item| task(item, task_id)))
        }
        _ => None,
    }
}

fn in_groups<'n>(groups: &'n Node, task_id: &str) -> Option<(Position, &'n Node)> {
    match &groups.value {
        Value::Map(entries) => entries.iter().find_map(|(_, group)| task(group, task_id)),
        Value::List(items) => items.iter().find_map(|group| task(group, task_id)),
        _ => None,
    }
}

/// Where a text stands in a node that holds this part.
fn holder(node: &Node, part: &str) -> Option<Position> {
    match &node.value {
        Value::Text(text) => text.contains(part).then_some(node.at),
        Value::List(items) => items.iter().find_map(|item| holder(item, part)),
        Value::Map(entries) => entries.iter().find_map(|(_, node)| holder(node, part)),
        Value::Null | Value::Bool(_) | Value::Int(..) | Value::Float(..) | Value::Refused(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_by_its_name_is_found_in_every_form_of_a_file() {
        let text = "default: {}\nd:\n  schedule: x\n  tasks:\n    a: {operator: bash, bash_command: '{{ y }}'}\n  task_groups:\n    g:\n      tasks:\n      - task_id: b\n        env: {A: '{{ z }}'}\n";
        let places = FilePlaces::of(text);
        let at = |place: FilePlace| (place.line, place.column);
        assert_eq!(at(places.of_dag("d", "schedule")), (3, 3));
        assert_eq!(at(places.of_dag("d", "end_date")), (2, 1), "the DAG has no such key");
        assert_eq!(at(places.of_task("d", "a", "bash_command", "{{ y }}")), (5, 39));
        assert_eq!(at(places.of_task("d", "a", "pool", "")), (5, 5), "the task has no such key");
        assert_eq!(at(places.of_task("d", "g.b", "env.A", "{{ z }}")), (10, 18));
        assert_eq!(places.of_task("d", "g.b", "env.A", "").field, "tasks.g.b.env.A");
        let one = FilePlaces::of("dag_id: e\nschedule: x\ntasks:\n- {task_id: c}\n");
        assert_eq!((at(one.of_dag("e", "schedule")), at(one.of_task("e", "c", "", ""))), ((2, 1), (4, 3)));
        assert_eq!(FilePlaces::of("[").of_dag("e", "x").line, 0);
    }
}
