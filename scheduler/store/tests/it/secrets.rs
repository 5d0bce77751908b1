//! Secrets: sealed in the tables, open with the key, and the environment before the database.

use chrono::{TimeDelta, Utc};
use store::{
    SecretKey, secrets,
    users::{self, NewUser, Role},
};
use uuid::Uuid;

use crate::support::Database;

fn key() -> SecretKey {
    SecretKey::from_file_or_create(&tempfile::tempdir().unwrap().path().join("secret.key")).unwrap()
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
    secrets::put_connection(&database.pool, &key, &connection).await.unwrap();
    secrets::put_variable(&database.pool, &key, "api", "v4lue", Some("a key")).await.unwrap();
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
        secrets::put_variable(&database.pool, &mine, name, value, None).await.unwrap();
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
    secrets::put_variable(&database.pool, &key, "api", "stored", None).await.unwrap();
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
    assert!(secrets::delete_variable(&database.pool, "api").await.unwrap());
    assert!(!secrets::delete_variable(&database.pool, "api").await.unwrap());
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
        users::record_token(&database.pool, jti, account.id, expires_at).await.unwrap();
    }
    users::revoke_token(&database.pool, revoked).await.unwrap();
    assert_eq!(users::of_token(&database.pool, kept).await.unwrap(), Some(account));
    for void in [revoked, expired, Uuid::new_v4()] {
        assert_eq!(users::of_token(&database.pool, void).await.unwrap(), None);
    }
    assert!(users::delete_user(&database.pool, "airflow").await.unwrap());
    assert_eq!(users::of_token(&database.pool, kept).await.unwrap(), None);
}
