//! `windlass connections …`: Airflow's words for addresses and passwords of other systems.
//!
//! Lists and single ones are printed without secrets; only an export has them.

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context, bail};
use clap::{Args, Subcommand, ValueEnum};
use model::masking::{self, MASK};
use serde_json::{Map, Value, json};
use store::secrets::{Connection, Creation, connections::Stored, uri};

use crate::{
    exit::{Exit, Failure},
    installation::{Installation, NoPassword},
    output::{Listing, Output},
    secret_input::{read_file, resolve, write_file},
    settings::Settings,
};

const COLUMNS: &[&str] =
    &["conn_id", "conn_type", "description", "host", "schema", "login", "password", "port", "extra"];

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Connections {
    /// One line a connection, without secrets.
    List {
        /// Only this one.
        #[arg(long)]
        conn_id: Option<String>,
        #[command(flatten)]
        output: Output,
    },
    /// One connection, without its secrets.
    Get {
        /// Its id.
        conn_id: String,
        #[command(flatten)]
        output: Output,
    },
    /// Create a connection; `-` in place of a secret reads it from standard input.
    Add(Box<Add>),
    /// Delete a connection.
    Delete {
        /// Its id.
        conn_id: String,
    },
    /// Let a server try a connection; servers that test none refuse.
    Test {
        /// Its id.
        conn_id: String,
    },
    /// Write every connection into a file, with its secrets in clear; `-` for standard output.
    Export {
        /// The file; one that is there is replaced.
        file: PathBuf,
        /// A JSON object, or a line `id=uri` each.
        #[arg(long, value_enum, default_value_t = FileFormat::Json)]
        file_format: FileFormat,
    },
    /// Create the connections of a file, in either form of an export; `-` for standard input.
    Import {
        /// The file.
        file: PathBuf,
        /// Replace those that are there; they are left alone otherwise.
        #[arg(long)]
        overwrite: bool,
    },
}

/// How connections stand in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FileFormat {
    /// One JSON object.
    Json,
    /// A line `id=uri` each.
    Env,
}

/// A new connection: a URI, a JSON object, or its fields.
#[derive(Debug, Args)]
pub struct Add {
    /// Its id.
    conn_id: String,
    /// `type://login:password@host:port/schema?extra=…`
    #[arg(long, conflicts_with_all = ["conn_json", "conn_type"])]
    conn_uri: Option<String>,
    /// A JSON object with the fields' names.
    #[arg(long, conflicts_with = "conn_type")]
    conn_json: Option<String>,
    /// Its type, such as postgres, http or trino.
    #[arg(long, required_unless_present_any = ["conn_uri", "conn_json"])]
    conn_type: Option<String>,
    /// What it is for.
    #[arg(long)]
    conn_description: Option<String>,
    /// Host name or address.
    #[arg(long)]
    conn_host: Option<String>,
    /// User.
    #[arg(long)]
    conn_login: Option<String>,
    /// Password; `-` asks for it.
    #[arg(long)]
    conn_password: Option<String>,
    /// Schema or database.
    #[arg(long)]
    conn_schema: Option<String>,
    /// Port.
    #[arg(long)]
    conn_port: Option<i32>,
    /// Further settings, a JSON object; `-` reads it from standard input.
    #[arg(long)]
    conn_extra: Option<String>,
}

/// Carries one out.
///
/// # Errors
/// What went wrong, in words for people.
pub async fn run(settings: &Settings, command: Connections) -> anyhow::Result<ExitCode> {
    Installation::with(settings, async |installation| carry_out(installation, command).await).await?;
    Ok(ExitCode::SUCCESS)
}

async fn carry_out(installation: &Installation<'_>, command: Connections) -> anyhow::Result<()> {
    match command {
        Connections::List { conn_id, output } => {
            let mut found = installation.connections().await?;
            found.retain(|stored| conn_id.as_ref().is_none_or(|id| stored.connection.conn_id == *id));
            print(&found, output);
        }
        Connections::Get { conn_id, output } => print(&[installation.connection(&conn_id).await?], output),
        Connections::Add(add) => {
            let connection = connection_of(*add)?;
            check(&connection)?;
            let id = &connection.conn_id;
            match installation.add_connection(&connection).await? {
                Creation::Created => outln!("connection {id} is there now"),
                Creation::Exists => {
                    return Err(Failure::refused(format!("there is a connection {id} already; delete it first")));
                }
            }
        }
        Connections::Delete { conn_id } => {
            installation.delete_connection(&conn_id).await?;
            outln!("connection {conn_id} is deleted");
        }
        Connections::Test { conn_id } => outln!("{}", installation.test_connection(&conn_id).await?),
        Connections::Export { file, file_format } => {
            if let Installation::Server(_) = installation {
                let text = "a server gives the secrets of connections to nobody, so an export needs the database: \
                            run it where DATABASE_URL or WINDLASS_HOME names the installation";
                return Err(Failure::of(Exit::Usage, text));
            }
            let found = installation.connections().await?;
            write_file(&file, &exported(&found, file_format)?)?;
            errln!("{} connections are written, with their secrets in clear", found.len());
        }
        Connections::Import { file, overwrite } => {
            let wanted = imported(&read_file(&file)?)?;
            for connection in &wanted {
                check(connection)?;
            }
            for connection in wanted {
                import(installation, connection, overwrite).await?;
            }
        }
    }
    Ok(())
}

