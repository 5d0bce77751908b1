//! Answers questions of pages from memory, and carries reads of logs to the workers that have them.

use std::time::Duration;

use link::{
    LogChunk, Query, Reply, ToWorker,
    query::{ClusterView, LogName, PoolView, PoolWaiter, TaskWhy, WorkerView},
};
use model::{BundleFile, WorkerId};
use tokio::sync::oneshot;

use super::{
    Ear,
    questions::{Answered, Asked, Room},
    reign::Reign,
    said::with_line,
    waiting::{Bounds, Waiting},
};

/// Pages that ask for more logs at once hear that the leader is busy; a worker that is stopped must not keep a page waiting.
const LOG_READ_BOUNDS: Bounds = Bounds {
    most: 256,
    wait: Duration::from_secs(1),
    busy: "logs are being read",
    late: "a worker that may have the log does not answer right now",
};

/// So many of those that wait for a pool are named: a page shows no more.
const POOL_WAITERS_MAX: usize = 10;

/// Reads of logs that wait for workers; of each is known how many workers have not answered.
#[derive(Debug)]
pub struct LogReads(Waiting<usize>);

impl Default for LogReads {
    fn default() -> Self {
        Self(Waiting::new(LOG_READ_BOUNDS))
    }
}

impl LogReads {
    /// Notes a question to so many workers and gives its number; none when it can not be asked, and then it is answered
    /// already.
    fn ask(&mut self, workers: usize, answer: oneshot::Sender<Answered>) -> Option<u64> {
        if workers == 0 {
            drop(answer.send(Ok(not_found("no worker that has the log is connected right now"))));
            return None;
        }
        self.0.begin(workers, answer)
    }

    /// Answers those who have waited for too long, once a beat.
    pub fn give_up(&mut self) {
        self.0.give_up();
    }

    /// A worker has answered. The first one that has something of the log decides.
    pub fn arrived(&mut self, id: u64, bytes: Vec<u8>, length: u64, ended: bool) {
        let Some(open) = self.0.known(id) else { return };
        // A worker that answers twice counts once too often: then the others are waited for a little less.
        *open = open.saturating_sub(1);
        if length > 0 || *open == 0 {
            self.0.answer(id, Reply::Log(LogChunk { bytes, length, ended }));
        }
    }
}

impl Reign {
    /// Answers some of those who wait, so that neither they nor the next turn wait for long.
    pub(super) fn answer_some(&mut self, ear: &mut Ear) {
        let mut room = Room::new();
        while room.take()
            && let Some(asked) = ear.questions.waiting()
        {
            self.answer(asked);
        }
    }

    /// Answers, at once or when a worker has.
    pub(super) fn answer(&mut self, Asked { query, answer }: Asked) {
        // Nobody works for one who has gone away meanwhile.
        if answer.is_closed() {
            return;
        }
        let now = self.clock.now();
        let reply = match query {
            Query::WhyTask { dag_id, run_id, task_id, map_index } => {
                let why = self.engine.why_task(&dag_id, &run_id, &task_id, map_index, now);
                let said = self.said.of_run(&dag_id, &run_id, &self.engine);
                let line = said.get(&(task_id, map_index));
                why.map_or_else(not_in_memory, |sentence| Reply::Why {
                    sentence: with_line(sentence, line),
                    tasks: Vec::new(),
                })
            }
            Query::WhyRun { dag_id, run_id } => {
                let said = self.said.of_run(&dag_id, &run_id, &self.engine);
                self.engine.why_run(&dag_id, &run_id, now).map_or_else(not_in_memory, |(sentence, tasks)| Reply::Why {
                    sentence,
                    tasks: tasks
                        .into_iter()
                        .map(|(task_id, map_index, sentence)| {
                            let key = (task_id, map_index);
                            let sentence = with_line(sentence, said.get(&key));
                            TaskWhy { task_id: key.0, map_index, sentence }
                        })
                        .collect(),
                })
            }
            Query::WhyDag { dag_id } => {
                let why = self.engine.why_dag(&dag_id, now);
                why.map_or_else(not_in_memory, |sentence| Reply::Why { sentence, tasks: Vec::new() })
            }
            Query::Cluster => Reply::Cluster(self.cluster()),
            Query::Pools => {
                Reply::Pools { pools: self.engine.pool_uses(POOL_WAITERS_MAX).into_iter().map(pool_view).collect() }
            }
            Query::LookAgain { file } => self.look_again(&file),
            Query::TryConnection { connection } => return self.try_connection(connection, answer),
            Query::ReadLog { log, worker, offset, bytes_max } => {
                return self.ask_for_log(LogRange { log, offset, bytes_max }, worker, answer);
            }
        };
        // Whoever asked may have gone away.
        drop(answer.send(Ok(reply)));
    }

    /// Has a file of the DAG folder read again.
    fn look_again(&self, file: &str) -> Reply {
        match self.folders.bundle_news() {
            Some(news) => {
                news.look_again(BundleFile::in_folder(file));
                Reply::Noted
            }
            None => not_found("the DAG folder is not watched by this leader"),
        }
    }

    /// Asks the worker that has a log; every one while nobody knows which that is.
    fn ask_for_log(&mut self, range: LogRange, holder: Option<WorkerId>, answer: oneshot::Sender<Answered>) {
        let mut workers = self.peers.connected();
        workers.retain(|worker| holder.is_none_or(|holder| holder == *worker));
        let Some(id) = self.log_reads.ask(workers.len(), answer) else { return };
        let LogRange { log, offset, bytes_max } = range;
        for worker in workers {
            self.peers.send(worker, ToWorker::ReadLog { id, log: log.clone(), offset, bytes_max });
        }
    }

    pub(super) fn cluster(&self) -> ClusterView {
        let workers = self.peers.iter().map(|(worker, peer)| {
            let services = self.supervisor.replicas().filter(|r| r.worker() == Some(worker) && r.living().is_some());
            WorkerView {
                name: peer.name.clone(),
                slots: peer.slots,
                used: self.engine.slots_used_on(worker),
                alive: peer.is_alive(),
                leaving: peer.is_leaving(),
                services: services.map(|replica| replica.key().clone()).collect(),
                attempts: self.engine.some_attempts_on(worker, ATTEMPTS_SHOWN_MAX),
            }
        });
        ClusterView { leader: self.name.clone(), epoch: self.epoch.get(), workers: workers.collect() }
    }
}

/// So many attempts of a worker are named in what pages are shown each second; it may hold a hundred thousand waits.
const ATTEMPTS_SHOWN_MAX: usize = 1_000;

/// A part of a log.
struct LogRange {
    log: LogName,
    offset: u64,
    bytes_max: u32,
}

fn pool_view(pool: engine::PoolUse) -> PoolView {
    let engine::PoolUse { name, exists, total: _, slots, next } = pool;
    let waiter = |(dag_id, run_id, task_id)| PoolWaiter { dag_id, run_id, task_id };
    PoolView {
        name,
        exists,
        running: slots.running,
        queued: slots.queued,
        scheduled: slots.scheduled,
        deferred: slots.deferred,
        occupied: slots.occupied,
        next: next.into_iter().map(waiter).collect(),
    }
}

fn not_found(detail: &str) -> Reply {
    Reply::NotFound { detail: detail.to_owned() }
}

fn not_in_memory() -> Reply {
    not_found("it has ended, or never was: nothing waits")
}
