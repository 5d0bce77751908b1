//! One poll: which commit the branch has, and, when it is another one, its files.

use std::time::Duration;

use dag::Content;
use model::Timestamp;
use store::bundles::Authorship;

use super::{
    access::Access,
    program::{Git, GitError, Run},
    settings::GitBundle,
    tree,
};

/// Asking a server for a branch.
const ASK_WITHIN: Duration = Duration::from_secs(30);
/// Fetching one commit of it.
const FETCH_WITHIN: Duration = Duration::from_secs(180);
/// What is done on this machine.
const HERE_WITHIN: Duration = Duration::from_secs(60);
/// What names and messages may take.
const TEXT_BYTES_MAX: usize = 256 * 1024;

/// What a poll has found.
#[derive(Debug)]
pub enum Found {
    /// A commit that is known.
    Known,
    /// Another one.
    New(Box<Fetched>),
}

/// A commit with its files.
#[derive(Debug)]
pub struct Fetched {
    /// The commit.
    pub commit: String,
    /// Who wrote it.
    pub authorship: Authorship,
    /// The files below the bundle's root.
    pub content: Content,
}

/// Looks at a repository. A commit among `known` is not fetched.
///
/// # Errors
/// [`GitError`] with the address of the repository; nothing of it is a secret.
pub async fn look(bundle: &GitBundle, access: &Access, known: &[&str]) -> Result<Found, GitError> {
    let url = bundle.repo_url.as_deref().or(access.repo_url.as_deref()).ok_or_else(|| {
        GitError::Odd("neither repo_url nor the host of its connection says where the repository is".to_owned())
    })?;
    let git = Git::open(url, access)?;
    std::fs::create_dir(git.repository())
        .map_err(|source| GitError::System { doing: "making a folder for git", source })?;
    here(&git, &["init", "--quiet", "--bare"]).await?;
    let wanted = if is_commit(&bundle.tracking_ref) {
        if known.contains(&bundle.tracking_ref.as_str()) {
            return Ok(Found::Known);
        }
        bundle.tracking_ref.clone()
    } else {
        let (full_name, commit) = ask(&git, url, &bundle.tracking_ref).await?;
        if known.contains(&commit.as_str()) {
            return Ok(Found::Known);
        }
        full_name
    };
    let fetch = ["fetch", "--quiet", "--depth=1", "--no-tags", "--no-recurse-submodules", "--", url, &wanted];
    git.run(Run { arguments: &fetch, input: &[], bytes_max: TEXT_BYTES_MAX, within: FETCH_WITHIN }).await?;
    let commit = line(&here(&git, &["rev-parse", "--verify", "--quiet", "FETCH_HEAD^{commit}"]).await?);
    // The branch may have moved since it was asked for.
    if known.contains(&commit.as_str()) {
        return Ok(Found::Known);
    }
    let authorship = authorship(&git, &commit).await?;
    let content = tree::content(&git, &commit, bundle.subdir.as_deref()).await?;
    Ok(Found::New(Box::new(Fetched { commit, authorship, content })))
}

/// Which commit a branch or a tag has, and what it is called in full. A branch comes before a tag of the same name.
async fn ask(git: &Git<'_>, url: &str, name: &str) -> Result<(String, String), GitError> {
    let names = if name.starts_with("refs/") || name == "HEAD" {
        vec![name.to_owned(), format!("{name}^{{}}")]
    } else {
        vec![format!("refs/heads/{name}"), format!("refs/tags/{name}"), format!("refs/tags/{name}^{{}}")]
    };
    let mut arguments = vec!["ls-remote", "--quiet", "--", url];
    arguments.extend(names.iter().map(String::as_str));
    let run = Run { arguments: &arguments, input: &[], bytes_max: TEXT_BYTES_MAX, within: ASK_WITHIN };
    let answer = String::from_utf8_lossy(&git.run(run).await?).into_owned();
    let told: Vec<(&str, &str)> = answer.lines().filter_map(|line| line.split_once('\t')).collect();
    let commit_of = |name: &str| told.iter().find(|(_, told)| *told == name).map(|(commit, _)| (*commit).to_owned());
    let full_name = names.iter().find(|name| commit_of(name).is_some()).ok_or_else(|| {
        GitError::Odd(format!("{url} has no branch or tag {name:?}; what was fetched last stays in force"))
    })?;
    // A tag with a message is an object of its own; behind it is the commit.
    let commit = commit_of(&format!("{full_name}^{{}}")).or_else(|| commit_of(full_name)).unwrap_or_default();
    Ok((full_name.clone(), commit))
}

async fn authorship(git: &Git<'_>, commit: &str) -> Result<Authorship, GitError> {
    let format = "--format=%an <%ae>%x00%ct%x00%B";
    let written = here(git, &["log", "-1", "--no-show-signature", format, commit, "--"]).await?;
    let written = String::from_utf8_lossy(&written).into_owned();
    let mut parts = written.splitn(3, '\0');
    let author = parts.next().map(str::to_owned);
    let at = parts.next().and_then(|secs| Timestamp::from_timestamp(secs.parse().ok()?, 0));
    let message = parts.next().map(|message| message.trim().to_owned()).filter(|message| !message.is_empty());
    Ok(Authorship { author, message, at })
}

/// Something that is done on this machine alone.
async fn here(git: &Git<'_>, arguments: &[&str]) -> Result<Vec<u8>, GitError> {
    git.run(Run { arguments, input: &[], bytes_max: TEXT_BYTES_MAX, within: HERE_WITHIN }).await
}

fn line(output: &[u8]) -> String {
    String::from_utf8_lossy(output).trim().to_owned()
}

fn is_commit(name: &str) -> bool {
    matches!(name.len(), 40 | 64) && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}
