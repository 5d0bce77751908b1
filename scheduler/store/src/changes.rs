//! What has changed, as hints tell it: DAGs with their runs, the services, or anything.
//!
//! What always holds here: it is bounded, and what does not fit is told more widely, never left out. Many runs of a DAG become
//! the DAG, many DAGs become anything.

use std::collections::{BTreeMap, BTreeSet};

use model::{DagId, RunKey};

/// More runs of a DAG than this say as much as "any of it".
const RUNS_OF_DAG_MAX: usize = 100;
/// More DAGs than this say as much as "anything".
const DAGS_MAX: usize = 200;
/// The first line of the text. A process of an older release finds no number between commas in it, and takes it for "anything".
const HEAD: &str = "changed";
/// The line for services. The id of a DAG has no space.
const SERVICES: &str = " services";

/// What has changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    dags: BTreeMap<DagId, Runs>,
    services: bool,
    anything: bool,
}

/// Runs of a DAG.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Runs {
    /// These.
    These(BTreeSet<RunKey>),
    /// Any of them, or the DAG itself.
    Any,
}

impl Changes {
    /// Anything may have changed.
    #[must_use]
    pub fn anything() -> Self {
        Self { anything: true, ..Self::default() }
    }

    /// A service.
    #[must_use]
    pub fn services() -> Self {
        Self { services: true, ..Self::default() }
    }

    /// A DAG, and with it any of its runs.
    #[must_use]
    pub fn dag(dag: DagId) -> Self {
        Self { dags: BTreeMap::from([(dag, Runs::Any)]), ..Self::default() }
    }

    /// Runs of a DAG; none of them is no change.
    #[must_use]
    pub fn runs(dag: DagId, runs: impl IntoIterator<Item = RunKey>) -> Self {
        let mut changes = Self::default();
        changes.add_runs(dag, Runs::These(runs.into_iter().collect()));
        changes
    }

