//! Answers what attempts ask for: connections, variables, XComs of their own run, files of DAG versions, other runs.
//!
//! Each question is answered on a task of its own, outside of turns, and no more than a bounded number at a time. Connections and
//! variables are resolved here and nowhere else: secrets backends first, then the leader's environment, then the database. While
//! a backend is slow nothing waits but what asks it.

use std::{sync::Arc, time::Duration};

use ::secrets::{BackendError, Backends};
use link::{ConnectionFields, FetchItem, FetchKey, Fetched, ToWorker};
use model::{AttemptId, RunKey};
use sqlx::PgPool;
use store::{Hints, SecretKey, StoreError, secrets, secrets::Kind};
use tokio::sync::{Semaphore, mpsc};

use super::{runs::Runs, scope::ScopeHandle};

/// Questions that are answered at once; more wait. Each holds a connection of the pool for its query.
const ANSWERED_AT_ONCE: usize = 6;
/// Runs that are triggered at once. Each waits for a turn most of the time, and must not hold up other questions.
const TRIGGERED_AT_ONCE: usize = 64;

/// How long an answer may take, the wait for a triggered run included: PostgreSQL may have vanished without a word.
const ANSWERED_WITHIN: Duration = Duration::from_secs(45);

/// The largest answer, in bytes of JSON. A message of more than twice that ends its worker's connection, and with it all that the
/// worker has asked.
const ANSWER_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// The answer, or why there is none: what would not fit into a message belongs to the attempt that asks for it.
fn within_limit(item: FetchItem) -> FetchItem {
    let mut bytes = Counted(0);
    let counted = match &item {
        FetchItem::XCom(values) => serde_json::to_writer(&mut bytes, values),
        FetchItem::AssetEvents(events) => serde_json::to_writer(&mut bytes, events),
        // Each of these has a limit of its own.
        FetchItem::Missing(_)
        | FetchItem::Unavailable(_)
        | FetchItem::Connection(_)
        | FetchItem::Variable(_)
        | FetchItem::File(_)
        | FetchItem::Run(_)
        | FetchItem::Triggered { .. }
        | FetchItem::Refused(_) => return item,
    };
    if counted.is_ok() && bytes.0 <= ANSWER_BYTES_MAX {
        return item;
    }
    let of = bytes.0;
    FetchItem::Unavailable(format!(
        "what it asks for has {of} bytes, more than {ANSWER_BYTES_MAX} at once: ask for less"
    ))
}

/// Counts what is written.
struct Counted(u64);

impl std::io::Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A live attempt that asks.
#[derive(Debug, Clone, Copy)]
pub struct Asker {
    /// The attempt.
    pub attempt: AttemptId,
    /// Its run.
    pub run: RunKey,
}

/// Looks things up for workers, which have no access to the database.
#[derive(Clone)]
pub struct Fetcher {
    pool: PgPool,
    key: SecretKey,
    backends: Arc<Backends>,
    runs: Runs,
    at_once: Arc<Semaphore>,
    triggers: Arc<Semaphore>,
    scope: ScopeHandle,
}

impl Fetcher {
    /// Looks up in these backends and this database, decrypting with this key, on tasks of this scope.
    #[must_use]
    pub fn new(pool: PgPool, secrets: (SecretKey, Arc<Backends>), hints: Hints, scope: ScopeHandle) -> Self {
        let (at_once, triggers) = (Semaphore::new(ANSWERED_AT_ONCE), Semaphore::new(TRIGGERED_AT_ONCE));
        let runs = Runs::new(pool.clone(), hints);
        let (key, backends) = secrets;
        let kept = Arc::clone(&backends);
        scope.spawn(async move { kept.keep().await });
        Self { pool, key, backends, runs, at_once: Arc::new(at_once), triggers: Arc::new(triggers), scope }
    }

    /// Answers a question of an attempt on the worker's connection. Without a live attempt there is nothing
    /// that may be seen but files, which are named by their content.
    pub fn fetch(&self, id: u64, asker: Option<Asker>, key: FetchKey, sender: mpsc::Sender<ToWorker>) {
        let fetcher = self.clone();
        self.scope.spawn(async move {
            let item = match fetcher.of_backends(asker, &key).await {
                Some(item) => item,
                None => {
                    let room =
                        if matches!(key, FetchKey::TriggerRun(_)) { &fetcher.triggers } else { &fetcher.at_once };
                    let Ok(_permit) = room.acquire().await else { return };
                    let looking = fetcher.look_up(asker, key);
                    match store::within(ANSWERED_WITHIN, "looking up what an attempt asks for", looking).await {
                        Ok(item) => item,
                        Err(error) => FetchItem::Unavailable(error.to_string()),
                    }
                }
            };
            let item = within_limit(item);
            // A worker that has gone asks again when it is back.
            drop(sender.send(ToWorker::Fetched(Fetched { id, item })).await);
        });
    }

