//! The identity of a cluster: what its schedulers, api processes and workers know each other by.
//!
//! It is made once, by whichever process needs it first, and lies sealed in the database. Who has the database and the
//! key is of the cluster; who has a join token may work for it, and nothing else.

use std::time::Duration;

use chrono::SecondsFormat;
use futures::future::BoxFuture;
use link::transport::tls::{
    Admission, Authority, Caller, Enrollment, Finder, Fingerprint, Gatekeeper, IdentityError, JoinToken, Purpose,
    Recognition, Secret,
};
use model::Timestamp;
use sqlx::PgPool;
use store::{
    SecretKey, StoreError,
    audit::Actor,
    certificates::{self, Issued},
    cluster::{self, ClusterSecret, NewToken, StoredToken, TokenState},
};
use uuid::Uuid;

/// The identity of the cluster can not be had.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// The database does not give it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It can not be made or used.
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

/// A cluster's identity, opened with its key.
pub struct Cluster {
    pool: PgPool,
    key: SecretKey,
    authority: Authority,
    api: Secret,
}

impl Cluster {
    /// Opens the identity that lies in the database, or makes it.
    ///
    /// # Errors
    /// [`ClusterError`], also when it was sealed with another key.
    pub async fn open(pool: PgPool, key: SecretKey) -> Result<Self, ClusterError> {
        let fresh = Authority::generate()?;
        let stored = cluster::secret(&pool, &key, ClusterSecret::Authority, || fresh.reveal()).await?;
        let authority = Authority::from_stored(&stored)?;
        let api = cluster::secret(&pool, &key, ClusterSecret::Api, new_secret).await?;
        Ok(Self { pool, key, authority, api: Secret::new(api) })
    }

    /// Who signs the certificates of its leaders.
    #[must_use]
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// What every api process signs logins with, so that one's login is good at the others.
    ///
    /// # Errors
    /// [`ClusterError::Store`].
    pub async fn signing_secret(&self) -> Result<Secret, ClusterError> {
        let text = cluster::secret(&self.pool, &self.key, ClusterSecret::Signing, new_secret).await?;
        Ok(Secret::new(text))
    }

    /// How an api process calls the leader.
    ///
    /// # Errors
    /// [`ClusterError::Identity`].
    pub fn caller(&self) -> Result<Caller, ClusterError> {
        Ok(Caller::api(self.authority.fingerprint(), self.api.clone())?)
    }

    /// The join token in use; one is made when there is none, or when it has expired.
    ///
    /// # Errors
    /// [`ClusterError::Store`].
    pub async fn join_token(&self, who: Actor<'_>) -> Result<JoinToken, ClusterError> {
        match cluster::current_token(&self.pool, &self.key).await? {
            Some(StoredToken { id, secret, state: TokenState::Valid }) => Ok(self.token(id, secret)),
            Some(_) => self.rotate(who, None).await,
            None => {
                let token = JoinToken::generate(self.authority.fingerprint());
                let hash = token.endpoint_secret().digest();
                cluster::add_first_token(&self.pool, &self.key, who, new_token(&token, &hash, None)).await?;
                let stored = cluster::current_token(&self.pool, &self.key).await?;
                Ok(stored.map_or(token, |stored| self.token(stored.id, stored.secret)))
            }
        }
    }

    /// A new join token in place of the one in use, which no worker can connect with any more.
    ///
    /// # Errors
    /// [`ClusterError::Store`].
    pub async fn rotate(&self, who: Actor<'_>, valid_for: Option<Duration>) -> Result<JoinToken, ClusterError> {
        let token = JoinToken::generate(self.authority.fingerprint());
        let hash = token.endpoint_secret().digest();
        cluster::replace_token(&self.pool, &self.key, who, new_token(&token, &hash, valid_for)).await?;
        Ok(token)
    }

    fn token(&self, id: String, secret: String) -> JoinToken {
        JoinToken { id, secret: Secret::new(secret), authority: self.authority.fingerprint() }
    }

