//! Control groups (version 2), where the system has them and lets the worker make some: everything that an attempt starts is
//! killed by one write, and can be kept within a limit of memory and of processes.
//!
//! Each launcher has a group of its own, and what it starts is in it by birth. The groups lie in one folder of the worker's,
//! below the worker's own group; who removes that folder last is the guard.

use std::{
    fs, io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use uuid::Uuid;

/// The launcher itself is in its group, and counts as a process.
const LAUNCHER_PROCESSES: u64 = 1;

/// What an attempt may use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of memory.
    pub memory_bytes: Option<u64>,
    /// Processes and threads at once.
    pub processes: Option<u64>,
}

impl Limits {
    fn controllers(self) -> impl Iterator<Item = &'static str> {
        let memory = self.memory_bytes.map(|_| "memory");
        memory.into_iter().chain(self.processes.map(|_| "pids"))
    }
}

/// Why a worker has no control groups.
#[derive(Debug, thiserror::Error)]
pub enum NoCgroups {
    /// The system has none of version 2.
    #[error("no control groups of version 2 are mounted")]
    NotMounted,
    /// They are not the worker's to make.
    #[error("control groups can not be made below {}: {error}", dir.display())]
    NotAllowed {
        /// Where it was tried.
        dir: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// A limit that is asked for can not be set.
    #[error(
        "the {controller} of attempts can not be limited: {reason}; give the worker a group of its own to manage \
             (systemd: Delegate=yes), or set no limit"
    )]
    NoLimit {
        /// The controller.
        controller: &'static str,
        /// Why not.
        reason: String,
    },
}

/// The group into which a worker moves that has to leave its own to be allowed to manage it.
const ASIDE: &str = "windlass-main";

/// The folder of a worker's control groups. Clones mean the same one.
#[derive(Debug, Clone)]
pub struct Cgroups {
    dir: PathBuf,
    limits: Limits,
    /// Groups whose launchers had not ended when they were dropped.
    retired: Arc<Mutex<Vec<PathBuf>>>,
}

/// The control group of a launcher.
#[derive(Debug)]
pub(super) struct Cgroup {
    dir: PathBuf,
    limits: Limits,
    /// How often the kernel has killed for want of memory.
    killed: u64,
    retired: Arc<Mutex<Vec<PathBuf>>>,
}

impl Cgroups {
    /// Makes the worker's folder below its own group; what an earlier worker of this identity left in there is killed.
    ///
    /// # Errors
    /// [`NoCgroups`]: without limits a worker does well without groups.
    pub fn open(worker: Uuid, limits: Limits) -> Result<Self, NoCgroups> {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let own = own_group(&read("/proc/self/mountinfo"), &read("/proc/self/cgroup")).ok_or(NoCgroups::NotMounted)?;
        Self::below(&own, worker, limits)
    }

    fn below(own: &Path, worker: Uuid, limits: Limits) -> Result<Self, NoCgroups> {
        let dir = own.join(format!("windlass-worker-{worker}"));
        clear(&dir);
        let refused = |error| NoCgroups::NotAllowed { dir: own.to_owned(), error };
        fs::DirBuilder::new().recursive(true).mode(0o755).create(&dir).map_err(refused)?;
        for controller in limits.controllers() {
            let enabled = enable(own, controller).or_else(|refusal| match refusal {
                Refusal::Busy if step_aside(own) => enable(own, controller),
                refusal => Err(refusal),
            });
            if let Err(refusal) = enabled.and_then(|()| enable(&dir, controller)) {
                let reason = refusal.say(own);
                clear(&dir);
                return Err(NoCgroups::NoLimit { controller, reason });
            }
        }
        Ok(Self { dir, limits, retired: Arc::default() })
    }

    /// Where it is.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Makes a group for a launcher and puts it in there. Without limits an attempt does well without one.
    pub(super) fn make(&self, launcher: i32) -> io::Result<Option<Cgroup>> {
        self.remove_retired();
        let dir = self.dir.join(format!("launcher-{launcher}"));
        match self.fill(&dir, launcher) {
            Ok(cgroup) => Ok(Some(cgroup)),
            Err(error) if self.limits.controllers().next().is_none() => {
                tracing::warn!(%error, "the control group {} can not be made; an attempt goes without", dir.display());
                Ok(None)
            }
            Err(error) => {
                Err(io::Error::new(error.kind(), format!("making the control group {}: {error}", dir.display())))
            }
        }
    }

