//! Tokens: given in the environment or in a file, or kept from a login in a file that only this user reads. None is ever
//! printed, and none stands on a command line, where every process of the machine would see it.

use std::{
    fs,
    io::{self, Read as _},
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use reqwest::Url;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{ServerChoice, config_folder};
use crate::{
    exit::{Exit, Failure},
    secret_input::write_file,
    settings::text,
};

/// More than this is no token.
const TOKEN_BYTES_MAX: u64 = 64 * 1024;

/// A login that is kept.
#[derive(Serialize, Deserialize)]
pub struct Login {
    /// The server.
    pub server: String,
    /// Who is logged in there.
    pub username: String,
    /// The token.
    pub token: String,
}

/// The token for a server: of `--token-file`, `WINDLASS_TOKEN`, `WINDLASS_TOKEN_FILE` or a login.
///
/// # Errors
/// When there is none, or it can not be read.
pub fn token_for(choice: &ServerChoice, server: &Url) -> anyhow::Result<String> {
    if let Some(file) = &choice.token_file {
        return of_file(file).context("--token-file");
    }
    if let Some(token) = text("WINDLASS_TOKEN") {
        return checked(token).context("WINDLASS_TOKEN");
    }
    if let Some(file) = text("WINDLASS_TOKEN_FILE") {
        return of_file(Path::new(&file)).context("WINDLASS_TOKEN_FILE");
    }
    if let Some(login) = kept(server)? {
        return checked(login.token).context("the kept login");
    }
    let way = format!(
        "nobody is logged in at {server}: `windlass login --server {server}`, or put a token into WINDLASS_TOKEN or \
         WINDLASS_TOKEN_FILE"
    );
    Err(Failure::of(Exit::NotAllowed, way))
}

/// The login that is kept for a server.
///
/// # Errors
/// When it can not be read, or others can read it.
pub fn kept(server: &Url) -> anyhow::Result<Option<Login>> {
    let file = file_of(server)?;
    let shown = file.display();
    let mode = match fs::metadata(&file) {
        Ok(metadata) => metadata.permissions().mode(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("{shown} can not be read")),
    };
    if mode & 0o077 != 0 {
        bail!("{shown} can be read by others, so its token is not used: log in anew after `chmod 600`, or delete it");
    }
    let login = serde_json::from_str(&bounded(&file)?);
    // What stands there is a secret, so the error says nothing of it.
    login.map(Some).map_err(|_| anyhow::anyhow!("{shown} is no login; delete it and log in anew"))
}

/// Keeps a login, in place of an earlier one. Where it lies is told.
///
/// # Errors
/// When it can not be written.
pub fn keep(server: &Url, username: String, token: String) -> anyhow::Result<PathBuf> {
    let file = file_of(server)?;
    let folder = file.parent().context("a file has a folder")?;
    let mut make = fs::DirBuilder::new();
    make.recursive(true).mode(0o700);
    make.create(folder).with_context(|| format!("{} can not be made", folder.display()))?;
    let login = Login { server: server.to_string(), username, token: checked(token)? };
    write_file(&file, &serde_json::to_string(&login)?)?;
    Ok(file)
}

/// Deletes a kept login. Whether there was one.
///
/// # Errors
/// When it can not be deleted.
pub fn forget(server: &Url) -> anyhow::Result<bool> {
    let file = file_of(server)?;
    match fs::remove_file(&file) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).with_context(|| format!("{} can not be deleted", file.display())),
    }
}

/// The one line of a file that holds a secret, such as a password.
///
/// # Errors
/// When it can not be read.
pub fn secret_of(file: &Path) -> anyhow::Result<String> {
    let text = bounded(file)?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

/// One file a server, named by the digest of its address.
fn file_of(server: &Url) -> anyhow::Result<PathBuf> {
    let digest = hex::encode(Sha256::digest(server.as_str()));
    Ok(config_folder()?.join("logins").join(format!("{}.json", &digest[..16])))
}

/// A token in a file.
///
/// # Errors
/// When it can not be read, or is none.
pub fn of_file(file: &Path) -> anyhow::Result<String> {
    checked(bounded(file)?)
}

/// The text of a file that not everybody may read.
fn bounded(file: &Path) -> anyhow::Result<String> {
    let cannot = || format!("{} can not be read", file.display());
    let mut text = String::new();
    let opened = fs::File::open(file).with_context(cannot)?;
    let mode = opened.metadata().with_context(cannot)?.permissions().mode();
    if mode & 0o007 != 0 {
        bail!("everybody may read {} (mode {:o}); chmod o-rwx it", file.display(), mode & 0o777);
    }
    opened.take(TOKEN_BYTES_MAX).read_to_string(&mut text).with_context(cannot)?;
    Ok(text)
}

/// A token without what stands around it.
fn checked(token: String) -> anyhow::Result<String> {
    let token = token.trim();
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        bail!("that is no token: expected one line of letters, digits and signs");
    }
    Ok(token.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_one_word_and_is_never_repeated() {
        assert_eq!(checked(" abc.d-e_f\n".to_owned()).unwrap(), "abc.d-e_f");
        for bad in ["", "canary two", "canary\u{e9}"] {
            let error = checked(bad.to_owned()).unwrap_err().to_string();
            assert!(!error.contains("canary"), "{error}");
        }
    }
}
