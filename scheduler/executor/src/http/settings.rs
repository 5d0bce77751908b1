//! What a connection's `extra` says of how requests are made, beside headers: Airflow's HttpHook's names.
//!
//! A task's own `extra_options` go before the connection's where they are not the defaults. What can not be done is refused
//! when the attempt starts: a request without the certificate or around the proxy that somebody asked for would be worse.

use std::{fs, time::Duration};

use link::ConnectionFields;
use model::operator::HttpOptions;
use reqwest::{Certificate, Client, Identity, Proxy, redirect::Policy};
use serde_json::Value;

/// How long connecting may take, within the time limit of the whole exchange.
pub(super) const CONNECT_WAIT: Duration = Duration::from_secs(15);

/// Settings that are no headers.
pub(super) const SETTINGS: &[&str] = &[
    "allow_redirects",
    "auth_kwargs",
    "auth_type",
    "cert",
    "check_response",
    "max_redirects",
    "proxies",
    "proxy",
    "stream",
    "timeout",
    "trust_env",
    "verify",
];

/// How requests are made: the task's options with those of its connection.
#[derive(Debug, Default)]
pub(super) struct Settings {
    /// With the connection's where the task has the default.
    pub(super) options: HttpOptions,
    /// Files of authorities that are trusted beside the system's.
    authorities: Vec<String>,
    /// Files of the client's certificate and key; one may hold both.
    certificate: Vec<String>,
    proxies: Vec<(String, String)>,
    ignores_environment: bool,
}

impl Settings {
    /// The options of a task without a connection.
    pub(super) fn of_task(options: HttpOptions) -> Self {
        Self { options, ..Self::default() }
    }

    /// Adds what a connection says.
    ///
    /// # Errors
    /// One sentence with the key that has no such value or can not be done.
    pub(super) fn with(mut self, connection: &ConnectionFields) -> Result<Self, String> {
        let extra = connection
            .extra_settings()
            .map_err(|error| format!("connection {:?}: its extra is no JSON object: {error}", connection.conn_id))?;
        for (name, value) in extra.iter().filter(|(_, value)| !value.is_null()) {
            self.take(name, value)
                .map_err(|expected| format!("connection {:?}, extra {name:?}: {expected}", connection.conn_id))?;
        }
        Ok(self)
    }

    fn take(&mut self, name: &str, value: &Value) -> Result<(), String> {
        let default = HttpOptions::default();
        let options = &mut self.options;
        match name {
            "allow_redirects" if options.allow_redirects == default.allow_redirects => {
                options.allow_redirects = truth(value)?;
            }
            "check_response" if options.check_response == default.check_response => {
                options.check_response = truth(value)?;
            }
            "max_redirects" if options.max_redirects == default.max_redirects => {
                options.max_redirects = number(value)? as u32;
            }
            // Exactly the default is what says that the task has none of its own.
            #[allow(clippy::float_cmp, reason = "compared with what it was set from")]
            "timeout" if options.timeout_secs == default.timeout_secs => options.timeout_secs = number(value)?,
            "verify" => match value {
                Value::String(path) if truth(value).is_err() => self.authorities.push(path.clone()),
                value if options.verify == default.verify => options.verify = truth(value)?,
                _ => {}
            },
            "cert" => self.certificate = files(value)?,
            "proxies" | "proxy" => self.proxies = proxies(value)?,
            "trust_env" => self.ignores_environment = !truth(value)?,
            "auth_type" | "auth_kwargs" => {
                return Err("is not supported; a login and password are sent as basic authentication, and any other \
                            way is a header"
                    .to_owned());
            }
            // A body is read in pieces, whatever is wanted here.
            _ => {}
        }
        Ok(())
    }

