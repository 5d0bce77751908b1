//! How the leader gets into a repository: a token or a key, out of a connection or a file.
//!
//! A secret is never an argument of a program and never in the address: git reads it from its environment, ssh from a file that goes
//! with the poll.

use std::{fmt, fs, io, path::Path};

use serde_json::{Map, Value};
use store::secrets::Connection;

/// Who a token belongs to when nobody says: hosts look at the token alone.
const TOKEN_USER: &str = "x-access-token";
/// A token file that is longer is something else.
const TOKEN_BYTES_MAX: u64 = 16 * 1024;

/// What lets somebody into a repository.
#[derive(Clone, Default)]
pub struct Access {
    /// Where the repository is, when the connection says it.
    pub(super) repo_url: Option<String>,
    pub(super) user: Option<String>,
    pub(super) password: Option<String>,
    /// The text of a private key.
    pub(super) private_key: Option<String>,
    /// The file with one.
    pub(super) key_file: Option<String>,
    /// Whose keys are trusted.
    pub(super) known_hosts_file: Option<String>,
    /// ssh's word for how much: yes, accept-new, no.
    pub(super) host_key_checking: Option<String>,
}

impl fmt::Debug for Access {
    /// Shows no secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access").field("repo_url", &self.repo_url).finish_non_exhaustive()
    }
}

impl Access {
    /// What a connection of Airflow's type `git` gives.
    ///
    /// # Errors
    /// What of it can not be used.
    pub fn of_connection(connection: &Connection) -> Result<Self, String> {
        let extra = match connection.extra.as_deref().map(str::trim).filter(|text| !text.is_empty()) {
            Some(text) => serde_json::from_str::<Map<String, Value>>(text)
                .map_err(|_| format!("the extra of connection {} is no JSON object", connection.conn_id))?,
            None => Map::new(),
        };
        let text =
            |name: &str| extra.get(name).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned);
        let checking = match extra.get("strict_host_key_checking") {
            None | Some(Value::Null) => None,
            Some(Value::Bool(strict)) => Some(if *strict { "yes" } else { "no" }.to_owned()),
            Some(Value::String(word)) if ["yes", "no", "accept-new"].contains(&word.as_str()) => Some(word.clone()),
            Some(_) => {
                return Err(format!(
                    "strict_host_key_checking of connection {} is none of yes, no and accept-new",
                    connection.conn_id
                ));
            }
        };
        if text("private_key_passphrase").is_some() {
            return Err(format!("connection {} has a key with a passphrase; give it one without", connection.conn_id));
        }
        let repo_url = connection.host.clone().filter(|host| !host.is_empty());
        if let Some(url) = &repo_url {
            super::settings::check_url(url)
                .map_err(|why| format!("the host of connection {}: {why}", connection.conn_id))?;
        }
        Ok(Self {
            repo_url,
            user: connection.login.clone().filter(|login| !login.is_empty()),
            password: connection.password.clone().filter(|password| !password.is_empty()),
            private_key: text("private_key"),
            key_file: text("key_file"),
            known_hosts_file: text("known_hosts_file"),
            host_key_checking: checking,
        })
    }

    /// The token in a file.
    ///
    /// # Errors
    /// When it can not be read, or holds none.
    pub fn of_token_file(path: &Path) -> Result<Self, String> {
        let read = || -> io::Result<String> {
            if fs::metadata(path)?.len() > TOKEN_BYTES_MAX {
                return Err(io::Error::other("it is too large for a token"));
            }
            fs::read_to_string(path)
        };
        let token = read().map_err(|error| format!("token_file {} can not be read: {error}", path.display()))?;
        match token.trim() {
            "" => Err(format!("token_file {} is empty", path.display())),
            token => Ok(Self { password: Some(token.to_owned()), ..Self::default() }),
        }
    }

    /// Where the repository is, when the connection says it.
    #[must_use]
    pub fn url(&self) -> Option<String> {
        self.repo_url.clone()
    }

    /// What is sent to a server of the web, as Basic authentication has it before it is encoded.
    pub(super) fn basic(&self) -> Option<String> {
        let password = self.password.as_ref()?;
        Some(format!("{}:{password}", self.user.as_deref().unwrap_or(TOKEN_USER)))
    }

    /// A text without any of the secrets.
    pub(super) fn masked(&self, text: &str, encoded: Option<&str>) -> String {
        const MASK: &str = "***";
        let mut text = text.to_owned();
        for secret in [self.password.as_deref(), encoded].into_iter().flatten() {
            text = text.replace(secret, MASK);
        }
        text
    }
}
