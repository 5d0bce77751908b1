//! What is true of every process of an attempt, however hard it tries to be nobody's.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::fd::{FromRawFd as _, OwnedFd},
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use model::{
    EndKind, Operator,
    operator::{Bash, Python, PythonSource},
};

use windlass_executor::{Stop, StopCause};

use crate::rig::{Ancestry, Rig};

/// Tells the test program to count what attempts leave behind, in a process of its own.
const COUNT_LEAKS: &str = "WINDLASS_TEST_COUNT_LEAKS";
/// Nothing in these tests takes longer unless it is broken.
const PATIENCE: Duration = Duration::from_secs(30);

fn bash(text: &str) -> Operator {
    Operator::Bash(Bash {
        bash_command: text.into(),
        env: BTreeMap::new(),
        pass_env: Vec::new(),
        append_env: false,
        cwd: None,
        skip_on_exit_code: Vec::new(),
    })
}

fn python(code: &str, args: Vec<String>, python_bin: Option<String>) -> Operator {
    Operator::Python(Python {
        source: PythonSource::Inline(code.into()),
        args,
        env: BTreeMap::new(),
        pass_env: Vec::new(),
        python_bin,
    })
}

/// A rig for each way of knowing what an attempt has started that this system has.
fn rigs(test: &str) -> Vec<Rig> {
    let mut rigs = vec![Rig::new()];
    match Rig::try_with(Ancestry::ControlGroup) {
        Ok(rig) => rigs.push(rig),
        Err(error) => println!("skipped {test} with control groups: {error}"),
    }
    rigs
}

/// Whether a process is there; one that is dead and not yet reaped is not.
fn runs(process: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.trim_start().starts_with('Z'))
}

fn pid_in(file: &Path) -> String {
    let until = Instant::now() + PATIENCE;
    loop {
        match fs::read_to_string(file) {
            Ok(text) if text.ends_with('\n') => return text.trim().to_owned(),
            _ => assert!(Instant::now() < until, "no number in {}", file.display()),
        }
        std::thread::yield_now();
    }
}

/// Commands that end while something of theirs runs on, outside of their process group. Each writes its number to `$F`.
const ESCAPES: &[(&str, &str)] = &[
    ("in a session of its own", "setsid sleep 300 >/dev/null 2>&1 & echo $! > $F"),
    ("in a group by job control", "set -m; sleep 300 >/dev/null 2>&1 & echo $! > $F"),
    ("in a group by timeout", "timeout 300 sh -c 'echo $$ > $F; exec sleep 300' >/dev/null 2>&1 &"),
    (
        "forked twice in a new session, with no environment and no pipe",
        "(setsid env -i sh -c '(sleep 300 & echo $! > '$F')' </dev/null >/dev/null 2>&1 &)",
    ),
    ("deaf to TERM", "setsid sh -c 'trap \"\" TERM; echo $$ > $F; while :; do sleep 1; done' >/dev/null 2>&1 &"),
];

