//! The planted bugs of `mutants.txt`.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};

/// A planted bug: one text of one file stands in place of another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mutant {
    /// What it does wrong.
    pub name: String,
    /// Its file, below the project's folder.
    pub file: PathBuf,
    /// What it replaces; the file has this once.
    pub from: String,
    /// What stands there instead.
    pub to: String,
}

impl Mutant {
    /// The file's text with the bug in it.
    ///
    /// # Errors
    /// When the text that it replaces is not there once: the code has changed, and the list has to follow.
    pub fn planted(&self, text: &str) -> anyhow::Result<String> {
        let found = text.matches(&self.from).count();
        ensure!(found == 1, "{}: {:?} is there {found} times, not once: {}", self.file.display(), self.from, self.name);
        Ok(text.replacen(&self.from, &self.to, 1))
    }

    /// Whether it is in a statement, which sqlx checks against a database when the program is built.
    pub fn is_sql(&self) -> bool {
        self.file.extension().is_some_and(|end| end == "sql")
    }

    /// Whether it is in the store, which the simulation does not have.
    pub fn is_of_store(&self) -> bool {
        self.file.starts_with("scheduler/store")
    }
}

/// The bugs that are listed.
///
/// # Errors
/// When the list is not of its form, with the line.
pub fn listed() -> anyhow::Result<Vec<Mutant>> {
    parsed(include_str!("../mutants.txt"))
}

/// What a line goes on with that has no sign of its own.
#[derive(Clone, Copy)]
enum Part {
    Nothing,
    From,
    To,
}

fn parsed(text: &str) -> anyhow::Result<Vec<Mutant>> {
    let mut file: Option<&Path> = None;
    let mut part = Part::Nothing;
    let mut mutants: Vec<Mutant> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let (sign, rest) = line.split_at_checked(2).unwrap_or((line, ""));
        let last = mutants.last_mut();
        match (sign, part, last) {
            ("# ", Part::Nothing, _) => {}
            ("", ..) => part = Part::Nothing,
            ("@ ", ..) => file = Some(Path::new(rest)),
            ("= ", ..) => {
                let file = file.with_context(|| format!("line {}: no file is named before it", number + 1))?;
                let (from, to) = (String::new(), String::new());
                mutants.push(Mutant { name: rest.to_owned(), file: file.to_owned(), from, to });
            }
            ("- ", _, Some(mutant)) => (mutant.from, part) = (rest.to_owned(), Part::From),
            ("+ ", _, Some(mutant)) => (mutant.to, part) = (rest.to_owned(), Part::To),
            (_, Part::From, Some(mutant)) => mutant.from = format!("{}\n{line}", mutant.from),
            (_, Part::To, Some(mutant)) => mutant.to = format!("{}\n{line}", mutant.to),
            _ => bail!("line {}: {line:?} is of no form that mutants.txt has", number + 1),
        }
    }
    Ok(mutants)
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs};

    use super::*;
    use crate::project;

    #[test]
    fn each_bug_can_be_planted_and_they_are_enough() {
        let mutants = listed().unwrap();
        assert!(mutants.len() >= 60, "{} bugs are not enough", mutants.len());
        let names: BTreeSet<&str> = mutants.iter().map(|mutant| mutant.name.as_str()).collect();
        assert_eq!(names.len(), mutants.len(), "each has a name of its own");
        for mutant in &mutants {
            let text = fs::read_to_string(project().join(&mutant.file)).unwrap();
            assert_ne!(mutant.planted(&text).unwrap(), text, "{}", mutant.name);
        }
    }

    #[test]
    fn a_list_of_another_form_says_where() {
        let mutants = parsed("# a comment\n@ a.rs\n= one\n- x\n  y\n+ z\n").unwrap();
        let one = Mutant { name: "one".into(), file: "a.rs".into(), from: "x\n  y".into(), to: "z".into() };
        assert_eq!(mutants, std::slice::from_ref(&one));
        assert!(one.planted("no").unwrap_err().to_string().contains("0 times"));
        for (text, line) in [("= one\n", "line 1"), ("@ a.rs\n- x\n", "line 2"), ("@ a.rs\n= one\nx\n", "line 3")] {
            let error = parsed(text).unwrap_err().to_string();
            assert!(error.contains(line), "{error}");
        }
    }
}
