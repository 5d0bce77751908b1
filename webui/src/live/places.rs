//! Places of those who watch and of those who wait, bounded in all, for a session, and for a user.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// How many places there are.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Of all.
    pub all: usize,
    /// Of one session.
    pub session: usize,
    /// Of one user, by all sessions together.
    pub user: usize,
}

/// What a place was not given for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// All are taken.
    All,
    /// The session, or the user, has all of its own.
    Own,
}

/// What a newcomer does to who was there before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// The oldest one of the same session or user ends.
    FullEndsTheOldest,
    /// The newcomer is refused.
    FullRefuses,
}

/// Some places.
#[derive(Clone)]
pub struct Places {
    limits: Limits,
    when: When,
    taken: Arc<Mutex<Taken>>,
}

/// A taken place, given back when it is dropped.
pub struct Place {
    taken: Arc<Mutex<Taken>>,
    session: Uuid,
    number: u64,
    /// Cancelled when the place has to be given up.
    pub ended: CancellationToken,
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.taken).leave(self.session, self.number);
    }
}

/// The open streams of each session, the oldest first.
#[derive(Default)]
struct Taken {
    sessions: BTreeMap<Uuid, VecDeque<One>>,
    users: BTreeMap<String, usize>,
    total: usize,
    next: u64,
}

struct One {
    number: u64,
    user: String,
    ended: CancellationToken,
}

impl Taken {
    fn of_session(&self, session: Uuid) -> usize {
        self.sessions.get(&session).map_or(0, VecDeque::len)
    }

    fn of_user(&self, user: &str) -> usize {
        self.users.get(user).copied().unwrap_or(0)
    }

    fn end_oldest(&mut self, session: Uuid) {
        let oldest = self.sessions.get(&session).and_then(VecDeque::front);
        if let Some((number, ended)) = oldest.map(|one| (one.number, one.ended.clone())) {
            ended.cancel();
            self.leave(session, number);
        }
    }

    /// The session of a user that has the oldest stream.
    fn oldest_of(&self, user: &str) -> Option<Uuid> {
        let firsts = self.sessions.iter().filter_map(|(session, streams)| Some((session, streams.front()?)));
        let of_user = firsts.filter(|(_, first)| first.user == user);
        of_user.min_by_key(|(_, first)| first.number).map(|(session, _)| *session)
    }

    fn leave(&mut self, session: Uuid, number: u64) {
        let Some(streams) = self.sessions.get_mut(&session) else { return };
        let Some(at) = streams.iter().position(|one| one.number == number) else { return };
        let gone = streams.remove(at);
        if streams.is_empty() {
            self.sessions.remove(&session);
        }
        self.total -= 1;
        let Some(user) = gone.map(|one| one.user) else { return };
        if let Some(count) = self.users.get_mut(&user) {
            *count -= 1;
            if *count == 0 {
                self.users.remove(&user);
            }
        }
    }
}

