use std::{fs, os::unix::fs::PermissionsExt, time::Duration};

use dag::Content;
use nix::unistd::{Uid, setfsuid};
use tempfile::TempDir;

use super::*;

fn dag(name: &str) -> DagId {
    DagId::new(name).unwrap()
}

fn text(name: &str) -> String {
    format!("dag_id: {name}\nschedule: null\ntasks:\n  - {{task_id: a, operator: empty}}\n")
}

fn write(folder: &TempDir, name: &str, text: &str) {
    let path = folder.path().join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn file(name: &str) -> BundleFile {
    BundleFile::in_folder(name)
}

fn defined(news: &FolderNews) -> Vec<(&str, &str)> {
    news.changed
        .iter()
        .flat_map(|(name, file)| file.dags.iter().map(move |one| (name.name.as_str(), one.dag.dag_id.as_str())))
        .collect()
}

fn errors_of<'n>(news: &'n FolderNews, name: &str) -> Vec<&'n str> {
    news.changed[&file(name)].errors.iter().map(|error| error.message.as_str()).collect()
}

#[test]
fn the_first_file_of_two_keeps_the_dag_and_the_second_takes_over_when_it_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    write(&folder, "b.yaml", &text("x"));
    let mut look = Folder::new(folder.path());
    assert_eq!(defined(&look.look()), [("b.yaml", "x")]);
    write(&folder, "a.yaml", &text("x"));
    let news = look.look();
    assert!(defined(&news).is_empty(), "what came later does not win, whatever its name");
    let errors = errors_of(&news, "a.yaml");
    assert!(errors.len() == 1 && errors[0].contains("a.yaml") && errors[0].contains("b.yaml"), "{errors:?}");
    write(&folder, "a.yaml", &format!("# touched\n{}", text("x")));
    assert!(look.look().is_empty(), "it is the same error");

    // A new process knows from the store whose the DAG is.
    let known = Known { owners: BTreeMap::from([(dag("x"), file("b.yaml"))]), ..Known::default() };
    assert_eq!(defined(&Folder::known(folder.path(), known).look()), [("b.yaml", "x")]);

    fs::remove_file(folder.path().join("b.yaml")).unwrap();
    let news = look.look();
    assert_eq!((defined(&news), &news.gone), (vec![("a.yaml", "x")], &vec![file("b.yaml")]));
    assert!(errors_of(&news, "a.yaml").is_empty() && news.undefined.is_empty());
}

#[test]
fn a_file_that_gives_a_dag_up_leaves_it_to_the_one_that_waits() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["a.yaml", "b.yaml", "c.yaml"] {
        write(&folder, name, &text("x"));
    }
    let mut look = Folder::new(folder.path());
    assert_eq!(defined(&look.look()), [("a.yaml", "x")]);
    write(&folder, "a.yaml", &text("y"));
    let news = look.look();
    assert_eq!(defined(&news), [("a.yaml", "y"), ("b.yaml", "x")]);
    assert!(news.undefined.is_empty());
    // A mistake in the owner's file changes nothing for its DAG.
    write(&folder, "b.yaml", "dag_id: x\ntasks: 7\n");
    let news = look.look();
    assert!(defined(&news).is_empty() && news.undefined.is_empty() && !errors_of(&news, "b.yaml").is_empty());
    for name in ["b.yaml", "c.yaml"] {
        fs::remove_file(folder.path().join(name)).unwrap();
    }
    assert_eq!(look.look().undefined, BTreeSet::from([dag("x")]));
}

#[test]
fn an_error_that_stays_is_told_once_and_what_was_missing_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let sql = "dag_id: x\nschedule: null\ntasks:\n  - {task_id: a, operator: sql, conn_id: c, sql: q.sql}\n";
    write(&folder, "a.yaml", sql);
    let mut look = Folder::new(folder.path());
    assert!(!errors_of(&look.look(), "a.yaml").is_empty());
    assert!(look.look().is_empty());
    write(&folder, "q.sql", "SELECT 1");
    assert_eq!(defined(&look.look()), [("a.yaml", "x")]);
    write(&folder, "q.sql", "SELECT 2");
    assert_eq!(defined(&look.look()), [("a.yaml", "x")]);
    assert!(look.look().is_empty());
}

