//! Logs that are watched: one tail reads each, for all who watch it in this process.
//!
//! What always holds here: a tail lives as long as somebody watches, or until the log has ended. It keeps a bounded end of the log.
//! A reader holds an offset and nothing else, and takes from the tail when its connection takes: who is too slow for what is kept is
//! told how much was left out, and a tail never waits for anybody.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use chrono_tz::Tz;
use serde_json::json;
use tokio::{
    sync::Notify,
    task::JoinHandle,
    time::{Instant, sleep},
};

use crate::{
    app::App,
    reads::logs::{self, Log},
    words::Clock,
};

/// Tails of one process; who watches one more reads ranges by itself.
const TAILS_MAX: usize = 128;
/// What a tail keeps of its log's end: twice what is read at once.
const KEPT_BYTES_MAX: usize = 2 * logs::CHUNK_BYTES_MAX as usize;
/// Readers of other zones than these have their lines worded for themselves.
const ZONES_KEPT: usize = 2;
/// Who is behind by no more than this reads the log itself until it has caught up: a page shows the last 256 KiB.
const CATCH_UP_BYTES_MAX: u64 = 1024 * 1024;
/// The pause before a growing log is read again, and before one that stands still.
const PAUSE_MIN: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// A log that can not be read for so long is given up.
const PATIENCE: Duration = Duration::from_secs(30);

/// The tails of a process.
#[derive(Default)]
pub struct Tails(Mutex<BTreeMap<String, Weak<Tail>>>);

/// One log, read for all who watch it.
struct Tail {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl Drop for Tail {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What the task of a tail and its readers share.
struct Shared(Mutex<State>);

struct State {
    pieces: VecDeque<Arc<Piece>>,
    /// The offset after the last piece.
    next: u64,
    end: Option<End>,
    bells: BTreeMap<u64, Arc<Notify>>,
    readers: u64,
}

/// How a tail ended.
#[derive(Debug, Clone, PartialEq, Eq)]
enum End {
    Whole,
    Unreadable(String),
}

/// Whole lines.
struct Piece {
    from: u64,
    bytes: Vec<u8>,
    /// As JSON, for a zone.
    worded: Mutex<Vec<(Tz, Arc<str>)>>,
}

impl Piece {
    const fn next(&self) -> u64 {
        self.from + self.bytes.len() as u64
    }

    fn worded(&self, zone: Tz) -> Arc<str> {
        let mut worded = self.worded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, text)) = worded.iter().find(|(known, _)| *known == zone) {
            return Arc::clone(text);
        }
        let text = words(&self.bytes, zone);
        if worded.len() < ZONES_KEPT {
            worded.push((zone, Arc::clone(&text)));
        }
        text
    }
}

/// Lines as the script takes them.
fn words(bytes: &[u8], zone: Tz) -> Arc<str> {
    let lines = super::lines(&logs::lines_of(bytes), Clock::in_zone(zone));
    serde_json::to_string(&lines).expect("texts can be written as JSON").into()
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Each change of it is complete.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, bytes: Vec<u8>) {
        let mut state = self.lock();
        let piece = Piece { from: state.next, bytes, worded: Mutex::default() };
        state.next = piece.next();
        state.pieces.push_back(Arc::new(piece));
        let mut kept: usize = state.pieces.iter().map(|piece| piece.bytes.len()).sum();
        while kept > KEPT_BYTES_MAX && state.pieces.len() > 1 {
            kept -= state.pieces.pop_front().map_or(0, |piece| piece.bytes.len());
        }
        state.ring();
    }

    fn end(&self, end: End) {
        let mut state = self.lock();
        state.end = Some(end);
        state.ring();
    }
}

impl State {
    fn ring(&self) {
        self.bells.values().for_each(|bell| bell.notify_one());
    }
}

/// Reads a log until it ends, or nobody can.
async fn keep(app: App, log: Log, shared: Arc<Shared>) {
    let mut pause = PAUSE_MIN;
    let mut offset = shared.lock().next;
    let mut well_at = Instant::now();
    loop {
        match logs::read_piece(&app, &log, offset).await {
            Ok(piece) => {
                well_at = Instant::now();
                let has_grown = piece.next > offset;
                offset = piece.next;
                if has_grown {
                    app.settings.live.log_bytes(piece.bytes.len());
                    shared.add(piece.bytes);
                }
                if piece.ended {
                    return shared.end(End::Whole);
                }
                if has_grown && piece.next < piece.length {
                    tokio::task::yield_now().await;
                    continue;
                }
                pause = if has_grown { PAUSE_MIN } else { (pause * 3 / 2).min(PAUSE_MAX) };
            }
            Err(error) if well_at.elapsed() > PATIENCE => return shared.end(End::Unreadable(error.to_string())),
            Err(error) => {
                tracing::debug!(%error, "a log that is watched could not be read");
                pause = PAUSE_MAX;
            }
        }
        sleep(pause).await;
    }
}

