//! An attempt's conversation with Trino: its statements one after the other, each followed to its end.
//!
//! What always holds: when the conversation is over, no query of it goes on. However it ends early, by a stop, a broken
//! connection or an answer that makes no sense, the query under way is cancelled first.

use std::time::Duration;

use futures::FutureExt as _;
use model::operator::SqlOutput;
use sha2::{Digest as _, Sha256};
use url::Url;

use super::{
    super::{
        Purpose, Script, Table, Work,
        script::{Statement, statements},
        shown,
    },
    caller::Caller,
    client::{Client, ClientError, Reply},
    failure::{Halt, tell},
    given::{Given, Keeping},
    note::{Note, Noted, NotedQuery},
    page::{Counted, Head, QueryError, QueryId},
    progress::Progress,
    session::Session,
    settings::Settings,
};
use crate::Outcome;

/// A statement that is being handed over when the stop comes is answered soon, and only the answer says how to cancel it.
const LAST_WORD_WAIT: Duration = Duration::from_secs(5);
/// How long cancelling may take: a worker that shuts down waits for it.
const CANCEL_WAIT: Duration = Duration::from_secs(15);

/// A statement and where it is from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step<'a> {
    script: &'a Script,
    statement: Statement<'a>,
}

/// How the query under way can be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Reach {
    /// By the task instance's tag only.
    Tag,
    /// By the address of its next answer.
    Uri(Url),
    /// There is none any more.
    Over,
}

/// The conversation.
pub(super) struct Talk<'a> {
    pub(super) work: &'a Work<'a>,
    pub(super) client: Client,
    pub(super) caller: Caller,
    pub(super) session: Session,
    pub(super) note: Note,
    pub(super) plan: String,
    pub(super) steps: Vec<Step<'a>>,
}

impl<'a> Talk<'a> {
    /// A conversation that has not begun.
    pub(super) fn new(work: &'a Work<'a>, settings: Settings) -> Result<Self, ClientError> {
        let assignment = &work.attempt.assignment;
        let caller = Caller::of(assignment, &settings);
        let steps: Vec<Step<'a>> = work
            .scripts
            .iter()
            .flat_map(|script| statements(&script.sql).into_iter().map(move |statement| Step { script, statement }))
            .collect();
        let plan = plan_of(work, &settings, &steps);
        let session = Session::new(&settings);
        let note = Note::new(&work.attempt.worker.state_dir, &caller.instance);
        let client = Client::new(settings, &caller, work.attempt.log.clone())?;
        Ok(Self { work, client, caller, session, note, plan, steps })
    }

    /// Runs the statements. A script is no transaction here: Trino commits each statement by itself.
    pub(super) async fn run(mut self) -> Result<Table, Outcome> {
        let ended = self.run_steps().await;
        self.note.remove().await;
        ended.map_err(Outcome::from)
    }

    async fn run_steps(&mut self) -> Result<Table, Halt> {
        let mut start = self.take_over().await?;
        let mut offended = None;
        let mut last = Given::default();
        for at in start.statement..self.steps.len() {
            let Step { script, statement } = self.steps[at];
            self.work.say(&format!(
                "Statement {} of {} ({}): {}",
                at + 1,
                self.steps.len(),
                script.name,
                shown(statement.text)
            ));
            let given = match start.query.take() {
                Some(query) => self.resume(at, query).await?,
                None => self.start(at).await?,
            };
            if self.work.purpose == Purpose::Check {
                let count = given.count();
                let (columns, rows) = given.into_rows();
                self.work.checked(&script.name, statement.text, count, &columns, &rows);
                if count > 0 {
                    offended.get_or_insert_with(|| self.work.offended(&script.name, count, &columns, &rows));
                }
            } else {
                last = given;
            }
        }
        if let Some(outcome) = offended {
            return Err(Halt::Offended(Box::new(outcome)));
        }
        let (columns, rows) = last.into_rows();
        Ok(Table { columns, rows })
    }

    /// Starts a statement and follows it to its end.
    pub(super) async fn start(&mut self, at: usize) -> Result<Given, Halt> {
        let reply = self.submit(self.steps[at].statement.text).await?;
        self.follow(at, reply).await
    }

    /// Follows a query from an answer on to its end.
    pub(super) async fn follow(&mut self, at: usize, reply: Reply) -> Result<Given, Halt> {
        let mut reach = Reach::Tag;
        let followed = self.pages(at, reply, &mut reach).await;
        if followed.is_err() {
            self.cancel(&reach).await;
        }
        followed
    }

    async fn pages(&mut self, at: usize, mut reply: Reply, reach: &mut Reach) -> Result<Given, Halt> {
        let mut given = Given::new(self.keeping(at));
        let mut progress = Progress::begin(&self.work.attempt.log);
        let mut named = false;
        loop {
            self.session.apply(&reply.headers);
            let Head { id, info_uri, next_uri, stats, error, warnings } = given.take(&reply)?;
            if !std::mem::replace(&mut named, true) {
                progress.named(&id, info_uri.as_deref());
            }
            progress.warned(&warnings);
            if let Some(error) = error {
                *reach = Reach::Over;
                return Err(self.failed(at, &error, &id));
            }
            let Some(next) = next_uri else {
                *reach = Reach::Over;
                progress.done(given.count(), &stats);
                return Ok(given);
            };
            progress.at(&stats);
            *reach = Reach::Uri(next.clone());
            self.write_down(at, &id, &next, given.received()).await;
            reply = match self.until_stopped(self.client.next(&next)).await? {
                Ok(reply) => reply,
                Err(error) => {
                    if matches!(error, ClientError::Gone { .. }) {
                        *reach = Reach::Over;
                    }
                    return Err(Halt::Failed(format!("query {id}: {error}")));
                }
            };
        }
    }

