//! Shows messages to the scheduler until it has enough of them, or there are no more for now.
//!
//! Offsets are committed once, after the last message that was taken; a look that ends before that leaves the group as it
//! was. When others come into the group or leave it, everything taken so far is given back and counted anew, so that no
//! message counts twice.

use super::message::shown;
use super::{Answer, Event, Target, ask, emit, say};
use crate::runtime::embedded_group::EmbeddedGroup;
use crate::runtime::group::{GroupSpec, Member, Place, Places, Start, TopicRecord};
use crate::runtime::kafka::KafkaGroup;
use anyhow::bail;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

/// Messages that are judged together.
const BATCH_MESSAGES_MAX: usize = 500;
/// Their size, which also bounds an event.
const BATCH_BYTES_MAX: usize = 1 << 20;
/// What comes so soon after another message is judged with it.
const TOGETHER: Duration = Duration::from_millis(20);
/// How long the group may take to give this member partitions: a vanished member is missed after ten seconds.
const JOIN_TIMEOUT: Duration = Duration::from_secs(45);
/// How often a stop is looked for.
const STOP_LOOK: Duration = Duration::from_millis(200);

/// What is read, as whom, and what becomes of it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Take {
    topics: Vec<String>,
    group_id: String,
    start: Start,
    by: String,
    poll_timeout_ms: u64,
    at_end: AtEnd,
    #[serde(default)]
    positions: Option<Vec<Position>>,
    #[serde(default)]
    begun: Option<Vec<Position>>,
}

/// What happens to the messages that were taken when there are no more, and the scheduler wanted more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum AtEnd {
    /// They are taken for good.
    Commit,
    /// The next look goes on behind them, and nothing is committed yet.
    Leave,
}

/// An offset of a topic's partition.
#[derive(Debug, Serialize, Deserialize)]
struct Position {
    topic: String,
    partition: i32,
    offset: i64,
}

fn places(positions: Option<Vec<Position>>) -> Places {
    let place = |position: Position| ((position.topic, position.partition), position.offset);
    positions.into_iter().flatten().map(place).collect()
}

fn positions(places: &Places) -> Vec<Position> {
    let position = |((topic, partition), offset): (&Place, &i64)| Position {
        topic: topic.clone(),
        partition: *partition,
        offset: *offset,
    };
    places.iter().map(position).collect()
}

pub(super) async fn run(task: Take, target: Target, stop: CancellationToken) -> anyhow::Result<Value> {
    let spec = GroupSpec {
        group_id: task.group_id,
        topics: task.topics,
        start: task.start,
        by: task.by,
        positions: places(task.positions),
        begun: places(task.begun),
    };
    let carried = !spec.positions.is_empty();
    let member: Box<dyn Member + Send> = match target {
        Target::Embedded(pool) => Box::new(EmbeddedGroup::join(pool, spec).await?),
        Target::Kafka(settings) => Box::new(spawn_blocking(move || KafkaGroup::join(&settings, spec)).await??),
    };
    let (wait, at_end) = (Duration::from_millis(task.poll_timeout_ms), task.at_end);
    let (begun, next) = (Places::new(), Places::new());
    let look = Look { member, stop, wait, at_end, generation: 0, carried, begun, next, read: 0 };
    spawn_blocking(move || look.run()).await?
}

/// One look.
struct Look {
    member: Box<dyn Member + Send>,
    stop: CancellationToken,
    wait: Duration,
    at_end: AtEnd,
    /// The assignment that `begun` and `next` belong to.
    generation: u32,
    /// Whether the scheduler holds messages of an earlier look.
    carried: bool,
    begun: Places,
    /// Behind the messages that were taken.
    next: Places,
    read: u64,
}

impl Look {
    fn run(mut self) -> anyhow::Result<Value> {
        let mut deadline = Instant::now() + JOIN_TIMEOUT;
        loop {
            let batch = self.gather(deadline)?;
            if self.renewed()? {
                deadline = Instant::now() + self.wait;
            }
            let over = batch.is_empty() && (self.member.is_at_end() || Instant::now() >= deadline);
            if over {
                return self.end();
            }
            // What was read before the partitions changed hands is not ours to take.
            let batch: Vec<TopicRecord> = batch.into_iter().filter(|read| self.is_due(read)).collect();
            if batch.is_empty() {
                continue;
            }
            self.read += batch.len() as u64;
            match ask(batch.iter().map(shown).collect())? {
                Answer::More => self.take(&batch),
                Answer::Enough(taken) => {
                    self.take(&batch[..taken.min(batch.len())]);
                    return self.finish();
                }
            }
        }
    }

    /// Some messages, or none when there are none for now, or the partitions have changed hands.
    fn gather(&mut self, deadline: Instant) -> anyhow::Result<Vec<TopicRecord>> {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while batch.len() < BATCH_MESSAGES_MAX && bytes < BATCH_BYTES_MAX {
            if self.stop.is_cancelled() {
                bail!("it was stopped; nothing was committed");
            }
            let left = deadline.saturating_duration_since(Instant::now()).min(STOP_LOOK);
            let wait = if batch.is_empty() { left } else { TOGETHER };
            match self.member.poll(wait)? {
                Some(read) => {
                    bytes += read.record.size();
                    batch.push(read);
                }
                None => break,
            }
            if self.member.generation() != self.generation {
                break;
            }
        }
        Ok(batch)
    }

    /// Takes note of new partitions, and gives back what was taken of the ones before. Gives whether there are any.
    fn renewed(&mut self) -> anyhow::Result<bool> {
        let generation = self.member.generation();
        if generation == self.generation {
            return Ok(false);
        }
        let first = self.generation == 0;
        if !first || (self.carried && !self.member.goes_on()) {
            say("the group's partitions have changed hands: what was counted so far is counted anew")?;
            emit(&Event::Restart)?;
        }
        self.generation = generation;
        let assigned = self.member.assigned();
        self.begun = assigned.iter().map(|own| (own.place.clone(), own.begun)).collect();
        self.next = assigned.into_iter().map(|own| (own.place, own.start)).collect();
        Ok(true)
    }

    fn is_due(&self, read: &TopicRecord) -> bool {
        let place = (read.topic.clone(), read.record.partition);
        self.next.get(&place).is_some_and(|next| read.record.offset >= *next)
    }

    fn take(&mut self, batch: &[TopicRecord]) {
        for read in batch {
            self.next.insert((read.topic.clone(), read.record.partition), read.record.offset + 1);
        }
    }

    fn end(self) -> anyhow::Result<Value> {
        if self.generation == 0 {
            match self.member.trouble() {
                Some(trouble) => bail!("the group could not be joined within {} s: {trouble}", JOIN_TIMEOUT.as_secs()),
                None => bail!("the group gave this member no partition within {} s", JOIN_TIMEOUT.as_secs()),
            }
        }
        match self.at_end {
            AtEnd::Commit => self.finish(),
            AtEnd::Leave => {
                if let Some(trouble) = self.member.trouble() {
                    say(&trouble)?;
                }
                Ok(json!({"read": self.read, "positions": positions(&self.next), "begun": positions(&self.begun)}))
            }
        }
    }

    fn finish(mut self) -> anyhow::Result<Value> {
        self.member.commit(&self.begun, &self.next)?;
        Ok(json!({"read": self.read}))
    }
}
