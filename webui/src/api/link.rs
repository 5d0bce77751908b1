//! Where workers find the leader. Asked with a join token, by workers that know api processes only.

use axum::{Json, extract::State};
use serde_json::{Value, json};
use store::cluster;

use crate::{
    app::App,
    error::{ApiError, ApiResult},
};

/// `GET /link/endpoint`: the address of the leader's link, and the epoch, by which a worker tells old news from new.
pub async fn endpoint(State(app): State<App>) -> ApiResult<Json<Value>> {
    let seat = cluster::leader_seat(&app.pool).await?;
    if seat.epoch.get() == 0 {
        return Err(ApiError::NoLeader("no scheduler has led yet".to_owned()));
    }
    Ok(Json(json!({ "epoch": seat.epoch.get(), "endpoint": seat.endpoint, "leader": seat.holder })))
}
