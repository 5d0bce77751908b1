//! PostgreSQL's own programs on one of the two databases: `pg_dump`, and `pg_restore` with `psql`.

use std::{
    env,
    ffi::{OsStr, OsString},
    fs::File,
    io,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
};

use anyhow::{Context, bail};
use daemon::postgres::Clients;
use pgconnect::Target;
use sqlx::postgres::PgSslMode;
use store::{replace, secrets::uri};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    process::{Child, ChildStderr, ChildStdin, Command},
};
use url::Url;

/// Where systems keep the authorities that they trust in one file: libpq before 16 knows no other way to name them.
const SYSTEM_ROOTS: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];
/// Variables of libpq that Windlass heeds, too; every other one would take the programs somewhere else than Windlass.
const HEEDED: [&str; 4] = ["PGPASSWORD", "PGPASSFILE", "PGSSLCERT", "PGSSLKEY"];
/// What a restore is begun with. Whatever still holds a table ends it soon; nothing was changed then.
const BEGIN: &str = "BEGIN;\nSET LOCAL lock_timeout = '10s';\n";
const COMMIT: &str = "\nCOMMIT;\n";

/// What a restore finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Nothing that a backup would replace.
    Empty,
    /// An installation, to be dropped.
    Taken,
}

/// A database with the programs that fit its server.
pub(super) struct Database {
    environment: Vec<(&'static str, OsString)>,
    server_major: u32,
    clients: Vec<Clients>,
    is_empty: bool,
}

impl Database {
    /// Looks at a database and at what is installed for it.
    ///
    /// # Errors
    /// When it can not be reached, or no programs are there that are new enough.
    pub(super) async fn open(url: &str) -> anyhow::Result<Self> {
        let pool = store::open(url).await?;
        let seen = async {
            Ok::<_, store::StoreError>((replace::server_major(&pool).await?, replace::is_empty(&pool).await?))
        };
        let seen = seen.await;
        pool.close().await;
        let (server_major, is_empty) = seen?;
        let clients = Clients::for_server(server_major);
        if clients.is_empty() {
            let installed: Vec<String> = Clients::installed().iter().map(|found| found.major().to_string()).collect();
            let installed = if installed.is_empty() { "none".to_owned() } else { installed.join(", ") };
            bail!(
                "the server is PostgreSQL {server_major}, and its pg_dump, pg_restore and psql (or newer ones) are not installed \
                 here (installed: {installed}); Debian's package is postgresql-client-{server_major}"
            );
        }
        Ok(Self { environment: environment(url)?, server_major, clients, is_empty })
    }

    /// Whether nothing is in it that a backup would replace.
    pub(super) fn is_empty(&self) -> bool {
        self.is_empty
    }

    /// Writes a dump.
    ///
    /// # Errors
    /// What `pg_dump` says.
    pub(super) async fn dump(&self, file: &Path) -> anyhow::Result<()> {
        let mut command = self.command(&self.clients[0], "pg_dump");
        command.arg("--format=custom").arg("--file").arg(file);
        let output = command.output().await.context("pg_dump can not be run")?;
        judged("pg_dump", output.status, &String::from_utf8_lossy(&output.stderr))
    }

    /// Puts a dump back, in one transaction: what was there is gone, or nothing was changed.
    ///
    /// # Errors
    /// What `pg_restore` or `psql` says.
    pub(super) async fn restore(&self, file: &Path, place: Place) -> anyhow::Result<()> {
        let clients = self.reader_of(file).await?;
        let mut restore = self.command(clients, "pg_restore");
        restore.args(["--no-owner", "--no-comments", "--file=-"]).arg(file).stdout(Stdio::piped());
        let mut psql = self.command(clients, "psql");
        psql.args(["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--file=-"]).stdin(Stdio::piped());
        psql.stdout(Stdio::null());
        let mut restore = restore.spawn().context("pg_restore can not be run")?;
        let mut psql = psql.spawn().context("psql can not be run")?;
        let (script, words) = (psql.stdin.take(), (restore.stderr.take(), psql.stderr.take()));
        let (fed, of_restore, of_psql) =
            tokio::join!(feed(&mut restore, script, place), all_of(words.0), all_of(words.1));
        let (restored, stored) = (restore.wait().await?, psql.wait().await?);
        // psql ends first when it is psql that refuses, and pg_restore then complains of the pipe.
        judged("psql", stored, &of_psql)?;
        judged("pg_restore", restored, &of_restore)?;
        fed.context("the dump did not reach psql")
    }

