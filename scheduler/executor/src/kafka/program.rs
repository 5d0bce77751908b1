//! One run of `windlass-tasks kafka run`: a request goes in as a line of JSON, events come out as lines of JSON, and each
//! batch of messages that it shows is answered by how many are taken.
//!
//! Secrets go through the pipe or the environment, never onto the command line. A stop ends the program with TERM.

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::unix::pipe,
};

use super::{Cluster, Judge, Verdict};
use crate::{
    Attempt, Outcome, Stop, Workspace, environment,
    log::Stream,
    output::{alongside, could_not_run, drained, follow_errors},
    process::{GroupKind, Launch, ProcessEnd, StdinUse, supervise},
};

/// The program beside Windlass's own.
const PROGRAM: &str = "windlass-tasks";
/// The longest event: a batch of about a megabyte of messages, all of it escaped.
const EVENT_BYTES_MAX: u64 = 16 * 1024 * 1024;

#[derive(Debug, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Event {
    Say { text: String },
    Messages { messages: Vec<Value> },
    Restart,
    End { value: Value },
    Error { message: String },
}

/// How the conversation ended.
#[derive(Default)]
struct Told {
    value: Option<Value>,
    error: Option<String>,
    /// The judge could not go on.
    refused: Option<Outcome>,
}

/// Runs the program with one request and gives what it answers.
///
/// # Errors
/// How the attempt ends when the program fails, is stopped, or shows messages that the judge can not judge.
pub(crate) async fn run(
    attempt: &Attempt,
    stop: &Stop,
    cluster: &Cluster,
    task: Value,
    judge: &mut dyn Judge,
) -> Result<Value, Outcome> {
    let workspace = attempt.worker.workspaces.make().map_err(could_not_run)?;
    let launch = launch(attempt, cluster, &workspace);
    let mut running = launch.start(&attempt.worker.launchers).await.map_err(could_not_run)?;
    let errors = follow_errors(attempt, &mut running);
    let pipes = Pipes {
        stdin: running.stdin.take().expect("standard input is a pipe"),
        stdout: BufReader::new(running.stdout.take().expect("standard output is a pipe")),
    };
    let request = json!({"connection": cluster.as_json(), "task": task});
    let mut told = Told::default();
    let talk = told.talk(attempt, pipes, &request, judge);
    let ended = supervise(&mut running, stop, attempt.worker.kill_grace, &attempt.log);
    let finished = alongside(ended, talk).await.map_err(could_not_run)?;
    drained(errors).await;
    match finished.stopped {
        Some(cause) => Err(cause.into()),
        None => told.result(finished.end),
    }
}

fn launch(attempt: &Attempt, cluster: &Cluster, workspace: &Workspace) -> Launch {
    let mut env = environment::standard(&attempt.worker);
    env.extend(cluster.environment(attempt));
    env.extend(environment::of_attempt(&attempt.worker, &attempt.assignment));
    attempt.mask_named(&env);
    Launch {
        program: PROGRAM.into(),
        args: vec!["kafka".into(), "run".into()],
        env,
        dir: workspace.path().to_owned(),
        kind: GroupKind::Attempt,
        stdin: StdinUse::Pipe,
        inherit: Vec::new(),
    }
}

struct Pipes {
    stdin: pipe::Sender,
    stdout: BufReader<pipe::Receiver>,
}

impl Told {
    /// Speaks with the program until it has no more to say. Closing the pipes ends a program that waits for an answer.
    async fn talk(&mut self, attempt: &Attempt, mut pipes: Pipes, request: &Value, judge: &mut dyn Judge) {
        // A program that ends without reading it says why by itself.
        let _ = pipes.stdin.write_all(format!("{request}\n").as_bytes()).await;
        let mut line = Vec::new();
        loop {
            line.clear();
            let read = (&mut pipes.stdout).take(EVENT_BYTES_MAX).read_until(b'\n', &mut line).await;
            // A pipe that fails has no more to give than one that has ended.
            if read.unwrap_or(0) == 0 {
                return;
            }
            let Some(messages) = self.take(attempt, &line, judge) else { continue };
            let verdict = match judge.judge(attempt, messages).await {
                Ok(verdict) => verdict,
                Err(outcome) => return self.refused = Some(outcome),
            };
            let answer = match verdict {
                Verdict::Enough(taken) => json!({"enough": taken}),
                Verdict::More => json!("more"),
            };
            // When it is gone, its output ends, too.
            let _ = pipes.stdin.write_all(format!("{answer}\n").as_bytes()).await;
        }
    }

    /// Takes an event; gives the messages that have to be judged.
    fn take(&mut self, attempt: &Attempt, line: &[u8], judge: &mut dyn Judge) -> Option<Vec<Value>> {
        match serde_json::from_slice(line) {
            Ok(Event::Messages { messages }) => return Some(messages),
            Ok(Event::Restart) => judge.restart(),
            Ok(Event::Say { text }) => attempt.log.system(&text),
            Ok(Event::End { value }) => self.value = Some(value),
            Ok(Event::Error { message }) => self.error = Some(message),
            // Whatever else it prints is for people.
            Err(_) => attempt.log.line(Stream::Out, String::from_utf8_lossy(line).trim_end()),
        }
        None
    }

    fn result(self, end: ProcessEnd) -> Result<Value, Outcome> {
        if let Some(outcome) = self.refused {
            return Err(outcome);
        }
        match (self.error, self.value, end) {
            (Some(error), _, ProcessEnd::Exited(code)) => Err(Outcome::failed(error).exit_code(code)),
            (Some(error), _, ProcessEnd::Signalled(_)) => Err(Outcome::failed(error)),
            (None, Some(value), ProcessEnd::Exited(0)) => Ok(value),
            (None, _, ProcessEnd::Exited(code)) => Err(Outcome::failed(format!(
                "{PROGRAM} kafka run ended with exit code {code} and no error event; see its last lines"
            ))
            .exit_code(code)),
            (None, _, ProcessEnd::Signalled(_)) => {
                Err(Outcome::failed(format!("{PROGRAM} kafka run was ended by {end}")))
            }
        }
    }
}
