//! A stage for one run: a home of its own with PostgreSQL, leader and worker, all gone when it is struck.

use std::{net::TcpListener, sync::Arc};

use anyhow::Context;
use daemon::{
    folder::FolderNews,
    home::Home,
    leader::{self, DagSource, Ear, LeaderError},
    postgres::EmbeddedPostgres,
};
use link::LeaderPort;
use metrics::Listen;
use sqlx::PgPool;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use crate::{
    access::Access,
    ask,
    fleet::settings::FleetSettings,
    settings::Settings,
    standalone::{children::Children, leader_settings},
};

/// What runs, in the order of its end.
pub struct Stage {
    /// The settings of its home.
    pub settings: Settings,
    /// The way to its leader and its store.
    pub access: Access,
    /// Its store.
    pub pool: PgPool,
    children: Children,
    _questions: AbortOnDropHandle<()>,
    shutdown: CancellationToken,
    leading: JoinHandle<Result<(), LeaderError>>,
    postgres: EmbeddedPostgres,
    folder: TempDir,
}

impl Stage {
    /// Starts everything.
    ///
    /// # Errors
    /// When a part of it can not start; nothing is left then.
    pub async fn set(settings: &Settings, dags: FolderNews) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("windlass-test-").tempdir().context("no folder for the test")?;
        let home = Home::open(folder.path())?;
        let postgres = EmbeddedPostgres::start(home.root()).await?;
        match Self::on(settings, dags, &home, &postgres).await {
            Ok((settings, access, pool, parts)) => {
                let (children, questions, shutdown, leading) = parts;
                Ok(Self {
                    settings,
                    access,
                    pool,
                    children,
                    _questions: questions,
                    shutdown,
                    leading,
                    postgres,
                    folder,
                })
            }
            Err(error) => {
                remove(postgres, &home).await;
                Err(error)
            }
        }
    }

    async fn on(
        settings: &Settings,
        dags: FolderNews,
        home: &Home,
        postgres: &EmbeddedPostgres,
    ) -> anyhow::Result<(Settings, Access, PgPool, Running)> {
        let urls = postgres.urls();
        let pool = store::open(&urls.state).await?;
        store::migrate(&pool).await?;
        let settings = own_settings(settings, home)?;
        let (leader_settings, acceptor) = leader_settings(&settings, DagSource::Fixed(dags), home, urls)?;
        let shutdown = CancellationToken::new();
        let ear = Ear::new(leader::news_channel(), shutdown.clone());
        let port: Arc<dyn LeaderPort> = Arc::new(ear.port());
        let questions = ask::answer(home, port)?;
        let children = Children::start(&settings, home, urls)?;
        let leading = tokio::spawn(leader::run(leader_settings, acceptor, ear));
        Ok((settings, Access::beside(urls), pool, (children, questions, shutdown, leading)))
    }

    /// Ends everything, the worker first, and removes what it wrote.
    pub async fn strike(self) {
        self.children.stop().await;
        self.shutdown.cancel();
        if let Err(error) = self.leading.await {
            tracing::warn!(%error, "the leader of the test did not end in order");
        }
        self.access.close().await;
        self.pool.close().await;
        match Home::open(self.folder.path()) {
            Ok(home) => remove(self.postgres, &home).await,
            Err(error) => tracing::warn!(%error, "the home of the test is gone before its end"),
        }
    }
}

/// The parts that a stage has beside its store.
type Running = (Children, AbortOnDropHandle<()>, CancellationToken, JoinHandle<Result<(), LeaderError>>);

async fn remove(postgres: EmbeddedPostgres, home: &Home) {
    postgres.stop().await;
    if let Err(error) = EmbeddedPostgres::discard(home.root()) {
        tracing::warn!(%error, "the database of the test is left behind");
    }
}

/// The caller's settings on the stage's home: another lake, another registry, no other server.
fn own_settings(settings: &Settings, home: &Home) -> anyhow::Result<Settings> {
    // A port that was free a moment ago; a standalone beside has the usual one.
    let free = TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr());
    Ok(Settings {
        home: home.root().to_owned(),
        database_url: None,
        lake_database_url: None,
        warehouse: format!("file://{}", home.lake().display()),
        registry_port: free.context("no free port for the schema registry")?.port(),
        registry_url: None,
        // The usual port of a worker's metrics is for one that stays.
        fleet: FleetSettings { metrics_listen: Some(Listen::Off), ..settings.fleet.clone() },
        ..settings.clone()
    })
}
