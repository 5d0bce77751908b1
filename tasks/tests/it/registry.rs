//! The schema registry over HTTP, as clients see it.

use crate::support::{Database, Registry};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use windlass_tasks::stock::codec::TRADE_SCHEMA;

const CONTENT_TYPE: &str = "application/vnd.schemaregistry.v1+json";

struct Client {
    registry: Registry,
    http: reqwest::Client,
    _database: Database,
}

impl Client {
    async fn start() -> Self {
        let database = Database::create().await;
        Self { registry: Registry::start(&database.pool).await, http: reqwest::Client::new(), _database: database }
    }

    async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> (StatusCode, Value) {
        let url = self.registry.url.join(path).unwrap();
        let mut request = self.http.request(method, url);
        if let Some(body) = body {
            request = request.header("content-type", CONTENT_TYPE).body(body.to_string());
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.headers()["content-type"], CONTENT_TYPE);
        (response.status(), response.json().await.unwrap())
    }

    async fn get(&self, path: &str) -> Value {
        self.ask(Method::GET, path, None).await.1
    }

    async fn post(&self, path: &str, schema: &str) -> (StatusCode, Value) {
        self.ask(Method::POST, path, Some(json!({"schema": schema}))).await
    }

    async fn register(&self, subject: &str, schema: &str) -> Value {
        self.ask(Method::POST, &format!("/subjects/{subject}/versions"), Some(json!({"schema": schema}))).await.1
    }
}

