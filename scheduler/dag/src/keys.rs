//! The words of the format in one place: which keys a DAG, a group, a task and each operator have, and what they hold.
//!
//! Reading (unknown keys, suggestions) and the JSON Schema both go by these tables, so they can not drift apart.

pub(crate) mod asking;
pub(crate) mod callbacks;
pub(crate) mod docker;
pub(crate) mod kafka;
mod operators;
pub(crate) mod outcomes;
pub(crate) mod python;
mod waiting;

use callbacks::CALLBACKS;
use operators::{ENV, PASS_ENV};
pub(crate) use operators::{OPERATORS, OPERATORS_NOT_YET, OperatorKeys, operator, operator_keys, python_instead};
pub(crate) use waiting::{ERROR_STATUSES, HTTP_OPTIONS, REDIRECTS_MAX, SENSOR_MODES};

/// A key that may stand in a mapping.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Key {
    /// Its name.
    pub(crate) name: &'static str,
    /// What it holds, for the JSON Schema.
    pub(crate) shape: Shape,
    /// What it is for.
    pub(crate) doc: &'static str,
}

/// What a key holds.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Shape {
    /// Text.
    Text,
    /// Text, or nothing.
    TextOrNull,
    /// Text or a list of texts.
    Texts,
    /// A list of texts.
    TextList,
    /// A list of anything.
    List,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// True or false.
    Bool,
    /// A whole number in a range.
    Whole(i64, i64),
    /// A number.
    Number,
    /// A duration: text or seconds.
    Duration,
    /// An instant: a date or an RFC 3339 time.
    Date,
    /// A mapping of names to plain values.
    Environment,
    /// A list of whole numbers, one whole number or nothing.
    ExitCodes,
    /// A list of HTTP statuses, one of them or nothing.
    ErrorStatuses,
    /// Anything that JSON has.
    Any,
    /// Something that the JSON Schema describes under this name.
    Definition(&'static str),
}

/// A word for something that Windlass does not have yet, and what it is.
pub(crate) type NotYet = (&'static str, &'static str);

/// Words of [`NotYet`] that ask for nothing when they are true, because that is what happens anyway. All others ask for
/// nothing when they are false, null or empty.
pub(crate) const TRUE_ASKS_NOTHING: &[&str] =
    &["prefix_group_id", "allow_nested_operators", "show_return_value_in_logs", "auto_register"];

/// Whose keys are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Here {
    /// A DAG, or the block that the DAGs of a file inherit from.
    Dag,
    /// The values for the tasks of a DAG.
    DagDefaults,
    /// The values for the tasks of a group.
    GroupDefaults,
    /// A group.
    Group,
    /// A task.
    Task,
    /// A part of one of them.
    Part,
}

/// Where a key belongs that stands in the wrong mapping; none when it belongs nowhere.
pub(crate) fn elsewhere(name: &str, here: Here) -> Option<&'static str> {
    let is = |keys: &[Key]| keys.iter().any(|key| key.name == name);
    let of_dag = is(DAG) || is_not_yet(DAG_NOT_YET, name);
    let of_task = is(TASK) || is(OWN) || is_not_yet(TASK_NOT_YET, name) || is(operator_keys());
    match here {
        Here::Task if name == "deferrable" => {
            Some("only sensors and trigger_dag_run wait without a slot; leave it out")
        }
        Here::DagDefaults | Here::GroupDefaults if is(OWN) => Some("this key has no default: each task has its own"),
        Here::DagDefaults if of_dag => Some("this key belongs to the DAG, one level up"),
        Here::GroupDefaults | Here::Group | Here::Task if of_dag || is(DEFAULTS) => Some("this key belongs to the DAG"),
        Here::Dag | Here::Group if of_task => Some("this key belongs to a task, or to default_args for all tasks"),
        Here::Dag | Here::DagDefaults | Here::GroupDefaults | Here::Group | Here::Task | Here::Part => None,
    }
}

fn is_not_yet(keys: &[NotYet], name: &str) -> bool {
    keys.iter().any(|(known, _)| *known == name)
}

const fn key(name: &'static str, shape: Shape, doc: &'static str) -> Key {
    Key { name, shape, doc }
}

