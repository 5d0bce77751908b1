//! Bundles of DAG files and their revisions.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use dag::{Content, content::Entry};
use model::{BundleName, Timestamp};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use store::{
    audit::Actor,
    bundles::{self, Authorship, Deleted, InForce, NewRevision},
    read::{self, Window},
};

use super::Installation;
use crate::{access::caller, exit::Failure, server::ServerError};

/// A bundle.
#[derive(Deserialize)]
pub struct BundleRow {
    /// Its name.
    pub name: String,
    /// local, git or pushed.
    pub kind: String,
    /// Whether it is wanted.
    pub is_active: bool,
    /// The revision in force.
    pub bundle_version: Option<String>,
    /// What it is about.
    pub message: Option<String>,
    /// Who brought it.
    pub deployed_by: Option<String>,
    /// Since when it is in force.
    pub in_force_since: Option<Timestamp>,
    /// How many DAGs its files define.
    pub dag_count: i64,
    /// When it was polled last.
    pub last_poll: Option<Timestamp>,
    /// Why that failed.
    pub poll_error: Option<String>,
}

impl From<read::BundleView> for BundleRow {
    fn from(view: read::BundleView) -> Self {
        Self {
            name: view.name,
            kind: view.kind,
            is_active: view.is_active,
            bundle_version: view.revision,
            message: view.message,
            deployed_by: view.made_by,
            in_force_since: view.since,
            dag_count: view.dags,
            last_poll: view.polled_at,
            poll_error: view.poll_error,
        }
    }
}

/// A revision of a bundle.
#[derive(Deserialize)]
pub struct RevisionRow {
    /// Its name.
    pub bundle_version: String,
    /// Whether it is in force.
    pub is_current: bool,
    /// Who wrote it.
    pub author: Option<String>,
    /// What it is about.
    pub message: Option<String>,
    /// When it was stored.
    pub deployed_at: Timestamp,
    /// Who brought it.
    pub deployed_by: String,
    /// From which address.
    pub deployed_from: Option<String>,
    /// How many files it has.
    pub file_count: i32,
    /// How large they are together.
    pub byte_count: i64,
}

impl From<read::RevisionView> for RevisionRow {
    fn from(view: read::RevisionView) -> Self {
        Self {
            bundle_version: view.revision,
            is_current: view.is_current,
            author: view.author,
            message: view.message,
            deployed_at: view.made_at,
            deployed_by: view.made_by,
            deployed_from: view.address,
            file_count: view.files,
            byte_count: view.bytes,
        }
    }
}

/// Files that are to come into force.
pub struct Deployment {
    /// As a revision of this bundle.
    pub bundle: BundleName,
    /// The files.
    pub content: Content,
    /// What they are about.
    pub message: Option<String>,
}

/// What a server answers to a change.
#[derive(Deserialize)]
struct Answer {
    bundle_version: String,
    has_changed: bool,
}

impl From<Answer> for InForce {
    fn from(answer: Answer) -> Self {
        Self { revision: answer.bundle_version, has_changed: answer.has_changed }
    }
}