    async fn admit_worker(&self, id: &str, secret: &Secret) -> Result<Admission, StoreError> {
        const AGAIN: &str = "give the worker the token that `windlass workers token` prints";
        let Some(stored) = cluster::token(&self.pool, &self.key, id).await? else {
            return Ok(Admission::Denied(format!("this cluster has never had such a join token; {AGAIN}")));
        };
        let id = &stored.id;
        if !secret.matches(&Secret::new(stored.secret.as_str())) {
            return Ok(Admission::Denied(format!("the secret of join token {id} is another one; {AGAIN}")));
        }
        Ok(match stored.state {
            TokenState::Valid => Admission::Granted,
            TokenState::Expired(at) => Admission::Denied(format!("join token {id} has expired {}; {AGAIN}", when(at))),
            TokenState::Revoked(at) => Admission::Denied(format!("join token {id} was revoked {}; {AGAIN}", when(at))),
        })
    }
}

impl Cluster {
    async fn certify(&self, worker: Uuid, token: &str) -> Result<Enrollment, ClusterError> {
        let certificate = self.authority.certify(worker)?;
        let issued = certificates::issue(&self.pool, worker, certificate.fingerprint().bytes(), token).await?;
        Ok(match issued {
            Issued::Noted => Enrollment::Certified(certificate),
            Issued::InUse => Enrollment::Denied(format!(
                "worker {worker} is known by its certificate, and this caller does not have it. When its folder was lost, \
                 `windlass workers readmit {worker}` lets it join again"
            )),
            Issued::Revoked => Enrollment::Denied(revoked(worker)),
        })
    }
}

fn revoked(worker: Uuid) -> String {
    format!("the certificate of worker {worker} was taken back; `windlass workers readmit {worker}` lets it join again")
}

impl Gatekeeper for Cluster {
    fn recognise(&self, worker: Uuid, certificate: Fingerprint) -> BoxFuture<'_, Recognition> {
        Box::pin(async move {
            match certificates::standing(&self.pool, worker, certificate.bytes()).await {
                Ok(certificates::Standing::Known) => Recognition::Known,
                Ok(certificates::Standing::Unknown) => Recognition::Unknown,
                Ok(certificates::Standing::Revoked) => Recognition::Denied(revoked(worker)),
                Err(error) => Recognition::Denied(format!("its certificate can not be checked right now: {error}")),
            }
        })
    }

    fn enroll<'a>(&'a self, worker: Uuid, token: &'a str) -> BoxFuture<'a, Enrollment> {
        Box::pin(async move {
            let certified = self.certify(worker, token).await;
            certified.unwrap_or_else(|error| {
                Enrollment::Denied(format!("it can be given no certificate right now: {error}"))
            })
        })
    }

    fn admit<'a>(&'a self, purpose: Purpose, id: &'a str, secret: &'a Secret) -> BoxFuture<'a, Admission> {
        Box::pin(async move {
            match purpose {
                Purpose::Ask if secret.matches(&self.api) => Admission::Granted,
                Purpose::Ask => Admission::Denied("it does not have the secret of this cluster's api processes".into()),
                Purpose::Work => self.admit_worker(id, secret).await.unwrap_or_else(|error| {
                    Admission::Denied(format!("the join token can not be checked right now: {error}"))
                }),
            }
        })
    }
}

/// Finds the leader where the last takeover has written that it is.
#[derive(Debug, Clone)]
pub struct SeatFinder(pub PgPool);

impl Finder for SeatFinder {
    fn endpoints(&self) -> BoxFuture<'_, std::io::Result<Vec<String>>> {
        Box::pin(async move {
            let seat = cluster::leader_seat(&self.0).await.map_err(std::io::Error::other)?;
            match link::transport::tls::parse_endpoints(&seat.endpoint) {
                Ok(endpoints) => Ok(endpoints),
                Err(_) if seat.epoch.get() == 0 => Err(std::io::Error::other("no scheduler has led yet")),
                Err(_) => Err(std::io::Error::other(format!(
                    "{} leads and has no address on the network: it is no `windlass scheduler`",
                    seat.holder
                ))),
            }
        })
    }
}

fn new_token<'a>(token: &'a JoinToken, lookup_hash: &'a [u8], valid_for: Option<Duration>) -> NewToken<'a> {
    NewToken { id: &token.id, secret: token.secret.reveal(), lookup_hash, valid_for }
}

fn new_secret() -> String {
    Secret::generate().reveal().to_owned()
}

fn when(at: Timestamp) -> String {
    format!("at {}", at.to_rfc3339_opts(SecondsFormat::Secs, true))
}
