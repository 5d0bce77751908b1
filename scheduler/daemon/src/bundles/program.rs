//! The program `git`, as a child that is given an environment of its own and a bounded time, and that takes what it has started with
//! it when it ends.

use std::{
    ffi::OsString,
    fs,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    process::Stdio,
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    process::{Child, Command},
};

use super::access::Access;

/// A file that git writes may have so many blocks of 512 bytes, 512 MiB: a pack that is larger ends the fetch and not the disk.
const FILE_BLOCKS_MAX: u32 = 1024 * 1024;
/// So much of what git says against it is kept: its end says what is wrong.
const SAID_BYTES_MAX: usize = 16 * 1024;
const SAID_CHARS_MAX: usize = 600;
/// What is handed on of the environment: where programs and authorities are, and how to get to the web.
const HANDED_ON: [&str; 12] = [
    "PATH",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "GIT_SSL_CAINFO",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "all_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "ALL_PROXY",
];

/// Why git did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// There is no such program.
    #[error("the program git is not there: install git where the schedulers run, and have it in their PATH")]
    Missing,
    /// It took too long.
    #[error("git {what} did not end within {secs} s")]
    TooSlow {
        /// Which command.
        what: String,
        /// The limit.
        secs: u64,
    },
    /// It wrote more than is taken.
    #[error(
        "git {what} gives more than {bytes} bytes: choose a folder by subdir, or take large files out of the repository"
    )]
    TooMuch {
        /// Which command.
        what: String,
        /// The limit.
        bytes: usize,
    },
    /// It failed.
    #[error("git {what}: {said}")]
    Failed {
        /// Which command.
        what: String,
        /// What it said, without secrets.
        said: String,
    },
    /// The repository is not as the settings say.
    #[error("{0}")]
    Odd(String),
    /// The system refused.
    #[error("{doing}: {source}")]
    System {
        /// What was being done.
        doing: &'static str,
        /// The system's error.
        source: io::Error,
    },
}

/// git with a home of its own, which goes with this.
pub(super) struct Git<'a> {
    home: TempDir,
    access: &'a Access,
    variables: Vec<(OsString, OsString)>,
    encoded: Option<String>,
}

impl<'a> Git<'a> {
    /// Makes the home.
    pub(super) fn open(url: &str, access: &'a Access) -> Result<Self, GitError> {
        let system = |source| GitError::System { doing: "making a folder for git", source };
        let home = tempfile::Builder::new().prefix("windlass-git-").tempdir().map_err(system)?;
        // Whose a repository on this machine is decides its path in the settings, not its owner.
        fs::write(home.path().join(".gitconfig"), "[safe]\n\tdirectory = *\n").map_err(system)?;
        let mut git = Self { home, access, variables: Vec::new(), encoded: None };
        let home = git.home.path().as_os_str().to_owned();
        git.set("HOME", home);
        git.set("GIT_CONFIG_NOSYSTEM", "1");
        git.set("GIT_TERMINAL_PROMPT", "0");
        git.set("GIT_ASKPASS", "false");
        git.set("GIT_ALLOW_PROTOCOL", "file:http:https:ssh");
        git.set("GIT_LFS_SKIP_SMUDGE", "1");
        git.set("LC_ALL", "C");
        for name in HANDED_ON {
            if let Some(value) = std::env::var_os(name) {
                git.set(name, value);
            }
        }
        git.authenticate(url).map_err(system)?;
        Ok(git)
    }

    /// The folder of the repository that commands work in.
    pub(super) fn repository(&self) -> std::path::PathBuf {
        self.home.path().join("repository.git")
    }

    fn set(&mut self, name: &str, value: impl Into<OsString>) {
        self.variables.push((name.into(), value.into()));
    }

    fn authenticate(&mut self, url: &str) -> io::Result<()> {
        if let (true, Some(basic)) = (url.starts_with("http"), self.access.basic()) {
            let encoded = STANDARD.encode(basic);
            // For this host alone, whatever it redirects to.
            let host: String = url.splitn(4, '/').take(3).collect::<Vec<_>>().join("/");
            self.set("GIT_CONFIG_COUNT", "1");
            self.set("GIT_CONFIG_KEY_0", format!("http.{host}/.extraHeader"));
            self.set("GIT_CONFIG_VALUE_0", format!("Authorization: Basic {encoded}"));
            self.encoded = Some(encoded);
        }
        let key_file = match &self.access.private_key {
            Some(key) => {
                let path = self.home.path().join("key");
                let mut file = fs::File::options().write(true).create_new(true).mode(0o600).open(&path)?;
                // A key without a line break at its end is none to ssh.
                writeln!(file, "{}", key.trim_end())?;
                Some(path.display().to_string())
            }
            None => self.access.key_file.clone(),
        };
        let mut ssh = vec!["ssh".to_owned(), "-o BatchMode=yes".to_owned(), "-o ConnectTimeout=20".to_owned()];
        let checking = self.access.host_key_checking.as_deref().unwrap_or("yes");
        ssh.push(format!("-o StrictHostKeyChecking={checking}"));
        ssh.extend(key_file.map(|file| format!("-o IdentitiesOnly=yes -i {}", quoted(&file))));
        ssh.extend(self.access.known_hosts_file.as_ref().map(|file| format!("-o UserKnownHostsFile={}", quoted(file))));
        self.set("GIT_SSH_COMMAND", ssh.join(" "));
        self.set("GIT_SSH_VARIANT", "ssh");
        Ok(())
    }

