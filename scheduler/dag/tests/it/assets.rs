//! Assets: what tasks write and read, and schedules by assets, in Airflow's words and dag-factory's.

use dag::{AliasRef, AssetCondition, AssetRef, Outlet, Schedule};
use expect_test::{Expect, expect};
use serde_json::json;

use crate::support::{load, messages, one};

fn dag(schedule: &str) -> String {
    format!("dag_id: x\nschedule: {schedule}\ntasks:\n  - {{task_id: a, operator: empty}}\n")
}

/// A schedule by assets is read, and comes back from the canonical form.
fn check(schedule: &str, expected: &serde_json::Value) {
    let read = one(&dag(schedule));
    assert_eq!(read.dag.schedule, Schedule::Never, "{schedule}");
    assert_eq!(&read.dag.assets.as_ref().expect(schedule).expression(), expected, "{schedule}");
    let again = one(&read.canonical_yaml);
    assert_eq!(again.dag, read.dag, "{}", read.canonical_yaml);
    assert_eq!(again.content_hash, read.content_hash);
}

fn refused(text: &str, expected: Expect) {
    expected.assert_eq(&messages(&load(text)));
}

fn asset(name: &str, uri: &str) -> serde_json::Value {
    json!({ "asset": { "uri": uri, "name": name, "group": "asset" } })
}

#[test]
fn a_list_of_assets_waits_for_all_of_them() {
    let both = json!({ "all": [asset("s3://b/k", "s3://b/k"), asset("trades", "trades")] });
    check("['s3://b/k', trades]", &both);
    check("[{uri: 's3://b/k'}, {name: trades}]", &both);
    check("{all: ['s3://b/k', trades]}", &both);
    check("{datasets: ['s3://b/k', trades]}", &both);
    check("{assets: ['s3://b/k', {name: trades}]}", &both);
    check("{datasets: '(s3://b/k & trades)'}", &both);
    check(
        "{__and__: [{__type__: airflow.sdk.Asset, uri: 's3://b/k'}, {__type__: airflow.sdk.Asset, name: trades}]}",
        &both,
    );
}

#[test]
fn one_asset_needs_no_list() {
    for form in ["'s3://b/k'", "['s3://b/k']", "{uri: 's3://b/k'}", "{any: ['s3://b/k']}", "{or_assets: ['s3://b/k']}"]
    {
        check(form, &asset("s3://b/k", "s3://b/k"));
    }
    check("[{name: trades, uri: 's3://b/k'}]", &asset("trades", "s3://b/k"));
}

#[test]
fn any_and_all_nest() {
    let nested = json!({ "any": [{ "all": [asset("a", "a"), asset("b", "b")] }, asset("c", "c")] });
    check("{any: [{all: [a, b]}, c]}", &nested);
    check("{any: [[a, b], c]}", &nested);
    check("{datasets: '((a & b) | c)'}", &nested);
    check("{__or__: [{__and__: [a, b]}, c]}", &nested);
}

#[test]
fn an_alias_may_be_waited_for() {
    let read = one(&dag("[{alias: daily, group: reports}]")).dag;
    let alias = AliasRef { alias: "daily".to_owned(), group: Some("reports".to_owned()) };
    assert_eq!(read.assets, Some(AssetCondition::Alias(alias)));
    check(
        "{any: [{__type__: airflow.sdk.AssetAlias, name: daily}, a]}",
        &json!({ "any": [{ "alias": { "name": "daily", "group": "asset" } }, asset("a", "a")] }),
    );
}

#[test]
fn time_and_assets_stand_side_by_side() {
    let read = one(&dag("{cron: '0 2 * * *', or_assets: {any: [a, b]}}"));
    assert!(matches!(read.dag.schedule, Schedule::Cron { .. }));
    assert_eq!(read.dag.assets.as_ref().unwrap().leaves().len(), 2);
    assert_eq!(one(&read.canonical_yaml).dag, read.dag);
    let every = one(&dag("{duration: 1h, or_assets: ['s3://b/k']}"));
    assert!(matches!(every.dag.schedule, Schedule::Delta { .. }));
    assert_eq!(one(&every.canonical_yaml).dag, every.dag);
}

