//! A worker that ends every attempt at once: what is left is the scheduler's own time.

use std::collections::BTreeSet;

use link::{
    FromWorker, Hello, ToWorker,
    transport::{ChannelConnector, Connector},
};
use model::{AttemptEnd, Capability, EndKind};
use uuid::Uuid;

/// Fewer than the messages that may wait for a worker, and more than a turn hands out.
const SLOTS: u32 = 2_000;

/// Serves until the leader closes the connection.
pub async fn serve(connector: ChannelConnector) -> anyhow::Result<()> {
    let mut link = connector.connect().await?;
    link.send(FromWorker::Hello(hello())).await?;
    let mut seq = 0;
    while let Some(message) = link.recv().await? {
        if let ToWorker::Assign(assignment) = message {
            seq += 1;
            let end = Box::new(AttemptEnd::new(EndKind::Success, ""));
            link.send(FromWorker::Ended { seq, attempt: assignment.attempt, end }).await?;
        }
    }
    Ok(())
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
        up_micros: None,
    }
}
