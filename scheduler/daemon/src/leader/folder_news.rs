//! Takes what the DAG folder shows into the store: new versions, import errors, DAGs that are gone.
//!
//! What is stored is kept in memory and compared: only differences are written, some files at a time, between turns. What
//! PostgreSQL refuses of a file is that file's import error, and the other files are stored. A DAG with errors keeps
//! its last version, and the other DAGs of its file are taken as they are; a file that can not be read changes nothing for the
//! DAGs that it defined before.

use std::collections::{BTreeMap, BTreeSet};

use dag::{CompiledDag, DagFileError};
use engine::{DagVersion, Event};
use model::{BundleFile, BundleName, DagId, Epoch};
use sqlx::PgConnection;
use store::{
    BundledDag, FileBatch, StoreError, Writer, leader,
    versions::{self, StoredDefinition, StoredFiles},
};

use super::{DagSource, LeaderMetrics, scope::ScopeHandle};
use crate::folder::{BundleNews, FileNews, Folder, FolderNews, Known, Watcher};

/// So many files are stored in one transaction, with as many bytes of theirs: a turn does not wait long behind it.
const FILES_MAX: usize = 200;
/// See [`FILES_MAX`]. One file may have more by itself.
const BYTES_MAX: usize = 8 * 1024 * 1024;
/// More files than this are not heard of before some are stored: the watcher waits meanwhile.
const WAITING_MAX: usize = 2 * FILES_MAX;
/// How often a file is tried whose refusal may have had another reason than the file.
const TRIES_MAX: u32 = 3;

/// The DAG folder, as it was heard of and as the store has it.
#[derive(Debug)]
pub struct Folders {
    watcher: Option<Watcher>,
    /// What is to be stored, by file; none for a file that is gone.
    waiting: BTreeMap<BundleFile, Option<FileNews>>,
    /// DAGs that no file defines any more, once all that waits is stored.
    undefined: BTreeSet<DagId>,
    stored: StoredFiles,
    metrics: LeaderMetrics,
}

/// What was stored of the folder.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// For the engine.
    pub(super) events: Vec<Event>,
    /// Whether pages show something else now.
    pub(super) has_changed: bool,
}

impl Folders {
    /// Starts to watch the source, in a scope. All of it is heard of at first.
    pub(super) async fn watch(
        source: &DagSource,
        connection: &mut PgConnection,
        scope: &ScopeHandle,
        metrics: LeaderMetrics,
    ) -> Result<Self, StoreError> {
        let stored = versions::stored_files(connection).await?;
        let mut folders = Self { watcher: None, waiting: BTreeMap::new(), undefined: BTreeSet::new(), stored, metrics };
        match source {
            DagSource::Folder(root) => {
                let folder = Folder::known(root, folders.known());
                folders.watcher = Watcher::start(folder, scope.guest())
                    .inspect_err(|error| {
                        tracing::error!(%error, "no thread for the DAG folder: its changes are not seen");
                    })
                    .ok();
            }
            DagSource::Fixed(look) => folders.add(look.clone()),
        }
        Ok(folders)
    }

    fn known(&self) -> Known {
        Known {
            owners: self.stored.dags.iter().map(|(dag, stored)| (dag.clone(), file_of(stored))).collect(),
            files: self.stored.errors.keys().cloned().collect(),
        }
    }

    /// Hears of the folder, as long as there is room; waits for ever when there is none. May be dropped at any time.
    pub(super) async fn hear(&mut self) {
        let next = match &mut self.watcher {
            Some(watcher) if self.waiting.len() < WAITING_MAX => watcher.next().await,
            Some(_) | None => std::future::pending().await,
        };
        match next {
            Some(piece) => self.add(piece),
            None => {
                tracing::error!(
                    "the watch of the DAG folder has ended: its changes are not seen until the next leadership"
                );
                self.watcher = None;
            }
        }
    }

    /// The way to tell of bundles other than the DAG folder, when they are watched.
    pub(super) fn bundle_news(&self) -> Option<BundleNews> {
        self.watcher.as_ref().map(Watcher::bundle_news)
    }