#[test]
fn crons_are_still_crons() {
    for crons in ["'0 2 * * *'", "['0 2 * * *', '0 4 * * *']", "'@daily'", "['@daily']", "'@once'", "5m", "null"] {
        assert_eq!(one(&format!("start_date: 2026-01-01\n{}", dag(crons))).dag.assets, None, "{crons}");
    }
}

#[test]
fn outlets_and_inlets_have_every_form() {
    let text = "dag_id: x\ntasks:\n  - task_id: a\n    operator: empty\n    outlets: ['s3://b/k', {name: n, uri: 'u://1', \
                group: g, extra: {z: 1, a: [2]}}, {alias: daily}, 's3://b/k']\n    inlets: trades\n";
    let read = one(text);
    let task = &read.dag.tasks[0];
    let bare = |name: &str| AssetRef { name: name.to_owned(), uri: None, group: None, extra: None };
    let extra = json!({ "z": 1, "a": [2] }).as_object().cloned();
    let whole = AssetRef { uri: Some("u://1".to_owned()), group: Some("g".to_owned()), extra, ..bare("n") };
    let alias = AliasRef { alias: "daily".to_owned(), group: None };
    assert_eq!(task.outlets, [Outlet::Asset(bare("s3://b/k")), Outlet::Asset(whole), Outlet::Alias(alias)]);
    assert_eq!(task.inlets, [Outlet::Asset(bare("trades"))]);
    let key = task.outlets[1].asset().unwrap().key();
    assert_eq!((key.name.as_str(), key.uri.as_str()), ("n", "u://1"));
    assert_eq!(one(&read.canonical_yaml).content_hash, read.content_hash);
}

#[test]
fn what_older_versions_have_stored_is_read() {
    let old = json!({ "name": "n", "uri": null });
    assert_eq!(serde_json::from_value::<Outlet>(old).unwrap().name(), "n");
    let alias = json!({ "alias": "daily" });
    assert!(serde_json::from_value::<Outlet>(alias).unwrap().alias().is_some());
}

#[test]
fn a_scheduled_run_by_assets_needs_defaults_of_params() {
    let text = format!("params: {{n: {{type: integer}}}}\n{}", dag("[a]"));
    refused(
        &text,
        expect![[r#"
            dags/x.yaml:1:10: params.n: default is missing: nobody is asked for it when a scheduled run starts
        "#]],
    );
}

#[test]
fn what_is_no_condition_is_told() {
    for (schedule, why) in [
        ("['0 2 * * *', 's3://b/k']", "a list has crons or assets"),
        ("{any: []}", "expected at least one asset"),
        ("{any: [a], all: [b]}", "stand side by side"),
        ("[{name: ''}]", "expected text, found none"),
        ("[{group: g}]", "an asset needs a name or a uri"),
        ("[{alias: a, uri: 'u://1'}]", "an alias has no name and uri"),
        ("[{name: a, urj: b}]", "unknown field"),
        ("{datasets: '(a & b'}", "a ) is missing"),
        ("{datasets: 'a & | b'}", "name or uri is missing"),
        ("{cron: '0 2 * * *', any: [a]}", "unknown field"),
    ] {
        let told = messages(&load(&dag(schedule)));
        assert!(told.contains(why), "{schedule}: {told}");
    }
    let long = "x".repeat(1_501);
    assert!(messages(&load(&dag(&format!("[{long}]")))).contains("at most 1500"));
    let deep = format!("{{datasets: '{}a{}'}}", "(".repeat(40), ")".repeat(40));
    assert!(messages(&load(&dag(&deep))).contains("nested more than 32"), "{}", messages(&load(&dag(&deep))));
}
