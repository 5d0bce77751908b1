//! `windlass dags simulate`: a test of what a DAG decides, in simulated time, with outcomes that a file tells.
//!
//! Nothing is started and nothing is stored: the engine that a leader has decides, and hours of retries take no time.

use std::{
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, bail};
use chrono::TimeDelta;
use clap::Args;
use daemon::folder::Folder;
use dag::{
    CompiledDag,
    outcomes::{Case, load_outcomes},
};
use engine::ahead::simulate::{End, Moment, Simulation, simulate};
use model::{DagId, DagRunState, MapIndex};
use serde_json::{Value, json};

use super::files::Place;
use crate::{
    exit::{Exit, Failure},
    output::{Format, Listing, Output, visible},
    settings::Settings,
    text,
};

/// How large a file of outcomes may be: as large as a DAG file.
const OUTCOMES_BYTES_MAX: u64 = 1024 * 1024;

/// Options of `dags simulate`.
#[derive(Debug, Args)]
pub struct Simulate {
    /// The DAG: its file, or its id in the DAG folder.
    dag: String,
    /// A file that tells what becomes of its tasks, and what is expected.
    #[arg(long, value_name = "FILE")]
    outcomes: PathBuf,
    /// Which of the file's DAGs; needed when it has several.
    #[arg(long)]
    dag_id: Option<DagId>,
    /// Only the case of this name.
    #[arg(long, value_name = "NAME")]
    case: Option<String>,
    #[command(flatten)]
    output: Output,
}

/// Plays the cases. The status is 0 when all came as expected, and a case that expects nothing succeeded.
///
/// # Errors
/// When a file can not be read.
pub fn run(settings: &Settings, wish: &Simulate) -> anyhow::Result<ExitCode> {
    let Some(compiled) = dag_of(settings, wish)? else { return Ok(Exit::Error.into()) };
    let text = read(&wish.outcomes)?;
    let name = wish.outcomes.to_string_lossy();
    let mut cases = match load_outcomes(&name, &text, &compiled.dag) {
        Ok(cases) => cases,
        Err(errors) => {
            errors.iter().for_each(|error| errln!("{error}"));
            return Ok(Exit::Error.into());
        }
    };
    if let Some(wanted) = &wish.case {
        let names: Vec<String> = cases.iter().map(|case| case.name.clone()).collect();
        cases.retain(|case| case.name == *wanted);
        if cases.is_empty() {
            return Err(Failure::missing(format!("{name} has no case {wanted}; it has: {}", names.join(", "))));
        }
    }
    let played: Vec<(Case, Simulation)> =
        cases.into_iter().map(|case| (case.clone(), simulate(&compiled.dag, &case))).collect();
    print(&compiled.dag.dag_id, &played, wish.output);
    Ok(exit_of(&played).into())
}

/// How the command ends: what was expected comes before how a run ended of which nothing was.
fn exit_of(played: &[(Case, Simulation)]) -> Exit {
    let failed = |(case, played): &(Case, Simulation)| case.expect.is_empty() && played.state != DagRunState::Success;
    if played.iter().any(|(_, played)| !played.unmet.is_empty()) {
        Exit::Error
    } else if played.iter().any(failed) {
        Exit::RunFailed
    } else {
        Exit::Done
    }
}

/// The DAG that is meant; none when its file has mistakes, which are printed.
fn dag_of(settings: &Settings, wish: &Simulate) -> anyhow::Result<Option<CompiledDag>> {
    let path = Path::new(&wish.dag);
    if !path.is_file() {
        let found = Folder::new(&settings.dags_folder).look();
        let mut dags = found.changed.into_values().flat_map(|file| file.dags);
        let compiled = dags.find(|compiled| compiled.dag.dag_id.as_str() == wish.dag);
        return compiled.map(Some).ok_or_else(|| {
            let folder = settings.dags_folder.display();
            Failure::missing(format!(
                "{} is no file, and no file of {folder} defines a DAG of that id; `windlass dags check` lists them",
                wish.dag
            ))
        });
    }
    let news = Place::of(settings, path)?.read();
    news.errors.iter().for_each(|error| errln!("{error}"));
    if !news.errors.is_empty() {
        return Ok(None);
    }
    let names: Vec<String> = news.dags.iter().map(|one| one.dag.dag_id.to_string()).collect();
    let mut meant = news.dags;
    meant.retain(|one| wish.dag_id.as_ref().is_none_or(|id| *id == one.dag.dag_id));
    match (meant.len(), meant.pop()) {
        (1, one) => Ok(one),
        (0, _) if names.is_empty() => bail!("{} defines no DAG", wish.dag),
        (0, _) => bail!("{} defines: {}", wish.dag, names.join(", ")),
        _ => bail!("{} defines several DAGs; choose one with --dag-id: {}", wish.dag, names.join(", ")),
    }
}

fn read(path: &Path) -> anyhow::Result<String> {
    let unread = || format!("{} can not be read", path.display());
    let file = File::open(path).with_context(unread)?;
    let mut text = String::new();
    file.take(OUTCOMES_BYTES_MAX + 1).read_to_string(&mut text).with_context(unread)?;
    if text.len() as u64 > OUTCOMES_BYTES_MAX {
        return Err(Failure::refused(format!(
            "{} is larger than {OUTCOMES_BYTES_MAX} bytes: put its cases into several files",
            path.display()
        )));
    }
    Ok(text)
}

