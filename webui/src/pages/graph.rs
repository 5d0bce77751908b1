//! Where the tasks of a DAG stand on its picture: layers from left to right, few crossings, edges as curves.
//!
//! A small Sugiyama layout of our own: longest-path layers, places for the edges that cross a layer, a fixed number of
//! barycentre sweeps. The same DAG gives the same picture.

use dag::{Dag, TaskPos};
use serde::Serialize;

/// Size of a task's box.
pub const NODE_WIDTH: i32 = 158;
/// Size of a task's box.
pub const NODE_HEIGHT: i32 = 46;
const GAP_X: i32 = 24;
const GAP_Y: i32 = 18;
const MARGIN: i32 = 4;
/// Height of the place that an edge takes where it crosses a layer.
const EDGE_HEIGHT: i32 = 10;
/// Sweeps to and fro; more bring little.
const SWEEPS: usize = 6;
/// Larger DAGs are shown as a list: nobody reads such a picture.
pub const TASKS_MAX: usize = 400;

/// A picture of a DAG.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Graph {
    /// Its width.
    pub width: i32,
    /// Its height.
    pub height: i32,
    /// Upper left corners of the boxes, by position of the task.
    pub boxes: Vec<(i32, i32)>,
    /// The edges as SVG paths.
    pub edges: Vec<String>,
}

/// Something that takes a place in a layer.
#[derive(Debug, Clone, Copy)]
struct Place {
    layer: usize,
    height: i32,
}

/// The layout while it is being made: tasks first, then crossings of edges.
struct Layout {
    places: Vec<Place>,
    /// Neighbours to the left and right of each place.
    left: Vec<Vec<usize>>,
    right: Vec<Vec<usize>>,
    layers: Vec<Vec<usize>>,
    chains: Vec<Vec<usize>>,
}

/// Lays out a DAG; none when it has too many tasks for a picture.
#[must_use]
pub fn layout(dag: &Dag) -> Option<Graph> {
    if dag.tasks.len() > TASKS_MAX || dag.tasks.is_empty() {
        return None;
    }
    let mut layout = Layout::of(dag);
    for sweep in 0..SWEEPS {
        layout.sweep(if sweep % 2 == 0 { Sweep::Rightwards } else { Sweep::Leftwards });
    }
    Some(layout.draw(dag.tasks.len()))
}

#[derive(Clone, Copy)]
enum Sweep {
    Rightwards,
    Leftwards,
}

impl Layout {
    fn of(dag: &Dag) -> Self {
        let mut layers_of: Vec<usize> = vec![0; dag.tasks.len()];
        // Tasks are in topological order, so what is before a task has its layer already.
        for pos in dag.positions() {
            let before = dag.task(pos).upstream.iter().map(|before| layers_of[before.0] + 1);
            layers_of[pos.0] = before.max().unwrap_or(0);
        }
        let places = layers_of.iter().map(|layer| Place { layer: *layer, height: NODE_HEIGHT }).collect();
        let mut layout = Self { places, left: Vec::new(), right: Vec::new(), layers: Vec::new(), chains: Vec::new() };
        for pos in dag.positions() {
            for after in &dag.task(pos).downstream {
                layout.add_edge(pos, *after);
            }
        }
        layout.index();
        layout
    }

    /// An edge over several layers takes a place in each of those between.
    fn add_edge(&mut self, from: TaskPos, to: TaskPos) {
        let mut chain = vec![from.0];
        for layer in self.places[from.0].layer + 1..self.places[to.0].layer {
            chain.push(self.places.len());
            self.places.push(Place { layer, height: EDGE_HEIGHT });
        }
        chain.push(to.0);
        self.chains.push(chain);
    }

    fn index(&mut self) {
        let layers = self.places.iter().map(|place| place.layer + 1).max().unwrap_or(0);
        self.layers = vec![Vec::new(); layers];
        for (index, place) in self.places.iter().enumerate() {
            self.layers[place.layer].push(index);
        }
        self.left = vec![Vec::new(); self.places.len()];
        self.right = vec![Vec::new(); self.places.len()];
        for pair in self.chains.iter().flat_map(|chain| chain.windows(2)) {
            self.right[pair[0]].push(pair[1]);
            self.left[pair[1]].push(pair[0]);
        }
    }

    /// Orders each layer by the mean position of its neighbours in the one before.
    fn sweep(&mut self, direction: Sweep) {
        let count = self.layers.len();
        let order: Vec<usize> = match direction {
            Sweep::Rightwards => (1..count).collect(),
            Sweep::Leftwards => (0..count.saturating_sub(1)).rev().collect(),
        };
        for layer in order {
            let (fixed, neighbours) = match direction {
                Sweep::Rightwards => (layer - 1, &self.left),
                Sweep::Leftwards => (layer + 1, &self.right),
            };
            let mut rank = vec![0.0_f64; self.places.len()];
            for (at, index) in self.layers[fixed].iter().enumerate() {
                rank[*index] = at as f64;
            }
            let mean = |at: usize, index: usize| {
                let near = &neighbours[index];
                if near.is_empty() {
                    at as f64
                } else {
                    near.iter().map(|near| rank[*near]).sum::<f64>() / near.len() as f64
                }
            };
            let mut keyed: Vec<(f64, usize)> =
                self.layers[layer].iter().enumerate().map(|(at, index)| (mean(at, *index), *index)).collect();
            keyed.sort_by(|a, b| a.0.total_cmp(&b.0));
            self.layers[layer] = keyed.into_iter().map(|(_, index)| index).collect();
        }
    }

    fn draw(&self, tasks: usize) -> Graph {
        let tall =
            |layer: &Vec<usize>| layer.iter().map(|index| self.places[*index].height + GAP_Y).sum::<i32>() - GAP_Y;
        let height = self.layers.iter().map(tall).max().unwrap_or(0);
        let mut corners = vec![(0, 0); self.places.len()];
        for (number, layer) in self.layers.iter().enumerate() {
            let x = MARGIN + i32::try_from(number).unwrap_or(i32::MAX) * (NODE_WIDTH + GAP_X);
            let mut y = MARGIN + (height - tall(layer)) / 2;
            for index in layer {
                corners[*index] = (x, y);
                y += self.places[*index].height + GAP_Y;
            }
        }
        let layers = i32::try_from(self.layers.len()).unwrap_or(i32::MAX);
        Graph {
            width: 2 * MARGIN + layers * (NODE_WIDTH + GAP_X) - GAP_X,
            height: 2 * MARGIN + height,
            edges: self.chains.iter().map(|chain| self.path(chain, &corners)).collect(),
            boxes: corners[..tasks].to_vec(),
        }
    }

    fn path(&self, chain: &[usize], corners: &[(i32, i32)]) -> String {
        let middle = |index: usize| corners[index].1 + self.places[index].height / 2;
        let mut path = format!("M{} {}", corners[chain[0]].0 + NODE_WIDTH, middle(chain[0]));
        for pair in chain.windows(2) {
            let (from, to) = (pair[0], pair[1]);
            let (x0, y0) = (corners[from].0 + NODE_WIDTH, middle(from));
            let (x1, y1) = (corners[to].0, middle(to));
            let half = i32::midpoint(x0, x1);
            path.push_str(&format!(" C{half} {y0} {half} {y1} {x1} {y1}"));
            if self.places[to].height == EDGE_HEIGHT {
                path.push_str(&format!(" H{}", x1 + NODE_WIDTH));
            }
        }
        path
    }
}
