//! Logs on their way to where they are kept remotely, over the death of a worker and the absence of the store.
//!
//! The store is a directory. Where `WINDLASS_TEST_S3` names a bucket (`s3://bucket`, reached as the `AWS_` variables say) the
//! same tests run on it as well.

use std::{fs, os::unix::fs::PermissionsExt as _, time::Duration};

use executor::log::remote::{RemoteLogs, S3Access};
use link::{LogArchive as _, LogPlace};
use model::{AttemptId, DagId, EndKind, MapIndex, RunId, TaskId};
use uuid::Uuid;

use super::{leader::Place, lives::shipping_worker_process, processes::until};

/// Logs are shipped so often here.
const OFTEN: Duration = Duration::from_millis(100);
/// Nothing in these tests takes longer unless it is broken.
const PATIENCE: Duration = Duration::from_secs(30);

/// The place of the logs of the attempts that [`super::leader::bash`] makes.
fn place_of(attempt: AttemptId) -> LogPlace {
    LogPlace {
        dag_id: DagId::new("d").unwrap(),
        run_id: RunId::new("r").unwrap(),
        task_id: TaskId::new("t").unwrap(),
        map_index: MapIndex::UNMAPPED,
        try_number: 1,
        attempt,
    }
}

/// What the environment says of S3, for this location.
pub fn remote_logs(location: &str) -> RemoteLogs {
    let text = |name| std::env::var(name).ok();
    let access = S3Access {
        endpoint: text("AWS_ENDPOINT_URL"),
        region: text("AWS_REGION"),
        access_key_id: text("AWS_ACCESS_KEY_ID"),
        secret_access_key: text("AWS_SECRET_ACCESS_KEY"),
    };
    RemoteLogs::open(location, &access).unwrap()
}

/// A remote place of this test's own.
struct Remote {
    location: String,
    logs: RemoteLogs,
}

impl Remote {
    fn at(location: String) -> Self {
        Self { logs: remote_logs(&location), location }
    }

    fn directory(place: &Place) -> Self {
        Self::at(format!("file://{}/remote", place.dir.path().display()))
    }

    /// A bucket, where the environment names one.
    fn bucket() -> Option<Self> {
        let bucket = std::env::var("WINDLASS_TEST_S3").ok().filter(|bucket| !bucket.is_empty());
        if bucket.is_none() {
            println!("skipped: WINDLASS_TEST_S3 names no bucket");
        }
        bucket.map(|bucket| Self::at(format!("{bucket}/{}", Uuid::new_v4())))
    }

    /// What is there of a log, and whether it is all.
    async fn text(&self, attempt: AttemptId) -> (String, bool) {
        let chunk = self.logs.read(&place_of(attempt), 0, u32::MAX).await.unwrap();
        chunk.map(|chunk| (String::from_utf8(chunk.bytes).unwrap(), chunk.ended)).unwrap_or_default()
    }

    async fn until(&self, what: &str, attempt: AttemptId, fits: impl Fn(&str, bool) -> bool) -> String {
        let look = async {
            loop {
                let (text, ended) = self.text(attempt).await;
                if fits(&text, ended) {
                    return text;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, look).await.unwrap_or_else(|_| panic!("never shipped: {what}"))
    }
}

async fn a_log_is_shipped_while_its_attempt_runs(mut place: Place, remote: Remote) {
    let worker = place.worker_with(|settings| {
        settings.logs_remote = Some(remote.logs.clone());
        settings.ship_logs_every = OFTEN;
    });
    let mut leader = place.accept().await;
    let attempt = leader.assign("echo one; until [ -e ../../stop ]; do sleep 0.05; done; echo two").await;
    let text = remote.until("a live line", attempt, |text, _| text.contains("\"one\"")).await;
    assert!(!text.contains("\"two\""), "{text}");
    fs::write(place.dir.path().join("tmp/stop"), "").unwrap();
    assert_eq!(leader.ended(attempt).await.kind, EndKind::Success);
    let text = remote.until("the end", attempt, |_, ended| ended).await;
    let at_worker = executor::log::path(&place.log_dir(), &link::query::LogName::Attempt(attempt));
    assert_eq!(text, fs::read_to_string(at_worker).unwrap());
    until("nothing is left to be shipped", || is_empty(&place)).await;
    worker.stop().await;
}

fn is_empty(place: &Place) -> bool {
    fs::read_dir(place.log_dir().join("shipping")).unwrap().next().is_none()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_is_shipped_while_its_attempt_runs_and_whole_at_its_end() {
    let place = Place::new();
    let remote = Remote::directory(&place);
    a_log_is_shipped_while_its_attempt_runs(place, remote).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_is_shipped_to_a_real_bucket() {
    if let Some(remote) = Remote::bucket() {
        a_log_is_shipped_while_its_attempt_runs(Place::new(), remote).await;
    }
}

async fn the_next_worker_ships_the_rest(mut place: Place, remote: Remote) {
    let mut process = shipping_worker_process(&place, &remote.location);
    let mut leader = place.accept().await;
    let ended = leader.assign("seq 1 5000").await;
    leader.ended(ended).await;
    let cut_off = leader.assign("echo first; sleep 300").await;
    leader.started(cut_off).await;
    let path = executor::log::path(&place.log_dir(), &link::query::LogName::Attempt(cut_off));
    until("a line", || fs::read_to_string(&path).is_ok_and(|text| text.contains("\"first\""))).await;
    process.kill().unwrap();
    process.wait().unwrap();
    drop(leader);
    let mut process = shipping_worker_process(&place, &remote.location);
    let _leader = place.accept().await;
    let text = remote.until("the log that was cut off", cut_off, |_, ended| ended).await;
    assert_eq!(text, fs::read_to_string(&path).unwrap());
    let text = remote.until("the log that had ended", ended, |_, ended| ended).await;
    assert!(text.contains("\"5000\"") && text.lines().count() > 5_000, "{} lines", text.lines().count());
    until("nothing is left to be shipped", || is_empty(&place)).await;
    process.kill().unwrap();
    process.wait().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_worker_had_not_shipped_is_shipped_by_the_next() {
    let place = Place::new();
    let remote = Remote::directory(&place);
    the_next_worker_ships_the_rest(place, remote).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_worker_had_not_shipped_is_shipped_to_a_real_bucket() {
    if let Some(remote) = Remote::bucket() {
        the_next_worker_ships_the_rest(Place::new(), remote).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_away_holds_nothing_back_and_gets_all_when_it_is_there() {
    let mut place = Place::new();
    // A file where the directory should be: nothing can be put below it.
    let blocked = place.dir.path().join("remote");
    fs::write(&blocked, "").unwrap();
    fs::set_permissions(&blocked, fs::Permissions::from_mode(0o600)).unwrap();
    let remote = Remote::directory(&place);
    let worker = place.worker_with(|settings| {
        settings.logs_remote = Some(remote.logs.clone());
        settings.ship_logs_every = OFTEN;
    });
    let mut leader = place.accept().await;
    let mut attempts = Vec::new();
    for _ in 0..3 {
        let attempt = leader.assign("echo done").await;
        assert_eq!(leader.ended(attempt).await.kind, EndKind::Success);
        attempts.push(attempt);
    }
    assert!(!is_empty(&place));
    fs::remove_file(&blocked).unwrap();
    for attempt in attempts {
        let text = remote.until("a log that had to wait", attempt, |_, ended| ended).await;
        assert!(text.contains("\"done\""), "{text}");
    }
    worker.stop().await;
}
