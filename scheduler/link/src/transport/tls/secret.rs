//! A secret that two sides share.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use rand::RngCore as _;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

const BYTES: usize = 32;

/// 32 random bytes, as text. Its text never shows in a log.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// A new one.
    #[must_use]
    pub fn generate() -> Self {
        let mut bytes = [0; BYTES];
        rand::rng().fill_bytes(&mut bytes);
        Self(BASE64_URL_SAFE_NO_PAD.encode(bytes))
    }

    /// One that was stored or typed.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for whoever stores it or hands it on.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether two are the same, in a time that does not depend on where they differ.
    #[must_use]
    pub fn matches(&self, other: &Self) -> bool {
        // Digests have one length, and a guess does not choose their bytes.
        let (ours, theirs) = (self.digest(), other.digest());
        let difference = ours.iter().zip(theirs.iter()).fold(0, |all, (a, b)| all | (a ^ b));
        std::hint::black_box(difference) == 0
    }

    /// What may be stored to recognise it by: nobody finds a random secret by its digest.
    #[must_use]
    pub fn digest(&self) -> [u8; BYTES] {
        Sha256::digest(&self.0).into()
    }

    /// Another secret, made of this one for a purpose. It tells nothing of this one or of those of other purposes.
    #[must_use]
    pub fn derive(&self, purpose: &str) -> Self {
        let digest = Sha256::new().chain_update(purpose).chain_update([0]).chain_update(&self.0).finalize();
        Self(BASE64_URL_SAFE_NO_PAD.encode(digest))
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_secret_matches() {
        let secret = Secret::generate();
        assert!(secret.matches(&Secret::new(secret.reveal())));
        assert!(!secret.matches(&Secret::generate()));
        assert!(!secret.matches(&Secret::new("")));
        assert!(!secret.matches(&secret.derive("something")));
    }

    #[test]
    fn it_does_not_show() {
        let secret = Secret::generate();
        assert!(!format!("{secret:?}").contains(secret.reveal()));
    }
}
