//! Revisions of bundles: whole or not there, one in force, files stored once, old ones cleaned.

use chrono::TimeDelta;
use dag::{Content, content::Entry};
use model::{BundleFile, BundleName};
use serde_json::json;
use sqlx::Executor as _;
use store::{
    BundledDag, FileBatch, StoreError,
    audit::Actor,
    bundles::{self, Authorship, InForce, NewRevision},
    maintenance::{self, Swept},
    read::{self, Window},
    retention::{Cleaner, Retention},
};

use crate::support::{Database, compile};

fn name(text: &str) -> BundleName {
    BundleName::new(text).unwrap()
}

fn content(files: &[(&str, &str)]) -> Content {
    let mut content = Content::default();
    files.iter().for_each(|(name, text)| content.add(name, text.as_bytes()).unwrap());
    content
}

async fn deploy(database: &Database, bundle: &str, content: &Content) -> Result<InForce, StoreError> {
    let authorship = Authorship { author: None, message: Some("why\0not".to_owned()), at: None };
    let bundle = name(bundle);
    let new = NewRevision { bundle: &bundle, revision: &content.hash(), authorship: &authorship, content };
    bundles::deploy(&database.pool, Actor::at_the_command_line("ann"), &new).await
}

fn reason(refused: Result<InForce, StoreError>) -> String {
    match refused.unwrap_err() {
        StoreError::Refused { reason } => reason,
        other => panic!("{other:?}"),
    }
}

const ALL: Window = Window { limit: 1_000, offset: 0 };

#[tokio::test]
async fn a_revision_comes_into_force_with_its_files_which_are_stored_once() {
    let database = Database::create().await;
    let first = content(&[("a.yaml", "one"), ("sql/q.sql", "SELECT 1")]);
    let second = content(&[("a.yaml", "two"), ("sql/q.sql", "SELECT 1"), ("sql/same.sql", "SELECT 1")]);
    assert!(deploy(&database, "team", &first).await.unwrap().has_changed);
    let done = deploy(&database, "team", &second).await.unwrap();
    assert_eq!(done, InForce { revision: second.hash(), has_changed: true });
    assert!(!deploy(&database, "team", &second).await.unwrap().has_changed, "the same again is no change");
    assert_eq!(database.count("blob").await, 3, "a file of two revisions and two names is one row");

    let heads = bundles::heads(&database.pool).await.unwrap();
    let (id, revision) = heads[0].current.clone().unwrap();
    assert_eq!((heads.len(), &revision), (1, &second.hash()));
    assert_eq!(bundles::content(&database.pool, id).await.unwrap().unwrap(), second);

    let (revisions, total) = read::revisions(&database.pool, &name("team"), ALL).await.unwrap();
    let shown: Vec<_> = revisions.iter().map(|one| (one.revision.as_str(), one.is_current, one.files)).collect();
    let (newest, oldest) = (second.hash(), first.hash());
    assert_eq!((total, shown), (2, vec![(newest.as_str(), true, 3), (oldest.as_str(), false, 2)]));
    assert_eq!((revisions[0].made_by.as_str(), revisions[0].door.as_deref()), ("ann", Some("cli")));
    assert_eq!(database.count("audit_log WHERE action = 'deploy_bundle' AND who = 'ann' AND door = 'cli'").await, 2);
}

#[tokio::test]
async fn a_revision_that_is_refused_or_cut_off_leaves_nothing() {
    let database = Database::create().await;
    let before = content(&[("a.yaml", "one")]);
    deploy(&database, "team", &before).await.unwrap();
    // As a process that is killed before its commit leaves it: the last thing that is written fails.
    let refuse = "ALTER TABLE audit_log ADD CONSTRAINT never CHECK (action <> 'deploy_bundle') NOT VALID";
    database.pool.execute(refuse).await.unwrap();
    deploy(&database, "team", &content(&[("a.yaml", "two"), ("b.yaml", "new")])).await.unwrap_err();
    deploy(&database, "other", &content(&[("b.yaml", "new")])).await.unwrap_err();
    let heads = bundles::heads(&database.pool).await.unwrap();
    assert_eq!((heads.len(), &heads[0].current.as_ref().unwrap().1), (1, &before.hash()));
    assert_eq!((database.count("bundle_revision").await, database.count("bundle_file").await), (1, 1));
    assert_eq!(database.count("blob").await, 1);
}

