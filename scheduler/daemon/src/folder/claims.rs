//! Which file a DAG belongs to: the first that defined it, until it no longer does.

use std::collections::{BTreeMap, BTreeSet};

use dag::Refused;
use model::{BundleFile, DagId};

/// Owners of DAGs, and the files that define one which is another's.
#[derive(Debug, Default)]
pub(super) struct Claims {
    owners: BTreeMap<DagId, BundleFile>,
    /// The same by file.
    defined: BTreeMap<BundleFile, BTreeSet<DagId>>,
    waiting: BTreeMap<DagId, BTreeSet<BundleFile>>,
    /// The same by file.
    refused: BTreeMap<BundleFile, BTreeSet<DagId>>,
}

impl Claims {
    pub(super) fn of(owners: BTreeMap<DagId, BundleFile>) -> Self {
        let mut defined = BTreeMap::<_, BTreeSet<_>>::new();
        for (dag, file) in &owners {
            defined.entry(file.clone()).or_default().insert(dag.clone());
        }
        Self { owners, defined, ..Self::default() }
    }

    /// A file defines these DAGs now. It keeps, in addition, those that it defined before and that could not be read.
    /// Returns those that are another file's, with that file.
    pub(super) fn settle(
        &mut self,
        file: &BundleFile,
        now: BTreeSet<DagId>,
        unread: &Refused,
    ) -> BTreeMap<DagId, BundleFile> {
        let before = self.defined_by(file);
        self.stop_waiting(file);
        let mut refused = BTreeMap::new();
        let mut defined = BTreeSet::new();
        for dag in now {
            match self.owners.get(&dag) {
                Some(owner) if owner != file => {
                    self.waiting.entry(dag.clone()).or_default().insert(file.clone());
                    self.refused.entry(file.clone()).or_default().insert(dag.clone());
                    refused.insert(dag, owner.clone());
                }
                Some(_) | None => {
                    self.owners.insert(dag.clone(), file.clone());
                    defined.insert(dag);
                }
            }
        }
        for dag in before {
            if unread.has(&dag) {
                defined.insert(dag);
            } else if !defined.contains(&dag) {
                self.owners.remove(&dag);
            }
        }
        if defined.is_empty() {
            self.defined.remove(file);
        } else {
            self.defined.insert(file.clone(), defined);
        }
        refused
    }

    /// A file is gone: the DAGs that it gives up.
    pub(super) fn forget(&mut self, file: &BundleFile) -> BTreeSet<DagId> {
        self.stop_waiting(file);
        let released = self.defined.remove(file).unwrap_or_default();
        for dag in &released {
            self.owners.remove(dag);
        }
        released
    }

    pub(super) fn defined_by(&self, file: &BundleFile) -> BTreeSet<DagId> {
        self.defined.get(file).cloned().unwrap_or_default()
    }

    pub(super) fn is_owned(&self, dag: &DagId) -> bool {
        self.owners.contains_key(dag)
    }

    /// The files that define any of these DAGs and do not have it.
    pub(super) fn waiting_for(&self, dags: &BTreeSet<DagId>) -> BTreeSet<BundleFile> {
        dags.iter().filter_map(|dag| self.waiting.get(dag)).flatten().cloned().collect()
    }

    fn stop_waiting(&mut self, file: &BundleFile) {
        for dag in self.refused.remove(file).unwrap_or_default() {
            if let Some(files) = self.waiting.get_mut(&dag) {
                files.remove(file);
                if files.is_empty() {
                    self.waiting.remove(&dag);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dags(names: &[&str]) -> BTreeSet<DagId> {
        names.iter().map(|name| DagId::new(*name).unwrap()).collect()
    }

    fn file(name: &str) -> BundleFile {
        BundleFile::in_folder(name)
    }

    #[test]
    fn the_first_file_keeps_a_dag_until_it_gives_it_up() {
        let mut claims = Claims::default();
        let all_read = &Refused::default();
        assert!(claims.settle(&file("a.yaml"), dags(&["x", "y"]), all_read).is_empty());
        let refused = claims.settle(&file("b.yaml"), dags(&["x", "z"]), all_read);
        assert_eq!(refused, BTreeMap::from([(DagId::new("x").unwrap(), file("a.yaml"))]));
        assert!(claims.settle(&file("a.yaml"), dags(&["x", "y"]), all_read).is_empty(), "the first may say it again");
        // Not read: what it had stays.
        assert!(claims.settle(&file("a.yaml"), dags(&[]), &Refused::File).is_empty());
        assert!(claims.settle(&file("a.yaml"), dags(&["y"]), &Refused::Dags(dags(&["x"]))).is_empty());
        assert_eq!(claims.defined_by(&file("a.yaml")), dags(&["x", "y"]));
        // Another DAG's error keeps nothing.
        assert!(claims.settle(&file("a.yaml"), dags(&["y"]), &Refused::Dags(dags(&["w"]))).is_empty());
        assert_eq!(claims.waiting_for(&dags(&["x"])), BTreeSet::from([file("b.yaml")]));
        assert!(claims.settle(&file("b.yaml"), dags(&["x", "z"]), all_read).is_empty());
        assert!(claims.waiting_for(&dags(&["x"])).is_empty());
        assert_eq!(claims.forget(&file("b.yaml")), dags(&["x", "z"]));
        assert!(!claims.is_owned(&DagId::new("x").unwrap()));
    }
}