    /// The bundles other than the DAG folder of which something is stored.
    pub(super) fn bundles(&self) -> BTreeSet<BundleName> {
        let of_dags = self.stored.dags.values().map(|stored| &stored.bundle);
        let all = of_dags.chain(self.stored.errors.keys().map(|file| &file.bundle));
        all.filter(|bundle| !bundle.is_folder()).cloned().collect()
    }

    /// Whether something is to be stored.
    pub(super) fn has_work(&self) -> bool {
        !(self.waiting.is_empty() && self.undefined.is_empty())
    }

    /// Whether a file defines a DAG.
    pub(super) fn defines(&self, dag: &DagId) -> bool {
        self.stored.dags.contains_key(dag)
    }

    /// How many errors there are in all files.
    pub(super) fn import_errors(&self) -> usize {
        self.stored.errors.values().map(Vec::len).sum()
    }

    fn add(&mut self, piece: FolderNews) {
        for (name, file) in piece.changed {
            for compiled in &file.dags {
                self.undefined.remove(&compiled.dag.dag_id);
            }
            self.waiting.insert(name, Some(file));
        }
        self.waiting.extend(piece.gone.into_iter().map(|name| (name, None)));
        self.undefined.extend(piece.undefined);
    }

    /// Stores some of what waits.
    pub(super) async fn take(&mut self, writer: &mut Writer, epoch: Epoch) -> Result<Taken, StoreError> {
        let mut taken = Taken::default();
        let batch = self.next_batch();
        if !batch.is_empty() {
            taken.has_changed = true;
            self.store(writer, epoch, batch, &mut taken.events).await?;
        }
        if self.waiting.is_empty() {
            for dag in std::mem::take(&mut self.undefined) {
                if self.stored.dags.remove(&dag).is_some() {
                    taken.events.push(Event::DagGone(dag));
                }
            }
        }
        Ok(taken)
    }

    /// Takes files from what waits until a batch is full; those that are as they are stored need nothing.
    fn next_batch(&mut self) -> Vec<(BundleFile, FileNews)> {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while batch.len() < FILES_MAX && bytes < BYTES_MAX {
            let Some((name, file)) = self.waiting.pop_first() else { break };
            // Nothing is wrong with a file that is gone.
            let mut file = file.unwrap_or_default();
            if !file.took.is_zero() {
                self.metrics.parsed(file.took);
            }
            file.errors = file.errors.into_iter().map(versions::storable).collect();
            file.dags
                .retain(|compiled| self.stored.dags.get(&compiled.dag.dag_id) != Some(&definition(&name, compiled)));
            if !file.dags.is_empty() || self.errors_differ(&name, &file.errors) {
                bytes += file.dags.iter().map(size).sum::<usize>();
                batch.push((name, file));
            }
        }
        batch
    }

    fn errors_differ(&self, name: &BundleFile, errors: &[DagFileError]) -> bool {
        self.stored.errors.get(name).map_or(&[][..], Vec::as_slice) != errors
    }

    /// Stores a batch; when it is refused, each of its files by itself, so that the refusal hits one.
    async fn store(
        &mut self,
        writer: &mut Writer,
        epoch: Epoch,
        batch: Vec<(BundleFile, FileNews)>,
        events: &mut Vec<Event>,
    ) -> Result<(), StoreError> {
        match self.store_together(writer, epoch, &batch).await {
            Ok(versions) => {
                events.extend(versions);
                return Ok(());
            }
            Err(error) if error.ends_leadership() => return Err(error),
            Err(error) => tracing::debug!(%error, files = batch.len(), "DAG files are stored one by one"),
        }
        for (name, file) in batch {
            events.extend(self.store_alone(writer, epoch, name, file).await?);
        }
        Ok(())
    }

