//! Every mode of `sslmode` on a real PostgreSQL with certificates made here.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

extern crate windlass_pgconnect as pgconnect;

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use pgconnect::Target;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use sqlx::{Connection as _, Executor as _, Row as _};

/// An authority with one certificate for a server and one for the client `tls_user`.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    fn sign(&self, names: &[&str], common_name: &str) -> (String, String) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name.push(DnType::CommonName, common_name);
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }
}

/// A private server; it ends with the value.
struct Server {
    folder: tempfile::TempDir,
    port: u16,
    child: std::process::Child,
}

/// `initdb` and `postgres` refuse to run as root.
fn as_user(program: &Path) -> Command {
    if nix::unistd::Uid::effective().is_root() {
        let mut command = Command::new("runuser");
        command.args(["-u", "nobody", "--"]).arg(program);
        command
    } else {
        Command::new(program)
    }
}

/// Where the server's programs are: where Debian has them, or in PATH.
fn binaries() -> PathBuf {
    let mut versions: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().path().join("bin"))
        .collect();
    versions.sort();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders = versions.into_iter().rev().chain(std::env::split_paths(&path));
    let has_all = |folder: &PathBuf| ["initdb", "postgres", "pg_isready"].iter().all(|one| folder.join(one).is_file());
    folders.find(has_all).expect("PostgreSQL's server is installed")
}

impl Server {
    /// With these rules for logins; `tls` names the files of certificate, key and authority.
    fn start(rules: &str, tls: Option<(&str, &str, &str)>) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Self::start_at(rules, tls, port)
    }

    fn start_at(rules: &str, tls: Option<(&str, &str, &str)>, port: u16) -> Self {
        let folder = tempfile::Builder::new().prefix("windlass-tls-").tempdir_in("/tmp").unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let data = folder.path().join("data");
        let made = as_user(&binaries().join("initdb"))
            .args(["-U", "windlass", "-A", "trust", "--no-sync", "-D"])
            .arg(&data)
            .stdout(Stdio::null())
            .status()
            .unwrap();
        assert!(made.success());
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            // A key must belong to the server's user and be nobody else's.
            let path = path.display().to_string();
            let owned = Command::new("chown").arg("--reference").arg(&data).arg(&path).status().unwrap();
            assert!(owned.success());
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            path
        };
        let rules = write("hba", rules);
        let mut settings = vec![
            "listen_addresses=127.0.0.1".to_owned(),
            format!("port={port}"),
            "fsync=off".to_owned(),
            format!("unix_socket_directories={}", folder.path().display()),
            format!("hba_file={rules}"),
        ];
        if let Some((certificate, key, authority)) = tls {
            settings.push("ssl=on".to_owned());
            settings.push(format!("ssl_cert_file={}", write("server.pem", certificate)));
            settings.push(format!("ssl_key_file={}", write("server.key", key)));
            settings.push(format!("ssl_ca_file={}", write("authority.pem", authority)));
        }
        let mut command = as_user(&binaries().join("postgres"));
        command.arg("-D").arg(&data).stderr(Stdio::null()).stdout(Stdio::null());
        for setting in settings {
            command.arg("-c").arg(setting);
        }
        let child = command.spawn().unwrap();
        let server = Self { folder, port, child };
        for _ in 0..200 {
            let asked = Command::new(binaries().join("pg_isready"))
                .args(["-q", "-h"])
                .arg(server.folder.path())
                .args(["-p", &port.to_string()])
                .status()
                .unwrap();
            if asked.success() {
                return server;
            }
            std::thread::park_timeout(std::time::Duration::from_millis(50));
        }
        panic!("the server does not come up");
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    fn url(&self, host: &str, user: &str, parameters: &str) -> String {
        format!("postgres://{user}@{host}:{}/postgres?{parameters}", self.port)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let process = fs::read_to_string(self.folder.path().join("data/postmaster.pid")).unwrap_or_default();
        if let Some(pid) = process.lines().next().and_then(|line| line.parse().ok()) {
            let _ended = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGQUIT);
        } else {
            let _ended = self.child.kill();
        }
        let _status = self.child.wait();
    }
}

/// Whether a connection by this URL is encrypted, or why there is none.
async fn encrypted(url: &str) -> Result<bool, String> {
    let target = Target::parse(url).map_err(|error| error.to_string())?;
    let ask = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    // A pool of the settled options and a single connection are to come out alike.
    let settled = target.settled().await.map_err(|error| error.to_string())?;
    let mut connection = sqlx::PgConnection::connect_with(&settled).await.map_err(|error| error.to_string())?;
    let by_pool: bool = connection.fetch_one(ask).await.unwrap().get(0);
    let mut connection = target.connect().await.map_err(|error| error.to_string())?;
    let once: bool = connection.fetch_one(ask).await.unwrap().get(0);
    assert_eq!(by_pool, once, "{url}");
    Ok(once)
}

