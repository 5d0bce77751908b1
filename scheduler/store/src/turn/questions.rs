//! What a turn has of questions to people, as one JSON array a table.

use engine::{AskedRow, ResponseRow};
use model::Timestamp;
use serde::Serialize;

use super::json::Key;
use crate::texts::storable;

#[derive(Serialize)]
pub(super) struct Asked {
    #[serde(flatten)]
    key: Key,
    try_number: i16,
    created_at: Timestamp,
    subject: String,
    body: Option<String>,
    options: Vec<String>,
    defaults: Vec<String>,
    multiple: bool,
    params: String,
    assigned_users: String,
    #[serde(flatten)]
    answer: Option<Answer>,
}

#[derive(Serialize)]
pub(super) struct Response {
    #[serde(flatten)]
    key: Key,
    try_number: i16,
    #[serde(flatten)]
    answer: Answer,
}

#[derive(Serialize)]
struct Answer {
    responded_at: Timestamp,
    responded_by_id: Option<String>,
    responded_by_name: Option<String>,
    chosen_options: Vec<String>,
    params_input: String,
}

impl Asked {
    pub(super) fn of(row: &AskedRow) -> Self {
        let asking = &row.asking;
        Self {
            key: Key::of(row.key),
            try_number: row.try_number.get(),
            created_at: row.at,
            subject: storable(&row.question.subject),
            body: row.question.body.as_ref().map(storable),
            options: asking.options.iter().map(storable).collect(),
            defaults: asking.defaults.iter().map(storable).collect(),
            multiple: asking.multiple,
            params: json(&asking.params),
            assigned_users: json(&asking.assigned_users),
            answer: row.response.as_ref().map(Answer::of),
        }
    }
}

impl Response {
    pub(super) fn of(row: &ResponseRow) -> Self {
        Self { key: Key::of(row.key), try_number: row.try_number.get(), answer: Answer::of(row) }
    }
}

impl Answer {
    fn of(row: &ResponseRow) -> Self {
        Self {
            responded_at: row.at,
            responded_by_id: row.user.as_ref().map(|user| storable(&user.id)),
            responded_by_name: row.user.as_ref().map(|user| storable(&user.name)),
            chosen_options: row.chosen_options.iter().map(storable).collect(),
            params_input: json(&row.params_input),
        }
    }
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("texts and JSON are JSON")
}
