//! The cluster's authority, and the certificates that it gives to leaders.
//!
//! The authority is made once and shared by every leader of a database. A leader's own certificate lives in its memory.

use std::{fmt, str::FromStr, sync::Arc};

use base64::{
    Engine as _,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio_rustls::rustls::{
    self, RootCertStore, ServerConfig,
    client::verify_server_name,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName},
    server::{ParsedCertificate, WebPkiClientVerifier, danger::ClientCertVerifier},
    version::TLS13,
};
use uuid::Uuid;

use super::SERVER_NAME;

/// The name in the authority's certificate; its key tells clusters apart.
const AUTHORITY_NAME: &str = "Windlass cluster";

/// The SHA-256 of an authority's certificate.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

/// An identity could not be made or read.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A certificate could not be made.
    #[error("a certificate of the cluster could not be made: {0}")]
    Certificate(#[from] rcgen::Error),
    /// TLS does not take it.
    #[error("TLS does not accept the cluster's certificate: {0}")]
    Tls(#[from] rustls::Error),
    /// The stored text is no authority.
    #[error("the stored authority of the cluster can not be read: {0}")]
    Stored(String),
}

/// The authority: a certificate, and the key that signs others.
pub struct Authority {
    certificate: CertificateDer<'static>,
    key: KeyPair,
}

/// An authority as it is stored: DER in base64.
#[derive(Serialize, Deserialize)]
struct Stored {
    certificate: String,
    key: String,
}

/// What proves which worker a caller is: a certificate that its cluster's authority has signed, with its key.
pub struct WorkerCertificate {
    certificate: CertificateDer<'static>,
    key: Vec<u8>,
}

impl fmt::Debug for WorkerCertificate {
    /// Shows the fingerprint only.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WorkerCertificate").field(&self.fingerprint()).finish()
    }
}

impl WorkerCertificate {
    /// Its whole text with the key, for the worker alone.
    #[must_use]
    pub fn reveal(&self) -> String {
        let stored =
            Stored { certificate: BASE64_STANDARD.encode(&self.certificate), key: BASE64_STANDARD.encode(&self.key) };
        serde_json::to_string(&stored).expect("two texts have a form in JSON")
    }

    /// One that was stored; none when the text is not whole.
    #[must_use]
    pub fn from_stored(text: &str) -> Option<Self> {
        let stored: Stored = serde_json::from_str(text).ok()?;
        let certificate = BASE64_STANDARD.decode(stored.certificate).ok()?;
        Some(Self { certificate: certificate.into(), key: BASE64_STANDARD.decode(stored.key).ok()? })
    }

    /// What tells it from every other one.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.certificate)
    }

    pub(super) fn for_tls(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        (vec![self.certificate.clone()], PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.clone())))
    }
}

/// Whether a certificate is the one of a worker; who has signed it is checked already.
pub(super) fn is_of_worker(certificate: &CertificateDer<'_>, worker: Uuid) -> bool {
    let (Ok(parsed), Ok(name)) = (ParsedCertificate::try_from(certificate), ServerName::try_from(worker_name(worker)))
    else {
        return false;
    };
    verify_server_name(&parsed, &name).is_ok()
}

/// The name in a worker's certificate, which no leader has.
fn worker_name(worker: Uuid) -> String {
    format!("{worker}.worker.windlass.internal")
}

impl Fingerprint {
    /// The fingerprint of a certificate.
    #[must_use]
    pub fn of(certificate: &[u8]) -> Self {
        Self(Sha256::digest(certificate).into())
    }

    /// Its bytes, for whoever stores it.
    #[must_use]
    pub const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64_URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Fingerprint {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_| ())?;
        bytes.try_into().map(Self).map_err(|_| ())
    }
}

impl fmt::Debug for Authority {
    /// Shows the fingerprint only.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Authority").field(&self.fingerprint()).finish()
    }
}

