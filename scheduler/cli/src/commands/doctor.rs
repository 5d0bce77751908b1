//! `windlass doctor`: everything that an installation needs is looked at, each finding with what to do.
//!
//! It changes nothing: no folder, key, database or schema is made. A part that can not be looked at is a finding, not the end.
//! Status 1 when something is broken.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::ExitCode,
    time::{Duration, Instant},
};

use chrono::Utc;
use clap::Args;
use daemon::postgres::EmbeddedPostgres;
use pgconnect::Target;
use serde_json::json;
use store::{
    SecretKey, diagnosis,
    diagnosis::Diagnosis,
    secrets::{connections, variables},
};

use super::health::{ask_health, silent_since};
use crate::{
    access::{Access, lease_moves},
    exit::Exit,
    fleet,
    known::{self, Unread},
    output::{Format, Listing, Output},
    settings::Settings,
};

/// A leader's clock follows the database's; people read both.
const CLOCK_SKEW_MAX_SECS: f64 = 2.0;
/// From here on new processes may find no connection.
const CONNECTIONS_SHARE_MAX: f64 = 0.8;
/// A leader takes commands within milliseconds.
const COMMAND_AGE_MAX_SECS: f64 = 10.0;
/// Less free room than this on the disk of logs, lake or database ends runs soon.
const FREE_BYTES_MIN: u64 = 2 * 1024 * 1024 * 1024;
/// One watch a folder; the kernel's limit is shared with everything else of this user.
const WATCHES_SPARE: u64 = 1_000;
/// Logs that grow over this are in nobody's way yet, and nobody reads them.
const LOG_BYTES_MAX: u64 = 1 << 30;
const NOTHING_RUNS: &str = "nothing of this installation runs";
const START: &str = "start `windlass standalone`";
/// What to do when PostgreSQL does not answer.
const REACH_IT: &str = "check that PostgreSQL runs and is reached";

/// Options of `doctor`.
#[derive(Debug, Args)]
pub struct Doctor {
    #[command(flatten)]
    output: Output,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Ok,
    Warning,
    Broken,
}

/// What was looked at, what was seen, and what to do.
#[derive(Debug)]
struct Finding {
    level: Level,
    about: &'static str,
    seen: String,
    advice: String,
}

#[derive(Debug, Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn ok(&mut self, about: &'static str, seen: impl Into<String>) {
        self.0.push(Finding { level: Level::Ok, about, seen: seen.into(), advice: String::new() });
    }

    fn warn(&mut self, about: &'static str, seen: impl Into<String>, advice: impl Into<String>) {
        self.0.push(Finding { level: Level::Warning, about, seen: seen.into(), advice: advice.into() });
    }

    fn broken(&mut self, about: &'static str, seen: impl Into<String>, advice: impl Into<String>) {
        self.0.push(Finding { level: Level::Broken, about, seen: seen.into(), advice: advice.into() });
    }

    /// `fine` decides between nothing to do and a warning.
    fn judge(&mut self, fine: bool, about: &'static str, seen: impl Into<String>, advice: &str) {
        if fine { self.ok(about, seen) } else { self.warn(about, seen, advice) }
    }
}

/// Looks at everything.
///
/// # Errors
/// When the output can not be written; findings are no errors.
pub async fn run(settings: &Settings, options: &Doctor) -> anyhow::Result<ExitCode> {
    let mut findings = Findings::default();
    look_at_settings(settings, &mut findings);
    let key = look_at_home(settings, &mut findings);
    look_at_folder_watches(settings, &mut findings);
    look_at_backends(settings, &mut findings).await;
    look_at_identity_provider(settings, &mut findings).await;
    if settings.database_url.is_none() && !EmbeddedPostgres::exists(&settings.home) {
        findings.warn("database", "there is none yet", "the first `windlass standalone` makes it; or set DATABASE_URL");
    } else {
        match Access::open(settings).await {
            Ok(access) => {
                look_at_databases(settings, &access, key.as_ref(), &mut findings).await;
                access.close().await;
            }
            Err(error) => {
                findings.broken("database", format!("{error:#}"), "check DATABASE_URL, or the home's PostgreSQL");
            }
        }
    }
    look_at_web(settings, &mut findings).await;
    show(&findings, options.output);
    let worst = findings.0.iter().map(|finding| finding.level).max();
    Ok(if worst == Some(Level::Broken) { Exit::Error.into() } else { ExitCode::SUCCESS })
}

