//! What the program makes, read by Windlass's own reader. A task or key that the reader refuses goes back to the program, which
//! then leaves it out with the reader's words.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use dag::{FILE_BYTES_MAX, FileProblem, ReadFile};

use super::program::{Answer, DagAnswer, LineError, Program, Refusal, Remark, Scripts};

/// So often the reader's words go back: a task needs three rounds until it is left out as a whole.
const ROUNDS_MAX: usize = 6;
/// So many things are sent back at once; an argument has a bounded length.
const REFUSALS_MAX: usize = 200;
/// So much of the reader's words is kept.
const WORDS_CHARS_MAX: usize = 300;

/// What became of a file.
pub struct FileResult {
    /// The Python file.
    pub file: PathBuf,
    /// Why it can not be converted at all.
    pub error: Option<LineError>,
    /// Its DAGs.
    pub dags: Vec<Converted>,
    remarks: Vec<Remark>,
}

/// One DAG of it.
pub struct Converted {
    /// What the program made.
    pub answer: DagAnswer,
    /// Why the reader refuses all of it.
    pub errors: Vec<LineError>,
    /// Files beside the Python file that it names, to be copied.
    pub copies: BTreeMap<String, Vec<u8>>,
}

impl Converted {
    /// Nothing is missing.
    pub const WHOLE: &str = "whole";
    /// Something was left out.
    pub const PART: &str = "in part";
    /// It can not be written.
    pub const FAILED: &str = "failed";

    /// How much of it was converted.
    pub fn word(&self) -> &'static str {
        match (self.errors.is_empty(), self.answer.remarks.iter().all(|remark| remark.is_whole)) {
            (false, _) => Self::FAILED,
            (true, true) => Self::WHOLE,
            (true, false) => Self::PART,
        }
    }
}

impl FileResult {
    /// Everything that there is to say, by line.
    pub fn all_remarks(&self) -> Vec<&Remark> {
        let mut remarks: Vec<_> = self.dags.iter().flat_map(|dag| &dag.answer.remarks).chain(&self.remarks).collect();
        remarks.sort_by_key(|remark| remark.line);
        remarks
    }

    /// Whether it has DAGs, and nothing of them is missing.
    pub fn is_whole(&self) -> bool {
        !self.dags.is_empty() && !self.has_failed() && self.all_remarks().iter().all(|remark| remark.is_whole)
    }

    /// Whether something of it can not be written at all.
    pub fn has_failed(&self) -> bool {
        self.error.is_some() || self.dags.iter().any(|dag| dag.word() == Converted::FAILED)
    }

    /// Its DAGs as one file of Windlass.
    pub fn yaml(&self) -> String {
        let good: Vec<_> = self.dags.iter().filter(|dag| dag.errors.is_empty()).collect();
        if let [one] = good.as_slice() {
            return one.answer.yaml.clone();
        }
        let mut text = String::new();
        for dag in good {
            text += &format!("{}:\n", dag.answer.dag_id);
            for line in dag.answer.yaml.lines() {
                text += &if line.is_empty() { "\n".to_owned() } else { format!("  {line}\n") };
            }
        }
        text
    }
}

/// Converts one file.
///
/// # Errors
/// When the program breaks.
pub async fn convert(
    program: &Program,
    file: &Path,
    source: &[u8],
    scripts: Scripts,
    out: Option<&Path>,
) -> anyhow::Result<FileResult> {
    let mut refused: Vec<Refusal> = Vec::new();
    for _ in 0..ROUNDS_MAX {
        let answer = program.run(file, source, scripts, &refused).await?;
        if answer.error.is_some() {
            return Ok(FileResult {
                file: file.to_owned(),
                error: answer.error,
                dags: Vec::new(),
                remarks: answer.remarks,
            });
        }
        let (result, more) = check(file, answer, out);
        let room = refused.len() + more.len() <= REFUSALS_MAX;
        if more.is_empty() || !room {
            return Ok(result);
        }
        refused.extend(more);
    }
    let (result, _) = check(file, program.run(file, source, scripts, &refused).await?, out);
    Ok(result)
}

