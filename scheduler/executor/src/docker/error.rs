//! What goes wrong with an engine, in sentences that say what to do.

use std::{error::Error as _, io};

use bollard::errors::Error;

/// An engine did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum DockerError {
    /// Nobody answers, or nobody may ask.
    #[error("no Docker engine answers at {url}: {detail}")]
    Away {
        /// Where it was looked for.
        url: String,
        /// Why, and what to do.
        detail: String,
    },
    /// The image is not there and did not come.
    #[error("image {image}: {detail}")]
    Image {
        /// The image.
        image: String,
        /// Why, and what to do.
        detail: String,
    },
    /// The engine has no such thing.
    #[error("{doing}: {}", advice(message))]
    Missing {
        /// What was being done.
        doing: &'static str,
        /// What the engine says.
        message: String,
    },
    /// The worker does not let it.
    #[error("{0}")]
    Policy(String),
    /// The engine refused.
    #[error("{doing}: {}", advice(message))]
    Refused {
        /// What was being done.
        doing: &'static str,
        /// What the engine says.
        message: String,
    },
}

impl DockerError {
    /// What an engine's client says, for people.
    pub(super) fn of(url: &str, doing: &'static str, error: &Error) -> Self {
        match error {
            Error::DockerResponseServerError { status_code: 404, message } => {
                Self::Missing { doing, message: message.trim().to_owned() }
            }
            Error::DockerResponseServerError { message, .. } | Error::DockerStreamError { error: message } => {
                Self::Refused { doing, message: message.trim().to_owned() }
            }
            Error::JsonDataError { .. } | Error::UnsupportedURISchemeError { .. } => {
                Self::Refused { doing, message: error.to_string() }
            }
            other => Self::Away { url: url.to_owned(), detail: away(url, other) },
        }
    }

    /// A pull that failed.
    pub(super) fn pull(image: &str, error: Self) -> Self {
        let message = match error {
            Self::Missing { message, .. } | Self::Refused { message, .. } => message,
            away @ (Self::Away { .. } | Self::Image { .. } | Self::Policy(_)) => return away,
        };
        Self::Image { image: image.to_owned(), detail: pull_advice(&message) }
    }

    /// The exit code that a shell would give for a program that could not be started.
    pub(super) fn exit_code(&self) -> Option<i32> {
        match self {
            Self::Refused { message, .. } | Self::Missing { message, .. } => Trouble::of(message)?.exit_code(),
            Self::Away { .. } | Self::Image { .. } | Self::Policy(_) => None,
        }
    }
}

/// Why nobody answered, by what the system said underneath.
fn away(url: &str, error: &Error) -> String {
    if let Error::SocketNotFoundError(path) = error {
        return format!(
            "there is no socket {path}; start the engine (dockerd), or say where it is by DOCKER_HOST or docker_url"
        );
    }
    match io_kind(error) {
        Some(io::ErrorKind::PermissionDenied) => format!(
            "no permission on {}; add the worker's user to the group docker and start the worker again",
            url.trim_start_matches("unix://")
        ),
        Some(io::ErrorKind::NotFound) => {
            "its socket is gone; start the engine (dockerd), or say where it is by DOCKER_HOST or docker_url".to_owned()
        }
        Some(io::ErrorKind::ConnectionRefused) => {
            "nobody listens there; start the engine (dockerd), or say where it is by DOCKER_HOST or docker_url"
                .to_owned()
        }
        _ => deepest(error),
    }
}

fn io_kind(error: &Error) -> Option<io::ErrorKind> {
    // This one passes on what is inside of it as if it were that, so that it is in no chain.
    if let Error::IOError { err } = error {
        return Some(err.kind());
    }
    let mut next = error.source();
    while let Some(current) = next {
        if let Some(found) = current.downcast_ref::<io::Error>() {
            return Some(found.kind());
        }
        next = current.source();
    }
    None
}

/// The last of a chain of errors says what happened; those above only pass it on.
fn deepest(error: &Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(current) = next {
        text = current.to_string();
        next = current.source();
    }
    text
}

/// What an engine refuses most, recognised by its words: it has no codes for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    NoProgram,
    NotExecutable,
    NoUser,
    NoBindSource,
    NoNetwork,
    PortTaken,
    NameTaken,
    NoSpace,
}

impl Trouble {
    fn of(message: &str) -> Option<Self> {
        let has = |words: &str| message.contains(words);
        let starts = has("exec:") || has("starting container process") || has("start container process");
        Some(match () {
            () if has("executable file not found") => Self::NoProgram,
            () if has("bind source path does not exist") => Self::NoBindSource,
            () if has("unable to find user") || has("unable to find group") || has("no matching entries in") => {
                Self::NoUser
            }
            () if starts && has("no such file or directory") => Self::NoProgram,
            () if starts && (has("permission denied") || has("is a directory")) => Self::NotExecutable,
            () if has("network ") && has(" not found") => Self::NoNetwork,
            () if has("port is already allocated") || has("address already in use") => Self::PortTaken,
            () if has("Conflict. The container name") => Self::NameTaken,
            () if has("no space left on device") => Self::NoSpace,
            () => return None,
        })
    }

