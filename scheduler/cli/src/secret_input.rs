//! Secrets and files that a command takes in and gives out.
//!
//! A secret on the command line is seen by every process of the machine, so `-` in its place reads it from standard
//! input: without an echo from a terminal, else up to its end.

use std::{
    fs,
    io::{self, IsTerminal, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, bail};

/// What stands for standard input or output in place of a value or a file.
pub const STANDARD: &str = "-";
/// More than this is no secret and no file of ours.
const INPUT_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// The value that an argument means: itself, or what is read for it.
///
/// # Errors
/// When it can not be read.
pub fn resolve(argument: String, what: &str) -> anyhow::Result<String> {
    if argument == STANDARD { ask(what) } else { Ok(argument) }
}

/// A secret from standard input, without the line break at its end.
///
/// # Errors
/// When it can not be read.
pub fn ask(what: &str) -> anyhow::Result<String> {
    let text = if io::stdin().is_terminal() { ask_terminal(what)? } else { read_standard_input(what)? };
    Ok(text.strip_suffix('\n').map_or(text.as_str(), |text| text.trim_end_matches('\r')).to_owned())
}

fn ask_terminal(what: &str) -> anyhow::Result<String> {
    err!("{what}: ");
    let _silent = Silence::begin();
    let mut line = String::new();
    io::stdin().read_line(&mut line).with_context(|| format!("{what} can not be read"))?;
    errln!();
    Ok(line)
}

/// As long as it lives the terminal does not show what is typed.
struct Silence;

impl Silence {
    fn begin() -> Self {
        stty("-echo");
        Self
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        stty("echo");
    }
}

/// A terminal that can not be set shows what is typed; that is no reason to ask nothing.
fn stty(setting: &str) {
    let done = Command::new("stty").arg(setting).stdin(Stdio::inherit()).stderr(Stdio::null()).status();
    if !done.is_ok_and(|status| status.success()) && setting == "-echo" {
        errln!("(it will be visible) ");
    }
}

fn read_standard_input(what: &str) -> anyhow::Result<String> {
    let mut text = String::new();
    io::stdin()
        .take(INPUT_BYTES_MAX)
        .read_to_string(&mut text)
        .with_context(|| format!("{what} can not be read from standard input"))?;
    Ok(text)
}

/// The text of a file to import.
///
/// # Errors
/// When it can not be read.
pub fn read_file(path: &Path) -> anyhow::Result<String> {
    if path == Path::new(STANDARD) {
        return read_standard_input("the file");
    }
    let size = fs::metadata(path).with_context(|| format!("{} can not be read", path.display()))?.len();
    if size > INPUT_BYTES_MAX {
        bail!("{} has {size} bytes; at most {INPUT_BYTES_MAX} are read", path.display());
    }
    fs::read_to_string(path).with_context(|| format!("{} can not be read", path.display()))
}

/// Writes an exported file that only this user can read: it may hold secrets in clear.
///
/// # Errors
/// When it can not be written.
pub fn write_file(path: &Path, text: &str) -> anyhow::Result<()> {
    if path == Path::new(STANDARD) {
        out!("{text}");
        return Ok(());
    }
    let cannot = || format!("{} can not be written", path.display());
    // A file that is there may be readable by others: a new one takes its place.
    let unfinished = path.with_extension(format!("new-{}", std::process::id()));
    let mut file =
        fs::File::options().create_new(true).write(true).mode(0o600).open(&unfinished).with_context(cannot)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).with_context(cannot)?;
    fs::rename(&unfinished, path).with_context(cannot)
}
