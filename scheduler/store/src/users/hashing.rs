//! Argon2id, two at a time, each in memory that is used again.
//!
//! One hash takes 19 MiB and tens of milliseconds on purpose. Without a bound, many logins at once would take the memory of
//! everything else; and what a thread frees, its allocator keeps for that thread. So there are two sets of blocks, and
//! whoever wants a hash waits for one. How many may wait is decided by who serves the requests.

use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use argon2::{
    Algorithm, Argon2, Block, Params, PasswordHash, Version,
    password_hash::{self, Output, ParamsString, SaltString, rand_core::OsRng},
};
use tokio::sync::Semaphore;

use crate::{StoreError, rows::corrupt};

/// So many hashes are made at once: more would not end sooner on the processors of a small machine.
const AT_ONCE: usize = 2;
/// Bytes of a hash, as in the crate's own default.
const HASH_BYTES: usize = 32;

static TURNS: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(AT_ONCE)));
/// Memory of hashes that have ended, at most [`AT_ONCE`] sets.
static MEMORY: Mutex<Vec<Vec<Block>>> = Mutex::new(Vec::new());

/// What the password of a name that does not exist is compared with, so that it takes as long.
static NOBODYS_HASH: LazyLock<String> =
    LazyLock::new(|| hash_now("nobody").expect("the default parameters and a generated salt are valid"));

/// The hash of a password, as it is stored.
pub(super) async fn hash(password: String) -> Result<String, StoreError> {
    apart(move || hash_now(&password).map_err(|error| corrupt(&error))).await
}

/// Whether a password fits a stored hash; that of nobody when there is none, which takes as long and never fits.
pub(super) async fn verify(password: String, stored: Option<String>) -> Result<bool, StoreError> {
    apart(move || {
        let (hash, is_somebody) = match &stored {
            Some(hash) => (hash, true),
            None => (&*NOBODYS_HASH, false),
        };
        let fits = verify_now(&password, hash).map_err(|error| corrupt(&error))?;
        Ok(fits && is_somebody)
    })
    .await
}

/// Runs apart from the threads that serve, when it is its turn. The turn lasts as long as the work, also when nobody waits
/// for the result any more.
async fn apart<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let turn = Arc::clone(&TURNS).acquire_owned().await.map_err(|error| corrupt(&error))?;
    let working = tokio::task::spawn_blocking(move || {
        let done = work();
        drop(turn);
        done
    });
    working.await.map_err(|error| corrupt(&error))?
}

fn hash_now(password: &str) -> password_hash::Result<String> {
    let (algorithm, version, params) = (Algorithm::default(), Version::default(), Params::default());
    let salt = SaltString::generate(&mut OsRng);
    let hash = derive(password, salt.as_salt(), HASH_BYTES, (algorithm, version, params.clone()))?;
    let stored = PasswordHash {
        algorithm: algorithm.ident(),
        version: Some(version.into()),
        params: ParamsString::try_from(&params)?,
        salt: Some(salt.as_salt()),
        hash: Some(hash),
    };
    Ok(stored.to_string())
}

fn verify_now(password: &str, stored: &str) -> password_hash::Result<bool> {
    let stored = PasswordHash::new(stored)?;
    let (Some(salt), Some(expected)) = (stored.salt, stored.hash) else {
        return Err(password_hash::Error::PhcStringField);
    };
    let version = stored.version.map_or(Ok(Version::default()), Version::try_from)?;
    let settings = (Algorithm::try_from(stored.algorithm)?, version, Params::try_from(&stored)?);
    // Outputs compare in constant time.
    Ok(derive(password, salt, expected.len(), settings)? == expected)
}

fn derive(
    password: &str,
    salt: password_hash::Salt<'_>,
    bytes: usize,
    (algorithm, version, params): (Algorithm, Version, Params),
) -> password_hash::Result<Output> {
    let mut buffer = [0; password_hash::Salt::MAX_LENGTH];
    let salt = salt.decode_b64(&mut buffer)?;
    let mut blocks = MEMORY.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default();
    blocks.resize(params.block_count(), Block::default());
    let argon2 = Argon2::new(algorithm, version, params);
    let derived = Output::init_with(bytes, |out| {
        Ok(argon2.hash_password_into_with_memory(password.as_bytes(), salt, out, &mut blocks)?)
    });
    let mut kept = MEMORY.lock().unwrap_or_else(PoisonError::into_inner);
    if kept.len() < AT_ONCE {
        kept.push(blocks);
    }
    derived
}

#[cfg(test)]
mod tests {
    use argon2::{PasswordHasher, PasswordVerifier};

    use super::*;

    #[test]
    fn a_hash_is_one_that_the_crate_reads_and_the_other_way_round() {
        let ours = hash_now("correct horse").unwrap();
        let parsed = PasswordHash::new(&ours).unwrap();
        assert!(Argon2::default().verify_password(b"correct horse", &parsed).is_ok());
        let salt = SaltString::generate(&mut OsRng);
        let theirs = Argon2::default().hash_password(b"correct horse", &salt).unwrap().to_string();
        assert_eq!(verify_now("correct horse", &theirs), Ok(true));
        assert_eq!(verify_now("wrong horse", &theirs), Ok(false));
        assert!(verify_now("x", "$argon2id$v=19$m=16").is_err());
    }

    #[tokio::test]
    async fn nobody_can_log_in_with_nobodys_password() {
        assert!(!verify("nobody".to_owned(), None).await.unwrap());
    }
}
