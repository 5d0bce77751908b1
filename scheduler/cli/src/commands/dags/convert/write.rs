//! Writes what was made below a folder: all of it, or nothing when something is in the way.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};

use super::checked::{Converted, FileResult};

/// So many names are told of.
const NAMED_MAX: usize = 5;

/// What becomes of files that are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum There {
    /// They stay, and nothing is written.
    Keep,
    /// They are overwritten.
    Replace,
}

/// A DAG file that was written.
pub struct Written {
    /// The DAG.
    pub dag_id: String,
    /// Its file.
    pub path: PathBuf,
}

/// Writes every DAG that the reader takes.
///
/// # Errors
/// When two files define one DAG, a file is in the way, or the folder can not be written.
pub fn all(folder: &Path, results: &[FileResult], there: There) -> anyhow::Result<Vec<Written>> {
    let mut texts: BTreeMap<PathBuf, &[u8]> = BTreeMap::new();
    let mut written: Vec<Written> = Vec::new();
    for (result, dag) in good(results) {
        let dag_id = &dag.answer.dag_id;
        if written.iter().any(|one| one.dag_id == *dag_id) {
            bail!(
                "{}: the DAG {dag_id:?} is defined in another of these files, too; convert them apart",
                result.file.display()
            );
        }
        let path = folder.join(file_name(dag_id));
        if texts.insert(path.clone(), dag.answer.yaml.as_bytes()).is_some() {
            bail!("two DAGs would be written to {}; convert them apart", path.display());
        }
        let scripts = dag.answer.scripts.iter().map(|(name, text)| (folder.join(name), text.as_bytes()));
        texts.extend(scripts);
        texts.extend(dag.copies.iter().map(|(name, bytes)| (folder.join(name), bytes.as_slice())));
        written.push(Written { dag_id: dag_id.clone(), path });
    }
    let in_the_way: Vec<String> =
        texts.keys().filter(|path| path.exists()).map(|path| path.display().to_string()).collect();
    if there == There::Keep && !in_the_way.is_empty() {
        let more = if in_the_way.len() > NAMED_MAX { ", …" } else { "" };
        let named = in_the_way.iter().take(NAMED_MAX).cloned().collect::<Vec<_>>().join(", ");
        bail!("nothing was written: {named}{more} would be overwritten; choose another --out, or say --force");
    }
    for (path, bytes) in texts {
        let about = || format!("{} can not be written", path.display());
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).with_context(about)?;
        }
        std::fs::write(&path, bytes).with_context(about)?;
    }
    Ok(written)
}

/// The file of a DAG. One whose name begins with a dot is hidden, and no reader of folders takes it.
fn file_name(dag_id: &str) -> String {
    let mark = if dag_id.starts_with('.') { "_" } else { "" };
    format!("{mark}{dag_id}.yaml")
}

fn good(results: &[FileResult]) -> impl Iterator<Item = (&FileResult, &Converted)> {
    let dags = results.iter().flat_map(|result| result.dags.iter().map(move |dag| (result, dag)));
    dags.filter(|(_, dag)| dag.errors.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_dag_is_written_to_a_hidden_file() {
        assert_eq!((file_name("etl"), file_name(".etl")), ("etl.yaml".to_owned(), "_.etl.yaml".to_owned()));
    }
}
