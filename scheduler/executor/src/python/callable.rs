//! The operator `python_callable`: a function of a file of the DAG version.
//!
//! The version's files lie below one folder with the names that they have below the DAG folder, so that the function's module
//! finds its neighbours; a program of ours imports it and calls the function with what it asks for.

use futures::{
    FutureExt as _,
    future::{BoxFuture, try_join_all},
};
use model::{
    EndKind,
    operator::{PythonCallable, Returns},
};
use serde_json::{Value, json};

use super::{Program, judge, render_env};
use crate::{Attempt, Executor, Outcome, Stop, Workspace, branch, output::could_not_run};

/// The program that calls the function.
const CALLER: &str = include_str!("../../python/callable.py");
/// The folder that the version's files lie below.
const FOLDER: &str = "dags";
/// So many files are asked for at once.
const FILES_AT_ONCE: usize = 8;

/// Calls a Python function.
pub(crate) struct CallableExecutor {
    keys: PythonCallable,
    /// What has happened, for a callback: the function is then given the whole context, and these names are in it.
    happened: Option<serde_json::Map<String, Value>>,
}

impl CallableExecutor {
    /// An executor for one task.
    pub(crate) fn new(keys: PythonCallable) -> Self {
        Self { keys, happened: None }
    }

    /// An executor for a callback.
    pub(crate) fn of_callback(keys: PythonCallable, happened: serde_json::Map<String, Value>) -> Self {
        Self { keys, happened: Some(happened) }
    }

    async fn outcome(&self, attempt: &Attempt, stop: &Stop) -> Result<Outcome, Outcome> {
        let keys = self.keys.clone();
        let given = attempt.render(move |renderer| {
            Ok((
                renderer.json("op_args", &Value::Array(keys.op_args))?,
                renderer.json("op_kwargs", &Value::Object(keys.op_kwargs))?,
                keys.templates_dict.map(|dict| renderer.json("templates_dict", &Value::Object(dict))).transpose()?,
            ))
        });
        let (args, kwargs, templates_dict) = given.await?;
        let env = render_env(attempt, &self.keys.env).await?;
        let mut shown = json!({"op_args": args, "op_kwargs": kwargs, "env": env});
        if let Some(dict) = &templates_dict {
            shown["templates_dict"] = dict.clone();
        }
        attempt.log_rendered(shown);
        let workspace = attempt.worker.workspaces.make().map_err(could_not_run)?;
        lay_out(attempt, &workspace).await.map_err(Outcome::failed)?;
        let call = json!({
            "root": workspace.path().join(FOLDER).to_string_lossy(),
            "file": self.keys.file,
            "function": self.keys.function,
            "args": args,
            "kwargs": kwargs,
            "templates_dict": templates_dict,
            "happened": self.happened,
            "returns": if matches!(self.keys.returns, Returns::Proceed(_)) { "proceed" } else { "value" },
        });
        let program = Program {
            name: "windlass_call.py".to_owned(),
            code: CALLER.to_owned(),
            args: Vec::new(),
            env,
            pass_env: &self.keys.pass_env,
            python_bin: self.keys.python_bin.as_deref(),
            call,
        };
        let ran = program.run(attempt, stop, &workspace).await?;
        let (value, proceed) = (ran.said.result.clone().unwrap_or_default(), ran.said.proceed);
        let outcome = judge(ran, attempt.assignment.do_xcom_push);
        Ok(if outcome.kind() == EndKind::Success { self.decided(attempt, outcome, &value, proceed) } else { outcome })
    }

    /// The same outcome with what the function has decided.
    fn decided(&self, attempt: &Attempt, outcome: Outcome, value: &Value, proceed: Option<bool>) -> Outcome {
        match self.keys.returns {
            Returns::Value => outcome,
            Returns::Follow => match branch::ids(value) {
                Some(ids) => {
                    attempt.log.system(&format!("Follows: {}", ids.join(", ")));
                    outcome.follow(ids)
                }
                None => Outcome::failed(format!(
                    "{} returned {value}; a task or group id, or a list of them, is expected",
                    self.keys.function
                )),
            },
            Returns::Proceed(_) => {
                let proceed = proceed.unwrap_or(false);
                attempt.log.system(if proceed { "The condition holds." } else { "The condition does not hold." });
                outcome.proceed(proceed)
            }
        }
    }
}

/// Writes the version's files below the folder: modules, and what else the DAG names. SQL is what other tasks run.
async fn lay_out(attempt: &Attempt, workspace: &Workspace) -> Result<(), String> {
    let names: Vec<&String> = attempt.assignment.files.keys().filter(|name| !name.ends_with(".sql")).collect();
    for some in names.chunks(FILES_AT_ONCE) {
        let mut asked: Vec<BoxFuture<'_, Result<Vec<u8>, String>>> = Vec::with_capacity(some.len());
        for name in some {
            asked.push(attempt.file_bytes(name).boxed());
        }
        for (name, bytes) in some.iter().zip(try_join_all(asked).await?) {
            workspace
                .write_below(FOLDER, name, &bytes)
                .map_err(|error| format!("file {name:?} of the DAG version could not be written: {error}"))?;
        }
    }
    Ok(())
}

impl Executor for CallableExecutor {
    fn run<'a>(&'a self, attempt: &'a Attempt, stop: &'a Stop) -> BoxFuture<'a, Outcome> {
        self.outcome(attempt, stop).map(|outcome| outcome.unwrap_or_else(|outcome| outcome)).boxed()
    }
}
