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
async fn an_exit_code_decides_between_failed_and_skipped() {
    let rig = Rig::new();
    let failed = rig.run(command("exit 3")).await.end;
    assert_eq!((failed.kind, failed.exit_code, failed.reason.as_str()), (EndKind::Failed, Some(3), "exit code 3"));
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
    rig.params = json!({"name": format!("x; touch {}", marker.display())});
    let ran = rig.run(command("echo {{ params.name }}")).await;
    assert_eq!(ran.end.kind, EndKind::FailedForGood);
    assert!(ran.end.reason.contains("| quote"), "{}", ran.end.reason);
    let quoted = rig.run(command("echo {{ params.name | quote }}")).await;
    assert_eq!(quoted.lines("out"), [format!("x; touch {}", marker.display())]);
    assert!(!marker.exists());
}

/// A process that is dead but not reaped by whoever inherited it counts as gone.
fn is_gone(process: &str) -> bool {
    match std::fs::read_to_string(format!("/proc/{process}/stat")) {
        Ok(stat) => stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z')),
        Err(_) => true,
    }
}