fn lock(taken: &Mutex<Taken>) -> MutexGuard<'_, Taken> {
    taken.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Places {
    /// Places that nobody has taken.
    pub fn new(limits: Limits, when: When) -> Self {
        Self { limits, when, taken: Arc::default() }
    }

    /// A place.
    ///
    /// # Errors
    /// [`Full`].
    pub fn take(&self, session: Uuid, user: &str) -> Result<Place, Full> {
        let mut taken = lock(&self.taken);
        let is_session_full = taken.of_session(session) >= self.limits.session;
        let is_user_full = taken.of_user(user) >= self.limits.user;
        match self.when {
            When::FullRefuses if is_session_full || is_user_full => return Err(Full::Own),
            When::FullEndsTheOldest if is_session_full => taken.end_oldest(session),
            When::FullEndsTheOldest if is_user_full => {
                if let Some(session) = taken.oldest_of(user) {
                    taken.end_oldest(session);
                }
            }
            When::FullRefuses | When::FullEndsTheOldest => {}
        }
        if taken.total >= self.limits.all {
            return Err(Full::All);
        }
        let (number, ended) = (taken.next, CancellationToken::new());
        taken.next += 1;
        taken.total += 1;
        *taken.users.entry(user.to_owned()).or_default() += 1;
        let one = One { number, user: user.to_owned(), ended: ended.clone() };
        taken.sessions.entry(session).or_default().push_back(one);
        Ok(Place { taken: Arc::clone(&self.taken), session, number, ended })
    }

    /// How many are taken.
    pub fn taken(&self) -> usize {
        lock(&self.taken).total
    }

    /// Ends all of a session.
    pub fn end_session(&self, session: Uuid) {
        let mut taken = lock(&self.taken);
        while taken.of_session(session) > 0 {
            taken.end_oldest(session);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::WAITERS, *};

    const LIMITS: Limits = Limits { all: 100, session: 8, user: 20 };

    fn live(places: &[Place]) -> usize {
        places.iter().filter(|place| !place.ended.is_cancelled()).count()
    }

    #[test]
    fn a_session_has_its_streams_and_the_oldest_ends() {
        let places = Places::new(LIMITS, When::FullEndsTheOldest);
        let (one, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let mut held: Vec<Place> = (0..1_000).map(|_| places.take(one, "ann").unwrap()).collect();
        assert_eq!((live(&held), places.taken()), (8, 8));
        assert!(held[..992].iter().all(|place| place.ended.is_cancelled()));
        held.push(places.take(other, "bob").unwrap());
        assert_eq!(places.taken(), 9);
        places.end_session(one);
        assert_eq!((live(&held), places.taken()), (1, 1));
        drop(held);
        let taken = lock(&places.taken);
        assert_eq!((taken.total, taken.sessions.len(), taken.users.len()), (0, 0, 0));
    }

    #[test]
    fn a_user_with_many_sessions_leaves_places_for_others() {
        let places = Places::new(LIMITS, When::FullEndsTheOldest);
        let held: Vec<Place> = (0..500).map(|n| places.take(Uuid::from_u128(n), "ann").unwrap()).collect();
        assert_eq!((live(&held), places.taken()), (20, 20));
        assert!(held[480..].iter().all(|place| !place.ended.is_cancelled()), "the newest go on");
        assert!(places.take(Uuid::from_u128(999), "bob").is_ok());
    }

    #[test]
    fn who_waits_is_refused_when_all_is_taken() {
        let places = Places::new(Limits { all: 30, ..LIMITS }, When::FullRefuses);
        let waiting: Vec<Place> = (0..8).map(|_| places.take(Uuid::from_u128(1), "ann").unwrap()).collect();
        assert!(matches!(places.take(Uuid::from_u128(1), "ann"), Err(Full::Own)));
        let more: Vec<Place> = (2..200).flat_map(|n| places.take(Uuid::from_u128(n), &format!("user {n}"))).collect();
        assert_eq!(waiting.len() + more.len(), 30);
        assert!(matches!(places.take(Uuid::from_u128(999), "zoe"), Err(Full::All)));
        drop(waiting);
        assert!(places.take(Uuid::from_u128(1), "ann").is_ok());
    }

    #[test]
    fn a_user_who_waits_with_many_sessions_is_refused_before_all_is_taken() {
        let places = Places::new(WAITERS, When::FullRefuses);
        let sessions =
            (0..1_000).flat_map(|n| [places.take(Uuid::from_u128(n), "bob"), places.take(Uuid::from_u128(n), "bob")]);
        let waiting: Vec<Place> = sessions.flatten().collect();
        assert_eq!(waiting.len(), WAITERS.user);
        const { assert!(WAITERS.user * 4 <= WAITERS.all, "four such users leave places for others") };
        assert!(places.take(Uuid::from_u128(1_001), "ann").is_ok());
    }
}