fn with_doc(doc: &str) -> String {
    json!({"type": "record", "name": "R", "doc": doc, "fields": [{"name": "a", "type": "long"}]}).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_has_one_id_however_often_and_wherever_it_is_registered() {
    let client = Client::start().await;
    client.ask(Method::PUT, "/config", Some(json!({"compatibility": "NONE"}))).await;
    let id = client.register("a-value", TRADE_SCHEMA).await;
    let spaced = serde_json::to_string_pretty(&serde_json::from_str::<Value>(TRADE_SCHEMA).unwrap()).unwrap();
    assert_eq!(client.register("a-value", &spaced).await, id);
    assert_eq!(client.register("b-value", TRADE_SCHEMA).await, id);
    assert_ne!(client.register("a-value", &with_doc("1")).await, id);
    assert_eq!(client.get("/subjects").await, json!(["a-value", "b-value"]));
    assert_eq!(client.get("/subjects/a-value/versions").await, json!([1, 2]));
    let id = &id["id"];
    assert_eq!(client.get(&format!("/schemas/ids/{id}")).await, json!({"schema": TRADE_SCHEMA}));
    let first = client.get("/subjects/a-value/versions/1").await;
    assert_eq!(first, json!({"subject": "a-value", "version": 1, "id": id, "schema": TRADE_SCHEMA}));
    assert_eq!(client.get("/subjects/a-value/versions/latest").await["version"], 2);
    let (_, found) = client.ask(Method::POST, "/subjects/b-value", Some(json!({"schema": spaced}))).await;
    assert_eq!((&found["version"], &found["id"]), (&json!(1), id));
    assert_eq!(client.get("/schemas/types").await, json!(["AVRO"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn registering_at_once_gives_all_the_same_answer() {
    let client = Client::start().await;
    let asked = (0..20).map(|n| {
        let client = &client;
        async move { client.register("s", &with_doc(&(n % 2).to_string())).await["id"].as_i64().unwrap() }
    });
    let mut ids = futures::future::join_all(asked).await;
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 2);
    assert_eq!(client.get("/subjects/s/versions").await, json!([1, 2]));
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_have_confluents_codes() {
    let client = Client::start().await;
    client.register("s", TRADE_SCHEMA).await;
    let bad = |text: &str| Some(json!({ "schema": text }));
    let proto = Some(json!({"schema": "syntax = \"proto3\";", "schemaType": "PROTOBUF"}));
    let cases = [
        (Method::GET, "/subjects/none/versions", None, 404, 40401),
        (Method::GET, "/subjects/none/versions/latest", None, 404, 40401),
        (Method::GET, "/subjects/s/versions/9", None, 404, 40402),
        (Method::GET, "/subjects/s/versions/zero", None, 422, 42202),
        (Method::GET, "/schemas/ids/12345", None, 404, 40403),
        (Method::POST, "/subjects/s", bad("\"string\""), 404, 40403),
        (Method::POST, "/subjects/none", bad("\"string\""), 404, 40401),
        (Method::POST, "/subjects/s/versions", bad("{\"type\":\"recrod\"}"), 422, 42201),
        (Method::POST, "/subjects/s/versions", proto, 422, 42201),
        (Method::PUT, "/config", Some(json!({"compatibility": "SOMETIMES"})), 422, 42203),
        (Method::GET, "/config/s", None, 404, 40408),
        (Method::DELETE, "/subjects/none", None, 404, 40401),
        (Method::DELETE, "/subjects/s?permanent=true", None, 404, 40405),
    ];
    for (method, path, body, status, code) in cases {
        let (got, answer) = client.ask(method, path, body).await;
        assert_eq!((got.as_u16(), answer["error_code"].as_u64()), (status, Some(code)), "{path}: {answer}");
        assert!(answer["message"].as_str().is_some_and(|message| !message.is_empty()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn compatibility_levels_are_kept() {
    let client = Client::start().await;
    assert_eq!(client.get("/config").await, json!({"compatibilityLevel": "BACKWARD"}));
    let (_, set) = client.ask(Method::PUT, "/config/s", Some(json!({"compatibility": "FULL"}))).await;
    assert_eq!(set, json!({"compatibility": "FULL"}));
    assert_eq!(client.get("/config/s").await, json!({"compatibilityLevel": "FULL"}));
    assert_eq!(client.get("/config/t?defaultToGlobal=true").await, json!({"compatibilityLevel": "BACKWARD"}));
}

fn with_fields(fields: Value) -> String {
    json!({"type": "record", "name": "R", "fields": fields}).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_that_the_subjects_level_forbids_is_refused_with_reasons() {
    let client = Client::start().await;
    let one = with_fields(json!([{"name": "a", "type": "long"}]));
    let two = with_fields(json!([{"name": "a", "type": "long"}, {"name": "b", "type": "int"}]));
    let two_default = with_fields(json!([{"name": "a", "type": "long"}, {"name": "b", "type": "int", "default": 0}]));
    client.register("s", &one).await;
    let (status, refused) = client.post("/subjects/s/versions", &two).await;
    assert_eq!((status.as_u16(), &refused["error_code"]), (409, &json!(409)));
    let message = refused["message"].as_str().unwrap();
    assert!(
        message.contains("READER_FIELD_MISSING_DEFAULT_VALUE") && message.contains("oldSchemaVersion: 1"),
        "{message}"
    );
    assert_eq!(client.get("/subjects/s/versions").await, json!([1]));
    // Asked beforehand, with and without reasons, against one version and all.
    for path in [
        "/compatibility/subjects/s/versions/latest",
        "/compatibility/subjects/s/versions/1",
        "/compatibility/subjects/s/versions",
    ] {
        assert_eq!(client.post(path, &two).await.1, json!({"is_compatible": false}));
        assert_eq!(client.post(path, &two_default).await.1, json!({"is_compatible": true}));
        let (_, verbose) = client.post(&format!("{path}?verbose=true"), &two).await;
        assert_eq!((&verbose["is_compatible"], verbose["messages"].as_array().unwrap().len()), (&json!(false), 4));
    }
    assert_eq!(
        client.post("/compatibility/subjects/s/versions/latest?verbose=True", &two_default).await.1,
        json!({"is_compatible": true, "messages": []})
    );
    assert_eq!(
        client.post("/compatibility/subjects/new/versions/latest", &two).await.1,
        json!({"is_compatible": true})
    );
    assert_eq!(client.post("/compatibility/subjects/s/versions/7", &two).await.1["error_code"], 40402);
    assert_eq!(client.post("/compatibility/subjects/new/versions/7", &two).await.1["error_code"], 40401);
    assert_eq!(client.post("/compatibility/subjects/s/versions/latest", "{").await.1["error_code"], 42201);
    // A level of its own lets the subject pass; the others keep that of all.
    client.ask(Method::PUT, "/config/s", Some(json!({"compatibility": "forward"}))).await;
    assert_eq!(client.post("/subjects/s/versions", &two).await.0.as_u16(), 200);
    assert_eq!(client.post("/subjects/s/versions", &one).await.0.as_u16(), 200, "what is registered is no news");
    let other = with_fields(json!([{"name": "c", "type": "int"}]));
    assert_eq!(client.post("/subjects/s/versions", &other).await.0.as_u16(), 409);
    assert_eq!(client.ask(Method::DELETE, "/config/s", None).await.1, json!({"compatibilityLevel": "FORWARD"}));
    assert_eq!(client.ask(Method::DELETE, "/config/s", None).await.1["error_code"], 40401);
    client.ask(Method::PUT, "/config", Some(json!({"compatibility": "NONE"}))).await;
    assert_eq!(client.post("/subjects/s/versions", "\"string\"").await.0.as_u16(), 200);
    assert_eq!(client.ask(Method::DELETE, "/config", None).await.1, json!({"compatibilityLevel": "BACKWARD"}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_version_no_longer_stands_in_the_way() {
    let client = Client::start().await;
    client.register("s", "\"int\"").await;
    let refused = client.register("s", "\"string\"").await;
    assert_eq!(refused["error_code"], 409);
    client.ask(Method::DELETE, "/subjects/s/versions/1", None).await;
    assert!(client.register("s", "\"string\"").await["id"].is_i64());
    // Of versions deleted for good even the numbers are gone; schemas stay under their ids.
    assert_eq!(client.ask(Method::DELETE, "/subjects/s/versions/1?permanent=true", None).await.1, json!(1));
    assert_eq!(client.get("/subjects/s/versions?deleted=true").await, json!([2]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_subject_keeps_what_it_has() {
    let client = Client::start().await;
    client.register("s", "\"int\"").await;
    assert_eq!(client.get("/mode").await, json!({"mode": "READWRITE"}));
    client.ask(Method::PUT, "/mode/s", Some(json!({"mode": "READONLY"}))).await;
    let (status, refused) = client.ask(Method::POST, "/subjects/s/versions", Some(json!({"schema": "\"long\""}))).await;
    assert_eq!((status.as_u16(), &refused["error_code"]), (422, &json!(42205)));
    assert_eq!(client.ask(Method::DELETE, "/subjects/s", None).await.1["error_code"], 42205);
    assert!(client.register("t", "\"int\"").await["id"].is_i64());
    assert_eq!(client.ask(Method::PUT, "/mode", Some(json!({"mode": "IMPORT"}))).await.1["error_code"], 42204);
    assert_eq!(client.ask(Method::DELETE, "/mode/s", None).await.1, json!({"mode": "READONLY"}));
    assert!(client.register("s", "\"long\"").await["id"].is_i64());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_is_found_in_its_normal_form_and_references_are_refused() {
    let client = Client::start().await;
    let short = r#"{"type":"record","name":"R","namespace":"n","fields":[]}"#;
    let long = r#"{"fields":[],"name":"n.R","type":"record"}"#;
    let body = |schema: &str| Some(json!({"schema": schema}));
    let (_, id) = client.ask(Method::POST, "/subjects/s/versions?normalize=true", body(short)).await;
    assert_eq!(client.ask(Method::POST, "/subjects/s/versions?normalize=true", body(long)).await.1, id);
    let (_, found) = client.ask(Method::POST, "/subjects/s?normalize=True", body(short)).await;
    assert_eq!((&found["id"], &found["version"]), (&id["id"], &json!(1)));
    assert_eq!(client.ask(Method::POST, "/subjects/s", body(short)).await.1["error_code"], 40403);
    assert_eq!(client.get("/subjects/s/versions/1/referencedby").await, json!([]));
    let referring = json!({"schema": long, "references": [{"name": "x", "subject": "y", "version": 1}]});
    let (_, refused) = client.ask(Method::POST, "/subjects/s/versions", Some(referring)).await;
    assert_eq!(refused["error_code"], 42201);
    assert!(refused["message"].as_str().unwrap().contains("references to other schemas are not served"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_subject_is_hidden_but_its_ids_stay() {
    let client = Client::start().await;
    let id = client.register("s", TRADE_SCHEMA).await["id"].clone();
    assert_eq!(client.ask(Method::DELETE, "/subjects/s", None).await.1, json!([1]));
    assert_eq!(client.get("/subjects").await, json!([]));
    assert_eq!(client.get("/subjects?deleted=True").await, json!(["s"]));
    assert_eq!(client.get(&format!("/schemas/ids/{id}")).await, json!({"schema": TRADE_SCHEMA}));
    assert_eq!(client.register("s", TRADE_SCHEMA).await["id"], id);
    assert_eq!(client.get("/subjects/s/versions").await, json!([2]));
    assert_eq!(client.ask(Method::DELETE, "/subjects/s/versions/2", None).await.1, json!(2));
    assert_eq!(client.ask(Method::DELETE, "/subjects/s?permanent=true", None).await.1, json!([1, 2]));
}
