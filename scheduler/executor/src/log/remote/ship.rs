//! Puts what a log has become onto the store.

use std::{
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom},
    path::{Path as FilePath, PathBuf},
};

use futures::TryStreamExt as _;
use link::LogPlace;
use object_store::{ObjectStore as _, ObjectStoreExt as _, path::Path};

use super::{PART_BYTES, Part, PartPlace, RemoteLogs};
use crate::log::LINE_BYTES_MAX;

/// How far back the end of the last whole line is looked for: a line has its text, escaped, and little else.
const LOOK_BACK_BYTES: u64 = 8 * LINE_BYTES_MAX as u64;

/// A log could not be shipped.
#[derive(Debug, thiserror::Error)]
pub enum ShipError {
    /// The worker's file can not be read.
    #[error("reading the log {}: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The store does not take it.
    #[error("shipping the log to {address}: {error}")]
    Store {
        /// Where it should lie.
        address: String,
        /// Why.
        error: object_store::Error,
    },
}

/// What is to be shipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shipment {
    /// The whole lines that there are; more may follow.
    SoFar,
    /// All of it: the log has ended.
    Whole,
}

impl RemoteLogs {
    /// Ships what `file` has beyond the first `shipped` bytes, and tells how many are there now. With `shipped` not known
    /// the store is asked. A file that is not there has nothing to be shipped.
    ///
    /// # Errors
    /// [`ShipError`]; what was shipped stays, and shipping again goes on with it.
    pub async fn ship(
        &self,
        place: &LogPlace,
        file: &FilePath,
        shipped: Option<u64>,
        shipment: Shipment,
    ) -> Result<u64, ShipError> {
        let folder = self.folder(place);
        let shipped = match shipped {
            Some(shipped) => shipped,
            None => self.shipped(&folder).await?,
        };
        let Some(length) = length_of(file, shipped, shipment).await? else { return Ok(shipped) };
        if length <= shipped && shipment == Shipment::SoFar {
            return Ok(shipped);
        }
        let last = length.saturating_sub(1) / PART_BYTES;
        // The end of an ended log is put in any case: its name says that it is the end.
        for number in (shipped / PART_BYTES).min(last)..=last {
            let place = match shipment {
                Shipment::Whole if number == last => PartPlace::Last,
                Shipment::Whole | Shipment::SoFar => PartPlace::Open,
            };
            self.put(&folder, Part { number, place }, piece(file, number, length).await?).await?;
        }
        if shipment == Shipment::Whole && shipped > last * PART_BYTES {
            self.forget(&Part { number: last, place: PartPlace::Open }.path(&folder)).await;
        }
        Ok(length)
    }

    /// How many bytes of a log are there.
    async fn shipped(&self, folder: &Path) -> Result<u64, ShipError> {
        let listed: Result<Vec<_>, _> = self.store.list(Some(folder)).try_collect().await;
        let objects = listed.map_err(|error| self.refused(folder, error))?;
        let ends =
            objects.iter().filter_map(|object| Some(Part::named(&object.location)?.number * PART_BYTES + object.size));
        Ok(ends.max().unwrap_or(0))
    }

    async fn put(&self, folder: &Path, part: Part, bytes: Vec<u8>) -> Result<(), ShipError> {
        let put = self.store.put(&part.path(folder), bytes.into()).await;
        put.map(drop).map_err(|error| self.refused(folder, error))
    }

    /// Takes away the shorter form of a log's last part. Readers heed the other one, so that it may as well stay.
    async fn forget(&self, part: &Path) {
        match self.store.delete(part).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
            Err(error) => tracing::debug!(%error, "a replaced part of a log stays on the store"),
        }
    }

    fn refused(&self, folder: &Path, error: object_store::Error) -> ShipError {
        ShipError::Store { address: self.address_of(folder), error }
    }
}

/// The length up to which a log is shipped, of which so many bytes already are; none when there is no file.
async fn length_of(file: &FilePath, shipped: u64, shipment: Shipment) -> Result<Option<u64>, ShipError> {
    let measure = move |file: &FilePath| {
        let mut file = File::open(file)?;
        let length = file.metadata()?.len();
        match shipment {
            Shipment::Whole => Ok(length),
            Shipment::SoFar => end_of_lines(&mut file, shipped, length),
        }
    };
    match on_disk(file, measure).await {
        Err(ShipError::File { error, .. }) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        length => length.map(Some),
    }
}

/// Where the last whole line ends, beyond what is shipped: that much ends with one. What comes after it may be taken back,
/// when its writer dies in the middle of it. A line that is longer than what is looked at waits until another one has
/// followed it.
fn end_of_lines(file: &mut File, shipped: u64, length: u64) -> io::Result<u64> {
    let start = length.saturating_sub(LOOK_BACK_BYTES).max(shipped).min(length);
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(start))?;
    file.take(length - start).read_to_end(&mut bytes)?;
    let end = bytes.iter().rposition(|byte| *byte == b'\n');
    Ok(end.map_or(shipped, |last| start + last as u64 + 1))
}

/// The bytes of a part of a log of this length.
async fn piece(file: &FilePath, number: u64, length: u64) -> Result<Vec<u8>, ShipError> {
    let start = number * PART_BYTES;
    let read = move |file: &FilePath| {
        let mut file = File::open(file)?;
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(start))?;
        file.take(PART_BYTES.min(length - start)).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    on_disk(file, read).await
}

async fn on_disk<T: Send + 'static>(
    file: &FilePath,
    work: impl FnOnce(&FilePath) -> io::Result<T> + Send + 'static,
) -> Result<T, ShipError> {
    let path = file.to_owned();
    let done = tokio::task::spawn_blocking(move || work(&path).map_err(|error| ShipError::File { path, error })).await;
    done.unwrap_or_else(|panic| Err(ShipError::File { path: file.to_owned(), error: io::Error::other(panic) }))
}
