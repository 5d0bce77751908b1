//! Makes the cluster at the first start, whole or not at all, and keeps its passwords.

use std::{fs, io, path::Path, process::Stdio};

use tokio::process::Command;

use super::{
    binaries::Binaries,
    databases::{Passwords, STATE_ROLE},
    error::{PostgresError, at},
    layout::Layout,
    owner::Owner,
};
use crate::private;

/// Makes the cluster unless it is there, and answers its passwords.
pub(super) async fn make_unless_there(
    layout: &Layout,
    binaries: &Binaries,
    owner: &Owner,
) -> Result<Passwords, PostgresError> {
    if layout.data.exists() {
        return read_passwords(layout);
    }
    let passwords = Passwords::generate();
    // Before the cluster: one whose passwords nobody knows would be of no use.
    let text = serde_json::to_vec(&passwords).expect("two texts are JSON");
    write_private(&layout.passwords, &text)?;
    make(layout, binaries, owner, &passwords).await?;
    Ok(passwords)
}

/// The passwords of a cluster that is there.
pub(super) fn read_passwords(layout: &Layout) -> Result<Passwords, PostgresError> {
    let lost = || PostgresError::Passwords { path: layout.passwords.clone(), data: layout.data.clone() };
    let text = fs::read(&layout.passwords).map_err(|_| lost())?;
    serde_json::from_slice(&text).map_err(|_| lost())
}

/// Writes a file that only this user can read, all of it or nothing.
pub(super) fn write_private(path: &Path, bytes: &[u8]) -> Result<(), PostgresError> {
    private::write(path, bytes).map_err(at(path))
}

/// Makes it beside its place and moves it there, so that a start that was killed leaves no half of one.
async fn make(layout: &Layout, binaries: &Binaries, owner: &Owner, passwords: &Passwords) -> Result<(), PostgresError> {
    let unfinished = layout.base.join("data.new");
    match fs::remove_dir_all(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(at(&unfinished)(error)),
        Ok(()) | Err(_) => {}
    }
    let password_file = layout.base.join("password.new");
    write_private(&password_file, passwords.state.as_bytes())?;
    owner.give(&password_file)?;
    let made = initdb(&unfinished, &password_file, binaries, owner).await;
    fs::remove_file(&password_file).map_err(at(&password_file))?;
    made?;
    fs::rename(&unfinished, &layout.data).map_err(at(&layout.data))
}

async fn initdb(data: &Path, password_file: &Path, binaries: &Binaries, owner: &Owner) -> Result<(), PostgresError> {
    let program = binaries.program("initdb");
    let mut command = Command::new(&program);
    command
        .args(["--encoding=UTF8", "--locale=C", "--auth=scram-sha-256", "--data-checksums", "--username", STATE_ROLE])
        .arg("--pwfile")
        .arg(password_file)
        .arg("--pgdata")
        .arg(data)
        .current_dir("/")
        .stdin(Stdio::null());
    owner.run_as(&mut command);
    let output = command.output().await.map_err(at(&program))?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    Err(PostgresError::Failed {
        program: program.display().to_string(),
        status: output.status.to_string(),
        output: String::from_utf8_lossy(&said).trim().to_owned(),
    })
}
