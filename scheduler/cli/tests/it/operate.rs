//! What an operator does to an installation: look at it, clean it, copy it, change its keys.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Output},
};

use sqlx::{Connection, Executor, PgConnection};

/// Runs a command on a home with a private PostgreSQL, or on the database of `more`.
fn windlass(home: &Path, arguments: &[&str], more: &[(&str, &str)]) -> Output {
    run_program(env!("CARGO_BIN_EXE_windlass"), home, arguments, more)
}

fn run_program(program: &str, home: &Path, arguments: &[&str], more: &[(&str, &str)]) -> Output {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("WINDLASS_") || name == "DATABASE_URL") {
        command.env_remove(name);
    }
    command.args(arguments).env("WINDLASS_HOME", home).env("WINDLASS_DAGS_FOLDER", home.join("dags"));
    command.envs(more.iter().copied()).output().expect("windlass starts")
}

/// A key that is none of an installation's own.
const KEY: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

/// Databases on the server of the tests, dropped with this.
struct Databases {
    server: String,
    names: Vec<String>,
}

impl Databases {
    fn create(names: &[&str]) -> Self {
        let server = std::env::var("WINDLASS_TEST_DATABASE_URL").expect("test.sh sets WINDLASS_TEST_DATABASE_URL");
        let names: Vec<String> = names.iter().map(|name| format!("{name}_{}", std::process::id())).collect();
        for name in &names {
            ask(&server, &format!("CREATE DATABASE {name}"));
        }
        Self { server, names }
    }

    fn url(&self, index: usize) -> String {
        let (address, _) = self.server.rsplit_once('/').unwrap();
        format!("{address}/{}", self.names[index])
    }
}

impl Drop for Databases {
    fn drop(&mut self) {
        for name in &self.names {
            ask(&self.server, &format!("DROP DATABASE {name} WITH (FORCE)"));
        }
    }
}

fn ask(url: &str, statements: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut connection = PgConnection::connect(url).await.unwrap();
        connection.execute(statements).await.unwrap();
    });
}

