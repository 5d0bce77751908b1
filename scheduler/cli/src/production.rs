//! `WINDLASS_ENV=production` refuses the credentials that compose.yaml falls back to, so that what was tried on a laptop
//! does not go to work with passwords that everybody can read.

use std::{env, str::FromStr};

use anyhow::bail;
use sqlx::PgPool;
use url::Url;

use crate::settings::text;

/// What compose.yaml uses when nothing else is set. A test holds the two against each other.
const LOCAL_DEFAULTS: &[&str] = &["admin", "airflow", "analytics", "local-lake", "local-state", "password"];

/// How a variable that holds a secret is called.
const SECRET_NAMES: &[&str] = &["PASSWORD", "SECRET_ACCESS_KEY", "SECRET_KEY"];

/// Where this installation runs: `WINDLASS_ENV`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deployment {
    /// On somebody's own machine: default credentials are for use.
    Local,
    /// Where others rely on it.
    Production,
}

impl FromStr for Deployment {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        match text.trim() {
            "local" => Ok(Self::Local),
            "production" => Ok(Self::Production),
            other => bail!("WINDLASS_ENV is {other:?}; expected local or production"),
        }
    }
}

impl Deployment {
    /// The one that the environment names, else a local one.
    ///
    /// # Errors
    /// When `WINDLASS_ENV` names none that is known.
    pub fn from_environment() -> anyhow::Result<Self> {
        text("WINDLASS_ENV").map_or(Ok(Self::Local), |name| name.parse())
    }

    /// In production, refuses an environment that holds a default credential.
    ///
    /// # Errors
    /// The names of the variables to set. Their values are not shown.
    pub fn check_credentials(self) -> anyhow::Result<()> {
        // What is no text is none of the defaults.
        let texts =
            env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        self.check_variables(texts)
    }

    fn check_variables(self, variables: impl Iterator<Item = (String, String)>) -> anyhow::Result<()> {
        if self == Self::Local {
            return Ok(());
        }
        let defaults = variables.filter(|(name, value)| is_default(name, value));
        let mut names: Vec<String> = defaults.map(|(name, _)| name).collect();
        names.sort_unstable();
        if names.is_empty() {
            return Ok(());
        }
        bail!(
            "WINDLASS_ENV is production, and these still have the passwords of compose.yaml, which everybody can read: {}. \
             Give each one of its own",
            names.join(", ")
        )
    }
}

/// Says that the first user still has its first password, which production refuses.
///
/// # Errors
/// In production, when it has; or when the database can not be asked.
pub async fn refuse_default_login(pool: &PgPool, deployment: Deployment) -> anyhow::Result<()> {
    const CHANGE: &str = "`windlass users reset-password --username airflow` asks for another one";
    if !store::users::has_default_password(pool).await? {
        return Ok(());
    }
    if deployment == Deployment::Production {
        bail!("WINDLASS_ENV is production, and the user airflow still has the password airflow: {CHANGE}");
    }
    tracing::warn!("the user airflow still has the password airflow: {CHANGE}");
    Ok(())
}

