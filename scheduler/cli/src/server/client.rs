//! One client of the REST API: timeouts, sizes of answers and lengths of lists are bounded, and a token is shown to nobody.

use std::time::Duration;

use reqwest::{Client, Method, RequestBuilder, Url, redirect::Policy};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use super::error::{ServerError, detail_of};

/// A server that is there takes a connection within this.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// Windlass answers or refuses within seconds; Airflow takes longer for large lists.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// The largest answer: a page of a list with long texts has a few MiB.
const ANSWER_BYTES_MAX: usize = 32 * 1024 * 1024;
/// How many rows one request asks for: servers give no more at once.
const PAGE_ROWS: usize = 100;
/// A list that goes on behind this is not read to its end.
const LIST_ROWS_MAX: usize = 100_000;

/// Which REST API is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Api {
    /// Airflow 2's.
    V1,
    /// Airflow 3's and Windlass'.
    V2,
}

impl Api {
    const fn name(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
        }
    }
}

/// How a request shows who asks. It has no `Debug`, so that no secret is printed by accident.
#[derive(Clone)]
pub enum Auth {
    /// Not at all.
    Nobody,
    /// By a token.
    Token(String),
    /// By name and password in each request, as Airflow 2 takes them.
    Password {
        /// The name.
        username: String,
        /// The password.
        password: String,
    },
}

/// A server.
pub struct Server {
    client: Client,
    root: Url,
    api: Api,
    auth: Auth,
}

/// A part of a list.
#[derive(Deserialize)]
struct Page {
    total_entries: Option<i64>,
    /// Where the server has ended its count.
    total_entries_limit: Option<i64>,
    #[serde(flatten)]
    members: Map<String, Value>,
}

impl Page {
    /// Whether nothing comes after so many rows.
    fn ends_at(&self, rows: usize) -> bool {
        let total = self.total_entries.and_then(|total| usize::try_from(total).ok());
        // A count that was ended says nothing of the end of the list.
        self.total_entries_limit.is_none() && total.is_some_and(|total| rows >= total)
    }
}

impl Server {
    /// A server at an address.
    ///
    /// # Errors
    /// When no client can be made.
    pub fn at(root: Url, auth: Auth) -> anyhow::Result<Self> {
        let client = Client::builder()
            .user_agent(concat!("windlass/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_WITHIN)
            .timeout(ANSWER_WITHIN)
            // Where a server sends its callers, a token must not follow by itself.
            .redirect(Policy::none())
            .build()?;
        Ok(Self { client, root, api: Api::V2, auth })
    }

    /// The same server by another API.
    #[must_use]
    pub fn speaking(self, api: Api) -> Self {
        Self { api, ..self }
    }

    /// The same server for somebody else.
    #[must_use]
    pub fn with(self, auth: Auth) -> Self {
        Self { auth, ..self }
    }

    /// Its address without the slash at the end.
    #[must_use]
    pub fn name(&self) -> &str {
        self.root.as_str().trim_end_matches('/')
    }

    /// Reads something of the API.
    ///
    /// # Errors
    /// What the server says, or that it does not answer.
    pub async fn get<T: DeserializeOwned>(&self, path: &[&str], query: &[(&str, &str)]) -> Result<T, ServerError> {
        self.ask(Method::GET, &self.api_path(path), query, None::<&Value>).await
    }

    /// Changes something.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn patch<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
        body: &impl Serialize,
    ) -> Result<T, ServerError> {
        self.ask(Method::PATCH, &self.api_path(path), query, Some(body)).await
    }

    /// Makes something.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn post<T: DeserializeOwned>(&self, path: &[&str], body: &impl Serialize) -> Result<T, ServerError> {
        self.ask(Method::POST, &self.api_path(path), &[], Some(body)).await
    }

