//! Takes what the DAG folder shows into the store: new versions, import errors, DAGs that are gone.
//!
//! A file with errors changes nothing for the DAGs that it defined before: they keep their last version.

use std::collections::{BTreeMap, BTreeSet};

use dag::CompiledDag;
use engine::Event;
use model::{DagId, Epoch};
use sqlx::PgConnection;
use store::{StoreError, Writer, versions};
use tokio::sync::mpsc;

use super::{DagSource, LeaderMetrics, News};
use crate::folder::{self, FileNews, FolderNews};

/// A look at the folder waits until the leader has taken the one before.
const LOOKS_WAITING_MAX: usize = 1;

/// Which file defines which DAGs, as the store has it.
#[derive(Debug)]
pub struct Folders {
    defined: BTreeMap<String, BTreeSet<DagId>>,
    /// How many errors each file has.
    errors: BTreeMap<String, usize>,
    metrics: LeaderMetrics,
    /// Until the first look, files of the store may be gone without the folder saying so.
    first_look: FirstLook,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FirstLook {
    Awaited,
    Done,
}

impl Folders {
    /// Starts to watch the source. The first look has all of it.
    pub(super) async fn watch(
        source: DagSource,
        connection: &mut PgConnection,
        news: mpsc::Sender<News>,
        metrics: LeaderMetrics,
    ) -> Result<Self, StoreError> {
        let (sender, mut looks) = mpsc::channel(LOOKS_WAITING_MAX);
        match source {
            DagSource::Folder(root) => {
                if let Err(error) = folder::watch(root, sender) {
                    tracing::error!(%error, "no thread for the DAG folder: its changes are not seen");
                }
            }
            // The channel is empty and has room for one.
            DagSource::Fixed(look) => drop(sender.try_send(look)),
        }
        tokio::spawn(async move {
            while let Some(look) = looks.recv().await {
                if news.send(News::Folder(look)).await.is_err() {
                    break;
                }
            }
        });
        let mut defined = BTreeMap::<_, BTreeSet<_>>::new();
        for (dag_id, fileloc) in versions::filelocs(connection).await? {
            defined.entry(fileloc).or_default().insert(dag_id);
        }
        Ok(Self { defined, errors: BTreeMap::new(), metrics, first_look: FirstLook::Awaited })
    }

    /// Stores a look; the events that follow for the engine.
    pub(super) async fn take(
        &mut self,
        writer: &mut Writer,
        epoch: Epoch,
        look: FolderNews,
    ) -> Result<Vec<Event>, StoreError> {
        let mut events = Vec::new();
        let mut gone = look.gone;
        if self.first_look == FirstLook::Awaited {
            self.first_look = FirstLook::Done;
            gone.extend(self.defined.keys().filter(|name| !look.changed.contains_key(*name)).cloned());
        }
        for (name, file) in look.changed {
            self.take_file(writer, epoch, &name, file, &mut events).await?;
        }
        for name in gone {
            versions::set_import_errors(writer, epoch, &name, &[]).await?;
            self.errors.remove(&name);
            let dags = self.defined.remove(&name).unwrap_or_default();
            events.extend(dags.into_iter().filter(|dag| self.is_undefined(dag)).map(Event::DagGone));
        }
        Ok(events)
    }

    async fn take_file(
        &mut self,
        writer: &mut Writer,
        epoch: Epoch,
        name: &str,
        file: FileNews,
        events: &mut Vec<Event>,
    ) -> Result<(), StoreError> {
        for error in &file.errors {
            tracing::warn!(%error, "a DAG file has an error");
        }
        versions::set_import_errors(writer, epoch, name, &file.errors).await?;
        self.metrics.parsed(file.took);
        match file.errors.len() {
            0 => drop(self.errors.remove(name)),
            count => drop(self.errors.insert(name.to_owned(), count)),
        }
        let now_defined: BTreeSet<_> = file.dags.iter().map(|compiled| compiled.dag.dag_id.clone()).collect();
        for compiled in &file.dags {
            events.push(Event::DagVersionStored { version: store_version(writer, epoch, compiled).await? });
        }
        let before = self.defined.remove(name).unwrap_or_default();
        let keeps = if file.errors.is_empty() { BTreeSet::new() } else { before.clone() };
        let dropped: Vec<_> = before.difference(&now_defined).filter(|dag| !keeps.contains(dag)).cloned().collect();
        self.defined.insert(name.to_owned(), now_defined.union(&keeps).cloned().collect());
        events.extend(dropped.into_iter().filter(|dag| self.is_undefined(dag)).map(Event::DagGone));
        Ok(())
    }

    /// How many errors there are in all files.
    pub(super) fn import_errors(&self) -> usize {
        self.errors.values().sum()
    }

    fn is_undefined(&self, dag: &DagId) -> bool {
        !self.defined.values().any(|dags| dags.contains(dag))
    }
}

async fn store_version(
    writer: &mut Writer,
    epoch: Epoch,
    compiled: &CompiledDag,
) -> Result<engine::DagVersion, StoreError> {
    let version = versions::store_version(writer, epoch, compiled).await?;
    tracing::info!(dag.id = %compiled.dag.dag_id, version = version.id.get(), file = %compiled.fileloc, "a DAG version is current");
    Ok(version)
}
