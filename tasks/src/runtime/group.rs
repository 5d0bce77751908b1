//! Reading as a consumer group, on Kafka and on the embedded log: where a reader begins, and what it leaves when it commits.
//!
//! A commit carries a note: who committed, and where that reader had begun. So a further try of the same task instance gets
//! what the lost one had taken, and everybody else goes on behind it.

use super::event_log::LogError;
use super::record::Record;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

/// A topic's partition.
pub type Place = (String, i32);
/// An offset for each of some partitions.
pub type Places = BTreeMap<Place, i64>;

/// A record and the topic that it is from.
#[derive(Debug, Clone)]
pub struct TopicRecord {
    /// The topic.
    pub topic: String,
    /// The record.
    pub record: Record,
}

/// Where a group begins that has never committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// At the first record that is kept.
    Earliest,
    /// Behind the last one that is there.
    Latest,
}

/// What is read, as whom, and from where on.
#[derive(Debug, Clone)]
pub struct GroupSpec {
    /// The group.
    pub group_id: String,
    /// The topics.
    pub topics: Vec<String>,
    /// Where a group begins that has never committed.
    pub start: Start,
    /// The name of the reader, the same in each try of a task instance.
    pub by: String,
    /// Where this reader has got to in earlier looks; nothing of it is committed.
    pub positions: Places,
    /// Where it began then.
    pub begun: Places,
}

/// What is kept beside a committed offset.
#[derive(Debug, Serialize, Deserialize)]
struct Note<'a> {
    by: Cow<'a, str>,
    from: i64,
}

/// A partition's first offset that is kept, and the one behind its last record.
pub(super) type Bounds = (i64, i64);

/// Where a member is in a partition.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stretch {
    begun: i64,
    start: i64,
    end: i64,
    /// What is to be read next.
    pub(super) next: i64,
}

impl Stretch {
    /// Begins where the member has to: `goes_on` tells whether it does so where an earlier look stopped, `committed` is what
    /// the group has, with the note that stands beside it.
    pub(super) fn begin(
        spec: &GroupSpec,
        goes_on: bool,
        place: &Place,
        committed: Option<(i64, &str)>,
        (low, end): Bounds,
    ) -> Self {
        let start = match (goes_on, committed, spec.start) {
            (true, _, _) => spec.positions.get(place).copied().unwrap_or(low),
            (false, Some(committed), _) => begin_at(&spec.by, committed),
            (false, None, Start::Earliest) => low,
            (false, None, Start::Latest) => end,
        };
        let start = start.max(low);
        let begun = spec.begun.get(place).copied().filter(|_| goes_on).unwrap_or(start);
        Self { begun, start, end, next: start }
    }

    /// Whether all that the partition held at the beginning is read.
    pub(super) const fn is_read(&self) -> bool {
        self.next >= self.end
    }
}

/// A member's partitions, as it tells of them.
pub(super) fn assigned(stretches: &BTreeMap<Place, Stretch>) -> Vec<Assigned> {
    let one = |(place, stretch): (&Place, &Stretch)| Assigned {
        place: place.clone(),
        begun: stretch.begun,
        start: stretch.start,
    };
    stretches.iter().map(one).collect()
}

/// The note of a commit.
pub(super) fn note_of(by: &str, from: i64) -> String {
    serde_json::to_string(&Note { by: by.into(), from }).expect("a text and a number are JSON")
}

/// Where a reader begins, given what the group has committed and which note stands beside it.
fn begin_at(by: &str, committed: (i64, &str)) -> i64 {
    let own = serde_json::from_str::<Note<'_>>(committed.1).ok().filter(|note| note.by == by);
    own.map_or(committed.0, |note| note.from)
}

/// Whether a look goes on where the one before it stopped: it has the same partitions, and nobody else went further.
/// Otherwise somebody may have taken what was counted, and everything is counted anew.
pub(super) fn goes_on(positions: &Places, committed: &BTreeMap<Place, Option<i64>>) -> bool {
    !positions.is_empty()
        && positions.len() == committed.len()
        && positions.iter().all(|(place, position)| {
            committed.get(place).is_some_and(|committed| committed.is_none_or(|offset| offset <= *position))
        })
}

/// A member's partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assigned {
    /// Which one.
    pub place: Place,
    /// Where this reader has begun, in this look or an earlier one.
    pub begun: i64,
    /// Where this look has begun.
    pub start: i64,
}

/// A member of a group. Its functions block.
pub trait Member {
    /// The next record, if one comes within the time.
    ///
    /// # Errors
    /// When the log refuses; not while it is away.
    fn poll(&mut self, wait: Duration) -> Result<Option<TopicRecord>, LogError>;

    /// Its partitions.
    fn assigned(&self) -> Vec<Assigned>;

    /// How often partitions were assigned to it; a higher number than before means that others came or went.
    fn generation(&self) -> u32;

    /// Whether it goes on where an earlier look has stopped.
    fn goes_on(&self) -> bool;

    /// Whether it has partitions, and has read all that they held when they were assigned.
    fn is_at_end(&self) -> bool;

    /// Commits, in the name of the reader, what is to be read next.
    ///
    /// # Errors
    /// When the group refuses, as it does when somebody else has the partitions by now.
    fn commit(&mut self, begun: &Places, next: &Places) -> Result<(), LogError>;

    /// What keeps the log from answering, where that is known.
    fn trouble(&self) -> Option<String>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_further_try_begins_where_the_first_one_did_and_another_reader_behind_it() {
        let note = note_of("dag/run/task/-1", 5);
        assert_eq!(begin_at("dag/run/task/-1", (9, &note)), 5);
        assert_eq!(begin_at("dag/run2/task/-1", (9, &note)), 9);
        assert_eq!(begin_at("a", (9, "not ours")), 9);
    }

    #[test]
    fn a_look_goes_on_where_the_one_before_it_stopped_unless_others_were_there() {
        let place = |partition| ("t".to_owned(), partition);
        let positions = Places::from([(place(0), 7)]);
        assert!(goes_on(&positions, &[(place(0), Some(3))].into()));
        assert!(goes_on(&positions, &[(place(0), None)].into()));
        assert!(!goes_on(&positions, &[(place(0), Some(12))].into()));
        assert!(!goes_on(&positions, &[(place(0), Some(3)), (place(1), None)].into()));
        assert!(!goes_on(&Places::new(), &[(place(0), Some(3))].into()));
    }
}
