//! What a worker keeps of its identity: its id, and the certificate that its first call has brought.

use std::{
    fs, io,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Fingerprint, WorkerCertificate};

/// The worker's own folder.
#[derive(Debug, Clone)]
pub struct WorkerFiles {
    dir: PathBuf,
}

/// The certificate as it is kept: with the authority that has signed it, as after a change of the authority it is worth nothing.
#[derive(Serialize, Deserialize)]
struct Kept {
    authority: String,
    certificate: String,
}

impl WorkerFiles {
    /// The files in a worker's folder.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// The file with its id.
    #[must_use]
    pub fn id_file(dir: &Path) -> PathBuf {
        dir.join("worker-id")
    }

    fn certificate_file(&self) -> PathBuf {
        self.dir.join("worker-certificate.json")
    }

    /// Which worker it is; none before it has written that down.
    pub(super) fn worker(&self) -> Option<Uuid> {
        fs::read_to_string(Self::id_file(&self.dir)).ok()?.trim().parse().ok()
    }

    /// The certificate that this authority has given it; none before the first call, when the file is not whole, or when
    /// another authority gave it.
    pub(super) fn certificate(&self, of: Fingerprint) -> Option<WorkerCertificate> {
        let kept: Kept = serde_json::from_slice(&fs::read(self.certificate_file()).ok()?).ok()?;
        if kept.authority.parse() != Ok(of) {
            return None;
        }
        WorkerCertificate::from_stored(&kept.certificate)
    }

    /// Keeps the certificate that this authority has given, for this user's eyes only: whole or not at all.
    pub(super) fn keep(&self, of: Fingerprint, certificate: &str) -> io::Result<()> {
        let path = self.certificate_file();
        let draft = path.with_extension("new");
        let kept = Kept { authority: of.to_string(), certificate: certificate.to_owned() };
        let mut file = fs::OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&draft)?;
        file.write_all(&serde_json::to_vec(&kept)?)?;
        file.sync_all()?;
        fs::rename(draft, path)
    }
}
