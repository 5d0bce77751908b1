//! The program in Python: its text, and one run of it over one file, with bounds on time and size.

use std::{collections::BTreeMap, path::Path, process::Stdio, time::Duration};

use anyhow::{Context, bail};
use serde::Deserialize;
use tempfile::TempDir;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    process::Command,
};

/// The modules of the program, by their file names.
const MODULES: &[(&str, &str)] = &[
    ("__main__.py", include_str!("../../../../python/convert/__main__.py")),
    ("arrows.py", include_str!("../../../../python/convert/arrows.py")),
    ("code_tasks.py", include_str!("../../../../python/convert/code_tasks.py")),
    ("dagfile.py", include_str!("../../../../python/convert/dagfile.py")),
    ("document.py", include_str!("../../../../python/convert/document.py")),
    ("expressions.py", include_str!("../../../../python/convert/expressions.py")),
    ("jinja_lambda.py", include_str!("../../../../python/convert/jinja_lambda.py")),
    ("library.py", include_str!("../../../../python/convert/library.py")),
    ("operators.py", include_str!("../../../../python/convert/operators.py")),
    ("mapping.py", include_str!("../../../../python/convert/mapping.py")),
    ("plain.py", include_str!("../../../../python/convert/plain.py")),
    ("scripts.py", include_str!("../../../../python/convert/scripts.py")),
    ("settings.py", include_str!("../../../../python/convert/settings.py")),
    ("shims.py", include_str!("../../../../python/convert/shims.py")),
    ("statements.py", include_str!("../../../../python/convert/statements.py")),
    ("templates.py", include_str!("../../../../python/convert/templates.py")),
    ("values.py", include_str!("../../../../python/convert/values.py")),
    ("waiting.py", include_str!("../../../../python/convert/waiting.py")),
    ("writer.py", include_str!("../../../../python/convert/writer.py")),
    ("yamltext.py", include_str!("../../../../python/convert/yamltext.py")),
];
const PYTHON: &str = "python3";
/// The oldest Python whose parser says what the program needs.
const VERSION_MIN: (u32, u32) = (3, 9);
/// One file takes less than a second; the program's own loops are bounded to some.
const SECONDS_MAX: u64 = 60;
/// The program answers with less.
const ANSWER_BYTES_MAX: u64 = 40 * 1024 * 1024;
/// So much of what it says when it breaks is shown.
const WORDS_BYTES_MAX: u64 = 4 * 1024;

/// Where the code of tasks goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scripts {
    /// Into the YAML.
    Inline,
    /// Into files of their own.
    Files,
}

/// What Windlass's reader has refused of an answer: the DAG's place in it, the mark of the line, the key, the words.
pub type Refusal = (usize, String, String, String);

/// Something about a line of the Python file.
#[derive(Debug, Clone, Deserialize)]
pub struct Remark {
    /// The line.
    pub line: usize,
    /// What there is to say.
    pub text: String,
    /// Whether the result does the same nevertheless.
    pub is_whole: bool,
}

/// What the program answers.
#[derive(Debug, Deserialize)]
pub struct Answer {
    /// Why the file can not be converted at all.
    pub error: Option<LineError>,
    /// Its DAGs.
    #[serde(default)]
    pub dags: Vec<DagAnswer>,
    /// What belongs to none of them.
    #[serde(default)]
    pub remarks: Vec<Remark>,
}

/// An error at a line of the Python file.
#[derive(Debug, Clone, Deserialize)]
pub struct LineError {
    /// The line.
    pub line: usize,
    /// What is wrong.
    pub message: String,
}

/// One DAG of a file.
#[derive(Debug, Deserialize)]
pub struct DagAnswer {
    /// Its id.
    pub dag_id: String,
    /// Its line.
    pub line: usize,
    /// Its text; empty when it has no task.
    pub yaml: String,
    /// The Python line of each line of the text; 0 for none.
    pub python_lines: Vec<usize>,
    /// What each line of the text belongs to.
    pub marks: Vec<String>,
    /// The scripts of its tasks, by name.
    pub scripts: BTreeMap<String, String>,
    /// Files that it names, with their lines.
    pub files: Vec<(String, usize)>,
    /// How many tasks it has.
    pub tasks: usize,
    /// What was left out or changed.
    pub remarks: Vec<Remark>,
}

