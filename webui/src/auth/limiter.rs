//! Guesses at passwords are counted before they are tried: by the name, by the address, and by the session of a browser that
//! has logged in before. Memory is bounded.
//!
//! A name that somebody guesses at is closed for strangers only: an address or a session from which its user has logged in
//! before has a count of its own, so nobody can lock a user out. Whoever logs in has guessed nothing: the attempt is taken
//! back.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use uuid::Uuid;

/// Counts begin anew after this.
const WINDOW: Duration = Duration::from_secs(60);
/// So many failures in a window close a name for strangers, or a session for its holder.
const FAILURES_OF_NAME_MAX: u32 = 10;
/// So many close an address; several people may share one.
const FAILURES_OF_ADDRESS_MAX: u32 = 30;
/// So many counts, and so many pairs of name and address, are remembered (some 150 bytes each); the oldest is forgotten first.
const ENTRIES_MAX: usize = 10_000;
/// Longer names are cut: nobody has one.
const NAME_CHARS_MAX: usize = 128;
/// Passwords that are compared or wait for it: more would wait for seconds, and their senders are told to come back.
const IN_HAND_MAX: usize = 32;

/// Counts attempts.
pub struct LoginLimiter {
    counts: Mutex<BTreeMap<Key, Count>>,
    known: Mutex<BTreeMap<(String, Origin), Instant>>,
    in_hand: Arc<Semaphore>,
}

impl Default for LoginLimiter {
    fn default() -> Self {
        let in_hand = Arc::new(Semaphore::new(IN_HAND_MAX));
        Self { counts: Mutex::default(), known: Mutex::default(), in_hand }
    }
}

/// Who tries to log in, and from where.
#[derive(Debug, Clone, Copy)]
pub struct Attempt<'a> {
    /// The name that was given.
    pub user: &'a str,
    /// The client.
    pub from: IpAddr,
    /// A session of the same user that the client has had before, by its signed token.
    pub session: Option<Uuid>,
}

/// An address as far as one client has it to itself: of IPv6 everybody has a whole network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Origin(IpAddr);

impl Origin {
    fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V4(own) => IpAddr::V4(own),
            IpAddr::V6(own) => IpAddr::V6((own.to_bits() >> 64 << 64).into()),
        })
    }
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Name(String),
    Address(Origin),
    /// A name at an address where its user has logged in before.
    Known(String, Origin),
    Session(Uuid),
}

#[derive(Debug, Clone, Copy)]
struct Count {
    attempts: u32,
    since: Instant,
}

/// An attempt that is counted as a failure until it is told to be none.
pub struct Reservation<'l> {
    limiter: &'l LoginLimiter,
    keys: Vec<Key>,
    pair: (String, Origin),
    _in_hand: OwnedSemaphorePermit,
}

impl LoginLimiter {
    /// Counts an attempt, before the password is compared.
    ///
    /// # Errors
    /// The seconds after which another attempt is worth while.
    pub fn reserve(&self, attempt: Attempt<'_>, now: Instant) -> Result<Reservation<'_>, u64> {
        let user: String = attempt.user.chars().take(NAME_CHARS_MAX).collect();
        let pair = (user.clone(), Origin::of(attempt.from));
        let is_known = lock(&self.known).contains_key(&pair);
        let keys = match (attempt.session, is_known) {
            (Some(session), _) => vec![Key::Session(session)],
            (None, true) => vec![Key::Known(user, pair.1)],
            (None, false) => vec![Key::Name(user), Key::Address(pair.1)],
        };
        let mut counts = lock(&self.counts);
        for key in &keys {
            let max = if matches!(key, Key::Address(_)) { FAILURES_OF_ADDRESS_MAX } else { FAILURES_OF_NAME_MAX };
            if let Some(count) = counts.get(key)
                && count.attempts >= max
                && let Some(left) = WINDOW.checked_sub(now.saturating_duration_since(count.since))
                && !left.is_zero()
            {
                return Err(left.as_secs().max(1));
            }
        }
        let in_hand = Arc::clone(&self.in_hand).try_acquire_owned().map_err(|_| 1_u64)?;
        for key in &keys {
            if !counts.contains_key(key) {
                make_room(&mut counts, now);
            }
            let count = counts.entry(key.clone()).or_insert(Count { attempts: 0, since: now });
            if now.saturating_duration_since(count.since) >= WINDOW {
                *count = Count { attempts: 0, since: now };
            }
            count.attempts = count.attempts.saturating_add(1);
        }
        Ok(Reservation { limiter: self, keys, pair, _in_hand: in_hand })
    }

    /// Waits for a place to hash a new password in, which is no guess.
    ///
    /// # Errors
    /// The seconds after which another attempt is worth while.
    pub fn place(&self) -> Result<OwnedSemaphorePermit, u64> {
        Arc::clone(&self.in_hand).try_acquire_owned().map_err(|_| 1)
    }
}

impl Reservation<'_> {
    /// The password was right: the attempt is taken back, and the user is known at this address.
    pub fn succeeded(self, now: Instant) {
        let mut known = lock(&self.limiter.known);
        if known.len() >= ENTRIES_MAX
            && !known.contains_key(&self.pair)
            && let Some(oldest) = known.iter().min_by_key(|(_, at)| **at).map(|(pair, _)| pair.clone())
        {
            known.remove(&oldest);
        }
        known.insert(self.pair.clone(), now);
        drop(known);
        self.take_back();
    }

