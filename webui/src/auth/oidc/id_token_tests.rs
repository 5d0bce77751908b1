//! Forged, stolen and stale tokens, and good ones.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::{EncodingKey, Header};
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use serde_json::json;

use super::*;

const ISSUER: &str = "https://login.example.com";
const US: &str = "windlass";
const NONCE: &str = "the nonce of this login";

/// A key of a provider.
struct Key {
    signing: EncodingKey,
    public: Jwk,
    /// The public key as everybody can read it.
    published: Vec<u8>,
}

fn key(id: &str) -> Key {
    let random = SystemRandom::new();
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref(), &random).unwrap();
    let point = pair.public_key().as_ref().to_vec();
    let part = |range: std::ops::Range<usize>| BASE64_URL_SAFE_NO_PAD.encode(&point[range]);
    let public = json!({"kty": "EC", "crv": "P-256", "kid": id, "use": "sig", "x": part(1..33), "y": part(33..65)});
    Key {
        signing: EncodingKey::from_ec_der(pkcs8.as_ref()),
        published: public.to_string().into_bytes(),
        public: serde_json::from_value(public).unwrap(),
    }
}

fn now() -> i64 {
    chrono::Utc::now().timestamp()
}

/// Good claims with some of them changed; null takes one away.
fn claims(changes: Value) -> Value {
    let mut all = json!({
        "iss": ISSUER, "aud": US, "sub": "1", "nonce": NONCE, "iat": now(), "exp": now() + 300,
        "preferred_username": "ann",
    });
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            all.as_object_mut().unwrap().remove(name);
        } else {
            all[name] = value.clone();
        }
    }
    all
}

fn header(algorithm: Algorithm, id: &str) -> Header {
    Header { kid: Some(id.to_owned()), ..Header::new(algorithm) }
}

/// What becomes of a token at a provider with these keys.
fn check(token: &str, keys: &[&Key]) -> Result<Claims, String> {
    let published: Vec<Jwk> = keys.iter().map(|key| key.public.clone()).collect();
    let token = Token::parse(token)?;
    let key = token.key_among(&published).ok_or("no such key")?;
    token.claims(key, &Expected { issuer: ISSUER, client_id: US, nonce: NONCE, now: now() })
}

fn signed(key: &Key, changes: Value) -> String {
    jsonwebtoken::encode(&header(Algorithm::ES256, "a"), &claims(changes), &key.signing).unwrap()
}

#[test]
fn a_good_token_is_taken_also_for_several_when_it_was_made_for_us() {
    let key = key("a");
    assert!(check(&signed(&key, json!({})), &[&key]).is_ok());
    assert!(check(&signed(&key, json!({"aud": [US]})), &[&key]).is_ok());
    assert!(check(&signed(&key, json!({"aud": [US, "other"], "azp": US})), &[&key]).is_ok());
    assert!(check(&signed(&key, json!({"iat": now() + 30, "exp": now() - 30})), &[&key]).is_ok(), "clocks differ");
}

#[test]
fn a_token_that_says_anything_else_is_refused() {
    let key = key("a");
    for changes in [
        json!({"iss": "https://evil.example"}),
        json!({"iss": format!("{ISSUER}/")}),
        json!({"iss": null}),
        json!({"aud": "other"}),
        json!({"aud": ["other"]}),
        json!({"aud": null}),
        json!({"aud": [US, "other"]}),
        json!({"azp": "other"}),
        json!({"aud": [US, "other"], "azp": "other"}),
        json!({"exp": now() - 120}),
        json!({"exp": null}),
        json!({"iat": now() + 120}),
        json!({"iat": now() - 3_600}),
        json!({"iat": null}),
        json!({"nbf": now() + 120}),
        json!({"nonce": "that of another login"}),
        json!({"nonce": null}),
        json!({"nonce": 1}),
        json!({"sub": null}),
        json!({"sub": ""}),
    ] {
        let refused = check(&signed(&key, changes.clone()), &[&key]);
        assert!(refused.is_err(), "{changes}");
    }
}

#[test]
fn a_token_without_a_signature_is_refused() {
    let key = key("a");
    let good = signed(&key, json!({}));
    let (unsigned, _) = good.rsplit_once('.').unwrap();
    let (_, body) = unsigned.split_once('.').unwrap();
    let head = |algorithm: &str| BASE64_URL_SAFE_NO_PAD.encode(format!(r#"{{"alg":"{algorithm}","kid":"a"}}"#));
    for forged in [
        format!("{unsigned}."),
        unsigned.to_owned(),
        format!("{}.{body}.", head("none")),
        format!("{}.{body}.", head("None")),
        format!("{}.{body}.", head("ES256")),
    ] {
        assert!(check(&forged, &[&key]).is_err(), "{forged}");
    }
}

#[test]
fn a_token_that_is_signed_with_the_published_key_as_a_password_is_refused() {
    let key = key("a");
    for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
        for password in [key.published.as_slice(), &key.published[1..], b"windlass"] {
            let secret = EncodingKey::from_secret(password);
            let forged = jsonwebtoken::encode(&header(algorithm, "a"), &claims(json!({})), &secret).unwrap();
            assert!(check(&forged, &[&key]).unwrap_err().contains("not taken"), "{algorithm:?}");
        }
    }
}

#[test]
fn a_token_of_another_key_or_with_other_words_is_refused() {
    let (ours, theirs) = (key("a"), key("a"));
    assert!(check(&signed(&theirs, json!({})), &[&ours]).is_err());
    let good = signed(&ours, json!({}));
    let parts: Vec<&str> = good.split('.').collect();
    let body = BASE64_URL_SAFE_NO_PAD.encode(claims(json!({"sub": "2"})).to_string());
    assert!(check(&format!("{}.{body}.{}", parts[0], parts[2]), &[&ours]).is_err());
    assert!(check(&format!("{good}x"), &[&ours]).is_err());
    assert!(check(&"a".repeat(BYTES_MAX + 1), &[&ours]).is_err());
}

#[test]
fn a_key_is_found_by_its_name_and_never_guessed_among_several() {
    let (a, b) = (key("a"), key("b"));
    assert!(check(&signed(&a, json!({})), &[&b, &a]).is_ok());
    assert_eq!(check(&signed(&a, json!({})), &[&b]).unwrap_err(), "no such key");
    let nameless = jsonwebtoken::encode(&Header::new(Algorithm::ES256), &claims(json!({})), &a.signing).unwrap();
    assert!(check(&nameless, &[&a]).is_ok());
    assert_eq!(check(&nameless, &[&a, &b]).unwrap_err(), "no such key");
}

#[test]
fn a_key_is_used_for_what_it_was_published_for() {
    let made = key("a");
    let with = |changes: Value| {
        let mut public = serde_json::to_value(&made.public).unwrap();
        public.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        Key { public: serde_json::from_value(public).unwrap(), signing: made.signing.clone(), published: Vec::new() }
    };
    let token = signed(&made, json!({}));
    assert!(check(&token, &[&with(json!({"alg": "ES256"}))]).is_ok());
    for changes in [json!({"use": "enc"}), json!({"alg": "ES384"}), json!({"alg": "RS256"}), json!({"crv": "P-384"})] {
        assert_eq!(check(&token, &[&with(changes.clone())]).unwrap_err(), "no such key", "{changes}");
    }
}
