//! `windlass users …`: Airflow's words for people and programs that log in.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::json;
use sqlx::PgPool;
use store::audit::Actor;
use store::{
    secrets::Creation,
    users::{self, Account, NewUser, Role, UserChange},
};

use super::roles;
use crate::{
    access::{Access, caller},
    exit::Failure,
    output::{Listing, Output},
    secret_input::{ask, resolve},
    settings::Settings,
};

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Users {
    /// One line a user.
    List {
        #[command(flatten)]
        output: Output,
    },
    /// Create a user.
    Create {
        /// The name.
        #[arg(long, short)]
        username: String,
        /// Public, Viewer, User, Op or Admin; own roles are added with add-role.
        #[arg(long, short)]
        role: Role,
        /// Leave a user of that name as it is.
        #[arg(long)]
        if_missing: bool,
        #[command(flatten)]
        password: Password,
        #[command(flatten)]
        person: Person,
    },
    /// Delete a user, with every session and token.
    Delete {
        /// The name.
        #[arg(long, short)]
        username: String,
    },
    /// Give a user a role: one of Airflow's instead of the one that it has, or one of your own beside it.
    AddRole {
        /// The name.
        #[arg(long, short)]
        username: String,
        /// The role.
        #[arg(long, short)]
        role: String,
    },
    /// Take a role from a user; without any of Airflow's it is Public.
    RemoveRole {
        /// The name.
        #[arg(long, short)]
        username: String,
        /// The role.
        #[arg(long, short)]
        role: String,
    },
    /// Give a user another password; every session and token ends.
    ResetPassword {
        /// The name.
        #[arg(long, short)]
        username: String,
        #[command(flatten)]
        password: Password,
    },
}

/// Where a password comes from; without any of these it is asked for.
#[derive(Debug, Args)]
pub struct Password {
    /// The password; `-`, or nothing, asks for it.
    #[arg(long, short)]
    password: Option<String>,
    /// Make one, and print it.
    #[arg(long, conflicts_with = "password")]
    use_random_password: bool,
}

/// What Airflow also keeps of a person. It is taken, so that commands written for it work, and not kept.
#[derive(Debug, Args)]
pub struct Person {
    #[arg(long, short, hide = true)]
    firstname: Option<String>,
    #[arg(long, short, hide = true)]
    lastname: Option<String>,
    #[arg(long, short, hide = true)]
    email: Option<String>,
}

impl Password {
    /// The password, and whether it has to be printed because nobody knows it.
    fn get(self) -> anyhow::Result<(String, bool)> {
        if self.use_random_password {
            return Ok((random_password()?, true));
        }
        let password = match self.password {
            Some(text) => resolve(text, "Password")?,
            None => ask("Password")?,
        };
        Ok((password, false))
    }
}

/// 128 random bits of the system as text.
fn random_password() -> anyhow::Result<String> {
    let mut bytes = [0_u8; 16];
    std::io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, &mut bytes)?;
    Ok(hex::encode(bytes))
}

/// Carries one out.
///
/// # Errors
/// What went wrong, in words for people.
pub async fn run(settings: &Settings, command: Users) -> anyhow::Result<ExitCode> {
    let access = Access::open(settings).await?;
    let done = carry_out(&access, command, settings.password_chars_min).await;
    access.close().await;
    done.map(|()| ExitCode::SUCCESS)
}

