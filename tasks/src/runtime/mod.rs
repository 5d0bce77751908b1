//! What every streaming worker is made of: the event log behind one trait, stopping, health, metrics and reports.

pub mod embedded;
pub mod embedded_group;
pub mod event_log;
pub mod group;
pub mod health;
pub mod kafka;
mod partitioner;
pub mod patience;
pub mod record;
pub mod service;
mod wakeup;

pub use event_log::{
    Creation, EventLog, FetchRequest, LogError, Offsets, RECORD_BYTES_MAX, TopicDescription, TopicSpec,
};
pub use partitioner::partition_of;
pub use record::{Headers, NewRecord, Record};

use crate::settings::LogChoice;
use sqlx::PgPool;
use std::sync::Arc;

/// The event log that the settings choose: Kafka when brokers are given, else the one in the lake database.
///
/// # Errors
/// When the Kafka client refuses its settings.
pub fn open_log(choice: &LogChoice, pool: &PgPool) -> Result<Arc<dyn EventLog>, LogError> {
    Ok(match choice {
        LogChoice::Kafka(settings) => Arc::new(kafka::KafkaLog::new(settings)?),
        LogChoice::Embedded => Arc::new(embedded::EmbeddedLog::new(pool.clone())),
    })
}
