//! The workers that are connected, or should be: who they are, when they were last heard, what was sent to them.
//!
//! Silence is measured by this process's monotonic clock. A message to a worker is queued, never awaited: a worker that
//! does not read loses its connection, not the leader's time.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::{Duration, Instant},
};

use link::{
    FromWorker, Hello, ToWorker,
    transport::{Claim, LeaderLink},
};
use model::{AttemptId, WorkerId};
use tokio::sync::mpsc;
use uuid::Uuid;

use super::News;

/// Nothing new is given to a worker that has been silent for so long.
pub const SILENT_AFTER: Duration = Duration::from_secs(10);
/// A worker that has been silent for so long is dead: its guard has killed what it ran at 60 s at the latest.
pub const DEAD_AFTER: Duration = Duration::from_secs(75);
/// Messages that may wait for one worker: a thousand assignments and their kills, with room.
const MESSAGES_WAITING_MAX: usize = 4096;

/// One connection, new with each connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// A worker, as the leader sees it.
#[derive(Debug)]
pub struct Peer {
    /// Its name.
    pub name: String,
    /// How many attempts it runs at once.
    pub slots: u32,
    /// Where its messages go, while it is connected.
    connection: Option<(ConnectionId, mpsc::Sender<ToWorker>)>,
    /// Whether Welcome was sent on this connection: a worker heeds nothing before it.
    welcomed: bool,
    incarnation: Option<Uuid>,
    last_heard: Instant,
    presence: Presence,
    /// Whether it was asked to end.
    leaving: bool,
    /// Whether it tries connections out.
    pub tries_connections: bool,
    /// Whether it carries notifications out.
    pub notifies: bool,
    /// The highest report that is stored, acknowledged at the next beat.
    stored_seq: u64,
    /// What was handed to it, and to which incarnation.
    sent: BTreeMap<AttemptId, Uuid>,
    /// Orders that wait until it has read what was sent before.
    orders: VecDeque<Order>,
}

/// What a worker is told to do with an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// To run it.
    Assign(AttemptId),
    /// To end it, and why.
    Kill(AttemptId, String),
}

/// Whether a worker is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// It beats.
    Alive,
    /// It has been silent for [`SILENT_AFTER`].
    Silent,
    /// It is dead, or was never seen by this leader.
    Dead,
}

/// All workers.
#[derive(Debug, Default)]
pub struct Peers {
    by_worker: BTreeMap<WorkerId, Peer>,
    by_connection: BTreeMap<ConnectionId, WorkerId>,
}

impl Peers {
    /// A worker that stored rows speak of: it has until [`DEAD_AFTER`] to say Hello.
    pub fn expect(&mut self, worker: WorkerId, name: &str, slots: u32) {
        self.by_worker.insert(
            worker,
            Peer {
                name: name.to_owned(),
                slots,
                connection: None,
                welcomed: false,
                incarnation: None,
                last_heard: Instant::now(),
                presence: Presence::Silent,
                leaving: false,
                tries_connections: false,
                notifies: false,
                stored_seq: 0,
                sent: BTreeMap::new(),
                orders: VecDeque::new(),
            },
        );
    }

    /// A worker has said Hello on a connection.
    pub fn joined(
        &mut self,
        worker: WorkerId,
        hello: &Hello,
        connection: ConnectionId,
        sender: mpsc::Sender<ToWorker>,
    ) {
        if !self.by_worker.contains_key(&worker) {
            self.expect(worker, &hello.name, hello.slots);
        }
        let Some(peer) = self.by_worker.get_mut(&worker) else { return };
        if let Some((old, _)) = peer.connection.replace((connection, sender)) {
            self.by_connection.remove(&old);
        }
        self.by_connection.insert(connection, worker);
        peer.welcomed = false;
        // What waited was for the connection before: what is live and not held is handed over anew.
        peer.forget_orders();
        hello.name.clone_into(&mut peer.name);
        peer.slots = hello.slots;
        peer.incarnation = Some(hello.incarnation);
        peer.last_heard = Instant::now();
        peer.presence = Presence::Alive;
        peer.leaving = hello.leaving;
        peer.tries_connections = hello.tries_connections;
        peer.notifies = hello.notifies;
        peer.stored_seq = 0;
    }

