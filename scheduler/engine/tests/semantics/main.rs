//! The engine against cases whose answers Airflow's own classes computed.
//!
//! Every case goes through the same functions as a turn does; nothing here knows a rule. The cases are the JSON files of
//! the folder that `WINDLASS_SEMANTIC_CASES` names, by default a sample. A case with an `anomaly` is Airflow's answer
//! where it is a defect: it is listed with ours, and counts as skipped. So does what a DAG file can not say yet.

#![allow(clippy::unwrap_used, reason = "a case that does not fit its section fails by panicking")]
#![allow(clippy::print_stdout, reason = "the report is for people")]

extern crate windlass_engine as engine;

mod critical_section;
mod dagrun_scenarios;
mod prev_dagrun;
mod report;
mod retry;
mod rows;
mod sections;
mod timetables;
mod trigger_rules;
mod weights;

#[path = "../it/asset_tables.rs"]
mod asset_tables;
#[path = "../it/dags.rs"]
#[allow(dead_code, reason = "shared with the stories, which use all of it")]
mod dags;
#[path = "../it/mirror.rs"]
#[allow(dead_code, reason = "shared with the stories, which use all of it")]
mod mirror;
#[path = "../it/oracle.rs"]
mod oracle;
#[path = "../it/told.rs"]
#[allow(dead_code, reason = "shared with the stories, which use all of it")]
mod told;
#[path = "../it/world.rs"]
#[allow(dead_code, reason = "shared with the stories, which use all of it")]
mod world;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use report::Report;
use serde_json::Value;

fn main() -> ExitCode {
    let folder = std::env::var_os("WINDLASS_SEMANTIC_CASES")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases"), PathBuf::from);
    match run(&folder) {
        Ok(report) => report.finish(),
        Err(why) => {
            println!("the cases in {} can not be read: {why}", folder.display());
            ExitCode::FAILURE
        }
    }
}

fn run(folder: &Path) -> Result<Report, String> {
    let mut report = Report::default();
    let files = std::fs::read_dir(folder).map_err(|error| error.to_string())?;
    let mut files: Vec<PathBuf> =
        files.map(|file| file.map(|file| file.path()).map_err(|error| error.to_string())).collect::<Result<_, _>>()?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "json"));
    files.sort();
    if files.is_empty() {
        return Err("there is no JSON file".to_owned());
    }
    for file in files {
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&file).map_err(|error| format!("{name}: {error}"))?;
        let content: Value = serde_json::from_str(&text).map_err(|error| format!("{name}: {error}"))?;
        match &content["cases"] {
            Value::Array(cases) => report.section(&name, &name, cases),
            Value::Object(sections) => {
                for (section, cases) in sections {
                    let cases = cases.as_array().ok_or_else(|| format!("{name}/{section} is no list"))?;
                    report.section(&format!("{name}/{section}"), section, cases);
                }
            }
            _ => return Err(format!("{name} has neither a list nor sections of cases")),
        }
    }
    Ok(report)
}
