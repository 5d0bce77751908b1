//! Large files take no longer than their size says: eight times the size takes about eight times the time, and not 64 times.
//! What counts is the time on the processor, which others on the machine do not change.

use std::{fs, time::Duration};

use crate::support::{load, messages};

/// The largest file that may be.
const FILE_BYTES_MAX: usize = 1024 * 1024;
/// The sizes that are compared.
const BYTES: [usize; 2] = [24 * 1024, 8 * 24 * 1024];
/// How many times as long the larger may take: twice what is right.
const TIMES_MAX: u32 = 16;
/// Below this, other things than the file decide.
const NOISE: Duration = Duration::from_millis(60);

const TASK: &str = "tasks: [{task_id: a, operator: empty}]\n";

/// A file of a size.
type Make = fn(usize) -> String;

/// How long this thread has been on a processor.
fn on_processor() -> Duration {
    let text = fs::read_to_string("/proc/thread-self/schedstat").expect("Linux tells it");
    let nanos = text.split(' ').next().and_then(|first| first.parse().ok()).expect("the first number is the time");
    Duration::from_nanos(nanos)
}

fn timed(text: &str) -> (Duration, dag::Loaded) {
    let before = on_processor();
    let loaded = load(text);
    (on_processor() - before, loaded)
}

fn check(cases: &[(&str, Make)]) {
    for (name, make) in cases {
        let [(small, _), (large, _)] = BYTES.map(|bytes| timed(&make(bytes)));
        assert!(large <= small * TIMES_MAX + NOISE, "{name}: {small:?} became {large:?} with eight times the size");
    }
}

/// As many lines as a file of a size has.
fn filled(bytes: usize, head: &str, line: impl Fn(usize) -> String, tail: &str) -> String {
    let mut text = head.to_owned();
    for index in 0.. {
        let line = line(index);
        if text.len() + line.len() + tail.len() > bytes {
            break;
        }
        text += &line;
    }
    text + tail
}

fn keys(bytes: usize, head: &str, indent: &str, tail: &str) -> String {
    filled(bytes, head, |index| format!("{indent}k{index}: 1\n"), tail)
}

const KEYS: &[(&str, Make)] = &[
    ("unknown keys of a DAG", |bytes| keys(bytes, "dag_id: x\n", "", TASK)),
    ("variables of a task", |bytes| {
        keys(bytes, "dag_id: x\ntasks:\n- task_id: a\n  operator: bash\n  bash_command: x\n  env:\n", "   ", "")
    }),
    ("a param's value", |bytes| keys(bytes, "dag_id: x\nparams:\n  p:\n    default:\n", "     ", TASK)),
    ("unknown keys of default_args", |bytes| keys(bytes, "dag_id: x\ndefault_args:\n", "  ", TASK)),
    ("params", |bytes| keys(bytes, "dag_id: x\nparams:\n", "  ", TASK)),
    ("DAGs that are none", |bytes| keys(bytes, "", "", "")),
    ("one key again and again", |bytes| filled(bytes, "dag_id: x\n", |_| "tags: a\n".to_owned(), TASK)),
    ("merges", |bytes| filled(bytes, "a: &a {b: 1}\nc:\n", |_| "  <<: *a\n".to_owned(), "")),
    ("merges of one key", |bytes| filled(bytes, "a: &a {b: 1}\nc:\n  <<: [", |_| "*a, ".to_owned(), "*a]\n")),
];

fn chain(index: usize, more: &str) -> String {
    let dependencies = index.checked_sub(1).map(|before| format!(", dependencies: [t{before}]")).unwrap_or_default();
    format!("- {{task_id: t{index}, operator: empty{dependencies}{more}}}\n")
}

const TASKS: &[(&str, Make)] = &[
    ("a chain", |bytes| filled(bytes, "dag_id: x\ntasks:\n", |index| chain(index, ""), "")),
    ("a chain with weights", |bytes| {
        filled(bytes, "dag_id: x\ntasks:\n", |index| chain(index, &format!(", priority_weight: {}", index % 7)), "")
    }),
    ("a chain that looks back", |bytes| {
        filled(bytes, "dag_id: x\ntasks:\n", |index| chain(index, ", weight_rule: upstream"), "")
    }),
    ("one id again and again", |bytes| {
        filled(bytes, "dag_id: x\ntasks:\n", |_| "- {task_id: t, operator: empty}\n".to_owned(), "")
    }),
    ("unknown dependencies", |bytes| {
        let task = |index| format!("- {{task_id: t{index}, operator: empty, dependencies: [u{index}]}}\n");
        filled(bytes, "dag_id: x\ntasks:\n", task, "")
    }),
    ("typing errors", |bytes| {
        let task = |index| format!("- {{task_id: t{index}, operatr: empty, tsk_id: u{index}}}\n");
        filled(bytes, "dag_id: x\ntasks:\n", task, "")
    }),
    ("a cycle", |bytes| {
        let head = "dag_id: x\ntasks:\n- {task_id: z, operator: empty, dependencies: [t9]}\n";
        filled(bytes, head, |index| chain(index, "").replacen("empty}", "empty, dependencies: [z]}", 1), "")
    }),
    ("tasks by an alias", |bytes| {
        let head = "x:\n  default_args: &a {operator: empty}\n  tasks:\n";
        filled(bytes, head, |index| format!("    t{index}: *a\n"), "")
    }),
    ("DAGs", |bytes| filled(bytes, "", |index| format!("d{index}: {{{}}}\n", TASK.trim_end()), "")),
    ("DAGs that inherit", |bytes| {
        let head = "default:\n  params: {a: 1, b: 2, c: 3}\n  tasks: [{task_id: a, operator: empty}]\n";
        filled(bytes, head, |index| format!("d{index}: {{}}\n"), "")
    }),
];

