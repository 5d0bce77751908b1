//! When a turn can not be stored because of what one of its events brings about, that event is found, and is the only one
//! that suffers.
//!
//! Nothing of a refused turn is stored, and memory has run ahead of the store: it is loaded again, under the same epoch, with
//! the workers that are connected. Then the events are taken again, commands one a turn and what lies between them together;
//! of what is refused once more the events are taken one a turn. So each event is decided from what is stored, however often
//! others are refused, and nothing is delivered again. An innocent event costs a turn; a bad one a load of memory.

use std::{collections::BTreeMap, time::Instant};

use engine::{Event, Rest, WorkerJoined};
use model::{AttemptId, WorkerId};
use store::StoreError;

use super::{
    reign::{BEAT, Reign, load},
    turns::{Step, blames_an_event},
};

impl Reign {
    /// Takes the events of a turn that was refused one after the other.
    pub(super) async fn isolate(
        &mut self,
        Step { events, answers }: Step,
        welcomes: &mut BTreeMap<WorkerId, Vec<AttemptId>>,
        error: &StoreError,
    ) -> Result<(), StoreError> {
        tracing::error!(%error, events = events.len(), "a turn was refused; memory is loaded again, and the event that is to blame is looked for");
        self.reload(welcomes).await?;
        if !answers.is_empty() {
            self.step(&mut Step { events: Vec::new(), answers }, welcomes).await?;
        }
        let mut groups = groups(events);
        groups.reverse();
        while let Some(group) = groups.pop() {
            self.beat();
            let was_alone = group.len() == 1;
            let mut step = Step { events: group, answers: Vec::new() };
            match self.step(&mut step, welcomes).await {
                Ok(()) => {}
                Err(error) if !blames_an_event(&error) => return Err(error),
                Err(error) => {
                    self.reload(welcomes).await?;
                    match <[Event; 1]>::try_from(step.events) {
                        Ok([event]) if was_alone => {
                            groups.extend(self.blame(event, error).await?.map(|event| vec![event]));
                        }
                        Ok(last) => groups.push(last.into()),
                        Err(left) => groups.extend(left.into_iter().rev().map(|event| vec![event])),
                    }
                }
            }
        }
        Ok(())
    }

    /// Memory as it is stored, with the workers that are connected: what they hold is what they were given. Those that are to be
    /// welcomed join by their own event, which says what they hold: taken as connected they would be given work before they
    /// are welcome, which they do not heed, and an assignment that never reached them would count as held.
    pub(super) async fn reload(&mut self, welcomes: &BTreeMap<WorkerId, Vec<AttemptId>>) -> Result<(), StoreError> {
        let mut connected = self.engine.connected_workers();
        connected.retain(|worker| !welcomes.contains_key(&worker.worker));
        let loaded = store::load(self.writer.connection()).await?;
        self.engine = load(loaded.snapshot, self.clock.now(), self.engine_settings.clone())?;
        self.rest = Rest::Nothing;
        let joined = connected.into_iter().map(|worker| {
            let attempts = self.engine.attempts_on(worker.worker);
            Event::WorkerJoined(WorkerJoined { attempts, ..worker })
        });
        let events = joined.collect();
        self.step(&mut Step { events, answers: Vec::new() }, &mut BTreeMap::new()).await
    }

    /// Acknowledges between the turns of a long work, once a beat.
    pub(super) fn beat(&mut self) {
        if Instant::now() >= self.next_beat {
            self.next_beat = Instant::now() + BEAT;
            self.acknowledge_all();
        }
    }
}

/// Commands by themselves, other events together as they follow each other.
fn groups(events: Vec<Event>) -> Vec<Vec<Event>> {
    let mut groups: Vec<Vec<Event>> = Vec::new();
    for event in events {
        let is_command = matches!(event, Event::Command { .. });
        match groups.last_mut() {
            Some(last) if !is_command && !matches!(last[..], [Event::Command { .. }]) => last.push(event),
            Some(_) | None => groups.push(vec![event]),
        }
    }
    groups
}