    /// The client that makes requests so.
    ///
    /// # Errors
    /// One sentence: a file that can not be read or holds nothing of the kind, or a proxy that is no URL.
    pub(super) fn client(&self) -> Result<Client, String> {
        let redirects = usize::try_from(self.options.max_redirects).unwrap_or(usize::MAX);
        let mut builder = Client::builder()
            .user_agent(concat!("windlass/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_WAIT)
            .redirect(if self.options.allow_redirects { Policy::limited(redirects) } else { Policy::none() })
            .danger_accept_invalid_certs(!self.options.verify);
        for path in &self.authorities {
            let pem = read(path)?;
            let found = Certificate::from_pem_bundle(&pem).map_err(|error| format!("verify, {path}: {error}"))?;
            if found.is_empty() {
                return Err(format!("verify, {path}: it holds no certificate in PEM form"));
            }
            builder = found.into_iter().fold(builder, reqwest::ClientBuilder::add_root_certificate);
        }
        if !self.certificate.is_empty() {
            let pem = self.certificate.iter().map(|path| read(path)).collect::<Result<Vec<_>, _>>()?.join(&b'\n');
            let identity = Identity::from_pem(&pem)
                .map_err(|error| format!("cert, {}: {error}", self.certificate.join(" and ")))?;
            builder = builder.identity(identity);
        }
        if self.ignores_environment || !self.proxies.is_empty() {
            builder = builder.no_proxy();
        }
        for (scheme, url) in &self.proxies {
            // The address may hold a password.
            let refused = |_| format!("proxies, {scheme}: not a proxy's address, such as http://proxy:3128");
            builder = builder.proxy(match scheme.as_str() {
                "http" => Proxy::http(url).map_err(refused)?,
                "https" => Proxy::https(url).map_err(refused)?,
                _ => Proxy::all(url).map_err(refused)?,
            });
        }
        builder.build().map_err(|error| error.to_string())
    }
}

fn read(path: &str) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|error| format!("{path} can not be read on this worker: {error}"))
}

fn truth(value: &Value) -> Result<bool, String> {
    let expected = || "true or false is expected".to_owned();
    match value {
        Value::Bool(value) => Ok(*value),
        Value::String(text) => match text.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" => Ok(true),
            "false" | "0" | "no" => Ok(false),
            _ => Err(expected()),
        },
        _ => Err(expected()),
    }
}

fn number(value: &Value) -> Result<f64, String> {
    let found = match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    found
        .filter(|found| (0.0..1e9).contains(found))
        .ok_or_else(|| "a number that is not negative is expected".to_owned())
}

/// A file, or the files of certificate and key.
fn files(value: &Value) -> Result<Vec<String>, String> {
    let found = match value {
        Value::String(path) => Some(vec![path.clone()]),
        Value::Array(paths) if paths.len() == 2 => {
            paths.iter().map(|path| path.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>()
        }
        _ => None,
    };
    found.ok_or_else(|| "a file with certificate and key, or a list of the two files, is expected".to_owned())
}

fn proxies(value: &Value) -> Result<Vec<(String, String)>, String> {
    let expected = || r#"an address for each scheme is expected, such as {"https": "http://proxy:3128"}"#.to_owned();
    match value {
        Value::String(url) => Ok(vec![("all".to_owned(), url.clone())]),
        Value::Object(by_scheme) => by_scheme
            .iter()
            .map(|(scheme, url)| match (scheme.as_str(), url.as_str()) {
                ("http" | "https" | "all", Some(url)) => Ok((scheme.clone(), url.to_owned())),
                _ => Err(expected()),
            })
            .collect(),
        _ => Err(expected()),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::connection, *};

    fn with(extra: &str, options: HttpOptions) -> Result<Settings, String> {
        Settings::of_task(options).with(&connection("", extra))
    }

    #[test]
    fn a_connections_settings_act_and_the_tasks_own_go_before_them() {
        let extra = r#"{"timeout": "5", "verify": false, "check_response": false, "allow_redirects": "no", "max_redirects": 2}"#;
        let options = with(extra, HttpOptions::default()).unwrap().options;
        let expected = HttpOptions {
            timeout_secs: 5.0,
            allow_redirects: false,
            max_redirects: 2,
            check_response: false,
            verify: false,
        };
        assert_eq!(options, expected);
        let own = HttpOptions { timeout_secs: 7.0, ..HttpOptions::default() };
        assert!((with(extra, own).unwrap().options.timeout_secs - 7.0).abs() < 1e-9);
    }

    #[test]
    fn what_can_not_be_done_is_refused_by_name() {
        let refused = |extra: &str| match with(extra, HttpOptions::default()) {
            Err(reason) => reason,
            Ok(settings) => settings.client().unwrap_err(),
        };
        for (extra, word) in [
            (r#"{"auth_type": "digest"}"#, "auth_type"),
            (r#"{"verify": "/no/such/ca.pem"}"#, "/no/such/ca.pem"),
            (r#"{"cert": ["/no/such.pem", "/no/such.key"]}"#, "/no/such.pem"),
            (r#"{"cert": 5}"#, "cert"),
            (r#"{"proxies": {"ftp": "http://p"}}"#, "proxies"),
            (r#"{"timeout": -1}"#, "timeout"),
            ("[1]", "no JSON object"),
        ] {
            let reason = refused(extra);
            assert!(reason.contains(word), "{extra}: {reason}");
        }
    }
}
