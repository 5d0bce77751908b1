//! Facts that the engine lacks: runs that have ended, and whether an id or a date is taken.

use std::collections::{BTreeMap, BTreeSet};

use engine::{Fact, Need, StoredRun, event::PreviousCounts};
use model::{DagRunState, DagVersionId, RunId, RunKey, Timestamp};
use sqlx::PgConnection;

use crate::{
    error::{Doing, StoreError},
    limit::{self, within},
    load::load_versions,
    rows::{RunRecord, code, with_instances},
};

const DOING: &str = "loading runs that have ended";

/// Looks up what the engine asked for: a few statements, however much it is. What this binary can not read is answered as
/// if it were not there, and said in the log; a previous run counts with what can be read of it.
///
/// # Errors
/// [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn facts(connection: &mut PgConnection, needs: Vec<Need>) -> Result<Vec<Fact>, StoreError> {
    within(limit::STATEMENT, DOING, look_up(connection, needs)).await
}

async fn look_up(connection: &mut PgConnection, needs: Vec<Need>) -> Result<Vec<Fact>, StoreError> {
    let (mut runs, mut previous, mut exists, mut versions) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut newest_of, mut runtimes_of) = (Vec::new(), Vec::new());
    for need in needs {
        match &need {
            Need::Run { .. } => runs.push(need),
            Need::PreviousRun { .. } => previous.push(need),
            Need::RunExists { .. } => exists.push(need),
            Need::NewestRuns { .. } => newest_of.push(need),
            Need::AverageRuntime { .. } => runtimes_of.push(need),
            Need::Version(id) => versions.push(*id),
        }
    }
    let mut facts = by_id(connection, runs).await?;
    facts.extend(before(connection, previous).await?);
    facts.extend(taken(connection, exists).await?);
    facts.extend(newest(connection, newest_of).await?);
    facts.extend(runtimes(connection, runtimes_of).await?);
    facts.extend(of_versions(connection, versions).await?);
    Ok(facts)
}

async fn by_id(connection: &mut PgConnection, needs: Vec<Need>) -> Result<Vec<Fact>, StoreError> {
    if needs.is_empty() {
        return Ok(Vec::new());
    }
    let names = needs.iter().filter_map(|need| match need {
        Need::Run { dag, run } => Some((dag.to_string(), run.to_string())),
        Need::PreviousRun { .. }
        | Need::RunExists { .. }
        | Need::NewestRuns { .. }
        | Need::AverageRuntime { .. }
        | Need::Version(_) => None,
    });
    let (dags, runs): (Vec<_>, Vec<_>) = names.unzip();
    let records = sqlx::query_file_as!(RunRecord, "queries/dag_run_by_ids.sql", &dags, &runs)
        .fetch_all(&mut *connection)
        .await
        .doing(DOING)?;
    let mut found = BTreeMap::new();
    for run in with_instances(connection, records).await? {
        match run {
            Ok(run) => drop(found.insert((run.run.dag_id.clone(), run.run.run_id.clone()), Box::new(run))),
            Err(unreadable) => unreadable.say(),
        }
    }
    let answer = |need: Need| {
        let run = match &need {
            Need::Run { dag, run } => found.remove(&(dag.clone(), run.clone())),
            Need::PreviousRun { .. }
            | Need::RunExists { .. }
            | Need::NewestRuns { .. }
            | Need::AverageRuntime { .. }
            | Need::Version(_) => None,
        };
        Fact::Run { need, run }
    };
    Ok(needs.into_iter().map(answer).collect())
}

async fn before(connection: &mut PgConnection, needs: Vec<Need>) -> Result<Vec<Fact>, StoreError> {
    if needs.is_empty() {
        return Ok(Vec::new());
    }
    let (mut dags, mut dates, mut manual_too) = (Vec::new(), Vec::<Timestamp>::new(), Vec::new());
    for need in &needs {
        if let Need::PreviousRun { dag, before, counts } = need {
            dags.push(dag.to_string());
            dates.push(*before);
            manual_too.push(match counts {
                PreviousCounts::EveryRun => true,
                PreviousCounts::AllButManual => false,
            });
        }
    }
    let rows = sqlx::query_file!("queries/dag_run_previous.sql", &dags, &dates, &manual_too)
        .fetch_all(&mut *connection)
        .await
        .doing(DOING)?;
    // One run may be the previous one of several.
    let mut key_of = BTreeMap::new();
    let mut records: BTreeMap<i64, RunRecord> = BTreeMap::new();
    for row in rows {
        key_of.insert(row.nth, row.id);
        records.entry(row.id).or_insert_with(|| RunRecord {
            id: row.id,
            dag_id: row.dag_id,
            run_id: row.run_id,
            run_type: row.run_type,
            triggered_by: row.triggered_by,
            version_id: row.version_id,
            state: row.state,
            logical_date: row.logical_date,
            interval_start: row.interval_start,
            interval_end: row.interval_end,
            run_after: row.run_after,
            queued_at: row.queued_at,
            started_at: row.started_at,
            ended_at: row.ended_at,
            conf: row.conf,
            note: row.note,
            clear_number: row.clear_number,
            triggering_user: row.triggering_user,
            backfill_id: row.backfill_id,
            backfill_ordinal: row.backfill_ordinal,
            backfill_first: row.backfill_first,
        });
    }
    let mut found: BTreeMap<RunKey, Box<StoredRun>> = BTreeMap::new();
    for run in with_instances(connection, records.into_values().collect()).await? {
        let run = run.or_else(|unreadable| {
            unreadable.say();
            // Its tasks hold those back that depend on them, rather than letting them go.
            unreadable.readable_part.map(|part| *part).ok_or(())
        });
        if let Ok(run) = run {
            found.insert(run.run.key, Box::new(run));
        }
    }
    let answers = (1_i64..).zip(needs).map(|(nth, need)| {
        let run = key_of.get(&nth).and_then(|key| found.get(&RunKey(*key)).cloned());
        Fact::Run { need, run }
    });
    Ok(answers.collect())
}

