//! Secrets in files: one file of many, as Airflow's local filesystem backend has it, or a folder with a file for each, as
//! Kubernetes and Docker mount them.
//!
//! A file is read when it is asked for, so a change needs no restart. Nothing outside of the named folders is ever opened: an id
//! is the name of one file, and a link must end below the folder.

mod folder;
mod format;

use std::path::{Path, PathBuf};

use futures::future::BoxFuture;
use store::secrets::Kind;

pub(crate) use self::format::Format;
use crate::{
    backend::{Backend, Failure, Secret},
    settings::{FilesSettings, OfEach},
};

/// The files of an installation.
pub(crate) struct Files {
    places: OfEach<Places>,
    name: String,
}

/// Where things of one kind lie; the file comes before the folder.
#[derive(Debug, Clone)]
struct Places {
    file: Option<PathBuf>,
    folder: Option<PathBuf>,
}

impl Files {
    /// Those of these settings.
    pub(crate) fn new(settings: FilesSettings) -> Self {
        let FilesSettings { connections_file, variables_file, connections_folder, variables_folder } = settings;
        let connections = Places { file: connections_file, folder: connections_folder };
        let variables = Places { file: variables_file, folder: variables_folder };
        Self { places: OfEach { connections, variables }, name: "files".to_owned() }
    }
}

impl Backend for Files {
    fn name(&self) -> &str {
        &self.name
    }

    fn place(&self, kind: Kind, id: &str) -> Option<String> {
        let Places { file, folder } = self.places.of(kind);
        let file = file.as_ref().map(|file| file.display().to_string());
        let folder =
            folder.as_ref().filter(|_| folder::is_name(id)).map(|folder| folder.join(id).display().to_string());
        let places: Vec<String> = file.into_iter().chain(folder).collect();
        (!places.is_empty()).then(|| places.join(" and "))
    }

    fn read<'a>(&'a self, kind: Kind, id: &'a str) -> BoxFuture<'a, Result<Option<Secret>, Failure>> {
        let (places, id) = (self.places.of(kind).clone(), id.to_owned());
        Box::pin(async move {
            // A disk that does not answer holds a thread, and nobody else.
            let looking = tokio::task::spawn_blocking(move || places.read(kind, &id)).await;
            looking.unwrap_or_else(|panic| Err(Failure::lasting(panic.to_string())))
        })
    }
}

impl Places {
    fn read(&self, kind: Kind, id: &str) -> Result<Option<Secret>, Failure> {
        if let Some(file) = &self.file
            && let Some(found) = format::find(file, kind, id).map_err(|why| told(file, &why))?
        {
            return Ok(Some(Secret(found)));
        }
        let Some(folder) = &self.folder else { return Ok(None) };
        let found = folder::read(folder, id).map_err(|why| told(&folder.join(id), &why))?;
        Ok(found.map(Secret))
    }
}

fn told(path: &Path, why: &str) -> Failure {
    Failure::lasting(format!("{}: {why}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[tokio::test]
    async fn the_file_comes_before_the_folder_and_a_change_is_seen() {
        let home = tempfile::tempdir().unwrap();
        let (file, folder) = (home.path().join("v.json"), home.path().join("v"));
        fs::create_dir(&folder).unwrap();
        fs::write(&file, r#"{"a": "of the file"}"#).unwrap();
        fs::write(folder.join("a"), "of the folder").unwrap();
        fs::write(folder.join("b"), "line\n").unwrap();
        let files = Files::new(FilesSettings {
            variables_file: Some(file.clone()),
            variables_folder: Some(folder.clone()),
            ..FilesSettings::default()
        });
        let read = async |id: &str| files.read(Kind::Variable, id).await.unwrap().map(|secret| secret.0);
        assert_eq!(read("a").await.as_deref(), Some("of the file"));
        assert_eq!(read("b").await.as_deref(), Some("line"), "the newline at the end is the editor's");
        assert_eq!(read("c").await, None);
        fs::write(&file, r#"{"c": {"n": 1}}"#).unwrap();
        assert_eq!(read("c").await.as_deref(), Some(r#"{"n":1}"#));
        assert_eq!(read("a").await.as_deref(), Some("of the folder"));
        assert_eq!(files.place(Kind::Connection, "a"), None, "nothing is said of connections");
        assert!(!files.place(Kind::Variable, "../a").unwrap().contains(".."));
        fs::write(&file, r#"{"c": s3cret"#).unwrap();
        let failure = files.read(Kind::Variable, "c").await.unwrap_err();
        assert!(failure.what.contains("v.json") && !failure.what.contains("s3cret"), "{failure:?}");
    }
}