    /// Does something with what is named, without a body.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn put<T: DeserializeOwned>(&self, path: &[&str]) -> Result<T, ServerError> {
        self.ask(Method::PUT, &self.api_path(path), &[], None::<&Value>).await
    }

    /// Asks for something that needs no body and brings no answer.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn post_nothing(&self, path: &[&str]) -> Result<(), ServerError> {
        self.answer(Method::POST, &self.api_path(path), &[], None::<&Value>).await.map(drop)
    }

    /// Removes something.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn delete(&self, path: &[&str]) -> Result<(), ServerError> {
        self.answer(Method::DELETE, &self.api_path(path), &[], None::<&Value>).await.map(drop)
    }

    /// Every row of a list, page by page.
    ///
    /// # Errors
    /// As [`Self::get`]; when the list is longer than any that is read.
    pub async fn list<T: DeserializeOwned>(
        &self,
        path: &[&str],
        member: &str,
        query: &[(&str, &str)],
    ) -> Result<Vec<T>, ServerError> {
        let rows = self.first(path, member, query, LIST_ROWS_MAX + 1).await?;
        if rows.len() > LIST_ROWS_MAX {
            let address = self.address(&Method::GET, &self.api_path(path))?;
            let what = format!("a list of more than {LIST_ROWS_MAX} rows, which is not read");
            return Err(ServerError::Odd { address, what });
        }
        Ok(rows)
    }

    /// The first rows of a list.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn first<T: DeserializeOwned>(
        &self,
        path: &[&str],
        member: &str,
        query: &[(&str, &str)],
        most: usize,
    ) -> Result<Vec<T>, ServerError> {
        let mut rows = Vec::new();
        while rows.len() < most {
            let (limit, offset) = (PAGE_ROWS.min(most - rows.len()).to_string(), rows.len().to_string());
            let place = [("limit", limit.as_str()), ("offset", offset.as_str())];
            let mut page: Page = self.get(path, &[query, &place].concat()).await?;
            let odd = |what: String| match self.address(&Method::GET, &self.api_path(path)) {
                Ok(address) => ServerError::Odd { address, what },
                Err(error) => error,
            };
            let found = page.members.remove(member).ok_or_else(|| odd(format!("without a list of {member}")))?;
            let found: Vec<T> =
                serde_json::from_value(found).map_err(|error| odd(format!("a strange row: {error}")))?;
            if found.is_empty() {
                break;
            }
            rows.extend(found);
            if page.ends_at(rows.len()) {
                break;
            }
        }
        rows.truncate(most);
        Ok(rows)
    }

    /// A token for a name and a password.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn token_of(&self, username: &str, password: &str) -> Result<String, ServerError> {
        #[derive(Serialize)]
        struct Login<'a> {
            username: &'a str,
            password: &'a str,
        }
        #[derive(Deserialize)]
        struct Answer {
            access_token: String,
        }
        let login = Login { username, password };
        let answer: Answer = self.ask(Method::POST, &["auth", "token"], &[], Some(&login)).await?;
        Ok(answer.access_token)
    }

    /// Ends the session of the token that this server is spoken to with.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn log_out(&self) -> Result<(), ServerError> {
        let (address, request) = self.request(Method::GET, &["auth", "logout"])?;
        let late = |error| ServerError::of_transport(address.clone(), true, ANSWER_WITHIN.as_secs(), error);
        let status = request.send().await.map_err(late)?.status();
        // Whoever is logged out is sent to the login page.
        if status.is_success() || status.is_redirection() {
            return Ok(());
        }
        Err(self.refusal(address.clone(), &Method::GET, status.as_u16(), &[], b""))
    }

    fn api_path<'p>(&self, path: &[&'p str]) -> Vec<&'p str> {
        ["api", self.api.name()].into_iter().chain(path.iter().copied()).collect()
    }

    fn url(&self, path: &[&str]) -> Result<Url, ServerError> {
        let mut url = self.root.clone();
        // These would be taken as steps in the path, and the request would be about something else.
        if let Some(part) = path.iter().find(|part| ["", ".", ".."].contains(part)) {
            return Err(ServerError::Unsendable(format!("{part:?} can not be named to a server")));
        }
        url.path_segments_mut()
            .map_err(|()| ServerError::Unsendable("the address of the server takes no path".to_owned()))?
            .pop_if_empty()
            .extend(path);
        Ok(url)
    }

    /// What is asked for, for people.
    fn address(&self, method: &Method, path: &[&str]) -> Result<String, ServerError> {
        Ok(format!("{method} {}", self.url(path)?))
    }

    fn request(&self, method: Method, path: &[&str]) -> Result<(String, RequestBuilder), ServerError> {
        let address = self.address(&method, path)?;
        let request = self.client.request(method, self.url(path)?);
        let request = match &self.auth {
            Auth::Nobody => request,
            Auth::Token(token) => request.bearer_auth(token),
            Auth::Password { username, password } => request.basic_auth(username, Some(password)),
        };
        Ok((address, request))
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, &str)],
        body: Option<&impl Serialize>,
    ) -> Result<T, ServerError> {
        let address = self.address(&method, path)?;
        let bytes = self.answer(method, path, query, body).await?;
        // What has no answer, such as a 204, is read as null.
        let bytes = if bytes.is_empty() { b"null".as_slice() } else { &bytes };
        serde_json::from_slice(bytes)
            .map_err(|error| ServerError::Odd { address, what: format!("with what can not be read ({error})") })
    }

    async fn answer(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, &str)],
        body: Option<&impl Serialize>,
    ) -> Result<Vec<u8>, ServerError> {
        let changes = method != Method::GET;
        let (address, request) = self.request(method.clone(), path)?;
        let request = request.query(query);
        let request = body.into_iter().fold(request, RequestBuilder::json);
        let failed = |error| ServerError::of_transport(address.clone(), changes, ANSWER_WITHIN.as_secs(), error);
        let mut response = request.send().await.map_err(failed)?;
        let status = response.status();
        if let Some(place) = response.headers().get("location").filter(|_| status.is_redirection()) {
            let place = place.to_str().unwrap_or("elsewhere").to_owned();
            return Err(ServerError::Odd {
                address,
                what: format!("with a redirect to {place}, which is not followed"),
            });
        }
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if bytes.len() + chunk.len() > ANSWER_BYTES_MAX {
                let what = format!("with more than {ANSWER_BYTES_MAX} bytes, which is not read");
                return Err(ServerError::Odd { address: address.clone(), what });
            }
            bytes.extend_from_slice(&chunk);
        }
        if status.is_success() {
            Ok(bytes)
        } else {
            Err(self.refusal(address.clone(), &method, status.as_u16(), path, &bytes))
        }
    }

    fn refusal(&self, address: String, method: &Method, status: u16, path: &[&str], body: &[u8]) -> ServerError {
        let takes = takes(method, path);
        ServerError::Refused { address, server: self.name().to_owned(), status, detail: detail_of(body), takes }
    }
}