    /// What the secrets backends say to a question that is theirs; none when they do not know it. They have limits of their own.
    async fn of_backends(&self, asker: Option<Asker>, key: &FetchKey) -> Option<FetchItem> {
        let _live = asker?;
        let unavailable = |error: BackendError| FetchItem::Unavailable(error.to_string());
        match key {
            FetchKey::Connection(id) => {
                let found = self.backends.connection(id).await.transpose()?;
                Some(found.map_or_else(unavailable, |found| FetchItem::Connection(Box::new(fields_of(found)))))
            }
            FetchKey::Variable(name) => {
                let found = self.backends.variable(name).await.transpose()?;
                Some(found.map_or_else(unavailable, FetchItem::Variable))
            }
            FetchKey::XCom { .. }
            | FetchKey::File(_)
            | FetchKey::AssetEvents(_)
            | FetchKey::TriggerRun(_)
            | FetchKey::Run { .. } => None,
        }
    }

    async fn look_up(&self, asker: Option<Asker>, key: FetchKey) -> Result<FetchItem, StoreError> {
        let no_attempt = || FetchItem::Missing("the attempt that asks is not live any more".to_owned());
        match (key, asker) {
            (FetchKey::File(sha256), _) => {
                let missing = || FetchItem::Missing(format!("no stored file has the SHA-256 {sha256}"));
                Ok(store::blob(&self.pool, &sha256).await?.map_or_else(missing, FetchItem::File))
            }
            (FetchKey::Connection(id), Some(_)) => self.connection(&id).await,
            (FetchKey::Variable(name), Some(_)) => self.variable(&name).await,
            (FetchKey::XCom { task, map_index, key }, Some(asker)) => {
                Ok(FetchItem::XCom(store::xcoms::values(&self.pool, asker.run, task, map_index, &key).await?))
            }
            (FetchKey::AssetEvents(which), Some(asker)) => super::assets::events(&self.pool, asker.run, &which).await,
            (FetchKey::TriggerRun(wish), Some(asker)) => self.runs.trigger(asker.attempt, &wish).await,
            (FetchKey::Run { dag_id, which, tasks }, Some(_)) => self.runs.look(&dag_id, &which, &tasks).await,
            (
                FetchKey::Connection(_)
                | FetchKey::Variable(_)
                | FetchKey::XCom { .. }
                | FetchKey::AssetEvents(_)
                | FetchKey::TriggerRun(_)
                | FetchKey::Run { .. },
                None,
            ) => Ok(no_attempt()),
        }
    }

    async fn connection(&self, id: &str) -> Result<FetchItem, StoreError> {
        let found = secrets::connection(&self.pool, &self.key, &environment, id).await?;
        let missing = || FetchItem::Missing(self.missing(Kind::Connection, id));
        Ok(found.map_or_else(missing, |fields| FetchItem::Connection(Box::new(fields_of(fields)))))
    }

    async fn variable(&self, name: &str) -> Result<FetchItem, StoreError> {
        let found = secrets::variable(&self.pool, &self.key, &environment, name).await?;
        Ok(found.map_or_else(|| FetchItem::Missing(self.missing(Kind::Variable, name)), FetchItem::Variable))
    }

    /// Where something was looked for that nobody knows.
    fn missing(&self, kind: Kind, id: &str) -> String {
        let (what, word, page) = match kind {
            Kind::Connection => ("connection", "CONN", "Connections"),
            Kind::Variable => ("variable", "VAR", "Variables"),
        };
        let upper = id.to_uppercase();
        let create = format!("set AIRFLOW_{word}_{upper} or create it under {page}");
        let places = self.backends.places(kind, id);
        if places.is_empty() {
            return format!("{what} {id:?} is not defined; {create}");
        }
        format!(
            "{what} {id:?} is not defined; looked for in: {}; the leader's environment (WINDLASS_{word}_{upper}, \
             AIRFLOW_{word}_{upper}); the database. Make it in one of these, or {create}",
            places.join("; ")
        )
    }
}

fn fields_of(found: secrets::Connection) -> ConnectionFields {
    ConnectionFields {
        conn_id: found.conn_id,
        conn_type: found.conn_type,
        host: found.host,
        schema: found.schema,
        login: found.login,
        password: found.password,
        port: found.port,
        extra: found.extra,
    }
}

/// The leader's own environment comes before the database, as with Airflow.
fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_fits_no_message_is_told_to_who_asks_alone() {
        let value = serde_json::Value::from("x".repeat(60_000));
        assert!(matches!(within_limit(FetchItem::XCom(vec![value.clone(); 200])), FetchItem::XCom(_)));
        let FetchItem::Unavailable(why) = within_limit(FetchItem::XCom(vec![value; 1_024])) else { panic!("too much") };
        assert!(why.contains("more than 16777216 at once"), "{why}");
    }
}
