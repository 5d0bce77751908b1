//! Says a container in the words of the engine's API.

use std::collections::{BTreeMap, HashMap};

use bollard::models::{
    ContainerCreateBody, HealthConfig, HostConfig, HostConfigLogConfig, Mount as ApiMount, MountTmpfsOptions,
    MountType, PortBinding, PortMap,
};
use model::container::{Container, Mount, MountAccess, MountSource, Words};

use super::words;
use crate::environment::Variables;

/// The engine keeps everything that a container writes, so that a worker which comes back finds where it was. The bound is
/// beyond that of our own log, which ends an attempt that writes more.
const LOG_OPTIONS: [(&str, &str); 2] = [("max-size", "1g"), ("max-file", "1")];
/// A processor's share in the kernel's words, and the least that it takes.
const SHARES_PER_CPU: f64 = 1024.0;
const SHARES_MIN: f64 = 2.0;
/// How a health check is run, in nanoseconds: often, since a service waits for the first success.
const HEALTH_INTERVAL_NANOS: i64 = 2_000_000_000;
const HEALTH_TIMEOUT_NANOS: i64 = 10_000_000_000;
/// So many failures in a row make a container unhealthy.
const HEALTH_RETRIES: i64 = 5;

/// What is asked of the engine.
#[derive(Debug, Clone)]
pub(super) struct Request<'a> {
    /// The container, rendered.
    pub(super) container: &'a Container,
    /// What it runs; the image's own when absent.
    pub(super) command: Option<Vec<String>>,
    /// Its whole environment.
    pub(super) environment: Variables,
    /// Windlass's own labels.
    pub(super) labels: BTreeMap<String, String>,
    /// A directory of the worker with its place in the container.
    pub(super) tmp: Option<Mount>,
}

impl Request<'_> {
    /// The request's body.
    pub(super) fn body(&self) -> ContainerCreateBody {
        let container = self.container;
        let mut labels = container.labels.clone();
        labels.extend(self.labels.clone());
        let ports: Vec<String> = container.port_bindings.keys().cloned().collect();
        ContainerCreateBody {
            image: Some(container.image.clone()),
            cmd: self.command.clone(),
            entrypoint: container.entrypoint.as_ref().map(entrypoint),
            env: Some(self.environment.iter().map(|(name, value)| format!("{name}={value}")).collect()),
            labels: Some(labels.into_iter().collect()),
            user: container.user.clone(),
            working_dir: container.working_dir.clone(),
            hostname: container.hostname.clone(),
            tty: Some(container.tty),
            healthcheck: container.healthcheck.as_ref().map(|command| health(command)),
            exposed_ports: Some(ports).filter(|ports| !ports.is_empty()),
            host_config: Some(self.host()),
            ..ContainerCreateBody::default()
        }
    }

    fn host(&self) -> HostConfig {
        let container = self.container;
        let size = |bytes: Option<u64>| bytes.and_then(|bytes| i64::try_from(bytes).ok());
        let some = |list: &[String]| (!list.is_empty()).then(|| list.to_vec());
        let hosts: Vec<String> = container.extra_hosts.iter().map(|(name, at)| format!("{name}:{at}")).collect();
        let options = LOG_OPTIONS.map(|(name, value)| (name.to_owned(), value.to_owned()));
        HostConfig {
            cpu_shares: container.cpus.map(shares),
            memory: size(container.mem_limit),
            shm_size: size(container.shm_size),
            network_mode: container.network_mode.clone().or_else(|| container.networks.first().cloned()),
            mounts: Some(container.mounts.iter().chain(&self.tmp).map(mount).collect()),
            port_bindings: Some(ports(&container.port_bindings)).filter(|ports| !ports.is_empty()),
            extra_hosts: some(&hosts),
            dns: some(&container.dns),
            dns_search: some(&container.dns_search),
            cap_add: some(&container.cap_add),
            privileged: Some(container.privileged),
            ipc_mode: container.ipc_mode.clone(),
            log_config: Some(HostConfigLogConfig { typ: Some("json-file".to_owned()), config: Some(options.into()) }),
            ..HostConfig::default()
        }
    }

    /// The networks that it joins before it starts.
    pub(super) fn further_networks(&self) -> &[String] {
        let networks = &self.container.networks;
        match &self.container.network_mode {
            Some(_) => networks,
            None => networks.get(1..).unwrap_or_default(),
        }
    }
}

/// A rendered entrypoint is a list already.
fn entrypoint(entrypoint: &Words) -> Vec<String> {
    match entrypoint {
        Words::List(list) => list.clone(),
        Words::Text(text) => words::split(text).unwrap_or_else(|_| vec![text.clone()]),
    }
}

#[allow(clippy::cast_possible_truncation, reason = "the format bounds the number of processors")]
fn shares(cpus: f64) -> i64 {
    (cpus * SHARES_PER_CPU).round().max(SHARES_MIN) as i64
}

fn health(command: &str) -> HealthConfig {
    HealthConfig {
        test: Some(vec!["CMD-SHELL".to_owned(), command.to_owned()]),
        interval: Some(HEALTH_INTERVAL_NANOS),
        timeout: Some(HEALTH_TIMEOUT_NANOS),
        retries: Some(HEALTH_RETRIES),
        ..HealthConfig::default()
    }
}

