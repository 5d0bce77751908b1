//! `windlass variables …`: Airflow's words for settings that tasks read.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context;
use clap::{Subcommand, ValueEnum};
use model::door::inexact;
use serde_json::{Map, Value, json};
use store::secrets::{Creation, variables::Variable};

use crate::{
    exit::{Exit, Failure},
    installation::Installation,
    output::{Listing, Output},
    secret_input::{read_file, resolve, write_file},
    settings::Settings,
};

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Variables {
    /// One line a variable, without its value.
    List {
        #[command(flatten)]
        output: Output,
    },
    /// Print the value of a variable.
    Get {
        /// Its key.
        key: String,
        /// What to print when there is none.
        #[arg(long, short)]
        default: Option<String>,
        /// Read the value as JSON, and fail when it is not.
        #[arg(long, short)]
        json: bool,
    },
    /// Create a variable or replace it.
    Set {
        /// Its key.
        key: String,
        /// Its value; `-` reads it from standard input.
        value: String,
        /// What it is for.
        #[arg(long)]
        description: Option<String>,
        /// Refuse a value that is not JSON.
        #[arg(long, short)]
        json: bool,
    },
    /// Delete a variable.
    Delete {
        /// Its key.
        key: String,
    },
    /// Write every variable into a JSON file, in clear; `-` for standard output.
    Export {
        /// The file; one that is there is replaced.
        file: PathBuf,
    },
    /// Create the variables of a JSON file; `-` for standard input.
    Import {
        /// The file: an object of values, or of `{"value": …, "description": …}`.
        file: PathBuf,
        /// What to do with those that are there.
        #[arg(long, short, value_enum, default_value_t = OnExisting::Overwrite)]
        action_on_existing_key: OnExisting,
    },
}

/// What an import does with a variable that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OnExisting {
    /// Replace it.
    Overwrite,
    /// Stop before anything is imported.
    Fail,
    /// Leave it.
    Skip,
}

/// Carries one out.
///
/// # Errors
/// What went wrong, in words for people.
pub async fn run(settings: &Settings, command: Variables) -> anyhow::Result<ExitCode> {
    Installation::with(settings, async |installation| carry_out(installation, command).await).await?;
    Ok(ExitCode::SUCCESS)
}

async fn carry_out(installation: &Installation<'_>, command: Variables) -> anyhow::Result<()> {
    match command {
        Variables::List { output } => {
            let mut listing = Listing::new(&["key", "description"]);
            for stored in installation.variables().await? {
                listing.push([json!(stored.variable.key), json!(stored.variable.description)]);
            }
            listing.print(output);
        }
        Variables::Get { key, default, json } => {
            let stored = installation.variable(&key).await?;
            if let Some(problem) = stored.as_ref().and_then(|stored| stored.problem.as_ref()) {
                return Err(Failure::refused(format!("variable {key}: {problem}")));
            }
            let value = stored.map(|stored| stored.variable.value).or(default);
            let value = value.ok_or_else(|| Failure::missing(format!("there is no variable {key}")))?;
            outln!("{}", if json { pretty(&value)? } else { value });
        }
        Variables::Set { key, value, description, json } => {
            let value = resolve(value, "Value")?;
            if json {
                pretty(&value)?;
            }
            let variable = Variable { key, value, description };
            check(&variable)?;
            set(installation, variable).await?;
        }
        Variables::Delete { key } => {
            installation.delete_variable(&key).await?;
            outln!("variable {key} is deleted");
        }
        Variables::Export { file } => export(installation, &file).await?,
        Variables::Import { file, action_on_existing_key } => {
            import(installation, imported(&read_file(&file)?)?, action_on_existing_key).await?;
        }
    }
    Ok(())
}

fn pretty(value: &str) -> anyhow::Result<String> {
    let parsed: Value = serde_json::from_str(value).context("the value is not JSON")?;
    if inexact(value).is_some() {
        // Read and written again it would be another one.
        return Ok(value.to_owned());
    }
    let value = parsed;
    Ok(serde_json::to_string_pretty(&value)?)
}

