//! `windlass db backup` and `db restore`: what belongs together is copied and put back together.
//!
//! A backup is a folder: `manifest.json` (version, instant, SHA-256 of each file), `state.dump` and `lake.dump` (pg_dump's custom
//! form, each a consistent picture), `secret.key`, `dags/`, and `lake/` when the tables lie in a directory. The databases come
//! first: the lake's files are never changed, and a file that the catalogue names is not deleted for hours after.
//! Restoring checks every file against the manifest before it changes anything, and afterwards that the key opens a secret.

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, bail};
use chrono::{DateTime, Utc};
use clap::Args;
use daemon::{home::Home, postgres};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use store::secrets::connections;
use tokio::process::Command;
use url::Url;

use super::{absolute, confirmed};
use crate::{access::Access, fleet, settings::Settings};

const MANIFEST: &str = "manifest.json";
const STATE: &str = "state.dump";
const LAKE: &str = "lake.dump";
const KEY: &str = "secret.key";

/// Options of `db backup`.
#[derive(Debug, Args)]
pub struct Backup {
    /// The folder to make; it must not be there yet.
    folder: PathBuf,
    /// Leave the lake's files out: they lie on S3, or are copied otherwise.
    #[arg(long)]
    without_lake_files: bool,
}

/// Options of `db restore`.
#[derive(Debug, Args)]
pub struct Restore {
    /// The folder of the backup.
    folder: PathBuf,
    /// Replace what is in the databases, the key and the lake's files now.
    #[arg(long)]
    overwrite: bool,
    /// Do not ask.
    #[arg(long, short = 'y')]
    yes: bool,
}

/// What a backup says of itself.
#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    windlass: String,
    made_at: DateTime<Utc>,
    /// Where the lake's tables lay; their metadata names files by their whole path.
    warehouse: String,
    /// Files below the folder, with SHA-256 in hex.
    files: BTreeMap<String, String>,
}

/// Makes one.
///
/// # Errors
/// When a part can not be read or written; what was written stays, without a manifest.
pub(super) async fn backup(settings: &Settings, access: &Access, options: &Backup) -> anyhow::Result<ExitCode> {
    let folder = absolute(&options.folder)?;
    fs::DirBuilder::new()
        .mode(0o700)
        .create(&folder)
        .with_context(|| format!("{} can not be made; it must not be there yet", folder.display()))?;
    // Looks at the schema, too: a backup of a half migrated database would be worth little.
    access.pool().await?;
    for (name, url) in [(STATE, &access.urls().state), (LAKE, &access.urls().lake)] {
        println!("dumping {name}");
        let target = folder.join(name);
        program("pg_dump", url, &["--format=custom".as_ref(), "--file".as_ref(), target.as_os_str()]).await?;
    }
    let key = fleet::settings::installation_key_text(&Home::open(&settings.home)?)?;
    write_private(&folder.join(KEY), key.as_bytes())?;
    println!("copying the DAG folder {}", settings.dags_folder.display());
    copy(&settings.dags_folder, &folder.join("dags"))?;
    if let (Some(lake), false) = (local_warehouse(settings), options.without_lake_files) {
        println!("copying the lake's files {}", lake.display());
        copy(&lake, &folder.join("lake"))?;
    }
    let mut files = BTreeMap::new();
    hashes(&folder, &folder, &mut files)?;
    let manifest = Manifest {
        windlass: env!("CARGO_PKG_VERSION").to_owned(),
        made_at: Utc::now(),
        warehouse: settings.warehouse.clone(),
        files,
    };
    write_private(&folder.join(MANIFEST), &serde_json::to_vec_pretty(&manifest)?)?;
    println!(
        "{} files are in {}; it holds the key: keep it as safe as the installation",
        manifest.files.len(),
        folder.display()
    );
    Ok(ExitCode::SUCCESS)
}

/// Puts one back.
///
/// # Errors
/// When it is not whole, something runs, or something is there that `--overwrite` would replace.
pub(super) async fn restore(settings: &Settings, options: &Restore) -> anyhow::Result<ExitCode> {
    let folder = absolute(&options.folder)?;
    let manifest = checked_manifest(&folder)?;
    println!(
        "the backup of {} is whole: {} files, made by windlass {}",
        manifest.made_at,
        manifest.files.len(),
        manifest.windlass
    );
    if manifest.warehouse != settings.warehouse {
        bail!(
            "its tables lay in {}, and here they would lie in {}; their metadata names files by their whole path: set \
             WINDLASS_LAKE_WAREHOUSE to the former",
            manifest.warehouse,
            settings.warehouse
        );
    }
    let access = Access::open(settings).await?;
    let done = put_back(settings, &access, options, &folder).await;
    access.close().await;
    done
}

