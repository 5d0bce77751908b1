//! A reader of the embedded log with a group's offsets.
//!
//! The embedded log has no members that share partitions: each reader of a group reads all of them, and the commit of only
//! one of two readers at once is accepted. The other one has taken nothing and tries again behind it.

use super::embedded::EmbeddedLog;
use super::event_log::{EventLog, FetchRequest, LogError, Offsets};
use super::group::{
    Assigned, Bounds, GroupSpec, Member, Place, Places, Stretch, TopicRecord, assigned, goes_on, note_of,
};
use crate::pg::group::{self, Committed, Reading};
use sqlx::PgPool;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;
use tokio::runtime::Handle;

/// One answer of the log.
const FETCH_BYTES: usize = 1 << 20;

/// A reader.
pub struct EmbeddedGroup {
    handle: Handle,
    pool: PgPool,
    log: EmbeddedLog,
    spec: GroupSpec,
    /// What the group had committed when this reader came; nobody else may have moved it when this one commits.
    committed: BTreeMap<Place, Option<i64>>,
    places: BTreeMap<Place, Stretch>,
    goes_on: bool,
    waiting: VecDeque<TopicRecord>,
}

impl EmbeddedGroup {
    /// Finds out where the group stands.
    ///
    /// # Errors
    /// When a topic is not there or the database fails.
    pub async fn join(pool: PgPool, spec: GroupSpec) -> Result<Self, LogError> {
        let log = EmbeddedLog::new(pool.clone());
        let mut found: BTreeMap<Place, (Option<Committed>, Bounds)> = BTreeMap::new();
        for topic in &spec.topics {
            let reading = Reading { group_id: &spec.group_id, topic };
            let committed = group::read(&pool, reading).await.map_err(database("looking where a group stands"))?;
            for known in log.describe(topic).await?.partitions {
                let own = committed.iter().find(|committed| committed.partition == known.partition).cloned();
                found.insert((topic.clone(), known.partition), (own, (known.start, known.end)));
            }
        }
        let offset = |committed: &Option<Committed>| committed.as_ref().map(|committed| committed.next_offset);
        let committed = found.iter().map(|(place, (own, _))| (place.clone(), offset(own))).collect();
        let goes_on = goes_on(&spec.positions, &committed);
        let stretch = |(place, (own, bounds)): (Place, (Option<Committed>, Bounds))| {
            let own = own.as_ref().map(|own| (own.next_offset, own.note.as_str()));
            let stretch = Stretch::begin(&spec, goes_on, &place, own, bounds);
            (place, stretch)
        };
        let places = found.into_iter().map(stretch).collect();
        Ok(Self { handle: Handle::current(), pool, log, spec, committed, places, goes_on, waiting: VecDeque::new() })
    }

    async fn fetch(&mut self, wait: Duration) -> Result<(), LogError> {
        for topic in &self.spec.topics {
            let own = self.places.iter().filter(|((name, _), _)| name == topic);
            let positions: Offsets = own.map(|((_, partition), stretch)| (*partition, stretch.next)).collect();
            let wait_max = if self.spec.topics.len() == 1 { wait } else { Duration::ZERO };
            let request = FetchRequest { topic, positions: &positions, bytes_max: FETCH_BYTES, wait_max };
            for record in self.log.fetch(request).await? {
                if let Some(stretch) = self.places.get_mut(&(topic.clone(), record.partition)) {
                    stretch.next = record.offset + 1;
                }
                self.waiting.push_back(TopicRecord { topic: topic.clone(), record });
            }
        }
        if self.waiting.is_empty() && self.spec.topics.len() > 1 {
            tokio::time::sleep(wait).await;
        }
        Ok(())
    }

    async fn store(&self, begun: &Places, next: &Places) -> Result<(), LogError> {
        let mut tx = self.pool.begin().await.map_err(database("committing offsets"))?;
        for (place, offset) in next {
            let from = begun.get(place).copied().unwrap_or(*offset);
            let to = Committed { partition: place.1, next_offset: *offset, note: note_of(&self.spec.by, from) };
            let seen = self.committed.get(place).copied().flatten();
            let reading = Reading { group_id: &self.spec.group_id, topic: &place.0 };
            if !group::advance(&mut tx, reading, seen, &to).await.map_err(database("committing offsets"))? {
                return Err(LogError::Overtaken { group_id: self.spec.group_id.clone() });
            }
        }
        tx.commit().await.map_err(database("committing offsets"))
    }
}

fn database(doing: &'static str) -> impl FnOnce(sqlx::Error) -> LogError {
    move |cause| LogError::Database { doing, cause }
}

impl Member for EmbeddedGroup {
    fn poll(&mut self, wait: Duration) -> Result<Option<TopicRecord>, LogError> {
        if self.waiting.is_empty() {
            let handle = self.handle.clone();
            handle.block_on(self.fetch(wait))?;
        }
        Ok(self.waiting.pop_front())
    }

    fn assigned(&self) -> Vec<Assigned> {
        assigned(&self.places)
    }

    /// All partitions are there from the beginning, and stay.
    fn generation(&self) -> u32 {
        1
    }

    fn goes_on(&self) -> bool {
        self.goes_on
    }

    fn is_at_end(&self) -> bool {
        self.waiting.is_empty() && self.places.values().all(Stretch::is_read)
    }

    fn commit(&mut self, begun: &Places, next: &Places) -> Result<(), LogError> {
        self.handle.block_on(self.store(begun, next))
    }

    fn trouble(&self) -> Option<String> {
        None
    }
}
