//! The stream of changes and logs, and the live parts of pages that many share.

use std::{collections::BTreeSet, sync::atomic::Ordering, time::Duration};

use futures::future::join_all;
use model::{DagId, RunKey};
use serde_json::{Value, json};
use store::{
    Changes, hints,
    users::{self, OwnRole},
};

use crate::{
    roles::somebody,
    support::{RUN, Server, client},
};

const WITHIN: Duration = Duration::from_secs(60);
/// Longer than a hint takes, for what must not come.
const A_WHILE: Duration = Duration::from_millis(700);
const STOCK: &str = "stock_data_pipeline";
const WEATHER: &str = "weather_pipeline";

/// An open stream.
struct Stream {
    answer: reqwest::Response,
    text: String,
}

impl Stream {
    async fn open(base: &str, token: &str, on: &str, more: &[(&str, &str)]) -> Self {
        let request = client().get(format!("{base}/events")).query(&[("on", on)]).query(more);
        let answer = request.header("cookie", format!("_token={token}")).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        Self { answer, text: String::new() }
    }

    /// The next event's name and data; none when the stream has ended.
    async fn next(&mut self) -> Option<(String, String)> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let line = |name: &str| event.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
                let (name, data) = (line("event: "), line("data: "));
                self.text = rest.to_owned();
                match name.zip(data) {
                    Some(event) => return Some(event),
                    None => continue,
                }
            }
            self.text.push_str(std::str::from_utf8(&self.answer.chunk().await.unwrap()?).unwrap());
        }
    }

    async fn event(&mut self, name: &str) -> String {
        let found = async {
            loop {
                match self.next().await {
                    Some((found, data)) if found == name => return data,
                    Some(_) => {}
                    None => panic!("the stream has ended"),
                }
            }
        };
        tokio::time::timeout(WITHIN, found).await.unwrap_or_else(|_| panic!("no event {name}"))
    }

    async fn changed(&mut self) -> String {
        self.event("changed").await
    }

    async fn hello(&mut self) -> Value {
        serde_json::from_str(&self.event("hello").await).unwrap()
    }

    async fn log(&mut self) -> Value {
        serde_json::from_str(&self.event("log").await).unwrap()
    }

    async fn hears_nothing(&mut self) {
        let heard = tokio::time::timeout(A_WHILE, self.next()).await;
        assert!(heard.is_err(), "{heard:?}");
    }
}

fn dag(name: &str) -> DagId {
    DagId::new(name).unwrap()
}

async fn change(server: &Server, changes: &Changes) {
    hints::notify_changes(&server.pool, changes).await.unwrap();
}

async fn change_run(server: &Server, name: &str, run: i64) {
    change(server, &Changes::runs(dag(name), [RunKey(run)])).await;
}

#[tokio::test]
async fn a_stream_is_told_of_its_subjects_and_of_nothing_else() {
    let server = Server::start().await;
    let token = server.token("viewer").await;
    let open = async |on| {
        let mut stream = Stream::open(&server.base, &token, on, &[]).await;
        assert_eq!(stream.hello().await["refused"], json!([]));
        stream
    };
    let mut one_run = open("run/stock_data_pipeline/13").await;
    let mut other_run = open("run/stock_data_pipeline/12 services").await;
    let mut both = open("dag/stock_data_pipeline dag/weather_pipeline").await;
    let mut all = open("*").await;
    change_run(&server, STOCK, 13).await;
    assert_eq!(one_run.changed().await, "run/stock_data_pipeline/13");
    assert_eq!(both.changed().await, "dag/stock_data_pipeline");
    assert_eq!(all.changed().await, "*");
    other_run.hears_nothing().await;
    change(&server, &Changes::services()).await;
    assert_eq!(other_run.changed().await, "services");
    one_run.hears_nothing().await;
    change(&server, &Changes::dag(dag(STOCK))).await;
    assert_eq!(other_run.changed().await, "run/stock_data_pipeline/12", "any run of a DAG is told with it");
    assert_eq!(both.changed().await, "dag/stock_data_pipeline");
    change(&server, &Changes::anything()).await;
    assert_eq!(other_run.changed().await, "run/stock_data_pipeline/12 services");
}

