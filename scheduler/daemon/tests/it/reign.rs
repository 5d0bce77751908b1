//! A leadership leaves nothing behind when it ends, and one bad file costs nothing but itself.

use std::{fs, path::Path, process::Command as Process, time::Duration};

use daemon::leader;
use model::DagId;
use sqlx::{Executor, PgPool};
use store::read;

use crate::leader::{lead, lead_with, migrated, number, until};

fn text(name: &str) -> String {
    format!("dag_id: {name}\nschedule: '@daily'\ntasks:\n  - {{task_id: a, operator: empty}}\n")
}

fn write(folder: &Path, file: &str, text: &str) {
    fs::write(folder.join(file), text).unwrap();
}

/// The file of a DAG that is not stale.
async fn file_of(pool: &PgPool, dag: &str) -> Option<String> {
    let view = read::dag(pool, &DagId::new(dag).unwrap()).await.unwrap();
    view.filter(|view| !view.is_stale).map(|view| view.fileloc)
}

async fn errors_of(pool: &PgPool, file: &str) -> Vec<String> {
    let errors = read::import_errors(pool, &[], 100).await.unwrap();
    errors.into_iter().filter(|error| error.file == file).map(|error| error.message).collect()
}

async fn epoch(pool: &PgPool) -> i64 {
    store::cluster::leader_seat(pool).await.unwrap().epoch.get()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_postgresql_refuses_of_one_file_is_the_error_of_that_file() {
    let (url, pool) = migrated().await;
    // Stands for whatever PostgreSQL may refuse: a text that it can not keep, and something that goes away by itself.
    pool.execute(
        "CREATE FUNCTION refuse_some() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN
             IF NEW.dag_id = 'refused' THEN RAISE EXCEPTION 'no such character' USING ERRCODE = '22021'; END IF;
             IF NEW.dag_id = 'unlucky' THEN RAISE EXCEPTION 'could not get it' USING ERRCODE = '40001'; END IF;
             RETURN NEW;
         END $$;
         CREATE TRIGGER refuse_some BEFORE INSERT ON dag_version FOR EACH ROW EXECUTE FUNCTION refuse_some()",
    )
    .await
    .unwrap();
    let folder = tempfile::tempdir().unwrap();
    for name in ["a", "refused", "unlucky", "z"] {
        write(folder.path(), &format!("{name}.yaml"), &text(name));
    }
    let leader = lead(&url, "first", folder.path());
    until("the good files are loaded", async || file_of(&pool, "z").await.is_some()).await;
    until("the bad ones have their errors", async || read::import_errors(&pool, &[], 100).await.unwrap().len() == 2)
        .await;
    assert!(errors_of(&pool, "refused.yaml").await[0].contains("no such character"));
    assert!(errors_of(&pool, "unlucky.yaml").await[0].contains("could not get it"));
    assert!(file_of(&pool, "a").await.is_some() && file_of(&pool, "refused").await.is_none());
    assert_eq!(epoch(&pool).await, 1, "the leadership goes on");

    pool.execute("DROP TRIGGER refuse_some ON dag_version").await.unwrap();
    write(folder.path(), "refused.yaml", &format!("# changed\n{}", text("refused")));
    until("a changed file is tried again", async || file_of(&pool, "refused").await.is_some()).await;
    until("its error goes", async || errors_of(&pool, "refused.yaml").await.is_empty()).await;
    leader.task.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_takeover_with_nothing_changed_writes_nothing_of_the_folder() {
    let (url, pool) = migrated().await;
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "good.yaml", &text("good"));
    write(folder.path(), "bad.yaml", "dag_id: bad\ntasks: 7\n");
    write(folder.path(), "b.yaml", &text("twice"));
    let first = lead(&url, "first", folder.path());
    until("it is loaded", async || file_of(&pool, "twice").await.is_some()).await;
    until("it has an error", async || !errors_of(&pool, "bad.yaml").await.is_empty()).await;
    write(folder.path(), "a.yaml", &text("twice"));
    until("the second file of a DAG has an error", async || !errors_of(&pool, "a.yaml").await.is_empty()).await;
    first.task.abort();
    let rows = "SELECT string_agg(row, '; ' ORDER BY row) FROM (
                    SELECT concat_ws(' ', dag_id, fileloc, last_parsed_at) AS row FROM dag
                    UNION ALL SELECT concat_ws(' ', file, found_at, xmin) FROM import_error
                    UNION ALL SELECT concat_ws(' ', dag_id, xmin) FROM dag_version) AS all_rows";
    let before: String = sqlx::query_scalar(rows).fetch_one(&pool).await.unwrap();
    // What the next one finds new shows that it has looked at the whole folder.
    write(folder.path(), "zz.yaml", &text("new"));
    let second = lead(&url, "second", folder.path());
    until("the next leader looks", async || file_of(&pool, "new").await.is_some()).await;
    assert_eq!(epoch(&pool).await, 2);
    pool.execute("DELETE FROM dag WHERE dag_id = 'new'; DELETE FROM dag_version WHERE dag_id = 'new'").await.unwrap();
    assert_eq!(sqlx::query_scalar::<_, String>(rows).fetch_one(&pool).await.unwrap(), before);
    second.task.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dag_goes_over_to_the_file_that_waits_for_it_and_is_stale_when_none_does() {
    let (url, pool) = migrated().await;
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "a.yaml", &text("twice"));
    let leader = lead(&url, "first", folder.path());
    until("it is loaded", async || file_of(&pool, "twice").await.as_deref() == Some("a.yaml")).await;
    write(folder.path(), "b.yaml", &text("twice"));
    until("the second has an error", async || !errors_of(&pool, "b.yaml").await.is_empty()).await;
    let error = errors_of(&pool, "b.yaml").await.remove(0);
    assert!(error.contains("a.yaml") && error.contains("b.yaml"), "{error}");
    fs::remove_file(folder.path().join("a.yaml")).unwrap();
    until("the second takes over", async || file_of(&pool, "twice").await.as_deref() == Some("b.yaml")).await;
    until("its error goes", async || errors_of(&pool, "b.yaml").await.is_empty()).await;
    fs::remove_file(folder.path().join("b.yaml")).unwrap();
    until("nobody defines it", async || file_of(&pool, "twice").await.is_none()).await;
    leader.task.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_is_away_at_a_takeover_takes_no_dag_away() {
    let (url, pool) = migrated().await;
    let folder = tempfile::tempdir().unwrap();
    let dags = folder.path().join("dags");
    fs::create_dir(&dags).unwrap();
    write(&dags, "a.yaml", &text("a"));
    let first = lead(&url, "first", &dags);
    until("it is loaded", async || file_of(&pool, "a").await.is_some()).await;
    first.task.abort();
    let away = folder.path().join("away");
    fs::rename(&dags, &away).unwrap();
    fs::create_dir(&dags).unwrap();
    let second = lead(&url, "second", &dags);
    // An empty folder is one whose files were deleted; one that is not there is none.
    until("a folder that is empty has no DAG", async || file_of(&pool, "a").await.is_none()).await;
    second.task.abort();
    fs::remove_dir_all(&dags).unwrap();
    fs::rename(&away, &dags).unwrap();
    let third = lead(&url, "third", &dags);
    until("it is back", async || file_of(&pool, "a").await.is_some()).await;
    third.task.abort();
    fs::rename(&dags, &away).unwrap();
    let news = leader::news_channel();
    let fourth = lead_with(&url, "fourth", &dags, away.join(".key").as_path(), news);
    until("it says so", async || !errors_of(&pool, "./").await.is_empty()).await;
    assert_eq!(file_of(&pool, "a").await.as_deref(), Some("a.yaml"));
    fourth.task.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_whose_leader_died_before_its_turn_gets_its_schedule() {
    let (url, pool) = migrated().await;
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "a.yaml", &text("a"));
    let first = lead(&url, "first", folder.path());
    until("it is loaded", async || file_of(&pool, "a").await.is_some()).await;
    let scheduled = "SELECT count(*) FROM dag WHERE next_run_after IS NOT NULL";
    until("it is scheduled", async || number(&pool, scheduled).await == 1).await;
    first.task.abort();
    pool.execute("UPDATE dag SET next_run_after = NULL, next_logical_date = NULL").await.unwrap();
    let second = lead(&url, "second", folder.path());
    until("it is scheduled again", async || number(&pool, scheduled).await == 1).await;
    second.task.abort();
}

/// What this process and PostgreSQL hold for a leader.
#[derive(Debug, PartialEq, Eq)]
struct Held {
    threads: usize,
    files: usize,
    inotify: usize,
    connections: i64,
    listeners: i64,
}

impl Held {
    async fn now(pool: &PgPool) -> Self {
        let named = |name: &str| ["dag-folder", "leader-lease"].contains(&name.trim());
        let threads = fs::read_dir("/proc/self/task").unwrap().flatten();
        let threads = threads.filter_map(|thread| fs::read_to_string(thread.path().join("comm")).ok());
        let links = || fs::read_dir("/proc/self/fd").unwrap().flatten().filter_map(|fd| fs::read_link(fd.path()).ok());
        let ours = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()";
        Self {
            threads: threads.filter(|name| named(name)).count(),
            files: links().count(),
            inotify: links().filter(|to| to.to_string_lossy().contains("inotify")).count(),
            connections: number(pool, ours).await,
            listeners: number(pool, &format!("{ours} AND query LIKE 'LISTEN%'")).await,
        }
    }
}

#[test]
fn fifty_leaderships_leave_nothing_behind() {
    // In a process of its own: other tests have leaders, too.
    let inner = "reign::fifty_leaderships_of_this_process";
    let program = std::env::current_exe().unwrap();
    let ended = Process::new(program).args(["--exact", inner, "--ignored", "--nocapture"]).output().unwrap();
    let said = String::from_utf8_lossy(&ended.stdout);
    assert!(ended.status.success() && said.contains("1 passed"), "{said}{}", String::from_utf8_lossy(&ended.stderr));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "counts what the whole process holds: fifty_leaderships_leave_nothing_behind runs it alone"]
async fn fifty_leaderships_of_this_process() {
    let (url, pool) = migrated().await;
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "a.yaml", &text("a"));
    write(folder.path(), "bad.yaml", "dag_id: bad\ntasks: 7\n");
    let news = leader::news_channel();
    let leader = lead_with(&url, "one", folder.path(), &folder.path().join(".key"), news);
    until("it is loaded", async || file_of(&pool, "a").await.is_some()).await;
    let settled = Duration::from_secs(2);
    tokio::time::sleep(settled).await;
    let after_the_first = Held::now(&pool).await;
    assert_eq!((after_the_first.threads, after_the_first.inotify), (2, 1), "{after_the_first:?}");
    for number in 1..50 {
        // As if another process had led for a moment: the lease notices within a second.
        sqlx::query("UPDATE leader SET epoch = epoch + 1").execute(&pool).await.unwrap();
        until("it leads again", async || epoch(&pool).await == 2 * number + 1).await;
    }
    until("nothing is left of the others", async || {
        let now = Held::now(&pool).await;
        now.threads <= after_the_first.threads
            && now.inotify <= after_the_first.inotify
            && now.files <= after_the_first.files
            && now.connections <= after_the_first.connections
            && now.listeners <= after_the_first.listeners
    })
    .await;
    assert_eq!(number(&pool, "SELECT count(*) FROM dag WHERE is_stale").await, 0);
    assert!(!leader.task.is_finished());
    leader.task.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn housekeeping_that_fails_ends_no_leadership() {
    let (url, pool) = migrated().await;
    // A sequence keeps what a transaction that is taken back has counted.
    pool.execute(
        "CREATE SEQUENCE tried;
         CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN PERFORM nextval('tried'); RAISE EXCEPTION 'no' USING ERRCODE = '53100'; END $$;
         CREATE TRIGGER refuse BEFORE DELETE ON dropped_run FOR EACH ROW EXECUTE FUNCTION refuse();
         INSERT INTO dropped_run VALUES (1)",
    )
    .await
    .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let leader = lead(&url, "first", folder.path());
    until("it was tried", async || number(&pool, "SELECT count(*) FROM tried WHERE is_called").await == 1).await;
    write(folder.path(), "a.yaml", &text("a"));
    until("the leader works on", async || file_of(&pool, "a").await.is_some()).await;
    assert_eq!(epoch(&pool).await, 1);
    leader.task.abort();
}
