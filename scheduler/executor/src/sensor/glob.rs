//! Files by patterns, as Python's `glob` finds them.
//!
//! `*`, `?` and `[…]` stand within one part of a path, and for no leading dot; `**` as a whole part stands for any number
//! of folders when the pattern is recursive. A search reads a bounded number of folder entries.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// A search gives up after so many entries: a pattern over a whole disk would hold its worker for minutes.
const ENTRIES_MAX: usize = 1_000_000;

/// Whether `**` stands for folders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Depth {
    /// It is like `*`.
    OneFolder,
    /// It stands for any number of them.
    AnyFolders,
}

/// A search found too much to look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the pattern leads through more than {ENTRIES_MAX} files and folders; make it narrower")]
pub(super) struct TooMuch;

/// The first thing that fits the pattern and holds a file: a file itself, or a folder with one in it or below it.
pub(super) fn find(pattern: &str, depth: Depth) -> Result<Option<PathBuf>, TooMuch> {
    let (start, parts) = match pattern.strip_prefix('/') {
        Some(rest) => (PathBuf::from("/"), rest),
        None => (PathBuf::new(), pattern),
    };
    let parts: Vec<&str> = parts.split('/').filter(|part| !part.is_empty()).collect();
    Search { depth, left: ENTRIES_MAX }.below(start, &parts)
}

struct Search {
    depth: Depth,
    left: usize,
}

