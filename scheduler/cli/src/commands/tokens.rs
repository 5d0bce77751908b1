//! `windlass tokens …`: API tokens for programs, and the sessions of users.

use std::process::ExitCode;

use clap::Subcommand;
use serde_json::json;
use store::{
    audit::Actor,
    users::{self, Issued, LIFETIME_DAYS_DEFAULT, LIFETIME_DAYS_MAX, NewApiToken, Right, TokenRefusal},
};
use uuid::Uuid;

use crate::{
    access::{Access, caller},
    exit::Failure,
    output::{Listing, Output},
    settings::Settings,
};

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Tokens {
    /// One line for each session and token that holds, the newest first.
    List {
        /// Only those of this user.
        #[arg(long, short)]
        username: Option<String>,
        #[command(flatten)]
        output: Output,
    },
    /// Make a token and print it, this once.
    Create {
        /// Whose it is to be: it may never do more than its user.
        #[arg(long, short)]
        username: String,
        /// What it is for.
        #[arg(long, short)]
        name: String,
        /// A right that it is limited to, given once or more: read, `change_dags`, `read_admin`, `change_admin`,
        /// `change_services` or `manage_users`; all of the user's without.
        #[arg(long = "right", value_name = "RIGHT")]
        rights: Vec<Right>,
        /// How many days it holds.
        #[arg(long, default_value_t = LIFETIME_DAYS_DEFAULT,
              value_parser = clap::value_parser!(u32).range(1..=i64::from(LIFETIME_DAYS_MAX)))]
        days: u32,
    },
    /// Void a token, or end a session.
    Revoke {
        /// Its id, as the list shows it.
        id: Uuid,
    },
    /// Void every token and end every session of a user.
    RevokeAll {
        /// The user.
        #[arg(long, short)]
        username: String,
    },
}

/// Carries one out.
///
/// # Errors
/// What went wrong, in words for people.
pub async fn run(settings: &Settings, command: Tokens) -> anyhow::Result<ExitCode> {
    let access = Access::open(settings).await?;
    let done = carry_out(&access, command).await;
    access.close().await;
    done.map(|()| ExitCode::SUCCESS)
}

async fn carry_out(access: &Access, command: Tokens) -> anyhow::Result<()> {
    let pool = access.pool().await?;
    let caller = caller();
    let who = Actor::at_the_command_line(&caller);
    match command {
        Tokens::List { username, output } => {
            let mut listing = Listing::new(&[
                "id",
                "username",
                "kind",
                "name",
                "scope",
                "made_at",
                "from",
                "last_used_at",
                "expires_at",
            ]);
            for open in users::open_tokens(pool, username.as_deref()).await? {
                listing.push([
                    json!(open.id),
                    json!(open.username),
                    json!(if open.is_api_token { "token" } else { "session" }),
                    json!(open.name),
                    json!(open.scope.map(|rights| rights.join(","))),
                    json!(open.issued_at),
                    json!(open.address),
                    json!(open.last_used_at),
                    json!(open.expires_at),
                ]);
            }
            listing.print(output);
        }
        Tokens::Create { username, name, rights, days } => {
            let scope = (!rights.is_empty()).then(|| rights.into_iter().collect());
            let wish = NewApiToken { username: &username, name: &name, scope, days };
            let Issued { id, text, expires_at } =
                users::create_api_token(pool, who, &wish).await?.map_err(|refusal| refused(&username, refusal))?;
            errln!("token {id} of {username} holds until {expires_at}; it is shown this once:");
            outln!("{}", text.reveal());
        }
        Tokens::Revoke { id } => {
            let was_there = users::revoke_open_token(pool, who, None, id).await?;
            if !was_there {
                return Err(Failure::missing(format!("there is no session or token {id} any more")));
            }
            outln!("{id} is void");
        }
        Tokens::RevokeAll { username } => {
            let ended = users::end_sessions(pool, who, &username).await?;
            if ended == 0 && users::named(pool, &username).await?.is_none() {
                return Err(Failure::missing(format!("there is no user {username}")));
            }
            outln!("{ended} sessions and tokens of {username} have ended");
        }
    }
    Ok(())
}

fn refused(username: &str, refusal: TokenRefusal) -> anyhow::Error {
    match refusal {
        TokenRefusal::NoUser => Failure::missing(format!("there is no user {username}")),
        TokenRefusal::Mistakes(mistakes) => {
            let texts: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
            Failure::refused(texts.join("; "))
        }
    }
}
