//! Templates as people write them.

use std::collections::BTreeMap;

use futures::{FutureExt as _, future::BoxFuture};
use link::{ConnectionFields, FetchItem, FetchKey, RunView, ServiceStatus, WhichRun};
use model::{DagId, MapIndex, RunId, RunKey, RunType, TaskId, TaskIdx, TryNumber, operator::ServiceSpec};
use serde_json::json;
use tokio::{runtime::Runtime, sync::watch};

use super::*;

/// A leader that has a connection, two variables and one XCom.
struct Leader;

impl Host for Leader {
    fn fetch(&self, key: FetchKey) -> BoxFuture<'_, FetchItem> {
        let item = match key {
            FetchKey::Variable(key) if key == "region" => FetchItem::Variable("eu".into()),
            FetchKey::Variable(key) if key == "api_token" => FetchItem::Variable("t0ps3cret".into()),
            FetchKey::Variable(key) if key == "shape" => FetchItem::Variable(r#"{"sides": [3, 4]}"#.into()),
            FetchKey::Connection(id) if id == "db" => FetchItem::Connection(Box::new(ConnectionFields {
                conn_id: id,
                conn_type: "postgres".into(),
                host: Some("h".into()),
                schema: None,
                login: Some("me".into()),
                password: Some("hunter22".into()),
                port: Some(5432),
                extra: Some(r#"{"apikey": "extra-value"}"#.into()),
            })),
            FetchKey::XCom { task: TaskIdx(1), map_index: Some(MapIndex::UNMAPPED), key } if key == "return_value" => {
                FetchItem::XCom(vec![json!(["a b", "c"])])
            }
            FetchKey::XCom { task: TaskIdx(2), map_index: None, .. } => FetchItem::XCom(vec![json!(1), json!(2)]),
            FetchKey::XCom { .. } => FetchItem::XCom(Vec::new()),
            FetchKey::Run { which: WhichRun::SuccessBefore(date), .. }
                if date.to_rfc3339().starts_with("2026-01-30") =>
            {
                FetchItem::Run(Box::new(RunView {
                    run_id: RunId::new("before").unwrap(),
                    state: model::DagRunState::Success,
                    dag_is_paused: false,
                    tasks: BTreeMap::new(),
                    data_interval: Some((
                        "2026-01-28T00:00:00Z".parse().unwrap(),
                        "2026-01-29T00:00:00Z".parse().unwrap(),
                    )),
                    started_at: Some("2026-01-29T00:00:01Z".parse().unwrap()),
                    ended_at: None,
                }))
            }
            FetchKey::AssetEvents(which) => FetchItem::AssetEvents(asset_events(&which)),
            FetchKey::Variable(_)
            | FetchKey::Connection(_)
            | FetchKey::File(_)
            | FetchKey::TriggerRun(_)
            | FetchKey::Run { .. } => FetchItem::Missing("not there".into()),
        };
        std::future::ready(item).boxed()
    }

    fn declare(&self, _: Vec<ServiceSpec>, _: Vec<String>) -> BoxFuture<'_, ()> {
        std::future::ready(()).boxed()
    }

    fn services(&self) -> watch::Receiver<Vec<ServiceStatus>> {
        watch::channel(Vec::new()).1
    }
}

/// Two events of an asset that the run was made by, and one of an inlet.
fn asset_events(which: &link::WhichAssets) -> Vec<link::AssetEvents> {
    let event = |id: i64, region: &str| link::AssetEvent {
        id,
        timestamp: "2026-01-30T13:45:10Z".parse().unwrap(),
        extra: json!({ "region": region }).as_object().unwrap().clone(),
        source_dag_id: Some("writes".to_owned()),
        source_task_id: Some("write".to_owned()),
        source_run_id: Some("r1".to_owned()),
        source_map_index: -1,
        source_dag_run: Some(link::SourceRun {
            run_id: RunId::new("r1").unwrap(),
            logical_date: Some("2026-01-29T00:00:00Z".parse().unwrap()),
            data_interval: None,
        }),
    };
    let of = |name: &str, uri: &str, events| link::AssetEvents { name: name.to_owned(), uri: uri.to_owned(), events };
    match which {
        link::WhichAssets::Triggering => vec![of("trades", "s3://b/k", vec![event(1, "eu"), event(2, "x; id")])],
        link::WhichAssets::Named(_) => vec![of("trades", "s3://b/k", vec![event(2, "us")])],
    }
}

