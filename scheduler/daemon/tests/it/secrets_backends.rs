//! Connections and variables of attempts that lie in Vault, with a real leader and a worker that is played by hand.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    Json, Router,
    extract::Path,
    http::StatusCode,
    response::{IntoResponse as _, Response},
    routing::get,
};
use link::{
    FetchItem, FetchKey, Fetched, FromWorker, ToWorker,
    transport::{Connector as _, WorkerLink},
};
use model::{
    AttemptId, Command, DagId, TaskIdx, TriggeredBy,
    command::{Paused, TriggerDagRun},
};
use serde_json::json;
use store::secrets::{Connection, connections, variables, variables::Variable};
use uuid::Uuid;

use crate::leader::{Scene, done, hello, next_assignment, receive};

const DAG: &str = "{dag_id: asking, schedule: null, tasks: [{task_id: a, operator: bash, bash_command: 'true'}]}";

/// Serves Vault's second key-value engine with one connection until it is told to hang.
async fn vault() -> (String, Arc<AtomicBool>) {
    let hangs = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&hangs);
    let answer = async move |Path(path): Path<String>| -> Response {
        if told.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        let data = |fields| Json(json!({ "data": { "data": fields } })).into_response();
        match path.as_str() {
            "secret/data/connections/db" => data(json!({ "conn_uri": "postgres://me:of-vault@h/d" })),
            "auth/token/lookup-self" => Json(json!({ "data": { "ttl": 0 } })).into_response(),
            _ => (StatusCode::NOT_FOUND, Json(json!({ "errors": [] }))).into_response(),
        }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().route("/v1/{*path}", get(answer));
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (url, hangs)
}

/// A leader that asks this Vault, and an attempt that asks the leader.
struct Asking {
    scene: Scene,
    worker: WorkerLink,
    attempt: AttemptId,
}

impl Asking {
    async fn new(vault: &str) -> Self {
        let settings = secrets::Settings::read(&|name| {
            let value = match name {
                "WINDLASS_SECRETS_BACKEND" => "vault",
                "WINDLASS_SECRETS_VAULT_URL" => vault,
                "WINDLASS_SECRETS_VAULT_TOKEN" => "s3cret",
                "WINDLASS_SECRETS_TIMEOUT_SECS" => "2",
                _ => return None,
            };
            Some(value.to_owned())
        });
        let backends = secrets::Backends::open(&settings.unwrap()).unwrap();
        let scene = Scene::with_secrets(DAG, &["asking"], Arc::new(backends)).await;
        let mut worker = scene.leader.connector.connect().await.unwrap();
        worker.send(hello(Uuid::new_v4(), BTreeSet::new())).await.unwrap();
        let asking = DagId::new("asking").unwrap();
        done(&scene.pool, &scene.hints, Command::PauseDag { dag_id: asking.clone(), to: Paused::Active }).await;
        let wish = TriggerDagRun::by_hand(asking, TriggeredBy::Test);
        done(&scene.pool, &scene.hints, Command::TriggerDagRun(wish)).await;
        let attempt = next_assignment(&mut worker).await;
        Self { scene, worker, attempt }
    }

    async fn send(&self, id: u64, key: FetchKey) {
        self.worker.send(FromWorker::Fetch { id, attempt: Some(self.attempt), key }).await.unwrap();
    }

    /// The next answer and its question's number.
    async fn answer(&mut self) -> (u64, FetchItem) {
        loop {
            if let ToWorker::Fetched(Fetched { id, item }) = receive(&mut self.worker).await {
                return (id, item);
            }
        }
    }

    async fn ask(&mut self, key: FetchKey) -> FetchItem {
        self.send(7, key).await;
        self.answer().await.1
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_has_its_connection_from_vault_and_else_from_the_database() {
    let (url, _) = vault().await;
    let mut asking = Asking::new(&url).await;
    let key = store::SecretKey::from_file_or_create(&asking.scene.folder.path().join(".key")).unwrap();
    for id in ["db", "stored"] {
        let stored = Connection { conn_id: id.to_owned(), conn_type: "http".to_owned(), ..Connection::default() };
        connections::create(&asking.scene.pool, &key, "test".into(), &stored).await.unwrap();
    }
    let stored = Variable { key: "v".to_owned(), value: "of the database".to_owned(), description: None };
    variables::create(&asking.scene.pool, &key, "test".into(), &stored).await.unwrap();

    let FetchItem::Connection(db) = asking.ask(FetchKey::Connection("db".to_owned())).await else { panic!() };
    assert_eq!((db.conn_type.as_str(), db.password.as_deref()), ("postgres", Some("of-vault")), "Vault comes first");
    let FetchItem::Connection(stored) = asking.ask(FetchKey::Connection("stored".to_owned())).await else { panic!() };
    assert_eq!(stored.conn_type, "http");
    let variable = asking.ask(FetchKey::Variable("v".to_owned())).await;
    assert_eq!(variable, FetchItem::Variable("of the database".to_owned()));
    let FetchItem::Missing(detail) = asking.ask(FetchKey::Connection("none".to_owned())).await else { panic!() };
    for place in [&format!("Vault at {url}, secret/data/connections/none"), "AIRFLOW_CONN_NONE", "the database"] {
        assert!(detail.contains(place), "{place}: {detail}");
    }
    asking.scene.leader.task.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vault_that_hangs_is_an_error_of_who_asks_it_and_holds_up_nobody_else() {
    let (url, hangs) = vault().await;
    let mut asking = Asking::new(&url).await;
    hangs.store(true, Ordering::SeqCst);
    // More than are answered at once from the database.
    for id in 0..20 {
        asking.send(id, FetchKey::Connection(format!("c{id}"))).await;
    }
    let xcom = FetchKey::XCom { task: TaskIdx(0), map_index: None, key: "k".to_owned() };
    asking.send(100, xcom).await;
    let first = tokio::time::timeout(Duration::from_millis(1500), asking.answer()).await;
    assert_eq!(first.expect("an XCom does not wait for Vault").0, 100);
    let other = TriggerDagRun::by_hand(DagId::new("asking").unwrap(), TriggeredBy::Test);
    done(&asking.scene.pool, &asking.scene.hints, Command::TriggerDagRun(other)).await;
    for _ in 0..20 {
        let (_, FetchItem::Unavailable(detail)) = asking.answer().await else { panic!() };
        assert!(detail.contains(&format!("Vault at {url}, asked for secret/data/connections/c")), "{detail}");
        assert!(detail.contains("no answer within 2 s") && !detail.contains("s3cret"), "{detail}");
    }
    asking.scene.leader.task.abort();
}
