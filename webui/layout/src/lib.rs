//! Where the boxes of a picture stand: layers from left to right, few crossings, groups as boxes around their members.
//!
//! A layered layout in Sugiyama's manner, made level by level: the inside of a group is laid out first, then the group
//! is one box of the level around it. An edge that crosses a border does so at a place of its own. What always holds:
//! boxes do not overlap, a group's box holds its members and nothing else, every edge runs from left to right, and the
//! same chart gives the same drawing.
//!
//! It knows nothing of DAGs, states or pages: sizes go in, coordinates come out.
//!
//! ```
//! use windlass_layout::{Chart, Node, draw, path};
//!
//! let node = Node { width: 100, height: 40, group: None };
//! let drawing = draw(&Chart { nodes: vec![node, node], groups: Vec::new(), edges: vec![(0, 1)] });
//! assert!(drawing.nodes[0].x + drawing.nodes[0].width < drawing.nodes[1].x);
//! assert!(path(&drawing.edges[0]).starts_with('M'));
//! ```

mod layered;
mod nest;
mod order;
mod place;

use std::collections::BTreeMap;

use layered::{Layered, Placed};
use nest::{Container, Item, Nest, Side};

/// Room between a group's border and its members.
const PADDING: i32 = 12;
/// Room for a group's title above its members.
const TITLE: i32 = 24;
/// Room around the whole drawing.
const MARGIN: i32 = 4;

/// What is to be drawn.
#[derive(Debug, Clone, Default)]
pub struct Chart {
    /// The boxes.
    pub nodes: Vec<Node>,
    /// The groups; a parent stands before its children.
    pub groups: Vec<Group>,
    /// From box to box by their numbers, without cycles.
    pub edges: Vec<(usize, usize)>,
}

/// A box.
#[derive(Debug, Clone, Copy)]
pub struct Node {
    /// Its width.
    pub width: i32,
    /// Its height.
    pub height: i32,
    /// The group that it is in.
    pub group: Option<usize>,
}

/// A group.
#[derive(Debug, Clone, Copy)]
pub struct Group {
    /// The group that it is in.
    pub parent: Option<usize>,
}

/// A place on the picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Point {
    /// From the left.
    pub x: i32,
    /// From above.
    pub y: i32,
}

/// A box on the picture.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rect {
    /// Its left edge.
    pub x: i32,
    /// Its upper edge.
    pub y: i32,
    /// Its width.
    pub width: i32,
    /// Its height.
    pub height: i32,
}

/// A finished picture.
#[derive(Debug, Clone, Default)]
pub struct Drawing {
    /// Its width.
    pub width: i32,
    /// Its height.
    pub height: i32,
    /// The boxes, as in the chart.
    pub nodes: Vec<Rect>,
    /// The groups, as in the chart. None for one that an edge leaves and comes back to, and for an empty one: such a
    /// group can not be one box in an order from left to right.
    pub groups: Vec<Option<Rect>>,
    /// The edges, as in the chart: each the points that it runs through.
    pub edges: Vec<Vec<Point>>,
}

/// Lays out a chart.
///
/// # Panics
/// When an edge or a group names what the chart does not have.
#[must_use]
pub fn draw(chart: &Chart) -> Drawing {
    let nest = Nest::of(chart);
    let level = Level::of(chart, &nest, Container::Root);
    let mut drawing = Drawing {
        width: level.width + 2 * MARGIN,
        height: level.height + 2 * MARGIN,
        nodes: vec![Rect::default(); chart.nodes.len()],
        groups: vec![None; chart.groups.len()],
        edges: vec![Vec::new(); chart.edges.len()],
    };
    level.put(chart, Point { x: MARGIN, y: MARGIN }, &mut drawing);
    drawing
}