#[tokio::test]
async fn each_mode_means_on_a_server_with_tls_what_it_means_to_libpq() {
    let (ours, other) = (Authority::new("ours"), Authority::new("another"));
    let (certificate, key) = ours.sign(&["localhost"], "localhost");
    let server =
        Server::start("local all all trust\nhost all all 127.0.0.1/32 trust\n", Some((&certificate, &key, &ours.pem)));
    let (right, wrong) = (server.file("right.pem", &ours.pem), server.file("wrong.pem", &other.pem));
    let at = |host: &str, parameters: &str| server.url(host, "windlass", parameters);

    for (host, parameters, expected) in [
        ("127.0.0.1", "sslmode=disable".to_owned(), Ok(false)),
        ("127.0.0.1", "sslmode=allow".to_owned(), Ok(false)),
        ("127.0.0.1", "sslmode=prefer".to_owned(), Ok(true)),
        ("127.0.0.1", String::new(), Ok(true)),
        ("127.0.0.1", "sslmode=require".to_owned(), Ok(true)),
        ("127.0.0.1", format!("sslmode=require&sslrootcert={wrong}"), Err("UnknownIssuer")),
        ("127.0.0.1", format!("sslmode=require&sslrootcert={right}"), Ok(true)),
        ("127.0.0.1", format!("sslmode=verify-ca&sslrootcert={right}"), Ok(true)),
        ("127.0.0.1", "sslmode=verify-ca".to_owned(), Err("UnknownIssuer")),
        ("localhost", format!("sslmode=verify-full&sslrootcert={right}"), Ok(true)),
        ("127.0.0.1", format!("sslmode=verify-full&sslrootcert={right}"), Err("not valid for name")),
        ("localhost", format!("sslmode=verify-full&sslrootcert={wrong}"), Err("UnknownIssuer")),
        ("localhost", "sslmode=verify-full&sslrootcert=/no/such.pem".to_owned(), Err("No such file")),
    ] {
        match (encrypted(&at(host, &parameters)).await, expected) {
            (Ok(is), Ok(should)) => assert_eq!(is, should, "{host} {parameters}"),
            (Err(error), Err(words)) => assert!(error.contains(words), "{host} {parameters}: {error}"),
            (got, expected) => panic!("{host} {parameters}: {got:?} instead of {expected:?}"),
        }
    }
    assert!(!pgconnect::said_in_clear_text("127.0.0.1", server.port));
}

#[tokio::test]
async fn a_server_that_wants_tls_and_a_client_certificate_gets_them() {
    let ours = Authority::new("ours");
    let (certificate, key) = ours.sign(&["localhost"], "localhost");
    let rules =
        "local all all trust\nhostssl all tls_user 127.0.0.1/32 cert\nhostssl all windlass 127.0.0.1/32 trust\n";
    let server = Server::start(rules, Some((&certificate, &key, &ours.pem)));
    let socket = server.folder.path().display().to_string().replace('/', "%2F");
    let mut local = Target::parse(&server.url(&socket, "windlass", "")).unwrap().connect().await.unwrap();
    local.execute("CREATE ROLE tls_user LOGIN").await.unwrap();

    // Clear text is refused by a rule: allow goes on to TLS, disable does not.
    assert_eq!(encrypted(&server.url("127.0.0.1", "windlass", "sslmode=allow")).await, Ok(true));
    let refused = encrypted(&server.url("127.0.0.1", "windlass", "sslmode=disable")).await.unwrap_err();
    assert!(refused.contains("no pg_hba.conf entry"), "{refused}");

    let (client, client_key) = ours.sign(&[], "tls_user");
    let (client, client_key) = (server.file("client.pem", &client), server.file("client.key", &client_key));
    let with = format!("sslmode=require&sslcert={client}&sslkey={client_key}");
    assert_eq!(encrypted(&server.url("127.0.0.1", "tls_user", &with)).await, Ok(true));
    let without = encrypted(&server.url("127.0.0.1", "tls_user", "sslmode=require")).await.unwrap_err();
    assert!(without.contains("certificate"), "{without}");
}

#[tokio::test]
async fn prefer_does_without_tls_where_a_rule_refuses_it_and_a_socket_has_none() {
    let ours = Authority::new("ours");
    let (certificate, key) = ours.sign(&["localhost"], "localhost");
    let rules = "local all all trust\nhostnossl all all 127.0.0.1/32 trust\n";
    let server = Server::start(rules, Some((&certificate, &key, &ours.pem)));
    assert_eq!(encrypted(&server.url("127.0.0.1", "windlass", "sslmode=prefer")).await, Ok(false));
    let refused = encrypted(&server.url("127.0.0.1", "windlass", "sslmode=require")).await.unwrap_err();
    assert!(refused.contains("no pg_hba.conf entry"), "{refused}");
    let socket = server.folder.path().display().to_string().replace('/', "%2F");
    for mode in ["prefer", "require", "verify-ca", "verify-full"] {
        assert_eq!(encrypted(&server.url(&socket, "windlass", &format!("sslmode={mode}"))).await, Ok(false), "{mode}");
    }
}

#[tokio::test]
async fn a_server_that_is_just_starting_is_waited_for_by_whoever_has_patience() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let target = Target::parse(&format!("postgres://windlass@127.0.0.1:{port}/postgres")).unwrap();
    assert!(target.settled().await.is_err());
    let starting = tokio::task::spawn_blocking(move || {
        Server::start_at("local all all trust\nhost all all 127.0.0.1/32 trust\n", None, port)
    });
    target.settled_within(std::time::Duration::from_secs(60)).await.unwrap();
    drop(starting.await.unwrap());
}

#[tokio::test]
async fn a_server_without_tls_is_used_in_the_clear_only_where_that_was_asked_for_and_it_is_said() {
    let server = Server::start("local all all trust\nhost all all 127.0.0.1/32 trust\n", None);
    let at = |parameters: &str| server.url("127.0.0.1", "windlass", parameters);
    assert_eq!(encrypted(&at("sslmode=disable")).await, Ok(false));
    assert_eq!(encrypted(&at("sslmode=allow")).await, Ok(false));
    assert!(!pgconnect::said_in_clear_text("127.0.0.1", server.port), "both were asked for");
    assert_eq!(encrypted(&at("")).await, Ok(false));
    assert!(pgconnect::said_in_clear_text("127.0.0.1", server.port));
    for mode in ["require", "verify-ca", "verify-full"] {
        let refused = encrypted(&at(&format!("sslmode={mode}"))).await.unwrap_err();
        assert!(refused.contains("TLS"), "{mode}: {refused}");
    }
}
