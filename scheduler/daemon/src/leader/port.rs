//! The way to the leader within its own process.

use std::time::Duration;

use futures::future::BoxFuture;
use link::{LeaderPort, NoLeader, Query, Reply};
use tokio::sync::{mpsc, oneshot};

use super::News;

/// A page does not wait longer for a sentence or a piece of a log.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Asks the leader of this process.
#[derive(Debug, Clone)]
pub struct LocalPort {
    news: mpsc::Sender<News>,
}

impl LocalPort {
    /// A port whose questions arrive among the leader's news.
    #[must_use]
    pub fn new(news: mpsc::Sender<News>) -> Self {
        Self { news }
    }
}

impl LeaderPort for LocalPort {
    fn ask(&self, query: Query) -> BoxFuture<'_, Result<Reply, NoLeader>> {
        Box::pin(async move {
            let (answer, answered) = oneshot::channel();
            let question = self.news.send(News::Query { query, answer });
            let exchange = async {
                question.await.map_err(|_| no_leader("this process does not lead"))?;
                answered.await.map_err(|_| no_leader("the leader is changing"))
            };
            tokio::time::timeout(ANSWER_WITHIN, exchange)
                .await
                .unwrap_or_else(|_| Err(no_leader("it is busy or waits for PostgreSQL")))
        })
    }

    fn hint(&self) {
        // A full queue means that the leader is about to look anyway.
        let _hint_only = self.news.try_send(News::Inbox);
    }
}

fn no_leader(reason: &str) -> NoLeader {
    NoLeader { reason: reason.to_owned() }
}
