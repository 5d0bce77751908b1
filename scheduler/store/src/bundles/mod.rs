//! Bundles of DAG files and their revisions.
//!
//! A revision never changes once it is stored, and it is stored with all of its files in the transaction that brings it into force:
//! nobody ever sees a half of one. Which revision is in force is one column of one row, so that all schedulers agree on it. What
//! tasks run with lies in the versions of their DAGs: no revision is needed for that, and old ones go by number and age.

mod polls;
mod sweep;

use chrono::DateTime;
use dag::{
    Content,
    content::{ContentError, Entry},
};
use model::{BundleName, DagRunState, Epoch, Timestamp};
use serde_json::json;
use sqlx::{PgConnection, PgPool};

use crate::{
    audit::{self, Actor},
    error::{Doing, StoreError},
    hints::notify_inbox,
    texts,
    versions::fence,
};

pub use polls::{Head, Poll, ask_poll, configure, heads, polled};
pub(crate) use sweep::sweep;

/// So many bundles are taken: each is read as a whole by the leader, and kept in its memory.
pub const BUNDLES_MAX: i64 = 100;
/// The shortest beginning of a revision that names one.
const PREFIX_CHARS_MIN: usize = 6;
/// Held by who stores a revision, shared, and by who deletes files that nobody refers to, alone: without it a file that a revision
/// is about to refer to could go.
pub(crate) const FILES_LOCK: i64 = 0x6275_6e64_6c65;
const DOING: &str = "storing a revision of a bundle";

/// Where the revisions of a bundle come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The leader fetches them from a git repository.
    Git,
    /// People push them.
    Pushed,
}

impl Kind {
    /// Its word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Git => "git",
            Self::Pushed => "pushed",
        }
    }

    pub(crate) fn of(word: &str) -> Result<Self, StoreError> {
        [Self::Git, Self::Pushed].into_iter().find(|kind| kind.name() == word).ok_or_else(|| StoreError::Corrupt {
            what: format!("{word:?} is no kind of a bundle that this version knows"),
        })
    }
}

/// Who wrote a revision, and what they say of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Authorship {
    /// Its author, as git has it or as they call themselves.
    pub author: Option<String>,
    /// What it is about.
    pub message: Option<String>,
    /// When it was written, where that is known.
    pub at: Option<Timestamp>,
}

/// A revision that is to come into force.
#[derive(Debug)]
pub struct NewRevision<'a> {
    /// Of which bundle.
    pub bundle: &'a BundleName,
    /// Its name: a commit, or the hash of its content.
    pub revision: &'a str,
    /// Who wrote it.
    pub authorship: &'a Authorship,
    /// Its files.
    pub content: &'a Content,
}

/// What came of a change of the revision in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InForce {
    /// The revision that is in force now.
    pub revision: String,
    /// Whether another one was before.
    pub has_changed: bool,
}

/// A bundle's row, locked.
struct Locked {
    current: Option<i64>,
    passed_over: Option<String>,
}

/// Puts what somebody has pushed into force, with a line in the audit log. A bundle of a new name is made. The same content as is in
/// force already changes nothing.
///
/// # Errors
/// [`StoreError::Refused`] when the name is taken by another kind of bundle or there are too many; [`StoreError::Unreachable`],
/// [`StoreError::Database`].
pub async fn deploy(pool: &PgPool, who: Actor<'_>, new: &NewRevision<'_>) -> Result<InForce, StoreError> {
    if new.bundle.is_folder() {
        let reason =
            format!("{} is the DAG folder of the schedulers: put files there, or deploy to another name", new.bundle);
        return Err(StoreError::Refused { reason });
    }
    let mut transaction = pool.begin().await.doing(DOING)?;
    let bundle = lock(&mut transaction, new.bundle, Kind::Pushed).await?;
    let done = put(&mut transaction, who, new, bundle.current).await?;
    if done.has_changed {
        let details = json!({
            "bundle_name": new.bundle, "bundle_version": new.revision, "message": new.authorship.message,
            "files": new.content.len(), "bytes": new.content.bytes(),
        });
        audit::record(&mut *transaction, who, "deploy_bundle", &details).await?;
    }
    transaction.commit().await.doing(DOING)?;
    tell(pool).await;
    Ok(done)
}

/// Puts what the leader has fetched into force.
///
/// # Errors
/// [`StoreError::Deposed`], [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn fetched(pool: &PgPool, epoch: Epoch, new: &NewRevision<'_>) -> Result<InForce, StoreError> {
    let mut transaction = pool.begin().await.doing(DOING)?;
    fence(&mut transaction, epoch).await?;
    let bundle = lock(&mut transaction, new.bundle, Kind::Git).await?;
    let done = put(&mut transaction, Actor::from("windlass"), new, bundle.current).await?;
    sqlx::query!(
        "UPDATE bundle SET passed_over = NULL, polled_at = now(), poll_failures = 0, poll_error = NULL WHERE name = $1",
        new.bundle.as_str()
    )
    .execute(&mut *transaction)
    .await
    .doing(DOING)?;
    transaction.commit().await.doing(DOING)?;
    Ok(done)
}

