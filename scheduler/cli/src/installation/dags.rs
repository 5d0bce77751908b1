//! DAGs: what is known of them, and what people change.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context;
use chrono::SubsecRound as _;
use model::{
    BundleName, DagId, DagRunState, RunId, Timestamp, TriggeredBy,
    command::{Command, Draining, Paused, TriggerDagRun},
    door::{Conf, Instant, Note, inexact},
};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use store::{
    audit::Actor,
    favorites,
    read::{self, DagFilter, Marked, Window},
    users,
};

use super::Installation;
use crate::{
    access::caller,
    exit::{Exit, Failure},
    find,
    server::{Server, ServerError},
};

/// Mistakes that one call lists; whoever has more mends some first.
const IMPORT_ERRORS_MAX: i64 = 10_000;
/// Nobody looks through more favorites than this.
const FAVORITES_MAX: i64 = 10_000;

/// A DAG in a list.
#[derive(Debug, Clone)]
pub struct DagRow {
    /// Its id.
    pub dag_id: String,
    /// Its file.
    pub fileloc: String,
    /// Its owners.
    pub owners: Vec<String>,
    /// Whether it is held back.
    pub is_paused: bool,
    /// Whether no file defines it any more.
    pub is_stale: bool,
    /// When the next run of its schedule starts.
    pub next_dagrun: Option<Timestamp>,
}

/// A DAG as the API writes it.
#[derive(Deserialize)]
struct Answer {
    dag_id: String,
    fileloc: String,
    owners: Vec<String>,
    is_paused: bool,
    #[serde(default)]
    is_stale: bool,
    next_dagrun_run_after: Option<Timestamp>,
}

impl From<Answer> for DagRow {
    fn from(answer: Answer) -> Self {
        Self {
            dag_id: answer.dag_id,
            fileloc: answer.fileloc,
            owners: answer.owners,
            is_paused: answer.is_paused,
            is_stale: answer.is_stale,
            next_dagrun: answer.next_dagrun_run_after,
        }
    }
}

impl From<read::DagView> for DagRow {
    fn from(view: read::DagView) -> Self {
        Self {
            dag_id: view.dag_id.to_string(),
            fileloc: view.fileloc,
            owners: view.owners,
            is_paused: view.is_paused,
            is_stale: view.is_stale,
            next_dagrun: view.next.map(|next| next.run_after),
        }
    }
}

/// A mistake in a DAG file.
pub struct Mistake {
    /// The file, below the DAG folder, or behind the name of another bundle and a colon.
    pub file: String,
    /// The line, where it is known.
    pub line: Option<i32>,
    /// The field, where it is known.
    pub field: Option<String>,
    /// What is wrong, and what to write.
    pub text: String,
}

/// A run that somebody wants.
pub struct TriggerWish {
    /// Of which DAG.
    pub dag_id: String,
    /// Its id; made from its type and the time when absent.
    pub run_id: Option<RunId>,
    /// The date that it stands for; now when absent.
    pub logical_date: Option<Instant>,
    /// A remark.
    pub note: Option<Note>,
    /// `--conf` as it was written.
    pub conf: Option<String>,
}

