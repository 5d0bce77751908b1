//! DAGs from a line of text: `a >> [b, c] >> d; a >> d`.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use dag::{Catchup, Dag, Phase, RunCallbacks, Schedule, Task, TaskCallbacks, TaskPos};
use engine::DagVersion;
use model::{
    DagId, DagVersionId, Operator, Pool, TaskId, TaskIdx, TriggerRule, WeightRule,
    operator::{
        Approval, Asking, Bash, Branch, Choice, FileSensor, OnReject, PokeMode, Poking, ShortCircuit, SkipReach,
    },
};

/// An operator that has work to do.
pub fn bash() -> Operator {
    Operator::Bash(Bash {
        bash_command: "true".to_owned(),
        env: BTreeMap::new(),
        pass_env: Vec::new(),
        append_env: false,
        cwd: None,
        skip_on_exit_code: Vec::new(),
    })
}

/// A callback that runs a command.
pub fn callback() -> model::Callback {
    let Operator::Bash(bash) = bash() else { unreachable!("bash is bash") };
    model::Callback::Command(bash)
}

/// One callback for each event of a task.
pub fn task_callbacks() -> TaskCallbacks {
    let one = || vec![callback()];
    TaskCallbacks { on_execute: one(), on_success: one(), on_failure: one(), on_retry: one(), on_skipped: one() }
}

pub fn branch() -> Operator {
    Operator::Branch(Branch { follow: String::new() })
}

pub fn short_circuit(reach: SkipReach) -> Operator {
    Operator::ShortCircuit(ShortCircuit { condition: String::new(), reach })
}

/// A question with these options, and seconds until its time is over.
fn asking(options: &[&str], response_timeout_secs: Option<f64>) -> Asking {
    Asking {
        subject: "Go on?".to_owned(),
        body: None,
        options: options.iter().map(ToString::to_string).collect(),
        defaults: Vec::new(),
        multiple: false,
        params: serde_json::Map::new(),
        assigned_users: Vec::new(),
        response_timeout_secs,
    }
}

pub fn approval(on_reject: OnReject, response_timeout_secs: Option<f64>) -> Approval {
    Approval { asking: asking(&["Approve", "Reject"], response_timeout_secs), on_reject }
}

pub fn choice(options: &[&str], response_timeout_secs: Option<f64>) -> Choice {
    Choice { asking: asking(options, response_timeout_secs), options_mapping: None }
}

/// A sensor that looks again later.
pub fn deferrable_sensor() -> Operator {
    match rescheduled_sensor() {
        Operator::FileSensor(mut keys) => {
            keys.poking.mode = PokeMode::Deferrable;
            Operator::FileSensor(keys)
        }
        other => other,
    }
}

/// A sensor that looks again later.
pub fn rescheduled_sensor() -> Operator {
    let poking = Poking { mode: PokeMode::Reschedule, ..Poking::default() };
    Operator::FileSensor(FileSensor { filepath: "/in.csv".to_owned(), fs_conn_id: None, recursive: false, poking })
}

/// A task with Airflow's defaults.
pub fn task(id: &str) -> Task {
    Task {
        task_id: TaskId::new(id).unwrap(),
        operator: bash(),
        upstream: Vec::new(),
        downstream: Vec::new(),
        trigger_rule: TriggerRule::AllSuccess,
        retries: 0,
        retry_delay: Duration::from_secs(300),
        retry_exponential_backoff: None,
        max_retry_delay: None,
        execution_timeout: None,
        task_queued_timeout: None,
        pool: Pool::DEFAULT.to_owned(),
        pool_slots: 1,
        priority_weight: 1,
        weight_rule: WeightRule::Downstream,
        effective_weight: 1,
        max_active_tis_per_dag: None,
        max_active_tis_per_dagrun: None,
        depends_on_past: false,
        wait_for_downstream: false,
        do_xcom_push: true,
        multiple_outputs: false,
        retry_policy: Vec::new(),
        ignore_first_depends_on_past: true,
        wait_for_past_depends_before_skipping: false,
        queue: Dag::DEFAULT_QUEUE.to_owned(),
        owner: "airflow".to_owned(),
        task_display_name: None,
        params: serde_json::Map::new(),
        doc_md: None,
        outlets: Vec::new(),
        inlets: Vec::new(),
        callbacks: TaskCallbacks::default(),
        start_date: None,
        end_date: None,
        phase: Phase::Work,
        group: None,
        expand: None,
    }
}

