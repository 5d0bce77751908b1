//! The REST API: one file per resource, in Airflow 3's shapes.
//!
//! What [`declare`] declares is typed; the rest follows. Members that are null are written as null; instants are ISO 8601 in UTC with `Z`.

pub mod absent;
pub mod accept;
pub mod asset_shapes;
pub mod assets;
pub mod backfills;
pub mod bulk;
pub mod bulk_runs;
pub mod bundles;
pub mod clear;
pub mod clear_runs;
pub mod config;
pub mod connection_tests;
pub mod connections;
pub mod control;
pub mod cursor;
pub mod dag_parsing;
pub mod dag_shapes;
pub mod dag_versions;
pub mod dag_warnings;
pub mod dags;
pub mod event_logs;
pub mod favorites;
pub mod forecast;
pub mod hitl;
pub mod import_errors;
pub mod instance_answer;
pub mod instance_filter;
pub mod instances;
pub mod link;
pub mod logs;
pub mod mark;
pub mod monitor;
pub mod notifications;
pub mod openapi;
pub mod pools;
pub mod quarantine;
pub mod run_answer;
pub mod runs;
pub mod state_stores;
pub mod tasks;
pub mod tries;
pub mod variables;
pub mod wait;
pub mod xcoms;

// The words of every resource.
use crate::{
    declare,
    http::{body, door::ALL, query},
    reads::{
        lookup::{lookup_dag, lookup_run, parse_task},
        span,
    },
};