impl Installation<'_> {
    /// Every DAG, by its id.
    ///
    /// # Errors
    /// When the installation does not answer.
    pub async fn dags(&self) -> anyhow::Result<Vec<DagRow>> {
        match self {
            Self::Here(here) => {
                Ok(read::dags(here.access.pool().await?).await?.into_iter().map(DagRow::from).collect())
            }
            Self::Server(server) => {
                let answers: Vec<Answer> = server.list(&["dags"], "dags", &[("exclude_stale", "false")]).await?;
                Ok(answers.into_iter().map(DagRow::from).collect())
            }
        }
    }

    /// The state of the newest run of each of these DAGs that has one.
    ///
    /// # Errors
    /// When the installation does not answer.
    pub async fn last_states(&self, dags: &[DagRow]) -> anyhow::Result<BTreeMap<String, DagRunState>> {
        let mut states = BTreeMap::new();
        match self {
            Self::Here(here) => {
                let ids: Vec<DagId> = dags.iter().map(|dag| DagId::new(&dag.dag_id)).collect::<Result<_, _>>()?;
                for run in read::latest_runs(here.access.pool().await?, &ids).await? {
                    states.insert(run.dag_id.to_string(), run.state);
                }
            }
            // An answer for a DAG has no state of a run, but DAGs are found by it.
            Self::Server(server) => {
                for state in DagRunState::ALL {
                    let query = [("exclude_stale", "false"), ("last_dag_run_state", state.name())];
                    let answers: Vec<Answer> = server.list(&["dags"], "dags", &query).await?;
                    states.extend(answers.into_iter().map(|dag| (dag.dag_id, *state)));
                }
            }
        }
        Ok(states)
    }

    /// One DAG.
    ///
    /// # Errors
    /// When there is none of this id.
    pub async fn dag(&self, dag_id: &str) -> anyhow::Result<DagRow> {
        match self {
            Self::Here(here) => Ok(find::dag(here.access.pool().await?, dag_id).await?.into()),
            Self::Server(server) => match server.get::<Answer>(&["dags", dag_id], &[]).await {
                Ok(answer) => Ok(answer.into()),
                Err(error) => Err(dag_error(server, error, dag_id).await),
            },
        }
    }

    /// Everything that is known of a DAG, property by property.
    ///
    /// # Errors
    /// When there is none of this id.
    pub async fn dag_details(&self, dag_id: &str) -> anyhow::Result<Vec<(&'static str, Value)>> {
        let here = match self {
            Self::Here(here) => here,
            Self::Server(server) => {
                return match server.get::<Value>(&["dags", dag_id, "details"], &[]).await {
                    Ok(details) => details_of(server, dag_id, &details).await,
                    Err(error) => Err(dag_error(server, error, dag_id).await),
                };
            }
        };
        let pool = here.access.pool().await?;
        let view = find::dag(pool, dag_id).await?;
        let version = read::version(pool, view.current).await?.context("the DAG's version is gone")?;
        let dag = &version.dag;
        let params: Map<String, Value> =
            dag.params.iter().map(|(name, param)| (name.clone(), param.default.clone())).collect();
        Ok(vec![
            ("dag_id", json!(dag.dag_id)),
            ("dag_display_name", json!(dag.display_name())),
            ("description", json!(dag.description)),
            ("fileloc", json!(view.fileloc)),
            ("bundle_name", json!(view.bundle_name)),
            ("bundle_version", json!(view.bundle_version)),
            ("is_paused", json!(view.is_paused)),
            ("is_stale", json!(view.is_stale)),
            ("has_import_errors", json!(view.has_import_errors)),
            ("version_number", json!(version.number)),
            ("schedule", json!(dag.schedule)),
            ("asset_expression", dag.assets.as_ref().map_or(Value::Null, dag::AssetCondition::expression)),
            ("start_date", json!(dag.start_date)),
            ("end_date", json!(dag.end_date)),
            ("catchup", json!(dag.catchup == dag::Catchup::All)),
            ("max_active_runs", json!(dag.max_active_runs)),
            ("max_active_tasks", json!(dag.max_active_tasks)),
            ("next_dagrun", json!(view.next.map(|next| next.run_after))),
            ("tags", json!(dag.tags)),
            ("owners", json!(dag.owners)),
            ("params", Value::Object(params)),
            ("tasks", json!(dag.tasks.len())),
        ])
    }

    /// What is wrong with the files of the DAG folder.
    ///
    /// # Errors
    /// When the installation does not answer.
    pub async fn import_errors(&self) -> anyhow::Result<Vec<Mistake>> {
        #[derive(Deserialize)]
        struct File {
            filename: String,
            bundle_name: Option<String>,
            stack_trace: String,
        }
        match self {
            Self::Here(here) => {
                let found = read::import_errors(here.access.pool().await?, &[], IMPORT_ERRORS_MAX).await?;
                let mistake = |error: read::ImportError| Mistake {
                    file: match error.bundle_name.as_str() {
                        BundleName::FOLDER => error.file,
                        bundle => format!("{bundle}:{}", error.file),
                    },
                    line: error.line,
                    field: error.field,
                    text: match error.suggestion {
                        Some(suggestion) => format!("{}; {suggestion}", error.message),
                        None => error.message,
                    },
                };
                Ok(found.into_iter().map(mistake).collect())
            }
            // A server has one text a file, with a line a mistake.
            Self::Server(server) => {
                let files: Vec<File> = server.list(&["importErrors"], "import_errors", &[]).await?;
                let mistakes = |file: &File| -> Vec<Mistake> {
                    let one = |text: &str| Mistake {
                        file: match file.bundle_name.as_deref() {
                            None | Some(BundleName::FOLDER) => file.filename.clone(),
                            Some(bundle) => format!("{bundle}:{}", file.filename),
                        },
                        line: None,
                        field: None,
                        text: text.to_owned(),
                    };
                    file.stack_trace.lines().map(one).collect()
                };
                Ok(files.iter().flat_map(mistakes).collect())
            }
        }
    }

    /// Holds a DAG back, or lets its runs begin.
    ///
    /// # Errors
    /// When there is none of this id, or nobody leads.
    pub async fn pause_dag(&self, dag_id: &str, to: Paused) -> anyhow::Result<()> {
        match self {
            Self::Here(here) => {
                let dag_id = find::dag(here.access.pool().await?, dag_id).await?.dag_id;
                here.access.command(Command::PauseDag { dag_id, to }).await.map(drop)
            }
            Self::Server(server) => {
                let body = json!({ "is_paused": to == Paused::Paused });
                match server.patch::<Value>(&["dags", dag_id], &[], &body).await {
                    Ok(_) => Ok(()),
                    Err(error) => Err(dag_error(server, error, dag_id).await),
                }
            }
        }
    }

    /// Lets no further run of a DAG start, or lets them start again. How many of its runs have not ended.
    ///
    /// # Errors
    /// When there is none of this id, or nobody leads.
    pub async fn drain_dag(&self, dag_id: &str, to: Draining) -> anyhow::Result<i64> {
        match self {
            Self::Here(here) => {
                let pool = here.access.pool().await?;
                let dag_id = find::dag(pool, dag_id).await?.dag_id;
                here.access.command(Command::DrainDag { dag_id: dag_id.clone(), to }).await?;
                Ok(read::active_runs(pool, &dag_id).await?)
            }
            Self::Server(server) => {
                let word = if to == Draining::Draining { "drain" } else { "undrain" };
                if let Err(error) = server.post_nothing(&["dags", dag_id, "control", word]).await {
                    return Err(dag_error(server, error, dag_id).await);
                }
                let control: Value = server.get(&["dags", dag_id, "control"], &[]).await?;
                Ok(control["active_runs_count"].as_i64().unwrap_or_default())
            }
        }
    }

    /// Deletes the runs of a DAG, and the DAG when no file defines it.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn delete_dag(&self, dag: &DagRow) -> anyhow::Result<()> {
        match self {
            Self::Here(here) => {
                here.access.command(Command::DeleteDag { dag_id: DagId::new(&dag.dag_id)? }).await.map(drop)
            }
            Self::Server(server) => Ok(server.delete(&["dags", &dag.dag_id]).await?),
        }
    }

    /// Marks a DAG as a favorite: of the user of this name, or, at a server, of who is logged in. Whether it was not before.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn mark_favorite(&self, username: &str, dag_id: &str) -> anyhow::Result<bool> {
        match self {
            Self::Here(here) => {
                let (pool, caller) = (here.access.pool().await?, caller());
                let who = Actor::at_the_command_line(&caller);
                Ok(favorites::mark(pool, who, username, &DagId::new(dag_id)?).await?)
            }
            Self::Server(server) => match server.post_nothing(&["dags", dag_id, "favorite"]).await {
                Err(error) if error.is_conflict() => Ok(false),
                done => Ok(done.map(|()| true)?),
            },
        }
    }

    /// Refuses a user who does not exist. At a server it is who is logged in.
    ///
    /// # Errors
    /// When there is none of this name.
    pub async fn check_user(&self, username: &str) -> anyhow::Result<()> {
        let Self::Here(here) = self else { return Ok(()) };
        if users::named(here.access.pool().await?, username).await?.is_some() {
            return Ok(());
        }
        Err(Failure::missing(format!(
            "there is no user {username} here whose favorites they could be; say --favorites-of"
        )))
    }

    /// The DAGs that are favorites: of the user of this name, or, at a server, of who is logged in.
    ///
    /// # Errors
    /// When the installation does not answer.
    pub async fn favorites(&self, username: &str) -> anyhow::Result<BTreeSet<String>> {
        match self {
            Self::Here(here) => {
                let marked = Some(Marked { by: username.to_owned(), is_marked: true });
                let filter = DagFilter { marked, ..DagFilter::default() };
                let window = Window { limit: FAVORITES_MAX, offset: 0 };
                let (found, _) = read::dag_list(here.access.pool().await?, &filter, window).await?;
                Ok(found.into_iter().map(|dag| dag.dag_id.to_string()).collect())
            }
            Self::Server(server) => {
                let query = [("exclude_stale", "false"), ("is_favorite", "true")];
                let found: Vec<Answer> = server.list(&["dags"], "dags", &query).await?;
                Ok(found.into_iter().map(|dag| dag.dag_id).collect())
            }
        }
    }

    /// Starts a run.
    ///
    /// # Errors
    /// What is wrong with the request, or that nobody leads.
    pub async fn trigger(&self, wish: TriggerWish) -> anyhow::Result<(DagId, RunId)> {
        let logical_date = wish.logical_date.map_or_else(now, Ok)?;
        let here = match self {
            Self::Here(here) => here,
            Self::Server(server) => {
                #[derive(Deserialize)]
                struct Made {
                    dag_id: DagId,
                    dag_run_id: RunId,
                }
                let conf = conf_object(wish.conf.as_deref())?;
                let body = json!({
                    "dag_run_id": wish.run_id, "logical_date": logical_date, "note": wish.note, "conf": conf,
                });
                return match server.post::<Made>(&["dags", &wish.dag_id, "dagRuns"], &body).await {
                    Ok(made) => Ok((made.dag_id, made.dag_run_id)),
                    Err(error) => Err(dag_error(server, error, &wish.dag_id).await),
                };
            }
        };
        let pool = here.access.pool().await?;
        let known = find::dag(pool, &wish.dag_id).await?;
        let version = read::version(pool, known.current).await?.context("the DAG's version is gone")?;
        let command = TriggerDagRun {
            run_id: wish.run_id,
            logical_date: Some(logical_date),
            note: wish.note,
            conf: parse_conf(&version.dag, wish.conf.as_deref())?,
            ..TriggerDagRun::by_hand(known.dag_id.clone(), TriggeredBy::Cli)
        };
        let body = here.access.command(Command::TriggerDagRun(command)).await?;
        let run_id = body["run_id"].as_str().context("the leader's answer names no run")?;
        Ok((known.dag_id, RunId::new(run_id)?))
    }
}