#[tokio::test]
async fn names_that_mean_something_else_are_refused() {
    let database = Database::create().await;
    let mut leader = database.leader().await;
    let epoch = leader.epoch();
    let files = content(&[("a.yaml", "one")]);
    assert!(reason(deploy(&database, "dags-folder", &files).await).contains("DAG folder"));
    bundles::configure(&database.pool, epoch, &[(name("fetched"), json!({"repo_url": "file:///x"}))]).await.unwrap();
    assert!(reason(deploy(&database, "fetched", &files).await).contains("comes from git"));
    deploy(&database, "team", &files).await.unwrap();
    // Who has pushed a bundle keeps its name, and the leader hears that the settings want it, too.
    let wanted = [(name("team"), json!({})), (name("second"), json!({}))];
    let taken = bundles::configure(&database.pool, epoch, &wanted).await.unwrap();
    assert_eq!(taken, [name("team")]);
    let heads = bundles::heads(&database.pool).await.unwrap();
    let active: Vec<_> = heads.iter().map(|head| (head.name.as_str(), head.is_active)).collect();
    assert_eq!(active, [("fetched", false), ("second", true), ("team", true)]);
    for number in 0..100 {
        let sql = format!("INSERT INTO bundle (name, kind) VALUES ('b{number}', 'pushed')");
        leader.writer.connection().execute(sql.as_str()).await.unwrap();
    }
    assert!(reason(deploy(&database, "one_more", &files).await).contains("100 bundles"));
}

#[tokio::test]
async fn a_deposed_leader_brings_no_commit_into_force() {
    let database = Database::create().await;
    let old = database.leader().await;
    let new = crate::support::Leader::take_over(&database.url, "second").await;
    let wanted = [(name("repo"), json!({}))];
    let refused = bundles::configure(&database.pool, old.epoch(), &wanted).await.unwrap_err();
    assert!(matches!(refused, StoreError::Deposed), "{refused:?}");
    bundles::configure(&database.pool, new.epoch(), &wanted).await.unwrap();
    let files = content(&[("a.yaml", "one")]);
    let (bundle, authorship) = (name("repo"), Authorship::default());
    let commit = NewRevision { bundle: &bundle, revision: "0123456789", authorship: &authorship, content: &files };
    let refused = bundles::fetched(&database.pool, old.epoch(), &commit).await.unwrap_err();
    assert!(matches!(refused, StoreError::Deposed), "{refused:?}");
    let refused = bundles::polled(&database.pool, old.epoch(), &bundle, None).await.unwrap_err();
    assert!(matches!(refused, StoreError::Deposed), "{refused:?}");
    assert_eq!(database.count("bundle_revision").await, 0);
    assert!(bundles::fetched(&database.pool, new.epoch(), &commit).await.unwrap().has_changed);
}

