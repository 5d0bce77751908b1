//! What an import would do, entry by entry, before it does anything.

use std::collections::{BTreeMap, BTreeSet};

use clap::ValueEnum;
use model::{Pool, command::Paused, masking::MASK};
use store::secrets::{Connection, variables::Variable};

use super::{
    secrets::without_masks,
    source::{Source, SourceConnection, SourcePool, SourceVariable},
};
use crate::{
    commands::{connections, variables},
    installation::{Installation, is_masked, slots_of},
};

/// What can be taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Kind {
    /// Pools.
    Pools,
    /// Variables.
    Variables,
    /// Connections, without what Airflow shows to nobody.
    Connections,
    /// Whether DAGs are paused, of those that exist here.
    Paused,
    /// Favorites of one user.
    Favorites,
}

impl Kind {
    /// Every kind, in the order in which they are written: what others need comes first.
    pub const ALL: [Self; 5] = [Self::Pools, Self::Variables, Self::Connections, Self::Paused, Self::Favorites];

    /// Its name, as it is said on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pools => "pools",
            Self::Variables => "variables",
            Self::Connections => "connections",
            Self::Paused => "paused",
            Self::Favorites => "favorites",
        }
    }
}

/// What is to be done with entries that exist here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// They are left alone.
    Keep,
    /// They become as they are there.
    Overwrite,
}

/// What is done for an entry.
pub enum Act {
    /// A pool is created or changed.
    Pool(Pool),
    /// A variable is created or replaced.
    Variable(Variable),
    /// A connection is created.
    NewConnection(Box<Connection>),
    /// A connection is replaced; its password stays.
    OldConnection(Box<Connection>),
    /// A DAG is held back or let go.
    Pause(Paused),
    /// A DAG is marked.
    Favorite,
    /// Nothing.
    Nothing,
}

/// One entry of the plan.
pub struct Entry {
    /// Of which kind.
    pub kind: Kind,
    /// Its name; none when the whole kind can not be had.
    pub name: Option<String>,
    /// What happens, in one word: create, replace, pause, unpause, mark, keep, same, skip or fail.
    pub action: &'static str,
    /// What there is to know of it, such as a password that has to be set.
    pub note: String,
    /// What is done.
    pub act: Act,
}

impl Entry {
    fn doing(kind: Kind, name: &str, action: &'static str, act: Act) -> Self {
        Self { kind, name: Some(name.to_owned()), action, note: String::new(), act }
    }

    fn nothing(kind: Kind, name: &str, action: &'static str, note: impl Into<String>) -> Self {
        Self { note: note.into(), ..Self::doing(kind, name, action, Act::Nothing) }
    }

    /// A kind that can not be had.
    fn failed(kind: Kind, error: &anyhow::Error) -> Self {
        Self { kind, name: None, action: "fail", note: format!("{error:#}"), act: Act::Nothing }
    }
}

/// Compares an Airflow with an installation. A kind that can not be read is one failed entry, and the others go on.
pub async fn plan(
    source: &Source,
    here: &Installation<'_>,
    kinds: &BTreeSet<Kind>,
    mode: Mode,
    favorites_of: &str,
) -> Vec<Entry> {
    let mut entries = Vec::new();
    for kind in kinds {
        let found = match kind {
            Kind::Pools => pools(source, here, mode).await,
            Kind::Variables => variables_of(source, here, mode).await,
            Kind::Connections => connections_of(source, here, mode).await,
            Kind::Paused => paused(source, here).await,
            Kind::Favorites => favorites(source, here, favorites_of).await,
        };
        entries.extend(found.unwrap_or_else(|error| vec![Entry::failed(*kind, &error)]));
    }
    entries
}

async fn pools(source: &Source, here: &Installation<'_>, mode: Mode) -> anyhow::Result<Vec<Entry>> {
    let known: BTreeMap<String, Pool> = here.pools().await?.into_iter().map(|pool| (pool.name.clone(), pool)).collect();
    Ok(source.pools().await?.into_iter().map(|pool| pool_entry(pool, &known, mode)).collect())
}