/// An SVG path along the points: level pieces as lines, the others as curves that begin and end level.
#[must_use]
pub fn path(points: &[Point]) -> String {
    let Some(first) = points.first() else { return String::new() };
    let mut path = format!("M{} {}", first.x, first.y);
    for pair in points.windows(2) {
        let (from, to) = (pair[0], pair[1]);
        if from.y == to.y {
            path.push_str(&format!("H{}", to.x));
        } else {
            let half = i32::midpoint(from.x, to.x);
            path.push_str(&format!("C{half} {} {half} {} {} {}", from.y, to.y, to.x, to.y));
        }
    }
    path
}

/// The inside of a group, or the whole, in its own coordinates.
struct Level {
    width: i32,
    height: i32,
    boxes: Vec<(Item, Rect)>,
    inside: BTreeMap<usize, Level>,
    /// Edges between two items of this level.
    edges: Vec<(usize, Vec<Point>)>,
    /// Ways from the left border to the item that holds a node.
    enters: BTreeMap<usize, Vec<Point>>,
    /// Ways from the item that holds a node to the right border.
    leaves: BTreeMap<usize, Vec<Point>>,
}

/// What an edge of a level connects.
#[derive(Debug, Clone, Copy)]
enum Way {
    Edge(usize),
    Enter(usize),
    Leave(usize),
}

/// The items of a level with their ways, brought into columns, and where that puts them.
struct Laid {
    ways: Vec<Way>,
    graph: Layered,
    placed: Placed,
}

impl Level {
    fn of(chart: &Chart, nest: &Nest, container: Container) -> Self {
        let items = nest.items(container);
        let inside: BTreeMap<usize, Self> = items
            .iter()
            .filter_map(|item| match item {
                Item::Group(group) => Some((*group, Self::of(chart, nest, Container::Group(*group)))),
                Item::Node(_) => None,
            })
            .collect();
        let sizes: Vec<(i32, i32)> = items
            .iter()
            .map(|item| match item {
                Item::Node(node) => (chart.nodes[*node].width, chart.nodes[*node].height),
                Item::Group(group) => (inside[group].width, inside[group].height),
            })
            .collect();
        let at = |node: usize| items.iter().position(|item| *item == nest.item_of(node, container)).unwrap_or(0);
        let mut links = Vec::new();
        let mut ways = Vec::new();
        for (number, (from, to)) in chart.edges.iter().enumerate() {
            if nest.meeting(*from, *to) == container {
                ways.push(Way::Edge(number));
                links.push((Some((at(*from), *from)), Some((at(*to), *to))));
            }
        }
        for node in nest.crossing(chart, container, Side::Left) {
            ways.push(Way::Enter(node));
            links.push((None, Some((at(node), node))));
        }
        for node in nest.crossing(chart, container, Side::Right) {
            ways.push(Way::Leave(node));
            links.push((Some((at(node), node)), None));
        }
        // An edge touches a box in the middle, a group where its way through the border is.
        let height_of = |item: usize, node: usize, side: Side| match items[item] {
            Item::Node(_) => sizes[item].1 / 2,
            Item::Group(group) => inside[&group].border(node, side),
        };
        let ends = links.iter().map(|(from, to)| layered::Ends {
            from: from.map(|(item, node)| (item, height_of(item, node, Side::Right))),
            to: to.map(|(item, node)| (item, height_of(item, node, Side::Left))),
        });
        let mut graph = Layered::new(&sizes, &ends.collect::<Vec<_>>());
        order::reduce_crossings(&mut graph);
        let placed = place::place(&graph);
        Self::framed(container, &items, &sizes, inside, &Laid { ways, graph, placed })
    }