    fn fill(&self, dir: &Path, launcher: i32) -> io::Result<Cgroup> {
        fs::create_dir(dir)?;
        let cgroup = Cgroup { dir: dir.to_owned(), limits: self.limits, killed: 0, retired: Arc::clone(&self.retired) };
        if let Some(bytes) = self.limits.memory_bytes {
            fs::write(dir.join("memory.max"), bytes.to_string())?;
        }
        if let Some(processes) = self.limits.processes {
            fs::write(dir.join("pids.max"), (processes + LAUNCHER_PROCESSES).to_string())?;
        }
        fs::write(dir.join("cgroup.procs"), launcher.to_string())?;
        Ok(cgroup)
    }

    fn remove_retired(&self) {
        let mut retired = self.retired.lock().unwrap_or_else(PoisonError::into_inner);
        retired.retain(|dir| is_busy(dir));
    }
}

impl Cgroup {
    /// Kills everything in it, its launcher as well.
    pub(super) fn kill(&self) -> io::Result<()> {
        fs::write(self.dir.join("cgroup.kill"), "1")
    }

    /// A sentence when the kernel has killed for want of memory since the last time.
    pub(super) fn news(&mut self) -> Option<String> {
        let bytes = self.limits.memory_bytes?;
        let events = fs::read_to_string(self.dir.join("memory.events")).ok()?;
        let killed = events.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())?;
        let before = std::mem::replace(&mut self.killed, killed);
        (killed > before)
            .then(|| format!("Its memory limit of {bytes} bytes was reached, and the kernel killed for it"))
    }
}

impl Drop for Cgroup {
    /// The launcher may take a moment to end; the next group that is made removes this one then, or the guard does.
    fn drop(&mut self) {
        if is_busy(&self.dir) {
            self.retired.lock().unwrap_or_else(PoisonError::into_inner).push(self.dir.clone());
        }
    }
}

/// Removes a group that nothing is in; whether something still is.
fn is_busy(dir: &Path) -> bool {
    matches!(fs::remove_dir(dir), Err(error) if error.raw_os_error() == Some(libc::EBUSY))
}

/// Kills what is in a worker's folder of control groups, and removes it. Whether it is gone.
pub fn clear(dir: &Path) -> bool {
    let groups = fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    for group in groups.filter(|path| path.is_dir()) {
        let _ = fs::write(group.join("cgroup.kill"), "1");
        let _ = fs::remove_dir(&group);
    }
    matches!(fs::remove_dir(dir).map_err(|error| error.kind()), Ok(()) | Err(io::ErrorKind::NotFound))
}

/// Why a controller can not be had.
enum Refusal {
    /// A group with processes of its own can not hand its controllers on.
    Busy,
    Missing,
    Failed(io::Error),
}

impl Refusal {
    fn say(&self, dir: &Path) -> String {
        let dir = dir.display();
        match self {
            Self::Busy => format!("other processes are in the group {dir}"),
            Self::Missing => format!("{dir} does not have that controller"),
            Self::Failed(error) => format!("{dir}/cgroup.subtree_control: {error}"),
        }
    }
}

/// Leaves the own group for one below it, when nobody else is in it. Whether that was done.
fn step_aside(own: &Path) -> bool {
    let alone = || {
        let procs = fs::read_to_string(own.join("cgroup.procs"))?;
        Ok::<_, io::Error>(procs.split_whitespace().eq([std::process::id().to_string()]))
    };
    let aside = own.join(ASIDE);
    alone().unwrap_or(false)
        && (fs::create_dir(&aside).is_ok() || aside.is_dir())
        && fs::write(aside.join("cgroup.procs"), std::process::id().to_string()).is_ok()
}

/// Lets the groups below `dir` have a controller.
fn enable(dir: &Path, controller: &'static str) -> Result<(), Refusal> {
    let has = |file: &str| {
        let text = fs::read_to_string(dir.join(file)).unwrap_or_default();
        text.split_whitespace().any(|one| one == controller)
    };
    if has("cgroup.subtree_control") {
        return Ok(());
    }
    if !has("cgroup.controllers") {
        return Err(Refusal::Missing);
    }
    fs::write(dir.join("cgroup.subtree_control"), format!("+{controller}"))
        .map_err(|error| if error.raw_os_error() == Some(libc::EBUSY) { Refusal::Busy } else { Refusal::Failed(error) })
}

