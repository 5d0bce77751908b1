//! What will happen when nothing goes wrong: the scheduler run ahead in simulated time. Airflow has nothing of the kind.

use axum::{Extension, Json, extract::State};
use engine::ahead::forecast::{
    Forecast, ForeseenHour, ForeseenMiss, ForeseenPool, ForeseenRun, ForeseenWait, HOURS_MAX,
};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    declare::{
        At, Errors, answer,
        param::{Declared, Param},
        query_params, schema,
        words::{DagRunState, DagRunType},
    },
    query::Query,
};
use crate::{
    app::App,
    auth::{Principal, rights::Right},
    error::{ApiError, ApiResult, FieldError},
    reads::forecasts::{Asked, DEFAULT_SECS_MAX, HOURS},
};

/// The operations.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(get_forecast))
}

/// A whole number from 1 on: as many as the first, at most the second.
#[derive(Debug, Clone, Copy)]
pub struct Limited<const USUAL: u32, const MOST: u32>(u32);

impl<const USUAL: u32, const MOST: u32> Param for Limited<USUAL, MOST> {
    fn read(query: &mut Query, name: &str) -> Self {
        let Some(given) = query.integer(name) else { return Self(USUAL) };
        match u32::try_from(given) {
            Ok(given) if (1..=MOST).contains(&given) => Self(given),
            Ok(_) | Err(_) => {
                let message = format!("Input should be from 1 to {MOST}");
                let error = FieldError::query(name, "value_error", message, &given.to_string());
                query.refuse(ApiError::Malformed(vec![error]));
                Self(USUAL)
            }
        }
    }

    fn declare(name: &str) -> Vec<Declared> {
        vec![Declared::optional(name, schema::integer(1, i64::from(MOST)))]
    }
}

const DEFAULT: u32 = engine::ahead::forecast::DEFAULT_SECS as u32;

query_params! {
    /// What is to be foretold.
    pub struct ForecastFilter {
        /// How many hours; 24 when absent.
        hours: Limited<HOURS, HOURS_MAX>,
        /// How many seconds an attempt is assumed to take of whose task nothing is known; 60 when absent.
        default_duration: Limited<DEFAULT, { DEFAULT_SECS_MAX as u32 }>,
    }
}

answer! {
    /// What will happen when every attempt succeeds and takes as long as before.
    pub struct ForecastResponse {
        from: At,
        /// How far it goes.
        until: At,
        /// Why it goes no further than that; none when it goes as far as was asked.
        cut_because: Option<String>,
        /// In the order of their start; a bounded part of all.
        dag_runs: Vec<ForecastDagRun>,
        total_dag_runs: i64,
        /// Those that are used, the most contended first.
        pools: Vec<ForecastPool>,
        workers: ForecastWorkers,
        deadlines_missed: Vec<ForecastDeadline>,
        /// What is assumed without having been learnt, and what is left out, each in one sentence.
        assumptions: Vec<String>,
    }
}

answer! {
    /// A run that is there or will be.
    pub struct ForecastDagRun {
        dag_id: String,
        dag_run_id: String,
        run_type: DagRunType,
        /// Whether it is not there yet.
        is_foreseen: bool,
        logical_date: Option<At>,
        run_after: At,
        start_date: Option<At>,
        end_date: Option<At>,
        state: DagRunState,
        /// How much later it starts than it could, in seconds.
        waits_secs: f64,
        /// How it stands when it does not end by then.
        why: Option<String>,
    }
}

answer! {
    /// A pool in the time that is foretold.
    pub struct ForecastPool {
        name: String,
        /// None for no limit, and when there is no such pool.
        slots: Option<u32>,
        exists: bool,
        /// The most slots that are taken at once.
        occupied_max: u32,
        /// How much of its slots is taken on average, from 0 to 1.
        occupied_share: Option<f64>,
        /// The most slots that are waited for at once.
        waiting_max: u32,
        /// How long something waits for its slots because others have them, in seconds.
        contended_secs: f64,
        longest_wait: Option<ForecastWait>,
        hours: Vec<ForecastHour>,
    }
}

answer! {
    /// The task instance that waits longest for a slot.
    pub struct ForecastWait {
        dag_id: String,
        dag_run_id: String,
        task_id: String,
        map_index: i32,
        since: At,
        secs: f64,
    }
}

