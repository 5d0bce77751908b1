//! Failed logins are counted by user name and address; too many in a row have to wait. Memory is bounded.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// So many failures may follow one another before there is a pause.
const FAILURES_MAX: u32 = 10;
/// The pause, counted from the last failure.
const PAUSE: Duration = Duration::from_secs(60);
/// So many pairs of name and address are remembered (some 100 bytes each); the oldest is forgotten first.
const ENTRIES_MAX: usize = 10_000;
/// Longer names are cut: nobody has one.
const NAME_CHARS_MAX: usize = 64;

/// Counts failed logins.
#[derive(Default)]
pub struct LoginLimiter(Mutex<BTreeMap<(String, IpAddr), Failures>>);

#[derive(Clone, Copy)]
struct Failures {
    count: u32,
    last: Instant,
}

impl LoginLimiter {
    /// How many seconds this user has to wait at this address before another try, if any.
    #[must_use]
    pub fn wait_secs(&self, user: &str, from: IpAddr, now: Instant) -> Option<u64> {
        let entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let failures = entries.get(&key(user, from))?;
        let since = now.saturating_duration_since(failures.last);
        (failures.count >= FAILURES_MAX && since < PAUSE).then(|| (PAUSE - since).as_secs().max(1))
    }

    /// A login failed.
    pub fn failed(&self, user: &str, from: IpAddr, now: Instant) {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= ENTRIES_MAX {
            entries.retain(|_, failures| now.saturating_duration_since(failures.last) < PAUSE);
        }
        if entries.len() >= ENTRIES_MAX
            && let Some(oldest) = entries.iter().min_by_key(|(_, failures)| failures.last).map(|(key, _)| key.clone())
        {
            entries.remove(&oldest);
        }
        let entry = entries.entry(key(user, from)).or_insert(Failures { count: 0, last: now });
        if now.saturating_duration_since(entry.last) >= PAUSE {
            entry.count = 0;
        }
        entry.count = entry.count.saturating_add(1);
        entry.last = now;
    }

    /// A login succeeded: what failed before was a slip.
    pub fn succeeded(&self, user: &str, from: IpAddr) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&key(user, from));
    }
}

fn key(user: &str, from: IpAddr) -> (String, IpAddr) {
    (user.chars().take(NAME_CHARS_MAX).collect(), from)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    #[test]
    fn the_eleventh_guess_in_a_row_has_to_wait() {
        let limiter = LoginLimiter::default();
        let now = Instant::now();
        for _ in 0..FAILURES_MAX {
            assert_eq!(limiter.wait_secs("airflow", HERE, now), None);
            limiter.failed("airflow", HERE, now);
        }
        assert_eq!(limiter.wait_secs("airflow", HERE, now), Some(60));
        assert_eq!(limiter.wait_secs("somebody", HERE, now), None);
        assert_eq!(limiter.wait_secs("airflow", HERE, now + PAUSE), None);
    }

    #[test]
    fn a_login_forgives_what_failed_before() {
        let limiter = LoginLimiter::default();
        let now = Instant::now();
        (0..FAILURES_MAX).for_each(|_| limiter.failed("airflow", HERE, now));
        limiter.succeeded("airflow", HERE);
        assert_eq!(limiter.wait_secs("airflow", HERE, now), None);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let limiter = LoginLimiter::default();
        let now = Instant::now();
        (0..ENTRIES_MAX + 10).for_each(|n| limiter.failed(&format!("user{n}"), HERE, now));
        assert_eq!(limiter.0.lock().unwrap().len(), ENTRIES_MAX);
    }
}
