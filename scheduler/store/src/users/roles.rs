//! Own roles: made, changed and deleted by whoever manages users, each with its line in the audit log.

use std::collections::BTreeSet;

use model::DagId;
use serde_json::json;
use sqlx::{PgConnection, PgExecutor, PgPool};

use super::{DagPermission, DagTarget, Right, Role, rights::with_needs};
use crate::{
    audit::{self, Actor},
    error::{Doing, StoreError},
    rows::corrupt,
    secrets::{Creation, Mistake},
};

/// The longest name of a role.
const NAME_CHARS_MAX: usize = 64;
/// Own roles of an installation.
pub const OWN_ROLES_MAX: i64 = 500;
/// Own roles of one user.
pub const OWN_ROLES_OF_USER_MAX: usize = 50;
/// Permissions on DAGs of one role.
const DAG_PERMISSIONS_MAX: usize = 1_000;

/// A role of an installation's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnRole {
    /// Its name.
    pub name: String,
    /// What it allows over everything.
    pub rights: BTreeSet<Right>,
    /// What it allows on DAGs.
    pub dags: BTreeSet<DagPermission>,
}

impl OwnRole {
    /// Each permission as a text, by kind and name.
    #[must_use]
    pub fn permissions(&self) -> Vec<String> {
        self.dags.iter().map(ToString::to_string).collect()
    }
}

/// What became of a wish to change roles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RoleChange {
    /// It is done.
    Done,
    /// There is no own role of this name.
    NoRole(String),
    /// There is no user of this name.
    NoUser,
}

/// What is wrong with a role, field by field.
#[must_use]
pub fn role_mistakes(role: &OwnRole) -> Vec<Mistake> {
    let mut found = Vec::new();
    let is_allowed = |c: char| c.is_alphanumeric() || "_.- ".contains(c);
    let name = role.name.as_str();
    if name.is_empty() || name.trim() != name || !name.chars().all(is_allowed) || name.chars().count() > NAME_CHARS_MAX
    {
        let text =
            format!("a role's name has letters, digits, spaces and _ . - only, at most {NAME_CHARS_MAX} of them");
        found.push(Mistake::new("name", text));
    } else if Role::ALL.iter().any(|other| other.name().eq_ignore_ascii_case(name)) {
        found.push(Mistake::new("name", format!("{name} is one of Airflow's roles: choose another name")));
    }
    if role.rights.iter().any(|right| !Right::GIVEN.contains(right)) {
        found.push(Mistake::new("rights", "everybody has a right to the own account and view"));
    }
    if role.rights.is_empty() && role.dags.is_empty() {
        found.push(Mistake::new("dags", "a role needs a right or a permission on a DAG"));
    }
    if role.dags.len() > DAG_PERMISSIONS_MAX {
        let text = format!("a role has at most {DAG_PERMISSIONS_MAX} permissions on DAGs: use tags");
        found.push(Mistake::new("dags", text));
    }
    found
}

/// Every own role, by name.
///
/// # Errors
/// [`StoreError::Unreachable`], [`StoreError::Database`], [`StoreError::Corrupt`].
pub async fn own_roles(db: impl PgExecutor<'_>) -> Result<Vec<OwnRole>, StoreError> {
    read(db, None).await
}

/// The own role of a name.
///
/// # Errors
/// As [`own_roles`].
pub async fn own_role(db: impl PgExecutor<'_>, name: &str) -> Result<Option<OwnRole>, StoreError> {
    Ok(read(db, Some(name)).await?.pop())
}

async fn read(db: impl PgExecutor<'_>, name: Option<&str>) -> Result<Vec<OwnRole>, StoreError> {
    let rows = sqlx::query!(
        r#"SELECT r.name, r.rights,
                  ARRAY(SELECT p.kind FROM role_dag_permission p WHERE p.role_id = r.id ORDER BY p.kind, p.target) AS "kinds!",
                  ARRAY(SELECT p.target FROM role_dag_permission p WHERE p.role_id = r.id ORDER BY p.kind, p.target)
                      AS "targets!",
                  ARRAY(SELECT p.may_edit FROM role_dag_permission p WHERE p.role_id = r.id ORDER BY p.kind, p.target)
                      AS "may_edit!"
           FROM role r WHERE $1::text IS NULL OR r.name = $1 ORDER BY r.name LIMIT $2"#,
        name,
        OWN_ROLES_MAX
    );
    let rows = rows.fetch_all(db).await.doing("reading roles")?;
    rows.into_iter()
        .map(|row| {
            let dags = row.kinds.into_iter().zip(row.targets).zip(row.may_edit);
            Ok(OwnRole {
                name: row.name,
                rights: row.rights.iter().filter_map(|name| Right::named(name)).collect(),
                dags: dags
                    .map(|((kind, target), may_edit)| permission(kind, target, may_edit))
                    .collect::<Result<_, _>>()?,
            })
        })
        .collect()
}

