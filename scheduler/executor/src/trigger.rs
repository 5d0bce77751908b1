//! The operator `trigger_dag_run`: asks the leader for a run of another DAG, and waits for its end when told to.
//!
//! The run's id and date are settled once per attempt, so a question that is asked again means the same run.

use std::time::Duration;

use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, SubsecRound as _, Utc};
use futures::{FutureExt as _, future::BoxFuture};
use link::{FetchItem, FetchKey, IfExists, IfPaused, Poked, RunView, RunWish, Triggered, WhichRun};
use minijinja::value::ValueKind;
use model::{
    DagId, RunId, RunType, Timestamp, XComValue,
    operator::{TriggerDagRunTask, TriggerDate},
};
use serde_json::{Map, Value, json};

use crate::{
    Attempt, Executor, Outcome, Stop,
    template::{Renderer, TemplateError},
};

/// The XCom that names the run, as in Airflow.
const TRIGGER_RUN_ID: &str = "trigger_run_id";

/// What a first look left is stored with the report of its deferral, which may wait for a leader.
const STORED_WITHIN_SECS: f64 = 120.0;

/// So many letters of the attempt's id make a run's id its own.
const SUFFIX_CHARS: usize = 8;

/// Starts a run of another DAG.
pub(crate) struct TriggerExecutor {
    keys: TriggerDagRunTask,
}

/// The keys as they are rendered.
struct Rendered {
    dag_id: String,
    run_id: Option<String>,
    conf: Value,
    date: Option<String>,
}

impl TriggerExecutor {
    /// An executor for one task.
    pub(crate) fn new(keys: TriggerDagRunTask) -> Self {
        Self { keys }
    }

    async fn outcome(&self, attempt: &Attempt) -> Result<Outcome, Outcome> {
        match attempt.assignment.poked {
            Some(poked) => self.look_again(attempt, poked).await,
            None => self.begin(attempt).await,
        }
    }

    /// The next look of a wait without a slot, on whichever worker: its first look has left which run it made.
    async fn look_again(&self, attempt: &Attempt, poked: Poked) -> Result<Outcome, Outcome> {
        let run_id = match self.own_xcom(attempt, TRIGGER_RUN_ID).await? {
            Some(run_id) => RunId::new(run_id).map_err(|why| Outcome::failed(format!("{TRIGGER_RUN_ID}: {why}")))?,
            None if poked.waited_secs < STORED_WITHIN_SECS => return Ok(self.put_off("its run's id is being stored")),
            None => {
                return Err(Outcome::failed(format!(
                    "the XCom {TRIGGER_RUN_ID} of this task is gone, so it is not known for which run it waits"
                )));
            }
        };
        let keys = self.keys.trigger_dag_id.clone();
        let dag_id = attempt.render(move |renderer| renderer.text("trigger_dag_id", &keys)).await?;
        let dag_id = DagId::new(&dag_id).map_err(|why| Outcome::failed(format!("trigger_dag_id: {why}")))?;
        let key = FetchKey::Run { dag_id: dag_id.clone(), which: WhichRun::Id(run_id), tasks: Vec::new() };
        match attempt.host.fetch(key).await {
            FetchItem::Run(run) => match self.judge(&dag_id, &run)? {
                Some(outcome) => Ok(outcome),
                None => Ok(self.put_off(&still(&dag_id, &run))),
            },
            FetchItem::Unavailable(detail) => Ok(self.put_off(&detail)),
            other => Err(Outcome::failed(other.misfit())),
        }
    }

    /// What this instance has left itself under a key, as text; it looks again later when that can not be read now.
    async fn own_xcom(&self, attempt: &Attempt, key: &str) -> Result<Option<String>, Outcome> {
        let ti = attempt.assignment.ti;
        let key = FetchKey::XCom { task: ti.task, map_index: Some(ti.map), key: key.to_owned() };
        match attempt.ask(key).await {
            FetchItem::XCom(values) => Ok(values.first().and_then(Value::as_str).map(str::to_owned)),
            FetchItem::Missing(_) => Ok(None),
            FetchItem::Unavailable(why) => Err(self.put_off(&why)),
            other => Err(Outcome::failed(other.misfit())),
        }
    }

    fn put_off(&self, seen: &str) -> Outcome {
        Outcome::rescheduled(self.pause(), seen)
    }

