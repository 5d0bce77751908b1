//! Not computing again what is known to change nothing.
//!
//! A statement whose result follows from its tables alone, and which changed nothing the last time, changes nothing as
//! long as none of its tables has another snapshot, its own target included. So a model that found nothing new is not run
//! through millions of rows to find that again. A statement that asks for the time or for chance is always run.

use iceberg::TableIdent;
use iceberg::table::Table;
use sha2::{Digest, Sha256};

use crate::lake::{Lake, dotted};
use crate::pg::idle::{Asked, Snapshots, known, note};

/// Words, and beginnings of words, by which a statement may ask for more than tables. One of them in a column's name or
/// a comment costs only the saving.
const CHANGEFUL_WORDS: [&str; 5] = ["now", "today", "version", "user", "uuid"];
const CHANGEFUL_BEGINNINGS: [&str; 5] = ["current_", "localtime", "rand", "clock_", "gen_"];

/// A statement upon the snapshots that it finds.
pub(super) struct Idle {
    table: String,
    statement: Vec<u8>,
    snapshots: Snapshots,
}

impl Idle {
    /// Nothing when the statement's result does not follow from its tables alone.
    pub(super) fn of<'a>(
        text: &str,
        target: &TableIdent,
        tables: impl IntoIterator<Item = (&'a TableIdent, &'a Table)>,
    ) -> Option<Self> {
        if asks_for_more(text) {
            return None;
        }
        let mut hash = Sha256::new();
        // Another version of the engine may see a statement with other eyes.
        hash.update(env!("CARGO_PKG_VERSION"));
        hash.update([0]);
        hash.update(text);
        let snapshot = |(name, table): (&TableIdent, &Table)| (dotted(name), table.metadata().current_snapshot_id());
        Some(Self {
            table: dotted(target),
            statement: hash.finalize().to_vec(),
            snapshots: tables.into_iter().map(snapshot).collect(),
        })
    }

    /// Whether the statement is known to change nothing. When that cannot be found out, it is not.
    pub(super) async fn is_known(&self, lake: &Lake) -> bool {
        match known(lake.pool(), self.asked(), &self.snapshots).await {
            Ok(known) => known,
            Err(error) => {
                tracing::warn!(%error, "whether a statement has anything to do is found out by running it");
                false
            }
        }
    }

    /// Notes that the statement changed nothing.
    pub(super) async fn note(&self, lake: &Lake) {
        if let Err(error) = note(lake.pool(), self.asked(), &self.snapshots).await {
            tracing::warn!(%error, "that a statement has nothing to do is not noted");
        }
    }

    fn asked(&self) -> Asked<'_> {
        Asked { table: &self.table, statement: &self.statement }
    }
}

fn asks_for_more(text: &str) -> bool {
    let text = text.to_lowercase();
    let mut words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.any(|word| {
        CHANGEFUL_WORDS.contains(&word) || CHANGEFUL_BEGINNINGS.iter().any(|beginning| word.starts_with(beginning))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_that_asks_for_the_time_or_for_chance_is_never_idle() {
        for text in
            ["SELECT now ()", "SELECT CURRENT_DATE", "select random() * 3", "SELECT uuid()", "x < LocalTimestamp"]
        {
            assert!(asks_for_more(text), "{text}");
        }
        assert!(!asks_for_more("SELECT known, last_offset, brand FROM lake.gold.currents"));
    }
}
