//! The operator `bash`: a command in a process group of its own.
//!
//! The command lies in a file of the attempt's directory rather than in the arguments, where every user of the machine
//! could read it, and where its length is limited.

use std::{
    ffi::OsStr,
    io,
    path::{Path, PathBuf},
};

use futures::{FutureExt as _, future::BoxFuture};
use model::operator::Bash;

use crate::{
    Attempt, Executor, Outcome, Stop, assets,
    environment::{self, Variables},
    output::{LastWords, Output, could_not_run},
    process::{Finished, GroupKind, Launch, ProcessEnd, StdinUse, find_program, supervise},
    template::{self, TemplateError},
};

/// Runs bash commands.
pub(crate) struct BashExecutor {
    keys: Bash,
}

/// The keys that are templates, rendered.
struct Rendered {
    command: String,
    env: Variables,
    cwd: Option<String>,
}

impl BashExecutor {
    /// An executor for one task.
    pub(crate) fn new(keys: Bash) -> Self {
        Self { keys }
    }

    async fn outcome(&self, attempt: &Attempt, stop: &Stop) -> Result<Outcome, Outcome> {
        let rendered = self.render(attempt).await?;
        let made = attempt.worker.workspaces.with_command(&rendered.command);
        let (workspace, script) = made.map_err(could_not_run)?;
        let launch = self.launch(attempt, rendered, workspace.path(), script).map_err(could_not_run)?;
        let mut running = launch.start(&attempt.worker.launchers).await.map_err(could_not_run)?;
        let output = Output::follow(attempt, &mut running);
        let grace = attempt.worker.kill_grace;
        let finished = supervise(&mut running, stop, grace, &attempt.log).await.map_err(could_not_run)?;
        let last_words = output.finish().await;
        let said = assets::read(&workspace.path().join(assets::FILE), &attempt.assignment.context);
        if finished.is_gone {
            workspace.give_back();
        }
        let outcome = self.judge(attempt, finished, &last_words);
        Ok(assets::told(outcome, Vec::new(), said))
    }

    async fn render(&self, attempt: &Attempt) -> Result<Rendered, TemplateError> {
        let keys = self.keys.clone();
        let mut texts = std::iter::once(&keys.bash_command).chain(keys.env.values()).chain(&keys.cwd);
        let rendered = if texts.all(|text| template::is_plain(text)) {
            Rendered { command: keys.bash_command, env: keys.env, cwd: keys.cwd }
        } else {
            let rendered = attempt.render(move |renderer| {
                Ok(Rendered {
                    command: renderer.shell("bash_command", &keys.bash_command)?,
                    env: renderer.map("env", &keys.env)?,
                    cwd: keys.cwd.as_deref().map(|cwd| renderer.text("cwd", cwd)).transpose()?,
                })
            });
            rendered.await?
        };
        attempt.mask_named(&rendered.env);
        let fields = serde_json::json!({"bash_command": rendered.command, "env": rendered.env, "cwd": rendered.cwd});
        attempt.log_rendered(fields);
        Ok(rendered)
    }

    fn launch(&self, attempt: &Attempt, rendered: Rendered, workspace: &Path, script: PathBuf) -> io::Result<Launch> {
        let standard = environment::standard(&attempt.worker);
        // Airflow's rule: variables of its own replace the standard ones unless append_env says otherwise.
        let replaced = !rendered.env.is_empty() && !self.keys.append_env;
        let program = find_program(OsStr::new("bash"), standard.get("PATH"))?;
        let mut env = if replaced { Variables::new() } else { standard };
        env.extend(attempt.passed(&self.keys.pass_env));
        env.extend(rendered.env);
        env.extend(environment::of_attempt(&attempt.worker, &attempt.assignment));
        env.extend(environment::of_outlets(&attempt.assignment, workspace));
        let dir = rendered.cwd.map_or_else(|| workspace.to_owned(), PathBuf::from);
        Ok(Launch {
            program: program.into(),
            args: vec![script.into()],
            env,
            dir,
            kind: GroupKind::Attempt,
            stdin: StdinUse::Empty,
            inherit: Vec::new(),
        })
    }

    fn judge(&self, attempt: &Attempt, finished: Finished, last_words: &LastWords) -> Outcome {
        if let Some(cause) = finished.stopped {
            return cause.into();
        }
        match finished.end {
            ProcessEnd::Exited(0) if attempt.assignment.do_xcom_push => match last_words.out.value() {
                Ok(Some(value)) => Outcome::success().returned(value).exit_code(0),
                Ok(None) => Outcome::success().exit_code(0),
                Err(why) => Outcome::failed(why).exit_code(0),
            },
            ProcessEnd::Exited(0) => Outcome::success().exit_code(0),
            ProcessEnd::Exited(code) if self.keys.skip_on_exit_code.contains(&code) => {
                Outcome::skipped(format!("exit code {code}")).exit_code(code)
            }
            ProcessEnd::Exited(code) => Outcome::exited(code, last_words.err.words().as_deref()),
            ProcessEnd::Signalled(_) => Outcome::failed(format!("ended by {}", finished.end)),
        }
    }
}

impl Executor for BashExecutor {
    fn run<'a>(&'a self, attempt: &'a Attempt, stop: &'a Stop) -> BoxFuture<'a, Outcome> {
        self.outcome(attempt, stop).map(|outcome| outcome.unwrap_or_else(|outcome| outcome)).boxed()
    }
}