/// A DAG of these tasks, which name their upstream by position.
pub fn dag_of(id: &str, tasks: Vec<Task>) -> Dag {
    let mut tasks = tasks;
    tasks.iter_mut().for_each(|task| task.upstream.sort_unstable());
    for pos in 0..tasks.len() {
        for before in tasks[pos].upstream.clone() {
            tasks[before.0].downstream.push(TaskPos(pos));
        }
    }
    Dag {
        dag_id: DagId::new(id).unwrap(),
        description: None,
        dag_display_name: None,
        doc_md: None,
        tags: Vec::new(),
        owners: Vec::new(),
        schedule: Schedule::Never,
        assets: None,
        start_date: None,
        end_date: None,
        catchup: Catchup::Latest,
        is_paused_upon_creation: false,
        max_active_runs: 16,
        max_active_tasks: 16,
        max_consecutive_failed_dag_runs: 0,
        dagrun_timeout: None,
        allowed_run_types: None,
        overlap: dag::Overlap::Queue,
        fail_fast: false,
        callbacks: RunCallbacks::default(),
        deadlines: Vec::new(),
        render_template_as_native_obj: false,
        user_defined_macros: serde_json::Map::new(),
        relative_start: None,
        params: dag::Params::default(),
        tasks,
        groups: Vec::new(),
        files: BTreeMap::new(),
    }
}

/// A DAG from a line of text; a name's first mention gives its position.
pub fn dag(id: &str, text: &str) -> Dag {
    let mut tasks: Vec<Task> = Vec::new();
    for chain in text.split(';') {
        let mut before: Vec<TaskPos> = Vec::new();
        for step in chain.split(">>") {
            let names = step.trim().trim_start_matches('[').trim_end_matches(']').split(',');
            let here: Vec<TaskPos> = names.map(|name| position(&mut tasks, name.trim())).collect();
            for pos in &here {
                tasks[pos.0].upstream.extend(before.iter().copied());
            }
            before = here;
        }
    }
    dag_of(id, tasks)
}

fn position(tasks: &mut Vec<Task>, name: &str) -> TaskPos {
    if let Some(pos) = tasks.iter().position(|task| task.task_id.as_str() == name) {
        return TaskPos(pos);
    }
    tasks.push(task(name));
    TaskPos(tasks.len() - 1)
}

/// Changes one task.
pub fn with(mut dag: Dag, name: &str, change: impl FnOnce(&mut Task)) -> Dag {
    let task = dag.tasks.iter_mut().find(|task| task.task_id.as_str() == name).unwrap();
    change(task);
    dag
}

/// Makes setups of the first tasks and teardowns of the others.
pub fn scoped(dag: Dag, setups: &[&str], teardowns: &[&str]) -> Dag {
    let dag = setups.iter().fold(dag, |dag, name| with(dag, name, |task| task.phase = Phase::Setup));
    let teardown = |task: &mut Task| {
        task.phase = Phase::Teardown { on_failure_fail_dagrun: false };
        task.trigger_rule = TriggerRule::AllDoneSetupSuccess;
    };
    teardowns.iter().fold(dag, |dag, name| with(dag, name, teardown))
}

/// A stored version whose tasks are numbered by position.
pub fn version(id: i64, dag: Dag) -> DagVersion {
    let task_idx: Arc<[TaskIdx]> = (0..dag.tasks.len()).map(|pos| TaskIdx(i32::try_from(pos).unwrap())).collect();
    DagVersion { id: DagVersionId(id), dag: Arc::new(dag), task_idx }
}
