//! An ID token: signed by a key of the provider, for us, by this provider, now, in answer to this login.
//!
//! The algorithm is one of those with a public key, and that of the key: `none` and the HMACs are not among them, so that neither
//! an unsigned token nor one that was signed with what everybody can read passes.

use jsonwebtoken::{
    Algorithm, DecodingKey, Validation,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, PublicKeyUse},
};
use serde_json::{Map, Value};

use super::{claims::Claims, http::quoted};
use crate::auth::token::equal_in_constant_time;

/// What a provider may sign with.
const ALGORITHMS: [Algorithm; 8] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
];
/// Clocks of two machines differ by so much.
const LEEWAY_SECS: u64 = 60;
/// A token that answers a login was made during it.
const AGE_SECS_MAX: i64 = 600;
/// The longest token that is looked at.
const BYTES_MAX: usize = 64 * 1024;

/// A token whose header is read, and nothing of it believed.
pub(super) struct Token<'a> {
    text: &'a str,
    algorithm: Algorithm,
    key_id: Option<String>,
}

/// What a token must say.
pub(super) struct Expected<'a> {
    pub(super) issuer: &'a str,
    pub(super) client_id: &'a str,
    pub(super) nonce: &'a str,
    /// The time, in seconds since 1970.
    pub(super) now: i64,
}

impl<'a> Token<'a> {
    /// Reads the header.
    pub(super) fn parse(text: &'a str) -> Result<Self, String> {
        if text.len() > BYTES_MAX {
            return Err(format!("the ID token has more than {BYTES_MAX} bytes"));
        }
        // `none` is no algorithm here, so its header can not be read.
        let header = jsonwebtoken::decode_header(text).map_err(|_| "the ID token is no signed token".to_owned())?;
        if !ALGORITHMS.contains(&header.alg) {
            return Err(format!("the ID token is signed by {:?}, which is not taken", header.alg));
        }
        Ok(Self { text, algorithm: header.alg, key_id: header.kid })
    }

    /// The key that it names; without a name the only one that could be meant.
    pub(super) fn key_among<'k>(&self, keys: &'k [Jwk]) -> Option<&'k Jwk> {
        let mut fitting = keys.iter().filter(|key| self.may_be(key));
        match &self.key_id {
            Some(id) => fitting.find(|key| key.common.key_id.as_ref() == Some(id)),
            None => fitting.next().filter(|_| fitting.next().is_none()),
        }
    }

    /// Whether a key is one for signatures of this token's kind.
    fn may_be(&self, key: &Jwk) -> bool {
        let is_for_signatures = matches!(key.common.public_key_use, None | Some(PublicKeyUse::Signature));
        let is_of_kind = match (&key.algorithm, self.algorithm) {
            (AlgorithmParameters::EllipticCurve(curve), Algorithm::ES256) => curve.curve == EllipticCurve::P256,
            (AlgorithmParameters::EllipticCurve(curve), Algorithm::ES384) => curve.curve == EllipticCurve::P384,
            (AlgorithmParameters::RSA(_), Algorithm::ES256 | Algorithm::ES384) => false,
            (AlgorithmParameters::RSA(_), _) => true,
            _ => false,
        };
        // What the key says it is for must be what the token says.
        let named = key.common.key_algorithm.map(|named| named.to_string());
        let is_named = named.is_none_or(|named| named == format!("{:?}", self.algorithm));
        is_for_signatures && is_of_kind && is_named
    }

    /// What it says, if it is good.
    pub(super) fn claims(&self, key: &Jwk, expected: &Expected<'_>) -> Result<Claims, String> {
        let key = DecodingKey::from_jwk(key).map_err(|_| "the provider's key can not be read".to_owned())?;
        let mut rules = Validation::new(self.algorithm);
        rules.set_issuer(&[expected.issuer]);
        rules.set_audience(&[expected.client_id]);
        rules.set_required_spec_claims(&["iss", "aud", "exp", "sub"]);
        rules.leeway = LEEWAY_SECS;
        rules.validate_nbf = true;
        let read = jsonwebtoken::decode::<Map<String, Value>>(self.text, &key, &rules);
        let claims = read.map_err(|error| format!("the ID token is refused: {}", quoted(&error.to_string())))?.claims;
        check_party(&claims, expected.client_id)?;
        check_age(&claims, expected.now)?;
        match claims.get("nonce").and_then(Value::as_str) {
            Some(nonce) if equal_in_constant_time(nonce, expected.nonce) => Claims::new(claims),
            _ => Err("the ID token is the answer to another login".to_owned()),
        }
    }
}

/// A token for several must say that it was made for us.
fn check_party(claims: &Map<String, Value>, client_id: &str) -> Result<(), String> {
    let is_for_several = claims.get("aud").and_then(Value::as_array).is_some_and(|all| all.len() > 1);
    match claims.get("azp") {
        Some(party) if party.as_str() != Some(client_id) => Err("the ID token was made for another client".to_owned()),
        None if is_for_several => {
            Err("the ID token is for several clients and does not say for whom it was made".to_owned())
        }
        Some(_) | None => Ok(()),
    }
}

fn check_age(claims: &Map<String, Value>, now: i64) -> Result<(), String> {
    let leeway = i64::try_from(LEEWAY_SECS).unwrap_or(i64::MAX);
    let made = claims.get("iat").and_then(|iat| iat.as_i64().or_else(|| iat.as_f64().map(|secs| secs as i64)));
    let made = made.ok_or("the ID token does not say when it was made")?;
    if made > now.saturating_add(leeway) {
        return Err(
            "the ID token is from the future; do the clocks of the provider and of this machine agree?".to_owned()
        );
    }
    if made < now.saturating_sub(AGE_SECS_MAX + leeway) {
        return Err("the ID token is too old; do the clocks of the provider and of this machine agree?".to_owned());
    }
    Ok(())
}

#[cfg(test)]
#[path = "id_token_tests.rs"]
mod tests;
