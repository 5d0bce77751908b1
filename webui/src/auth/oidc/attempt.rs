//! A login that is under way: what the browser takes along and must bring back.
//!
//! It lies in a signed cookie of the browser for ten minutes and nowhere else. Who brings back another state is not the one who
//! began, and is refused: so nobody can be logged in as somebody else by a link.

use std::time::Duration;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use rand::RngCore as _;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::auth::token::equal_in_constant_time;

/// How long somebody may take at the provider.
pub(crate) const LOGIN_LASTS: Duration = Duration::from_secs(600);
/// As many bytes as a guess must not have a chance with.
const RANDOM_BYTES: usize = 32;

/// What is random about a login, and where it goes on.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Attempt {
    pub(crate) state: String,
    pub(crate) nonce: String,
    pub(crate) verifier: String,
    pub(crate) next: String,
}

impl Attempt {
    /// A new one.
    pub(crate) fn of(next: &str) -> Self {
        let random = || {
            let mut bytes = [0; RANDOM_BYTES];
            rand::rng().fill_bytes(&mut bytes);
            BASE64_URL_SAFE_NO_PAD.encode(bytes)
        };
        Self { state: random(), nonce: random(), verifier: random(), next: next.to_owned() }
    }

    /// What the provider is shown of the verifier at first.
    pub(super) fn challenge(&self) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(self.verifier.as_bytes()))
    }

    /// Whether this is what was taken along.
    pub(crate) fn is_state(&self, brought: &str) -> bool {
        equal_in_constant_time(&self.state, brought)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_challenge_is_that_of_rfc_7636() {
        let verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk".to_owned();
        let attempt = Attempt { verifier, ..Attempt::of("/") };
        assert_eq!(attempt.challenge(), "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
    }

    #[test]
    fn no_two_are_alike() {
        let (one, two) = (Attempt::of("/"), Attempt::of("/"));
        assert!(one.is_state(&one.state) && !one.is_state(&two.state) && !one.is_state(""));
        assert!(one.nonce != two.nonce && one.verifier != two.verifier && one.nonce != one.state);
        assert_eq!(one.verifier.len(), 43, "as RFC 7636 asks for");
    }
}
