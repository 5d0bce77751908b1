//! The form that begins a backfill, or says what it would do, and the buttons of those that there are.

use axum::{
    Extension,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Redirect, Response},
};
use model::{
    BackfillOrder, ReprocessBehavior,
    command::{ClearVersion, CreateBackfill, Paused},
    door::Conf,
};
use schemars::JsonSchema;
use serde::Serialize;
use store::read::{DagView, DryDate, Version};

use super::{
    Frame, Place, dag_url,
    error::PageResult,
    show as print,
    trigger::{Mistakes, instant},
    with_query,
    words::{Clock, Moment, count},
};
use crate::{
    app::App,
    auth::{Principal, form::PageForm},
    changes::backfills,
    error::{ApiError, ApiResult},
    reads::lookup::{lookup_backfill, lookup_dag},
};

/// A dry run shows so many dates, and says how many more there are.
const DATES_SHOWN_MAX: usize = 200;

/// What the page shows.
#[derive(Serialize, JsonSchema)]
pub struct View {
    frame: Frame,
    dag_id: String,
    url: String,
    is_paused: bool,
    zone: &'static str,
    from_date: String,
    to_date: String,
    max_active_runs: String,
    conf: String,
    run_backwards: bool,
    keeps_version: bool,
    behaviors: Vec<Choice>,
    mistakes: Mistakes,
    /// What is wrong with none of the fields alone.
    mistake: Option<String>,
    dry: Option<Dry>,
}

#[derive(Serialize, JsonSchema)]
struct Choice {
    value: &'static str,
    words: &'static str,
    chosen: bool,
}