fn pool_entry(pool: SourcePool, known: &BTreeMap<String, Pool>, mode: Mode) -> Entry {
    let name = pool.name.clone();
    let slots = match slots_of(pool.slots) {
        Ok(slots) => slots,
        Err(error) => return Entry::nothing(Kind::Pools, &name, "fail", error.to_string()),
    };
    let description = pool.description.unwrap_or_default();
    let new = Pool { name: pool.name, slots, description, include_deferred: pool.include_deferred, rate_limit: None };
    if let Err(reason) = new.check() {
        return Entry::nothing(Kind::Pools, &name, "fail", reason.to_string());
    }
    match (known.get(&name), mode) {
        (Some(old), _) if *old == new => Entry::nothing(Kind::Pools, &name, "same", ""),
        (Some(_), Mode::Keep) => Entry::nothing(Kind::Pools, &name, "keep", "it is otherwise here"),
        (Some(_), Mode::Overwrite) => Entry::doing(Kind::Pools, &name, "replace", Act::Pool(new)),
        (None, _) => Entry::doing(Kind::Pools, &name, "create", Act::Pool(new)),
    }
}

async fn variables_of(source: &Source, here: &Installation<'_>, mode: Mode) -> anyhow::Result<Vec<Entry>> {
    let known = here.variables().await?.into_iter();
    // What can not be opened here is not known to be the same.
    let known: BTreeMap<String, Option<Variable>> = known
        .map(|stored| (stored.variable.key.clone(), Some(stored.variable).filter(|_| stored.problem.is_none())))
        .collect();
    Ok(source.variables().await?.into_iter().map(|one| variable_entry(one, &known, mode)).collect())
}

fn variable_entry(one: SourceVariable, known: &BTreeMap<String, Option<Variable>>, mode: Mode) -> Entry {
    let key = one.key.clone();
    let value = match one.value {
        None => {
            let note =
                "it has no value in Airflow, or one that Airflow can not open: set it with `windlass variables set`";
            return Entry::nothing(Kind::Variables, &key, "skip", note);
        }
        Some(value) if is_masked(&value) => {
            let note = "Airflow masks its value, or a part of it: set it with `windlass variables set`";
            return Entry::nothing(Kind::Variables, &key, "skip", note);
        }
        Some(value) => value,
    };
    let new = Variable { key: one.key, value, description: one.description.filter(|text| !text.is_empty()) };
    if let Err(error) = variables::check(&new) {
        return Entry::nothing(Kind::Variables, &key, "fail", error.to_string());
    }
    match (known.get(&key), mode) {
        (Some(Some(old)), _) if old.value == new.value && old.description == new.description => {
            Entry::nothing(Kind::Variables, &key, "same", "")
        }
        (Some(_), Mode::Keep) => Entry::nothing(Kind::Variables, &key, "keep", "it is otherwise here"),
        (Some(_), Mode::Overwrite) => Entry::doing(Kind::Variables, &key, "replace", Act::Variable(new)),
        (None, _) => Entry::doing(Kind::Variables, &key, "create", Act::Variable(new)),
    }
}

async fn connections_of(source: &Source, here: &Installation<'_>, mode: Mode) -> anyhow::Result<Vec<Entry>> {
    let known: BTreeSet<String> =
        here.connections().await?.into_iter().map(|stored| stored.connection.conn_id).collect();
    let entry = |one| connection_entry(one, source.tells_of_passwords(), &known, mode);
    Ok(source.connections().await?.into_iter().map(entry).collect())
}

fn connection_entry(one: SourceConnection, tells: bool, known: &BTreeSet<String>, mode: Mode) -> Entry {
    let id = one.connection_id.clone();
    let exists = known.contains(&id);
    if exists && mode == Mode::Keep {
        return Entry::nothing(Kind::Connections, &id, "keep", "it exists here");
    }
    let (new, note) = readable(one, tells, exists);
    if let Err(error) = connections::check(&new) {
        return Entry::nothing(Kind::Connections, &id, "fail", error.to_string());
    }
    let (action, act) = if exists {
        ("replace", Act::OldConnection(Box::new(new)))
    } else {
        ("create", Act::NewConnection(Box::new(new)))
    };
    Entry { note, ..Entry::doing(Kind::Connections, &id, action, act) }
}

/// A connection without what is masked, and what has to be set by hand.
fn readable(one: SourceConnection, tells: bool, exists: bool) -> (Connection, String) {
    let (extra, mut lost) = one.extra.as_deref().map_or((None, Vec::new()), without_masks);
    let has_password = one.password.as_deref().is_some_and(|password| !password.is_empty());
    let mut hints = Vec::new();
    match (exists, tells, has_password) {
        (true, _, true) | (true, false, _) => hints.push("its password here stays".to_owned()),
        (false, true, true) => lost.insert(0, "password".to_owned()),
        (false, false, _) => {
            hints.push("Airflow 2 does not say whether it has a password: set it when it has".to_owned())
        }
        (_, true, false) => {}
    }
    if one.host.as_deref().is_some_and(|host| host.contains(MASK)) {
        lost.push("the password within host".to_owned());
    }
    if !lost.is_empty() {
        hints.insert(0, format!("set anew: {}", lost.join(", ")));
    }
    let connection = Connection {
        conn_id: one.connection_id,
        conn_type: one.conn_type,
        host: one.host,
        schema: one.schema,
        login: one.login,
        // A server that gives it in clear is not known; a mask is no password.
        password: one.password.filter(|password| password != MASK && !password.is_empty()),
        port: one.port,
        extra: extra.filter(|text| !text.trim().is_empty()),
        description: one.description,
    };
    (connection, hints.join("; "))
}

