//! What is set for the login by a provider, checked before anything starts.

use std::{fmt, fs, path::PathBuf, str::FromStr as _};

use store::users::Role;
use url::{Host, Url};

const PREFIX: &str = "WINDLASS_OIDC_";
/// A client's secret is short.
const SECRET_BYTES_MAX: u64 = 16 * 1024;

/// A setting that can not be used, and what is expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name}: {expected}")]
pub struct InvalidOidc {
    /// The variable.
    pub name: String,
    /// What is wrong with it.
    pub expected: String,
}

impl InvalidOidc {
    pub(super) fn new(name: &str, expected: impl Into<String>) -> Self {
        Self { name: format!("{PREFIX}{name}"), expected: expected.into() }
    }
}

/// The settings of a provider.
#[derive(Clone)]
pub struct OidcSettings {
    /// The provider, as its tokens write it.
    pub(super) issuer: String,
    pub(super) client_id: String,
    secret: Secret,
    pub(super) scopes: String,
    pub(super) username_claim: String,
    pub(super) groups_claim: String,
    /// Groups and the role of each.
    pub(super) roles: Vec<(String, String)>,
    /// The role of those who are in none of the groups; without it they are refused.
    pub(super) default_role: Option<String>,
    pub(super) ca_file: Option<PathBuf>,
    /// What the button says.
    pub(super) name: String,
    /// Where browsers find this server, without a slash at the end.
    pub(super) base_url: String,
}

#[derive(Clone)]
enum Secret {
    None,
    Given(String),
    File(PathBuf),
}

impl fmt::Debug for OidcSettings {
    /// Shows everything but the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OidcSettings")
            .field("issuer", &self.issuer)
            .field("client_id", &self.client_id)
            .field("roles", &self.roles)
            .field("base_url", &self.base_url)
            .finish_non_exhaustive()
    }
}

impl OidcSettings {
    /// Reads them; none without `WINDLASS_OIDC_ISSUER`. `variable` answers the value of one, if it is set and not empty.
    ///
    /// # Errors
    /// The variable that can not be used, and what it should be.
    pub fn read(variable: &dyn Fn(&str) -> Option<String>) -> Result<Option<Self>, InvalidOidc> {
        let text = |name: &str| variable(&format!("{PREFIX}{name}")).map(|text| text.trim().to_owned());
        let Some(issuer) = text("ISSUER") else { return Ok(None) };
        let host = provider_url(&issuer).map_err(|why| InvalidOidc::new("ISSUER", why))?;
        let name = host.host_str().unwrap_or_default().to_owned();
        let needed = |name: &str, what: &str| {
            text(name).ok_or_else(|| InvalidOidc::new(name, format!("it is not set; expected {what}")))
        };
        let secret = match (text("CLIENT_SECRET"), text("CLIENT_SECRET_FILE")) {
            (Some(_), Some(_)) => {
                return Err(InvalidOidc::new("CLIENT_SECRET", "the one with _FILE is set, too; use one of them"));
            }
            (Some(secret), None) => Secret::Given(secret),
            (None, Some(path)) => Secret::File(path.into()),
            (None, None) => Secret::None,
        };
        let scopes = text("SCOPES").unwrap_or_else(|| "openid profile email".to_owned());
        if !scopes.split_whitespace().any(|scope| scope == "openid") {
            return Err(InvalidOidc::new("SCOPES", "openid is not among them"));
        }
        let default_role = text("DEFAULT_ROLE").map(|role| known_role("DEFAULT_ROLE", &role)).transpose()?;
        let roles = roles(&text("ROLES").unwrap_or_default())?;
        if roles.is_empty() && default_role.is_none() {
            return Err(InvalidOidc::new(
                "ROLES",
                "neither it nor the default role is set, so nobody could log in; expected group:Role,group2:Role2",
            ));
        }
        let settings = Self {
            client_id: needed("CLIENT_ID", "the id that the provider knows Windlass by")?,
            secret,
            scopes,
            username_claim: text("USERNAME_CLAIM").unwrap_or_else(|| "preferred_username".to_owned()),
            groups_claim: text("GROUPS_CLAIM").unwrap_or_else(|| "groups".to_owned()),
            roles,
            default_role,
            ca_file: text("CA_FILE").map(PathBuf::from),
            name: text("NAME").unwrap_or(name),
            base_url: base_url(variable("WINDLASS_BASE_URL"))?,
            issuer,
        };
        settings.client_secret().map_err(|why| InvalidOidc::new("CLIENT_SECRET_FILE", why))?;
        Ok(Some(settings))
    }

    /// The client's secret, as it is now; none for a public client.
    pub(super) fn client_secret(&self) -> Result<Option<String>, String> {
        match &self.secret {
            Secret::None => Ok(None),
            Secret::Given(secret) => Ok(Some(secret.clone())),
            Secret::File(path) => {
                let unread = |why: &dyn fmt::Display| format!("{} can not be read: {why}", path.display());
                let metadata = fs::metadata(path).map_err(|error| unread(&error))?;
                if !metadata.is_file() || metadata.len() > SECRET_BYTES_MAX {
                    return Err(unread(&format!("it is no file of at most {SECRET_BYTES_MAX} bytes")));
                }
                let text = fs::read_to_string(path).map_err(|error| unread(&error))?;
                if text.trim().is_empty() { Err(unread(&"it is empty")) } else { Ok(Some(text.trim().to_owned())) }
            }
        }
    }
}

