//! Which further runs of a DAG a request means: those before or after a run's date, or those of a range of dates.

use engine::RunRow;
use model::{DagId, RunId, Timestamp, door::Instant};
use store::read::{self, Direction, Range, RunFilter, RunOrder};

use crate::{
    app::App,
    error::{ApiError, ApiResult},
};

/// One request is one turn of the leader, which loads every run that it means: more than a year of daily ones.
pub const RUNS_MAX: i64 = 400;

/// `include_past` and `include_future`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Span {
    /// Runs of earlier dates are meant, too.
    pub past: bool,
    /// Runs of later dates are meant, too.
    pub future: bool,
}

impl Span {
    /// The other runs that are meant beside this one, by their dates.
    ///
    /// # Errors
    /// [`ApiError::BadRequest`] when the run stands for no date, or when they are too many for one request.
    pub async fn others(self, app: &App, run: &RunRow) -> ApiResult<Vec<RunId>> {
        if self == Self::default() {
            return Ok(Vec::new());
        }
        let date = run.logical_date.ok_or_else(|| {
            ApiError::BadRequest("Cannot use include_past or include_future with no logical_date".to_owned())
        })?;
        let range = Range {
            gte: Some(if self.past { beginning() } else { date }),
            lte: (!self.future).then_some(date),
            ..Range::default()
        };
        Ok(dated(app, &run.dag_id, range).await?.into_iter().filter(|id| *id != run.run_id).collect())
    }
}

/// The runs of a DAG whose dates are in a range, oldest first; every dated run when the range is open.
///
/// # Errors
/// [`ApiError::BadRequest`] when they are too many for one request.
pub async fn dated(app: &App, dag_id: &DagId, range: Range) -> ApiResult<Vec<RunId>> {
    let filter = RunFilter {
        dag_ids: vec![dag_id.clone()],
        logical_date: Range { gte: range.gte.or_else(|| Some(beginning())), ..range },
        order: vec![(RunOrder::LogicalDate, Direction::Ascending)],
        // One more tells that there are too many, and nothing has to be counted as long as there are not.
        limit: RUNS_MAX + 1,
        ..RunFilter::default()
    };
    let (runs, total) = read::runs(&app.pool, &filter).await?;
    if i64::try_from(runs.len()).is_ok_and(|found| found > RUNS_MAX) {
        let more = if total.limit().is_some() { " or more" } else { "" };
        return Err(ApiError::BadRequest(format!(
            "{}{more} runs are meant, and one request takes at most {RUNS_MAX}: limit them with start_date and end_date",
            total.number()
        )));
    }
    Ok(runs.into_iter().map(|run| run.run_id).collect())
}

/// Before every run that has a date, and still an instant that PostgreSQL has.
const fn beginning() -> Timestamp {
    Instant::MIN.get()
}