/// The folder of this process's own group, of version 2.
fn own_group(mountinfo: &str, cgroup: &str) -> Option<PathBuf> {
    let path = cgroup.lines().find_map(|line| line.strip_prefix("0::"))?;
    // Fields: id, parent, device, root, mount point, options, …, a dash, then the file system's type.
    let mounts = mountinfo.lines().filter_map(|line| {
        let (mount, kind) = line.split_once(" - ")?;
        let mut fields = mount.split(' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        kind.starts_with("cgroup2 ").then_some((root, point))
    });
    mounts.into_iter().find_map(|(root, point)| {
        let below = Path::new(path).strip_prefix(root).ok()?;
        Some(Path::new(point).join(below))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "24 1 0:22 / /sys rw - sysfs sysfs rw\n\
        31 24 0:27 / /sys/fs/cgroup/memory rw shared:9 - cgroup cgroup rw,memory\n\
        32 24 0:28 / /sys/fs/cgroup/unified rw,nosuid shared:10 - cgroup2 cgroup2 rw\n";

    #[test]
    fn the_own_group_is_found_by_mount_and_path() {
        let at = |mounts: &str, group: &str| own_group(mounts, group).map(|path| path.display().to_string());
        let lines = "5:memory:/x\n0::/user.slice/a.scope\n";
        assert_eq!(at(HYBRID, lines).unwrap(), "/sys/fs/cgroup/unified/user.slice/a.scope");
        assert_eq!(at(HYBRID, "0::/\n").unwrap().trim_end_matches('/'), "/sys/fs/cgroup/unified");
        let inner = "30 24 0:27 /docker/ab /sys/fs/cgroup ro - cgroup2 cgroup rw\n";
        assert_eq!(at(inner, "0::/docker/ab/w\n").unwrap(), "/sys/fs/cgroup/w");
        assert_eq!(at(inner, "0::/elsewhere\n"), None);
        assert_eq!(at("24 1 0:22 / /sys rw - sysfs sysfs rw\n", "0::/\n"), None);
    }

    /// A folder that looks like a group.
    fn group(controllers: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("cgroup.controllers"), controllers).unwrap();
        fs::write(dir.path().join("cgroup.subtree_control"), controllers).unwrap();
        dir
    }

    #[test]
    fn a_limit_without_its_controller_is_refused_with_the_place_and_the_advice() {
        let own = group("cpu pids\n");
        let limits = Limits { memory_bytes: Some(1 << 30), processes: None };
        let error = Cgroups::below(own.path(), Uuid::nil(), limits).unwrap_err().to_string();
        assert!(error.contains("memory") && error.contains("Delegate=yes"), "{error}");
        assert!(error.contains(&own.path().display().to_string()), "{error}");
        let left = fs::read_dir(own.path()).unwrap().flatten().filter(|entry| entry.path().is_dir()).count();
        assert_eq!(left, 0, "nothing stays behind");
    }

    #[test]
    fn limits_are_written_before_a_launcher_enters() {
        let own = group("memory pids\n");
        let limits = Limits { memory_bytes: Some(1 << 30), processes: Some(100) };
        let cgroups = Cgroups { dir: own.path().to_owned(), limits, retired: Arc::default() };
        let mut cgroup = cgroups.make(17).unwrap().unwrap();
        let read = |name: &str| fs::read_to_string(own.path().join("launcher-17").join(name)).unwrap();
        assert_eq!(
            (read("memory.max"), read("pids.max"), read("cgroup.procs")),
            ("1073741824".into(), "101".into(), "17".into())
        );
        let events = own.path().join("launcher-17/memory.events");
        fs::write(&events, "low 0\noom 1\noom_kill 1\n").unwrap();
        assert!(cgroup.news().unwrap().contains("1073741824 bytes"));
        assert_eq!(cgroup.news(), None, "each kill is told once");
        fs::remove_dir_all(own.path().join("launcher-17")).unwrap();
    }

    #[test]
    fn an_attempt_goes_without_a_group_that_can_not_be_made_but_not_without_its_limits() {
        let own = group("memory pids\n");
        fs::create_dir(own.path().join("launcher-17")).unwrap();
        let with = |limits| Cgroups { dir: own.path().to_owned(), limits, retired: Arc::default() };
        assert!(with(Limits::default()).make(17).unwrap().is_none());
        let error = with(Limits { memory_bytes: Some(1), processes: None }).make(17).unwrap_err().to_string();
        assert!(error.contains("launcher-17"), "{error}");
    }
}