#[test]
fn what_can_not_be_read_is_an_error_and_never_a_deletion() {
    let folder = tempfile::tempdir().unwrap();
    write(&folder, "a.yaml", &text("a"));
    write(&folder, "team/b.yaml", &text("b"));
    let mut look = Folder::new(folder.path());
    look.look();
    let team = folder.path().join("team");
    // Root may read everything: the thread reads as nobody meanwhile.
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(&team, fs::Permissions::from_mode(0o0)).unwrap();
    let me = setfsuid(Uid::from_raw(65_534));
    let news = look.look();
    let again = look.look();
    setfsuid(me);
    fs::set_permissions(&team, fs::Permissions::from_mode(0o755)).unwrap();
    assert!(news.gone.is_empty() && news.undefined.is_empty(), "{news:?}");
    assert!(errors_of(&news, "team/")[0].contains("can not be read"), "{news:?}");
    assert!(again.is_empty(), "it is said once");
    let news = look.look();
    assert_eq!((news.gone, news.changed.len()), (vec![file("team/")], 0));

    let elsewhere = folder.path().with_extension("away");
    fs::rename(folder.path(), &elsewhere).unwrap();
    let news = look.look();
    fs::rename(&elsewhere, folder.path()).unwrap();
    assert!(news.gone.is_empty() && news.undefined.is_empty(), "{news:?}");
    assert!(errors_of(&news, "./")[0].contains("No such file"), "{news:?}");
    assert_eq!(look.look().gone, [file("./")]);
}

