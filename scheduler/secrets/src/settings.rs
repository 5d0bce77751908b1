//! The settings of backends, read from the environment and checked before anything starts.
//!
//! Airflow's `[secrets] backend` and `backend_kwargs` as variables of their own: docs/secrets.md says which is which.

use std::{collections::BTreeSet, path::PathBuf, time::Duration};

use regex::Regex;
use store::secrets::Kind;
use url::Url;

use crate::backend::Secret;

/// How the name of each setting begins.
const PREFIX: &str = "WINDLASS_SECRETS_";
/// What switches a setting off that has a default.
const NONE: &str = "none";
/// How long a call may take, and how long answers are kept, unless it is set.
const CALL_SECS: u64 = 5;
const KEEP_SECS: u64 = 60;
/// With its repetitions a call must end within what an attempt waits for its answer.
const CALL_SECS_MAX: u64 = 8;
const KEEP_SECS_MAX: u64 = 86_400;
/// Where Kubernetes puts the token of a pod's account.
const KUBERNETES_TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/// A setting that can not be used: which one, and what is expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name}: {expected}")]
pub struct SettingsError {
    /// The variable.
    pub name: String,
    /// What is wrong with it.
    pub expected: String,
}

/// What the environment says about backends; without it there are none.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    pub(crate) backends: Vec<BackendSettings>,
    pub(crate) call_within: Duration,
    pub(crate) keep: Duration,
}

/// One backend.
#[derive(Debug, Clone)]
pub(crate) enum BackendSettings {
    Files(FilesSettings),
    Vault(VaultSettings),
    Aws(AwsSettings),
}

/// Where files lie; what is not set is not asked for.
#[derive(Debug, Clone, Default)]
pub(crate) struct FilesSettings {
    pub(crate) connections_file: Option<PathBuf>,
    pub(crate) variables_file: Option<PathBuf>,
    pub(crate) connections_folder: Option<PathBuf>,
    pub(crate) variables_folder: Option<PathBuf>,
}

/// Something that is another thing for connections than for variables.
#[derive(Debug, Clone)]
pub(crate) struct OfEach<T> {
    pub(crate) connections: T,
    pub(crate) variables: T,
}

impl<T> OfEach<T> {
    /// The one of a kind.
    pub(crate) const fn of(&self, kind: Kind) -> &T {
        match kind {
            Kind::Connection => &self.connections,
            Kind::Variable => &self.variables,
        }
    }
}

/// Which ids a server is asked for; others are none of its business.
pub(crate) type Patterns = OfEach<Option<Regex>>;

impl Patterns {
    /// Whether an id is asked for.
    pub(crate) fn allow(&self, kind: Kind, id: &str) -> bool {
        self.of(kind).as_ref().is_none_or(|pattern| pattern.is_match(id))
    }
}

#[derive(Debug, Clone)]
pub(crate) struct VaultSettings {
    pub(crate) url: Url,
    pub(crate) mount_point: String,
    pub(crate) kv_version: KvVersion,
    /// Below the mount point; none when Vault is not asked for the kind.
    pub(crate) paths: OfEach<Option<String>>,
    pub(crate) patterns: Patterns,
    pub(crate) namespace: Option<String>,
    pub(crate) ca_file: Option<PathBuf>,
    pub(crate) auth: VaultAuth,
}

/// Which of Vault's two key-value engines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KvVersion {
    One,
    Two,
}

/// How a token is had.
#[derive(Debug, Clone)]
pub(crate) enum VaultAuth {
    /// One that was made elsewhere.
    Token(SecretSource),
    /// By a role and its secret.
    AppRole { mount_point: String, role_id: String, secret_id: Option<SecretSource> },
    /// By the token of the pod's account.
    Kubernetes { mount_point: String, role: String, jwt_file: PathBuf },
}

/// A secret that is given, or a file that holds it and may change.
#[derive(Debug, Clone)]
pub(crate) enum SecretSource {
    Given(Secret),
    File(PathBuf),
}

#[derive(Debug, Clone)]
pub(crate) struct AwsSettings {
    pub(crate) region: String,
    pub(crate) endpoint: Option<Url>,
    /// Before the id, with the separator; none when it is not asked for the kind.
    pub(crate) prefixes: OfEach<Option<String>>,
    pub(crate) separator: String,
    pub(crate) patterns: Patterns,
    /// Whether a connection may be one text, a URI; else it is a JSON object.
    pub(crate) full_url_mode: bool,
    pub(crate) profile: Option<String>,
    /// Else they come from where AWS's own programs look for them.
    pub(crate) keys: Option<AwsKeys>,
}

#[derive(Debug, Clone)]
pub(crate) struct AwsKeys {
    pub(crate) id: String,
    pub(crate) secret: SecretSource,
    pub(crate) session_token: Option<Secret>,
}

