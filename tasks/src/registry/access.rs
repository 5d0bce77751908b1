//! How a schema registry is reached: its address, a login, and the authority that its certificate is checked by.

use url::Url;

/// The way to a registry.
#[derive(Clone)]
pub struct RegistryAccess {
    /// Its address, which may have a path, without a login.
    pub(super) url: Url,
    pub(super) login: Option<Login>,
    /// Certificates of authorities in PEM, beside those that are trusted everywhere.
    pub(super) authorities: Option<Vec<u8>>,
}

/// A user with a password.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// The user.
    pub user: String,
    /// The password.
    pub password: String,
}

impl std::fmt::Debug for RegistryAccess {
    /// Shows the address alone.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RegistryAccess").field("url", &self.url.as_str()).finish_non_exhaustive()
    }
}

impl RegistryAccess {
    /// An address; a login that stands in it is taken out, so that no message shows it.
    pub fn new(mut url: Url) -> Self {
        let login = match (url.username(), url.password()) {
            ("", None) => None,
            (user, password) => {
                Some(Login { user: decoded(user), password: password.map(decoded).unwrap_or_default() })
            }
        };
        // A URL that has a host takes both.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        Self { url, login, authorities: None }
    }

    /// The same with a login.
    #[must_use]
    pub fn login(mut self, login: Login) -> Self {
        self.login = Some(login);
        self
    }

    /// The same with authorities of its own, in PEM.
    #[must_use]
    pub fn authorities(mut self, pem: Vec<u8>) -> Self {
        self.authorities = Some(pem);
        self
    }
}

fn decoded(text: &str) -> String {
    let plain = text.replace('+', "%2B");
    let pair = format!("x={plain}");
    url::form_urlencoded::parse(pair.as_bytes()).next().map(|(_, text)| text.into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_in_the_address_is_taken_out_of_it() {
        let access = RegistryAccess::new("https://me:p%40ss+x@registry.test/apis/v7".parse().unwrap());
        assert_eq!(access.url.as_str(), "https://registry.test/apis/v7");
        assert!(access.login == Some(Login { user: "me".to_owned(), password: "p@ss+x".to_owned() }));
        assert!(!format!("{access:?}").contains("p@ss"));
        assert!(RegistryAccess::new("http://registry.test".parse().unwrap()).login.is_none());
    }
}
