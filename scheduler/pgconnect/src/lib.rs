//! How Windlass connects to PostgreSQL: the state store, the lake's database and the operator `sql` alike.
//!
//! `sslmode` means what it means to libpq (PostgreSQL's manual, "SSL Support"), where sqlx alone differs:
//!
//! | mode | here |
//! |---|---|
//! | `disable` | no TLS |
//! | `allow` | without TLS, and with TLS when the server refuses that |
//! | `prefer` (default) | with TLS, and without when the server has none or refuses it, or the handshake fails; said once a server in the log |
//! | `require` | with TLS; the certificate is checked only when `sslrootcert` is given, then as by `verify-ca` |
//! | `verify-ca` | the certificate is of an authority in `sslrootcert`, or one that the system trusts |
//! | `verify-full` | that, and it names the host |
//!
//! `sslrootcert=system` is an authority that everybody can get a certificate of: it makes every mode `verify-full`. On a Unix
//! socket there is no TLS, whatever the mode. A name is looked for in subjectAltName, and nowhere else.
//! `sslcert` and `sslkey` are the client's own certificate. Files are PEM. An unknown parameter of a URL is an error: a misspelt
//! `sslmode` would be clear text. Nothing here asks anything of a server but how the connection stands: whether it is encrypted,
//! and in a transaction.

mod target;
mod tunnel;

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use sqlx::{
    ConnectOptions as _, Connection as _, Executor as _, PgConnection, Row as _,
    postgres::{PgConnectOptions, PgSslMode},
};

pub use target::{NoTarget, Target};

/// How long a connection may take to be made, handshake and login included, unless `connect_timeout` says otherwise.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// The pause before a server is tried again that is just starting.
const STARTING_PAUSE: Duration = Duration::from_millis(250);
/// PostgreSQL's code for a login that its rules (`pg_hba.conf`) refuse: how it says that it wants TLS.
const INVALID_AUTHORIZATION: &str = "28000";

/// How rustls calls a certificate of another version than 3.
const OLD_VERSION: &str = "UnsupportedCertVersion";

/// Servers of which it has been said that the way to them is not encrypted.
static IN_CLEAR_TEXT: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

impl Target {
    /// Connects once.
    ///
    /// # Errors
    /// What sqlx says; a time-out is [`sqlx::Error::Io`].
    pub async fn connect(&self) -> Result<PgConnection, sqlx::Error> {
        let (connection, _) = self.connect_and_settle().await?;
        Ok(connection)
    }

    /// The options for a pool, with the mode that a first connection found to work.
    ///
    /// # Errors
    /// When that connection can not be made.
    pub async fn settled(&self) -> Result<PgConnectOptions, sqlx::Error> {
        let (connection, options) = self.connect_and_settle().await?;
        // It has served its purpose; a server that is gone by now will be noticed by the pool.
        let _closed = connection.close().await;
        Ok(options)
    }

    /// The same for a server that may be just starting: it is tried again for so long.
    ///
    /// # Errors
    /// As [`Self::settled`].
    pub async fn settled_within(&self, patience: Duration) -> Result<PgConnectOptions, sqlx::Error> {
        let began = Instant::now();
        loop {
            match self.settled().await {
                Err(error) if is_starting(&error) && began.elapsed() + STARTING_PAUSE < patience => {
                    tokio::time::sleep(STARTING_PAUSE).await;
                }
                settled => return settled,
            }
        }
    }

    async fn connect_and_settle(&self) -> Result<(PgConnection, PgConnectOptions), sqlx::Error> {
        choose_cryptography();
        let options = self.options().clone();
        // sqlx takes a host that is a path, such as its own default, for a folder of sockets.
        if options.get_socket().is_some() || options.get_host().starts_with('/') {
            let options = options.ssl_mode(PgSslMode::Disable);
            return Ok((self.once(&options).await?, options));
        }
        match options.get_ssl_mode() {
            PgSslMode::Allow => self.without_tls_first(options).await,
            PgSslMode::Prefer => self.with_tls_first(options).await,
            PgSslMode::VerifyCa => {
                let options = tunnel::through(&options, self.certificates()).await?;
                Ok((self.once(&options).await?, options))
            }
            PgSslMode::Disable | PgSslMode::Require | PgSslMode::VerifyFull => {
                Ok((self.once(&options).await?, options))
            }
        }
    }

    async fn without_tls_first(
        &self,
        options: PgConnectOptions,
    ) -> Result<(PgConnection, PgConnectOptions), sqlx::Error> {
        let plain = options.clone().ssl_mode(PgSslMode::Disable);
        match self.once(&plain).await {
            Ok(connection) => Ok((connection, plain)),
            Err(refused) if is_refused_by_rule(&refused) => {
                let encrypted = options.ssl_mode(PgSslMode::Require);
                // When TLS does not work either, the server's own words are the reason.
                let connection = self.once(&encrypted).await.map_err(|error| with_tls_or(error, refused))?;
                Ok((connection, encrypted))
            }
            Err(error) => Err(error),
        }
    }