/// A context for tests elsewhere.
pub(crate) fn tests_context() -> TaskContext {
    context(None)
}

fn context(logical_date: Option<&str>) -> TaskContext {
    let instant = |text: &str| text.parse().unwrap();
    let params = json!({"region": "eu west", "safe": "a-1", "n": 3, "evil": "x; rm -rf /"});
    TaskContext {
        dag_id: DagId::new("tour").unwrap(),
        run_id: RunId::new("manual__1").unwrap(),
        run_key: RunKey(7),
        run_type: RunType::Manual,
        task_id: TaskId::new("own").unwrap(),
        task_numbers: std::sync::Arc::new(BTreeMap::from([
            (TaskId::new("own").unwrap(), TaskIdx(0)),
            (TaskId::new("list").unwrap(), TaskIdx(1)),
            (TaskId::new("mapped").unwrap(), TaskIdx(2)),
        ])),
        map_index: MapIndex::UNMAPPED,
        try_number: TryNumber(2),
        max_tries: 3,
        logical_date: logical_date.map(instant),
        data_interval: logical_date.map(|date| (instant(date), instant("2026-01-31T00:00:00Z"))),
        run_after: instant("2026-01-31T00:00:00Z"),
        run_started_at: instant("2026-01-31T00:00:01Z"),
        conf: json!({"who": "$(id)"}).as_object().unwrap().clone(),
        params: params.as_object().unwrap().clone(),
        dag_fields: json!({"owner": "data"}).as_object().unwrap().clone(),
        task_fields: json!({"owner": "data", "operator": "bash", "retries": 2}).as_object().unwrap().clone(),
        native: false,
        macros: serde_json::Map::new(),
        prev_success_interval: None,
        outlets: vec![asset("done", "s3://b/done")],
        inlets: vec![asset("trades", "s3://b/k"), asset("silent", "s3://b/silent")],
    }
}

fn with_renderer<T>(logical_date: Option<&str>, work: impl FnOnce(&Renderer, &Masker) -> T) -> T {
    let runtime = Runtime::new().unwrap();
    let masker = Masker::default();
    let ti = TiKey::unmapped(RunKey(7), TaskIdx(0));
    let handle = runtime.handle().clone();
    work(
        &Renderer::new(context(logical_date), ti, Arc::new(Leader), masker.clone(), handle, CancellationToken::new()),
        &masker,
    )
}

const DATE: Option<&str> = Some("2026-01-30T13:45:10.25Z");

fn text(source: &str) -> String {
    with_renderer(DATE, |renderer, _| renderer.text("field", source)).unwrap_or_else(|error| error.to_string())
}

fn asset(name: &str, uri: &str) -> model::AssetNews {
    model::AssetNews { name: Some(name.to_owned()), uri: Some(uri.to_owned()), ..model::AssetNews::default() }
}

#[test]
fn events_of_assets_are_asked_for_when_a_template_names_them() {
    for (source, expected) in [
        ("{{ triggering_asset_events['s3://b/k'][-1].extra.region }}", "x; id"),
        ("{{ (triggering_asset_events.values() | first | first).source_dag_run.logical_date | ds }}", "2026-01-29"),
        (
            "{% for uri, events in triggering_asset_events.items() %}{{ uri }}: {{ events | length }}{% endfor %}",
            "s3://b/k: 2",
        ),
        ("{{ triggering_asset_events['s3://b/k'][0].timestamp }}", "2026-01-30 13:45:10+00:00"),
        ("{{ inlet_events['trades'][0].source_run_id }} {{ inlet_events['s3://b/k'] | length }}", "r1 1"),
        (
            "{{ inlet_events[0][0].extra.region }} {{ inlet_events['silent'] | length }} {{ inlet_events[1] | length }}",
            "us 0 0",
        ),
        ("{{ outlets[0].uri }} {{ inlets | map(attribute='name') | join(',') }}", "s3://b/done trades,silent"),
    ] {
        assert_eq!(text(source), expected, "{source}");
    }
    let quoted = with_renderer(DATE, |renderer, _| {
        renderer.shell("bash_command", "echo {{ triggering_asset_events['s3://b/k'][-1].extra.region }}")
    });
    assert_eq!(quoted.unwrap(), "echo 'x; id'", "what another task has said is a value");
}

