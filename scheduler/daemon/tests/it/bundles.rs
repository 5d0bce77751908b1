//! Bundles from git and pushed ones, with leaders on a real PostgreSQL and real repositories on this machine's disk.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use daemon::{
    bundles::{Access, Found, GitBundle, Settings, look},
    leader,
};
use dag::{Content, content::Entry};
use model::{BundleName, DagId};
use serde_json::{Value, json};
use sqlx::PgPool;
use store::{
    audit::Actor,
    bundles::{self, Authorship, Head, NewRevision},
    read::{self, DagView, FileFilter, Window},
};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::leader::{Running, lead_of, migrated, settings, until};

/// A repository that people push to, and the clone of one of them.
struct Repository {
    folder: TempDir,
}

impl Repository {
    fn new() -> Self {
        let repository = Self { folder: tempfile::tempdir().unwrap() };
        git(repository.folder.path(), &["init", "--quiet", "--bare", "--initial-branch=main", "origin.git"]);
        git(repository.folder.path(), &["clone", "--quiet", "origin.git", "clone"]);
        git(&repository.clone(), &["checkout", "--quiet", "-B", "main"]);
        repository
    }

    fn clone(&self) -> PathBuf {
        self.folder.path().join("clone")
    }

    fn url(&self) -> String {
        format!("file://{}", self.folder.path().join("origin.git").display())
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.clone().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Commits all that is there and pushes it; the commit.
    fn push(&self, message: &str) -> String {
        git(&self.clone(), &["add", "--all"]);
        git(&self.clone(), &["commit", "--quiet", "--allow-empty", "-m", message]);
        git(&self.clone(), &["push", "--quiet", "--force", "origin", "HEAD"]);
        git(&self.clone(), &["rev-parse", "HEAD"])
    }

    fn bundle(&self, kwargs: Value) -> GitBundle {
        let mut all = json!({"repo_url": self.url(), "tracking_ref": "main", "refresh_interval": 5});
        all.as_object_mut().unwrap().extend(kwargs.as_object().unwrap().clone());
        let list =
            json!([{"name": "team", "classpath": "airflow.providers.git.bundles.git.GitDagBundle", "kwargs": all}]);
        Settings::parse(&list.to_string()).unwrap().git.remove(0)
    }

    async fn fetched(&self, kwargs: Value) -> Result<daemon::bundles::Fetched, String> {
        match look(&self.bundle(kwargs), &Access::default(), &[]).await {
            Ok(Found::New(fetched)) => Ok(*fetched),
            Ok(Found::Known) => panic!("nothing is known"),
            Err(error) => Err(error.to_string()),
        }
    }
}

fn git(folder: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new("git");
    command.current_dir(folder).args(arguments).env_clear().env("PATH", std::env::var_os("PATH").unwrap());
    for (name, value) in [("NAME", "Ann"), ("EMAIL", "ann@example.org")] {
        command.env(format!("GIT_AUTHOR_{name}"), value).env(format!("GIT_COMMITTER_{name}"), value);
    }
    let output = command.env("HOME", folder).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn yaml(dag_id: &str) -> String {
    format!("dag_id: {dag_id}\nschedule: null\ntasks:\n  - {{task_id: a, operator: sql, conn_id: c, sql: sql/q.sql}}\n")
}

fn team() -> BundleName {
    BundleName::new("team").unwrap()
}

/// A leader with an empty DAG folder.
fn lead(url: &str, name: &str, folder: &Path, git: Vec<GitBundle>) -> Running {
    let usual = settings(url, name, folder, &folder.join(".key"));
    lead_of(leader::LeaderSettings { bundles: Arc::new(Settings { git }), ..usual }, leader::news_channel())
}

async fn head(pool: &PgPool) -> Option<Head> {
    bundles::heads(pool).await.unwrap().into_iter().find(|head| head.name == team())
}

async fn revision(pool: &PgPool) -> Option<String> {
    head(pool).await?.current.map(|(_, revision)| revision)
}

async fn dag(pool: &PgPool, dag_id: &str) -> Option<DagView> {
    read::dag(pool, &DagId::new(dag_id).unwrap()).await.unwrap()
}

/// The SQL of a DAG's current version.
async fn sql(pool: &PgPool, dag_id: &str) -> String {
    let Some(view) = dag(pool, dag_id).await else { return String::new() };
    let version = read::version(pool, view.current).await.unwrap().unwrap();
    let bytes = store::blob(pool, &version.dag.files["sql/q.sql"]).await.unwrap().unwrap();
    String::from_utf8(bytes).unwrap()
}

async fn errors(pool: &PgPool) -> String {
    let found = read::import_errors(pool, &[], 100).await.unwrap();
    found.iter().map(|error| format!("{}/{}: {}\n", error.bundle_name, error.file, error.message)).collect()
}

async fn ask(pool: &PgPool) {
    assert!(bundles::ask_poll(pool, &team()).await.unwrap());
}

async fn deploy(pool: &PgPool, files: &[(&str, &str)]) -> String {
    let mut content = Content::default();
    files.iter().for_each(|(name, text)| content.add(name, text.as_bytes()).unwrap());
    let (bundle, authorship, hash) = (team(), Authorship::default(), content.hash());
    let new = NewRevision { bundle: &bundle, revision: &hash, authorship: &authorship, content: &content };
    bundles::deploy(pool, Actor::from("ann"), &new).await.unwrap().revision
}

#[tokio::test]
async fn a_commit_is_read_below_its_subdir_with_author_and_message() {
    let repository = Repository::new();
    repository.write("prod/etl.yaml", &yaml("etl"));
    repository.write("prod/sql/q.sql", "SELECT 1");
    repository.write("prod/.hidden.yaml", "x");
    repository.write("elsewhere.yaml", "x");
    repository.write("prod/huge.csv", &"x".repeat(1024 * 1024 + 1));
    std::os::unix::fs::symlink("/etc/passwd", repository.clone().join("prod/link.sql")).unwrap();
    let commit = repository.push("First\n\nWith a reason.");
    let fetched = repository.fetched(json!({"subdir": "prod"})).await.unwrap();
    assert_eq!(fetched.commit, commit);
    assert_eq!(fetched.authorship.author.as_deref(), Some("Ann <ann@example.org>"));
    assert_eq!(fetched.authorship.message.as_deref(), Some("First\n\nWith a reason."));
    assert!(fetched.authorship.at.is_some());
    let names: Vec<&str> = fetched.content.entries().map(|(name, _)| name).collect();
    assert_eq!(names, ["etl.yaml", "huge.csv", "link.sql", "sql/q.sql"]);
    let why = |name: &str| match fetched.content.get(name) {
        Some(Entry::Problem { why, .. }) => why.clone(),
        other => panic!("{other:?}"),
    };
    assert!(why("huge.csv").contains("1048577 bytes") && why("link.sql").contains("symbolic link"));
    assert!(repository.fetched(json!({"subdir": "none"})).await.unwrap_err().contains("no folder \"none\""));
    let known = repository.bundle(json!({}));
    assert!(matches!(look(&known, &Access::default(), &[commit.as_str()]).await.unwrap(), Found::Known));
}

#[tokio::test]
async fn branches_tags_and_commits_are_tracked_and_what_is_missing_is_named() {
    let repository = Repository::new();
    repository.write("a.yaml", "one");
    let first = repository.push("one");
    git(&repository.clone(), &["tag", "-a", "-m", "released", "v1"]);
    git(&repository.clone(), &["push", "--quiet", "origin", "v1"]);
    repository.write("a.yaml", "two");
    let second = repository.push("two");
    let commit =
        async |name: &str| repository.fetched(json!({"tracking_ref": name})).await.map(|fetched| fetched.commit);
    assert_eq!(commit("v1").await.unwrap(), first, "the commit behind a tag with a message");
    assert_eq!(commit("main").await.unwrap(), second);
    assert_eq!(commit("refs/heads/main").await.unwrap(), second);
    assert_eq!(commit(&first).await.unwrap(), first);
    let missing = commit("develop").await.unwrap_err();
    assert!(missing.contains(&repository.url()) && missing.contains("\"develop\""), "{missing}");
    let bundle = GitBundle { repo_url: Some("file:///nowhere/x.git".to_owned()), ..repository.bundle(json!({})) };
    let nowhere = look(&bundle, &Access::default(), &[]).await.unwrap_err().to_string();
    assert!(nowhere.contains("ls-remote") && nowhere.contains("/nowhere/x.git"), "{nowhere}");
}

#[tokio::test]
async fn too_many_files_are_refused_with_a_way_out() {
    let repository = Repository::new();
    for number in 0..5_001 {
        repository.write(&format!("many/{number}.sql"), "x");
    }
    repository.write("dags/a.yaml", "x");
    repository.push("many");
    let refused = repository.fetched(json!({})).await.unwrap_err();
    assert!(refused.contains("5002 files") && refused.contains("subdir"), "{refused}");
    assert_eq!(repository.fetched(json!({"subdir": "dags"})).await.unwrap().content.len(), 1);
}

/// A token goes to the server in a header, and is in no error; nobody's own settings of git are used.
#[tokio::test]
async fn a_token_reaches_the_server_and_no_message() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/acme/dags.git", listener.local_addr().unwrap());
    let heard = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut heard = Vec::new();
        while !heard.windows(4).any(|end| end == b"\r\n\r\n") {
            assert_ne!(stream.read_buf(&mut heard).await.unwrap(), 0, "it says what it wants");
        }
        // A server that repeats what it was told.
        let body = "no: s3cret-token x-access-token:s3cret-token";
        let answer = format!("HTTP/1.1 403 no s3cret-token\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        stream.write_all(answer.as_bytes()).await.unwrap();
        String::from_utf8(heard).unwrap()
    });
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    fs::write(&token, "s3cret-token\n").unwrap();
    let repository = Repository::new();
    let bundle = GitBundle { repo_url: Some(url.clone()), ..repository.bundle(json!({})) };
    let access = Access::of_token_file(&token).unwrap();
    let refused = look(&bundle, &access, &[]).await.unwrap_err().to_string();
    let heard = heard.await.unwrap();
    assert!(heard.contains("Authorization: Basic eC1hY2Nlc3MtdG9rZW46czNjcmV0LXRva2Vu"), "{heard}");
    assert!(!refused.contains("s3cret") && refused.contains("403"), "{refused}");
    assert!(!format!("{access:?}").contains("s3cret"));
    fs::write(&token, " \n").unwrap();
    assert!(Access::of_token_file(&token).unwrap_err().contains("is empty"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_branch_is_followed_and_what_is_wrong_with_it_takes_no_dag_away() {
    let (url, pool) = migrated().await;
    let folder = tempfile::tempdir().unwrap();
    let repository = Repository::new();
    repository.write("etl.yaml", &yaml("etl"));
    repository.write("other.yaml", &yaml("other"));
    repository.write("sql/q.sql", "SELECT 1");
    let first = repository.push("first");
    let leader = lead(&url, "first", folder.path(), vec![repository.bundle(json!({}))]);
    until("the DAGs are there", async || dag(&pool, "etl").await.is_some() && dag(&pool, "other").await.is_some())
        .await;
    let etl = dag(&pool, "etl").await.unwrap();
    assert_eq!((etl.bundle_name.as_str(), etl.bundle_version.as_ref()), ("team", Some(&first)));
    assert_eq!(sql(&pool, "etl").await, "SELECT 1");
    let format: i32 = sqlx::query_scalar("SELECT format FROM leader").fetch_one(&pool).await.unwrap();
    assert_eq!(format, 3, "a binary that knows only the DAG folder must not lead");

    // One file is renamed, another one gets a mistake, a third goes; and a file that only a DAG names changes.
    git(&repository.clone(), &["mv", "etl.yaml", "renamed.yaml"]);
    repository.write("other.yaml", "dag_id: other\ntasks: 7\n");
    repository.write("sql/q.sql", "SELECT 2");
    let second = repository.push("second");
    ask(&pool).await;
    until("the commit is in force", async || revision(&pool).await.as_ref() == Some(&second)).await;
    until("its files are read", async || sql(&pool, "etl").await == "SELECT 2").await;
    let etl = dag(&pool, "etl").await.unwrap();
    assert_eq!(
        (etl.fileloc.as_str(), etl.is_stale, etl.bundle_version.as_ref()),
        ("renamed.yaml", false, Some(&second))
    );
    until("the mistake shows", async || dag(&pool, "other").await.unwrap().has_import_errors).await;
    let other = dag(&pool, "other").await.unwrap();
    assert_eq!((other.is_stale, other.bundle_version.as_ref()), (false, Some(&first)), "its last good version stays");

    // The branch is written anew: what it has now counts.
    git(&repository.clone(), &["reset", "--quiet", "--hard", &first]);
    repository.write("third.yaml", &yaml("third"));
    git(&repository.clone(), &["rm", "--quiet", "other.yaml"]);
    let third = repository.push("forced");
    ask(&pool).await;
    until("a forced push is in force", async || revision(&pool).await.as_ref() == Some(&third)).await;
    until("its DAG is there", async || dag(&pool, "third").await.is_some()).await;
    until("a DAG without a file is stale", async || dag(&pool, "other").await.unwrap().is_stale).await;
    assert_eq!(dag(&pool, "etl").await.unwrap().fileloc, "etl.yaml");

    // The branch goes: the address is in the error, and everything stays.
    git(&repository.folder.path().join("origin.git"), &["update-ref", "-d", "refs/heads/main"]);
    ask(&pool).await;
    until("the failure shows", async || errors(&pool).await.contains("no branch or tag \"main\"")).await;
    assert!(errors(&pool).await.contains(&format!("team/./: the bundle can not be renewed: {}", repository.url())));
    let poll = head(&pool).await.unwrap().poll;
    assert!(poll.failures >= 1 && poll.error.unwrap().contains("main"));
    assert_eq!(revision(&pool).await.as_ref(), Some(&third));
    assert!(!dag(&pool, "third").await.unwrap().is_stale);

    // It comes back.
    repository.write("fourth.yaml", &yaml("fourth"));
    let fourth = repository.push("back");
    ask(&pool).await;
    until("it is followed again", async || revision(&pool).await.as_ref() == Some(&fourth)).await;
    until("nothing is wrong", async || errors(&pool).await.is_empty()).await;
    assert!(dag(&pool, "fourth").await.is_some());
    leader.task.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_next_leader_goes_on_from_the_store_alone() {
    let (url, pool) = migrated().await;
    let folder = tempfile::tempdir().unwrap();
    let repository = Repository::new();
    repository.write("etl.yaml", &yaml("etl"));
    repository.write("sql/q.sql", "SELECT 1");
    let commit = repository.push("first");
    let bundle = repository.bundle(json!({}));
    let first = lead(&url, "first", folder.path(), vec![bundle.clone()]);
    let elsewhere = tempfile::tempdir().unwrap();
    let second = lead(&url, "second", elsewhere.path(), vec![bundle]);
    until("the DAG is there", async || dag(&pool, "etl").await.is_some()).await;
    // The repository is out of reach for the one that takes over: it has the same all the same.
    drop(repository);
    first.task.abort();
    let taken = async || {
        let holder: String = sqlx::query_scalar("SELECT holder FROM leader").fetch_one(&pool).await.unwrap();
        holder == "second"
    };
    until("the second leads", taken).await;
    until("it says that it can not fetch", async || errors(&pool).await.contains("can not be renewed")).await;
    let etl = dag(&pool, "etl").await.unwrap();
    assert_eq!((etl.is_stale, etl.bundle_version.as_ref()), (false, Some(&commit)));
    assert_eq!(sql(&pool, "etl").await, "SELECT 1");
    // Pushed bundles come to it, too.
    let other = BundleName::new("pushed").unwrap();
    let mut content = Content::default();
    content.add("x.yaml", b"dag_id: x\nschedule: null\ntasks:\n  - {task_id: a, operator: empty}\n").unwrap();
    let hash = content.hash();
    let authorship = Authorship::default();
    let new = NewRevision { bundle: &other, revision: &hash, authorship: &authorship, content: &content };
    bundles::deploy(&pool, Actor::from("ann"), &new).await.unwrap();
    until("it is there", async || dag(&pool, "x").await.is_some()).await;
    second.task.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_keeps_its_files_when_newer_revisions_come_and_a_rollback_brings_them_back() {
    let (url, pool) = migrated().await;
    let folder = tempfile::tempdir().unwrap();
    let leader = lead(&url, "first", folder.path(), Vec::new());
    let etl = yaml("etl");
    let first = deploy(&pool, &[("etl.yaml", &etl), ("sql/q.sql", "SELECT 1")]).await;
    until("the DAG is there", async || dag(&pool, "etl").await.is_some()).await;
    let old = dag(&pool, "etl").await.unwrap();
    let second = deploy(&pool, &[("etl.yaml", &etl), ("sql/q.sql", "SELECT 2")]).await;
    until("the new version is current", async || sql(&pool, "etl").await == "SELECT 2").await;
    let version = read::version(&pool, old.current).await.unwrap().unwrap();
    assert_eq!((version.bundle_name.as_str(), version.bundle_version.as_ref()), ("team", Some(&first)));
    let bytes = store::blob(&pool, &version.dag.files["sql/q.sql"]).await.unwrap().unwrap();
    assert_eq!(bytes, b"SELECT 1", "a run of the old version still finds its file");
    assert_eq!(dag(&pool, "etl").await.unwrap().bundle_version.as_ref(), Some(&second));
    bundles::rollback(&pool, Actor::from("ann"), &team(), &first[..12]).await.unwrap();
    until("it is rolled back", async || dag(&pool, "etl").await.unwrap().current == old.current).await;

    // The DAG folder has a DAG of that name, too: the error names both files, and each of the two is where it was.
    fs::write(
        folder.path().join("mine.yaml"),
        "dag_id: etl\nschedule: null\ntasks:\n  - {task_id: a, operator: empty}\n",
    )
    .unwrap();
    until("both are named", async || {
        let errors = errors(&pool).await;
        errors.contains("dags-folder/mine.yaml") && errors.contains("etl.yaml of bundle team")
    })
    .await;
    assert_eq!(dag(&pool, "etl").await.unwrap().bundle_name, "team");
    deploy(&pool, &[]).await;
    until("it moves to the folder", async || dag(&pool, "etl").await.unwrap().bundle_name == "dags-folder").await;
    until("nothing is wrong", async || errors(&pool).await.is_empty()).await;
    let broken = read::broken_files(&pool, &FileFilter::default(), Window { limit: 10, offset: 0 }).await.unwrap();
    assert!(broken.is_empty());
    leader.task.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_of_git_stays_until_the_branch_moves_and_settings_that_go_take_the_dags_along() {
    let (url, pool) = migrated().await;
    let folder = tempfile::tempdir().unwrap();
    let repository = Repository::new();
    repository.write("sql/q.sql", "SELECT 1");
    repository.write("etl.yaml", &yaml("etl"));
    let first = repository.push("first");
    let leader = lead(&url, "first", folder.path(), vec![repository.bundle(json!({}))]);
    until("the DAG is there", async || dag(&pool, "etl").await.is_some()).await;
    repository.write("sql/q.sql", "SELECT 2");
    let second = repository.push("second");
    ask(&pool).await;
    until("the second is in force", async || sql(&pool, "etl").await == "SELECT 2").await;
    bundles::rollback(&pool, Actor::from("ann"), &team(), &first).await.unwrap();
    until("the first is in force", async || sql(&pool, "etl").await == "SELECT 1").await;
    let polled = head(&pool).await.unwrap().poll.at;
    ask(&pool).await;
    until("it was polled", async || head(&pool).await.unwrap().poll.at > polled).await;
    let stands = head(&pool).await.unwrap();
    assert_eq!((stands.current.unwrap().1, stands.passed_over), (first, Some(second)));
    repository.write("sql/q.sql", "SELECT 3");
    repository.push("third");
    ask(&pool).await;
    until("the third is in force", async || sql(&pool, "etl").await == "SELECT 3").await;
    leader.task.abort();
    drop(leader);

    let next = lead(&url, "next", folder.path(), Vec::new());
    until("the bundle is not wanted", async || !head(&pool).await.unwrap().is_active).await;
    until("its DAG is stale", async || dag(&pool, "etl").await.unwrap().is_stale).await;
    next.task.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_bundle_takes_its_dags_out_of_force_and_its_name_is_free_again() {
    let (url, pool) = migrated().await;
    let folder = tempfile::tempdir().unwrap();
    let leader = lead(&url, "first", folder.path(), Vec::new());
    let files = [("etl.yaml", yaml("etl")), ("sql/q.sql", "SELECT 1".to_owned())];
    let files = files.each_ref().map(|(name, text)| (*name, text.as_str()));
    deploy(&pool, &files).await;
    until("the DAG is there", async || dag(&pool, "etl").await.is_some()).await;
    let done = bundles::delete(&pool, Actor::from("ann"), &team()).await.unwrap();
    assert_eq!(done, bundles::Deleted::Done);
    until("its DAG is stale", async || dag(&pool, "etl").await.unwrap().is_stale).await;
    deploy(&pool, &files).await;
    until("it is in force again", async || !dag(&pool, "etl").await.unwrap().is_stale).await;
    leader.task.abort();
    drop(leader);
    // Nobody leads when it is deleted again.
    bundles::delete(&pool, Actor::from("ann"), &team()).await.unwrap();
    let next = lead(&url, "next", folder.path(), Vec::new());
    until("its DAG is stale", async || dag(&pool, "etl").await.unwrap().is_stale).await;
    next.task.abort();
}

/// A real sshd on loopback, with keys of its own, for whoever runs the tests.
struct Sshd {
    process: std::process::Child,
    port: u16,
    folder: TempDir,
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Sshd {
    fn start() -> Self {
        let program = std::env::var("WINDLASS_TEST_SSHD").unwrap_or_else(|_| "/usr/sbin/sshd".to_owned());
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        for key in ["host", "client", "other"] {
            let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f", &path(key)]).status();
            assert!(made.unwrap().success());
        }
        fs::copy(folder.path().join("client.pub"), folder.path().join("authorized")).unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\nUsePAM no\nStrictModes no\n\
             PermitRootLogin yes\nPasswordAuthentication no\n",
            path("host"),
            path("authorized")
        );
        fs::write(folder.path().join("config"), config).unwrap();
        let host_key = fs::read_to_string(folder.path().join("host.pub")).unwrap();
        fs::write(folder.path().join("known_hosts"), format!("[127.0.0.1]:{port} {host_key}")).unwrap();
        let process = Command::new(program).args(["-D", "-e", "-f", &path("config")]).spawn().unwrap();
        let began = std::time::Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(began.elapsed().as_secs() < 20, "sshd does not listen");
            #[allow(clippy::disallowed_methods, reason = "sshd tells nobody that it listens")]
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        Self { process, port, folder }
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.folder.path().join(name)).unwrap()
    }

    fn access(&self, extra: Value) -> Access {
        let connection = store::secrets::Connection {
            conn_id: "git_ssh".to_owned(),
            conn_type: "git".to_owned(),
            extra: Some(extra.to_string()),
            ..Default::default()
        };
        Access::of_connection(&connection).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs sshd, at /usr/sbin/sshd or where WINDLASS_TEST_SSHD says"]
async fn a_repository_is_fetched_over_ssh_by_a_key_that_the_server_and_its_client_trust() {
    let (sshd, repository) = (Sshd::start(), Repository::new());
    repository.write("etl.yaml", &yaml("etl"));
    let commit = repository.push("first");
    let user = String::from_utf8(Command::new("id").arg("-un").output().unwrap().stdout).unwrap();
    let user = user.trim();
    let url = format!("ssh://{user}@127.0.0.1:{}{}", sshd.port, repository.folder.path().join("origin.git").display());
    let bundle = repository.bundle(json!({ "repo_url": url }));
    let known_hosts = sshd.folder.path().join("known_hosts");
    let key_file = sshd.folder.path().join("client");
    for extra in [
        json!({"private_key": sshd.text("client"), "known_hosts_file": known_hosts}),
        // A key whose last line break was lost on the way into the connection.
        json!({"private_key": sshd.text("client").trim_end(), "known_hosts_file": known_hosts}),
        json!({"key_file": key_file, "known_hosts_file": known_hosts}),
    ] {
        let found = look(&bundle, &sshd.access(extra.clone()), &[]).await.unwrap();
        assert!(matches!(found, Found::New(fetched) if fetched.commit == commit), "{extra}");
    }
    let strange = sshd.folder.path().join("strange_hosts");
    let other_host = format!("[127.0.0.1]:{} {}", sshd.port, sshd.text("other.pub"));
    fs::write(&strange, other_host).unwrap();
    for (extra, complaint) in [
        (json!({"private_key": sshd.text("other"), "known_hosts_file": known_hosts}), "Permission denied"),
        (json!({"private_key": sshd.text("client"), "known_hosts_file": strange}), "Host key verification failed"),
        (
            json!({"private_key": sshd.text("client"), "known_hosts_file": strange, "strict_host_key_checking": "accept-new"}),
            "Host key verification failed",
        ),
    ] {
        let error = look(&bundle, &sshd.access(extra), &[]).await.unwrap_err().to_string();
        assert!(error.contains(complaint) && !error.contains("PRIVATE KEY"), "{error}");
    }
    let fresh = sshd.folder.path().join("fresh_hosts");
    let extra = json!({"private_key": sshd.text("client"), "known_hosts_file": fresh, "strict_host_key_checking": "accept-new"});
    assert!(matches!(look(&bundle, &sshd.access(extra), &[]).await.unwrap(), Found::New(_)));
    // Debian's client writes the host's name as a hash, so its key is looked for.
    let host_key = sshd.text("host.pub");
    let noted = fs::read_to_string(fresh).unwrap();
    assert!(noted.contains(host_key.split_whitespace().nth(1).unwrap()), "{noted}");
}
