//! An Airflow as it is read: 3 by `/api/v2`, 2 by `/api/v1`, each with its own way to log in.

use std::collections::BTreeSet;

use anyhow::Context;
use reqwest::Url;
use serde::Deserialize;

use crate::{
    exit::Failure,
    server::{Api, Auth, Server},
};

/// Who reads.
pub enum Credentials {
    /// Whoever has this token.
    Token(String),
    /// A user with a password.
    User {
        /// The name.
        username: String,
        /// The password.
        password: String,
    },
}

/// An Airflow that can be read.
pub struct Source {
    server: Server,
    api: Api,
    /// What it says of itself.
    pub version: String,
    /// Who reads, when that is known.
    pub username: Option<String>,
}

/// A pool there.
#[derive(Debug, Clone, Deserialize)]
pub struct SourcePool {
    /// Its name.
    pub name: String,
    /// Its slots; -1 without a limit.
    pub slots: i64,
    /// What it is for.
    pub description: Option<String>,
    /// Whether deferred tasks keep their slots.
    #[serde(default)]
    pub include_deferred: bool,
}

/// A variable there.
#[derive(Debug, Clone, Deserialize)]
pub struct SourceVariable {
    /// Its key.
    pub key: String,
    /// Its value, or a mask.
    pub value: Option<String>,
    /// What it is for.
    pub description: Option<String>,
}

/// A connection there. Its secrets are masked or left out.
#[derive(Debug, Clone, Deserialize)]
pub struct SourceConnection {
    /// Its id.
    pub connection_id: String,
    /// Its type.
    pub conn_type: String,
    /// What it is for.
    pub description: Option<String>,
    /// Host name or address.
    pub host: Option<String>,
    /// User.
    pub login: Option<String>,
    /// Schema or database.
    pub schema: Option<String>,
    /// Port.
    pub port: Option<i32>,
    /// A mask when there is a password. Airflow 2 does not say.
    pub password: Option<String>,
    /// Further settings.
    pub extra: Option<String>,
}

/// A DAG there.
#[derive(Debug, Clone, Deserialize)]
pub struct SourceDag {
    /// Its id.
    pub dag_id: String,
    /// Whether it is held back.
    pub is_paused: Option<bool>,
}

#[derive(Deserialize)]
struct Version {
    version: String,
}

impl Source {
    /// Finds out which Airflow it is, and logs in.
    ///
    /// # Errors
    /// When nothing that is an Airflow answers there, or it refuses.
    pub async fn open(url: &Url, credentials: Credentials) -> anyhow::Result<Self> {
        let nobody = |api| anyhow::Ok(Server::at(url.clone(), Auth::Nobody)?.speaking(api));
        let newer = nobody(Api::V2)?.get::<Version>(&["version"], &[]).await;
        let (api, version) = match newer {
            Ok(found) => (Api::V2, found.version),
            Err(error) if error.is_silence() => return Err(error.into()),
            Err(_) => {
                let older: Version = nobody(Api::V1)?
                    .get(&["version"], &[])
                    .await
                    .context("neither /api/v2 of Airflow 3 nor /api/v1 of Airflow 2 answers there")?;
                (Api::V1, older.version)
            }
        };
        let username = match &credentials {
            Credentials::Token(_) => None,
            Credentials::User { username, .. } => Some(username.clone()),
        };
        let auth = match (api, credentials) {
            (_, Credentials::Token(token)) => Auth::Token(token),
            (Api::V1, Credentials::User { username, password }) => Auth::Password { username, password },
            (Api::V2, Credentials::User { username, password }) => {
                Auth::Token(nobody(api)?.token_of(&username, &password).await?)
            }
        };
        let server = nobody(api)?.with(auth);
        Ok(Self { server, api, version, username })
    }

    /// Its pools.
    ///
    /// # Errors
    /// What it says.
    pub async fn pools(&self) -> anyhow::Result<Vec<SourcePool>> {
        Ok(self.server.list(&["pools"], "pools", &[]).await?)
    }

    /// Its variables.
    ///
    /// # Errors
    /// What it says.
    pub async fn variables(&self) -> anyhow::Result<Vec<SourceVariable>> {
        Ok(self.server.list(&["variables"], "variables", &[]).await?)
    }

    /// Its connections, as far as they can be read.
    ///
    /// # Errors
    /// What it says.
    pub async fn connections(&self) -> anyhow::Result<Vec<SourceConnection>> {
        let listed: Vec<SourceConnection> = self.server.list(&["connections"], "connections", &[]).await?;
        if self.api == Api::V2 {
            return Ok(listed);
        }
        // Airflow 2's list leaves `extra` out; one by one they have it.
        let mut whole = Vec::with_capacity(listed.len());
        for one in listed {
            whole.push(self.server.get(&["connections", &one.connection_id], &[]).await?);
        }
        Ok(whole)
    }

    /// Its DAGs.
    ///
    /// # Errors
    /// What it says.
    pub async fn dags(&self) -> anyhow::Result<Vec<SourceDag>> {
        Ok(self.server.list(&["dags"], "dags", &[]).await?)
    }

    /// The favorites of who reads.
    ///
    /// # Errors
    /// What it says; that Airflow 2 has none.
    pub async fn favorites(&self) -> anyhow::Result<BTreeSet<String>> {
        if self.api == Api::V1 {
            return Err(Failure::refused("Airflow 2 has no favorites"));
        }
        let found: Vec<SourceDag> = self.server.list(&["dags"], "dags", &[("is_favorite", "true")]).await?;
        Ok(found.into_iter().map(|dag| dag.dag_id).collect())
    }

    /// Whether it says which connections have a password.
    #[must_use]
    pub const fn tells_of_passwords(&self) -> bool {
        matches!(self.api, Api::V2)
    }

    /// Whether it has favorites.
    #[must_use]
    pub const fn has_favorites(&self) -> bool {
        matches!(self.api, Api::V2)
    }
}
