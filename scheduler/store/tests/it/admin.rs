//! What people manage: connections, variables and users are created once, changed, deleted, and every change is told.

use chrono::{TimeDelta, Utc};
use model::{Command, Pool};
use serde_json::json;
use store::{
    SecretKey,
    audit::{self, AuditFilter, AuditOrder},
    inbox,
    pools::{self, PoolChange},
    read::{self, Direction, Pattern, Window},
    secrets::{
        Connection, ConnectionOrder, Creation, Deletion, SecretFilter, connection_page, connections, connections_named,
        variables, variables::Variable,
    },
    users::{self, NewUser, Role, UserChange},
};
use uuid::Uuid;

use crate::support::Database;

fn key() -> SecretKey {
    SecretKey::from_file_or_create(&tempfile::tempdir().unwrap().path().join("secret.key")).unwrap()
}

fn connection(id: &str, password: &str) -> Connection {
    Connection {
        conn_id: id.to_owned(),
        conn_type: "postgres".to_owned(),
        host: Some("db.example".to_owned()),
        password: Some(password.to_owned()),
        extra: Some(r#"{"token": "canary-extra"}"#.to_owned()),
        ..Connection::default()
    }
}

#[tokio::test]
async fn a_connection_is_created_once_and_changed_with_its_secrets_at_hand() {
    let (database, key) = (Database::create().await, key());
    let db = connection("db", "canary-1");
    assert_eq!(connections::create(&database.pool, &key, "me".into(), &db).await.unwrap(), Creation::Created);
    let other = connection("db", "canary-2");
    assert_eq!(connections::create(&database.pool, &key, "me".into(), &other).await.unwrap(), Creation::Exists);
    let change = |old: Connection| {
        assert_eq!(old.password.as_deref(), Some("canary-1"));
        Ok::<_, ()>(Connection { host: Some("new.example".to_owned()), ..old })
    };
    let changed = connections::update(&database.pool, &key, "me".into(), "db", change).await.unwrap().unwrap().unwrap();
    assert_eq!(changed.host.as_deref(), Some("new.example"));
    let all = connections::all(&database.pool, &key).await.unwrap();
    assert_eq!(all.len(), 1);
    assert!(all[0].connection == changed && all[0].problem.is_none());
    assert!(connections::update(&database.pool, &key, "me".into(), "none", Ok::<_, ()>).await.unwrap().is_none());
    assert_eq!(connections::delete(&database.pool, "me".into(), "db").await.unwrap(), Deletion::Deleted);
    assert_eq!(connections::delete(&database.pool, "me".into(), "db").await.unwrap(), Deletion::Missing);
}

#[tokio::test]
async fn what_another_key_sealed_is_listed_without_its_secrets_and_not_changed() {
    let (database, key) = (Database::create().await, key());
    connections::create(&database.pool, &key, "me".into(), &connection("db", "canary")).await.unwrap();
    let wrong = self::key();
    let found = connections::find(&database.pool, &wrong, "db").await.unwrap().unwrap();
    assert_eq!((found.connection.host.as_deref(), found.connection.password), (Some("db.example"), None));
    assert!(found.problem.unwrap().contains("decrypted"));
    assert!(connections::update(&database.pool, &wrong, "me".into(), "db", Ok::<_, ()>).await.is_err());
}

#[tokio::test]
async fn connections_are_paged_searched_and_ordered_and_no_password_is_found_by_its_letters() {
    let (database, key) = (Database::create().await, key());
    for (n, host) in [(1, "db.example"), (2, "postgres://me:canary-host@h"), (3, "other")] {
        let one = Connection { host: Some(host.to_owned()), ..connection(&format!("c{n}"), "canary") };
        connections::create(&database.pool, &key, "me".into(), &one).await.unwrap();
    }
    let list = async |filter: SecretFilter, order: &[(ConnectionOrder, Direction)], limit| {
        let window = Window { limit, offset: 0 };
        let (rows, total) = connection_page(&database.pool, &key, &filter, order, window).await.unwrap();
        (rows.into_iter().map(|row| row.connection.conn_id).collect::<Vec<_>>().join(" "), total)
    };
    let text = |text: &str| SecretFilter { text: Some(text.to_owned()), ..SecretFilter::default() };
    assert_eq!(list(SecretFilter::default(), &[], 2).await, ("c1 c2".to_owned(), 3));
    assert_eq!(list(text("DB.EX"), &[], 9).await, ("c1".to_owned(), 1));
    assert_eq!(list(text("canary"), &[], 9).await, (String::new(), 0));
    let by_host = [(ConnectionOrder::Host, Direction::Descending)];
    assert_eq!(list(SecretFilter::default(), &by_host, 1).await, ("c2".to_owned(), 3));
    let filter =
        SecretFilter { pattern: Pattern(vec!["C_".to_owned()]), prefix: Some("c3".to_owned()), ..text("other") };
    assert_eq!(list(filter, &[], 9).await, ("c3".to_owned(), 1));
    let there = connections_named(&database.pool, vec!["c3".to_owned(), "none".to_owned()]).await.unwrap();
    assert_eq!(there, ["c3"]);
}

#[tokio::test]
async fn a_variable_is_created_once_and_changed() {
    let (database, key) = (Database::create().await, key());
    let variable = Variable { key: "a/b".to_owned(), value: "1".to_owned(), description: None };
    assert_eq!(variables::create(&database.pool, &key, "me".into(), &variable).await.unwrap(), Creation::Created);
    assert_eq!(variables::create(&database.pool, &key, "me".into(), &variable).await.unwrap(), Creation::Exists);
    let change = |old: Variable| Ok::<_, ()>(Variable { value: format!("{}2", old.value), ..old });
    variables::update(&database.pool, &key, "me".into(), "a/b", change).await.unwrap().unwrap().unwrap();
    let refused = variables::update(&database.pool, &key, "me".into(), "a/b", |_| Err("no")).await.unwrap();
    assert_eq!(refused, Some(Err("no")));
    let found = variables::find(&database.pool, &key, "a/b").await.unwrap().unwrap();
    assert_eq!(found.variable.value, "12");
}

#[test]
fn mistakes_are_told_by_their_fields() {
    let fields = |connection: &Connection| -> Vec<&str> { connection.mistakes().iter().map(|m| m.field).collect() };
    assert!(fields(&connection("my-db.1_ü", "x")).is_empty());
    let bad = Connection {
        conn_id: "a/b".to_owned(),
        port: Some(70_000),
        extra: Some("[1]".to_owned()),
        host: Some("h\0".to_owned()),
        ..Connection::default()
    };
    assert_eq!(fields(&bad), ["connection_id", "conn_type", "host", "port", "extra"]);
    assert_eq!(users::mistakes("a b", "", 8).len(), 2);
    assert!(users::mistakes("me@example.org", "longword", 8).is_empty());
    assert_eq!(users::mistakes("me@example.org", "short", 8).len(), 1);
    assert!(users::mistakes("airflow", "airflow", 8).is_empty(), "the documented first login");
    for guessed in ["Elizabeth1", "elizabeth", "11111111", "abcabcabc"] {
        assert_eq!(users::mistakes("elizabeth", guessed, 8).len(), 1, "{guessed}");
    }
    assert!(users::mistakes("al", "always the same", 8).is_empty(), "a short name is in many words");
}

#[tokio::test]
async fn the_last_admin_stays_and_a_new_password_ends_every_token() {
    let database = Database::create().await;
    let new = |username, role| NewUser { username, password: "old", role };
    assert_eq!(
        users::create_user(&database.pool, "me".into(), new("root", Role::Admin)).await.unwrap(),
        Creation::Created
    );
    assert_eq!(
        users::create_user(&database.pool, "me".into(), new("root", Role::Viewer)).await.unwrap(),
        Creation::Exists
    );
    assert_eq!(users::delete_user(&database.pool, "me".into(), "root").await.unwrap(), UserChange::LastAdmin);
    assert_eq!(users::set_role(&database.pool, "me".into(), "root", Role::Op).await.unwrap(), UserChange::LastAdmin);
    assert_eq!(users::delete_user(&database.pool, "me".into(), "nobody").await.unwrap(), UserChange::Missing);
    let account = users::authenticate(&database.pool, "root", "old").await.unwrap().unwrap();
    let token = Uuid::new_v4();
    let expires_at = Utc::now() + TimeDelta::minutes(5);
    let issued = users::NewToken { jti: token, user_id: account.id, expires_at };
    users::record_token(&database.pool, "root".into(), issued, "login").await.unwrap();
    assert_eq!(users::set_password(&database.pool, "me".into(), "root", "new").await.unwrap(), UserChange::Done);
    assert!(users::holder(&database.pool, users::TokenKey::Session(token)).await.unwrap().is_none());
    assert!(users::authenticate(&database.pool, "root", "old").await.unwrap().is_none());
    assert!(users::authenticate(&database.pool, "root", "new").await.unwrap().is_some());
    users::create_user(&database.pool, "me".into(), new("second", Role::Admin)).await.unwrap();
    assert_eq!(users::set_role(&database.pool, "me".into(), "root", Role::Op).await.unwrap(), UserChange::Done);
}

#[tokio::test]
async fn the_audit_log_says_who_did_what_and_no_value() {
    let (database, key) = (Database::create().await, key());
    let pool = &database.pool;
    connections::create(pool, &key, "ann".into(), &connection("db", "canary-password")).await.unwrap();
    let variable = Variable { key: "v".to_owned(), value: "canary-value".to_owned(), description: None };
    variables::create(pool, &key, "bob".into(), &variable).await.unwrap();
    users::create_user(pool, "ann".into(), NewUser { username: "eve", password: "canary-user", role: Role::User })
        .await
        .unwrap();
    let etl = Pool {
        name: "etl".to_owned(),
        slots: Some(3),
        description: String::new(),
        include_deferred: false,
        rate_limit: None,
    };
    inbox::submit(pool, &Command::CreatePool(etl), "bob").await.unwrap();
    audit::record(&mut *pool.acquire().await.unwrap(), "x", "x", &json!({"api_token": "canary-named"})).await.unwrap();

    let filter = AuditFilter { limit: 100, ..AuditFilter::default() };
    let (events, total) = audit::events(pool, &filter).await.unwrap();
    let told: Vec<_> = events.iter().map(|event| (event.who.as_str(), event.action.as_str())).collect();
    let expected = [
        ("ann", "post_connection"),
        ("bob", "post_variable"),
        ("ann", "create_user"),
        ("bob", "post_pool"),
        ("x", "x"),
    ];
    assert_eq!((told, total), (expected.to_vec(), read::Total::Exactly(5)));
    let rows: String =
        sqlx::query_scalar("SELECT string_agg(a::text, ' ') FROM audit_log a").fetch_one(pool).await.unwrap();
    assert!(rows.contains("db") && !rows.contains("canary"), "{rows}");

    let found = async |filter: AuditFilter| {
        let (events, _) = audit::events(pool, &AuditFilter { limit: 100, ..filter }).await.unwrap();
        events.into_iter().map(|event| event.action).collect::<Vec<_>>()
    };
    let newest = vec![(AuditOrder::When, Direction::Descending)];
    let by_ann = AuditFilter { who: Some("ann".to_owned()), order: newest, ..AuditFilter::default() };
    assert_eq!(found(by_ann).await, ["create_user", "post_connection"]);
    let posts = AuditFilter { action_pattern: Pattern(vec!["POST".to_owned()]), ..AuditFilter::default() };
    assert_eq!(found(posts).await, ["post_connection", "post_variable", "post_pool"]);
    let left = AuditFilter { actions_left_out: vec!["x".to_owned()], offset: 3, ..AuditFilter::default() };
    assert_eq!(found(left).await, ["post_pool"]);
    let somewhere = AuditFilter { anywhere: Some("ETL".to_owned()), ..AuditFilter::default() };
    assert_eq!(found(somewhere).await, ["post_pool"]);
    let later = AuditFilter { after: Some(Utc::now() + TimeDelta::minutes(1)), ..AuditFilter::default() };
    assert!(found(later).await.is_empty());
}

#[tokio::test]
async fn pools_are_changed_by_a_turn_when_nobody_leads() {
    let database = Database::create().await;
    let mut writer = store::Writer::connect(&database.url).await.unwrap();
    let pool = |slots| Pool {
        name: "etl".to_owned(),
        slots: Some(slots),
        description: String::new(),
        include_deferred: false,
        rate_limit: None,
    };
    pools::change_alone(&mut writer, "me".into(), vec![PoolChange::Set(pool(3))]).await.unwrap();
    let found = read::pools(&database.pool).await.unwrap();
    assert_eq!(found.iter().map(|pool| pool.name.as_str()).collect::<Vec<_>>(), ["default_pool", "etl"]);
    let too_many = vec![PoolChange::Delete("etl".to_owned()), PoolChange::Set(pool(u32::MAX))];
    assert!(pools::change_alone(&mut writer, "me".into(), too_many).await.is_err());
    let default = vec![PoolChange::Delete(Pool::DEFAULT.to_owned())];
    assert!(pools::change_alone(&mut writer, "me".into(), default).await.is_err());
    assert_eq!(read::pools(&database.pool).await.unwrap().len(), 2, "a refusal changes nothing");
    pools::change_alone(&mut writer, "me".into(), vec![PoolChange::Delete("etl".to_owned())]).await.unwrap();
    assert_eq!(read::pools(&database.pool).await.unwrap().len(), 1);
    assert_eq!(database.count("audit_log").await, 2);
}

#[tokio::test]
async fn a_user_with_too_many_sessions_loses_the_oldest_and_keeps_the_api_tokens() {
    let database = Database::create().await;
    users::put_user(&database.pool, NewUser { username: "ann", password: "correct horse", role: Role::User })
        .await
        .unwrap();
    let ann = users::page(&database.pool, "").await.unwrap().remove(0);
    let many = "INSERT INTO token (jti, user_id, issued_at, expires_at, hash, name)
        SELECT gen_random_uuid(), $1, now() - n * interval '1 s', now() + interval '1 day',
               CASE WHEN n = 2000 THEN '\\x01'::bytea END, CASE WHEN n = 2000 THEN 'ci' END
        FROM generate_series(1, 2000) AS n";
    sqlx::query(many).bind(ann.id).execute(&database.pool).await.unwrap();
    let session = users::NewToken { jti: Uuid::now_v7(), user_id: ann.id, expires_at: Utc::now() + TimeDelta::days(1) };
    users::record_token(&database.pool, "ann".into(), session, "login").await.unwrap();
    let open = "token WHERE revoked_at IS NULL AND hash IS NULL";
    assert_eq!(database.count(open).await, users::SESSIONS_OF_USER_MAX);
    assert_eq!(
        database.count(&format!("{open} AND issued_at < now() - interval '1001 s'")).await,
        0,
        "the newest stay"
    );
    assert_eq!(database.count("token WHERE revoked_at IS NULL AND hash IS NOT NULL").await, 1);
    assert!(users::holder(&database.pool, users::TokenKey::Session(session.jti)).await.unwrap().is_some());
}
