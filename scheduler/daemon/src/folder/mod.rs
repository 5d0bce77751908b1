//! The DAG folder and the other bundles: what their files define, and what changed since they were last looked at.
//!
//! Only what changed is compiled: a file counts as changed when it, or a file that it asked for, did. A DAG belongs to one
//! file of one bundle; whoever defines it, too, has an error until the first one gives it up. What can not be read is an error and never
//! an absence: files below an unreadable folder keep what they defined.

mod claims;
mod list;
mod read;
mod source;
mod watch;

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::ControlFlow,
    panic::AssertUnwindSafe,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use dag::{CompiledDag, DagFileError, Loaded, Refused};
use model::{BundleFile, BundleName, DagId};

use claims::Claims;
use list::Listing;
use read::{FolderReader, Stamp, Unread};

pub use source::{Source, Stored};
pub use watch::{BundleNews, Watcher};

/// A piece of news has at most so many files: who stores them does other things in between.
const PIECE_FILES_MAX: usize = 200;
/// A piece of news is told after so long, however few files it has: they need not wait for the rest of the folder.
const PIECE_AFTER: Duration = Duration::from_millis(200);

/// What a look at the folder found to have changed, or a piece of it. The last piece has what is gone.
#[derive(Debug, Clone, Default)]
pub struct FolderNews {
    /// Files that are new or changed, by their bundle and their name below its root. An unreadable folder is among them, as
    /// its name and a slash.
    pub changed: BTreeMap<BundleFile, FileNews>,
    /// Files that are gone.
    pub gone: Vec<BundleFile>,
    /// DAGs that no file defines any more.
    pub undefined: BTreeSet<DagId>,
}

impl FolderNews {
    fn is_empty(&self) -> bool {
        self.changed.is_empty() && self.gone.is_empty() && self.undefined.is_empty()
    }
}

/// What a file holds now.
#[derive(Debug, Clone, Default)]
pub struct FileNews {
    /// The DAGs that it defines.
    pub dags: Vec<CompiledDag>,
    /// What is wrong with it.
    pub errors: Vec<DagFileError>,
    /// What is no mistake in it and may not be meant.
    pub warnings: Vec<DagFileError>,
    /// How long reading and compiling it took.
    pub took: Duration,
    /// The revision that it was read from; files of the DAG folder have none.
    pub revision: Option<Arc<str>>,
}

/// What is known of a folder before the first look: what an earlier look has found, and a store has kept.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// The file that defines each DAG.
    pub owners: BTreeMap<DagId, BundleFile>,
    /// Files that are known for other reasons: they had errors.
    pub files: BTreeSet<BundleFile>,
}

/// Takes what a look finds, piece by piece.
pub trait LookSink {
    /// Whether anybody still listens; asked between two files.
    fn listens(&self) -> bool;
    /// Takes a piece.
    fn take(&mut self, piece: FolderNews) -> ControlFlow<()>;
}

/// The DAG folder and other bundles, and what was last seen in them. A bundle that nothing was said of is unknown: its files may
/// all be there.
#[derive(Debug)]
pub struct Folder {
    sources: BTreeMap<BundleName, Source>,
    /// Every file that is said to exist.
    known: BTreeSet<BundleFile>,
    seen: BTreeMap<BundleFile, Seen>,
    claims: Claims,
}

/// A file as it was when it was last compiled.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    /// None when it could not be read, so that it is tried at each look.
    stamp: Option<Stamp>,
    /// The files that it asked for; those that were missing, too.
    asked: BTreeMap<String, Option<Stamp>>,
    /// What was told of it: the same again is no news.
    outcome: Outcome,
}

/// What tells one result from another.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Outcome {
    dags: Vec<(DagId, String, String)>,
    errors: Vec<DagFileError>,
}

impl Outcome {
    fn of(dags: &[CompiledDag], errors: &[DagFileError]) -> Self {
        let identity =
            |dag: &CompiledDag| (dag.dag.dag_id.clone(), dag.content_hash.clone(), dag.source.sha256.clone());
        Self { dags: dags.iter().map(identity).collect(), errors: errors.to_vec() }
    }
}

impl Folder {
    /// A folder that has not been looked at.
    #[must_use]
    pub fn new(root: &Path) -> Self {
        Self::known(root, Known::default())
    }

    /// A folder of which something is known. The first look tells every file that is there, and which ones are gone.
    #[must_use]
    pub fn known(root: &Path, known: Known) -> Self {
        let sources = BTreeMap::from([(BundleName::folder(), Source::Disk(root.to_owned()))]);
        let files = known.owners.values().cloned().chain(known.files).collect();
        Self { sources, known: files, seen: BTreeMap::new(), claims: Claims::of(known.owners) }
    }

