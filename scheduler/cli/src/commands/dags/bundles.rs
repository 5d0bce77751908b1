//! `windlass dags deploy`, `undeploy`, `bundles`, `revisions`, `rollback`: DAG files as revisions that an installation keeps.

use std::{collections::BTreeMap, path::PathBuf, process::ExitCode, sync::Arc};

use anyhow::Context;
use clap::Args;
use daemon::folder::{Folder, Stored};
use dag::Content;
use model::BundleName;
use serde_json::json;

use super::folder_content::content_of;
use crate::{
    exit::{Exit, Failure},
    installation::{Deployment, Installation},
    output::{Listing, Output},
    settings::Settings,
};

/// Revisions that are listed unless more are asked for.
const REVISIONS: u16 = 50;

/// Options of `dags deploy`.
#[derive(Debug, Args)]
pub struct Deploy {
    /// The folder of DAG files, with the SQL and scripts that they name.
    folder: PathBuf,
    /// The bundle that it becomes a revision of; the folder's own name when absent.
    #[arg(long, value_name = "NAME")]
    bundle: Option<BundleName>,
    /// What the revision is about.
    #[arg(long, short, value_name = "TEXT")]
    message: Option<String>,
    /// Check, and show what would change, without deploying.
    #[arg(long)]
    dry_run: bool,
    /// Deploy a folder without any DAG, which takes those of the bundle out of force.
    #[arg(long)]
    empty: bool,
    #[command(flatten)]
    output: Output,
}

/// Options of `dags revisions`.
#[derive(Debug, Args)]
pub struct Revisions {
    /// The bundle.
    bundle: BundleName,
    /// At most so many, the newest first.
    #[arg(long, default_value_t = REVISIONS, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    limit: u16,
    #[command(flatten)]
    output: Output,
}

/// Options of `dags undeploy`.
#[derive(Debug, Args)]
pub struct Undeploy {
    /// The bundle.
    bundle: BundleName,
    /// Do not ask.
    #[arg(long, short)]
    yes: bool,
}

/// Options of `dags rollback`.
#[derive(Debug, Args)]
pub struct Rollback {
    /// The bundle.
    bundle: BundleName,
    /// The revision that is to be in force again, or its first characters.
    revision: String,
}

/// Checks a folder and makes it the revision in force.
///
/// # Errors
/// What is wrong with the folder, or that the installation does not take it.
pub async fn deploy(settings: &Settings, wish: Deploy) -> anyhow::Result<ExitCode> {
    let content = content_of(&wish.folder)?;
    let bundle = match &wish.bundle {
        Some(name) => name.clone(),
        None => name_of(&wish)?,
    };
    let Some(dags) = checked(&bundle, &content) else { return Ok(Exit::Error.into()) };
    if dags.is_empty() && !wish.empty {
        let text = format!(
            "{} has no DAG, and would take those of bundle {bundle} out of force; repeat it with --empty if that is meant",
            wish.folder.display()
        );
        return Err(Failure::refused(text));
    }
    Installation::with(settings, async |installation| {
        compare_and_deploy(installation, &wish, Ready { bundle, content, dags }).await
    })
    .await?;
    Ok(ExitCode::SUCCESS)
}

/// A folder that may be deployed.
struct Ready {
    bundle: BundleName,
    content: Content,
    dags: BTreeMap<String, String>,
}

async fn compare_and_deploy(installation: &Installation<'_>, wish: &Deploy, ready: Ready) -> anyhow::Result<()> {
    let Ready { bundle, content, dags } = ready;
    let before = installation.bundle_dags(&bundle).await?;
    let mut listing = Listing::new(&["dag_id", "change"]);
    for (dag_id, change) in changes(&before, &dags) {
        listing.push([json!(dag_id), json!(change)]);
    }
    listing.print(wish.output);
    let files = format!("{} files, {} bytes", content.len(), content.bytes());
    if wish.dry_run {
        errln!("bundle {bundle} would get revision {} ({files}); nothing was deployed", content.hash());
        return Ok(());
    }
    let deployment = Deployment { bundle: bundle.clone(), content, message: wish.message.clone() };
    let done = installation.deploy(deployment).await?;
    if done.has_changed {
        errln!("bundle {bundle} has revision {} ({files})", done.revision);
    } else {
        errln!("bundle {bundle} has revision {} already: nothing has changed", done.revision);
    }
    Ok(())
}

/// Deletes a bundle that was pushed.
///
/// # Errors
/// When it was not agreed to, or is refused.
pub async fn undeploy(installation: &Installation<'_>, wish: &Undeploy) -> anyhow::Result<()> {
    let name = &wish.bundle;
    let dags = installation.bundle_dags(name).await?.len();
    if !wish.yes {
        let text = format!(
            "this deletes bundle {name} with all of its revisions, and takes its {dags} DAGs out of force; repeat it with --yes"
        );
        return Err(Failure::refused(text));
    }
    installation.undeploy(name).await?;
    errln!("bundle {name} is deleted; its {dags} DAGs become stale, and their runs stay");
    Ok(())
}

