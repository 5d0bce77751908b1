//! Forms that create and change what people manage, and the question before something is deleted.
//!
//! A form is checked as a body of the REST API is: its fields become members, and what is wrong with a member stands at
//! its field. What was typed stays, except for passwords, which are never printed.

use std::collections::BTreeMap;

use axum::{
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};
use store::read::{OFFSET_MAX, Total};

use super::{Frame, Place, error::PageResult, show as print};
use crate::{
    app::App,
    auth::{Principal, form::PageForm},
    error::{ApiError, ApiResult},
    http::{body::Body, query::Page},
};

/// Rows of a list on one page.
const ROWS: i64 = 50;

/// How a field looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// One line.
    Text,
    /// A whole number.
    Number,
    /// One line that nobody may read.
    Password,
    /// Several lines.
    Area,
    /// One of some words.
    Choice,
    /// Yes or no.
    Tick,
    /// Sent along, and shown as it is.
    Fixed,
}

/// A field of a form.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Field {
    name: &'static str,
    label: String,
    kind: Kind,
    value: String,
    choices: Vec<&'static str>,
    hint: String,
    mistake: Option<String>,
}

impl Field {
    /// An empty one.
    pub fn new(kind: Kind, name: &'static str, label: impl Into<String>) -> Self {
        let (value, hint, choices) = (String::new(), String::new(), Vec::new());
        Self { name, label: label.into(), kind, value, choices, hint, mistake: None }
    }

    /// With a value.
    #[must_use]
    pub fn value(mut self, value: impl Into<String>) -> Self {
        self.value = value.into();
        self
    }

    /// With a sentence below it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }

    /// With the words that can be chosen.
    #[must_use]
    pub fn choices(mut self, choices: impl IntoIterator<Item = &'static str>) -> Self {
        self.choices = choices.into_iter().collect();
        self
    }
}

/// A form that looks different by a choice, which is made first.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Choose {
    /// The parameter of the page's address.
    pub name: &'static str,
    /// Its label.
    pub label: &'static str,
    /// What is chosen.
    pub value: String,
    /// What can be.
    pub choices: Vec<&'static str>,
}

/// A form as a page.
#[derive(Serialize, JsonSchema)]
pub struct FormPage {
    /// What stands around it.
    pub frame: Frame,
    /// Its title.
    pub heading: String,
    /// Where it leads back to: address and word.
    pub back: (&'static str, &'static str),
    /// A sentence above it.
    pub lead: String,
    /// The choice that it depends on.
    pub choose: Option<Choose>,
    /// Where it is sent.
    pub action: &'static str,
    /// Its fields.
    pub fields: Vec<Field>,
    /// The word on its button.
    pub button: &'static str,
    /// What is wrong with it as a whole.
    pub mistake: Option<String>,
}

impl FormPage {
    /// The page as it is first shown.
    ///
    /// # Errors
    /// When its template can not be printed.
    pub fn show(self, headers: &HeaderMap) -> PageResult<Response> {
        Ok(print(headers, &self)?)
    }

    /// The page again, with what was typed and what is wrong with it.
    ///
    /// # Errors
    /// Errors that nobody can mend in a form.
    pub fn refuse(mut self, headers: &HeaderMap, typed: &PageForm, error: ApiError) -> PageResult<Response> {
        let status = error.status();
        let mut by_field: BTreeMap<String, String> = BTreeMap::new();
        match error {
            ApiError::Malformed(errors) => {
                for error in errors {
                    let field = error.loc.last().cloned().unwrap_or_default();
                    by_field.insert(field, error.msg.trim_start_matches("Value error, ").to_owned());
                }
            }
            error @ (ApiError::Conflict(_)
            | ApiError::AlreadyExists(_)
            | ApiError::BadRequest(_)
            | ApiError::NoLeader(_)) => self.mistake = Some(error.to_string()),
            other => return Err(other.into()),
        }
        for field in &mut self.fields {
            field.mistake = by_field.remove(field.name);
            if field.kind != Kind::Password {
                typed.text(field.name).clone_into(&mut field.value);
            }
        }
        if let Some((field, text)) = by_field.pop_first() {
            self.mistake = Some(format!("{field}: {text}"));
        }
        Ok((status, print(headers, &self)?).into_response())
    }
}

