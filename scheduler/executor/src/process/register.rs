//! Makes process groups known to the guard.
//!
//! A child writes its own group to the guard's pipe between fork and exec. A write to a pipe outlives its writer, and the
//! guard sees the pipe's end only after every copy of it is closed, so there is no instant at which a program runs that the
//! guard will not hear of: that is the gate, and it costs one system call.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Write as _},
    os::fd::OwnedFd,
    sync::{Arc, PoisonError, RwLock},
};

use uuid::Uuid;

/// What a group belongs to: a silent leader costs attempts their lives, services only a dead worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupKind {
    /// An attempt of a task.
    Attempt,
    /// An instance of a service.
    Service,
}

impl GroupKind {
    /// The letter that stands for it on the guard's pipe.
    #[must_use]
    pub const fn letter(self) -> u8 {
        match self {
            Self::Attempt => b'a',
            Self::Service => b's',
        }
    }
}

/// The worker's list of living groups and its pipe to the guard.
///
/// A line on the pipe is `+a123` or `+s123` for a new group, `-123` for one that is gone, `ok` for a word from the leader.
/// A container is `+ca` or `+cs` with an id of its own, a space and its engine's address, and `-c` with the id when it is gone.
#[derive(Debug)]
pub struct GroupRegister(RwLock<Inner>);

/// A container that the guard watches, until this goes.
#[derive(Debug)]
pub struct Watch<'r> {
    register: &'r GroupRegister,
    id: Uuid,
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        let mut inner = self.register.0.write().unwrap_or_else(PoisonError::into_inner);
        if inner.containers.remove(&self.id).is_some() {
            // A guard that is gone needs no news.
            let _ = (&*inner.pipe).write_all(format!("-c{}\n", self.id).as_bytes());
        }
    }
}

fn tell_group(mut pipe: &File, kind: GroupKind, group: i32) -> io::Result<()> {
    pipe.write_all(format!("+{}{group}\n", char::from(kind.letter())).as_bytes())
}

fn tell_container(mut pipe: &File, kind: GroupKind, id: Uuid, engine: &str) -> io::Result<()> {
    // One write of less than PIPE_BUF is whole; an address has no line breaks, or it would not be one.
    let engine = engine.replace(['\n', '\r'], "");
    pipe.write_all(format!("+c{}{id} {engine}\n", char::from(kind.letter())).as_bytes())
}

#[derive(Debug)]
struct Inner {
    pipe: Arc<File>,
    groups: BTreeMap<i32, GroupKind>,
    containers: BTreeMap<Uuid, (GroupKind, String)>,
}

impl GroupRegister {
    /// A register that writes to a guard's pipe.
    #[must_use]
    pub fn new(pipe: OwnedFd) -> Self {
        Self(RwLock::new(Inner {
            pipe: Arc::new(File::from(pipe)),
            groups: BTreeMap::new(),
            containers: BTreeMap::new(),
        }))
    }

    /// Goes over to a new guard and tells it of every living group.
    ///
    /// # Errors
    /// When the new guard does not take the list.
    pub fn change_guard(&self, pipe: OwnedFd) -> io::Result<()> {
        let mut inner = self.0.write().unwrap_or_else(PoisonError::into_inner);
        inner.pipe = Arc::new(File::from(pipe));
        inner.groups.iter().try_for_each(|(group, kind)| tell_group(&inner.pipe, *kind, *group))?;
        let mut containers = inner.containers.iter();
        containers.try_for_each(|(id, (kind, engine))| tell_container(&inner.pipe, *kind, *id, engine))
    }

    /// Makes known that a container is about to be made on an engine. It is the attempt's or instance's whose id this is.
    ///
    /// # Errors
    /// When the guard is gone: nothing may be made then.
    pub fn watch(&self, kind: GroupKind, id: Uuid, engine: &str) -> io::Result<Watch<'_>> {
        let mut inner = self.0.write().unwrap_or_else(PoisonError::into_inner);
        tell_container(&inner.pipe, kind, id, engine)?;
        inner.containers.insert(id, (kind, engine.to_owned()));
        Ok(Watch { register: self, id })
    }

    /// The pipe to the guard of the moment, for a process that is about to register itself.
    pub(super) fn guard(&self) -> Arc<File> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner).pipe)
    }

    /// A process has registered its group with the guard behind `told`. One that has taken that guard's place meanwhile
    /// hears of it now.
    pub(super) fn started(&self, group: i32, kind: GroupKind, told: &Arc<File>) {
        let mut inner = self.0.write().unwrap_or_else(PoisonError::into_inner);
        inner.groups.insert(group, kind);
        if !Arc::ptr_eq(&inner.pipe, told) {
            // A guard that is gone needs no news: its successor is told of all living groups.
            let _ = tell_group(&inner.pipe, kind, group);
        }
    }

    /// The group is gone; its number may come to mean something else.
    pub fn forget(&self, group: i32) {
        let mut inner = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if inner.groups.remove(&group).is_some() {
            // A guard that is gone needs no news: its successor is told of living groups only.
            let _ = (&*inner.pipe).write_all(format!("-{group}\n").as_bytes());
        }
    }

    /// Passes a word of the leader on to the guard.
    pub fn heard_leader(&self) {
        let pipe = Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner).pipe);
        // A guard that is gone is noticed by its exit, and replaced.
        let _ = (&*pipe).write_all(b"ok\n");
    }
}