/// Brings a revision that is still kept into force again, named whole or by its beginning. A bundle of git stays there until its
/// branch has a commit other than the one that was left.
///
/// # Errors
/// [`StoreError::Refused`] when there is no such bundle or revision, or several that begin so; [`StoreError::Unreachable`],
/// [`StoreError::Database`].
pub async fn rollback(pool: &PgPool, who: Actor<'_>, name: &BundleName, revision: &str) -> Result<InForce, StoreError> {
    const DOING: &str = "rolling a bundle back";
    let mut transaction = pool.begin().await.doing(DOING)?;
    let kind = sqlx::query_scalar!("SELECT kind FROM bundle WHERE name = $1 AND is_active", name.as_str());
    let kind = kind.fetch_optional(&mut *transaction).await.doing(DOING)?;
    let kind = Kind::of(&kind.ok_or_else(|| no_bundle(name))?)?;
    let bundle = lock(&mut transaction, name, kind).await?;
    let (id, revision) = named(&mut transaction, name, revision).await?;
    if bundle.current == Some(id) {
        return Ok(InForce { revision, has_changed: false });
    }
    let left = sqlx::query_scalar!("SELECT revision FROM bundle_revision WHERE id = $1", bundle.current);
    let left = left.fetch_optional(&mut *transaction).await.doing(DOING)?;
    let passed_over = match kind {
        Kind::Git => bundle.passed_over.or_else(|| left.clone()).filter(|over| *over != revision),
        Kind::Pushed => None,
    };
    sqlx::query!(
        "UPDATE bundle SET current_revision = $2, current_since = now(), passed_over = $3 WHERE name = $1",
        name.as_str(),
        id,
        passed_over
    )
    .execute(&mut *transaction)
    .await
    .doing(DOING)?;
    let details = json!({ "bundle_name": name, "bundle_version": revision, "before": left });
    audit::record(&mut *transaction, who, "rollback_bundle", &details).await?;
    transaction.commit().await.doing(DOING)?;
    tell(pool).await;
    Ok(InForce { revision, has_changed: true })
}

/// What came of a wish to delete a bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deleted {
    /// It is gone, with its revisions. Its DAGs go when the leader has heard of it, as those of a file that is deleted.
    Done,
    /// There is none of this name.
    Missing,
    /// Runs of its DAGs are running; some of them, by DAG and run.
    Busy(Vec<String>),
}

/// So many runs that are in the way are named.
const BUSY_SHOWN_MAX: i64 = 5;

/// Deletes a bundle that people push, with all of its revisions, and a line in the audit log. A run of one of its DAGs that begins
/// at this very moment keeps the files of its version.
///
/// # Errors
/// [`StoreError::Refused`] for the DAG folder and for a bundle of git, which the settings name; [`StoreError::Unreachable`],
/// [`StoreError::Database`].
pub async fn delete(pool: &PgPool, who: Actor<'_>, name: &BundleName) -> Result<Deleted, StoreError> {
    const DOING: &str = "deleting a bundle";
    if name.is_folder() {
        return Err(StoreError::Refused {
            reason: format!("{name} is the DAG folder of the schedulers: delete files there"),
        });
    }
    let mut transaction = pool.begin().await.doing(DOING)?;
    let row = sqlx::query!("SELECT kind, is_active FROM bundle WHERE name = $1 FOR UPDATE", name.as_str());
    let Some(row) = row.fetch_optional(&mut *transaction).await.doing(DOING)? else { return Ok(Deleted::Missing) };
    // One of git that the settings name no more is left over.
    if Kind::of(&row.kind)? == Kind::Git && row.is_active {
        let reason =
            format!("bundle {name} comes from git: take it out of WINDLASS_DAG_BUNDLES, and restart the schedulers");
        return Err(StoreError::Refused { reason });
    }
    let busy = sqlx::query!(
        "SELECT r.dag_id, r.run_id FROM dag_run r JOIN dag d ON d.dag_id = r.dag_id
         WHERE d.bundle_name = $1 AND r.state = $2 ORDER BY r.run_after LIMIT $3",
        name.as_str(),
        DagRunState::Running.code(),
        BUSY_SHOWN_MAX
    );
    let busy = busy.fetch_all(&mut *transaction).await.doing(DOING)?;
    if !busy.is_empty() {
        return Ok(Deleted::Busy(busy.into_iter().map(|run| format!("{} of {}", run.run_id, run.dag_id)).collect()));
    }
    sqlx::query!("DELETE FROM bundle WHERE name = $1", name.as_str()).execute(&mut *transaction).await.doing(DOING)?;
    audit::record(&mut *transaction, who, "delete_bundle", &json!({ "bundle_name": name })).await?;
    transaction.commit().await.doing(DOING)?;
    tell(pool).await;
    Ok(Deleted::Done)
}

