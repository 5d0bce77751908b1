//! A session's state: Trino keeps none between statements, the client sends it along with each.
//!
//! Answers carry the changes that a statement made (`USE`, `SET SESSION`, `PREPARE` …) as headers; the next statement is
//! sent with them. The whole state can be written down, so that another attempt can go on with it.

use std::collections::BTreeMap;

use reqwest::header::HeaderMap;
use serde::{Deserialize, Serialize};
use url::form_urlencoded;

use super::settings::Settings;

/// What a statement is sent with, beside who asks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Session {
    catalog: Option<String>,
    schema: Option<String>,
    path: Option<String>,
    properties: BTreeMap<String, String>,
    roles: BTreeMap<String, String>,
    prepared: BTreeMap<String, String>,
    transaction: Option<String>,
    user: Option<String>,
}

impl Session {
    /// As the connection starts it.
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            catalog: settings.catalog.clone(),
            schema: settings.schema.clone(),
            properties: settings.properties.clone(),
            roles: settings.roles.iter().map(|(catalog, role)| (catalog.clone(), role_text(role))).collect(),
            ..Self::default()
        }
    }

    /// Another user, once `SET SESSION AUTHORIZATION` named one.
    pub(super) fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// The headers of a statement.
    pub(super) fn headers(&self) -> Vec<(&'static str, String)> {
        let one = |name: &'static str, value: &Option<String>| value.clone().map(|value| (name, value));
        let mut headers: Vec<(&'static str, String)> = [
            one("x-trino-catalog", &self.catalog),
            one("x-trino-schema", &self.schema),
            one("x-trino-path", &self.path),
        ]
        .into_iter()
        .flatten()
        .collect();
        // Without this header a statement can not start a transaction.
        headers.push(("x-trino-transaction-id", self.transaction.clone().unwrap_or_else(|| "NONE".to_owned())));
        for (header, pairs) in [
            ("x-trino-session", &self.properties),
            ("x-trino-role", &self.roles),
            ("x-trino-prepared-statement", &self.prepared),
        ] {
            headers.extend(pairs.iter().map(|(name, value)| (header, format!("{name}={}", encoded(value)))));
        }
        headers
    }

    /// Takes over what a statement has changed.
    pub(super) fn apply(&mut self, headers: &HeaderMap) {
        let all = |name: &str| headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).map(str::to_owned);
        let last = |name: &str| all(name).next_back();
        for (header, part) in [
            ("x-trino-set-catalog", &mut self.catalog),
            ("x-trino-set-schema", &mut self.schema),
            ("x-trino-set-path", &mut self.path),
            ("x-trino-started-transaction-id", &mut self.transaction),
            ("x-trino-set-authorization-user", &mut self.user),
        ] {
            if let Some(value) = last(header) {
                *part = Some(value);
            }
        }
        for (header, pairs) in [
            ("x-trino-set-session", &mut self.properties),
            ("x-trino-set-role", &mut self.roles),
            ("x-trino-added-prepare", &mut self.prepared),
        ] {
            let given = all(header).filter_map(|pair| Some((pair.split_once('=')?.0.to_owned(), decoded(&pair)?)));
            pairs.extend(given);
        }
        all("x-trino-clear-session").for_each(|name| drop(self.properties.remove(&name)));
        all("x-trino-deallocated-prepare").for_each(|name| drop(self.prepared.remove(&name)));
        if headers.contains_key("x-trino-clear-transaction-id") {
            self.transaction = None;
        }
        if headers.contains_key("x-trino-reset-authorization-user") {
            self.user = None;
        }
    }
}

/// A role as the protocol writes it; a plain name is a role's name.
fn role_text(role: &str) -> String {
    match role {
        "ALL" | "NONE" => role.to_owned(),
        whole if whole.starts_with("ROLE{") => whole.to_owned(),
        name => format!("ROLE{{{name}}}"),
    }
}

fn encoded(value: &str) -> String {
    form_urlencoded::byte_serialize(value.as_bytes()).collect()
}

/// The value of `name=value`.
fn decoded(pair: &str) -> Option<String> {
    form_urlencoded::parse(pair.as_bytes()).next().map(|(_, value)| value.into_owned())
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::*;

    fn answer(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    fn sent(session: &Session) -> Vec<String> {
        session.headers().into_iter().map(|(name, value)| format!("{name}: {value}")).collect()
    }

    #[test]
    fn what_a_statement_set_goes_with_the_next() {
        let mut session = Session::default();
        session.apply(&answer(&[
            ("x-trino-set-catalog", "lake"),
            ("x-trino-set-schema", "gold"),
            ("x-trino-set-session", "query_max_run_time=1h+30m"),
            ("x-trino-set-session", "lake.threshold=50%25"),
            ("x-trino-set-role", "system=ROLE%7Badmin%7D"),
            ("x-trino-added-prepare", "p=SELECT+%3F"),
            ("x-trino-started-transaction-id", "t1"),
        ]));
        let expected = [
            "x-trino-catalog: lake",
            "x-trino-schema: gold",
            "x-trino-transaction-id: t1",
            "x-trino-session: lake.threshold=50%25",
            "x-trino-session: query_max_run_time=1h+30m",
            "x-trino-role: system=ROLE%7Badmin%7D",
            "x-trino-prepared-statement: p=SELECT+%3F",
        ];
        assert_eq!(sent(&session), expected);
    }

    #[test]
    fn what_a_statement_cleared_is_gone() {
        let mut session = Session::default();
        session.apply(&answer(&[
            ("x-trino-set-session", "a=1"),
            ("x-trino-added-prepare", "p=x"),
            ("x-trino-started-transaction-id", "t1"),
            ("x-trino-set-authorization-user", "other"),
        ]));
        assert_eq!(session.user(), Some("other"));
        session.apply(&answer(&[
            ("x-trino-clear-session", "a"),
            ("x-trino-deallocated-prepare", "p"),
            ("x-trino-clear-transaction-id", "true"),
            ("x-trino-reset-authorization-user", "true"),
        ]));
        assert_eq!(session, Session::default());
        assert_eq!(sent(&session), ["x-trino-transaction-id: NONE"]);
    }

    #[test]
    fn a_session_survives_being_written_down() {
        let session = Session { prepared: BTreeMap::from([("p".into(), "SELECT 'ä'".into())]), ..Session::default() };
        let text = serde_json::to_string(&session).unwrap();
        assert_eq!(serde_json::from_str::<Session>(&text).unwrap(), session);
    }

    #[test]
    fn a_plain_role_is_a_roles_name() {
        assert_eq!(["ALL", "NONE", "ROLE{x}", "admin"].map(role_text), ["ALL", "NONE", "ROLE{x}", "ROLE{admin}"]);
    }
}
