//! Runs of other DAGs that attempts ask for: made and cleared by commands in the inbox, like everybody's, and seen in the
//! store.
//!
//! A worker asks again when a leader goes before it has answered. The audit log says whether an attempt has left its
//! command already, so that there is one run, whoever answers in the end.

use std::time::Duration;

use link::{FetchItem, IfExists, IfPaused, RunView, RunWish, Triggered, WhichRun};
use model::{
    Answer, AnswerStatus, AttemptId, Command, DagId, DagRunState, RunType, TaskId, TriggeredBy,
    command::{ClearTaskInstances, TriggerDagRun},
    door::{self, Conf},
};
use sqlx::PgPool;
use store::{
    Hints, StoreError,
    inbox::{self, Trace, Withdrawal},
    read::{self, DagView, Direction, Range, RunFilter, RunOrder},
};
use tokio::time::Instant;

/// An attempt hears something before its worker gives up waiting.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// The pause before looking again at a command that waits.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Makes runs, and looks at them.
#[derive(Clone)]
pub struct Runs {
    pool: PgPool,
    hints: Hints,
}

/// What one round of asking for a run has come to.
enum Round {
    Over(FetchItem),
    /// The store is to be looked at again.
    Again,
    /// The run could not be made, because something is in the way.
    InTheWay(String),
}

impl Runs {
    /// Leaves commands in this database, and hears of their answers.
    #[must_use]
    pub fn new(pool: PgPool, hints: Hints) -> Self {
        Self { pool, hints }
    }

    /// Makes the run that an attempt wants, unless it has made it already.
    pub async fn trigger(&self, attempt: AttemptId, wish: &RunWish) -> Result<FetchItem, StoreError> {
        let by = format!("attempt {attempt}");
        let deadline = Instant::now() + ANSWER_WITHIN;
        let mut in_the_way = None;
        while Instant::now() < deadline {
            match self.round(&by, wish, deadline, in_the_way.take()).await? {
                Round::Over(item) => return Ok(item),
                Round::Again => {}
                Round::InTheWay(detail) => in_the_way = Some(detail),
            }
        }
        Ok(no_answer())
    }

    async fn round(
        &self,
        by: &str,
        wish: &RunWish,
        deadline: Instant,
        in_the_way: Option<String>,
    ) -> Result<Round, StoreError> {
        let Some(dag) = read::dag(&self.pool, &wish.dag_id).await? else {
            return Ok(Round::Over(FetchItem::Refused(no_dag(&wish.dag_id))));
        };
        let Some(run) = self.existing(wish).await? else {
            return match in_the_way {
                Some(detail) => Ok(Round::Over(FetchItem::Refused(detail))),
                None if dag.is_paused && wish.paused == IfPaused::Refuse => {
                    Ok(Round::Over(FetchItem::Refused(format!("DAG {} is paused", wish.dag_id))))
                }
                None => match trigger(wish) {
                    Ok(command) => self.ask(by, &Command::TriggerDagRun(command), deadline).await,
                    Err(why) => Ok(Round::Over(FetchItem::Refused(why))),
                },
            };
        };
        let triggered = |how| FetchItem::Triggered { run: Box::new(view(&run, &dag)), how };
        match (inbox::trace(&self.pool, by, (&wish.dag_id, &run.run_id), run.run_after).await?, wish.existing) {
            (Trace::Done, _) => Ok(Round::Over(triggered(Triggered::Made))),
            (Trace::Waits, _) => {
                tokio::time::sleep(LOOK_EVERY).await;
                Ok(Round::Again)
            }
            (Trace::None, IfExists::Keep) => Ok(Round::Over(triggered(Triggered::Existed))),
            (Trace::None, IfExists::Reset) => {
                let all = ClearTaskInstances::of_run(run.dag_id.clone(), run.run_id.clone());
                self.ask(by, &Command::ClearTaskInstances(all), deadline).await
            }
        }
    }

    /// The run of the wanted id, or of the wanted date.
    async fn existing(&self, wish: &RunWish) -> Result<Option<engine::RunRow>, StoreError> {
        match (read::run(&self.pool, &wish.dag_id, &wish.run_id).await?, wish.logical_date) {
            (Some(run), _) => Ok(Some(run)),
            (None, Some(date)) => read::run_on(&self.pool, &wish.dag_id, date).await,
            (None, None) => Ok(None),
        }
    }