#[tokio::test]
async fn a_stream_tells_nobody_of_what_he_may_not_see() {
    let server = Server::start().await;
    somebody(&server, "narrow", &[], &["read dag:weather_pipeline"]).await;
    let token = server.token("narrow").await;
    let log = format!("log/{STOCK}/{RUN}/silver/-1/2");
    let on = format!("* dag/{STOCK} run/{STOCK}/13 dag/{WEATHER} {log}@0 nonsense");
    let mut stream = Stream::open(&server.base, &token, &on, &[]).await;
    let refused: BTreeSet<String> = serde_json::from_value(stream.hello().await["refused"].clone()).unwrap();
    let hidden = [format!("dag/{STOCK}"), format!("run/{STOCK}/13"), log, "nonsense".to_owned()];
    assert_eq!(refused, BTreeSet::from(hidden));
    change_run(&server, STOCK, 13).await;
    change(&server, &Changes::dag(dag(STOCK))).await;
    stream.hears_nothing().await;
    change_run(&server, WEATHER, 99).await;
    let mut told = BTreeSet::new();
    while told.len() < 2 {
        told.extend(stream.changed().await.split(' ').map(str::to_owned));
    }
    assert_eq!(told, BTreeSet::from(["*".to_owned(), format!("dag/{WEATHER}")]));
}

#[tokio::test]
async fn a_stream_ends_when_the_rights_of_its_user_change() {
    let server = Server::start_with(|settings| settings.session_look_every = Duration::from_millis(100)).await;
    somebody(&server, "narrow", &[], &["read dag:weather_pipeline"]).await;
    let (narrow, viewer) = (server.token("narrow").await, server.token("viewer").await);
    let mut stream = Stream::open(&server.base, &narrow, "*", &[]).await;
    let mut other = Stream::open(&server.base, &viewer, "*", &[]).await;
    stream.hello().await;
    other.hello().await;
    let dags = vec!["read dag:stock_data_pipeline".parse().unwrap()];
    let role = OwnRole { name: "narrow".to_owned(), rights: BTreeSet::new(), dags: dags.into_iter().collect() };
    users::update_role(&server.pool, "test".into(), &role).await.unwrap();
    let end = tokio::time::timeout(WITHIN, stream.next()).await.expect("it ends");
    assert_eq!(end, None);
    other.hears_nothing().await;
}

#[tokio::test]
async fn a_stream_ends_at_once_with_its_session() {
    let server = Server::start().await;
    let token = server.token("viewer").await;
    let mut stream = Stream::open(&server.base, &token, "*", &[]).await;
    stream.hello().await;
    client().post(server.url("/auth/logout")).bearer_auth(&token).send().await.unwrap();
    let told = tokio::time::timeout(Duration::from_secs(5), stream.next()).await.expect("long before the next look");
    assert_eq!(told.map(|(name, _)| name).as_deref(), Some("ended"));
}

/// The point that a page was made at.
async fn seen(server: &Server, token: &str) -> String {
    let (_, html) = server.page(token, "/dags").await;
    let seen = regex::Regex::new("data-seen=\"([^\"]+)\"").unwrap();
    seen.captures(&html).unwrap()[1].to_owned()
}

#[tokio::test]
async fn what_was_missed_is_told() {
    let server = Server::start().await;
    let token = server.token("viewer").await;
    let on = format!("run/{STOCK}/13 run/{STOCK}/12");
    let mut first = Stream::open(&server.base, &token, &on, &[]).await;
    first.hello().await;
    let before = seen(&server, &token).await;
    change_run(&server, STOCK, 13).await;
    first.changed().await;
    // Between the page and its stream, and after a stream that broke.
    let mut late = Stream::open(&server.base, &token, &on, &[("since", &before)]).await;
    assert_eq!(late.changed().await, format!("run/{STOCK}/13"));
    let now = seen(&server, &token).await;
    let mut newer = Stream::open(&server.base, &token, &on, &[("since", &now)]).await;
    newer.hello().await;
    newer.hears_nothing().await;
    // Another process knows nothing of what this one has told.
    let mut moved = Stream::open(&server.base, &token, &on, &[("since", "abc-7")]).await;
    assert_eq!(moved.changed().await, on);
}

