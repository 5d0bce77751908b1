//! The environment of processes: a short list, never the worker's own.
//!
//! PATH (with Windlass's own directory), HOME, LANG, TZ, the `WINDLASS_` variables, and what the DAG declares by `env` and
//! `pass_env`. `WINDLASS_WORKER` is always there: by it the guard finds what a dead worker has left.

use std::collections::BTreeMap;

use link::{Assignment, ServiceStart};
use model::container::Container;

use crate::{LakeSettings, WorkerContext};

/// Names and values.
pub type Variables = BTreeMap<String, String>;

/// The variable that every process of a worker carries.
pub const WORKER: &str = "WINDLASS_WORKER";
/// The variable that every process of an attempt carries.
pub const ATTEMPT: &str = "WINDLASS_ATTEMPT";
/// The variable that every process of an instance of a service carries.
pub const SERVICE_INSTANCE: &str = "WINDLASS_SERVICE_INSTANCE";
/// The number of the descriptor on which a service writes its reports.
pub const SERVICE_FD: &str = "WINDLASS_SERVICE_FD";
/// How a line of standard output starts by which a service in a container reports.
pub const SERVICE_REPORT_PREFIX: &str = "WINDLASS_SERVICE_REPORT_PREFIX";

/// How the variables start by which programs reach the lake.
const LAKE_PREFIX: &str = "WINDLASS_LAKE_";
/// PATH when the worker has none.
const PATH_DEFAULT: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What every process may rely on: PATH, HOME, LANG, TZ.
#[must_use]
pub fn standard(worker: &WorkerContext) -> Variables {
    let own = |name: &str, default: &str| std::env::var(name).unwrap_or_else(|_| default.to_owned());
    let path = format!("{}:{}", worker.program_dir.display(), own("PATH", PATH_DEFAULT));
    [("PATH", path), ("HOME", own("HOME", "/")), ("LANG", own("LANG", "C.UTF-8")), ("TZ", own("TZ", "UTC"))]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
}

/// The variables that tell a process which attempt it is.
#[must_use]
pub fn of_attempt(worker: &WorkerContext, assignment: &Assignment) -> Variables {
    let context = &assignment.context;
    let mut variables = named([
        (WORKER, worker.worker.to_string()),
        (ATTEMPT, assignment.attempt.to_string()),
        ("WINDLASS_DAG_ID", context.dag_id.to_string()),
        ("WINDLASS_RUN_ID", context.run_id.to_string()),
        ("WINDLASS_TASK_ID", context.task_id.to_string()),
        ("WINDLASS_MAP_INDEX", context.map_index.to_string()),
        ("WINDLASS_TRY_NUMBER", context.try_number.to_string()),
    ]);
    if let Some(date) = context.logical_date {
        variables.extend(named([("WINDLASS_LOGICAL_DATE", date.to_rfc3339())]));
    }
    if let Some((start, end)) = context.data_interval {
        variables.extend(named([
            ("WINDLASS_DATA_INTERVAL_START", start.to_rfc3339()),
            ("WINDLASS_DATA_INTERVAL_END", end.to_rfc3339()),
        ]));
    }
    variables
}

/// The variable by which a process that has outlets says more of them, with a file in its directory.
#[must_use]
pub(crate) fn of_outlets(assignment: &Assignment, workspace: &std::path::Path) -> Variables {
    if assignment.context.outlets.is_empty() {
        return Variables::new();
    }
    named([(crate::assets::VARIABLE, workspace.join(crate::assets::FILE).display().to_string())])
}

/// The variables that tell a process which service it is. Its spec's `env` is rendered already.
#[must_use]
pub fn of_service(worker: &WorkerContext, start: &ServiceStart) -> Variables {
    let mut variables = standard(worker);
    variables.extend(worker.lake.as_ref().map(of_lake).unwrap_or_default());
    variables.extend(passed(&start.spec.pass_env));
    variables.extend(start.spec.env.clone());
    variables.extend(of_instance(start));
    variables.extend(named([(WORKER, worker.worker.to_string())]));
    variables
}