answer! {
    /// A pool in an hour.
    pub struct ForecastHour {
        start: At,
        occupied_max: u32,
        waiting_max: u32,
    }
}

answer! {
    /// The workers together.
    pub struct ForecastWorkers {
        workers: i64,
        slots: u32,
        occupied_max: u32,
        /// How long all of their slots are taken, in seconds.
        full_secs: f64,
    }
}

answer! {
    /// A deadline that will be missed.
    pub struct ForecastDeadline {
        dag_id: String,
        dag_run_id: String,
        name: Option<String>,
        deadline: At,
    }
}

/// Get Forecast
///
/// The scheduler run ahead on what is stored, in simulated time: runs, how pools are contended, and deadlines that will be missed,
/// when every attempt succeeds and takes as long as the last ones. A forecast is kept for a minute.
#[utoipa::path(
    get, path = "/api/v2/forecast", operation_id = "get_forecast", tag = "Forecast",
    params(ForecastFilter),
    responses((status = 200, description = "Successful Response", body = ForecastResponse), Errors<400>),
    security(("token" = [Right::Read]))
)]
pub async fn get_forecast(
    State(app): State<App>,
    Extension(_who): Extension<Principal>,
    asked: ForecastFilter,
) -> ApiResult<Json<ForecastResponse>> {
    let asked = Asked { hours: asked.hours.0, default_secs: asked.default_duration.0 };
    let found = app.forecasts.get(&app.pool, asked).await?;
    Ok(Json(shape(&found)))
}

fn shape(found: &Forecast) -> ForecastResponse {
    ForecastResponse {
        from: found.from.into(),
        until: found.until.into(),
        cut_because: found.cut_because.clone(),
        dag_runs: found.dag_runs.iter().map(run).collect(),
        total_dag_runs: i64::try_from(found.total_dag_runs).unwrap_or(i64::MAX),
        pools: found.pools.iter().map(pool).collect(),
        workers: ForecastWorkers {
            workers: i64::try_from(found.workers.workers).unwrap_or(i64::MAX),
            slots: found.workers.slots,
            occupied_max: found.workers.occupied_max,
            full_secs: found.workers.full_secs,
        },
        deadlines_missed: found.deadlines_missed.iter().map(miss).collect(),
        assumptions: found.assumptions.clone(),
    }
}

fn run(run: &ForeseenRun) -> ForecastDagRun {
    ForecastDagRun {
        dag_id: run.dag_id.to_string(),
        dag_run_id: run.dag_run_id.to_string(),
        run_type: DagRunType(run.run_type),
        is_foreseen: run.is_foreseen,
        logical_date: run.logical_date.map(Into::into),
        run_after: run.run_after.into(),
        start_date: run.start_date.map(Into::into),
        end_date: run.end_date.map(Into::into),
        state: DagRunState(run.state),
        waits_secs: run.waits_secs,
        why: run.why.clone(),
    }
}

fn pool(pool: &ForeseenPool) -> ForecastPool {
    ForecastPool {
        name: pool.name.clone(),
        slots: pool.slots,
        exists: pool.exists,
        occupied_max: pool.occupied_max,
        occupied_share: pool.occupied_share,
        waiting_max: pool.waiting_max,
        contended_secs: pool.contended_secs,
        longest_wait: pool.longest_wait.as_ref().map(wait),
        hours: pool.hours.iter().map(hour).collect(),
    }
}

fn wait(wait: &ForeseenWait) -> ForecastWait {
    ForecastWait {
        dag_id: wait.dag_id.to_string(),
        dag_run_id: wait.dag_run_id.to_string(),
        task_id: wait.task_id.to_string(),
        map_index: wait.map_index.get(),
        since: wait.since.into(),
        secs: wait.secs,
    }
}

fn hour(hour: &ForeseenHour) -> ForecastHour {
    ForecastHour { start: hour.start.into(), occupied_max: hour.occupied_max, waiting_max: hour.waiting_max }
}

fn miss(miss: &ForeseenMiss) -> ForecastDeadline {
    ForecastDeadline {
        dag_id: miss.dag_id.to_string(),
        dag_run_id: miss.dag_run_id.to_string(),
        name: miss.name.clone(),
        deadline: miss.deadline.into(),
    }
}