impl Search {
    fn below(&mut self, at: PathBuf, parts: &[&str]) -> Result<Option<PathBuf>, TooMuch> {
        let Some((part, rest)) = parts.split_first() else {
            return Ok(self.holds_a_file(&at)?.then_some(at));
        };
        if *part == "**" && self.depth == Depth::AnyFolders {
            return self.any_depth(at, rest);
        }
        if !is_pattern(part) {
            return self.below(at.join(part), rest);
        }
        for name in self.names(&at)? {
            if fits(part, &name)
                && let Some(found) = self.below(at.join(name), rest)?
            {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// The rest of the pattern here, or in any folder below that is not hidden. Links are not followed: they may lead back.
    fn any_depth(&mut self, at: PathBuf, rest: &[&str]) -> Result<Option<PathBuf>, TooMuch> {
        if let Some(found) = self.below(at.clone(), rest)? {
            return Ok(Some(found));
        }
        for name in self.names(&at)?.into_iter().filter(|name| !name.starts_with('.')) {
            let path = at.join(name);
            if path.symlink_metadata().is_ok_and(|entry| entry.is_dir())
                && let Some(found) = self.any_depth(path, rest)?
            {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    fn holds_a_file(&mut self, path: &Path) -> Result<bool, TooMuch> {
        let Ok(entry) = path.metadata() else { return Ok(false) };
        if !entry.is_dir() {
            return Ok(entry.is_file());
        }
        for name in self.names(path)? {
            let inner = path.join(name);
            let Ok(entry) = inner.symlink_metadata() else { continue };
            if !entry.is_dir() || self.holds_a_file(&inner)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The names in a folder, sorted; none when it can not be read or is no folder.
    fn names(&mut self, folder: &Path) -> Result<Vec<String>, TooMuch> {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        let Ok(entries) = fs::read_dir(folder) else { return Ok(Vec::new()) };
        let mut names = Vec::new();
        for entry in entries {
            self.left = self.left.checked_sub(1).ok_or(TooMuch)?;
            names.extend(name_of(entry));
        }
        names.sort();
        Ok(names)
    }
}

/// Names that are no text fit no pattern.
fn name_of(entry: io::Result<fs::DirEntry>) -> Option<String> {
    entry.ok()?.file_name().into_string().ok()
}

fn is_pattern(part: &str) -> bool {
    part.contains(['*', '?', '['])
}

/// Whether a name fits one part of a pattern.
fn fits(part: &str, name: &str) -> bool {
    let (part, name): (Vec<char>, Vec<char>) = (part.chars().collect(), name.chars().collect());
    let hidden = name.first() == Some(&'.') && part.first() != Some(&'.');
    !hidden && fits_from(&part, &name)
}

/// Two positions and a place to come back to: a star takes one character more each time the rest does not fit.
fn fits_from(part: &[char], name: &[char]) -> bool {
    let (mut at, mut of) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while of < name.len() {
        if part.get(at) == Some(&'*') {
            star = Some((at + 1, of));
            at += 1;
        } else if let Some(length) = one(&part[at..], name[of]) {
            at += length;
            of += 1;
        } else if let Some((after, taken)) = star {
            star = Some((after, taken + 1));
            (at, of) = (after, taken + 1);
        } else {
            return false;
        }
    }
    part[at..].iter().all(|c| *c == '*')
}

/// How much of a pattern stands for this one character; none when it does not.
fn one(part: &[char], c: char) -> Option<usize> {
    match part.first()? {
        '?' => Some(1),
        '[' => match class(part) {
            Some((class, length)) => in_class(class, c).then_some(length),
            None => (c == '[').then_some(1),
        },
        literal => (*literal == c).then_some(1),
    }
}

/// What stands between brackets, and how long it is with them. A bracket that comes first is one of the characters.
fn class(part: &[char]) -> Option<(&[char], usize)> {
    let first = if part.get(1) == Some(&'!') { 3 } else { 2 };
    let end = (first..part.len()).find(|at| part[*at] == ']')?;
    Some((&part[1..end], end + 1))
}

fn in_class(class: &[char], c: char) -> bool {
    let (wanted, class) = match class.split_first() {
        Some(('!', rest)) => (false, rest),
        Some(_) | None => (true, class),
    };
    let mut at = 0;
    let mut found = false;
    while at < class.len() {
        if class.get(at + 1) == Some(&'-') && at + 2 < class.len() {
            found |= (class[at]..=class[at + 2]).contains(&c);
            at += 3;
        } else {
            found |= class[at] == c;
            at += 1;
        }
    }
    found == wanted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_fits_within_one_part() {
        for (part, name, yes) in [
            ("*.csv", "a.csv", true),
            ("*.csv", ".csv", false),
            (".*", ".csv", true),
            ("a?c*", "abc", true),
            ("a?c", "ac", false),
            ("*a*b*", "xxaxxbxx", true),
            ("*a*b", "xxaxxbxx", false),
            ("[0-9][!a-c]", "7d", true),
            ("[0-9][!a-c]", "7b", false),
            ("[]x]", "]", true),
            ("[x", "[x", true),
            ("[a-]", "-", true),
            ("*", "ä", true),
        ] {
            assert_eq!(fits(part, name), yes, "{part} {name}");
        }
    }

    #[test]
    fn files_are_found_by_name_by_pattern_and_below_folders() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().to_str().unwrap();
        fs::create_dir_all(dir.path().join("in/2026/empty")).unwrap();
        fs::write(dir.path().join("in/2026/a.csv"), "").unwrap();
        let found = |pattern: &str, depth| {
            let found = find(&format!("{root}/{pattern}"), depth).unwrap();
            found.map(|path| path.strip_prefix(root).unwrap().to_str().unwrap().to_owned())
        };
        let one = |pattern: &str| found(pattern, Depth::OneFolder);
        assert_eq!(one("in/2026/a.csv").as_deref(), Some("in/2026/a.csv"));
        assert_eq!(one("in/*/*.csv").as_deref(), Some("in/2026/a.csv"));
        assert_eq!(one("in").as_deref(), Some("in"), "a folder with a file below it");
        assert_eq!(one("in/2026/empty"), None, "a folder without one");
        assert_eq!(one("in/**.csv"), None);
        assert_eq!(one("**/a.csv"), None, "one folder only");
        assert_eq!(found("**/a.csv", Depth::AnyFolders).as_deref(), Some("in/2026/a.csv"));
        assert_eq!(one("gone/*"), None);
    }

    #[test]
    fn a_link_in_a_circle_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(dir.path(), dir.path().join("again")).unwrap();
        let pattern = format!("{}/**/nothing", dir.path().display());
        assert_eq!(find(&pattern, Depth::AnyFolders), Ok(None));
    }
}