async fn paused(source: &Source, here: &Installation<'_>) -> anyhow::Result<Vec<Entry>> {
    let known: BTreeMap<String, bool> = here.dags().await?.into_iter().map(|dag| (dag.dag_id, dag.is_paused)).collect();
    let entry = |(id, there): (String, bool)| match known.get(&id) {
        None => Entry::nothing(Kind::Paused, &id, "skip", "there is no such DAG here"),
        Some(is_paused) if *is_paused == there => Entry::nothing(Kind::Paused, &id, "same", ""),
        Some(_) if there => Entry::doing(Kind::Paused, &id, "pause", Act::Pause(Paused::Paused)),
        Some(_) => Entry::doing(Kind::Paused, &id, "unpause", Act::Pause(Paused::Active)),
    };
    let there = source.dags().await?.into_iter();
    Ok(there.filter_map(|dag| Some((dag.dag_id, dag.is_paused?))).map(entry).collect())
}

async fn favorites(source: &Source, here: &Installation<'_>, username: &str) -> anyhow::Result<Vec<Entry>> {
    here.check_user(username).await?;
    let known: BTreeSet<String> = here.dags().await?.into_iter().map(|dag| dag.dag_id).collect();
    let marked = here.favorites(username).await?;
    let entry = |id: String| {
        if !known.contains(&id) {
            Entry::nothing(Kind::Favorites, &id, "skip", "there is no such DAG here")
        } else if marked.contains(&id) {
            Entry::nothing(Kind::Favorites, &id, "same", "")
        } else {
            Entry::doing(Kind::Favorites, &id, "mark", Act::Favorite)
        }
    };
    Ok(source.favorites().await?.into_iter().map(entry).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection(password: Option<&str>, extra: Option<&str>) -> SourceConnection {
        SourceConnection {
            connection_id: "db".to_owned(),
            conn_type: "postgres".to_owned(),
            description: None,
            host: Some("h".to_owned()),
            login: Some("me".to_owned()),
            schema: None,
            port: Some(5432),
            password: password.map(str::to_owned),
            extra: extra.map(str::to_owned),
        }
    }

    #[test]
    fn a_mask_becomes_no_password_and_is_told_to_be_set() {
        let (new, note) = readable(connection(Some(MASK), Some(r#"{"token": "***", "n": 1}"#)), true, false);
        assert_eq!((new.password, new.extra.as_deref()), (None, Some(r#"{"n":1}"#)));
        assert_eq!(note, "set anew: password, extra.token");
        assert_eq!(readable(connection(None, None), true, false).1, "");
        assert!(readable(connection(None, None), false, false).1.contains("does not say"));
        assert_eq!(readable(connection(Some(MASK), None), true, true).1, "its password here stays");
    }

    #[test]
    fn what_exists_is_kept_unless_it_is_to_be_overwritten() {
        let known = BTreeSet::from(["db".to_owned()]);
        let action =
            |known: &BTreeSet<String>, mode| connection_entry(connection(None, None), true, known, mode).action;
        assert_eq!(action(&known, Mode::Keep), "keep");
        assert_eq!(action(&known, Mode::Overwrite), "replace");
        assert_eq!(action(&BTreeSet::new(), Mode::Keep), "create");
    }

    #[test]
    fn a_masked_variable_is_never_stored_as_its_mask() {
        let one = |value: &str| SourceVariable {
            key: "k".to_owned(),
            value: Some(value.to_owned()),
            description: Some(String::new()),
        };
        let known = BTreeMap::new();
        assert_eq!(variable_entry(one(MASK), &known, Mode::Overwrite).action, "skip");
        assert_eq!(variable_entry(one(r#"{"password": "***"}"#), &known, Mode::Overwrite).action, "skip");
        let nothing = variable_entry(SourceVariable { value: None, ..one("") }, &known, Mode::Keep);
        assert!(nothing.action == "skip" && nothing.note.contains("no value in Airflow"), "{}", nothing.note);
        let open = variable_entry(one("v"), &known, Mode::Keep);
        assert!(matches!(open.act, Act::Variable(Variable { description: None, .. })), "{}", open.action);
    }
}