    /// Puts the border around what was placed.
    fn framed(
        container: Container,
        items: &[Item],
        sizes: &[(i32, i32)],
        inside: BTreeMap<usize, Self>,
        Laid { ways, graph, placed }: &Laid,
    ) -> Self {
        let (side, top) = match container {
            Container::Root => (0, 0),
            Container::Group(_) => (PADDING, TITLE),
        };
        let width = placed.width + 2 * side;
        let boxes = items.iter().zip(sizes).enumerate().map(|(at, (item, size))| {
            let corner = placed.corner(graph, at);
            (*item, Rect { x: corner.x + side, y: corner.y + top, width: size.0, height: size.1 })
        });
        let mut level = Self {
            width,
            height: placed.height + top + side,
            boxes: boxes.collect(),
            inside,
            edges: Vec::new(),
            enters: BTreeMap::new(),
            leaves: BTreeMap::new(),
        };
        for (number, way) in ways.iter().enumerate() {
            let mut points: Vec<Point> = placed.route(graph, number);
            points.iter_mut().for_each(|point| *point = Point { x: point.x + side, y: point.y + top });
            match way {
                Way::Edge(edge) => level.edges.push((*edge, points)),
                Way::Enter(node) => {
                    points.insert(0, Point { x: 0, y: points[0].y });
                    level.enters.insert(*node, points);
                }
                Way::Leave(node) => {
                    let last = points[points.len() - 1];
                    points.push(Point { x: width, y: last.y });
                    level.leaves.insert(*node, points);
                }
            }
        }
        level
    }

    /// At which height the way of a node goes through the border.
    fn border(&self, node: usize, side: Side) -> i32 {
        let point = match side {
            Side::Left => self.enters.get(&node).and_then(|way| way.first()),
            Side::Right => self.leaves.get(&node).and_then(|way| way.last()),
        };
        point.map_or(self.height / 2, |point| point.y)
    }

    /// Writes the level into the drawing, with everything inside it.
    fn put(&self, chart: &Chart, origin: Point, drawing: &mut Drawing) {
        for (item, rect) in &self.boxes {
            let rect = Rect { x: rect.x + origin.x, y: rect.y + origin.y, ..*rect };
            match item {
                Item::Node(node) => drawing.nodes[*node] = rect,
                Item::Group(group) => {
                    drawing.groups[*group] = Some(rect);
                    self.inside[group].put(chart, Point { x: rect.x, y: rect.y }, drawing);
                }
            }
        }
        for (edge, points) in &self.edges {
            let (from, to) = chart.edges[*edge];
            let mut whole = self.way_out(from, origin);
            whole.extend(points.iter().map(|point| Point { x: point.x + origin.x, y: point.y + origin.y }));
            whole.extend(self.way_in(to, origin));
            whole.dedup();
            drawing.edges[*edge] = whole;
        }
    }

    /// From a node to the border of the item of this level that holds it.
    fn way_out(&self, node: usize, origin: Point) -> Vec<Point> {
        let Some((inner, origin)) = self.inner(node, origin, |level| &level.leaves) else { return Vec::new() };
        let mut points = inner.way_out(node, origin);
        points.extend(inner.leaves[&node].iter().map(|point| Point { x: point.x + origin.x, y: point.y + origin.y }));
        points
    }

    /// From the border of the item of this level that holds a node to the node.
    fn way_in(&self, node: usize, origin: Point) -> Vec<Point> {
        let Some((inner, origin)) = self.inner(node, origin, |level| &level.enters) else { return Vec::new() };
        let mut points: Vec<Point> =
            inner.enters[&node].iter().map(|point| Point { x: point.x + origin.x, y: point.y + origin.y }).collect();
        points.extend(inner.way_in(node, origin));
        points
    }

    /// The group of this level that a node's way goes through, and where it stands.
    fn inner(
        &self,
        node: usize,
        origin: Point,
        ways: fn(&Self) -> &BTreeMap<usize, Vec<Point>>,
    ) -> Option<(&Self, Point)> {
        self.boxes.iter().find_map(|(item, rect)| match item {
            Item::Group(group) => {
                let inner = &self.inside[group];
                let origin = Point { x: rect.x + origin.x, y: rect.y + origin.y };
                ways(inner).contains_key(&node).then_some((inner, origin))
            }
            Item::Node(_) => None,
        })
    }
}

#[cfg(test)]
mod tests;
