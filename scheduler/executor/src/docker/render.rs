//! Renders what the description of a container has of templates.

use model::container::{Container, Docker, Mount, MountSource, Words};

use super::words;
use crate::{TemplateError, environment::Variables, template::Renderer};

/// A task's keys, rendered.
#[derive(Debug, Clone)]
pub(super) struct Rendered {
    /// The container; its entrypoint is a list.
    pub(super) container: Container,
    /// What it runs.
    pub(super) command: Option<Vec<String>>,
    /// Variables of its environment.
    pub(super) environment: Variables,
    /// Its name, when the task chooses one.
    pub(super) name: Option<String>,
}

impl Rendered {
    /// Renders a task's keys.
    pub(super) fn of(renderer: &Renderer, keys: &Docker) -> Result<Self, TemplateError> {
        let command = keys.command.as_ref();
        let name = keys.container_name.as_ref();
        Ok(Self {
            container: container(renderer, "", &keys.container)?,
            command: command.map(|command| words::render(renderer, "command", command)).transpose()?,
            environment: renderer.map("environment", &keys.environment)?,
            name: name.map(|name| renderer.text("container_name", name)).transpose()?,
        })
    }

    /// What the log shows of it.
    pub(super) fn shown(&self) -> serde_json::Value {
        let mut fields = serde_json::json!({
            "image": self.container.image,
            "command": self.command,
            "environment": self.environment,
            "container_name": self.name,
        });
        if !self.container.mounts.is_empty() {
            fields["mounts"] = self.container.mounts.iter().map(|mount| mount.target.clone()).collect();
        }
        fields
    }
}

/// Renders a container; `prefix` says whose it is, for messages.
pub(crate) fn container(renderer: &Renderer, prefix: &str, source: &Container) -> Result<Container, TemplateError> {
    let name = |field: &str| format!("{prefix}{field}");
    let text = |field: &str, source: &Option<String>| {
        source.as_deref().map(|source| renderer.text(&name(field), source)).transpose()
    };
    let entrypoint = source.entrypoint.as_ref();
    let mount = |mount: &Mount| {
        let path = |path: &str| renderer.text(&name("mounts"), path);
        let source = match &mount.source {
            MountSource::Bind(from) => MountSource::Bind(path(from)?),
            MountSource::Volume(Some(volume)) => MountSource::Volume(Some(path(volume)?)),
            other @ (MountSource::Volume(None) | MountSource::Tmpfs(_)) => other.clone(),
        };
        Ok(Mount { target: path(&mount.target)?, source, access: mount.access })
    };
    Ok(Container {
        image: renderer.text(&name("image"), &source.image)?,
        entrypoint: entrypoint
            .map(|words| words::render(renderer, &name("entrypoint"), words).map(Words::List))
            .transpose()?,
        private_environment: renderer.map(&name("private_environment"), &source.private_environment)?,
        mounts: source.mounts.iter().map(mount).collect::<Result<_, TemplateError>>()?,
        network_mode: text("network_mode", &source.network_mode)?,
        networks: renderer.list(&name("networks"), &source.networks)?,
        user: text("user", &source.user)?,
        working_dir: text("working_dir", &source.working_dir)?,
        hostname: text("hostname", &source.hostname)?,
        labels: renderer.map(&name("labels"), &source.labels)?,
        extra_hosts: renderer.map(&name("extra_hosts"), &source.extra_hosts)?,
        healthcheck: text("healthcheck", &source.healthcheck)?,
        ..source.clone()
    })
}