impl Tails {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Weak<Tail>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.lock().values().filter(|tail| tail.strong_count() > 0).count()
    }

    /// A reader of a log from an offset on; none when there are too many tails.
    pub fn watch(app: &App, log: Log, offset: u64, zone: Tz, bell: &Arc<Notify>) -> Option<Reader> {
        let mut tails = app.tails.lock();
        tails.retain(|_, tail| tail.strong_count() > 0);
        let key = log.key();
        let going_on = tails.get(&key).and_then(Weak::upgrade).filter(|tail| tail.shared.lock().end.is_none());
        let tail = match going_on {
            Some(tail) => tail,
            None if tails.len() >= TAILS_MAX => return None,
            None => {
                let (pieces, bells) = (VecDeque::new(), BTreeMap::new());
                let state = State { pieces, next: offset, end: None, bells, readers: 0 };
                let shared = Arc::new(Shared(Mutex::new(state)));
                let task = tokio::spawn(keep(app.clone(), log.clone(), Arc::clone(&shared)));
                let tail = Arc::new(Tail { shared, task });
                tails.insert(key, Arc::downgrade(&tail));
                tail
            }
        };
        let mut state = tail.shared.lock();
        state.readers += 1;
        let number = state.readers;
        state.bells.insert(number, Arc::clone(bell));
        drop(state);
        Some(Reader { app: app.clone(), log, tail, number, offset, zone, has_ended: false })
    }
}

/// Somebody who watches a log.
pub struct Reader {
    app: App,
    log: Log,
    tail: Arc<Tail>,
    number: u64,
    offset: u64,
    zone: Tz,
    has_ended: bool,
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.tail.shared.lock().bells.remove(&self.number);
    }
}

/// What a reader has next.
#[derive(Debug, PartialEq, Eq)]
pub enum News {
    /// Lines as JSON, and the offsets before and after them.
    Lines { from: u64, lines: Arc<str>, next: u64 },
    /// So many bytes are left out.
    Skipped { bytes: u64, next: u64 },
    /// Nothing more comes; why, when that is not the log's end.
    Ended(Option<String>),
}

/// What a tail has at an offset.
enum At {
    Piece(Arc<Piece>),
    Behind(u64),
    Nothing,
    End(End),
}

impl Reader {
    fn at(&self) -> At {
        let state = self.tail.shared.lock();
        let first = state.pieces.front().map_or(state.next, |piece| piece.from);
        if self.offset < first {
            return At::Behind(first);
        }
        match state.pieces.iter().find(|piece| self.offset < piece.next()) {
            Some(piece) => At::Piece(Arc::clone(piece)),
            None => state.end.clone().map_or(At::Nothing, At::End),
        }
    }

    /// What is next; none before the bell has rung again.
    pub async fn next(&mut self) -> Option<News> {
        if self.has_ended {
            return None;
        }
        let news = match self.at() {
            At::Piece(piece) => {
                let skipped = usize::try_from(self.offset - piece.from).unwrap_or(0);
                let lines = match skipped {
                    0 => piece.worded(self.zone),
                    _ => words(&piece.bytes[skipped..], self.zone),
                };
                News::Lines { from: self.offset, lines, next: piece.next() }
            }
            At::Behind(first) if first - self.offset <= CATCH_UP_BYTES_MAX => self.catch_up(first).await,
            At::Behind(first) => News::Skipped { bytes: first - self.offset, next: first },
            At::Nothing => return None,
            At::End(end) => {
                self.has_ended = true;
                News::Ended(match end {
                    End::Whole => None,
                    End::Unreadable(why) => Some(why),
                })
            }
        };
        if let News::Lines { next, .. } | News::Skipped { next, .. } = &news {
            self.offset = *next;
        }
        Some(news)
    }

    /// Reads what the tail has not kept any more, or never had.
    async fn catch_up(&self, first: u64) -> News {
        match logs::read_piece(&self.app, &self.log, self.offset).await {
            Ok(mut piece) if piece.next > self.offset => {
                let next = piece.next.min(first);
                // The tail's first piece begins a line.
                piece.bytes.truncate(usize::try_from(next - self.offset).unwrap_or(usize::MAX));
                News::Lines { from: self.offset, lines: words(&piece.bytes, self.zone), next }
            }
            Ok(_) | Err(_) => News::Skipped { bytes: first - self.offset, next: first },
        }
    }
}

impl News {
    /// The event of a log, named as its subject is.
    pub fn event(&self, log: &str) -> String {
        let log = json!(log);
        match self {
            Self::Lines { from, lines, next } => {
                format!("{{\"log\":{log},\"from\":{from},\"next\":{next},\"lines\":{lines}}}")
            }
            Self::Skipped { bytes, next } => {
                json!({ "log": log, "next": next, "lines": [], "skipped": bytes }).to_string()
            }
            Self::Ended(why) => json!({ "log": log, "ended": true, "why": why }).to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shared() -> Shared {
        let (pieces, bells) = (VecDeque::new(), BTreeMap::new());
        Shared(Mutex::new(State { pieces, next: 10, end: None, bells, readers: 0 }))
    }

    #[test]
    fn a_tail_keeps_a_bounded_end_of_its_log() {
        let shared = shared();
        for _ in 0..100 {
            shared.add(vec![b'x'; 100_000]);
        }
        let state = shared.lock();
        let kept: usize = state.pieces.iter().map(|piece| piece.bytes.len()).sum();
        assert!(kept <= KEPT_BYTES_MAX, "{kept}");
        assert_eq!(state.next, 10 + 100 * 100_000);
        assert_eq!(state.pieces.back().unwrap().next(), state.next);
    }

    #[test]
    fn lines_are_worded_once_for_a_zone() {
        let piece = Piece { from: 0, bytes: b"{\"text\":\"a\"}\n".to_vec(), worded: Mutex::default() };
        let (first, again) = (piece.worded(Tz::UTC), piece.worded(Tz::UTC));
        assert!(Arc::ptr_eq(&first, &again));
        assert!(first.contains("\"text\":\"a\""), "{first}");
        for zone in [Tz::Europe__Zurich, Tz::Asia__Tokyo, Tz::America__Lima] {
            piece.worded(zone);
        }
        assert_eq!(piece.worded.lock().unwrap().len(), ZONES_KEPT);
    }
}
