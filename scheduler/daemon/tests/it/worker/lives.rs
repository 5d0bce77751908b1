//! Attempts over the deaths of leaders, workers and guards.

use std::{
    collections::BTreeSet,
    process::{Child, Command, Stdio},
    time::Duration,
};

use link::{FromWorker, ToWorker, query::LogName};
use model::{EndKind, Epoch};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio_util::sync::CancellationToken;
use windlass_daemon::{guard, worker};

use super::{
    leader::{Acks, Place, connector, settings},
    processes::{number_in, runs, until},
};

/// Tells the test program to be a worker in this directory.
const WORKER_DIR: &str = "WINDLASS_TEST_WORKER_DIR";
/// How long its guard waits for a leader.
const SILENCE_SECS: &str = "WINDLASS_TEST_SILENCE_SECS";
/// Where it ships its logs to.
const LOGS_REMOTE: &str = "WINDLASS_TEST_LOGS_REMOTE";

/// Not a test: the guard of the workers in these tests, which start this program with its name.
#[test]
#[allow(
    clippy::disallowed_methods,
    reason = "the guard's standard output is closed by now; the test harness must not write to it"
)]
fn guard_program() {
    let args: Vec<_> = std::env::args_os().skip_while(|arg| arg != "--").skip(1).collect();
    if !args.is_empty() {
        guard::main(args);
        std::process::exit(0);
    }
}

/// Not a test: the launchers of the workers in these tests, which start this program with its name.
#[test]
#[allow(
    clippy::disallowed_methods,
    reason = "a launcher's standard output is nobody's; the test harness must not go on with other tests"
)]
fn launcher_program() {
    if std::env::var_os(executor::process::LAUNCHER).is_some() {
        executor::process::launcher_main();
        std::process::exit(0);
    }
}

/// Not a test: a worker in a process of its own, for those tests that kill it.
#[tokio::test]
async fn worker_program() {
    if let Some(dir) = std::env::var_os(WORKER_DIR) {
        let dir = std::path::PathBuf::from(dir);
        worker::run(settings_of(&dir), connector(&dir), CancellationToken::new()).await.unwrap();
    }
}

/// The settings of a worker in a process of its own, whose guard may be less patient than usual.
fn settings_of(dir: &std::path::Path) -> worker::WorkerSettings {
    let mut settings = settings(dir);
    let secs = std::env::var(SILENCE_SECS).ok().and_then(|secs| secs.parse().ok());
    settings.silence_max = secs.map_or(settings.silence_max, Duration::from_secs);
    settings.logs_remote = std::env::var(LOGS_REMOTE).ok().map(|location| super::shipping::remote_logs(&location));
    settings
}

/// A worker that can be killed.
pub fn worker_process(place: &Place) -> Child {
    worker_process_in(place.dir.path())
}

/// The same of a leader whose endpoint lies in this directory.
pub fn worker_process_in(dir: &std::path::Path) -> Child {
    worker_command(dir).spawn().unwrap()
}

/// The same with a guard that gives up on a silent leader after so many seconds.
pub fn impatient_worker_process(place: &Place, silence_secs: u32) -> Child {
    worker_command(place.dir.path()).env(SILENCE_SECS, silence_secs.to_string()).spawn().unwrap()
}

/// The same with logs that are shipped.
pub fn shipping_worker_process(place: &Place, location: &str) -> Child {
    worker_command(place.dir.path()).env(LOGS_REMOTE, location).spawn().unwrap()
}

