//! `windlass-tasks kafka-exporter`: shows Prometheus a Kafka cluster, and how far everybody who reads it has come.
//!
//! Consumer groups keep their offsets in Kafka, sinks of Windlass keep theirs in the lake database with the data: both are
//! shown as groups, a sink under the name of its table. The cluster is looked at in the background, so that a broker that
//! does not answer never holds up a scrape.

mod cluster;
mod picture;

use crate::pg::watermark::{self, Mark};
use crate::settings::KafkaSettings;
use anyhow::Context as _;
use cluster::{Cluster, Group, Observer, Position};
use metrics::Listen;
use picture::Newest;
use sqlx::PgPool;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// The pause between two looks: shorter than the usual pause between two scrapes.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// What the exporter is given.
pub struct Exporter {
    /// The cluster.
    pub kafka: KafkaSettings,
    /// Where `/metrics` is served.
    pub listen: SocketAddr,
    /// The lake database, when sinks are to be shown.
    pub lake: Option<PgPool>,
}

impl Exporter {
    /// Looks and serves until `stop`.
    ///
    /// # Errors
    /// When librdkafka refuses a setting, or the address can not be listened on.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        let mut observer = Observer::new(&self.kafka).context("cannot make the Kafka client")?;
        let newest = Newest::default();
        let mut registry = metrics::registry(env!("CARGO_PKG_VERSION"));
        registry.register_collector(Box::new(newest.clone()));
        metrics::serve(metrics::Page::new(registry), Listen::At(self.listen), stop.clone())
            .await
            .with_context(|| format!("cannot serve metrics on {}", self.listen))?;
        while !stop.is_cancelled() {
            let (looked, after) = look(observer).await?;
            observer = after;
            newest.set(self.with_sinks(looked).await);
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = stop.cancelled() => {}
            }
        }
        Ok(())
    }

    async fn with_sinks(&self, looked: Option<Cluster>) -> Option<Cluster> {
        let mut cluster = looked?;
        if let Some(lake) = &self.lake {
            match watermark::all(lake).await {
                Ok(marks) => cluster.groups.extend(sinks(marks)),
                Err(error) => tracing::warn!(%error, "the sinks' offsets can not be read right now"),
            }
        }
        Some(cluster)
    }
}

/// librdkafka blocks, so it has a thread for as long as a look takes.
async fn look(mut observer: Observer) -> anyhow::Result<(Option<Cluster>, Observer)> {
    let looking = tokio::task::spawn_blocking(move || {
        let looked = observer.look().inspect_err(|error| tracing::warn!(%error, "the cluster can not be looked at"));
        (looked.ok(), observer)
    });
    looking.await.context("the look at the cluster failed")
}

/// The tables that sinks write, each as a group.
fn sinks(marks: Vec<Mark>) -> impl Iterator<Item = Group> {
    let mut by_table = BTreeMap::<String, Vec<Position>>::new();
    for Mark { table, topic, partition, next } in marks {
        by_table.entry(table).or_default().push(Position { topic, partition, next });
    }
    by_table.into_iter().map(|(name, offsets)| Group { name, members: None, offsets })
}
