//! Settings: environment variables, all of them listed in `.env.example`, checked before anything starts.

use std::{
    env,
    ffi::OsString,
    io::{self, IsTerminal as _},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4},
    path::{self, Path, PathBuf},
    str::FromStr,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, bail};
use chrono::TimeDelta;
use daemon::postgres::Urls;
use executor::{
    log::remote::{RemoteLogs, S3Access},
    process::Limits,
};
use link::LogArchive;
use replay::StockSource;
use secrets::Backends;
use store::retention::Retention;
use tracing_subscriber::EnvFilter;
use webui::{ConnectionTests, LocalLogins, Oidc, OidcSettings, TrustedProxies};

use crate::{fleet::settings::FleetSettings, production::Deployment, server::ServerChoice};

/// What the environment says, with defaults filled in.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `WINDLASS_HOME`.
    pub home: PathBuf,
    /// `WINDLASS_DAGS_FOLDER`.
    pub dags_folder: PathBuf,
    /// `WINDLASS_DAG_BUNDLES`: the bundles of DAG files that the leader fetches from git.
    pub bundles: Arc<daemon::bundles::Settings>,
    /// `WINDLASS_PORT`, on 127.0.0.1.
    pub port: u16,
    /// `WINDLASS_WEB_STATEMENT_TIMEOUT_SECS`: how long a statement of the web server may take.
    pub statement_timeout: Duration,
    /// `WINDLASS_REGISTRY_PORT`, on 127.0.0.1.
    pub registry_port: u16,
    /// `WINDLASS_WORKER_SLOTS`.
    pub worker_slots: u32,
    /// `WINDLASS_MAX_MAP_LENGTH`, `WINDLASS_TASK_QUEUED_TIMEOUT` and `WINDLASS_PRIORITY_AGING`: what is decided for all DAGs.
    pub engine: engine::Settings,
    /// `WINDLASS_TASK_MEMORY_MAX` and `WINDLASS_TASK_PIDS_MAX`: what each attempt and each service may use.
    pub task_limits: Limits,
    /// `DATABASE_URL`: an existing server for the state.
    pub database_url: Option<String>,
    /// `WINDLASS_LAKE_DATABASE_URL`: an existing database for catalogue, log and registry.
    pub lake_database_url: Option<String>,
    /// `WINDLASS_LAKE_WAREHOUSE`.
    pub warehouse: String,
    /// `WINDLASS_LOGS_REMOTE`: where logs of attempts are shipped to, when they are.
    pub logs_remote: Option<RemoteLogs>,
    /// `SCHEMA_REGISTRY_URL`, when it is set.
    pub registry_url: Option<String>,
    /// What an installation over several processes needs.
    pub fleet: FleetSettings,
    /// `WINDLASS_ENV`.
    pub deployment: Deployment,
    /// `WINDLASS_AUTO_MIGRATE`: whether schedulers and api processes bring the schema to their version when they start.
    pub auto_migrate: bool,
    /// `WINDLASS_KEEP_LOGS_DAYS`: how long a worker keeps logs.
    pub keep_logs: Option<Duration>,
    /// `WINDLASS_KEEP_RUNS_DAYS` and `WINDLASS_KEEP_AUDIT_DAYS`: how long history is kept.
    pub retention: Retention,
    /// `WINDLASS_TRUSTED_PROXIES`: the proxies whose word about a client's address is taken.
    pub trusted_proxies: TrustedProxies,
    /// `WINDLASS_PASSWORD_LENGTH_MIN`: the shortest password that a user may get, in characters.
    pub password_chars_min: usize,
    /// `WINDLASS_TEST_CONNECTION`: whether workers try connections out for clients.
    pub connection_tests: ConnectionTests,
    /// `WINDLASS_OIDC_…` and `WINDLASS_BASE_URL`: who logs people in beside us.
    pub oidc: Option<OidcSettings>,
    /// `WINDLASS_LOCAL_LOGINS`: whether names and passwords are taken.
    pub local_logins: LocalLogins,
    /// `WINDLASS_SECRETS_…`: where connections and variables are looked for before the environment and the database.
    pub secrets: secrets::Settings,
    /// `WINDLASS_LOG_FORMAT`, or `--log-format` before it.
    pub log_format: LogFormat,
    /// `WINDLASS_SERVER_URL`, or `--server` before it: the server that commands are carried out by.
    pub server: ServerChoice,
}

