//! Every route with values that no database, calendar or alphabet has: refused or not found, and never a fault of ours.

use std::collections::BTreeMap;

use futures::{StreamExt, stream};
use serde_json::{Value, json};
use windlass_webui::{Route, routes};

use crate::{
    guard::path_of,
    support::{RUN, Server, client},
};

/// Requests at once: as many as a busy page sends.
const AT_ONCE: usize = 8;

/// Odd texts; in paths, queries, forms and bodies.
fn odd_texts() -> Vec<String> {
    let mut texts: Vec<String> = [
        "",
        " ",
        "\0",
        "a\0b",
        "'",
        "\"",
        "';--",
        "%",
        "%ff",
        "%00",
        "_",
        "\\",
        "~",
        "|",
        "..",
        "../../etc/passwd",
        "/",
        "?",
        "&=",
        "+",
        "None",
        "NaN",
        "-Infinity",
        "1e999",
        "-1",
        "1.5",
        "99999999999999999999",
        "-9223372036854775809",
        "9223372036854775807",
        "2147483648",
        "0000-01-01",
        "0000-01-01T00:00:00Z",
        "-9999-01-01",
        "10000-01-01",
        "+10000-01-01T00:00:00Z",
        "9999-12-31T23:59:59.999999999Z",
        "9999-12-31T23:59:59-23:59",
        "0001-01-01",
        "2026-02-30",
        "2026-01-01T00:00:60Z",
        "\u{202e}tfel-ot-thgir",
        "العربية",
        "\u{feff}\u{fffd}\u{ffff}",
        "👩‍👩‍👧",
        "\r\n",
        "\u{1b}[2J",
        "{{ 7*7 }}",
        "<script>",
    ]
    .map(str::to_owned)
    .to_vec();
    texts.push("x".repeat(5_000));
    texts.push("é".repeat(1_100));
    texts
}

/// Parameters of queries, as handlers name them.
const PARAMETERS: &[&str] = &[
    "limit",
    "offset",
    "cursor",
    "order_by",
    "dag_id_pattern",
    "dag_display_name_pattern",
    "run_id_pattern",
    "run_id_prefix_pattern",
    "triggering_user_name_pattern",
    "conf_contains",
    "dag_version",
    "duration_gte",
    "duration_lt",
    "run_after_gte",
    "run_after_lt",
    "logical_date_gt",
    "logical_date_lte",
    "start_date_gte",
    "end_date_lt",
    "updated_at_gte",
    "state",
    "run_type",
    "tags",
    "tags_match_mode",
    "owners",
    "paused",
    "exclude_stale",
    "last_dag_run_state",
    "dag_id",
    "dag_ids",
    "run_id",
    "task_id",
    "map_index",
    "try_number",
    "task_display_name_pattern",
    "pool",
    "pool_name_pattern",
    "queue",
    "executor",
    "operator",
    "version_number",
    "xcom_key",
    "xcom_key_pattern",
    "stringify",
    "deserialize",
    "token",
    "full_content",
    "after",
    "before",
    "event",
    "included_events",
    "excluded_events",
    "owner",
    "owner_pattern",
    "event_pattern",
    "variable_key_pattern",
    "variable_key_prefix_pattern",
    "connection_id_pattern",
    "connection_id_prefix_pattern",
    "filename_pattern",
    "job_state",
    "job_type",
    "hostname",
    "is_alive",
    "tag_name_pattern",
    "update_mask",
    "interval",
    "result",
    "q",
    "tag",
    "task",
    "try",
    "find",
    "tab",
    "version",
    "name",
    "page",
    "who",
    "action",
    "key",
    "id",
    "zone",
    "theme",
    "next",
    "downstream",
    "upstream",
    "only_failed",
    "latest",
    "file",
    "show",
];

/// Members of bodies and fields of forms.
const MEMBERS: &[&str] = &[
    "dag_run_id",
    "logical_date",
    "run_after",
    "data_interval_start",
    "data_interval_end",
    "note",
    "is_paused",
    "state",
    "new_state",
    "key",
    "value",
    "description",
    "map_index",
    "name",
    "pool",
    "slots",
    "include_deferred",
    "connection_id",
    "conn_type",
    "host",
    "login",
    "password",
    "schema",
    "port",
    "extra",
    "dry_run",
    "only_failed",
    "start_date",
    "end_date",
    "include_past",
    "order_by",
    "dag_ids",
    "page_limit",
    "page_offset",
    "states",
    "run_after_gte",
    "duration_gte",
    "conf_contains",
    "task_ids",
    "username",
    "role",
    "next",
    "run_id",
    "whole",
    "conf",
    "task",
    "zone",
    "theme",
    "from_date",
    "to_date",
    "dag_id",
    "asset_id",
];

