//! Guesses at passwords are counted before they are tried: by the name, by the address, and by the session of a browser that
//! has logged in before. Memory is bounded.
//!
//! A name that somebody guesses at is closed for strangers only: an address or a session from which its user has logged in
//! before has a count of its own, so nobody can lock a user out. Whoever logs in has guessed nothing: the attempt is taken
//! back. As long as attempts that are being compared may all be guesses, no more are begun than may fail: whoever comes then
//! waits for what becomes of them, within bounds in number and time.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
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
/// Passwords that are being compared: two at a time, and the next ones are at hand.
const IN_HAND_MAX: usize = 32;
/// New passwords that are being hashed, or are next.
const PLACES_MAX: usize = 8;
/// So many more wait for their turn; who comes then is told to come back.
const WAITING_MAX: usize = 256;
/// And for so long: 300 passwords take some ten seconds on two processors. An answer may take 30.
const WAIT_MAX: Duration = Duration::from_secs(20);

/// Counts attempts.
pub struct LoginLimiter {
    counts: Mutex<BTreeMap<Key, Count>>,
    known: Mutex<BTreeMap<(String, Origin), Instant>>,
    in_hand: Arc<Semaphore>,
    /// For new passwords.
    places: Arc<Semaphore>,
    waiting: Semaphore,
    /// Told when something has become of an attempt.
    decided: Notify,
}

impl Default for LoginLimiter {
    fn default() -> Self {
        Self {
            counts: Mutex::default(),
            known: Mutex::default(),
            in_hand: Arc::new(Semaphore::new(IN_HAND_MAX)),
            places: Arc::new(Semaphore::new(PLACES_MAX)),
            waiting: Semaphore::new(WAITING_MAX),
            decided: Notify::new(),
        }
    }
}

/// Why an attempt is not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// There were too many guesses.
    Guesses {
        /// The seconds after which another attempt is worth while.
        retry_after_secs: u64,
    },
    /// Too many others log in.
    Crowd,
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
    /// Attempts that have failed.
    failures: u32,
    /// Attempts of which nothing has become yet.
    in_hand: u32,
    since: Instant,
}

/// Whether an attempt may be made.
enum Room {
    Free,
    /// When enough of those in hand turn out to be no guesses.
    Perhaps,
    None {
        retry_after_secs: u64,
    },
}

impl Count {
    const fn new(now: Instant) -> Self {
        Self { failures: 0, in_hand: 0, since: now }
    }

    /// Begins a new window when the last one is over.
    fn renew(&mut self, now: Instant) {
        if now.saturating_duration_since(self.since) >= WINDOW {
            *self = Self { in_hand: self.in_hand, ..Self::new(now) };
        }
    }

    fn room(mut self, max: u32, now: Instant) -> Room {
        self.renew(now);
        if self.failures >= max {
            let left = WINDOW.saturating_sub(now.saturating_duration_since(self.since));
            return Room::None { retry_after_secs: left.as_secs().max(1) };
        }
        if self.failures.saturating_add(self.in_hand) < max { Room::Free } else { Room::Perhaps }
    }
}

impl Key {
    const fn failures_max(&self) -> u32 {
        match self {
            Self::Address(_) => FAILURES_OF_ADDRESS_MAX,
            Self::Name(_) | Self::Known(..) | Self::Session(_) => FAILURES_OF_NAME_MAX,
        }
    }
}

/// An attempt that is counted as a failure until it is told to be none.
pub struct Reservation<'l> {
    limiter: &'l LoginLimiter,
    keys: Vec<Key>,
    pair: (String, Origin),
    has_failed: bool,
    in_hand: Option<OwnedSemaphorePermit>,
}

