//! Values that several answers write in the same way.

use model::Timestamp;
use serde_json::Value;

use super::declare::At;

/// The one bundle: the DAG folder.
pub const BUNDLE: &str = "dags-folder";

/// An instant as Airflow writes it: microseconds, or none when they are zero.
#[must_use]
pub fn instant(at: Timestamp) -> Value {
    At(at).into()
}
