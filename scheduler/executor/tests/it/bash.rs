//! The operator `bash`, and what is true of every process.

use std::collections::BTreeMap;

use model::{EndKind, Operator, operator::Bash};
use serde_json::json;

use crate::rig::Rig;

fn bash(command: &str) -> Bash {
    Bash {
        bash_command: command.into(),
        env: BTreeMap::new(),
        pass_env: Vec::new(),
        append_env: false,
        cwd: None,
        skip_on_exit_code: vec![99],
    }
}

fn command(text: &str) -> Operator {
    Operator::Bash(bash(text))
}

#[tokio::test]
async fn the_last_line_of_output_is_what_a_command_returns() {
    let ran = Rig::new().run(command("echo first; echo aside >&2; echo '{\"rows\": 3}'")).await;
    assert_eq!((ran.end.kind, ran.end.exit_code), (EndKind::Success, Some(0)));
    assert_eq!(ran.xcom("return_value"), Some(&json!({"rows": 3})));
    assert_eq!(ran.lines("out"), ["first", "{\"rows\": 3}"]);
    assert_eq!(ran.lines("err"), ["aside"]);
    assert_eq!(ran.log[0]["rendered"]["bash_command"], "echo first; echo aside >&2; echo '{\"rows\": 3}'");
    assert!(ran.end.ran_micros > 0);
}

#[tokio::test]
async fn text_stays_text_and_what_is_too_long_is_a_failure_that_says_so() {
    let rig = Rig::new();
    let ran = rig.run(command("echo 1.10")).await;
    assert_eq!(ran.xcom("return_value"), Some(&json!("1.10")));
    let long = rig.run(command("head -c 150000 /dev/zero | tr '\\0' x")).await.end;
    assert_eq!((long.kind, long.exit_code), (EndKind::Failed, Some(0)));
    assert!(long.reason.contains("has 150000 bytes, over the limit of 65536"), "{}", long.reason);
}

#[tokio::test]
async fn a_progress_bar_is_seen_while_it_moves_and_its_end_is_the_value() {
    let bar = "for i in {1..4000}; do printf '\\r\\e[32mstep %25d of 4000\\e[0m' $i; done; printf '\\rready\\n'";
    let ran = Rig::new().run(command(bar)).await;
    assert_eq!(
        (ran.end.kind, ran.xcom("return_value")),
        (EndKind::Success, Some(&json!("ready"))),
        "{}",
        ran.end.reason
    );
    let states = ran.log.iter().filter(|line| line["state"] == true).count();
    assert!((1..100).contains(&states), "{states}");
    assert_eq!(ran.lines("out").last().unwrap(), "ready");
}

#[tokio::test]
async fn rendering_ends_with_the_attempt() {
    let mut rig = Rig::new();
    rig.execution_timeout_secs = Some(0.2);
    rig.leader.is_away = true;
    let began = std::time::Instant::now();
    let ran = rig.run(command("echo {{ var.value.x }}")).await;
    assert_eq!(ran.end.kind, EndKind::TimedOut, "{}", ran.end.reason);
    assert!(ran.end.reason.contains("execution_timeout of 0.2 s"), "{}", ran.end.reason);
    assert!(began.elapsed() < std::time::Duration::from_secs(20));
}

#[tokio::test]
async fn an_exit_code_decides_between_failed_and_skipped() {
    let rig = Rig::new();
    let failed = rig.run(command("exit 3")).await.end;
    assert_eq!((failed.kind, failed.exit_code, failed.reason.as_str()), (EndKind::Failed, Some(3), "exit code 3"));
    let said = rig.run(command("echo first >&2; echo 'disk full' >&2; exit 3")).await.end;
    assert_eq!(said.reason, "exit code 3: disk full");
    assert_eq!(rig.run(command("exit 99")).await.end.kind, EndKind::Skipped);
    assert_eq!(rig.run(command("kill -SEGV $$")).await.end.reason, "ended by signal SIGSEGV");
}

#[tokio::test]
async fn the_environment_is_what_the_dag_declares_and_little_else() {
    let ran = Rig::new().run(command("env | cut -d= -f1 | sort")).await;
    let allowed = ["HOME", "LANG", "PATH", "PWD", "SHLVL", "TZ", "_"];
    let names = ran.lines("out");
    assert!(names.iter().all(|name| name.starts_with("WINDLASS_") || allowed.contains(&name.as_str())), "{names:?}");
    assert!(names.contains(&"WINDLASS_ATTEMPT".to_owned()) && names.contains(&"PATH".to_owned()));
    let env = BTreeMap::from([("REGION".to_owned(), "{{ params.region }}".to_owned())]);
    let mut rig = Rig::new();
    rig.params = json!({"region": "a; b"});
    let show = "echo \"$REGION ${HOME-none}\"";
    let replaced = rig.run(Operator::Bash(Bash { env: env.clone(), ..bash(show) })).await;
    assert_eq!(replaced.lines("out"), ["a; b none"]);
    let added = rig.run(Operator::Bash(Bash { env, append_env: true, ..bash(show) })).await;
    assert_ne!(added.lines("out"), ["a; b none"]);
}

#[tokio::test]
async fn a_group_is_known_to_the_guard_while_its_program_runs_and_forgotten_after() {
    let rig = Rig::new();
    let ran = rig.run(command("echo $$")).await;
    let process = &ran.lines("out")[0];
    assert_eq!(rig.told_guard(), format!("+a{process}\n-{process}\nok\n"));
}

#[tokio::test]
async fn nothing_starts_without_a_guard() {
    let rig = Rig::new();
    let marker = rig.dir.path().join("ran");
    rig.drop_guard();
    let ran = rig.run(command(&format!("touch {}", marker.display()))).await;
    assert_eq!(ran.end.kind, EndKind::Failed);
    assert!(ran.end.reason.contains("could not run its process"), "{}", ran.end.reason);
    assert!(!marker.exists());
}