/// The largest `retries`: a try number is a small integer.
pub(crate) const RETRIES_MAX: i64 = 10_000;

/// The largest number of slots, runs or instances that a limit may name.
pub(crate) const LIMIT_MAX: i64 = 1_000_000;

/// The largest number of replicas of a service.
pub(crate) const REPLICAS_MAX: i64 = 100;

/// Every trigger rule that a task may choose.
pub(crate) const TRIGGER_RULES: &[&str] = &[
    "all_success",
    "all_failed",
    "all_done",
    "all_done_min_one_success",
    "one_success",
    "one_failed",
    "one_done",
    "none_failed",
    "none_failed_min_one_success",
    "none_skipped",
    "all_skipped",
    "always",
];

/// What a run may come of.
pub(crate) const RUN_TYPES: &[&str] =
    &["scheduled", "manual", "backfill", "operator_triggered", "asset_triggered", "asset_materialization"];

/// What becomes of a run of the schedule that is due while another is active.
pub(crate) const OVERLAPS: &[&str] = &["queue", "skip", "cancel_older"];

/// Every weight rule.
pub(crate) const WEIGHT_RULES: &[&str] = &["downstream", "upstream", "absolute"];

/// What a cron schedule's runs stand for.
pub(crate) const TIMETABLES: &[&str] = &["cron_trigger", "cron_data_interval", "delta_trigger", "delta_data_interval"];

/// Keys of a DAG.
pub(crate) const DAG: &[Key] = &[
    key("dag_id", Shape::Text, "Its id, unique in an installation."),
    key("dag_display_name", Shape::TextOrNull, "What pages call it instead of its id."),
    key("description", Shape::TextOrNull, "One line of what it does."),
    key("doc_md", Shape::TextOrNull, "Markdown for its page."),
    key("doc_md_file_path", Shape::Text, "The file below the DAG folder that has this Markdown."),
    key("tags", Shape::Texts, "Words to find it by."),
    key("schedule", Shape::Definition("schedule"), "When its runs are due; null for never."),
    key("schedule_interval", Shape::Definition("schedule"), "The older name of schedule."),
    key("timetable", Shape::Definition("schedule"), "Another word for schedule."),
    key("timezone", Shape::Text, "The zone of its cron and of dates without one; UTC when absent."),
    key("start_date", Shape::Date, "The first date that counts."),
    key("end_date", Shape::Date, "The last date that counts."),
    key("catchup", Shape::Bool, "Whether missed runs are made up."),
    key("is_paused_upon_creation", Shape::Bool, "Whether it is paused when it is first seen."),
    key("max_active_runs", Shape::Whole(1, LIMIT_MAX), "How many of its runs may be running."),
    key("max_active_tasks", Shape::Whole(1, LIMIT_MAX), "How many task instances of a run may be queued or running."),
    key("concurrency", Shape::Whole(1, LIMIT_MAX), "The older name of max_active_tasks."),
    key(
        "max_consecutive_failed_dag_runs",
        Shape::Whole(0, LIMIT_MAX),
        "Failed runs in a row that pause it; 0 for never.",
    ),
    key("dagrun_timeout", Shape::Duration, "A run that takes longer fails."),
    key("dagrun_timeout_sec", Shape::Number, "The same in seconds."),
    key(
        "overlap",
        Shape::OneOf(OVERLAPS),
        "What becomes of a run of the schedule that is due while another is active; queue when absent.",
    ),
    key("fail_fast", Shape::Bool, "Whether the first failure ends the run."),
    key("allowed_run_types", Shape::Definition("run_types"), "What its runs may come of; anything when absent."),
    key("params", Shape::Definition("params"), "Values that a run can be given."),
    key("files", Shape::Texts, "Further files below the DAG folder that its tasks use."),
    key(
        "render_template_as_native_obj",
        Shape::Bool,
        "Whether a template in a value gives a number, list or mapping where it is one, instead of its text.",
    ),
    key("template_searchpath", Shape::Texts, "Further folders below the DAG folder that files are looked for in."),
    key("user_defined_macros", Shape::Any, "A mapping of names to values that its templates know."),
    key("on_success_callback", CALLBACKS, "What is done when a run has succeeded."),
    key("on_success_callback_name", Shape::Text, "The Python function for it, in on_success_callback_file."),
    key("on_success_callback_file", Shape::Text, "The file of that function, below the DAG folder."),
    key("on_failure_callback", CALLBACKS, "What is done when a run has failed."),
    key("on_failure_callback_name", Shape::Text, "The Python function for it, in on_failure_callback_file."),
    key("on_failure_callback_file", Shape::Text, "The file of that function, below the DAG folder."),
    key("deadline", Shape::Definition("deadlines"), "By when a run has to have succeeded, and what is done else."),
    key("default_args", Shape::Definition("task_defaults"), "Values for tasks that do not have their own."),
    key("task_groups", Shape::Definition("task_groups"), "Groups of tasks."),
    key("tasks", Shape::Definition("tasks"), "Its tasks."),
    key("default_view", Shape::Any, "Accepted and not used, as in Airflow 3."),
    key("orientation", Shape::Any, "Accepted and not used, as in Airflow 3."),
    key("vars", Shape::Any, "A place for YAML's anchors; what stands in it is not used itself."),
];

