//! The way to the leader within its own process.

use std::time::Instant;

use futures::future::BoxFuture;
use link::{LeaderPort, NoLeader, Query, Reply};
use tokio::sync::{mpsc, oneshot, watch};

use super::{
    News,
    questions::{Asked, Sight},
};

/// Asks the leader of this process.
#[derive(Debug, Clone)]
pub struct LocalPort {
    questions: mpsc::Sender<Asked>,
    sight: watch::Receiver<Option<Sight>>,
    news: mpsc::Sender<News>,
}

impl LocalPort {
    pub(super) const fn new(
        questions: mpsc::Sender<Asked>,
        sight: watch::Receiver<Option<Sight>>,
        news: mpsc::Sender<News>,
    ) -> Self {
        Self { questions, sight, news }
    }

    /// How the cluster stands, as the leader has shown it last: nobody is asked.
    fn cluster(&self) -> Result<Reply, NoLeader> {
        let sight = self.sight.borrow();
        let Some(sight) = sight.as_ref() else { return Err(no_leader("this process does not lead")) };
        if sight.good_until.is_some_and(|until| until < Instant::now()) {
            return Err(no_leader("it is busy or waits for PostgreSQL"));
        }
        Ok(Reply::Cluster(sight.view.as_ref().clone()))
    }

    async fn exchange(&self, query: Query) -> Result<Reply, NoLeader> {
        let (answer, answered) = oneshot::channel();
        let asked = self.questions.send(Asked { query, answer }).await;
        asked.map_err(|_| no_leader("this process does not lead"))?;
        answered.await.unwrap_or_else(|_| Err(no_leader("the leader is changing")))
    }
}

impl LeaderPort for LocalPort {
    fn ask(&self, query: Query) -> BoxFuture<'_, Result<Reply, NoLeader>> {
        Box::pin(async move {
            if query == Query::Cluster {
                return self.cluster();
            }
            tokio::time::timeout(query.answered_within(), self.exchange(query))
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

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use link::query::ClusterView;

    use super::*;

    #[tokio::test]
    async fn the_cluster_is_told_from_the_last_sight_although_the_leader_hears_nothing() {
        let (questions, _nobody_listens) = mpsc::channel(1);
        let (news, _nobody_hears) = mpsc::channel(1);
        let shown = watch::Sender::new(None);
        let port = LocalPort::new(questions, shown.subscribe(), news);
        assert!(port.ask(Query::Cluster).await.unwrap_err().reason.contains("does not lead"));
        let view = Arc::new(ClusterView { leader: "a".to_owned(), epoch: 3, workers: Vec::new() });
        let until = Some(Instant::now() + Duration::from_secs(60));
        shown.send_replace(Some(Sight { view: Arc::clone(&view), good_until: until }));
        assert_eq!(port.ask(Query::Cluster).await.unwrap(), Reply::Cluster(view.as_ref().clone()));
        shown.send_replace(Some(Sight { view, good_until: Instant::now().checked_sub(Duration::from_secs(1)) }));
        assert!(port.ask(Query::Cluster).await.unwrap_err().reason.contains("busy"));
    }
}
