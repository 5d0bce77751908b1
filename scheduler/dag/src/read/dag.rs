//! One DAG: its own fields, then its groups and tasks, then the compiled whole.

use std::{collections::BTreeSet, time::Duration};

use chrono_tz::Tz;
use model::{DagId, Operator, RunType, Timestamp, TriggerRule};

use super::{
    callable, callbacks, deadlines,
    fields::{Fields, Item, Layer, check_keys},
    group, macros, params, remarks,
    schedule::{self, When},
    task,
    value::Date,
};
use crate::{
    canonical, compile,
    compiled::{
        Catchup, CompiledDag, CronTimetable, Dag, DagFile, DeltaTimetable, Overlap, RelativeDate, RunCallbacks,
        Schedule, TaskGroup,
    },
    files::{FileSet, ReadFile},
    keys::{self, Here, LIMIT_MAX},
    problem::{Place, Problems},
    yaml::Value,
};

/// Airflow's default for both limits of a DAG.
const ACTIVE_DEFAULT: u32 = 16;

/// Where a DAG comes from.
pub(super) struct Source<'n> {
    /// Its file.
    pub(super) file: &'n DagFile,
    /// Its id, when it is the key of a mapping.
    pub(super) name: Option<&'n str>,
    /// Its mapping, with what it inherits.
    pub(super) layer: Layer<'n>,
}

/// Reads and compiles a DAG; none when something is wrong with it.
pub(super) fn read(
    source: Source<'_>,
    place: &Place,
    files: &dyn ReadFile,
    problems: &mut Problems,
) -> Option<CompiledDag> {
    let fields = Fields::new(place.clone(), vec![source.layer]);
    let mut files = FileSet::new(files, &source.file.name);
    fields.check_keys(&[keys::DAG], &[keys::DAG_NOT_YET], Here::Dag, problems);
    let dag_id = dag_id(&fields, source.name, problems);
    let defaults = default_args(&fields, problems);
    let searched = fields.take("template_searchpath").and_then(|item| item.texts(problems));
    files.search_in(searched.unwrap_or_default());
    let macros = macros::read(&fields, &mut files, problems);
    let groups = group::read_all(&fields, problems);
    let (dag, zone) = assemble(dag_id, &fields, &defaults, problems);
    let drafts = task::read_all(&fields, &groups, (&defaults, zone), &mut files, problems);
    extra_files(&fields, &mut files, problems);
    let doc = doc_file(&fields, &mut files, problems);
    let callbacks = callbacks::of_dag(&fields, &mut files, problems);
    let deadlines = deadlines::read_all(&fields, &defaults, &mut files, problems);
    let tasks = compile::compile(drafts?, &groups, problems)?;
    let mut dag = Dag { tasks, callbacks, deadlines, ..dag? };
    dag.doc_md = dag.doc_md.or(doc);
    dag.user_defined_macros = macros?;
    check_whole(&dag, &fields, problems);
    if problems.is_refused() {
        return None;
    }
    remarks::on(&dag, &fields, problems);
    let files = files.into_files();
    dag.owners = dag.tasks.iter().map(|task| task.owner.clone()).collect::<BTreeSet<_>>().into_iter().collect();
    dag.groups = groups
        .all
        .into_iter()
        .map(|group| TaskGroup {
            // The names of the tasks that it is expanded over are whole in its tasks.
            expand: dag
                .tasks
                .iter()
                .filter_map(|task| task.expand.as_ref())
                .find(|expand| expand.group.as_ref() == Some(&group.group_id))
                .map(|expand| crate::Expand { map_index_template: None, ..expand.clone() }),
            group_id: group.group_id,
            tooltip: group.tooltip,
        })
        .collect();
    dag.files = files.iter().map(|file| (file.name.clone(), file.sha256.clone())).collect();
    let canonical_yaml = canonical::yaml(&dag);
    let content_hash = canonical::content_hash(&canonical_yaml, &files);
    let fileloc = source.file.name.clone();
    Some(CompiledDag { dag, content_hash, canonical_yaml, fileloc, source: source.file.clone(), files })
}