fn done(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

fn refused(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    text
}

fn home() -> tempfile::TempDir {
    let home = tempfile::Builder::new().prefix("windlass-operate-").tempdir_in("/tmp").unwrap();
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir(home.path().join("dags")).unwrap();
    fs::write(
        home.path().join("dags/a.yaml"),
        "dag_id: a\nschedule: null\ntasks:\n  - {task_id: t, operator: empty}\n",
    )
    .unwrap();
    home
}

#[test]
fn a_backup_brings_everything_back_and_one_that_is_not_whole_changes_nothing() {
    let home = home();
    let run = |arguments: &[&str]| windlass(home.path(), arguments, &[]);
    done(&run(&["variables", "set", "greeting", "hello"]));
    done(&run(&["connections", "add", "db", "--conn-uri", "postgres://me:s3cret@h:1/x"]));
    fs::create_dir_all(home.path().join("lake/t")).unwrap();
    fs::write(home.path().join("lake/t/data.parquet"), "rows").unwrap();
    let backup = home.path().join("backup");
    let folder = backup.to_str().unwrap();
    let said = done(&run(&["db", "backup", folder]));
    assert!(said.contains("it holds the key"), "{said}");
    assert_eq!(fs::metadata(&backup).unwrap().permissions().mode() & 0o777, 0o700);
    assert!(refused(&run(&["db", "backup", folder])).contains("must not be there yet"));

    // Everything changes, the key among it.
    done(&run(&["variables", "set", "greeting", "changed"]));
    done(&run(&["connections", "delete", "db"]));
    done(&run(&["db", "reseal", "--new-key"]));
    fs::write(home.path().join("lake/t/data.parquet"), "other rows").unwrap();

    // A damaged file is found before anything is changed.
    let state = fs::read(backup.join("state.dump")).unwrap();
    fs::write(backup.join("state.dump"), &state[..state.len() / 2]).unwrap();
    let reason = refused(&run(&["db", "restore", folder, "--overwrite", "--yes"]));
    assert!(reason.contains("state.dump") && reason.contains("nothing was changed"), "{reason}");
    fs::write(backup.join("state.dump"), state).unwrap();
    assert!(refused(&run(&["db", "restore", folder])).contains("--overwrite"));
    assert_eq!(done(&run(&["variables", "get", "greeting"])), "changed\n");

    done(&run(&["db", "restore", folder, "--overwrite", "--yes"]));
    assert_eq!(done(&run(&["variables", "get", "greeting"])), "hello\n");
    assert!(done(&run(&["connections", "get", "db", "-o", "json"])).contains("\"h\""));
    assert_eq!(fs::read_to_string(home.path().join("lake/t/data.parquet")).unwrap(), "rows");
    done(&run(&["doctor"]));
    let inside = home.path().join("dags/backup");
    assert!(refused(&run(&["db", "backup", inside.to_str().unwrap()])).contains("lies in the DAG folder"));

    // And into a home that has nothing yet, but for where the tables lie.
    let other = self::home();
    let warehouse = format!("file://{}", home.path().join("lake").display());
    fs::remove_dir_all(home.path().join("lake")).unwrap();
    let elsewhere = [("WINDLASS_LAKE_WAREHOUSE", warehouse.as_str())];
    assert!(refused(&windlass(other.path(), &["db", "restore", folder], &[])).contains("WINDLASS_LAKE_WAREHOUSE"));
    let other_key = [elsewhere[0], ("WINDLASS_SECRET_KEY", KEY)];
    let reason = refused(&windlass(other.path(), &["db", "restore", folder], &other_key));
    assert!(reason.contains("another key") && reason.contains("nothing was changed"), "{reason}");
    // Where a group's members may write to each other's files by default.
    let restore = ["-c", "umask 002 && exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_windlass"), "db", "restore", folder];
    done(&run_program("sh", other.path(), &restore, &elsewhere));
    assert_eq!(done(&windlass(other.path(), &["variables", "get", "greeting"], &elsewhere)), "hello\n");
    assert_eq!(done(&run(&["variables", "get", "greeting"])), "hello\n", "the lake's folder is private");
    assert_eq!(fs::read_to_string(home.path().join("lake/t/data.parquet")).unwrap(), "rows");
}

#[test]
fn a_new_key_takes_the_place_of_the_old_one_and_every_secret_stays() {
    let home = home();
    let run = |arguments: &[&str]| windlass(home.path(), arguments, &[]);
    done(&run(&["variables", "set", "api_key", "canary"]));
    let before = fs::read_to_string(home.path().join("keys/secret.key")).unwrap();
    let said = done(&run(&["db", "reseal", "--new-key"]));
    assert!(said.contains("1 of them sealed anew"), "{said}");
    let after = fs::read_to_string(home.path().join("keys/secret.key")).unwrap();
    assert!(
        after.starts_with("2 ") && after.lines().count() == 1 && !before.contains(after.trim()),
        "the file has one new key"
    );
    assert_eq!(done(&run(&["variables", "get", "api_key"])), "canary\n");
    assert!(done(&run(&["db", "reseal"])).contains("0 of them"));

    fs::write(home.path().join("keys/secret.key"), before).unwrap();
    let said = windlass(home.path(), &["doctor"], &[]);
    let text = String::from_utf8_lossy(&said.stdout);
    assert!(!said.status.success() && text.contains("BROKEN  secrets"), "{text}");
    let (port, registry) = (free_port(), free_port());
    let ports = [("WINDLASS_PORT", port.as_str()), ("WINDLASS_REGISTRY_PORT", registry.as_str())];
    let reason = refused(&windlass(home.path(), &["standalone"], &ports));
    assert!(reason.contains("another key") && reason.contains("windlass variables delete"), "{reason}");
}