/// The DAGs of a content with their hashes; none when a file has mistakes, which are printed.
fn checked(bundle: &BundleName, content: &Content) -> Option<BTreeMap<String, String>> {
    let stored = Stored { revision: None, content: Arc::new(content.clone()), not_renewed: None };
    let found = Folder::revision(bundle.clone(), stored).look();
    let mut mistakes = 0;
    let mut dags = BTreeMap::new();
    for file in found.changed.values() {
        for compiled in &file.dags {
            dags.insert(compiled.dag.dag_id.to_string(), compiled.content_hash.clone());
        }
        for warning in &file.warnings {
            errln!("warning: {warning}");
        }
        for error in &file.errors {
            mistakes += 1;
            errln!("{error}");
        }
    }
    if mistakes > 0 {
        errln!("nothing was deployed: mend the files first");
        return None;
    }
    Some(dags)
}

/// What becomes of each DAG that does not stay as it is.
fn changes<'d>(
    before: &'d BTreeMap<String, String>,
    after: &'d BTreeMap<String, String>,
) -> Vec<(&'d str, &'static str)> {
    let mut changes: Vec<(&str, &str)> = Vec::new();
    for (dag_id, hash) in after {
        match before.get(dag_id) {
            None => changes.push((dag_id, "added")),
            Some(old) if old != hash => changes.push((dag_id, "changed")),
            Some(_) => {}
        }
    }
    changes
        .extend(before.keys().filter(|dag_id| !after.contains_key(*dag_id)).map(|dag_id| (dag_id.as_str(), "removed")));
    changes.sort_unstable();
    changes
}

fn name_of(wish: &Deploy) -> anyhow::Result<BundleName> {
    let path = wish.folder.canonicalize()?;
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    BundleName::new(name).context("the folder's name is no name of a bundle: give one by --bundle")
}

/// A line a bundle.
///
/// # Errors
/// When the installation does not answer.
pub async fn list(installation: &Installation<'_>, output: Output) -> anyhow::Result<()> {
    let columns: &[&str] = &[
        "name",
        "kind",
        "bundle_version",
        "message",
        "deployed_by",
        "in_force_since",
        "dags",
        "last_poll",
        "poll_error",
    ];
    let mut listing = Listing::new(columns);
    for bundle in installation.bundles().await? {
        listing.push([
            json!(bundle.name),
            json!(if bundle.is_active { bundle.kind } else { format!("{} (not in use)", bundle.kind) }),
            json!(bundle.bundle_version),
            json!(bundle.message.as_deref().and_then(|message| message.lines().next())),
            json!(bundle.deployed_by),
            json!(bundle.in_force_since),
            json!(bundle.dag_count),
            json!(bundle.last_poll),
            json!(bundle.poll_error),
        ]);
    }
    listing.print(output);
    Ok(())
}

/// A line a revision.
///
/// # Errors
/// When there is no such bundle.
pub async fn revisions(installation: &Installation<'_>, wish: &Revisions) -> anyhow::Result<()> {
    let columns: &[&str] = &[
        "bundle_version",
        "is_current",
        "deployed_at",
        "deployed_by",
        "deployed_from",
        "author",
        "message",
        "files",
        "bytes",
    ];
    let mut listing = Listing::new(columns);
    for one in installation.revisions(&wish.bundle, usize::from(wish.limit)).await? {
        listing.push([
            json!(one.bundle_version),
            json!(one.is_current),
            json!(one.deployed_at),
            json!(one.deployed_by),
            json!(one.deployed_from),
            json!(one.author),
            json!(one.message.as_deref().and_then(|message| message.lines().next())),
            json!(one.file_count),
            json!(one.byte_count),
        ]);
    }
    listing.print(wish.output);
    Ok(())
}

/// Brings a revision into force again.
///
/// # Errors
/// When there is no such revision.
pub async fn rollback(installation: &Installation<'_>, wish: &Rollback) -> anyhow::Result<()> {
    let done = installation.rollback(&wish.bundle, &wish.revision).await?;
    if done.has_changed {
        outln!("bundle {} has revision {} again", wish.bundle, done.revision);
    } else {
        outln!("bundle {} has revision {} already", wish.bundle, done.revision);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_is_told_dag_by_dag() {
        let of = |dags: &[(&str, &str)]| -> BTreeMap<String, String> {
            dags.iter().map(|(id, hash)| ((*id).to_owned(), (*hash).to_owned())).collect()
        };
        let (before, after) = (of(&[("a", "1"), ("b", "1"), ("d", "1")]), of(&[("a", "1"), ("b", "2"), ("c", "1")]));
        assert_eq!(changes(&before, &after), [("b", "changed"), ("c", "added"), ("d", "removed")]);
        assert!(changes(&before, &before).is_empty());
    }
}
