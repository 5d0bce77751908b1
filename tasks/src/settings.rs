//! What the environment says, read once and checked before anything starts.
//!
//! An empty variable counts as unset, as in a `.env` file. Every message names the variable, what stands in it and what
//! is expected.

mod kafka;

pub use kafka::{KafkaSettings, LogChoice};

use crate::registry::{Login, RegistryAccess};
use crate::runtime::service::{Replica, ServiceContext};
use crate::stock::alpaca::AlpacaSettings;
use replay::StockSource;
use std::fmt::Display;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;
use url::Url;

/// A variable that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A variable without a default is unset.
    #[error("{name} is not set; it must be {expected}")]
    Missing {
        /// The variable.
        name: &'static str,
        /// What it should hold.
        expected: &'static str,
    },
    /// A variable holds something else.
    #[error("{name} is `{value}`, but it must be {expected}")]
    Invalid {
        /// The variable.
        name: &'static str,
        /// What it holds.
        value: String,
        /// What it should hold.
        expected: &'static str,
    },
    /// The source of trades cannot be used.
    #[error(transparent)]
    Source(#[from] replay::SourceError),
}

/// Looks a variable up; tests give a table instead of the process's environment.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// A variable of this process.
pub fn process_environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// A variable's value without the blanks around it, unless it is empty.
pub(crate) fn text(env: Lookup<'_>, name: &str) -> Option<String> {
    env(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
}

fn number<T: FromStr + PartialOrd + Display>(
    env: Lookup<'_>,
    name: &'static str,
    default: T,
    legal: std::ops::RangeInclusive<T>,
    expected: &'static str,
) -> Result<T, SettingsError> {
    let Some(value) = text(env, name) else { return Ok(default) };
    match value.parse() {
        Ok(number) if legal.contains(&number) => Ok(number),
        _ => Err(SettingsError::Invalid { name, value, expected }),
    }
}

/// The lake database's URL.
///
/// # Errors
/// When it is not set.
pub fn database_url(env: Lookup<'_>) -> Result<String, SettingsError> {
    let name = "WINDLASS_LAKE_DATABASE_URL";
    text(env, name).ok_or(SettingsError::Missing { name, expected: "the PostgreSQL URL of the lake database" })
}

/// The schema registry's address, by default the one that Windlass serves.
///
/// # Errors
/// When it is not an http or https URL.
pub fn registry_url(env: Lookup<'_>) -> Result<Url, SettingsError> {
    let name = "SCHEMA_REGISTRY_URL";
    let value = text(env, name).unwrap_or_else(|| "http://127.0.0.1:8081".to_owned());
    match Url::parse(&value) {
        Ok(url) if matches!(url.scheme(), "http" | "https") => Ok(url),
        _ => Err(SettingsError::Invalid { name, value, expected: "an http or https URL" }),
    }
}

/// How the schema registry is reached: its address, a login, and an authority of its own.
///
/// # Errors
/// The first variable that cannot be used.
pub fn registry_access(env: Lookup<'_>) -> Result<RegistryAccess, SettingsError> {
    let mut access = RegistryAccess::new(registry_url(env)?);
    let name = "SCHEMA_REGISTRY_BASIC_AUTH_USER_INFO";
    if let Some(value) = text(env, name) {
        let Some((user, password)) = value.split_once(':') else {
            // What stands in it is a secret.
            return Err(SettingsError::Invalid { name, value: "…".to_owned(), expected: "user:password" });
        };
        access = access.login(Login { user: user.to_owned(), password: password.to_owned() });
    }
    let name = "SCHEMA_REGISTRY_SSL_CA_LOCATION";
    if let Some(value) = text(env, name) {
        let expected = "a file that can be read, with certificates in PEM";
        let pem = std::fs::read(&value).map_err(|_| SettingsError::Invalid { name, value, expected })?;
        access = access.authorities(pem);
    }
    Ok(access)
}

/// How fast a replay goes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ReplaySpeed {
    /// As fast as the log takes it.
    Unlimited,
    /// So many seconds of the file in one second.
    Factor(f64),
}

/// What the trades are made from.
#[derive(Debug, Clone, PartialEq)]
pub enum TradeSource {
    /// Random walks.
    Mock {
        /// Records a second.
        rate: f64,
        /// Where the walks start from.
        seed: u64,
    },
    /// Alpaca's market data.
    Alpaca(AlpacaSettings),
    /// A file.
    Replay {
        /// Where it lies.
        path: PathBuf,
        /// How fast it goes.
        speed: ReplaySpeed,
    },
}

/// Where the trades come from and where they go.
#[derive(Debug, Clone, PartialEq)]
pub struct StockSettings {
    /// The source.
    pub source: TradeSource,
    /// The symbols that are made up, or asked for.
    pub symbols: Vec<String>,
    /// The topic.
    pub topic: String,
}