/// A provider's address. Over plain http only what never leaves this machine.
pub(super) fn provider_url(text: &str) -> Result<Url, String> {
    let expected = "expected an address such as https://login.example.com";
    let url = Url::parse(text).map_err(|error| format!("it is no address ({error}); {expected}"))?;
    if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
        return Err(format!("a login or a fragment stands in it; {expected}"));
    }
    let is_local = match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    };
    match url.scheme() {
        "https" if url.has_host() => Ok(url),
        "http" if is_local => Ok(url),
        _ => Err(format!("it is neither https nor on this machine; {expected}")),
    }
}

/// The name of a role: one of Airflow's in its own spelling, or an own one, which is looked up at each login.
fn known_role(setting: &str, text: &str) -> Result<String, InvalidOidc> {
    let text = text.trim();
    if text.is_empty() {
        return Err(InvalidOidc::new(setting, "expected the name of a role"));
    }
    Ok(Role::from_str(text).map_or_else(|_| text.to_owned(), |role| role.name().to_owned()))
}

/// `group:Role,group2:Role2`. A group may have colons in its name, as URNs do.
fn roles(text: &str) -> Result<Vec<(String, String)>, InvalidOidc> {
    let pairs = text.split(',').map(str::trim).filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| match pair.rsplit_once(':') {
            Some((group, role)) if !group.trim().is_empty() => {
                Ok((group.trim().to_owned(), known_role("ROLES", role)?))
            }
            _ => Err(InvalidOidc::new("ROLES", format!("{pair:?} is no group:Role"))),
        })
        .collect()
}

/// Where browsers find this server. The Host header says it, too, but whoever asks writes that.
fn base_url(text: Option<String>) -> Result<String, InvalidOidc> {
    let refused = |expected: &str| InvalidOidc { name: "WINDLASS_BASE_URL".to_owned(), expected: expected.to_owned() };
    let text = text.ok_or_else(|| {
        refused("it is not set; expected the address that browsers use, such as https://windlass.example.com")
    })?;
    match Url::parse(text.trim()) {
        Ok(url)
            if ["http", "https"].contains(&url.scheme())
                && url.has_host()
                && url.path() == "/"
                && url.query().is_none()
                && url.username().is_empty() =>
        {
            Ok(url.as_str().trim_end_matches('/').to_owned())
        }
        Ok(_) | Err(_) => Err(refused("expected scheme and host alone, such as https://windlass.example.com")),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    const USUAL: [(&str, &str); 5] = [
        ("WINDLASS_OIDC_ISSUER", "https://login.example.com/realms/one"),
        ("WINDLASS_OIDC_CLIENT_ID", "windlass"),
        ("WINDLASS_OIDC_CLIENT_SECRET", "s3cret"),
        ("WINDLASS_OIDC_ROLES", "ops:Op, urn:x:admins:admin, money:finance"),
        ("WINDLASS_BASE_URL", "https://windlass.example.com/"),
    ];

    /// The usual settings with some of them replaced; one that is empty is not set.
    pub(in crate::auth::oidc) fn read(changes: &[(&str, &str)]) -> Result<Option<OidcSettings>, InvalidOidc> {
        OidcSettings::read(&|name| {
            let found = changes.iter().chain(&USUAL).find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned()).filter(|value| !value.is_empty())
        })
    }

    #[test]
    fn without_an_issuer_there_is_no_provider() {
        assert!(read(&[("WINDLASS_OIDC_ISSUER", "")]).unwrap().is_none());
    }

    #[test]
    fn groups_have_roles_and_nothing_shows_the_secret() {
        let settings = read(&[]).unwrap().unwrap();
        let expected =
            [("ops", "Op"), ("urn:x:admins", "Admin"), ("money", "finance")].map(|(a, b)| (a.to_owned(), b.to_owned()));
        assert_eq!(settings.roles, expected);
        assert_eq!(settings.base_url, "https://windlass.example.com");
        assert_eq!(settings.name, "login.example.com");
        assert_eq!(settings.client_secret().unwrap().as_deref(), Some("s3cret"));
        assert!(!format!("{settings:?}").contains("s3cret"), "{settings:?}");
    }

    #[test]
    fn a_bad_setting_is_refused_by_its_name() {
        for (name, value) in [
            ("WINDLASS_OIDC_ISSUER", "http://login.example.com"),
            ("WINDLASS_OIDC_ISSUER", "login"),
            ("WINDLASS_OIDC_CLIENT_ID", ""),
            ("WINDLASS_OIDC_CLIENT_SECRET_FILE", "/no/such/file"),
            ("WINDLASS_OIDC_SCOPES", "profile"),
            ("WINDLASS_OIDC_ROLES", ""),
            ("WINDLASS_OIDC_ROLES", "ops"),
            ("WINDLASS_OIDC_ROLES", "ops:"),
            ("WINDLASS_BASE_URL", ""),
            ("WINDLASS_BASE_URL", "https://windlass.example.com/below"),
        ] {
            let secret =
                if name.ends_with("_FILE") { [("WINDLASS_OIDC_CLIENT_SECRET", "")].to_vec() } else { Vec::new() };
            let error = read(&[secret, vec![(name, value)]].concat()).unwrap_err();
            assert_eq!(error.name, name, "{value}: {error}");
        }
        assert!(read(&[("WINDLASS_OIDC_ISSUER", "http://127.0.0.1:5556/dex")]).unwrap().is_some());
    }
}