impl Authority {
    /// A new authority.
    ///
    /// # Errors
    /// [`IdentityError::Certificate`].
    pub fn generate() -> Result<Self, IdentityError> {
        let key = KeyPair::generate()?;
        let certificate = authority_params()?.self_signed(&key)?;
        Ok(Self { certificate: certificate.der().clone(), key })
    }

    /// Its whole text with the key, to be stored sealed.
    #[must_use]
    pub fn reveal(&self) -> String {
        let stored = Stored {
            certificate: BASE64_STANDARD.encode(&self.certificate),
            key: BASE64_STANDARD.encode(self.key.serialized_der()),
        };
        serde_json::to_string(&stored).expect("two texts have a form in JSON")
    }

    /// One that was stored.
    ///
    /// # Errors
    /// [`IdentityError::Stored`]; the text is not shown.
    pub fn from_stored(text: &str) -> Result<Self, IdentityError> {
        let wrong = |what: &str| IdentityError::Stored(what.to_owned());
        let stored: Stored = serde_json::from_str(text).map_err(|_| wrong("it is not what this version writes"))?;
        let certificate = BASE64_STANDARD.decode(stored.certificate).map_err(|_| wrong("its certificate is cut"))?;
        let key = BASE64_STANDARD.decode(stored.key).map_err(|_| wrong("its key is cut"))?;
        let key = KeyPair::try_from(key).map_err(|error| IdentityError::Stored(error.to_string()))?;
        Ok(Self { certificate: certificate.into(), key })
    }

    /// What tells it from every other authority.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.certificate)
    }

    /// A certificate for a worker, with a key made now.
    ///
    /// # Errors
    /// [`IdentityError::Certificate`].
    pub fn certify(&self, worker: Uuid) -> Result<WorkerCertificate, IdentityError> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(vec![worker_name(worker)])?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&key, &Issuer::new(authority_params()?, &self.key))?;
        Ok(WorkerCertificate { certificate: certificate.der().clone(), key: key.serialize_der() })
    }

    /// TLS for a leader, with a certificate made now. Its key exists in memory only.
    pub(super) fn server_config(&self) -> Result<ServerConfig, IdentityError> {
        self.server_config_beside(self)
    }

    /// TLS with a certificate that is signed here, and shown together with that of another authority: a forgery, unless
    /// it is the same.
    pub(super) fn server_config_beside(&self, shown: &Self) -> Result<ServerConfig, IdentityError> {
        let key = KeyPair::generate()?;
        let issuer = Issuer::new(authority_params()?, &self.key);
        let leaf = CertificateParams::new(vec![SERVER_NAME.to_owned()])?.signed_by(&key, &issuer)?;
        let chain = vec![leaf.der().clone(), shown.certificate.clone()];
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])?
            .with_client_cert_verifier(self.client_verifier()?)
            .with_single_cert(chain, key)?;
        Ok(config)
    }
}

impl Authority {
    /// A caller may show a certificate; when it does, this authority must have signed it.
    fn client_verifier(&self) -> Result<Arc<dyn ClientCertVerifier>, IdentityError> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone())?;
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider()).allow_unauthenticated();
        verifier.build().map_err(|error| rustls::Error::General(error.to_string()).into())
    }
}

/// The same each time: a certificate is signed in the name that the authority's own carries.
fn authority_params() -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name.push(DnType::CommonName, AUTHORITY_NAME);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    Ok(params)
}

/// The cryptography of the link, whatever other parts of the process use.
pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_authority_is_the_same_one() {
        let authority = Authority::generate().unwrap();
        let again = Authority::from_stored(&authority.reveal()).unwrap();
        assert_eq!(again.fingerprint(), authority.fingerprint());
        assert!(again.server_config().is_ok());
    }

    #[test]
    fn garbage_is_no_authority_and_is_not_shown() {
        let error = Authority::from_stored("{\"certificate\":\"hunter2\"}").unwrap_err();
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
}
