//! How far long work is: a bar on standard error while that is a terminal, and nothing anywhere else, so that no log and no
//! program ever reads one.

use std::io::{self, IsTerminal as _};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Columns of the message, the bar and the count.
const LOOK: &str = "{msg:24} [{bar:30}] {pos}/{len} {elapsed}";

/// A bar, cleared away when it is dropped.
pub struct Progress(ProgressBar);

impl Progress {
    /// A bar for work of which so many parts are known.
    #[must_use]
    pub fn of(parts: usize, what: &'static str) -> Self {
        let target =
            if io::stderr().is_terminal() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(parts as u64), target);
        let style = ProgressStyle::with_template(LOOK).expect("the look is a template");
        bar.set_style(style.progress_chars("=> "));
        bar.set_message(what);
        Self(bar)
    }

    /// So many parts of so many are done.
    pub fn at(&self, done: usize, parts: usize) {
        self.0.set_length(parts as u64);
        self.0.set_position(done as u64);
    }

    /// One more part is done.
    pub fn step(&self) {
        self.0.inc(1);
    }

    /// Prints a line of the result: the bar makes room for it when both are on one terminal.
    pub fn line(&self, text: &str) {
        self.0.suspend(|| outln!("{text}"));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
