//! Settings of an installation over several processes: addresses, names, and where secrets come from.
//!
//! A secret is never an argument: whoever lists processes would read it. It is a variable, or a file that one names.

use std::{
    collections::BTreeSet,
    env, fs,
    net::{Ipv4Addr, SocketAddr},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, bail};
use daemon::home::Home;
use executor::docker::Mounts;
use link::transport::tls::{JoinToken, parse_endpoints};
use metrics::Listen;
use store::SecretKey;
use url::Url;

use crate::settings::{switch, text};

/// Where a scheduler listens for workers unless it is told otherwise: next to the UI's port, on this machine only.
const LINK_PORT: u16 = 8084;

/// What the environment says about other machines.
#[derive(Debug, Clone)]
pub struct FleetSettings {
    /// `WINDLASS_LINK_LISTEN`: where a scheduler listens for workers and api processes, always with TLS.
    pub link_listen: SocketAddr,
    /// `WINDLASS_LINK_ADVERTISE`: the address under which others reach it.
    pub link_advertise: Option<String>,
    /// `WINDLASS_LEADER_ENDPOINTS`: schedulers, for a worker.
    pub leader_endpoints: Vec<String>,
    /// `WINDLASS_API_URL`: api processes, for a worker.
    pub api_urls: Vec<Url>,
    /// `WINDLASS_API_LISTEN`: where the api listens instead of a port of 127.0.0.1.
    pub api_listen: Option<SocketAddr>,
    /// `WINDLASS_API_BEHIND_TLS`: whether browsers reach the api through https.
    pub api_behind_tls: bool,
    /// `WINDLASS_WORKER_NAME`.
    pub worker_name: Option<String>,
    /// `WINDLASS_WORKER_QUEUES`.
    pub worker_queues: Option<BTreeSet<String>>,
    /// `WINDLASS_WORKER_LOG_DIR`.
    pub worker_log_dir: Option<PathBuf>,
    /// `WINDLASS_WORKER_DRAIN_SECS`: how long attempts may go on when their worker is asked to end.
    pub worker_drain: Option<Duration>,
    /// `WINDLASS_DOCKER_PRIVILEGED`: whether containers of tasks may have further rights on a worker's machine.
    pub docker_privileged: bool,
    /// `WINDLASS_DOCKER_MOUNTS`: the folders that containers may see.
    pub docker_mounts: Option<Mounts>,
    /// `WINDLASS_METRICS_LISTEN`: where a scheduler or a worker serves `/metrics`; each has a port of its own by default.
    pub metrics_listen: Option<Listen>,
}

impl FleetSettings {
    /// Reads them.
    ///
    /// # Errors
    /// When a value can not be read; the message names the variable and what it should be.
    pub fn from_environment() -> anyhow::Result<Self> {
        let link_listen = match text("WINDLASS_LINK_LISTEN") {
            None => SocketAddr::from((Ipv4Addr::LOCALHOST, LINK_PORT)),
            Some(value) => parse_listen(&value).context("WINDLASS_LINK_LISTEN")?,
        };
        let link_advertise = text("WINDLASS_LINK_ADVERTISE");
        if let Some(address) = &link_advertise {
            parse_advertise(address).context("WINDLASS_LINK_ADVERTISE")?;
        }
        let leader_endpoints = text("WINDLASS_LEADER_ENDPOINTS");
        let api_urls = text("WINDLASS_API_URL");
        Ok(Self {
            link_listen,
            link_advertise,
            leader_endpoints: leader_endpoints.map_or_else(|| Ok(Vec::new()), |list| parse_leaders(&list))?,
            api_urls: api_urls.map_or_else(|| Ok(Vec::new()), |list| parse_api_urls(&list))?,
            api_listen: text("WINDLASS_API_LISTEN")
                .map(|address| parse_listen(&address).context("WINDLASS_API_LISTEN"))
                .transpose()?,
            api_behind_tls: switch("WINDLASS_API_BEHIND_TLS", false)?,
            worker_name: text("WINDLASS_WORKER_NAME"),
            worker_queues: text("WINDLASS_WORKER_QUEUES").map(|list| parse_queues(&list)).transpose()?,
            worker_log_dir: text("WINDLASS_WORKER_LOG_DIR").map(PathBuf::from),
            worker_drain: seconds("WINDLASS_WORKER_DRAIN_SECS")?,
            docker_privileged: switch("WINDLASS_DOCKER_PRIVILEGED", false)?,
            docker_mounts: text("WINDLASS_DOCKER_MOUNTS").map(|list| parse_mounts(&list)).transpose()?,
            metrics_listen: text("WINDLASS_METRICS_LISTEN")
                .map(|listen| listen.parse().context("WINDLASS_METRICS_LISTEN"))
                .transpose()?,
        })
    }

