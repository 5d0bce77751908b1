//! Changes: a command goes into the inbox, the leader applies it in a turn and answers.

use std::{collections::BTreeSet, time::Duration};

use model::{Answer, Command, CommandId};
use serde_json::Value;
use sqlx::PgPool;
use store::inbox::{self, Withdrawal};

use crate::{
    app::App,
    auth::Principal,
    error::{ApiError, ApiResult},
};

/// Sends commands together, as [`send_each`], and gives the first mistake.
///
/// # Errors
/// As [`send`], of any of them. The others are carried out nevertheless.
pub async fn send_all(app: &App, commands: impl IntoIterator<Item = Command>, who: &Principal) -> ApiResult<()> {
    send_each(app, commands.into_iter().collect(), who).await?.into_iter().try_for_each(|done| done.map(drop))
}

/// Sends commands in one step, so that the leader takes them together, and waits for what came of each, in their order. One that
/// breaks a rule by itself is refused by itself.
///
/// # Errors
/// When they can not be left for the leader: none is carried out then.
pub async fn send_each(app: &App, commands: Vec<Command>, who: &Principal) -> ApiResult<Vec<ApiResult<Value>>> {
    let checked: Vec<Result<(), String>> = commands.iter().map(Command::check).collect();
    let good: Vec<Command> =
        commands.into_iter().zip(&checked).filter(|(_, check)| check.is_ok()).map(|(command, _)| command).collect();
    if good.is_empty() {
        return Ok(checked.into_iter().filter_map(Result::err).map(|why| Err(ApiError::BadRequest(why))).collect());
    }
    let ids = inbox::submit_all(&app.pool, &good, who.actor()).await?;
    let mut pending = Pending { pool: &app.pool, ids: ids.iter().copied().collect() };
    app.leader.hint();
    let mut ids = ids.into_iter();
    let mut patience = app.settings.answer_timeout;
    let mut results = Vec::with_capacity(checked.len());
    for check in checked {
        let done = match check {
            Err(why) => Err(ApiError::BadRequest(why)),
            Ok(()) => match ids.next() {
                Some(id) => settle(app, &mut pending, id, patience).await,
                None => Err(ApiError::Undecided),
            },
        };
        if matches!(done, Err(ApiError::NoLeader(_))) {
            patience = Duration::ZERO;
        }
        results.push(done);
    }
    Ok(results)
}

/// Sends groups of commands together, of which some could not even be made: what came of each group: its answers,
/// or its first mistake.
///
/// # Errors
/// As [`send_each`].
pub async fn send_groups(
    app: &App,
    groups: Vec<ApiResult<Vec<Command>>>,
    who: &Principal,
) -> ApiResult<Vec<ApiResult<Vec<Value>>>> {
    let mut sizes = Vec::with_capacity(groups.len());
    let mut all = Vec::new();
    for group in groups {
        sizes.push(group.map(|commands| {
            let size = commands.len();
            all.extend(commands);
            size
        }));
    }
    let mut done = send_each(app, all, who).await?.into_iter();
    // All of a group's answers are taken, also those behind a mistake.
    let mut of_group = |size: usize| done.by_ref().take(size).collect::<Vec<_>>().into_iter().collect();
    Ok(sizes.into_iter().map(|size| size.and_then(&mut of_group)).collect())
}

/// The same of commands of which some could not even be made: their mistakes keep their places.
///
/// # Errors
/// As [`send_each`].
pub async fn send_those(
    app: &App,
    commands: Vec<ApiResult<Command>>,
    who: &Principal,
) -> ApiResult<Vec<ApiResult<Value>>> {
    let mut good = Vec::new();
    let mut mistakes = Vec::new();
    for command in commands {
        match command {
            Ok(command) => {
                good.push(command);
                mistakes.push(None);
            }
            Err(error) => mistakes.push(Some(error)),
        }
    }
    let mut done = send_each(app, good, who).await?.into_iter();
    let result = |mistake: Option<ApiError>| match mistake {
        Some(error) => Err(error),
        None => done.next().unwrap_or(Err(ApiError::Undecided)),
    };
    Ok(mistakes.into_iter().map(result).collect())
}

/// Sends a command and waits for what came of it.
///
/// # Errors
/// What the leader answers, and [`ApiError::NoLeader`] when nobody took the command: it is withdrawn then, so that
/// nothing happens behind the back of somebody who was told that nothing did.
pub async fn send(app: &App, command: &Command, who: &Principal) -> ApiResult<Value> {
    let id = inbox::submit(&app.pool, command, who.actor()).await?;
    let mut pending = Pending { pool: &app.pool, ids: BTreeSet::from([id]) };
    app.leader.hint();
    settle(app, &mut pending, id, app.settings.answer_timeout).await
}

/// What came of a command, waited for so long; one that nobody has taken by then is withdrawn.
async fn settle(app: &App, pending: &mut Pending<'_>, id: CommandId, patience: Duration) -> ApiResult<Value> {
    if let Some(answer) = answer(app, id, patience).await? {
        pending.ids.remove(&id);
        return ApiError::of_answer(answer);
    }
    let withdrawal = inbox::cancel_command(&app.pool, id).await?;
    pending.ids.remove(&id);
    match withdrawal {
        Withdrawal::Withdrawn => Err(ApiError::NoLeader("no leader took the command in time".to_owned())),
        // The leader that is in force has it, so it can not be taken back: its answer is on its way.
        Withdrawal::AlreadyTaken => match answer(app, id, app.settings.answer_timeout).await? {
            Some(answer) => ApiError::of_answer(answer),
            None => Err(ApiError::Undecided),
        },
    }
}

/// Commands whose sender waits. When the sender is gone, because the client hung up or the request took too long, those that
/// nobody has taken are withdrawn.
struct Pending<'p> {
    pool: &'p PgPool,
    ids: BTreeSet<CommandId>,
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        let ids = std::mem::take(&mut self.ids);
        if ids.is_empty() {
            return;
        }
        let pool = self.pool.clone();
        tokio::spawn(async move {
            for id in ids {
                match inbox::cancel_command(&pool, id).await {
                    Ok(Withdrawal::Withdrawn) => {
                        tracing::info!(
                            command.id = id.get(),
                            "a command is withdrawn: its sender does not wait any more"
                        );
                    }
                    Ok(Withdrawal::AlreadyTaken) => {}
                    Err(error) => tracing::warn!(%error, command.id = id.get(), "a command could not be withdrawn"),
                }
            }
        });
    }
}

async fn answer(app: &App, id: CommandId, patience: Duration) -> ApiResult<Option<Answer>> {
    Ok(inbox::await_answer(&app.pool, &app.hints, id, patience).await?)
}
