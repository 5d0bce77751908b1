//! The order within the layers: sweeps to and fro by the mean place of the neighbours; the best order seen is kept.

use super::layered::{Layered, Segment};

/// Sweeps to and fro; more bring little.
const SWEEPS: usize = 12;

/// Orders each layer so that few edges cross.
pub(super) fn reduce_crossings(graph: &mut Layered) {
    let mut best = (crossings(graph), graph.layers.clone());
    for sweep in 0..SWEEPS {
        if best.0 == 0 {
            break;
        }
        let count = graph.layers.len();
        if sweep % 2 == 0 {
            (1..count).for_each(|layer| arrange(graph, layer, Towards::Left));
        } else {
            (0..count.saturating_sub(1)).rev().for_each(|layer| arrange(graph, layer, Towards::Right));
        }
        let found = crossings(graph);
        if found < best.0 {
            best = (found, graph.layers.clone());
        }
    }
    graph.layers = best.1;
}

/// Which neighbours decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Towards {
    Left,
    Right,
}

fn arrange(graph: &mut Layered, layer: usize, towards: Towards) {
    let ranks = ranks(graph);
    let mut sums = vec![(0.0, 0.0); graph.vertices.len()];
    for segment in &graph.segments {
        let (own, near) = match towards {
            Towards::Left => (segment.right, end(graph, &ranks, segment, Towards::Left)),
            Towards::Right => (segment.left, end(graph, &ranks, segment, Towards::Right)),
        };
        if graph.vertices[own].layer == layer {
            sums[own].0 += near;
            sums[own].1 += 1.0;
        }
    }
    let mean = |vertex: usize| match sums[vertex] {
        (_, 0.0) => ranks[vertex],
        (sum, count) => sum / count,
    };
    graph.layers[layer].sort_by(|a, b| mean(*a).total_cmp(&mean(*b)));
}

fn ranks(graph: &Layered) -> Vec<f64> {
    let mut ranks = vec![0.0; graph.vertices.len()];
    for layer in &graph.layers {
        for (at, vertex) in layer.iter().enumerate() {
            ranks[*vertex] = at as f64;
        }
    }
    ranks
}

/// Where a segment's end lies in the order of its layer: places on one box count from above.
fn end(graph: &Layered, ranks: &[f64], segment: &Segment, side: Towards) -> f64 {
    let (vertex, height) = match side {
        Towards::Left => (segment.left, segment.left_height),
        Towards::Right => (segment.right, segment.right_height),
    };
    ranks[vertex] + f64::from(height) / f64::from(graph.vertices[vertex].height + 1)
}

/// How many pairs of segments cross.
pub(super) fn crossings(graph: &Layered) -> usize {
    let ranks = ranks(graph);
    let mut between = vec![Vec::new(); graph.layers.len()];
    for segment in &graph.segments {
        let ends = (end(graph, &ranks, segment, Towards::Left), end(graph, &ranks, segment, Towards::Right));
        between[graph.vertices[segment.left].layer].push(ends);
    }
    between
        .iter_mut()
        .map(|segments| {
            segments.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
            let mut rights: Vec<f64> = segments.iter().map(|ends| ends.1).collect();
            inversions(&mut rights)
        })
        .sum()
}

/// How many pairs stand in the wrong order; sorts them on the way.
fn inversions(values: &mut Vec<f64>) -> usize {
    if values.len() < 2 {
        return 0;
    }
    let mut upper = values.split_off(values.len() / 2);
    let mut count = inversions(values) + inversions(&mut upper);
    let lower = std::mem::take(values);
    let (mut l, mut u) = (0, 0);
    while l < lower.len() || u < upper.len() {
        if u == upper.len() || (l < lower.len() && lower[l] <= upper[u]) {
            values.push(lower[l]);
            l += 1;
        } else {
            values.push(upper[u]);
            count += lower.len() - l;
            u += 1;
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inversions_are_counted_while_sorting() {
        let mut values = vec![3.0, 1.0, 2.0, 2.0];
        assert_eq!(inversions(&mut values), 3);
        assert_eq!(values, [1.0, 2.0, 2.0, 3.0]);
    }
}