/// What a DAG will have later.
pub(crate) const DAG_NOT_YET: &[NotYet] = &[
    ("blackout", "times without runs"),
    ("sla_miss_callback", "Airflow 2's sla; write a deadline with its callback"),
    ("user_defined_filters", "own filters"),
    ("access_control", "access rules for one DAG"),
    ("jinja_environment_kwargs", "settings of templates"),
    ("template_undefined", "settings of templates"),
    ("owner_links", "links of owners"),
    ("doc_md_python_callable_name", "texts that a function makes; write the text below doc_md"),
    ("doc_md_python_callable_file", "texts that a function makes; write the text below doc_md"),
    ("doc_md_python_arguments", "texts that a function makes; write the text below doc_md"),
    ("auto_register", "DAGs that register themselves"),
    ("disable_bundle_versioning", "runs on files that change meanwhile"),
];

/// Keys of a task group.
pub(crate) const GROUP: &[Key] = &[
    key("group_name", Shape::Text, "Its name."),
    key("group_id", Shape::Text, "Another word for group_name."),
    key("tooltip", Shape::TextOrNull, "One line for people."),
    key("parent_group_name", Shape::Text, "The group that it is in."),
    key("dependencies", Shape::Texts, "Tasks and groups before all of its tasks."),
    key("depends_on", Shape::Texts, "Another word for dependencies."),
    key("default_args", Shape::Definition("group_defaults"), "Values for its tasks that do not have their own."),
    key(
        "expand",
        Shape::Definition("expand"),
        "Names and what the group is expanded over: an instance of each of its tasks for each combination.",
    ),
    key(
        "expand_kwargs",
        Shape::Definition("expand_over"),
        "Mappings of names to values: an instance of each task for each.",
    ),
];

/// What a group will have later.
pub(crate) const GROUP_NOT_YET: &[NotYet] =
    &[("prefix_group_id", "task ids without their group"), ("ui_color", "own colours")];

/// Keys of every task that it can not inherit.
pub(crate) const OWN: &[Key] = &[
    key("task_id", Shape::Text, "Its id, unique in its DAG."),
    key("task_group_name", Shape::Text, "The group that it is in."),
    key("dependencies", Shape::Texts, "Tasks and groups before it."),
    key("depends_on", Shape::Texts, "Another word for dependencies."),
    key(
        "expand",
        Shape::Definition("expand"),
        "Names and what the task is expanded over: an instance for each combination.",
    ),
    key("expand_kwargs", Shape::Definition("expand_over"), "Mappings of names to values: an instance for each."),
    key("partial", Shape::Definition("group_defaults"), "Keys of the task that all of its instances share."),
    key("map_index_template", Shape::Text, "What an instance is called; a template."),
    key(
        "variables_as_arguments",
        Shape::List,
        "dag-factory's mappings of variable and attribute: keys of the task that have the value of an Airflow variable.",
    ),
    key("start_date", Shape::Date, "Runs of earlier dates do without it."),
    key("end_date", Shape::Date, "Runs of later dates do without it."),
    key("setup", Shape::Bool, "Whether it makes what the tasks behind it need."),
    key("is_setup", Shape::Bool, "Another word for setup."),
    key(
        "teardown",
        Shape::Definition("teardown"),
        "Whether it takes away what its setups have made, however the tasks between have ended.",
    ),
    key("is_teardown", Shape::Definition("teardown"), "Another word for teardown."),
    key("on_failure_fail_dagrun", Shape::Bool, "Whether the run fails when this teardown fails."),
];

