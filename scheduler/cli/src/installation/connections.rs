//! Connections. A server gives their secrets to nobody.

use model::masking::MASK;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use store::{
    audit::Actor,
    secrets::{Connection, Creation, Deletion, connections, connections::Stored},
};

use super::Installation;
use crate::{
    access::{Access, caller},
    exit::{Exit, Failure},
};

/// A connection as the API reads and writes it.
#[derive(Serialize, Deserialize)]
struct Row {
    connection_id: String,
    conn_type: String,
    description: Option<String>,
    host: Option<String>,
    login: Option<String>,
    schema: Option<String>,
    port: Option<i32>,
    password: Option<String>,
    extra: Option<String>,
}

impl From<Row> for Connection {
    fn from(row: Row) -> Self {
        Self {
            conn_id: row.connection_id,
            conn_type: row.conn_type,
            host: row.host,
            schema: row.schema,
            login: row.login,
            password: row.password,
            port: row.port,
            extra: row.extra,
            description: row.description,
        }
    }
}

impl From<Connection> for Row {
    fn from(connection: Connection) -> Self {
        Self {
            connection_id: connection.conn_id,
            conn_type: connection.conn_type,
            description: connection.description,
            host: connection.host,
            login: connection.login,
            schema: connection.schema,
            port: connection.port,
            password: connection.password,
            extra: connection.extra,
        }
    }
}

/// What a replacement without a password means. A server always keeps the stored one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoPassword {
    /// There is to be none.
    Removes,
    /// The stored one stays.
    Keeps,
}

impl Installation<'_> {
    /// Every connection; a server's are masked.
    ///
    /// # Errors
    /// When the installation does not answer.
    pub async fn connections(&self) -> anyhow::Result<Vec<Stored>> {
        match self {
            Self::Here(here) => {
                let key = Access::secret_key(here.settings)?;
                Ok(connections::all(here.access.pool().await?, &key).await?)
            }
            Self::Server(server) => {
                let rows: Vec<Row> = server.list(&["connections"], "connections", &[]).await?;
                Ok(rows.into_iter().map(|row| Stored { connection: row.into(), problem: None }).collect())
            }
        }
    }

    /// One connection; a server's is masked.
    ///
    /// # Errors
    /// When there is none of this id.
    pub async fn connection(&self, id: &str) -> anyhow::Result<Stored> {
        let missing = || Failure::missing(format!("there is no connection {id}"));
        match self {
            Self::Here(here) => {
                let key = Access::secret_key(here.settings)?;
                connections::find(here.access.pool().await?, &key, id).await?.ok_or_else(missing)
            }
            Self::Server(server) => match server.get::<Row>(&["connections", id], &[]).await {
                Err(error) if error.is_missing() => Err(missing()),
                found => Ok(Stored { connection: found?.into(), problem: None }),
            },
        }
    }

    /// Creates a connection unless one of its id exists.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn add_connection(&self, new: &Connection) -> anyhow::Result<Creation> {
        match self {
            Self::Here(here) => {
                let (pool, key) = (here.access.pool().await?, Access::secret_key(here.settings)?);
                Ok(connections::create(pool, &key, Actor::at_the_command_line(&caller()), new).await?)
            }
            Self::Server(server) => match server.post::<Value>(&["connections"], &Row::from(new.clone())).await {
                Err(error) if error.is_conflict() => Ok(Creation::Exists),
                done => Ok(done.map(|_| Creation::Created)?),
            },
        }
    }

    /// Replaces a connection that exists.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn replace_connection(&self, new: Connection, lacking: NoPassword) -> anyhow::Result<()> {
        let here = match self {
            Self::Here(here) => here,
            Self::Server(server) => {
                let id = new.conn_id.clone();
                server.patch::<Value>(&["connections", &id], &[], &Row::from(new)).await?;
                return Ok(());
            }
        };
        let (pool, key) = (here.access.pool().await?, Access::secret_key(here.settings)?);
        let id = new.conn_id.clone();
        let change = |old: Connection| {
            let kept = old.password.filter(|_| lacking == NoPassword::Keeps);
            Ok::<_, std::convert::Infallible>(Connection { password: new.password.or(kept), ..new })
        };
        connections::update(pool, &key, Actor::at_the_command_line(&caller()), &id, change).await?;
        Ok(())
    }

    /// Deletes a connection.
    ///
    /// # Errors
    /// When there is none of this id.
    pub async fn delete_connection(&self, id: &str) -> anyhow::Result<()> {
        let here = match self {
            Self::Here(here) => here,
            Self::Server(server) => return Ok(server.delete(&["connections", id]).await?),
        };
        match connections::delete(here.access.pool().await?, Actor::at_the_command_line(&caller()), id).await? {
            Deletion::Deleted => Ok(()),
            Deletion::Missing => Err(Failure::missing(format!("there is no connection {id}"))),
        }
    }

    /// Lets the server try a connection. What it says, when it works.
    ///
    /// # Errors
    /// When it does not work, or the server tests none.
    pub async fn test_connection(&self, id: &str) -> anyhow::Result<String> {
        #[derive(Deserialize)]
        struct Answer {
            status: bool,
            message: String,
        }
        let Self::Server(server) = self else {
            let text = "a connection is tested by a server: say --server URL, or set WINDLASS_SERVER_URL";
            return Err(Failure::of(Exit::Usage, text));
        };
        let mut known = Row::from(self.connection(id).await?.connection);
        // The server puts what it has stored in place of the mask.
        known.password.get_or_insert_with(|| MASK.to_owned());
        let answer: Answer = server.post(&["connections", "test"], &json!(known)).await?;
        if answer.status { Ok(answer.message) } else { Err(Failure::of(Exit::Error, answer.message)) }
    }
}