impl Settings {
    /// Reads them; `variable` answers the value of one, if it is set and not empty.
    ///
    /// # Errors
    /// The variable that can not be used, and what it should be.
    pub fn read(variable: &dyn Fn(&str) -> Option<String>) -> Result<Self, SettingsError> {
        let reader = Reader { variable };
        let mut seen = BTreeSet::new();
        let mut backends = Vec::new();
        let list = reader.text("BACKEND").unwrap_or_default();
        for name in list.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            if !seen.insert(name.to_owned()) {
                return Err(refused("BACKEND", format!("{name} stands there twice")));
            }
            backends.push(match name {
                "files" => BackendSettings::Files(reader.files()?),
                "vault" => BackendSettings::Vault(reader.vault()?),
                "aws" => BackendSettings::Aws(reader.aws()?),
                other => {
                    let expected =
                        format!("{other:?} is no backend; expected files, vault or aws, separated by commas");
                    return Err(refused("BACKEND", expected));
                }
            });
        }
        let seconds = |name, usual, most| reader.number(name, usual, most).map(Duration::from_secs);
        let call_within = seconds("TIMEOUT_SECS", CALL_SECS, CALL_SECS_MAX)?;
        if call_within.is_zero() {
            return Err(refused("TIMEOUT_SECS", format!("expected 1 to {CALL_SECS_MAX} seconds")));
        }
        Ok(Self { backends, call_within, keep: seconds("CACHE_SECS", KEEP_SECS, KEEP_SECS_MAX)? })
    }
}

fn refused(name: &str, expected: impl Into<String>) -> SettingsError {
    SettingsError { name: format!("{PREFIX}{name}"), expected: expected.into() }
}

impl SettingsError {
    /// A setting that turns out not to be usable when it is used.
    pub(crate) fn of(name: &str, expected: impl Into<String>) -> Self {
        refused(name, expected)
    }
}

struct Reader<'a> {
    variable: &'a dyn Fn(&str) -> Option<String>,
}

