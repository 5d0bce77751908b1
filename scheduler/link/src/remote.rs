//! The way to the leader from another process: questions and answers over one connection, which follows the leader.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use tokio::{
    sync::{Semaphore, oneshot},
    time::{sleep, timeout},
};

use crate::{
    LeaderPort, Message, NoLeader, Query, Reply,
    transport::{
        Link, LinkReceiver, LinkSender, over_stream,
        tls::{Caller, Finder},
    },
};

/// How long one connection may take to answer before the leader is looked for anew: it may have been replaced.
const TRY_WAIT: Duration = Duration::from_secs(3);
/// The pause between two tries within the time that a question has.
const AGAIN_AFTER: Duration = Duration::from_millis(200);
/// Questions of one connection that are answered at once; more wait.
const ANSWERED_AT_ONCE: usize = 64;
/// A connection without a question for so long is closed; the next question opens another.
const IDLE_MAX: Duration = Duration::from_secs(120);

/// The asking end of a connection.
pub type AskLink = Link<Question, Answer>;
/// The answering end of a connection.
pub type AnswerLink = Link<Answer, Question>;

/// A question with the number that its answer repeats.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Question {
    /// The number, new on each connection.
    pub id: u64,
    /// What is asked.
    pub query: Query,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// The question's number.
    pub id: u64,
    /// What is answered, or why it can not be.
    pub reply: Result<Reply, String>,
}

impl Message for Question {}
impl Message for Answer {}

/// Asks the leader wherever it is. Connects with the first question, and again whenever the leader changes.
pub struct RemotePort {
    caller: Caller,
    finder: Arc<dyn Finder>,
    line: tokio::sync::Mutex<Option<Arc<Line>>>,
}

impl RemotePort {
    /// Calls as `caller` at the addresses that `finder` tells.
    #[must_use]
    pub fn new(caller: Caller, finder: Arc<dyn Finder>) -> Self {
        Self { caller, finder, line: tokio::sync::Mutex::default() }
    }

    async fn try_once(&self, query: &Query) -> Result<Reply, String> {
        let line = self.line().await?;
        // What takes its time is asked once: a try of a connection is none of the leader's silence.
        let wait = if matches!(query, Query::TryConnection { .. }) { query.answered_within() } else { TRY_WAIT };
        match timeout(wait, line.ask(query.clone())).await {
            Ok(Some(reply)) => reply,
            Ok(None) => Err(self.hang_up(&line, "the connection to the leader was lost").await),
            Err(_) => Err(self.hang_up(&line, "the leader does not answer").await),
        }
    }

    /// The connection of the moment, or a new one. Whoever comes meanwhile waits and shares it.
    async fn line(&self) -> Result<Arc<Line>, String> {
        let mut line = self.line.lock().await;
        if let Some(open) = line.as_ref().filter(|line| line.is_open()) {
            return Ok(Arc::clone(open));
        }
        *line = None;
        let endpoints = self.finder.endpoints().await.map_err(|error| error.to_string())?;
        let stream = self.caller.reach(endpoints).await.map_err(|error| error.to_string())?;
        let open = Line::over(over_stream(stream));
        *line = Some(Arc::clone(&open));
        Ok(open)
    }

    async fn hang_up(&self, failed: &Arc<Line>, reason: &str) -> String {
        let mut line = self.line.lock().await;
        if line.as_ref().is_some_and(|line| Arc::ptr_eq(line, failed)) {
            *line = None;
        }
        reason.to_owned()
    }
}

impl LeaderPort for RemotePort {
    fn ask(&self, query: Query) -> BoxFuture<'_, Result<Reply, NoLeader>> {
        Box::pin(async move {
            let mut reason = "it could not be reached in time".to_owned();
            let asking = async {
                loop {
                    match self.try_once(&query).await {
                        Ok(reply) => return reply,
                        Err(why) => reason = why,
                    }
                    sleep(AGAIN_AFTER).await;
                }
            };
            let answered = timeout(query.answered_within(), asking).await;
            answered.map_err(|_| NoLeader { reason })
        })
    }

    /// PostgreSQL's NOTIFY, which every command sends, wakes the leader from other processes.
    fn hint(&self) {}
}

/// One open connection and the questions that wait on it.
struct Line {
    questions: LinkSender<Question>,
    waiting: Mutex<Waiting>,
    next_id: AtomicU64,
}

/// The questions that wait, while the connection is open.
type Waiting = Option<BTreeMap<u64, oneshot::Sender<Result<Reply, String>>>>;

impl Line {
    fn over(link: AskLink) -> Arc<Self> {
        let (questions, answers) = link.split();
        let line =
            Arc::new(Self { questions, waiting: Mutex::new(Some(BTreeMap::new())), next_id: AtomicU64::default() });
        tokio::spawn(hand_out(answers, Arc::downgrade(&line)));
        line
    }

    fn is_open(&self) -> bool {
        self.with_waiting(|waiting| waiting.is_some())
    }

    fn with_waiting<T>(&self, look: impl FnOnce(&mut Waiting) -> T) -> T {
        look(&mut self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Asks; none when the connection is lost before the answer.
    async fn ask(&self, query: Query) -> Option<Result<Reply, String>> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let (answer, answered) = oneshot::channel();
        self.with_waiting(|waiting| {
            let waiting = waiting.as_mut()?;
            // Whoever has given up does not wait any more.
            waiting.retain(|_, asked| !asked.is_closed());
            waiting.insert(id, answer)
        });
        self.questions.send(Question { id, query }).await.ok()?;
        answered.await.ok()
    }
}

/// Hands answers to those who asked, until the connection ends; then everyone who waits hears it.
async fn hand_out(mut answers: LinkReceiver<Answer>, line: std::sync::Weak<Line>) {
    while let Ok(Some(answer)) = answers.recv().await {
        let Some(line) = line.upgrade() else { return };
        let asked = line.with_waiting(|waiting| waiting.as_mut()?.remove(&answer.id));
        if let Some(asked) = asked {
            // It may have given up.
            drop(asked.send(answer.reply));
        }
    }
    if let Some(line) = line.upgrade() {
        line.with_waiting(|waiting| *waiting = None);
    }
}

/// Answers the questions of one connection from the leader of this process, until it closes or falls idle.
pub async fn answer_all(link: AnswerLink, leader: Arc<dyn LeaderPort>) {
    let (answers, mut questions) = link.split();
    let places = Arc::new(Semaphore::new(ANSWERED_AT_ONCE));
    loop {
        let question = match timeout(IDLE_MAX, questions.recv()).await {
            Ok(Ok(Some(question))) => question,
            Ok(Ok(None)) | Err(_) => return,
            Ok(Err(error)) => {
                tracing::warn!(%error, "an api process's connection is closed: its question can not be read");
                return;
            }
        };
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let (leader, answers) = (Arc::clone(&leader), answers.clone());
        tokio::spawn(async move {
            let reply = leader.ask(question.query).await.map_err(|no_leader| no_leader.reason);
            // The api process may have gone.
            let _gone = answers.send(Answer { id: question.id, reply }).await;
            drop(place);
        });
    }
}
