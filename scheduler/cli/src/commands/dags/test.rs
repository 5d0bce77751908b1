//! `windlass dags test FILE`: a DAG in the foreground, without any set-up, by the same leader and workers as ever.
//!
//! The DAG folder is the installation's when the file lies in it, else the file's own. Its schedule starts nothing; one run is
//! triggered and followed, with the logs of its tasks on standard output. Connections and variables come from the environment.
//! Nothing is kept.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use super::{files::Place, stage::Stage};
use crate::{
    exit::Exit,
    fleet::on_signal,
    installation::{now, parse_conf},
    output::visible,
    settings::Settings,
    text,
};
use anyhow::{Context, bail};
use clap::Args;
use daemon::folder::{FileNews, FolderNews};
use dag::CompiledDag;
use link::query::LogName;
use model::{
    AttemptId, BundleFile, DagId, DagRunState, RunId, TaskIdx, TaskState, TriggeredBy,
    command::{
        AnswerQuestion, ClearEffect, Command, MarkTaskInstances, Paused, Pool, Relatives, TaskInstanceName,
        TaskSelector, TriggerDagRun,
    },
    door::{Conf, Instant, Text},
    operator::HitlUser,
};
use serde_json::{Map, Value};
use store::{
    Hints,
    read::{self, Instance, Version},
};

/// Logs are read so often while tasks run: workers write each 200 ms.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// A new leader takes its first look within a second; a slow machine needs longer.
const DAG_WITHIN: Duration = Duration::from_secs(30);
/// One look reads at most so much of a log; the rest follows with the next.
const CHUNK_BYTES: u32 = 256 * 1024;
/// Before everything that a schedule could ask for, so that it asks for nothing.
const SCHEDULE_ENDS: &str = "1970-01-01T00:00:00Z";
/// How a command ends that Ctrl-C has interrupted.
const INTERRUPTED: u8 = 130;

/// Options of `dags test`.
#[derive(Debug, Args)]
pub struct Test {
    /// The DAG file.
    file: PathBuf,
    /// Which of the file's DAGs; needed when it has several.
    #[arg(long)]
    dag_id: Option<DagId>,
    /// Values for its params, a JSON object.
    #[arg(long, short)]
    conf: Option<String>,
    /// The date that the run stands for, such as 2026-11-21; now when absent.
    #[arg(long, short = 'l', visible_alias = "exec-date")]
    logical_date: Option<Instant>,
    /// Run this task alone; the others count as done.
    #[arg(long)]
    task: Option<String>,
}

/// Runs it; the status is 0 when the run succeeds.
///
/// # Errors
/// When the file can not be run, or a part of the stage can not start.
pub async fn run(settings: &Settings, test: Test) -> anyhow::Result<ExitCode> {
    let Some((place, compiled)) = compile(settings, &test)? else { return Ok(Exit::Error.into()) };
    let dag = compiled.dag.clone();
    let wish = TriggerDagRun {
        logical_date: Some(test.logical_date.map_or_else(now, Ok)?),
        conf: parse_conf(&dag, test.conf.as_deref())?,
        ..TriggerDagRun::by_hand(dag.dag_id.clone(), TriggeredBy::Cli)
    };
    let alone = match &test.task {
        None => Vec::new(),
        Some(task) => others(&dag, task)?,
    };
    let interrupted = on_signal()?;
    let settings = Settings { dags_folder: place.root, ..settings.clone() };
    errln!("{}: starting a private PostgreSQL, a leader and a worker", dag.dag_id);
    let file = FileNews { dags: vec![quiet(compiled)], ..FileNews::default() };
    let news =
        FolderNews { changed: BTreeMap::from([(BundleFile::in_folder(place.name), file)]), ..FolderNews::default() };
    let setting = Stage::set(&settings, news);
    let stage = tokio::select! {
        stage = setting => stage?,
        () = interrupted.cancelled() => return Ok(ExitCode::from(INTERRUPTED)),
    };
    let ended = tokio::select! {
        ended = play(&stage, wish, alone) => ended,
        () = interrupted.cancelled() => {
            errln!("interrupted: stopping");
            stage.strike().await;
            return Ok(ExitCode::from(INTERRUPTED));
        }
    };
    stage.strike().await;
    Ok(if ended? == DagRunState::Success { ExitCode::SUCCESS } else { Exit::RunFailed.into() })
}