#[test]
fn a_command_on_a_server_never_changes_its_schema() {
    let databases = Databases::create(&["cli_schema"]);
    let url = databases.url(0);
    let home = home();
    let key = [("DATABASE_URL", url.as_str()), ("WINDLASS_SECRET_KEY", KEY)];
    for arguments in [&["variables", "list"][..], &["pools", "list"], &["workers", "token"], &["users", "list"]] {
        let reason = refused(&windlass(home.path(), arguments, &key));
        assert!(reason.contains("windlass db migrate"), "{arguments:?}: {reason}");
    }
    let port = free_port();
    let by_hand = [key[0], key[1], ("WINDLASS_AUTO_MIGRATE", "false"), ("WINDLASS_PORT", port.as_str())];
    assert!(refused(&windlass(home.path(), &["standalone"], &by_hand)).contains("windlass db migrate"));
    let looked = windlass(home.path(), &["doctor"], &key);
    assert!(String::from_utf8_lossy(&looked.stdout).contains("which the next start applies"));
    let looked = windlass(home.path(), &["doctor"], &by_hand);
    assert!(String::from_utf8_lossy(&looked.stdout).contains("BROKEN  schema"));
    ask(&url, "CREATE TABLE variable (x int)");
    ask(&url, "DROP TABLE variable");
    done(&windlass(home.path(), &["db", "migrate"], &key));
    done(&windlass(home.path(), &["variables", "list"], &key));

    // A newer program has been here: what it added is no reason to stop.
    let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
                 VALUES (9999, 'of a newer program', true, 'x', 1)";
    ask(&url, newer);
    done(&windlass(home.path(), &["db", "migrate"], &key));
    done(&windlass(home.path(), &["variables", "list"], &key));
}

#[test]
fn a_backup_takes_an_upgrade_back_and_one_that_can_not_be_restored_changes_nothing() {
    let databases = Databases::create(&["cli_restore", "cli_restore_lake"]);
    let (state, lake) = (databases.url(0), databases.url(1));
    let home = home();
    let on_server =
        [("DATABASE_URL", state.as_str()), ("WINDLASS_LAKE_DATABASE_URL", lake.as_str()), ("WINDLASS_SECRET_KEY", KEY)];
    let run = |arguments: &[&str]| windlass(home.path(), arguments, &on_server);
    done(&run(&["db", "migrate"]));
    done(&run(&["variables", "set", "greeting", "hello"]));
    ask(&lake, "CREATE TABLE watermark (n int); INSERT INTO watermark VALUES (7)");
    let backup = home.path().join("backup");
    let folder = backup.to_str().unwrap();
    done(&run(&["db", "backup", folder]));

    // A newer program has been here: its table holds on to one of ours, and its names are those of the next upgrade.
    let upgrade = "CREATE TABLE later (id int GENERATED ALWAYS AS IDENTITY, name text REFERENCES pool);
                   CREATE FUNCTION sooner() RETURNS int LANGUAGE sql AS 'SELECT 1'; CREATE TYPE mood AS ENUM ('glad');
                   ALTER TABLE variable ADD COLUMN newer int DEFAULT 1; CREATE VIEW seen AS SELECT newer FROM variable;
                   INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
                   VALUES (9999, 'of a newer program', true, 'x', 1)";
    ask(&state, upgrade);
    done(&run(&["variables", "set", "greeting", "changed"]));
    ask(&lake, "DELETE FROM watermark");
    assert!(refused(&run(&["db", "restore", folder])).contains("--overwrite"));
    done(&run(&["db", "restore", folder, "--overwrite", "--yes"]));
    assert_eq!(done(&run(&["variables", "get", "greeting"])), "hello\n");
    ask(
        &state,
        "CREATE TABLE later (id int); CREATE TYPE mood AS ENUM ('sad'); CREATE FUNCTION sooner() RETURNS int LANGUAGE sql AS 'SELECT 2'",
    );
    ask(&state, "DO $$ BEGIN ASSERT NOT EXISTS (SELECT FROM _sqlx_migrations WHERE version = 9999); END $$");
    ask(&lake, "DO $$ BEGIN ASSERT (SELECT n FROM watermark) = 7; END $$");

    // A dump that breaks off, and a manifest that says nothing against it: everything is as it was.
    done(&run(&["variables", "set", "greeting", "kept"]));
    let dump = fs::read(backup.join("state.dump")).unwrap();
    fs::write(backup.join("state.dump"), &dump[..dump.len() - dump.len() / 4]).unwrap();
    let manifest = fs::read(backup.join("manifest.json")).unwrap();
    let mut manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    manifest["files"].as_object_mut().unwrap().remove("state.dump");
    fs::write(backup.join("manifest.json"), manifest.to_string()).unwrap();
    let reason = refused(&run(&["db", "restore", folder, "--overwrite", "--yes"]));
    assert!(reason.contains("pg_restore"), "{reason}");
    assert_eq!(done(&run(&["variables", "get", "greeting"])), "kept\n");
}