    /// Nothing was compared.
    pub fn take_back(self) {
        let mut counts = lock(&self.limiter.counts);
        for key in &self.keys {
            if let Some(count) = counts.get_mut(key) {
                count.attempts = count.attempts.saturating_sub(1);
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn make_room(counts: &mut BTreeMap<Key, Count>, now: Instant) {
    if counts.len() < ENTRIES_MAX {
        return;
    }
    counts.retain(|_, count| now.saturating_duration_since(count.since) < WINDOW);
    if counts.len() >= ENTRIES_MAX
        && let Some(oldest) = counts.iter().min_by_key(|(_, count)| count.since).map(|(key, _)| key.clone())
    {
        counts.remove(&oldest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(user: &str, last: u8) -> Attempt<'_> {
        Attempt { user, from: IpAddr::from([192, 0, 2, last]), session: None }
    }

    fn fail(limiter: &LoginLimiter, attempt: Attempt<'_>, now: Instant) -> Result<(), u64> {
        limiter.reserve(attempt, now).map(drop)
    }

    #[test]
    fn the_eleventh_guess_at_a_name_has_to_wait_wherever_it_comes_from() {
        let limiter = LoginLimiter::default();
        let now = Instant::now();
        for last in 0..10 {
            assert_eq!(fail(&limiter, from("airflow", last), now), Ok(()));
        }
        assert_eq!(fail(&limiter, from("airflow", 99), now), Err(60));
        assert_eq!(fail(&limiter, from("somebody", 99), now), Ok(()));
        assert_eq!(fail(&limiter, from("airflow", 99), now + WINDOW), Ok(()));
    }

    #[test]
    fn guesses_that_are_still_being_compared_count() {
        let limiter = LoginLimiter::default();
        let now = Instant::now();
        let held: Vec<_> = (0..10).map(|last| limiter.reserve(from("airflow", last), now)).collect();
        assert!(held.iter().all(Result::is_ok));
        assert!(limiter.reserve(from("airflow", 11), now).is_err());
    }

    #[test]
    fn an_address_is_closed_after_thirty_names() {
        let limiter = LoginLimiter::default();
        let now = Instant::now();
        let names: Vec<String> = (0..31).map(|n| format!("user{n}")).collect();
        let allowed = names.iter().filter(|name| fail(&limiter, from(name, 1), now).is_ok()).count();
        assert_eq!(allowed, 30);
        assert!(fail(&limiter, from("user1", 2), now).is_ok());
    }

    #[test]
    fn nobody_locks_out_a_user_at_an_address_or_with_a_session_that_is_known() {
        let limiter = LoginLimiter::default();
        let now = Instant::now();
        limiter.reserve(from("airflow", 1), now).unwrap().succeeded(now);
        (0..40).for_each(|last| drop(limiter.reserve(from("airflow", last + 2), now)));
        assert!(fail(&limiter, from("airflow", 99), now).is_err());
        assert_eq!(fail(&limiter, from("airflow", 1), now), Ok(()));
        let session = Some(Uuid::from_u128(7));
        assert_eq!(fail(&limiter, Attempt { session, ..from("airflow", 99) }, now), Ok(()));
        // Nor does whoever knows one way in guess without end.
        (0..9).for_each(|_| drop(limiter.reserve(from("airflow", 1), now)));
        assert!(fail(&limiter, from("airflow", 1), now).is_err());
    }

    #[test]
    fn a_login_counts_as_no_guess() {
        let limiter = LoginLimiter::default();
        let now = Instant::now();
        for _ in 0..100 {
            limiter.reserve(from("airflow", 1), now).unwrap().succeeded(now);
        }
        assert_eq!(fail(&limiter, from("airflow", 2), now), Ok(()));
    }

    #[test]
    fn few_are_compared_at_once() {
        let limiter = LoginLimiter::default();
        let now = Instant::now();
        let names: Vec<String> = (0..40).map(|n| format!("user{n}")).collect();
        let one = |(at, name): (usize, &'static str)| limiter.reserve(from(name, at as u8), now);
        let leaked = names.iter().map(|name| &*Box::leak(name.clone().into_boxed_str()));
        let held: Vec<_> = leaked.enumerate().map(one).collect();
        assert_eq!(held.iter().filter(|one| one.is_ok()).count(), IN_HAND_MAX);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let limiter = LoginLimiter::default();
        let now = Instant::now();
        for n in 0..ENTRIES_MAX + 10 {
            let address = IpAddr::from((n as u32).to_be_bytes());
            let name = format!("user{n}");
            drop(limiter.reserve(Attempt { user: &name, from: address, session: None }, now));
        }
        assert!(lock(&limiter.counts).len() <= ENTRIES_MAX);
    }

    #[test]
    fn who_is_counted_already_takes_no_place_from_another() {
        let limiter = LoginLimiter::default();
        let start = Instant::now();
        let mut now = start;
        // The oldest of all is closed; then strangers fill what is remembered.
        (0..10).for_each(|last| drop(limiter.reserve(from("airflow", last.min(8)), now)));
        while lock(&limiter.counts).len() < ENTRIES_MAX {
            now += Duration::from_millis(1);
            let count = u32::try_from(lock(&limiter.counts).len()).unwrap();
            let (name, address) = (format!("user{count}"), IpAddr::from((count + 1).to_be_bytes()));
            drop(limiter.reserve(Attempt { user: &name, from: address, session: None }, now));
        }
        let last = format!("user{}", ENTRIES_MAX - 2);
        let again = Attempt { user: &last, from: IpAddr::from((ENTRIES_MAX as u32 - 1).to_be_bytes()), session: None };
        for _ in 0..5 {
            drop(limiter.reserve(again, now));
        }
        assert!(now < start + WINDOW);
        assert!(fail(&limiter, from("airflow", 77), now).is_err(), "what was counted of it is still known");
    }
}
