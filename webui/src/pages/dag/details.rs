//! The details tab: what the DAG is for, when it runs next, its settings, params and tasks.

use dag::{Catchup, Dag};
use engine::timetable::{self, Restriction};
use schemars::JsonSchema;
use serde::Serialize;
use store::read::{DagView, Version};

use super::super::{
    Fact,
    markdown::{self, Block},
    words::{self, Clock, Moment},
};

/// How many coming runs are told.
const FORECAST: usize = 6;

/// The details.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Details {
    doc: Vec<Block>,
    forecast: Vec<Coming>,
    is_paused: bool,
    settings: Vec<Fact>,
    params: Vec<Param>,
    tasks: Vec<Task>,
}

/// A run that the schedule will make.
#[derive(Debug, Serialize, JsonSchema)]
struct Coming {
    at: Moment,
    stamp: String,
    covers: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Param {
    name: String,
    kind: String,
    default: String,
    description: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Task {
    task_id: String,
    /// What pages call it, when that is not its id.
    name: Option<String>,
    operator: &'static str,
    after: String,
    rule: &'static str,
    retries: u16,
    pool: String,
    doc: Vec<Block>,
}

/// The details of the current version.
pub(super) fn details(view: &DagView, version: &Version, clock: Clock) -> Details {
    let dag = &version.dag;
    Details {
        doc: markdown::blocks(dag.doc_md.as_deref().unwrap_or_default()),
        forecast: forecast(view, dag, clock),
        is_paused: view.is_paused,
        settings: settings(view, version, clock),
        params: params(dag),
        tasks: dag.tasks.iter().map(|task| self::task(dag, task)).collect(),
    }
}

/// The next runs, as the engine's own timetable gives them.
fn forecast(view: &DagView, dag: &Dag, clock: Clock) -> Vec<Coming> {
    let restriction = Restriction { earliest: dag.start_date, latest: dag.end_date, catchup: dag.catchup };
    let after = |due: &engine::DueRun| {
        let now = due.run_after.max(clock.now);
        timetable::next(&dag.schedule, &restriction, Some((due.start, due.end)), now)
            .filter(|next| next.run_after > due.run_after)
    };
    let coming = std::iter::successors(view.next, after).take(FORECAST).map(|due| Coming {
        at: clock.moment(due.run_after),
        stamp: clock.stamp(due.run_after).words,
        covers: (due.start != due.end).then(|| format!("{} – {}", clock.short(due.start), clock.short(due.end))),
    });
    coming.collect()
}

fn settings(view: &DagView, version: &Version, clock: Clock) -> Vec<Fact> {
    let dag = &version.dag;
    let hash = version.content_hash.get(..7).unwrap_or_default();
    let mut facts = vec![
        Fact::new("file", view.fileloc.clone()),
        Fact::new("version", format!("{} · {hash}", version.number)),
        Fact::at("last read", clock.moment(view.last_parsed_at)),
        Fact::new("runs at once", dag.max_active_runs.to_string()),
        Fact::new("tasks at once, a run", dag.max_active_tasks.to_string()),
        Fact::new(
            "missed runs",
            match dag.catchup {
                Catchup::All => "are made up (catchup)",
                Catchup::Latest => "only the newest is made",
            },
        ),
    ];
    if let Some(revision) = &version.bundle_version {
        let short: String = revision.chars().take(12).collect();
        facts.insert(1, Fact::new("bundle", format!("{} · {short}", version.bundle_name)).to("/bundles"));
    }
    facts.extend(dag.start_date.map(|at| Fact::at("start date", clock.stamp(at))));
    facts.extend(dag.end_date.map(|at| Fact::at("end date", clock.stamp(at))));
    facts.extend(dag.dagrun_timeout.map(|limit| Fact::new("a run may take", words::duration(limit))));
    if dag.max_consecutive_failed_dag_runs > 0 {
        facts.push(Fact::new("paused after", format!("{} failed runs in a row", dag.max_consecutive_failed_dag_runs)));
    }
    facts
}

fn params(dag: &Dag) -> Vec<Param> {
    let kind = |param: &dag::Param| match param.schema.get("type") {
        Some(serde_json::Value::String(kind)) => kind.clone(),
        Some(serde_json::Value::Array(kinds)) => {
            kinds.iter().filter_map(|kind| kind.as_str()).collect::<Vec<_>>().join(" or ")
        }
        Some(_) | None => "any".to_owned(),
    };
    dag.params
        .iter()
        .map(|(name, param)| Param {
            name: name.clone(),
            kind: kind(param),
            default: param.default.to_string(),
            description: param.description.clone(),
        })
        .collect()
}

fn task(dag: &Dag, task: &dag::Task) -> Task {
    Task {
        task_id: task.task_id.to_string(),
        name: task.task_display_name.clone(),
        operator: task.operator.name(),
        after: task.upstream.iter().map(|pos| dag.task(*pos).task_id.as_str()).collect::<Vec<_>>().join(", "),
        rule: task.trigger_rule.name(),
        retries: task.retries,
        pool: task.pool.clone(),
        doc: markdown::blocks(task.doc_md.as_deref().unwrap_or_default()),
    }
}
