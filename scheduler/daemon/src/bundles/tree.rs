//! The files of a commit, read out of the repository that it was fetched into: nothing is checked out.

use std::time::Duration;

use dag::{
    Content, FILE_BYTES_MAX,
    content::{REVISION_BYTES_MAX, REVISION_FILES_MAX, is_hidden},
};

use super::program::{Git, GitError, Run};

/// What the list of a commit's files may take: more than a bundle's files have names.
const LIST_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Beside each file that is read stands a line.
const LINE_BYTES_MAX: usize = 128;
const WITHIN: Duration = Duration::from_secs(60);

/// An entry of the list.
struct Listed<'l> {
    kind: Kind,
    object: &'l str,
    bytes: u64,
    name: &'l str,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    File,
    Link,
    Submodule,
}

/// Reads the files of a commit, below a folder of it when there is one. One that can not be taken is noted with the reason; too many,
/// or too much, is refused as a whole.
pub(super) async fn content(git: &Git<'_>, commit: &str, subdir: Option<&str>) -> Result<Content, GitError> {
    let tree = match subdir {
        None => format!("{commit}^{{tree}}"),
        Some(subdir) => format!("{commit}:{subdir}"),
    };
    let exists = ["rev-parse", "--verify", "--quiet", &tree];
    let found = git.run(Run { arguments: &exists, input: &[], bytes_max: LINE_BYTES_MAX, within: WITHIN }).await;
    if let Err(GitError::Failed { .. }) = found {
        let subdir = subdir.unwrap_or_default();
        return Err(GitError::Odd(format!(
            "commit {commit} has no folder {subdir:?}, which the bundle's subdir names"
        )));
    }
    found?;
    let list = ["ls-tree", "-r", "-z", "-l", &tree];
    let list = git.run(Run { arguments: &list, input: &[], bytes_max: LIST_BYTES_MAX, within: WITHIN }).await?;
    let listed: Vec<Listed<'_>> = list.split(|byte| *byte == 0).filter_map(read_line).collect();
    let mut content = Content::default();
    let mut wanted = Vec::new();
    for entry in listed.into_iter().filter(|entry| !is_hidden(entry.name)) {
        let why = match entry.kind {
            Kind::File if entry.bytes <= FILE_BYTES_MAX as u64 => {
                wanted.push(entry);
                continue;
            }
            Kind::File => {
                format!("it has {} bytes, and a file of a bundle has at most {FILE_BYTES_MAX}", entry.bytes)
            }
            Kind::Link => "it is a symbolic link: put the file itself there".to_owned(),
            Kind::Submodule => "it is a submodule, which is not fetched".to_owned(),
        };
        // A name that no DAG can use is no loss.
        if let Err(error @ dag::content::ContentError::TooMany { .. }) = content.note(entry.name, entry.bytes, why) {
            return Err(GitError::Odd(error.to_string()));
        }
    }
    check_size(&wanted)?;
    read_files(git, &wanted, &mut content).await?;
    Ok(content)
}

fn check_size(wanted: &[Listed<'_>]) -> Result<(), GitError> {
    let bytes: u64 = wanted.iter().map(|entry| entry.bytes).sum();
    if wanted.len() > REVISION_FILES_MAX || bytes > REVISION_BYTES_MAX as u64 {
        return Err(GitError::Odd(format!(
            "the commit has {} files with {bytes} bytes; a bundle has at most {REVISION_FILES_MAX} files with \
             {REVISION_BYTES_MAX} bytes: choose a folder by subdir",
            wanted.len()
        )));
    }
    Ok(())
}

/// A line of `ls-tree -l`: mode, type, object and size, and behind a tab the name. A name that is no text is passed over: no DAG can
/// name it.
fn read_line(line: &[u8]) -> Option<Listed<'_>> {
    let (head, name) = std::str::from_utf8(line).ok()?.split_once('\t')?;
    let mut words = head.split_whitespace();
    let (mode, _, object, size) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let kind = match mode {
        "120000" => Kind::Link,
        "160000" => Kind::Submodule,
        _ => Kind::File,
    };
    Some(Listed { kind, object, bytes: size.parse().unwrap_or(0), name })
}

async fn read_files(git: &Git<'_>, wanted: &[Listed<'_>], content: &mut Content) -> Result<(), GitError> {
    if wanted.is_empty() {
        return Ok(());
    }
    let objects: String = wanted.iter().map(|entry| format!("{}\n", entry.object)).collect();
    let bytes_max = REVISION_BYTES_MAX + wanted.len() * LINE_BYTES_MAX;
    let arguments = ["cat-file", "--batch"];
    let output = git.run(Run { arguments: &arguments, input: objects.as_bytes(), bytes_max, within: WITHIN }).await?;
    let mut rest = output.as_slice();
    for entry in wanted {
        let odd = || GitError::Odd(format!("file {:?} could not be read out of the commit", entry.name));
        let end = rest.iter().position(|byte| *byte == b'\n').ok_or_else(odd)?;
        let head = String::from_utf8_lossy(&rest[..end]).into_owned();
        let size = head.rsplit(' ').next().and_then(|size| size.parse::<usize>().ok()).ok_or_else(odd)?;
        let bytes = rest.get(end + 1..end + 1 + size).ok_or_else(odd)?;
        rest = rest.get(end + 2 + size..).ok_or_else(odd)?;
        match content.add(entry.name, bytes) {
            Ok(()) => {}
            // A name that no DAG can use is no loss.
            Err(dag::content::ContentError::Name(_)) => {}
            Err(error) => return Err(GitError::Odd(error.to_string())),
        }
    }
    Ok(())
}
