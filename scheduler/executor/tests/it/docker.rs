//! Containers on a real engine with the image `windlass-test:busybox` (`e2e/stack.d/docker.sh` makes both). Without an engine
//! these tests say so and pass; with `WINDLASS_TEST_DOCKER=1` they fail.

use std::{collections::BTreeSet, process::Command, sync::Arc, time::Duration};

use link::ConnectionFields;
use model::{
    EndKind, Operator,
    container::{AutoRemove, Container, Docker, DockerReturns, Mount, MountAccess, MountSource, PullPolicy, Words},
};
use serde_json::json;
use windlass_executor::{
    Stop, StopCause,
    docker::{self, DockerError},
};

use crate::rig::{Ran, Rig};

const IMAGE: &str = "windlass-test:busybox";

/// Whether there is an engine with the image.
async fn engine() -> bool {
    let there = docker::check().await;
    let wanted = std::env::var_os("WINDLASS_TEST_DOCKER").is_some();
    let image = there.is_ok() && ask(&["image", "inspect", IMAGE]).0;
    assert!(image || !wanted, "WINDLASS_TEST_DOCKER is set and there is no engine with {IMAGE}: {there:?}");
    if !image {
        eprintln!("skipped: no Docker engine with the image {IMAGE}; see e2e/stack.d/docker.sh");
    }
    image
}