/// Settings that other programs have, too.
const SETTINGS_OF_OTHERS: [&str; 4] = ["DATABASE_URL", "SCHEMA_REGISTRY_URL", "STOCK_SOURCE", "AWS_ENDPOINT_URL"];

/// How log lines are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// A JSON object a line, for programs.
    Json,
}

impl LogFormat {
    /// How `WINDLASS_LOG_FORMAT` has it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
        }
    }
}

/// How much a program tells of itself when `WINDLASS_LOG` does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loudness {
    /// What it does: its log is read by those who keep it running.
    Server,
    /// What goes wrong: its result is read by who typed it.
    Client,
}

impl Settings {
    /// Reads them.
    ///
    /// # Errors
    /// When a value can not be read; the message names the variable and what it should be.
    pub fn from_environment() -> anyhow::Result<Self> {
        refuse_odd_bytes(env::vars_os())?;
        let home = absolute(&text("WINDLASS_HOME").unwrap_or_else(|| ".windlass".to_owned()))?;
        let warehouse =
            text("WINDLASS_LAKE_WAREHOUSE").unwrap_or_else(|| format!("file://{}", home.join("lake").display()));
        Ok(Self {
            dags_folder: absolute(&text("WINDLASS_DAGS_FOLDER").unwrap_or_else(|| "dags".to_owned()))?,
            bundles: Arc::new(bundles()?),
            port: number("WINDLASS_PORT", 8083)?,
            statement_timeout: statement_timeout()?,
            registry_port: number("WINDLASS_REGISTRY_PORT", 8081)?,
            worker_slots: number("WINDLASS_WORKER_SLOTS", 16)?,
            engine: engine_settings()?,
            task_limits: task_limits(text("WINDLASS_TASK_MEMORY_MAX"), text("WINDLASS_TASK_PIDS_MAX"))?,
            database_url: text("DATABASE_URL"),
            lake_database_url: text("WINDLASS_LAKE_DATABASE_URL"),
            logs_remote: logs_remote()?,
            registry_url: text("SCHEMA_REGISTRY_URL"),
            fleet: FleetSettings::from_environment()?,
            deployment: Deployment::from_environment()?,
            auto_migrate: switch("WINDLASS_AUTO_MIGRATE", true)?,
            keep_logs: days("WINDLASS_KEEP_LOGS_DAYS")?.and_then(|keep| keep.to_std().ok()),
            retention: Retention { runs: days("WINDLASS_KEEP_RUNS_DAYS")?, audit: days("WINDLASS_KEEP_AUDIT_DAYS")? },
            trusted_proxies: text("WINDLASS_TRUSTED_PROXIES")
                .unwrap_or_default()
                .parse()
                .context("WINDLASS_TRUSTED_PROXIES")?,
            password_chars_min: password_chars_min()?,
            connection_tests: text("WINDLASS_TEST_CONNECTION")
                .map_or(Ok(ConnectionTests::default()), |value| value.trim().parse())
                .map_err(|error: String| anyhow::anyhow!("WINDLASS_TEST_CONNECTION: {error}"))?,
            oidc: OidcSettings::read(&text)?,
            local_logins: local_logins()?,
            secrets: secrets::Settings::read(&text)?,
            log_format: log_format()?,
            server: ServerChoice::default(),
            warehouse,
            home,
        })
    }

    /// Checks what can be checked without starting anything: the DAG folder and the stock pipeline's source.
    ///
    /// # Errors
    /// What is wrong and what to do, with the line where a file is to blame.
    pub fn check(&self) -> anyhow::Result<()> {
        if !self.dags_folder.is_dir() {
            bail!("WINDLASS_DAGS_FOLDER: {} is not a folder", self.dags_folder.display());
        }
        if self.worker_slots == 0 {
            bail!("WINDLASS_WORKER_SLOTS is 0, so that no task could run; use 1 or more");
        }
        let most = u64::from(self.engine.max_map_length);
        if !(1..=dag::expand::INSTANCES_MAX).contains(&most) {
            bail!("WINDLASS_MAX_MAP_LENGTH is {most}; use a number from 1 to {}", dag::expand::INSTANCES_MAX);
        }
        self.fleet.check()?;
        self.deployment.check_credentials()?;
        let source = StockSource::parse(&text("STOCK_SOURCE").unwrap_or_default())?;
        replay::check(&source)?;
        Ok(())
    }

