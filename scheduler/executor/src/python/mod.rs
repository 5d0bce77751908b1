//! The operator `python`: a script, or code in the DAG file, in a process of the worker's own interpreter.
//!
//! The module `windlass` lies beside the code and talks to the worker over a socket that the process inherits.

mod talk;

use std::{io, os::fd::OwnedFd, path::PathBuf};

use futures::{FutureExt as _, future::BoxFuture};
use model::operator::{Python, PythonSource};
use serde_json::json;
use tokio::net::UnixStream;

use crate::{
    Attempt, Executor, Outcome, Stop, Workspace, assets,
    environment::{self, Variables},
    output::{Output, could_not_run, drained},
    process::{Finished, GroupKind, Inherited, Launch, ProcessEnd, StdinUse, supervise},
    template::TemplateError,
};
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

/// The keys that are templates, rendered.
struct Rendered {
    args: Vec<String>,
    env: Variables,
}

impl PythonExecutor {
    /// An executor for one task.
    pub(crate) fn new(keys: Python) -> Self {
        Self { keys }
    }

    async fn outcome(&self, attempt: &Attempt, stop: &Stop) -> Result<Outcome, Outcome> {
        let rendered = self.render(attempt).await?;
        let (name, code) = self.code(attempt).await.map_err(Outcome::failed)?;
        let workspace = attempt.worker.workspaces.make().map_err(could_not_run)?;
        let (ours, theirs) = socket_pair().map_err(could_not_run)?;
        let launch = self.launch(attempt, rendered, &workspace, (&name, &code), theirs).map_err(could_not_run)?;
        let mut running = launch.start(&attempt.worker.launchers).await.map_err(could_not_run)?;
        let output = Output::follow(attempt, &mut running);
        let talk = tokio::spawn(talk::serve(ours, attempt.assignment.clone(), attempt.host.clone()));
        let grace = attempt.worker.kill_grace;
        let finished = supervise(&mut running, stop, grace, &attempt.log).await.map_err(could_not_run)?;
        let last_words = output.finish().await;
        let said = drained(talk).await.unwrap_or_default();
        let written = assets::read(&workspace.path().join(assets::FILE), &attempt.assignment.context);
        let said = match written {
            Ok(news) => Said { assets: said.assets.into_iter().chain(news).collect(), ..said },
            Err(why) => return Err(Outcome::failed(why)),
        };
        Ok(judge(finished, said, last_words.err.words().as_deref(), attempt.assignment.do_xcom_push))
    }

    async fn render(&self, attempt: &Attempt) -> Result<Rendered, TemplateError> {
        let keys = self.keys.clone();
        let rendered = attempt.render(move |renderer| {
            Ok(Rendered { args: renderer.list("args", &keys.args)?, env: renderer.map("env", &keys.env)? })
        });
        let rendered = rendered.await?;
        attempt.mask_named(&rendered.env);
        attempt.log_rendered(json!({"args": rendered.args, "env": rendered.env}));
        Ok(rendered)
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

    fn launch(
        &self,
        attempt: &Attempt,
        rendered: Rendered,
        workspace: &Workspace,
        (name, code): (&str, &str),
        socket: OwnedFd,
    ) -> io::Result<Launch> {
        let module = workspace.write("windlass.py", MODULE)?;
        let script = workspace.write(name, code)?;
        let mut env = environment::standard(&attempt.worker);
        env.extend(attempt.passed(&self.keys.pass_env));
        env.extend(rendered.env);
        env.extend(environment::of_attempt(&attempt.worker, &attempt.assignment));
        env.extend(environment::of_outlets(&attempt.assignment, workspace.path()));
        let first = ["-u".into(), module.into(), script.into()];
        Ok(Launch {
            program: self.keys.python_bin.as_deref().unwrap_or(PYTHON).into(),
            args: first.into_iter().chain(rendered.args.into_iter().map(Into::into)).collect(),
            env,
            dir: PathBuf::from(workspace.path()),
            kind: GroupKind::Attempt,
            stdin: StdinUse::Empty,
            inherit: vec![Inherited { variable: TASK_FD, fd: socket }],
        })
    }
}

impl Executor for PythonExecutor {
    fn run<'a>(&'a self, attempt: &'a Attempt, stop: &'a Stop) -> BoxFuture<'a, Outcome> {
        self.outcome(attempt, stop).map(|outcome| outcome.unwrap_or_else(|outcome| outcome)).boxed()
    }
}

fn judge(finished: Finished, said: Said, last_words: Option<&str>, do_xcom_push: bool) -> Outcome {
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
        (_, code) => Outcome::exited(code, last_words),
    };
    let outcome = outcome.exit_code(code).xcoms(said.pushed).assets(said.assets);
    match said.result {
        Some(result) if do_xcom_push && code == 0 => outcome.returned(result),
        Some(_) | None => outcome,
    }
}

/// Both ends of a socket: ours for the runtime, theirs blocking, as Python expects it.
fn socket_pair() -> io::Result<(UnixStream, OwnedFd)> {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    Ok((UnixStream::from_std(ours)?, theirs.into()))
}
