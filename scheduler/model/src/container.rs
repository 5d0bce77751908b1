//! Containers as a DAG describes them: the keys of the operator `docker`, shared with services that have an image.
//!
//! The names are those of Airflow's DockerOperator. Texts are templates unless said otherwise.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Keys of `docker`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Docker {
    /// What it runs in.
    pub container: Container,
    /// What it runs; the image's own command when absent.
    #[serde(default)]
    pub command: Option<Words>,
    /// Variables of its environment.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// Patterns of the worker's own variables that it may see.
    #[serde(default)]
    pub pass_env: Vec<String>,
    /// The container's name; one is made up when absent.
    #[serde(default)]
    pub container_name: Option<String>,
    /// When the container goes.
    #[serde(default)]
    pub auto_remove: AutoRemove,
    /// Where the attempt's own directory is in the container; none is mounted when absent.
    #[serde(default)]
    pub tmp_dir: Option<String>,
    /// What it returns.
    #[serde(default)]
    pub returns: DockerReturns,
    /// Exit codes that mean: skipped.
    #[serde(default)]
    pub skip_on_exit_code: Vec<i32>,
    /// How long it may take to end after TERM, in seconds; the worker's own patience when absent.
    #[serde(default)]
    pub stop_timeout_secs: Option<f64>,
}

/// What a container is made of.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Container {
    /// The image.
    pub image: String,
    /// What starts the command; the image's own when absent.
    pub entrypoint: Option<Words>,
    /// When the image is pulled.
    pub pull_policy: PullPolicy,
    /// The engine (`unix://…` or `tcp://…`), not a template; the worker's own when absent.
    pub docker_url: Option<String>,
    /// The connection with the registry's login, not a template.
    pub docker_conn_id: Option<String>,
    /// Variables of its environment that nobody sees.
    pub private_environment: BTreeMap<String, String>,
    /// What of the machine it sees.
    pub mounts: Vec<Mount>,
    /// The network that it starts in.
    pub network_mode: Option<String>,
    /// Further networks.
    pub networks: Vec<String>,
    /// Its share of the processors, 1 for an equal one.
    pub cpus: Option<f64>,
    /// The most memory that it may use, in bytes.
    pub mem_limit: Option<u64>,
    /// The size of its `/dev/shm`, in bytes.
    pub shm_size: Option<u64>,
    /// Whom it runs as: a name or number, with a group after a colon.
    pub user: Option<String>,
    /// Its working directory.
    pub working_dir: Option<String>,
    /// Its host name.
    pub hostname: Option<String>,
    /// Whose processes' memory it shares.
    pub ipc_mode: Option<String>,
    /// Labels beside Windlass's own.
    pub labels: BTreeMap<String, String>,
    /// Host names with their addresses.
    pub extra_hosts: BTreeMap<String, String>,
    /// Name servers.
    pub dns: Vec<String>,
    /// Domains that short names are looked up in.
    pub dns_search: Vec<String>,
    /// Ports of the container with those of the machine that lead to them.
    pub port_bindings: BTreeMap<String, String>,
    /// Capabilities of the kernel beside the usual ones.
    pub cap_add: Vec<String>,
    /// Whether it may do what root may.
    pub privileged: bool,
    /// Whether it has a terminal: both of its streams become one then.
    pub tty: bool,
    /// A command, run by the image's shell, that succeeds while the container is well.
    pub healthcheck: Option<String>,
}

/// A command line: text that is taken apart as a shell would, or its words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Words {
    /// Text.
    Text(String),
    /// Words.
    List(Vec<String>),
}

/// When an image is pulled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PullPolicy {
    /// Before each start (Airflow's `force_pull`).
    Always,
    /// When the engine does not have it.
    #[default]
    Missing,
    /// Never: one that the engine does not have is an error.
    Never,
}

impl PullPolicy {
    /// Every policy's word.
    pub const WORDS: &[&str] = &["always", "missing", "never"];

    /// Its word in a DAG file.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Always => "always",
            Self::Missing => "missing",
            Self::Never => "never",
        }
    }
}

/// When a container goes after its attempt.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AutoRemove {
    /// It stays, stopped.
    #[default]
    Never,
    /// It goes when the attempt has succeeded.
    Success,
    /// It goes however the attempt has ended.
    Force,
}

impl AutoRemove {
    /// Every word.
    pub const WORDS: &[&str] = &["never", "success", "force"];

    /// Its word in a DAG file.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Never => "never",
            Self::Success => "success",
            Self::Force => "force",
        }
    }
}

/// What a container returns (Airflow's `xcom_all`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DockerReturns {
    /// The last line of its standard output.
    #[default]
    LastLine,
    /// All of them.
    AllLines,
}

/// Something of the machine, or a volume, at a path of a container.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Mount {
    /// The path in the container.
    pub target: String,
    /// What is there.
    pub source: MountSource,
    /// Whether it can be written.
    #[serde(default)]
    pub access: MountAccess,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MountSource {
    /// A path of the engine's machine.
    Bind(String),
    /// A volume by its name; a nameless one goes with the container.
    Volume(Option<String>),
    /// Memory, of at most so many bytes.
    Tmpfs(Option<u64>),
}

/// How a mount may be used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MountAccess {
    /// It can be written.
    #[default]
    ReadWrite,
    /// It can only be read.
    ReadOnly,
}

/// A size as Docker writes them: `512m`, `2g`, or a number of bytes.
#[must_use]
pub fn parse_bytes(text: &str) -> Option<u64> {
    let text = text.trim().to_ascii_lowercase();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor: u64 = match unit.trim() {
        "" | "b" => 1,
        "k" | "kb" | "kib" => 1 << 10,
        "m" | "mb" | "mib" => 1 << 20,
        "g" | "gb" | "gib" => 1 << 30,
        _ => return None,
    };
    let bytes = number.parse::<u64>().ok()?.checked_mul(factor)?;
    // The engine's API counts in signed numbers.
    (bytes > 0 && i64::try_from(bytes).is_ok()).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_docker_reads_them() {
        assert_eq!(parse_bytes("512m"), Some(512 << 20));
        assert_eq!(parse_bytes("2G"), Some(2 << 30));
        assert_eq!(parse_bytes("64 kb"), Some(64 << 10));
        assert_eq!(parse_bytes("1000"), Some(1000));
        for bad in ["", "m", "0", "-1", "1.5g", "1t", "99999999999g"] {
            assert_eq!(parse_bytes(bad), None, "{bad}");
        }
    }
}