    /// The databases of an existing server, when the environment names them.
    #[must_use]
    pub fn given_databases(&self) -> Option<Urls> {
        let state = self.database_url.clone()?;
        let lake = self.lake_database_url.clone().unwrap_or_else(|| beside(&state));
        Some(Urls { state, lake })
    }

    /// Whether the key lies in the home and does not come from the environment.
    #[must_use]
    pub fn has_own_key(&self) -> bool {
        text("WINDLASS_SECRET_KEY").is_none() && text("WINDLASS_SECRET_KEY_FILE").is_none()
    }

    /// The shipped logs, for whoever shows logs.
    #[must_use]
    pub fn log_archive(&self) -> Option<Arc<dyn LogArchive>> {
        self.logs_remote.clone().map(|remote| Arc::new(remote) as Arc<dyn LogArchive>)
    }

    /// The identity provider, for a web server.
    ///
    /// # Errors
    /// When a setting names something that can not be used.
    pub fn identity_provider(&self) -> anyhow::Result<Option<Arc<Oidc>>> {
        Ok(self.oidc.clone().map(Oidc::new).transpose()?.map(Arc::new))
    }

    /// The secrets backends, for a leader.
    ///
    /// # Errors
    /// When a setting names something that can not be used.
    pub fn secrets_backends(&self) -> anyhow::Result<Arc<Backends>> {
        let backends = Backends::open(&self.secrets)?;
        let names: Vec<&str> = backends.names().collect();
        if !names.is_empty() {
            tracing::info!(
                "connections and variables come from {}, then the environment, then the database",
                names.join(", ")
            );
        }
        Ok(Arc::new(backends))
    }

    /// Where the UI and the API are served.
    #[must_use]
    pub fn address(&self) -> SocketAddrV4 {
        SocketAddrV4::new(Ipv4Addr::LOCALHOST, self.port)
    }

    /// Where this machine reaches the UI and the API: of a standalone, or of an api process with the same settings.
    #[must_use]
    pub fn api_address(&self) -> SocketAddr {
        match self.fleet.api_listen {
            Some(listen) if listen.ip().is_unspecified() && listen.is_ipv6() => {
                (Ipv6Addr::LOCALHOST, listen.port()).into()
            }
            Some(listen) if listen.ip().is_unspecified() => (Ipv4Addr::LOCALHOST, listen.port()).into(),
            Some(listen) => listen,
            None => self.address().into(),
        }
    }

    /// Where schemas are registered: a given registry, or the embedded one.
    #[must_use]
    pub fn registry(&self) -> String {
        self.registry_url.clone().unwrap_or_else(|| format!("http://127.0.0.1:{}", self.registry_port))
    }

    /// Logs go to standard error; `WINDLASS_LOG` chooses what.
    pub fn start_logging(&self, loudness: Loudness) {
        let usual = match loudness {
            Loudness::Server => "info,sqlx=warn",
            Loudness::Client => "warn",
        };
        let filter = EnvFilter::try_from_env("WINDLASS_LOG").unwrap_or_else(|_| EnvFilter::new(usual));
        let logging = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
        if self.log_format == LogFormat::Json {
            logging.json().flatten_event(true).init();
            return;
        }
        logging
            // Colours are for people at a terminal; a log file is read by programs, too.
            .with_ansi(io::stderr().is_terminal())
            .with_target(false)
            .init();
    }

    /// The folder of this program, where `windlass-tasks` lies, too.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn program_dir(&self) -> anyhow::Result<PathBuf> {
        let program = env::current_exe().context("this program's path can not be told")?;
        Ok(program.parent().map_or_else(|| PathBuf::from("/"), Path::to_owned))
    }
}

/// A setting that is true or false.
pub fn switch(name: &str, usual: bool) -> anyhow::Result<bool> {
    match text(name).as_deref().map(str::trim) {
        None => Ok(usual),
        Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(other) => bail!("{name} is {other:?}; expected true or false"),
    }
}