fn show(findings: &Findings, output: Output) {
    if output.format == Format::Table {
        for finding in &findings.0 {
            let mark = match finding.level {
                Level::Ok => "ok     ",
                Level::Warning => "WARNING",
                Level::Broken => "BROKEN ",
            };
            outln!("{mark} {:<12} {}", finding.about, finding.seen);
            if !finding.advice.is_empty() {
                outln!("{:<20} → {}", "", finding.advice);
            }
        }
        return;
    }
    let mut listing = Listing::new(&["level", "about", "seen", "advice"]);
    for finding in &findings.0 {
        let level = match finding.level {
            Level::Ok => "ok",
            Level::Warning => "warning",
            Level::Broken => "broken",
        };
        listing.push([json!(level), json!(finding.about), json!(finding.seen), json!(finding.advice)]);
    }
    listing.print(output);
}

fn look_at_settings(settings: &Settings, findings: &mut Findings) {
    match settings.check() {
        Ok(()) => findings.ok("settings", "each can be read"),
        Err(error) => findings.broken("settings", format!("{error:#}"), "change that setting"),
    }
    for Unread { name, nearest, is_mistyped: _ } in known::unread(known::of_environment()) {
        findings.warn("settings", format!("{name} is set, and nothing reads it"), format!("did you mean {nearest}?"));
    }
}

/// Looks at the home without making one, and answers the key when there is one.
fn look_at_home(settings: &Settings, findings: &mut Findings) -> Option<SecretKey> {
    let home = settings.home.as_path();
    match fs::metadata(home) {
        Ok(metadata) if metadata.is_dir() => findings.ok("home", home.display().to_string()),
        Ok(_) => findings.broken("home", format!("{} is no folder", home.display()), "set WINDLASS_HOME to a folder"),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            findings.ok("home", format!("{} is not there yet; the first start makes it", home.display()));
        }
        Err(error) => {
            let seen = format!("{}: {error}", home.display());
            findings.broken("home", seen, "make WINDLASS_HOME a folder of this user's");
        }
    }
    let logs = home.join("logs");
    for folder in [home, logs.as_path()] {
        if let Some(free) = free_bytes(folder) {
            let seen = format!("{} has {:.1} GiB free", folder.display(), free as f64 / f64::from(1 << 30));
            findings.judge(free > FREE_BYTES_MIN, "disk", seen, "make room: runs fail when it is full");
        }
    }
    for log in [logs.join("worker.log"), home.join("standalone.log")] {
        if let Ok(bytes) = fs::metadata(&log).map(|metadata| metadata.len()) {
            let seen = format!("{} has {} MiB", log.display(), bytes >> 20);
            findings.judge(bytes < LOG_BYTES_MAX, "logs", seen, "truncate it while nothing runs");
        }
    }
    match fleet::settings::existing_key(home) {
        Ok(Some(key)) => {
            findings.ok("key", "it can be read, and by nobody else");
            return Some(key);
        }
        Ok(None) => findings.ok("key", "there is none yet; the first start makes it"),
        Err(error) => findings.broken("key", format!("{error:#}"), "without it connections and variables stay sealed"),
    }
    None
}

fn free_bytes(folder: &Path) -> Option<u64> {
    let stat = nix::sys::statvfs::statvfs(folder).ok()?;
    Some(stat.blocks_available() * stat.fragment_size())
}

fn look_at_folder_watches(settings: &Settings, findings: &mut Findings) {
    let folder = &settings.dags_folder;
    let Ok(metadata) = fs::metadata(folder) else {
        return findings.broken("dags", format!("{} can not be read", folder.display()), "set WINDLASS_DAGS_FOLDER");
    };
    findings.ok("dags", format!("{} (mode {:o})", folder.display(), metadata.permissions().mode() & 0o777));
    let limit = |name: &str| {
        let text = fs::read_to_string(format!("/proc/sys/fs/inotify/{name}")).ok()?;
        text.trim().parse::<u64>().ok()
    };
    let folders = count_folders(folder, 0);
    if let Some(most) = limit("max_user_watches") {
        let seen = format!("{folders} folders to watch, {most} watches allowed");
        let advice = "raise fs.inotify.max_user_watches: without watches changes are seen within 30 s only";
        findings.judge(folders + WATCHES_SPARE < most, "inotify", seen, advice);
    }
    if let Some(most) = limit("max_user_instances") {
        let seen = format!("{most} instances allowed to this user");
        findings.judge(most >= 64, "inotify", seen, "raise fs.inotify.max_user_instances to 128 or more");
    }
}