impl Installation<'_> {
    /// Every bundle, the DAG folder first.
    ///
    /// # Errors
    /// When the installation does not answer.
    pub async fn bundles(&self) -> anyhow::Result<Vec<BundleRow>> {
        #[derive(Deserialize)]
        struct List {
            dag_bundles: Vec<BundleRow>,
        }
        match self {
            Self::Here(here) => {
                Ok(read::bundles(here.access.pool().await?, None).await?.into_iter().map(BundleRow::from).collect())
            }
            Self::Server(server) => Ok(server.get::<List>(&["dagBundles"], &[]).await?.dag_bundles),
        }
    }

    /// The DAGs that a bundle's files define, with the hashes of their content; none when there is no such bundle.
    ///
    /// # Errors
    /// When the installation does not answer.
    pub async fn bundle_dags(&self, name: &BundleName) -> anyhow::Result<BTreeMap<String, String>> {
        #[derive(Deserialize)]
        struct Details {
            dags: Vec<Dag>,
        }
        #[derive(Deserialize)]
        struct Dag {
            dag_id: String,
            content_hash: String,
        }
        match self {
            Self::Here(here) => {
                let dags = read::bundle_dags(here.access.pool().await?, name).await?;
                Ok(dags.into_iter().map(|dag| (dag.dag_id.to_string(), dag.content_hash)).collect())
            }
            Self::Server(server) => match server.get::<Details>(&["dagBundles", name.as_str()], &[]).await {
                Ok(details) => Ok(details.dags.into_iter().map(|dag| (dag.dag_id, dag.content_hash)).collect()),
                Err(error) if error.is_missing() => Ok(BTreeMap::new()),
                Err(error) => Err(error.into()),
            },
        }
    }

    /// The newest revisions of a bundle.
    ///
    /// # Errors
    /// When there is no such bundle.
    pub async fn revisions(&self, name: &BundleName, most: usize) -> anyhow::Result<Vec<RevisionRow>> {
        match self {
            Self::Here(here) => {
                let pool = here.access.pool().await?;
                if read::bundles(pool, Some(name)).await?.is_empty() {
                    return Err(missing(name));
                }
                let window = Window { limit: i64::try_from(most)?, offset: 0 };
                Ok(read::revisions(pool, name, window).await?.0.into_iter().map(RevisionRow::from).collect())
            }
            Self::Server(server) => {
                let path = ["dagBundles", name.as_str(), "revisions"];
                server.first(&path, "revisions", &[], most).await.map_err(|error| of_bundle(error, name))
            }
        }
    }

    /// Brings files into force.
    ///
    /// # Errors
    /// When they are refused.
    pub async fn deploy(&self, deployment: Deployment) -> anyhow::Result<InForce> {
        let Deployment { bundle, content, message } = deployment;
        match self {
            Self::Here(here) => {
                let who = caller();
                let authorship = Authorship { author: Some(who.clone()), message, at: None };
                let revision = content.hash();
                let new =
                    NewRevision { bundle: &bundle, revision: &revision, authorship: &authorship, content: &content };
                let pool = here.access.pool().await?;
                Ok(bundles::deploy(pool, Actor::at_the_command_line(&who), &new).await?)
            }
            Self::Server(server) => {
                let mut files = Map::new();
                for (name, entry) in content.entries() {
                    if let Entry::File(file) = entry {
                        files.insert(name.to_owned(), Value::from(STANDARD.encode(&file.bytes)));
                    }
                }
                let body = json!({ "files": files, "message": message });
                let path = ["dagBundles", bundle.as_str(), "revisions"];
                Ok(server.post::<Answer>(&path, &body).await?.into())
            }
        }
    }

    /// Deletes a bundle that was pushed, with all of its revisions.
    ///
    /// # Errors
    /// When there is none, it is not pushed, or runs of its DAGs are running.
    pub async fn undeploy(&self, name: &BundleName) -> anyhow::Result<()> {
        match self {
            Self::Here(here) => {
                let who = caller();
                match bundles::delete(here.access.pool().await?, Actor::at_the_command_line(&who), name).await? {
                    Deleted::Done => Ok(()),
                    Deleted::Missing => Err(missing(name)),
                    Deleted::Busy(runs) => Err(Failure::refused(format!(
                        "runs of DAGs of bundle {name} are running ({}): wait for their end, or mark them as failed",
                        runs.join(", ")
                    ))),
                }
            }
            Self::Server(server) => {
                server.delete(&["dagBundles", name.as_str()]).await.map_err(|error| of_bundle(error, name))
            }
        }
    }

    /// Brings a revision into force again.
    ///
    /// # Errors
    /// When there is no such bundle or revision.
    pub async fn rollback(&self, name: &BundleName, revision: &str) -> anyhow::Result<InForce> {
        match self {
            Self::Here(here) => {
                let who = caller();
                let pool = here.access.pool().await?;
                Ok(bundles::rollback(pool, Actor::at_the_command_line(&who), name, revision).await?)
            }
            Self::Server(server) => {
                let path = ["dagBundles", name.as_str(), "rollback"];
                let done = server.post::<Answer>(&path, &json!({ "bundle_version": revision })).await;
                Ok(done.map_err(|error| of_bundle(error, name))?.into())
            }
        }
    }
}

fn missing(name: &BundleName) -> anyhow::Error {
    Failure::missing(format!("there is no bundle {name}; `windlass dags bundles` lists them"))
}

fn of_bundle(error: ServerError, name: &BundleName) -> anyhow::Error {
    if error.is_missing() { missing(name) } else { error.into() }
}