#[tokio::test]
async fn a_rollback_of_git_holds_until_another_commit_comes() {
    let database = Database::create().await;
    let leader = database.leader().await;
    let bundle = name("repo");
    bundles::configure(&database.pool, leader.epoch(), &[(bundle.clone(), json!({}))]).await.unwrap();
    let authorship = Authorship::default();
    let fetch = async |revision: &str| {
        let files = content(&[("a.yaml", revision)]);
        let new = NewRevision { bundle: &bundle, revision, authorship: &authorship, content: &files };
        bundles::fetched(&database.pool, leader.epoch(), &new).await.unwrap();
    };
    for revision in ["aaaaaaaa1", "bbbbbbbb2", "cccccccc3"] {
        fetch(revision).await;
    }
    let back = async |to: &str| bundles::rollback(&database.pool, Actor::from("ann"), &bundle, to).await;
    let stands = async || {
        let head = bundles::heads(&database.pool).await.unwrap().remove(0);
        (head.current.unwrap().1, head.passed_over)
    };
    assert_eq!(back("bbbbbbbb").await.unwrap().revision, "bbbbbbbb2");
    assert_eq!(stands().await, ("bbbbbbbb2".to_owned(), Some("cccccccc3".to_owned())));
    back("aaaaaaaa1").await.unwrap();
    assert_eq!(
        stands().await,
        ("aaaaaaaa1".to_owned(), Some("cccccccc3".to_owned())),
        "the branch stands where it stood"
    );
    back("cccccccc3").await.unwrap();
    assert_eq!(stands().await, ("cccccccc3".to_owned(), None));
    back("aaaaaaaa1").await.unwrap();
    fetch("dddddddd4").await;
    assert_eq!(stands().await, ("dddddddd4".to_owned(), None));
    assert_eq!(database.count("audit_log WHERE action = 'rollback_bundle'").await, 4);
    assert!(reason(back("eeeeeeee").await).contains("no revision eeeeeeee"));
    assert!(reason(back("aaa").await).contains("first 6 characters"));
    fetch("aaaaaaaa5").await;
    assert!(reason(back("aaaaaaaa").await).contains("several revisions"));
}

#[tokio::test]
async fn polls_are_noted_and_asked_for() {
    let database = Database::create().await;
    let leader = database.leader().await;
    let (bundle, epoch) = (name("repo"), leader.epoch());
    assert!(!bundles::ask_poll(&database.pool, &bundle).await.unwrap());
    bundles::configure(&database.pool, epoch, &[(bundle.clone(), json!({}))]).await.unwrap();
    bundles::polled(&database.pool, epoch, &bundle, Some("no route\0to host")).await.unwrap();
    bundles::polled(&database.pool, epoch, &bundle, Some("no route")).await.unwrap();
    let poll = async || bundles::heads(&database.pool).await.unwrap().remove(0).poll;
    let failed = poll().await;
    assert_eq!((failed.failures, failed.error.as_deref()), (2, Some("no route")));
    assert!(failed.at.is_some() && failed.asked_at.is_none());
    assert!(bundles::ask_poll(&database.pool, &bundle).await.unwrap());
    bundles::polled(&database.pool, epoch, &bundle, None).await.unwrap();
    let well = poll().await;
    assert_eq!((well.failures, well.error), (0, None));
    assert!(well.asked_at < well.at);
}

#[tokio::test]
async fn what_could_not_be_taken_stays_known_by_its_reason() {
    let database = Database::create().await;
    let mut files = content(&[("a.yaml", "one")]);
    files.note("huge.bin", 9 << 20, "it is too large").unwrap();
    deploy(&database, "team", &files).await.unwrap();
    let (id, _) = bundles::heads(&database.pool).await.unwrap().remove(0).current.unwrap();
    let stored = bundles::content(&database.pool, id).await.unwrap().unwrap();
    assert_eq!(stored.get("huge.bin"), Some(&Entry::Problem { bytes: 9 << 20, why: "it is too large".to_owned() }));
    // An empty revision is one, too.
    deploy(&database, "team", &Content::default()).await.unwrap();
    let (id, _) = bundles::heads(&database.pool).await.unwrap().remove(0).current.unwrap();
    assert!(bundles::content(&database.pool, id).await.unwrap().unwrap().is_empty());
    database.pool.execute("DELETE FROM bundle").await.unwrap();
    assert_eq!(bundles::content(&database.pool, id).await.unwrap(), None);
}

