//! Ends the containers of a worker that is gone: they are the engine's children, and no signal of ours reaches them.
//!
//! A killed worker may come back and go on with its containers, so they live as long as the leader counts on it: until its
//! silence is too long. A worker that is back holds its lock, and then the containers are its own business again.

use std::{
    fs::{File, TryLockError},
    io::{self, Read, Write},
    net::TcpStream,
    os::{
        fd::{FromRawFd as _, OwnedFd, RawFd},
        unix::net::UnixStream,
    },
    path::PathBuf,
    time::Duration,
};

use executor::docker::labels;
use serde::Deserialize;
use uuid::Uuid;

/// How long an engine may take for one answer; killing a container takes the kernel milliseconds.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// The longest answer that is read: a worker has far fewer containers than this lists.
const ANSWER_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Which containers of a worker are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whose {
    /// Those of attempts.
    Attempts,
    /// All.
    All,
}

/// The lock that a worker and its guard hold together.
pub(super) struct Lock {
    path: PathBuf,
    held: Option<OwnedFd>,
}

impl Lock {
    /// The lock whose descriptor was inherited under this number.
    pub(super) fn inherited(fd: RawFd) -> io::Result<Self> {
        let path = std::fs::read_link(format!("/proc/self/fd/{fd}"))?;
        // SAFETY: the worker gave this descriptor to its guard, and nothing else of the guard uses it.
        Ok(Self { path, held: Some(unsafe { OwnedFd::from_raw_fd(fd) }) })
    }

    /// Lets go, so that a new worker can have it.
    pub(super) fn release(&mut self) {
        self.held = None;
    }

    /// Takes the lock for as long as the file lives; nothing when a new worker has it.
    pub(super) fn take(&self) -> io::Result<Option<File>> {
        let file = File::options().write(true).open(&self.path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

/// A container in an engine's list.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    id: String,
}

/// Kills and removes what may still run of a worker on an engine.
///
/// # Errors
/// When the engine can not be asked. A container that is gone already is what is wanted.
pub(super) fn end_all(engine: &str, worker: Uuid, whose: Whose) -> io::Result<()> {
    let listed: Vec<Listed> = serde_json::from_slice(&ask(engine, "GET", &list_path(worker, whose))?)?;
    for Listed { id } in listed {
        if id.chars().all(|c| c.is_ascii_hexdigit()) {
            ask(engine, "DELETE", &format!("/containers/{id}?force=true&v=true"))?;
        }
    }
    Ok(())
}

fn list_path(worker: Uuid, whose: Whose) -> String {
    let mut wanted = vec![format!("{}={worker}", labels::WORKER)];
    if whose == Whose::Attempts {
        wanted.push(labels::ATTEMPT.to_owned());
    }
    let filters = serde_json::json!({"label": wanted, "status": ["created", "running", "paused", "restarting"]});
    let escaped: String = filters.to_string().bytes().map(|byte| format!("%{byte:02X}")).collect();
    format!("/containers/json?all=true&filters={escaped}")
}

/// One question in HTTP 1.0: the engine answers in one piece and closes.
fn ask(engine: &str, method: &str, path: &str) -> io::Result<Vec<u8>> {
    let request = format!("{method} {path} HTTP/1.0\r\nHost: docker\r\nContent-Length: 0\r\n\r\n");
    let answer = if let Some(socket) = engine.strip_prefix("unix://") {
        let stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(ANSWER_MAX))?;
        stream.set_write_timeout(Some(ANSWER_MAX))?;
        exchange(stream, &request)?
    } else {
        let address = engine.split_once("://").map_or(engine, |(_, address)| address).trim_end_matches('/');
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(ANSWER_MAX))?;
        stream.set_write_timeout(Some(ANSWER_MAX))?;
        exchange(stream, &request)?
    };
    body_of(&answer)
}

fn exchange(mut stream: impl Read + Write, request: &str) -> io::Result<Vec<u8>> {
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
    Ok(answer)
}

/// The body of an answer that is good, or says that there is nothing to do any more.
fn body_of(answer: &[u8]) -> io::Result<Vec<u8>> {
    let broken = || io::Error::other("the engine's answer is no HTTP");
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").ok_or_else(broken)?;
    let head = String::from_utf8_lossy(&answer[..end]);
    let status: u16 = head.split_whitespace().nth(1).and_then(|code| code.parse().ok()).ok_or_else(broken)?;
    match status {
        200..=299 | 404 | 409 => Ok(answer[end + 4..].to_vec()),
        other => Err(io::Error::other(format!("the engine answered {other}"))),
    }
}

#[cfg(test)]
mod tests {
    use std::{io::BufRead as _, os::unix::net::UnixListener};

    use super::*;

    #[test]
    fn what_may_run_of_a_worker_is_listed_and_removed() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("engine.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let engine = std::thread::spawn(move || {
            let mut asked = Vec::new();
            for body in ["[{\"Id\":\"abc123\",\"Names\":[]},{\"Id\":\"../x\"}]", ""] {
                let (mut stream, _) = listener.accept().unwrap();
                let mut line = String::new();
                io::BufReader::new(&stream).read_line(&mut line).unwrap();
                asked.push(line);
                write!(stream, "HTTP/1.0 200 OK\r\n\r\n{body}").unwrap();
            }
            asked
        });
        end_all(&format!("unix://{}", socket.display()), Uuid::nil(), Whose::Attempts).unwrap();
        let asked = engine.join().unwrap();
        assert!(asked[0].starts_with("GET /containers/json?all=true&filters=%7B"), "{asked:?}");
        assert_eq!(asked[1], "DELETE /containers/abc123?force=true&v=true HTTP/1.0\r\n");
    }

    #[test]
    fn a_container_that_is_gone_is_no_error_and_a_refusal_is_one() {
        assert_eq!(body_of(b"HTTP/1.0 404 Not Found\r\nA: b\r\n\r\n{}").unwrap(), b"{}");
        assert!(body_of(b"HTTP/1.0 500 Oops\r\n\r\n").is_err());
        assert!(body_of(b"garbage").is_err());
    }
}
