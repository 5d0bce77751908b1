//! Quarantine: what the leader could not take in, so that it stops nothing else.
//!
//! A failure is counted by the kind and key of what failed. After [`FAILURES_MAX`] it is held: the leader goes on without
//! it until a person releases it, and then tries it again. Commands are held in the inbox, where their senders left them.

use std::collections::BTreeSet;

use model::{CommandId, Epoch, Timestamp};
use serde_json::{Value, json};
use sqlx::{PgConnection, PgPool};

use crate::{
    audit::{self, Actor},
    connect::Writer,
    error::{Doing, StoreError},
    hints::notify_inbox,
    limit::statement,
    texts,
};

/// So many failures hold what failed. One may have had another reason.
pub const FAILURES_MAX: i32 = 3;
/// So many entries are kept and read; the oldest beyond it are forgotten, as nobody looks at that many.
const ENTRIES_MAX: i64 = 10_000;

/// What can be held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A command; its key is its number in the inbox.
    Command,
    /// What a worker reports of an attempt; its key names both.
    Report,
    /// A worker that says Hello, or is lost.
    Worker,
    /// A DAG version; its key is its number.
    Version,
    /// A DAG whose file is gone.
    Dag,
    /// A DagRun that this version can not read; its key is its number.
    Run,
    /// What the DAG folder says of a DAG; its key is the number of the version, or the DAG's id and that it is gone.
    Definition,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Command, Self::Report, Self::Worker, Self::Version, Self::Dag, Self::Run, Self::Definition];

    /// Its word in the database, in URLs and on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Command => "command",
            Self::Report => "report",
            Self::Worker => "worker",
            Self::Version => "version",
            Self::Dag => "dag",
            Self::Run => "run",
            Self::Definition => "definition",
        }
    }

    /// The kind of a word; none when a newer version has written it.
    #[must_use]
    pub fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == word)
    }
}

/// One thing, by its kind and key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Subject {
    /// Its kind.
    pub kind: Kind,
    /// Which one.
    pub key: String,
}

impl Subject {
    /// The thing of that kind and key.
    #[must_use]
    pub fn new(kind: Kind, key: impl ToString) -> Self {
        Self { kind, key: key.to_string() }
    }
}

/// The id by which people name it: `kind:key`.
impl std::fmt::Display for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.kind.name(), self.key)
    }
}

impl std::str::FromStr for Subject {
    type Err = StoreError;

    fn from_str(id: &str) -> Result<Self, StoreError> {
        let parts = id.split_once(':').filter(|(_, key)| !key.contains('\0'));
        let subject = parts.and_then(|(kind, key)| Some(Self::new(Kind::of(kind)?, key)));
        subject.ok_or_else(|| StoreError::Refused {
            reason: format!("{id:?} is no id of the quarantine; `windlass quarantine list` shows them"),
        })
    }
}

/// Whether something is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It has failed, and is tried again.
    Counted,
    /// It is held until a person releases it.
    Held,
}

/// Something that is held, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its id, which releases it.
    pub id: String,
    /// The word of its kind.
    pub kind: String,
    /// Which one.
    pub key: String,
    /// Why it is held.
    pub reason: String,
    /// How often it has failed.
    pub failures: i32,
    /// When it failed first.
    pub first_at: Timestamp,
    /// When it failed last.
    pub last_at: Timestamp,
}

/// Something that a person has released, for the leader.
#[derive(Debug, Clone, PartialEq)]
pub struct Released {
    /// What.
    pub subject: Subject,
    /// What it brought.
    pub content: Option<Value>,
}

/// Counts a failure of something and holds it when they are [`FAILURES_MAX`].
///
/// # Errors
/// [`StoreError::Deposed`], [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn count(
    writer: &mut Writer,
    epoch: Epoch,
    subject: &Subject,
    reason: &str,
    content: Option<&Value>,
) -> Result<Standing, StoreError> {
    const DOING: &str = "counting a failure";
    let row = statement(
        DOING,
        sqlx::query_file!(
            "queries/quarantine_count.sql",
            epoch.get(),
            subject.kind.name(),
            texts::reason(&subject.key),
            texts::reason(reason),
            content.map(Value::to_string),
            FAILURES_MAX
        )
        .fetch_one(writer.connection()),
    )
    .await?;
    Ok(if row.is_held { Standing::Held } else { Standing::Counted })
}

/// What is held, for a leader that begins. Kinds of a newer version are nothing that it could bring.
///
/// # Errors
/// [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn held(connection: &mut PgConnection) -> Result<BTreeSet<Subject>, StoreError> {
    const DOING: &str = "reading the quarantine";
    let rows = statement(DOING, sqlx::query!(
            "SELECT kind, key FROM quarantine WHERE held_at IS NOT NULL AND released_at IS NULL ORDER BY id DESC LIMIT $1",
            ENTRIES_MAX
        )
        .fetch_all(connection)).await?;
    Ok(rows.into_iter().filter_map(|row| Some(Subject { kind: Kind::of(&row.kind)?, key: row.key })).collect())
}