/// The content of a stored revision; none when it has been cleaned away meanwhile.
///
/// # Errors
/// [`StoreError::Corrupt`] when a file of it is missing or can not be; [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn content(pool: &PgPool, revision: i64) -> Result<Option<Content>, StoreError> {
    const DOING: &str = "reading a revision of a bundle";
    let rows = sqlx::query!(
        r#"SELECT r.file_count, f.name AS "name?", f.byte_count AS "byte_count?", f.problem, b.bytes AS "bytes?"
           FROM bundle_revision r LEFT JOIN bundle_file f ON f.revision_id = r.id LEFT JOIN blob b ON b.sha256 = f.sha256
           WHERE r.id = $1"#,
        revision
    );
    let rows = rows.fetch_all(pool).await.doing(DOING)?;
    let Some(count) = rows.first().map(|row| row.file_count) else { return Ok(None) };
    let mut content = Content::default();
    for row in rows {
        let Some(name) = row.name else { continue };
        let taken = match (row.bytes, row.problem) {
            (Some(bytes), _) => content.add(&name, &bytes),
            (None, Some(why)) => content.note(&name, row.byte_count.unwrap_or(0).unsigned_abs(), why),
            (None, None) => {
                return Err(StoreError::Corrupt { what: format!("file {name} of revision {revision} has no bytes") });
            }
        };
        taken.map_err(|error| StoreError::Corrupt { what: format!("revision {revision}: {error}") })?;
    }
    if i32::try_from(content.len()) != Ok(count) {
        let what = format!("revision {revision} has {} files and should have {count}", content.len());
        return Err(StoreError::Corrupt { what });
    }
    Ok(Some(content))
}

/// What is refused of a content, for who sends one.
impl From<ContentError> for StoreError {
    fn from(error: ContentError) -> Self {
        Self::Refused { reason: error.to_string() }
    }
}

fn no_bundle(name: &BundleName) -> StoreError {
    StoreError::Refused {
        reason: format!("there is no bundle {name} with revisions; `windlass dags bundles` lists them"),
    }
}

/// Locks a bundle's row, which is made when there is none. Files are safe from deletion until the transaction has ended.
async fn lock(transaction: &mut PgConnection, name: &BundleName, kind: Kind) -> Result<Locked, StoreError> {
    // All of a revision is sent in a few statements; a web server's own limit is for pages.
    sqlx::query("SET LOCAL statement_timeout = '30s'").execute(&mut *transaction).await.doing(DOING)?;
    sqlx::query!("SELECT pg_advisory_xact_lock_shared($1)", FILES_LOCK)
        .execute(&mut *transaction)
        .await
        .doing(DOING)?;
    let made = sqlx::query!(
        "INSERT INTO bundle (name, kind) SELECT $1, $2 WHERE (SELECT count(*) FROM bundle) < $3 ON CONFLICT DO NOTHING",
        name.as_str(),
        kind.name(),
        BUNDLES_MAX
    );
    made.execute(&mut *transaction).await.doing(DOING)?;
    let row = sqlx::query!(
        "SELECT kind, is_active, current_revision, passed_over FROM bundle WHERE name = $1 FOR UPDATE",
        name.as_str()
    );
    let row = row.fetch_optional(transaction).await.doing(DOING)?.ok_or_else(|| StoreError::Refused {
        reason: format!("there are {BUNDLES_MAX} bundles already, as many as are taken; deploy to one of them"),
    })?;
    let found = Kind::of(&row.kind)?;
    if found != kind {
        let how = match found {
            Kind::Git => "comes from git: push a commit there, or deploy to another name",
            Kind::Pushed => "is pushed by people: give the one from git another name",
        };
        return Err(StoreError::Refused { reason: format!("bundle {name} {how}") });
    }
    Ok(Locked { current: row.current_revision, passed_over: row.passed_over })
}

