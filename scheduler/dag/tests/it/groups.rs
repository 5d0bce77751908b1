//! Groups: ids, names in scope, and dependencies on and of whole groups.

use expect_test::{Expect, expect};

use crate::support::{load, messages, one};

fn check(text: &str, expected: Expect) {
    let dag = one(text).dag;
    let line = |task: &dag::Task| {
        let upstream: Vec<&str> = task.upstream.iter().map(|pos| dag.task(*pos).task_id.as_str()).collect();
        format!("{} <- {}\n", task.task_id, upstream.join(", "))
    };
    expected.assert_eq(&dag.tasks.iter().map(line).collect::<String>());
}

const TOUR: &str = "
dag_id: x
task_groups:
  - {group_name: load, dependencies: [choose]}
  - {group_name: deep, parent_group_name: load, default_args: {retries: 4}}
tasks:
  - {task_id: choose, operator: empty}
  - {task_id: one, task_group_name: load, operator: empty}
  - {task_id: two, task_group_name: deep, operator: empty, dependencies: [one]}
  - {task_id: three, task_group_name: load.deep, operator: empty, dependencies: [two]}
  - {task_id: alone, task_group_name: load, operator: empty}
  - {task_id: approve, operator: empty, dependencies: [load]}
  - {task_id: after_two, operator: empty, dependencies: [load.deep.two]}
";

