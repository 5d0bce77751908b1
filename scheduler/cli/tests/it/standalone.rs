//! A standalone that a test starts, and the commands beside it.

use std::{
    fs,
    net::TcpListener,
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{printed, said, windlass_with};

/// A standalone takes some seconds to make its database.
const UP_WITHIN: Duration = Duration::from_secs(90);

/// Where commands are typed: a folder, and what is set there.
pub trait Place {
    /// Its folder.
    fn path(&self) -> &Path;

    /// What is set there.
    fn environment(&self) -> &[(&'static str, String)];

    /// Runs a command there.
    fn run(&self, arguments: &[&str]) -> Output {
        self.run_with(arguments, "")
    }

    /// Runs a command there with this on its standard input.
    fn run_with(&self, arguments: &[&str], input: &str) -> Output {
        let environment: Vec<_> = self.environment().iter().map(|(name, value)| (*name, value.as_str())).collect();
        windlass_with(self.path(), arguments, &environment, input)
    }

    /// What a command that succeeds prints.
    fn good(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}{}", printed(&output), said(&output));
        printed(&output)
    }

    /// What a command that is refused with this code says.
    fn bad(&self, code: i32, arguments: &[&str]) -> String {
        refusal(code, arguments, &self.run(arguments))
    }

    /// The rows that a command prints, whether it succeeds or not.
    fn json(&self, arguments: &[&str]) -> Value {
        let output = self.run(&[arguments, &["-o", "json"]].concat());
        serde_json::from_str(&printed(&output)).unwrap_or_else(|error| panic!("{error}: {}", said(&output)))
    }
}

/// A standalone that ends with the test.
pub struct Standalone {
    child: Child,
    folder: tempfile::TempDir,
    environment: Vec<(&'static str, String)>,
}

impl Standalone {
    /// Starts one with these DAG files and waits until it has read them.
    pub fn start(dags: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("dags")).unwrap();
        for (name, text) in dags {
            fs::write(folder.path().join("dags").join(name), text).unwrap();
        }
        let port = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
        let environment = vec![("WINDLASS_PORT", port()), ("WINDLASS_REGISTRY_PORT", port())];
        let child = Command::new(env!("CARGO_BIN_EXE_windlass"))
            .arg("standalone")
            .current_dir(folder.path())
            .env_remove("DATABASE_URL")
            .envs(environment.iter().map(|(name, value)| (*name, value.as_str())))
            .stdout(Stdio::null())
            .stderr(fs::File::create(folder.path().join("standalone.log")).unwrap())
            .spawn()
            .unwrap();
        let standalone = Self { child, folder, environment };
        let since = Instant::now();
        // Health asks the web server alone; any other command would use the home itself while nobody holds it.
        let is_up = || {
            standalone.run(&["health", "--quiet"]).status.success()
                && standalone.json(&["dags", "list"]).as_array().is_some_and(|found| found.len() == dags.len())
        };
        while !is_up() {
            let log = fs::read_to_string(standalone.path().join("standalone.log")).unwrap();
            assert!(since.elapsed() < UP_WITHIN, "the standalone does not come up: {log}");
        }
        standalone
    }

    /// Where its server answers.
    pub fn url(&self) -> String {
        let (_, port) = &self.environment[0];
        format!("http://127.0.0.1:{port}")
    }

    /// A token of its administrator.
    pub fn token(&self) -> String {
        let login = serde_json::json!({"username": "airflow", "password": "airflow"});
        let answer: Value = ask(async |client| {
            let answer = client.post(format!("{}/auth/token", self.url())).json(&login).send().await?;
            answer.json().await
        });
        answer["access_token"].as_str().unwrap().to_owned()
    }

    /// Asks its API for something without a body.
    pub fn post(&self, token: &str, path: &str) {
        let status = ask(async |client| {
            let request = client.post(format!("{}{path}", self.url())).bearer_auth(token);
            Ok(request.send().await?.status())
        });
        assert!(status.is_success(), "{path}: {status}");
    }
}

/// What a command that ended with this code said.
pub fn refusal(code: i32, arguments: &[&str], output: &Output) -> String {
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}{}", printed(output), said(output));
    printed(output) + &said(output)
}

/// Somebody on another machine: no home, no database, logins of their own.
pub struct Client {
    folder: tempfile::TempDir,
    environment: Vec<(&'static str, String)>,
}

impl Client {
    /// One whose commands are for a server.
    pub fn of(url: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("config").display().to_string();
        let environment = vec![("WINDLASS_SERVER_URL", url.to_owned()), ("XDG_CONFIG_HOME", config)];
        Self { folder, environment }
    }

    /// The same with another setting.
    pub fn with(mut self, name: &'static str, value: &str) -> Self {
        self.environment.push((name, value.to_owned()));
        self
    }

    /// The folder of their logins.
    pub fn logins(&self) -> std::path::PathBuf {
        self.folder.path().join("config/windlass/logins")
    }

    /// Logs in as the administrator that every new installation has.
    pub fn logged_in(self) -> Self {
        let output = self.run_with(&["login", "--username", "airflow"], "airflow\n");
        assert!(output.status.success(), "{}", said(&output));
        self
    }
}

impl Place for Standalone {
    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn environment(&self) -> &[(&'static str, String)] {
        &self.environment
    }
}

impl Place for Client {
    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn environment(&self) -> &[(&'static str, String)] {
        &self.environment
    }
}

fn ask<T>(request: impl AsyncFnOnce(reqwest::Client) -> reqwest::Result<T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(request(reqwest::Client::new())).unwrap()
}

impl Drop for Standalone {
    fn drop(&mut self) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        self.child.wait().unwrap();
    }
}
