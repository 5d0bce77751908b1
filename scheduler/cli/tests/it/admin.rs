//! Connections, variables and users from the command line, on a database of its own and without a leader.

use std::{
    io::Write,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::{Command, Stdio},
};

use sqlx::{Connection, Executor, PgConnection};
use tempfile::TempDir;

/// An installation: a home and a database.
struct Installation {
    home: TempDir,
    url: String,
}

impl Installation {
    fn new() -> Self {
        let server = std::env::var("WINDLASS_TEST_DATABASE_URL").expect("test.sh sets WINDLASS_TEST_DATABASE_URL");
        let home = tempfile::tempdir().unwrap();
        let suffix: String = home.path().to_string_lossy().chars().filter(char::is_ascii_alphanumeric).collect();
        let name = format!("cli_{}_{}", std::process::id(), suffix.to_ascii_lowercase());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut connection = PgConnection::connect(&server).await.unwrap();
            connection.execute(format!("CREATE DATABASE {name}").as_str()).await.unwrap();
        });
        let (address, _) = server.rsplit_once('/').unwrap();
        let here = Self { home, url: format!("{address}/{name}") };
        here.run(&["db", "migrate"]).unwrap();
        here
    }

    fn file(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// Runs a command with this on its standard input; what it printed, or what it complained of.
    fn run_with(&self, arguments: &[&str], input: &str) -> Result<String, String> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_windlass"));
        command.args(arguments).env("WINDLASS_HOME", self.home.path()).env("DATABASE_URL", &self.url);
        command.env_remove("WINDLASS_SECRET_KEY").env("WINDLASS_LOG", "error");
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    fn run(&self, arguments: &[&str]) -> Result<String, String> {
        self.run_with(arguments, "")
    }

    fn json(&self, arguments: &[&str]) -> serde_json::Value {
        let printed = self.run(&[arguments, &["-o", "json"]].concat()).unwrap();
        serde_json::from_str(&printed).unwrap()
    }
}

#[test]
fn connections_are_added_listed_exported_and_imported() {
    let here = Installation::new();
    let uri = "postgres://me:canary-uri@db.example:5432/sales?token=canary-extra";
    here.run_with(&["connections", "add", "db", "--conn-uri", "-"], &format!("{uri}\n")).unwrap();
    let fields = ["connections", "add", "api", "--conn-type", "http", "--conn-host", "h", "--conn-password", "-"];
    here.run_with(&fields, "canary-typed\n").unwrap();
    let again = here.run(&["connections", "add", "api", "--conn-type", "http"]).unwrap_err();
    assert!(again.contains("already"), "{again}");
    let bad = here.run(&["connections", "add", "a/b", "--conn-type", "http", "--conn-port", "70000"]).unwrap_err();
    assert!(bad.contains("connection_id") && bad.contains("port"), "{bad}");

    let listed = here.json(&["connections", "list"]);
    assert_eq!(listed[1]["conn_id"], "db");
    assert_eq!((&listed[1]["password"], &listed[1]["schema"]), (&"***".into(), &"sales".into()));
    for output in ["table", "plain", "json"] {
        let text = here.run(&["connections", "list", "-o", output]).unwrap();
        assert!(text.contains("db.example") && !text.contains("canary"), "{text}");
    }
    let file = here.file("connections.json");
    let name = file.to_str().unwrap();
    here.run(&["connections", "export", name]).unwrap();
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let exported = std::fs::read_to_string(&file).unwrap();
    assert!(exported.contains("canary-uri") && exported.contains("canary-typed"), "an export is whole: {exported}");
    here.run(&["connections", "delete", "db"]).unwrap();
    assert!(here.run(&["connections", "delete", "db"]).unwrap_err().contains("no connection db"));
    assert!(here.run(&["connections", "get", "db"]).is_err());
    let imported = here.run(&["connections", "import", name]).unwrap();
    assert!(imported.contains("db is imported") && imported.contains("api is there already"), "{imported}");
    assert!(here.run(&["connections", "import", name, "--overwrite"]).unwrap().contains("api is replaced"));
    let lines = here.run(&["connections", "export", "-", "--file-format", "env"]).unwrap();
    assert!(lines.contains("db=postgres://me:canary-uri@db.example:5432/sales?__extra__="), "{lines}");
}