/// What a backfill would do.
#[derive(Serialize, JsonSchema)]
struct Dry {
    sentence: String,
    dates: Vec<(Moment, Option<&'static str>)>,
    more: usize,
}

/// `GET /dags/{dag_id}/backfill`.
pub async fn show(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    Path(dag_id): Path<String>,
    headers: HeaderMap,
) -> PageResult<Response> {
    let (view, _) = lookup_dag(&app, &dag_id).await?;
    let view = form_view(&app, &who, &view, None, Mistakes::default()).await?;
    Ok(print(&headers, &view)?)
}

async fn form_view(
    app: &App,
    who: &Principal,
    dag: &DagView,
    typed: Option<&PageForm>,
    mistakes: Mistakes,
) -> ApiResult<View> {
    let kept = |name: &str, first: &str| typed.map_or_else(|| first.to_owned(), |form| form.text(name).to_owned());
    let behavior = kept("reprocess_behavior", "none");
    let words = |behavior: ReprocessBehavior| match behavior {
        ReprocessBehavior::None => "missing runs only",
        ReprocessBehavior::Failed => "missing and failed runs",
        ReprocessBehavior::Completed => "all runs, also those that have ended",
    };
    let choice = |one: &ReprocessBehavior| {
        let value = one.name();
        Choice { value, words: words(*one), chosen: value == behavior }
    };
    Ok(View {
        frame: Frame::new(app, who, Place::Dags, format!("Backfill {}", dag.dag_id)).await?.about(who, &dag.dag_id),
        dag_id: dag.dag_id.to_string(),
        url: dag_url(&dag.dag_id),
        is_paused: dag.is_paused,
        zone: who.prefs.zone.name(),
        from_date: kept("from_date", ""),
        to_date: kept("to_date", ""),
        max_active_runs: kept("max_active_runs", &CreateBackfill::MAX_ACTIVE_RUNS.to_string()),
        conf: kept("conf", ""),
        run_backwards: typed.is_some_and(|form| form.ticked("run_backwards")),
        keeps_version: typed.is_some_and(|form| form.ticked("keeps_version")),
        behaviors: ReprocessBehavior::ALL.iter().map(choice).collect(),
        mistake: mistakes.get("").cloned(),
        mistakes,
        dry: None,
    })
}

/// `POST /dags/{dag_id}/backfill`: to the new backfill, the form with what it would do, or the form with what was wrong.
pub async fn submit(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    Path(dag_id): Path<String>,
    headers: HeaderMap,
    form: PageForm,
) -> PageResult<Response> {
    let (view, version) = lookup_dag(&app, &dag_id).await?;
    let clock = Clock::of(&who);
    let done = match read(&view, &form, clock) {
        Err(mistakes) => Err(mistakes),
        Ok(wish) => match carry_out(&app, &who, (&view, &version), wish, form.ticked("dry")).await {
            Err(
                error @ (ApiError::BadRequest(_)
                | ApiError::MalformedText(_)
                | ApiError::Conflict(_)
                | ApiError::NoLeader(_)),
            ) => Err(Mistakes::from([(String::new(), error.to_string())])),
            done => Ok(done?),
        },
    };
    match done {
        Ok(Done::Made(url)) => Ok(Redirect::to(&url).into_response()),
        Ok(Done::Dry(dates)) => {
            let view = form_view(&app, &who, &view, Some(&form), Mistakes::default()).await?;
            Ok(print(&headers, &View { dry: Some(dry(&dates, clock)), ..view })?)
        }
        Err(mistakes) => {
            let view = form_view(&app, &who, &view, Some(&form), mistakes).await?;
            Ok((StatusCode::BAD_REQUEST, print(&headers, &view)?).into_response())
        }
    }
}

enum Done {
    Made(String),
    Dry(Vec<DryDate>),
}

async fn carry_out(
    app: &App,
    who: &Principal,
    (view, version): (&DagView, &Version),
    wish: CreateBackfill,
    is_dry: bool,
) -> ApiResult<Done> {
    if is_dry {
        return backfills::dry_run(app, version, &wish).await.map(Done::Dry);
    }
    let made = backfills::create(app, view, version, wish, who).await?;
    let url = with_query(&dag_url(&view.dag_id), "tab", "backfills");
    Ok(Done::Made(with_query(&url, "backfill", &made.id.to_string())))
}

fn dry(dates: &[DryDate], clock: Clock) -> Dry {
    let runs = dates.iter().filter(|date| date.reason.is_none()).count();
    let shown = dates.iter().take(DATES_SHOWN_MAX);
    Dry {
        sentence: format!("{} of {} would have a run.", runs, count(dates.len(), "date")),
        dates: shown.map(|date| (clock.stamp(date.logical_date), date.reason.map(model::NotMade::name))).collect(),
        more: dates.len().saturating_sub(DATES_SHOWN_MAX),
    }
}

fn read(view: &DagView, form: &PageForm, clock: Clock) -> Result<CreateBackfill, Mistakes> {
    let mut mistakes = Mistakes::new();
    let mut date = |name: &str| {
        let text = form.text(name).trim();
        let read = if text.is_empty() { Err("name a date".to_owned()) } else { instant(text, clock) };
        read.map_err(|mistake| mistakes.insert(name.to_owned(), mistake)).ok()
    };
    let (from_date, to_date) = (date("from_date"), date("to_date"));
    let max_active_runs = form.text("max_active_runs").trim().parse::<u32>().ok().filter(|runs| *runs > 0);
    if max_active_runs.is_none() {
        mistakes.insert("max_active_runs".to_owned(), "write a whole number from 1 on".to_owned());
    }
    let text = Some(form.text("conf").trim()).filter(|text| !text.is_empty()).unwrap_or("{}");
    let conf = match serde_json::from_str(text).map_err(|error| format!("a JSON object is expected: {error}")) {
        Ok(members) => Conf::new(members).map_err(|error| error.to_string()),
        Err(mistake) => Err(mistake),
    };
    let conf = conf.map_err(|mistake| mistakes.insert("conf".to_owned(), mistake)).ok();
    let behavior = ReprocessBehavior::ALL.iter().find(|one| one.name() == form.text("reprocess_behavior"));
    match (from_date, to_date, max_active_runs, conf) {
        (Some(from_date), Some(to_date), Some(max_active_runs), Some(conf)) => Ok(CreateBackfill {
            dag_id: view.dag_id.clone(),
            from_date,
            to_date,
            order: if form.ticked("run_backwards") { BackfillOrder::Backwards } else { BackfillOrder::Forwards },
            reprocess_behavior: behavior.copied().unwrap_or(ReprocessBehavior::None),
            max_active_runs,
            conf,
            version: if form.ticked("keeps_version") { ClearVersion::Own } else { ClearVersion::Latest },
        }),
        _ => Err(mistakes),
    }
}

/// `POST /dags/{dag_id}/backfills/{backfill_id}/{action}`: pause, unpause or cancel.
pub async fn control(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    Path((dag_id, backfill_id, action)): Path<(String, String, String)>,
    _: PageForm,
) -> PageResult<Response> {
    let missing = || ApiError::NotFound(format!("DAG {dag_id} has no backfill {backfill_id}"));
    let row = lookup_backfill(&app, backfill_id.parse().map_err(|_| missing())?).await?;
    // The right was asked for the DAG of the path.
    if row.dag_id.as_str() != dag_id {
        return Err(missing().into());
    }
    match action.as_str() {
        "pause" => backfills::pause(&app, row, Paused::Paused, &who).await?,
        "unpause" => backfills::pause(&app, row, Paused::Active, &who).await?,
        "cancel" => backfills::cancel(&app, row, &who).await?,
        other => {
            return Err(ApiError::NotFound(format!("nothing can be done with a backfill by the name {other}")).into());
        }
    };
    let id = model::DagId::new(&dag_id).map_err(|_| missing())?;
    Ok(Redirect::to(&with_query(&dag_url(&id), "tab", "backfills")).into_response())
}
