//! The operator `http`, and the request that `http_sensor` shares with it.

use std::collections::BTreeMap;

use model::operator::{Http, HttpMethod, HttpOptions, HttpPayload, HttpRequest, HttpTarget};

use super::{
    fields::{Fields, Item},
    operator::{seconds_or, text_option, truth_or},
};
use crate::{
    keys::{self, Here, REDIRECTS_MAX},
    problem::Problems,
    yaml::Value,
};

/// Airflow's connection for requests that name none.
const CONNECTION_DEFAULT: &str = "http_default";

/// Reads the operator's keys.
pub(super) fn read(fields: &Fields<'_>, problems: &mut Problems) -> Option<Http> {
    Some(Http {
        request: request(fields, HttpMethod::Post, "data", problems)?,
        response_check: text_option(fields, "response_check", problems)?,
        response_filter: text_option(fields, "response_filter", problems)?,
        log_response: truth_or(fields, "log_response", false, problems)?,
    })
}

/// Reads a request; `data_key` is Airflow's word for what it carries.
pub(super) fn request(
    fields: &Fields<'_>,
    method: HttpMethod,
    data_key: &str,
    problems: &mut Problems,
) -> Option<HttpRequest> {
    Some(HttpRequest {
        target: target(fields, problems)?,
        method: match fields.take("method") {
            Some(item) => item.word(HttpMethod::NAMES, problems)?,
            None => method,
        },
        headers: match fields.take("headers") {
            Some(item) => headers(&item, problems)?,
            None => BTreeMap::new(),
        },
        payload: payload(fields, data_key, problems)?,
        options: match fields.take("extra_options") {
            Some(item) => options(&item, problems)?,
            None => HttpOptions::default(),
        },
    })
}

fn target(fields: &Fields<'_>, problems: &mut Problems) -> Option<HttpTarget> {
    if let Some(item) = fields.take("url") {
        if let Some(other) = ["http_conn_id", "endpoint"].iter().find_map(|name| fields.own(name)) {
            return other.fail("url is the whole address: keep it, or http_conn_id with endpoint", problems);
        }
        return url(item.text(problems)?, &item, problems).map(HttpTarget::Url);
    }
    let endpoint = text_option(fields, "endpoint", problems)?.unwrap_or_default();
    match text_option(fields, "http_conn_id", problems)? {
        Some(http_conn_id) => Some(HttpTarget::Connection { http_conn_id, endpoint }),
        // An empty id is no connection, as in Airflow: the endpoint is then the whole address.
        None if fields.take("http_conn_id").is_some() => {
            let item = fields.take("endpoint").or_else(|| fields.take("http_conn_id"))?;
            url(endpoint, &item, problems).map(HttpTarget::Url)
        }
        None => Some(HttpTarget::Connection { http_conn_id: CONNECTION_DEFAULT.to_owned(), endpoint }),
    }
}

/// The URL of a request, or a template of one.
pub(super) fn url(url: String, item: &Item<'_>, problems: &mut Problems) -> Option<String> {
    if url.starts_with("http://") || url.starts_with("https://") || url.contains("{{") {
        return Some(url);
    }
    item.fail("expected a URL that begins with http:// or https://, or a template", problems)
}

fn headers(item: &Item<'_>, problems: &mut Problems) -> Option<BTreeMap<String, String>> {
    let layer = item.layer("a mapping of names to texts", problems)?;
    let entries = layer.items().map(|(key, item)| {
        let is_letter = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        if key.name.is_empty() || !key.name.chars().all(is_letter) {
            return item.fail("a header's name has only letters, digits and -", problems);
        }
        Some((key.name.to_string(), item.plain_text(problems)?))
    });
    entries.collect::<Vec<_>>().into_iter().collect()
}

fn payload(fields: &Fields<'_>, data_key: &str, problems: &mut Problems) -> Option<HttpPayload> {
    match (fields.take(data_key), fields.take("json")) {
        (Some(_), Some(second)) => second.fail(format!("{data_key} and json are both given; keep one"), problems),
        (Some(item), None) => match item.node.value {
            Value::Map(_) | Value::Text(_) => Some(HttpPayload::Data(item.json(problems)?)),
            _ => item.expected("a mapping or a text", problems),
        },
        (None, Some(item)) => Some(HttpPayload::Json(item.json(problems)?)),
        (None, None) => Some(HttpPayload::None),
    }
}

fn options(item: &Item<'_>, problems: &mut Problems) -> Option<HttpOptions> {
    let fields = item.fields("a mapping such as {timeout: 30s}", problems)?;
    fields.check_keys(&[keys::HTTP_OPTIONS], &[], Here::Part, problems);
    let absent = HttpOptions::default();
    Some(HttpOptions {
        timeout_secs: seconds_or(&fields, "timeout", absent.timeout_secs, problems)?,
        allow_redirects: truth_or(&fields, "allow_redirects", absent.allow_redirects, problems)?,
        max_redirects: match fields.take("max_redirects") {
            Some(item) => item.whole(0..=REDIRECTS_MAX, problems)?,
            None => absent.max_redirects,
        },
        check_response: truth_or(&fields, "check_response", absent.check_response, problems)?,
        verify: truth_or(&fields, "verify", absent.verify, problems)?,
    })
}
