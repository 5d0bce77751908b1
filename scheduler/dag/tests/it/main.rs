//! The DAG format from the outside: files as users write them, and what [`windlass_dag::load`] says about them.

extern crate windlass_dag as dag;

mod asking;
mod assets;
mod bad;
mod callables;
mod callbacks;
mod conf;
mod docker;
mod expand;
mod forms;
mod groups;
mod hash;
mod kafka;
mod large;
mod migrated;
mod never_panics;
mod published;
mod retries;
mod scopes;
mod shipped;
mod support;
mod texts;
mod waiting;
mod whose;