#[tokio::test(flavor = "multi_thread")]
async fn what_escapes_its_process_group_ends_with_its_attempt_and_is_named_in_the_log() {
    for rig in rigs("what_escapes_its_process_group_ends_with_its_attempt_and_is_named_in_the_log") {
        for (number, (how, command)) in ESCAPES.iter().enumerate() {
            let file = rig.dir.path().join(format!("pid{number}"));
            let show = file.display();
            let ran =
                rig.run(bash(&format!("export F={show}; {command}\nuntil [ -s {show} ]; do sleep 0.02; done"))).await;
            assert_eq!(ran.end.kind, EndKind::Success, "{how}: {}", ran.end.reason);
            let process = pid_in(&file);
            assert!(!runs(&process), "{how}");
            let told = ran.lines("sys").into_iter().find(|line| line.contains("left running")).unwrap_or_default();
            assert!(told.contains(&format!("({process})")), "{how}: {told:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_python_task_starts_in_a_new_session_ends_with_it() {
    let rig = Rig::new();
    let code = "import subprocess\np = subprocess.Popen(['sleep', '300'], start_new_session=True)\nresult = p.pid";
    let ran = rig.run(python(code, Vec::new(), None)).await;
    assert!(!runs(&ran.xcom("return_value").expect("the task tells the number").to_string()), "{}", ran.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_try_that_is_ended_is_gone_in_every_group_before_the_next_may_start() {
    for mut rig in rigs("a_try_that_is_ended_is_gone_in_every_group_before_the_next_may_start") {
        let file = rig.dir.path().join("written");
        let show = file.display();
        for how in ["timeout 40", "setsid -w", "set -m;", "trap '' TERM; timeout 40"] {
            // Each writer says who it is; a try that still runs would show beside the next.
            let command = bash(&format!("{how} sh -c 'while :; do echo $$ >> {show}; sleep 0.05; done'"));
            for _try in 0..2 {
                let _ = fs::remove_file(&file);
                rig.stop = Stop::default();
                let stop = async {
                    while !fs::read_to_string(&file).is_ok_and(|text| text.lines().count() > 2) {
                        tokio::time::sleep(Duration::from_millis(10)).await;
                    }
                    rig.stop.request(StopCause { kind: EndKind::TimedOut, reason: "it is time".into() });
                };
                let (ran, ()) = futures::future::join(rig.run(command.clone()), stop).await;
                assert_eq!(ran.end.kind, EndKind::TimedOut, "{how}: {}", ran.end.reason);
                let written = fs::read_to_string(&file).unwrap();
                let writers: BTreeSet<&str> = written.lines().collect();
                assert_eq!(writers.len(), 1, "{how}: tries overlap");
                assert!(writers.iter().all(|process| !runs(process)), "{how}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_in_another_session_hears_of_a_stop_and_may_tidy_up() {
    let mut rig = Rig::new();
    rig.execution_timeout_secs = Some(0.5);
    let file = rig.dir.path().join("tidied");
    let inner = format!("trap \"echo done > {}; exit\" TERM; while :; do sleep 0.05; done", file.display());
    rig.run(bash(&format!("setsid -w sh -c '{inner}'"))).await;
    assert_eq!(fs::read_to_string(&file).unwrap(), "done\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_whose_launcher_is_killed_fails_with_the_reason_and_leaves_nothing() {
    for rig in rigs("an_attempt_whose_launcher_is_killed_fails_with_the_reason_and_leaves_nothing") {
        let file = rig.dir.path().join("pid");
        let command =
            format!("setsid sh -c 'echo $$ > {0}; sleep 300' & until [ -s {0} ]; do sleep 0.02; done", file.display());
        let ran = rig.run(bash(&format!("{command}; kill -9 $PPID; sleep 300"))).await;
        assert_eq!(ran.end.kind, EndKind::Failed);
        assert!(ran.end.reason.contains("launcher") && ran.end.reason.contains("signal: 9"), "{}", ran.end.reason);
        assert!(!runs(&pid_in(&file)));
        assert_eq!(rig.run(bash("echo next")).await.lines("out"), ["next"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_when_a_launcher_is_killed_after_its_process_is_ended_as_well() {
    let rig = Rig::new();
    let file = rig.dir.path().join("pid");
    let deaf = format!("trap \"\" TERM; echo $$ > {0}; sleep 0.3; kill -9 $L; sleep 300", file.display());
    let ran = rig
        .run(bash(&format!(
            "L=$PPID setsid sh -c '{deaf}' >/dev/null 2>&1 & until [ -s {} ]; do sleep 0.02; done",
            file.display()
        )))
        .await;
    assert_eq!(ran.end.kind, EndKind::Success, "{}", ran.end.reason);
    assert!(!runs(&pid_in(&file)), "{}", ran.text());
    assert_eq!(rig.run(bash("echo next")).await.lines("out"), ["next"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_nobody_awaits_any_more_is_killed() {
    let rig = std::sync::Arc::new(Rig::new());
    let file = rig.dir.path().join("pid");
    let command = bash(&format!("setsid sh -c 'echo $$ > {}; sleep 300'; sleep 300", file.display()));
    let running = tokio::spawn({
        let rig = std::sync::Arc::clone(&rig);
        async move { rig.run(command).await }
    });
    let process = tokio::task::spawn_blocking(move || pid_in(&file)).await.unwrap();
    running.abort();
    let _ = running.await;
    let until = Instant::now() + PATIENCE;
    while runs(&process) {
        assert!(Instant::now() < until, "it still runs");
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_not_be_started_is_said_with_its_place() {
    let rig = Rig::new();
    let Operator::Bash(keys) = bash("true") else { unreachable!() };
    let ran = rig.run(Operator::Bash(Bash { cwd: Some("/nowhere/at/all".into()), ..keys })).await;
    assert!(ran.end.reason.contains("/nowhere/at/all") && ran.end.reason.contains("directory"), "{}", ran.end.reason);
    let ran = rig.run(python("pass", Vec::new(), Some("/nowhere/python".into()))).await;
    assert!(ran.end.reason.contains("/nowhere/python"), "{}", ran.end.reason);
    let ran = rig.run(python("pass", vec!["a\0b".into()], None)).await;
    assert!(ran.end.reason.contains("NUL"), "{}", ran.end.reason);
    let told = rig.told_guard();
    let lines = || told.lines().filter(|line| *line != "ok");
    let (made, gone): (Vec<&str>, Vec<&str>) = lines().partition(|line| line.starts_with('+'));
    assert_eq!(made.len(), 2, "the program and the one whose directory is missing: {told}");
    for group in made {
        assert!(gone.contains(&format!("-{}", &group[2..]).as_str()), "the guard believes that {group} runs: {told}");
    }
    assert_eq!(rig.run(bash("echo fine")).await.lines("out"), ["fine"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn arguments_may_be_longer_than_a_sockets_buffer_and_a_script_needs_no_first_line() {
    let rig = Rig::new();
    let args: Vec<String> = (0..12).map(|_| "x".repeat(100_000)).collect();
    let code = "import sys\nresult = sum(len(a) for a in sys.argv[1:])";
    let ran = rig.run(python(code, args, None)).await;
    assert_eq!(ran.xcom("return_value"), Some(&serde_json::json!(1_200_000)), "{}", ran.end.reason);
    let script = rig.dir.path().join("script");
    fs::write(&script, "echo \"it has $# arguments\"\n").unwrap();
    fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let ran = rig.run(python("pass", vec!["one".into()], Some(script.display().to_string()))).await;
    assert_eq!(ran.lines("out"), ["it has 4 arguments"], "{}", ran.end.reason);
}

#[tokio::test(flavor = "multi_thread")]
async fn when_memory_runs_out_a_task_is_chosen_before_its_worker() {
    let own: i32 = fs::read_to_string("/proc/self/oom_score_adj").unwrap().trim().parse().unwrap();
    let ran = Rig::new().run(bash("cat /proc/self/oom_score_adj")).await;
    assert_eq!(ran.lines("out"), [(own + 500).min(1000).to_string()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_has_the_standard_descriptors_signals_and_a_group_of_its_own_and_nothing_else_of_its_worker() {
    // SAFETY: the descriptor is new, and closed with its owner; unlike those of std it would survive an exec.
    let leaky = unsafe { OwnedFd::from_raw_fd(libc_dup(0)) };
    let rig = Rig::new();
    // Python starts a program as it was started itself, but for SIGPIPE and SIGXFSZ.
    let code = "import os\n\
        print(sorted(int(fd) for fd in os.listdir('/proc/self/fd')))\n\
        print(os.getpgid(0) == os.getpid())\n\
        for line in open('/proc/self/status'):\n\
        \x20   if line.startswith(('SigBlk', 'SigIgn')): print(line.split()[0], hex(int(line.split()[1], 16) & 0x7fffffff))";
    let ran = rig.run(python(code, Vec::new(), None)).await;
    drop(leaky);
    // The fourth is the socket to the worker, the fifth the list itself.
    let of_python = (1 << (nix::libc::SIGPIPE - 1)) | (1 << (nix::libc::SIGXFSZ - 1));
    let expected = ["[0, 1, 2, 3, 4]", "True", "SigBlk: 0x0", &format!("SigIgn: {of_python:#x}")];
    assert_eq!(ran.lines("out"), expected, "{}", ran.end.reason);
}

/// A copy of a descriptor that is open in whatever is started, as a careless parent leaves them.
fn libc_dup(fd: i32) -> i32 {
    // SAFETY: plain numbers.
    unsafe { nix::libc::dup(fd) }
}

#[test]
fn a_thousand_attempts_leave_no_descriptor_no_thread_and_no_child() {
    // In a process of its own: the other tests open and close what would be counted here.
    let test = "processes::a_thousand_attempts_leave_no_descriptor_no_thread_and_no_child";
    if std::env::var_os(COUNT_LEAKS).is_none() {
        let mut command = Command::new(std::env::current_exe().unwrap());
        let status = command.args(["--exact", test, "--nocapture"]).env(COUNT_LEAKS, "1").status().unwrap();
        assert!(status.success(), "attempts leave something behind; see above");
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(count_leaks());
}

async fn count_leaks() {
    let rigs = rigs("a_thousand_attempts_leave_no_descriptor_no_thread_and_no_child");
    for rig in &rigs {
        all_at_once(rig).await;
        eight(rig).await;
        let before = standing(rig);
        for _ in 0..60 {
            eight(rig).await;
        }
        let until = Instant::now() + PATIENCE;
        // Threads that wait for blocking work come and go; all else is exact.
        while standing(rig) > before {
            assert!(Instant::now() < until, "before {before:?}, after {:?}", standing(rig));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// Eight attempts of which none ends before all run: afterwards there are as many launchers as will ever be needed.
async fn all_at_once(rig: &Rig) {
    let dir = rig.dir.path().join("all");
    fs::create_dir(&dir).unwrap();
    let command = format!("cd {}; touch $$; until [ $(ls | wc -l) -ge 8 ]; do sleep 0.02; done", dir.display());
    futures::future::join_all((0..8).map(|_| rig.run(bash(&command)))).await;
}

/// Eight attempts at once, of which one leaves something behind and one can not start.
async fn eight(rig: &Rig) {
    let mut commands = vec!["true"; 6];
    commands.push("setsid sleep 300 & true");
    let missing = rig.run(python("pass", Vec::new(), Some("/nowhere/python".into())));
    let running = futures::future::join_all(commands.into_iter().map(|command| rig.run(bash(command))));
    futures::future::join(running, missing).await;
}

/// Descriptors, threads, children and control groups.
fn standing(rig: &Rig) -> [usize; 4] {
    let entries = |path: &str| fs::read_dir(path).unwrap().count();
    let own = std::process::id();
    let children = fs::read_dir(format!("/proc/{own}/task")).unwrap().flatten();
    let children = children.map(|task| fs::read_to_string(task.path().join("children")).unwrap_or_default());
    let children = children.map(|text| text.split_whitespace().count()).sum();
    let groups = rig
        .cgroups_dir
        .as_ref()
        .map_or(0, |dir| fs::read_dir(dir).unwrap().flatten().filter(|one| one.path().is_dir()).count());
    [entries("/proc/self/fd"), entries("/proc/self/task"), children, groups]
}