fn encoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>().replace('+', "%20")
}

/// A request to be tried.
struct Try {
    method: &'static str,
    path: String,
    body: Option<(&'static str, String)>,
}

/// A part of the path is the odd value, and in every other turn all of them are.
fn in_paths(route: &'static Route, text: &str, turn: usize) -> Option<Try> {
    let names: Vec<&str> = route.path.split('/').filter(|part| part.starts_with('{')).collect();
    let chosen = names.get(turn / 2 % names.len().max(1))?;
    // A literal `%ff` is no UTF-8 once it is decoded, which a client can send and a text can not hold.
    let raw = if text == "%ff" { text.to_owned() } else { encoded(text) };
    let odd = |path: String, name: &&str| path.replace(*name, "\u{1}");
    let path = if turn.is_multiple_of(2) {
        names.iter().fold(route.path.to_string(), odd)
    } else {
        odd(route.path.to_string(), chosen)
    };
    let path = path_of(&Route { path: path.into(), ..route.clone() }).replace('\u{1}', &raw);
    Some(Try { method: &route.method, path, body: None })
}

/// Every parameter alone with every value would be too many requests: in turns one is alone, or all that are texts, which
/// nothing refuses before the store is asked, are there together.
fn in_queries(route: &'static Route, text: &str, turn: usize) -> Try {
    let value = encoded(text);
    let is_text = |name: &&&str| {
        name.contains("pattern")
            || name.contains("contains")
            || matches!(**name, "q" | "who" | "owner" | "event" | "find")
    };
    let pair = |name: &&str| format!("{name}={value}");
    let query = match turn % 3 {
        0 => PARAMETERS.iter().filter(is_text).map(pair).collect::<Vec<_>>().join("&"),
        _ => pair(&PARAMETERS[turn % PARAMETERS.len()]),
    };
    Try { method: &route.method, path: format!("{}?{query}", path_of(route)), body: None }
}

/// Bodies that no JSON writer here would write.
const RAW: [&str; 6] =
    [r#"{"note": "\ud800", "conf": {}}"#, r#"{"logical_date": 1e999}"#, "{\"note\": \"\u{0}\"}", "", "[", "nul"];

fn in_bodies(route: &'static Route, text: &str, turn: usize) -> Try {
    // Long values only here and there: a server that refuses early does not read a body to its end.
    let of = |at: usize| if text.len() > 200 && at != turn % MEMBERS.len() { "long" } else { text };
    let json = |body: Value| ("application/json", body.to_string());
    let body = match turn % 5 {
        0 => json(MEMBERS.iter().enumerate().map(|(at, name)| ((*name).to_owned(), Value::from(of(at)))).collect()),
        1 => {
            let form = |(at, name): (usize, &&str)| format!("{name}={}", encoded(of(at)));
            let fields: Vec<String> = MEMBERS.iter().enumerate().map(form).collect();
            ("application/x-www-form-urlencoded", fields.join("&"))
        }
        2 => json(json!({"actions": [
            {"action": "create", "entities": [{"key": text, "value": text, "name": text, "slots": 1, "note": text,
                "connection_id": text, "conn_type": "http", "dag_run_id": text}]},
            {"action": "delete", "action_on_non_existence": "skip", "entities": [text]},
        ]})),
        3 => {
            let number = text.parse::<f64>().ok().and_then(serde_json::Number::from_f64);
            let odd = number.map_or_else(|| Value::from(text), Value::Number);
            json(
                json!({"logical_date": odd, "run_after": odd, "slots": odd, "map_index": odd, "name": "n", "key": "k", "value": odd}),
            )
        }
        _ => {
            let mut body =
                json!({"logical_date": null, "conf": {"odd": {text: [text]}}, "note": "n", "key": "k", "value": 1});
            body[MEMBERS[turn / 5 % MEMBERS.len()]] = Value::from(text);
            json(body)
        }
    };
    Try { method: &route.method, path: path_of(route), body: Some(body) }
}

async fn send(server: &Server, one: &Try, token: Option<&str>) -> (u16, String) {
    let mut request = client_of(server).request(one.method.parse().unwrap(), server.url(&one.path));
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    if let Some((kind, body)) = &one.body {
        request = request.header("content-type", *kind).header("origin", &server.base).body(body.clone());
    }
    match request.send().await {
        Ok(answer) => {
            let kind = answer.headers().get("content-type").map(|kind| kind.to_str().unwrap_or("").to_owned());
            (answer.status().as_u16(), kind.unwrap_or_default())
        }
        // A target that is too long for the client, or no address, was never asked for.
        Err(error) if error.is_builder() => (0, String::new()),
        Err(error) => panic!("{} {}: {error}", one.method, one.path),
    }
}

/// One client for all requests: connections are kept.
fn client_of(_: &Server) -> &'static reqwest::Client {
    static CLIENT: std::sync::OnceLock<reqwest::Client> = std::sync::OnceLock::new();
    CLIENT.get_or_init(client)
}

/// Streams do not end, and a logout ends the session that the next request needs.
fn is_asked(route: &Route) -> bool {
    !matches!(&*route.path, "/events" | "/auth/logout" | "/api/v2/auth/logout")
        && (route.method != "DELETE" || route.path.contains('{'))
}

async fn all_answer(server: &Server, tries: Vec<Try>, token: Option<&str>) {
    let faults: BTreeMap<String, u16> = stream::iter(&tries)
        .map(|one| async move {
            let (status, kind) = send(server, one, token).await;
            let shown: String = format!("{} {} {:?}", one.method, one.path, one.body).chars().take(400).collect();
            let is_rest = one.path.starts_with("/api/v2/") && !one.path.starts_with("/api/v2/auth/");
            // A head that is too long is refused before anybody reads for whom it is.
            if is_rest && status >= 400 && !matches!(status, 414 | 431) {
                assert_eq!(kind, "application/json", "{shown}: {status}");
            }
            (status >= 500 && status != 501).then_some((shown, status))
        })
        .buffer_unordered(AT_ONCE)
        .filter_map(std::future::ready)
        .collect()
        .await;
    assert!(faults.is_empty(), "{} of {} requests: {faults:#?}", faults.len(), tries.len());
}

/// A try for each route and each text.
fn each(asked: impl Fn(&Route) -> bool, make: impl Fn(&'static Route, &str, usize) -> Option<Try>) -> Vec<Try> {
    let texts = odd_texts();
    assert!(texts.len() >= 40);
    let routes: Vec<&Route> = routes().filter(|route| is_asked(route) && asked(route)).collect();
    let pairs = routes
        .iter()
        .enumerate()
        .flat_map(|(at, route)| texts.iter().enumerate().map(move |(turn, text)| (*route, text.as_str(), at + turn)));
    pairs.filter_map(|(route, text, turn)| make(route, text, turn)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_path_is_so_odd_that_a_route_fails() {
    let server = Server::start().await;
    let token = server.token("admin").await;
    all_answer(&server, each(|_| true, in_paths), Some(&token)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_query_is_so_odd_that_a_route_fails() {
    let server = Server::start().await;
    let token = server.token("admin").await;
    let tries = each(|route| route.method == "GET", |route, text, turn| Some(in_queries(route, text, turn)));
    all_answer(&server, tries, Some(&token)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_body_is_so_odd_that_a_route_fails() {
    let server = Server::start().await;
    let token = server.token("admin").await;
    let changes = |route: &Route| !matches!(&*route.method, "GET" | "DELETE");
    let mut tries = each(changes, |route, text, turn| Some(in_bodies(route, text, turn)));
    for route in routes().filter(|route| is_asked(route) && changes(route)) {
        let raw = |body: &str| Some(("application/json", body.to_owned()));
        tries.extend(RAW.map(|body| Try { method: &route.method, path: path_of(route), body: raw(body) }));
    }
    all_answer(&server, tries, Some(&token)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_needs_a_login_to_be_refused_properly() {
    let server = Server::start().await;
    let tries = each(
        |_| true,
        |route, text, turn| {
            let is_open = matches!(route.access, windlass_webui::Access::Public) && route.method == "POST";
            match turn % 2 {
                _ if is_open => Some(in_bodies(route, text, turn)),
                0 => in_paths(route, text, turn / 2),
                _ => Some(in_queries(route, text, turn / 2)),
            }
        },
    );
    all_answer(&server, tries, None).await;
}

#[tokio::test]
async fn instants_that_no_calendar_has_are_named_in_the_answer() {
    let server = Server::start().await;
    let op = server.user("op").await;
    let runs = "/dags/stock_data_pipeline/dagRuns";
    for name in ["logical_date", "run_after", "data_interval_start"] {
        for odd in ["0000-01-01T00:00:00Z", "-9999-01-01T00:00:00Z", "0001-01-01T00:00:00+01:00"] {
            let mut body = json!({"logical_date": null});
            body[name] = odd.into();
            let (status, answer) = op.post(runs, body).await;
            assert_eq!((status, &answer["detail"][0]["loc"][1]), (422, &Value::from(name)), "{odd}: {answer}");
        }
    }
    let (status, answer) = op.get(&format!("{runs}?run_after_gte=-9999-01-01")).await;
    assert_eq!((status, &answer["detail"][0]["loc"]), (422, &json!(["query", "run_after_gte"])), "{answer}");
    for at in ["2026-03-01T00:00Z", "2026-03-02 00:00:00+0000", "2026-03-03T01:00:00+0100"] {
        let (status, answer) = op.post(runs, json!({"logical_date": at})).await;
        assert_eq!(status, 200, "{at}: {answer}");
    }
    let (status, answer) = op.post(runs, json!({"logical_date": 1_767_225_600})).await;
    assert_eq!((status, &answer["logical_date"]), (200, &json!("2026-01-01T00:00:00Z")), "{answer}");
    let of = format!("{runs}/{}/taskInstances/silver/logs/2", RUN.replace('+', "%2B"));
    assert_eq!(op.get(&format!("{of}?map_index=NaN")).await.0, 422);
    for (path, name) in [("/eventLogs/abc", "event_log_id"), ("/importErrors/abc", "import_error_id")] {
        let (status, answer) = op.get(path).await;
        assert_eq!((status, &answer["detail"][0]["loc"]), (422, &json!(["path", name])), "{answer}");
    }
    assert_eq!(op.get("/dags/%ff").await.0, 422);
}

#[tokio::test]
async fn a_note_that_is_too_long_is_refused_alike_by_every_door() {
    let server = Server::start().await;
    let op = server.user("op").await;
    let note = "n".repeat(1001);
    let (posted, answer) =
        op.post("/dags/stock_data_pipeline/dagRuns", json!({"logical_date": null, "note": note})).await;
    assert_eq!((posted, &answer["detail"][0]["type"]), (422, &json!("string_too_long")), "{answer}");
    let run = format!("/dags/stock_data_pipeline/dagRuns/{}", RUN.replace('+', "%2B"));
    let (patched, answer) = op.patch(&run, json!({"note": note})).await;
    assert_eq!((patched, &answer["detail"][0]["type"]), (422, &json!("string_too_long")), "{answer}");
}

#[tokio::test]
async fn a_malformed_entity_of_a_bulk_delete_is_refused_and_nothing_is_deleted() {
    let server = Server::start().await;
    let op = server.user("op").await;
    op.post("/variables", json!({"key": "stays", "value": "1"})).await;
    let body = json!({"actions": [{"action": "delete", "entities": ["stays", {"kye": "x"}]}]});
    assert_eq!(op.patch("/variables", body).await.0, 422);
    assert_eq!(op.get("/variables/stays").await.0, 200);
}

#[tokio::test]
async fn a_body_that_is_too_large_is_told_so() {
    let server = Server::start().await;
    let op = server.user("op").await;
    let (status, answer) = op.post("/variables", json!({"key": "k", "value": "x".repeat(1_100_000)})).await;
    assert_eq!(status, 413, "{answer}");
    let login =
        client().post(server.url("/auth/token")).json(&json!({"username": "x".repeat(20_000), "password": "p"}));
    assert_eq!(login.send().await.unwrap().status(), 413);
}
