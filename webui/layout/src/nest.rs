//! Which box is in which group, after groups that can not be one box have been given up.

use std::collections::{BTreeMap, BTreeSet};

use super::Chart;

/// Something that holds items: the whole picture or a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Container {
    Root,
    Group(usize),
}

/// Something that stands in a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Item {
    Node(usize),
    Group(usize),
}

/// A border of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Left,
    Right,
}

/// The tree of containers.
pub(super) struct Nest {
    nodes: Vec<Container>,
    groups: Vec<Container>,
    kept: Vec<bool>,
}

impl Nest {
    pub(super) fn of(chart: &Chart) -> Self {
        let container = |group: Option<usize>| group.map_or(Container::Root, Container::Group);
        let mut nest = Self {
            nodes: chart.nodes.iter().map(|node| container(node.group)).collect(),
            groups: chart.groups.iter().map(|group| container(group.parent)).collect(),
            kept: vec![true; chart.groups.len()],
        };
        nest.give_up_empty();
        // Each round gives up at least one group, so this ends.
        while let Some(group) = nest.first_in_a_cycle(chart) {
            nest.give_up(group);
        }
        nest
    }

    fn give_up_empty(&mut self) {
        let mut used = BTreeSet::new();
        for node in 0..self.nodes.len() {
            used.extend(self.around(self.nodes[node]));
        }
        for group in 0..self.groups.len() {
            self.kept[group] = used.contains(&Container::Group(group));
        }
    }

    fn give_up(&mut self, group: usize) {
        let outer = self.groups[group];
        self.kept[group] = false;
        for container in self.nodes.iter_mut().chain(&mut self.groups) {
            if *container == Container::Group(group) {
                *container = outer;
            }
        }
    }

    /// A container and those around it, inmost first, the root last.
    fn around(&self, container: Container) -> Vec<Container> {
        let mut chain = vec![container];
        while let Some(Container::Group(group)) = chain.last().copied() {
            chain.push(self.groups[group]);
        }
        chain
    }

    /// What stands directly in a container: nodes in the order of the chart, groups where their first member would be.
    pub(super) fn items(&self, container: Container) -> Vec<Item> {
        let mut seen = BTreeSet::new();
        let members = (0..self.nodes.len()).filter(|node| self.around(self.nodes[*node]).contains(&container));
        members.map(|node| self.item_of(node, container)).filter(|item| seen.insert(*item)).collect()
    }

    /// The item of a container that a node is or is in.
    pub(super) fn item_of(&self, node: usize, container: Container) -> Item {
        let mut item = Item::Node(node);
        let mut outer = self.nodes[node];
        while outer != container {
            let Container::Group(group) = outer else { break };
            item = Item::Group(group);
            outer = self.groups[group];
        }
        item
    }

    /// The inmost container that holds both nodes.
    pub(super) fn meeting(&self, one: usize, other: usize) -> Container {
        let around_other = self.around(self.nodes[other]);
        let mut around_one = self.around(self.nodes[one]).into_iter();
        around_one.find(|container| around_other.contains(container)).unwrap_or(Container::Root)
    }

    /// The nodes of a container with an edge through one of its borders.
    pub(super) fn crossing(&self, chart: &Chart, container: Container, side: Side) -> BTreeSet<usize> {
        let holds = |node: usize| self.around(self.nodes[node]).contains(&container);
        let ends = chart.edges.iter().map(|(from, to)| match side {
            Side::Left => (*to, *from),
            Side::Right => (*from, *to),
        });
        ends.filter(|(inner, outer)| holds(*inner) && !holds(*outer)).map(|(inner, _)| inner).collect()
    }

    /// A group that edges leave and come back to: as one box it would have to stand before itself.
    fn first_in_a_cycle(&self, chart: &Chart) -> Option<usize> {
        let mut before: BTreeMap<Container, BTreeMap<Item, BTreeSet<Item>>> = BTreeMap::new();
        for (from, to) in &chart.edges {
            let container = self.meeting(*from, *to);
            let level = before.entry(container).or_default();
            let (from, to) = (self.item_of(*from, container), self.item_of(*to, container));
            level.entry(from).or_default();
            level.entry(to).or_default().insert(from);
        }
        before.into_values().find_map(group_in_a_cycle)
    }
}

/// A group among the items that are left when all without a predecessor have been taken away, again and again.
fn group_in_a_cycle(mut before: BTreeMap<Item, BTreeSet<Item>>) -> Option<usize> {
    loop {
        let free: BTreeSet<Item> =
            before.iter().filter(|(_, before)| before.is_empty()).map(|(item, _)| *item).collect();
        if free.is_empty() {
            break;
        }
        before.retain(|item, _| !free.contains(item));
        before.values_mut().for_each(|before| before.retain(|item| !free.contains(item)));
    }
    // What only follows a cycle is left, too: whatever nothing follows goes next, until the cycle alone remains.
    loop {
        let followed: BTreeSet<Item> = before.values().flatten().copied().collect();
        let count = before.len();
        before.retain(|item, _| followed.contains(item));
        if before.len() == count {
            break;
        }
    }
    before.into_keys().find_map(|item| match item {
        Item::Group(group) => Some(group),
        Item::Node(_) => None,
    })
}