/// More records a second than this are a benchmark's business, not a mock's.
const MOCK_RATE_MAX: f64 = 1_000_000.0;

impl StockSettings {
    /// Reads the `STOCK_` variables and makes sure that the source can be started.
    ///
    /// # Errors
    /// The first variable that cannot be used, or the reason why the source cannot be started.
    pub fn from_env(env: Lookup<'_>) -> Result<Self, SettingsError> {
        let chosen = stock_source(env)?;
        replay::check(&chosen)?;
        // All are read, whichever is used: a mistake is told when it is made.
        let (speed, rate, seed) = (replay_speed(env)?, mock_rate(env)?, mock_seed(env)?);
        let mut symbols_default = None;
        let source = match chosen {
            StockSource::Mock => TradeSource::Mock { rate, seed },
            StockSource::Alpaca => {
                symbols_default = AlpacaSettings::symbols_default(env)?;
                TradeSource::Alpaca(AlpacaSettings::from_env(env)?)
            }
            StockSource::Replay(path) => TradeSource::Replay { path, speed },
        };
        let symbols = text(env, "STOCK_SYMBOLS");
        let symbols = symbols.unwrap_or_else(|| symbols_default.unwrap_or("AAPL,GOOG,MSFT").to_owned());
        Ok(Self { source, symbols: symbol_list(symbols)?, topic: stock_topic(env) })
    }
}

/// The source that is chosen: the one named, else Alpaca for who has set its keys, else made-up trades.
///
/// # Errors
/// When `STOCK_SOURCE` names none.
pub fn stock_source(env: Lookup<'_>) -> Result<StockSource, SettingsError> {
    match text(env, "STOCK_SOURCE") {
        Some(named) => Ok(StockSource::parse(&named)?),
        None if AlpacaSettings::has_keys(env) => Ok(StockSource::Alpaca),
        None => Ok(StockSource::Mock),
    }
}

fn replay_speed(env: Lookup<'_>) -> Result<ReplaySpeed, SettingsError> {
    let expected = "a number from 0 (as fast as possible) on";
    Ok(match number(env, "STOCK_REPLAY_SPEED", 1.0, 0.0..=f64::MAX, expected)? {
        0.0 => ReplaySpeed::Unlimited,
        factor => ReplaySpeed::Factor(factor),
    })
}

fn mock_rate(env: Lookup<'_>) -> Result<f64, SettingsError> {
    let expected = "a number of records a second above 0, at most a million";
    number(env, "STOCK_MOCK_RATE", 50.0, f64::MIN_POSITIVE..=MOCK_RATE_MAX, expected)
}

fn mock_seed(env: Lookup<'_>) -> Result<u64, SettingsError> {
    number(env, "STOCK_MOCK_SEED", 42, 0..=u64::MAX, "a whole number from 0 on")
}

/// The topic of the trades.
pub fn stock_topic(env: Lookup<'_>) -> String {
    text(env, "STOCK_TOPIC").unwrap_or_else(|| "stock_trades".to_owned())
}

fn symbol_list(value: String) -> Result<Vec<String>, SettingsError> {
    let symbols: Vec<String> =
        value.split(',').map(|symbol| symbol.trim().to_owned()).filter(|symbol| !symbol.is_empty()).collect();
    if symbols.is_empty() {
        let expected = "symbols separated by commas, such as AAPL,MSFT";
        return Err(SettingsError::Invalid { name: "STOCK_SYMBOLS", value, expected });
    }
    Ok(symbols)
}

/// When the sink commits: at whichever bound is reached first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SinkLimits {
    /// Rows of a batch.
    pub rows_max: usize,
    /// Size of a batch in memory.
    pub bytes_max: usize,
    /// Age of a batch's first row.
    pub age_max: Duration,
}

impl SinkLimits {
    /// Reads the `STOCK_SINK_` variables.
    ///
    /// # Errors
    /// The first variable that cannot be used.
    pub fn from_env(env: Lookup<'_>) -> Result<Self, SettingsError> {
        let bytes = 1 << 16..=1 << 30;
        let age_secs =
            number(env, "STOCK_SINK_MAX_SECONDS", 10.0, 0.01..=3600.0, "a number of seconds from 0.01 to 3600")?;
        Ok(Self {
            rows_max: number(env, "STOCK_SINK_MAX_ROWS", 500_000, 1..=10_000_000, "a number from 1 to 10000000")?,
            bytes_max: number(env, "STOCK_SINK_MAX_BYTES", 128 << 20, bytes, "a number of bytes from 64 KiB to 1 GiB")?,
            age_max: Duration::from_secs_f64(age_secs),
        })
    }
}

