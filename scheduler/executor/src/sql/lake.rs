//! SQL on the embedded lake, by the program `windlass-tasks lake run`: the scripts go in as one JSON object, events come
//! out as JSON lines.

use futures::FutureExt as _;
use model::operator::SqlOutput;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;

use super::{Purpose, Table, Work, shown};
use crate::{
    LakeSettings, Outcome, Workspace, environment,
    output::{alongside, could_not_run, drained, follow_errors},
    process::{GroupKind, Launch, ProcessEnd, Running, StdinUse, pump, supervise},
};

/// The program beside Windlass's own.
const PROGRAM: &str = "windlass-tasks";
/// The longest event: a hundred rows, however wide.
const EVENT_BYTES_MAX: usize = 16 * 1024 * 1024;

#[derive(Debug, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Event {
    Statement { script: String, index: u64, of: u64, sql: String },
    Done { rows: u64, millis: u64 },
    Rows { columns: Vec<String>, rows: Vec<Vec<Value>> },
    Error { script: Option<String>, line: Option<u64>, column: Option<u64>, message: String },
}

/// What the events have said so far.
#[derive(Default)]
struct Told {
    script: String,
    statement: String,
    columns: Vec<String>,
    rows: Vec<Vec<Value>>,
    error: Option<String>,
}

/// Runs the scripts.
pub(super) async fn run(work: &Work<'_>, settings: &LakeSettings) -> Result<Table, Outcome> {
    let attempt = work.attempt;
    let workspace = attempt.worker.workspaces.make().map_err(could_not_run)?;
    let mut running =
        launch(work, settings, &workspace).start(&attempt.worker.launchers).await.map_err(could_not_run)?;
    let input = tokio::spawn(feed(work, &mut running));
    let errors = follow_errors(attempt, &mut running);
    let stdout = running.stdout.take().expect("standard output is a pipe");
    let mut told = Told::default();
    let listen = pump(stdout, attempt.masker.clone(), EVENT_BYTES_MAX, |line| told.take(work, line));
    let ended = supervise(&mut running, work.stop, attempt.worker.kill_grace, &attempt.log);
    let finished = alongside(ended, listen).await.map_err(could_not_run)?;
    input.abort();
    drained(errors).await;
    match finished.stopped {
        Some(cause) => Err(cause.into()),
        None => told.judge(work, finished.end),
    }
}

fn launch(work: &Work<'_>, settings: &LakeSettings, workspace: &Workspace) -> Launch {
    let worker = &work.attempt.worker;
    work.attempt.masker.add_url(&settings.database_url);
    let mut env = environment::standard(worker);
    env.extend(environment::of_lake(settings));
    env.extend(environment::of_attempt(worker, &work.attempt.assignment));
    work.attempt.mask_named(&env);
    Launch {
        program: PROGRAM.into(),
        args: vec!["lake".into(), "run".into()],
        env,
        dir: workspace.path().to_owned(),
        kind: GroupKind::Attempt,
        stdin: StdinUse::Pipe,
        inherit: Vec::new(),
    }
}

/// Writes the request; a program that ends without reading it says why by itself.
fn feed(work: &Work<'_>, running: &mut Running) -> impl Future<Output = ()> + Send + 'static {
    let mode = match work.purpose {
        Purpose::Execute => "execute",
        Purpose::Check => "check",
    };
    let output = match work.output {
        SqlOutput::None => "none",
        SqlOutput::Rows => "rows",
    };
    let request = json!({"mode": mode, "output": output, "scripts": work.scripts}).to_string();
    let mut stdin = running.stdin.take().expect("standard input is a pipe");
    async move { stdin.write_all(request.as_bytes()).await }.map(drop)
}

impl Told {
    fn take(&mut self, work: &Work<'_>, line: &str) {
        match serde_json::from_str(line) {
            Ok(Event::Statement { script, index, of, sql }) => {
                work.say(&format!("Statement {index} of {of} ({script}): {}", shown(&sql)));
                (self.script, self.statement) = (script, sql);
                (self.columns, self.rows) = <_>::default();
            }
            Ok(Event::Done { rows, millis }) => {
                if work.purpose == Purpose::Check {
                    work.checked(&self.script, &self.statement, rows, &self.columns, &self.rows);
                }
                work.say(&format!("{rows} rows in {millis} ms"));
            }
            Ok(Event::Rows { columns, rows }) => {
                if work.purpose == Purpose::Execute && !rows.is_empty() {
                    work.show_rows(&columns, &rows);
                }
                (self.columns, self.rows) = (columns, rows);
            }
            Ok(Event::Error { script, line, column, message }) => {
                let script = script.unwrap_or_else(|| self.script.clone());
                let place = line.map(|line| format!(" line {line}")).unwrap_or_default();
                let place = column.map(|column| format!("{place} column {column}")).unwrap_or(place);
                self.error = Some(format!("{script}{place}: {message}"));
            }
            // Whatever else it prints is for people.
            Err(_) => work.attempt.log.line(crate::log::Stream::Out, line),
        }
    }

    fn judge(self, work: &Work<'_>, end: ProcessEnd) -> Result<Table, Outcome> {
        match (self.error, end) {
            (Some(error), ProcessEnd::Exited(code)) => Err(Outcome::failed(error).exit_code(code)),
            (Some(error), ProcessEnd::Signalled(_)) => Err(Outcome::failed(error)),
            (None, ProcessEnd::Exited(0)) if work.purpose == Purpose::Check && !self.rows.is_empty() => {
                Err(work.offended(&self.script, self.rows.len() as u64, &self.columns, &self.rows))
            }
            (None, ProcessEnd::Exited(0)) => Ok(Table { columns: self.columns, rows: self.rows }),
            (None, ProcessEnd::Exited(code)) => Err(Outcome::failed(format!(
                "{PROGRAM} lake run ended with exit code {code} and no error event; see its last lines"
            ))
            .exit_code(code)),
            (None, ProcessEnd::Signalled(_)) => Err(Outcome::failed(format!("{PROGRAM} lake run was ended by {end}"))),
        }
    }
}