async fn taken(connection: &mut PgConnection, needs: Vec<Need>) -> Result<Vec<Fact>, StoreError> {
    if needs.is_empty() {
        return Ok(Vec::new());
    }
    let (mut dags, mut runs, mut dates) = (Vec::new(), Vec::new(), Vec::<Option<Timestamp>>::new());
    for need in &needs {
        if let Need::RunExists { dag, run, logical_date } = need {
            dags.push(dag.to_string());
            runs.push(run.to_string());
            dates.push(*logical_date);
        }
    }
    let rows = sqlx::query_file!("queries/dag_run_exists.sql", &dags, &runs, &dates as &[Option<Timestamp>])
        .fetch_all(connection)
        .await
        .doing(DOING)?;
    let mut found: BTreeMap<i64, _> = rows.into_iter().map(|row| (row.nth, row)).collect();
    let answers = (1_i64..).zip(needs).map(|(nth, need)| {
        // That it is there counts, also when a newer version gave it a state that this one does not know.
        let existing = found.remove(&nth).and_then(|row| {
            let state = code(row.state).unwrap_or(DagRunState::Failed);
            Some((RunKey(row.id), RunId::new(row.run_id).ok()?, state))
        });
        Fact::Exists { need, existing }
    });
    Ok(answers.collect())
}

async fn newest(connection: &mut PgConnection, needs: Vec<Need>) -> Result<Vec<Fact>, StoreError> {
    if needs.is_empty() {
        return Ok(Vec::new());
    }
    let wanted = needs.iter().filter_map(|need| match need {
        Need::NewestRuns { dag, most } => Some((dag.to_string(), i64::from(*most))),
        Need::Run { .. }
        | Need::PreviousRun { .. }
        | Need::RunExists { .. }
        | Need::AverageRuntime { .. }
        | Need::Version(_) => None,
    });
    let (dags, most): (Vec<_>, Vec<_>) = wanted.unzip();
    let rows =
        sqlx::query_file!("queries/dag_run_newest.sql", &dags, &most).fetch_all(connection).await.doing(DOING)?;
    let mut found: BTreeMap<i64, Vec<(Timestamp, RunKey, DagRunState)>> = BTreeMap::new();
    for row in rows {
        // A state that this version does not know is no failure.
        let state = code(row.state).unwrap_or(DagRunState::Queued);
        found.entry(row.nth).or_default().push((row.run_after, RunKey(row.id), state));
    }
    let answers = (1_i64..).zip(needs);
    Ok(answers.map(|(nth, need)| Fact::NewestRuns { need, runs: found.remove(&nth).unwrap_or_default() }).collect())
}

/// How long the last runs took that have succeeded. A DAG that asks has few of such questions in a turn.
async fn runtimes(connection: &mut PgConnection, needs: Vec<Need>) -> Result<Vec<Fact>, StoreError> {
    if needs.is_empty() {
        return Ok(Vec::new());
    }
    let wanted = needs.iter().filter_map(|need| match need {
        Need::AverageRuntime { dag, most } => Some((dag.to_string(), i64::from(*most))),
        Need::Run { .. }
        | Need::PreviousRun { .. }
        | Need::RunExists { .. }
        | Need::NewestRuns { .. }
        | Need::Version(_) => None,
    });
    let (dags, most): (Vec<_>, Vec<_>) = wanted.unzip();
    let rows =
        sqlx::query_file!("queries/dag_run_runtimes.sql", &dags, &most).fetch_all(connection).await.doing(DOING)?;
    let mut found: BTreeMap<i64, Vec<chrono::TimeDelta>> = BTreeMap::new();
    for row in rows {
        found.entry(row.nth).or_default().push(row.ended_at - row.started_at);
    }
    let answers = (1_i64..).zip(needs);
    Ok(answers.map(|(nth, need)| Fact::Runtimes { need, runtimes: found.remove(&nth).unwrap_or_default() }).collect())
}

async fn of_versions(connection: &mut PgConnection, ids: Vec<DagVersionId>) -> Result<Vec<Fact>, StoreError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let wanted: BTreeSet<DagVersionId> = ids.iter().copied().collect();
    let (found, unreadable) = load_versions(connection, wanted).await?;
    for unreadable in unreadable.values() {
        unreadable.say();
    }
    let mut found: BTreeMap<_, _> = found.into_iter().map(|version| (version.id, Box::new(version))).collect();
    Ok(ids.into_iter().map(|id| Fact::Version { need: Need::Version(id), version: found.remove(&id) }).collect())
}
