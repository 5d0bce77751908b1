//! `windlass standalone`: one process tree with everything.
//!
//! Leader and web server live in this process, each on threads and connections of its own, so that no page holds the leader.
//! PostgreSQL, the schema registry and the worker are processes of their own, so that a restart of the leader kills no stream;
//! after a kill -9 the next standalone finds and adopts what lives.

pub mod children;
mod process;
mod registry;
pub mod worker;
pub mod worker_log;

use std::{convert::Infallible, net::SocketAddrV4, process::ExitCode, sync::Arc, time::Duration};

use anyhow::{Context, bail};
use daemon::{
    home::{Home, HomeLock},
    leader::{self, DagSource, Ear, LeaderMetrics, LeaderSettings},
    postgres::{EmbeddedPostgres, Urls},
};
use link::{
    LeaderPort,
    transport::{Acceptor, UnixAcceptor, write_endpoint},
};
use store::retention::Retention;
use store::users::DEFAULT_USER;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;
use webui::{Apart, AppSettings, Secret, WebDatabase};

use crate::{ask, fleet::settings::installation_key, production::refuse_default_login, settings::Settings};
use children::Children;

/// Runs until Ctrl-C, SIGTERM, or a part that can not go on.
///
/// # Errors
/// When a setting is wrong or a part can not start; nothing is left running.
pub async fn run(settings: &Settings) -> anyhow::Result<ExitCode> {
    settings.check()?;
    let home = Home::open(&settings.home)?;
    let lock = process::claim(&home).await?;
    let listener = listen(settings.address(), "WINDLASS_PORT", "the UI").await?;
    let mut databases = Databases::start(settings, &home).await?;
    let ended = serve(settings, &home, listener, &mut databases).await;
    databases.stop().await;
    drop::<HomeLock>(lock);
    ended.map(|()| ExitCode::SUCCESS)
}

/// The databases, and the private server when they are on one.
struct Databases {
    urls: Urls,
    own: Option<EmbeddedPostgres>,
}

impl Databases {
    async fn start(settings: &Settings, home: &Home) -> anyhow::Result<Self> {
        if let Some(urls) = settings.given_databases() {
            return Ok(Self { urls, own: None });
        }
        let postgres = EmbeddedPostgres::start(home.root()).await?;
        Ok(Self { urls: postgres.urls().clone(), own: Some(postgres) })
    }

    /// Starts the private server again whenever it ends, for ever.
    async fn watch(&mut self) -> Infallible {
        /// The leader tries to reach it at about the same pace.
        const LOOK_EVERY: Duration = Duration::from_millis(500);
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            if let Some(postgres) = &mut self.own
                && let Err(error) = postgres.revive().await
            {
                tracing::error!(%error, "the private PostgreSQL can not be started again yet");
            }
        }
    }

    async fn stop(self) {
        if let Some(postgres) = self.own {
            postgres.stop().await;
        }
    }
}

async fn serve(
    settings: &Settings,
    home: &Home,
    listener: TcpListener,
    databases: &mut Databases,
) -> anyhow::Result<()> {
    let urls = &databases.urls.clone();
    let pool = store::open(&urls.state).await?;
    if databases.own.is_some() || settings.auto_migrate {
        store::migrate(&pool).await?;
    } else {
        store::connect::check_schema(&pool).await?;
    }
    store::secrets::check_key(&pool, &installation_key(home)?).await?;
    store::users::create_default_user(&pool).await?;
    refuse_default_login(&pool, settings.deployment).await?;
    let shutdown = CancellationToken::new();
    let ear = Ear::new(leader::news_channel(), shutdown.clone());
    let port: Arc<dyn LeaderPort> = Arc::new(ear.port());
    let dags = DagSource::Folder(settings.dags_folder.clone());
    let (mut leader_settings, acceptor) = leader_settings(settings, dags, home, urls)?;
    leader_settings.retention = settings.retention;
    let mut app = app_settings(settings, home)?;
    let mut registry = metrics::registry(env!("CARGO_PKG_VERSION"));
    leader_settings.metrics.register(&mut registry);
    app.show(registry);
    let leading = tokio::spawn(leader::run(leader_settings, acceptor, ear));
    let _questions = ask::answer(home, Arc::clone(&port))?;
    let children = Children::start(settings, home, urls)?;
    let web_shutdown = CancellationToken::new();
    let database = WebDatabase { url: urls.state.clone(), statement_timeout: settings.statement_timeout };
    let mut serving = webui::serve_apart(app, listener.into_std()?, database, port, web_shutdown.clone())?;
    tracing::info!("the UI is on http://{} (login {DEFAULT_USER} / {DEFAULT_USER})", settings.address());

    let ended = first_end(leading, &mut serving, databases).await;
    tracing::info!("stopping");
    web_shutdown.cancel();
    // Worker and web server go before the leader, which still takes the last reports and answers the last requests, and
    // before PostgreSQL. A second signal makes the worker hurry.
    let hurry = children.hurry();
    let both = async { tokio::join!(children.stop(), web_has_ended(serving)) };
    tokio::select! {
        ((), ()) = both => {}
        never = async {
            signalled().await;
            tracing::info!("a second signal: what runs is handed back now");
            hurry.cancel();
            std::future::pending::<Infallible>().await
        } => match never {},
    }
    shutdown.cancel();
    if let Some(leading) = ended.leading {
        leader_has_ended(leading).await;
    }
    pool.close().await;
    ended.outcome
}

