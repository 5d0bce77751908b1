//! Where Alpaca's stream is, whose keys are used, and how patient the client is.

use crate::settings::{Lookup, SettingsError, text};
use std::time::Duration;
use url::Url;

/// The feeds that a stock stream has: one exchange for free, all of them, all of them late, or made-up trades at any hour.
const FEEDS: [&str; 4] = ["iex", "sip", "delayed_sip", "test"];
/// The only symbol of the feed `test`.
const TEST_SYMBOL: &str = "FAKEPACA";
const KEY_ID: &str = "APCA_API_KEY_ID";
const SECRET_KEY: &str = "APCA_API_SECRET_KEY";

/// How Alpaca is reached. Neither key is ever printed.
#[derive(Clone, PartialEq)]
pub struct AlpacaSettings {
    /// The stream.
    pub url: Url,
    /// The key's id.
    pub key: String,
    /// The key.
    pub secret: String,
    /// How patient the client is.
    pub timing: Timing,
}

impl std::fmt::Debug for AlpacaSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AlpacaSettings").field("url", &self.url.as_str()).finish_non_exhaustive()
    }
}

/// How patient the client is; tests are less so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// Until the WebSocket stands, and from then until the subscription is confirmed.
    pub handshake: Duration,
    /// A silence of this length is answered by a ping: markets are quiet at night.
    pub ping_after: Duration,
    /// A silence of this length, with pings unanswered, is a dead connection.
    pub silence_max: Duration,
    /// The longest pause after the first failure.
    pub pause_first: Duration,
    /// The longest pause after many.
    pub pause_max: Duration,
    /// A connection that was subscribed for so long was a good one: pauses start from the first again.
    pub settled_after: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            // Alpaca itself gives a client ten seconds to authenticate.
            handshake: Duration::from_secs(15),
            ping_after: Duration::from_secs(15),
            silence_max: Duration::from_secs(45),
            pause_first: Duration::from_secs(1),
            pause_max: Duration::from_secs(60),
            settled_after: Duration::from_secs(60),
        }
    }
}

impl AlpacaSettings {
    /// Whether both keys are set, which makes Alpaca the source of who names none.
    pub fn has_keys(env: Lookup<'_>) -> bool {
        text(env, KEY_ID).is_some() && text(env, SECRET_KEY).is_some()
    }

    /// Reads the keys, `STOCK_ALPACA_FEED` and `STOCK_ALPACA_URL`.
    ///
    /// # Errors
    /// The first variable that is missing or cannot be used; the keys' values are in no message.
    pub fn from_env(env: Lookup<'_>) -> Result<Self, SettingsError> {
        let key = |name| {
            let expected = "a key of Alpaca's API, since STOCK_SOURCE is alpaca; `mock` needs none";
            text(env, name).ok_or(SettingsError::Missing { name, expected })
        };
        let feed = feed(env)?;
        let url = match text(env, "STOCK_ALPACA_URL") {
            Some(value) => stream_url(value)?,
            None => Url::parse(&format!("wss://stream.data.alpaca.markets/v2/{feed}"))
                .expect("the address is a URL with any feed's name"),
        };
        Ok(Self { url, key: key(KEY_ID)?, secret: key(SECRET_KEY)?, timing: Timing::default() })
    }

    /// The symbols of who names none; the feed `test` has only one.
    ///
    /// # Errors
    /// When the feed is none.
    pub fn symbols_default(env: Lookup<'_>) -> Result<Option<&'static str>, SettingsError> {
        Ok((feed(env)? == "test").then_some(TEST_SYMBOL))
    }
}

fn feed(env: Lookup<'_>) -> Result<String, SettingsError> {
    let name = "STOCK_ALPACA_FEED";
    let value = text(env, name).unwrap_or_else(|| "iex".to_owned());
    if FEEDS.contains(&value.as_str()) {
        return Ok(value);
    }
    Err(SettingsError::Invalid { name, value, expected: "iex, sip, delayed_sip or test" })
}

fn stream_url(value: String) -> Result<Url, SettingsError> {
    match Url::parse(&value) {
        Ok(url) if matches!(url.scheme(), "ws" | "wss") && url.has_host() => Ok(url),
        _ => {
            let expected = "a ws or wss URL, such as wss://stream.data.alpaca.markets/v2/iex";
            Err(SettingsError::Invalid { name: "STOCK_ALPACA_URL", value, expected })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: [(&str, &str); 2] = [(KEY_ID, "PKTEST"), (SECRET_KEY, "hunter2")];

    fn with(more: &[(&str, &str)]) -> Result<AlpacaSettings, SettingsError> {
        let pairs: Vec<(&str, &str)> = KEYS.iter().chain(more).copied().collect();
        AlpacaSettings::from_env(&|name| pairs.iter().find(|(key, _)| *key == name).map(|(_, v)| (*v).to_owned()))
    }

    #[test]
    fn the_feed_gives_the_address_unless_there_is_another_one() {
        assert_eq!(with(&[]).unwrap().url.as_str(), "wss://stream.data.alpaca.markets/v2/iex");
        let sip = with(&[("STOCK_ALPACA_FEED", "sip")]).unwrap();
        assert_eq!(sip.url.as_str(), "wss://stream.data.alpaca.markets/v2/sip");
        let local = with(&[("STOCK_ALPACA_URL", "ws://127.0.0.1:9/v2/test")]).unwrap();
        assert_eq!(local.url.as_str(), "ws://127.0.0.1:9/v2/test");
    }

    #[test]
    fn what_is_wrong_is_named_and_keys_are_never_printed() {
        let message = |more: &[(&str, &str)]| with(more).unwrap_err().to_string();
        assert!(message(&[("STOCK_ALPACA_FEED", "otc")]).contains("STOCK_ALPACA_FEED is `otc`"));
        assert!(message(&[("STOCK_ALPACA_URL", "https://x")]).contains("a ws or wss URL"));
        let none = AlpacaSettings::from_env(&|_| None).unwrap_err().to_string();
        assert!(none.starts_with("APCA_API_KEY_ID is not set"), "{none}");
        let printed = format!("{:?}", with(&[]).unwrap());
        assert!(!printed.contains("hunter2") && !printed.contains("PKTEST"), "{printed}");
    }
}
