//! `windlass completion SHELL`: a script by which a shell completes this command's words.

use clap::{Args, CommandFactory, ValueEnum};
use clap_complete::{Shell as Generator, generate};

/// Options of `completion`.
#[derive(Debug, Args)]
pub struct Completion {
    /// The shell.
    shell: Shell,
}

/// The shells that there is a script for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Shell {
    /// Put the script into ~/.local/share/bash-completion/completions/windlass
    Bash,
    /// Put the script into a folder of $fpath, as _windlass
    Zsh,
    /// Put the script into ~/.config/fish/completions/windlass.fish
    Fish,
}

/// Prints the script.
pub fn run<C: CommandFactory>(options: &Completion) {
    let generator = match options.shell {
        Shell::Bash => Generator::Bash,
        Shell::Zsh => Generator::Zsh,
        Shell::Fish => Generator::Fish,
    };
    let mut command = C::command();
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    generate(generator, &mut command, name, &mut script);
    out!("{}", String::from_utf8_lossy(&script));
}
