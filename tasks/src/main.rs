//! The command `windlass-tasks`. Results go to standard output, everything else to standard error.

use clap::Parser;
use std::process::ExitCode;
use windlass_tasks::cli;

fn main() -> ExitCode {
    cli::main(cli::Cli::parse())
}