/// The file's folder and the DAG that is meant; none when the file has mistakes, which are printed.
fn compile(settings: &Settings, test: &Test) -> anyhow::Result<Option<(Place, CompiledDag)>> {
    let place = Place::of(settings, &test.file)?;
    let found = place.read();
    for error in &found.errors {
        errln!("{error}");
    }
    if !found.errors.is_empty() {
        return Ok(None);
    }
    let names: Vec<String> = found.dags.iter().map(|one| one.dag.dag_id.to_string()).collect();
    let mut meant = found.dags;
    meant.retain(|one| test.dag_id.as_ref().is_none_or(|id| *id == one.dag.dag_id));
    match (meant.len(), meant.pop()) {
        (1, Some(one)) => Ok(Some((place, one))),
        (0, _) => bail!(
            "{} defines: {}",
            test.file.display(),
            if names.is_empty() { "no DAG".to_owned() } else { names.join(", ") }
        ),
        _ => bail!("{} defines several DAGs; choose one with --dag-id: {}", test.file.display(), names.join(", ")),
    }
}

/// The DAG with a schedule that is over, and paused until its run is there.
fn quiet(mut compiled: CompiledDag) -> CompiledDag {
    compiled.dag.end_date = Some(SCHEDULE_ENDS.parse().expect("the constant is an instant"));
    compiled.dag.is_paused_upon_creation = true;
    compiled
}

fn others(dag: &dag::Dag, task: &str) -> anyhow::Result<Vec<TaskSelector>> {
    let names: Vec<&str> = dag.tasks.iter().map(|one| one.task_id.as_str()).collect();
    if !names.contains(&task) {
        bail!("{} has no task {task}; it has: {}", dag.dag_id, names.join(", "));
    }
    let others = dag.tasks.iter().filter(|one| one.task_id.as_str() != task);
    Ok(others.map(|one| TaskSelector { task_id: one.task_id.clone(), map_index: None }).collect())
}

/// Starts the run and follows it to its end.
async fn play(stage: &Stage, wish: TriggerDagRun, alone: Vec<TaskSelector>) -> anyhow::Result<DagRunState> {
    let dag_id = wish.dag_id.clone();
    let version = await_dag(stage, &dag_id).await?;
    make_pools(stage, &version.dag).await?;
    let body = stage.access.command(Command::TriggerDagRun(wish)).await?;
    let run_id = RunId::new(body["run_id"].as_str().context("the leader's answer names no run")?)?;
    if !alone.is_empty() {
        let mark = MarkTaskInstances {
            dag_id: dag_id.clone(),
            run_id: run_id.clone(),
            also: Vec::new(),
            tasks: alone,
            relatives: Relatives::default(),
            state: TaskState::Success,
            effect: ClearEffect::Apply,
        };
        stage.access.command(Command::MarkTaskInstances(mark)).await?;
    }
    stage.access.command(Command::PauseDag { dag_id: dag_id.clone(), to: Paused::Active }).await?;
    Script { stage, dag_id, run_id, version, shown: BTreeMap::new(), logs: BTreeMap::new() }.follow().await
}

/// The pools that the tasks name, without a limit: what they wait for elsewhere is not there to be waited for.
async fn make_pools(stage: &Stage, dag: &dag::Dag) -> anyhow::Result<()> {
    let mut names: BTreeSet<&str> = dag.tasks.iter().map(|task| task.pool.as_str()).collect();
    names.remove(Pool::DEFAULT);
    for name in names {
        let pool = Pool {
            name: name.to_owned(),
            slots: None,
            description: String::new(),
            include_deferred: false,
            rate_limit: None,
        };
        stage.access.command(Command::CreatePool(pool)).await?;
    }
    Ok(())
}