/// Whether a variable is a secret, or a URL with a password, and has a default for it.
fn is_default(name: &str, value: &str) -> bool {
    let secret = if SECRET_NAMES.iter().any(|ending| name.ends_with(ending)) {
        Some(value.to_owned())
    } else {
        Url::parse(value).ok().and_then(|url| url.password().map(str::to_owned))
    };
    secret.is_some_and(|secret| LOCAL_DEFAULTS.contains(&secret.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(variables: &[(&str, &str)]) -> Option<String> {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Deployment::Production.check_variables(variables).err().map(|error| error.to_string())
    }

    #[test]
    fn production_refuses_what_everybody_can_read_and_says_which() {
        let refused = refusal(&[
            ("DATABASE_URL", "postgres://windlass:local-state@db/windlass"),
            ("AWS_SECRET_ACCESS_KEY", "password"),
            ("HOME", "/home/airflow"),
            ("STOCK_SOURCE", "mock"),
        ]);
        let refused = refused.unwrap();
        assert!(refused.contains(": AWS_SECRET_ACCESS_KEY, DATABASE_URL."), "{refused}");
        assert!(!refused.contains("local-state"), "{refused}");
        assert_eq!(refusal(&[("DATABASE_URL", "postgres://windlass:f3b1@db/windlass"), ("PASSWORD", "f3b1")]), None);
        let local = [("PASSWORD".to_owned(), "password".to_owned())];
        assert!(Deployment::Local.check_variables(local.into_iter()).is_ok());
        assert!("staging".parse::<Deployment>().unwrap_err().to_string().contains("local or production"));
    }

    #[test]
    fn every_default_password_of_the_compose_file_is_known() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../compose.yaml");
        let file = std::fs::read_to_string(file).unwrap();
        let defaults: Vec<&str> = file
            .split("PASSWORD:-")
            .skip(1)
            .map(|rest| rest.split('}').next().unwrap())
            .filter(|default| !default.is_empty())
            .collect();
        assert!(defaults.len() >= 5, "{defaults:?}");
        for default in defaults {
            assert!(LOCAL_DEFAULTS.contains(&default), "{default} is a default that production would take");
        }
    }

    #[test]
    fn the_compose_file_hands_on_every_setting_that_can_mean_something_there() {
        /// What the image and the file fix, among it the files with secrets, and what needs an engine or control groups that
        /// a container has not.
        const NOT_THERE: &[&str] = &[
            "WINDLASS_SERVER_URL",
            "WINDLASS_TOKEN",
            "WINDLASS_TOKEN_FILE",
            "WINDLASS_AIRFLOW_PASSWORD",
            "WINDLASS_AIRFLOW_TOKEN",
            "WINDLASS_SECRET_KEY",
            "WINDLASS_JOIN_TOKEN",
            "WINDLASS_HOME",
            "WINDLASS_DAGS_FOLDER",
            "WINDLASS_REGISTRY_PORT",
            "WINDLASS_TASK_MEMORY_MAX",
            "WINDLASS_TASK_PIDS_MAX",
            "WINDLASS_LEADER_ENDPOINTS",
            "WINDLASS_WORKER_NAME",
            "WINDLASS_WORKER_LOG_DIR",
            "WINDLASS_DOCKER_PRIVILEGED",
            "WINDLASS_DOCKER_MOUNTS",
            "WINDLASS_SECRETS_FILES_CONNECTIONS_FILE",
            "WINDLASS_SECRETS_FILES_VARIABLES_FILE",
            "WINDLASS_SECRETS_FILES_CONNECTIONS_FOLDER",
            "WINDLASS_SECRETS_FILES_VARIABLES_FOLDER",
            "WINDLASS_SECRETS_VAULT_CA_FILE",
            "WINDLASS_SECRETS_VAULT_TOKEN_FILE",
            "WINDLASS_SECRETS_VAULT_SECRET_ID_FILE",
            "WINDLASS_SECRETS_VAULT_KUBERNETES_ROLE",
            "WINDLASS_SECRETS_VAULT_KUBERNETES_JWT_FILE",
            "WINDLASS_SECRETS_AWS_PROFILE",
            "WINDLASS_SECRETS_AWS_SECRET_ACCESS_KEY_FILE",
            "WINDLASS_OIDC_CLIENT_SECRET_FILE",
            "WINDLASS_OIDC_CA_FILE",
        ];
        let read =
            |name: &str| std::fs::read_to_string(format!("{}/../../{name}", env!("CARGO_MANIFEST_DIR"))).unwrap();
        let (listed, compose) = (read(".env.example"), read("compose.yaml"));
        let names = listed.lines().filter_map(|line| line.strip_prefix('#')?.split_once('='));
        let names: Vec<&str> = names.map(|(name, _)| name).filter(|name| name.starts_with("WINDLASS_")).collect();
        assert!(names.len() > 30, "{names:?}");
        for name in names {
            let handed_on = compose.contains(&format!("{name}:")) || compose.contains(&format!("${{{name}"));
            assert!(handed_on != NOT_THERE.contains(&name), "{name}");
        }
    }
}