fn worker_command(dir: &std::path::Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "worker::lives::worker_program", "--nocapture"]);
    command.env(WORKER_DIR, dir).stdout(Stdio::null());
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_runs_and_its_log_can_be_read_while_and_after_it_runs() {
    let mut place = Place::new();
    let worker = place.worker();
    let mut leader = place.accept().await;
    let attempt = leader.assign("echo one; until [ -e ../../stop ]; do sleep 0.05; done; echo two").await;
    leader.started(attempt).await;
    let log = LogName::Attempt(attempt);
    let path = executor::log::path(&place.log_dir(), &log);
    until("a live line", || std::fs::read_to_string(&path).is_ok_and(|text| text.contains("\"one\""))).await;
    std::fs::write(place.dir.path().join("tmp/stop"), "").unwrap();
    let end = leader.ended(attempt).await;
    assert_eq!((end.kind, end.xcoms[0].value.as_str()), (EndKind::Success, Some("two")), "{end:?}");
    let text = leader.log(log).await;
    assert!(text.contains("\"one\"") && text.contains("\"two\"") && text.contains("Ended: success"), "{text}");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killing_an_attempt_ends_its_processes_and_one_that_is_not_there_counts_as_lost() {
    let mut place = Place::new();
    let worker = place.worker();
    let mut leader = place.accept().await;
    let file = place.dir.path().join("pid");
    let attempt = leader.assign(&format!("sleep 300 & echo $! > {}; wait", file.display())).await;
    let process = number_in(&file).await;
    leader.send(ToWorker::Kill { attempt, reason: "cleared by somebody".into() }).await;
    let end = leader.ended(attempt).await;
    assert_eq!((end.kind, end.reason.as_str()), (EndKind::Killed, "cleared by somebody"));
    assert!(!runs(process));
    leader.send(ToWorker::Kill { attempt, reason: "again".into() }).await;
    leader.until("a beat", |message| matches!(message, FromWorker::Beat { .. }).then_some(())).await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn attempts_outlive_their_leader_and_reports_are_sent_until_they_are_acknowledged() {
    let mut place = Place::new();
    let worker = place.worker();
    let mut leader = place.accept().await;
    leader.acks(Acks::Withheld);
    let ended = leader.assign("echo x").await;
    let file = place.dir.path().join("go");
    let running = leader.assign(&format!("until [ -e {} ]; do sleep 0.05; done; echo y", file.display())).await;
    leader.ended(ended).await;
    leader.started(running).await;
    drop(leader);
    let mut leader = place.accept().await;
    assert_eq!(leader.hello.attempts, BTreeSet::from([ended, running]));
    leader.ended(ended).await;
    std::fs::write(file, "").unwrap();
    assert_eq!(leader.ended(running).await.kind, EndKind::Success);
    drop(leader);
    let mut leader = place.accept().await;
    leader.until("a beat", |message| matches!(message, FromWorker::Beat { .. }).then_some(())).await;
    drop(leader);
    assert_eq!(place.accept().await.hello.attempts, BTreeSet::new());
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_does_not_count_an_attempt_has_it_killed_and_a_deposed_one_is_not_heeded() {
    let mut place = Place::new();
    let worker = place.worker();
    let mut leader = place.accept_with(Epoch(5), |_| BTreeSet::new()).await;
    let attempt = leader.assign("sleep 300").await;
    leader.started(attempt).await;
    drop(leader);
    drop(place.accept_with(Epoch(4), |_| BTreeSet::new()).await);
    let mut leader = place.accept_with(Epoch(6), |_| BTreeSet::new()).await;
    assert_eq!(leader.hello.attempts, BTreeSet::from([attempt]), "the deposed leader's Welcome had an effect");
    assert_eq!(leader.ended(attempt).await.kind, EndKind::Lost);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_outlives_a_worker_that_is_killed_and_the_next_one_knows_what_was_reported() {
    let mut place = Place::new();
    let mut process = worker_process(&place);
    let mut leader = place.accept().await;
    let (id, incarnation) = (leader.hello.worker, leader.hello.incarnation);
    leader.acks(Acks::Withheld);
    let done = leader.assign("echo done").await;
    leader.ended(done).await;
    let files: Vec<_> = ["group", "escaped", "service"].iter().map(|name| place.dir.path().join(name)).collect();
    let show = |at: usize| files[at].display().to_string();
    leader
        .assign(&format!("echo $$ > {}; setsid bash -c 'echo $$ > {}; sleep 300' & sleep 300", show(0), show(1)))
        .await;
    leader.start_service(&format!("echo $$ > {}; sleep 300", show(2))).await;
    let mut processes = Vec::new();
    for file in &files {
        processes.push(number_in(file).await);
    }
    assert!(processes.iter().all(|process| runs(*process)));
    process.kill().unwrap();
    process.wait().unwrap();
    until("no process is left", || processes.iter().all(|process| !runs(*process))).await;
    drop(leader);
    place.listen_anew();
    let mut process = worker_process(&place);
    let mut leader = place.accept().await;
    assert_eq!(leader.hello.worker, id);
    assert_ne!(leader.hello.incarnation, incarnation);
    assert_eq!(leader.hello.attempts, BTreeSet::from([done]));
    assert_eq!(leader.ended(done).await.kind, EndKind::Success);
    process.kill().unwrap();
    process.wait().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_a_new_session_nor_an_empty_environment_leads_out_of_a_worker_that_is_killed() {
    let mut place = Place::new();
    let mut process = worker_process(&place);
    let leader = place.accept().await;
    let files = ["attempt", "service"].map(|name| place.dir.path().join(name));
    let [in_attempt, in_service] = files.each_ref().map(|file| {
        // Two forks away from its group, with no variable and no pipe: nothing of it is the worker's but its ancestors.
        let show = file.display();
        format!("(setsid env -i sh -c '(sleep 300 & echo $! > {show})' </dev/null >/dev/null 2>&1 &); sleep 300")
    });
    leader.assign(&in_attempt).await;
    leader.start_service(&in_service).await;
    let escaped = [number_in(&files[0]).await, number_in(&files[1]).await];
    let worker = leader.hello.worker;
    let launchers = || executor::process::tree::carriers(&[&format!("{}={worker}", executor::process::LAUNCHER)]);
    assert_eq!(launchers().len(), 2);
    process.kill().unwrap();
    process.wait().unwrap();
    until("no process is left", || escaped.iter().all(|process| !runs(*process)) && launchers().is_empty()).await;
    drop(leader);
    let mut process = worker_process(&place);
    // It is welcomed when the old guard is done, and control groups are removed before that.
    let leader = place.accept().await;
    assert_eq!(leader.hello.worker, worker);
    let own = executor::process::Cgroups::open(uuid::Uuid::new_v4(), Default::default());
    match own {
        Ok(mine) => {
            let left = std::fs::read_dir(mine.dir().parent().unwrap()).unwrap().flatten();
            let of_worker = left.filter(|one| one.file_name().to_string_lossy().contains(&worker.to_string()));
            let groups = of_worker.map(|one| std::fs::read_dir(one.path()).unwrap().flatten());
            let groups = groups.flatten().filter(|one| one.path().is_dir()).count();
            assert!(executor::process::clear_cgroups(mine.dir()));
            assert_eq!(groups, 0, "the new worker has started nothing yet");
        }
        Err(error) => println!("skipped the look for control groups that are left: {error}"),
    }
    process.kill().unwrap();
    process.wait().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_leader_costs_attempts_their_lives_and_services_nothing() {
    let mut place = Place::new();
    let worker = place.worker_with(|settings| settings.silence_max = Duration::from_secs(2));
    let mut leader = place.accept().await;
    let files = ["attempt", "service"].map(|name| place.dir.path().join(name));
    let attempt = leader.assign(&format!("trap '' TERM; echo $$ > {}; sleep 300", files[0].display())).await;
    leader.start_service(&format!("echo $$ > {}; sleep 300", files[1].display())).await;
    let (in_attempt, in_service) = (number_in(&files[0]).await, number_in(&files[1]).await);
    leader.started(attempt).await;
    drop(leader);
    until("the attempt is killed", || !runs(in_attempt)).await;
    assert!(runs(in_service));
    let mut leader = place.accept().await;
    assert_eq!(leader.ended(attempt).await.kind, EndKind::Lost);
    worker.stop().await;
    assert!(!runs(in_service));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guard_that_dies_is_replaced_and_the_new_one_knows_every_group() {
    let mut place = Place::new();
    let mut process = worker_process(&place);
    let mut leader = place.accept().await;
    let file = place.dir.path().join("pid");
    leader.assign(&format!("exec env -i bash -c 'echo $$ > {}; sleep 300'", file.display())).await;
    let attempt = number_in(&file).await;
    let worker = i32::try_from(process.id()).unwrap();
    let old = guard_of(worker).expect("the worker has a guard");
    kill(Pid::from_raw(old), Signal::SIGKILL).unwrap();
    until("another guard", || guard_of(worker).is_some_and(|guard| guard != old)).await;
    // The new guard hears of the groups right after it has started; an attempt's end shows that the worker is past that.
    let probe = leader.assign("echo x").await;
    leader.ended(probe).await;
    process.kill().unwrap();
    process.wait().unwrap();
    until("the group is gone, though its processes hide their environment", || !runs(attempt)).await;
}

/// The living child of a worker that is its guard.
fn guard_of(worker: i32) -> Option<i32> {
    let children =
        std::fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let is_guard = |process: &i32| {
        let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
        let parent = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(1)?.parse::<i32>().ok());
        let command = std::fs::read_to_string(format!("/proc/{process}/cmdline")).unwrap_or_default();
        parent == Some(worker) && command.contains("guard_program") && runs(*process)
    };
    children.into_iter().find(is_guard)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_asked_to_end_reports_its_attempts_as_lost() {
    let mut place = Place::new();
    let worker = place.worker();
    let mut leader = place.accept().await;
    let attempt = leader.assign("sleep 300").await;
    leader.started(attempt).await;
    worker.shutdown.cancel();
    let end = leader.ended(attempt).await;
    assert_eq!((end.kind, end.reason.as_str()), (EndKind::Lost, "its worker is shutting down"));
    let listening = tokio::spawn(async move { leader.until("nothing more", |_| None::<()>).await });
    worker.stop().await;
    listening.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn slots_bound_how_many_attempts_run_at_once() {
    let mut place = Place::new();
    let worker = place.worker_with(|settings| settings.slots = 1);
    let mut leader = place.accept().await;
    let dir = place.dir.path().display().to_string();
    let first = leader.assign(&format!("until [ -e {dir}/go ]; do sleep 0.05; done; ls {dir}")).await;
    let second = leader.assign(&format!("touch {dir}/second")).await;
    leader.started(first).await;
    std::fs::write(place.dir.path().join("go"), "").unwrap();
    leader.ended(first).await;
    leader.ended(second).await;
    let text = leader.log(LogName::Attempt(first)).await;
    assert!(!text.contains("\"second\""), "{text}");
    worker.stop().await;
}
