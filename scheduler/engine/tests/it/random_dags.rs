//! Random DAGs: tasks, arrows and everything else that a DAG can say.

use std::time::Duration;

use dag::{Dag, Expand, ExpandBy, Over, Phase, Task, TaskPos};
use model::{
    Operator, TriggerRule,
    operator::{OnReject, SkipReach},
};

use crate::{
    dags::{approval, branch, choice, dag_of, deferrable_sensor, rescheduled_sensor, task},
    simulation::Dice,
};

/// A DAG of up to nine tasks with random arrows, rules and retries.
pub fn random_dag(dice: &mut Dice, retries_max: usize) -> Dag {
    let size = 1 + dice.below(9);
    let tasks: Vec<Task> = (0..size)
        .map(|pos| Task {
            upstream: (0..pos).filter(|_| dice.one_in(3)).map(TaskPos).collect(),
            trigger_rule: if dice.one_in(2) { TriggerRule::AllSuccess } else { *dice.pick(TriggerRule::ALL) },
            operator: if dice.one_in(6) { Operator::Empty } else { crate::dags::bash() },
            retries: u16::try_from(dice.below(retries_max + 1)).unwrap(),
            retry_delay: Duration::from_secs(dice.below(40) as u64),
            retry_exponential_backoff: dice.one_in(3).then_some(2.0),
            pool: if dice.one_in(3) { "small".to_owned() } else { "default_pool".to_owned() },
            pool_slots: 1 + u32::try_from(dice.below(2)).unwrap(),
            effective_weight: i32::try_from(dice.below(5)).unwrap(),
            max_active_tis_per_dag: dice.one_in(8).then_some(1),
            task_queued_timeout: dice.one_in(6).then(|| Duration::from_secs(1 + dice.below(60) as u64)),
            depends_on_past: retries_max > 0 && dice.one_in(10),
            wait_for_downstream: retries_max > 0 && dice.one_in(20),
            ..task(&format!("t{pos}"))
        })
        .collect();
    let tasks = if dice.one_in(2) { with_scopes(dice, tasks) } else { tasks };
    Dag { max_active_tasks: 1 + u32::try_from(dice.below(4)).unwrap(), max_active_runs: 2, ..dag_of("d", tasks) }
}

/// The same with setups and teardowns among them, which may lie in each other, overlap, or have nothing between.
fn with_scopes(dice: &mut Dice, tasks: Vec<Task>) -> Vec<Task> {
    let mut tasks = tasks;
    for pos in 0..tasks.len() {
        match dice.below(4) {
            0 => tasks[pos].phase = Phase::Setup,
            1 => {
                tasks[pos].phase = Phase::Teardown { on_failure_fail_dagrun: dice.one_in(3) };
                tasks[pos].trigger_rule = TriggerRule::AllDoneSetupSuccess;
                let setups: Vec<TaskPos> =
                    (0..pos).filter(|before| tasks[*before].phase.is_setup()).map(TaskPos).collect();
                let own: Vec<TaskPos> = setups.into_iter().filter(|_| dice.one_in(2)).collect();
                tasks[pos].upstream.extend(own);
                tasks[pos].upstream.sort_unstable();
                tasks[pos].upstream.dedup();
            }
            _ => {}
        }
    }
    tasks
}

/// The same with everything else that a DAG can say.
pub fn with_more(dice: &mut Dice, dag: Dag) -> Dag {
    let mut dag = dag;
    for pos in 0..dag.tasks.len() {
        if !dag.tasks[pos].downstream.is_empty() && dice.one_in(5) {
            dag.tasks[pos].operator = if dice.one_in(4) { Operator::LatestOnly } else { branch() };
        }
        let date = |dice: &mut Dice| format!("2026-11-{:02}T00:00:00Z", 5 + dice.below(15)).parse().ok();
        if dice.one_in(8) {
            dag.tasks[pos].start_date = date(dice);
        }
        if dice.one_in(8) {
            dag.tasks[pos].end_date = date(dice);
        }
    }
    dag = with_waits(dice, dag);
    dag = with_expanded_tasks(dice, dag);
    // All of them, or none: what is told is counted against what fails.
    let tells = dice.one_in(2);
    if tells {
        dag.tasks.iter_mut().for_each(|task| task.callbacks = crate::dags::task_callbacks());
        let one = || vec![crate::dags::callback()];
        dag.callbacks = dag::RunCallbacks { on_success: one(), on_failure: one() };
    }
    let references = [
        dag::DeadlineReference::QueuedAt,
        dag::DeadlineReference::LogicalDate,
        dag::DeadlineReference::AverageRuntime { max_runs: 3, min_runs: 1 },
    ];
    for reference in references {
        if !dice.one_in(3) {
            continue;
        }
        let interval = Duration::from_secs(dice.below(300) as u64);
        let callbacks = vec![crate::dags::callback()];
        dag.deadlines.push(dag::Deadline { name: None, description: None, reference, interval, callbacks });
    }
    let all_success =
        dag.tasks.iter().all(|task| task.trigger_rule == TriggerRule::AllSuccess || task.phase.is_teardown());
    Dag {
        catchup: if dice.one_in(2) { dag::Catchup::All } else { dag::Catchup::Latest },
        max_consecutive_failed_dag_runs: if dice.one_in(3) { 1 + u32::try_from(dice.below(3)).unwrap() } else { 0 },
        dagrun_timeout: dice.one_in(4).then(|| Duration::from_secs(60 + dice.below(600) as u64)),
        fail_fast: all_success && dice.one_in(3),
        ..dag
    }
}

