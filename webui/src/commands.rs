//! Changes: a command goes into the inbox, the leader applies it in a turn and answers.

use model::{Answer, Command, CommandId};
use serde_json::Value;
use store::inbox::{self, Withdrawal};

use crate::{
    app::App,
    auth::Principal,
    error::{ApiError, ApiResult},
};

/// Sends a command and waits for what came of it.
///
/// # Errors
/// What the leader answers, and [`ApiError::NoLeader`] when nobody took the command: it is withdrawn then, so that
/// nothing happens behind the back of somebody who was told that nothing did.
pub async fn send(app: &App, command: &Command, who: &Principal) -> ApiResult<Value> {
    let id = inbox::submit(&app.pool, command, &who.name).await?;
    app.leader.hint();
    if let Some(answer) = answer(app, id).await? {
        return ApiError::of_answer(answer);
    }
    match inbox::cancel_command(&app.pool, id).await? {
        Withdrawal::Withdrawn => Err(ApiError::NoLeader("no leader took the command in time".to_owned())),
        // The leader that is in force has it, so it can not be taken back: its answer is on its way.
        Withdrawal::AlreadyTaken => match answer(app, id).await? {
            Some(answer) => ApiError::of_answer(answer),
            None => Err(ApiError::NoLeader(
                "the leader has taken the command and has not answered yet: it may still be carried out, so look before you \
                 send it again"
                    .to_owned(),
            )),
        },
    }
}

async fn answer(app: &App, id: CommandId) -> ApiResult<Option<Answer>> {
    Ok(inbox::await_answer(&app.pool, &app.hints, id, app.settings.answer_timeout).await?)
}
