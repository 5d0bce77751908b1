//! Child processes of attempts and services: each in a process group of its own that the guard knows before the program
//! runs, with exactly the environment that it is given, and ended with everything that it started.

mod cgroup;
mod launch;
mod launcher;
mod launchers;
mod pump;
mod register;
mod supervise;
pub mod tree;
mod wire;

pub use cgroup::{Cgroups, Limits, NoCgroups, clear as clear_cgroups};
pub use launch::{Inherited, Launch, Running, StdinUse, find_program};
pub use launcher::{LAUNCHER, main as launcher_main};
pub use launchers::{Launchers, Recipe};
pub(crate) use pump::pump_parts;
pub use pump::{LastLine, pump};
pub use register::{GroupKind, GroupRegister, Watch};
pub use supervise::{Finished, ProcessEnd, supervise};
