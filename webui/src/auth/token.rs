//! Signed texts: access tokens (JWT, HS512), form tokens and continuation tokens of logs.
//!
//! Everything is signed with keys derived from one secret, a key each purpose, so that a text of one kind never passes
//! for another.

use std::time::Duration;

use chrono::Utc;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use model::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use uuid::Uuid;

use super::{oidc::Attempt, rights::Role};

/// Who the tokens are for, as Airflow writes it.
const AUDIENCE: &str = "apache-airflow";
/// Tolerated difference between the clocks of web servers.
const LEEWAY_SECS: u64 = 5;

/// What tokens are signed with. Its text never shows.
#[derive(Clone)]
pub struct Secret(Vec<u8>);

/// The secret is too weak to sign with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the secret that signs logins has {bytes} bytes; at least {} random ones are needed", Secret::BYTES_MIN)]
pub struct InvalidSecret {
    /// How long it is.
    pub bytes: usize,
}

impl Secret {
    /// As many bytes as a guess must not have a chance with.
    pub const BYTES_MIN: usize = 32;

    /// Takes random bytes.
    ///
    /// # Errors
    /// [`InvalidSecret`] when they are fewer than [`Self::BYTES_MIN`].
    pub fn new(bytes: impl Into<Vec<u8>>) -> Result<Self, InvalidSecret> {
        let bytes = bytes.into();
        if bytes.len() < Self::BYTES_MIN { Err(InvalidSecret { bytes: bytes.len() }) } else { Ok(Self(bytes)) }
    }

    fn key(&self, purpose: &str) -> [u8; 32] {
        Sha256::new().chain_update(&self.0).chain_update([0]).chain_update(purpose).finalize().into()
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// What an access token says.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Claims {
    /// The user.
    pub sub: String,
    /// The role at the time of the login; the guard asks the database for today's.
    pub role: String,
    /// Airflow's teams: none here.
    pub teams: Vec<String>,
    /// The token's id.
    pub jti: Uuid,
    /// For whom.
    pub aud: String,
    /// When it was made, in seconds since 1970.
    pub iat: i64,
    /// From when it holds.
    pub nbf: i64,
    /// Until when it holds.
    pub exp: i64,
}

/// A text was not signed here, or is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the token is not valid")]
pub struct InvalidToken;

/// Signs and checks.
pub struct Tokens {
    encoding: EncodingKey,
    decoding: DecodingKey,
    form: EncodingKey,
    place: EncodingKey,
    attempt: (EncodingKey, DecodingKey),
}

/// What a browser takes along to an identity provider, and until when it counts.
#[derive(Serialize, Deserialize)]
struct SignedAttempt {
    attempt: Attempt,
    exp: i64,
}

impl Tokens {
    /// Derives the keys.
    #[must_use]
    pub fn new(secret: &Secret) -> Self {
        let access = secret.key("access token");
        let attempt = secret.key("login by a provider");
        Self {
            encoding: EncodingKey::from_secret(&access),
            decoding: DecodingKey::from_secret(&access),
            form: EncodingKey::from_secret(&secret.key("form token")),
            place: EncodingKey::from_secret(&secret.key("place in a log")),
            attempt: (EncodingKey::from_secret(&attempt), DecodingKey::from_secret(&attempt)),
        }
    }

    /// A token for a user who has just shown the password.
    ///
    /// # Errors
    /// When the claims can not be signed.
    pub fn issue(
        &self,
        user: &str,
        role: Role,
        lifetime: Duration,
    ) -> Result<(String, Claims), jsonwebtoken::errors::Error> {
        let now = Utc::now().timestamp();
        let lifetime = i64::try_from(lifetime.as_secs()).unwrap_or(i64::MAX / 2);
        let claims = Claims {
            sub: user.to_owned(),
            role: role.name().to_owned(),
            teams: Vec::new(),
            jti: Uuid::new_v4(),
            aud: AUDIENCE.to_owned(),
            iat: now,
            nbf: now,
            exp: now.saturating_add(lifetime),
        };
        let text = jsonwebtoken::encode(&Header::new(Algorithm::HS512), &claims, &self.encoding)?;
        Ok((text, claims))
    }

    /// What a token says, if it is ours and not over.
    ///
    /// # Errors
    /// [`InvalidToken`]; the reason is nobody's business.
    pub fn read(&self, token: &str) -> Result<Claims, InvalidToken> {
        let mut rules = Validation::new(Algorithm::HS512);
        rules.set_audience(&[AUDIENCE]);
        rules.set_required_spec_claims(&["exp", "nbf", "aud", "sub"]);
        rules.validate_nbf = true;
        rules.leeway = LEEWAY_SECS;
        jsonwebtoken::decode(token, &self.decoding, &rules).map(|read| read.claims).map_err(|_| InvalidToken)
    }

    /// The id of a token that was issued to this user once, over or not: whoever has it has logged in as the user before.
    #[must_use]
    pub fn was_issued_to(&self, token: &str, user: &str) -> Option<Uuid> {
        let mut rules = Validation::new(Algorithm::HS512);
        rules.set_audience(&[AUDIENCE]);
        rules.set_required_spec_claims(&["aud", "sub"]);
        (rules.validate_exp, rules.validate_nbf) = (false, false);
        let claims = jsonwebtoken::decode::<Claims>(token, &self.decoding, &rules).ok()?.claims;
        (claims.sub == user).then_some(claims.jti)
    }