fn permission(kind: i16, target: String, may_edit: bool) -> Result<DagPermission, StoreError> {
    let target = match kind {
        0 => DagTarget::Dag(DagId::new(target).map_err(|error| corrupt(&error))?),
        _ => DagTarget::Tag(target),
    };
    Ok(DagPermission { target, may_edit })
}

/// Makes a role. Rights come with those that they need.
///
/// # Errors
/// [`StoreError::Refused`] when there are too many; [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn create_role(pool: &PgPool, who: Actor<'_>, role: &OwnRole) -> Result<Creation, StoreError> {
    const DOING: &str = "making a role";
    let mut transaction = pool.begin().await.doing(DOING)?;
    let count = sqlx::query_scalar!(r#"SELECT count(*) AS "count!" FROM role"#);
    if count.fetch_one(&mut *transaction).await.doing(DOING)? >= OWN_ROLES_MAX {
        return Err(StoreError::Refused {
            reason: format!("there are {OWN_ROLES_MAX} roles already: delete one first"),
        });
    }
    let made = sqlx::query_scalar!(
        "INSERT INTO role (name, rights) VALUES ($1, $2) ON CONFLICT DO NOTHING RETURNING id",
        role.name,
        &names(&role.rights)
    );
    let Some(id) = made.fetch_optional(&mut *transaction).await.doing(DOING)? else { return Ok(Creation::Exists) };
    put_permissions(&mut transaction, id, role).await?;
    audit::record(&mut *transaction, who, "create_role", &told(role)).await?;
    transaction.commit().await.doing(DOING)?;
    Ok(Creation::Created)
}

/// Gives a role other rights and permissions, in force with the next request of whoever has it.
///
/// # Errors
/// [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn update_role(pool: &PgPool, who: Actor<'_>, role: &OwnRole) -> Result<RoleChange, StoreError> {
    const DOING: &str = "changing a role";
    let mut transaction = pool.begin().await.doing(DOING)?;
    let changed = sqlx::query_scalar!(
        "UPDATE role SET rights = $2 WHERE name = $1 RETURNING id",
        role.name,
        &names(&role.rights)
    );
    let Some(id) = changed.fetch_optional(&mut *transaction).await.doing(DOING)? else {
        return Ok(RoleChange::NoRole(role.name.clone()));
    };
    let gone = sqlx::query!("DELETE FROM role_dag_permission WHERE role_id = $1", id);
    gone.execute(&mut *transaction).await.doing(DOING)?;
    put_permissions(&mut transaction, id, role).await?;
    audit::record(&mut *transaction, who, "update_role", &told(role)).await?;
    transaction.commit().await.doing(DOING)?;
    Ok(RoleChange::Done)
}

/// Deletes a role; whoever had it has it no more.
///
/// # Errors
/// [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn delete_role(pool: &PgPool, who: Actor<'_>, name: &str) -> Result<RoleChange, StoreError> {
    const DOING: &str = "deleting a role";
    let mut transaction = pool.begin().await.doing(DOING)?;
    let gone = sqlx::query!("DELETE FROM role WHERE name = $1", name).execute(&mut *transaction).await.doing(DOING)?;
    if gone.rows_affected() == 0 {
        return Ok(RoleChange::NoRole(name.to_owned()));
    }
    audit::record(&mut *transaction, who, "delete_role", &json!({ "name": name })).await?;
    transaction.commit().await.doing(DOING)?;
    Ok(RoleChange::Done)
}

