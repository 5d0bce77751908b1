//! The join token: one text by which a worker and a cluster know each other.
//!
//! It holds a secret, by which the cluster knows the worker, and the fingerprint of the cluster's authority, by which
//! the worker knows the cluster. Its id says which of several tokens it is, and is no secret.

use std::str::FromStr;

use rand::Rng as _;

use super::{Fingerprint, Secret};

/// How every token begins, so that one is recognised wherever it turns up.
const PREFIX: &str = "windlass1";
/// What the secret that looks up the leader's endpoint is derived for.
const ENDPOINT_LOOKUP: &str = "windlass: ask an api process where the leader is";

/// A join token.
#[derive(Debug, Clone)]
pub struct JoinToken {
    /// Which token.
    pub id: String,
    /// What only its holders and the cluster know.
    pub secret: Secret,
    /// The authority that signs the certificates of the cluster's leaders.
    pub authority: Fingerprint,
}

/// A text is no join token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the text is not a whole join token ({problem}); copy the one line that `windlass workers token` prints")]
pub struct TokenError {
    problem: &'static str,
}

impl JoinToken {
    /// A new token for the cluster of this authority.
    #[must_use]
    pub fn generate(authority: Fingerprint) -> Self {
        let id = format!("{:08x}", rand::rng().random::<u32>());
        Self { id, secret: Secret::generate(), authority }
    }

    /// The whole text, for the person who hands it to workers.
    #[must_use]
    pub fn reveal(&self) -> String {
        format!("{PREFIX}.{}.{}.{}", self.id, self.secret.reveal(), self.authority)
    }

    /// What a worker shows to an api process that it asks for the leader's endpoint: it goes over plain HTTP where that is
    /// all there is, so it is good for nothing else.
    #[must_use]
    pub fn endpoint_secret(&self) -> Secret {
        self.secret.derive(ENDPOINT_LOOKUP)
    }
}

impl FromStr for JoinToken {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let wrong = |problem| TokenError { problem };
        let mut parts = text.trim().split('.');
        let mut next = || parts.next().filter(|part| !part.is_empty());
        if next() != Some(PREFIX) {
            return Err(wrong("it does not begin with windlass1"));
        }
        let id = next().ok_or(wrong("its id is missing"))?;
        let secret = next().ok_or(wrong("its secret is missing"))?;
        let authority = next().ok_or(wrong("its fingerprint is missing"))?;
        let authority = authority.parse().map_err(|()| wrong("its fingerprint is cut or mistyped"))?;
        if next().is_some() {
            return Err(wrong("something follows it"));
        }
        Ok(Self { id: id.to_owned(), secret: Secret::new(secret), authority })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> JoinToken {
        JoinToken::generate(Fingerprint::of(b"an authority"))
    }

    #[test]
    fn a_token_survives_being_printed_and_read() {
        let token = token();
        let read: JoinToken = format!("  {}\n", token.reveal()).parse().unwrap();
        assert_eq!(read.id, token.id);
        assert_eq!(read.authority, token.authority);
        assert!(read.secret.matches(&token.secret));
    }

    #[test]
    fn what_is_no_token_is_told_with_what_is_missing_and_never_shown() {
        let whole = token().reveal();
        let cut = &whole[..whole.len() - 5];
        for (text, says) in [("", "windlass1"), ("hunter2", "windlass1"), ("windlass1.ab", "secret"), (cut, "cut")] {
            let error = text.parse::<JoinToken>().unwrap_err().to_string();
            assert!(error.contains(says) && !error.contains("hunter2"), "{error}");
        }
        assert!(format!("{whole}.more").parse::<JoinToken>().is_err());
    }

    #[test]
    fn the_secret_for_the_endpoint_is_another_one() {
        let token = token();
        assert!(!token.endpoint_secret().matches(&token.secret));
        assert!(token.endpoint_secret().matches(&token.clone().endpoint_secret()));
    }
}
