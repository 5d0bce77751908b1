//! What a lost try has left: its query is gone on with where Trino allows it, and ended where it does not.
//!
//! Trino gives a query's next answer to whoever knows its address, and the note of the lost try has it. A worker on
//! another machine does not have the note; it finds the query by its tag and can only end it. Either way no statement of
//! a task instance starts while an older one of the same instance runs.

use std::time::Duration;

use model::TryNumber;
use tokio::time::Instant;

use super::{
    client::{ClientError, QueryState},
    failure::Halt,
    given::{Given, Keeping},
    note::{Noted, NotedQuery},
    page::QueryId,
    talk::Talk,
};

/// How long a cancelled query may take to end: a commit that has begun is finished first.
const END_WAIT: Duration = Duration::from_secs(60);
/// How often to look whether it has ended.
const END_LOOK: Duration = Duration::from_millis(200);

/// Where an attempt begins.
#[derive(Debug, Default)]
pub(super) struct Start {
    /// The first statement that is not done.
    pub(super) statement: usize,
    /// Its query, when a lost try has started it.
    pub(super) query: Option<NotedQuery>,
}

impl Talk<'_> {
    /// Finds out where to begin, and ends what earlier tries have left otherwise.
    pub(super) async fn take_over(&mut self) -> Result<Start, Halt> {
        if self.work.attempt.assignment.context.try_number == TryNumber::FIRST {
            return Ok(Start::default());
        }
        let start = match self.note.read().await {
            None => Start::default(),
            Some(noted) => self.start_after(noted),
        };
        self.end_others(start.query.as_ref().map(|query| &query.id)).await?;
        Ok(start)
    }

    fn start_after(&mut self, noted: Noted) -> Start {
        let Noted { try_number, plan, statement, session, query } = noted;
        let id = &query.id;
        if try_number.next() != self.work.attempt.assignment.context.try_number {
            self.work.say(&format!("Query {id} of try {try_number} is too old to go on with"));
            return Start::default();
        }
        if plan != self.plan || statement >= self.steps.len() {
            self.work.say(&format!(
                "Try {try_number} was lost with query {id}; its statements were others than now, so all of them start again"
            ));
            return Start::default();
        }
        self.session = session;
        if self.keeping(statement) == Keeping::First && query.rows_taken > 0 {
            self.work.say(&format!(
                "Try {try_number} was lost with {} rows of query {id}, which Trino does not give twice; the statement \
                 starts again",
                query.rows_taken
            ));
            return Start { statement, query: None };
        }
        self.work.say(&format!(
            "Try {try_number} was lost with query {id}, statement {} of {}; going on with it",
            statement + 1,
            self.steps.len()
        ));
        Start { statement, query: Some(query) }
    }

    /// Goes on with a query that a lost try has started.
    pub(super) async fn resume(&mut self, at: usize, query: NotedQuery) -> Result<Given, Halt> {
        let asked = self.until_stopped(self.client.next(&query.next_uri)).await;
        match asked {
            Ok(Ok(reply)) => self.follow(at, reply).await,
            Ok(Err(ClientError::Gone { .. })) => self.without_answer(at, &query.id).await,
            Ok(Err(error)) => {
                self.cancel_at(&query.next_uri).await;
                Err(error.into())
            }
            Err(halt) => {
                self.cancel_at(&query.next_uri).await;
                Err(halt)
            }
        }
    }

    /// Trino does not give the answer any more, but may know how the query ended.
    async fn without_answer(&mut self, at: usize, id: &QueryId) -> Result<Given, Halt> {
        let state = self.until_stopped(self.client.state_of(id)).await?.unwrap_or_else(|error| {
            self.work.say(&error.to_string());
            None
        });
        match state {
            Some(QueryState::Finished) if self.keeping(at) == Keeping::Nothing => {
                self.work.say(&format!("Query {id} has finished meanwhile; its statement is done"));
                return Ok(Given::default());
            }
            Some(QueryState::Finished) => {
                self.work.say(&format!("Query {id} has finished, and its rows are gone; the statement starts again"));
            }
            Some(QueryState::Failed) => {
                self.work.say(&format!("Query {id} has failed meanwhile, without effect; the statement starts again"));
            }
            Some(QueryState::Alive) => self.end(id).await?,
            None => self.work.say(&format!(
                "Trino has forgotten query {id}, so whether it did its work is not known; the statement starts again"
            )),
        }
        self.start(at).await
    }

    /// Ends every query of this task instance but the one to go on with.
    async fn end_others(&self, keep: Option<&QueryId>) -> Result<(), Halt> {
        let found = match self.until_stopped(self.client.alive_with_tag(&self.caller.instance_tag())).await? {
            Ok(found) => found,
            Err(error @ (ClientError::Refused { .. } | ClientError::Garbage { .. })) => {
                self.work.say(&format!("Whether a query of an earlier try still runs could not be seen: {error}"));
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        for query in found.iter().filter(|query| Some(*query) != keep) {
            self.end(query).await?;
        }
        Ok(())
    }

    async fn end(&self, query: &QueryId) -> Result<(), Halt> {
        self.work.say(&format!("Query {query} of an earlier try still runs; ending it first"));
        self.until_stopped(self.client.cancel_query(query)).await??;
        let until = Instant::now() + END_WAIT;
        while self.until_stopped(self.client.state_of(query)).await?? == Some(QueryState::Alive) {
            if Instant::now() >= until {
                let secs = END_WAIT.as_secs();
                return Err(Halt::Failed(format!(
                    "query {query} of an earlier try was cancelled and still runs after {secs} s; nothing was started"
                )));
            }
            self.until_stopped(tokio::time::sleep(END_LOOK)).await?;
        }
        Ok(())
    }
}
