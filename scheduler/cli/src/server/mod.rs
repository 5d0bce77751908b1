//! A server of Windlass or Airflow, by its REST API: one client with bounds, its errors, and the tokens it is spoken to with.

mod client;
mod error;
mod tokens;

pub use client::{Api, Auth, Server};
pub use error::ServerError;
pub use tokens::{forget, keep, kept, of_file as token_of_file, secret_of, token_for};

use std::{env, path::PathBuf};

use anyhow::Context;
use reqwest::Url;

use crate::{
    exit::{Exit, Failure},
    settings::text,
};

/// The setting that names a server.
const SERVER_URL: &str = "WINDLASS_SERVER_URL";

/// Which server the commands are for, and where its token lies, when that was said.
#[derive(Debug, Clone, Default)]
pub struct ServerChoice {
    /// The server; none when the command is for this machine's installation or for `DATABASE_URL`.
    pub url: Option<Url>,
    /// Whether it was named in the command itself.
    pub is_explicit: bool,
    /// `--token-file`.
    pub token_file: Option<PathBuf>,
}

impl ServerChoice {
    /// Reads it: an option goes before the environment.
    ///
    /// # Errors
    /// When it is no URL of a server.
    pub fn of(option: Option<String>, token_file: Option<PathBuf>) -> anyhow::Result<Self> {
        let is_explicit = option.is_some();
        let (name, url) = match option {
            Some(url) => ("--server", Some(url)),
            None => (SERVER_URL, text(SERVER_URL)),
        };
        let url = url.map(|url| server_url(&url).context(name)).transpose()?;
        Ok(Self { url, is_explicit, token_file })
    }

    /// The server.
    ///
    /// # Errors
    /// When none was named.
    pub fn named(&self) -> anyhow::Result<&Url> {
        let text = || format!("no server is named; say --server URL, or set {SERVER_URL}");
        self.url.as_ref().ok_or_else(|| Failure::of(Exit::Usage, text()))
    }
}

/// An address as people write it.
///
/// # Errors
/// When it is none, or holds what would be seen on the command line or be lost.
pub fn server_url(text: &str) -> anyhow::Result<Url> {
    const EXAMPLE: &str = "such as https://windlass.example.com or http://127.0.0.1:8083";
    let refuse = |what: &str| Failure::of(Exit::Usage, format!("{what}, {EXAMPLE}"));
    // What can not be read may hold a password, so it is not repeated.
    let mut url = Url::parse(text.trim()).map_err(|error| refuse(&format!("it is no URL ({error})")))?;
    if !["http", "https"].contains(&url.scheme()) || url.host_str().is_none() {
        return Err(refuse("expected an http or https URL"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(refuse("a command line is seen by every process: leave name and password out of the URL"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(refuse("expected an address without `?` and `#`"));
    }
    // People copy the address of the API or of a page with its slash.
    let path = url.path().trim_end_matches('/').to_owned();
    let path = ["/api/v2", "/api/v1"].iter().find_map(|end| path.strip_suffix(end)).unwrap_or(&path).to_owned();
    url.set_path(&path);
    Ok(url)
}

/// The folder of this user's settings.
///
/// # Errors
/// When the environment names none.
fn config_folder() -> anyhow::Result<PathBuf> {
    let absolute = |name: &str| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let folder = absolute("XDG_CONFIG_HOME").or_else(|| absolute("HOME").map(|home| home.join(".config")));
    let folder = folder.context("neither XDG_CONFIG_HOME nor HOME names a folder for logins; use WINDLASS_TOKEN")?;
    Ok(folder.join("windlass"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_taken_as_people_write_it() {
        for text in ["http://h:8083", "http://h:8083/", " http://h:8083/api/v2/ "] {
            assert_eq!(server_url(text).unwrap().as_str(), "http://h:8083/", "{text}");
        }
        assert_eq!(server_url("https://h/windlass/").unwrap().as_str(), "https://h/windlass");
    }

    #[test]
    fn what_is_no_address_is_refused_without_repeating_a_password() {
        for (text, says) in [
            ("h:8083", "http or https"),
            ("ftp://h", "http or https"),
            ("https://me:canary@h", "leave name and password out"),
            ("https://h/?token=canary", "without `?`"),
            ("https://me:canary@h:port", "no URL"),
        ] {
            let error = format!("{:#}", server_url(text).unwrap_err());
            assert!(error.contains(says) && !error.contains("canary"), "{text}: {error}");
        }
    }
}