    fn pause(&self) -> Duration {
        Duration::try_from_secs_f64(self.keys.poke_interval_secs).unwrap_or(Duration::MAX)
    }

    async fn begin(&self, attempt: &Attempt) -> Result<Outcome, Outcome> {
        let wish = self.wish(attempt).await?;
        let dag_id = wish.dag_id.clone();
        let (run, how) = match attempt.host.fetch(FetchKey::TriggerRun(Box::new(wish))).await {
            FetchItem::Triggered { run, how } => (run, how),
            other => return Err(Outcome::failed(format!("triggering {dag_id}: {}", other.misfit()))),
        };
        let xcom = XComValue { key: TRIGGER_RUN_ID.to_owned(), value: run.run_id.as_str().into() };
        let outcome = match how {
            Triggered::Made => {
                attempt.log.system(&format!("Run {} of {dag_id} is {}", run.run_id, run.state));
                self.wait(attempt, &dag_id, *run).await.unwrap_or_else(|outcome| outcome)
            }
            Triggered::Existed if self.keys.skip_when_already_exists => {
                Outcome::skipped(format!("run {} of {dag_id} exists already (skip_when_already_exists)", run.run_id))
            }
            Triggered::Existed => {
                return Err(Outcome::failed(format!(
                    "run {} of {dag_id} exists already; reset_dag_run: true would clear it, skip_when_already_exists: true \
                 would skip this task",
                    run.run_id
                )));
            }
        };
        Ok(outcome.xcoms([xcom]))
    }

    async fn wish(&self, attempt: &Attempt) -> Result<RunWish, Outcome> {
        let rendered = self.render(attempt).await?;
        let now = Utc::now().trunc_subsecs(6);
        let dag_id = DagId::new(&rendered.dag_id).map_err(|why| Outcome::failed(format!("trigger_dag_id: {why}")))?;
        let logical_date = match (&self.keys.logical_date, rendered.date) {
            (TriggerDate::Now, _) => Some(now),
            (TriggerDate::None, _) | (TriggerDate::At(_), None) => None,
            (TriggerDate::At(_), Some(text)) => Some(date(&text)?),
        };
        let run_id = match rendered.run_id {
            Some(run_id) => RunId::new(run_id).map_err(|why| Outcome::failed(format!("trigger_run_id: {why}")))?,
            None => own_run_id(attempt, logical_date.unwrap_or(now)),
        };
        let conf = match rendered.conf {
            Value::Null => Map::new(),
            Value::Object(conf) => conf,
            other => return Err(Outcome::failed(format!("conf gives {other}; a mapping is expected"))),
        };
        Ok(RunWish {
            dag_id,
            run_id,
            logical_date,
            conf,
            existing: if self.keys.reset_dag_run { IfExists::Reset } else { IfExists::Keep },
            paused: if self.keys.fail_when_dag_is_paused { IfPaused::Refuse } else { IfPaused::Wait },
        })
    }

    async fn render(&self, attempt: &Attempt) -> Result<Rendered, TemplateError> {
        let keys = self.keys.clone();
        let rendered = attempt.render(move |renderer| {
            Ok(Rendered {
                dag_id: renderer.text("trigger_dag_id", &keys.trigger_dag_id)?,
                run_id: keys.trigger_run_id.as_ref().map(|id| renderer.text("trigger_run_id", id)).transpose()?,
                conf: conf(renderer, &keys.conf)?,
                date: match &keys.logical_date {
                    TriggerDate::Now | TriggerDate::None => None,
                    TriggerDate::At(template) => date_text(renderer, template)?,
                },
            })
        });
        let rendered = rendered.await?;
        attempt.log_rendered(json!({
            "trigger_dag_id": rendered.dag_id,
            "trigger_run_id": rendered.run_id,
            "conf": rendered.conf,
            "logical_date": rendered.date,
        }));
        Ok(rendered)
    }

    /// Waits for the run's end, when told to.
    async fn wait(&self, attempt: &Attempt, dag_id: &DagId, mut run: RunView) -> Result<Outcome, Outcome> {
        if !self.keys.wait_for_completion {
            return Ok(Outcome::success());
        }
        loop {
            if let Some(outcome) = self.judge(dag_id, &run)? {
                return Ok(outcome);
            }
            if self.keys.deferrable {
                return Ok(self.put_off(&still(dag_id, &run)));
            }
            attempt.say(&still(dag_id, &run)).await;
            tokio::time::sleep(self.pause()).await;
            let which = WhichRun::Id(run.run_id.clone());
            let key = FetchKey::Run { dag_id: dag_id.clone(), which, tasks: Vec::new() };
            match attempt.host.fetch(key).await {
                FetchItem::Run(news) => run = *news,
                FetchItem::Unavailable(detail) => attempt.log.system(&detail),
                other => return Err(Outcome::failed(other.misfit())),
            }
        }
    }
}

