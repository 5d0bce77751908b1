//! Where the lake is: the database of its catalogue and the warehouse that holds its files.
//!
//! What always holds: a [`Warehouse`] that exists is absolute, has no trailing slash and one of two schemes.

use std::{collections::HashMap, env, path::PathBuf, sync::Arc};

use iceberg::io::StorageFactory;
use iceberg_storage_opendal::OpenDalStorageFactory;
use object_store::{ObjectStore, aws::AmazonS3Builder};
use url::Url;

use super::{
    durable::{DurableFiles, sync_folders},
    error::{Doing, LakeError},
};

const DATABASE_URL: &str = "WINDLASS_LAKE_DATABASE_URL";
const WAREHOUSE: &str = "WINDLASS_LAKE_WAREHOUSE";
/// What S3 itself takes when nothing else is said; MinIO accepts any region.
const DEFAULT_REGION: &str = "us-east-1";

/// Everything that is needed to open the lake.
#[derive(Debug, Clone)]
pub struct LakeSettings {
    /// PostgreSQL URL of the database with the catalogue and the watermarks.
    pub database_url: String,
    /// Where the files are.
    pub warehouse: Warehouse,
}

impl LakeSettings {
    /// Reads `WINDLASS_LAKE_DATABASE_URL`, `WINDLASS_LAKE_WAREHOUSE` and, for S3, the `AWS_` variables.
    pub fn from_env() -> Result<Self, LakeError> {
        let database_url = required(DATABASE_URL, "the PostgreSQL URL of the lake's database")?;
        let location = required(WAREHOUSE, "file:///absolute/directory or s3://bucket/prefix")?;
        Ok(Self { database_url, warehouse: Warehouse::parse(&location, S3Settings::from_env())? })
    }
}

fn required(name: &'static str, expected: &str) -> Result<String, LakeError> {
    match env::var(name) {
        Ok(value) if !value.is_empty() => Ok(value),
        _ => Err(LakeError::Setting { name, problem: format!("is not set; expected {expected}") }),
    }
}

/// Access to an S3 service.
#[derive(Debug, Clone, Default)]
pub struct S3Settings {
    /// Endpoint of a service that is not AWS, such as MinIO.
    pub endpoint: Option<String>,
    /// Region; AWS's default when not set.
    pub region: Option<String>,
    /// Access key; the instance's own identity when not set.
    pub access_key_id: Option<String>,
    /// Its secret.
    pub secret_access_key: Option<String>,
}

impl S3Settings {
    fn from_env() -> Self {
        let optional = |name| env::var(name).ok().filter(|value: &String| !value.is_empty());
        Self {
            endpoint: optional("AWS_ENDPOINT_URL"),
            region: optional("AWS_REGION"),
            access_key_id: optional("AWS_ACCESS_KEY_ID"),
            secret_access_key: optional("AWS_SECRET_ACCESS_KEY"),
        }
    }
}

/// The directory or bucket that holds all files of the lake.
#[derive(Debug, Clone)]
pub struct Warehouse {
    url: Url,
    kind: Kind,
}

#[derive(Debug, Clone)]
enum Kind {
    Local,
    S3 { bucket: String, settings: S3Settings },
}

impl Warehouse {
    /// Checks a location; `s3` matters only for `s3://`.
    pub fn parse(location: &str, s3: S3Settings) -> Result<Self, LakeError> {
        let bad = |problem: String| LakeError::Setting { name: WAREHOUSE, problem };
        let expected = "expected file:///absolute/directory or s3://bucket/prefix";
        let url = Url::parse(location.trim_end_matches('/'))
            .map_err(|error| bad(format!("{location:?} is not a URL ({error}); {expected}")))?;
        let kind = match url.scheme() {
            "file" if url.host_str().is_none() && url.path().len() > 1 => Kind::Local,
            "s3" => match url.host_str() {
                Some(bucket) => Kind::S3 { bucket: bucket.to_owned(), settings: s3 },
                None => return Err(bad(format!("{location:?} names no bucket; {expected}"))),
            },
            _ => return Err(bad(format!("{location:?} is neither a local directory nor a bucket; {expected}"))),
        };
        Ok(Self { url, kind })
    }

    /// The location as Iceberg writes it, without a trailing slash.
    pub fn location(&self) -> &str {
        self.url.as_str().trim_end_matches('/')
    }

    /// The URL of something inside the warehouse.
    pub(crate) fn url_of(&self, path: &str) -> Result<Url, LakeError> {
        Url::parse(&format!("{}/{path}", self.location())).doing(format!("making the location of {path}"))
    }