async fn await_dag(stage: &Stage, dag_id: &DagId) -> anyhow::Result<Version> {
    let look = async {
        loop {
            if let Some(view) = read::dag(&stage.pool, dag_id).await? {
                return read::version(&stage.pool, view.current).await?.context("the DAG's version is gone");
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    tokio::time::timeout(DAG_WITHIN, look).await.context("the leader does not take the DAG")?
}

/// What has been told of a run.
struct Script<'s> {
    stage: &'s Stage,
    dag_id: DagId,
    run_id: RunId,
    version: Version,
    shown: BTreeMap<TaskIdx, (TaskState, i16)>,
    /// How far the log of each attempt has been printed, with the name of its task.
    logs: BTreeMap<AttemptId, (String, u64)>,
}

impl Script<'_> {
    async fn follow(mut self) -> anyhow::Result<DagRunState> {
        let hints = Hints::listen(&self.stage.pool).await?;
        let mut changes = hints.subscribe();
        let began = std::time::Instant::now();
        loop {
            let run = read::run(&self.stage.pool, &self.dag_id, &self.run_id).await?.context("the run is gone")?;
            let instances = read::instances(&self.stage.pool, &[run.key]).await?;
            for instance in &instances {
                self.print_log_of(instance)?;
                self.tell(instance);
                if instance.row.state == TaskState::AwaitingInput {
                    self.answer(instance).await?;
                }
            }
            let over = run.state.is_finished() && !instances.iter().any(|instance| instance.row.live);
            if over {
                self.print_logs()?;
                outln!("run {} {} after {}", run.run_id, run.state, text::duration(began.elapsed().as_secs_f64()));
                return Ok(run.state);
            }
            let _look_in_any_case = tokio::time::timeout(LOOK_EVERY, changes.recv()).await;
        }
    }

    /// Nobody is there who could answer: a question's defaults count, else its first option.
    async fn answer(&self, instance: &Instance) -> anyhow::Result<()> {
        let task = self.version.task_idx.iter().position(|number| *number == instance.row.key.task);
        let task = task.map(|pos| &self.version.dag.tasks[pos]);
        let Some((task, asking)) = task.and_then(|task| Some((task, task.operator.asking()?))) else { return Ok(()) };
        let chosen = if asking.defaults.is_empty() { &asking.options[..1] } else { &asking.defaults[..] };
        outln!("{} | [answered {}, as nobody is there in a test]", task.task_id, chosen.join(", "));
        let text = |option: &String| Text::new(option.clone()).context("an option of the file");
        let answer = AnswerQuestion {
            instance: TaskInstanceName {
                dag_id: self.dag_id.clone(),
                run_id: self.run_id.clone(),
                task_id: task.task_id.clone(),
                map_index: instance.row.key.map,
            },
            chosen_options: chosen.iter().map(text).collect::<anyhow::Result<_>>()?,
            params_input: Conf::default(),
            user: asking.assigned_users.first().cloned().unwrap_or_else(|| HitlUser::named("test")),
        };
        self.stage.access.command(Command::AnswerQuestion(answer)).await.map(drop)
    }

    fn name(&self, task: TaskIdx) -> String {
        let pos = self.version.task_idx.iter().position(|number| *number == task);
        pos.map_or_else(|| "a task that is gone".to_owned(), |pos| self.version.dag.tasks[pos].task_id.to_string())
    }

    fn tell(&mut self, instance: &Instance) {
        let row = &instance.row;
        let stands = (row.state, row.try_number.get());
        if self.shown.insert(row.key.task, stands) == Some(stands) || row.state == TaskState::Queued {
            return;
        }
        let took = row.started_at.zip(row.ended_at).filter(|_| row.state.is_finished());
        let took = took.map(|(from, to)| format!(" after {}", text::duration((to - from).as_seconds_f64())));
        let is_bad = row.state.is_failed_like() || row.state == TaskState::UpForRetry;
        let reason = row.extra.reason.as_ref().filter(|_| is_bad).map(|reason| format!(": {}", visible(reason)));
        outln!(
            "{} | [{}{}{}]",
            self.name(row.key.task),
            row.state,
            took.unwrap_or_default(),
            reason.unwrap_or_default()
        );
    }

    fn print_log_of(&mut self, instance: &Instance) -> anyhow::Result<()> {
        if let Some(attempt) = instance.row.attempt {
            let name = self.name(instance.row.key.task);
            self.logs.entry(attempt).or_insert((name, 0));
        }
        self.print_logs()
    }

    /// Prints what has been added to the logs of all attempts, superseded ones included.
    fn print_logs(&mut self) -> anyhow::Result<()> {
        let folder = self.stage.settings.home.join("logs");
        for (attempt, (task, offset)) in &mut self.logs {
            let chunk = executor::log::read(&folder, &LogName::Attempt(*attempt), *offset, CHUNK_BYTES)?;
            *offset += chunk.bytes.len() as u64;
            for line in String::from_utf8_lossy(&chunk.bytes).lines() {
                let record: Map<String, Value> = serde_json::from_str(line).unwrap_or_default();
                if !record.contains_key("rendered") {
                    outln!("{task} | {}", visible(record.get("text").and_then(Value::as_str).unwrap_or(line)));
                }
            }
        }
        Ok(())
    }
}