const GROUPS: &[(&str, Make)] = &[
    ("empty groups in a row", |bytes| {
        let group = |index: usize| match index {
            0 => "- {group_name: g0}\n".to_owned(),
            _ => format!("- {{group_name: g{index}, dependencies: [g{}]}}\n", index - 1),
        };
        filled(bytes, &format!("dag_id: x\n{TASK}task_groups:\n"), group, "")
    }),
    ("groups in each other", |bytes| {
        let group = |index: usize| match index {
            0 => "- {group_name: g0}\n".to_owned(),
            _ => format!("- {{group_name: g{index}, parent_group_name: g{}}}\n", index - 1),
        };
        filled(bytes, &format!("dag_id: x\n{TASK}task_groups:\n"), group, "")
    }),
    ("a group for each task", |bytes| {
        let head = "dag_id: x\ntask_groups:\n";
        let groups =
            filled(bytes / 2, head, |index| format!("  g{index}: {{default_args: {{retries: 1}}}}\n"), "tasks:\n");
        filled(bytes, &groups, |index| format!("- {{task_id: t, operator: empty, task_group_name: g{index}}}\n"), "")
    }),
];

const YAML: &[(&str, Make)] = &[
    ("a flow list", |bytes| filled(bytes, "dag_id: x\ntags: [", |_| "a, ".to_owned(), &format!("a]\n{TASK}"))),
    ("brackets", |bytes| "[".repeat(bytes)),
    ("braces", |bytes| "{".repeat(bytes)),
    ("pairs of brackets", |bytes| "[]".repeat(bytes / 2)),
    ("keys of keys", |bytes| "? ".repeat(bytes / 2)),
    ("dashes", |bytes| "- ".repeat(bytes / 2)),
    ("a long key with much in it", |bytes| {
        let head = format!("? {}\n: [", "k".repeat(bytes / 2));
        filled(bytes, &head, |index| format!("{{a{index}: [b, c]}}, "), "]\n")
    }),
    ("a long text", |bytes| format!("dag_id: x\ndoc_md: \"{}\"\n{TASK}", "\\n".repeat(bytes / 2 - 50))),
    ("a long block", |bytes| filled(bytes, &format!("dag_id: x\n{TASK}doc_md: |\n"), |_| "  a\n".to_owned(), "")),
    ("anchors in each other", |bytes| {
        let head = "&a [".repeat(60);
        filled(bytes, &head, |_| "1, ".to_owned(), &"]".repeat(60))
    }),
    ("anchors", |bytes| filled(bytes, "", |index| format!("- &a{index} x\n"), "")),
    ("aliases without anchors", |bytes| filled(bytes, "", |index| format!("- *a{index}\n"), "")),
    ("comments", |bytes| "# c\n".repeat(bytes / 4)),
    ("quotes", |bytes| "\"".repeat(bytes)),
    ("colons", |bytes| ": ".repeat(bytes / 2)),
    ("tags", |bytes| filled(bytes, "", |index| format!("- !t{index} x\n"), "")),
    ("remarks", |bytes| filled(bytes, "dag_id: x\ntags: [", |_| "no, ".to_owned(), &format!("a]\n{TASK}"))),
];

#[test]
fn keys_take_the_time_of_their_number() {
    check(KEYS);
}

#[test]
fn tasks_and_dags_take_the_time_of_their_number() {
    check(TASKS);
}

#[test]
fn groups_take_the_time_of_their_number() {
    check(GROUPS);
}

#[test]
fn yaml_takes_the_time_of_its_size() {
    check(YAML);
}

#[test]
fn what_is_too_much_is_refused() {
    let wide = |tasks: usize| {
        let task =
            |index| format!("- {{task_id: t{index}, operator: empty, task_group_name: {}}}\n", ["a", "b"][index % 2]);
        let head = "dag_id: x\ntask_groups: [{group_name: a}, {group_name: b, dependencies: [a]}]\ntasks:\n";
        head.to_owned() + &(0..tasks).map(task).collect::<String>()
    };
    assert!(messages(&load(&wide(2_002))).contains("more than 1000000 dependencies between tasks"));
    assert_eq!(messages(&load(&wide(200))), "");
    let too_many =
        filled(FILE_BYTES_MAX, "a: &a {operator: empty}\ndag_id: x\ntasks:\n", |index| format!("  t{index}: *a\n"), "");
    assert!(messages(&load(&too_many)).contains("at most 250000 nodes"));
    let inherited = filled(
        FILE_BYTES_MAX / 4,
        &format!("default: {{params: {{a: [{}1]}}, {}}}\n", "1, ".repeat(500), TASK.trim_end()),
        |index| format!("d{index}: {{}}\n"),
        "",
    );
    assert!(messages(&load(&inherited)).contains("inherit"));
    let deep = format!("dag_id: x\n{TASK}task_groups:\n- {{group_name: g0}}\n")
        + &(1..200)
            .map(|index| format!("- {{group_name: g{index}, parent_group_name: g{}}}\n", index - 1))
            .collect::<String>();
    assert!(messages(&load(&deep)).contains("more than 250 characters"));
}

/// Prints how long each file of the largest size takes: `cargo test --release -p windlass-dag figures -- --ignored --nocapture`.
#[test]
#[ignore = "prints figures"]
fn figures() {
    for (name, make) in [KEYS, TASKS, GROUPS, YAML].concat() {
        let text = make(FILE_BYTES_MAX);
        let (took, loaded) = timed(&text);
        let (dags, errors) = (loaded.dags.len(), loaded.errors.len());
        eprintln!("{name}: {} KiB, {} ms, {dags} DAGs, {errors} errors", text.len() / 1024, took.as_millis());
    }
}