/// What the engine's own client says.
fn ask(words: &[&str]) -> (bool, String) {
    let output = Command::new("docker").args(words).output().expect("the client docker is there with the engine");
    (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
}

fn keys(script: &str) -> Docker {
    Docker {
        container: Container { image: IMAGE.into(), pull_policy: PullPolicy::Never, ..Container::default() },
        command: Some(Words::List(vec!["sh".into(), "-c".into(), script.into()])),
        environment: Default::default(),
        pass_env: Vec::new(),
        container_name: None,
        auto_remove: AutoRemove::Force,
        tmp_dir: Some("/tmp/airflow".into()),
        returns: DockerReturns::LastLine,
        skip_on_exit_code: vec![99],
        stop_timeout_secs: None,
    }
}

fn operator(keys: Docker) -> Operator {
    Operator::Docker(Box::new(keys))
}

/// The ids of containers with a label.
fn labelled(label: &str) -> Vec<String> {
    let (_, ids) = ask(&["ps", "--all", "--quiet", "--filter", &format!("label={label}")]);
    ids.lines().map(ToOwned::to_owned).collect()
}

fn assert_failed(ran: &Ran, says: &str) {
    assert_eq!(ran.end.kind, EndKind::Failed, "{}", ran.end.reason);
    assert!(ran.end.reason.contains(says), "{}", ran.end.reason);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_engine_is_a_clear_reason() {
    let rig = Rig::new();
    let mut missing = keys("true");
    missing.container.docker_url = Some(format!("unix://{}/no.sock", rig.dir.path().display()));
    let ran = rig.run(operator(missing)).await;
    assert_failed(&ran, "no Docker engine answers at unix://");
    assert!(
        ran.end.reason.contains("start the engine (dockerd), or say where it is by DOCKER_HOST"),
        "{}",
        ran.end.reason
    );
    let mut refused = keys("true");
    refused.container.docker_url = Some("tcp://127.0.0.1:1".into());
    assert_failed(&rig.run(operator(refused)).await, "nobody listens there; start the engine");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_runs_with_its_environment_and_returns_its_last_line() {
    if !engine().await {
        return;
    }
    let mut rig = Rig::new();
    rig.params = json!({"part": "north"});
    let mut keys = keys(
        "echo $PLAIN; echo key $HIDDEN; echo to err >&2; printf '\\033[31mred\\033[0m\\n'; echo $WINDLASS_DAG_ID/$WINDLASS_TASK_ID; \
         echo in > $AIRFLOW_TMP_DIR/file && cat /tmp/airflow/file; [ -z \"$WINDLASS_WORKER\" ] || exit 5; printf '{\"rows\": 2}'",
    );
    keys.environment = [("PLAIN".to_owned(), "part {{ params.part }}".to_owned())].into();
    keys.container.private_environment = [("HIDDEN".to_owned(), "s3cret-value".to_owned())].into();
    let ran = rig.run(operator(keys)).await;
    assert_eq!((ran.end.kind, ran.end.exit_code), (EndKind::Success, Some(0)), "{}", ran.text());
    assert_eq!(
        ran.lines("out"),
        ["part north", "key ***", "\u{1b}[31mred\u{1b}[0m", "tour/own", "in", "{\"rows\": 2}"]
    );
    assert_eq!(ran.lines("err"), ["to err"]);
    assert_eq!(ran.xcom("return_value"), Some(&json!({"rows": 2})));
    assert!(!ran.text().contains("s3cret-value"));
    assert!(labelled(&format!("windlass.worker={}", rig.worker())).is_empty(), "auto_remove: force");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_is_a_command_line_and_all_lines_can_be_returned() {
    if !engine().await {
        return;
    }
    let rig = Rig::new();
    let mut keys = keys("");
    keys.command = Some(Words::Text("-c 'echo \"a  b\"; echo c'".into()));
    keys.container.entrypoint = Some(Words::Text("/bin/sh".into()));
    keys.returns = DockerReturns::AllLines;
    keys.auto_remove = AutoRemove::Never;
    let ran = rig.run(operator(keys)).await;
    assert_eq!(ran.xcom("return_value"), Some(&json!(["a  b", "c"])), "{}", ran.text());
    let kept = labelled(&format!("windlass.worker={}", rig.worker()));
    assert_eq!(kept.len(), 1, "auto_remove: never");
    let (_, labels) = ask(&["inspect", "--format", "{{json .Config.Labels}}", &kept[0]]);
    for label in
        ["\"windlass.dag\":\"tour\"", "\"windlass.task\":\"own\"", "\"windlass.run\":\"manual__1\"", "windlass.attempt"]
    {
        assert!(labels.contains(label), "{labels}");
    }
    ask(&["rm", "--force", &kept[0]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn exit_codes_are_explained_and_may_mean_skipped() {
    if !engine().await {
        return;
    }
    let rig = Rig::new();
    let ran = rig.run(operator(keys("exit 99"))).await;
    assert_eq!((ran.end.kind, ran.end.exit_code), (EndKind::Skipped, Some(99)));
    for (script, code, says) in [
        ("exit 3", 3, "exit code 3"),
        ("no-such-program", 127, "exit code 127 (a program that the image does not have)"),
        ("kill -9 $$; sleep 1; exit 143", 143, "exit code 143 (SIGTERM)"),
    ] {
        let ran = rig.run(operator(keys(script))).await;
        assert_failed(&ran, says);
        assert_eq!(ran.end.exit_code, Some(code), "{}", ran.end.reason);
    }
    let mut hungry = keys("x=0123456789abcdef; while true; do x=$x$x; done");
    hungry.container.mem_limit = Some(16 << 20);
    assert_failed(&rig.run(operator(hungry)).await, "it used more than its mem_limit of 16 MiB");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_engine_refuses_is_explained() {
    if !engine().await {
        return;
    }
    let rig = Rig::new();
    let with = |change: &dyn Fn(&mut Docker)| {
        let mut keys = keys("true");
        change(&mut keys);
        operator(keys)
    };
    let bind = Mount {
        target: "/in".into(),
        source: MountSource::Bind("/no/such/path".into()),
        access: MountAccess::ReadOnly,
    };
    let cases: Vec<(Operator, &str)> = vec![
        (
            with(&|keys| keys.container.image = "windlass-test:none".into()),
            "pull_policy is never; pull, build or load it",
        ),
        (with(&|keys| keys.container.mounts = vec![bind.clone()]), "no such path; make it there, or mount a volume"),
        (with(&|keys| keys.container.user = Some("nobody-here".into())), "the image does not know this user"),
        (with(&|keys| keys.container.network_mode = Some("no-such-net".into())), "docker network create"),
        (with(&|keys| keys.container.mem_limit = Some(1024)), "memory limit"),
    ];
    for (operator, says) in cases {
        assert_failed(&rig.run(operator).await, says);
    }
    let ran = rig.run(with(&|keys| keys.command = Some(Words::List(vec!["/bin/none".into()])))).await;
    assert_failed(&ran, "the image has no such program (exit code 127)");
    assert_eq!(ran.end.exit_code, Some(127));
    let mut pulled = keys("true");
    pulled.container.image = "127.0.0.1:1/team/loader:1".into();
    pulled.container.pull_policy = PullPolicy::Missing;
    assert_failed(&rig.run(operator(pulled)).await, "its registry can not be reached; build or load the image");
    assert!(labelled(&format!("windlass.worker={}", rig.worker())).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_registrys_login_comes_from_a_connection() {
    if !engine().await {
        return;
    }
    let mut rig = Rig::new();
    let mut keys = keys("echo hunter2-password");
    keys.container.docker_conn_id = Some("registry".into());
    assert_failed(
        &rig.run(operator(keys.clone())).await,
        "docker_conn_id: there is no connection \"registry\": not configured",
    );
    let fields = ConnectionFields {
        conn_id: "registry".into(),
        conn_type: "docker".into(),
        host: Some("registry.local".into()),
        schema: None,
        login: Some("me".into()),
        password: Some("hunter2-password".into()),
        port: None,
        extra: None,
    };
    rig.leader.connections.insert("registry".into(), fields);
    let ran = rig.run(operator(keys)).await;
    assert_eq!((ran.end.kind, ran.lines("out")), (EndKind::Success, vec!["***".to_owned()]));
}

#[tokio::test(flavor = "multi_thread")]
async fn mounts_are_where_they_should_be() {
    if !engine().await {
        return;
    }
    let rig = Rig::new();
    std::fs::write(rig.dir.path().join("given"), "from outside\n").unwrap();
    let mount = |target: &str, source, access| Mount { target: target.to_owned(), source, access };
    let mut keys =
        keys("cat /in/given; touch /in/x 2>/dev/null || echo read-only; df /scratch | tail -1 | cut -d' ' -f1; id -u");
    let outside = MountSource::Bind(rig.dir.path().to_string_lossy().into_owned());
    keys.container.mounts = vec![
        mount("/in", outside, MountAccess::ReadOnly),
        mount("/scratch", MountSource::Tmpfs(Some(1 << 20)), MountAccess::ReadWrite),
    ];
    keys.container.working_dir = Some("/in".into());
    let ran = rig.run(operator(keys)).await;
    assert_eq!(ran.lines("out"), ["from outside", "read-only", "tmpfs", "0"], "{}", ran.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_line_is_split_and_loses_nothing() {
    if !engine().await {
        return;
    }
    let rig = Rig::new();
    let ran = rig.run(operator(keys("head -c 300000 /dev/zero | tr '\\0' x; echo; echo end"))).await;
    let lines = ran.lines("out");
    assert_eq!(
        lines.iter().map(String::len).sum::<usize>(),
        300_003,
        "{:?}",
        lines.iter().map(String::len).collect::<Vec<_>>()
    );
    assert_eq!(lines.last().map(String::as_str), Some("end"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_is_term_and_then_kill_and_a_timeout_says_so() {
    if !engine().await {
        return;
    }
    let rig = Rig::new();
    let attempt = rig.attempt(
        rig.assignment(operator(keys("trap 'echo bye; exit 0' TERM; echo up; while true; do sleep 0.1; done"))),
    );
    let stop = Stop::default();
    let asked = async {
        wait_for(&rig.log_path(&attempt.assignment), "\"up\"").await;
        stop.request(StopCause { kind: EndKind::Killed, reason: "somebody asked".into() });
    };
    let (end, ()) = tokio::join!(windlass_executor::run(&attempt, &stop), asked);
    let ran = rig.ran(end, &attempt.assignment);
    assert_eq!((ran.end.kind, ran.end.reason.as_str()), (EndKind::Killed, "somebody asked"));
    assert_eq!(ran.lines("out"), ["up", "bye"]);

    let mut rig = Rig::new();
    rig.execution_timeout_secs = Some(1.0);
    let ran = rig.run(operator(keys("trap '' TERM; while true; do sleep 0.1; done"))).await;
    assert_eq!(ran.end.kind, EndKind::TimedOut, "{}", ran.end.reason);
    assert!(labelled(&format!("windlass.worker={}", rig.worker())).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_comes_back_goes_on_with_the_container_and_doubles_no_line() {
    if !engine().await {
        return;
    }
    let rig = Arc::new(Rig::new());
    let script =
        "i=0; while [ $i -lt 60 ]; do i=$((i+1)); echo line $i; echo err $i >&2; sleep 0.05; done; echo '[60]'";
    let assignment = rig.assignment(operator(keys(script)));
    let attempt = rig.attempt(assignment.clone());
    let first = tokio::spawn(async move { windlass_executor::run(&attempt, &Stop::default()).await });
    wait_for(&rig.log_path(&assignment), "line 10").await;
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());

    let known = BTreeSet::from([assignment.attempt]);
    let left = docker::left_by(rig.worker(), None, &known).await.unwrap();
    assert_eq!((left.attempts, left.removed), (known, 0));
    let attempt = rig.attempt(assignment.clone());
    let end = windlass_executor::resume(&attempt, &Stop::default(), Duration::from_secs(1)).await;
    let ran = rig.ran(end, &assignment);
    assert_eq!(ran.end.kind, EndKind::Success, "{}", ran.end.reason);
    let expected: Vec<String> = (1..=60).map(|number| format!("line {number}")).chain(["[60]".to_owned()]).collect();
    assert_eq!(ran.lines("out"), expected);
    assert_eq!(ran.lines("err").len(), 60);
    assert_eq!(ran.xcom("return_value"), Some(&json!([60])));
    assert!(ran.text().contains("going on with container"), "{}", ran.text());
    assert!(ran.end.ran_micros > 1_000_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_knows_of_is_removed_and_what_was_taken_away_is_stopped() {
    if !engine().await {
        return;
    }
    let rig = Arc::new(Rig::new());
    let mut endless = keys("echo up; while true; do sleep 0.1; done");
    endless.auto_remove = AutoRemove::Never;
    let assignment = rig.assignment(operator(endless));
    let abandoned = rig.attempt(assignment.clone());
    let first = tokio::spawn(async move { windlass_executor::run(&abandoned, &Stop::default()).await });
    wait_for(&rig.log_path(&assignment), "\"up\"").await;
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());

    let stop = Stop::default();
    stop.request(StopCause { kind: EndKind::Lost, reason: "another worker has it".into() });
    let taken = rig.attempt(assignment.clone());
    let end = windlass_executor::resume(&taken, &stop, Duration::from_secs(1)).await;
    assert_eq!((end.kind, end.reason.as_str()), (EndKind::Lost, "another worker has it"));
    assert!(labelled(&format!("windlass.attempt={}", assignment.attempt)).is_empty());

    let label = format!("windlass.worker={}", rig.worker());
    let attempt = format!("windlass.attempt={}", assignment.attempt);
    ask(&["run", "--detach", "--label", &label, "--label", &attempt, IMAGE, "sleep", "600"]);
    assert_eq!(docker::left_by(rig.worker(), None, &BTreeSet::new()).await.unwrap().removed, 1);
    assert!(labelled(&label).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_taken_says_what_to_do() {
    if !engine().await {
        return;
    }
    let rig = Rig::new();
    let mut named = keys("true");
    named.container_name = Some(format!("windlass-test-{}", rig.worker()));
    named.auto_remove = AutoRemove::Never;
    assert_eq!(rig.run(operator(named.clone())).await.end.kind, EndKind::Success);
    assert_failed(&rig.run(operator(named.clone())).await, "remove that container, choose auto_remove: force");
    ask(&["rm", "--force", named.container_name.as_deref().unwrap()]);
}

#[tokio::test]
async fn an_engine_that_is_away_is_an_error_of_its_kind() {
    let away = docker::left_by(uuid::Uuid::nil(), Some("unix:///no/such.sock"), &BTreeSet::new()).await.unwrap_err();
    assert!(matches!(away, DockerError::Away { .. }), "{away}");
}

/// Waits until a log has a text; bounded by the test's own patience.
async fn wait_for(log: &std::path::Path, text: &str) {
    let look = async {
        while !std::fs::read_to_string(log).unwrap_or_default().contains(text) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), look).await.unwrap_or_else(|_| panic!("the log never had {text}"));
}
