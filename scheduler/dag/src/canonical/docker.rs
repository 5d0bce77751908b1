//! The canonical form of containers.

use std::collections::BTreeMap;

use model::container::{
    AutoRemove, Container, Docker, DockerReturns, Mount, MountAccess, MountSource, PullPolicy, Words,
};
use serde_json::{Map, Value};

use super::{Fields, operator::seconds_text};

/// Says the keys of the operator `docker`.
pub(super) fn docker_fields(docker: &Docker, fields: &mut Fields) {
    container_fields(&docker.container, fields);
    fields.some("command", docker.command.as_ref().map(words));
    texts("environment", &docker.environment, fields);
    fields.list("pass_env", &docker.pass_env);
    fields.some("container_name", docker.container_name.clone());
    fields.unless("auto_remove", docker.auto_remove.word(), &AutoRemove::Never.word());
    match &docker.tmp_dir {
        Some(dir) => fields.put("tmp_dir", dir.clone()),
        None => fields.put("mount_tmp_dir", false),
    }
    fields.unless("xcom_all", docker.returns == DockerReturns::AllLines, &false);
    fields.list("skip_on_exit_code", &docker.skip_on_exit_code);
    fields.some("stop_timeout", docker.stop_timeout_secs.map(seconds_text));
}

/// Says what a container is made of.
pub(super) fn container_fields(container: &Container, fields: &mut Fields) {
    fields.put("image", container.image.clone());
    fields.some("entrypoint", container.entrypoint.as_ref().map(words));
    fields.unless("pull_policy", container.pull_policy.word(), &PullPolicy::Missing.word());
    fields.some("docker_url", container.docker_url.clone());
    fields.some("docker_conn_id", container.docker_conn_id.clone());
    texts("private_environment", &container.private_environment, fields);
    fields.list("mounts", &container.mounts.iter().map(mount).collect::<Vec<_>>());
    fields.some("network_mode", container.network_mode.clone());
    fields.list("networks", &container.networks);
    fields.some("cpus", container.cpus);
    fields.some("mem_limit", container.mem_limit);
    fields.some("shm_size", container.shm_size);
    fields.some("user", container.user.clone());
    fields.some("working_dir", container.working_dir.clone());
    fields.some("hostname", container.hostname.clone());
    fields.some("ipc_mode", container.ipc_mode.clone());
    texts("labels", &container.labels, fields);
    texts("extra_hosts", &container.extra_hosts, fields);
    fields.list("dns", &container.dns);
    fields.list("dns_search", &container.dns_search);
    texts("port_bindings", &container.port_bindings, fields);
    fields.list("cap_add", &container.cap_add);
    fields.unless("privileged", container.privileged, &false);
    fields.unless("tty", container.tty, &false);
    fields.some("healthcheck", container.healthcheck.clone());
}

fn words(words: &Words) -> Value {
    match words {
        Words::Text(text) => text.clone().into(),
        Words::List(list) => list.clone().into(),
    }
}

fn texts(name: &str, map: &BTreeMap<String, String>, fields: &mut Fields) {
    if !map.is_empty() {
        let entries = map.iter().map(|(name, text)| (name.clone(), Value::from(text.clone())));
        fields.put(name, entries.collect::<Map<_, _>>());
    }
}

fn mount(mount: &Mount) -> Value {
    let mut fields = Fields::default();
    fields.put("target", mount.target.clone());
    match &mount.source {
        MountSource::Bind(path) => {
            fields.put("type", "bind");
            fields.put("source", path.clone());
        }
        MountSource::Volume(name) => fields.some("source", name.clone()),
        MountSource::Tmpfs(size) => {
            fields.put("type", "tmpfs");
            fields.some("tmpfs_size", *size);
        }
    }
    fields.unless("read_only", mount.access == MountAccess::ReadOnly, &false);
    fields.into_value()
}
