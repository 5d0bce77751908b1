//! Backfills that people ask for, try dry, hold back and end; both doors, REST and page, come here.

use chrono::Utc;
use engine::{BackfillRow, backfill};
use model::{
    BackfillId, Command,
    command::{CreateBackfill, Paused},
};
use serde_json::Value;
use store::read::{self, DRY_DATES_MAX, DagView, DryDate, Version};

use super::{commands, runs::check_conf};
use crate::{
    app::App,
    auth::Principal,
    error::{ApiError, ApiResult},
    reads::lookup::lookup_backfill,
};

/// Checks a wish for a backfill and sends it.
///
/// # Errors
/// [`ApiError::MalformedText`] when it makes no sense, and what the leader answers.
pub async fn create(
    app: &App,
    view: &DagView,
    version: &Version,
    wish: CreateBackfill,
    who: &Principal,
) -> ApiResult<BackfillRow> {
    if view.has_import_errors {
        let text = format!(
            "DAG with dag_id: '{}' has import errors and cannot be backfilled: mend {}",
            view.dag_id, view.fileloc
        );
        return Err(ApiError::BadRequest(text));
    }
    check(version, &wish)?;
    let answer = commands::send(app, &Command::CreateBackfill(wish), who).await?;
    lookup_backfill(app, answer.get("backfill_id").and_then(Value::as_i64).unwrap_or_default()).await
}

fn check(version: &Version, wish: &CreateBackfill) -> ApiResult<()> {
    let sense = backfill::check(&version.dag, wish, Utc::now());
    sense.map_err(|senseless| ApiError::MalformedText(senseless.to_string()))?;
    check_conf(version, wish.conf.get())
}

/// What a backfill would do now, in its order; nothing is changed.
///
/// # Errors
/// [`ApiError::MalformedText`] when the wish makes no sense, or has more dates than are listed.
pub async fn dry_run(app: &App, version: &Version, wish: &CreateBackfill) -> ApiResult<Vec<DryDate>> {
    check(version, wish)?;
    read::dry_run(&app.pool, &version.dag, wish, Utc::now()).await?.ok_or_else(|| {
        ApiError::MalformedText(format!(
            "the range has more than {DRY_DATES_MAX} dates, which a dry run does not list: name a shorter one; a backfill \
             itself takes any number"
        ))
    })
}

/// Holds a backfill back, or lets it go on.
///
/// # Errors
/// [`ApiError::Conflict`] when it is over.
pub async fn pause(app: &App, row: BackfillRow, to: Paused, who: &Principal) -> ApiResult<BackfillRow> {
    refuse_completed(&row)?;
    let BackfillRow { dag_id, id: backfill, .. } = row;
    change(app, backfill, Command::PauseBackfill { dag_id, backfill, to }, who).await
}

/// Ends a backfill.
///
/// # Errors
/// [`ApiError::Conflict`] when it is over.
pub async fn cancel(app: &App, row: BackfillRow, who: &Principal) -> ApiResult<BackfillRow> {
    refuse_completed(&row)?;
    let BackfillRow { dag_id, id: backfill, .. } = row;
    change(app, backfill, Command::CancelBackfill { dag_id, backfill }, who).await
}

fn refuse_completed(row: &BackfillRow) -> ApiResult<()> {
    if row.completed_at.is_none() {
        return Ok(());
    }
    Err(ApiError::Conflict("Backfill is already completed.".to_owned()))
}

async fn change(app: &App, id: BackfillId, command: Command, who: &Principal) -> ApiResult<BackfillRow> {
    commands::send(app, &command, who).await?;
    lookup_backfill(app, id.get()).await
}