    /// Those of `live` that a worker does not hold because they never reached it: this leader could not send them, or the
    /// process that says Hello is the one that they were sent to, and it forgets none before its end is stored. Of what an
    /// earlier leader assigned, `since_start` tells whether that was to this process.
    #[must_use]
    pub fn undelivered(
        &self,
        worker: WorkerId,
        live: &BTreeSet<AttemptId>,
        hello: &Hello,
        since_start: impl Fn(AttemptId) -> bool,
    ) -> Vec<AttemptId> {
        let Some(peer) = self.by_worker.get(&worker) else { return Vec::new() };
        let missing = live.iter().filter(|attempt| !hello.attempts.contains(attempt)).copied();
        missing
            .filter(|attempt| match peer.sent.get(attempt) {
                Some(process) => process.is_nil() || *process == hello.incarnation,
                None => since_start(*attempt),
            })
            .collect()
    }

    /// A worker says that it was asked to end. Whether that is news.
    pub fn leaves(&mut self, worker: WorkerId) -> bool {
        self.by_worker.get_mut(&worker).is_some_and(|peer| !std::mem::replace(&mut peer.leaving, true))
    }

    /// A worker is gone for good: nothing is remembered of it.
    pub fn remove(&mut self, worker: WorkerId) {
        let gone = self.by_worker.remove(&worker).and_then(|peer| peer.connection);
        if let Some((connection, _)) = gone {
            self.by_connection.remove(&connection);
        }
    }

    /// Closes the connection of a worker, if it has one.
    pub fn hang_up(&mut self, worker: WorkerId) {
        if let Some(peer) = self.by_worker.get_mut(&worker)
            && let Some((connection, _)) = peer.connection.take()
        {
            self.by_connection.remove(&connection);
        }
    }

    /// A connection has closed. Its worker may come back.
    pub fn disconnected(&mut self, connection: ConnectionId) {
        if let Some(worker) = self.by_connection.remove(&connection)
            && let Some(peer) = self.by_worker.get_mut(&worker)
        {
            peer.connection = None;
        }
    }

    /// The worker of a connection, which has just been heard. One that was silent for too long has its connection
    /// closed: it is heard again when it has said Hello, with what it holds.
    pub fn heard(&mut self, connection: ConnectionId) -> Option<WorkerId> {
        let worker = *self.by_connection.get(&connection)?;
        let peer = self.by_worker.get_mut(&worker)?;
        if peer.presence != Presence::Alive {
            peer.connection = None;
            self.by_connection.remove(&connection);
            return None;
        }
        peer.last_heard = Instant::now();
        Some(worker)
    }

    /// Queues a message; a worker that is away or does not read misses it.
    pub fn send(&mut self, worker: WorkerId, message: ToWorker) {
        let Some(peer) = self.by_worker.get_mut(&worker) else { return };
        peer.welcomed |= matches!(message, ToWorker::Welcome { .. });
        let assigned = if let ToWorker::Assign(assignment) = &message { Some(assignment.attempt) } else { None };
        let arrived = match &peer.connection {
            Some((_, sender)) => sender.try_send(message).is_ok(),
            None => false,
        };
        if !arrived && let Some((connection, _)) = peer.connection.take() {
            tracing::warn!(worker.name = %peer.name, "the worker does not read its messages; its connection is closed");
            self.by_connection.remove(&connection);
        }
        if let Some(attempt) = assigned {
            let to = if arrived { peer.incarnation.unwrap_or_default() } else { Uuid::nil() };
            peer.sent.insert(attempt, to);
        }
    }

    /// Takes an order that has to wait until its worker has read what was sent before; gives back one that can go now. There are at most as
    /// many as attempts that are live, and were.
    #[must_use]
    pub fn order(&mut self, worker: WorkerId, order: Order) -> Option<Order> {
        let Some(peer) = self.by_worker.get_mut(&worker) else { return Some(order) };
        if peer.connection.is_none() || (peer.orders.is_empty() && peer.has_room()) {
            return Some(order);
        }
        peer.orders.push_back(order);
        None
    }

    /// The next order for which its worker has room.
    pub fn next_order(&mut self) -> Option<(WorkerId, Order)> {
        let mut peers = self.by_worker.iter_mut().filter(|(_, peer)| !peer.orders.is_empty());
        peers.find_map(|(worker, peer)| {
            let order = if peer.has_room() { peer.orders.pop_front() } else { None };
            Some((*worker, order?))
        })
    }

