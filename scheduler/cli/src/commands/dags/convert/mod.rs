//! `windlass dags convert`: Airflow DAG files in Python become DAG files of Windlass.
//!
//! A program in Python reads each file by Python's own parser and never runs it; what it makes goes through Windlass's reader
//! before anybody sees it. What could not be converted is told with its line, in the result and on the terminal.

mod checked;
mod program;
mod write;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, bail};
use clap::Args;
use serde_json::{Value, json};

use crate::{
    exit::Exit,
    output::{Format, Listing, Output, visible},
};
use checked::{Converted, FileResult};
use program::{Program, Scripts};

/// An Airflow DAG file is text that people write.
const FILE_BYTES_MAX: u64 = dag::FILE_BYTES_MAX as u64;

/// Options of `dags convert`.
#[derive(Debug, Args)]
#[command(after_help = "Exit codes: 0 all was converted, 8 some of it was left out (each with its line), 1 an error.")]
pub struct Convert {
    /// Airflow DAG files in Python.
    #[arg(required = true, value_name = "FILE.py")]
    files: Vec<PathBuf>,
    /// Write each DAG to `<dag_id>.yaml` below this folder, and the scripts of its tasks beside it.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Write nothing: only say how much can be converted.
    #[arg(long, conflicts_with = "out")]
    check: bool,
    /// Overwrite files that are there.
    #[arg(long, requires = "out")]
    force: bool,
    #[command(flatten)]
    output: Output,
}

impl Convert {
    /// Whether the text of the DAG goes to standard output.
    const fn prints_dags(&self) -> bool {
        self.out.is_none() && !self.check
    }
}

/// Converts the files; the status says how much of them.
///
/// # Errors
/// When nothing can be converted: no Python, a file that can not be read, or a folder that can not be written.
pub async fn run(wish: &Convert) -> anyhow::Result<ExitCode> {
    if wish.prints_dags() && wish.files.len() > 1 {
        bail!("several files: name a folder for what they become by --out DIR, or only look at them by --check");
    }
    let program = Program::unpack().await?;
    let scripts = if wish.prints_dags() { Scripts::Inline } else { Scripts::Files };
    let mut results = Vec::new();
    for file in &wish.files {
        let source = read(file)?;
        results.push(checked::convert(&program, file, &source, scripts, wish.out.as_deref()).await?);
    }
    let written = match &wish.out {
        Some(folder) => {
            write::all(folder, &results, if wish.force { write::There::Replace } else { write::There::Keep })?
        }
        None => Vec::new(),
    };
    results.iter().for_each(tell);
    print(wish, &results, &written);
    Ok(status(&results))
}

fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    let about = || format!("{} can not be read", file.display());
    let metadata = std::fs::metadata(file).with_context(about)?;
    if !metadata.is_file() {
        bail!("{} is no file; name the Python files themselves, such as {}/*.py", file.display(), file.display());
    }
    if metadata.len() > FILE_BYTES_MAX {
        bail!("{} has {} bytes; a DAG file of at most {FILE_BYTES_MAX} is converted", file.display(), metadata.len());
    }
    std::fs::read(file).with_context(about)
}

/// What could not be converted, a line each, as compilers have it.
fn tell(result: &FileResult) {
    let file = result.file.display();
    if let Some(error) = &result.error {
        errln!("{file}:{}: error: {}", error.line, visible(&error.message));
    }
    if result.error.is_none() && result.dags.is_empty() {
        errln!("{file}: it defines no DAG");
    }
    for remark in result.all_remarks() {
        let note = if remark.is_whole { "note: " } else { "" };
        errln!("{file}:{}: {note}{}", remark.line, visible(&remark.text));
    }
    for dag in &result.dags {
        for error in &dag.errors {
            errln!("{file}:{}: error: {}", error.line, visible(&error.message));
        }
    }
}

fn print(wish: &Convert, results: &[FileResult], written: &[write::Written]) {
    if wish.prints_dags() && wish.output.format != Format::Json {
        results.iter().for_each(|result| out!("{}", result.yaml()));
        return;
    }
    let is_for_programs = matches!(wish.output.format, Format::Json | Format::Yaml);
    let mut listing = Listing::new(&["file", "dag_id", "result", "tasks", "remarks", "written"]);
    for result in results {
        for dag in &result.dags {
            let remarks = if is_for_programs { remarks_json(dag) } else { json!(dag.answer.remarks.len()) };
            let path =
                written.iter().find(|one| one.dag_id == dag.answer.dag_id).map(|one| one.path.display().to_string());
            listing.push([
                json!(result.file.display().to_string()),
                json!(dag.answer.dag_id),
                json!(dag.word()),
                json!(dag.answer.tasks),
                remarks,
                if wish.prints_dags() { json!(dag.answer.yaml) } else { json!(path) },
            ]);
        }
    }
    listing.print(wish.output);
    if wish.output.format == Format::Table {
        outln!("{}", summary(results));
    }
}

fn remarks_json(dag: &Converted) -> Value {
    let of = |remark: &program::Remark| json!({"line": remark.line, "remark": remark.text, "lost": !remark.is_whole});
    let errors = dag.errors.iter().map(|error| json!({"line": error.line, "remark": error.message, "lost": true}));
    dag.answer.remarks.iter().map(of).chain(errors).collect()
}

fn summary(results: &[FileResult]) -> String {
    let count = |word| results.iter().flat_map(|result| &result.dags).filter(|dag| dag.word() == word).count();
    let whole_files = results.iter().filter(|result| result.is_whole()).count();
    let without = results.iter().filter(|result| result.error.is_none() && result.dags.is_empty()).count();
    let failed = results.iter().filter(|result| result.has_failed()).count();
    format!(
        "{} files: {whole_files} whole, {} in part, {failed} with an error, {without} without a DAG; DAGs: {} whole, {} in part",
        results.len(),
        results.len() - whole_files - without - failed,
        count(Converted::WHOLE),
        count(Converted::PART),
    )
}

fn status(results: &[FileResult]) -> ExitCode {
    if results.iter().any(FileResult::has_failed) || results.iter().all(|result| result.dags.is_empty()) {
        return Exit::Error.into();
    }
    let whole = |result: &FileResult| result.dags.is_empty() || result.is_whole();
    if results.iter().all(whole) { ExitCode::SUCCESS } else { Exit::InPart.into() }
}
