//! Answering the questions of tasks.

use model::{
    Command, TaskState,
    command::AnswerQuestion,
    door::{Conf, Text},
    operator::HitlUser,
};
use serde_json::{Map, Value};

use super::commands;
use crate::{
    app::App,
    auth::Principal,
    error::{ApiError, ApiResult},
    reads::{instances::TaskOfRun, questions},
};

/// An answer that somebody gives.
#[derive(Debug, Clone, PartialEq)]
pub struct Given {
    /// The options that are chosen.
    pub chosen_options: Vec<String>,
    /// Values for the params that are asked for.
    pub params_input: Map<String, Value>,
}

/// Sends the answer to the question of an instance: what the leader has taken of it, as Airflow's operators return it.
///
/// # Errors
/// [`ApiError::NotFound`] when it asks nothing, [`ApiError::Conflict`] when its question is answered already or does not wait any more,
/// [`ApiError::Refused`] when others are asked, [`ApiError::BadRequest`] when the answer does not fit the question; what the leader
/// answers.
pub async fn answer(app: &App, of: &TaskOfRun, given: Given, who: &Principal) -> ApiResult<Value> {
    let id = of.key.uuid();
    let asked = of.task().operator.asking().zip(questions::current(app, of).await?);
    let Some((asking, question)) = asked else {
        return Err(ApiError::NotFound(format!(
            "Human-in-the-loop detail does not exist for Task Instance with id {id}"
        )));
    };
    if question.response.is_some() {
        return Err(ApiError::Conflict(format!(
            "Human-in-the-loop detail has already been updated for Task Instance with id {id} and is not allowed to write again."
        )));
    }
    if of.state() != TaskState::AwaitingInput {
        return Err(ApiError::Conflict(format!(
            "Task Instance with id {id} does not await an answer: it is {}",
            of.state()
        )));
    }
    if !asking.may_answer(&who.name) {
        return Err(ApiError::Refused(format!("User={} is not a respondent for the task", who.name)));
    }
    asking.check_chosen(&given.chosen_options).map_err(ApiError::BadRequest)?;
    dag::check_input(asking, &given.params_input).map_err(|wrong| ApiError::BadRequest(wrong.join("; ")))?;
    let text = |text: String| Text::new(text).map_err(|error| ApiError::BadRequest(error.to_string()));
    let wish = AnswerQuestion {
        instance: of.name(),
        chosen_options: given.chosen_options.into_iter().map(text).collect::<ApiResult<_>>()?,
        params_input: Conf::new(given.params_input).map_err(|error| ApiError::BadRequest(error.to_string()))?,
        user: HitlUser::named(who.name.clone()),
    };
    commands::send(app, &Command::AnswerQuestion(wish), who).await
}