fn dag_id(fields: &Fields<'_>, name: Option<&str>, problems: &mut Problems) -> Option<DagId> {
    let item = fields.own("dag_id");
    if let (Some(item), None) = (&item, name)
        && item.is_scalar()
    {
        let name = item.plain_text(problems)?;
        problems.name_dag(&name);
    }
    let text = match (&item, name) {
        (Some(item), None) => item.plain_text(problems)?,
        (Some(item), Some(name)) => {
            let text = item.plain_text(problems)?;
            if text != name {
                return item.fail(format!("the DAG stands below the key {name:?}; leave dag_id away"), problems);
            }
            text
        }
        (None, Some(name)) => name.to_owned(),
        (None, None) => {
            problems.add(&fields.place, "dag_id is missing");
            return None;
        }
    };
    let place = item.map_or_else(|| fields.place.clone(), |item| item.place);
    DagId::new(&text).map_err(|why| problems.add(&place, why.to_string())).ok()
}

/// The layers that tasks inherit from, nearest first.
fn default_args<'n>(fields: &Fields<'n>, problems: &mut Problems) -> Vec<Layer<'n>> {
    let mut layers = Vec::new();
    for item in fields.all("default_args") {
        layers.extend(defaults_layer(&item, Here::DagDefaults, problems));
    }
    layers
}

/// One mapping of defaults for tasks.
pub(super) fn defaults_layer<'n>(item: &Item<'n>, here: Here, problems: &mut Problems) -> Option<Layer<'n>> {
    let layer = item.layer("a mapping of values for tasks", problems)?;
    let dates = if here == Here::DagDefaults { keys::DEFAULTS } else { &[] };
    let known = [keys::TASK, dates, keys::operator_keys()];
    let not_yet = [keys::TASK_NOT_YET, keys::DAG_NOT_YET, keys::DEFAULTS_NOT_YET, keys::docker::NOT_YET];
    check_keys(&layer, &known, &not_yet, here, problems);
    Some(layer)
}

