//! An answer, as checks and filters see it: with the names of Python's `requests`.

use std::{collections::BTreeMap, fmt, sync::Arc};

use minijinja::{
    Error, ErrorKind, State, Value as Template,
    value::{Enumerator, Object, ObjectRepr, from_args},
};
use serde_json::Value;

use crate::xcom;

/// So much of a body is shown where an answer is not what was expected.
const SHOWN_CHARS_MAX: usize = 500;

/// The answer to a request.
#[derive(Debug, Clone)]
pub(crate) struct Response(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    asked: String,
    url: String,
    status: u16,
    reason: &'static str,
    headers: BTreeMap<String, String>,
    text: String,
}

impl Response {
    /// Takes over what is known when the body has been read. Its text is read by the charset of its header; without one as
    /// UTF-8, as well as possible.
    pub(super) fn new(asked: String, answer: &reqwest::Response, body: &[u8]) -> Self {
        let headers = answer.headers().iter();
        let text = |value: &reqwest::header::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        Self(Arc::new(Parts {
            asked,
            url: answer.url().to_string(),
            status: answer.status().as_u16(),
            reason: answer.status().canonical_reason().unwrap_or_default(),
            headers: headers.map(|(name, value)| (name.as_str().to_owned(), text(value))).collect(),
            text: decoded(answer, body),
        }))
    }

    /// Its status.
    pub(crate) fn status(&self) -> u16 {
        self.0.status
    }

    /// Whether its status says that something is wrong.
    pub(crate) fn is_error(&self) -> bool {
        self.0.status >= 400
    }

    /// `404 Not Found`
    pub(crate) fn status_line(&self) -> String {
        format!("{} {}", self.0.status, self.0.reason).trim_end().to_owned()
    }

    /// Its body.
    pub(crate) fn text(&self) -> &str {
        &self.0.text
    }

    /// What a task returns of it: its JSON when it is JSON, else its text; that also when a whole number in it has more than 64
    /// bits, and would be another one as JSON.
    pub(crate) fn value(&self) -> Value {
        xcom::parse(&self.0.text).unwrap_or_else(|_| self.0.text.clone().into())
    }

    /// The status and the beginning of the body.
    pub(crate) fn summary(&self) -> String {
        let text = self.0.text.trim();
        let shown: String = text.chars().take(SHOWN_CHARS_MAX).collect();
        match (text.is_empty(), shown.len() < text.len()) {
            (true, _) => format!("{} with an empty body", self.status_line()),
            (false, true) => format!("{}: {shown}…", self.status_line()),
            (false, false) => format!("{}: {shown}", self.status_line()),
        }
    }

    /// What is said of a status that is an error.
    pub(crate) fn complaint(&self) -> String {
        format!("{}: expected 2xx, got {}", self.0.asked, self.summary())
    }

    /// The value of `response` in templates.
    pub(crate) fn as_template_value(&self) -> Template {
        Template::from_object(self.clone())
    }
}

/// Names of headers have no case.
#[derive(Debug)]
struct Headers(Arc<Response>);

impl Object for Headers {
    fn get_value(self: &Arc<Self>, key: &Template) -> Option<Template> {
        let name = key.as_str()?.to_ascii_lowercase();
        self.0.0.headers.get(&name).map(|value| value.as_str().into())
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(self.0.0.headers.keys().map(|name| name.as_str().into()).collect())
    }
}

/// The body as text, in the encoding that `Content-Type` names.
fn decoded(answer: &reqwest::Response, body: &[u8]) -> String {
    let content_type = answer.headers().get(reqwest::header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let charset = content_type.into_iter().flat_map(|value| value.split(';').skip(1)).find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("charset").then(|| value.trim().trim_matches('"'))
    });
    let encoding = charset.and_then(|label| encoding_rs::Encoding::for_label(label.as_bytes()));
    encoding.unwrap_or(encoding_rs::UTF_8).decode(body).0.into_owned()
}

impl Object for Response {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn get_value(self: &Arc<Self>, key: &Template) -> Option<Template> {
        let parts = &self.0;
        Some(match key.as_str()? {
            "status_code" => parts.status.into(),
            "ok" => (parts.status < 400).into(),
            "reason" => parts.reason.into(),
            "url" => parts.url.as_str().into(),
            "text" | "content" => parts.text.as_str().into(),
            "headers" => Template::from_object(Headers(Arc::clone(self))),
            _ => return None,
        })
    }

    fn call_method(self: &Arc<Self>, _: &State<'_, '_>, method: &str, args: &[Template]) -> Result<Template, Error> {
        if method != "json" {
            return Err(Error::from(ErrorKind::UnknownMethod));
        }
        from_args::<()>(args)?;
        let value: Value = xcom::parse(&self.0.text).map_err(|error| {
            let detail = format!("the body is no JSON: {error}; it is {}", self.summary());
            Error::new(ErrorKind::InvalidOperation, detail)
        })?;
        Ok(Template::from_serialize(value))
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<Response [{}]>", self.0.status)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;

    #[test]
    fn a_number_that_json_would_round_is_returned_as_it_came() {
        let value = |text: &str| {
            let (asked, url, text) = (String::new(), String::new(), text.to_owned());
            Response(Arc::new(Parts { asked, url, status: 200, reason: "OK", headers: BTreeMap::new(), text })).value()
        };
        assert_eq!(value(r#"{"id": 18446744073709551615}"#), json!({"id": u64::MAX}));
        let large = r#"{"id": 123456789012345678901234567890}"#;
        assert_eq!((value(large), value("no JSON")), (json!(large), json!("no JSON")));
    }
}