#[test]
fn airflows_names_have_airflows_values() {
    for (source, expected) in [
        ("{{ ds }} {{ ds_nodash }}", "2026-01-30 20260130"),
        ("{{ ts }}", "2026-01-30T13:45:10.250000+00:00"),
        ("{{ ts_nodash }} {{ ts_nodash_with_tz }}", "20260130T134510 20260130T134510+0000"),
        ("{{ logical_date }}", "2026-01-30 13:45:10.250000+00:00"),
        ("{{ logical_date.strftime('%d/%m %f') }}", "30/01 250000"),
        ("{{ logical_date.add(days=2).isoformat() }}", "2026-02-01T13:45:10.250000+00:00"),
        ("{{ (logical_date.subtract(months=1) | ds) }}", "2025-12-30"),
        ("{{ data_interval_end | ts }}", "2026-01-31T00:00:00+00:00"),
        ("{{ logical_date.in_timezone('Europe/Zurich').hour }}", "14"),
        ("{{ data_interval_start < data_interval_end }}", "True"),
        ("{{ macros.ds_add(ds, -30) }}", "2025-12-31"),
        ("{{ macros.ds_format(ds, '%Y-%m-%d', '%d.%m.%y') }}", "30.01.26"),
        ("{{ macros.datetime(2026, 3, 1).add(macros.timedelta(hours=5)) }}", "2026-03-01 05:00:00+00:00"),
        ("{{ dag.dag_id }} {{ dag.owner }} {{ dag_run.run_type }} {{ run_id }}", "tour data manual manual__1"),
        ("{{ ti.task_id }} {{ task_instance.try_number }} {{ task_instance_key_str }}", "own 2 tour__own__20260130"),
        ("{{ params.n + 1 }} {{ conf.get('x', 'none') }}", "4 none"),
        ("{{ dag_run.conf.get('x') or 'd' }} {{ ds.replace('-', '/') }}", "d 2026/01/30"),
        ("{{ var.value.region }} {{ var.json.shape.sides[1] }} {{ var.value.get('nope', 'd') }}", "eu 4 d"),
        ("{{ conn.db.host }}:{{ conn.db.port }} {{ conn.db.extra_dejson.apikey }}", "h:5432 extra-value"),
        ("{{ ti.xcom_pull(task_ids='list')[0] }} {{ ti.xcom_pull('mapped') }}", "a b [1, 2]"),
        (
            "{{ task.owner }} {{ task.task_id }} {{ task.retries }} {{ ti.operator }} {{ ti.state }}",
            "data own 2 bash running",
        ),
        ("{{ ti.log_url.endswith('/tasks/own') }} {{ ti.hostname | length > 0 }}", "True True"),
        // What dag-factory's variables_as_arguments becomes.
        ("{% if var.value.get('nope', none) is none %}d{% else %}{{ var.value.get('nope', none) }}{% endif %}", "d"),
        ("{% if var.value.get('region', none) is none %}d{% else %}{{ var.value['region'] }}{% endif %}", "eu"),
        ("{{ ti.xcom_pull(task_ids=['list', 'own'])[1] is none }}", "True"),
        ("{{ ti.xcom_pull(task_ids='list', key='x', default=5) }}", "5"),
        ("a\n", "a\n"),
    ] {
        assert_eq!(text(source), expected, "{source}");
    }
}