fn print(found: &[Stored], output: Output) {
    let mut listing = Listing::new(COLUMNS);
    for Stored { connection: one, problem } in found {
        if let Some(problem) = problem {
            errln!("{}: {problem}", one.conn_id);
        }
        listing.push([
            json!(one.conn_id),
            json!(one.conn_type),
            json!(one.description),
            json!(one.host.as_deref().map(masking::masked_text)),
            json!(one.schema),
            json!(one.login),
            json!(one.password.as_ref().map(|_| MASK)),
            json!(one.port),
            json!(one.extra.as_deref().map(shown_extra)),
        ]);
    }
    listing.print(output);
}

fn shown_extra(extra: &str) -> String {
    serde_json::from_str::<Value>(extra).map_or_else(|_| MASK.to_owned(), |value| masking::masked(&value).to_string())
}

fn connection_of(add: Add) -> anyhow::Result<Connection> {
    if let Some(text) = add.conn_uri.or(add.conn_json) {
        let text = resolve(text, "URI or JSON object")?;
        return uri::parse(&add.conn_id, &text).map_err(|why| anyhow::anyhow!("it is not a connection: {why}"));
    }
    Ok(Connection {
        conn_id: add.conn_id,
        conn_type: add.conn_type.unwrap_or_default(),
        host: add.conn_host,
        schema: add.conn_schema,
        login: add.conn_login,
        password: add.conn_password.map(|text| resolve(text, "Password")).transpose()?,
        port: add.conn_port,
        extra: add.conn_extra.map(|text| resolve(text, "Extra")).transpose()?,
        description: add.conn_description,
    })
}

/// Refuses what can not be a connection.
///
/// # Errors
/// What is wrong with it.
pub fn check(connection: &Connection) -> anyhow::Result<()> {
    let mistakes: Vec<String> = connection.mistakes().iter().map(ToString::to_string).collect();
    if mistakes.is_empty() {
        return Ok(());
    }
    Err(Failure::refused(format!("connection {}: {}", connection.conn_id, mistakes.join("; "))))
}

fn exported(found: &[Stored], format: FileFormat) -> anyhow::Result<String> {
    if let Some((id, problem)) =
        found.iter().find_map(|stored| Some((&stored.connection.conn_id, stored.problem.as_ref()?)))
    {
        bail!("connection {id} can not be exported: {problem}");
    }
    match format {
        FileFormat::Json => {
            let one = |stored: &Stored| (stored.connection.conn_id.clone(), uri::object(&stored.connection));
            let all: Map<String, Value> = found.iter().map(one).collect();
            Ok(serde_json::to_string_pretty(&all)? + "\n")
        }
        FileFormat::Env => {
            let line = |stored: &Stored| format!("{}={}\n", stored.connection.conn_id, uri::write(&stored.connection));
            Ok(found.iter().map(line).collect())
        }
    }
}

/// The connections of a file: a JSON object of objects or URIs, or lines.
fn imported(text: &str) -> anyhow::Result<Vec<Connection>> {
    let parse = |id: &str, text: &str| {
        uri::parse(id, text).map_err(|why| anyhow::anyhow!("connection {id} of the file can not be read: {why}"))
    };
    if text.trim_start().starts_with('{') {
        let all: Map<String, Value> = serde_json::from_str(text).context("the file is not a JSON object")?;
        let one = |(id, value): (String, Value)| match value {
            Value::String(uri) => parse(&id, &uri),
            other => parse(&id, &other.to_string()),
        };
        return all.into_iter().map(one).collect();
    }
    let lines = text.lines().enumerate().map(|(at, line)| (at + 1, line.trim()));
    let meant = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let one = |(number, line): (usize, &str)| match line.split_once('=') {
        Some((id, uri)) => parse(id.trim(), uri.trim()),
        None => bail!("line {number} of the file is not `id=uri`"),
    };
    meant.map(one).collect()
}

async fn import(installation: &Installation<'_>, new: Connection, overwrite: bool) -> anyhow::Result<()> {
    let id = new.conn_id.clone();
    match installation.add_connection(&new).await? {
        Creation::Created => outln!("connection {id} is imported"),
        Creation::Exists if overwrite => {
            installation.replace_connection(new, NoPassword::Removes).await?;
            outln!("connection {id} is replaced");
        }
        Creation::Exists => outln!("connection {id} is there already and left alone; --overwrite replaces it"),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_exported_can_be_imported() {
        let connection = uri::parse("db", "postgres://me:s3cret@h:1/x?sslmode=require").unwrap();
        let found = [Stored { connection: connection.clone(), problem: None }];
        for format in [FileFormat::Json, FileFormat::Env] {
            let text = exported(&found, format).unwrap();
            assert!(imported(&text).unwrap() == vec![connection.clone()], "{text}");
        }
        let from_uri = imported(r#"{"db": "postgres://me:s3cret@h:1/x?sslmode=require"}"#).unwrap();
        assert!(from_uri == vec![connection]);
    }

    #[test]
    fn a_bad_file_is_refused_by_its_line_without_its_text() {
        let error = imported("# note\n\nno uri at all s3cret").unwrap_err().to_string();
        assert!(error.contains("line 3") && !error.contains("s3cret"), "{error}");
    }
}