    /// Whether orders wait for a worker that is connected.
    #[must_use]
    pub fn has_orders_to_send(&self) -> bool {
        self.by_worker.values().any(|peer| !peer.orders.is_empty() && peer.connection.is_some())
    }

    /// The way to a worker, for answers that are not made by the leader's own task.
    #[must_use]
    pub fn sender(&self, worker: WorkerId) -> Option<mpsc::Sender<ToWorker>> {
        self.by_worker.get(&worker)?.connection.as_ref().map(|(_, sender)| sender.clone())
    }

    /// An attempt has ended: nothing of it needs to be remembered.
    pub fn forget(&mut self, worker: WorkerId, attempt: AttemptId) {
        if let Some(peer) = self.by_worker.get_mut(&worker) {
            peer.sent.remove(&attempt);
        }
    }

    /// Reports up to this number are stored, those of this connection: each process numbers its own, so another
    /// connection of the worker is told nothing.
    pub fn stored(&mut self, connection: ConnectionId, seq: u64) {
        let Some(worker) = self.by_connection.get(&connection).copied() else { return };
        if let Some(peer) = self.by_worker.get_mut(&worker) {
            peer.stored_seq = peer.stored_seq.max(seq);
        }
        self.send(worker, ToWorker::Ack { seq });
    }

    /// Acknowledges what is stored to every worker that is connected and welcome. This is what its guard lives on.
    pub fn acknowledge_all(&mut self) {
        let acks: Vec<_> = self
            .by_worker
            .iter()
            .filter(|(_, peer)| peer.welcomed && peer.connection.is_some())
            .map(|(worker, peer)| (*worker, peer.stored_seq))
            .collect();
        for (worker, seq) in acks {
            self.send(worker, ToWorker::Ack { seq });
        }
    }

    /// Workers whose presence has changed by their silence.
    pub fn changed_presence(&mut self) -> Vec<(WorkerId, Presence)> {
        let mut changed = Vec::new();
        for (worker, peer) in &mut self.by_worker {
            let silence = peer.last_heard.elapsed();
            let presence = match silence {
                s if s >= DEAD_AFTER => Presence::Dead,
                s if s >= SILENT_AFTER => Presence::Silent,
                _ => continue,
            };
            if presence != peer.presence && peer.presence != Presence::Dead {
                peer.presence = presence;
                changed.push((*worker, presence));
            }
        }
        changed
    }

    /// Whether there is a worker whose silence is measured; those that are dead are removed.
    #[must_use]
    pub fn is_watching(&self) -> bool {
        !self.by_worker.is_empty()
    }

    /// This process heard nobody for so long, as it was busy, held up or without PostgreSQL: that is no silence of theirs.
    pub fn heard_nobody_for(&mut self, time: Duration) {
        let now = Instant::now();
        for peer in self.by_worker.values_mut() {
            peer.last_heard = (peer.last_heard + time).min(now);
        }
    }

    /// Every worker that is connected.
    #[must_use]
    pub fn connected(&self) -> Vec<WorkerId> {
        self.by_connection.values().copied().collect()
    }

    /// A worker that is known.
    #[must_use]
    pub fn get(&self, worker: WorkerId) -> Option<&Peer> {
        self.by_worker.get(&worker)
    }

    /// Every worker, for pages.
    pub fn iter(&self) -> impl Iterator<Item = (WorkerId, &Peer)> {
        self.by_worker.iter().map(|(worker, peer)| (*worker, peer))
    }
}

impl Peer {
    /// Whether it has read so much of what was sent that further orders leave room for what can not wait.
    fn has_room(&self) -> bool {
        self.connection.as_ref().is_some_and(|(_, sender)| sender.capacity() > MESSAGES_WAITING_MAX / 2)
    }

    /// What waited is not sent any more, and never was.
    fn forget_orders(&mut self) {
        for order in std::mem::take(&mut self.orders) {
            if let Order::Assign(attempt) = order {
                self.sent.insert(attempt, Uuid::nil());
            }
        }
    }

    /// Whether it was asked to end.
    #[must_use]
    pub fn is_leaving(&self) -> bool {
        self.leaving
    }

