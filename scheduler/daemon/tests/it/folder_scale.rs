//! A DAG folder of ten thousand files: how long a cold start, a takeover and one changed file take. Ignored: it takes
//! minutes, and says something on a machine that does nothing else.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    time::{Duration, Instant},
};

use daemon::folder::Folder;
use link::{FromWorker, ToWorker, transport::Connector as _};
use model::{
    Command, DagId, TriggeredBy,
    command::{Paused, TriggerDagRun},
};
use sqlx::PgPool;
use store::Hints;
use uuid::Uuid;

use crate::leader::{done, hello, lead, migrated, next_assignment, receive};

const FILES: usize = 10_000;
const TASKS: usize = 10;
/// Far more than any step may take.
const AT_LATEST: Duration = Duration::from_secs(900);

fn write(folder: &Path, number: usize, command: &str) {
    let tasks: String = (0..TASKS)
        .map(|task| {
            let after = task.checked_sub(1).map_or_else(String::new, |before| format!(", dependencies: [t{before}]"));
            format!("  - {{task_id: t{task}, operator: bash, bash_command: '{command}'{after}}}\n")
        })
        .collect();
    let text = format!("dag_id: dag_{number:05}\nschedule: '0 {} * * *'\ntasks:\n{tasks}", number % 24);
    fs::write(folder.join(format!("dag_{number:05}.yaml")), text).unwrap();
}

async fn until(pool: &PgPool, count: &str, wanted: usize) -> Duration {
    let began = Instant::now();
    loop {
        let found: i64 = sqlx::query_scalar(count).fetch_one(pool).await.unwrap();
        if usize::try_from(found).unwrap() >= wanted {
            return began.elapsed();
        }
        assert!(began.elapsed() < AT_LATEST, "{count}: {found} of {wanted}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn beat() -> FromWorker {
    FromWorker::Beat { services: Vec::new(), started: Vec::new(), leaving: false }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes: cargo test -p windlass-daemon --test it -- --ignored --nocapture ten_thousand"]
async fn a_folder_of_ten_thousand_files() {
    let folder = tempfile::tempdir().unwrap();
    (0..FILES).for_each(|number| write(folder.path(), number, "true"));
    let (url, pool) = migrated().await;
    let hints = Hints::listen(&pool).await.unwrap();

    let began = Instant::now();
    assert_eq!(Folder::new(folder.path()).look().changed.len(), FILES);
    let reading = began.elapsed();
    println!("reading and compiling {FILES} files of {TASKS} tasks: {reading:?}");

    let first = lead(&url, "first", folder.path());
    let scheduled = "SELECT count(*) FROM dag WHERE next_run_after IS NOT NULL";
    println!("cold start to all schedulable: {:?}", until(&pool, scheduled, FILES).await);

    tokio::time::sleep(Duration::from_secs(2)).await;
    let versions = "SELECT count(*) FROM dag_version";
    write(folder.path(), 5_000, "echo changed");
    println!("one changed file: {:?}", until(&pool, versions, FILES + 1).await);

    let dag = DagId::new("dag_00000").unwrap();
    let identity = Uuid::new_v4();
    let mut worker = first.connector.connect().await.unwrap();
    worker.send(hello(identity, BTreeSet::new())).await.unwrap();
    done(&pool, &hints, Command::PauseDag { dag_id: dag.clone(), to: Paused::Active }).await;
    done(&pool, &hints, Command::TriggerDagRun(TriggerDagRun::by_hand(dag, TriggeredBy::Test))).await;
    let attempt = next_assignment(&mut worker).await;
    first.task.abort();
    drop(worker);
    fs::write(folder.path().join("zz.yaml"), "dag_id: zz\nschedule: null\ntasks: [{task_id: a, operator: empty}]\n")
        .unwrap();

    let began = Instant::now();
    let second = lead(&url, "second", folder.path());
    let mut worker = second.connector.connect().await.unwrap();
    worker.send(hello(identity, BTreeSet::from([attempt]))).await.unwrap();
    let mut beats = tokio::time::interval(Duration::from_secs(1));
    let welcomed = loop {
        tokio::select! {
            _ = beats.tick() => worker.send(beat()).await.unwrap(),
            message = receive(&mut worker) => if let ToWorker::Welcome { live, .. } = message {
                assert_eq!(live, BTreeSet::from([attempt]));
                break began.elapsed();
            },
        }
    };
    let looked = until(&pool, "SELECT count(*) FROM dag WHERE dag_id = 'zz'", 1);
    tokio::pin!(looked);
    // As a worker does, it beats meanwhile.
    let (mut heard, mut silence) = (Instant::now(), Duration::ZERO);
    loop {
        tokio::select! {
            _ = &mut looked => break,
            _ = beats.tick() => worker.send(beat()).await.unwrap(),
            message = receive(&mut worker) => {
                assert!(!matches!(message, ToWorker::Kill { .. }), "{message:?}");
                silence = silence.max(heard.elapsed());
                heard = Instant::now();
            }
        }
    }
    let whole = began.elapsed();
    println!(
        "takeover with nothing changed: the worker is welcome after {welcomed:?}, the folder is compared after {whole:?}, \
         {:?} beyond reading it; the longest silence {silence:?}",
        whole.saturating_sub(reading)
    );
    second.task.abort();
}