    /// The oldest programs that fit the server and can read the dump: one that a newer `pg_dump` wrote has another form.
    async fn reader_of(&self, file: &Path) -> anyhow::Result<&Clients> {
        let mut refusal = String::new();
        for clients in &self.clients {
            let mut command = self.command(clients, "pg_restore");
            let output = command.arg("--list").arg(file).output().await.context("pg_restore can not be run")?;
            if output.status.success() {
                return Ok(clients);
            }
            refusal = String::from_utf8_lossy(&output.stderr).into_owned();
        }
        bail!(
            "no pg_restore here for a server of PostgreSQL {} can read {}: {}; install the client that made it",
            self.server_major,
            file.display(),
            telling_line(&refusal)
        )
    }

    fn command(&self, clients: &Clients, name: &str) -> Command {
        let mut command = Command::new(clients.program(name));
        for (name, _) in env::vars_os().filter(|(name, _)| is_foreign(name)) {
            command.env_remove(name);
        }
        command.envs(self.environment.iter().map(|(name, value)| (*name, value)));
        command.stdin(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }
}

/// Gives psql the whole transaction. It is committed only when `pg_restore` has ended well: one that is cut is taken back.
async fn feed(restore: &mut Child, script: Option<ChildStdin>, place: Place) -> io::Result<()> {
    let (Some(mut sql), Some(mut dump)) = (script, restore.stdout.take()) else { return Ok(()) };
    let given = async {
        sql.write_all(BEGIN.as_bytes()).await?;
        if place == Place::Taken {
            sql.write_all(replace::DROP_OWN.as_bytes()).await?;
        }
        tokio::io::copy(&mut dump, &mut sql).await
    };
    let given = given.await;
    drop(dump);
    if let Err(error) = given {
        // psql has ended and says why.
        let _ended_already = restore.start_kill();
        return Err(error);
    }
    if restore.wait().await?.success() {
        sql.write_all(COMMIT.as_bytes()).await?;
    }
    sql.shutdown().await
}

async fn all_of(words: Option<ChildStderr>) -> String {
    let mut bytes = Vec::new();
    if let Some(mut words) = words
        && let Err(error) = words.read_to_end(&mut bytes).await
    {
        return error.to_string();
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn judged(name: &str, status: ExitStatus, said: &str) -> anyhow::Result<()> {
    if status.success() {
        return Ok(());
    }
    bail!("{name} failed: {}", telling_line(said))
}

/// The line that says what is wrong; those after it say where, or what was given up then.
fn telling_line(said: &str) -> &str {
    let told = |line: &&str| ["error:", "ERROR:", "FATAL:"].iter().any(|mark| line.contains(mark));
    let lines = || said.lines().map(str::trim).filter(|line| !line.is_empty());
    lines().find(told).or_else(|| lines().next_back()).unwrap_or("it said nothing")
}

fn is_foreign(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b"PG") && !HEEDED.iter().any(|heeded| name == *heeded)
}

/// Where and as whom, as variables, which other users can not read; what Windlass itself takes from the URL.
fn environment(url: &str) -> anyhow::Result<Vec<(&'static str, OsString)>> {
    let target = Target::parse(url).context("the database URL")?;
    let options = target.options();
    let host = options.get_host();
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let host = options.get_socket().map_or_else(|| host.into(), |folder| folder.clone().into_os_string());
    let user = options.get_username();
    let mut all: Vec<(&str, OsString)> = vec![
        ("PGHOST", host),
        ("PGPORT", options.get_port().to_string().into()),
        ("PGUSER", user.into()),
        ("PGDATABASE", options.get_database().unwrap_or(user).into()),
        ("PGSSLMODE", mode_name(options.get_ssl_mode()).into()),
        ("PGCONNECT_TIMEOUT", target.connect_timeout().as_secs().to_string().into()),
        ("PGAPPNAME", "windlass backup".into()),
    ];
    if let Some(settings) = options.get_options() {
        all.push(("PGOPTIONS", settings.into()));
    }
    let url = Url::parse(url).context("the database URL")?;
    let parameter = |names: &[&str]| {
        let found = url.query_pairs().filter(|(name, _)| names.contains(&name.as_ref())).last();
        found.map(|(_, value)| value.into_owned())
    };
    if let Some(password) = parameter(&["password"]).or_else(|| url.password().map(uri::decoded)) {
        all.push(("PGPASSWORD", password.into()));
    }
    let root = parameter(&["sslrootcert", "ssl-root-cert", "ssl-ca"]).map(OsString::from);
    if let Some(root) = roots(root.or_else(|| env::var_os("PGSSLROOTCERT")), options.get_ssl_mode()) {
        all.push(("PGSSLROOTCERT", root));
    }
    for (names, variable) in [(["sslcert", "ssl-cert"], "PGSSLCERT"), (["sslkey", "ssl-key"], "PGSSLKEY")] {
        if let Some(file) = parameter(&names) {
            all.push((variable, file.into()));
        }
    }
    Ok(all)
}

/// The authorities to check a server's certificate against. Where none are named Windlass takes the system's, and libpq a file
/// in the user's home, which need not be there.
fn roots(named: Option<OsString>, mode: PgSslMode) -> Option<OsString> {
    const SYSTEM: &str = "system";
    match (named, mode) {
        (Some(file), _) if file != SYSTEM => Some(file),
        (_, PgSslMode::VerifyCa | PgSslMode::VerifyFull) => {
            let chosen = env::var_os("SSL_CERT_FILE").map(PathBuf::from);
            let mut files = chosen.into_iter().chain(SYSTEM_ROOTS.map(PathBuf::from));
            let file = files.find(|file| File::open(file).is_ok());
            Some(file.map_or_else(|| SYSTEM.into(), PathBuf::into_os_string))
        }
        (_, PgSslMode::Disable | PgSslMode::Allow | PgSslMode::Prefer | PgSslMode::Require) => None,
    }
}

const fn mode_name(mode: PgSslMode) -> &'static str {
    match mode {
        PgSslMode::Disable => "disable",
        PgSslMode::Allow => "allow",
        PgSslMode::Prefer => "prefer",
        PgSslMode::Require => "require",
        PgSslMode::VerifyCa => "verify-ca",
        PgSslMode::VerifyFull => "verify-full",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn told(url: &str) -> BTreeMap<&'static str, String> {
        let pairs = environment(url).unwrap().into_iter();
        pairs.map(|(name, value)| (name, value.into_string().unwrap())).collect()
    }

    #[test]
    fn the_programs_go_where_windlass_goes() {
        let all = told("postgres://m%40e:p%2Fw+@[::1]:5433/my%20db?sslmode=require&sslcert=/c.pem&connect_timeout=3");
        let parts = ["PGHOST", "PGPORT", "PGUSER", "PGPASSWORD", "PGDATABASE", "PGSSLMODE", "PGSSLCERT"];
        assert_eq!(parts.map(|part| all[part].as_str()), ["::1", "5433", "m@e", "p/w+", "my db", "require", "/c.pem"]);
        assert_eq!(all["PGCONNECT_TIMEOUT"], "3");
        assert!(!all.contains_key("PGSSLROOTCERT"));
        assert_eq!(told("postgres://me@db/x?host=/run/postgresql")["PGHOST"], "/run/postgresql");
        let checked = told("postgres://me@db/x?sslmode=require&sslrootcert=/ca.pem");
        assert_eq!((checked["PGSSLMODE"].as_str(), checked["PGSSLROOTCERT"].as_str()), ("verify-ca", "/ca.pem"));
        assert!(!told("postgres://me@db/x?sslmode=verify-full")["PGSSLROOTCERT"].is_empty());
        assert!(is_foreign(OsStr::new("PGHOSTADDR")) && !is_foreign(OsStr::new("PGPASSWORD")));
        assert!(environment("postgres://me@db/x?sslmod=require").is_err());
    }

    #[test]
    fn of_many_lines_the_one_that_says_what_is_wrong_is_told() {
        let said = "pg_restore: while PROCESSING TOC:\npg_restore: error: could not execute query: ERROR: no\nCommand was: X\n\n";
        assert_eq!(telling_line(said), "pg_restore: error: could not execute query: ERROR: no");
        assert_eq!(telling_line("a\nb\n"), "b");
        assert_eq!(telling_line(""), "it said nothing");
    }
}