/// How the wait for an end came out.
struct Ended {
    outcome: anyhow::Result<()>,
    /// The leader, unless its end is what ended the wait.
    leading: Option<Leading>,
}

type Leading = JoinHandle<Result<(), leader::LeaderError>>;

async fn web_has_ended(mut serving: Apart) {
    /// It answers what it has begun to, and ends within some seconds of that; a thread that is blocked ends with the process.
    const WITHIN: Duration = Duration::from_secs(20);
    match tokio::time::timeout(WITHIN, serving.ended()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "the web server did not end in order"),
        Err(_) => tracing::warn!("the web server did not end in time"),
    }
}

async fn leader_has_ended(leading: Leading) {
    /// A leader ends within a turn.
    const WITHIN: Duration = Duration::from_secs(5);
    match tokio::time::timeout(WITHIN, leading).await {
        Ok(Ok(Ok(()))) => {}
        Ok(Ok(Err(error))) => tracing::warn!(%error, "the leader did not end in order"),
        Ok(Err(panic)) => tracing::error!(%panic, "the leader failed while it was ending"),
        Err(_) => tracing::warn!("the leader did not end in time; PostgreSQL has all that it acknowledged"),
    }
}

/// Waits for Ctrl-C or SIGTERM.
async fn signalled() {
    match (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) {
        (Ok(mut interrupt), Ok(mut terminate)) => {
            tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
        }
        (Err(error), _) | (_, Err(error)) => tracing::error!(%error, "signals can not be awaited"),
    }
}

async fn first_end(mut leading: Leading, serving: &mut Apart, databases: &mut Databases) -> Ended {
    tokio::select! {
        never = databases.watch() => match never {},
        () = signalled() => Ended { outcome: Ok(()), leading: Some(leading) },
        ended = &mut leading => {
            let outcome = ended.context("the leader has failed").and_then(|ended| Ok(ended?));
            Ended { outcome, leading: None }
        }
        ended = serving.ended() => {
            Ended { outcome: ended.context("the web server has failed"), leading: Some(leading) }
        }
    }
}

/// What the leader of a home is given, and its door to the worker of this machine.
///
/// # Errors
/// When the socket, the key or a secrets backend can not be had.
pub fn leader_settings(
    settings: &Settings,
    dags: DagSource,
    home: &Home,
    urls: &Urls,
) -> anyhow::Result<(LeaderSettings, Box<dyn Acceptor>)> {
    let socket = home.sockets()?.join("leader.sock");
    let acceptor = UnixAcceptor::bind(&socket).context("the leader's socket can not be opened")?;
    write_endpoint(&home.endpoint_file(), &socket).context("the leader's endpoint can not be written")?;
    let leader = LeaderSettings {
        database_url: urls.state.clone(),
        name: format!("standalone:{}", std::process::id()),
        endpoint: socket.display().to_string(),
        dags,
        bundles: Arc::clone(&settings.bundles),
        secret_key: installation_key(home)?,
        secrets: settings.secrets_backends()?,
        metrics: LeaderMetrics::default(),
        retention: Retention::default(),
        engine: settings.engine.clone(),
    };
    Ok((leader, Box::new(acceptor)))
}

fn app_settings(settings: &Settings, home: &Home) -> anyhow::Result<AppSettings> {
    let secret_key = installation_key(home)?;
    let mut app = AppSettings::new(Secret::new(home.signing_key()?)?, secret_key);
    app.login_hint = Some(format!("First login: {DEFAULT_USER} / {DEFAULT_USER}"));
    app.log_archive = settings.log_archive();
    app.exposed = crate::exposed::settings()?;
    app.trusted_proxies = settings.trusted_proxies.clone();
    app.password_chars_min = settings.password_chars_min;
    app.oidc = settings.identity_provider()?;
    app.local_logins = settings.local_logins;
    app.connection_tests = settings.connection_tests;
    Ok(app)
}

/// Opens a port before anything starts, so that a busy one is told at once.
async fn listen(address: SocketAddrV4, variable: &str, what: &str) -> anyhow::Result<TcpListener> {
    match TcpListener::bind(address).await {
        Ok(listener) => Ok(listener),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => bail!(
            "port {} for {what} is in use by another program. Stop it, or set {variable} to a free port",
            address.port()
        ),
        Err(error) => Err(error).with_context(|| format!("port {} for {what} can not be opened", address.port())),
    }
}
