//! `dags simulate`: what a file of outcomes makes of a DAG.

use dag::{Dag, load_outcomes};
use engine::ahead::simulate::{Simulation, simulate};
use model::TaskState;

const SHOP: &str = "
dag_id: shop
default_args: {retries: 1, retry_delay: 5m}
tasks:
  extract: {operator: bash, bash_command: run}
  choose: {operator: branch, follow: x, dependencies: [extract]}
  left: {operator: bash, bash_command: run, dependencies: [choose]}
  right: {operator: bash, bash_command: run, dependencies: [choose]}
  names: {operator: python, python: run(), dependencies: [left]}
  load: {operator: bash, bash_command: run, expand: {env: '{{ ti.xcom_pull(task_ids=\"names\") }}'}}
  done: {operator: empty, trigger_rule: all_done, dependencies: [right, load]}
";

fn dag(text: &str) -> Dag {
    let loaded = dag::load("d.yaml", text, &dag::Content::default());
    assert_eq!(loaded.errors, []);
    loaded.dags.into_iter().next().unwrap().dag
}

fn play(dag: &Dag, outcomes: &str) -> Simulation {
    let cases = load_outcomes("o.yaml", outcomes, dag).unwrap_or_else(|errors| panic!("{errors:?}"));
    simulate(dag, &cases[0])
}

#[test]
fn a_failure_is_tried_again_a_branch_passes_over_and_a_task_is_expanded() {
    let shop = dag(SHOP);
    let outcomes = "
tasks:
  extract: [{outcome: failed, duration: 2m, reason: no network}, {duration: 30s}]
  choose: {follow: left}
  names: {returns: [{A: 1}, {A: 2}, {A: 3}]}
  'load[1]': {outcome: failed_without_retry, reason: it is full}
expect:
  state: success
  tries: {extract: 2, 'load[1]': 1}
  instances: {load: 3}
  tasks: {extract: success, right: skipped, 'load[0]': success, 'load[1]': failed, done: success}
  order: [extract, choose, left, names, load, done]
  ends_within: 10m
";
    let played = play(&shop, outcomes);
    assert_eq!(played.unmet, Vec::<String>::new());
    assert_eq!(played.stuck, None);
    // Two minutes, the pause of five, half a minute, and a second for each of choose, left, names and load.
    assert_eq!(played.took.num_seconds(), 120 + 300 + 30 + 4);
    let right = played.tasks.iter().find(|end| end.name() == "right").unwrap();
    assert_eq!(right.why, "choose has passed over it");
    let full = played.tasks.iter().find(|end| end.name() == "load[1]").unwrap();
    assert_eq!((full.state, full.why.as_str()), (TaskState::Failed, "it is full"));
    let retry = played.moments.iter().find(|moment| moment.state == "up_for_retry").unwrap();
    assert_eq!((retry.after.num_seconds(), retry.why.as_str()), (120, "no network"));
    assert_eq!(play(&shop, outcomes), played, "a simulation has one outcome");
}

#[test]
fn what_does_not_come_as_expected_is_told_one_by_one() {
    let outcomes = "
tasks: {extract: failed}
expect:
  state: success
  tasks: {extract: success, left: success}
  tries: {extract: 1}
  instances: {load: 2}
  order: [left, extract, done]
  ends_within: 1m
";
    let played = play(&dag(SHOP), outcomes);
    let expected = [
        "extract was expected to end in success; it is failed: the file of outcomes lets it fail",
        "left was expected to end in success; it is upstream_failed: ",
        "extract was expected to take 1 tries; it took 2",
        "load was expected to have 2 instances; it has 0",
        "the run was expected to end within 1 min; it took 5 min 2 s",
        "extract was expected to begin when left has ended; it began after 0 s",
    ];
    for part in expected {
        assert!(played.unmet.iter().any(|unmet| unmet.starts_with(part)), "{part} is not among {:#?}", played.unmet);
    }
    assert_eq!(played.unmet.len(), expected.len(), "{:#?}", played.unmet);
}

#[test]
fn pools_limit_questions_are_answered_and_sensors_look_again() {
    let text = "
dag_id: d
default_args: {pool: small}
tasks:
  a: {operator: bash, bash_command: run}
  b: {operator: bash, bash_command: run}
  ask: {operator: approval, subject: Go on?, dependencies: [a, b]}
  go: {operator: bash, bash_command: run, dependencies: [ask]}
  wait: {operator: file_sensor, filepath: /x, mode: reschedule, poke_interval: 1m, dependencies: [go]}
";
    let outcomes = "
pools: {small: 1}
default_duration: 1m
tasks: {ask: {answer: Approve, duration: 1h}, wait: {duration: 150s}}
expect: {state: success, order: [a, b, ask, go, wait], tries: {wait: 1}}
";
    let played = play(&dag(text), outcomes);
    assert_eq!(played.unmet, Vec::<String>::new());
    assert_eq!(played.took.num_seconds(), 60 + 60 + 3_600 + 60 + 180, "the fourth look is after three minutes");
    let rejected = play(&dag(text), "tasks: {ask: {answer: Reject}}\nexpect: {tasks: {go: skipped, wait: skipped}}");
    assert_eq!(rejected.unmet, Vec::<String>::new());
    let nobody = play(&dag(text), "tasks: {ask: {answer: null}}");
    assert!(nobody.stuck.as_ref().unwrap().contains("ask is awaiting_input"), "{:?}", nobody.stuck);
}

#[test]
fn a_run_that_can_not_go_on_says_what_it_waits_for() {
    let text = "dag_id: d\ntasks:\n  a: {operator: bash, bash_command: run, pool_slots: 3}\n";
    let played = play(&dag(text), "pools: {default_pool: 2}");
    let why = &played.tasks[0].why;
    assert!(why.contains("pool default_pool"), "{why}");
    assert!(played.stuck.is_some());
}

#[test]
fn an_attempt_ends_with_its_execution_timeout_and_with_its_run() {
    let text = "
dag_id: d
dagrun_timeout: 1h
tasks:
  a: {operator: bash, bash_command: run, execution_timeout: 10m}
  b: {operator: bash, bash_command: run}
";
    let outcomes = "tasks: {a: {duration: 20m}, b: {duration: 3h}}\nexpect: {state: failed, tasks: {a: failed}}";
    let played = play(&dag(text), outcomes);
    assert_eq!(played.unmet, Vec::<String>::new());
    let a = &played.tasks[0];
    assert_eq!((a.ended.unwrap().num_minutes(), a.why.as_str()), (10, "it ran longer than its execution_timeout"));
    assert_eq!(played.took.num_minutes(), 60);
}