async fn carry_out(access: &Access, command: Users, chars_min: usize) -> anyhow::Result<()> {
    let pool = access.pool().await?;
    match command {
        Users::List { output } => {
            let mut listing = Listing::new(&["id", "username", "roles"]);
            let mut page = users::page(pool, "").await?;
            while let Some(last) = page.last().map(|account| account.username.clone()) {
                for account in page {
                    listing.push([json!(account.id), json!(account.username), json!(account.role_names())]);
                }
                page = users::page(pool, &last).await?;
            }
            listing.print(output);
        }
        Users::Create { username, if_missing: true, .. } if is_there(pool, &username).await? => {
            outln!("user {username} is there already");
        }
        Users::Create { username, role, password, person, .. } => {
            let (password, is_news) = password.get()?;
            check(&username, &password, chars_min)?;
            let user = NewUser { username: &username, password: &password, role };
            if users::create_user(pool, Actor::at_the_command_line(&caller()), user).await? == Creation::Exists {
                return Err(Failure::refused(format!("there is a user {username} already")));
            }
            outln!("user {username} is there now, as {}", role.name());
            if person.firstname.or(person.lastname).or(person.email).is_some() {
                errln!("names and e-mail addresses are not kept");
            }
            tell(&password, is_news);
        }
        Users::Delete { username } => {
            done(users::delete_user(pool, Actor::at_the_command_line(&caller()), &username).await?, &username)?;
            outln!("user {username} is deleted");
        }
        Users::AddRole { username, role } => add_role(pool, &username, &role).await?,
        Users::RemoveRole { username, role } => remove_role(pool, &username, &role).await?,
        Users::ResetPassword { username, password } => {
            let (password, is_news) = password.get()?;
            check(&username, &password, chars_min)?;
            done(
                users::set_password(pool, Actor::at_the_command_line(&caller()), &username, &password).await?,
                &username,
            )?;
            outln!("user {username} has another password; every session of the user has ended");
            tell(&password, is_news);
        }
    }
    Ok(())
}

async fn account(pool: &PgPool, username: &str) -> anyhow::Result<Account> {
    let found = users::named(pool, username).await?;
    found.ok_or_else(|| Failure::missing(format!("there is no user {username}")))
}

async fn add_role(pool: &PgPool, username: &str, role: &str) -> anyhow::Result<()> {
    let account = account(pool, username).await?;
    let caller = caller();
    let who = Actor::at_the_command_line(&caller);
    if let Ok(given) = role.parse::<Role>() {
        done(users::set_role(pool, who, username, given).await?, username)?;
    } else {
        let names = account.own_roles.into_iter().chain([role.to_owned()]).collect();
        roles::done(users::set_own_roles(pool, who, username, &names).await?)?;
    }
    outln!("user {username} has the role {role}");
    Ok(())
}

async fn remove_role(pool: &PgPool, username: &str, role: &str) -> anyhow::Result<()> {
    let account = account(pool, username).await?;
    let caller = caller();
    let who = Actor::at_the_command_line(&caller);
    if role.parse::<Role>().is_ok_and(|given| given == account.role) {
        done(users::set_role(pool, who, username, Role::Public).await?, username)?;
    } else if account.own_roles.iter().any(|own| own == role) {
        let names = account.own_roles.into_iter().filter(|own| own != role).collect();
        roles::done(users::set_own_roles(pool, who, username, &names).await?)?;
    } else {
        let text = format!("user {username} does not have the role {role}, but {}", account.role_names());
        return Err(Failure::refused(text));
    }
    outln!("user {username} has the role {role} no more");
    Ok(())
}

async fn is_there(pool: &PgPool, username: &str) -> anyhow::Result<bool> {
    Ok(users::named(pool, username).await?.is_some())
}

fn check(username: &str, password: &str, chars_min: usize) -> anyhow::Result<()> {
    let mistakes: Vec<String> =
        users::mistakes(username, password, chars_min).iter().map(ToString::to_string).collect();
    if mistakes.is_empty() { Ok(()) } else { Err(Failure::refused(mistakes.join("; "))) }
}

fn tell(password: &str, is_news: bool) {
    if is_news {
        outln!("password: {password}");
    }
}

fn done(change: UserChange, username: &str) -> anyhow::Result<()> {
    match change {
        UserChange::Done => Ok(()),
        UserChange::Missing => Err(Failure::missing(format!("there is no user {username}"))),
        UserChange::OfProvider => {
            Err(Failure::refused(format!("{username} logs in by the identity provider: change the password there")))
        }
        UserChange::LastAdmin => {
            Err(Failure::refused(format!("{username} is the only Admin: nobody could manage users any more")))
        }
    }
}
