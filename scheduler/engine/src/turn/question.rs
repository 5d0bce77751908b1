//! Questions to people: an attempt has put one, and an answer, or the end of its time, ends the task.
//!
//! What an answer means is decided by the version's own keys; how the question reads is for people only, and not kept in memory.

use chrono::TimeDelta;
use model::{
    AttemptEnd, EndKind, Operator, TaskEvent, TaskState, Timestamp, XComValue,
    command::AnswerQuestion,
    operator::{AnswerMeans, Asking, HitlUser},
    task::Retry,
};
use serde_json::{Map, Value, json};

use super::command::Refusal;
use crate::{
    AskedRow, Engine, ResponseRow,
    memory::{instance::Place, run::Run, timers::Timer},
};

impl Engine {
    /// An attempt has put its question: its slots are free, and people have the word.
    pub(super) fn asked(&mut self, place: Place, end: &AttemptEnd) {
        let run = self.known_run(place.run);
        let (Some(question), Some(asking)) = (&end.question, asking_of(run, place)) else {
            let retry = self.retry_of(place);
            self.failed(place, &AttemptEnd::new(EndKind::Failed, "it asks nothing"), retry);
            return;
        };
        let (asking, key) = (asking.clone(), run.key_of(place.at()));
        let try_number = run.instance(place.at()).core.try_number;
        let deadline = self.deadline_of(run, place, &asking);
        self.finish_attempt(place, TaskEvent::Asked);
        // It goes on until it is answered.
        self.write(place, |core| core.ended_at = None);
        if deadline.is_some() {
            self.write_extra(place, |extra| extra.wake_at = deadline);
        }
        if let Some(at) = deadline {
            self.timers.set(at, Timer::Wake(key));
        }
        let row = AskedRow { key, try_number, at: self.now, question: (**question).clone(), asking, response: None };
        self.draft.plan.asked.push(row);
    }

    fn deadline_of(&self, run: &Run, place: Place, asking: &Asking) -> Option<Timestamp> {
        let limit = asking.response_timeout_secs.and_then(|secs| std::time::Duration::try_from_secs_f64(secs).ok());
        let limit = TimeDelta::from_std(limit.or(run.def.task(place.task).execution_timeout)?).ok()?;
        self.now.checked_add_signed(limit)
    }

    /// Somebody answers.
    pub(super) fn answer_question(&mut self, wish: AnswerQuestion) -> Result<Value, Refusal> {
        let AnswerQuestion { instance, chosen_options, params_input, user } = wish;
        let place = self.instance_of(&instance)?;
        let run = self.known_run(place.run);
        let task = run.def.task(place.task).task_id.clone();
        let Some(asking) = asking_of(run, place) else {
            return Err(Refusal::NotFound(format!("the task {task} asks nobody")));
        };
        let state = run.state(place.at());
        if state != TaskState::AwaitingInput {
            return Err(Refusal::Conflict(format!("the task {task} waits for no answer: it is {state}")));
        }
        if !asking.may_answer(&user.id) {
            return Err(Refusal::Forbidden(format!("{} is not among those who may answer the task {task}", user.id)));
        }
        let chosen: Vec<String> = chosen_options.into_iter().map(model::door::Text::into_string).collect();
        asking.check_chosen(&chosen).map_err(Refusal::Invalid)?;
        let input = params_input.into_map();
        if let Some(name) = input.keys().find(|name| !asking.params.contains_key(*name)) {
            return Err(Refusal::Invalid(format!("the task {task} does not ask for the param {name}")));
        }
        let response = Response { chosen, input: asking.with_input(&input), user: Some(user), at: self.now };
        let told = response.told();
        self.end_by_answer(place, response);
        Ok(told)
    }

    /// The time for an answer is over: the defaults are the answer, or the task fails.
    pub(super) fn time_out_question(&mut self, place: Place) {
        let run = self.known_run(place.run);
        let Some(asking) = asking_of(run, place) else { return };
        if !asking.defaults.is_empty() {
            let input = asking.with_input(&Map::new());
            let response = Response { chosen: asking.defaults.clone(), input, user: None, at: self.now };
            self.end_by_answer(place, response);
            return;
        }
        let now = self.now;
        self.write(place, |core| core.ended_at = Some(now));
        let retry = self.retry_of(place);
        self.failed(place, &AttemptEnd::new(EndKind::Failed, "nobody has answered in time"), retry);
    }

    fn end_by_answer(&mut self, place: Place, response: Response) {
        let run = self.known_run(place.run);
        let (key, task) = (run.key_of(place.at()), run.def.task(place.task));
        let try_number = run.instance(place.at()).core.try_number;
        let means = match &task.operator {
            Operator::Approval(keys) => keys.means(&response.chosen),
            Operator::Choice(keys) => keys.means(&response.chosen),
            _ => AnswerMeans::GoOn,
        };
        let mut end = AttemptEnd::new(EndKind::Success, String::new());
        if task.do_xcom_push {
            end.xcoms = response.xcoms(task.multiple_outputs);
        }
        let now = self.now;
        self.write(place, |core| core.ended_at = Some(now));
        self.write_extra(place, |extra| extra.wake_at = None);
        self.keep_xcoms(place, &end);
        let sentence = response.sentence();
        self.draft.answer_question(ResponseRow {
            key,
            try_number,
            at: response.at,
            user: response.user,
            chosen_options: response.chosen,
            params_input: response.input,
        });
        match means {
            AnswerMeans::GoOn => self.succeeded(place, &end),
            AnswerMeans::Stop => self.succeeded(place, &AttemptEnd { proceed: Some(false), ..end }),
            AnswerMeans::Follow(ids) => self.succeeded(place, &AttemptEnd { follow: Some(ids), ..end }),
            AnswerMeans::Fail => {
                self.failed(place, &AttemptEnd::new(EndKind::FailedForGood, sentence), Retry::Exhausted);
            }
        }
    }
}

fn asking_of(run: &Run, place: Place) -> Option<&Asking> {
    run.def.task(place.task).operator.asking()
}

/// An answer, or what counts as one.
struct Response {
    chosen: Vec<String>,
    input: Map<String, Value>,
    user: Option<HitlUser>,
    at: Timestamp,
}

impl Response {
    /// What Airflow's operators return.
    fn told(&self) -> Value {
        json!({
            "chosen_options": self.chosen,
            "params_input": self.input,
            "responded_at": self.at,
            "responded_by_user": self.user,
        })
    }

    fn xcoms(&self, each: bool) -> Vec<XComValue> {
        let value = self.told();
        let fields = value.as_object().filter(|_| each).cloned().unwrap_or_default();
        let returned = XComValue { key: XComValue::RETURN_VALUE.to_owned(), value };
        std::iter::once(returned).chain(fields.into_iter().map(|(key, value)| XComValue { key, value })).collect()
    }

    fn sentence(&self) -> String {
        let chosen = self.chosen.join(", ");
        match &self.user {
            Some(user) => format!("{} has answered {chosen:?}", user.name),
            None => format!("nobody has answered in time, and {chosen:?} counts"),
        }
    }
}