/// The same properties of a server's answer.
async fn details_of(server: &Server, dag_id: &str, details: &Value) -> anyhow::Result<Vec<(&'static str, Value)>> {
    #[derive(Deserialize)]
    struct Tasks {
        total_entries: u64,
    }
    let tasks: Tasks = server.get(&["dags", dag_id, "tasks"], &[]).await?;
    let as_they_are = |name: &'static str| (name, details[name].clone());
    let tags = details["tags"].as_array().map(Vec::as_slice).unwrap_or_default();
    let params = details["params"].as_object().into_iter().flatten();
    let params: Map<String, Value> = params.map(|(name, param)| (name.clone(), param["value"].clone())).collect();
    Ok(vec![
        as_they_are("dag_id"),
        as_they_are("dag_display_name"),
        as_they_are("description"),
        as_they_are("fileloc"),
        as_they_are("bundle_name"),
        as_they_are("bundle_version"),
        as_they_are("is_paused"),
        as_they_are("is_stale"),
        as_they_are("has_import_errors"),
        ("version_number", details["latest_dag_version"]["version_number"].clone()),
        ("schedule", details["timetable_summary"].clone()),
        as_they_are("asset_expression"),
        as_they_are("start_date"),
        as_they_are("end_date"),
        as_they_are("catchup"),
        as_they_are("max_active_runs"),
        as_they_are("max_active_tasks"),
        ("next_dagrun", details["next_dagrun_run_after"].clone()),
        ("tags", tags.iter().map(|tag| tag["name"].clone()).collect()),
        as_they_are("owners"),
        ("params", Value::Object(params)),
        ("tasks", json!(tasks.total_entries)),
    ])
}

