use super::*;

fn chart(nodes: &[Option<usize>], groups: &[Option<usize>], edges: &[(usize, usize)]) -> Chart {
    Chart {
        nodes: nodes.iter().map(|group| Node { width: 150, height: 44, group: *group }).collect(),
        groups: groups.iter().map(|parent| Group { parent: *parent }).collect(),
        edges: edges.to_vec(),
    }
}

fn overlap(a: Rect, b: Rect) -> bool {
    a.x < b.x + b.width && b.x < a.x + a.width && a.y < b.y + b.height && b.y < a.y + a.height
}

fn holds(outer: Rect, inner: Rect) -> bool {
    outer.x <= inner.x
        && outer.y <= inner.y
        && inner.x + inner.width <= outer.x + outer.width
        && inner.y + inner.height <= outer.y + outer.height
}

/// What holds of every drawing.
fn check(chart: &Chart) -> Drawing {
    let drawing = draw(chart);
    let whole = Rect { x: 0, y: 0, width: drawing.width, height: drawing.height };
    for (at, rect) in drawing.nodes.iter().enumerate() {
        assert!(holds(whole, *rect), "box {at} is outside: {rect:?} of {whole:?}");
        for (other, second) in drawing.nodes.iter().enumerate().skip(at + 1) {
            assert!(!overlap(*rect, *second), "boxes {at} and {other} overlap");
        }
    }
    for (group, rect) in drawing.groups.iter().enumerate() {
        let Some(rect) = rect else { continue };
        for (at, node) in chart.nodes.iter().enumerate() {
            let mut around = std::iter::successors(node.group, |group| chart.groups[*group].parent);
            let is_member = around.any(|one| one == group);
            assert_eq!(holds(*rect, drawing.nodes[at]), is_member, "box {at} and group {group}");
            assert_eq!(overlap(*rect, drawing.nodes[at]), is_member, "box {at} and group {group}");
        }
    }
    for ((from, to), points) in chart.edges.iter().zip(&drawing.edges) {
        let (start, end) = (drawing.nodes[*from], drawing.nodes[*to]);
        let expected = Point { x: start.x + start.width, y: start.y + start.height / 2 };
        assert_eq!(points.first(), Some(&expected), "edge {from} to {to}");
        assert_eq!(points.last(), Some(&Point { x: end.x, y: end.y + end.height / 2 }), "edge {from} to {to}");
        assert!(points.windows(2).all(|pair| pair[0].x <= pair[1].x), "edge {from} to {to} runs back: {points:?}");
    }
    drawing
}

#[test]
fn a_chain_is_a_straight_line() {
    let drawing = check(&chart(&[None; 4], &[], &[(0, 1), (1, 2), (2, 3), (0, 3)]));
    let heights: Vec<i32> = drawing.nodes.iter().map(|rect| rect.y).collect();
    assert!(heights[1] == heights[2], "{heights:?}");
}

#[test]
fn edges_that_need_not_cross_do_not() {
    let drawing = check(&chart(&[None; 6], &[], &[(0, 5), (1, 4), (2, 3)]));
    let y = |node: usize| drawing.nodes[node].y;
    for (a, b) in [(0, 1), (1, 2), (0, 2)] {
        assert_eq!(y(a) < y(b), y(5 - a) < y(5 - b), "{:?}", drawing.nodes);
    }
}

#[test]
fn a_group_is_a_box_around_its_tasks_alone() {
    let groups = [None, Some(0)];
    let nodes = [None, Some(0), Some(0), Some(1), Some(1), None, None];
    let drawing = check(&chart(&nodes, &groups, &[(0, 1), (0, 2), (1, 3), (2, 4), (3, 5), (4, 5), (0, 6), (6, 5)]));
    assert!(drawing.groups.iter().all(Option::is_some));
    assert!(holds(drawing.groups[0].unwrap(), drawing.groups[1].unwrap()));
}

#[test]
fn a_group_that_edges_leave_and_come_back_to_has_no_box() {
    let drawing = check(&chart(&[Some(0), None, Some(0), Some(1)], &[None, None], &[(0, 1), (1, 2), (2, 3)]));
    assert_eq!(drawing.groups[0], None);
    assert!(drawing.groups[1].is_some());
}

#[test]
fn two_hundred_tasks_with_groups_keep_every_promise_and_come_out_the_same() {
    for seed in 1..6_u64 {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut random = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            usize::try_from((state >> 33) % below).unwrap()
        };
        let groups = [None, None, Some(0), Some(1), None];
        let nodes: Vec<Option<usize>> =
            (0..200).map(|node| (node % 3 != 0).then(|| (node / 41 + random(2)).min(4))).collect();
        let mut edges: Vec<(usize, usize)> =
            (1..200_usize).flat_map(|to| [(random(to as u64), to), (to.saturating_sub(1 + random(7)), to)]).collect();
        edges.retain(|(from, to)| from < to);
        edges.sort_unstable();
        edges.dedup();
        let chart = chart(&nodes, &groups, &edges);
        let first = check(&chart);
        assert_eq!(first.edges, draw(&chart).edges);
    }
}

#[test]
fn a_path_is_level_where_it_can_be() {
    let points = [Point { x: 0, y: 5 }, Point { x: 10, y: 5 }, Point { x: 30, y: 9 }];
    assert_eq!(path(&points), "M0 5H10C20 5 20 9 30 9");
    assert_eq!(path(&[]), "");
}
