//! The command `windlass-tasks`. Results go to standard output, everything else to standard error.

use std::process::ExitCode;

use clap::Parser;
use windlass_tasks::cli;

fn main() -> ExitCode {
    limit_arenas();
    cli::main(cli::Cli::parse())
}

/// glibc gives each thread an arena of its own, and freed batches stay in all of them: two arenas halve the peak memory
/// of a sink, at no loss of speed that could be measured.
fn limit_arenas() {
    const ARENAS: libc::c_int = 2;
    // SAFETY: mallopt only sets a number of the allocator, before any other thread exists.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, ARENAS) };
}
