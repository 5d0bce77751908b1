//! What a task asks people: the question, the form that answers it, and who has answered.

use axum::{
    Extension,
    extract::{Path, State},
    response::{IntoResponse, Redirect, Response},
};
use model::{MapIndex, TaskState};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Map;
use store::read::{QuestionView, ResponseView};

use super::super::{
    error::PageResult,
    markdown::{self, Block},
    task_url,
    trigger::{Mistakes, Section, sections, typed_value},
    words::{Clock, Moment},
};
use crate::{
    app::App,
    auth::{Principal, form::PageForm},
    changes::questions::{Given, answer},
    error::{ApiError, ApiResult},
    reads::{instances::TaskOfRun, lookup::lookup_instance, questions},
};

/// The options that are chosen are sent under this and their number.
const OPTION: &str = "option.";

/// The question of an instance's current try.
#[derive(Serialize, JsonSchema)]
pub(super) struct Asked {
    subject: String,
    body: Vec<Block>,
    since: Moment,
    /// Who is asked, when not everybody is.
    asked: Option<String>,
    /// What counts when nobody answers in time.
    defaults: Option<String>,
    /// Whether it waits for an answer.
    is_open: bool,
    multiple: bool,
    options: Vec<Choice>,
    sections: Vec<Section>,
    answer: Option<Answered>,
}

#[derive(Serialize, JsonSchema)]
struct Choice {
    /// How it is sent.
    field: String,
    label: String,
    is_default: bool,
}

#[derive(Serialize, JsonSchema)]
struct Answered {
    chosen: String,
    by: Option<String>,
    at: Moment,
    values: Vec<(String, String)>,
}

/// What an instance asks; none when it asks nothing, or has not been tried yet.
pub(super) async fn asked(app: &App, of: &TaskOfRun, clock: Clock) -> ApiResult<Option<Asked>> {
    let question = questions::current(app, of).await?;
    Ok(question.map(|question| view(question, of, clock)))
}

fn view(question: QuestionView, of: &TaskOfRun, clock: Clock) -> Asked {
    let names: Vec<&str> = question.assigned_users.iter().map(|user| user.name.as_str()).collect();
    let params = of.task().operator.asking().map(dag::asked_params).unwrap_or_default();
    let is_default = |option: &String| question.defaults.contains(option);
    let options = question.options.iter().enumerate().map(|(number, option)| Choice {
        field: format!("{OPTION}{number}"),
        is_default: is_default(option),
        label: option.clone(),
    });
    Asked {
        body: markdown::blocks(question.body.as_deref().unwrap_or_default()),
        since: clock.moment(question.created_at),
        asked: (!names.is_empty()).then(|| names.join(", ")),
        defaults: (!question.defaults.is_empty()).then(|| question.defaults.join(", ")),
        is_open: of.state() == TaskState::AwaitingInput && question.response.is_none(),
        multiple: question.multiple,
        options: options.collect(),
        sections: sections(&params, None, &Mistakes::new(), clock),
        answer: question.response.map(|response| answered(response, clock)),
        subject: question.subject,
    }
}

fn answered(response: ResponseView, clock: Clock) -> Answered {
    let text = |value: &serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    Answered {
        chosen: response.chosen_options.join(", "),
        by: response.user.map(|user| user.name),
        at: clock.moment(response.at),
        values: response.params_input.iter().map(|(name, value)| (name.clone(), text(value))).collect(),
    }
}

/// `POST …/tasks/{task_id}/answer`.
pub async fn submit(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    Path((dag_id, run_id, task_id)): Path<(String, String, String)>,
    form: PageForm,
) -> PageResult<Response> {
    let map = form.text("map_index").parse().map_or(MapIndex::UNMAPPED, MapIndex);
    let of = lookup_instance(&app, &dag_id, &run_id, &task_id, map).await?;
    let given = given(&of, &form, Clock::of(&who))?;
    answer(&app, &of, given, &who).await?;
    Ok(Redirect::to(&task_url(&of)).into_response())
}

fn given(of: &TaskOfRun, form: &PageForm, clock: Clock) -> ApiResult<Given> {
    let asking = of.task().operator.asking();
    let asking = asking.ok_or_else(|| ApiError::NotFound("The task asks nothing".to_owned()))?;
    let is_chosen = |number: &usize| form.has(&format!("{OPTION}{number}"));
    let chosen = (0..asking.options.len()).filter(is_chosen).map(|number| asking.options[number].clone());
    let mut params_input = Map::new();
    for (name, param) in dag::asked_params(asking).iter() {
        let value = typed_value(name, param, form, clock)
            .map_err(|mistake| ApiError::BadRequest(format!("param {name}: {mistake}")))?;
        params_input.insert(name.clone(), value);
    }
    Ok(Given { chosen_options: chosen.collect(), params_input })
}