/// Refuses what can not be a variable.
///
/// # Errors
/// What is wrong with it.
pub fn check(variable: &Variable) -> anyhow::Result<()> {
    let mistakes: Vec<String> = variable.mistakes().iter().map(ToString::to_string).collect();
    if mistakes.is_empty() {
        return Ok(());
    }
    Err(Failure::of(Exit::Refused, format!("variable {}: {}", variable.key, mistakes.join("; "))))
}

async fn set(installation: &Installation<'_>, new: Variable) -> anyhow::Result<()> {
    let name = new.key.clone();
    match installation.set_variable(new).await? {
        Creation::Created => outln!("variable {name} is there now"),
        Creation::Exists => outln!("variable {name} is replaced"),
    }
    Ok(())
}

async fn export(installation: &Installation<'_>, file: &std::path::Path) -> anyhow::Result<()> {
    let mut all: Map<String, Value> = Map::new();
    for stored in installation.variables().await? {
        if let Some(problem) = stored.problem {
            let text = format!("variable {} can not be exported: {problem}", stored.variable.key);
            return Err(Failure::refused(text));
        }
        let Variable { key, value, description } = stored.variable;
        let exact = inexact(&value).is_none();
        let value = serde_json::from_str(&value).ok().filter(|_| exact).unwrap_or(Value::String(value));
        let entry = match description {
            Some(description) => json!({ "value": value, "description": description }),
            None => value,
        };
        all.insert(key, entry);
    }
    write_file(file, &(serde_json::to_string_pretty(&all)? + "\n"))?;
    errln!("{} variables are written, in clear", all.len());
    Ok(())
}

/// The variables of a file. Texts stay as they are, other values become JSON.
fn imported(text: &str) -> anyhow::Result<Vec<Variable>> {
    let all: Map<String, Value> = serde_json::from_str(text).context("the file is not a JSON object")?;
    if let Some(number) = inexact(text) {
        return Err(Failure::refused(format!(
            "the file has the whole number {number}, which has more than 64 bits and would not be kept exactly: write it as a text"
        )));
    }
    let text_of = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let one = |(key, entry): (String, Value)| {
        let described = entry.get("value").filter(|_| {
            let fields = entry.as_object().map(|fields| fields.keys().map(String::as_str).collect::<Vec<_>>());
            fields.is_some_and(|names| names.iter().all(|name| ["value", "description"].contains(name)))
        });
        let description = described.and(entry.get("description")).and_then(Value::as_str).map(str::to_owned);
        Variable { key, value: text_of(described.unwrap_or(&entry)), description }
    };
    let found: Vec<Variable> = all.into_iter().map(one).collect();
    found.iter().try_for_each(check)?;
    Ok(found)
}

async fn import(installation: &Installation<'_>, wanted: Vec<Variable>, existing: OnExisting) -> anyhow::Result<()> {
    let known = installation.variables().await?;
    let exists = |variable: &Variable| known.iter().any(|stored| stored.variable.key == variable.key);
    if existing == OnExisting::Fail
        && let Some(variable) = wanted.iter().find(|variable| exists(variable))
    {
        let text = format!("there is a variable {} already; nothing was imported", variable.key);
        return Err(Failure::refused(text));
    }
    for variable in wanted {
        if existing == OnExisting::Skip && exists(&variable) {
            outln!("variable {} is there already and left alone", variable.key);
        } else {
            set(installation, variable).await?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_values_with_or_without_a_description() {
        let text = r#"{"a": "text", "b": {"x": 1}, "c": {"value": [1], "description": "d"}}"#;
        let found = imported(text).unwrap();
        let told: Vec<_> = found.iter().map(|v| (v.value.as_str(), v.description.as_deref())).collect();
        assert_eq!(told, [("text", None), (r#"{"x":1}"#, None), ("[1]", Some("d"))]);
        assert!(imported("[]").is_err() && imported(r#"{"": "x"}"#).is_err());
    }
}
