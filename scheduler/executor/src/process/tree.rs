//! Finds processes: those below another one, and those that carry a mark in their environment.
//!
//! A launcher adopts what its processes leave behind, so that everything that an attempt ever started is below its launcher:
//! no new session, no second fork and no cleared environment leads out of there.

use std::{collections::BTreeMap, fs};

use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, getpid},
};

/// More than this is a fork bomb; whoever kills looks again.
const FOUND_MAX: usize = 20_000;

/// A process that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its number.
    pub pid: i32,
    /// The first word of what it runs, without directories.
    pub name: String,
}

/// The living processes below `root`, itself left out; those that are dead and wait for their parent are left out, too.
#[must_use]
pub fn below(root: i32) -> Vec<Found> {
    let mut numbers = vec![root];
    // Asked of the kernel once: a kernel without these lists gives a picture of all processes instead.
    let picture = if children(root).is_none() { picture() } else { BTreeMap::new() };
    let mut next = 0;
    while next < numbers.len() && numbers.len() < FOUND_MAX {
        let parent = numbers[next];
        let found = children(parent).or_else(|| picture.get(&parent).cloned());
        numbers.extend(found.unwrap_or_default());
        next += 1;
    }
    numbers.into_iter().skip(1).filter_map(living).collect()
}

/// Sends a signal to processes. One that has ended meanwhile is what is wanted.
pub fn signal(found: &[Found], with: Signal) {
    for process in found {
        let _ = kill(Pid::from_raw(process.pid), with);
    }
}

/// The processes whose environment has, for each mark, a variable that starts with it.
#[must_use]
pub fn carriers(marks: &[&str]) -> Vec<Found> {
    let own = getpid().as_raw();
    all().filter(|process| *process != own && carries(*process, marks)).filter_map(living).collect()
}

/// The living processes of a process group.
#[must_use]
pub fn of_group(group: i32) -> Vec<Found> {
    all().filter(|process| stat(*process).is_some_and(|stat| stat.group == group)).filter_map(living).collect()
}

/// Whether any of them still lives. One that is dying lives, and has no environment any more.
#[must_use]
pub fn still_there(found: &[Found]) -> bool {
    found.iter().any(|one| living(one.pid).is_some_and(|living| living.name == one.name))
}

/// Whether a process carries all the marks. A dead process's environment is empty.
#[must_use]
pub fn carries(process: i32, marks: &[&str]) -> bool {
    let Ok(environ) = fs::read(format!("/proc/{process}/environ")) else { return false };
    marks.iter().all(|mark| environ.split(|byte| *byte == 0).any(|variable| variable.starts_with(mark.as_bytes())))
}

/// The parent of a process.
#[must_use]
pub fn parent(process: i32) -> Option<i32> {
    stat(process).map(|stat| stat.parent)
}

/// What is told of processes in one line.
#[must_use]
pub fn named(found: &[Found]) -> String {
    const SHOWN: usize = 10;
    let mut text =
        found.iter().take(SHOWN).map(|one| format!("{} ({})", one.name, one.pid)).collect::<Vec<_>>().join(", ");
    if found.len() > SHOWN {
        text += &format!(" and {} more", found.len() - SHOWN);
    }
    text
}

struct Stat {
    name: String,
    state: char,
    parent: i32,
    group: i32,
}

fn stat(process: i32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name is in parentheses and may hold any byte, so that the last one closes it.
    let (before, after) = text.rsplit_once(')')?;
    let mut fields = after.split_whitespace();
    let state = fields.next()?.chars().next()?;
    let parent = fields.next()?.parse().ok()?;
    let group = fields.next()?.parse().ok()?;
    Some(Stat { name: before.split_once('(')?.1.to_owned(), state, parent, group })
}

fn living(pid: i32) -> Option<Found> {
    let stat = stat(pid).filter(|stat| !matches!(stat.state, 'Z' | 'X'))?;
    Some(Found { pid, name: stat.name })
}

/// The children of all threads of a process; none when it is gone or the kernel does not tell.
fn children(process: i32) -> Option<Vec<i32>> {
    let mut found = Vec::new();
    for thread in fs::read_dir(format!("/proc/{process}/task")).ok()?.flatten() {
        let text = match fs::read_to_string(thread.path().join("children")) {
            Ok(text) => text,
            // A thread may end at any moment; a file that never is there is another matter.
            Err(_) if thread.path().exists() => return None,
            Err(_) => continue,
        };
        found.extend(text.split_whitespace().filter_map(|number| number.parse::<i32>().ok()));
    }
    Some(found)
}

fn all() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn picture() -> BTreeMap<i32, Vec<i32>> {
    let mut picture: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    for process in all() {
        if let Some(stat) = stat(process) {
            picture.entry(stat.parent).or_default().push(process);
        }
    }
    picture
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead as _, BufReader},
        process::{Command, Stdio},
    };

    use super::*;

    #[test]
    fn what_is_below_a_process_is_found_by_its_kernels_lists_and_by_a_picture_of_all() {
        let own = i32::try_from(std::process::id()).unwrap();
        let script = "(sleep 300; :) & echo $!; wait";
        let mut shell = Command::new("sh").args(["-c", script]).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(shell.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let inner: i32 = line.trim().parse().unwrap();
        let found = below(own);
        let has = |pid: i32| found.iter().any(|one| one.pid == pid);
        assert!(has(i32::try_from(shell.id()).unwrap()) && has(inner), "{found:?}");
        assert!(picture()[&i32::try_from(shell.id()).unwrap()].contains(&inner));
        assert_eq!(parent(inner), i32::try_from(shell.id()).ok());
        signal(&below(i32::try_from(shell.id()).unwrap()), Signal::SIGKILL);
        shell.kill().unwrap();
        shell.wait().unwrap();
    }

    #[test]
    fn a_list_of_names_has_a_bound() {
        let found: Vec<_> = (0..12).map(|pid| Found { pid, name: "x".into() }).collect();
        assert!(named(&found).ends_with("x (9) and 2 more"), "{}", named(&found));
    }
}
