//! What is no mistake in a DAG and keeps its tasks from running: pools that they name and that do not exist.

use axum::{Extension, Json, extract::State};
use model::DagId;
use serde::Serialize;
use store::read::{self, MissingPools, MissingPoolsFilter, WarningOrder};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    declare::{At, Errors, OrderBy, OrderKey, Word, answer, query_params},
    query::Page,
};
use crate::{
    app::App,
    auth::{Principal, rights::Right},
    error::ApiResult,
    reads::names::Names,
};

/// The operations.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list))
}

query_params! {
    /// Which warnings a list has.
    pub struct WarningFilter {
        page: Page,
        order_by: OrderBy<WarningKey>,
        dag_id: Option<String>,
        warning_type: Option<DagWarningType>,
    }
}

/// What warnings are ordered by; there is one type of them.
#[derive(Debug, Clone, Copy)]
pub struct WarningKey(WarningOrder);

impl OrderKey for WarningKey {
    const KEYS: &'static [(&'static str, Self)] = &[
        ("dag_id", Self(WarningOrder::DagId)),
        ("warning_type", Self(WarningOrder::DagId)),
        ("message", Self(WarningOrder::Pools)),
        ("timestamp", Self(WarningOrder::At)),
    ];
    const DEFAULT: &'static str = "dag_id";
}

/// What Airflow warns of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub enum DagWarningType {
    /// Never told here.
    #[serde(rename = "asset conflict")]
    AssetConflict,
    /// Tasks name a pool that does not exist, and wait for it.
    #[serde(rename = "non-existent pool")]
    NonExistentPool,
    /// Never told here.
    #[serde(rename = "runtime varying value")]
    RuntimeVaryingValue,
}

impl DagWarningType {
    const ALL: [(&'static str, Self); 3] = [
        ("asset conflict", Self::AssetConflict),
        ("non-existent pool", Self::NonExistentPool),
        ("runtime varying value", Self::RuntimeVaryingValue),
    ];
}

impl std::str::FromStr for DagWarningType {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|(name, _)| *name == text);
        let names = || Self::names().join("', '");
        found.map(|(_, kind)| kind).ok_or_else(|| format!("{text:?} is none of '{}'", names()))
    }
}

impl Word for DagWarningType {
    fn names() -> Vec<&'static str> {
        Self::ALL.map(|(name, _)| name).into()
    }
}

answer! {
    /// A part of the list of warnings.
    pub struct DAGWarningCollectionResponse {
        dag_warnings: Vec<DAGWarningResponse>,
        total_entries: i64,
    }
}

answer! {
    /// A warning.
    pub struct DAGWarningResponse {
        dag_id: String,
        warning_type: DagWarningType,
        message: String,
        /// When the DAG's file was last read.
        timestamp: At,
        dag_display_name: String,
    }
}

/// List Dag Warnings
#[utoipa::path(
    get, path = "/api/v2/dagWarnings", operation_id = "list_dag_warnings", tag = "DagWarning",
    params(WarningFilter),
    responses((status = 200, description = "Successful Response", body = DAGWarningCollectionResponse), Errors),
    security(("token" = [Right::Read]))
)]
pub async fn list(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    asked: WarningFilter,
) -> ApiResult<Json<DAGWarningCollectionResponse>> {
    let nothing = || Json(DAGWarningCollectionResponse { dag_warnings: Vec::new(), total_entries: 0 });
    let dag_id = match asked.dag_id.map(DagId::new).transpose() {
        Ok(dag_id) => dag_id,
        // No DAG has such an id.
        Err(_) => return Ok(nothing()),
    };
    if asked.warning_type.is_some_and(|kind| kind != DagWarningType::NonExistentPool) {
        return Ok(nothing());
    }
    let order = asked.order_by.0.into_iter().map(|(WarningKey(key), direction)| (key, direction));
    let filter = MissingPoolsFilter { visible: who.visible(), dag_id, order: order.collect() };
    let (found, total) = read::missing_pools(&app.pool, &filter, asked.page.window()).await?;
    let names = Names::of(&app, found.iter().map(|one| one.dag_id.as_str())).await?;
    let dag_warnings = found.into_iter().map(|one| shape(one, &names)).collect();
    Ok(Json(DAGWarningCollectionResponse { dag_warnings, total_entries: total.number() }))
}

fn shape(found: MissingPools, names: &Names) -> DAGWarningResponse {
    let MissingPools { dag_id, pools, last_parsed_at } = found;
    DAGWarningResponse {
        message: format!("Dag '{dag_id}' references non-existent pools: {pools:?}"),
        warning_type: DagWarningType::NonExistentPool,
        timestamp: last_parsed_at.into(),
        dag_display_name: names.name(dag_id.as_str()),
        dag_id: dag_id.to_string(),
    }
}