    /// Checks the secrets, where some are given, without showing them.
    ///
    /// # Errors
    /// What is wrong, and with which variable.
    pub fn check(&self) -> anyhow::Result<()> {
        given_secret("WINDLASS_SECRET_KEY")?.map(|key| parse_key(&key)).transpose()?;
        given_secret("WINDLASS_JOIN_TOKEN")?.map(|token| parse_token(&token)).transpose()?;
        Ok(())
    }

    /// The address to write down for others.
    ///
    /// # Errors
    /// When it listens on every address of the machine, and nothing says which one others can reach.
    pub fn advertised(&self, bound: SocketAddr) -> anyhow::Result<String> {
        match &self.link_advertise {
            Some(address) => Ok(address.clone()),
            None if bound.ip().is_unspecified() => bail!(
                "WINDLASS_LINK_LISTEN is {bound}, every address of this machine; set WINDLASS_LINK_ADVERTISE to the \
                 host:port under which workers and api processes reach it"
            ),
            None => Ok(bound.to_string()),
        }
    }
}

/// The key that connections, variables and the cluster's identity are sealed with.
///
/// # Errors
/// When there is none, or it can not be read.
pub fn secret_key() -> anyhow::Result<SecretKey> {
    let key = given_secret("WINDLASS_SECRET_KEY")?.context(
        "WINDLASS_SECRET_KEY is not set. Every scheduler and api process of a cluster needs the same key, which is never \
         in the database: make one with `head -c 32 /dev/urandom | base64`, and give it in WINDLASS_SECRET_KEY or in the \
         file that WINDLASS_SECRET_KEY_FILE names",
    )?;
    parse_key(&key)
}

/// The key of one installation: that of the environment, so that all processes of a cluster can share it, else the one
/// that lies in its home.
///
/// # Errors
/// When it can not be read or made.
pub fn installation_key(home: &Home) -> anyhow::Result<SecretKey> {
    match given_secret("WINDLASS_SECRET_KEY")? {
        Some(text) => parse_key(&text),
        None => Ok(SecretKey::from_file_or_create(&home.secret_key())?),
    }
}

/// That key, when there is one already; none is made.
///
/// # Errors
/// When it can not be read.
pub fn existing_key(home: &Path) -> anyhow::Result<Option<SecretKey>> {
    if let Some(text) = given_secret("WINDLASS_SECRET_KEY")? {
        return parse_key(&text).map(Some);
    }
    let file = Home::secret_key_of(home);
    Ok(if file.exists() { Some(SecretKey::from_file_or_create(&file)?) } else { None })
}

/// The text of that key.
///
/// # Errors
/// When it can not be read or made.
pub fn installation_key_text(home: &Home) -> anyhow::Result<String> {
    if let Some(text) = given_secret("WINDLASS_SECRET_KEY")? {
        return Ok(text);
    }
    let _made = installation_key(home)?;
    Ok(fs::read_to_string(home.secret_key())?)
}

