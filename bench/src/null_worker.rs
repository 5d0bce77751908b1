//! A worker that ends every attempt at once: what is left is the scheduler's own time.

use std::{collections::BTreeSet, time::Duration};

use link::{
    FromWorker, Hello, ToWorker,
    transport::{ChannelConnector, Connector},
};
use model::{AttemptEnd, Capability, EndKind};
use uuid::Uuid;

/// Fewer than the messages that may wait for a worker, and more than a turn hands out.
const SLOTS: u32 = 2_000;
/// A worker that says nothing for ten seconds is given nothing.
const BEAT_EVERY: Duration = Duration::from_secs(1);

/// Serves until the leader closes the connection.
pub async fn serve(connector: ChannelConnector) -> anyhow::Result<()> {
    let mut link = connector.connect().await?;
    link.send(FromWorker::Hello(hello())).await?;
    let mut seq = 0;
    let mut beats = tokio::time::interval(BEAT_EVERY);
    loop {
        let message = tokio::select! {
            message = link.recv() => message?,
            _ = beats.tick() => {
                link.send(FromWorker::Beat { services: Vec::new(), started: Vec::new(), leaving: false }).await?;
                continue;
            }
        };
        let Some(message) = message else { return Ok(()) };
        if let ToWorker::Assign(assignment) = message {
            seq += 1;
            let end = Box::new(AttemptEnd::new(EndKind::Success, ""));
            link.send(FromWorker::Ended { seq, attempt: assignment.attempt, end }).await?;
        }
    }
}

fn hello() -> Hello {
    Hello {
        protocol: link::PROTOCOL_VERSION,
        protocol_oldest: None,
        worker: Uuid::new_v4(),
        incarnation: Uuid::new_v4(),
        name: "null".to_owned(),
        slots: SLOTS,
        queues: BTreeSet::from(["default".to_owned()]),
        capabilities: BTreeSet::from([Capability::Light, Capability::Process]),
        attempts: BTreeSet::new(),
        services: BTreeSet::new(),
        operators: link::known_operators(),
        leaving: false,
        tries_connections: false,
        notifies: false,
        up_micros: None,
    }
}
