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
    let mut command = Command::new(env!("CARGO_BIN_EXE_windlass"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("WINDLASS_") || name == "DATABASE_URL") {
        command.env_remove(name);
    }
    command.args(arguments).env("WINDLASS_HOME", home).env("WINDLASS_DAGS_FOLDER", home.join("dags"));
    command.envs(more.iter().copied()).output().expect("windlass starts")
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

    // And into a home that has nothing yet, but for where the tables lie.
    let other = self::home();
    let warehouse = format!("file://{}", home.path().join("lake").display());
    fs::remove_dir_all(home.path().join("lake")).unwrap();
    let elsewhere = [("WINDLASS_LAKE_WAREHOUSE", warehouse.as_str())];
    assert!(refused(&windlass(other.path(), &["db", "restore", folder], &[])).contains("WINDLASS_LAKE_WAREHOUSE"));
    done(&windlass(other.path(), &["db", "restore", folder], &elsewhere));
    assert_eq!(done(&windlass(other.path(), &["variables", "get", "greeting"], &elsewhere)), "hello\n");
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
}

#[test]
fn a_command_on_a_server_never_changes_its_schema() {
    let server = std::env::var("WINDLASS_TEST_DATABASE_URL").expect("test.sh sets WINDLASS_TEST_DATABASE_URL");
    let name = format!("cli_schema_{}", std::process::id());
    let (address, _) = server.rsplit_once('/').unwrap();
    let url = format!("{address}/{name}");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let ask = |url: &str, statement: &str| {
        runtime.block_on(async {
            let mut connection = PgConnection::connect(url).await.unwrap();
            connection.execute(statement).await.unwrap();
        });
    };
    ask(&server, &format!("CREATE DATABASE {name}"));
    let home = home();
    let key = [("DATABASE_URL", url.as_str()), ("WINDLASS_SECRET_KEY", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")];
    for arguments in [&["variables", "list"][..], &["pools", "list"], &["workers", "token"], &["users", "list"]] {
        let reason = refused(&windlass(home.path(), arguments, &key));
        assert!(reason.contains("windlass db migrate"), "{arguments:?}: {reason}");
    }
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
    ask(&server, &format!("DROP DATABASE {name} WITH (FORCE)"));
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