/// A number of days; none when nothing is set.
fn days(name: &str) -> anyhow::Result<Option<TimeDelta>> {
    let Some(days) = text(name) else { return Ok(None) };
    match days.trim().parse::<u32>() {
        Ok(days) if (1..=36_500).contains(&days) => Ok(Some(TimeDelta::days(i64::from(days)))),
        _ => bail!("{name} is {days:?}; expected a number of days from 1 to 36500"),
    }
}

/// The list itself, or the file that has it.
fn bundles() -> anyhow::Result<daemon::bundles::Settings> {
    const NAME: &str = "WINDLASS_DAG_BUNDLES";
    let Some(value) = text(NAME) else { return Ok(daemon::bundles::Settings::default()) };
    let list = if value.trim_start().starts_with('[') {
        value
    } else {
        std::fs::read_to_string(value.trim())
            .with_context(|| format!("{NAME} is neither a JSON list nor the path of a file with one: {value:?}"))?
    };
    daemon::bundles::Settings::parse(&list).map_err(anyhow::Error::msg).context(NAME)
}

fn local_logins() -> anyhow::Result<LocalLogins> {
    let taken = switch("WINDLASS_LOCAL_LOGINS", true)?;
    if !taken && text("WINDLASS_OIDC_ISSUER").is_none() {
        bail!("WINDLASS_LOCAL_LOGINS is false, and without WINDLASS_OIDC_ISSUER nobody could log in");
    }
    Ok(if taken { LocalLogins::Taken } else { LocalLogins::Refused })
}

fn log_format() -> anyhow::Result<LogFormat> {
    match text("WINDLASS_LOG_FORMAT").as_deref().map(str::trim) {
        None | Some("text") => Ok(LogFormat::Text),
        Some("json") => Ok(LogFormat::Json),
        Some(other) => bail!("WINDLASS_LOG_FORMAT is {other:?}; expected text or json"),
    }
}

fn task_limits(memory: Option<String>, processes: Option<String>) -> anyhow::Result<Limits> {
    let bytes = |text: String| {
        let bytes = model::container::parse_bytes(&text);
        bytes.with_context(|| {
            format!("WINDLASS_TASK_MEMORY_MAX is {text:?}; expected a size such as 512m, 2g or a number of bytes")
        })
    };
    let count = |text: String| match text.trim().parse() {
        Ok(count) if count > 0 => Ok(count),
        _ => bail!("WINDLASS_TASK_PIDS_MAX is {text:?}; expected a whole number of processes, 1 or more"),
    };
    Ok(Limits { memory_bytes: memory.map(bytes).transpose()?, processes: processes.map(count).transpose()? })
}

fn logs_remote() -> anyhow::Result<Option<RemoteLogs>> {
    let Some(location) = text("WINDLASS_LOGS_REMOTE") else { return Ok(None) };
    let access = S3Access {
        endpoint: text("AWS_ENDPOINT_URL"),
        region: text("AWS_REGION"),
        access_key_id: text("AWS_ACCESS_KEY_ID"),
        secret_access_key: text("AWS_SECRET_ACCESS_KEY"),
    };
    RemoteLogs::open(location.trim(), &access).context("WINDLASS_LOGS_REMOTE").map(Some)
}

/// The lake's database on the server of the state's.
fn beside(state: &str) -> String {
    let (address, query) = state.split_once('?').map_or((state, None), |(address, query)| (address, Some(query)));
    let server = address.rsplit_once('/').map_or(address, |(server, _)| server);
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    format!("{server}/windlass_lake{query}")
}

/// A variable that is set and not empty.
pub fn text(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.trim().is_empty())
}

fn number<T: FromStr>(name: &str, default: T) -> anyhow::Result<T> {
    match text(name) {
        None => Ok(default),
        Some(value) => match value.trim().parse() {
            Ok(number) => Ok(number),
            Err(_) => bail!("{name} is {value:?}; expected a whole number that fits"),
        },
    }
}