    /// Stores one file. What is refused of it is its error.
    async fn store_alone(
        &mut self,
        writer: &mut Writer,
        epoch: Epoch,
        name: BundleFile,
        file: FileNews,
    ) -> Result<Vec<Event>, StoreError> {
        let alone = [(name, file)];
        let mut tries = 0;
        let error = loop {
            tries += 1;
            match self.store_together(writer, epoch, &alone).await {
                Ok(versions) => return Ok(versions),
                Err(error) if error.ends_leadership() => return Err(error),
                Err(error) if error.refuses_value() || tries >= TRIES_MAX => break error,
                Err(error) => tracing::debug!(%error, "a DAG file is stored again"),
            }
        };
        let [(name, file)] = alone;
        let refused = refusal(&name.name, &error);
        let errors = file.errors.into_iter().take(dag::ERRORS_PER_FILE_MAX - 1).chain([refused]).collect();
        let only_errors = [(name, FileNews { errors, ..FileNews::default() })];
        self.store_together(writer, epoch, &only_errors).await
    }

    async fn store_together(
        &mut self,
        writer: &mut Writer,
        epoch: Epoch,
        files: &[(BundleFile, FileNews)],
    ) -> Result<Vec<Event>, StoreError> {
        // Before they are stored, so that no older binary takes over between the two.
        let of_dag = |name: &BundleFile, compiled: &CompiledDag| {
            let of_bundle = if name.bundle.is_folder() { 1 } else { leader::FORMAT_OF_BUNDLES };
            leader::format_of_dag(&compiled.dag).max(of_bundle)
        };
        let formats =
            files.iter().flat_map(|(name, file)| file.dags.iter().map(move |compiled| of_dag(name, compiled)));
        if let Some(needed) = formats.max().filter(|needed| *needed > 1) {
            leader::raise_format(writer, epoch, needed).await?;
        }
        let differing = files.iter().filter(|(name, file)| self.errors_differ(name, &file.errors));
        let batch = FileBatch {
            dags: files.iter().flat_map(|(name, file)| bundled(name, file)).collect(),
            errors: differing.map(|(name, file)| (name, file.errors.as_slice())).collect(),
        };
        let versions = store::store_files(writer, epoch, &batch).await?;
        let stored = files.iter().flat_map(|(name, file)| file.dags.iter().map(move |compiled| (name, compiled)));
        for ((name, compiled), version) in stored.zip(&versions) {
            log_version(name, compiled, version);
            self.stored.dags.insert(compiled.dag.dag_id.clone(), definition(name, compiled));
        }
        for (name, errors) in batch.errors {
            for error in errors {
                tracing::warn!(%error, "a DAG file has an error");
            }
            if errors.is_empty() {
                self.stored.errors.remove(name);
            } else {
                self.stored.errors.insert(name.clone(), errors.to_vec());
            }
        }
        Ok(versions.into_iter().map(|version| Event::DagVersionStored { version }).collect())
    }
}

fn definition(file: &BundleFile, compiled: &CompiledDag) -> StoredDefinition {
    StoredDefinition {
        bundle: file.bundle.clone(),
        fileloc: compiled.fileloc.clone(),
        content_hash: compiled.content_hash.clone(),
        source_sha256: Some(compiled.source.sha256.clone()),
    }
}

fn file_of(stored: &StoredDefinition) -> BundleFile {
    BundleFile::new(stored.bundle.clone(), &stored.fileloc)
}

/// The DAGs of a file, with where it comes from.
fn bundled<'f>(name: &'f BundleFile, file: &'f FileNews) -> impl Iterator<Item = BundledDag<'f>> {
    let revision = file.revision.as_deref();
    file.dags.iter().map(move |compiled| BundledDag { compiled, bundle: name.bundle.as_str(), revision })
}

/// What is sent of a DAG, by its larger parts.
fn size(compiled: &CompiledDag) -> usize {
    let files: usize = compiled.files.iter().map(|file| file.bytes.len()).sum();
    files + compiled.source.bytes.len() + 2 * compiled.canonical_yaml.len()
}

fn refusal(name: &str, error: &StoreError) -> DagFileError {
    versions::storable(DagFileError {
        suggestion: Some("change the file, and it is tried again".to_owned()),
        ..DagFileError::of_file(name, format!("what the file defines can not be stored: {error}"))
    })
}

fn log_version(file: &BundleFile, compiled: &CompiledDag, version: &DagVersion) {
    tracing::info!(dag.id = %compiled.dag.dag_id, version = version.id.get(), %file, "a DAG version is current");
}
