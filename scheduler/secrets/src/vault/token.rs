//! The token that opens Vault: had by a login or given, renewed before it ends, and replaced when it has ended.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::{Api, refusal};
use crate::{
    backend::{Failure, Secret},
    http::Answer,
    settings::{SecretSource, VaultAuth},
};

/// A token is renewed when so much of its time is left, as a part of it: a renewal that fails is tried again before the end.
const RENEWED_BEFORE: u32 = 3;
/// How often it is looked whether a token is due, at most and at least.
const LOOK_EVERY: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(60)];
/// What a renewal that failed waits for the next.
const RENEWED_AGAIN: Duration = Duration::from_secs(10);
/// A file holds a token or a secret id and nothing else.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// How tokens are had, and the one in use.
pub(super) struct Tokens {
    auth: VaultAuth,
    held: Mutex<Option<Token>>,
}

/// A token in use.
#[derive(Debug, Clone)]
struct Token {
    value: Secret,
    is_renewable: bool,
    /// When it is renewed, and when it ends; none when it does not end.
    times: Option<Times>,
}

#[derive(Debug, Clone, Copy)]
struct Times {
    renewal: Instant,
    end: Instant,
}

impl Token {
    fn of(value: Secret, secs: u64, is_renewable: bool) -> Self {
        let lasts = Duration::from_secs(secs);
        let now = Instant::now();
        let times = (secs > 0)
            .then(|| now.checked_add(lasts))
            .flatten()
            .map(|end| Times { renewal: end - lasts / RENEWED_BEFORE, end });
        Self { value, is_renewable, times }
    }

    fn is_due(&self) -> bool {
        self.times.is_some_and(|times| times.renewal <= Instant::now())
    }

    fn has_ended(&self) -> bool {
        self.times.is_some_and(|times| times.end <= Instant::now())
    }
}

impl Tokens {
    pub(super) fn new(auth: VaultAuth) -> Self {
        Self { auth, held: Mutex::default() }
    }

    /// A token that lives, as far as one can tell.
    pub(super) async fn get(&self, api: &Api) -> Result<Secret, Failure> {
        // Who waits here waits for the same login.
        let mut held = self.held.lock().await;
        if let Some(token) = held.as_ref().filter(|token| !token.is_due()) {
            return Ok(token.value.clone());
        }
        // It stays until there is another one: this may be given up half-way.
        let token = match held.clone() {
            Some(old) if old.is_renewable && !old.has_ended() => match renewed(api, &old).await {
                Ok(token) => token,
                Err(_) => self.after_no_renewal(api, old).await?,
            },
            Some(old) => self.after_no_renewal(api, old).await?,
            None => self.first(api).await?,
        };
        Ok(held.insert(token).value.clone())
    }

    /// What is used when a token can not be renewed: the next one, or the same while it lasts.
    async fn after_no_renewal(&self, api: &Api, old: Token) -> Result<Token, Failure> {
        let next = self.first(api).await;
        match (next, old.times) {
            (Err(_), Some(times)) if !old.has_ended() => {
                Ok(Token { times: Some(Times { renewal: Instant::now() + RENEWED_AGAIN, ..times }), ..old })
            }
            (next, _) => next,
        }
    }

    /// A token by login, or the one that is given.
    async fn first(&self, api: &Api) -> Result<Token, Failure> {
        match &self.auth {
            VaultAuth::Token(source) => {
                let value = read(source, "WINDLASS_SECRETS_VAULT_TOKEN_FILE").await?;
                let answer = api.call(Method::GET, &["auth", "token", "lookup-self"], Some(&value), None).await?;
                let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
                // A token whose policy does not let it look at itself may be good for what it is needed for.
                let data = if answer.status == 200 { &body["data"] } else { &Value::Null };
                Ok(Token::of(value, data["ttl"].as_u64().unwrap_or(0), data["renewable"] == true))
            }
            VaultAuth::AppRole { mount_point, role_id, secret_id } => {
                let mut body = json!({ "role_id": role_id });
                if let Some(source) = secret_id {
                    body["secret_id"] = read(source, "WINDLASS_SECRETS_VAULT_SECRET_ID_FILE").await?.0.into();
                }
                log_in(api, mount_point, body).await
            }
            VaultAuth::Kubernetes { mount_point, role, jwt_file } => {
                let source = SecretSource::File(jwt_file.clone());
                let jwt = read(&source, "WINDLASS_SECRETS_VAULT_KUBERNETES_JWT_FILE").await?;
                log_in(api, mount_point, json!({ "role": role, "jwt": jwt.0 })).await
            }
        }
    }