#[test]
fn variables_are_set_read_exported_and_imported() {
    let here = Installation::new();
    here.run_with(&["variables", "set", "token", "-"], "canary\n").unwrap();
    here.run(&["variables", "set", "limits", r#"{"rows": 3}"#, "--json", "--description", "how much"]).unwrap();
    assert!(here.run(&["variables", "set", "bad", "{", "--json"]).is_err());
    assert_eq!(here.run(&["variables", "get", "token"]).unwrap(), "canary\n");
    assert_eq!(here.run(&["variables", "get", "none", "--default", "7"]).unwrap(), "7\n");
    assert!(here.run(&["variables", "get", "none"]).unwrap_err().contains("no variable none"));
    let listed = here.json(&["variables", "list"]);
    assert_eq!(
        listed,
        serde_json::json!([{"key": "limits", "description": "how much"}, {"key": "token", "description": null}])
    );
    let exported = here.run(&["variables", "export", "-"]).unwrap();
    here.run(&["variables", "delete", "limits"]).unwrap();
    let import = |how: &str| here.run_with(&["variables", "import", "-", "--action-on-existing-key", how], &exported);
    assert!(import("fail").unwrap_err().contains("nothing was imported"));
    assert!(import("skip").unwrap().contains("token is there already"));
    assert_eq!(here.run(&["variables", "get", "limits"]).unwrap(), "{\"rows\":3}\n");
}

#[test]
fn users_are_created_changed_and_deleted() {
    let here = Installation::new();
    here.run_with(&["users", "create", "-u", "root", "-r", "Admin"], "secret one\n").unwrap();
    let printed = here.run(&["users", "create", "-u", "ann", "-r", "op", "--use-random-password"]).unwrap();
    assert!(printed.contains("password: "), "{printed}");
    assert!(here.run(&["users", "create", "-u", "bob", "-r", "King", "-p", "x"]).unwrap_err().contains("Viewer"));
    let listed = here.json(&["users", "list"]);
    assert_eq!((&listed[0]["username"], &listed[0]["roles"]), (&"ann".into(), &"Op".into()));
    here.run_with(&["users", "reset-password", "-u", "ann"], "another one\n").unwrap();
    assert!(here.run(&["users", "delete", "-u", "root"]).unwrap_err().contains("only Admin"));
    here.run(&["users", "delete", "-u", "ann"]).unwrap();
    assert!(here.run(&["users", "delete", "-u", "ann"]).unwrap_err().contains("no user ann"));
}

#[test]
fn pools_are_listed_and_a_bad_one_is_refused_before_anybody_is_asked() {
    let here = Installation::new();
    let listed = here.json(&["pools", "list"]);
    assert_eq!((&listed[0]["pool"], &listed[0]["slots"]), (&"default_pool".into(), &128.into()));
    assert!(here.run(&["pools", "set", "etl", "-2", "x"]).unwrap_err().contains("-2 slots"));
    assert!(here.run(&["pools", "get", "none"]).unwrap_err().contains("no pool none"));
    let exported: serde_json::Value = serde_json::from_str(&here.run(&["pools", "export", "-"]).unwrap()).unwrap();
    assert_eq!(exported["default_pool"]["slots"], 128);
}

#[test]
fn roles_are_made_given_and_taken_and_a_token_is_printed_once() {
    let here = Installation::new();
    here.run_with(&["users", "create", "-u", "ann", "-r", "Public"], "secret one\n").unwrap();
    here.run(&["roles", "create", "finance", "--right", "read_admin", "--dag", "edit tag:finance"]).unwrap();
    assert!(here.run(&["roles", "create", "finance", "--right", "read"]).unwrap_err().contains("already"));
    assert!(here.run(&["roles", "create", "op", "--right", "read"]).unwrap_err().contains("Airflow's roles"));
    assert!(here.run(&["roles", "create", "x", "--dag", "write dag:a"]).unwrap_err().contains("edit tag:finance"));
    here.run(&["roles", "add-perms", "finance", "--dag", "read dag:rates"]).unwrap();
    here.run(&["roles", "del-perms", "finance", "--right", "read_admin"]).unwrap();
    let listed = here.json(&["roles", "list"]);
    let finance = listed.as_array().unwrap().iter().find(|role| role["name"] == "finance").unwrap();
    assert_eq!((&finance["rights"], &finance["dags"]), (&"".into(), &"read dag:rates,edit tag:finance".into()));

    here.run(&["users", "add-role", "-u", "ann", "-r", "finance"]).unwrap();
    here.run(&["users", "add-role", "-u", "ann", "-r", "Viewer"]).unwrap();
    assert_eq!(here.json(&["users", "list"])[0]["roles"], "Viewer, finance");
    here.run(&["users", "remove-role", "-u", "ann", "-r", "viewer"]).unwrap();
    assert_eq!(here.json(&["users", "list"])[0]["roles"], "finance");
    assert!(here.run(&["users", "remove-role", "-u", "ann", "-r", "Op"]).unwrap_err().contains("finance"));
    assert!(here.run(&["users", "add-role", "-u", "ann", "-r", "none"]).unwrap_err().contains("no role none"));

    let made = here.run(&["tokens", "create", "-u", "ann", "-n", "export", "--right", "read"]).unwrap();
    assert!(made.starts_with("windlass_") && made.lines().count() == 1, "one line for a program to read: {made}");
    let listed = here.json(&["tokens", "list", "-u", "ann"]);
    assert_eq!((&listed[0]["name"], &listed[0]["scope"]), (&"export".into(), &"read".into()));
    assert!(!listed.to_string().contains(made.trim()), "{listed}");
    here.run(&["tokens", "revoke", listed[0]["id"].as_str().unwrap()]).unwrap();
    assert!(here.json(&["tokens", "list", "-u", "ann"]).as_array().unwrap().is_empty());
    assert!(here.run(&["tokens", "create", "-u", "bob", "-n", "x"]).unwrap_err().contains("no user bob"));
    here.run(&["roles", "delete", "finance"]).unwrap();
    assert_eq!(here.json(&["users", "list"])[0]["roles"], "Public");
}
