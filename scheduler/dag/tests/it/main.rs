//! The DAG format from the outside: files as users write them, and what [`windlass_dag::load`] says about them.

extern crate windlass_dag as dag;

mod bad;
mod conf;
mod docker;
mod forms;
mod groups;
mod hash;
mod kafka;
mod never_panics;
mod shipped;
mod support;
mod texts;
mod waiting;
mod whose;