/// Reads each DAG; what the reader refuses is there by its mark.
fn check(file: &Path, answer: Answer, out: Option<&Path>) -> (FileResult, Vec<Refusal>) {
    let mut refused = Vec::new();
    let mut dags = Vec::new();
    for (index, mut dag) in answer.dags.into_iter().enumerate() {
        let (copies, missing) = Default::default();
        let beside = Beside { scripts: &dag.scripts, out, source: file.parent(), copies, missing };
        let mut errors = Vec::new();
        if dag.yaml.is_empty() {
            errors.push(LineError { line: dag.line, message: format!("the DAG {:?} has no task", dag.dag_id) });
        } else {
            let loaded = dag::load(&format!("{}.yaml", dag.dag_id), &dag.yaml, &beside);
            for error in &loaded.errors {
                let at = error.line.saturating_sub(1);
                let words = words(error);
                let mark = dag.marks.get(at).map_or("", String::as_str);
                if error.line > 0 && !mark.is_empty() {
                    refused.push((index, mark.to_owned(), key(&error.field).to_owned(), words.clone()));
                }
                let line = dag.python_lines.get(at).copied().filter(|line| *line > 0).unwrap_or(dag.line);
                errors.push(LineError { line, message: format!("{}: {words}", dag.dag_id) });
            }
        }
        let (copies, missing) = (beside.copies.into_inner(), beside.missing.into_inner());
        for name in missing {
            let line = dag.files.iter().find(|(file, _)| *file == name).map_or(dag.line, |(_, line)| *line);
            let words = format!("the file {name:?} is not beside the Python file: put it below the DAG folder");
            // The line of the text no longer matters: the reader has seen it.
            dag.yaml = dag.yaml.replacen('\n', &format!("\n# line {line}: {words}\n"), 1);
            dag.remarks.push(Remark { line, text: words, is_whole: false });
        }
        dags.push(Converted { answer: dag, errors, copies });
    }
    // One key is refused once a round, whatever the number of its faults.
    refused.sort();
    refused.dedup_by(|one, other| (one.0, &one.1, &one.2) == (other.0, &other.1, &other.2));
    (FileResult { file: file.to_owned(), error: None, dags, remarks: answer.remarks }, refused)
}

/// The last key of a field such as `tasks[2].retries` or `default_args.retries`.
fn key(field: &str) -> &str {
    field.rsplit('.').next().unwrap_or_default()
}

fn words(error: &dag::DagFileError) -> String {
    let whole = match &error.suggestion {
        Some(suggestion) => format!("{}; {suggestion}", error.message),
        None => error.message.clone(),
    };
    whole.chars().take(WORDS_CHARS_MAX).collect()
}

/// The files that a DAG names: its scripts, then what lies below the folder for the results, then beside the Python file.
struct Beside<'a> {
    scripts: &'a BTreeMap<String, String>,
    out: Option<&'a Path>,
    source: Option<&'a Path>,
    copies: RefCell<BTreeMap<String, Vec<u8>>>,
    missing: RefCell<Vec<String>>,
}

impl Beside<'_> {
    fn content(folder: Option<&Path>, name: &str) -> Option<Result<Vec<u8>, FileProblem>> {
        // The folder of a file that is named without one is the current one.
        let folder = folder.map(|folder| if folder.as_os_str().is_empty() { Path::new(".") } else { folder });
        let root = folder?.canonicalize().ok()?;
        let path = root.join(name).canonicalize().ok()?;
        if !path.starts_with(&root) {
            return Some(Err(FileProblem::Outside));
        }
        let metadata = path.metadata().ok().filter(std::fs::Metadata::is_file)?;
        if metadata.len() > FILE_BYTES_MAX as u64 {
            return Some(Err(FileProblem::TooLarge { bytes: metadata.len() }));
        }
        Some(std::fs::read(path).map_err(|error| FileProblem::Unreadable(error.to_string())))
    }
}

impl ReadFile for Beside<'_> {
    fn read(&self, name: &str) -> Result<Vec<u8>, FileProblem> {
        if let Some(script) = self.scripts.get(name) {
            return Ok(script.clone().into_bytes());
        }
        if let Some(found) = Self::content(self.out, name) {
            return found;
        }
        match Self::content(self.source, name) {
            Some(Ok(bytes)) => {
                self.copies.borrow_mut().insert(name.to_owned(), bytes.clone());
                Ok(bytes)
            }
            Some(Err(problem)) => Err(problem),
            // A module that is looked for may be one of the interpreter's.
            None if name.ends_with(".py") => Err(FileProblem::Missing),
            // The DAG can be written without it; that it has to be put there is said.
            None => {
                self.missing.borrow_mut().push(name.to_owned());
                Ok(Vec::new())
            }
        }
    }
}