#[test]
fn no_file_stops_a_look() {
    let folder = tempfile::tempdir().unwrap();
    write(&folder, "good.yaml", &text("good"));
    nix::unistd::mkfifo(&folder.path().join("pipe.yaml"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    fs::create_dir(folder.path().join("folder.yaml")).unwrap();
    fs::write(folder.path().join("bytes.yaml"), [b'a', 0xff]).unwrap();
    fs::write(folder.path().join("large.yaml"), vec![b'#'; 1024 * 1024 + 1]).unwrap();
    let news = Folder::new(folder.path()).look();
    assert_eq!(defined(&news), [("good.yaml", "good")]);
    assert!(errors_of(&news, "pipe.yaml")[0].contains("no regular file"));
    assert!(errors_of(&news, "bytes.yaml")[0].contains("byte 2"));
    assert!(errors_of(&news, "large.yaml")[0].contains("1048577 bytes"));
}

#[tokio::test]
async fn a_watch_ends_with_its_owner() {
    let folder = tempfile::tempdir().unwrap();
    let tracker = tokio_util::task::TaskTracker::new();
    let mut watcher = Watcher::start(Folder::new(folder.path()), tracker.token()).unwrap();
    write(&folder, "a.yaml", &text("a"));
    let news = tokio::time::timeout(Duration::from_secs(10), watcher.next()).await.unwrap().unwrap();
    assert_eq!(defined(&news), [("a.yaml", "a")]);
    drop(watcher);
    tracker.close();
    tokio::time::timeout(Duration::from_secs(5), tracker.wait()).await.expect("it is woken and ends");
}

fn bundle(name: &str) -> BundleName {
    BundleName::new(name).unwrap()
}

/// A revision with these files.
fn stored(revision: &str, files: &[(&str, &str)], not_renewed: Option<&str>) -> Stored {
    let mut content = Content::default();
    files.iter().for_each(|(name, text)| content.add(name, text.as_bytes()).unwrap());
    Stored { revision: Some(revision.into()), content: Arc::new(content), not_renewed: not_renewed.map(str::to_owned) }
}

#[test]
fn a_dag_of_two_bundles_stays_where_it_was_and_the_error_names_both() {
    let folder = tempfile::tempdir().unwrap();
    write(&folder, "a.yaml", &text("x"));
    let mut look = Folder::new(folder.path());
    assert_eq!(defined(&look.look()), [("a.yaml", "x")]);
    let team = bundle("team");
    look.set(team.clone(), Source::Stored(stored("r1", &[("etl.yaml", &text("x")), ("own.yaml", &text("y"))], None)));
    let news = look.look();
    assert_eq!(defined(&news), [("own.yaml", "y")]);
    let second = &news.changed[&BundleFile::new(team.clone(), "etl.yaml")];
    let message = &second.errors[0].message;
    assert!(message.contains("defined by a.yaml already") && message.contains("etl.yaml of bundle team"), "{message}");
    fs::remove_file(folder.path().join("a.yaml")).unwrap();
    let news = look.look();
    assert_eq!((defined(&news), news.undefined.len()), (vec![("etl.yaml", "x")], 0));
    assert_eq!(news.changed[&BundleFile::new(team.clone(), "etl.yaml")].revision.as_deref(), Some("r1"));
    look.set(team, Source::Gone);
    assert_eq!(look.look().undefined, BTreeSet::from([dag("x"), dag("y")]));
}

#[test]
fn what_is_not_known_yet_is_not_gone_and_a_failure_to_renew_takes_nothing_away() {
    let folder = tempfile::tempdir().unwrap();
    let team = bundle("team");
    let etl = BundleFile::new(team.clone(), "etl.yaml");
    let known = Known { owners: BTreeMap::from([(dag("x"), etl.clone())]), files: BTreeSet::from([etl.clone()]) };
    let mut look = Folder::known(folder.path(), known);
    assert!(look.look().is_empty(), "a leader that begins has not read the bundle yet");
    look.set(
        team.clone(),
        Source::Stored(stored("r1", &[("etl.yaml", &text("x"))], Some("file:///r: no such branch"))),
    );
    let news = look.look();
    assert_eq!(defined(&news), [("etl.yaml", "x")]);
    let root = &news.changed[&BundleFile::new(team.clone(), "./")].errors[0].message;
    assert!(root.contains("can not be renewed: file:///r: no such branch"), "{root}");
    // Before its first revision a bundle has nothing, and nothing of it is gone.
    let nothing = Stored { revision: None, ..stored("", &[], Some("no route to host")) };
    look.set(team.clone(), Source::Stored(nothing));
    let news = look.look();
    assert!(news.gone.is_empty() && news.undefined.is_empty(), "{news:?}");
    look.set(team.clone(), Source::Stored(stored("r2", &[("etl.yaml", &text("x"))], None)));
    let news = look.look();
    assert_eq!(news.gone, [BundleFile::new(team.clone(), "./")], "it is renewed again");
    look.set(team, Source::Stored(stored("r3", &[], None)));
    assert_eq!(look.look().undefined, BTreeSet::from([dag("x")]));
}

#[test]
fn files_of_a_revision_are_read_from_it_alone() {
    let folder = tempfile::tempdir().unwrap();
    write(&folder, "q.sql", "SELECT 'of the folder'");
    let sql = "dag_id: x\nschedule: null\ntasks:\n  - {task_id: a, operator: sql, conn_id: c, sql: q.sql}\n";
    let team = bundle("team");
    let mut look = Folder::new(folder.path());
    look.set(team.clone(), Source::Stored(stored("r1", &[("a.yaml", sql)], None)));
    let news = look.look();
    let error = &news.changed[&BundleFile::new(team.clone(), "a.yaml")].errors[0].message;
    assert!(error.contains("q.sql"), "{error}");
    let first = [("a.yaml", sql), ("q.sql", "SELECT 1")];
    look.set(team.clone(), Source::Stored(stored("r2", &first, None)));
    let hash = |news: &FolderNews| news.changed[&BundleFile::new(team.clone(), "a.yaml")].dags[0].content_hash.clone();
    let one = hash(&look.look());
    // A file that the DAG asks for has changed, and nothing else.
    look.set(team.clone(), Source::Stored(stored("r3", &[("a.yaml", sql), ("q.sql", "SELECT 2")], None)));
    assert_ne!(hash(&look.look()), one);
    look.set(team.clone(), Source::Stored(stored("r4", &[("a.yaml", sql), ("q.sql", "SELECT 2"), ("b.md", "")], None)));
    assert!(look.look().is_empty());
}

#[tokio::test]
async fn a_watch_hears_of_bundles() {
    let folder = tempfile::tempdir().unwrap();
    let mut watcher = Watcher::start(Folder::new(folder.path()), ()).unwrap();
    let news = watcher.bundle_news();
    for revision in ["r1", "r2"] {
        let id = format!("x{revision}");
        news.tell(bundle("team"), Source::Stored(stored(revision, &[("a.yaml", &text(&id))], None)));
        let piece = tokio::time::timeout(Duration::from_secs(10), watcher.next()).await.unwrap().unwrap();
        assert_eq!(defined(&piece), [("a.yaml", id.as_str())]);
    }
}