#[tokio::test]
async fn old_revisions_and_their_files_go_and_what_a_version_needs_stays() {
    let database = Database::create().await;
    let mut leader = database.leader().await;
    let epoch = leader.epoch();
    let compiled = compile("etl", &["a"]);
    let dag_file = String::from_utf8(compiled.source.bytes.to_vec()).unwrap();
    deploy(&database, "team", &content(&[("test.yaml", &dag_file), ("gone.sql", "SELECT 0")])).await.unwrap();
    let batch = FileBatch {
        dags: vec![BundledDag { compiled: &compiled, bundle: "team", revision: Some("first") }],
        errors: Vec::new(),
    };
    store::store_files(&mut leader.writer, epoch, &batch).await.unwrap();
    for number in 0..24 {
        deploy(&database, "team", &content(&[("a.sql", &number.to_string())])).await.unwrap();
    }
    let first = content(&[("a.sql", "0")]);
    bundles::rollback(&database.pool, Actor::from("ann"), &name("team"), &first.hash()).await.unwrap();
    maintenance::sweep(&mut leader.writer, epoch).await.unwrap();
    assert_eq!(database.count("bundle_revision").await, 25, "they are young");
    database.pool.execute("UPDATE bundle_revision SET made_at = now() - interval '31 days'").await.unwrap();
    let dropped = maintenance::sweep(&mut leader.writer, epoch).await.unwrap();
    // The newest 20 stay, and the one in force.
    assert_eq!((dropped, database.count("bundle_revision").await), (4, 21));
    assert_eq!(maintenance::sweep(&mut leader.writer, epoch).await.unwrap(), 0);

    let mut cleaner = Cleaner::new(Retention::default());
    cleaner.files_may_be_unused();
    let now = chrono::Utc::now() + TimeDelta::zero();
    // Nothing goes while somebody stores a revision.
    let mut deploying = database.pool.begin().await.unwrap();
    deploying.execute("SELECT pg_advisory_xact_lock_shared(108256502770789)").await.unwrap();
    let blobs = database.count("blob").await;
    let step = cleaner.step(&mut leader.writer, epoch, now).await.unwrap();
    assert_eq!((step.left, database.count("blob").await), (Swept::Some, blobs));
    deploying.rollback().await.unwrap();
    while cleaner.step(&mut leader.writer, epoch, now).await.unwrap().left == Swept::Some {}
    // 20 and the one in force, and the file of the version.
    assert_eq!(database.count("blob").await, 22);
    let source = &compiled.source.sha256;
    assert!(store::blob(&database.pool, source).await.unwrap().is_some(), "the version's file stays");
}

#[tokio::test]
async fn too_many_revisions_go_however_young_they_are() {
    let database = Database::create().await;
    let mut leader = database.leader().await;
    let epoch = leader.epoch();
    deploy(&database, "team", &content(&[("a.sql", "0")])).await.unwrap();
    let many = "INSERT INTO bundle_revision (bundle_name, revision, made_by, file_count, byte_count)
                SELECT 'team', 'r' || n, 'me', 0, 0 FROM generate_series(1, 207) AS n";
    database.pool.execute(many).await.unwrap();
    let mut dropped = 0;
    for _ in 0..3 {
        dropped += maintenance::sweep(&mut leader.writer, epoch).await.unwrap();
    }
    // 200, and the oldest, which is in force.
    assert_eq!((dropped, database.count("bundle_revision").await), (7, 201));
}