    /// What a browser takes along to an identity provider.
    #[must_use]
    pub(crate) fn sign_attempt(&self, attempt: &Attempt, lasts: Duration) -> String {
        let lasts = i64::try_from(lasts.as_secs()).unwrap_or(i64::MAX / 2);
        let exp = Utc::now().timestamp().saturating_add(lasts);
        let signed = SignedAttempt { attempt: attempt.clone(), exp };
        jsonwebtoken::encode(&Header::new(Algorithm::HS512), &signed, &self.attempt.0)
            .expect("texts and a number can be written, and an HMAC takes a key of any length")
    }

    /// What it brings back, if it is ours and not over.
    #[must_use]
    pub(crate) fn read_attempt(&self, text: &str) -> Option<Attempt> {
        let mut rules = Validation::new(Algorithm::HS512);
        rules.set_required_spec_claims(&["exp"]);
        rules.leeway = LEEWAY_SECS;
        let read = jsonwebtoken::decode::<SignedAttempt>(text, &self.attempt.1, &rules);
        read.ok().map(|read| read.claims.attempt)
    }

    /// The text that every form of a session carries, so that another site can not send one.
    #[must_use]
    pub fn form_token(&self, session: Uuid) -> String {
        sign(&self.form, session.to_string().as_bytes())
    }

    /// A place in a log that a client hands back to read on.
    #[must_use]
    pub fn place(&self, log: &str, offset: u64) -> String {
        format!("{offset}.{}", sign(&self.place, format!("{log} {offset}").as_bytes()))
    }

    /// The offset of a place in this log.
    ///
    /// # Errors
    /// [`InvalidToken`] when it was not issued here, or for another log.
    pub fn offset_of(&self, log: &str, place: &str) -> Result<u64, InvalidToken> {
        let offset = place.split_once('.').and_then(|(offset, _)| offset.parse().ok()).ok_or(InvalidToken)?;
        if equal_in_constant_time(&self.place(log, offset), place) { Ok(offset) } else { Err(InvalidToken) }
    }
}

impl Claims {
    /// When the token ends.
    #[must_use]
    pub fn expires_at(&self) -> Timestamp {
        Timestamp::from_timestamp(self.exp, 0).unwrap_or(Timestamp::MAX_UTC)
    }
}

fn sign(key: &EncodingKey, message: &[u8]) -> String {
    jsonwebtoken::crypto::sign(message, key, Algorithm::HS512).expect("an HMAC takes a key of any length")
}

/// Compares without telling by its duration where the texts differ.
#[must_use]
pub fn equal_in_constant_time(left: &str, right: &str) -> bool {
    left.as_bytes().ct_eq(right.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(fill: u8) -> Tokens {
        Tokens::new(&Secret::new(vec![fill; 32]).unwrap())
    }

    #[test]
    fn a_token_is_read_by_whoever_has_the_secret() {
        let (text, _) = tokens(1).issue("airflow", Role::Admin, Duration::from_secs(60)).unwrap();
        assert_eq!(tokens(1).read(&text).unwrap().sub, "airflow");
        assert!(tokens(2).read(&text).is_err());
        assert!(tokens(1).read(&text.replace('.', "")).is_err());
    }

    #[test]
    fn a_token_without_a_signature_is_refused() {
        let (text, _) = tokens(1).issue("airflow", Role::Admin, Duration::from_secs(60)).unwrap();
        let (unsigned, _) = text.rsplit_once('.').unwrap();
        assert!(tokens(1).read(&format!("{unsigned}.")).is_err());
    }

    #[test]
    fn a_token_that_is_over_still_tells_who_had_it() {
        let (text, claims) = tokens(1).issue("airflow", Role::Admin, Duration::ZERO).unwrap();
        assert_eq!(tokens(1).was_issued_to(&text, "airflow"), Some(claims.jti));
        assert_eq!(tokens(1).was_issued_to(&text, "somebody"), None);
        assert_eq!(tokens(2).was_issued_to(&text, "airflow"), None);
    }

    #[test]
    fn a_login_that_is_under_way_comes_back_unchanged_for_a_while_and_is_no_session() {
        let (text, _) = tokens(1).issue("airflow", Role::Admin, Duration::from_secs(60)).unwrap();
        let attempt = Attempt::of("/dags");
        let signed = tokens(1).sign_attempt(&attempt, Duration::from_secs(60));
        assert_eq!(tokens(1).read_attempt(&signed).unwrap().verifier, attempt.verifier);
        assert!(tokens(1).read(&signed).is_err() && tokens(1).read_attempt(&text).is_none());
        assert!(tokens(2).read_attempt(&signed).is_none());
        assert!(tokens(1).read_attempt(&signed[1..]).is_none());
        let over = SignedAttempt { attempt, exp: Utc::now().timestamp() - 60 };
        let over = jsonwebtoken::encode(&Header::new(Algorithm::HS512), &over, &tokens(1).attempt.0).unwrap();
        assert!(tokens(1).read_attempt(&over).is_none());
    }

    #[test]
    fn a_place_in_one_log_is_not_a_place_in_another() {
        let place = tokens(1).place("a", 10);
        assert_eq!(tokens(1).offset_of("a", &place), Ok(10));
        assert_eq!(tokens(1).offset_of("ab", &place), Err(InvalidToken));
        assert_eq!(tokens(1).offset_of("a", &place.replacen("10", "11", 1)), Err(InvalidToken));
    }

    #[test]
    fn a_short_secret_is_refused() {
        assert_eq!(Secret::new(b"secret".to_vec()).unwrap_err(), InvalidSecret { bytes: 6 });
    }
}