#[test]
fn a_name_without_a_value_is_named() {
    for (source, says) in [
        ("{{ nothing }}", "could not render field: nothing is not defined"),
        ("{{ params.nope }}", "params.nope is not defined"),
        ("{{ var.value.nope }}", "there is no variable \"nope\": not there; or use .get with a default"),
        ("{{ conn.nope.host }}", "there is no connection \"nope\": not there; or use .get with a default"),
        ("{{ ti.xcom_pull(task_ids='nope') }}", "names the task \"nope\", which this DAG does not have"),
        ("{{ macros.ds_add('x', 1) }}", "\"x\" has not the form"),
        ("x\n{{ 1 + }}", "line 2"),
    ] {
        let found = text(source);
        assert!(found.contains(says), "{source}: {found}");
    }
}

#[test]
fn names_that_need_a_logical_date_are_absent_without_one() {
    let error = with_renderer(None, |renderer, _| renderer.text("sql", "{{ ds }}")).unwrap_err();
    assert_eq!(error.to_string(), "could not render sql: ds needs a logical date, and this run has none");
    let absent =
        with_renderer(None, |renderer, _| renderer.text("sql", "{{ ds is defined }} {{ dag_run.logical_date }}"));
    assert_eq!(absent.unwrap(), "False None");
}

#[test]
fn secrets_are_masked_from_the_moment_they_are_fetched() {
    with_renderer(DATE, |renderer, masker| {
        let rendered =
            renderer.text("f", "{{ conn.db.password }} {{ var.value.api_token }} {{ conn.db.extra }}").unwrap();
        assert!(rendered.contains("hunter22"));
        let masked = masker.mask(&rendered).into_owned();
        assert!(["hunter22", "t0ps3cret", "extra-value"].iter().all(|secret| !masked.contains(secret)), "{masked}");
    });
}

#[test]
fn a_template_without_an_end_ends() {
    let says = |source: &str, what: &str| assert!(text(source).contains(what), "{source}: {}", text(source));
    says("{% for a in range(10000) %}{% for b in range(10000) %}{% endfor %}{% endfor %}", "more than 20000000 steps");
    says("{% for a in range(100) %}{{ 'x' * 100000 }}{% endfor %}", "more than 8388608 bytes");
    says("echo ${#names[@]}\necho a", "line 1 has \"echo ${#names[@]}\", where {# begins");
}

#[test]
fn instants_and_durations_are_calculated_with() {
    for (source, expected) in [
        ("{{ (logical_date - macros.timedelta(days=1)).strftime('%Y%m%d') }}", "20260129"),
        ("{{ logical_date + macros.timedelta(hours=1, minutes=30) }}", "2026-01-30 15:15:10.250000+00:00"),
        ("{{ (macros.timedelta(days=1) + logical_date) | ts }}", "2026-01-31T13:45:10.250000+00:00"),
        ("{{ (data_interval_end - data_interval_start).total_seconds() }}", "36889.75"),
        ("{{ macros.timedelta(hours=-1).days }} {{ macros.timedelta(hours=-1).seconds }}", "-1 82800"),
        ("{{ macros.timedelta(hours=-1) }}", "-1 day, 23:00:00"),
        ("{{ macros.timedelta(days=1, seconds=0.5) }}", "1 day, 0:00:00.500000"),
        ("{{ macros.timedelta(minutes=90) }}", "1:30:00"),
        // Clocks in Berlin go forward on the 29th of March at 2:00.
        (
            "{{ macros.datetime(2026, 3, 28, 11).in_timezone('Europe/Berlin').add(days=1) }}",
            "2026-03-29 12:00:00+02:00",
        ),
        (
            "{{ macros.datetime(2026, 3, 28, 11).in_timezone('Europe/Berlin').add(hours=24) }}",
            "2026-03-29 13:00:00+02:00",
        ),
        (
            "{{ macros.datetime(2026, 3, 28, 1, 30).in_timezone('Europe/Berlin').add(days=1) }}",
            "2026-03-29 03:30:00+02:00",
        ),
        ("{{ (macros.timedelta(days=2) * 3 - macros.timedelta(hours=1)).days }}", "5"),
        ("{{ (logical_date - macros.timedelta(days=1)) < logical_date }}", "True"),
        ("{{ macros.timedelta(days=1) == macros.timedelta(hours=24) }}", "True"),
        ("{% if logical_date - macros.timedelta(days=30) < data_interval_start %}yes{% endif %}", "yes"),
        ("{% set d = logical_date - macros.timedelta(days=1) %}{{ d | ds }}", "2026-01-29"),
        ("{{ 7 - 2 * 3 % 4 }} {{ 1.5 + 2 }} {{ 'a' + 'b' }} {{ [1] + [2] }} {{ 'ab' * 2 }}", "5 3.5 ab [1, 2] abab"),
        ("{{ '%02d' % 5 }} {{ '%s-%s' % ('a', 1.5) }} {{ '%5.1f|%x' % (2.25, 255) }}", "05 a-1.5   2.2|ff"),
        ("{{ nope - 1 }}", "could not render field: nope is not defined"),
    ] {
        assert_eq!(text(source), expected, "{source}");
    }
    assert!(
        text("{{ logical_date - 1 }}").contains("a date - number has no meaning here"),
        "{}",
        text("{{ logical_date - 1 }}")
    );
}

