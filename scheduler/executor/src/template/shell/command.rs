//! What the words of a simple command are to it: its name, its arguments, or code, numbers and names of variables for the
//! builtins and programs that read an argument so.

/// Programs that read code: the argument after an option with `c`, and a here-document.
const SHELLS: &[&str] = &["sh", "bash", "dash", "ash", "zsh", "ksh", "mksh", "rbash", "busybox", "fish"];
/// Programs that hand the argument of `-c` or `--command` to a shell.
const CARRIERS: &[&str] = &["su", "runuser", "script", "flock", "sg"];
/// Builtins that read a file as code.
const SOURCES: &[&str] = &["source", "."];
/// What they and shells call their standard input.
const INPUT: &[&str] = &["/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"];
/// Programs that run a command elsewhere, or a shell that reads its input where none is named.
const REMOTES: &[&str] = &["ssh", "autossh", "rsh"];
/// Their options that have a value.
const REMOTE_VALUES: &str = "BbcDEeFIiJLlmOopQRSWw";
/// What reads all of its arguments as code.
const EVALUATES: &[&str] =
    &["eval", "trap", "alias", "compgen", "complete", "ssh", "rsh", "autossh", "watch", "parallel"];
/// Programs that start the program which their arguments name.
const WRAPPERS: &[&str] = &[
    "sudo", "doas", "env", "nohup", "nice", "ionice", "setsid", "stdbuf", "timeout", "time", "xargs", "chroot",
    "sshpass", "chrt", "taskset", "unshare", "nsenter", "docker", "podman", "kubectl", "find",
];
/// Builtins that are followed by the name of a command.
const PREFIXES: &[&str] = &["command", "builtin", "exec"];
/// Builtins that declare variables.
const DECLARES: &[&str] = &["declare", "typeset", "local", "readonly", "export"];
/// Builtins whose arguments name variables; a name with a subscript is calculated, and what is calculated may run commands.
const NAMES: &[&str] = &["unset", "read", "mapfile", "readarray", "getopts", "wait"];
/// Variables whose value bash expands or runs.
const RUN_BY_BASH: &[&str] = &["PS0", "PS1", "PS2", "PS3", "PS4", "PROMPT_COMMAND", "BASH_ENV", "ENV"];

/// What a word is to its command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// The command's name, or an assignment before it.
    Command,
    /// What the command is given.
    Argument,
    /// The same, but code when it begins with `-`: an option and its value in one word. It may name a file with code.
    AfterShell,
    /// Code that is read once more.
    Code,
    /// Something to calculate.
    Number,
    /// The name of a variable.
    Name,
    /// A name that is declared, with its value.
    Declared {
        /// Its value is calculated.
        integer: bool,
        /// Its value is more than a text.
        special: bool,
    },
    /// An operand of `[[ … ]]`, or a pattern.
    Pattern,
    /// A value of an array.
    Element,
    /// The delimiter of a here-document.
    Delimiter,
}

/// A simple command, as far as it has been read.
#[derive(Debug, Default)]
pub(super) struct Simple {
    name: Option<String>,
    last: Option<String>,
    wraps: bool,
    evaluates: bool,
    shell: Shell,
    remote: Remote,
    integer: bool,
    special: bool,
}

/// Whether the command starts a shell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Shell {
    #[default]
    No,
    /// Its options come; a script's name ends them.
    Options,
    /// Its options may come anywhere.
    Carrier,
    /// The next word is code.
    CodeNext,
    /// Its standard input is code, whatever its arguments are.
    FromInput,
}

/// How far a command is that runs another one elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Remote {
    #[default]
    No,
    Options,
    Value,
    /// The host is named; without a command, what is read is code.
    Host,
    /// A command follows, which reads what it will.
    Command,
}

impl Simple {
    /// One that takes words as they are, such as those of `for x in …`.
    pub(super) fn list() -> Self {
        Self { name: Some("for".to_owned()), ..Self::default() }
    }

    /// What the next word is to it.
    pub(super) fn role(&self) -> Role {
        let Some(name) = self.name.as_deref() else { return Role::Command };
        let last = self.last.as_deref();
        match name {
            _ if self.evaluates || self.shell == Shell::CodeNext => Role::Code,
            "let" => Role::Number,
            name if DECLARES.contains(&name) => Role::Declared { integer: self.integer, special: self.special },
            name if NAMES.contains(&name) => Role::Name,
            "test" | "[" if matches!(last, Some("-v" | "-R")) => Role::Name,
            "printf" if last == Some("-v") => Role::Name,
            _ if matches!(self.shell, Shell::Options | Shell::Carrier) => Role::AfterShell,
            _ => Role::Argument,
        }
    }