    const fn exit_code(self) -> Option<i32> {
        match self {
            Self::NoProgram => Some(127),
            Self::NotExecutable => Some(126),
            Self::NoUser | Self::NoBindSource | Self::NoNetwork | Self::PortTaken | Self::NameTaken | Self::NoSpace => {
                None
            }
        }
    }

    const fn advice(self) -> &'static str {
        match self {
            Self::NoProgram => "the image has no such program (exit code 127); check command and entrypoint",
            Self::NotExecutable => "the program may not be executed (exit code 126); check its mode and user",
            Self::NoUser => "the image does not know this user; give its number, or add it to the image",
            Self::NoBindSource => "the engine's machine has no such path; make it there, or mount a volume",
            Self::NoNetwork => "make it by docker network create, or name another by network_mode and networks",
            Self::PortTaken => "another program has this port; choose another in port_bindings",
            Self::NameTaken => {
                "remove that container, choose auto_remove: force, or leave container_name out to have one made up"
            }
            Self::NoSpace => "the engine's disk is full; docker system prune makes room",
        }
    }
}

/// What the engine said, with what to do about it.
fn advice(message: &str) -> String {
    match Trouble::of(message) {
        Some(trouble) => format!("{}: {}", trouble.advice(), innermost(message)),
        None => innermost(message).to_owned(),
    }
}

/// A runtime's message without the names of the programs that passed it on.
fn innermost(message: &str) -> &str {
    let from = ["starting container process caused: ", "unable to start container process: "];
    let cut = from.iter().find_map(|words| message.split_once(words)).map_or(message, |(_, rest)| rest);
    cut.strip_suffix(": unknown").unwrap_or(cut)
}

fn pull_advice(message: &str) -> String {
    let has = |words: &str| message.contains(words);
    if has("unauthorized") || has("authentication required") || has("no basic auth") {
        return format!("its registry asks for a login; give one by docker_conn_id: {message}");
    }
    if has("manifest") && has("unknown") || has("not found") && !has("lookup") || has("does not exist") || has("denied")
    {
        return format!(
            "its registry has no such image, or hides it; check name and tag, or give a login by docker_conn_id: {message}"
        );
    }
    if ["dial tcp", "no such host", "timeout", "i/o", "connection refused", "TLS"].iter().any(|words| has(words)) {
        return format!(
            "its registry can not be reached; build or load the image on the engine's machine, where pull_policy: missing then finds it: {message}"
        );
    }
    format!("it could not be pulled: {message}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(message: &str) -> DockerError {
        DockerError::Refused { doing: "starting the container", message: message.to_owned() }
    }

    #[test]
    fn what_an_engine_refuses_comes_with_advice() {
        for (message, says, code) in [
            (
                "failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: exec: \"nosuch\": executable file not found in $PATH: unknown",
                "starting the container: the image has no such program (exit code 127); check command and entrypoint: exec: \"nosuch\": executable file not found in $PATH",
                Some(127),
            ),
            (
                "OCI runtime create failed: unable to start container process: exec: \"/etc\": permission denied: unknown",
                "(exit code 126)",
                Some(126),
            ),
            ("unable to find user nosuch: no matching entries in passwd file", "give its number", None),
            (
                "invalid mount config for type \"bind\": bind source path does not exist: /nope",
                "no such path; make it there, or mount a volume: invalid mount",
                None,
            ),
            ("network nonet not found", "docker network create", None),
            ("Conflict. The container name \"/x\" is already in use by container \"1\".", "auto_remove: force", None),
            ("Minimum memory limit allowed is 6MB", "starting the container: Minimum memory limit", None),
        ] {
            let error = refused(message);
            assert!(error.to_string().contains(says), "{error}");
            assert_eq!(error.exit_code(), code, "{error}");
        }
    }

    #[test]
    fn a_failed_pull_says_whether_the_registry_or_the_image_is_missing() {
        for (message, says) in [
            (
                "Get \"https://nosuch.invalid/v2/\": dial tcp: lookup nosuch.invalid on 10.0.0.1:53: no such host",
                "can not be reached",
            ),
            ("manifest for busybox:nosuch not found: manifest unknown", "check name and tag"),
            ("pull access denied for x, repository does not exist or may require 'docker login'", "docker_conn_id"),
            ("unauthorized: authentication required", "asks for a login"),
            ("something else", "could not be pulled: something else"),
        ] {
            let error = DockerError::pull("x:1", refused(message));
            assert!(error.to_string().starts_with("image x:1: ") && error.to_string().contains(says), "{error}");
        }
    }

    #[test]
    fn a_missing_engine_says_where_it_was_looked_for_and_what_to_do() {
        let missing = DockerError::of("unix:///no.sock", "asking", &Error::SocketNotFoundError("/no.sock".into()));
        assert!(missing.to_string().starts_with("no Docker engine answers at unix:///no.sock"), "{missing}");
        assert!(missing.to_string().contains("start the engine (dockerd)"), "{missing}");
        let forbidden = Error::from(io::Error::from(io::ErrorKind::PermissionDenied));
        let forbidden = DockerError::of("unix:///var/run/docker.sock", "asking", &forbidden);
        assert!(
            forbidden.to_string().contains("no permission on /var/run/docker.sock; add the worker's user to the group"),
            "{forbidden}"
        );
    }
}