/// Stores a revision unless it is there, and brings it into force.
async fn put(
    transaction: &mut PgConnection,
    who: Actor<'_>,
    new: &NewRevision<'_>,
    current: Option<i64>,
) -> Result<InForce, StoreError> {
    let known = sqlx::query_scalar!(
        "SELECT id FROM bundle_revision WHERE bundle_name = $1 AND revision = $2",
        new.bundle.as_str(),
        new.revision
    );
    let id = match known.fetch_optional(&mut *transaction).await.doing(DOING)? {
        Some(id) => id,
        None => store(transaction, who, new).await?,
    };
    if current == Some(id) {
        return Ok(InForce { revision: new.revision.to_owned(), has_changed: false });
    }
    sqlx::query!(
        "UPDATE bundle SET current_revision = $2, current_since = now(), is_active = true WHERE name = $1",
        new.bundle.as_str(),
        id
    )
    .execute(transaction)
    .await
    .doing(DOING)?;
    Ok(InForce { revision: new.revision.to_owned(), has_changed: true })
}

async fn store(transaction: &mut PgConnection, who: Actor<'_>, new: &NewRevision<'_>) -> Result<i64, StoreError> {
    let Authorship { author, message, at } = new.authorship;
    let id = sqlx::query_scalar!(
        "INSERT INTO bundle_revision (bundle_name, revision, author, message, authored_at, made_by, address, door, file_count,
                                      byte_count)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) RETURNING id",
        new.bundle.as_str(),
        new.revision,
        author.as_deref().map(texts::reason),
        message.as_deref().map(texts::reason),
        at.filter(|at| *at > DateTime::UNIX_EPOCH),
        texts::reason(who.name),
        who.address(),
        who.door(),
        i32::try_from(new.content.len()).unwrap_or(i32::MAX),
        i64::try_from(new.content.bytes()).unwrap_or(i64::MAX)
    );
    let id = id.fetch_one(&mut *transaction).await.doing(DOING)?;
    store_files(transaction, id, new.content).await?;
    Ok(id)
}

async fn store_files(transaction: &mut PgConnection, id: i64, content: &Content) -> Result<(), StoreError> {
    let mut blobs = std::collections::BTreeMap::new();
    let (mut names, mut hashes, mut sizes, mut problems) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (name, entry) in content.entries() {
        let (hash, size, problem) = match entry {
            Entry::File(file) => {
                let hash = hex::decode(&file.sha256).unwrap_or_default();
                blobs.insert(hash.clone(), &*file.bytes);
                (Some(hash), file.bytes.len() as u64, None)
            }
            Entry::Problem { bytes, why } => (None, *bytes, Some(texts::reason(why))),
        };
        names.push(name.to_owned());
        hashes.push(hash);
        sizes.push(i64::try_from(size).unwrap_or(i64::MAX));
        problems.push(problem);
    }
    let (keys, bytes): (Vec<Vec<u8>>, Vec<&[u8]>) = blobs.into_iter().unzip();
    let add = sqlx::query!(
        "INSERT INTO blob (sha256, bytes) SELECT * FROM unnest($1::bytea[], $2::bytea[]) ON CONFLICT DO NOTHING",
        &keys,
        &bytes as &[&[u8]]
    );
    add.execute(&mut *transaction).await.doing(DOING)?;
    let add = sqlx::query!(
        "INSERT INTO bundle_file (revision_id, name, sha256, byte_count, problem)
         SELECT $1, * FROM unnest($2::text[], $3::bytea[], $4::bigint[], $5::text[])",
        id,
        &names,
        &hashes as &[Option<Vec<u8>>],
        &sizes,
        &problems as &[Option<String>]
    );
    add.execute(transaction).await.map(drop).doing(DOING)
}

/// The one revision of a bundle that has this name, or begins so.
async fn named(transaction: &mut PgConnection, name: &BundleName, given: &str) -> Result<(i64, String), StoreError> {
    let refused = |reason| Err(StoreError::Refused { reason });
    if given.len() < PREFIX_CHARS_MIN || given.contains('\0') {
        return refused(format!(
            "{given:?} names no revision: give it whole, or its first {PREFIX_CHARS_MIN} characters"
        ));
    }
    let rows = sqlx::query!(
        "SELECT id, revision FROM bundle_revision WHERE bundle_name = $1 AND starts_with(revision, $2)
         ORDER BY revision <> $2, id DESC LIMIT 2",
        name.as_str(),
        given
    );
    let mut rows = rows.fetch_all(transaction).await.doing("looking for a revision")?;
    match rows.len() {
        0 => refused(format!(
            "bundle {name} has no revision {given} that is still kept; `windlass dags revisions {name}` lists them"
        )),
        2 if rows[0].revision != given => refused(format!("several revisions of bundle {name} begin with {given}")),
        _ => {
            let row = rows.swap_remove(0);
            Ok((row.id, row.revision))
        }
    }
}

/// Tells the leader, which else finds it within some seconds.
async fn tell(pool: &PgPool) {
    if let Err(error) = notify_inbox(pool).await {
        tracing::debug!(%error, "the leader will find the revision by itself");
    }
}