impl TriggerExecutor {
    /// How the wait ends by what its run is; none while it goes on.
    fn judge(&self, dag_id: &DagId, run: &RunView) -> Result<Option<Outcome>, Outcome> {
        if self.keys.failed_states.contains(&run.state) {
            let (run_id, state) = (&run.run_id, run.state);
            return Err(Outcome::failed(format!("run {run_id} of {dag_id} is {state}, one of failed_states")));
        }
        Ok(self.keys.allowed_states.contains(&run.state).then(Outcome::success))
    }
}

/// How a run stands that is waited for.
fn still(dag_id: &DagId, run: &RunView) -> String {
    let paused = if run.dag_is_paused { ", and its DAG is paused" } else { "" };
    format!("Run {} of {dag_id} is {}{paused}", run.run_id, run.state)
}

impl Executor for TriggerExecutor {
    fn run<'a>(&'a self, attempt: &'a Attempt, stop: &'a Stop) -> BoxFuture<'a, Outcome> {
        async move {
            tokio::select! {
                outcome = self.outcome(attempt) => outcome.unwrap_or_else(|outcome| outcome),
                cause = stop.requested() => cause.into(),
            }
        }
        .boxed()
    }
}

/// A mapping with templates in it, or a template that gives a mapping or its JSON text.
fn conf(renderer: &Renderer, conf: &Value) -> Result<Value, TemplateError> {
    match conf {
        Value::String(template) => renderer.structure("conf", template),
        other => renderer.json("conf", other),
    }
}

/// The text of a date; none when its template gives none.
fn date_text(renderer: &Renderer, template: &str) -> Result<Option<String>, TemplateError> {
    let value = renderer.value("logical_date", template)?;
    Ok((value.kind() != ValueKind::None).then(|| value.to_string()))
}

/// The id of a run that nobody has named: its type, its date, and a part of the attempt's id that makes it unique.
fn own_run_id(attempt: &Attempt, at: Timestamp) -> RunId {
    let suffix: String = attempt.assignment.attempt.0.simple().to_string().chars().take(SUFFIX_CHARS).collect();
    let at = at.format("%Y-%m-%dT%H:%M:%S%.6f+00:00");
    let run_id = format!("{}__{at}_{suffix}", RunType::OperatorTriggered.name());
    RunId::new(run_id).expect("a type, a date and hexadecimal digits are a valid run id")
}

/// A date or time as templates print them; without an offset it is UTC.
fn date(text: &str) -> Result<Timestamp, Outcome> {
    let text = text.trim();
    let zoned = DateTime::parse_from_rfc3339(&text.replacen(' ', "T", 1)).map(|at| at.with_timezone(&Utc)).ok();
    let naive = || {
        let forms = ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f"];
        forms.iter().find_map(|form| NaiveDateTime::parse_from_str(text, form).ok()).map(|at| at.and_utc())
    };
    let day = || NaiveDate::parse_from_str(text, "%Y-%m-%d").ok().map(|day| day.and_time(NaiveTime::MIN).and_utc());
    let found = zoned.or_else(naive).or_else(day).map(|at| at.trunc_subsecs(6));
    found.ok_or_else(|| {
        Outcome::failed(format!("logical_date gives {text:?}; a time such as 2026-01-31T06:00:00+01:00 is expected"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_read_as_templates_print_it() {
        let noon: Timestamp = "2026-01-30T12:00:00Z".parse().unwrap();
        for text in
            ["2026-01-30T12:00:00+00:00", "2026-01-30 13:00:00+01:00", "2026-01-30T12:00:00", " 2026-01-30 12:00:00"]
        {
            assert_eq!(date(text).unwrap(), noon, "{text}");
        }
        assert_eq!(date("2026-01-30").unwrap(), "2026-01-30T00:00:00Z".parse::<Timestamp>().unwrap());
        assert!(date("tomorrow").is_err());
    }
}
