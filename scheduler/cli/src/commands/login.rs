//! `windlass login` and `windlass logout`: a token of a server, kept for this user alone.

use std::io::{self, IsTerminal as _};

use anyhow::Context;
use clap::Args;

use crate::{
    exit::{Exit, Failure},
    secret_input,
    server::{Auth, Server, forget, keep, kept},
    settings::Settings,
};

/// Options of `login`.
#[derive(Debug, Args)]
pub struct LogIn {
    /// The name; asked for when absent.
    #[arg(long, short)]
    username: Option<String>,
}

/// Asks for name and password, and keeps the token that the server gives for them.
///
/// # Errors
/// When no server is named, or it refuses.
pub async fn log_in(settings: &Settings, options: LogIn) -> anyhow::Result<()> {
    let url = settings.server.named()?;
    let server = Server::at(url.clone(), Auth::Nobody)?;
    let username = match options.username {
        Some(name) => name,
        None => ask_name()?,
    };
    let password = secret_input::ask("Password")?;
    let token = server.token_of(&username, &password).await?;
    let file = keep(url, username.clone(), token)?;
    outln!("{username} is logged in at {}; the token lies in {}", server.name(), file.display());
    Ok(())
}

fn ask_name() -> anyhow::Result<String> {
    if !io::stdin().is_terminal() {
        return Err(Failure::of(Exit::Usage, "say who logs in: --username NAME"));
    }
    err!("Username: ");
    let mut line = String::new();
    io::stdin().read_line(&mut line).context("the name can not be read")?;
    Ok(line.trim().to_owned())
}

/// Ends the session at the server and deletes the token that is kept for it.
///
/// # Errors
/// When no server is named, nobody is logged in there, or the server could not be told.
pub async fn log_out(settings: &Settings) -> anyhow::Result<()> {
    let url = settings.server.named()?;
    let Some(login) = kept(url)? else {
        return Err(Failure::missing(format!("no login is kept for {url}")));
    };
    let server = Server::at(url.clone(), Auth::Token(login.token))?;
    let told = server.log_out().await;
    forget(url)?;
    match told {
        // A token that is no longer good needs no end.
        Err(error) if error.exit() != Exit::NotAllowed => {
            let what =
                "the kept token is deleted here, but the server could not be told, so it is good until it expires";
            Err(anyhow::Error::from(error).context(what))
        }
        Ok(()) | Err(_) => {
            outln!("{} is logged out at {}", login.username, server.name());
            Ok(())
        }
    }
}
