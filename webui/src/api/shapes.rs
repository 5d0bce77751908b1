//! Values that several answers write in the same way.

/// The one bundle: the DAG folder.
pub const BUNDLE: &str = "dags-folder";
