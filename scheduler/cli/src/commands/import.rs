//! `windlass import airflow`: pools, variables, connections, paused states and favorites of an Airflow, by its REST API.
//!
//! What exists here is kept unless it is to be overwritten. Each failure is told with its entry, and the rest goes on.

use std::{collections::BTreeSet, path::PathBuf, process::ExitCode};

use anyhow::Context;
use clap::{Args, Subcommand};
use serde_json::json;
use store::secrets::Creation;

use crate::{
    access::caller,
    airflow::{Act, Credentials, Entry, Kind, Mode, Source, plan},
    exit::{Exit, Failure},
    installation::{Installation, NoPassword},
    output::{Listing, Output, visible},
    progress::Progress,
    secret_input,
    server::{secret_of, server_url, token_of_file},
    settings::{Settings, text},
};

/// From where.
#[derive(Debug, Subcommand)]
pub enum Import {
    /// From an Airflow 2 or 3: its pools, variables, connections, paused states and favorites.
    Airflow(Box<Airflow>),
}

/// Options of `import airflow`. Without a token or a password in the environment or a file, the password is asked for.
#[derive(Debug, Args)]
pub struct Airflow {
    /// Airflow's address, such as https://airflow.example.com
    #[arg(long)]
    url: String,
    /// Who reads there.
    #[arg(long, short)]
    username: Option<String>,
    /// A file with the password; without it WINDLASS_AIRFLOW_PASSWORD.
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// A file with a token of Airflow's, instead of name and password; without it WINDLASS_AIRFLOW_TOKEN.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["username", "password_file"])]
    airflow_token_file: Option<PathBuf>,
    /// Only these, separated by commas.
    #[arg(long, value_enum, value_name = "KINDS", value_delimiter = ',')]
    only: Vec<Kind>,
    /// Replace what exists here; passwords of connections stay.
    #[arg(long)]
    overwrite: bool,
    /// Only print what would be done.
    #[arg(long)]
    dry_run: bool,
    /// Whose favorites they become here; who reads in Airflow when absent. At a server it is who is logged in there.
    #[arg(long, value_name = "NAME")]
    favorites_of: Option<String>,
    #[command(flatten)]
    output: Output,
}

/// Carries it out.
///
/// # Errors
/// When Airflow or the installation can not be reached; failures of single entries are told with them.
pub async fn run(settings: &Settings, Import::Airflow(wish): Import) -> anyhow::Result<ExitCode> {
    let url = server_url(&wish.url).context("--url")?;
    let source = Source::open(&url, credentials(&wish)?).await?;
    errln!("{url} is Airflow {}", visible(&source.version));
    Installation::with(settings, async |installation| import(installation, &source, &wish).await).await
}

fn credentials(wish: &Airflow) -> anyhow::Result<Credentials> {
    if let Some(file) = &wish.airflow_token_file {
        return Ok(Credentials::Token(token_of_file(file).context("--airflow-token-file")?));
    }
    let Some(username) = wish.username.clone() else {
        let text =
            "say who reads in Airflow: --username NAME, or a token by --airflow-token-file or WINDLASS_AIRFLOW_TOKEN";
        let token = self::text("WINDLASS_AIRFLOW_TOKEN").ok_or_else(|| Failure::of(Exit::Usage, text))?;
        return Ok(Credentials::Token(token.trim().to_owned()));
    };
    let password = match (&wish.password_file, text("WINDLASS_AIRFLOW_PASSWORD")) {
        (Some(file), _) => secret_of(file).context("--password-file")?,
        (None, Some(password)) => password,
        (None, None) => secret_input::ask(&format!("Password of {username} in Airflow"))?,
    };
    Ok(Credentials::User { username, password })
}

