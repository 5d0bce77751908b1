//! Sees to it that an engine has an image.

use bollard::auth::DockerCredentials;
use model::container::{Container, PullPolicy};

use super::{DockerError, engine::Engine};
use crate::{Attempt, Outcome, log::Log};

/// Pulls the image when its policy says so.
pub(super) async fn provide(
    engine: &Engine,
    container: &Container,
    login: Option<DockerCredentials>,
    log: &Log,
) -> Result<(), DockerError> {
    let image = &container.image;
    let missing = !engine.has_image(image).await?;
    match container.pull_policy {
        PullPolicy::Never if missing => {
            let detail =
                "the engine does not have it, and pull_policy is never; pull, build or load it there".to_owned();
            Err(DockerError::Image { image: image.clone(), detail })
        }
        PullPolicy::Always | PullPolicy::Missing if missing || container.pull_policy == PullPolicy::Always => {
            log.system(&format!("Pulling image {image}"));
            let status = engine.pull(image, login).await?;
            if !status.is_empty() {
                log.system(&status);
            }
            Ok(())
        }
        PullPolicy::Always | PullPolicy::Missing | PullPolicy::Never => Ok(()),
    }
}

/// The registry's login from the task's connection: host, login and password, as Airflow's Docker connection has them.
pub(super) async fn login(attempt: &Attempt, container: &Container) -> Result<Option<DockerCredentials>, Outcome> {
    let Some(id) = &container.docker_conn_id else { return Ok(None) };
    let connection =
        attempt.connection(id).await.map_err(|error| Outcome::failed(format!("docker_conn_id: {error}")))?;
    let registry = connection.host.clone().map(|host| match connection.port {
        Some(port) => format!("{host}:{port}"),
        None => host,
    });
    if connection.login.is_none() || registry.is_none() {
        return Err(Outcome::failed(format!("connection {id} (docker_conn_id) needs host and login of the registry")));
    }
    Ok(Some(DockerCredentials {
        username: connection.login.clone(),
        password: connection.password.clone(),
        serveraddress: registry,
        ..DockerCredentials::default()
    }))
}
