//! The picture of a DAG version: laid out once, then shown with the states of a run.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use dag::{Dag, Phase, TaskPos};
use layout::{Chart, Group, Node, Rect};
use model::DagVersionId;
use schemars::JsonSchema;
use serde::Serialize;
use store::read::Version;

use super::state::Badge;

/// Larger DAGs are shown as a list: nobody reads such a picture.
pub const TASKS_MAX: usize = 400;
/// More edges than this are a grey surface.
const EDGES_MAX: usize = 4_000;
/// Pictures that are kept; each is some 100 KiB at most.
const KEPT_MAX: usize = 256;
/// Height of a task's box: its name and how it stands.
const NODE_HEIGHT: i32 = 44;
/// Width of a task's box without its name.
const NODE_FRAME: i32 = 40;
/// Width of a character of a name; names are cut by characters.
const CHAR_WIDTH: i32 = 7;
/// The narrowest box has room for how a task stands.
const NODE_WIDTH_MIN: i32 = 152;
/// The longest name that is written out.
const NAME_CHARS_MAX: usize = 28;

/// A picture without states.
#[derive(Debug)]
pub struct Picture {
    width: i32,
    height: i32,
    boxes: Vec<Rect>,
    names: Vec<String>,
    groups: Vec<GroupBox>,
    edges: Vec<EdgeLine>,
}

/// Where a box stands, as its template prints it.
#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
struct Place {
    x: i32,
    y: i32,
    width: i32,
    height: i32,
}

impl From<Rect> for Place {
    fn from(Rect { x, y, width, height }: Rect) -> Self {
        Self { x, y, width, height }
    }
}

#[derive(Debug, Clone, Serialize, JsonSchema)]
struct GroupBox {
    #[serde(flatten)]
    place: Place,
    name: String,
    tooltip: Option<String>,
}

#[derive(Debug, Clone, Serialize, JsonSchema)]
struct EdgeLine {
    from: usize,
    to: usize,
    path: String,
}

/// A picture with states.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Shown {
    width: i32,
    height: i32,
    nodes: Vec<ShownNode>,
    groups: Vec<GroupBox>,
    edges: Vec<EdgeLine>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct ShownNode {
    number: usize,
    #[serde(flatten)]
    place: Place,
    name: String,
    #[serde(flatten)]
    face: Face,
}

/// What a task's box shows.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Face {
    /// Its state.
    pub badge: Badge,
    /// The line below its name.
    pub stand: String,
    /// Its whole name, for the title.
    pub full_name: String,
    /// Where it leads; empty for nowhere.
    pub url: String,
    /// Whether its log is open beside the picture.
    pub chosen: bool,
}

/// Pictures by version. A version never changes, so what is kept is never stale.
#[derive(Debug, Default)]
pub struct Pictures(Mutex<BTreeMap<DagVersionId, Arc<Picture>>>);

impl Pictures {
    /// The picture of a version; none when it has too much on it.
    pub fn of(&self, version: &Version) -> Option<Arc<Picture>> {
        let dag = &version.dag;
        let edges: usize = dag.tasks.iter().map(|task| task.downstream.len()).sum();
        if dag.tasks.is_empty() || dag.tasks.len() > TASKS_MAX || edges > EDGES_MAX {
            return None;
        }
        let kept = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(picture) = kept().get(&version.id) {
            return Some(Arc::clone(picture));
        }
        let picture = Arc::new(Picture::of(dag));
        let mut kept = kept();
        if kept.len() >= KEPT_MAX {
            kept.clear();
        }
        kept.insert(version.id, Arc::clone(&picture));
        Some(picture)
    }
}

/// A task's name without that of its group, which stands on the group's box; with Airflow's arrow when it is a setup or teardown.
fn short_name(task: &dag::Task) -> String {
    let id = task.task_id.as_str();
    let inner = task.group.as_ref().and_then(|group| id.strip_prefix(group.as_str())?.strip_prefix('.'));
    let name = cut(task.task_display_name.as_deref().or(inner).unwrap_or(id));
    match task.phase {
        Phase::Work => name,
        Phase::Setup => format!("↗ {name}"),
        Phase::Teardown { .. } => format!("↘ {name}"),
    }
}

/// As much of a name as is written out.
fn cut(name: &str) -> String {
    match name.chars().count() {
        ..=NAME_CHARS_MAX => name.to_owned(),
        _ => name.chars().take(NAME_CHARS_MAX - 1).chain(['…']).collect(),
    }
}

/// The width of a box of this name.
fn width_of(name: &str) -> i32 {
    let chars = i32::try_from(name.chars().count()).unwrap_or(0);
    (NODE_FRAME + CHAR_WIDTH * chars).max(NODE_WIDTH_MIN)
}

impl Picture {
    fn of(dag: &Dag) -> Self {
        let names: Vec<String> = dag.tasks.iter().map(short_name).collect();
        let group_of = |id: &str| dag.groups.iter().position(|group| group.group_id == id);
        let chart = Chart {
            nodes: dag
                .tasks
                .iter()
                .zip(&names)
                .map(|(task, name)| Node {
                    width: width_of(name),
                    height: NODE_HEIGHT,
                    group: task.group.as_deref().and_then(group_of),
                })
                .collect(),
            groups: dag
                .groups
                .iter()
                .map(|group| Group { parent: group.group_id.rsplit_once('.').and_then(|(outer, _)| group_of(outer)) })
                .collect(),
            edges: dag
                .positions()
                .flat_map(|from| dag.task(from).downstream.iter().map(move |to| (from.0, to.0)))
                .collect(),
        };
        let titles = dag.groups.iter().map(|group| {
            let name = group.group_id.rsplit('.').next().unwrap_or_default().to_owned();
            (name, group.tooltip.clone())
        });
        Self::drawn(&chart, names, titles.collect())
    }

    fn drawn(chart: &Chart, names: Vec<String>, titles: Vec<(String, Option<String>)>) -> Self {
        let drawing = layout::draw(chart);
        let groups = titles
            .into_iter()
            .zip(drawing.groups)
            .filter_map(|((name, tooltip), rect)| Some(GroupBox { place: rect?.into(), name, tooltip }));
        let edges = chart.edges.iter().zip(&drawing.edges);
        Self {
            width: drawing.width,
            height: drawing.height,
            boxes: drawing.nodes,
            names,
            groups: groups.collect(),
            edges: edges
                .map(|((from, to), points)| EdgeLine { from: *from, to: *to, path: layout::path(points) })
                .collect(),
        }
    }

    /// A picture of boxes of these names, in no groups; the edges have no circle.
    pub fn of_boxes(labels: &[String], edges: Vec<(usize, usize)>) -> Self {
        let names: Vec<String> = labels.iter().map(|name| cut(name)).collect();
        let node = |name: &String| Node { width: width_of(name), height: NODE_HEIGHT, group: None };
        let chart = Chart { nodes: names.iter().map(node).collect(), groups: Vec::new(), edges };
        Self::drawn(&chart, names, Vec::new())
    }

    /// The picture with what each task's box shows.
    pub fn shown(&self, face: impl Fn(TaskPos) -> Face) -> Shown {
        let nodes = self.boxes.iter().zip(&self.names).enumerate().map(|(number, (rect, name))| ShownNode {
            number,
            place: (*rect).into(),
            name: name.clone(),
            face: face(TaskPos(number)),
        });
        Shown {
            width: self.width,
            height: self.height,
            nodes: nodes.collect(),
            groups: self.groups.clone(),
            edges: self.edges.clone(),
        }
    }
}
