//! Heights and columns: everything as near to its neighbours as the order and the gaps allow.

use super::layered::{Kind, Layered, Placed};

/// Between two layers: room for a curve and an arrow.
const GAP_X: i32 = 28;
/// Between two boxes.
const GAP_BOXES: i32 = 16;
/// Between an edge and whatever is beside it.
const GAP_EDGES: i32 = 12;
/// Rounds of moving each layer towards its neighbours.
const ROUNDS: usize = 10;
/// How much an edge wants to be straight between two bends: it has nothing else to do there.
const BENDS_PULL: f64 = 8.0;
/// Between two neighbouring boxes: a chain of tasks reads as a line.
const BOXES_PULL: f64 = 4.0;
/// Where a long edge leaves or reaches its box.
const ENDS_PULL: f64 = 1.0;

/// Places an ordered graph.
pub(super) fn place(graph: &Layered) -> Placed {
    let mut tops = vec![0.0; graph.vertices.len()];
    for layer in &graph.layers {
        let mut y = 0.0;
        for (at, vertex) in layer.iter().enumerate() {
            y += if at == 0 { 0.0 } else { f64::from(gap(graph, layer[at - 1], *vertex)) };
            tops[*vertex] = y;
            y += f64::from(graph.vertices[*vertex].height);
        }
    }
    for round in 0..ROUNDS {
        let rightwards = round % 2 == 0;
        let count = graph.layers.len();
        for step in 0..count {
            let layer = if rightwards { step } else { count - 1 - step };
            let look = if round + 2 >= ROUNDS {
                Look::Both
            } else if rightwards {
                Look::Left
            } else {
                Look::Right
            };
            settle(graph, layer, look, &mut tops);
        }
    }
    finish(graph, &tops)
}

/// Which neighbours pull.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    Left,
    Right,
    Both,
}

fn gap(graph: &Layered, above: usize, below: usize) -> i32 {
    match (graph.vertices[above].kind, graph.vertices[below].kind) {
        (Kind::Item, Kind::Item) => GAP_BOXES,
        _ => GAP_EDGES,
    }
}

/// Moves one layer: the least squares of all pulls, in the given order, with the gaps kept.
fn settle(graph: &Layered, layer: usize, look: Look, tops: &mut [f64]) {
    let mut pulls = vec![(0.0, 0.0); graph.vertices.len()];
    for segment in &graph.segments {
        let (left, right) = (&graph.vertices[segment.left], &graph.vertices[segment.right]);
        let weight = match (left.kind, right.kind) {
            (Kind::Bend, Kind::Bend) => BENDS_PULL,
            (Kind::Item, Kind::Bend) | (Kind::Bend, Kind::Item) => ENDS_PULL,
            (Kind::Item, Kind::Item) => BOXES_PULL,
        };
        let offset = f64::from(segment.left_height - segment.right_height);
        if right.layer == layer && look != Look::Right {
            pulls[segment.right].0 += weight * (tops[segment.left] + offset);
            pulls[segment.right].1 += weight;
        }
        if left.layer == layer && look != Look::Left {
            pulls[segment.left].0 += weight * (tops[segment.right] - offset);
            pulls[segment.left].1 += weight;
        }
    }
    // Relative to where each would be if all stood as close as they may, the order is that of rising numbers.
    let order = &graph.layers[layer];
    let mut close = Vec::with_capacity(order.len());
    let mut y = 0.0;
    for (at, vertex) in order.iter().enumerate() {
        y += if at == 0 { 0.0 } else { f64::from(gap(graph, order[at - 1], *vertex)) };
        close.push(y);
        y += f64::from(graph.vertices[*vertex].height);
    }
    let wishes: Vec<(f64, f64)> = order
        .iter()
        .zip(&close)
        .map(|(vertex, close)| match pulls[*vertex] {
            // What nothing pulls stays where it is, unless others need the room.
            (_, 0.0) => (tops[*vertex] - close, 0.01),
            (sum, weight) => (sum / weight - close, weight),
        })
        .collect();
    for ((vertex, close), shift) in order.iter().zip(&close).zip(rising(&wishes)) {
        tops[*vertex] = close + shift;
    }
}

/// The rising numbers that are nearest to the wishes by weighted squares: neighbours that would fall are pooled.
fn rising(wishes: &[(f64, f64)]) -> Vec<f64> {
    let mut pools: Vec<(f64, f64, usize)> = Vec::new();
    for (value, weight) in wishes {
        let mut pool = (*value, *weight, 1);
        while let Some(last) = pools.last().copied().filter(|last| last.0 > pool.0) {
            pools.pop();
            let weight = last.1 + pool.1;
            pool = ((last.0 * last.1 + pool.0 * pool.1) / weight, weight, last.2 + pool.2);
        }
        pools.push(pool);
    }
    pools.into_iter().flat_map(|(value, _, count)| std::iter::repeat_n(value, count)).collect()
}

/// Whole numbers, nothing above zero, columns as wide as their widest box.
fn finish(graph: &Layered, tops: &[f64]) -> Placed {
    let highest = tops.iter().copied().fold(f64::INFINITY, f64::min);
    let mut whole = vec![0; tops.len()];
    let mut height = 0;
    for layer in &graph.layers {
        let mut free = 0;
        for (at, vertex) in layer.iter().enumerate() {
            let gap = if at == 0 { 0 } else { gap(graph, layer[at - 1], *vertex) };
            // Rounding must not take the gap away.
            let top = ((tops[*vertex] - highest).round() as i32).max(free + gap);
            whole[*vertex] = top;
            free = top + graph.vertices[*vertex].height;
        }
        height = height.max(free);
    }
    let mut columns = Vec::with_capacity(graph.layers.len());
    let mut x = 0;
    for layer in &graph.layers {
        let width = layer.iter().map(|vertex| graph.vertices[*vertex].width).max().unwrap_or(0);
        columns.push((x, x + width));
        x += width + if width == 0 { GAP_X / 2 } else { GAP_X };
    }
    let width = columns.last().map_or(0, |column| column.1);
    Placed { width, height, columns, tops: whole }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_fall_is_pooled() {
        assert_eq!(rising(&[(1.0, 1.0), (5.0, 1.0), (3.0, 1.0), (6.0, 1.0)]), [1.0, 4.0, 4.0, 6.0]);
        assert_eq!(rising(&[(4.0, 3.0), (0.0, 1.0)]), [3.0, 3.0]);
    }
}