/// Folders below one, its own included; as deep as DAG folders are.
fn count_folders(folder: &Path, depth: usize) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let below = entries.filter(|entry| depth < 32 && entry.file_type().is_ok_and(|kind| kind.is_dir()));
    1 + below.map(|entry| count_folders(&entry.path(), depth + 1)).sum::<u64>()
}

async fn look_at_databases(settings: &Settings, access: &Access, key: Option<&SecretKey>, findings: &mut Findings) {
    match access.pending_migrations().await {
        Ok(pending) if pending.is_empty() => findings.ok("schema", "it is this version's, or a newer one's"),
        // Nothing uses it, and whatever starts next brings it up to date.
        Ok(pending) if access.is_alone() => {
            findings.ok("schema", format!("it lacks {}, which the next start applies", pending.join(", ")));
            return findings.warn("leader", NOTHING_RUNS, START);
        }
        Ok(pending) => return look_at_older_schema(settings, access, &pending.join(", "), findings).await,
        Err(error) => {
            return findings.broken("database", format!("{error:#}"), REACH_IT);
        }
    }
    let pool = match access.pool().await {
        Ok(pool) => pool,
        Err(error) => {
            return findings.broken("database", format!("{error:#}"), REACH_IT);
        }
    };
    let asked = Instant::now();
    match diagnosis::diagnose(pool).await {
        Ok(found) => {
            look_at_server(settings, &found, asked.elapsed(), findings);
            look_at_state(&found, findings);
            look_at_leader(access, pool, &found, findings).await;
        }
        Err(error) => findings.broken("database", error.to_string(), REACH_IT),
    }
    if let Some(key) = key {
        look_at_secrets(key, pool, findings).await;
    }
    match Target::parse(&access.urls().lake) {
        Ok(target) => match target.connect().await {
            Ok(_) => findings.ok("lake", "its database answers"),
            Err(error) => findings.broken(
                "lake",
                format!("its database does not answer: {error}"),
                "check WINDLASS_LAKE_DATABASE_URL",
            ),
        },
        Err(error) => findings.broken("lake", error.to_string(), "check WINDLASS_LAKE_DATABASE_URL"),
    }
}

/// A server whose schema is older than this program: whoever runs there is older, too, or the next start changes it.
async fn look_at_older_schema(settings: &Settings, access: &Access, pending: &str, findings: &mut Findings) {
    const ABOUT: &str = "schema";
    match access.leads_somebody().await {
        Ok(true) => findings.warn(
            ABOUT,
            format!("it lacks {pending}, and an older version of Windlass leads on it"),
            "update the schedulers, or use the `windlass` that they are",
        ),
        Ok(false) if settings.auto_migrate => {
            findings.ok(ABOUT, format!("it lacks {pending}, which the next start applies"));
            findings.warn("leader", NOTHING_RUNS, "start `windlass scheduler` or `windlass standalone`");
        }
        Ok(false) => findings.broken(ABOUT, format!("it lacks {pending}"), "run `windlass db migrate`"),
        Err(error) => findings.broken("database", format!("{error:#}"), REACH_IT),
    }
}

fn look_at_server(settings: &Settings, found: &Diagnosis, took: Duration, findings: &mut Findings) {
    let millis = took.as_millis();
    findings.ok(
        "database",
        format!("PostgreSQL {} answers in {millis} ms, {} MiB", found.server_version, found.bytes >> 20),
    );
    if found.is_standby {
        findings.broken("database", "it is a standby and can not be written to", "give the address of the primary");
    }
    let skew = (Utc::now() - found.clock).num_milliseconds() as f64 / 1_000.0;
    let seen = format!("the database's clock is {skew:+.1} s off this machine's");
    findings.judge(
        skew.abs() < CLOCK_SKEW_MAX_SECS,
        "clock",
        seen,
        "let both follow NTP: schedules follow the database's",
    );
    let share = found.connections as f64 / found.connections_max.max(1) as f64;
    let seen = format!("{} of {} connections are open", found.connections, found.connections_max);
    findings.judge(share < CONNECTIONS_SHARE_MAX, "connections", seen, "raise max_connections, or run fewer processes");
    findings.judge(
        found.is_private,
        "tls",
        if found.is_private { "encrypted, or on this machine" } else { "the way to PostgreSQL is not encrypted" },
        "add ?sslmode=verify-full to DATABASE_URL",
    );
    // The private server is Windlass's own, and nobody else's.
    if settings.database_url.is_some() {
        findings.judge(
            !found.is_superuser,
            "role",
            if found.is_superuser { "Windlass is PostgreSQL's superuser" } else { "no superuser" },
            "give it a role that owns its databases and no more",
        );
    }
}

