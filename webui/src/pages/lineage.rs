//! The picture of how DAGs are joined by assets: who writes what, who waits for it and who reads it.

use std::collections::{BTreeMap, BTreeSet};

use store::read::{AssetLink, AssetUse};

use super::{
    dag_url,
    picture::{Face, Picture, Shown},
    state::Badge,
};

/// A larger picture is read by nobody: the list has it all.
pub const NODES_MAX: usize = 300;

/// A box of the picture.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Node {
    Asset(i64),
    Dag(String),
}

/// The picture; none when there is nothing to show, or too much.
#[must_use]
pub fn picture(links: &[AssetLink], chosen: Option<i64>) -> Option<Shown> {
    let names: BTreeMap<i64, &str> = links.iter().map(|link| (link.asset_id, link.asset.name.as_str())).collect();
    let mut numbers: BTreeMap<Node, usize> = BTreeMap::new();
    let mut nodes: Vec<Node> = Vec::new();
    let mut number = |node: Node| {
        *numbers.entry(node.clone()).or_insert_with(|| {
            nodes.push(node);
            nodes.len() - 1
        })
    };
    let mut edges: Vec<(usize, usize)> = Vec::new();
    for link in links {
        let (asset, dag) = (number(Node::Asset(link.asset_id)), number(Node::Dag(link.dag_id.to_string())));
        edges.push(match link.kind {
            AssetUse::Writes => (dag, asset),
            AssetUse::Waits | AssetUse::Reads => (asset, dag),
        });
    }
    if nodes.is_empty() || nodes.len() > NODES_MAX {
        return None;
    }
    edges.sort_unstable();
    edges.dedup();
    let edges = without_cycles(nodes.len(), &edges);
    let labels = nodes.iter().map(|node| match node {
        Node::Asset(id) => names.get(id).copied().unwrap_or_default().to_owned(),
        Node::Dag(dag_id) => dag_id.clone(),
    });
    let picture = Picture::of_boxes(&labels.collect::<Vec<_>>(), edges);
    let waiting: BTreeSet<&str> =
        links.iter().filter(|link| link.kind == AssetUse::Waits).map(|link| link.dag_id.as_str()).collect();
    Some(picture.shown(|pos| face(&nodes[pos.0], &names, &waiting, chosen)))
}

fn face(node: &Node, names: &BTreeMap<i64, &str>, waiting: &BTreeSet<&str>, chosen: Option<i64>) -> Face {
    match node {
        Node::Asset(id) => Face {
            badge: Badge { class: "scheduled", glyph: "◆", word: "asset" },
            stand: "asset".to_owned(),
            full_name: names.get(id).copied().unwrap_or_default().to_owned(),
            url: format!("/assets/{id}"),
            chosen: chosen == Some(*id),
        },
        Node::Dag(dag_id) => Face {
            badge: Badge { class: "none", glyph: "·", word: "DAG" },
            stand: if waiting.contains(dag_id.as_str()) { "DAG, runs by assets" } else { "DAG" }.to_owned(),
            full_name: dag_id.clone(),
            url: model::DagId::new(dag_id).map_or_else(|_| String::new(), |dag_id| dag_url(&dag_id)),
            chosen: false,
        },
    }
}

/// The same without the edges that would lead back: a picture has a direction, and DAGs may wait for each other in a circle.
fn without_cycles(nodes: usize, edges: &[(usize, usize)]) -> Vec<(usize, usize)> {
    let mut after: Vec<Vec<usize>> = vec![Vec::new(); nodes];
    for (from, to) in edges {
        after[*from].push(*to);
    }
    let mut states = vec![State::New; nodes];
    let mut kept = Vec::with_capacity(edges.len());
    for start in 0..nodes {
        // By hand, because a chain of many DAGs is deeper than a stack.
        let mut path: Vec<(usize, usize)> = Vec::new();
        if states[start] == State::New {
            states[start] = State::OnPath;
            path.push((start, 0));
        }
        while let Some((node, next)) = path.last_mut() {
            let Some(to) = after[*node].get(*next).copied() else {
                states[*node] = State::Done;
                path.pop();
                continue;
            };
            let from = *node;
            *next += 1;
            match states[to] {
                State::OnPath => {}
                State::Done => kept.push((from, to)),
                State::New => {
                    kept.push((from, to));
                    states[to] = State::OnPath;
                    path.push((to, 0));
                }
            }
        }
    }
    kept
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    New,
    OnPath,
    Done,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(dag: &str, kind: AssetUse, id: i64) -> AssetLink {
        let asset = model::AssetKey::of(&format!("a{id}"), &format!("s3://b/{id}")).unwrap();
        AssetLink { dag_id: model::DagId::new(dag).unwrap(), kind, asset_id: id, asset }
    }

    #[test]
    fn dags_that_wait_for_each_other_are_drawn_all_the_same() {
        use AssetUse::{Reads, Waits, Writes};
        let links = [
            link("a", Writes, 1),
            link("b", Waits, 1),
            link("b", Writes, 2),
            link("a", Waits, 2),
            link("self", Writes, 3),
            link("self", Reads, 3),
        ];
        let shown = serde_json::to_value(picture(&links, Some(2)).unwrap()).unwrap();
        assert_eq!(shown["nodes"].as_array().unwrap().len(), 6);
        assert_eq!(shown["edges"].as_array().unwrap().len(), 4, "two edges lead back");
        let chosen = shown["nodes"].as_array().unwrap().iter().filter(|node| node["chosen"] == true);
        assert_eq!(chosen.map(|node| node["full_name"].as_str().unwrap()).collect::<Vec<_>>(), ["a2"]);
        assert!(picture(&[], None).is_none());
    }

    #[test]
    fn an_order_without_circles_loses_no_edge() {
        let edges = [(0, 1), (0, 2), (1, 3), (2, 3)];
        let mut kept = without_cycles(4, &edges);
        kept.sort_unstable();
        assert_eq!(kept, edges);
    }
}
