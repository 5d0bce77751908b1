//! Changes: a command goes into the inbox, the leader applies it in a turn and answers.

use futures::{StreamExt, TryStreamExt, stream};
use model::{Answer, Command, CommandId};
use serde_json::Value;
use sqlx::PgPool;
use store::inbox::{self, Withdrawal};

use crate::{
    app::App,
    auth::Principal,
    error::{ApiError, ApiResult},
};

/// Commands of one request that wait for the leader at once: it takes them in one turn, and each holds a connection.
const AT_ONCE: usize = 16;

/// Sends commands that do not depend on each other, and waits for what came of them. The first that fails ends it: what
/// nobody has taken by then is withdrawn.
///
/// # Errors
/// As [`send`].
pub async fn send_all(app: &App, commands: impl IntoIterator<Item = Command>, who: &Principal) -> ApiResult<()> {
    let sent = stream::iter(commands).map(|command| async move { send(app, &command, who).await.map(drop) });
    sent.buffer_unordered(AT_ONCE).try_collect().await
}

/// Sends a command and waits for what came of it.
///
/// # Errors
/// What the leader answers, and [`ApiError::NoLeader`] when nobody took the command: it is withdrawn then, so that
/// nothing happens behind the back of somebody who was told that nothing did.
pub async fn send(app: &App, command: &Command, who: &Principal) -> ApiResult<Value> {
    let id = inbox::submit(&app.pool, command, who.actor()).await?;
    let mut pending = Pending { pool: &app.pool, id: Some(id) };
    app.leader.hint();
    if let Some(answer) = answer(app, id).await? {
        pending.id = None;
        return ApiError::of_answer(answer);
    }
    match inbox::cancel_command(&app.pool, id).await? {
        Withdrawal::Withdrawn => {
            pending.id = None;
            Err(ApiError::NoLeader("no leader took the command in time".to_owned()))
        }
        // The leader that is in force has it, so it can not be taken back: its answer is on its way.
        Withdrawal::AlreadyTaken => {
            pending.id = None;
            match answer(app, id).await? {
                Some(answer) => ApiError::of_answer(answer),
                None => Err(ApiError::Undecided),
            }
        }
    }
}

/// A command whose sender waits. When the sender is gone, because the client hung up or the request took too long, a command
/// that nobody has taken is withdrawn.
struct Pending<'p> {
    pool: &'p PgPool,
    id: Option<CommandId>,
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        let Some(id) = self.id else { return };
        let pool = self.pool.clone();
        tokio::spawn(async move {
            match inbox::cancel_command(&pool, id).await {
                Ok(Withdrawal::Withdrawn) => {
                    tracing::info!(command.id = id.get(), "a command is withdrawn: its sender does not wait any more");
                }
                Ok(Withdrawal::AlreadyTaken) => {}
                Err(error) => tracing::warn!(%error, command.id = id.get(), "a command could not be withdrawn"),
            }
        });
    }
}

async fn answer(app: &App, id: CommandId) -> ApiResult<Option<Answer>> {
    Ok(inbox::await_answer(&app.pool, &app.hints, id, app.settings.answer_timeout).await?)
}
