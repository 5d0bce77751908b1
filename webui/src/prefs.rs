//! How pages look to one browser: theme and time zone, each in a cookie that holds nothing else.
//!
//! A cookie is the browser's to write, so what makes no sense is as good as no cookie.

use axum::http::{HeaderMap, header};
use chrono_tz::Tz;

/// The cookie of the theme; the script writes it, too.
pub const THEME: &str = "theme";
/// The cookie of the time zone; the script writes it, too.
pub const ZONE: &str = "zone";
/// A choice holds for a year.
const MAX_AGE_SECS: u32 = 365 * 24 * 60 * 60;

/// Light or dark.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Theme {
    /// As the system is.
    #[default]
    System,
    /// Always light.
    Light,
    /// Always dark.
    Dark,
}

impl Theme {
    /// Every theme.
    pub const ALL: [Self; 3] = [Self::System, Self::Light, Self::Dark];

    /// Its word in the cookie, in forms and in the stylesheet.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Light => "light",
            Self::Dark => "dark",
        }
    }

    /// The theme of a word.
    #[must_use]
    pub fn of(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|theme| theme.name() == text)
    }
}

/// What a browser has chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prefs {
    /// The theme.
    pub theme: Theme,
    /// The zone that times are shown in.
    pub zone: Tz,
}

impl Default for Prefs {
    fn default() -> Self {
        Self { theme: Theme::System, zone: Tz::UTC }
    }
}

impl Prefs {
    /// Reads the cookies of a request.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Self {
        let mut prefs = Self::default();
        let texts = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
        for (name, value) in texts.flat_map(|text| text.split(';')).filter_map(|pair| pair.trim().split_once('=')) {
            match name {
                THEME => prefs.theme = Theme::of(value).unwrap_or_default(),
                ZONE => prefs.zone = value.parse().unwrap_or(Tz::UTC),
                _ => {}
            }
        }
        prefs
    }

    /// The cookies that keep them.
    #[must_use]
    pub fn cookies(self) -> [String; 2] {
        [(THEME, self.theme.name()), (ZONE, self.zone.name())]
            .map(|(name, value)| format!("{name}={value}; Path=/; SameSite=Lax; Max-Age={MAX_AGE_SECS}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_that_makes_no_sense_is_none() {
        let of = |text: &str| Prefs::of(&HeaderMap::from_iter([(header::COOKIE, text.parse().unwrap())]));
        let chosen = Prefs { theme: Theme::Dark, zone: Tz::Europe__Zurich };
        assert_eq!(of("_token=t; theme=dark; zone=Europe/Zurich"), chosen);
        assert_eq!(of("theme=<script>; zone=../../etc/passwd"), Prefs::default());
        assert!(chosen.cookies()[1].starts_with("zone=Europe/Zurich; Path=/"));
    }
}