#[tokio::test]
async fn a_command_that_runs_too_long_is_ended_with_all_it_started() {
    let mut rig = Rig::new();
    rig.execution_timeout_secs = Some(0.4);
    let ran = rig.run(command("trap '' TERM; sleep 300 & echo $!; while true; do sleep 0.1; done")).await;
    assert_eq!(ran.end.kind, EndKind::TimedOut);
    assert!(ran.end.reason.contains("execution_timeout of 0.4 s"), "{}", ran.end.reason);
    assert!(is_gone(&ran.lines("out")[0]));
}

#[tokio::test]
async fn what_a_finished_command_left_in_the_background_is_ended() {
    let ran = Rig::new().run(command("sleep 300 >/dev/null 2>&1 & echo $!")).await;
    assert_eq!(ran.end.kind, EndKind::Success);
    assert!(is_gone(&ran.lines("out")[0]));
}

#[tokio::test]
async fn a_directory_in_which_nothing_was_left_is_used_again_and_one_with_anything_in_it_is_not() {
    let rig = Rig::new();
    let look = async |more: &str| {
        let ran = rig.run(command(&format!("stat -c %i .; pwd; ls -A; stat -c %a . *; {more}"))).await;
        assert_eq!(ran.end.kind, EndKind::Success, "{}", ran.text());
        let [inode, path, rest @ ..] = ran.lines("out").try_into().map(|lines: [String; 5]| lines).unwrap();
        assert_eq!(rest, ["command.sh", "700", "600"]);
        (inode, path)
    };
    let first = look("").await;
    let second = look("touch left").await;
    let third = look("ln -s / .hidden").await;
    let fourth = look("chmod 777 .; sleep 300 & :").await;
    let fifth = look("sleep 300 & :").await;
    let sixth = look("").await;
    assert_eq!(first.0, second.0, "the first one left nothing");
    assert_eq!(fifth.0, sixth.0, "what it has started is gone");
    let paths: std::collections::BTreeSet<_> =
        [&first, &second, &third, &fourth, &fifth, &sixth].map(|(_, path)| path).into();
    assert_eq!(paths.len(), 6, "no path comes to mean another attempt's: {paths:?}");
}

#[tokio::test]
async fn a_secret_shows_nowhere_in_the_log() {
    let mut rig = Rig::new();
    rig.leader.variables.insert("api_token".into(), "s3cr3t/value".into());
    let text =
        "echo {{ var.value.api_token }}; echo 's3cr3t%2Fvalue' >&2; printf 's3c'; sleep 0.3; echo 'r3t/value'; exit 5";
    let ran = rig.run(command(text)).await;
    assert_eq!(ran.lines("out"), ["***", "***"]);
    assert!(!ran.text().contains("s3cr3t"), "{}", ran.text());
}

#[tokio::test]
async fn a_param_does_not_become_shell_code() {
    let mut rig = Rig::new();
    let marker = rig.dir.path().join("pwned");
    let name = format!("it's x; touch {} $(touch {})", marker.display(), marker.display());
    rig.params = json!({"name": name});
    let places = "echo {{ params.name }}\necho 'hello {{ params.name }}'\necho \"{{ params.name | quote }}\"";
    let ran = rig.run(command(places)).await;
    let quoted = format!("'{}'", name.replace('\'', "'\\''"));
    assert_eq!(ran.lines("out"), [name.clone(), format!("hello {name}"), quoted]);
    let refused = rig.run(command("true\neval \"echo {{ params.name }}\"")).await;
    assert_eq!(refused.end.kind, EndKind::FailedForGood);
    assert!(refused.end.reason.contains("line 2, column 12: {{ params.name }}"), "{}", refused.end.reason);
    assert!(refused.end.reason.contains("| quote"), "{}", refused.end.reason);
    assert!(!marker.exists());
}

/// A process that is dead but not reaped by whoever inherited it counts as gone.
fn is_gone(process: &str) -> bool {
    match std::fs::read_to_string(format!("/proc/{process}/stat")) {
        Ok(stat) => stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z')),
        Err(_) => true,
    }
}

#[tokio::test]
async fn a_command_says_more_of_its_outlets_by_a_file() {
    let mut rig = Rig::new();
    rig.outlets = vec![serde_json::from_value(json!({"name": "trades", "uri": "s3://b/k"})).unwrap()];
    let say = |line: &str| command(&format!("echo '{line}' >> \"$WINDLASS_OUTLET_EVENTS\""));
    let ran = rig.run(say(r#"{"uri": "s3://b/k", "extra": {"rows": 3}}"#)).await;
    assert_eq!(ran.end.kind, EndKind::Success, "{}", ran.text());
    assert_eq!((ran.end.assets.len(), &ran.end.assets[0].extra["rows"]), (1, &json!(3)));
    let wrong = rig.run(say(r#"{"uri": "s3://b/other"}"#)).await;
    assert_eq!(wrong.end.kind, EndKind::Failed);
    assert!(wrong.end.reason.contains("no outlet \"s3://b/other\"; it has: trades"), "{}", wrong.end.reason);
    let failed = rig.run(command("echo nonsense >> \"$WINDLASS_OUTLET_EVENTS\"; exit 3")).await;
    assert_eq!((failed.end.exit_code, failed.end.assets.len()), (Some(3), 0), "a failure is that failure");
    let none = Rig::new().run(command("test -z \"$WINDLASS_OUTLET_EVENTS\"")).await;
    assert_eq!(none.end.kind, EndKind::Success, "a task without outlets has no such file");
}
