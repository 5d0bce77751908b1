//! Users whom an identity provider vouches for.

use std::collections::BTreeSet;

use chrono::TimeDelta;
use store::users::{
    self, NewApiToken, NewToken, NewUser, OwnRole, ProviderLogin, ProviderRefusal, Right, Role, UserChange,
    log_in_by_provider,
};

use uuid::Uuid;

use crate::support::Database;

const ISSUER: &str = "https://login.example.com";

fn login<'a>(subject: &'a str, username: &'a str, roles: &'a [String]) -> ProviderLogin<'a> {
    ProviderLogin { provider: ISSUER, subject, username, roles }
}

fn roles(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[tokio::test]
async fn a_user_of_a_provider_is_its_subject_and_has_the_roles_of_the_last_login() {
    let database = Database::create().await;
    let pool = &database.pool;
    let first = log_in_by_provider(pool, "ann".into(), login("1", "ann", &roles(&["User", "Admin", "Nothing"]))).await;
    let first = first.unwrap();
    assert_eq!((first.username.as_str(), first.role), ("ann", Role::Admin));
    let second = log_in_by_provider(pool, "bea".into(), login("1", "bea", &roles(&["Viewer"]))).await.unwrap();
    assert_eq!((second.id, second.username.as_str(), second.role), (first.id, "bea", Role::Viewer));
    assert_eq!(users::page(pool, "").await.unwrap(), [second]);

    let of_another = ProviderLogin { provider: "https://other.example", ..login("1", "cyd", &[]) };
    let none = log_in_by_provider(pool, "cyd".into(), of_another).await.unwrap_err();
    assert!(matches!(none, ProviderRefusal::NoRole), "{none}");
    let viewer = roles(&["Viewer"]);
    let other = log_in_by_provider(pool, "cyd".into(), ProviderLogin { roles: &viewer, ..of_another }).await.unwrap();
    assert_ne!(other.id, first.id, "a subject is one of its provider");
}

#[tokio::test]
async fn groups_give_own_roles_too_and_take_them() {
    let database = Database::create().await;
    let pool = &database.pool;
    let role =
        |name: &str| OwnRole { name: name.to_owned(), rights: BTreeSet::from([Right::Read]), dags: BTreeSet::new() };
    for name in ["finance", "risk"] {
        users::create_role(pool, "me".into(), &role(name)).await.unwrap();
    }
    let own = |names: &[&str]| (Role::Public, roles(names));
    for (said, expected) in [
        (roles(&["risk", "none", "finance"]), own(&["finance", "risk"])),
        (roles(&["finance"]), own(&["finance"])),
        (roles(&["Op"]), (Role::Op, Vec::new())),
    ] {
        let account = log_in_by_provider(pool, "ann".into(), login("1", "ann", &said)).await.unwrap();
        assert_eq!((account.role, account.own_roles.clone()), expected);
        assert_eq!(users::page(pool, "").await.unwrap(), [account]);
    }
    let ann = users::page(pool, "").await.unwrap().remove(0);
    let session =
        NewToken { jti: Uuid::now_v7(), user_id: ann.id, expires_at: chrono::Utc::now() + TimeDelta::days(1) };
    users::record_token(pool, "ann".into(), session, "login").await.unwrap();
    let wish = NewApiToken { username: "ann", name: "ci", scope: None, days: 300 };
    users::create_api_token(pool, "ann".into(), &wish).await.unwrap().unwrap();
    assert_eq!(users::open_tokens(pool, Some("ann")).await.unwrap().len(), 2);
    for _ in 0..2 {
        let none = log_in_by_provider(pool, "ann".into(), login("1", "ann", &roles(&["none"]))).await.unwrap_err();
        assert!(matches!(none, ProviderRefusal::NoRole), "{none}");
        let now = users::page(pool, "").await.unwrap().remove(0);
        assert_eq!((now.role, now.own_roles), (Role::Public, Vec::new()), "who has no role there has none here");
        assert_eq!(users::open_tokens(pool, Some("ann")).await.unwrap(), [], "and nothing of before goes on");
    }
    assert_eq!(database.count("audit_log WHERE action = 'update_user' AND details->>'ended' = '2'").await, 1);
    let none = log_in_by_provider(pool, "new".into(), login("2", "new", &[])).await.unwrap_err();
    assert!(matches!(none, ProviderRefusal::NoRole), "{none}");
    assert_eq!(users::page(pool, "").await.unwrap().len(), 1, "nobody is made without a role");
}

#[tokio::test]
async fn nobody_of_a_provider_takes_another_users_name_or_has_a_password() {
    let database = Database::create().await;
    let pool = &database.pool;
    users::create_user(pool, "me".into(), NewUser { username: "root", password: "longword", role: Role::Admin })
        .await
        .unwrap();
    let admin = roles(&["Admin"]);
    let taken = log_in_by_provider(pool, "root".into(), login("1", "root", &admin)).await.unwrap_err();
    assert!(matches!(taken, ProviderRefusal::NameTaken { .. }), "{taken}");
    log_in_by_provider(pool, "ann".into(), login("1", "ann", &admin)).await.unwrap();
    let renamed = log_in_by_provider(pool, "root".into(), login("1", "root", &admin)).await.unwrap_err();
    assert!(matches!(renamed, ProviderRefusal::NameTaken { .. }), "{renamed}");
    for name in ["", "a b", "a\0", "a\n", &"x".repeat(200)] {
        let odd = log_in_by_provider(pool, "x".into(), login("2", name, &admin)).await.unwrap_err();
        assert!(matches!(odd, ProviderRefusal::Name { .. }), "{odd}");
    }
    assert_eq!(users::set_password(pool, "me".into(), "ann", "longword").await.unwrap(), UserChange::OfProvider);
    assert!(users::authenticate(pool, "ann", "longword").await.unwrap().is_none());
    assert!(users::authenticate(pool, "root", "longword").await.unwrap().is_some());
}

#[tokio::test]
async fn two_browsers_of_one_person_make_one_user() {
    let database = Database::create().await;
    let mut logins = tokio::task::JoinSet::new();
    for _ in 0..6 {
        let pool = database.pool.clone();
        logins.spawn(async move {
            let viewer = roles(&["Viewer"]);
            log_in_by_provider(&pool, "ann".into(), login("1", "ann", &viewer)).await.unwrap().id
        });
    }
    let all = logins.join_all().await;
    assert!(all.iter().all(|id| *id == all[0]), "{all:?}");
    let made: i64 = sqlx::query_scalar("SELECT count(*) FROM audit_log WHERE action = 'create_user'")
        .fetch_one(&database.pool)
        .await
        .unwrap();
    assert_eq!(made, 1);
}
