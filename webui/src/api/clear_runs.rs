//! Clearing whole runs, one or several.

use std::collections::{BTreeMap, BTreeSet};

use axum::{
    Extension, Json,
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use engine::RunRow;
use model::{
    RunKey,
    command::{ClearEffect, ClearOnly, ClearTaskInstances, ClearVersion},
    door::Note,
};
use serde_json::{Value, json};
use store::read;

use super::{
    ALL,
    body::Body,
    clear::{DESCRIBED_MAX, Touched, cleared, collection, effect, version},
    lookup_run,
    runs::{note_of, set_note, shaped},
    shapes,
    span::RUNS_MAX,
};
use crate::{
    app::App,
    auth::Principal,
    error::{ApiError, ApiResult},
};

/// `POST …/dagRuns/{dag_run_id}/clear`.
pub async fn one(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    Path((dag_id, run_id)): Path<(String, String)>,
    mut body: Body,
) -> ApiResult<Response> {
    let wish = Wish::read(&mut body);
    body.finish()?;
    let run = lookup_run(&app, &dag_id, &run_id).await?;
    let found = wish.carry_out(&app, &run, &who).await?;
    match wish.effect {
        ClearEffect::DryRun => collection(found).await,
        ClearEffect::Apply => Ok(shaped(&app, &lookup_run(&app, &dag_id, &run_id).await?).await?.into_response()),
    }
}

/// `POST /api/v2/dags/{dag_id}/clearDagRuns`; `~` when each entry names its DAG. Each run is cleared by itself.
pub async fn several(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    Path(dag_id): Path<String>,
    mut body: Body,
) -> ApiResult<Response> {
    let wish = Wish::read(&mut body);
    let entries = entries(&mut body);
    body.finish()?;
    // All are looked up before anything is changed, each once.
    let mut seen = BTreeSet::new();
    let mut runs: Vec<RunRow> = Vec::new();
    for entry in &entries {
        let dag = entry.dag_of(&dag_id)?;
        if seen.insert((dag, entry.run_id.as_str())) {
            runs.push(lookup_run(&app, dag, &entry.run_id).await?);
        }
    }
    let mut found = Touched { described: Vec::new(), count: 0 };
    for run in &runs {
        let of_run = wish.carry_out(&app, run, &who).await?;
        found.count += of_run.count;
        let room = DESCRIBED_MAX.saturating_sub(found.described.len());
        found.described.extend(of_run.described.into_iter().take(room));
    }
    if wish.effect == ClearEffect::DryRun {
        return collection(found).await;
    }
    let keys: Vec<RunKey> = runs.iter().map(|run| run.key).collect();
    let now: BTreeMap<RunKey, RunRow> =
        read::runs_of(&app.pool, &keys).await?.into_iter().map(|run| (run.key, run)).collect();
    let versions = app.versions.all(&app.pool, now.values().map(|run| run.version)).await?;
    let as_it_is = keys.iter().filter_map(|key| now.get(key));
    let answers: Vec<Value> =
        as_it_is.map(|run| shapes::run(run, versions.get(&run.version).map(|version| &**version))).collect();
    Ok(Json(json!({ "total_entries": answers.len(), "dag_runs": answers })).into_response())
}

/// How runs are to be cleared.
struct Wish {
    effect: ClearEffect,
    only: ClearOnly,
    version: ClearVersion,
    note: Option<Note>,
}

impl Wish {
    fn read(body: &mut Body) -> Self {
        if body.flag("only_new", false) {
            body.wrong("only_new", "value_error", "Tasks that are new in the latest version run with it", json!(true));
        }
        Self {
            effect: effect(body.flag("dry_run", true)),
            only: if body.flag("only_failed", false) { ClearOnly::Failed } else { ClearOnly::All },
            version: version(body.flag("run_on_latest_version", false)),
            note: note_of(body).flatten(),
        }
    }

    /// Clears a run, or tells which of its instances would be.
    async fn carry_out(&self, app: &App, run: &RunRow, who: &Principal) -> ApiResult<Touched> {
        let wish = ClearTaskInstances {
            only: self.only,
            effect: self.effect,
            version: self.version,
            ..ClearTaskInstances::of_run(run.dag_id.clone(), run.run_id.clone())
        };
        let found = cleared(app, run.clone(), wish, who).await?;
        if let (Some(note), ClearEffect::Apply) = (&self.note, self.effect) {
            set_note(app, run, Some(note.clone()), who).await?;
        }
        Ok(found)
    }
}

/// A run that is named in a body.
struct Entry {
    dag_id: Option<String>,
    run_id: String,
}

impl Entry {
    /// The DAG that is meant: that of the path, unless the path means all.
    fn dag_of<'a>(&'a self, path: &'a str) -> ApiResult<&'a str> {
        let own = self.dag_id.as_deref();
        if path == ALL {
            return own.filter(|own| *own != ALL).ok_or_else(|| {
                ApiError::BadRequest(format!(
                    "When the URL dag_id is '~', every entry must provide a concrete dag_id (missing on dag_run_id: '{}').",
                    self.run_id
                ))
            });
        }
        match own {
            Some(own) if own != path => {
                Err(ApiError::BadRequest(format!("Entry dag_id '{own}' does not match the URL dag_id '{path}'.")))
            }
            Some(_) | None => Ok(path),
        }
    }
}

/// `dag_runs`, the only way to say which: there are no partitions.
fn entries(body: &mut Body) -> Vec<Entry> {
    for name in ["partition_key", "partition_date_start", "partition_date_end"] {
        if let Some(given) = body.take(name) {
            body.wrong(name, "value_error", "Value error, runs have no partitions: name them in dag_runs", given);
        }
    }
    let listed = body.list("dag_runs");
    if listed.is_empty() {
        body.wrong("dag_runs", "value_error", "Value error, dag_runs should have at least 1 element", json!([]));
    }
    if i64::try_from(listed.len()).is_ok_and(|count| count > RUNS_MAX) {
        let message = format!("List should have at most {RUNS_MAX} items");
        body.wrong("dag_runs", "too_long", message, Value::from(listed.len()));
        return Vec::new();
    }
    let text = |entry: &Value, name: &str| entry.get(name).and_then(Value::as_str).map(str::to_owned);
    let mut found = Vec::new();
    for entry in listed {
        match text(&entry, "dag_run_id") {
            Some(run_id) => found.push(Entry { dag_id: text(&entry, "dag_id"), run_id }),
            None => body.wrong("dag_runs", "missing", "An entry has a dag_run_id", entry),
        }
    }
    found
}
