//! Secrets: sealed in the tables, open with the key, and the environment before the database.

use chrono::{TimeDelta, Utc};
use sqlx::PgPool;
use store::{
    SecretKey,
    secrets::{self, Deletion, connections, variables, variables::Variable},
    users::{self, NewUser, Role, UserChange},
};
use uuid::Uuid;

use crate::support::Database;

fn key() -> SecretKey {
    SecretKey::from_file_or_create(&tempfile::tempdir().unwrap().path().join("secret.key")).unwrap()
}

async fn put(pool: &PgPool, key: &SecretKey, name: &str, value: &str) {
    let variable = Variable { key: name.to_owned(), value: value.to_owned(), description: None };
    variables::create(pool, key, "me".into(), &variable).await.unwrap();
}

#[tokio::test]
async fn secrets_come_back_and_are_never_in_clear_in_a_table() {
    let database = Database::create().await;
    let key = key();
    let nothing = |_: &str| None;
    let connection = secrets::Connection {
        conn_id: "db".to_owned(),
        conn_type: "postgres".to_owned(),
        host: Some("db.example".to_owned()),
        password: Some("pa55word".to_owned()),
        extra: Some(r#"{"token":"t0ken"}"#.to_owned()),
        port: Some(5432),
        ..secrets::Connection::default()
    };
    connections::create(&database.pool, &key, "me".into(), &connection).await.unwrap();
    let variable = Variable { key: "api".to_owned(), value: "v4lue".to_owned(), description: Some("a key".to_owned()) };
    variables::create(&database.pool, &key, "me".into(), &variable).await.unwrap();
    let found = secrets::connection(&database.pool, &key, &nothing, "db").await.unwrap();
    assert!(found.as_ref() == Some(&connection));
    assert!(!format!("{found:?}").contains("pa55word"));
    let value = secrets::variable(&database.pool, &key, &nothing, "api").await.unwrap();
    assert_eq!(value.as_deref(), Some("v4lue"));

    let rows = "SELECT c::text || encode(c.password_sealed, 'escape') || encode(c.extra_sealed, 'escape')
                       || v::text || encode(v.value_sealed, 'escape')
                FROM connection c, variable v";
    let text: String = sqlx::query_scalar(rows).fetch_one(&database.pool).await.unwrap();
    assert!(text.contains("db.example"), "the rows are looked at: {text}");
    for secret in ["pa55word", "t0ken", "v4lue"] {
        assert!(!text.contains(secret), "{secret} is in clear");
    }
}

#[tokio::test]
async fn a_sealed_value_does_not_open_in_another_row_or_with_another_key() {
    let database = Database::create().await;
    let mine = key();
    let nothing = |_: &str| None;
    for (name, value) in [("a", "one"), ("b", "two")] {
        put(&database.pool, &mine, name, value).await;
    }
    let moved =
        "UPDATE variable SET value_sealed = (SELECT value_sealed FROM variable WHERE key = 'b') WHERE key = 'a'";
    sqlx::query(moved).execute(&database.pool).await.unwrap();
    let error = secrets::variable(&database.pool, &mine, &nothing, "a").await.unwrap_err().to_string();
    assert!(error.contains("variable.value/a") && !error.contains("two"), "{error}");
    assert!(secrets::variable(&database.pool, &key(), &nothing, "b").await.is_err());
}

#[tokio::test]
async fn the_environment_comes_before_the_database() {
    let database = Database::create().await;
    let key = key();
    put(&database.pool, &key, "api", "stored").await;
    let environment = |name: &str| match name {
        "AIRFLOW_VAR_API" => Some("given".to_owned()),
        "AIRFLOW_CONN_LAKE" => Some("lake://".to_owned()),
        "AIRFLOW_CONN_BAD" => Some("no uri, secret".to_owned()),
        _ => None,
    };
    let value = secrets::variable(&database.pool, &key, &environment, "api").await.unwrap();
    assert_eq!(value.as_deref(), Some("given"));
    let lake = secrets::connection(&database.pool, &key, &environment, "lake").await.unwrap().unwrap();
    assert_eq!(lake.conn_type, "lake");
    let error = secrets::connection(&database.pool, &key, &environment, "bad").await.unwrap_err().to_string();
    assert!(error.contains("AIRFLOW_CONN_BAD") && !error.contains("secret"), "{error}");
    assert!(secrets::connection(&database.pool, &key, &environment, "none").await.unwrap().is_none());
    assert_eq!(variables::delete(&database.pool, "me".into(), "api").await.unwrap(), Deletion::Deleted);
    assert_eq!(variables::delete(&database.pool, "me".into(), "api").await.unwrap(), Deletion::Missing);
}

#[tokio::test]
async fn a_user_comes_in_with_its_password_and_its_tokens_end() {
    let database = Database::create().await;
    users::create_default_user(&database.pool).await.unwrap();
    users::create_default_user(&database.pool).await.unwrap();
    assert!(users::has_default_password(&database.pool).await.unwrap());
    assert!(users::authenticate(&database.pool, "airflow", "wrong").await.unwrap().is_none());
    assert!(users::authenticate(&database.pool, "nobody", "airflow").await.unwrap().is_none());
    let changed = NewUser { username: "airflow", password: "better", role: Role::Viewer };
    users::put_user(&database.pool, changed).await.unwrap();
    let account = users::authenticate(&database.pool, "airflow", "better").await.unwrap().unwrap();
    assert_eq!(account.role, Role::Viewer);
    assert!(!users::has_default_password(&database.pool).await.unwrap());

    let (kept, revoked, expired) = (Uuid::new_v4(), Uuid::new_v4(), Uuid::new_v4());
    for (jti, minutes) in [(kept, 5), (revoked, 5), (expired, -5)] {
        let expires_at = Utc::now() + TimeDelta::minutes(minutes);
        let token = users::NewToken { jti, user_id: account.id, expires_at };
        users::record_token(&database.pool, "airflow".into(), token, "login").await.unwrap();
    }
    users::revoke_token(&database.pool, "airflow".into(), revoked).await.unwrap();
    let who = async |jti| {
        let holder = users::holder(&database.pool, users::TokenKey::Session(jti)).await.unwrap();
        holder.map(|holder| holder.account)
    };
    assert_eq!(who(kept).await, Some(account));
    for void in [revoked, expired, Uuid::new_v4()] {
        assert_eq!(who(void).await, None);
    }
    assert_eq!(users::delete_user(&database.pool, "me".into(), "airflow").await.unwrap(), UserChange::Done);
    assert_eq!(who(kept).await, None);
}