    async fn with_tls_first(&self, options: PgConnectOptions) -> Result<(PgConnection, PgConnectOptions), sqlx::Error> {
        let (mut connection, options) = match self.once(&options).await {
            Ok(connection) => (connection, options),
            Err(error) if is_about_tls(&error) => {
                let plain = options.ssl_mode(PgSslMode::Disable);
                // When that does not help either, the first error is the one to tell.
                let connection = self.once(&plain).await.map_err(|_| error)?;
                (connection, plain)
            }
            Err(error) => return Err(error),
        };
        if !is_encrypted(&mut connection).await? {
            say_once(&options);
        }
        Ok((connection, options))
    }

    async fn once(&self, options: &PgConnectOptions) -> Result<PgConnection, sqlx::Error> {
        let connected = tokio::time::timeout(self.connect_timeout(), options.connect()).await;
        connected.map(|connected| connected.map_err(explained)).unwrap_or_else(|_| {
            let waited = self.connect_timeout().as_secs();
            let text = format!("no answer from {}:{} for {waited} s", options.get_host(), options.get_port());
            Err(sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, text)))
        })
    }
}

/// The same error, in words that say what to do where rustls has none.
fn explained(error: sqlx::Error) -> sqlx::Error {
    if !error.to_string().contains(OLD_VERSION) {
        return error;
    }
    let text = "a certificate, the server's or sslcert, is of X.509's version 1, and 3 is needed: sign it with an extension, as by \
                openssl x509 -req … -extfile with subjectAltName";
    sqlx::Error::Tls(text.into())
}

/// sqlx leaves the choice to the process for some modes, and rustls makes none where two providers are compiled in.
fn choose_cryptography() {
    // Whoever has chosen before is right.
    let _chosen = tokio_rustls::rustls::crypto::ring::default_provider().install_default();
}

fn is_refused_by_rule(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(|error| error.code()).is_some_and(|code| code == INVALID_AUTHORIZATION)
}

/// Whether a connection may do without TLS: there was none, it failed, or a rule refuses it.
fn is_about_tls(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Tls(_) | sqlx::Error::Io(_)) || is_refused_by_rule(error)
}

/// Whether a server will answer in a moment: nobody listens yet, or it says that it starts.
fn is_starting(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(error) => {
            matches!(error.kind(), std::io::ErrorKind::ConnectionRefused | std::io::ErrorKind::NotFound)
        }
        sqlx::Error::Database(error) => error.is_transient_in_connect_phase(),
        _ => false,
    }
}

fn with_tls_or(error: sqlx::Error, refused: sqlx::Error) -> sqlx::Error {
    match error {
        sqlx::Error::Tls(_) => refused,
        other => other,
    }
}

/// Whether a connection of a pool is in no transaction, for `before_acquire`: one that is gets closed. sqlx 0.8.4 to 0.9.0
/// forgets a transaction when the future of `begin` is dropped before its answer is there, as by a client that hangs up: what
/// the next caller writes on that connection would be taken back some seconds later, and hold its locks until then.
///
/// # Errors
/// When the server does not answer.
pub async fn is_out_of_transactions(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    // A simple query outside a transaction begins one at the very time of the statement.
    let row = connection.fetch_one(sqlx::raw_sql("SELECT now() = statement_timestamp()")).await?;
    row.try_get(0)
}

async fn is_encrypted(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    let question = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    let row = connection.fetch_optional(sqlx::raw_sql(question)).await?;
    // Behind a proxy the server may not know itself.
    row.map_or(Ok(false), |row| row.try_get(0))
}

fn say_once(options: &PgConnectOptions) {
    let place = format!("{}:{}", options.get_host(), options.get_port());
    // A panic elsewhere while it was held leaves the set whole.
    if IN_CLEAR_TEXT.lock().unwrap_or_else(PoisonError::into_inner).insert(place.clone()) {
        tracing::warn!(
            postgres.server = place,
            "the connection to PostgreSQL is not encrypted: sslmode is prefer and the server offers no TLS; \
             sslmode=require or verify-full refuses that, sslmode=disable says that it is meant"
        );
    }
}

/// Whether it has been said that the way to a server is not encrypted.
#[must_use]
pub fn said_in_clear_text(host: &str, port: u16) -> bool {
    IN_CLEAR_TEXT.lock().unwrap_or_else(PoisonError::into_inner).contains(&format!("{host}:{port}"))
}