    /// Whether Vault does not know a token any more that it refused; it is not used again then.
    pub(super) async fn is_dead(&self, api: &Api, token: &Secret) -> Result<bool, Failure> {
        let answer = api.call(Method::GET, &["auth", "token", "lookup-self"], Some(token), None).await?;
        let is_dead = answer.status == 403;
        if is_dead {
            let mut held = self.held.lock().await;
            if held.as_ref().is_some_and(|held| held.value == *token) {
                *held = None;
            }
        }
        Ok(is_dead)
    }

    /// Renews the token in time while nobody asks for anything, too.
    pub(super) async fn keep(&self, api: &Api, name: &str) {
        let mut is_well = true;
        loop {
            match self.get(api).await {
                Ok(_) => is_well = true,
                Err(failure) => {
                    if std::mem::replace(&mut is_well, false) {
                        tracing::warn!("{name}: there is no token now: {}", failure.what);
                    }
                }
            }
            let due = self.held.lock().await.as_ref().and_then(|token| token.times).map(|times| times.renewal);
            let wait = due.map_or(LOOK_EVERY[1], |due| due.saturating_duration_since(Instant::now()));
            tokio::time::sleep(wait.clamp(LOOK_EVERY[0], LOOK_EVERY[1])).await;
        }
    }
}

async fn log_in(api: &Api, mount_point: &str, body: Value) -> Result<Token, Failure> {
    let segments: Vec<&str> =
        ["auth"].into_iter().chain(mount_point.split('/').filter(|part| !part.is_empty())).chain(["login"]).collect();
    let answer = api.call(Method::POST, &segments, None, Some(body)).await?;
    token_of(&answer).map_err(|failure| Failure {
        what: format!("the login at {} failed: {}", segments.join("/"), failure.what),
        ..failure
    })
}

async fn renewed(api: &Api, old: &Token) -> Result<Token, Failure> {
    let segments = ["auth", "token", "renew-self"];
    let answer = api.call(Method::POST, &segments, Some(&old.value), Some(json!({}))).await?;
    let token = token_of(&answer)?;
    // Near its longest life a renewal gives less and less: then a new one is better than this one.
    if token.times.is_some_and(|times| times.end <= old.times.map_or(times.end, |old| old.end)) {
        return Err(Failure::lasting("the token can not be renewed any further"));
    }
    Ok(token)
}

/// The token of an answer.
fn token_of(answer: &Answer) -> Result<Token, Failure> {
    if answer.status != 200 {
        return Err(refusal(answer));
    }
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let auth = &body["auth"];
    let value = auth["client_token"].as_str().ok_or_else(|| Failure::lasting("its answer holds no token"))?;
    let secs = auth["lease_duration"].as_u64().unwrap_or(0);
    Ok(Token::of(Secret(value.to_owned()), secs, auth["renewable"] == true))
}

/// A given secret, or what its file holds now.
async fn read(source: &SecretSource, setting: &str) -> Result<Secret, Failure> {
    match source {
        SecretSource::Given(secret) => Ok(secret.clone()),
        SecretSource::File(path) => {
            let path = path.clone();
            let told = format!("{setting}, {}", path.display());
            let read = tokio::task::spawn_blocking(move || text_of_file(&path)).await;
            let text = read.unwrap_or_else(|panic| Err(panic.to_string()));
            text.map(Secret).map_err(|why| Failure::lasting(format!("{told}: {why}")))
        }
    }
}

/// What a file of one secret holds, without space around it.
pub(crate) fn text_of_file(path: &Path) -> Result<String, String> {
    match fs::metadata(path) {
        Ok(metadata) if !metadata.is_file() || metadata.len() > FILE_BYTES_MAX => {
            return Err(format!("it is no file of at most {FILE_BYTES_MAX} bytes"));
        }
        Ok(_) => {}
        Err(error) => return Err(error.to_string()),
    }
    let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
    let text = text.trim();
    if text.is_empty() { Err("it is empty".to_owned()) } else { Ok(text.to_owned()) }
}
