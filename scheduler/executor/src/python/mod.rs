//! The operators `python` and `python_callable`: a script, code in the DAG file, or a function of a file, in a process of the
//! worker's own interpreter.
//!
//! The module `windlass` lies beside the code and talks to the worker over a socket that the process inherits.

mod callable;
mod talk;

use std::{collections::BTreeMap, io, os::fd::OwnedFd, path::PathBuf};

use futures::{FutureExt as _, future::BoxFuture};
use model::{
    AssetNews,
    operator::{Python, PythonSource},
};
use serde_json::{Value, json};
use tokio::net::UnixStream;

use crate::{
    Attempt, Executor, Outcome, Stop, Workspace, assets,
    environment::{self, Variables},
    output::{Output, could_not_run, drained},
    process::{Finished, GroupKind, Inherited, Launch, ProcessEnd, StdinUse, supervise},
    template::TemplateError,
};
pub(crate) use callable::CallableExecutor;
use talk::{Ending, Said};

/// The module that code imports as `windlass`.
const MODULE: &str = include_str!("../../python/windlass.py");
/// The number of the socket's descriptor.
const TASK_FD: &str = "WINDLASS_TASK_FD";
/// The interpreter, unless the task names one.
const PYTHON: &str = "python3";

/// Runs Python code.
pub(crate) struct PythonExecutor {
    keys: Python,
}

/// What is run: code with a file name of ours that tracebacks show, and what it is given.
struct Program<'k> {
    name: String,
    code: String,
    args: Vec<String>,
    env: Variables,
    pass_env: &'k [String],
    python_bin: Option<&'k str>,
    /// What the code gets when it asks which function to call, with what.
    call: Value,
}

/// How the code ended, and what it has said.
struct Ran {
    finished: Finished,
    said: Said,
    /// What it has written of its outlets.
    written: Result<Vec<AssetNews>, String>,
    last_words: Option<String>,
}

/// The environment of the code, rendered. Secrets in it are masked from now on.
async fn render_env(attempt: &Attempt, env: &BTreeMap<String, String>) -> Result<Variables, TemplateError> {
    let env = env.clone();
    let rendered = attempt.render(move |renderer| renderer.map("env", &env)).await?;
    attempt.mask_named(&rendered);
    Ok(rendered)
}

impl Program<'_> {
    /// Runs it to its end in a directory of the attempt's own.
    async fn run(self, attempt: &Attempt, stop: &Stop, workspace: &Workspace) -> Result<Ran, Outcome> {
        let (ours, theirs) = socket_pair().map_err(could_not_run)?;
        let call = self.call.clone();
        let launch = self.launch(attempt, workspace, theirs).map_err(could_not_run)?;
        let mut running = launch.start(&attempt.worker.launchers).await.map_err(could_not_run)?;
        let output = Output::follow(attempt, &mut running);
        let mut assignment = attempt.assignment.clone();
        assignment.context.params = attempt.params();
        let served = talk::Served {
            assignment,
            elements: attempt.elements.all().map(|(name, value)| (name.clone(), value.clone())).collect(),
            host: attempt.host.clone(),
            masker: attempt.masker.clone(),
            call,
        };
        let talk = tokio::spawn(talk::serve(ours, served));
        let grace = attempt.worker.kill_grace;
        let finished = supervise(&mut running, stop, grace, &attempt.log).await.map_err(could_not_run)?;
        let last_words = output.finish().await;
        let said = drained(talk).await.unwrap_or_default();
        let written = assets::read(&workspace.path().join(assets::FILE), &attempt.assignment.context);
        Ok(Ran { finished, said, written, last_words: last_words.err.words().as_deref().map(str::to_owned) })
    }

    fn launch(self, attempt: &Attempt, workspace: &Workspace, socket: OwnedFd) -> io::Result<Launch> {
        let module = workspace.write("windlass.py", MODULE)?;
        let script = workspace.write(&self.name, &self.code)?;
        let mut env = environment::standard(&attempt.worker);
        env.extend(attempt.passed(self.pass_env));
        env.extend(self.env);
        env.extend(environment::of_attempt(&attempt.worker, &attempt.assignment));
        env.extend(environment::of_outlets(&attempt.assignment, workspace.path()));
        let first = ["-u".into(), module.into(), script.into()];
        Ok(Launch {
            program: self.python_bin.unwrap_or(PYTHON).into(),
            args: first.into_iter().chain(self.args.into_iter().map(Into::into)).collect(),
            env,
            dir: PathBuf::from(workspace.path()),
            kind: GroupKind::Attempt,
            stdin: StdinUse::Empty,
            inherit: vec![Inherited { variable: TASK_FD, fd: socket }],
        })
    }
}