#[test]
fn keys_of_an_installation_on_a_server_are_replaced_with_care_and_logins_can_be_given_up() {
    let databases = Databases::create(&["cli_keys"]);
    let url = databases.url(0);
    let home = home();
    let run = |arguments: &[&str]| windlass(home.path(), arguments, &[("DATABASE_URL", url.as_str())]);
    done(&run(&["db", "migrate"]));
    let reason = refused(&run(&["db", "reseal", "--new-key"]));
    assert!(reason.contains("DATABASE_URL") && reason.contains("secret.key"), "{reason}");
    let signing = home.path().join("keys/signing.key");
    fs::create_dir_all(signing.parent().unwrap()).unwrap();
    fs::write(&signing, [7; 64]).unwrap();
    done(&run(&["db", "rotate", "api", "--yes"]));
    assert!(signing.exists());
    done(&run(&["db", "rotate", "login", "--yes"]));
    assert!(!signing.exists(), "a standalone signs with this one");
}

#[test]
fn a_look_makes_nothing_and_takes_any_environment() {
    use std::os::unix::ffi::OsStringExt as _;
    let home = home();
    let place = home.path().join("not/yet");
    let odd = std::ffi::OsString::from_vec(vec![b'x', 0xff]);
    let mut command = Command::new(env!("CARGO_BIN_EXE_windlass"));
    command.arg("doctor").env_remove("DATABASE_URL").env("WINDLASS_HOME", &place).env("LS_COLORS", &odd).env(&odd, "1");
    let output = command.env("WINDLASS_DAGS_FOLDER", home.path().join("dags")).output().unwrap();
    let said = done(&output);
    assert!(said.contains("there is none yet") && !said.contains("superuser"), "{said}");
    assert!(!home.path().join("not").exists());
    let wrong = command.env("WINDLASS_WORKER_NAME", &odd).output().unwrap();
    assert!(refused(&wrong).contains("WINDLASS_WORKER_NAME is not UTF-8"));
}

fn free_port() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port().to_string()
}

#[test]
fn old_history_is_counted_and_deleted_where_nothing_runs() {
    let home = home();
    let run = |arguments: &[&str]| windlass(home.path(), arguments, &[]);
    done(&run(&["variables", "set", "x", "1"]));
    let said = done(&run(&["db", "clean", "--before", "2020-01-01", "--dry-run"]));
    assert!(said.contains("runs") && said.contains("audit"), "{said}");
    assert!(refused(&run(&["db", "clean", "--before", "2020-01-01"])).contains("--yes"));
    assert!(refused(&run(&["db", "clean", "--before", "2999-01-01", "--yes"])).contains("ahead"));
    assert!(done(&run(&["db", "clean", "--before", "2020-01-01", "--yes"])).contains("done"));
}

#[test]
fn log_lines_are_json_where_programs_read_them() {
    let home = home();
    let output = windlass(
        home.path(),
        &["--log-format", "json", "worker"],
        &[("WINDLASS_JOIN_TOKEN", "no token"), ("WINDLASS_LOG", "debug")],
    );
    assert!(!output.status.success());
    let wrong = windlass(home.path(), &["check-settings"], &[("WINDLASS_LOG_FORMAT", "xml")]);
    assert!(refused(&wrong).contains("expected text or json"));
}