/// Further keys of every task.
pub(crate) const TASK: &[Key] = &[
    key("operator", Shape::Definition("operator"), "What it does: a short name or Airflow's class path."),
    key("trigger_rule", Shape::OneOf(TRIGGER_RULES), "How its upstream decides."),
    key("retries", Shape::Whole(0, RETRIES_MAX), "How many further tries a failure leads to."),
    key("retry_delay", Shape::Duration, "The pause before a further try."),
    key("retry_delay_sec", Shape::Number, "The same in seconds."),
    key("retry_exponential_backoff", Shape::Definition("backoff"), "Whether the pause grows, or by which factor."),
    key("max_retry_delay", Shape::Duration, "The longest pause."),
    key("max_retry_delay_sec", Shape::Number, "The same in seconds."),
    key(
        "retry_policy",
        Shape::Definition("retry_policy"),
        "Rules by exit code or log that decide whether a try follows.",
    ),
    key("execution_timeout", Shape::Duration, "An attempt that runs longer is ended."),
    key("execution_timeout_sec", Shape::Number, "The same in seconds."),
    key("execution_timeout_secs", Shape::Number, "The same in seconds."),
    key(
        "task_queued_timeout",
        Shape::Duration,
        "An attempt that its worker has not begun after this time is taken back; WINDLASS_TASK_QUEUED_TIMEOUT when absent.",
    ),
    key("pool", Shape::Text, "The pool that it takes slots of."),
    key("pool_slots", Shape::Whole(1, LIMIT_MAX), "How many slots it takes."),
    key("priority_weight", Shape::Whole(i32::MIN as i64, i32::MAX as i64), "Its own weight; larger goes first."),
    key("weight_rule", Shape::OneOf(WEIGHT_RULES), "How its neighbours' weights add to it."),
    key("max_active_tis_per_dag", Shape::Whole(1, LIMIT_MAX), "How many of its instances may be active in all runs."),
    key("max_active_tis_per_dagrun", Shape::Whole(1, LIMIT_MAX), "How many of its instances may be active in a run."),
    key("depends_on_past", Shape::Bool, "Whether its previous run's instance must have succeeded."),
    key("wait_for_downstream", Shape::Bool, "Whether what follows that instance must have succeeded, too."),
    key(
        "ignore_first_depends_on_past",
        Shape::Bool,
        "Whether a past in which the previous run had no instance of it counts as met; true when absent.",
    ),
    key(
        "wait_for_past_depends_before_skipping",
        Shape::Bool,
        "Whether it waits for its past also before it is skipped.",
    ),
    key("do_xcom_push", Shape::Bool, "Whether what it returns becomes an XCom."),
    key("multiple_outputs", Shape::Bool, "Whether each key of the mapping that it returns is an XCom, too."),
    key("queue", Shape::Text, "The queue of workers that it asks for."),
    key("owner", Shape::Text, "Who answers for it."),
    key(
        "executor_config",
        Shape::Any,
        "Settings of an executor of Airflow's; there is none here, and they change nothing.",
    ),
    key(
        "params",
        Shape::Definition("params"),
        "Values that its templates have over the DAG's; of a task that asks people, those that are asked for.",
    ),
    key("task_display_name", Shape::TextOrNull, "What pages call it instead of its id."),
    key("doc_md", Shape::TextOrNull, "Markdown for its page."),
    key("outlets", Shape::Definition("outlets"), "Named data that it writes: each success is an event of them."),
    key("inlets", Shape::Definition("outlets"), "Named data that it reads."),
    key("on_execute_callback", CALLBACKS, "What is done when the task has begun to run."),
    key("on_execute_callback_name", Shape::Text, "The Python function for it, in on_execute_callback_file."),
    key("on_execute_callback_file", Shape::Text, "The file of that function, below the DAG folder."),
    key("on_success_callback", CALLBACKS, "What is done when the task has succeeded."),
    key("on_success_callback_name", Shape::Text, "The Python function for it, in on_success_callback_file."),
    key("on_success_callback_file", Shape::Text, "The file of that function, below the DAG folder."),
    key("on_failure_callback", CALLBACKS, "What is done when the task has failed and no try is left."),
    key("on_failure_callback_name", Shape::Text, "The Python function for it, in on_failure_callback_file."),
    key("on_failure_callback_file", Shape::Text, "The file of that function, below the DAG folder."),
    key("on_retry_callback", CALLBACKS, "What is done when the task has failed and is tried again."),
    key("on_retry_callback_name", Shape::Text, "The Python function for it, in on_retry_callback_file."),
    key("on_retry_callback_file", Shape::Text, "The file of that function, below the DAG folder."),
    key("on_skipped_callback", CALLBACKS, "What is done when the task has skipped itself."),
    key("on_skipped_callback_name", Shape::Text, "The Python function for it, in on_skipped_callback_file."),
    key("on_skipped_callback_file", Shape::Text, "The file of that function, below the DAG folder."),
    key("email", Shape::Texts, "Addresses that get a mail when the task has failed, or is tried again."),
    key("email_on_failure", Shape::Bool, "Whether they get it when no try is left; true when absent."),
    key("email_on_retry", Shape::Bool, "Whether they get it when it is tried again; true when absent."),
];