/// How much is held, commands included.
///
/// # Errors
/// [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn held_count(connection: &mut PgConnection) -> Result<u64, StoreError> {
    const DOING: &str = "counting the quarantine";
    let count = statement(
        DOING,
        sqlx::query_scalar!(
            r#"SELECT (SELECT count(*) FROM quarantine WHERE held_at IS NOT NULL AND released_at IS NULL)
                    + (SELECT count(*) FROM inbox WHERE dead_because IS NOT NULL) AS "count!""#
        )
        .fetch_one(connection),
    )
    .await?;
    Ok(u64::try_from(count).unwrap_or(0))
}

/// Takes what people have released, each once.
///
/// # Errors
/// [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn take_released(writer: &mut Writer, epoch: Epoch) -> Result<Vec<Released>, StoreError> {
    const DOING: &str = "reading what is released from quarantine";
    let rows = statement(
        DOING,
        sqlx::query_file!("queries/quarantine_take_released.sql", epoch.get()).fetch_all(writer.connection()),
    )
    .await?;
    let released = rows.into_iter().filter_map(|row| {
        let subject = Subject { kind: Kind::of(&row.kind)?, key: row.key };
        Some(Released { subject, content: row.content })
    });
    Ok(released.collect())
}

/// A page of what is held and how much is held in all; only one when it is given.
///
/// # Errors
/// [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn list(
    pool: &PgPool,
    only: Option<&Subject>,
    (limit, offset): (i64, i64),
) -> Result<(Vec<Entry>, i64), StoreError> {
    let kind = only.map(|subject| subject.kind.name());
    let key = only.map(|subject| subject.key.as_str());
    let rows = sqlx::query_file!("queries/quarantine_list.sql", kind, key, limit, offset)
        .fetch_all(pool)
        .await
        .doing("reading the quarantine")?;
    let total = match rows.first() {
        Some(row) => row.total,
        None if offset <= 0 && limit > 0 => 0,
        // Beyond the end, or nothing asked for: how much there is stands in the first row.
        None => return Ok((Vec::new(), Box::pin(list(pool, only, (1, 0))).await?.1)),
    };
    let entries = rows.into_iter().map(|row| Entry {
        id: format!("{}:{}", row.kind, row.key),
        kind: row.kind,
        key: row.key,
        reason: row.reason,
        failures: row.failures,
        first_at: row.first_at,
        last_at: row.last_at,
    });
    Ok((entries.collect(), total))
}

/// Releases something, with a line in the audit log; false when nothing of that kind and key is held. The leader tries it
/// again as soon as it hears of it.
///
/// # Errors
/// [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn release(pool: &PgPool, who: impl Into<Actor<'_>> + Send, subject: &Subject) -> Result<bool, StoreError> {
    const DOING: &str = "releasing from quarantine";
    let mut transaction = pool.begin().await.doing(DOING)?;
    let was_held = match (subject.kind, subject.key.parse().map(CommandId)) {
        (Kind::Command, Ok(id)) => sqlx::query_file_scalar!("queries/quarantine_release_command.sql", id.get())
            .fetch_optional(&mut *transaction)
            .await
            .doing(DOING)?
            .is_some(),
        (Kind::Command, Err(_)) => false,
        (Kind::Report | Kind::Worker | Kind::Version | Kind::Dag | Kind::Run | Kind::Definition, _) => {
            let released = sqlx::query!(
                "UPDATE quarantine SET released_at = now()
                 WHERE kind = $1 AND key = $2 AND held_at IS NOT NULL AND released_at IS NULL",
                subject.kind.name(),
                subject.key
            );
            released.execute(&mut *transaction).await.doing(DOING)?.rows_affected() == 1
        }
    };
    if was_held {
        let details = json!({ "kind": subject.kind.name(), "key": subject.key });
        audit::record(&mut *transaction, who, "release_quarantine", &details).await?;
    }
    transaction.commit().await.doing(DOING)?;
    if was_held && let Err(error) = notify_inbox(pool).await {
        tracing::debug!(%error, "the leader will find what is released by itself");
    }
    Ok(was_held)
}

/// Forgets failures of a day ago that did not come again, and the oldest entries beyond [`ENTRIES_MAX`].
pub(crate) async fn sweep(transaction: &mut PgConnection) -> Result<(), StoreError> {
    sqlx::query!(
        "DELETE FROM quarantine
         WHERE (held_at IS NULL AND last_at < now() - interval '1 day')
            OR id <= (SELECT id FROM quarantine ORDER BY id DESC LIMIT 1 OFFSET $1)",
        ENTRIES_MAX
    )
    .execute(transaction)
    .await
    .doing("sweeping the quarantine")?;
    Ok(())
}