    /// One revision of a bundle, and nothing else.
    #[must_use]
    pub fn revision(bundle: BundleName, stored: Stored) -> Self {
        let sources = BTreeMap::from([(bundle, Source::Stored(stored))]);
        Self { sources, known: BTreeSet::new(), seen: BTreeMap::new(), claims: Claims::of(BTreeMap::new()) }
    }

    /// Says where the files of a bundle are from now on; the next look tells what that changes.
    pub fn set(&mut self, bundle: BundleName, source: Source) {
        self.sources.insert(bundle, source);
    }

    /// Forgets how a file looked: the next look reads it, whether it has changed or not.
    pub fn forget(&mut self, file: &BundleFile) {
        if let Some(seen) = self.seen.get_mut(file) {
            seen.stamp = None;
        }
    }

    /// Looks at the folder and compiles what changed since the last look.
    pub fn look(&mut self) -> FolderNews {
        let mut all = Collected::default();
        // It is never told to stop.
        let _whole = self.look_in_pieces(&mut all);
        all.0
    }

    /// Looks at the folder, and tells what changed piece by piece.
    pub fn look_in_pieces(&mut self, sink: &mut impl LookSink) -> ControlFlow<()> {
        let listings: BTreeMap<BundleName, Listing> =
            self.sources.iter().map(|(bundle, source)| (bundle.clone(), source.list())).collect();
        let unknown = Listing::unknown();
        let listing_of = |file: &BundleFile| listings.get(&file.bundle).unwrap_or(&unknown);
        let mut look = Look { piece: FolderNews::default(), began: Instant::now(), released: BTreeSet::new(), sink };
        let gone: Vec<_> = self.known.iter().filter(|file| !listing_of(file).has(&file.name)).cloned().collect();
        for name in &gone {
            self.known.remove(name);
            self.seen.remove(name);
            look.released.extend(self.claims.forget(name));
        }
        for (bundle, listing) in &listings {
            for (folder, reason) in &listing.unreadable {
                self.take_unreadable(&BundleFile::new(bundle.clone(), folder), reason, &mut look)?;
            }
        }
        let mut again = self.claims.waiting_for(&look.released);
        for (bundle, listing) in &listings {
            for name in &listing.names {
                let file = BundleFile::new(bundle.clone(), name);
                if again.remove(&file) || !self.is_unchanged(&file) {
                    again.extend(self.take(&file, &mut look)?);
                }
            }
        }
        // Who waited for a DAG that is free now gets it. It ends: whoever comes here claims, and gives nothing up.
        while let Some(name) = again.pop_first() {
            if listing_of(&name).names.contains(&name.name) {
                again.extend(self.take(&name, &mut look)?);
            }
        }
        look.piece.gone = gone;
        look.piece.undefined = std::mem::take(&mut look.released);
        look.piece.undefined.retain(|dag| !self.claims.is_owned(dag));
        look.tell()
    }

    /// Compiles one file of the DAG folder, whether it has changed or not.
    pub fn file(&mut self, name: &str) -> FileNews {
        match self.compile(&BundleFile::in_folder(name)) {
            Ok((file, _)) => file,
            Err(Unread::Missing) => {
                FileNews { errors: vec![of_file(name, "there is no such file")], ..FileNews::default() }
            }
            Err(Unread::Unreadable(message)) => {
                FileNews { errors: vec![of_file(name, message)], ..FileNews::default() }
            }
        }
    }

    /// Takes a file into the news when it is any; files that get a DAG which this one has given up.
    fn take(&mut self, name: &BundleFile, look: &mut Look<'_, impl LookSink>) -> ControlFlow<(), BTreeSet<BundleFile>> {
        if !look.sink.listens() {
            return ControlFlow::Break(());
        }
        let before = self.claims.defined_by(name);
        let (file, seen) = match self.compile(name) {
            Ok(compiled) => compiled,
            // It was there a moment ago: the next look says that it is gone.
            Err(Unread::Missing) => return ControlFlow::Continue(BTreeSet::new()),
            Err(Unread::Unreadable(message)) => {
                let errors = vec![of_file(&name.name, message)];
                let outcome = Outcome::of(&[], &errors);
                (FileNews { errors, ..FileNews::default() }, Seen { stamp: None, asked: BTreeMap::new(), outcome })
            }
        };
        let released: BTreeSet<_> = before.into_iter().filter(|dag| !self.claims.is_owned(dag)).collect();
        let again = self.claims.waiting_for(&released);
        look.released.extend(released);
        self.remember(name, file, seen, look)?;
        ControlFlow::Continue(again)
    }

