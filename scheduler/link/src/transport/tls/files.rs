//! What a worker keeps of its identity: its id, and the certificate that its first call has brought.

use std::{
    fs, io,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use uuid::Uuid;

use super::WorkerCertificate;

/// The worker's own folder.
#[derive(Debug, Clone)]
pub struct WorkerFiles {
    dir: PathBuf,
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

    /// Its certificate; none before the first call, or when the file is not whole.
    pub(super) fn certificate(&self) -> Option<WorkerCertificate> {
        WorkerCertificate::from_stored(&fs::read_to_string(self.certificate_file()).ok()?)
    }

    /// Keeps the certificate, for this user's eyes only: whole or not at all.
    pub(super) fn keep(&self, certificate: &str) -> io::Result<()> {
        let path = self.certificate_file();
        let draft = path.with_extension("new");
        let mut file = fs::OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&draft)?;
        file.write_all(certificate.as_bytes())?;
        file.sync_all()?;
        fs::rename(draft, path)
    }
}
