//! The key that seals secrets: AES-256-GCM with a fresh nonce each time, bound to the row that the value belongs to.
//!
//! A sealed value begins with the number of its key, so that a key file may hold older keys beside the one in use.

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::Path,
};

use aes_gcm::{
    Aes256Gcm, Nonce,
    aead::{Aead, KeyInit, Payload},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use rand::RngCore;

use crate::error::StoreError;

const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 12;

/// One or more numbered keys; the one with the highest number seals.
#[derive(Clone)]
pub struct SecretKey {
    keys: BTreeMap<u8, Aes256Gcm>,
}

impl std::fmt::Debug for SecretKey {
    /// Shows the numbers of the keys only.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SecretKey").field("numbers", &self.keys.keys()).finish_non_exhaustive()
    }
}

impl SecretKey {
    /// Reads keys: a line each, a number from 1 to 255 and 32 bytes in base64, or a single key without a number.
    ///
    /// # Errors
    /// [`StoreError::Refused`] with the line that is wrong; it never shows the line's text.
    pub fn parse(text: &str) -> Result<Self, StoreError> {
        let mut keys = BTreeMap::new();
        for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let (number, key) = read_line(line).ok_or_else(|| StoreError::Refused {
                reason: format!(
                    "line {} of the secret key is not `<number from 1 to 255> <32 bytes in base64>`",
                    index + 1
                ),
            })?;
            keys.insert(number, key);
        }
        if keys.is_empty() {
            return Err(StoreError::Refused { reason: "the secret key is empty".to_owned() });
        }
        Ok(Self { keys })
    }

    /// Reads the key file, or makes one that only this user can read. Two processes that make it at once get the same.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when it can not be read or made, or others can read it.
    pub fn from_file_or_create(path: &Path) -> Result<Self, StoreError> {
        let file_error = |error: io::Error| StoreError::Refused {
            reason: format!("the secret key file {} can not be used: {error}", path.display()),
        };
        if !path.exists() {
            create(path).map_err(file_error)?;
        }
        let mode = fs::metadata(path).map_err(file_error)?.permissions().mode();
        if mode & 0o077 != 0 {
            let reason = format!(
                "the secret key file {} can be read by others (mode {:o}): chmod 600 it",
                path.display(),
                mode & 0o777
            );
            return Err(StoreError::Refused { reason });
        }
        Self::parse(&fs::read_to_string(path).map_err(file_error)?)
    }

    /// The text of a key file with one key more, which seals from now on.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when all numbers are used.
    pub fn with_new(text: &str) -> Result<String, StoreError> {
        let keys = Self::parse(text)?;
        let highest = *keys.keys.last_key_value().expect("there is a key: `parse` refuses an empty text").0;
        let number = highest.checked_add(1).ok_or_else(|| StoreError::Refused {
            reason: "the key file has a key number 255, and there is none after it; seal anew and begin again at 1"
                .to_owned(),
        })?;
        let mut key = [0; KEY_BYTES];
        rand::rng().fill_bytes(&mut key);
        // A single key without a number is key 1.
        let numbered =
            |line: &str| if line.trim().contains(' ') { line.trim().to_owned() } else { format!("1 {}", line.trim()) };
        let mut lines: Vec<String> = text.lines().filter(|line| !line.trim().is_empty()).map(numbered).collect();
        lines.push(format!("{number} {}", BASE64_STANDARD.encode(key)));
        Ok(lines.join("\n") + "\n")
    }

    /// The text of a key file with its newest key alone.
    ///
    /// # Errors
    /// As [`SecretKey::parse`].
    pub fn newest_only(text: &str) -> Result<String, StoreError> {
        let keys = Self::parse(text)?;
        let newest = *keys.keys.last_key_value().expect("there is a key: `parse` refuses an empty text").0;
        let line = text.lines().rfind(|line| read_line(line).is_some_and(|(number, _)| number == newest));
        Ok(format!("{}\n", line.unwrap_or_default().trim()))
    }

    /// Whether this opens all that the other one has sealed.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        const PLACE: &str = "a comparison of keys";
        other.keys.iter().all(|(number, key)| {
            let sealed = Self { keys: BTreeMap::from([(*number, key.clone())]) }.seal(PLACE, "");
            self.open(PLACE, &sealed).is_ok()
        })
    }

    /// Whether the newest key has sealed this.
    pub(crate) fn is_newest(&self, sealed: &[u8]) -> bool {
        sealed.first() == self.keys.last_key_value().map(|(number, _)| number)
    }

    /// Seals a text for a place.
    pub(crate) fn seal(&self, place: &str, text: &str) -> Vec<u8> {
        let (number, key) = self.keys.last_key_value().expect("there is a key: `parse` refuses an empty text");
        let mut nonce = [0; NONCE_BYTES];
        rand::rng().fill_bytes(&mut nonce);
        let payload = Payload { msg: text.as_bytes(), aad: place.as_bytes() };
        let sealed =
            key.encrypt(Nonce::from_slice(&nonce), payload).expect("a text in memory is below AES-GCM's limit");
        [&[*number][..], &nonce, &sealed].concat()
    }

    /// Opens what was sealed for a place.
    pub(crate) fn open(&self, place: &str, sealed: &[u8]) -> Result<String, String> {
        let (number, rest) = sealed.split_first().ok_or("it is empty")?;
        let (nonce, text) = rest.split_at_checked(NONCE_BYTES).ok_or("it is cut short")?;
        let key = self
            .keys
            .get(number)
            .ok_or_else(|| format!("it was sealed with key {number}, which the key file does not have"))?;
        let payload = Payload { msg: text, aad: place.as_bytes() };
        let opened = key.decrypt(Nonce::from_slice(nonce), payload);
        let opened = opened.map_err(|_| "the key is another one than it was sealed with, or the row was altered")?;
        String::from_utf8(opened).map_err(|_| "it is not text".to_owned())
    }
}

