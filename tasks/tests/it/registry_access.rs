//! A registry behind TLS and a login, as a client sees it.

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use std::sync::Arc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use url::Url;
use windlass_tasks::registry::{Login, RegistryAccess, RegistryClient};

/// `me:open-sesame` as HTTP writes it.
const AUTHORIZATION: &str = "Basic bWU6b3Blbi1zZXNhbWU=";

/// Answers every request with an id, or with 401. Gives its address and its authority.
async fn registry() -> (Url, Vec<u8>) {
    let mut of_authority = CertificateParams::new(Vec::new()).unwrap();
    of_authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authoritys_key = KeyPair::generate().unwrap();
    let authority = of_authority.self_signed(&authoritys_key).unwrap();
    let issuer = Issuer::new(of_authority, authoritys_key);
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], private)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/registry", listener.local_addr().unwrap()).parse().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut request = vec![0; 64 * 1024];
            let read = stream.read(&mut request).await.unwrap_or(0);
            let head = String::from_utf8_lossy(&request[..read]).into_owned();
            let known = head.lines().any(|line| {
                line.split_once(": ")
                    .is_some_and(|(name, value)| name.eq_ignore_ascii_case("authorization") && value == AUTHORIZATION)
            });
            let (status, body) = if known { ("200 OK", "{\"id\": 7}") } else { ("401 Unauthorized", "{}") };
            let length = body.len();
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
            let _ = stream.write_all(answer.as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    });
    (url, authority.pem().into_bytes())
}

#[tokio::test]
async fn a_registry_behind_tls_and_a_login_is_used_and_a_wrong_login_is_told_without_it() {
    let (url, authority) = registry().await;
    let login = |password: &str| Login { user: "me".to_owned(), password: password.to_owned() };
    let access = RegistryAccess::new(url.clone()).authorities(authority);
    let client = RegistryClient::with(access.clone().login(login("open-sesame"))).unwrap();
    assert_eq!(client.register("s", "\"int\"").await.unwrap(), 7);
    let client = RegistryClient::with(access.login(login("sesame-open"))).unwrap();
    let said = client.register("s", "\"int\"").await.unwrap_err().to_string();
    assert!(said.contains("401") && said.contains("SCHEMA_REGISTRY_BASIC_AUTH_USER_INFO"), "{said}");
    assert!(!said.contains("sesame-open"), "{said}");
    let nonsense =
        RegistryAccess::new(url).authorities(b"-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----".to_vec());
    assert!(RegistryClient::with(nonsense).is_err());
}