#[test]
fn the_last_successful_run_has_names_that_are_none_without_one() {
    let source = "{{ prev_data_interval_start_success or data_interval_start }} {{ prev_start_date_success | ts }} {{ prev_end_date_success }}";
    assert_eq!(text(source), "2026-01-28 00:00:00+00:00 2026-01-29T00:00:01+00:00 None");
    let first = with_renderer(Some("2026-01-01T00:00:00Z"), |renderer, _| renderer.text("f", source)).unwrap();
    assert_eq!(first, "2026-01-01 00:00:00+00:00 None None");
    let undated = with_renderer(None, |renderer, _| renderer.text("f", "{{ prev_data_interval_end_success is none }}"));
    assert_eq!(undated.unwrap(), "True");
}

#[test]
fn dates_and_texts_have_the_methods_that_people_use() {
    for (source, expected) in [
        (
            "{{ logical_date.format('YYYY-MM') }} {{ logical_date.format('dddd D. MMM YY, HH:mm [at] Q') }}",
            "2026-01 Friday 30. Jan 26, 13:45 at 1",
        ),
        ("{{ logical_date.subtract(days=1) | ds }} {{ logical_date.days_in_month }}", "2026-01-29 31"),
        (
            "{{ logical_date.start_of('quarter') | ds }} {{ logical_date.end_of('month') }}",
            "2026-01-01 2026-01-31 23:59:59.999999+00:00",
        ),
        ("{{ logical_date.start_of('hour') | ts }}", "2026-01-30T13:00:00+00:00"),
        // What pendulum 3 answers.
        (
            "{{ logical_date.format('Do dd d E A X x SS S SSS ZZ DDDD DDD') }}",
            "30th Fr 5 5 PM 1769780710 1769780710250 25 2 250 +0000 030 30",
        ),
        (
            "{{ logical_date.replace(day=1) }} {{ logical_date.set(hour=0) }}",
            "2026-01-01 13:45:10.250000+00:00 2026-01-30 00:45:10.250000+00:00",
        ),
        (
            "{{ logical_date.first_of('month') }} {{ logical_date.last_of('quarter') }}",
            "2026-01-01 00:00:00+00:00 2026-03-31 00:00:00+00:00",
        ),
        (
            "{{ macros.datetime(2026, 3, 29).in_timezone('Europe/Berlin').replace(hour=2, minute=30) }}",
            "2026-03-29 03:30:00+02:00",
        ),
        (
            "{% set d = logical_date.start_of('day') %}{{ d.diff(macros.datetime(2026, 3, 1)).in_days() }} {{ macros.datetime(2026, 3, 1).diff(d).in_days() }}",
            "30 30",
        ),
        (
            "{{ macros.datetime(2026, 8, 31).week_of_month }} {{ macros.datetime(2026, 5, 10).week_of_month }} {{ logical_date.week_of_month }}",
            "6 2 5",
        ),
        (
            "{{ macros.datetime(2026, 1, 22).format('Do') }} {{ macros.datetime(2026, 1, 11).format('Do') }} {{ logical_date.to_rfc3339_string() }}",
            "22nd 11th 2026-01-30T13:45:10.250000+00:00",
        ),
        ("{{ macros.ds_format(ds, '%Y-%m-%d', '%Y-%m') }}", "2026-01"),
        ("{{ None | ds }} {{ dag_run.conf.get('x') | ts_nodash }}", "None None"),
        ("{{ '{}-{x}'.format(1, x=2) }} {{ '7'.zfill(3) }} {{ '-7'.zfill(3) }}", "1-2 007 -07"),
        (
            "{{ 'a,b,c'.split(',', 1) }} {{ 'a b  c'.rsplit(maxsplit=1) }} {{ ' a  b '.split() }}",
            r#"["a", "b,c"] ["a b", "c"] ["a", "b"]"#,
        ),
        ("{{ 'a b&c' | urlencode }} {{ 'hello wonderful world' | truncate(12) }}", "a%20b%26c hello..."),
        ("{{ (data_interval_end - data_interval_start).in_hours() }} {{ 'x.csv'.removesuffix('.csv') }}", "10 x"),
    ] {
        assert_eq!(text(source), expected, "{source}");
    }
    for (source, says) in [
        ("{{ logical_date.fromat('x') }}", "a date has no method fromat; it has: strftime, isoformat, format"),
        ("{{ logical_date.replace(month=2) }}", "there is no such date or time of day"),
        ("{{ logical_date.first_of('week') }}", "\"week\" is no unit with a first day"),
        ("{{ logical_date.diff(5) }}", "diff takes another date"),
        ("{{ logical_date.format('a') }}", "'a', which is no token of a date here"),
        ("{{ 'a'.swap() }}", "a text has no method swap; it has: upper"),
        ("{{ 'a'.zfill(100000) }}", "over the limit of 10000"),
        ("{{ '%99999d' % 1 }}", "a width of more than 4 digits"),
    ] {
        assert!(text(source).contains(says), "{source}: {}", text(source));
    }
}

