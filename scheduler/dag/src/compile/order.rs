//! The order of the tasks, or the cycle that leaves none.
//!
//! petgraph holds the graph and finds what waits for itself. The order is Kahn's, with ties in the order of the file:
//! petgraph's own has no rule for ties, and the positions that follow from the order are part of a version's identity.

use std::{cmp::Reverse, collections::BinaryHeap};

use petgraph::{
    Direction::Incoming,
    algo::{astar, kosaraju_scc},
    graph::{DiGraph, NodeIndex},
};

/// What comes directly before what.
pub(super) type Graph = DiGraph<(), (), u32>;

/// The nodes so that each comes after what it depends on, ties in the order of the file; or a cycle.
pub(super) fn topological(graph: &Graph) -> Result<Vec<usize>, Vec<usize>> {
    let mut open: Vec<usize> = graph.node_indices().map(|node| graph.edges_directed(node, Incoming).count()).collect();
    let mut ready: BinaryHeap<Reverse<usize>> = (0..open.len()).filter(|node| open[*node] == 0).map(Reverse).collect();
    let mut order = Vec::with_capacity(open.len());
    while let Some(Reverse(node)) = ready.pop() {
        order.push(node);
        for next in graph.neighbors(NodeIndex::new(node)) {
            open[next.index()] -= 1;
            if open[next.index()] == 0 {
                ready.push(Reverse(next.index()));
            }
        }
    }
    if order.len() == open.len() { Ok(order) } else { Err(cycle(graph)) }
}

/// The shortest cycle through the first node of the file that waits for itself, in the order of running.
fn cycle(graph: &Graph) -> Vec<usize> {
    let knots = kosaraju_scc(graph).into_iter().filter(|knot| knot.len() > 1);
    let Some(first) = knots.flatten().min() else { return Vec::new() };
    let is_last = |node| graph.contains_edge(node, first);
    let path = astar(graph, first, is_last, |_| 1_u32, |_| 0).map_or_else(Vec::new, |(_, path)| path);
    path.into_iter().map(NodeIndex::index).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(nodes: usize, edges: &[(u32, u32)]) -> Graph {
        let mut graph = Graph::with_capacity(nodes, edges.len());
        for _ in 0..nodes {
            graph.add_node(());
        }
        graph.extend_with_edges(edges);
        graph
    }

    #[test]
    fn ties_are_in_the_order_of_the_file() {
        assert_eq!(topological(&graph(4, &[(2, 0)])), Ok(vec![1, 2, 0, 3]));
    }

    #[test]
    fn the_shortest_cycle_through_its_first_node_is_named() {
        let edges = [(0, 1), (1, 2), (2, 3), (3, 1), (2, 1), (3, 4)];
        assert_eq!(topological(&graph(5, &edges)), Err(vec![1, 2]));
    }

    #[test]
    fn a_long_cycle_needs_no_deep_stack() {
        const NODES: u32 = 50_000;
        let edges: Vec<(u32, u32)> = (0..NODES).map(|node| (node, (node + 1) % NODES)).collect();
        assert_eq!(topological(&graph(NODES as usize, &edges)).unwrap_err().len(), NODES as usize);
    }
}
