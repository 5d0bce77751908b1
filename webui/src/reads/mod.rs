//! What both faces, the REST API and the pages, read: rows of the store, answers of the leader and files of workers, made
//! into facts.
//!
//! What always holds here: nothing is worded for one of the faces, nothing is changed, and every read is bounded.

pub mod assets;
pub mod bundles;
pub mod connections;
pub mod forecasts;
pub mod heartbeat;
pub mod instances;
pub mod logs;
pub mod lookup;
pub mod names;
pub mod pools;
pub mod preview;
pub mod questions;
pub mod rendered;
pub mod run_counts;
pub mod run_tasks;
pub mod samples;
pub mod searches;
pub mod span;
pub mod variables;
pub mod versions;