/// Everything but the tasks, and the zone of dates without one.
fn assemble(
    dag_id: Option<DagId>,
    fields: &Fields<'_>,
    defaults: &[Layer<'_>],
    problems: &mut Problems,
) -> (Option<Dag>, Tz) {
    // What people write among the values for tasks is the DAG's when it has none of its own.
    let own = fields;
    let fields = &own.with_defaults(defaults);
    let zone_item = fields.take("timezone");
    let explicit_zone = zone_item.and_then(|item| item.zone(problems));
    let schedule_item = fields.either(["schedule", "schedule_interval", "timetable"], problems);
    let when = schedule_item.map_or(Some(When::NEVER), |item| schedule::read(&item, explicit_zone, problems));
    let when = when.unwrap_or(When::NEVER);
    let params = params::read_all(own, &when, problems);
    let When { schedule, assets } = when;
    let zone = explicit_zone.or(zone_of(&schedule)).unwrap_or(Tz::UTC);
    let (start_date, relative_start) = start_date(fields, zone, problems);
    let end_date = fields.take("end_date").and_then(|item| item.date(zone, problems));
    let truth = |name, absent: bool, problems: &mut Problems| match fields.take(name) {
        None => absent,
        // Airflow does not look for it there, and so takes whatever it is.
        Some(item) if own.take(name).is_none() && !item.is_truth() => {
            problems.warn(&item.place, "this is neither true nor false, and a key of the DAG: it is left out");
            absent
        }
        Some(item) => item.truth(problems).unwrap_or(absent),
    };
    let catchup = if truth("catchup", false, problems) { Catchup::All } else { Catchup::Latest };
    let is_paused_upon_creation = truth("is_paused_upon_creation", true, problems);
    let fail_fast = truth("fail_fast", false, problems);
    let render_template_as_native_obj = truth("render_template_as_native_obj", false, problems);
    let dag = dag_id.map(|dag_id| Dag {
        dag_id,
        dag_display_name: text(fields, "dag_display_name", problems),
        description: text(fields, "description", problems),
        doc_md: text(own, "doc_md", problems),
        tags: tags(fields, problems),
        owners: Vec::new(),
        start_date,
        relative_start,
        end_date,
        catchup,
        is_paused_upon_creation,
        max_active_runs: limit(fields.take("max_active_runs"), problems).unwrap_or(match schedule {
            Schedule::Continuous => 1,
            _ => ACTIVE_DEFAULT,
        }),
        max_active_tasks: limit(fields.either(["max_active_tasks", "concurrency"], problems), problems)
            .unwrap_or(ACTIVE_DEFAULT),
        max_consecutive_failed_dag_runs: fields
            .take("max_consecutive_failed_dag_runs")
            .and_then(|item| item.whole(0..=LIMIT_MAX, problems))
            .unwrap_or(0),
        dagrun_timeout: timeout(fields, problems),
        allowed_run_types: run_types(fields, problems),
        overlap: fields.take("overlap").and_then(|item| item.word(keys::OVERLAPS, problems)).unwrap_or_default(),
        fail_fast,
        callbacks: RunCallbacks::default(),
        deadlines: Vec::new(),
        render_template_as_native_obj,
        user_defined_macros: serde_json::Map::new(),
        params,
        tasks: Vec::new(),
        groups: Vec::new(),
        files: std::collections::BTreeMap::new(),
        schedule,
        assets,
    });
    (dag, zone)
}

/// The start date, or how long it is before the day on which the DAG is first seen.
fn start_date(fields: &Fields<'_>, zone: Tz, problems: &mut Problems) -> (Option<Timestamp>, Option<RelativeDate>) {
    let Some(item) = fields.take("start_date") else { return (None, None) };
    match item.date_or_relative(zone, problems) {
        None => (None, None),
        Some(Date::At(date)) => (Some(date), None),
        Some(Date::Before(relative)) => {
            problems.warn(
                &item.place,
                "this start_date is so long before the day on which the DAG is first seen, and stays that date from then \
                 on; write the date itself to say which",
            );
            (None, Some(relative))
        }
    }
}

fn text(fields: &Fields<'_>, name: &str, problems: &mut Problems) -> Option<String> {
    fields.take(name)?.text_or_none(problems)
}

/// The types of runs that it may have, each once, in the order of their codes.
fn run_types(fields: &Fields<'_>, problems: &mut Problems) -> Option<Vec<RunType>> {
    let item = fields.take("allowed_run_types")?;
    let items = match item.node.value {
        Value::List(_) => item.list("a list of types of runs", problems)?,
        _ => vec![item.clone()],
    };
    if items.is_empty() {
        return item.fail("expected at least one type of runs; without any the DAG never runs", problems);
    }
    let types: Option<BTreeSet<RunType>> = items.iter().map(|item| item.word(keys::RUN_TYPES, problems)).collect();
    Some(types?.into_iter().collect())
}

fn tags(fields: &Fields<'_>, problems: &mut Problems) -> Vec<String> {
    let mut tags = fields.take("tags").and_then(|item| item.texts(problems)).unwrap_or_default();
    let mut seen = BTreeSet::new();
    tags.retain(|tag| seen.insert(tag.clone()));
    tags
}

fn limit(item: Option<Item<'_>>, problems: &mut Problems) -> Option<u32> {
    item?.whole(1..=LIMIT_MAX, problems)
}

fn timeout(fields: &Fields<'_>, problems: &mut Problems) -> Option<Duration> {
    let item = fields.either(["dagrun_timeout", "dagrun_timeout_sec"], problems)?;
    super::task::positive(&item, problems)
}

const fn zone_of(schedule: &Schedule) -> Option<Tz> {
    match schedule {
        Schedule::Cron { timezone, .. } => Some(*timezone),
        Schedule::Never | Schedule::Once | Schedule::Continuous | Schedule::Delta { .. } => None,
    }
}

/// What the file of the DAG's documentation says.
fn doc_file(fields: &Fields<'_>, files: &mut FileSet<'_>, problems: &mut Problems) -> Option<String> {
    let item = fields.take("doc_md_file_path")?;
    let name = callable::by_path(&item, files, problems)?;
    match files.text(&name) {
        Some(text) => Some(text.to_owned()).filter(|text| !text.trim().is_empty()),
        None => item.fail(format!("file {name:?} is no text in UTF-8"), problems),
    }
}

fn extra_files(fields: &Fields<'_>, files: &mut FileSet<'_>, problems: &mut Problems) {
    let Some(items) = fields.take("files").and_then(|item| item.text_items(problems)) else { return };
    for (name, item) in items {
        files.add(&name, &item.place, problems);
    }
}

/// What only shows when all parts are known.
fn check_whole(dag: &Dag, fields: &Fields<'_>, problems: &mut Problems) {
    let place_of = |name: &str| fields.take(name).map_or_else(|| fields.place.clone(), |item| item.place);
    if let (Some(start), Some(end)) = (dag.start_date, dag.end_date)
        && end < start
    {
        problems.add(&place_of("end_date"), "the end_date is before the start_date; there would be no run");
    }
    if dag.start_date.is_none()
        && dag.relative_start.is_none()
        && let Some(why) = needs_start(&dag.schedule, dag.catchup)
    {
        problems.add(&place_of("schedule"), format!("start_date is missing: {why}"));
    }
    if dag.schedule == Schedule::Continuous && dag.max_active_runs > 1 {
        problems.add(&place_of("max_active_runs"), "a DAG with schedule @continuous has max_active_runs 1");
    }
    if let Some(why) = no_overlap(dag) {
        problems.add(&place_of("overlap"), format!("{} {why}", dag.overlap.name()));
    }
    let other_rule =
        dag.tasks.iter().find(|task| task.trigger_rule != TriggerRule::AllSuccess && !task.phase.is_teardown());
    if let (true, Some(task)) = (dag.fail_fast, other_rule) {
        let message = format!("fail_fast needs trigger_rule all_success everywhere; {} has another", task.task_id);
        problems.add(&place_of("fail_fast"), message);
    }
    for task in &dag.tasks {
        if let Some((option, to)) = leads_nowhere(dag, task) {
            let message = format!(
                "{}: the option {option:?} leads to {to:?}, and the DAG has no task or group of that name; name one below options_mapping",
                task.task_id
            );
            problems.add(&place_of("tasks"), message);
        }
    }
    let mut names = BTreeSet::new();
    for task in &dag.tasks {
        let Operator::Service(service) = &task.operator else { continue };
        if let Some(twice) = service.services.iter().find(|service| !names.insert(service.name.clone())) {
            let message = format!("{}: the service name {:?} is used twice in this DAG", task.task_id, twice.name);
            problems.add(&place_of("tasks"), message);
        }
    }
}

/// An option of a choice that is followed by nothing, with what it names.
fn leads_nowhere<'d>(dag: &Dag, task: &'d crate::Task) -> Option<(&'d String, &'d String)> {
    let Operator::Choice(choice) = &task.operator else { return None };
    let is_there = |id: &String| {
        model::TaskId::new(id.as_str()).is_ok_and(|id| dag.position(&id).is_some())
            || dag.groups.iter().any(|group| group.group_id == *id)
    };
    choice.options_mapping.iter().flatten().find(|(_, to)| !is_there(to))
}

