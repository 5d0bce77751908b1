//! Files on a local disk that outlast a loss of power once they are written.
//!
//! What always holds: when a write has been answered, the file's content and its name are on the disk, and at no moment
//! does a name stand for less than the whole content. Object stores give this by themselves; the local store does neither
//! of the two.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, Write as _},
    path::{Path as FilePath, PathBuf},
};

use async_trait::async_trait;
use futures::stream::BoxStream;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result, UploadPart, local::LocalFileSystem,
    path::Path,
};

/// Folders above a file in a new folder that may be new, too: a partition, its table's part, the table, its namespace.
const FOLDERS_MADE_MAX: usize = 4;
/// What the local store is called in errors.
const STORE: &str = "LocalFileSystem";

/// The local file system, with writes that last.
#[derive(Debug)]
pub(crate) struct DurableFiles {
    files: LocalFileSystem,
}

impl DurableFiles {
    /// The whole file system.
    pub(crate) fn new() -> Self {
        Self { files: LocalFileSystem::new() }
    }

    /// Makes sure that a file which the inner store has written lasts.
    async fn settle(&self, location: &Path) -> Result<()> {
        let path = self.files.path_to_filesystem(location)?;
        blocking(location, move || {
            File::open(&path)?.sync_all()?;
            sync_folders([path.as_path()])
        })
        .await
    }
}

impl std::fmt::Display for DurableFiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "durable {}", self.files)
    }
}

#[async_trait]
impl ObjectStore for DurableFiles {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        let exists = match opts.mode {
            PutMode::Create => Exists::Refused,
            PutMode::Overwrite => Exists::Replaced,
            PutMode::Update(_) => return self.files.put_opts(location, payload, opts).await,
        };
        let path = self.files.path_to_filesystem(location)?;
        blocking(location, move || write_whole(&path, &payload, exists)).await?;
        Ok(PutResult { e_tag: None, version: None })
    }

    async fn put_multipart_opts(&self, location: &Path, opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        let upload = self.files.put_multipart_opts(location, opts).await?;
        let path = self.files.path_to_filesystem(location)?;
        Ok(Box::new(DurableUpload { upload, location: location.clone(), path }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.files.get_opts(location, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.files.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.files.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.files.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.files.copy_opts(from, to, options).await?;
        self.settle(to).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.files.rename_opts(from, to, options).await?;
        self.settle(to).await
    }
}

/// An upload in parts, lasting once it is complete.
#[derive(Debug)]
struct DurableUpload {
    upload: Box<dyn MultipartUpload>,
    location: Path,
    path: PathBuf,
}

#[async_trait]
impl MultipartUpload for DurableUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        self.upload.put_part(data)
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let result = self.upload.complete().await?;
        let path = self.path.clone();
        blocking(&self.location, move || {
            File::open(&path)?.sync_all()?;
            sync_folders([path.as_path()])
        })
        .await?;
        Ok(result)
    }

    async fn abort(&mut self) -> Result<()> {
        self.upload.abort().await
    }
}

/// What is done with a file that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Exists {
    Refused,
    Replaced,
}

/// Writes a file beside its place, brings that to the disk, and only then gives it its name.
fn write_whole(path: &FilePath, payload: &PutPayload, exists: Exists) -> io::Result<()> {
    // The local store's lists leave out names that end like this.
    let beside = PathBuf::from(format!("{}#{}", path.display(), rand::random::<u64>()));
    let written = write_beside(&beside, payload).and_then(|folders_made| {
        match exists {
            Exists::Refused => fs::hard_link(&beside, path),
            Exists::Replaced => fs::rename(&beside, path),
        }?;
        Ok(folders_made)
    });
    if exists == Exists::Refused || written.is_err() {
        match fs::remove_file(&beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(file.path = %beside.display(), %error, "a temporary file stays");
            }
            Ok(()) | Err(_) => {}
        }
    }
    // The file's name is new in its folder, and that of each folder that was made in the one above.
    let folders_made = written?;
    path.ancestors().skip(1).take(folders_made + 1).try_for_each(|folder| File::open(folder)?.sync_all())
}

/// Writes a file and makes the folders that it lacks; answers how many.
fn write_beside(path: &FilePath, payload: &PutPayload) -> io::Result<usize> {
    let create = || File::options().write(true).create_new(true).open(path);
    let (mut file, folders_made) = match create() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let missing = path.ancestors().skip(1).take_while(|folder| !folder.exists()).count();
            fs::create_dir_all(path.parent().unwrap_or(path))?;
            (create()?, missing)
        }
        other => (other?, 0),
    };
    for piece in payload.iter() {
        file.write_all(piece)?;
    }
    file.sync_all()?;
    Ok(folders_made)
}

/// Brings the names of files to the disk, and those of the folders that they are in.
pub(crate) fn sync_folders<'a>(paths: impl IntoIterator<Item = &'a FilePath>) -> io::Result<()> {
    let folders: BTreeSet<&FilePath> =
        paths.into_iter().flat_map(|path| path.ancestors().skip(1).take(FOLDERS_MADE_MAX)).collect();
    folders.into_iter().try_for_each(|folder| File::open(folder)?.sync_all())
}

async fn blocking(location: &Path, work: impl FnOnce() -> io::Result<()> + Send + 'static) -> Result<()> {
    let done = tokio::task::spawn_blocking(work).await;
    let done = done.map_err(|error| object_store::Error::JoinError { source: error })?;
    done.map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => {
            object_store::Error::AlreadyExists { path: location.to_string(), source: source.into() }
        }
        io::ErrorKind::NotFound => object_store::Error::NotFound { path: location.to_string(), source: source.into() },
        _ => object_store::Error::Generic { store: STORE, source: source.into() },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::TryStreamExt as _;
    use object_store::ObjectStoreExt as _;

    fn place(folder: &tempfile::TempDir, name: &str) -> Path {
        Path::from_absolute_path(folder.path().join(name)).unwrap()
    }

    #[tokio::test]
    async fn a_file_is_made_once_or_replaced_and_nothing_is_left_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let store = DurableFiles::new();
        let path = place(&folder, "a/b/c.json");
        let create = || PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        store.put_opts(&path, "one".into(), create()).await.unwrap();
        let again = store.put_opts(&path, "two".into(), create()).await.unwrap_err();
        assert!(matches!(again, object_store::Error::AlreadyExists { .. }), "{again}");
        assert_eq!(store.get(&path).await.unwrap().bytes().await.unwrap(), "one");
        store.put(&path, "three".into()).await.unwrap();
        assert_eq!(store.get(&path).await.unwrap().bytes().await.unwrap(), "three");
        store.rename(&path, &place(&folder, "a/d.json")).await.unwrap();
        let mut upload = store.put_multipart(&place(&folder, "e/f.bin")).await.unwrap();
        upload.put_part("four".into()).await.unwrap();
        upload.complete().await.unwrap();
        let prefix = place(&folder, "");
        let mut names: Vec<String> = store
            .list(Some(&prefix))
            .map_ok(|meta| meta.location.filename().unwrap().to_owned())
            .try_collect()
            .await
            .unwrap();
        names.sort();
        assert_eq!(names, ["d.json", "f.bin"]);
        assert_eq!(fs::read_dir(folder.path().join("a/b")).unwrap().count(), 0);
    }
}
