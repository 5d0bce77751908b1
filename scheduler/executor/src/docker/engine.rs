//! One Docker engine: what is asked of it, each question with a bound on its time and an error in words.

use std::{collections::HashMap, time::Duration};

use bollard::{
    API_DEFAULT_VERSION, Docker,
    auth::DockerCredentials,
    container::LogOutput,
    errors::Error,
    models::{ContainerCreateBody, ContainerInspectResponse, ContainerSummary, NetworkConnectRequest},
    query_parameters::{
        CreateContainerOptions, CreateImageOptions, InspectContainerOptions, ListContainersOptions, LogsOptions,
        RemoveContainerOptions, StartContainerOptions, StopContainerOptions, WaitContainerOptions,
    },
};
use futures::{Stream, StreamExt as _};
use tokio::time::timeout;

use super::DockerError;

/// Where an engine listens unless it is told otherwise.
const URL_DEFAULT: &str = "unix:///var/run/docker.sock";
/// How long an engine may think about one request; making a container on a busy disk takes the longest.
const REQUEST_SECS_MAX: u64 = 120;
/// How long it may take to say that it is there.
const HELLO_WAIT: Duration = Duration::from_secs(5);
/// What an engine needs to kill a container after its grace, and to say so.
const STOP_MARGIN: Duration = Duration::from_secs(30);
/// The longest grace that the API's signed number of seconds takes without trouble.
const GRACE_MAX: Duration = Duration::from_secs(86_400);

/// An engine that has answered once.
#[derive(Debug, Clone)]
pub(super) struct Engine {
    docker: Docker,
    url: String,
}

/// The engine that a worker uses when a task names none: `DOCKER_HOST`, else the usual socket.
#[must_use]
pub fn default_url() -> String {
    std::env::var("DOCKER_HOST").ok().filter(|url| !url.is_empty()).unwrap_or_else(|| URL_DEFAULT.to_owned())
}

/// Says hello to the worker's own engine.
///
/// # Errors
/// [`DockerError`] with the reason and what to do.
pub async fn check() -> Result<(), DockerError> {
    Engine::connect(None).await.map(drop)
}

impl Engine {
    /// Connects and agrees on the API's version.
    pub(super) async fn connect(url: Option<&str>) -> Result<Self, DockerError> {
        let url = url.map_or_else(default_url, ToOwned::to_owned);
        let failed = |error: &Error| DockerError::of(&url, "connecting to the engine", error);
        let docker = client(&url).map_err(|error| failed(&error))?;
        let silent = || DockerError::Away {
            url: url.clone(),
            detail: format!("it did not answer for {} s", HELLO_WAIT.as_secs()),
        };
        let docker = timeout(HELLO_WAIT, docker.negotiate_version()).await.map_err(|_| silent())?;
        Ok(Self { docker: docker.map_err(|error| failed(&error))?, url })
    }

    /// Where it is.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Whether it has an image.
    pub(super) async fn has_image(&self, image: &str) -> Result<bool, DockerError> {
        match self.docker.inspect_image(image).await {
            Ok(_) => Ok(true),
            Err(Error::DockerResponseServerError { status_code: 404, .. }) => Ok(false),
            Err(error) => Err(self.failed("looking for the image", &error)),
        }
    }

    /// Pulls an image; the last word of the registry.
    pub(super) async fn pull(&self, image: &str, login: Option<DockerCredentials>) -> Result<String, DockerError> {
        let options = CreateImageOptions { from_image: Some(tagged(image)), ..CreateImageOptions::default() };
        let mut news = std::pin::pin!(self.docker.create_image(Some(options), None, login));
        let mut last = String::new();
        while let Some(step) = news.next().await {
            let step = step.map_err(|error| DockerError::pull(image, self.failed("pulling", &error)))?;
            if let Some(error) = step.error_detail.and_then(|detail| detail.message) {
                return Err(DockerError::pull(image, DockerError::Refused { doing: "pulling", message: error }));
            }
            last = step.status.filter(|status| status.starts_with("Status:")).unwrap_or(last);
        }
        Ok(last)
    }

    /// Makes a container; its id.
    pub(super) async fn create(&self, name: &str, body: ContainerCreateBody) -> Result<String, DockerError> {
        let options = CreateContainerOptions { name: Some(name.to_owned()), ..CreateContainerOptions::default() };
        let made = self.docker.create_container(Some(options), body).await;
        made.map(|made| made.id).map_err(|error| self.failed("making the container", &error))
    }