#[test]
fn a_structure_may_be_its_json_text() {
    with_renderer(DATE, |renderer, _| {
        let of = |source: &str| renderer.structure("conf", source).unwrap();
        assert_eq!(of("{{ {'a': params.n} | tojson }}"), json!({"a": 3}));
        assert_eq!(of("{{ {'a': [params.n]} }}"), json!({"a": [3]}));
        assert_eq!(of(" [{{ params.n }}] "), json!([3]));
        assert_eq!(of("{ {{ ds }}"), json!("{ 2026-01-30"));
        let why = renderer.structure("conf", "{ \"id\": 123456789012345678901 }").unwrap_err().to_string();
        assert!(why.contains("123456789012345678901") && why.contains("exact"), "{why}");
    });
}

#[test]
fn a_single_expression_keeps_its_type() {
    with_renderer(DATE, |renderer, _| {
        let value = renderer.value("follow", "{{ ['a', 'b'] if params.n > 2 else 'c' }}").unwrap();
        assert_eq!(to_json("follow", &value).unwrap(), json!(["a", "b"]));
        let value = renderer.value("follow", "x{{ params.n }}").unwrap();
        assert_eq!(to_json("follow", &value).unwrap(), json!("x3"));
        assert!(renderer.value("follow", "{{ nope }}").unwrap_err().to_string().contains("nope is not defined"));
    });
}

#[test]
fn what_is_plain_is_its_own_rendering() {
    for source in
        ["", "true", "a\r\nb\n\n", "echo '${x}' { } % # %} }} #}", "awk '{ print $1 }'", "# a {\n- % b", "\u{feff}ä\0"]
    {
        assert!(is_plain(source), "{source:?}");
        assert_eq!(text(source), source);
        let shell = with_renderer(DATE, |renderer, _| renderer.shell("field", source)).unwrap();
        assert_eq!(shell, source);
    }
    for source in ["{{ ds }}", "{% if x %}", "{# note #}", "{{"] {
        assert!(!is_plain(source), "{source:?}");
    }
}