    /// Leaves a command and waits for its answer. One that nobody answers is withdrawn.
    async fn ask(&self, by: &str, command: &Command, deadline: Instant) -> Result<Round, StoreError> {
        let id = inbox::submit(&self.pool, command, by).await?;
        let patience = deadline.saturating_duration_since(Instant::now());
        match inbox::await_answer(&self.pool, &self.hints, id, patience).await? {
            Some(Answer { status: AnswerStatus::Done, .. }) => Ok(Round::Again),
            Some(Answer { status: AnswerStatus::Conflict, body }) => Ok(Round::InTheWay(detail(&body))),
            Some(Answer { status: AnswerStatus::NotFound | AnswerStatus::Invalid | AnswerStatus::Forbidden, body }) => {
                Ok(Round::Over(FetchItem::Refused(detail(&body))))
            }
            None => match inbox::cancel_command(&self.pool, id).await? {
                Withdrawal::Withdrawn => Ok(Round::Over(no_answer())),
                Withdrawal::AlreadyTaken => Ok(Round::Again),
            },
        }
    }

    /// How a run stands, with the states of some of its tasks.
    pub async fn look(&self, dag_id: &DagId, which: &WhichRun, tasks: &[TaskId]) -> Result<FetchItem, StoreError> {
        let Some(dag) = read::dag(&self.pool, dag_id).await? else { return Ok(FetchItem::Refused(no_dag(dag_id))) };
        let (run, name) = match which {
            WhichRun::Id(run_id) => (read::run(&self.pool, dag_id, run_id).await?, run_id.to_string()),
            WhichRun::LogicalDate(date) => {
                (read::run_on(&self.pool, dag_id, *date).await?, format!("with logical date {}", date.to_rfc3339()))
            }
            WhichRun::SuccessBefore(date) => {
                let filter = RunFilter {
                    dag_ids: vec![dag_id.clone()],
                    states: vec![DagRunState::Success],
                    logical_date: Range { lt: Some(*date), ..Range::default() },
                    order: vec![(RunOrder::LogicalDate, Direction::Descending)],
                    limit: 1,
                    ..RunFilter::default()
                };
                let found = read::runs(&self.pool, &filter).await?.0.pop();
                (found, format!("that succeeded before {}", date.to_rfc3339()))
            }
        };
        let Some(run) = run else { return Ok(FetchItem::Missing(format!("DAG {dag_id} has no run {name}"))) };
        let mut view = view(&run, &dag);
        if !tasks.is_empty() {
            view.tasks = read::task_states(&self.pool, dag_id, run.key, tasks).await?;
        }
        Ok(FetchItem::Run(Box::new(view)))
    }
}

/// The command for a wish, or what of it can not be stored.
fn trigger(wish: &RunWish) -> Result<TriggerDagRun, String> {
    let date = wish.logical_date.map(door::Instant::new).transpose();
    Ok(TriggerDagRun {
        run_id: Some(wish.run_id.clone()),
        logical_date: date.map_err(|error| format!("logical_date: {error}"))?,
        conf: Conf::new(wish.conf.clone()).map_err(|error| format!("conf: {error}"))?,
        run_type: RunType::OperatorTriggered,
        ..TriggerDagRun::by_hand(wish.dag_id.clone(), TriggeredBy::Operator)
    })
}

fn view(run: &engine::RunRow, dag: &DagView) -> RunView {
    RunView {
        run_id: run.run_id.clone(),
        state: run.state,
        dag_is_paused: dag.is_paused,
        tasks: std::collections::BTreeMap::new(),
        data_interval: run.data_interval,
        started_at: run.started_at,
        ended_at: run.ended_at,
    }
}

fn detail(body: &serde_json::Value) -> String {
    body["detail"].as_str().unwrap_or("the leader refused it and did not say why").to_owned()
}

fn no_dag(dag_id: &DagId) -> String {
    format!("there is no DAG {dag_id}")
}

fn no_answer() -> FetchItem {
    FetchItem::Unavailable(format!("the scheduler did not take the command within {} s", ANSWER_WITHIN.as_secs()))
}