impl PythonExecutor {
    /// An executor for one task.
    pub(crate) fn new(keys: Python) -> Self {
        Self { keys }
    }

    async fn outcome(&self, attempt: &Attempt, stop: &Stop) -> Result<Outcome, Outcome> {
        let args = self.keys.args.clone();
        let args = attempt.render(move |renderer| renderer.list("args", &args)).await?;
        let env = render_env(attempt, &self.keys.env).await?;
        attempt.log_rendered(json!({"args": args, "env": env}));
        let (name, code) = self.code(attempt).await.map_err(Outcome::failed)?;
        let workspace = attempt.worker.workspaces.make().map_err(could_not_run)?;
        let program = Program {
            name,
            code,
            args,
            env,
            pass_env: &self.keys.pass_env,
            python_bin: self.keys.python_bin.as_deref(),
            call: Value::Null,
        };
        let ran = program.run(attempt, stop, &workspace).await?;
        Ok(judge(ran, attempt.assignment.do_xcom_push))
    }

    /// The code, with a file name of ours that tracebacks show.
    async fn code(&self, attempt: &Attempt) -> Result<(String, String), String> {
        match &self.keys.source {
            PythonSource::Inline(code) => Ok(("inline.py".to_owned(), code.clone())),
            PythonSource::Script(script) => {
                let base = script.rsplit('/').next().unwrap_or_default();
                Ok((format!("script_{base}"), attempt.file_text(script).await?))
            }
        }
    }
}

impl Executor for PythonExecutor {
    fn run<'a>(&'a self, attempt: &'a Attempt, stop: &'a Stop) -> BoxFuture<'a, Outcome> {
        self.outcome(attempt, stop).map(|outcome| outcome.unwrap_or_else(|outcome| outcome)).boxed()
    }
}

fn judge(ran: Ran, do_xcom_push: bool) -> Outcome {
    let Ran { finished, said, written, last_words } = ran;
    if let Some(cause) = finished.stopped {
        return cause.into();
    }
    let code = match finished.end {
        ProcessEnd::Exited(code) => code,
        ProcessEnd::Signalled(_) => return Outcome::failed(format!("ended by {}", finished.end)),
    };
    let outcome = match (said.ending, code) {
        (Some(Ending::Failed(reason)), _) => Outcome::failed_for_good(reason),
        (Some(Ending::Skipped(reason)), 0) => Outcome::skipped(reason),
        (_, 0) => Outcome::success(),
        (Some(Ending::Raised(reason)), _) => Outcome::failed(reason),
        (_, code) => Outcome::exited(code, last_words.as_deref()),
    };
    let outcome = outcome.exit_code(code).xcoms(said.pushed);
    let outcome = match said.result {
        Some(result) if do_xcom_push && code == 0 => outcome.returned(result),
        Some(_) | None => outcome,
    };
    assets::told(outcome, said.assets, written)
}

/// Both ends of a socket: ours for the runtime, theirs blocking, as Python expects it.
fn socket_pair() -> io::Result<(UnixStream, OwnedFd)> {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    Ok((UnixStream::from_std(ours)?, theirs.into()))
}