    /// Hands a statement over. A stop waits for the answer, which says how to cancel the query.
    async fn submit(&self, sql: &str) -> Result<Reply, Halt> {
        let mut handing = self.client.submit(&self.session, sql).boxed();
        let (answer, stopped) = tokio::select! {
            answer = &mut handing => (Some(answer), None),
            cause = self.work.stop.requested() => {
                (tokio::time::timeout(LAST_WORD_WAIT, handing).await.ok(), Some(cause))
            }
        };
        match (answer, stopped) {
            (Some(Ok(reply)), None) => Ok(reply),
            (answer, stopped) => {
                self.cancel(&reach_after(answer.as_ref())).await;
                Err(match (stopped, answer) {
                    (Some(cause), _) => Halt::Stopped(cause),
                    (None, Some(Err(error))) => error.into(),
                    (None, Some(Ok(_)) | None) => unreachable!("without a stop there is an answer, and it is an error"),
                })
            }
        }
    }

    /// Waits, unless the stop comes first.
    pub(super) async fn until_stopped<T>(&self, work: impl Future<Output = T>) -> Result<T, Halt> {
        tokio::select! {
            done = work => Ok(done),
            cause = self.work.stop.requested() => Err(Halt::Stopped(cause)),
        }
    }

    /// Ends a query by the address of its next answer.
    pub(super) async fn cancel_at(&self, next: &Url) {
        self.cancel(&Reach::Uri(next.clone())).await;
    }

    async fn cancel(&self, reach: &Reach) {
        let cancelling = async {
            match reach {
                Reach::Over => Ok(0),
                Reach::Uri(next) => self.client.cancel(next).await.map(|()| 1),
                Reach::Tag => self.cancel_tagged().await,
            }
        };
        match tokio::time::timeout(CANCEL_WAIT, cancelling).await {
            Ok(Ok(0)) => {}
            Ok(Ok(_)) => self.work.say("The query was cancelled on Trino"),
            Ok(Err(error)) => self.not_cancelled(&error),
            Err(_) => self.not_cancelled(&format!("no answer for {} s", CANCEL_WAIT.as_secs())),
        }
    }

    async fn cancel_tagged(&self) -> Result<usize, ClientError> {
        let found = self.client.alive_with_tag(&self.caller.instance_tag()).await?;
        for query in &found {
            self.client.cancel_query(query).await?;
        }
        Ok(found.len())
    }

    fn not_cancelled(&self, problem: &dyn std::fmt::Display) {
        self.work.say(&format!(
            "The query could not be cancelled: {problem}. Trino ends it when nobody has asked for it for its \
             query.client.timeout, 5 minutes unless configured otherwise"
        ));
    }

    /// What the next try needs to go on with this query, should this worker die. A check has to see all rows itself.
    async fn write_down(&self, at: usize, id: &QueryId, next: &Url, rows_taken: u64) {
        if self.work.purpose == Purpose::Check {
            return;
        }
        let noted = Noted {
            try_number: self.work.attempt.assignment.context.try_number,
            plan: self.plan.clone(),
            statement: at,
            session: self.session.clone(),
            query: NotedQuery { id: id.clone(), next_uri: next.clone(), rows_taken },
        };
        if let Err(error) = self.note.write(&noted).await {
            tracing::warn!(%error, query = %id, "a Trino query could not be noted; another try could not go on with it");
        }
    }

    /// Whether anybody will look at the rows of a statement.
    pub(super) fn keeping(&self, at: usize) -> Keeping {
        let is_last = at + 1 == self.steps.len();
        match (self.work.purpose, self.work.output) {
            (Purpose::Check, _) => Keeping::First,
            (Purpose::Execute, SqlOutput::Rows) if is_last => Keeping::First,
            (Purpose::Execute, SqlOutput::Rows | SqlOutput::None) => Keeping::Nothing,
        }
    }

    fn failed(&self, at: usize, error: &QueryError, id: &QueryId) -> Halt {
        let Step { script, statement } = self.steps[at];
        let told = tell(error, id, script, &statement);
        told.excerpt.iter().flat_map(|excerpt| excerpt.lines()).for_each(|line| self.work.say(line));
        Halt::Failed(told.reason)
    }
}

/// How to reach what was perhaps started, by how handing it over ended.
fn reach_after(answer: Option<&Result<Reply, ClientError>>) -> Reach {
    match answer {
        Some(Ok(reply)) => match reply.page::<Counted>() {
            Ok(page) => page.next_uri.map_or(Reach::Over, Reach::Uri),
            Err(_) => Reach::Tag,
        },
        Some(Err(error)) if !error.may_have_been_taken() => Reach::Over,
        Some(Err(_)) | None => Reach::Tag,
    }
}

/// What is run, by whom, where: a note of something else is not this one's.
fn plan_of(work: &Work<'_>, settings: &Settings, steps: &[Step<'_>]) -> String {
    let mut hash = Sha256::new();
    hash.update(format!("{}\0{}\0{:?}", settings.server, settings.user, work.output));
    for step in steps {
        hash.update(format!("\0{}\0{}", step.statement.text.len(), step.statement.text));
    }
    format!("{:x}", hash.finalize())
}