/// The same with tasks that ask people, and sensors that look again later, or wait without a slot.
fn with_waits(dice: &mut Dice, dag: Dag) -> Dag {
    let mut dag = dag;
    for task in &mut dag.tasks {
        let is_plain = matches!(task.operator, Operator::Bash(_));
        if !is_plain || !dice.one_in(4) {
            continue;
        }
        let limit = dice.one_in(2).then(|| 10.0 + dice.below(100) as f64);
        task.operator = match dice.below(6) {
            0 => {
                let reach = *dice.pick(&[SkipReach::AllDownstream, SkipReach::DirectDownstream]);
                let on_reject = if dice.one_in(3) { OnReject::Fail } else { OnReject::Skip(reach) };
                let mut keys = approval(on_reject, limit);
                if dice.one_in(2) {
                    keys.asking.defaults = vec![dice.pick(&keys.asking.options).clone()];
                }
                Operator::Approval(Box::new(keys))
            }
            1 => {
                let mut keys = choice(&["t0", "t2", "t4", "t6", "t8"], limit);
                keys.options_mapping = dice.one_in(2).then(Default::default);
                Operator::Choice(Box::new(keys))
            }
            2 | 3 => deferrable_sensor(),
            _ => rescheduled_sensor(),
        };
    }
    dag
}

/// The same with tasks that are expanded over lists, and over what tasks before them return.
pub fn with_expanded_tasks(dice: &mut Dice, dag: Dag) -> Dag {
    let mut dag = dag;
    for pos in 0..dag.tasks.len() {
        let is_one = decides_for_all(&dag.tasks[pos]);
        if is_one || !dice.one_in(3) {
            continue;
        }
        let sources: Vec<TaskPos> = dag.tasks[pos].upstream.clone();
        let mut inputs = Vec::new();
        for name in 0..1 + dice.below(2) {
            let over = match sources.is_empty() || dice.one_in(3) {
                true => Over::Literal((0..dice.below(4)).map(|item| item.into()).collect()),
                false => {
                    let source = dice.pick(&sources).0;
                    if matches!(
                        dag.tasks[source].operator,
                        Operator::Empty | Operator::Branch(_) | Operator::LatestOnly
                    ) {
                        dag.tasks[source].operator = crate::dags::bash();
                    }
                    Over::Output(dag.tasks[source].task_id.clone())
                }
            };
            inputs.push((format!("x{name}"), over));
        }
        dag.tasks[pos].expand =
            Some(Expand { by: ExpandBy::Product(inputs), map_index_template: None, keys: Vec::new(), group: None });
        dag.tasks[pos].max_active_tis_per_dagrun = dice.one_in(4).then(|| 1 + u32::try_from(dice.below(2)).unwrap());
    }
    if dice.one_in(2) { with_expanded_group(dice, dag) } else { dag }
}

/// Whether a task can not be expanded.
fn decides_for_all(task: &Task) -> bool {
    matches!(task.operator, Operator::Branch(_) | Operator::ShortCircuit(_) | Operator::LatestOnly)
        || task.operator.asking().is_some()
}

/// The same with tasks that are expanded together: within their group an instance comes after those with its index.
fn with_expanded_group(dice: &mut Dice, dag: Dag) -> Dag {
    let mut dag = dag;
    let first = dice.below(dag.tasks.len());
    let last = (first + 1 + dice.below(4)).min(dag.tasks.len() - 1);
    let can_be_many = |task: &Task| task.expand.is_none() && !decides_for_all(task);
    let members: Vec<usize> = (first..=last).filter(|pos| can_be_many(&dag.tasks[*pos])).collect();
    let source = (first > 0 && !dice.one_in(3)).then(|| dice.below(first));
    let over = match source {
        None => Over::Literal((0..dice.below(4)).map(|item| item.into()).collect()),
        Some(source) => {
            if matches!(dag.tasks[source].operator, Operator::Empty | Operator::Branch(_) | Operator::LatestOnly) {
                dag.tasks[source].operator = crate::dags::bash();
            }
            Over::Output(dag.tasks[source].task_id.clone())
        }
    };
    for pos in &members {
        let by = ExpandBy::Product(vec![("x".to_owned(), over.clone())]);
        let group = Some("g".to_owned());
        let task = &mut dag.tasks[*pos];
        task.expand = Some(Expand { by, map_index_template: None, keys: Vec::new(), group });
        if task.trigger_rule == TriggerRule::Always {
            task.trigger_rule = TriggerRule::AllDone;
        }
        let is_head = !task.upstream.iter().any(|before| members.contains(&before.0));
        if let Some(source) = source.filter(|source| is_head && !task.upstream.contains(&TaskPos(*source))) {
            task.upstream.push(TaskPos(source));
            task.upstream.sort_unstable();
            dag.tasks[source].downstream.push(TaskPos(*pos));
            dag.tasks[source].downstream.sort_unstable();
        }
    }
    dag
}

/// The same list or mapping with other names of tasks.
pub fn renamed(over: &Over, names: &[usize]) -> Over {
    match over {
        Over::Output(task) => {
            let pos: usize = task.as_str()[1..].parse().unwrap();
            Over::Output(model::TaskId::new(format!("t{}", names[pos])).unwrap())
        }
        other => other.clone(),
    }
}