/// The shortest password. Four different characters are asked for anyway, and a login takes no more than some hundred.
fn password_chars_min() -> anyhow::Result<usize> {
    const NAME: &str = "WINDLASS_PASSWORD_LENGTH_MIN";
    const RANGE: std::ops::RangeInclusive<usize> = 4..=128;
    let chars = number(NAME, store::users::PASSWORD_CHARS_MIN)?;
    if !RANGE.contains(&chars) {
        bail!("{NAME} is {chars}; expected {} to {} characters", RANGE.start(), RANGE.end());
    }
    Ok(chars)
}

/// What is decided for all DAGs.
fn engine_settings() -> anyhow::Result<engine::Settings> {
    let usual = engine::Settings::default();
    Ok(engine::Settings {
        max_map_length: number("WINDLASS_MAX_MAP_LENGTH", usual.max_map_length)?,
        task_queued_timeout: duration("WINDLASS_TASK_QUEUED_TIMEOUT")?.unwrap_or(usual.task_queued_timeout),
        priority_aging: duration("WINDLASS_PRIORITY_AGING")?,
    })
}

/// A time that is not zero: seconds, or as DAG files have it.
fn duration(name: &str) -> anyhow::Result<Option<Duration>> {
    let Some(value) = text(name) else { return Ok(None) };
    match dag::parse_duration(&value) {
        Some(duration) if !duration.is_zero() => Ok(Some(duration)),
        Some(_) | None => bail!("{name} is {value:?}; expected a time longer than 0, such as 600 (seconds) or 10m"),
    }
}

/// How long a statement of the web server may take.
fn statement_timeout() -> anyhow::Result<Duration> {
    const NAME: &str = "WINDLASS_WEB_STATEMENT_TIMEOUT_SECS";
    /// PostgreSQL counts in milliseconds of 31 bits; a day is more than anybody waits for a page.
    const SECS_MAX: u64 = 86_400;
    match number(NAME, store::STATEMENT_TIMEOUT.as_secs())? {
        secs @ 1..=SECS_MAX => Ok(Duration::from_secs(secs)),
        other => bail!("{NAME} is {other}; expected 1 to {SECS_MAX} seconds"),
    }
}

fn absolute(path: &str) -> anyhow::Result<PathBuf> {
    path::absolute(path).with_context(|| format!("the place of {path} can not be told"))
}

/// A setting that is no text would count as one that is not set.
fn refuse_odd_bytes(variables: impl Iterator<Item = (OsString, OsString)>) -> anyhow::Result<()> {
    let is_ours = |name: &str| name.starts_with("WINDLASS_") || SETTINGS_OF_OTHERS.contains(&name);
    for (name, value) in variables {
        if let (Some(name), None) = (name.to_str(), value.to_str())
            && is_ours(name)
        {
            bail!("{name} is not UTF-8");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_of_tasks_are_sizes_and_counts_or_are_refused_by_name() {
        let limits = |memory: &str, processes: &str| task_limits(Some(memory.into()), Some(processes.into()));
        let both = Limits { memory_bytes: Some(2 << 30), processes: Some(500) };
        assert_eq!(limits("2g", " 500 ").unwrap(), both);
        assert_eq!(task_limits(None, None).unwrap(), Limits::default());
        assert!(limits("2 geese", "1").unwrap_err().to_string().contains("WINDLASS_TASK_MEMORY_MAX"));
        assert!(limits("1g", "0").unwrap_err().to_string().contains("WINDLASS_TASK_PIDS_MAX"));
    }

    #[test]
    fn a_setting_that_is_no_text_is_refused_by_name_and_other_variables_may_be_anything() {
        use std::os::unix::ffi::OsStringExt as _;
        let odd = || OsString::from_vec(vec![b'a', 0xff]);
        refuse_odd_bytes([("LS_COLORS".into(), odd()), (odd(), "x".into())].into_iter()).unwrap();
        for name in ["WINDLASS_HOME", "DATABASE_URL"] {
            let error = refuse_odd_bytes([(name.into(), odd())].into_iter()).unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
    }

    #[test]
    fn the_lake_lies_beside_the_state_on_the_same_server() {
        assert_eq!(beside("postgres://u:p@h:5432/windlass"), "postgres://u:p@h:5432/windlass_lake");
        assert_eq!(beside("postgres://h/w?sslmode=require"), "postgres://h/windlass_lake?sslmode=require");
    }
}
