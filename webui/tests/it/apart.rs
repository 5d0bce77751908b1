//! The web server beside a leader: whatever a request does, it takes no time from the runtime that leads.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures::future::{BoxFuture, join_all};
use link::{LeaderPort, NoLeader, Query, Reply};
use tokio::sync::Notify;

use crate::support::{Server, client};

/// What a request does with its thread: nothing else can run there meanwhile.
const BLOCKED_FOR: Duration = Duration::from_millis(1500);
/// Far more than a busy machine needs to come back to a timer, and far less than a thread is blocked for.
const PAUSE_MAX: Duration = Duration::from_millis(700);

/// A leader whose every answer blocks the thread that asks.
struct Blocking;

impl LeaderPort for Blocking {
    fn ask(&self, _: Query) -> BoxFuture<'_, Result<Reply, NoLeader>> {
        Box::pin(async {
            std::thread::park_timeout(BLOCKED_FOR);
            Err(NoLeader { reason: "it takes its time".to_owned() })
        })
    }

    fn hint(&self) {}
}

/// The longest time for which this thread did not come back to a timer, until it is aborted.
async fn longest_pause(until: Instant) -> Duration {
    let mut longest = Duration::ZERO;
    while Instant::now() < until {
        let before = Instant::now();
        tokio::time::sleep(Duration::from_millis(5)).await;
        longest = longest.max(before.elapsed());
    }
    longest
}

#[tokio::test]
async fn a_request_that_blocks_its_thread_takes_no_time_from_the_runtime_that_leads() {
    let (server, _apart) = Server::apart(Arc::new(Blocking)).await;
    let token = server.token("viewer").await;
    let asking = join_all((0..6).map(|_| client().get(server.url("/api/v2/jobs")).bearer_auth(&token).send()));
    let watching = longest_pause(Instant::now() + BLOCKED_FOR);
    let (answers, longest) = tokio::join!(asking, watching);
    for answer in answers {
        assert_eq!(answer.unwrap().status(), 503);
    }
    assert!(longest < PAUSE_MAX, "the runtime stood still for {longest:?}");
}

/// A leader that tells when it is asked, and answers when it is allowed to.
#[derive(Default)]
struct Patient {
    asked: Notify,
    may_answer: Notify,
}

impl LeaderPort for Patient {
    fn ask(&self, _: Query) -> BoxFuture<'_, Result<Reply, NoLeader>> {
        Box::pin(async {
            self.asked.notify_one();
            self.may_answer.notified().await;
            Err(NoLeader { reason: "it is stopping".to_owned() })
        })
    }

    fn hint(&self) {}
}

#[tokio::test]
async fn who_stops_it_can_wait_until_what_was_asked_is_answered() {
    let leader = Arc::new(Patient::default());
    let (server, mut apart) = Server::apart(Arc::<Patient>::clone(&leader)).await;
    let token = server.token("viewer").await;
    let asking = tokio::spawn(client().get(server.url("/api/v2/jobs")).bearer_auth(&token).send());
    leader.asked.notified().await;
    server.stop();
    let still = tokio::time::timeout(Duration::from_millis(300), apart.ended()).await;
    assert!(still.is_err(), "it has ended with a request in its hands: {still:?}");
    leader.may_answer.notify_one();
    assert_eq!(asking.await.unwrap().unwrap().status(), 503);
    tokio::time::timeout(Duration::from_secs(10), apart.ended()).await.expect("it ends").unwrap();
    apart.ended().await.unwrap();
}