/// The variables that tell a container which service it is. Nothing of the worker's machine is among them but what the spec
/// passes: its paths mean nothing there.
#[must_use]
pub fn of_container_service(start: &ServiceStart, container: &Container) -> Variables {
    let mut variables = passed(&start.spec.pass_env);
    variables.extend(start.spec.env.clone());
    variables.extend(container.private_environment.clone());
    variables.extend(of_instance(start));
    variables.extend(named([(SERVICE_REPORT_PREFIX, crate::docker::REPORT_PREFIX.to_owned())]));
    variables
}

fn of_instance(start: &ServiceStart) -> Variables {
    named([
        ("WINDLASS_DAG_ID", start.key.dag.to_string()),
        ("WINDLASS_SERVICE_NAME", start.key.name.clone()),
        (SERVICE_INSTANCE, start.instance.to_string()),
        ("WINDLASS_SERVICE_REPLICA", start.key.replica.to_string()),
        ("WINDLASS_SERVICE_REPLICAS", start.spec.replicas.to_string()),
    ])
}

/// The variables by which programs reach the embedded lake, with the object store's own when it is not a directory.
#[must_use]
pub fn of_lake(lake: &LakeSettings) -> Variables {
    let mut variables = named([
        ("WINDLASS_LAKE_DATABASE_URL", lake.database_url.clone()),
        ("WINDLASS_LAKE_WAREHOUSE", lake.warehouse.clone()),
    ]);
    if !lake.warehouse.starts_with("file:") {
        variables.extend(passed(&["AWS_*".to_owned()]));
    }
    variables
}

/// The worker's own variables that match one of the patterns. Windlass's own settings hold its secrets and are not passed,
/// but for those of the lake, to a DAG that names them.
#[must_use]
pub fn passed(patterns: &[String]) -> Variables {
    let own =
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    own.filter(|(name, _)| patterns.iter().any(|pattern| passes(pattern, name))).collect()
}

/// Whether a pattern lets a variable through. One such as `*` means the user's variables, not Windlass's.
fn passes(pattern: &str, name: &str) -> bool {
    let may_pass = if name.starts_with("WINDLASS_") {
        name.starts_with(LAKE_PREFIX) && pattern.starts_with(LAKE_PREFIX)
    } else {
        name != "DATABASE_URL"
    };
    may_pass && matches(pattern, name)
}

/// Whether a name fits a pattern in which `*` stands for any text.
fn matches(pattern: &str, name: &str) -> bool {
    let Some((before, after)) = pattern.split_once('*') else { return pattern == name };
    let Some(rest) = name.strip_prefix(before) else { return false };
    (0..=rest.len()).filter(|at| rest.is_char_boundary(*at)).any(|at| matches(after, &rest[at..]))
}

fn named<const N: usize>(pairs: [(&str, String); N]) -> Variables {
    pairs.map(|(name, value)| (name.to_owned(), value)).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_text_and_nothing_else_does() {
        for (pattern, name, fits) in [
            ("STOCK_*", "STOCK_SOURCE", true),
            ("STOCK_*", "STOCK_", true),
            ("STOCK_*", "MY_STOCK_X", false),
            ("*_URL", "SCHEMA_REGISTRY_URL", true),
            ("A*B*C", "A12B34C", true),
            ("A*B*C", "A12B34", false),
            ("EXACT", "EXACT", true),
            ("EXACT", "EXACTLY", false),
            ("A.C", "ABC", false),
        ] {
            assert_eq!(matches(pattern, name), fits, "{pattern} {name}");
        }
    }

    #[test]
    fn windlass_keeps_its_own_settings_to_itself() {
        for (pattern, name, fits) in [
            ("*", "STOCK_SOURCE", true),
            ("*", "DATABASE_URL", false),
            ("WINDLASS_*", "WINDLASS_SECRET_KEY", false),
            ("*", "WINDLASS_LAKE_DATABASE_URL", false),
            ("WINDLASS_LAKE_*", "WINDLASS_LAKE_DATABASE_URL", true),
        ] {
            assert_eq!(passes(pattern, name), fits, "{pattern} {name}");
        }
    }
}