#[tokio::test]
async fn after_the_connection_to_the_database_was_lost_all_has_changed() {
    let server = Server::start().await;
    let token = server.token("viewer").await;
    let on = format!("run/{STOCK}/13 services");
    let mut stream = Stream::open(&server.base, &token, &on, &[]).await;
    stream.hello().await;
    let cut = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
               WHERE datname = current_database() AND query ILIKE 'LISTEN%'";
    let cut: i64 = sqlx::query_scalar(cut).fetch_one(&server.pool).await.unwrap();
    assert!(cut > 0, "there is a listening connection");
    assert_eq!(stream.changed().await, on);
    // And it listens again.
    change(&server, &Changes::services()).await;
    assert_eq!(stream.changed().await, "services");
}

#[tokio::test]
async fn every_web_server_hears_of_a_change() {
    let server = Server::start().await;
    let other = server.another().await;
    let token = server.token("viewer").await;
    let on = format!("run/{STOCK}/13");
    let mut here = Stream::open(&server.base, &token, &on, &[]).await;
    let mut there = Stream::open(&other, &token, &on, &[]).await;
    here.hello().await;
    there.hello().await;
    change_run(&server, STOCK, 13).await;
    assert_eq!((here.changed().await, there.changed().await), (on.clone(), on));
}

/// How often fragments were rendered, shared and unchanged.
async fn fragments(server: &Server) -> [u64; 3] {
    let page = client().get(server.url("/metrics")).send().await.unwrap().text().await.unwrap();
    ["rendered", "shared", "unchanged"].map(|how| {
        let name = format!("windlass_live_fragments_total{{how=\"{how}\"}} ");
        page.lines().find_map(|line| line.strip_prefix(&name)).map_or(0, |count| count.parse().unwrap())
    })
}

async fn fragment(server: &Server, token: &str, path: &str, tag: Option<&str>) -> (u16, String, String) {
    let request = client().get(server.url(path)).header("cookie", format!("_token={token}; zone=UTC"));
    let request = request.header("windlass-fragment", "1");
    let request = tag.into_iter().fold(request, |request, tag| request.header("if-none-match", tag));
    let answer = request.send().await.unwrap();
    let tag = answer.headers().get("etag").map_or("", |tag| tag.to_str().unwrap()).to_owned();
    (answer.status().as_u16(), tag, answer.text().await.unwrap())
}

#[tokio::test]
async fn a_fragment_is_rendered_once_for_a_change_and_shared() {
    let server = Server::start().await;
    let path = format!("/dags/{STOCK}");
    let viewers = join_all((0..6).map(|_| server.token("viewer"))).await;
    let op = server.token("op").await;
    let all = join_all(viewers.iter().flat_map(|token| [token; 4]).map(|token| fragment(&server, token, &path, None)));
    let all: BTreeSet<(u16, String, String)> = all.await.into_iter().collect();
    assert_eq!(all.len(), 1, "all who may do the same see the same");
    let (status, tag, html) = all.first().unwrap();
    assert!(*status == 200 && !tag.is_empty() && html.contains("stock_data_pipeline"), "{html}");
    assert_eq!(fragments(&server).await, [1, 23, 0]);
    assert_eq!(fragment(&server, &viewers[0], &path, Some(tag)).await, (304, tag.clone(), String::new()));
    // Who may do more sees another one, and nobody's form token is in either.
    let (_, other_tag, of_op) = fragment(&server, &op, &path, None).await;
    assert!(other_tag != *tag && of_op.contains("name=\"csrf\" value=\"\""), "{of_op}");
    assert_eq!(fragments(&server).await, [2, 23, 1]);
    let mut stream = Stream::open(&server.base, &op, &format!("dag/{STOCK}"), &[]).await;
    stream.hello().await;
    change_run(&server, STOCK, 13).await;
    stream.changed().await;
    let (again, told) = (fragment(&server, &op, &path, None).await, fragment(&server, &op, &path, None).await);
    assert_eq!(again, told);
    assert_eq!(fragments(&server).await, [3, 24, 1]);
    // What another DAG does is none of this page's.
    change_run(&server, WEATHER, 99).await;
    stream.hears_nothing().await;
    fragment(&server, &op, &path, None).await;
    assert_eq!(fragments(&server).await, [3, 25, 1]);
}

