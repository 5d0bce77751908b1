//! Items in layers, with a place in every layer for each edge that passes it.

use super::Point;

/// Something that takes a place in a layer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Vertex {
    pub(super) layer: usize,
    pub(super) width: i32,
    pub(super) height: i32,
    pub(super) kind: Kind,
}

/// What takes the place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A box.
    Item,
    /// An edge that passes, or ends at the border.
    Bend,
}

/// An edge between items, each with the height at which it touches; without an item it ends at the border.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ends {
    pub(super) from: Option<(usize, i32)>,
    pub(super) to: Option<(usize, i32)>,
}

/// A piece of an edge between two neighbouring layers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Segment {
    pub(super) left: usize,
    pub(super) left_height: i32,
    pub(super) right: usize,
    pub(super) right_height: i32,
}

/// Items first, in their own order, then bends.
pub(super) struct Layered {
    pub(super) vertices: Vec<Vertex>,
    pub(super) layers: Vec<Vec<usize>>,
    pub(super) segments: Vec<Segment>,
    /// For each edge the range of its segments.
    edges: Vec<std::ops::Range<usize>>,
    /// For each edge that lies in one layer only because it ends at the border there.
    ends: Vec<Ends>,
}

impl Layered {
    pub(super) fn new(sizes: &[(i32, i32)], edges: &[Ends]) -> Self {
        let enters = edges.iter().any(|edge| edge.from.is_none());
        let leaves = edges.iter().any(|edge| edge.to.is_none());
        let first = usize::from(enters);
        let layer_of = layers_of(sizes.len(), edges, first);
        let last = layer_of.iter().max().copied().unwrap_or(0) + usize::from(leaves);
        let vertices = sizes.iter().zip(&layer_of).map(|((width, height), layer)| Vertex {
            layer: *layer,
            width: *width,
            height: *height,
            kind: Kind::Item,
        });
        let mut graph = Self {
            vertices: vertices.collect(),
            layers: Vec::new(),
            segments: Vec::new(),
            edges: Vec::new(),
            ends: edges.to_vec(),
        };
        for edge in edges {
            let begin = graph.segments.len();
            graph.add(edge, last);
            graph.edges.push(begin..graph.segments.len());
        }
        graph.layers = vec![Vec::new(); last + 1];
        for (index, vertex) in graph.vertices.iter().enumerate() {
            graph.layers[vertex.layer].push(index);
        }
        graph
    }

    fn add(&mut self, edge: &Ends, last: usize) {
        let (mut left, mut left_height) = match edge.from {
            Some(end) => end,
            None => (self.bend(0), 0),
        };
        let (right, right_height) = match edge.to {
            Some(end) => end,
            None => (self.bend(last), 0),
        };
        for layer in self.vertices[left].layer + 1..self.vertices[right].layer {
            let bend = self.bend(layer);
            self.segments.push(Segment { left, left_height, right: bend, right_height: 0 });
            (left, left_height) = (bend, 0);
        }
        self.segments.push(Segment { left, left_height, right, right_height });
    }

    fn bend(&mut self, layer: usize) -> usize {
        self.vertices.push(Vertex { layer, width: 0, height: 0, kind: Kind::Bend });
        self.vertices.len() - 1
    }
}

/// Longest path from the left; what has nothing before it stands directly before what follows it.
fn layers_of(items: usize, edges: &[Ends], first: usize) -> Vec<usize> {
    let pairs: Vec<(usize, usize)> = edges.iter().filter_map(|edge| Some((edge.from?.0, edge.to?.0))).collect();
    let mut layers = vec![first; items];
    // The level has no cycle, so the longest path has fewer steps than there are items.
    for _ in 0..items {
        let mut moved = false;
        for (from, to) in &pairs {
            if layers[*to] <= layers[*from] {
                layers[*to] = layers[*from] + 1;
                moved = true;
            }
        }
        if !moved {
            break;
        }
    }
    for item in 0..items {
        let follows = edges.iter().any(|edge| edge.to.is_some_and(|(to, _)| to == item));
        let next = pairs.iter().filter(|(from, _)| *from == item).map(|(_, to)| layers[*to]).min();
        if let (false, Some(next)) = (follows, next) {
            layers[item] = next - 1;
        }
    }
    layers
}

/// Where everything stands.
pub(super) struct Placed {
    pub(super) width: i32,
    pub(super) height: i32,
    /// Left and right edge of each layer.
    pub(super) columns: Vec<(i32, i32)>,
    /// Upper edge of each vertex.
    pub(super) tops: Vec<i32>,
}

impl Placed {
    /// The upper left corner of an item.
    pub(super) fn corner(&self, graph: &Layered, item: usize) -> Point {
        Point { x: self.columns[graph.vertices[item].layer].0, y: self.tops[item] }
    }

    /// The points that an edge runs through.
    pub(super) fn route(&self, graph: &Layered, edge: usize) -> Vec<Point> {
        let mut points = Vec::new();
        if let Some((item, height)) = graph.ends[edge].from {
            let corner = self.corner(graph, item);
            points.push(Point { x: corner.x + graph.vertices[item].width, y: corner.y + height });
        }
        for segment in &graph.segments[graph.edges[edge].clone()] {
            let (left, right) = (graph.vertices[segment.left].layer, graph.vertices[segment.right].layer);
            points.push(Point { x: self.columns[left].1, y: self.tops[segment.left] + segment.left_height });
            points.push(Point { x: self.columns[right].0, y: self.tops[segment.right] + segment.right_height });
        }
        points.dedup();
        points
    }
}
