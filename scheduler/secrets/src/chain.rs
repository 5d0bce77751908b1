//! The chain: who is asked, in which order, how often at once, and for how long an answer is kept.
//!
//! One question for a name is under way at a time; who asks for it meanwhile waits for the same answer. Answers are kept for a
//! short time, and that nobody knows a name for a shorter one, so that a secret that has just been made is found. Errors are
//! not kept, but a backend that has just failed several times is left alone for a moment: tasks that ask it then are told why at
//! once, and none waits behind calls that fail.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use futures::future::join_all;
use moka::{Expiry, future::Cache};
use store::secrets::{Connection, Kind, uri};
use tokio::sync::Semaphore;

use crate::{
    aws::SecretsManager,
    backend::{Backend, BackendError, Failure, Secret},
    files::Files,
    settings::{BackendSettings, Settings, SettingsError},
    vault::Vault,
};

/// Calls to one backend that are under way at once; more wait.
const CALLS_AT_ONCE: usize = 8;
/// How long a question waits for its turn.
const ROOM_WITHIN: Duration = Duration::from_secs(10);
/// How often a call is made that fails in a way that may pass, and what is waited in between.
const PAUSES: [Duration; 2] = [Duration::from_millis(200), Duration::from_millis(800)];
/// How long a backend that has failed so often is not asked again.
const LEFT_ALONE: Duration = Duration::from_secs(3);
/// How long it is remembered at most that nobody knows a name.
const UNKNOWN_KEPT_MAX: Duration = Duration::from_secs(10);
/// What the answers that are kept may have in all, in bytes.
const KEPT_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// What an answer costs beside its texts.
const ENTRY_BYTES: usize = 256;

/// A name that no installation has, for a look whether a backend answers.
const NOBODY: &str = "windlass-doctor";

type Name = (Kind, String);
type Answer = Option<Arc<Found>>;

/// What was found.
struct Found {
    text: Secret,
    /// Which backend knew it, and where.
    backend: String,
    place: String,
}

/// The backends of an installation, in the order in which they are asked.
pub struct Backends {
    steps: Vec<Step>,
    kept: Option<Cache<Name, Answer>>,
}

impl std::fmt::Debug for Backends {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}

impl Default for Backends {
    /// None at all.
    fn default() -> Self {
        Self { steps: Vec::new(), kept: None }
    }
}

/// One backend and how it stands.
struct Step {
    backend: Box<dyn Backend>,
    call_within: Duration,
    room: Semaphore,
    /// When it failed, and how.
    failed: Mutex<Option<(Instant, Failure)>>,
}

/// How long answers are kept.
struct Ages {
    known: Duration,
    unknown: Duration,
}

impl Expiry<Name, Answer> for Ages {
    fn expire_after_create(&self, _: &Name, answer: &Answer, _: Instant) -> Option<Duration> {
        Some(if answer.is_some() { self.known } else { self.unknown })
    }
}

impl Backends {
    /// The backends of these settings. None is asked anything yet.
    ///
    /// # Errors
    /// Which setting names something that can not be used, such as a file of certificates.
    pub fn open(settings: &Settings) -> Result<Self, SettingsError> {
        let steps = settings.backends.iter().map(|one| {
            let backend: Box<dyn Backend> = match one {
                BackendSettings::Files(files) => Box::new(Files::new(files.clone())),
                BackendSettings::Vault(vault) => Box::new(Vault::new(vault.clone())?),
                BackendSettings::Aws(aws) => Box::new(SecretsManager::new(aws.clone())?),
            };
            Ok(Step::new(backend, settings.call_within))
        });
        Ok(Self::of(steps.collect::<Result<_, SettingsError>>()?, settings.keep))
    }

    fn of(steps: Vec<Step>, keep: Duration) -> Self {
        let kept = (!keep.is_zero() && !steps.is_empty()).then(|| {
            Cache::builder()
                .weigher(|(_, id): &Name, answer: &Answer| {
                    let text =
                        answer.as_ref().map_or(0, |found| found.text.0.len() + found.backend.len() + found.place.len());
                    u32::try_from(ENTRY_BYTES + id.len() + text).unwrap_or(u32::MAX)
                })
                .max_capacity(KEPT_BYTES_MAX)
                .expire_after(Ages { known: keep, unknown: keep.min(UNKNOWN_KEPT_MAX) })
                .build()
        });
        Self { steps, kept }
    }