/// The token by which a worker joins.
///
/// # Errors
/// When there is none, or it is not whole.
pub fn join_token() -> anyhow::Result<JoinToken> {
    let token = given_secret("WINDLASS_JOIN_TOKEN")?.context(
        "WINDLASS_JOIN_TOKEN is not set. `windlass workers token`, run where the schedulers run, prints the token; give \
         it in WINDLASS_JOIN_TOKEN or in the file that WINDLASS_JOIN_TOKEN_FILE names",
    )?;
    parse_token(&token)
}

fn parse_key(text: &str) -> anyhow::Result<SecretKey> {
    SecretKey::parse(text).context("WINDLASS_SECRET_KEY")
}

fn parse_token(text: &str) -> anyhow::Result<JoinToken> {
    text.parse().context("WINDLASS_JOIN_TOKEN")
}

/// A secret from its variable, or from the file that the variable with `_FILE` names.
fn given_secret(name: &str) -> anyhow::Result<Option<String>> {
    let file = format!("{name}_FILE");
    match (text(name), text(&file)) {
        (Some(_), Some(_)) => bail!("{name} and {file} are both set; use one of them"),
        (Some(secret), None) => Ok(Some(secret)),
        (None, Some(path)) => match private_text(&path) {
            Ok(secret) if !secret.trim().is_empty() => Ok(Some(secret)),
            Ok(_) => bail!("{file}: {path} is empty"),
            Err(error) => Err(error).with_context(|| format!("{file}: {path} can not be read")),
        },
        (None, None) => Ok(None),
    }
}

/// The text of a file that nobody else may read. Files that a group of the orchestrator's may read are common in containers, and
/// others must not.
fn private_text(path: &str) -> std::io::Result<String> {
    let mode = fs::metadata(path)?.permissions().mode();
    if mode & 0o007 != 0 {
        let reason = format!("everybody may read it (mode {:o}); chmod o-rwx it", mode & 0o777);
        return Err(std::io::Error::new(std::io::ErrorKind::PermissionDenied, reason));
    }
    fs::read_to_string(path)
}

/// Where to listen.
///
/// # Errors
/// When it is no address with a port.
pub fn parse_listen(text: &str) -> anyhow::Result<SocketAddr> {
    match text.trim().parse() {
        Ok(address) => Ok(address),
        Err(_) => bail!("{text:?} is no address to listen on; expected ip:port, such as 0.0.0.0:{LINK_PORT}"),
    }
}

/// An address for others.
///
/// # Errors
/// When it is not one host and one port.
pub fn parse_advertise(text: &str) -> anyhow::Result<String> {
    let mut endpoints = parse_endpoints(text).map_err(anyhow::Error::msg)?;
    match endpoints.pop() {
        Some(only) if endpoints.is_empty() => Ok(only),
        _ => bail!("{text:?} names several addresses; expected one host:port"),
    }
}

/// Addresses of schedulers.
///
/// # Errors
/// The one that is none.
pub fn parse_leaders(text: &str) -> anyhow::Result<Vec<String>> {
    parse_endpoints(text).map_err(anyhow::Error::msg).context("WINDLASS_LEADER_ENDPOINTS")
}

/// Addresses of api processes.
///
/// # Errors
/// The one that is none.
pub fn parse_api_urls(text: &str) -> anyhow::Result<Vec<Url>> {
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    let urls = parts.map(|part| match Url::parse(part) {
        Ok(url) if ["http", "https"].contains(&url.scheme()) && url.has_host() => Ok(url),
        Ok(_) | Err(_) => bail!("WINDLASS_API_URL: {part:?} is no URL such as http://10.0.0.5:8083"),
    });
    urls.collect()
}