#[tokio::test]
async fn files_of_one_name_in_two_bundles_are_two_files() {
    let database = Database::create().await;
    let mut leader = database.leader().await;
    let epoch = leader.epoch();
    let (here, there) = (BundleFile::in_folder("a.yaml"), BundleFile::new(name("team"), "a.yaml"));
    let error = |text: &str| [dag::DagFileError::of_file("a.yaml", text.to_owned())];
    let (one, other) = (error("one"), error("other"));
    let compiled = compile("etl", &["a"]);
    let batch = FileBatch {
        dags: vec![BundledDag { compiled: &compiled, bundle: "team", revision: Some("r1") }],
        errors: vec![(&here, &one), (&there, &other)],
    };
    store::store_files(&mut leader.writer, epoch, &batch).await.unwrap();
    let stored = store::stored_files(leader.writer.connection()).await.unwrap();
    assert_eq!((&stored.errors[&here][0].message, &stored.errors[&there][0].message), (&"one".into(), &"other".into()));
    let batch = FileBatch { dags: Vec::new(), errors: vec![(&here, &[])] };
    store::store_files(&mut leader.writer, epoch, &batch).await.unwrap();
    let left = read::import_errors(&database.pool, &[], 10).await.unwrap();
    assert_eq!((left.len(), left[0].bundle_name.as_str()), (1, "team"));

    let version = async || {
        let dag = read::dag(&database.pool, &compiled.dag.dag_id).await.unwrap().unwrap();
        (dag.bundle_name, dag.bundle_version)
    };
    assert_eq!(version().await, ("team".to_owned(), Some("r1".to_owned())));
    // The next revision has the same DAG: its version is still that of the first one that had it.
    let put = async |bundle, revision, leader: &mut crate::support::Leader| {
        let batch = FileBatch { dags: vec![BundledDag { compiled: &compiled, bundle, revision }], errors: Vec::new() };
        store::store_files(&mut leader.writer, epoch, &batch).await.unwrap();
    };
    put("team", Some("r2"), &mut leader).await;
    assert_eq!(version().await, ("team".to_owned(), Some("r1".to_owned())));
    // It moves to the DAG folder.
    put("dags-folder", None, &mut leader).await;
    assert_eq!(version().await, ("dags-folder".to_owned(), None));
    assert_eq!(database.count("dag_version").await, 1);
    let views = read::bundles(&database.pool, None).await.unwrap();
    assert_eq!((views.len(), views[0].name.as_str(), views[0].dags, views[0].broken_files), (1, "dags-folder", 1, 0));
}

#[tokio::test]
async fn a_pushed_bundle_goes_with_its_revisions_unless_a_run_of_its_dags_is_running() {
    let database = Database::create().await;
    let mut leader = database.leader().await;
    deploy(&database, "team", &content(&[("a.yaml", "one")])).await.unwrap();
    deploy(&database, "team", &content(&[("a.yaml", "two")])).await.unwrap();
    deploy(&database, "other", &content(&[("a.yaml", "one")])).await.unwrap();
    let version = leader.store_dag("etl", &["a"]).await;
    database.pool.execute("UPDATE dag SET bundle_name = 'team'").await.unwrap();
    leader
        .apply(&engine::Plan { new_runs: vec![crate::support::run(&version, 1)], ..engine::Plan::default() })
        .await
        .unwrap();
    let delete =
        async |bundle: &str| bundles::delete(&database.pool, Actor::at_the_command_line("ann"), &name(bundle)).await;
    let busy = delete("team").await.unwrap();
    assert!(matches!(&busy, bundles::Deleted::Busy(runs) if runs[0].ends_with(" of etl")), "{busy:?}");
    assert_eq!(database.count("bundle").await, 2);
    database.pool.execute("UPDATE dag_run SET state = 2").await.unwrap();
    assert_eq!(delete("team").await.unwrap(), bundles::Deleted::Done);
    assert_eq!(delete("team").await.unwrap(), bundles::Deleted::Missing);
    assert_eq!((database.count("bundle_revision").await, database.count("bundle_file").await), (1, 1));
    assert_eq!(database.count("dag").await, 1, "it is stale when the leader has heard of it");
    assert_eq!(database.count("audit_log WHERE action = 'delete_bundle'").await, 1);
    database.pool.execute("INSERT INTO bundle (name, kind) VALUES ('git', 'git')").await.unwrap();
    for refused in ["git", BundleName::FOLDER] {
        assert!(matches!(delete(refused).await, Err(StoreError::Refused { .. })), "{refused}");
    }
    // One that the settings name no more is left over.
    database.pool.execute("UPDATE bundle SET is_active = false WHERE name = 'git'").await.unwrap();
    assert_eq!(delete("git").await.unwrap(), bundles::Deleted::Done);
}
