//! A folder as the content of a revision: what stands outside, what is no file and what is too large is refused by its name.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    path::Path,
};

use anyhow::Context;
use dag::{
    Content, FILE_BYTES_MAX,
    content::{REVISION_FILES_MAX, is_hidden},
};

use crate::exit::Failure;

/// Folders below the folder, at most so deep.
const DEPTH_MAX: usize = 32;

/// Reads all files of a folder but the hidden ones.
///
/// # Errors
/// What of it can not be deployed, by its name.
pub fn content_of(folder: &Path) -> anyhow::Result<Content> {
    let root = folder.canonicalize().with_context(|| format!("{} can not be read", folder.display()))?;
    if !root.is_dir() {
        return Err(Failure::refused(format!("{} is no folder", folder.display())));
    }
    let mut content = Content::default();
    add_folder(&root, "", 0, &mut content)?;
    Ok(content)
}

fn add_folder(root: &Path, below: &str, depth: usize, content: &mut Content) -> anyhow::Result<()> {
    if depth > DEPTH_MAX {
        return Err(Failure::refused(format!("{below}: folders lie deeper than {DEPTH_MAX} in each other")));
    }
    let path = root.join(below);
    let mut entries: Vec<_> = fs::read_dir(&path)
        .and_then(Iterator::collect::<io::Result<_>>)
        .with_context(|| format!("folder {} can not be read", path.display()))?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let Some(file_name) = entry.file_name().to_str().map(str::to_owned) else {
            return Err(Failure::refused(format!(
                "{below}/{}: the name is no UTF-8",
                entry.file_name().to_string_lossy()
            )));
        };
        if is_hidden(&file_name) {
            continue;
        }
        let name = if below.is_empty() { file_name } else { format!("{below}/{file_name}") };
        let kind = entry.file_type().with_context(|| format!("{name} can not be looked at"))?;
        if kind.is_dir() {
            add_folder(root, &name, depth + 1, content)?;
        } else {
            add_file(root, &name, content)?;
        }
    }
    Ok(())
}

fn add_file(root: &Path, name: &str, content: &mut Content) -> anyhow::Result<()> {
    let path = root.join(name);
    let real = path.canonicalize().with_context(|| format!("{name} can not be read"))?;
    if !real.starts_with(root) {
        return Err(Failure::refused(format!(
            "{name} is a symbolic link that leaves the folder, to {}: put the file itself there",
            real.display()
        )));
    }
    let found = fs::metadata(&real).with_context(|| format!("{name} can not be read"))?;
    if found.is_dir() {
        return Err(Failure::refused(format!("{name} is a symbolic link to a folder: put the folder itself there")));
    }
    if !found.is_file() {
        return Err(Failure::refused(format!("{name} is no regular file")));
    }
    let mut bytes = Vec::new();
    // One byte more than is allowed shows that it is too large.
    let read = File::open(&real).and_then(|file| file.take(FILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes));
    read.with_context(|| format!("{name} can not be read"))?;
    if bytes.len() > FILE_BYTES_MAX {
        return Err(Failure::refused(format!(
            "{name} has {} bytes; a file of a bundle has at most {FILE_BYTES_MAX}, and a bundle at most {REVISION_FILES_MAX} files",
            found.len()
        )));
    }
    content.add(name, &bytes).map_err(|error| Failure::refused(error.to_string()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_folder_is_taken_with_links_inside_and_without_what_is_hidden() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("sql/.cache")).unwrap();
        fs::write(folder.path().join("a.yaml"), "x").unwrap();
        fs::write(folder.path().join("sql/.cache/b"), "x").unwrap();
        fs::write(folder.path().join(".env"), "secret").unwrap();
        fs::write(folder.path().join("sql/q.sql"), "SELECT 1").unwrap();
        symlink("q.sql", folder.path().join("sql/same.sql")).unwrap();
        let content = content_of(folder.path()).unwrap();
        let names: Vec<&str> = content.entries().map(|(name, _)| name).collect();
        assert_eq!(names, ["a.yaml", "sql/q.sql", "sql/same.sql"]);
    }

    #[test]
    fn what_can_not_be_deployed_is_refused_by_its_name() {
        let refused = |make: &dyn Fn(&Path)| {
            let folder = tempfile::tempdir().unwrap();
            make(folder.path());
            format!("{:#}", content_of(folder.path()).unwrap_err())
        };
        let outside = refused(&|folder| symlink("/etc/passwd", folder.join("out.sql")).unwrap());
        assert!(outside.contains("out.sql") && outside.contains("leaves the folder"), "{outside}");
        let up = refused(&|folder| symlink("..", folder.join("up")).unwrap());
        assert!(up.contains("up") && up.contains("leaves the folder"), "{up}");
        let pipe = refused(&|folder| nix::unistd::mkfifo(&folder.join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap());
        assert!(pipe.contains("pipe is no regular file"), "{pipe}");
        let large = refused(&|folder| fs::write(folder.join("large.csv"), vec![0; FILE_BYTES_MAX + 1]).unwrap());
        assert!(large.contains("large.csv has 1048577 bytes"), "{large}");
        let gone = refused(&|folder| symlink("nowhere", folder.join("gone.sql")).unwrap());
        assert!(gone.contains("gone.sql"), "{gone}");
        assert!(content_of(Path::new("/dev/null")).is_err());
    }
}