/// What a server's refusal means for a DAG: one that does not exist gets near matches.
pub(super) async fn dag_error(server: &Server, error: ServerError, dag_id: &str) -> anyhow::Error {
    if !error.is_missing() {
        return error.into();
    }
    let known: Result<Vec<Answer>, _> = server.list(&["dags"], "dags", &[("exclude_stale", "false")]).await;
    match known {
        Ok(known) if known.iter().all(|dag| dag.dag_id != dag_id) => {
            let known: Vec<String> = known.into_iter().map(|dag| dag.dag_id).collect();
            find::missing("DAG", dag_id, &known, "windlass dags list")
        }
        _ => error.into(),
    }
}

/// The date of a run that is started now.
///
/// # Errors
/// When the clock is set to something that no database holds.
pub fn now() -> anyhow::Result<Instant> {
    Instant::new(chrono::Utc::now().trunc_subsecs(6)).context("the clock of this machine")
}

/// `--conf`, checked against the DAG's params.
///
/// # Errors
/// When it is no JSON object, or a value does not fit.
pub fn parse_conf(dag: &dag::Dag, conf: Option<&str>) -> anyhow::Result<Conf> {
    let conf = conf_object(conf)?;
    dag.validate_conf(conf.get()).map_err(|problems| Failure::refused(format!("--conf: {}", problems.join("; "))))?;
    Ok(conf)
}

/// `--conf`, which is a JSON object.
///
/// # Errors
/// When it is none.
pub(super) fn conf_object(conf: Option<&str>) -> anyhow::Result<Conf> {
    if let Some(number) = conf.and_then(inexact) {
        return Err(Failure::refused(format!(
            "--conf: the whole number {number} has more than 64 bits, and would not be kept exactly: write it as a text"
        )));
    }
    let unread = |error| Failure::of(Exit::Usage, format!("--conf is not JSON: {error}"));
    match conf.map(serde_json::from_str).transpose().map_err(unread)? {
        None => Ok(Conf::default()),
        Some(Value::Object(conf)) => Conf::new(conf).context("--conf"),
        Some(_) => Err(Failure::refused("--conf is not a JSON object, such as {\"full_refresh\": true}")),
    }
}