    /// What they are and where, in their order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.steps.iter().map(|step| step.backend.name())
    }

    /// Where something is looked for, in order.
    #[must_use]
    pub fn places(&self, kind: Kind, id: &str) -> Vec<String> {
        let place = |step: &Step| Some(format!("{}, {}", step.backend.name(), step.backend.place(kind, id)?));
        self.steps.iter().filter_map(place).collect()
    }

    /// A connection; none when no backend knows it.
    ///
    /// # Errors
    /// The backend that could not answer, or whose answer is no connection.
    pub async fn connection(&self, conn_id: &str) -> Result<Option<Connection>, BackendError> {
        let Some(found) = self.ask(Kind::Connection, conn_id).await? else { return Ok(None) };
        uri::parse(conn_id, &found.text.0).map(Some).map_err(|why| BackendError {
            backend: found.backend.clone(),
            place: found.place.clone(),
            what: format!("what lies there is not a connection: {why}"),
        })
    }

    /// A variable's value; none when no backend knows it.
    ///
    /// # Errors
    /// The backend that could not answer.
    pub async fn variable(&self, key: &str) -> Result<Option<String>, BackendError> {
        Ok(self.ask(Kind::Variable, key).await?.map(|found| found.text.0.clone()))
    }

    async fn ask(&self, kind: Kind, id: &str) -> Result<Answer, BackendError> {
        let Some(kept) = &self.kept else { return self.ask_all(kind, id).await };
        let asked = kept.try_get_with((kind, id.to_owned()), self.ask_all(kind, id)).await;
        asked.map_err(|error| BackendError::clone(&error))
    }

    async fn ask_all(&self, kind: Kind, id: &str) -> Result<Answer, BackendError> {
        for step in &self.steps {
            let Some(place) = step.backend.place(kind, id) else { continue };
            let backend = step.backend.name().to_owned();
            match step.ask(kind, id).await {
                Ok(Some(text)) => return Ok(Some(Arc::new(Found { text, backend, place }))),
                Ok(None) => {}
                Err(failure) => return Err(BackendError { backend, place, what: failure.what }),
            }
        }
        Ok(None)
    }

    /// Keeps the backends' own credentials from running out, until it is dropped.
    pub async fn keep(&self) {
        join_all(self.steps.iter().map(|step| step.backend.keep())).await;
    }

    /// Whether each backend answers, by asking it for a name that nobody has.
    pub async fn look(&self) -> Vec<(String, Result<(), String>)> {
        let looks = self.steps.iter().map(async |step| {
            let kinds = [Kind::Connection, Kind::Variable];
            let asked = kinds.into_iter().find(|kind| step.backend.place(*kind, NOBODY).is_some());
            let seen = match asked {
                Some(kind) => step.ask(kind, NOBODY).await.map(drop).map_err(|failure| failure.what),
                None => Ok(()),
            };
            (step.backend.name().to_owned(), seen)
        });
        join_all(looks).await
    }
}

impl Step {
    fn new(backend: Box<dyn Backend>, call_within: Duration) -> Self {
        Self { backend, call_within, room: Semaphore::new(CALLS_AT_ONCE), failed: Mutex::default() }
    }

    async fn ask(&self, kind: Kind, id: &str) -> Result<Option<Secret>, Failure> {
        let permit = tokio::time::timeout(ROOM_WITHIN, self.room.acquire()).await;
        let Ok(Ok(_permit)) = permit else {
            let secs = ROOM_WITHIN.as_secs();
            return Err(Failure::lasting(format!(
                "{CALLS_AT_ONCE} calls were under way, and none ended within {secs} s"
            )));
        };
        if let Some(failure) = self.just_failed() {
            return Err(failure);
        }
        let mut pauses = PAUSES.into_iter();
        loop {
            let call = tokio::time::timeout(self.call_within, self.backend.read(kind, id));
            let answer = call.await.unwrap_or_else(|_| {
                Err(Failure::passing(format!("no answer within {} s", self.call_within.as_secs_f64())))
            });
            let failure = match answer {
                Err(failure) if failure.passes => failure,
                other => return other,
            };
            let Some(pause) = pauses.next() else {
                *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), failure.clone()));
                return Err(failure);
            };
            tokio::time::sleep(pause).await;
        }
    }

    fn just_failed(&self) -> Option<Failure> {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.as_ref().filter(|(at, _)| at.elapsed() < LEFT_ALONE).map(|(_, failure)| failure.clone())
    }
}
