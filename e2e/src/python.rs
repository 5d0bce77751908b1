//! Pythons with packages from PyPI, for clients and engines that nobody here wrote.

use std::{path::PathBuf, process::Command};

use crate::program;

/// A Python with these packages, kept beside the build so that it is made once.
///
/// # Panics
/// When it can not be made.
#[must_use]
pub fn with_packages(name: &str, packages: &[&str]) -> PathBuf {
    let folder = program(name);
    let python = folder.join("bin/python");
    if !folder.join("complete").exists() {
        let run = |command: &mut Command| {
            let output = command.output().expect("python3 starts");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        };
        run(Command::new("python3").args(["-m", "venv"]).arg(&folder));
        run(Command::new(&python).args(["-m", "pip", "install", "--quiet"]).args(packages));
        std::fs::write(folder.join("complete"), "").expect("the folder takes files");
    }
    python
}