    /// Runs a command and gives what it writes.
    pub(super) async fn run(&self, task: Run<'_>) -> Result<Vec<u8>, GitError> {
        let what = task.arguments.iter().find(|argument| !argument.starts_with('-')).copied().unwrap_or_default();
        let repository = self.repository();
        let mut group = Group::spawn(&self.variables, repository.as_path(), task.arguments)
            .map_err(|source| GitError::System { doing: "starting git", source })?;
        let all = group.talk(task.input, task.bytes_max);
        let (status, output, said) = tokio::time::timeout(task.within, all)
            .await
            .map_err(|_| GitError::TooSlow { what: what.to_owned(), secs: task.within.as_secs() })?
            .map_err(|source| GitError::System { doing: "listening to git", source })?;
        if output.len() > task.bytes_max {
            return Err(GitError::TooMuch { what: what.to_owned(), bytes: task.bytes_max });
        }
        match status.code() {
            Some(0) => Ok(output),
            Some(127) => Err(GitError::Missing),
            _ => Err(GitError::Failed { what: what.to_owned(), said: self.said(&said) }),
        }
    }

    /// The end of what git said, on one line, without secrets.
    fn said(&self, said: &[u8]) -> String {
        let said = String::from_utf8_lossy(said);
        let line = said.split_whitespace().collect::<Vec<_>>().join(" ");
        let line: String = line.chars().filter(|c| !c.is_control()).collect();
        let masked = self.access.masked(&line, self.encoded.as_deref());
        let from = masked.chars().count().saturating_sub(SAID_CHARS_MAX);
        let end: String = masked.chars().skip(from).collect();
        if end.is_empty() {
            "it failed without a word, or a file that it writes grew beyond 512 MiB".to_owned()
        } else {
            end
        }
    }
}

/// A command of git.
pub(super) struct Run<'a> {
    pub(super) arguments: &'a [&'a str],
    pub(super) input: &'a [u8],
    pub(super) bytes_max: usize,
    pub(super) within: Duration,
}

/// A child and all that it has started: they end when this is dropped.
struct Group {
    child: Child,
    group: Option<Pid>,
}

impl Group {
    fn spawn(variables: &[(OsString, OsString)], repository: &Path, arguments: &[&str]) -> io::Result<Self> {
        let limited = format!("ulimit -f {FILE_BLOCKS_MAX}; exec git \"$@\"");
        let mut command = Command::new("/bin/sh");
        command.args(["-c", &limited, "git", "-C"]).arg(repository).args(arguments);
        command.env_clear().envs(variables.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.process_group(0).kill_on_drop(true).spawn()?;
        let group = child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
        Ok(Self { child, group })
    }

    /// Gives it its input and takes what it writes, one byte more than is allowed at most.
    async fn talk(
        &mut self,
        input: &[u8],
        bytes_max: usize,
    ) -> io::Result<(std::process::ExitStatus, Vec<u8>, Vec<u8>)> {
        let stdin = self.child.stdin.take();
        let (stdout, stderr) = (self.child.stdout.take(), self.child.stderr.take());
        let give = async {
            if let Some(mut stdin) = stdin {
                // A child that needs no more closes its end.
                drop(stdin.write_all(input).await);
            }
        };
        let ((), output, said) = tokio::join!(give, at_most(stdout, bytes_max + 1), end_of(stderr));
        let (output, said) = (output?, said?);
        let status =
            if output.len() > bytes_max { std::process::ExitStatus::default() } else { self.child.wait().await? };
        Ok((status, output, said))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let (Some(group), Ok(None)) = (self.group, self.child.try_wait()) {
            // It may have ended just now.
            let _ = killpg(group, Signal::SIGKILL);
        }
    }
}

async fn at_most(from: Option<impl AsyncRead + Unpin>, bytes_max: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(from) = from {
        from.take(bytes_max as u64).read_to_end(&mut bytes).await?;
    }
    Ok(bytes)
}

/// Reads all of it, and keeps the end.
async fn end_of(from: Option<impl AsyncRead + Unpin>) -> io::Result<Vec<u8>> {
    let mut kept = Vec::new();
    let mut buffer = [0; 4096];
    if let Some(mut from) = from {
        loop {
            let read = from.read(&mut buffer).await?;
            if read == 0 {
                break;
            }
            kept.extend_from_slice(&buffer[..read]);
            let too_many = kept.len().saturating_sub(SAID_BYTES_MAX);
            kept.drain(..too_many);
        }
    }
    Ok(kept)
}

/// A text as one word of a shell, by which git starts ssh.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}