/// Keys of the mapping form of `teardown`.
pub(crate) const TEARDOWN: &[Key] = &[
    key("setups", Shape::Texts, "The tasks whose work it takes away; they become setups before it."),
    key("of", Shape::Texts, "Another word for setups."),
    key("on_failure_fail_dagrun", Shape::Bool, "Whether the run fails when this teardown fails."),
];

/// What a task will have later.
pub(crate) const TASK_NOT_YET: &[NotYet] = &[
    ("deadline", "deadlines of a task; write the DAG's deadline"),
    ("sla", "Airflow 2's sla; write the DAG's deadline"),
    ("response_check_lambda", "Python functions; write a template below response_check"),
    ("response_check_name", "Python functions; write a template below response_check"),
    ("producer_function", "Python functions; write the messages below messages"),
    ("apply_function", "Python functions; write a template below condition"),
    ("apply_function_batch", "Python functions; take the messages from the XCom"),
    ("event_triggered_function", "Python functions; write a task that follows"),
    ("commit_cadence", "another moment to commit; offsets are committed once, when the task has what it returns"),
    ("execution_date_fn", "Python functions; say by execution_delta how much earlier the other run's date is"),
    ("sla_secs", "Airflow 2's sla; write the DAG's deadline"),
    ("executor", "an executor of one task"),
    ("run_as_user", "other users of the system"),
    ("resources", "resources of a task"),
    ("doc", "this form of documentation; write doc_md"),
    ("doc_rst", "this form of documentation; write doc_md"),
    ("doc_json", "this form of documentation; write doc_md"),
    ("doc_yaml", "this form of documentation; write doc_md"),
    ("pre_execute", "Python functions; write a task that comes before"),
    ("post_execute", "Python functions; write a task that follows"),
    ("allow_nested_operators", "a check of nested operators"),
    ("show_return_value_in_logs", "hiding what a task returns"),
    ("task_concurrency", "this older name; write max_active_tis_per_dag"),
];

/// What no default says: each task says it itself.
pub(crate) const DEFAULTS_NOT_YET: &[NotYet] = &[
    ("setup", "setups by default; write it at the task"),
    ("is_setup", "setups by default; write it at the task"),
    ("teardown", "teardowns by default; write it at the task"),
    ("is_teardown", "teardowns by default; write it at the task"),
    ("on_failure_fail_dagrun", "teardowns by default; write it at the task"),
];

/// Keys that `default_args` has beside those of tasks: Airflow users write the DAG's dates there.
pub(crate) const DEFAULTS: &[Key] = &[
    key("start_date", Shape::Date, "The DAG's first date that counts."),
    key("end_date", Shape::Date, "The DAG's last date that counts."),
    key("timezone", Shape::Text, "The DAG's zone."),
];