/// Why runs of a DAG never overlap in a way that it could decide about; none when they do, or when it decides nothing.
const fn no_overlap(dag: &Dag) -> Option<&'static str> {
    match (dag.overlap, &dag.schedule, dag.catchup) {
        (Overlap::Queue, ..) => None,
        (_, Schedule::Never, _) => {
            Some("is about runs that a schedule of times makes, and this DAG has none; leave overlap away")
        }
        (_, Schedule::Once, _) => Some("is about runs that follow each other, and @once makes one; leave overlap away"),
        (_, Schedule::Continuous, _) => {
            Some("is about runs that overlap, and those of @continuous never do; leave overlap away")
        }
        (_, Schedule::Cron { .. } | Schedule::Delta { .. }, Catchup::All) => {
            Some("and catchup: true contradict each other: runs that are made up are all due at once; choose one")
        }
        (_, Schedule::Cron { .. } | Schedule::Delta { .. }, Catchup::Latest) => None,
    }
}

/// Airflow 3 lets a schedule go without start_date. The ones below would then never have a run, without saying so.
const fn needs_start(schedule: &Schedule, catchup: Catchup) -> Option<&'static str> {
    match (schedule, catchup) {
        (Schedule::Continuous, _) => Some("@continuous begins there"),
        (
            Schedule::Cron { timetable: CronTimetable::CronDataInterval, .. }
            | Schedule::Delta { timetable: DeltaTimetable::DeltaDataInterval, .. },
            Catchup::All,
        ) => Some("catchup: true makes up every run since then"),
        (Schedule::Never | Schedule::Once | Schedule::Cron { .. } | Schedule::Delta { .. }, _) => None,
    }
}
