//! Child processes of attempts and services: each in a process group of its own that the guard knows before the program
//! runs, with exactly the environment that it is given, and ended as a group.

mod launch;
mod pump;
mod register;
mod supervise;

pub use launch::{Launch, Running, StdinUse, find_program};
pub use pump::{LastLine, pump};
pub use register::{GroupKind, GroupRegister, Watch};
pub use supervise::{Finished, ProcessEnd, supervise};