    /// Whether a word that begins like this is read as code.
    pub(super) fn next_is_code(&self, word: &str) -> bool {
        match self.role() {
            Role::Code => true,
            Role::AfterShell => word.starts_with('-'),
            _ => false,
        }
    }

    /// Whether what it reads from its standard input is code.
    pub(super) fn reads_code(&self) -> bool {
        self.evaluates || self.shell != Shell::No
    }

    /// Whether what a pipe brings to it is code.
    pub(super) fn takes_code(&self) -> bool {
        self.shell != Shell::No || matches!(self.remote, Remote::Options | Remote::Value | Remote::Host)
    }

    /// Takes the next word; none when its text is not known.
    pub(super) fn push_literal(&mut self, literal: Option<&str>) {
        let base = literal.map(|text| text.rsplit('/').next().unwrap_or_default());
        let names_command = self.name.is_none();
        if names_command {
            match literal {
                Some(text) if PREFIXES.contains(&text) || text.starts_with('-') => return,
                _ => self.name = Some(base.unwrap_or_default().to_owned()),
            }
        }
        self.follow_shell(literal);
        self.follow_remote(literal);
        if let Some(base) = base {
            self.wraps |= names_command && WRAPPERS.contains(&base);
            let may_be_name = names_command || self.wraps;
            self.evaluates |= may_be_name && EVALUATES.contains(&base);
            if may_be_name && self.remote == Remote::No {
                self.remote = match base {
                    base if REMOTES.contains(&base) => Remote::Options,
                    // Its input is commands where it is given none.
                    "parallel" => Remote::Host,
                    _ => Remote::No,
                };
            }
            let is_shell = SHELLS.contains(&base) && (names_command || self.wraps);
            if is_shell || (names_command && SOURCES.contains(&base)) {
                self.shell = Shell::Options;
            } else if CARRIERS.contains(&base) && (names_command || self.wraps) {
                self.shell = Shell::Carrier;
            }
        } else if names_command {
            // `"$SHELL" -c …`
            self.shell = Shell::Options;
        }
        if let Some(options) = literal.filter(|text| text.starts_with(['-', '+'])) {
            self.integer |= options.contains('i');
            self.special |= options.contains(['a', 'A', 'n']);
        }
        self.last = literal.map(str::to_owned);
    }

    fn follow_remote(&mut self, literal: Option<&str>) {
        let text = literal.unwrap_or_default();
        let has_value = |letters: &str| letters.len() == 1 && REMOTE_VALUES.contains(letters);
        self.remote = match self.remote {
            Remote::Options => match text.strip_prefix('-') {
                Some(letters) if has_value(letters) => Remote::Value,
                Some(_) => Remote::Options,
                None => Remote::Host,
            },
            Remote::Value => Remote::Options,
            Remote::Host if text.starts_with('-') => Remote::Host,
            Remote::Host => {
                if SHELLS.contains(&text) {
                    self.shell = Shell::Options;
                }
                Remote::Command
            }
            unchanged => unchanged,
        };
    }

    fn follow_shell(&mut self, literal: Option<&str>) {
        let text = literal.unwrap_or_default();
        let is_option = text.starts_with(['-', '+']);
        // `-o pipefail`, also as the last of several letters.
        let takes_value = self.last.as_deref().is_some_and(|last| {
            let is_letters = last.starts_with(['-', '+']) && !last.starts_with("--");
            (is_letters && last.ends_with(['o', 'O'])) || matches!(last, "--rcfile" | "--init-file")
        });
        self.shell = match self.shell {
            Shell::Options | Shell::Carrier if text == "--command" => Shell::CodeNext,
            Shell::Options | Shell::Carrier if is_option && !text.starts_with("--") && text.contains('c') => {
                Shell::CodeNext
            }
            Shell::Options if is_option && !text.starts_with("--") && text.contains('s') => Shell::FromInput,
            Shell::Options if INPUT.contains(&text) => Shell::FromInput,
            // Programs such as busybox and kubectl name the shell after words of their own.
            Shell::Options if !is_option && !takes_value && !SHELLS.contains(&text) => Shell::No,
            Shell::CodeNext if !is_option && !takes_value => Shell::No,
            unchanged => unchanged,
        };
    }
}

/// Whether bash expands or runs the variable's value.
pub(super) fn is_run_by_bash(variable: &str) -> bool {
    RUN_BY_BASH.contains(&variable)
}
