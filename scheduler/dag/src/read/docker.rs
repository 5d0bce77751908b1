//! The operator `docker`, and the containers that it shares with services.

use std::collections::BTreeMap;

use model::container::{
    AutoRemove, Container, Docker, DockerReturns, Mount, MountAccess, MountSource, PullPolicy, Words,
};

use super::{
    fields::{Fields, Item},
    operator::{exit_codes, optional},
    task::positive,
};
use crate::{
    keys::{self, Here},
    problem::Problems,
    yaml::Value,
};

/// Where Airflow mounts an attempt's directory.
const TMP_DIR_DEFAULT: &str = "/tmp/airflow";

/// Reads the operator's keys.
pub(super) fn read(fields: &Fields<'_>, problems: &mut Problems) -> Option<Docker> {
    let tmp_dir = match fields.take("tmp_dir") {
        Some(item) => Some(absolute(&item, problems)?),
        None => Some(TMP_DIR_DEFAULT.to_owned()),
    };
    let mounted = fields.take("mount_tmp_dir").is_none_or(|item| item.truth(problems).unwrap_or_default());
    let all_lines = optional(fields, "xcom_all", |item| item.truth(problems))?;
    Some(Docker {
        container: container(fields, problems)?,
        command: optional(fields, "command", |item| words(item, problems).map(Some))?,
        environment: match fields.either(["environment", "env"], problems) {
            Some(item) => item.environment(problems)?,
            None => BTreeMap::new(),
        },
        pass_env: optional(fields, "pass_env", |item| item.patterns(problems))?,
        container_name: text(fields, "container_name", problems)?,
        auto_remove: optional(fields, "auto_remove", |item| auto_remove(item, problems))?,
        tmp_dir: tmp_dir.filter(|_| mounted),
        returns: if all_lines { DockerReturns::AllLines } else { DockerReturns::LastLine },
        skip_on_exit_code: optional(fields, "skip_on_exit_code", |item| exit_codes(item, problems))?,
        stop_timeout_secs: optional(fields, "stop_timeout", |item| {
            positive(item, problems).map(|patience| Some(patience.as_secs_f64()))
        })?,
    })
}

/// Reads what a container is made of.
pub(super) fn container(fields: &Fields<'_>, problems: &mut Problems) -> Option<Container> {
    let texts = |name, problems: &mut Problems| optional(fields, name, |item| item.texts(problems));
    Some(Container {
        image: fields.take("image")?.text(problems)?,
        entrypoint: optional(fields, "entrypoint", |item| words(item, problems).map(Some))?,
        pull_policy: pull_policy(fields, problems)?,
        docker_url: optional(fields, "docker_url", |item| docker_url(item, problems).map(Some))?,
        docker_conn_id: text(fields, "docker_conn_id", problems)?,
        private_environment: optional(fields, "private_environment", |item| item.environment(problems))?,
        mounts: optional(fields, "mounts", |item| mounts(item, problems))?,
        network_mode: text(fields, "network_mode", problems)?,
        networks: texts("networks", problems)?,
        cpus: optional(fields, "cpus", |item| cpus(item, problems).map(Some))?,
        mem_limit: optional(fields, "mem_limit", |item| bytes(item, problems).map(Some))?,
        shm_size: optional(fields, "shm_size", |item| bytes(item, problems).map(Some))?,
        user: optional(fields, "user", |item| item.plain_text(problems).map(Some))?,
        working_dir: optional(fields, "working_dir", |item| absolute(item, problems).map(Some))?,
        hostname: text(fields, "hostname", problems)?,
        ipc_mode: text(fields, "ipc_mode", problems)?,
        labels: optional(fields, "labels", |item| named_texts(item, problems))?,
        extra_hosts: optional(fields, "extra_hosts", |item| named_texts(item, problems))?,
        dns: texts("dns", problems)?,
        dns_search: texts("dns_search", problems)?,
        port_bindings: optional(fields, "port_bindings", |item| ports(item, problems))?,
        cap_add: texts("cap_add", problems)?,
        privileged: optional(fields, "privileged", |item| item.truth(problems))?,
        tty: optional(fields, "tty", |item| item.truth(problems))?,
        healthcheck: text(fields, "healthcheck", problems)?,
    })
}

fn text(fields: &Fields<'_>, name: &str, problems: &mut Problems) -> Option<Option<String>> {
    optional(fields, name, |item| item.text(problems).map(Some))
}

fn words(item: &Item<'_>, problems: &mut Problems) -> Option<Words> {
    match item.node.value {
        Value::List(_) => item.text_list(problems).map(Words::List),
        _ => item.text(problems).map(Words::Text),
    }
}

fn pull_policy(fields: &Fields<'_>, problems: &mut Problems) -> Option<PullPolicy> {
    match (fields.take("pull_policy"), fields.take("force_pull")) {
        (Some(_), Some(second)) => second
            .fail("pull_policy and force_pull are both given; keep pull_policy: force_pull: true is always", problems),
        (Some(item), None) => Some(match item.word::<String>(PullPolicy::WORDS, problems)?.as_str() {
            "always" => PullPolicy::Always,
            "never" => PullPolicy::Never,
            _ => PullPolicy::Missing,
        }),
        (None, Some(item)) if item.truth(problems)? => Some(PullPolicy::Always),
        (None, _) => Some(PullPolicy::Missing),
    }
}

