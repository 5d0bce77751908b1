//! What pages and the REST API read: views over committed rows, nothing is locked and nothing is changed.
//!
//! A function takes the pool or the connection that it is given and makes a fixed number of statements, however many
//! rows it is about.

mod assets;
mod backfills;
mod bundles;
mod cluster;
mod dag_list;
mod dags;
mod elsewhere;
mod instance_list;
mod instance_source;
mod instances;
mod list;
mod questions;
mod runs;
pub(crate) mod total;
mod version_list;
mod visible;
mod walk;
mod warnings;
mod xcom_entries;
mod xcoms;

pub use assets::{
    AliasFilter, AliasOrder, AliasView, AssetEventView, AssetFacts, AssetFilter, AssetLink, AssetOrder, AssetReference,
    AssetUse, AssetView, EventFilter, EventOrder, EventRun, LINKS_MAX, QUEUED_MAX, QueueFilter, QueuedView, alias,
    aliases, asset, asset_events, asset_facts, asset_links, asset_named, asset_queue, assets, assets_meant,
    newest_events, runs_of_events,
};
pub use backfills::{
    BackfillDate, BackfillFilter, DRY_DATES_MAX, DryDate, Progress, RUNS_COUNTED_MAX, backfill, backfill_dates,
    backfill_of_run, backfill_progress, backfills, dry_run, states_on,
};
pub use bundles::{BundleDag, BundleView, RevisionView, bundle_dags, bundles, revisions, view_url};
pub use cluster::{LeaderView, ServiceView, leader, pools, services};
pub use dag_list::{
    DagCounts, DagFilter, DagNames, DagOrder, Marked, TagFilter, Timetable, dag_counts, dag_ids, dag_list, dag_names,
    dag_tags, tasks_named,
};
pub use dags::{
    BrokenFile, DagView, FileFilter, FileOrder, ImportError, Version, VersionBrief, broken_file_count, broken_files,
    dag, dags, defines_dags, display_names, import_errors, source, version, version_ids, version_list,
    version_numbered, versions,
};
pub use elsewhere::{run_on, task_states};
pub use instance_list::{
    INSTANCE_OFFSET_MAX, InstanceFilter, InstanceOrder, InstancesOf, Listed, instance_list, instance_part,
    open_versions, page_of_instances,
};
pub use instances::{
    FirstFailure, Instance, TaskCell, Try, first_failures, instance_of_state, instances, instances_at,
    instances_of_tasks, task_cells, tries, tries_of_run,
};
pub use list::{
    Direction, Pattern, Range, RunFilter, RunOrder, SEARCHED_RUNS_MAX, SecondsRange, page_of_runs, part_of_runs,
    run_part, runs,
};
pub(crate) use list::{word, word_missing_last};
pub use questions::{QuestionFilter, QuestionOrder, QuestionView, ResponseView, questions, questions_of};
pub use runs::{
    RunBrief, active_runs, latest_runs, neighbours, recent_runs, run, run_counts, runs_known, runs_named, runs_of,
};
pub use total::{COUNT_MAX, OFFSET_MAX, Total, Window};
pub use version_list::{VersionFilter, VersionOrder, version_page};
pub use visible::Visible;
pub use walk::{Part, RowPlace, Walk};
pub use warnings::{MissingPools, MissingPoolsFilter, WarningOrder, missing_pools};
pub use xcom_entries::{XComEntry, XComFilter, XComOrder, page_of_xcoms, returned, xcom_entries, xcom_value};
pub use xcoms::{XcomView, xcoms};

/// What was being done, for errors of the driver.
const DOING: &str = "reading for a page";
