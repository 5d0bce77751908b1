//! `windlass db backup` and `db restore`: what belongs together is copied and put back together.
//!
//! A backup is a folder: `manifest.json` (version, instant, SHA-256 of each file), `state.dump` and `lake.dump` (pg_dump's custom
//! form, each a consistent picture), `secret.key`, `dags/`, and `lake/` when the tables lie in a directory. The databases come
//! first: the lake's files are never changed, and a file that the catalogue names is not deleted for hours after.
//! Restoring checks every file against the manifest before it changes anything, and afterwards that the key opens every secret.
//! What a database holds is dropped and restored in one transaction, whatever version has made it.

mod files;
mod programs;

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, bail};
use chrono::{DateTime, Utc};
use clap::Args;
use daemon::{home::Home, private};
use serde::{Deserialize, Serialize};
use store::{
    SecretKey,
    secrets::{connections, variables},
};
use url::Url;

use self::{
    files::{copy, empty, hashes, refuse_inside},
    programs::{Database, Place},
};
use super::confirmed;
use crate::{access::Access, exit::Exit, fleet, settings::Settings};

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
    /// Replace everything of Windlass's roles in the databases, the key and the lake's files.
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
    let folder = std::path::absolute(&options.folder)?;
    let lake = local_warehouse(settings);
    refuse_inside(&folder, &copied(settings, lake.as_deref()))?;
    // Looks at the schema, too: a backup of a half migrated database would be worth little.
    access.pool().await?;
    let (state, tables) = (Database::open(&access.urls().state).await?, Database::open(&access.urls().lake).await?);
    fs::DirBuilder::new()
        .mode(0o700)
        .create(&folder)
        .with_context(|| format!("{} can not be made; it must not be there yet", folder.display()))?;
    for (name, database) in [(STATE, &state), (LAKE, &tables)] {
        outln!("dumping {name}");
        database.dump(&folder.join(name)).await?;
    }
    let key = fleet::settings::installation_key_text(&Home::open(&settings.home)?)?;
    private::write(&folder.join(KEY), key.as_bytes())?;
    outln!("copying the DAG folder {}", settings.dags_folder.display());
    copy(&settings.dags_folder, &folder.join("dags"))?;
    if let (Some(lake), false) = (lake, options.without_lake_files) {
        outln!("copying the lake's files {}", lake.display());
        copy(&lake, &folder.join("lake"))?;
    }
    let manifest = Manifest {
        windlass: env!("CARGO_PKG_VERSION").to_owned(),
        made_at: Utc::now(),
        warehouse: settings.warehouse.clone(),
        files: hashes(&folder)?,
    };
    private::write(&folder.join(MANIFEST), &serde_json::to_vec_pretty(&manifest)?)?;
    outln!(
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
    let folder = std::path::absolute(&options.folder)?;
    let manifest = checked_manifest(&folder)?;
    outln!(
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
    refuse_inside(&folder, &copied(settings, local_warehouse(settings).as_deref()))?;
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
    if !settings.has_own_key() && !fleet::settings::installation_key(&home)?.covers(&SecretKey::parse(&key)?) {
        bail!(
            "the backup was sealed with another key than WINDLASS_SECRET_KEY (or its file) has; give it the backup's, {}, as a \
             further line or in its place; nothing was changed",
            folder.join(KEY).display()
        );
    }
    let lake = local_warehouse(settings).filter(|_| folder.join("lake").is_dir());
    let (state, tables) = (Database::open(&access.urls().state).await?, Database::open(&access.urls().lake).await?);
    let has_files =
        lake.as_ref().is_some_and(|lake| fs::read_dir(lake).is_ok_and(|mut entries| entries.next().is_some()));
    let is_free = state.is_empty() && tables.is_empty() && !has_files;
    if !is_free && !options.overwrite {
        bail!("there is an installation here already; --overwrite replaces its databases, key and lake");
    }
    let question =
        "Everything of their roles in both databases, the key and the lake's files are replaced by the backup's.";
    if !confirmed(options.yes || is_free, question)? {
        return Ok(Exit::Error.into());
    }
    for (name, database) in [(STATE, &state), (LAKE, &tables)] {
        outln!("restoring {name}");
        let place = if database.is_empty() { Place::Empty } else { Place::Taken };
        database.restore(&folder.join(name), place).await?;
    }
    if settings.has_own_key() {
        private::write(&home.secret_key(), key.as_bytes())?;
    }
    if let Some(lake) = lake {
        outln!("copying the lake's files to {}", lake.display());
        empty(&lake)?;
        copy(&folder.join("lake"), &lake)?;
    }
    opens(settings, access).await?;
    outln!("restored; the DAG files of the backup are in {}", folder.join("dags").display());
    Ok(ExitCode::SUCCESS)
}

/// Whether the key opens what was restored. A schema of an older version is left to whoever brings it up to date.
async fn opens(settings: &Settings, access: &Access) -> anyhow::Result<()> {
    let pending = access.pending_migrations().await?;
    if !pending.is_empty() && !access.is_alone() {
        outln!("its schema is older than this program; `windlass db migrate` applies: {}", pending.join(", "));
        return Ok(());
    }
    let key = Access::secret_key(settings)?;
    let pool = access.pool().await?;
    let (connections, variables) = (connections::all(pool, &key).await?, variables::all(pool, &key).await?);
    let problems = connections.iter().map(|stored| &stored.problem);
    let problem = problems.chain(variables.iter().map(|stored| &stored.problem)).flatten().next();
    match problem {
        Some(problem) => bail!("restored, but the key does not open its secrets: {problem}"),
        None => Ok(()),
    }
}

fn checked_manifest(folder: &Path) -> anyhow::Result<Manifest> {
    let path = folder.join(MANIFEST);
    let text =
        fs::read(&path).with_context(|| format!("{} can not be read: the backup is not whole", path.display()))?;
    let manifest: Manifest = serde_json::from_slice(&text).with_context(|| path.display().to_string())?;
    let files = hashes(folder)?;
    for (name, hash) in &manifest.files {
        match files.get(name) {
            Some(found) if found == hash => {}
            Some(_) => bail!("{name} of the backup is not what the manifest says; nothing was changed"),
            None => bail!("{name} of the backup is missing; nothing was changed"),
        }
    }
    Ok(manifest)
}

/// The folders that a backup is a copy of.
fn copied<'a>(settings: &'a Settings, lake: Option<&'a Path>) -> Vec<(&'static str, &'a Path)> {
    let dags = ("the DAG folder", settings.dags_folder.as_path());
    [Some(dags), lake.map(|lake| ("the lake", lake))].into_iter().flatten().collect()
}

/// The folder of the lake, when its tables lie in one.
fn local_warehouse(settings: &Settings) -> Option<PathBuf> {
    Url::parse(&settings.warehouse).ok().filter(|url| url.scheme() == "file")?.to_file_path().ok()
}
