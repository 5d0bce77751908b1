//! `windlass roles …`: roles of the installation's own, beside Airflow's.

use std::{collections::BTreeSet, process::ExitCode};

use clap::{Args, Subcommand};
use serde_json::json;
use sqlx::PgPool;
use store::{
    audit::Actor,
    secrets::Creation,
    users::{self, DagPermission, OwnRole, Right, Role, RoleChange},
};

use crate::{
    access::{Access, caller},
    exit::Failure,
    output::{Listing, Output},
    settings::Settings,
};

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Roles {
    /// One line a role, Airflow's first.
    List {
        #[command(flatten)]
        output: Output,
    },
    /// Make a role.
    Create {
        /// Its name.
        role: String,
        #[command(flatten)]
        allows: Allows,
    },
    /// Delete a role; whoever has it has it no more.
    Delete {
        /// Its name.
        role: String,
    },
    /// Let a role allow more.
    AddPerms {
        /// Its name.
        role: String,
        #[command(flatten)]
        allows: Allows,
    },
    /// Let a role allow less.
    DelPerms {
        /// Its name.
        role: String,
        #[command(flatten)]
        allows: Allows,
    },
}

/// What a role allows.
#[derive(Debug, Args)]
pub struct Allows {
    /// A right over everything: read, `change_dags`, `read_admin`, `change_admin`, `change_services` or `manage_users`
    #[arg(long = "right", value_name = "RIGHT")]
    rights: Vec<Right>,
    /// A permission on DAGs, such as "read dag:ID" or "edit tag:TAG"
    #[arg(long = "dag", value_name = "PERMISSION")]
    dags: Vec<DagPermission>,
}

/// Carries one out.
///
/// # Errors
/// What went wrong, in words for people.
pub async fn run(settings: &Settings, command: Roles) -> anyhow::Result<ExitCode> {
    let access = Access::open(settings).await?;
    let done = carry_out(&access, command).await;
    access.close().await;
    done.map(|()| ExitCode::SUCCESS)
}

async fn carry_out(access: &Access, command: Roles) -> anyhow::Result<()> {
    let pool = access.pool().await?;
    let caller = caller();
    let who = Actor::at_the_command_line(&caller);
    match command {
        Roles::List { output } => list(pool, output).await,
        Roles::Create { role, allows } => {
            let role = OwnRole {
                name: role,
                rights: allows.rights.into_iter().collect(),
                dags: allows.dags.into_iter().collect(),
            };
            check(&role)?;
            if users::create_role(pool, who, &role).await? == Creation::Exists {
                let text = format!("there is a role {} already: use add-perms and del-perms", role.name);
                return Err(Failure::refused(text));
            }
            outln!("role {} is there now", role.name);
            Ok(())
        }
        Roles::Delete { role } => {
            done(users::delete_role(pool, who, &role).await?)?;
            outln!("role {role} is deleted");
            Ok(())
        }
        Roles::AddPerms { role, allows } => {
            let mut role = find(pool, &role).await?;
            role.rights.extend(allows.rights);
            role.dags.extend(allows.dags);
            change(pool, who, &role).await
        }
        Roles::DelPerms { role, allows } => {
            let mut role = find(pool, &role).await?;
            let (rights, dags) = (BTreeSet::from_iter(allows.rights), BTreeSet::from_iter(allows.dags));
            role.rights.retain(|right| !rights.contains(right));
            role.dags.retain(|permission| !dags.contains(permission));
            change(pool, who, &role).await
        }
    }
}

async fn list(pool: &PgPool, output: Output) -> anyhow::Result<()> {
    let mut listing = Listing::new(&["name", "rights", "dags"]);
    for role in Role::ALL {
        let rights: Vec<&str> = role.rights().filter(|right| Right::GIVEN.contains(right)).map(Right::name).collect();
        listing.push([json!(role.name()), json!(rights.join(",")), json!("")]);
    }
    for role in users::own_roles(pool).await? {
        let rights: Vec<&str> = role.rights.iter().map(|right| right.name()).collect();
        listing.push([json!(role.name), json!(rights.join(",")), json!(role.permissions().join(","))]);
    }
    listing.print(output);
    Ok(())
}

async fn find(pool: &PgPool, name: &str) -> anyhow::Result<OwnRole> {
    if Role::ALL.iter().any(|role| role.name().eq_ignore_ascii_case(name)) {
        let text = format!("{name} is one of Airflow's roles, which stay as they are: make a role of your own");
        return Err(Failure::refused(text));
    }
    users::own_role(pool, name).await?.ok_or_else(|| missing(name))
}

fn missing(name: &str) -> anyhow::Error {
    Failure::missing(format!("there is no role {name}"))
}

async fn change(pool: &PgPool, who: Actor<'_>, role: &OwnRole) -> anyhow::Result<()> {
    check(role)?;
    done(users::update_role(pool, who, role).await?)?;
    outln!("role {} is changed, in force with the next request", role.name);
    Ok(())
}

fn check(role: &OwnRole) -> anyhow::Result<()> {
    let mistakes: Vec<String> = users::role_mistakes(role).iter().map(ToString::to_string).collect();
    if mistakes.is_empty() { Ok(()) } else { Err(Failure::refused(mistakes.join("; "))) }
}

/// What became of a wish to change roles, in words.
///
/// # Errors
/// When something is not there.
pub fn done(change: RoleChange) -> anyhow::Result<()> {
    match change {
        RoleChange::Done => Ok(()),
        RoleChange::NoRole(name) => Err(missing(&name)),
        RoleChange::NoUser => Err(Failure::missing("there is no such user")),
    }
}