fn read_line(line: &str) -> Option<(u8, Aes256Gcm)> {
    let (number, key) = match line.trim().split_once(' ') {
        Some((number, key)) => (number.parse().ok().filter(|number| *number > 0)?, key.trim()),
        None => (1, line.trim()),
    };
    let key = BASE64_STANDARD.decode(key).ok().filter(|key| key.len() == KEY_BYTES)?;
    Some((number, Aes256Gcm::new_from_slice(&key).ok()?))
}

/// Makes the file whole or not at all: a link fails when another process was faster.
fn create(path: &Path) -> io::Result<()> {
    let mut key = [0; KEY_BYTES];
    rand::rng().fill_bytes(&mut key);
    let unfinished = path.with_extension(format!("new-{}", std::process::id()));
    let mut file = fs::File::options().create(true).truncate(true).write(true).mode(0o600).open(&unfinished)?;
    io::Write::write_all(&mut file, format!("1 {}\n", BASE64_STANDARD.encode(key)).as_bytes())?;
    file.sync_all()?;
    let linked = fs::hard_link(&unfinished, path);
    fs::remove_file(&unfinished)?;
    match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &[u8; KEY_BYTES]) -> String {
        BASE64_STANDARD.encode(text)
    }

    #[test]
    fn a_value_opens_only_in_its_place_and_with_its_key() {
        let ring = SecretKey::parse(&key(&[7; KEY_BYTES])).unwrap();
        let sealed = ring.seal("variable.value/a", "s3cret");
        assert_eq!(ring.open("variable.value/a", &sealed).unwrap(), "s3cret");
        assert!(ring.open("variable.value/b", &sealed).is_err());
        let other = SecretKey::parse(&key(&[8; KEY_BYTES])).unwrap();
        assert!(other.open("variable.value/a", &sealed).unwrap_err().contains("another"));
    }

    #[test]
    fn a_new_key_seals_and_the_old_one_still_opens() {
        let old = SecretKey::parse(&key(&[7; KEY_BYTES])).unwrap();
        let sealed = old.seal("p", "s3cret");
        let both = SecretKey::parse(&format!("1 {}\n2 {}\n", key(&[7; KEY_BYTES]), key(&[8; KEY_BYTES]))).unwrap();
        assert_eq!(both.open("p", &sealed).unwrap(), "s3cret");
        assert_eq!(both.seal("p", "s3cret")[0], 2);
        assert!(old.open("p", &both.seal("p", "x")).unwrap_err().contains("key 2"));
        let other = SecretKey::parse(&key(&[9; KEY_BYTES])).unwrap();
        assert!(both.covers(&old) && !old.covers(&both) && !both.covers(&other));
    }

    #[test]
    fn a_key_file_is_made_once_is_private_and_must_stay_so() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret.key");
        let first = SecretKey::from_file_or_create(&path).unwrap();
        let again = SecretKey::from_file_or_create(&path).unwrap();
        assert_eq!(again.open("p", &first.seal("p", "s3cret")).unwrap(), "s3cret");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(SecretKey::from_file_or_create(&path).unwrap_err().to_string().contains("chmod 600"));
    }

    #[test]
    fn a_bad_key_is_refused_without_being_shown() {
        let error = SecretKey::parse("1 c2hvcnQ=").unwrap_err().to_string();
        assert!(error.contains("line 1") && !error.contains("c2hvcnQ"), "{error}");
    }
}
