//! `windlass approvals …`: what tasks ask people.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::json;

use crate::{
    commands::instances::TaskName,
    exit::Exit,
    installation::{AnswerWish, ApprovalsWanted, Installation},
    output::{Listing, Output},
    settings::Settings,
};

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Approvals {
    /// The questions that wait for an answer, the oldest first.
    List {
        /// Of this DAG only.
        dag_id: Option<String>,
        /// Those that have been answered, too.
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        output: Output,
    },
    /// Answer the question of a task.
    Answer(Answer),
}

/// Options of `approvals answer`.
#[derive(Debug, Args)]
pub struct Answer {
    #[command(flatten)]
    task: TaskName,
    /// What is chosen; again for a further option.
    #[arg(long = "option", required = true)]
    options: Vec<String>,
    /// Values for the params that are asked for, a JSON object.
    #[arg(long, value_name = "JSON")]
    params_input: Option<String>,
}

/// Carries one out.
///
/// # Errors
/// What went wrong, in words for people.
pub async fn run(settings: &Settings, command: Approvals) -> anyhow::Result<ExitCode> {
    Installation::with(settings, async |installation| carry_out(installation, command).await).await
}

async fn carry_out(installation: &Installation<'_>, command: Approvals) -> anyhow::Result<ExitCode> {
    match command {
        Approvals::List { dag_id, all, output } => {
            let wanted = if all { ApprovalsWanted::All } else { ApprovalsWanted::Waiting };
            let columns =
                &["dag_id", "run_id", "task_id", "map_index", "subject", "options", "created_at", "answer", "by"];
            let mut listing = Listing::new(columns);
            for one in installation.approvals(dag_id.as_deref(), wanted).await? {
                listing.push([
                    json!(one.dag_id),
                    json!(one.run_id),
                    json!(one.task_id),
                    json!(one.map_index),
                    json!(one.subject),
                    json!(one.options.join(", ")),
                    json!(one.created_at),
                    json!(one.chosen_options.map(|chosen| chosen.join(", "))),
                    json!(one.responded_by),
                ]);
            }
            listing.print(output);
        }
        Approvals::Answer(answer) => {
            let said = format!("{}: answered {}", answer.task.task_id, answer.options.join(", "));
            let wish = AnswerWish { task: answer.task, options: answer.options, input: answer.params_input };
            installation.answer(wish).await?;
            outln!("{said}");
        }
    }
    Ok(Exit::Done.into())
}
