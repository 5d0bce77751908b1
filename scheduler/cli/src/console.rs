//! Standard output and standard error, by `out!`, `outln!`, `err!` and `errln!`.
//!
//! What reads a command's output may stop before the end (`windlass dags list | head -1`). The macros of the standard library
//! panic then, in the middle of whatever is under way. These drop the rest: what was begun goes on to its end, and whoever
//! prints for as long as there is something to print asks [`is_open`]. An output that can not be written for another reason (a
//! full disk) makes the command fail at its end ([`result`]).

use std::{
    fmt::Arguments,
    io::{self, ErrorKind, Write as _},
    sync::OnceLock,
};

use anyhow::Context as _;

/// Why standard output takes nothing any more.
static CLOSED: OnceLock<io::Error> = OnceLock::new();

/// Prints to standard output.
macro_rules! out {
    ($($text:tt)*) => { $crate::console::print(format_args!($($text)*)) };
}

/// Prints a line to standard output.
macro_rules! outln {
    ($($text:tt)*) => { $crate::console::print(format_args!("{}\n", format_args!($($text)*))) };
}

/// Says something on standard error.
macro_rules! err {
    ($($text:tt)*) => { $crate::console::say(format_args!($($text)*)) };
}

/// Says a line on standard error.
macro_rules! errln {
    () => { $crate::console::say(format_args!("\n")) };
    ($($text:tt)*) => { $crate::console::say(format_args!("{}\n", format_args!($($text)*))) };
}

/// What `out!` and `outln!` call.
pub fn print(text: Arguments<'_>) {
    if !is_open() {
        return;
    }
    let mut output = io::stdout().lock();
    if let Err(error) = output.write_fmt(text).and_then(|()| output.flush()) {
        // Another thread may have met it first; one reason is enough.
        let _known = CLOSED.set(error);
    }
}

/// What `err!` and `errln!` call. Where standard error can not be written either, nobody is left to be told.
pub fn say(text: Arguments<'_>) {
    let _nobody_listens = io::stderr().lock().write_fmt(text);
}

/// Whether somebody may still read what is printed.
#[must_use]
pub fn is_open() -> bool {
    CLOSED.get().is_none()
}

/// Whether all that was printed could be written, or nobody wanted the rest.
///
/// # Errors
/// When standard output could not be written.
pub fn result() -> anyhow::Result<()> {
    match CLOSED.get() {
        Some(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(io::Error::new(error.kind(), error.to_string())).context("standard output can not be written")
        }
        Some(_) | None => Ok(()),
    }
}
