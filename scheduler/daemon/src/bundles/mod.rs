//! Bundles of DAG files that the leader fetches: which ones the settings name, and how one is read out of a git repository.
//!
//! The program `git` does what git does, in a folder that is made for one poll and goes with it, with an environment of its own, for a
//! bounded time. What comes out is a [`Content`](dag::Content), which the store keeps: no other process needs git or a disk.

mod access;
mod fetch;
mod program;
mod settings;
mod tree;

pub use access::Access;
pub use fetch::{Fetched, Found, look};
pub use program::GitError;
pub use settings::{GitBundle, Settings};