/// Gives a user these own roles and no others, in force with the next request.
///
/// # Errors
/// [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn set_own_roles(
    pool: &PgPool,
    who: Actor<'_>,
    username: &str,
    names: &BTreeSet<String>,
) -> Result<RoleChange, StoreError> {
    const DOING: &str = "changing the roles of a user";
    let mut transaction = pool.begin().await.doing(DOING)?;
    let user = sqlx::query_scalar!("SELECT id FROM user_account WHERE username = $1 FOR UPDATE", username);
    let Some(user_id) = user.fetch_optional(&mut *transaction).await.doing(DOING)? else {
        return Ok(RoleChange::NoUser);
    };
    let given = give(&mut transaction, user_id, names).await?;
    if let Some(missing) = names.difference(&given).next() {
        return Ok(RoleChange::NoRole(missing.clone()));
    }
    let details = json!({ "username": username, "own_roles": names });
    audit::record(&mut *transaction, who, "update_user", &details).await?;
    transaction.commit().await.doing(DOING)?;
    Ok(RoleChange::Done)
}

/// Gives a user those of these own roles that there are, and no others; says which.
pub(super) async fn give(
    db: &mut PgConnection,
    user_id: i64,
    names: &BTreeSet<String>,
) -> Result<BTreeSet<String>, StoreError> {
    const DOING: &str = "changing the roles of a user";
    if names.len() > OWN_ROLES_OF_USER_MAX {
        let reason = format!(
            "a user has at most {OWN_ROLES_OF_USER_MAX} own roles, and these are {}: make one role of several",
            names.len()
        );
        return Err(StoreError::Refused { reason });
    }
    let listed: Vec<String> = names.iter().cloned().collect();
    let known = sqlx::query!("SELECT id, name FROM role WHERE name = ANY ($1) FOR KEY SHARE", &listed);
    let known = known.fetch_all(&mut *db).await.doing(DOING)?;
    let ids: Vec<i64> = known.iter().map(|role| role.id).collect();
    let gone = sqlx::query!("DELETE FROM user_role WHERE user_id = $1 AND role_id <> ALL ($2)", user_id, &ids);
    gone.execute(&mut *db).await.doing(DOING)?;
    let given = sqlx::query!(
        "INSERT INTO user_role (user_id, role_id) SELECT $1, unnest($2::bigint[]) ON CONFLICT DO NOTHING",
        user_id,
        &ids
    );
    given.execute(&mut *db).await.doing(DOING)?;
    Ok(known.into_iter().map(|role| role.name).collect())
}

async fn put_permissions(db: &mut PgConnection, id: i64, role: &OwnRole) -> Result<(), StoreError> {
    // One target has one permission: to edit contains to read.
    let mut by_target = std::collections::BTreeMap::new();
    for DagPermission { target, may_edit } in &role.dags {
        *by_target.entry(target).or_insert(false) |= *may_edit;
    }
    let (mut kinds, mut targets, mut may_edit) = (Vec::new(), Vec::new(), Vec::new());
    for (target, may) in by_target {
        let (kind, text) = match target {
            DagTarget::Dag(dag_id) => (0_i16, dag_id.to_string()),
            DagTarget::Tag(tag) => (1, tag.clone()),
        };
        kinds.push(kind);
        targets.push(text);
        may_edit.push(may);
    }
    sqlx::query!(
        "INSERT INTO role_dag_permission (role_id, kind, target, may_edit)
         SELECT $1, * FROM unnest($2::smallint[], $3::text[], $4::boolean[])",
        id,
        &kinds,
        &targets,
        &may_edit
    )
    .execute(db)
    .await
    .doing("storing the permissions of a role")?;
    Ok(())
}

fn names(rights: &BTreeSet<Right>) -> Vec<String> {
    with_needs(rights.iter().copied()).into_iter().map(|right| right.name().to_owned()).collect()
}

fn told(role: &OwnRole) -> serde_json::Value {
    json!({ "name": role.name, "rights": names(&role.rights), "dags": role.permissions() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_says_what_is_wrong_with_it() {
        let role = |name: &str| OwnRole {
            name: name.to_owned(),
            rights: BTreeSet::new(),
            dags: BTreeSet::from(["read dag:a".parse().unwrap()]),
        };
        assert!(role_mistakes(&role("finance team")).is_empty());
        for name in ["", " a", "admin", "a,b", "a\n", &"x".repeat(65)] {
            assert_eq!(role_mistakes(&role(name))[0].field, "name", "{name:?}");
        }
        let empty = OwnRole { dags: BTreeSet::new(), ..role("a") };
        assert_eq!(role_mistakes(&empty)[0].field, "dags");
        let own = OwnRole { rights: BTreeSet::from([Right::OwnAccount]), ..role("a") };
        assert_eq!(role_mistakes(&own)[0].field, "rights");
    }
}