    /// Whether it is there.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.presence == Presence::Alive && self.connection.is_some()
    }

    /// Whether it is missed: it may come back, and what it runs may live.
    #[must_use]
    pub fn is_silent(&self) -> bool {
        self.presence != Presence::Dead && !self.is_alive()
    }
}

/// Carries one connection's messages until it closes: those of the worker to the leader's news, the leader's to it.
pub async fn carry(connection: ConnectionId, link: LeaderLink, news: mpsc::Sender<News>) {
    let (to_worker, mut outgoing) = mpsc::channel(MESSAGES_WAITING_MAX);
    let claim = link.claim();
    let (sender, mut receiver) = link.split();
    let sending = async {
        while let Some(message) = outgoing.recv().await {
            if sender.send(message).await.is_err() {
                break;
            }
        }
    };
    let receiving = async {
        let mut way_back = Some(to_worker);
        loop {
            match receiver.recv().await {
                Ok(Some(FromWorker::Hello(hello))) => {
                    if matches!(claim, Claim::Proven(worker) if worker != hello.worker) {
                        tracing::error!(claimed = %hello.worker, ?claim, "a worker's connection is closed: it speaks in another's name");
                        break;
                    }
                    let Some(sender) = way_back.take() else { break };
                    if news.send(News::Hello { connection, hello: Box::new(hello), claim, sender }).await.is_err() {
                        break;
                    }
                }
                Ok(Some(message)) => {
                    if news.send(News::FromWorker { connection, message: Box::new(message) }).await.is_err() {
                        break;
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    tracing::warn!(%error, "a worker's connection is closed: its message can not be read");
                    break;
                }
            }
        }
    };
    tokio::select! {
        () = sending => {}
        () = receiving => {}
    }
    let _the_leader_is_gone = news.send(News::Disconnected(connection)).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(incarnation: u128) -> Hello {
        Hello {
            protocol: link::PROTOCOL_VERSION,
            protocol_oldest: None,
            worker: Uuid::from_u128(1),
            incarnation: Uuid::from_u128(incarnation),
            name: "w".to_owned(),
            slots: 1,
            queues: BTreeSet::new(),
            capabilities: BTreeSet::new(),
            attempts: BTreeSet::new(),
            services: BTreeSet::new(),
            operators: BTreeSet::new(),
            leaving: false,
            up_micros: None,
            tries_connections: false,
            notifies: false,
        }
    }

    #[test]
    fn time_in_which_the_leader_heard_nobody_is_no_silence() {
        let (worker, mut peers) = (WorkerId(1), Peers::default());
        let (sender, _messages) = mpsc::channel(8);
        peers.joined(worker, &hello(1), ConnectionId(1), sender);
        let Some(long_ago) = Instant::now().checked_sub(DEAD_AFTER) else { return };
        for (stall, presence) in [
            (DEAD_AFTER, None),
            (DEAD_AFTER - SILENT_AFTER, Some(Presence::Silent)),
            (Duration::ZERO, Some(Presence::Dead)),
        ] {
            peers.by_worker.get_mut(&worker).unwrap().last_heard = long_ago;
            peers.heard_nobody_for(stall);
            assert_eq!(
                peers.changed_presence(),
                presence.map(|presence| (worker, presence)).into_iter().collect::<Vec<_>>()
            );
        }
    }

    #[tokio::test]
    async fn reports_of_an_earlier_process_are_not_acknowledged_to_the_next_one() {
        let (worker, mut peers) = (WorkerId(1), Peers::default());
        let (old, _old_messages) = mpsc::channel(8);
        peers.joined(worker, &hello(1), ConnectionId(1), old);
        // Its 500th report waits for the turn in which its successor says Hello.
        let (new, mut messages) = mpsc::channel(8);
        peers.disconnected(ConnectionId(1));
        peers.joined(worker, &hello(2), ConnectionId(2), new);
        peers.send(
            worker,
            ToWorker::Welcome { epoch: model::Epoch(1), live: BTreeSet::new(), services: BTreeSet::new() },
        );
        peers.stored(ConnectionId(1), 500);
        peers.acknowledge_all();
        assert!(matches!(messages.try_recv(), Ok(ToWorker::Welcome { .. })));
        assert_eq!(messages.try_recv(), Ok(ToWorker::Ack { seq: 0 }));
        peers.stored(ConnectionId(2), 3);
        assert_eq!(messages.try_recv(), Ok(ToWorker::Ack { seq: 3 }));
    }
}