/// Folders that containers may see: absolute paths separated by commas, `any` or `none`.
///
/// # Errors
/// The one that is no absolute path.
pub fn parse_mounts(text: &str) -> anyhow::Result<Mounts> {
    let parts: Vec<&str> = text.split(',').map(str::trim).filter(|part| !part.is_empty()).collect();
    match parts.as_slice() {
        ["any"] => return Ok(Mounts::Any),
        ["none"] => return Ok(Mounts::Below(Vec::new())),
        _ => {}
    }
    let folder = |part: &&str| match Path::new(part) {
        path if path.is_absolute() => Ok(path.to_owned()),
        _ => bail!(
            "WINDLASS_DOCKER_MOUNTS: {part:?} is no absolute path; expected folders separated by commas, any, or none"
        ),
    };
    parts.iter().map(folder).collect::<anyhow::Result<_>>().map(Mounts::Below)
}

/// Names of queues.
///
/// # Errors
/// When there is none.
pub fn parse_queues(text: &str) -> anyhow::Result<BTreeSet<String>> {
    let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
    let queues: BTreeSet<String> = names.map(str::to_owned).collect();
    if queues.is_empty() {
        bail!("WINDLASS_WORKER_QUEUES names no queue; expected names separated by commas, such as default,heavy");
    }
    Ok(queues)
}

fn seconds(name: &str) -> anyhow::Result<Option<Duration>> {
    let parse = |value: String| match value.trim().parse::<u32>() {
        Ok(secs) => Ok(Duration::from_secs(secs.into())),
        Err(_) => bail!("{name} is {value:?}; expected a whole number of seconds"),
    };
    text(name).map(parse).transpose()
}

/// This machine's name, for names that people read.
#[must_use]
pub fn host_name() -> String {
    let name = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
    name.or_else(|| env::var("HOSTNAME").ok()).unwrap_or_else(|| "localhost".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(listen: &str, advertise: Option<&str>) -> FleetSettings {
        FleetSettings {
            link_listen: parse_listen(listen).unwrap(),
            link_advertise: advertise.map(str::to_owned),
            leader_endpoints: Vec::new(),
            api_urls: Vec::new(),
            api_listen: None,
            api_behind_tls: false,
            worker_name: None,
            worker_queues: None,
            worker_log_dir: None,
            worker_drain: None,
            docker_privileged: false,
            docker_mounts: None,
            metrics_listen: None,
        }
    }

    #[test]
    fn an_address_for_others_is_never_guessed() {
        let bound = |text: &str| text.parse().unwrap();
        assert_eq!(settings("10.0.0.5:0", None).advertised(bound("10.0.0.5:4711")).unwrap(), "10.0.0.5:4711");
        assert_eq!(settings("0.0.0.0:1", Some("a:1")).advertised(bound("0.0.0.0:1")).unwrap(), "a:1");
        let error = settings("0.0.0.0:8084", None).advertised(bound("0.0.0.0:8084")).unwrap_err();
        assert!(error.to_string().contains("WINDLASS_LINK_ADVERTISE"), "{error}");
    }

    #[test]
    fn what_is_no_list_of_addresses_is_shown_with_an_example() {
        assert!(parse_api_urls("http://a:8083, https://b").is_ok_and(|urls| urls.len() == 2));
        assert!(format!("{:#}", parse_api_urls("a:8083").unwrap_err()).contains("http://10.0.0.5:8083"));
        assert!(format!("{:#}", parse_leaders("a").unwrap_err()).contains("host:port"));
        assert!(parse_listen("localhost").is_err() && parse_advertise("a:1,b:2").is_err());
        assert!(parse_queues(" , ").is_err());
        assert_eq!(parse_mounts("/data, /srv").unwrap(), Mounts::Below(vec!["/data".into(), "/srv".into()]));
        assert_eq!((parse_mounts("any").unwrap(), parse_mounts("none").unwrap()), (Mounts::Any, Mounts::Below(vec![])));
        assert!(parse_mounts("data").unwrap_err().to_string().contains("WINDLASS_DOCKER_MOUNTS"));
    }
}
