//! What a URL, or the fields of a connection, say of a server.

use std::{fmt, path::PathBuf, time::Duration};

use sqlx::postgres::{PgConnectOptions, PgSslMode};
use url::Url;

use crate::{CONNECT_TIMEOUT, tunnel::Certificates};

/// What may stand behind the question mark of a URL, as libpq calls it.
const PARAMETERS: [&str; 14] = [
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "application_name",
    "connect_timeout",
    "options",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "channel_binding",
];
/// The modes of TLS.
const MODES: &str = "disable, allow, prefer, require, verify-ca, verify-full";
/// The root certificates of the system, in libpq's words.
const SYSTEM_ROOTS: &str = "system";

/// A server, and how to connect to it.
#[derive(Debug, Clone)]
pub struct Target {
    options: PgConnectOptions,
    connect_timeout: Duration,
    certificates: Certificates,
    authority: Authority,
}

/// Who is asked whether a certificate is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Authority {
    /// Nobody was named.
    Unnamed,
    /// Those of a file.
    File,
    /// Those that the system trusts.
    System,
}

/// Why a text names no server. Says the parameter, and never a value that may be secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoTarget(String);

impl fmt::Display for NoTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NoTarget {}

impl Target {
    /// A target from options that were put together elsewhere, without parameters of their own yet.
    #[must_use]
    pub fn new(options: PgConnectOptions) -> Self {
        // sqlx heeds libpq's variables by itself.
        let file = |name: &str| std::env::var_os(name).map(PathBuf::from);
        let certificates =
            Certificates { root: file("PGSSLROOTCERT"), client: file("PGSSLCERT"), key: file("PGSSLKEY") };
        let authority = if certificates.root.is_some() { Authority::File } else { Authority::Unnamed };
        Self { options, connect_timeout: CONNECT_TIMEOUT, certificates, authority }.tightened()
    }

    /// The target of a URL, `postgres://user:password@host:port/database?sslmode=…`.
    ///
    /// # Errors
    /// When it is none, or has a parameter that is unknown or has no such value.
    pub fn parse(text: &str) -> Result<Self, NoTarget> {
        let mut url = Url::parse(text)
            .map_err(|error| NoTarget(format!("{error}; write postgres://user:password@host:port/database")))?;
        if !matches!(url.scheme(), "postgres" | "postgresql") {
            return Err(NoTarget(
                "its scheme is not postgres; write postgres://user:password@host:port/database".into(),
            ));
        }
        let parameters: Vec<(String, String)> =
            url.query_pairs().map(|(name, value)| (spelling(&name).to_owned(), value.into_owned())).collect();
        let (ours, theirs): (Vec<_>, Vec<_>) = parameters.into_iter().partition(|(name, _)| is_ours(name));
        url.query_pairs_mut().clear().extend_pairs(&theirs);
        for (name, _) in &theirs {
            known(name)?;
        }
        let options = url.as_str().parse().map_err(|error: sqlx::Error| NoTarget(error.to_string()))?;
        ours.iter().try_fold(Self::new(options), |target, (name, value)| target.with(name, value))
    }

    /// The same with a parameter of libpq.
    ///
    /// # Errors
    /// When it is unknown, or has no such value.
    pub fn with(mut self, name: &str, value: &str) -> Result<Self, NoTarget> {
        known(name)?;
        match name {
            "sslmode" => {
                let mode: PgSslMode =
                    value.parse().map_err(|_| NoTarget(format!("sslmode is {value:?}; it is one of {MODES}")))?;
                self.options = self.options.ssl_mode(mode);
            }
            "sslrootcert" if value == SYSTEM_ROOTS => self.authority = Authority::System,
            "sslrootcert" => {
                self.options = self.options.ssl_root_cert(value);
                self.certificates.root = Some(value.into());
                self.authority = Authority::File;
            }
            "sslcert" => {
                self.options = self.options.ssl_client_cert(value);
                self.certificates.client = Some(value.into());
            }
            "sslkey" => {
                self.options = self.options.ssl_client_key(value);
                self.certificates.key = Some(value.into());
            }
            "application_name" => self.options = self.options.application_name(value),
            "connect_timeout" => self.connect_timeout = timeout(value)?,
            "options" => self.options = settings(value)?.into_iter().fold(self.options, |all, one| all.options([one])),
            // Without it the login is as safe as the connection; what demands it must not be let down silently.
            "channel_binding" if value == "require" => {
                return Err(NoTarget("channel_binding=require is not supported; use sslmode=verify-full".into()));
            }
            "channel_binding" if matches!(value, "prefer" | "disable") => {}
            "channel_binding" => {
                return Err(NoTarget(format!("channel_binding is {value:?}; it is prefer or disable")));
            }
            other => return Err(NoTarget(format!("{other} belongs to the address, not to its parameters"))),
        }
        Ok(self.tightened())
    }

    /// The same with another application name.
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        self.options = self.options.application_name(name);
        self
    }

    /// The same with its options changed.
    #[must_use]
    pub fn map(mut self, change: impl FnOnce(PgConnectOptions) -> PgConnectOptions) -> Self {
        self.options = change(self.options);
        self
    }

    /// What sqlx is told.
    #[must_use]
    pub fn options(&self) -> &PgConnectOptions {
        &self.options
    }

    /// How long a connection may take to be made.
    #[must_use]
    pub fn connect_timeout(&self) -> Duration {
        self.connect_timeout
    }

    /// The files of certificates.
    pub(crate) fn certificates(&self) -> &Certificates {
        &self.certificates
    }

    /// Who names an authority wants it asked: libpq's rules. Of the system's everybody gets a certificate, for a name of his
    /// own, so that only the name tells the server.
    fn tightened(mut self) -> Self {
        match (self.authority, self.options.get_ssl_mode()) {
            (Authority::System, _) => self.options = self.options.ssl_mode(PgSslMode::VerifyFull),
            (Authority::File, PgSslMode::Require) => self.options = self.options.ssl_mode(PgSslMode::VerifyCa),
            (Authority::File | Authority::Unnamed, _) => {}
        }
        self
    }
}

