//! How many attempts may start in a span of time.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// So many starts in so many seconds: `10/1m`, `100/30s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RateLimit {
    starts: u32,
    secs: u32,
}

impl RateLimit {
    /// The most starts of a span: each is remembered until the span is over.
    pub const STARTS_MAX: u32 = 1_000;
    /// The longest span, in seconds: a day.
    pub const SECS_MAX: u32 = 86_400;

    /// How many starts.
    #[must_use]
    pub const fn starts(self) -> u32 {
        self.starts
    }

    /// In how many seconds.
    #[must_use]
    pub const fn secs(self) -> u32 {
        self.secs
    }
}

/// A text that is no rate limit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a rate limit: expected starts and a span such as 10/1m, 1 to 1000 starts in 1s to 1d (units s, m, h, d)"
)]
pub struct NoRateLimit(String);

impl FromStr for RateLimit {
    type Err = NoRateLimit;

    fn from_str(text: &str) -> Result<Self, NoRateLimit> {
        let read = || {
            let (starts, span) = text.trim().split_once('/')?;
            let span = span.trim();
            let unit = span.chars().next_back()?;
            let factor = match unit {
                's' => 1,
                'm' => 60,
                'h' => 3_600,
                'd' => 86_400,
                _ => return None,
            };
            let number = span.strip_suffix(unit)?.trim();
            let count: u32 = if number.is_empty() { 1 } else { number.parse().ok()? };
            let limit = Self { starts: starts.trim().parse().ok()?, secs: count.checked_mul(factor)? };
            let fits = (1..=Self::STARTS_MAX).contains(&limit.starts) && (1..=Self::SECS_MAX).contains(&limit.secs);
            fits.then_some(limit)
        };
        read().ok_or_else(|| NoRateLimit(text.to_owned()))
    }
}

impl fmt::Display for RateLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(86_400, "d"), (3_600, "h"), (60, "m")];
        let (size, unit) = units.into_iter().find(|(size, _)| self.secs.is_multiple_of(*size)).unwrap_or((1, "s"));
        write!(f, "{}/{}{unit}", self.starts, self.secs / size)
    }
}

impl TryFrom<String> for RateLimit {
    type Error = NoRateLimit;

    fn try_from(text: String) -> Result<Self, NoRateLimit> {
        text.parse()
    }
}

impl From<RateLimit> for String {
    fn from(limit: RateLimit) -> Self {
        limit.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_limit_is_read_as_it_is_written() {
        for (text, written) in
            [("10/1m", "10/1m"), ("10/60s", "10/1m"), (" 5 / 90s ", "5/90s"), ("1/h", "1/1h"), ("3/24h", "3/1d")]
        {
            assert_eq!(text.parse::<RateLimit>().unwrap().to_string(), written, "{text}");
        }
        for bad in ["", "10", "0/1m", "10/0s", "1001/1m", "10/2d", "10/1w", "-1/1m", "10/1.5m", "x/1m", "10/\u{e9}"] {
            assert!(bad.parse::<RateLimit>().is_err(), "{bad}");
        }
    }
}