fn mount(mount: &Mount) -> ApiMount {
    let (typ, source, tmpfs_options) = match &mount.source {
        MountSource::Bind(path) => (MountType::BIND, Some(path.clone()), None),
        MountSource::Volume(name) => (MountType::VOLUME, name.clone(), None),
        MountSource::Tmpfs(size) => {
            let size_bytes = size.and_then(|bytes| i64::try_from(bytes).ok());
            (MountType::TMPFS, None, Some(MountTmpfsOptions { size_bytes, ..MountTmpfsOptions::default() }))
        }
    };
    ApiMount {
        target: Some(mount.target.clone()),
        source,
        typ: Some(typ),
        read_only: Some(mount.access == MountAccess::ReadOnly),
        tmpfs_options,
        ..ApiMount::default()
    }
}

fn ports(bindings: &BTreeMap<String, String>) -> PortMap {
    let binding = |host: &String| {
        let (ip, port) = match host.rsplit_once(':') {
            Some((ip, port)) => (Some(ip.to_owned()), port),
            None => (None, host.as_str()),
        };
        Some(vec![PortBinding { host_ip: ip, host_port: Some(port.to_owned()) }])
    };
    bindings.iter().map(|(port, host)| (port.clone(), binding(host))).collect::<HashMap<_, _>>()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(container: &Container) -> ContainerCreateBody {
        let labels = [("windlass.attempt".to_owned(), "1".to_owned())].into();
        let environment = [("A".to_owned(), "1".to_owned())].into();
        let command = Some(vec!["load".to_owned()]);
        Request { container, command, environment, labels, tmp: None }.body()
    }

    #[test]
    fn a_plain_container_asks_for_nothing_that_was_not_said() {
        let body = body(&Container { image: "busybox".into(), ..Container::default() });
        assert_eq!(body.image.as_deref(), Some("busybox"));
        assert_eq!(body.env, Some(vec!["A=1".into()]));
        assert_eq!((body.entrypoint, body.user, body.healthcheck, body.exposed_ports), (None, None, None, None));
        let host = body.host_config.unwrap();
        assert_eq!((host.memory, host.cpu_shares, host.network_mode), (None, None, None));
        assert_eq!(host.privileged, Some(false));
    }

    #[test]
    fn every_key_has_its_place_in_the_request() {
        let mount = |target: &str, source, access| Mount { target: target.to_owned(), source, access };
        let container = Container {
            image: "x".into(),
            entrypoint: Some(Words::List(vec!["/bin/sh".into(), "-c".into()])),
            mounts: vec![
                mount("/in", MountSource::Bind("/data".into()), MountAccess::ReadOnly),
                mount("/cache", MountSource::Volume(Some("cache".into())), MountAccess::ReadWrite),
                mount("/scratch", MountSource::Tmpfs(Some(1 << 20)), MountAccess::ReadWrite),
            ],
            networks: vec!["one".into(), "two".into()],
            cpus: Some(0.5),
            mem_limit: Some(1 << 30),
            labels: [("windlass.attempt".to_owned(), "forged".to_owned())].into(),
            extra_hosts: [("db".to_owned(), "10.0.0.1".to_owned())].into(),
            port_bindings: [("80/tcp".to_owned(), "127.0.0.1:8080".to_owned())].into(),
            healthcheck: Some("true".into()),
            ..Container::default()
        };
        let body = body(&container);
        assert_eq!(body.labels.unwrap()["windlass.attempt"], "1", "nobody can take Windlass's labels");
        assert_eq!(body.exposed_ports, Some(vec!["80/tcp".into()]));
        assert_eq!(body.healthcheck.unwrap().test.unwrap(), ["CMD-SHELL", "true"]);
        let host = body.host_config.unwrap();
        assert_eq!((host.cpu_shares, host.memory), (Some(512), Some(1 << 30)));
        assert_eq!(host.network_mode.as_deref(), Some("one"));
        assert_eq!(host.extra_hosts.unwrap(), ["db:10.0.0.1"]);
        let port = host.port_bindings.unwrap()["80/tcp"].clone().unwrap();
        assert_eq!((port[0].host_ip.as_deref(), port[0].host_port.as_deref()), (Some("127.0.0.1"), Some("8080")));
        let mounts = host.mounts.unwrap();
        assert_eq!((mounts[0].typ, mounts[0].read_only), (Some(MountType::BIND), Some(true)));
        assert_eq!((mounts[1].typ, mounts[1].source.as_deref()), (Some(MountType::VOLUME), Some("cache")));
        assert_eq!(mounts[2].tmpfs_options.as_ref().unwrap().size_bytes, Some(1 << 20));
    }

    #[test]
    fn further_networks_are_all_but_the_one_it_starts_in() {
        let networks = |mode: Option<&str>| {
            let container = Container {
                networks: vec!["one".into(), "two".into()],
                network_mode: mode.map(ToOwned::to_owned),
                ..Container::default()
            };
            let request = Request {
                container: &container,
                command: None,
                environment: Variables::new(),
                labels: BTreeMap::new(),
                tmp: None,
            };
            request.further_networks().to_vec()
        };
        assert_eq!(networks(None), ["two"]);
        assert_eq!(networks(Some("bridge")), ["one", "two"]);
    }
}