async fn put_back(settings: &Settings, access: &Access, options: &Restore, folder: &Path) -> anyhow::Result<ExitCode> {
    if !access.is_alone() && settings.database_url.is_none() {
        bail!("a standalone runs on this home; stop it first");
    }
    if access.leads_somebody().await? {
        bail!("a leader runs on this database; stop all schedulers and api processes first");
    }
    let home = Home::open(&settings.home)?;
    let key = fs::read_to_string(folder.join(KEY))?;
    let key_file = home.secret_key();
    let lake = local_warehouse(settings).filter(|_| folder.join("lake").is_dir());
    let has_tables = access.has_tables().await?;
    let has_files =
        lake.as_ref().is_some_and(|lake| fs::read_dir(lake).is_ok_and(|mut entries| entries.next().is_some()));
    if (has_tables || has_files) && !options.overwrite {
        bail!("there is an installation here already; --overwrite replaces its databases, key and lake");
    }
    if !confirmed(options.yes || !options.overwrite, "Databases, key and lake are replaced by the backup's.")? {
        return Ok(ExitCode::FAILURE);
    }
    for (name, url) in [(STATE, &access.urls().state), (LAKE, &access.urls().lake)] {
        println!("restoring {name}");
        let arguments = ["--clean", "--if-exists", "--no-owner", "--exit-on-error", "--single-transaction", "--dbname"];
        let database = database_of(url)?;
        let dump = folder.join(name);
        let mut all: Vec<&std::ffi::OsStr> = arguments.iter().map(AsRef::as_ref).collect();
        all.extend([database.as_ref(), dump.as_os_str()]);
        program("pg_restore", url, &all).await?;
    }
    if settings.has_own_key() {
        write_private(&key_file, key.as_bytes())?;
    }
    if let Some(lake) = lake {
        println!("copying the lake's files to {}", lake.display());
        if lake.exists() {
            fs::remove_dir_all(&lake)?;
        }
        copy(&folder.join("lake"), &lake)?;
    }
    opens(settings, access).await?;
    println!("restored; the DAG files of the backup are in {}", folder.join("dags").display());
    Ok(ExitCode::SUCCESS)
}

/// Whether the key opens what was restored.
async fn opens(settings: &Settings, access: &Access) -> anyhow::Result<()> {
    let key = Access::secret_key(settings)?;
    let all = connections::all(access.pool().await?, &key).await?;
    match all.iter().find_map(|stored| stored.problem.as_ref()) {
        Some(problem) => bail!("restored, but the key does not open its secrets: {problem}"),
        None => Ok(()),
    }
}

fn checked_manifest(folder: &Path) -> anyhow::Result<Manifest> {
    let path = folder.join(MANIFEST);
    let text =
        fs::read(&path).with_context(|| format!("{} can not be read: the backup is not whole", path.display()))?;
    let manifest: Manifest = serde_json::from_slice(&text).with_context(|| path.display().to_string())?;
    let mut files = BTreeMap::new();
    hashes(folder, folder, &mut files)?;
    files.remove(MANIFEST);
    for (name, hash) in &manifest.files {
        match files.get(name) {
            Some(found) if found == hash => {}
            Some(_) => bail!("{name} of the backup is not what the manifest says; nothing was changed"),
            None => bail!("{name} of the backup is missing; nothing was changed"),
        }
    }
    Ok(manifest)
}

/// The folder of the lake, when its tables lie in one.
fn local_warehouse(settings: &Settings) -> Option<PathBuf> {
    Url::parse(&settings.warehouse).ok().filter(|url| url.scheme() == "file")?.to_file_path().ok()
}

fn hashes(root: &Path, folder: &Path, found: &mut BTreeMap<String, String>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            hashes(root, &path, found)?;
            continue;
        }
        let mut digest = Sha256::new();
        io::copy(&mut fs::File::open(&path)?, &mut digest)?;
        let hash = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        let name = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
        found.insert(name, hash);
    }
    Ok(())
}

/// A folder with all that is in it. Links are followed: what they name belongs to the backup.
fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to).with_context(|| format!("{} can not be made", to.display()))?;
    for entry in fs::read_dir(from).with_context(|| format!("{} can not be read", from.display()))? {
        let (path, target) = entry.map(|entry| (entry.path(), to.join(entry.file_name())))?;
        if path.is_dir() {
            copy(&path, &target)?;
        } else if let Err(error) = fs::copy(&path, &target)
            // Files of the lake come and go while it is copied; what the catalogue names stays for hours.
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(error).with_context(|| format!("{} can not be copied", path.display()));
        }
    }
    Ok(())
}

fn write_private(path: &Path, text: &[u8]) -> anyhow::Result<()> {
    let mut file = fs::File::options().create(true).truncate(true).write(true).mode(0o600).open(path)?;
    io::Write::write_all(&mut file, text)?;
    Ok(file.sync_all()?)
}

fn database_of(url: &str) -> anyhow::Result<String> {
    let url = Url::parse(url).context("the database URL")?;
    Ok(url.path().trim_start_matches('/').to_owned())
}

/// Runs a program of PostgreSQL on a database. Where and as whom goes by its environment, which other users can not read.
async fn program(name: &str, url: &str, arguments: &[&std::ffi::OsStr]) -> anyhow::Result<()> {
    let path = postgres::client_program(name)
        .with_context(|| format!("{name} is not installed (package postgresql-client)"))?;
    let url = Url::parse(url).context("the database URL")?;
    let decoded = |text: &str| {
        url::form_urlencoded::parse(format!("x={}", text.replace('+', "%2B")).as_bytes())
            .next()
            .map_or_else(String::new, |(_, value)| value.into_owned())
    };
    let mut command = Command::new(&path);
    command
        .args(arguments)
        .env("PGDATABASE", decoded(url.path().trim_start_matches('/')))
        .env("PGUSER", decoded(url.username()));
    command.env("PGHOST", url.host_str().map_or_else(|| "localhost".to_owned(), decoded));
    command.env("PGPORT", url.port().unwrap_or(5432).to_string()).env("PGAPPNAME", "windlass backup");
    if let Some(password) = url.password() {
        command.env("PGPASSWORD", decoded(password));
    }
    for (parameter, variable) in [
        ("sslmode", "PGSSLMODE"),
        ("sslrootcert", "PGSSLROOTCERT"),
        ("sslcert", "PGSSLCERT"),
        ("sslkey", "PGSSLKEY"),
        ("host", "PGHOST"),
    ] {
        if let Some((_, value)) = url.query_pairs().find(|(found, _)| found == parameter) {
            command.env(variable, value.as_ref());
        }
    }
    let output = command.output().await.with_context(|| format!("{} can not be run", path.display()))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    bail!("{name} failed: {}", said.trim().lines().last().unwrap_or("it said nothing"))
}