impl Reader<'_> {
    fn text(&self, name: &str) -> Option<String> {
        (self.variable)(&format!("{PREFIX}{name}")).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
    }

    fn needed(&self, name: &str, what: &str) -> Result<String, SettingsError> {
        self.text(name).ok_or_else(|| refused(name, format!("it is not set; expected {what}")))
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        self.text(name).map(PathBuf::from)
    }

    fn number(&self, name: &str, usual: u64, most: u64) -> Result<u64, SettingsError> {
        let Some(text) = self.text(name) else { return Ok(usual) };
        match text.parse() {
            Ok(number) if number <= most => Ok(number),
            _ => Err(refused(name, format!("{text:?} is no whole number up to {most}"))),
        }
    }

    fn switch(&self, name: &str, usual: bool) -> Result<bool, SettingsError> {
        match self.text(name).as_deref() {
            None => Ok(usual),
            Some("true") => Ok(true),
            Some("false") => Ok(false),
            Some(other) => Err(refused(name, format!("{other:?} is neither true nor false"))),
        }
    }

    /// A path or prefix that has a default, and that `none` takes away.
    fn place(&self, name: &str, usual: &str) -> Option<String> {
        let place = self.text(name).unwrap_or_else(|| usual.to_owned());
        (place != NONE).then_some(place)
    }

    fn url(&self, name: &str, what: &str) -> Result<Url, SettingsError> {
        // What is wrong with it is not repeated: it may hold a password.
        match Url::parse(&self.needed(name, what)?) {
            Ok(url) if !url.username().is_empty() || url.password().is_some() => {
                Err(refused(name, "a login stands in it; there are settings of their own for tokens and keys"))
            }
            Ok(url) if ["http", "https"].contains(&url.scheme()) && url.has_host() && url.query().is_none() => Ok(url),
            Ok(_) | Err(_) => Err(refused(name, format!("it is no address; expected {what}"))),
        }
    }

    /// A secret of its variable, or the file that the variable with `_FILE` names.
    fn secret(&self, name: &str) -> Result<Option<SecretSource>, SettingsError> {
        let file = format!("{name}_FILE");
        match (self.text(name), self.path(&file)) {
            (Some(_), Some(_)) => Err(refused(name, format!("{PREFIX}{file} is set, too; use one of them"))),
            (Some(secret), None) => Ok(Some(SecretSource::Given(Secret(secret)))),
            (None, Some(path)) => Ok(Some(SecretSource::File(path))),
            (None, None) => Ok(None),
        }
    }

    fn patterns(&self) -> Result<Patterns, SettingsError> {
        let pattern = |name: &str| {
            let Some(text) = self.text(name) else { return Ok(None) };
            // As Python's re.match: from the beginning of the id.
            match Regex::new(&format!("^(?:{text})")) {
                Ok(pattern) => Ok(Some(pattern)),
                Err(_) => Err(refused(name, format!("{text:?} is no regular expression"))),
            }
        };
        Ok(OfEach {
            connections: pattern("CONNECTIONS_LOOKUP_PATTERN")?,
            variables: pattern("VARIABLES_LOOKUP_PATTERN")?,
        })
    }

    fn files(&self) -> Result<FilesSettings, SettingsError> {
        let settings = FilesSettings {
            connections_file: self.path("FILES_CONNECTIONS_FILE"),
            variables_file: self.path("FILES_VARIABLES_FILE"),
            connections_folder: self.path("FILES_CONNECTIONS_FOLDER"),
            variables_folder: self.path("FILES_VARIABLES_FOLDER"),
        };
        let FilesSettings { connections_file, variables_file, connections_folder, variables_folder } = &settings;
        if [connections_file, variables_file, connections_folder, variables_folder].iter().all(|path| path.is_none()) {
            let expected = "it is not set, nor is any other FILES setting; expected a file (.json, .yaml or .env)";
            return Err(refused("FILES_CONNECTIONS_FILE", expected));
        }
        for (name, path) in [("FILES_CONNECTIONS_FILE", connections_file), ("FILES_VARIABLES_FILE", variables_file)] {
            if let Some(path) = path
                && crate::files::Format::of(path).is_none()
            {
                return Err(refused(name, format!("{} ends in none of .json, .yaml, .yml and .env", path.display())));
            }
        }
        Ok(settings)
    }

    fn vault(&self) -> Result<VaultSettings, SettingsError> {
        let kv_version = match self.number("VAULT_KV_VERSION", 2, 2)? {
            1 => KvVersion::One,
            2 => KvVersion::Two,
            _ => return Err(refused("VAULT_KV_VERSION", "expected 1 or 2")),
        };
        Ok(VaultSettings {
            url: self.url("VAULT_URL", "an address such as https://vault:8200")?,
            mount_point: self.text("VAULT_MOUNT_POINT").unwrap_or_else(|| "secret".to_owned()),
            kv_version,
            paths: OfEach {
                connections: self.place("VAULT_CONNECTIONS_PATH", "connections"),
                variables: self.place("VAULT_VARIABLES_PATH", "variables"),
            },
            patterns: self.patterns()?,
            namespace: self.text("VAULT_NAMESPACE"),
            ca_file: self.path("VAULT_CA_FILE"),
            auth: self.vault_auth()?,
        })
    }

    fn vault_auth(&self) -> Result<VaultAuth, SettingsError> {
        let mount_point = |usual: &str| self.text("VAULT_AUTH_MOUNT_POINT").unwrap_or_else(|| usual.to_owned());
        match self.text("VAULT_AUTH").as_deref().unwrap_or("token") {
            "token" => match self.secret("VAULT_TOKEN")? {
                Some(token) => Ok(VaultAuth::Token(token)),
                None => Err(refused("VAULT_TOKEN", "neither it nor the one with _FILE is set; expected a token")),
            },
            "approle" => Ok(VaultAuth::AppRole {
                mount_point: mount_point("approle"),
                role_id: self.needed("VAULT_ROLE_ID", "the role's id")?,
                secret_id: self.secret("VAULT_SECRET_ID")?,
            }),
            "kubernetes" => Ok(VaultAuth::Kubernetes {
                mount_point: mount_point("kubernetes"),
                role: self.needed("VAULT_KUBERNETES_ROLE", "the role's name")?,
                jwt_file: self.path("VAULT_KUBERNETES_JWT_FILE").unwrap_or_else(|| KUBERNETES_TOKEN.into()),
            }),
            other => Err(refused("VAULT_AUTH", format!("{other:?} is unknown; expected token, approle or kubernetes"))),
        }
    }

    fn aws(&self) -> Result<AwsSettings, SettingsError> {
        let region = self.text("AWS_REGION").or_else(|| (self.variable)("AWS_REGION"));
        let region = region.or_else(|| (self.variable)("AWS_DEFAULT_REGION"));
        let region =
            region.ok_or_else(|| refused("AWS_REGION", "it is not set, nor is AWS_REGION; expected a region"))?;
        if !region.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') {
            return Err(refused("AWS_REGION", format!("{region:?} is no region such as eu-west-1")));
        }
        let endpoint = match self.text("AWS_ENDPOINT") {
            Some(_) => {
                Some(self.url("AWS_ENDPOINT", "an address such as https://secretsmanager.eu-west-1.amazonaws.com")?)
            }
            None => None,
        };
        Ok(AwsSettings {
            region,
            endpoint,
            prefixes: OfEach {
                connections: self.place("AWS_CONNECTIONS_PREFIX", "airflow/connections"),
                variables: self.place("AWS_VARIABLES_PREFIX", "airflow/variables"),
            },
            separator: self.text("AWS_SEP").unwrap_or_else(|| "/".to_owned()),
            patterns: self.patterns()?,
            full_url_mode: self.switch("AWS_FULL_URL_MODE", true)?,
            profile: self.text("AWS_PROFILE"),
            keys: self.aws_keys()?,
        })
    }

    fn aws_keys(&self) -> Result<Option<AwsKeys>, SettingsError> {
        match (self.text("AWS_ACCESS_KEY_ID"), self.secret("AWS_SECRET_ACCESS_KEY")?) {
            (None, None) => Ok(None),
            (Some(id), Some(secret)) => {
                Ok(Some(AwsKeys { id, secret, session_token: self.text("AWS_SESSION_TOKEN").map(Secret) }))
            }
            (Some(_), None) => Err(refused("AWS_SECRET_ACCESS_KEY", "it is not set, and the key's id is")),
            (None, Some(_)) => Err(refused("AWS_ACCESS_KEY_ID", "it is not set, and the secret key is")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Settings, SettingsError> {
        Settings::read(&|name| pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn nothing_set_is_no_backend() {
        assert!(read(&[]).unwrap().backends.is_empty());
        assert!(read(&[("WINDLASS_SECRETS_VAULT_URL", "no url")]).unwrap().backends.is_empty());
    }

    #[test]
    fn a_chain_keeps_its_order_and_shows_no_secret() {
        let settings = read(&[
            ("WINDLASS_SECRETS_BACKEND", "vault, aws,files"),
            ("WINDLASS_SECRETS_VAULT_URL", "https://vault:8200"),
            ("WINDLASS_SECRETS_VAULT_TOKEN", "s3cret"),
            ("WINDLASS_SECRETS_VAULT_VARIABLES_PATH", "none"),
            ("WINDLASS_SECRETS_AWS_REGION", "eu-west-1"),
            ("WINDLASS_SECRETS_AWS_ACCESS_KEY_ID", "AKID"),
            ("WINDLASS_SECRETS_AWS_SECRET_ACCESS_KEY", "s3cret"),
            ("WINDLASS_SECRETS_FILES_VARIABLES_FILE", "/v.json"),
        ]);
        let settings = settings.unwrap();
        let [BackendSettings::Vault(vault), BackendSettings::Aws(_), BackendSettings::Files(_)] =
            settings.backends.as_slice()
        else {
            panic!("{settings:?}")
        };
        assert_eq!((vault.paths.connections.as_deref(), vault.paths.variables.as_deref()), (Some("connections"), None));
        assert!(!format!("{settings:?}").contains("s3cret"), "{settings:?}");
    }

    #[test]
    fn a_bad_setting_is_refused_by_its_name_and_not_repeated_when_it_may_be_secret() {
        let vault = ("WINDLASS_SECRETS_BACKEND", "vault");
        let url = ("WINDLASS_SECRETS_VAULT_URL", "https://vault:8200");
        for (pairs, name) in [
            (vec![("WINDLASS_SECRETS_BACKEND", "valt")], "BACKEND"),
            (vec![("WINDLASS_SECRETS_BACKEND", "vault,vault"), url, ("WINDLASS_SECRETS_VAULT_TOKEN", "t")], "BACKEND"),
            (vec![vault], "VAULT_URL"),
            (vec![vault, ("WINDLASS_SECRETS_VAULT_URL", "https://u:s3cret@vault:8200")], "VAULT_URL"),
            (vec![vault, url], "VAULT_TOKEN"),
            (vec![vault, url, ("WINDLASS_SECRETS_VAULT_AUTH", "approle")], "VAULT_ROLE_ID"),
            (vec![vault, url, ("WINDLASS_SECRETS_VAULT_KV_VERSION", "3")], "VAULT_KV_VERSION"),
            (vec![("WINDLASS_SECRETS_BACKEND", "aws")], "AWS_REGION"),
            (vec![("WINDLASS_SECRETS_BACKEND", "files")], "FILES_CONNECTIONS_FILE"),
            (vec![("WINDLASS_SECRETS_TIMEOUT_SECS", "0")], "TIMEOUT_SECS"),
            (vec![("WINDLASS_SECRETS_CACHE_SECS", "soon")], "CACHE_SECS"),
        ] {
            let error = read(&pairs).unwrap_err();
            assert_eq!(error.name, format!("WINDLASS_SECRETS_{name}"), "{error}");
            assert!(!error.to_string().contains("s3cret"), "{error}");
        }
    }
}