/// What the supervisor told this worker; a worker started by hand is the only replica.
///
/// # Errors
/// The first variable that cannot be used.
pub fn service_context(env: Lookup<'_>, default_name: &str) -> Result<ServiceContext, SettingsError> {
    let of = number(env, "WINDLASS_SERVICE_REPLICAS", 1, 1..=1024, "a number from 1 to 1024")?;
    let index = number(env, "WINDLASS_SERVICE_REPLICA", 0, 0..=of - 1, "a number below WINDLASS_SERVICE_REPLICAS")?;
    let descriptor = match text(env, "WINDLASS_SERVICE_FD") {
        Some(_) => Some(number(env, "WINDLASS_SERVICE_FD", 0, 3..=i32::MAX, "an open descriptor from 3 on")?),
        None => None,
    };
    Ok(ServiceContext {
        name: text(env, "WINDLASS_SERVICE_NAME").unwrap_or_else(|| default_name.to_owned()),
        instance: text(env, "WINDLASS_SERVICE_INSTANCE").unwrap_or_default(),
        replica: Replica { index, of },
        descriptor,
        health_port: number(env, "WINDLASS_SERVICE_PORT", 0, 0..=u16::MAX, "a port, or 0 for any free one")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env<'a>(pairs: &'a [(&'a str, &'a str)]) -> impl Fn(&str) -> Option<String> + 'a {
        |name| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
    }

    #[test]
    fn nothing_set_gives_the_mock_source_on_the_embedded_log() {
        let none = env(&[("STOCK_SOURCE", "")]);
        let stock = StockSettings::from_env(&none).unwrap();
        assert_eq!(stock.source, TradeSource::Mock { rate: 50.0, seed: 42 });
        assert_eq!(stock.topic, "stock_trades");
        assert_eq!(LogChoice::from_env(&none).unwrap(), LogChoice::Embedded);
        assert_eq!(SinkLimits::from_env(&none).unwrap().rows_max, 500_000);
        assert_eq!(registry_url(&none).unwrap().as_str(), "http://127.0.0.1:8081/");
    }

    #[test]
    fn a_wrong_value_is_shown_with_what_is_expected() {
        let message = |pairs: &[(&str, &str)]| StockSettings::from_env(&env(pairs)).unwrap_err().to_string();
        assert!(message(&[("STOCK_REPLAY_SPEED", "fast")]).starts_with("STOCK_REPLAY_SPEED is `fast`, but it must be"));
        assert!(message(&[("STOCK_MOCK_RATE", "0")]).contains("above 0"));
        assert!(message(&[("STOCK_SYMBOLS", ", ,")]).contains("AAPL,MSFT"));
        assert!(message(&[("STOCK_SOURCE", "alpaca")]).starts_with("APCA_API_KEY_ID is not set"));
        let replica = env(&[("WINDLASS_SERVICE_REPLICA", "2"), ("WINDLASS_SERVICE_REPLICAS", "2")]);
        assert!(service_context(&replica, "x").is_err());
    }

    #[test]
    fn keys_choose_alpaca_unless_another_source_is_named() {
        let keys = [("APCA_API_KEY_ID", "k"), ("APCA_API_SECRET_KEY", "s"), ("STOCK_ALPACA_FEED", "test")];
        let stock = StockSettings::from_env(&env(&keys)).unwrap();
        assert!(matches!(stock.source, TradeSource::Alpaca(_)));
        assert_eq!(stock.symbols, ["FAKEPACA"]);
        let named: Vec<_> = keys.into_iter().chain([("STOCK_SOURCE", "mock")]).collect();
        assert!(matches!(StockSettings::from_env(&env(&named)).unwrap().source, TradeSource::Mock { .. }));
        assert_eq!(stock_source(&env(&keys[..1])).unwrap(), StockSource::Mock);
    }

    #[test]
    fn kafka_settings_are_passed_on_but_not_printed() {
        let brokers = ("KAFKA_BOOTSTRAP_SERVERS", "a:9092");
        let further = ("KAFKA_PROPERTIES", r#"{"socket.timeout.ms": 5000}"#);
        let choice = LogChoice::from_env(&env(&[brokers, ("KAFKA_SASL_PASSWORD", "hunter2"), further])).unwrap();
        let LogChoice::Kafka(settings) = &choice else { panic!("{choice:?}") };
        let expected = [("sasl.password", "hunter2"), ("socket.timeout.ms", "5000")];
        assert_eq!(settings.properties, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert!(!format!("{choice:?}").contains("hunter2"));
        let secret = env(&[("SCHEMA_REGISTRY_BASIC_AUTH_USER_INFO", "hunter2")]);
        let refused = registry_access(&secret).unwrap_err().to_string();
        assert!(refused.contains("user:password") && !refused.contains("hunter2"), "{refused}");
        let wrong = LogChoice::from_env(&env(&[brokers, ("KAFKA_PROPERTIES", "secret=hunter2")])).unwrap_err();
        assert!(wrong.to_string().starts_with("KAFKA_PROPERTIES is") && !wrong.to_string().contains("hunter2"));
    }
}