#[tokio::test]
async fn whoever_changes_something_sees_it_before_any_hint() {
    let server = Server::start().await;
    let token = server.token("op").await;
    let path = format!("/dags/{STOCK}?tab=runs");
    let (_, tag, before) = fragment(&server, &token, &path, None).await;
    assert!(!before.contains("made__now"));
    let body = json!({"logical_date": null, "dag_run_id": "made__now"});
    let user = server.user("op").await;
    // No hint of this comes: the rows are written by hand.
    assert_eq!(user.patch(&format!("/dags/{STOCK}"), json!({"is_paused": true})).await.0, 200);
    let copy = "INSERT INTO dag_run (id, dag_id, run_id, run_type, triggered_by, version_id, state, run_after, queued_at, conf) \
                SELECT 5000, dag_id, $1, 1, 5, version_id, 1, now(), now(), '{}' FROM dag_run WHERE id = 13";
    sqlx::query(copy).bind(body["dag_run_id"].as_str()).execute(&server.pool).await.unwrap();
    let (status, other, after) = fragment(&server, &token, &path, Some(&tag)).await;
    assert!(status == 200 && other != tag && after.contains("made__now"), "{after}");
}

fn line(text: &str) -> String {
    json!({"ts": "2026-11-21T00:01:12.031Z", "stream": "out", "text": text}).to_string() + "\n"
}

fn texts(news: &Value) -> Vec<String> {
    let of =
        |line: &Value| line["pieces"].as_array().unwrap().iter().map(|piece| piece["text"].as_str().unwrap()).collect();
    news["lines"].as_array().unwrap().iter().map(of).collect()
}

#[tokio::test]
async fn a_log_is_read_once_for_all_who_watch_it_and_ends_with_its_attempt() {
    let server = Server::start().await;
    let token = server.token("viewer").await;
    let attempt = server.running_attempt().await;
    server.leader.raw_log(attempt, "");
    server.leader.write_on(attempt, &line("one"));
    let name = format!("log/{STOCK}/{RUN}/silver/-1/2");
    let mut watchers = Vec::new();
    for _ in 0..6 {
        let mut stream = Stream::open(&server.base, &token, &format!("{name}@0"), &[]).await;
        assert_eq!(stream.hello().await["refused"], json!([]));
        let news = stream.log().await;
        assert_eq!((news["log"].as_str(), texts(&news)), (Some(name.as_str()), vec!["one".to_owned()]));
        watchers.push(stream);
    }
    server.leader.log_reads.store(0, Ordering::SeqCst);
    for number in 0..10 {
        server.leader.write_on(attempt, &line(&format!("more {number}")));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    server.leader.end_log(attempt);
    for stream in &mut watchers {
        let mut heard = Vec::new();
        loop {
            let news = stream.log().await;
            if news["ended"] == true {
                assert_eq!(news["why"], Value::Null);
                break;
            }
            heard.extend(texts(&news));
        }
        assert_eq!(heard, (0..10).map(|number| format!("more {number}")).collect::<Vec<_>>());
    }
    let reads = server.leader.log_reads.load(Ordering::SeqCst);
    assert!(reads <= 12, "one tail reads for six who watch: {reads} reads");
    let metrics = client().get(server.url("/metrics")).send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("windlass_live_streams 6\n") && metrics.contains("windlass_live_log_tails "), "{metrics}");
}

#[tokio::test]
async fn who_joins_late_catches_up_and_who_is_far_behind_is_told_what_was_left_out() {
    let server = Server::start().await;
    let token = server.token("viewer").await;
    let attempt = server.running_attempt().await;
    let numbers = 0..60_000;
    let whole: Vec<String> = numbers.clone().map(|number| line(&format!("line {number}"))).collect();
    let length = |lines: usize| whole[..lines].iter().map(String::len).sum::<usize>();
    server.leader.raw_log(attempt, "");
    server.leader.write_on(attempt, &whole.concat());
    let name = format!("log/{STOCK}/{RUN}/silver/-1/2");
    let open = async |offset: usize| Stream::open(&server.base, &token, &format!("{name}@{offset}"), &[]).await;
    let mut at_the_end = open(length(59_999)).await;
    assert_eq!(texts(&at_the_end.log().await), ["line 59999"]);
    let mut near = open(length(50_000)).await;
    let mut heard = Vec::new();
    while heard.len() < 10_000 {
        let news = near.log().await;
        assert_eq!(news["skipped"], Value::Null);
        heard.extend(texts(&news));
    }
    assert!(heard.iter().zip(50_000..60_000).all(|(text, number)| *text == format!("line {number}")));
    let mut far = open(0).await;
    let news = far.log().await;
    assert_eq!(news["skipped"], json!(length(59_999)));
    assert_eq!(texts(&far.log().await), ["line 59999"]);
}
