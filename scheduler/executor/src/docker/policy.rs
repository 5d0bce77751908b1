//! What a worker lets containers do with its machine. Who writes DAGs and may mount anything, or run privileged, is root there.

use std::path::{Component, Path, PathBuf};

use model::container::{Container, MountSource};

/// A worker's rules for containers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DockerPolicy {
    /// Whether containers may have the rights of root: `privileged`, `cap_add`, the memory of the machine's processes.
    pub rights: Rights,
    /// Which of the machine's folders containers may see.
    pub mounts: Mounts,
}

/// Whether containers may have the rights of root.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Rights {
    /// They may not.
    #[default]
    Usual,
    /// They may have what they ask for.
    AsAsked,
}

/// Which of the machine's folders containers may see.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Mounts {
    /// Every one.
    #[default]
    Any,
    /// These and what lies below them.
    Below(Vec<PathBuf>),
}

impl DockerPolicy {
    /// Why a rendered container may not run here, and what to do; the attempt's own directory is none of its mounts.
    pub(super) fn refusal(&self, container: &Container) -> Option<String> {
        self.rights_refusal(container).or_else(|| {
            let sources = container.mounts.iter().filter_map(|mount| match &mount.source {
                MountSource::Bind(path) => Some(path),
                MountSource::Volume(_) | MountSource::Tmpfs(_) => None,
            });
            sources.filter(|path| !self.mounts.allow(Path::new(path))).map(|path| self.mount_refusal(path)).next()
        })
    }

    fn rights_refusal(&self, container: &Container) -> Option<String> {
        let shares_memory = container.ipc_mode.as_deref() == Some("host");
        let what = match (container.privileged, container.cap_add.is_empty(), shares_memory) {
            (true, ..) => "privileged: true".to_owned(),
            (false, false, _) => format!("cap_add: {}", container.cap_add.join(", ")),
            (false, true, true) => "ipc_mode: host".to_owned(),
            (false, true, false) => return None,
        };
        (self.rights == Rights::Usual).then(|| {
            format!(
                "this worker gives containers no further rights, and the task asks for {what}; set \
                 WINDLASS_DOCKER_PRIVILEGED=true on workers whose DAGs are trusted as root is"
            )
        })
    }

    fn mount_refusal(&self, path: &str) -> String {
        let allowed = match &self.mounts {
            Mounts::Below(folders) if !folders.is_empty() => {
                format!(
                    "only what lies below {}",
                    folders.iter().map(|f| f.display().to_string()).collect::<Vec<_>>().join(", ")
                )
            }
            Mounts::Below(_) | Mounts::Any => "none of its folders".to_owned(),
        };
        format!(
            "this worker shows containers {allowed}, and the task mounts {path}; name the folder in WINDLASS_DOCKER_MOUNTS \
             on the workers that may"
        )
    }
}

impl Mounts {
    fn allow(&self, path: &Path) -> bool {
        let Self::Below(folders) = self else { return true };
        let below = |path: &Path| {
            let plain = path.is_absolute() && !path.components().any(|part| part == Component::ParentDir);
            plain && folders.iter().any(|folder| path.starts_with(folder))
        };
        // A link leads where it leads; one of another machine's engine can not be looked at.
        below(path) && path.canonicalize().map_or(true, |real| below(&real))
    }
}

#[cfg(test)]
mod tests {
    use model::container::{Mount, MountAccess};

    use super::*;

    fn mounting(path: &Path) -> Container {
        let source = MountSource::Bind(path.display().to_string());
        let mount = Mount { target: "/data".to_owned(), source, access: MountAccess::ReadOnly };
        Container { mounts: vec![mount], ..Container::default() }
    }

    #[test]
    fn further_rights_are_refused_unless_the_worker_gives_them() {
        let usual = DockerPolicy::default();
        let asks = [
            Container { privileged: true, ..Container::default() },
            Container { cap_add: vec!["SYS_ADMIN".to_owned()], ..Container::default() },
            Container { ipc_mode: Some("host".to_owned()), ..Container::default() },
        ];
        for container in asks {
            let refusal = usual.refusal(&container).unwrap();
            assert!(refusal.contains("WINDLASS_DOCKER_PRIVILEGED"), "{refusal}");
            let generous = DockerPolicy { rights: Rights::AsAsked, ..usual.clone() };
            assert_eq!(generous.refusal(&container), None);
        }
        assert_eq!(usual.refusal(&Container::default()), None);
    }

    #[test]
    fn only_folders_that_are_named_are_shown_and_no_way_leads_out_of_them() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        std::fs::create_dir(root.join("data")).unwrap();
        std::os::unix::fs::symlink("/etc", root.join("data/link")).unwrap();
        let policy = DockerPolicy { mounts: Mounts::Below(vec![root.join("data")]), ..DockerPolicy::default() };
        for allowed in ["data", "data/below", "data/./x"] {
            assert_eq!(policy.refusal(&mounting(&root.join(allowed))), None, "{allowed}");
        }
        for refused in ["", "database", "data/../secret", "data/link", "data/link/passwd"] {
            let refusal = policy.refusal(&mounting(&root.join(refused))).unwrap_or_else(|| panic!("{refused}"));
            assert!(refusal.contains("WINDLASS_DOCKER_MOUNTS"), "{refusal}");
        }
        assert!(policy.refusal(&mounting(Path::new("relative"))).is_some());
        let none = DockerPolicy { mounts: Mounts::Below(Vec::new()), ..DockerPolicy::default() };
        assert!(none.refusal(&mounting(&root)).unwrap().contains("none of its folders"));
    }
}
