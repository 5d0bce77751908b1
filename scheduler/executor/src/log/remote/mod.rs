//! Logs on an object store: shipped there piece by piece while and after they are written, and read from there.
//!
//! A log lies below `dag_id=…/run_id=…/task_id=…/attempt=N/<attempt id>` as numbered parts of [`PART_BYTES`] each, byte for
//! byte what the worker's file has. Only the part at the end is ever put again, so shipping costs no more than a part a
//! time however long the log is; and since a part's number says which bytes it has, what is there says how far a log was
//! shipped, and nothing else has to be remembered. The part that ends an ended log says so in its name.

mod location;
mod read;
mod ship;

use std::{fmt, sync::Arc};

use link::LogPlace;
use model::MapIndex;
use object_store::{
    ObjectStore,
    path::{Path, PathPart},
};

pub use location::{BadLocation, S3Access};
pub use ship::{ShipError, Shipment};

/// The bytes of a part: what is put again when a log has grown, and so a bound on what growing costs.
pub const PART_BYTES: u64 = 1024 * 1024;
/// The parts that a log may have: far more than the largest log has, and one page of a listing.
const PARTS_MAX: usize = 1000;

/// The end of the name of a part that more may follow.
const OPEN: &str = ".jsonl";
/// The end of the name of the part that ends a log.
const LAST: &str = ".last.jsonl";

/// Where logs are shipped to.
#[derive(Clone)]
pub struct RemoteLogs {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
    /// The bucket or directory that the store's paths are below, for people.
    root: String,
}

impl fmt::Debug for RemoteLogs {
    /// Without the store, which holds credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RemoteLogs").field(&self.address_of(&self.prefix)).finish()
    }
}

impl RemoteLogs {
    fn folder(&self, place: &LogPlace) -> Path {
        // Each of these is made one segment: what a user named can lead nowhere else.
        let segment = |name: &str, value: &str| format!("{name}={value}");
        let mut path = self
            .prefix
            .clone()
            .join(PathPart::from(segment("dag_id", place.dag_id.as_str())))
            .join(PathPart::from(segment("run_id", place.run_id.as_str())))
            .join(PathPart::from(segment("task_id", place.task_id.as_str())));
        if place.map_index != MapIndex::UNMAPPED {
            path = path.join(PathPart::from(segment("map_index", &place.map_index.to_string())));
        }
        path.join(PathPart::from(segment("attempt", &place.try_number.to_string()))).join(place.attempt.to_string())
    }

    fn address_of(&self, folder: &Path) -> String {
        format!("{}/{folder}", self.root)
    }
}

/// A part of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Part {
    number: u64,
    place: PartPlace,
}

/// Whether more may come after a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PartPlace {
    /// It may.
    Open,
    /// The log ends with it.
    Last,
}

impl Part {
    fn path(self, folder: &Path) -> Path {
        let end = match self.place {
            PartPlace::Open => OPEN,
            PartPlace::Last => LAST,
        };
        folder.clone().join(format!("{:05}{end}", self.number))
    }

    /// The part that an object's name means, if it means one.
    fn named(path: &Path) -> Option<Self> {
        let name = path.filename()?;
        let (number, place) = match name.strip_suffix(LAST) {
            Some(number) => (number, PartPlace::Last),
            None => (name.strip_suffix(OPEN)?, PartPlace::Open),
        };
        Some(Self { number: number.parse().ok()?, place })
    }
}

#[cfg(test)]
mod tests;