/// Which role a request takes, for somebody who has it not.
fn takes(method: &Method, path: &[&str]) -> &'static str {
    let is_read = *method == Method::GET;
    match path.get(2).copied().unwrap_or_default() {
        "variables" | "connections" if is_read => "reading variables and connections takes the role Op",
        "pools" if is_read => "reading pools takes a role that reads all, such as Viewer",
        "variables" | "connections" | "pools" => "changing variables, connections and pools takes the role Op",
        _ if is_read => "your role may not read this",
        _ => "changing DAGs and runs takes the role User",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(root: &str) -> Server {
        Server::at(Url::parse(root).unwrap(), Auth::Nobody).unwrap()
    }

    #[test]
    fn names_are_one_step_of_the_path_whatever_they_hold() {
        let here = server("http://h/windlass/");
        let url = here.url(&here.api_path(&["variables", "a/b c?#%"])).unwrap();
        assert_eq!(url.as_str(), "http://h/windlass/api/v2/variables/a%2Fb%20c%3F%23%25");
        for step in ["", ".", ".."] {
            assert!(here.url(&["api", "v2", "dags", step]).is_err(), "{step:?} would name something else");
        }
    }

    #[test]
    fn a_list_ends_where_its_count_says_unless_that_was_ended() {
        let page = |text: &str| serde_json::from_str::<Page>(text).unwrap();
        assert!(page(r#"{"total_entries": 3}"#).ends_at(3));
        assert!(!page(r#"{"total_entries": 3}"#).ends_at(2));
        assert!(!page(r#"{"total_entries": 10000, "total_entries_limit": 10000}"#).ends_at(10_000));
        assert!(!page("{}").ends_at(1));
    }
}