impl LoginLimiter {
    /// Counts an attempt, before the password is compared; waits for its turn while it may come to it.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn reserve(&self, attempt: Attempt<'_>, now: Instant) -> Result<Reservation<'_>, Refusal> {
        let user: String = attempt.user.chars().take(NAME_CHARS_MAX).collect();
        let pair = (user, Origin::of(attempt.from));
        let began = tokio::time::Instant::now();
        if let Some(reserved) = self.try_reserve(&pair, attempt.session, now)? {
            return Ok(reserved);
        }
        let _waits = self.waiting.try_acquire().map_err(|_| Refusal::Crowd)?;
        let its_turn = async {
            loop {
                let mut decided = pin!(self.decided.notified());
                // What is decided from here on is heard.
                decided.as_mut().enable();
                if let Some(reserved) = self.try_reserve(&pair, attempt.session, now + began.elapsed())? {
                    return Ok(reserved);
                }
                decided.await;
            }
        };
        timeout(WAIT_MAX, its_turn).await.unwrap_or(Err(Refusal::Crowd))
    }

    /// The attempt, when it may be made now; none when it may be made later.
    fn try_reserve(
        &self,
        pair: &(String, Origin),
        session: Option<Uuid>,
        now: Instant,
    ) -> Result<Option<Reservation<'_>>, Refusal> {
        let is_known = lock(&self.known).contains_key(pair);
        let (user, origin) = pair.clone();
        let keys = match (session, is_known) {
            (Some(session), _) => vec![Key::Session(session)],
            (None, true) => vec![Key::Known(user, origin)],
            (None, false) => vec![Key::Name(user), Key::Address(origin)],
        };
        let mut counts = lock(&self.counts);
        for key in &keys {
            match counts.get(key).map_or(Room::Free, |count| count.room(key.failures_max(), now)) {
                Room::Free => {}
                Room::Perhaps => return Ok(None),
                Room::None { retry_after_secs } => return Err(Refusal::Guesses { retry_after_secs }),
            }
        }
        let Ok(in_hand) = Arc::clone(&self.in_hand).try_acquire_owned() else { return Ok(None) };
        for key in &keys {
            if !counts.contains_key(key) {
                make_room(&mut counts, now);
            }
            let count = counts.entry(key.clone()).or_insert_with(|| Count::new(now));
            count.renew(now);
            count.in_hand = count.in_hand.saturating_add(1);
        }
        Ok(Some(Reservation { limiter: self, keys, pair: pair.clone(), has_failed: true, in_hand: Some(in_hand) }))
    }

    /// Waits for a place to hash a new password in, which is no guess.
    ///
    /// # Errors
    /// [`Refusal::Crowd`].
    pub async fn place(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        let _waits = self.waiting.try_acquire().map_err(|_| Refusal::Crowd)?;
        let place = timeout(WAIT_MAX, Arc::clone(&self.places).acquire_owned()).await;
        place.ok().and_then(Result::ok).ok_or(Refusal::Crowd)
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
    pub fn take_back(mut self) {
        self.has_failed = false;
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        let mut counts = lock(&self.limiter.counts);
        for key in &self.keys {
            if let Some(count) = counts.get_mut(key) {
                count.in_hand = count.in_hand.saturating_sub(1);
                count.failures = count.failures.saturating_add(u32::from(self.has_failed));
            }
        }
        drop((counts, self.in_hand.take()));
        self.limiter.decided.notify_waiters();
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
    use futures::{FutureExt as _, future::join_all};

    use super::*;

    fn from(user: &str, last: u8) -> Attempt<'_> {
        Attempt { user, from: IpAddr::from([192, 0, 2, last]), session: None }
    }

    /// An attempt at once, or why not; one that would have to wait is none.
    fn at_once<'l>(limiter: &'l LoginLimiter, attempt: Attempt<'_>, now: Instant) -> Option<Reservation<'l>> {
        limiter.reserve(attempt, now).now_or_never()?.ok()
    }

    fn fail(limiter: &LoginLimiter, attempt: Attempt<'_>, now: Instant) -> Result<(), Refusal> {
        limiter.reserve(attempt, now).now_or_never().expect("nothing is waited for").map(drop)
    }

    #[test]
    fn the_eleventh_guess_at_a_name_has_to_wait_wherever_it_comes_from() {
        let limiter = LoginLimiter::default();
        let now = Instant::now();
        for last in 0..10 {
            assert_eq!(fail(&limiter, from("airflow", last), now), Ok(()));
        }
        assert_eq!(fail(&limiter, from("airflow", 99), now), Err(Refusal::Guesses { retry_after_secs: 60 }));
        assert_eq!(fail(&limiter, from("somebody", 99), now), Ok(()));
        assert_eq!(fail(&limiter, from("airflow", 99), now + WINDOW), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn guesses_that_are_still_being_compared_count() {
        let limiter = LoginLimiter::default();
        let now = Instant::now();
        let held: Vec<_> = (0..10).filter_map(|last| at_once(&limiter, from("airflow", last), now)).collect();
        assert_eq!(held.len(), 10);
        let waits = limiter.reserve(from("airflow", 11), now);
        let fails = async { drop(held) };
        let (eleventh, ()) = tokio::join!(waits, fails);
        assert!(matches!(eleventh, Err(Refusal::Guesses { .. })), "all ten were guesses");
        let held: Vec<_> = (0..10).filter_map(|last| at_once(&limiter, from("other", last + 20), now)).collect();
        let never = limiter.reserve(from("other", 31), now).await;
        assert!(matches!(never, Err(Refusal::Crowd)), "{} are compared for ever", held.len());
    }

    #[tokio::test]
    async fn whoever_is_right_waits_for_a_turn_and_has_one() {
        let limiter = LoginLimiter::default();
        let now = Instant::now();
        let log_in = async |last: u8| {
            let reserved = limiter.reserve(from("airflow", last), now).await?;
            tokio::task::yield_now().await;
            reserved.succeeded(now);
            Ok::<_, Refusal>(())
        };
        let done = join_all((0..200).map(log_in)).await;
        assert_eq!(done.iter().filter(|one| one.is_ok()).count(), 200, "{done:?}");
        let crowd = join_all((0..=u8::MAX).chain(0..=u8::MAX).map(log_in)).await;
        assert!(crowd.contains(&Err(Refusal::Crowd)), "how many wait is bounded");
        assert_eq!(fail(&limiter, from("airflow", 1), now), Ok(()), "and nobody was locked out");
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
        at_once(&limiter, from("airflow", 1), now).unwrap().succeeded(now);
        (0..40).for_each(|last| drop(at_once(&limiter, from("airflow", last + 2), now)));
        assert!(fail(&limiter, from("airflow", 99), now).is_err());
        assert_eq!(fail(&limiter, from("airflow", 1), now), Ok(()));
        let session = Some(Uuid::from_u128(7));
        assert_eq!(fail(&limiter, Attempt { session, ..from("airflow", 99) }, now), Ok(()));
        // Nor does whoever knows one way in guess without end.
        (0..9).for_each(|_| drop(at_once(&limiter, from("airflow", 1), now)));
        assert!(fail(&limiter, from("airflow", 1), now).is_err());
    }

    #[test]
    fn a_login_counts_as_no_guess() {
        let limiter = LoginLimiter::default();
        let now = Instant::now();
        for _ in 0..100 {
            at_once(&limiter, from("airflow", 1), now).unwrap().succeeded(now);
        }
        assert_eq!(fail(&limiter, from("airflow", 2), now), Ok(()));
    }

    #[tokio::test]
    async fn few_are_compared_at_once() {
        let limiter = LoginLimiter::default();
        let now = Instant::now();
        let names: Vec<String> = (0..40).map(|n| format!("user{n}")).collect();
        let one = |(at, name): (usize, &'static str)| at_once(&limiter, from(name, at as u8), now);
        let leaked = names.iter().map(|name| &*Box::leak(name.clone().into_boxed_str()));
        let held: Vec<_> = leaked.enumerate().map(one).collect();
        assert_eq!(held.iter().flatten().count(), IN_HAND_MAX);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let limiter = LoginLimiter::default();
        let now = Instant::now();
        for n in 0..ENTRIES_MAX + 10 {
            let address = IpAddr::from((n as u32).to_be_bytes());
            let name = format!("user{n}");
            drop(at_once(&limiter, Attempt { user: &name, from: address, session: None }, now));
        }
        assert!(lock(&limiter.counts).len() <= ENTRIES_MAX);
    }

    #[test]
    fn who_is_counted_already_takes_no_place_from_another() {
        let limiter = LoginLimiter::default();
        let start = Instant::now();
        let mut now = start;
        // The oldest of all is closed; then strangers fill what is remembered.
        (0..10).for_each(|last| drop(at_once(&limiter, from("airflow", last.min(8)), now)));
        while lock(&limiter.counts).len() < ENTRIES_MAX {
            now += Duration::from_millis(1);
            let count = u32::try_from(lock(&limiter.counts).len()).unwrap();
            let (name, address) = (format!("user{count}"), IpAddr::from((count + 1).to_be_bytes()));
            drop(at_once(&limiter, Attempt { user: &name, from: address, session: None }, now));
        }
        let last = format!("user{}", ENTRIES_MAX - 2);
        let again = Attempt { user: &last, from: IpAddr::from((ENTRIES_MAX as u32 - 1).to_be_bytes()), session: None };
        for _ in 0..5 {
            drop(at_once(&limiter, again, now));
        }
        assert!(now < start + WINDOW);
        assert!(fail(&limiter, from("airflow", 77), now).is_err(), "what was counted of it is still known");
    }
}
