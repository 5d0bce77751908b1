//! Where logs are kept remotely: a bucket, or a directory that all machines share.

use std::{path::Path as FilePath, sync::Arc, time::Duration};

use object_store::{ClientOptions, ObjectStore, RetryConfig, aws::AmazonS3Builder, local::LocalFileSystem, path::Path};
use url::Url;

use super::RemoteLogs;

/// What S3 itself takes when nothing else is said; MinIO accepts any region.
const DEFAULT_REGION: &str = "us-east-1";
/// How long a connection may take to be made.
const CONNECT_WAIT: Duration = Duration::from_secs(5);
/// How long a request may take: a part at the pace of a slow line.
const REQUEST_WAIT: Duration = Duration::from_secs(30);
/// Repeats within one request; whoever ships repeats by itself, with longer pauses.
const REPEATS_MAX: usize = 2;
/// And how long they may take together.
const REPEATS_WAIT: Duration = Duration::from_secs(20);

/// A location that can not be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadLocation {
    /// It is not one of the two kinds.
    #[error("{location:?} is no place for logs ({problem}); expected s3://bucket/prefix or file:///absolute/directory")]
    Form {
        /// What was given.
        location: String,
        /// What is wrong with it.
        problem: String,
    },
    /// One half of the credentials is missing.
    #[error("{given} is set and {missing} is not; set both, or none to use the machine's own identity")]
    HalfOfTheCredentials {
        /// The variable that is set.
        given: &'static str,
        /// The one that is not.
        missing: &'static str,
    },
    /// The client can not be made.
    #[error("no client can be made for {location:?}: {reason}")]
    Client {
        /// What was given.
        location: String,
        /// Why.
        reason: String,
    },
}

/// How an S3 service is reached; the names are those of the variables that say it.
#[derive(Clone, Default)]
pub struct S3Access {
    /// `AWS_ENDPOINT_URL`: a service that is not AWS, such as MinIO.
    pub endpoint: Option<String>,
    /// `AWS_REGION`.
    pub region: Option<String>,
    /// `AWS_ACCESS_KEY_ID`; the machine's own identity when not set.
    pub access_key_id: Option<String>,
    /// `AWS_SECRET_ACCESS_KEY`.
    pub secret_access_key: Option<String>,
}

impl RemoteLogs {
    /// Checks a location and makes the client for it. Nothing is asked over the network.
    ///
    /// # Errors
    /// [`BadLocation`] with what is wrong.
    pub fn open(location: &str, s3: &S3Access) -> Result<Self, BadLocation> {
        let bad = |problem: &str| BadLocation::Form { location: location.to_owned(), problem: problem.to_owned() };
        let url = Url::parse(location.trim_end_matches('/')).map_err(|error| bad(&error.to_string()))?;
        match url.scheme() {
            "s3" => {
                let bucket = url.host_str().ok_or_else(|| bad("it names no bucket"))?;
                let prefix = Path::from_url_path(url.path()).map_err(|error| bad(&error.to_string()))?;
                let store = bucket_store(location, bucket, s3)?;
                Ok(Self { store, prefix, root: format!("s3://{bucket}") })
            }
            "file" => {
                let folder = url.to_file_path().map_err(|()| bad("it names another machine"))?;
                if folder == FilePath::new("/") {
                    return Err(bad("it names the whole file system"));
                }
                let prefix = Path::from_absolute_path(&folder).map_err(|error| bad(&error.to_string()))?;
                Ok(Self { store: Arc::new(LocalFileSystem::new()), prefix, root: "file://".to_owned() })
            }
            other => Err(bad(&format!("{other}:// is not known"))),
        }
    }
}

fn bucket_store(location: &str, bucket: &str, s3: &S3Access) -> Result<Arc<dyn ObjectStore>, BadLocation> {
    let region = s3.region.as_deref().unwrap_or(DEFAULT_REGION);
    let retry = RetryConfig { max_retries: REPEATS_MAX, retry_timeout: REPEATS_WAIT, ..RetryConfig::default() };
    let http = s3.endpoint.as_deref().is_some_and(|endpoint| endpoint.starts_with("http://"));
    let client =
        ClientOptions::new().with_connect_timeout(CONNECT_WAIT).with_timeout(REQUEST_WAIT).with_allow_http(http);
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(bucket)
        .with_region(region)
        .with_client_options(client)
        .with_retry(retry);
    if let Some(endpoint) = &s3.endpoint {
        builder = builder.with_endpoint(endpoint);
    }
    builder = match (&s3.access_key_id, &s3.secret_access_key) {
        (Some(key), Some(secret)) => builder.with_access_key_id(key).with_secret_access_key(secret),
        (None, None) => builder,
        (Some(_), None) => return Err(half("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")),
        (None, Some(_)) => return Err(half("AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID")),
    };
    let store = builder
        .build()
        .map_err(|error| BadLocation::Client { location: location.to_owned(), reason: error.to_string() })?;
    Ok(Arc::new(store))
}

const fn half(given: &'static str, missing: &'static str) -> BadLocation {
    BadLocation::HalfOfTheCredentials { given, missing }
}