    /// Adds a container to a network.
    pub(super) async fn join(&self, id: &str, network: &str) -> Result<(), DockerError> {
        let request = NetworkConnectRequest { container: id.to_owned(), ..NetworkConnectRequest::default() };
        let joined = self.docker.connect_network(network, request).await;
        joined.map_err(|error| self.failed("joining its network", &error))
    }

    /// Starts a container.
    pub(super) async fn start(&self, id: &str) -> Result<(), DockerError> {
        let started = self.docker.start_container(id, None::<StartContainerOptions>).await;
        started.map_err(|error| self.failed("starting the container", &error))
    }

    /// What the engine knows of a container.
    pub(super) async fn inspect(&self, id: &str) -> Result<ContainerInspectResponse, DockerError> {
        let found = self.docker.inspect_container(id, None::<InspectContainerOptions>).await;
        found.map_err(|error| self.failed("looking at the container", &error))
    }

    /// What a container writes, from its start, until it ends.
    pub(super) fn logs(&self, id: &str) -> impl Stream<Item = Result<LogOutput, Error>> + use<> {
        let options =
            LogsOptions { follow: true, stdout: true, stderr: true, tail: "all".to_owned(), ..LogsOptions::default() };
        self.docker.logs(id, Some(options))
    }

    /// Waits until a container does not run, for a while.
    pub(super) async fn settle(&self, id: &str, patience: Duration) {
        let options = WaitContainerOptions { condition: "not-running".to_owned() };
        let mut ended = std::pin::pin!(self.docker.wait_container(id, Some(options)));
        // Whatever this says, the container is looked at next.
        let _ = timeout(patience, ended.next()).await;
    }

    /// TERM, and KILL after `grace`. One that does not run is what is wanted.
    pub(super) async fn stop(&self, id: &str, grace: Duration) -> Result<(), DockerError> {
        let grace = grace.min(GRACE_MAX);
        let seconds = i32::try_from(grace.as_secs_f64().ceil() as u64).unwrap_or(i32::MAX);
        let options = StopContainerOptions { t: Some(seconds), signal: None };
        let docker = self.docker.clone().with_timeout(grace + STOP_MARGIN);
        match docker.stop_container(id, Some(options)).await {
            Ok(()) | Err(Error::DockerResponseServerError { status_code: 304 | 404, .. }) => Ok(()),
            Err(error) => Err(self.failed("stopping the container", &error)),
        }
    }

    /// Kills and removes a container with its nameless volumes. One that is gone is what is wanted.
    pub(super) async fn remove(&self, id: &str) -> Result<(), DockerError> {
        let options = RemoveContainerOptions { force: true, v: true, link: false };
        match self.docker.remove_container(id, Some(options)).await {
            // 409: somebody else removes it already.
            Ok(()) | Err(Error::DockerResponseServerError { status_code: 404 | 409, .. }) => Ok(()),
            Err(error) => Err(self.failed("removing the container", &error)),
        }
    }

    /// All containers with a label, stopped ones too.
    pub(super) async fn labelled(&self, label: String) -> Result<Vec<ContainerSummary>, DockerError> {
        let filters = HashMap::from([("label".to_owned(), vec![label])]);
        let options = ListContainersOptions { all: true, filters: Some(filters), ..ListContainersOptions::default() };
        let found = self.docker.list_containers(Some(options)).await;
        found.map_err(|error| self.failed("listing containers", &error))
    }

    fn failed(&self, doing: &'static str, error: &Error) -> DockerError {
        DockerError::of(&self.url, doing, error)
    }
}

fn client(url: &str) -> Result<Docker, Error> {
    if url.starts_with("unix://") {
        return Docker::connect_with_unix(url, REQUEST_SECS_MAX, API_DEFAULT_VERSION);
    }
    if url.starts_with("tcp://") || url.starts_with("http://") {
        return Docker::connect_with_http(url, REQUEST_SECS_MAX, API_DEFAULT_VERSION);
    }
    Err(Error::UnsupportedURISchemeError { uri: url.to_owned() })
}

/// An image without a tag means its `latest`; without this the engine would pull every tag that there is.
fn tagged(image: &str) -> String {
    let name = image.rsplit_once('/').map_or(image, |(_, name)| name);
    if name.contains([':', '@']) { image.to_owned() } else { format!("{image}:latest") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_image_without_a_tag_is_the_latest() {
        for (image, pulled) in [
            ("busybox", "busybox:latest"),
            ("busybox:1.36", "busybox:1.36"),
            ("registry:5000/team/loader", "registry:5000/team/loader:latest"),
            ("loader@sha256:ab", "loader@sha256:ab"),
        ] {
            assert_eq!(tagged(image), pulled);
        }
    }
}