fn look_at_state(found: &Diagnosis, findings: &mut Findings) {
    let seen = format!("{} things are put aside", found.quarantined);
    findings.judge(
        found.quarantined == 0,
        "quarantine",
        seen,
        "`windlass quarantine list` says why; `release` tries again",
    );
    let seen = format!("{} files have errors", found.broken_files);
    findings.judge(found.broken_files == 0, "dags", seen, "`windlass dags list-import-errors` has file and line");
    let seen = format!("{} commands wait, the oldest for {:.0} s", found.waiting_commands, found.oldest_command_secs);
    findings.judge(found.oldest_command_secs < COMMAND_AGE_MAX_SECS, "inbox", seen, "does a scheduler lead?");
    let seen = format!("about {} runs are kept", found.runs_kept);
    findings.judge(
        found.runs_kept < 5_000_000,
        "history",
        seen,
        "set WINDLASS_KEEP_RUNS_DAYS, or run `windlass db clean`",
    );
}

async fn look_at_leader(access: &Access, pool: &sqlx::PgPool, found: &Diagnosis, findings: &mut Findings) {
    if access.is_alone() {
        return findings.warn("leader", NOTHING_RUNS, START);
    }
    match lease_moves(pool).await {
        Ok(true) => findings.ok("leader", format!("{} leads", found.leader)),
        Ok(false) => {
            findings.broken("leader", "nobody leads: nothing is scheduled", "start a scheduler, or read its log")
        }
        Err(error) => findings.broken("leader", error.to_string(), REACH_IT),
    }
}

async fn look_at_secrets(key: &SecretKey, pool: &sqlx::PgPool, findings: &mut Findings) {
    let read = async {
        let connections = connections::all(pool, key).await?.into_iter().map(|stored| stored.problem);
        let variables = variables::all(pool, key).await?.into_iter().map(|stored| stored.problem);
        Ok::<Vec<String>, store::StoreError>(connections.chain(variables).flatten().collect())
    };
    match read.await.as_deref() {
        Ok([]) => findings.ok("secrets", "the key opens every connection and variable"),
        Ok(all @ [first, ..]) => findings.broken(
            "secrets",
            format!("{} can not be opened: {first}", all.len()),
            "give the key that they were sealed with, or enter them anew",
        ),
        Err(error) => findings.broken("secrets", format!("they can not be read: {error}"), REACH_IT),
    }
}

/// Each is asked for a name that nobody has, as the leader would ask it; from this machine and with this user's rights.
async fn look_at_backends(settings: &Settings, findings: &mut Findings) {
    const ABOUT: &str = "backends";
    match secrets::Backends::open(&settings.secrets) {
        Ok(backends) => {
            for (name, seen) in backends.look().await {
                match seen {
                    Ok(()) => findings.ok(ABOUT, format!("{name}: it answers")),
                    Err(why) => findings.broken(ABOUT, format!("{name}: {why}"), "docs/secrets.md has the settings"),
                }
            }
        }
        Err(error) => findings.broken(ABOUT, error.to_string(), "change that setting"),
    }
}

async fn look_at_identity_provider(settings: &Settings, findings: &mut Findings) {
    const ABOUT: &str = "logins";
    match settings.identity_provider() {
        Ok(None) => {}
        Ok(Some(provider)) => match provider.check().await {
            Ok(()) => findings.ok(ABOUT, "the identity provider answers"),
            Err(why) => findings.broken(ABOUT, why, "nobody can log in by it; docs/login.md has the settings"),
        },
        Err(error) => findings.broken(ABOUT, format!("{error:#}"), "change that setting"),
    }
}

async fn look_at_web(settings: &Settings, findings: &mut Findings) {
    match ask_health(settings).await {
        Ok(health) => {
            let parts = ["metadatabase", "scheduler"]
                .map(|part| health[part]["status"].as_str().unwrap_or("unknown").to_owned());
            let since = silent_since(&health).unwrap_or_default();
            let seen = format!(
                "http://{} answers: database {}, scheduler {}{since}",
                settings.api_address(),
                parts[0],
                parts[1]
            );
            findings.judge(
                parts.iter().all(|part| part == "healthy"),
                "web",
                seen,
                "the parts that are not say why in their logs",
            );
        }
        Err(error) => findings.warn("web", format!("{error:#}"), "start `windlass standalone` or `windlass api`"),
    }
}