async fn import(installation: &Installation<'_>, source: &Source, wish: &Airflow) -> anyhow::Result<ExitCode> {
    let kinds: BTreeSet<Kind> = match wish.only.as_slice() {
        [] => Kind::ALL.into_iter().filter(|kind| *kind != Kind::Favorites || source.has_favorites()).collect(),
        some => some.iter().copied().collect(),
    };
    let mode = if wish.overwrite { Mode::Overwrite } else { Mode::Keep };
    let favorites_of = wish.favorites_of.clone().or_else(|| source.username.clone()).unwrap_or_else(caller);
    let entries = plan(source, installation, &kinds, mode, &favorites_of).await;
    if wish.dry_run {
        print_plan(&entries, wish.output);
        let is_whole = entries.iter().all(|entry| entry.action != "fail");
        return Ok(if is_whole { ExitCode::SUCCESS } else { Exit::Error.into() });
    }
    let ended = carry_out(installation, entries, &favorites_of).await;
    tell(&ended);
    let starts = ended.iter().filter(|entry| entry.action == "unpause").count();
    if starts > 0 {
        errln!("{starts} DAGs run here from now on: pause them in Airflow, or they run twice");
    }
    summary(&kinds, &ended).print(wish.output);
    let is_whole = ended.iter().all(|entry| entry.action != "fail");
    Ok(if is_whole { ExitCode::SUCCESS } else { Exit::Error.into() })
}

/// Does what is planned; an entry that is refused becomes a failure, and the rest goes on. Where nobody answers, the rest of
/// its kind is not tried: each would wait as long.
async fn carry_out(installation: &Installation<'_>, entries: Vec<Entry>, favorites_of: &str) -> Vec<Entry> {
    let progress = Progress::of(entries.len(), "import");
    let mut silent = BTreeSet::new();
    let mut ended = Vec::with_capacity(entries.len());
    for mut entry in entries {
        let name = entry.name.clone().unwrap_or_default();
        let act = std::mem::replace(&mut entry.act, Act::Nothing);
        if silent.contains(&entry.kind) && !matches!(act, Act::Nothing) {
            (entry.action, entry.note) = ("fail", "not tried: nobody answered before".to_owned());
        } else if let Err(error) = apply(installation, &name, act, favorites_of).await {
            if Exit::of(&error) == Exit::Unreachable {
                silent.insert(entry.kind);
            }
            (entry.action, entry.note) = ("fail", format!("{error:#}"));
        }
        ended.push(entry);
        progress.step();
    }
    ended
}

async fn apply(installation: &Installation<'_>, name: &str, act: Act, favorites_of: &str) -> anyhow::Result<()> {
    match act {
        Act::Nothing => Ok(()),
        Act::Pool(pool) => installation.set_pool(pool).await,
        Act::Variable(variable) => installation.set_variable(variable).await.map(drop),
        Act::NewConnection(connection) => match installation.add_connection(&connection).await? {
            Creation::Created => Ok(()),
            Creation::Exists => Err(Failure::refused("it came to exist here meanwhile, and is kept")),
        },
        Act::OldConnection(connection) => installation.replace_connection(*connection, NoPassword::Keeps).await,
        Act::Pause(to) => installation.pause_dag(name, to).await,
        Act::Favorite => installation.mark_favorite(favorites_of, name).await.map(drop),
    }
}

fn print_plan(entries: &[Entry], output: Output) {
    let mut listing = Listing::new(&["kind", "name", "action", "note"]);
    for entry in entries {
        listing.push([json!(entry.kind.name()), json!(entry.name), json!(entry.action), json!(entry.note)]);
    }
    listing.print(output);
}

/// Everything that somebody has to do something about.
fn tell(entries: &[Entry]) {
    for entry in entries.iter().filter(|entry| !entry.note.is_empty()) {
        let name = entry.name.as_deref().map(|name| format!(" {}", visible(name))).unwrap_or_default();
        let kind = entry.kind.name();
        match entry.action {
            "fail" => errln!("{kind}{name} failed: {}", visible(&entry.note)),
            "keep" => {}
            action => errln!("{kind}{name} ({action}): {}", visible(&entry.note)),
        }
    }
}

fn summary(kinds: &BTreeSet<Kind>, entries: &[Entry]) -> Listing {
    let mut listing = Listing::new(&["kind", "created", "changed", "same", "kept", "skipped", "failed"]);
    for kind in kinds {
        let count = |actions: &[&str]| {
            let of_kind = entries.iter().filter(|entry| entry.kind == *kind);
            json!(of_kind.filter(|entry| actions.contains(&entry.action)).count())
        };
        listing.push([
            json!(kind.name()),
            count(&["create", "mark"]),
            count(&["replace", "pause", "unpause"]),
            count(&["same"]),
            count(&["keep"]),
            count(&["skip"]),
            count(&["fail"]),
        ]);
    }
    listing
}