/// Keys of a DAG that people also write among the values for its tasks, with a remark.
pub(crate) const IN_DEFAULTS: &[&str] = &[
    "description",
    "tags",
    "schedule",
    "schedule_interval",
    "catchup",
    "is_paused_upon_creation",
    "max_active_runs",
    "max_active_tasks",
    "concurrency",
    "max_consecutive_failed_dag_runs",
    "dagrun_timeout",
    "dagrun_timeout_sec",
    "overlap",
    "fail_fast",
    "render_template_as_native_obj",
    "default_view",
    "orientation",
];

/// Keys of a declared service.
pub(crate) const SERVICE: &[Key] = &[
    key("name", Shape::Text, "Its name, unique in the DAG."),
    key("command", Shape::TextList, "Program and arguments; with an image, what the container runs."),
    key("replicas", Shape::Whole(1, REPLICAS_MAX), "How many of it run."),
    ENV,
    PASS_ENV,
    key("ready_when", Shape::Definition("ready_when"), "When it counts as ready."),
    key("stop_timeout", Shape::Duration, "How long it may take to stop; 10s when absent."),
];

/// Keys of the mapping form of `ready_when`.
pub(crate) const READY_WHEN: &[Key] = &[
    key("metric", Shape::Text, "The name of a number in the service's reports."),
    key("at_least", Shape::Number, "The least value that counts."),
];

/// Keys of the mapping form of `schedule`.
pub(crate) const SCHEDULE: &[Key] = &[
    key("cron", Shape::Texts, "A cron expression or a list of them."),
    key("timezone", Shape::Text, "The zone whose wall clock decides; the DAG's when absent."),
    key("duration", Shape::Duration, "The time between runs, in place of a cron."),
    key("timetable", Shape::OneOf(TIMETABLES), "Whether a run stands for its instant or for the interval before it."),
    key("interval", Shape::Duration, "With cron_trigger: a run covers so much time before its tick."),
    key(
        "run_immediately",
        Shape::Definition("run_immediately"),
        "Without start_date: whether the first run is for the tick before now, or for one that is not longer ago than this.",
    ),
    key("or_assets", Shape::Definition("assets"), "Assets that let it run, too."),
];

/// Keys of a rule of a retry policy.
pub(crate) const RETRY_RULE: &[Key] = &[
    key("exit_code", Shape::ExitCodes, "Exit codes that it fits."),
    key("log_matches", Shape::Text, "A regular expression that it fits when a line of the log has it."),
    key("action", Shape::OneOf(RETRY_ACTIONS), "What follows; retry when absent."),
    key("delay", Shape::Duration, "The pause before the next try; the task's own when absent."),
];

/// What a rule of a retry policy may say.
pub(crate) const RETRY_ACTIONS: &[&str] = &["retry", "fail"];

/// So many rules a retry policy may have.
pub(crate) const RETRY_RULES_MAX: usize = 100;

/// Keys of an asset, or of an alias.
pub(crate) const OUTLET: &[Key] = &[
    key("name", Shape::Text, "The asset's name; its uri when absent."),
    key("uri", Shape::Text, "Where the asset is; its name when absent."),
    key("alias", Shape::Text, "A name for whatever asset the task names when it has written it."),
    key("group", Shape::Text, "What kind of asset it is; asset when absent."),
    key("extra", Shape::Environment, "What else is said of the asset."),
    key("__type__", Shape::Text, "Airflow's class, as dag-factory names it."),
];

/// Keys of a mapping that combines assets: one of them.
pub(crate) const ASSET_COMBINATION: &[Key] = &[
    key("all", Shape::Definition("assets"), "All of these have to change."),
    key("any", Shape::Definition("assets"), "One of these has to change."),
    key("and", Shape::Definition("assets"), "Another word for all."),
    key("or", Shape::Definition("assets"), "Another word for any."),
    key("__and__", Shape::Definition("assets"), "dag-factory's word for all."),
    key("__or__", Shape::Definition("assets"), "dag-factory's word for any."),
    key("assets", Shape::Definition("assets"), "Another word for all."),
    key("datasets", Shape::Definition("assets"), "The older name of assets."),
];