/// The program, unpacked.
pub struct Program {
    folder: TempDir,
}

impl Program {
    /// Unpacks it, and looks whether there is a Python that can run it.
    ///
    /// # Errors
    /// When there is none, or no room for the program.
    pub async fn unpack() -> anyhow::Result<Self> {
        let folder =
            tempfile::Builder::new().prefix("windlass-convert-").tempdir().context("no folder for the converter")?;
        for (name, text) in MODULES {
            std::fs::write(folder.path().join(name), text).context("the converter can not be unpacked")?;
        }
        let (major, minor) = VERSION_MIN;
        let asked = format!("import sys; sys.exit(sys.version_info < ({major}, {minor}))");
        let found = Command::new(PYTHON).args(["-I", "-c", &asked]).stdin(Stdio::null()).kill_on_drop(true).status();
        let found =
            tokio::time::timeout(Duration::from_secs(SECONDS_MAX), found).await.context("python3 does not answer")?;
        let status = found.with_context(|| {
            format!("no {PYTHON} is on PATH: install Python {major}.{minor} or newer, whose parser reads the DAG files")
        })?;
        if !status.success() {
            bail!("the {PYTHON} on PATH is too old: Python {major}.{minor} or newer is needed to read the DAG files");
        }
        Ok(Self { folder })
    }

    /// Runs it over one file.
    ///
    /// # Errors
    /// When it breaks, or takes too long. A file that can not be converted is an answer.
    pub async fn run(
        &self,
        file: &Path,
        source: &[u8],
        scripts: Scripts,
        refused: &[Refusal],
    ) -> anyhow::Result<Answer> {
        let mode = match scripts {
            Scripts::Inline => "inline",
            Scripts::Files => "files",
        };
        let mut child = Command::new(PYTHON)
            .arg("-I")
            .arg(self.folder.path())
            .args([&file.display().to_string(), mode, &serde_json::to_string(refused)?])
            .current_dir(self.folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("{PYTHON} can not be started"))?;
        let (mut stdin, stdout, stderr) =
            (child.stdin.take().context("no stdin")?, child.stdout.take().context("no stdout")?, child.stderr.take());
        let feed = async {
            // A program that has broken takes no more; its words say why.
            let _broken = stdin.write_all(source).await;
            drop(stdin);
        };
        let words = async {
            match stderr {
                Some(stderr) => read(stderr, WORDS_BYTES_MAX).await,
                None => Ok(Vec::new()),
            }
        };
        let all = async {
            let ((), answer, words) = tokio::join!(feed, read(stdout, ANSWER_BYTES_MAX), words);
            std::io::Result::Ok((answer?, words?, child.wait().await?))
        };
        let ended = tokio::time::timeout(Duration::from_secs(SECONDS_MAX), all).await;
        let (answer, words, status) = ended
            .with_context(|| format!("{}: the conversion took longer than {SECONDS_MAX} s", file.display()))?
            .with_context(|| format!("{}: the converter broke", file.display()))?;
        if !status.success() {
            let words = String::from_utf8_lossy(&words);
            let last = words.trim().lines().last().unwrap_or("it is nested too deeply for Python's parser").to_owned();
            let error = LineError { line: 1, message: format!("it could not be read ({status}): {last}") };
            return Ok(Answer { error: Some(error), dags: Vec::new(), remarks: Vec::new() });
        }
        serde_json::from_slice(&answer)
            .with_context(|| format!("{}: the converter's answer can not be read", file.display()))
    }
}

async fn read(from: impl AsyncRead + Unpin, bytes_max: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(bytes_max).read_to_end(&mut bytes).await?;
    Ok(bytes)
}