fn print(dag: &DagId, played: &[(Case, Simulation)], output: Output) {
    match output.format {
        Format::Table => {
            for (case, simulation) in played {
                print_case(case, simulation);
            }
            let met = played.iter().filter(|(_, simulation)| simulation.unmet.is_empty()).count();
            outln!("{dag}: {met} of {} cases came as expected", played.len());
        }
        Format::Json => {
            let all = Value::Array(played.iter().map(|(case, simulation)| object(dag, case, simulation)).collect());
            outln!("{}", serde_json::to_string_pretty(&all).expect("JSON values can be written as JSON"));
        }
        Format::Yaml => {
            out!("{}", dag::yaml_of(&Value::Array(played.iter().map(|(c, s)| object(dag, c, s)).collect())));
        }
        Format::Plain => out!("{}", plain(played).render(Format::Plain)),
    }
}

fn print_case(case: &Case, simulation: &Simulation) {
    outln!(
        "{}: the run is {} after {}",
        visible(&case.name),
        simulation.state,
        text::duration(simulation.took.as_seconds_f64())
    );
    let mut timeline = Listing::new(&["after", "task_id", "map_index", "try", "state", "why"]);
    for moment in &simulation.moments {
        let (task, index) =
            moment.task.as_ref().map_or((Value::Null, Value::Null), |(task, map)| (json!(task), index(*map)));
        let tries = if moment.try_number == 0 { Value::Null } else { json!(moment.try_number) };
        timeline.push([json!(clock(moment.after)), task, index, tries, json!(moment.state), json!(moment.why)]);
    }
    out!("{}", timeline.render(Format::Table));
    if simulation.moments_left_out > 0 {
        outln!("… and {} moments more", simulation.moments_left_out);
    }
    let mut ends = Listing::new(&["task_id", "map_index", "state", "tries", "began", "ended", "why"]);
    for end in &simulation.tasks {
        let at = |at: Option<TimeDelta>| at.map_or(Value::Null, |at| json!(clock(at)));
        ends.push([
            json!(end.task_id),
            index(end.map_index),
            json!(end.state),
            json!(end.tries),
            at(end.began),
            at(end.ended),
            json!(end.why),
        ]);
    }
    outln!("");
    out!("{}", ends.render(Format::Table));
    if let Some(why) = &simulation.stuck {
        outln!("the run does not end: {}", visible(why));
    }
    for unmet in &simulation.unmet {
        outln!("not as expected: {}", visible(unmet));
    }
    outln!("");
}

fn index(map: MapIndex) -> Value {
    if map == MapIndex::UNMAPPED { Value::Null } else { json!(map) }
}

/// `+1:05:09.5`, hours first.
fn clock(after: TimeDelta) -> String {
    let millis = after.num_milliseconds();
    let (seconds, rest) = (millis / 1_000, millis % 1_000);
    let fraction = if rest == 0 { String::new() } else { format!(".{rest:03}") };
    format!("+{}:{:02}:{:02}{fraction}", seconds / 3_600, seconds / 60 % 60, seconds % 60)
}

fn object(dag: &DagId, case: &Case, simulation: &Simulation) -> Value {
    json!({
        "dag_id": dag,
        "case": case.name,
        "as_expected": simulation.unmet.is_empty(),
        "not_as_expected": simulation.unmet,
        "state": simulation.state,
        "duration": simulation.took.as_seconds_f64(),
        "does_not_end": simulation.stuck,
        "timeline": simulation.moments.iter().map(moment_object).collect::<Vec<_>>(),
        "timeline_left_out": simulation.moments_left_out,
        "task_instances": simulation.tasks.iter().map(end_object).collect::<Vec<_>>(),
    })
}

fn moment_object(moment: &Moment) -> Value {
    json!({
        "after": moment.after.as_seconds_f64(),
        "task_id": moment.task.as_ref().map(|(task, _)| task),
        "map_index": moment.task.as_ref().map(|(_, map)| map),
        "try_number": moment.try_number,
        "state": moment.state,
        "why": moment.why,
    })
}

fn end_object(end: &End) -> Value {
    json!({
        "task_id": end.task_id,
        "map_index": end.map_index,
        "state": end.state,
        "tries": end.tries,
        "began": end.began.map(TimeDelta::as_seconds_f64),
        "ended": end.ended.map(TimeDelta::as_seconds_f64),
        "why": end.why,
    })
}

/// A line for everything that happened, then one for each end, then one for all that did not come as expected.
fn plain(played: &[(Case, Simulation)]) -> Listing {
    let mut lines = Listing::new(&["case", "what", "after", "task_id", "map_index", "try_number", "state", "why"]);
    for (case, simulation) in played {
        for moment in &simulation.moments {
            let (task, map) =
                moment.task.as_ref().map_or((Value::Null, Value::Null), |(task, map)| (json!(task), json!(map)));
            let (after, tries) = (json!(moment.after.as_seconds_f64()), json!(moment.try_number));
            lines.push([
                json!(case.name),
                json!("moment"),
                after,
                task,
                map,
                tries,
                json!(moment.state),
                json!(moment.why),
            ]);
        }
        for end in &simulation.tasks {
            let after = end.ended.map(TimeDelta::as_seconds_f64);
            let (task, map) = (json!(end.task_id), json!(end.map_index));
            lines.push([
                json!(case.name),
                json!("end"),
                json!(after),
                task,
                map,
                json!(end.tries),
                json!(end.state),
                json!(end.why),
            ]);
        }
        for unmet in &simulation.unmet {
            let nothing = || Value::Null;
            lines.push([
                json!(case.name),
                json!("not_as_expected"),
                nothing(),
                nothing(),
                nothing(),
                nothing(),
                json!(simulation.state),
                json!(unmet),
            ]);
        }
    }
    lines
}