    /// Makes the storage that Iceberg writes through.
    pub(crate) fn iceberg_storage(&self) -> Arc<dyn StorageFactory> {
        match &self.kind {
            Kind::Local => Arc::new(OpenDalStorageFactory::Fs),
            Kind::S3 { .. } => Arc::new(OpenDalStorageFactory::S3 { customized_credential_load: None }),
        }
    }

    /// Properties for [`Self::iceberg_storage`], in Iceberg's names.
    pub(crate) fn iceberg_properties(&self) -> HashMap<String, String> {
        let Kind::S3 { settings, .. } = &self.kind else { return HashMap::new() };
        let region = settings.region.clone().unwrap_or_else(|| DEFAULT_REGION.to_owned());
        let mut properties = HashMap::from([("s3.region".to_owned(), region)]);
        let mut set = |key: &str, value: &Option<String>| {
            if let Some(value) = value {
                properties.insert(key.to_owned(), value.clone());
            }
        };
        set("s3.endpoint", &settings.endpoint);
        set("s3.access-key-id", &settings.access_key_id);
        set("s3.secret-access-key", &settings.secret_access_key);
        set("s3.path-style-access", &settings.endpoint.as_ref().map(|_| "true".to_owned()));
        properties
    }

    /// Makes the store that lists, sweeps, and holds the Delta tables; its root is the file system's or the bucket's.
    pub(crate) fn object_store(&self) -> Result<Arc<dyn ObjectStore>, LakeError> {
        match &self.kind {
            Kind::Local => Ok(Arc::new(DurableFiles::new())),
            Kind::S3 { bucket, settings } => {
                let region = settings.region.as_deref().unwrap_or(DEFAULT_REGION);
                let mut builder = AmazonS3Builder::new().with_bucket_name(bucket).with_region(region);
                if let Some(endpoint) = &settings.endpoint {
                    builder = builder.with_endpoint(endpoint).with_allow_http(endpoint.starts_with("http://"));
                }
                if let (Some(key), Some(secret)) = (&settings.access_key_id, &settings.secret_access_key) {
                    builder = builder.with_access_key_id(key).with_secret_access_key(secret);
                }
                Ok(Arc::new(builder.build().doing(format!("opening the bucket {bucket}"))?))
            }
        }
    }

    /// Brings the names of files that were written through Iceberg's storage to the disk; their content is there. Where
    /// objects last by themselves this does nothing.
    pub(crate) async fn settle(&self, locations: &[&str]) -> Result<(), LakeError> {
        const DOING: &str = "bringing the names of new files to the disk";
        match self.kind {
            Kind::S3 { .. } => Ok(()),
            Kind::Local => {
                let path = |location: &&str| Url::parse(location).ok()?.to_file_path().ok();
                let paths: Vec<PathBuf> = locations.iter().filter_map(path).collect();
                let synced =
                    tokio::task::spawn_blocking(move || sync_folders(paths.iter().map(PathBuf::as_path))).await;
                synced.doing(DOING)?.doing(DOING)
            }
        }
    }

    /// Where in [`Self::object_store`] a location lies.
    pub(crate) fn store_path(&self, location: &str) -> Result<object_store::path::Path, LakeError> {
        let url = Url::parse(location).doing(format!("reading the location {location}"))?;
        object_store::path::Path::from_url_path(url.path()).doing(format!("reading the location {location}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(location: &str) -> Result<Warehouse, LakeError> {
        Warehouse::parse(location, S3Settings::default())
    }

    #[test]
    fn a_warehouse_is_an_absolute_directory_or_a_bucket() {
        assert_eq!(parse("file:///data/lake/").unwrap().location(), "file:///data/lake");
        assert_eq!(parse("s3://bucket/prefix").unwrap().location(), "s3://bucket/prefix");
        for wrong in ["lake", "file://host/lake", "file:///", "gs://bucket", "s3://"] {
            assert!(parse(wrong).unwrap_err().to_string().starts_with("WINDLASS_LAKE_WAREHOUSE"), "{wrong}");
        }
    }

    #[test]
    fn a_place_in_the_store_follows_from_its_location() {
        let local = parse("file:///data/lake").unwrap();
        assert_eq!(local.store_path("file:///data/lake/gold/x").unwrap().as_ref(), "data/lake/gold/x");
        let bucket = parse("s3://bucket/prefix").unwrap();
        assert_eq!(bucket.store_path("s3://bucket/prefix/gold").unwrap().as_ref(), "prefix/gold");
    }
}