/// The question before something is deleted.
#[derive(Serialize, JsonSchema)]
pub struct DeletePage {
    /// What stands around it.
    pub frame: Frame,
    /// What is to be deleted.
    pub heading: String,
    /// Where it leads back to: address and word.
    pub back: (&'static str, &'static str),
    /// What follows from it.
    pub consequence: String,
    /// Where the answer is sent.
    pub action: &'static str,
    /// The field that names it, and its name.
    pub named: (&'static str, String),
    /// Why it was not done.
    pub mistake: Option<String>,
}

impl DeletePage {
    /// The question, or the refusal.
    ///
    /// # Errors
    /// When its template can not be printed.
    pub fn show(self, headers: &HeaderMap) -> PageResult<Response> {
        let status = if self.mistake.is_some() { StatusCode::BAD_REQUEST } else { StatusCode::OK };
        Ok((status, print(headers, &self)?).into_response())
    }
}

/// A kind of thing that is deleted by its name alone.
pub struct Deletion {
    /// The page of the rail that it belongs to.
    pub place: Place,
    /// What one of them is called.
    pub kind: &'static str,
    /// Where the question leads back to: address and word.
    pub back: (&'static str, &'static str),
    /// What follows from it.
    pub consequence: &'static str,
    /// Where the answer is sent.
    pub action: &'static str,
    /// The field that names it.
    pub member: &'static str,
}

impl Deletion {
    /// The question whether one is to be deleted.
    ///
    /// # Errors
    /// When PostgreSQL does not answer, or the template can not be printed.
    pub async fn ask(&self, app: &App, who: &Principal, headers: &HeaderMap, name: String) -> PageResult<Response> {
        let page = DeletePage {
            frame: Frame::new(app, who, self.place, format!("Delete a {}", self.kind)).await?,
            heading: format!("Delete the {} {name}?", self.kind),
            back: self.back,
            consequence: self.consequence.to_owned(),
            action: self.action,
            named: (self.member, name),
            mistake: None,
        };
        page.show(headers)
    }
}

/// The fields of a form as a body: what is empty counts as null, a tick as a boolean.
#[must_use]
pub fn body_of(form: &PageForm, texts: &[&str], ticks: &[&str]) -> Body {
    let mut members: Map<String, Value> = Map::new();
    for name in texts {
        let text = form.text(name);
        members.insert((*name).to_owned(), if text.is_empty() { Value::Null } else { Value::from(text) });
    }
    for name in ticks {
        members.insert((*name).to_owned(), Value::Bool(form.ticked(name)));
    }
    Body::of(members)
}

/// Refuses a form, field by field.
///
/// # Errors
/// [`ApiError::Malformed`] when anything is wrong.
pub fn checked(mistakes: Vec<store::secrets::Mistake>) -> ApiResult<()> {
    let mut body = Body::of(Map::new());
    for mistake in mistakes {
        body.wrong(mistake.field, "value_error", mistake.text, Value::Null);
    }
    body.finish()
}

/// Where a list is: which rows, and the way to those before and after.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Pager {
    total: String,
    older: Option<String>,
    newer: Option<String>,
}

/// The rows of the page with this number, from 0.
#[must_use]
pub fn rows_of(number: i64) -> Page {
    Page { limit: ROWS, offset: number.max(0).saturating_mul(ROWS) }
}

impl Pager {
    /// Of so many rows; `address` ends with what the number of the page follows.
    #[must_use]
    pub fn new(total: impl Into<Total>, number: i64, address: &str) -> Self {
        let total = total.into();
        let number = number.max(0);
        let to = |number: i64| format!("{address}{number}");
        Self {
            total: super::words::total(total),
            older: total.exceeds(rows_of(number).offset.saturating_add(ROWS)).then(|| to(number + 1)),
            newer: (number > 0).then(|| to(number - 1)),
        }
    }
}

/// The number of the page that is asked for.
#[must_use]
pub fn page_number(query: &crate::http::query::Query) -> i64 {
    query.text("page").and_then(|text| text.parse::<i64>().ok()).unwrap_or(0).clamp(0, OFFSET_MAX / ROWS)
}