    fn take_unreadable(
        &mut self,
        folder: &BundleFile,
        reason: &str,
        look: &mut Look<'_, impl LookSink>,
    ) -> ControlFlow<()> {
        let what =
            if folder.bundle.is_folder() { "the folder can not be read" } else { "the bundle can not be renewed" };
        let message = format!("{what}: {reason}; what its files define stays as it was until it can be read again");
        let errors = vec![of_file(&folder.name, message)];
        let seen = Seen { stamp: None, asked: BTreeMap::new(), outcome: Outcome::of(&[], &errors) };
        self.remember(folder, FileNews { errors, ..FileNews::default() }, seen, look)
    }

    fn remember(
        &mut self,
        name: &BundleFile,
        file: FileNews,
        seen: Seen,
        look: &mut Look<'_, impl LookSink>,
    ) -> ControlFlow<()> {
        let is_news = self.seen.get(name).is_none_or(|before| before.outcome != seen.outcome);
        self.seen.insert(name.clone(), seen);
        self.known.insert(name.clone());
        if is_news { look.add(name, file) } else { ControlFlow::Continue(()) }
    }

    fn is_unchanged(&self, file: &BundleFile) -> bool {
        let Some(source) = self.sources.get(&file.bundle) else { return true };
        self.seen.get(file).is_some_and(|seen| {
            seen.stamp.is_some()
                && source.stamp(&file.name) == seen.stamp
                && seen.asked.iter().all(|(asked, before)| source.stamp(asked) == *before)
        })
    }

    /// Compiles a file, and settles whose DAGs its DAGs are.
    fn compile(&mut self, file: &BundleFile) -> Result<(FileNews, Seen), Unread> {
        let began = Instant::now();
        let source = self.sources.get(&file.bundle).ok_or(Unread::Missing)?;
        let name = file.name.as_str();
        let stamp = source.stamp(name);
        let text = source.text(name)?;
        let reader = source.reader();
        let Loaded { mut dags, mut errors, warnings, refused: unread } = load(name, &text, &reader);
        let (asked, all_read) = reader.into_asked();
        let revision = source.revision();
        let ids = dags.iter().map(|compiled| compiled.dag.dag_id.clone()).collect();
        let refused = self.claims.settle(file, ids, &unread);
        dags.retain(|compiled| !refused.contains_key(&compiled.dag.dag_id));
        errors.extend(refused.iter().map(|(dag, owner)| DagFileError {
            dag_id: Some(dag.to_string()),
            ..of_file(name, defined_twice(dag, owner, file))
        }));
        errors.truncate(dag::ERRORS_PER_FILE_MAX);
        let outcome = Outcome::of(&dags, &errors);
        let seen = Seen { stamp: stamp.filter(|_| all_read), asked, outcome };
        Ok((FileNews { dags, errors, warnings, took: began.elapsed(), revision }, seen))
    }
}

/// A look that goes on.
struct Look<'s, S> {
    piece: FolderNews,
    began: Instant,
    /// DAGs that a file has given up; another one may have taken them since.
    released: BTreeSet<DagId>,
    sink: &'s mut S,
}

impl<S: LookSink> Look<'_, S> {
    fn add(&mut self, name: &BundleFile, file: FileNews) -> ControlFlow<()> {
        self.piece.changed.insert(name.clone(), file);
        if self.piece.changed.len() >= PIECE_FILES_MAX || self.began.elapsed() >= PIECE_AFTER {
            return self.tell();
        }
        ControlFlow::Continue(())
    }

    fn tell(&mut self) -> ControlFlow<()> {
        self.began = Instant::now();
        let piece = std::mem::take(&mut self.piece);
        if piece.is_empty() { ControlFlow::Continue(()) } else { self.sink.take(piece) }
    }
}

/// All pieces as one.
#[derive(Default)]
struct Collected(FolderNews);

impl LookSink for Collected {
    fn listens(&self) -> bool {
        true
    }

    fn take(&mut self, piece: FolderNews) -> ControlFlow<()> {
        self.0.changed.extend(piece.changed);
        self.0.gone.extend(piece.gone);
        self.0.undefined.extend(piece.undefined);
        ControlFlow::Continue(())
    }
}

/// A panic is a defect of the compiler, and the error of the file that brought it about.
fn load(name: &str, text: &str, reader: &FolderReader<'_>) -> Loaded {
    let loaded = std::panic::catch_unwind(AssertUnwindSafe(|| dag::load(name, text, reader)));
    loaded.unwrap_or_else(|_| Loaded {
        errors: vec![of_file(
            name,
            "windlass gave up on this file: that is a defect of windlass, please report it with the file",
        )],
        refused: Refused::File,
        ..Loaded::default()
    })
}

fn defined_twice(dag: &DagId, owner: &BundleFile, file: &BundleFile) -> String {
    format!(
        "DAG {dag} is defined by {owner} already and stays there; {file} defines it, too: give it another dag_id, or \
         remove it from one of the two files"
    )
}

fn of_file(name: &str, message: impl Into<String>) -> DagFileError {
    DagFileError::of_file(name, message.into())
}

#[cfg(test)]
mod tests;