    /// Whether nothing has changed.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.dags.is_empty() && !self.services && !self.anything
    }

    /// Whether anything may have changed.
    #[must_use]
    pub const fn is_anything(&self) -> bool {
        self.anything
    }

    /// Whether a service has changed.
    #[must_use]
    pub const fn has_services(&self) -> bool {
        self.services || self.anything
    }

    /// The DAGs that are named, each with its runs.
    pub fn dags(&self) -> impl Iterator<Item = (&DagId, &Runs)> {
        self.dags.iter()
    }

    /// Whether a run may be among what has changed.
    #[must_use]
    pub fn may_have_run(&self, dag: &DagId, run: RunKey) -> bool {
        self.anything
            || self.dags.get(dag).is_some_and(|runs| match runs {
                Runs::These(runs) => runs.contains(&run),
                Runs::Any => true,
            })
    }

    /// Adds other changes.
    pub fn add(&mut self, other: Self) {
        self.services |= other.services;
        self.anything |= other.anything;
        for (dag, runs) in other.dags {
            self.add_runs(dag, runs);
        }
        self.bound();
    }

    fn add_runs(&mut self, dag: DagId, more: Runs) {
        if matches!(&more, Runs::These(runs) if runs.is_empty()) {
            return;
        }
        let known = self.dags.entry(dag).or_insert_with(|| Runs::These(BTreeSet::new()));
        match (&mut *known, more) {
            (Runs::These(runs), Runs::These(more)) => {
                runs.extend(more);
                if runs.len() > RUNS_OF_DAG_MAX {
                    *known = Runs::Any;
                }
            }
            (_, Runs::Any) => *known = Runs::Any,
            (Runs::Any, Runs::These(_)) => {}
        }
    }

    fn bound(&mut self) {
        if self.anything || self.dags.len() > DAGS_MAX {
            *self = Self::anything();
        }
    }

    /// The text of a hint, of so many bytes at most; empty for anything.
    pub(crate) fn text(&self, bytes_max: usize) -> String {
        let of_runs = |runs: &Runs| match runs {
            Runs::These(runs) => runs.iter().map(|run| format!(" {run}")).collect(),
            Runs::Any => String::new(),
        };
        let named = self.lines(of_runs);
        if self.anything {
            String::new()
        } else if named.len() <= bytes_max {
            named
        } else {
            Some(self.lines(|_| String::new())).filter(|text| text.len() <= bytes_max).unwrap_or_default()
        }
    }

    fn lines(&self, of_runs: impl Fn(&Runs) -> String) -> String {
        let mut text = HEAD.to_owned();
        for (dag, runs) in &self.dags {
            text.push('\n');
            text.push_str(dag.as_str());
            text.push_str(&of_runs(runs));
        }
        if self.services {
            text.push('\n');
            text.push_str(SERVICES);
        }
        text
    }

    /// What a text says. What is not understood, as the list of numbers of an older release, is anything.
    pub(crate) fn of_text(text: &str) -> Self {
        let mut lines = text.split('\n');
        if lines.next() != Some(HEAD) {
            return Self::anything();
        }
        let mut changes = Self::default();
        for line in lines {
            let mut words = line.split(' ');
            let dag = words.next().and_then(|word| DagId::new(word).ok());
            let runs: Result<BTreeSet<RunKey>, _> = words.map(|word| word.parse().map(RunKey)).collect();
            match (dag, runs) {
                _ if line == SERVICES => changes.services = true,
                (Some(dag), Ok(runs)) if runs.is_empty() => changes.add_runs(dag, Runs::Any),
                (Some(dag), Ok(runs)) => changes.add_runs(dag, Runs::These(runs)),
                (None, _) | (_, Err(_)) => changes.anything = true,
            }
        }
        changes.bound();
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dag(name: &str) -> DagId {
        DagId::new(name).unwrap()
    }

    fn runs(name: &str, keys: impl IntoIterator<Item = i64>) -> Changes {
        Changes::runs(dag(name), keys.into_iter().map(RunKey))
    }

    fn all(changes: impl IntoIterator<Item = Changes>) -> Changes {
        let mut sum = Changes::default();
        changes.into_iter().for_each(|one| sum.add(one));
        sum
    }

    #[test]
    fn a_text_says_what_was_written() {
        let some = [runs("etl", [7, 3]), runs("etl", [7]), Changes::dag(dag("13")), Changes::services()];
        let changes = all(some);
        assert_eq!(changes.text(7_000), "changed\n13\netl 3 7\n services");
        assert_eq!(Changes::of_text(&changes.text(7_000)), changes);
        assert!(changes.may_have_run(&dag("etl"), RunKey(3)) && changes.may_have_run(&dag("13"), RunKey(9)));
        assert!(!changes.may_have_run(&dag("etl"), RunKey(4)) && !changes.may_have_run(&dag("other"), RunKey(3)));
        assert!(all([]).is_none() && Changes::of_text(&all([]).text(7_000)).is_none());
    }

    #[test]
    fn what_is_not_understood_is_anything() {
        for text in ["", "1,2,3", "changed\netl x", "changed\n\n", "changed\na/b 1", "changed\n 1"] {
            assert!(Changes::of_text(text).is_anything(), "{text:?}");
        }
    }

    #[test]
    fn an_older_release_takes_every_text_for_anything() {
        let as_it_was_read = |text: &str| text.split(',').filter_map(|id| id.parse::<i64>().ok()).count();
        for changes in [runs("1", [2, 3]), Changes::dag(dag("7")), Changes::services(), Changes::anything()] {
            assert_eq!(as_it_was_read(&changes.text(7_000)), 0, "{changes:?}");
        }
    }

    #[test]
    fn what_does_not_fit_is_told_more_widely() {
        let many_runs = runs("etl", 0..101);
        let of_dag: Vec<_> = many_runs.dags().map(|(_, runs)| runs.clone()).collect();
        assert_eq!(of_dag, [Runs::Any]);
        let many_dags = all((0..201).map(|n| runs(&format!("dag_{n}"), [n])));
        assert!(many_dags.is_anything() && many_dags.dags().next().is_none());
        let few = all((0..20).map(|n| runs(&format!("dag_{n}"), 0..50)));
        let text = few.text(1_000);
        assert!(text.len() <= 1_000 && Changes::of_text(&text).dags().all(|(_, runs)| *runs == Runs::Any), "{text}");
        assert_eq!(few.text(50), "");
    }
}