fn auto_remove(item: &Item<'_>, problems: &mut Problems) -> Option<AutoRemove> {
    Some(match item.word::<String>(AutoRemove::WORDS, problems)?.as_str() {
        "success" => AutoRemove::Success,
        "force" => AutoRemove::Force,
        _ => AutoRemove::Never,
    })
}

fn docker_url(item: &Item<'_>, problems: &mut Problems) -> Option<String> {
    let url = item.text(problems)?;
    if ["unix:///", "tcp://", "http://"].iter().any(|scheme| url.starts_with(scheme)) {
        return Some(url);
    }
    item.fail(format!("expected unix:///path/to/docker.sock or tcp://host:port, found {url:?}"), problems)
}

fn absolute(item: &Item<'_>, problems: &mut Problems) -> Option<String> {
    let path = item.text(problems)?;
    // A template may become anything; the engine has the last word.
    if path.starts_with('/') || path.contains("{{") {
        return Some(path);
    }
    item.fail(format!("expected a path from the root such as /data, found {path:?}"), problems)
}

fn cpus(item: &Item<'_>, problems: &mut Problems) -> Option<f64> {
    match item.number(problems)? {
        cpus if cpus > 0.0 && cpus <= 256.0 => Some(cpus),
        _ => item.expected("a number of processors above 0", problems),
    }
}

/// A size in bytes: a number, or one with k, m or g for powers of 1024.
fn bytes(item: &Item<'_>, problems: &mut Problems) -> Option<u64> {
    let parsed = match &item.node.value {
        Value::Int(_, text) | Value::Text(text) => model::container::parse_bytes(text),
        Value::Null | Value::Bool(_) | Value::Float(..) | Value::List(_) | Value::Map(_) | Value::Refused(_) => None,
    };
    match parsed {
        Some(bytes) => Some(bytes),
        None => item.expected("a size such as 512m, 2g or a number of bytes", problems),
    }
}

fn named_texts(item: &Item<'_>, problems: &mut Problems) -> Option<BTreeMap<String, String>> {
    let layer = item.layer("a mapping of names to texts", problems)?;
    layer.items().map(|(key, item)| Some((key.name.to_string(), item.plain_text(problems)?))).collect()
}

fn ports(item: &Item<'_>, problems: &mut Problems) -> Option<BTreeMap<String, String>> {
    let layer = item.layer("a mapping of the container's ports to the machine's, such as {80/tcp: 8080}", problems)?;
    let entry = |(key, item): (&crate::yaml::Key, Item<'_>)| {
        let host = item.plain_text(problems)?;
        let (port, protocol) = key.name.split_once('/').unwrap_or((&key.name, "tcp"));
        let is_port = |text: &str| text.parse::<u16>().is_ok();
        let host_port = host.rsplit_once(':').map_or(host.as_str(), |(_, port)| port);
        if !is_port(port) || !["tcp", "udp", "sctp"].contains(&protocol) || !is_port(host_port) {
            return item.fail(
                format!("expected a port of the container with one of the machine, such as 80/tcp: 8080 or 80/tcp: \"127.0.0.1:8080\", found {}: {host}", key.name),
                problems,
            );
        }
        Some((format!("{port}/{protocol}"), host))
    };
    layer.items().map(entry).collect()
}

fn mounts(item: &Item<'_>, problems: &mut Problems) -> Option<Vec<Mount>> {
    let items = item.list("a list of mounts, each {source: …, target: …, type: bind | volume | tmpfs}", problems)?;
    items.iter().map(|item| mount(item, problems)).collect::<Vec<_>>().into_iter().collect()
}

fn mount(item: &Item<'_>, problems: &mut Problems) -> Option<Mount> {
    let fields = item.fields("a mount, a mapping with source and target", problems)?;
    fields.check_keys(&[keys::docker::MOUNT], &[], Here::Part, problems);
    let target = absolute(&fields.required("target", problems)?, problems)?;
    let kind = match fields.take("type") {
        Some(item) => item.word::<String>(keys::docker::MOUNT_TYPES, problems)?,
        None => "volume".to_owned(),
    };
    let source = match kind.as_str() {
        "bind" => MountSource::Bind(absolute(&fields.required("source", problems)?, problems)?),
        "tmpfs" => MountSource::Tmpfs(optional(&fields, "tmpfs_size", |item| bytes(item, problems).map(Some))?),
        _ => MountSource::Volume(volume(&fields, problems)?),
    };
    let read_only = optional(&fields, "read_only", |item| item.truth(problems))?;
    Some(Mount { target, source, access: if read_only { MountAccess::ReadOnly } else { MountAccess::ReadWrite } })
}

fn volume(fields: &Fields<'_>, problems: &mut Problems) -> Option<Option<String>> {
    let Some(item) = fields.take("source") else { return Some(None) };
    let name = item.text(problems)?;
    if name.starts_with('/') {
        return item.fail(format!("{name} is a path: say type: bind, or name a volume"), problems);
    }
    Some(Some(name))
}