#[test]
fn a_group_is_its_leaves_for_others_and_its_roots_for_itself() {
    check(
        TOUR,
        expect![[r#"
        choose <- 
        load.one <- choose
        load.deep.two <- load.one
        load.deep.three <- load.deep.two
        load.alone <- choose
        approve <- load.deep.three, load.alone
        after_two <- load.deep.two
    "#]],
    );
    let dag = one(TOUR).dag;
    assert_eq!(dag.tasks.iter().filter(|task| task.retries == 4).count(), 2, "a group's defaults are its tasks' own");
    let groups: Vec<&str> = dag.groups.iter().map(|group| group.group_id.as_str()).collect();
    assert_eq!(groups, ["load", "load.deep"]);
}

#[test]
fn groups_can_depend_on_groups() {
    check(
        "dag_id: x\ntask_groups:\n  a: {tooltip: first}\n  b: {dependencies: [a]}\n  c: {parent_group_name: b}\n  d: {parent_group_name: b, dependencies: [c]}\n\
         tasks:\n  a1: {operator: empty, task_group_name: a}\n  a2: {operator: empty, task_group_name: a}\n  \
         c1: {operator: empty, task_group_name: c}\n  d1: {operator: empty, task_group_name: d}\n  \
         end: {operator: empty, dependencies: [b]}\n",
        expect![[r#"
            a.a1 <- 
            a.a2 <- 
            b.c.c1 <- a.a1, a.a2
            b.d.d1 <- b.c.c1
            end <- b.d.d1
        "#]],
    );
}

#[test]
fn the_same_name_in_two_groups_means_the_nearest() {
    check(
        "dag_id: x\ntask_groups: {a: {}, b: {}}\ntasks:\n  - {task_id: t, operator: empty, task_group_name: a}\n  \
         - {task_id: t, operator: empty, task_group_name: b}\n  - {task_id: u, operator: empty, task_group_name: b, dependencies: [t]}\n",
        expect![[r#"
            a.t <- 
            b.t <- 
            b.u <- b.t
        "#]],
    );
}

#[test]
fn group_problems_are_told() {
    let text = "dag_id: x\ntask_groups:\n  - {group_name: a, parent_group_name: b}\n  - {group_name: b, parent_group_name: a}\n  \
        - {group_name: a}\n  - {tooltip: nameless}\n  - {group_name: c.d}\n  - {group_name: e, parent_group_name: f}\n  \
        - {group_name: g}\n  - {group_name: h, prefix_group_id: false}\n\
        tasks:\n  - {task_id: t, operator: empty, task_group_name: g, dependencies: [g]}\n  - {task_id: t, operator: empty}\n  \
        - {task_id: u, operator: empty, dependencies: [gg]}\n";
    let loaded = load(text);
    assert!(loaded.dags.is_empty());
    expect![[r#"
        dags/x.yaml:3:40: task_groups[0].parent_group_name: the group "b" would be inside itself
        dags/x.yaml:4:40: task_groups[1].parent_group_name: the group "a" would be inside itself
        dags/x.yaml:5:5: task_groups[2]: there are two groups "a"
        dags/x.yaml:6:5: task_groups[3]: group_name is missing
        dags/x.yaml:7:5: task_groups[4]: group_name "c.d" is not valid: use A-Z a-z 0-9 _ and -
        dags/x.yaml:8:40: task_groups[5].parent_group_name: there is no group "f"
        dags/x.yaml:10:21: task_groups[7].prefix_group_id: not supported yet: task ids without their group
        dags/x.yaml:12:70: tasks[0].dependencies[0]: "g" can not wait for itself
        dags/x.yaml:14:50: tasks[2].dependencies[0]: there is no task or group "gg" in this DAG; did you mean "g"?
    "#]]
    .assert_eq(&messages(&loaded));
    let ambiguous = "dag_id: x\ntask_groups: {a: {}, b: {}}\ntasks:\n  - {task_id: t, operator: empty, task_group_name: a}\n  \
        - {task_id: t, operator: empty, task_group_name: b}\n  - {task_id: u, operator: empty, dependencies: [t]}\n";
    expect![[r#"
        dags/x.yaml:6:50: tasks[2].dependencies[0]: "t" can mean a.t, b.t; write the whole id
    "#]]
    .assert_eq(&messages(&load(ambiguous)));
}

#[test]
fn a_group_without_tasks_passes_a_dependency_through() {
    check(
        "dag_id: x\ntask_groups:\n  first: {}\n  between: {dependencies: [first]}\n  last: {dependencies: [between]}\n\
         tasks:\n  a: {operator: empty, task_group_name: first}\n  b: {operator: empty, task_group_name: first, dependencies: [a]}\n  \
         c: {operator: empty, task_group_name: last}\n  d: {operator: empty, task_group_name: last, dependencies: [c]}\n  \
         e: {operator: empty, dependencies: [between]}\n",
        expect![[r#"
            first.a <- 
            first.b <- first.a
            last.c <- first.b
            last.d <- last.c
            e <- first.b
        "#]],
    );
    // Several in a row, and groups that hold only empty groups.
    check(
        "dag_id: x\ntask_groups:\n  outer: {dependencies: [a]}\n  one: {parent_group_name: outer}\n  \
         two: {parent_group_name: outer, dependencies: [one]}\n  next: {dependencies: [outer]}\n\
         tasks:\n  a: {operator: empty}\n  b: {operator: empty, dependencies: [next]}\n",
        expect![[r#"
            a <- 
            b <- a
        "#]],
    );
}

#[test]
fn an_empty_group_beside_tasks_adds_no_dependency() {
    check(
        "dag_id: x\ntask_groups:\n  outer: {dependencies: [a]}\n  empty: {parent_group_name: outer}\n\
         tasks:\n  a: {operator: empty}\n  t: {operator: empty, task_group_name: outer}\n  b: {operator: empty, dependencies: [outer]}\n",
        expect![[r#"
            a <- 
            outer.t <- a
            b <- outer.t
        "#]],
    );
    // One that a task of the group comes after is that task's way to what is before the group.
    check(
        "dag_id: x\ntask_groups:\n  outer: {dependencies: [a]}\n  empty: {parent_group_name: outer}\n\
         tasks:\n  a: {operator: empty}\n  t: {operator: empty, task_group_name: outer, dependencies: [empty]}\n  \
         b: {operator: empty, dependencies: [outer]}\n",
        expect![[r#"
            a <- 
            outer.t <- a
            b <- outer.t
        "#]],
    );
}

#[test]
fn empty_groups_that_wait_for_each_other_are_told() {
    let text = "dag_id: x\ntask_groups:\n  a: {dependencies: [b]}\n  b: {dependencies: [a]}\ntasks: [{task_id: t, operator: empty}]\n";
    expect![[r#"
        dags/x.yaml:3:22: task_groups.a.dependencies[0]: the tasks wait for each other: a -> b -> a
    "#]]
    .assert_eq(&messages(&load(text)));
}

#[test]
fn a_task_and_a_group_have_different_ids() {
    let text = "dag_id: x\ntask_groups: [{group_name: load}]\ntasks:\n  - {task_id: load, operator: empty}\n  \
        - {task_id: t, operator: empty, task_group_name: load}\n";
    expect![[r#"
        dags/x.yaml:4:15: tasks[0].task_id: "load" is a group, too; a task and a group of one DAG have different ids
    "#]]
    .assert_eq(&messages(&load(text)));
    let inside = "dag_id: x\ntask_groups: [{group_name: load}]\ntasks:\n  - {task_id: load, operator: empty, task_group_name: load}\n";
    assert_eq!(one(inside).dag.tasks[0].task_id.as_str(), "load.load");
}