/// libpq's spelling of a parameter that sqlx also takes with hyphens.
fn spelling(name: &str) -> &str {
    match name {
        "ssl-mode" => "sslmode",
        "ssl-root-cert" | "ssl-ca" => "sslrootcert",
        "ssl-cert" => "sslcert",
        "ssl-key" => "sslkey",
        other => other,
    }
}

/// Whether we read a parameter of a URL ourselves.
fn is_ours(name: &str) -> bool {
    matches!(name, "sslmode" | "sslrootcert" | "sslcert" | "sslkey" | "connect_timeout" | "channel_binding")
}

fn known(name: &str) -> Result<(), NoTarget> {
    if PARAMETERS.contains(&name) || name.starts_with("options[") {
        return Ok(());
    }
    let nearest =
        PARAMETERS.into_iter().max_by(|a, b| strsim::jaro_winkler(name, a).total_cmp(&strsim::jaro_winkler(name, b)));
    let nearest = nearest.expect("there are parameters");
    Err(NoTarget(format!(
        "the parameter {name:?} is unknown; did you mean {nearest}? Known: {}",
        PARAMETERS.join(", ")
    )))
}

fn timeout(value: &str) -> Result<Duration, NoTarget> {
    match value.parse::<u64>() {
        // libpq takes 0 for no limit; here every wait has one.
        Ok(0) => Ok(CONNECT_TIMEOUT),
        Ok(seconds) if seconds <= 600 => Ok(Duration::from_secs(seconds)),
        _ => Err(NoTarget(format!("connect_timeout is {value:?}; it is a number of seconds up to 600"))),
    }
}

/// The settings of `options`, written as for the server: `-c name=value`, or `--name=value`.
fn settings(value: &str) -> Result<Vec<(String, String)>, NoTarget> {
    let mut words = value.split_whitespace();
    let mut found = Vec::new();
    while let Some(word) = words.next() {
        let setting = match word.strip_prefix("-c").or_else(|| word.strip_prefix("--")) {
            Some("") => words.next(),
            other => other,
        };
        match setting.and_then(|setting| setting.split_once('=')) {
            Some((name, value)) => found.push((name.to_owned(), value.to_owned())),
            None => return Err(NoTarget("options is written as -c name=value, one after the other".into())),
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_parameter_or_mode_is_refused_with_what_is_right() {
        let refused = |url: &str| Target::parse(url).unwrap_err().to_string();
        let mode = refused("postgres://h/d?sslmode=verfy-full");
        assert!(mode.contains("\"verfy-full\"") && mode.contains("verify-full"), "{mode}");
        let name = refused("postgres://h/d?sslmod=require");
        assert!(name.contains("did you mean sslmode?"), "{name}");
        assert!(refused("mysql://h/d").contains("postgres://"));
        assert!(refused("postgres://me:s3cret@h/d?sslpasword=s3cret2").find("s3cret").is_none());
        assert!(refused("postgres://h/d?channel_binding=require").contains("verify-full"));
        assert!(refused("postgres://h/d?channel_binding=requird").contains("requird"));
        assert!(refused("postgres://h/d?connect_timeout=soon").contains("seconds"));
    }

    #[test]
    fn a_root_certificate_makes_require_check_it() {
        let mode = |url: &str| Target::parse(url).unwrap().options().get_ssl_mode();
        assert!(matches!(mode("postgres://h/d?sslmode=require"), PgSslMode::Require));
        assert!(matches!(mode("postgres://h/d?sslmode=require&sslrootcert=/ca.pem"), PgSslMode::VerifyCa));
        assert!(matches!(mode("postgres://h/d?sslrootcert=/ca.pem&sslmode=require"), PgSslMode::VerifyCa));
        assert!(matches!(mode("postgres://h/d?sslmode=verify-full&sslrootcert=/ca.pem"), PgSslMode::VerifyFull));
        assert!(matches!(mode("postgres://h/d"), PgSslMode::Prefer));
        for parameters in ["", "&sslmode=prefer", "&sslmode=require", "&sslmode=verify-ca"] {
            let mode = mode(&format!("postgres://h/d?sslrootcert=system{parameters}"));
            assert!(matches!(mode, PgSslMode::VerifyFull), "{parameters}: {mode:?}");
        }
        assert!(matches!(mode("postgres://h/d?sslmode=require&sslrootcert=system"), PgSslMode::VerifyFull));
    }

    #[test]
    fn parameters_act() {
        let target = Target::parse("postgres://me@h:1/d?application_name=etl&connect_timeout=3").unwrap();
        assert_eq!(target.options().get_application_name(), Some("etl"));
        assert_eq!(target.connect_timeout(), Duration::from_secs(3));
        let target = target.with("options", "-c search_path=a,b --work_mem=1MB").unwrap();
        let options = target.options().get_options().unwrap();
        assert!(options.contains("search_path=a,b") && options.contains("work_mem=1MB"), "{options}");
        assert!(target.with("options", "search_path=a").is_err());
    }
}
