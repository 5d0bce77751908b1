//! Logs of attempts and services: JSON lines in a file each, readable while they are written.
//!
//! A line is `{"ts": …, "stream": "out|err|sys", "text": …}`, whole in the file, free of known secrets. One with `"state": true`
//! is what a progress bar showed for a while; the next of its stream takes its place. File names are made of ids, never of what
//! somebody typed.

mod lines;
mod read;
pub mod remote;
mod search;
mod writer;
mod written;

use std::path::{Path, PathBuf};

use link::query::LogName;
use sha2::{Digest, Sha256};

pub use lines::{LINE_BYTES_MAX, LineSplitter, Part};
pub use read::read;
pub use writer::{LOG_BYTES_MAX, Log, Overflow, Stream};
pub use written::Written;

/// Where a log is below the log directory.
#[must_use]
pub fn path(log_dir: &Path, name: &LogName) -> PathBuf {
    match name {
        LogName::Attempt(attempt) => {
            let id = attempt.to_string();
            log_dir.join("attempts").join(&id[..2]).join(format!("{id}.jsonl"))
        }
        LogName::Service(key) => {
            let digest = Sha256::digest(format!("{}\0{}\0{}", key.dag, key.name, key.replica));
            log_dir.join("services").join(format!("{digest:x}.jsonl"))
        }
    }
}

#[cfg(test)]
mod tests {
    use model::{AttemptId, DagId, ServiceKey};
    use uuid::Uuid;

    use super::*;

    #[test]
    fn no_name_leads_out_of_the_log_directory() {
        let dir = Path::new("/logs");
        let attempt = LogName::Attempt(AttemptId(Uuid::from_u128(0xab << 120)));
        assert_eq!(path(dir, &attempt), Path::new("/logs/attempts/ab/ab000000-0000-0000-0000-000000000000.jsonl"));
        let key = ServiceKey { dag: DagId::new("..").unwrap(), name: "../../etc/passwd\0".into(), replica: 0 };
        let service = path(dir, &LogName::Service(key));
        assert_eq!(service.parent(), Some(Path::new("/logs/services")));
        assert_eq!(service.file_name().unwrap().len(), 64 + ".jsonl".len());
    }
}
