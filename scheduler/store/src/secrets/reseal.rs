//! Sealing everything anew with the newest key, so that older keys can be given up.

use sqlx::{PgConnection, PgPool};

use super::{Place, SecretKey};
use crate::{
    audit::{self, Actor},
    cluster::{secret_place, token_place},
    error::{Doing, StoreError},
};

const DOING: &str = "sealing secrets anew";

/// How many secrets there are, and how many of them were sealed with an older key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Resealed {
    /// Secrets in all.
    pub secrets: usize,
    /// Those that were sealed anew.
    pub anew: usize,
}

/// Seals every secret that an older key has sealed with the newest one, all of them or none.
///
/// # Errors
/// [`StoreError::Refused`] with the place of a secret that none of the keys opens; [`StoreError::Unreachable`],
/// [`StoreError::Database`].
pub async fn reseal(pool: &PgPool, key: &SecretKey, who: impl Into<Actor<'_>> + Send) -> Result<Resealed, StoreError> {
    let mut transaction = pool.begin().await.doing(DOING)?;
    let mut done = Resealed::default();
    connections(&mut transaction, key, &mut done).await?;
    variables(&mut transaction, key, &mut done).await?;
    cluster(&mut transaction, key, &mut done).await?;
    tokens(&mut transaction, key, &mut done).await?;
    let details = serde_json::json!({"count": done.secrets, "sealed_anew": done.anew});
    audit::record(&mut *transaction, who, "reseal_secrets", &details).await?;
    transaction.commit().await.doing(DOING)?;
    Ok(done)
}

/// The secret sealed anew; as it was when the newest key has sealed it.
fn anew(key: &SecretKey, place: &str, sealed: Vec<u8>, done: &mut Resealed) -> Result<Vec<u8>, StoreError> {
    done.secrets += 1;
    if key.is_newest(&sealed) {
        return Ok(sealed);
    }
    let text = key
        .open(place, &sealed)
        .map_err(|why| StoreError::Refused { reason: format!("{place} can not be decrypted: {why}") })?;
    done.anew += 1;
    Ok(key.seal(place, &text))
}

async fn connections(db: &mut PgConnection, key: &SecretKey, done: &mut Resealed) -> Result<(), StoreError> {
    let rows = sqlx::query!("SELECT conn_id, password_sealed, extra_sealed FROM connection FOR UPDATE")
        .fetch_all(&mut *db)
        .await
        .doing(DOING)?;
    let (mut ids, mut passwords, mut extras) = (Vec::new(), Vec::new(), Vec::new());
    for row in rows {
        let password = row.password_sealed;
        passwords
            .push(password.map(|sealed| anew(key, &Place::Password(&row.conn_id).name(), sealed, done)).transpose()?);
        let extra = row.extra_sealed;
        extras.push(extra.map(|sealed| anew(key, &Place::Extra(&row.conn_id).name(), sealed, done)).transpose()?);
        ids.push(row.conn_id);
    }
    sqlx::query!(
        "UPDATE connection SET password_sealed = new.password, extra_sealed = new.extra
         FROM unnest($1::text[], $2::bytea[], $3::bytea[]) AS new (conn_id, password, extra)
         WHERE connection.conn_id = new.conn_id",
        &ids,
        &passwords as &[Option<Vec<u8>>],
        &extras as &[Option<Vec<u8>>]
    )
    .execute(&mut *db)
    .await
    .doing(DOING)?;
    Ok(())
}

async fn variables(db: &mut PgConnection, key: &SecretKey, done: &mut Resealed) -> Result<(), StoreError> {
    let rows =
        sqlx::query!("SELECT key, value_sealed FROM variable FOR UPDATE").fetch_all(&mut *db).await.doing(DOING)?;
    let (mut names, mut values) = (Vec::new(), Vec::new());
    for row in rows {
        values.push(anew(key, &Place::Variable(&row.key).name(), row.value_sealed, done)?);
        names.push(row.key);
    }
    sqlx::query!(
        "UPDATE variable SET value_sealed = new.value FROM unnest($1::text[], $2::bytea[]) AS new (key, value)
         WHERE variable.key = new.key",
        &names,
        &values
    )
    .execute(&mut *db)
    .await
    .doing(DOING)?;
    Ok(())
}

async fn cluster(db: &mut PgConnection, key: &SecretKey, done: &mut Resealed) -> Result<(), StoreError> {
    let rows =
        sqlx::query!("SELECT name, sealed FROM cluster_secret FOR UPDATE").fetch_all(&mut *db).await.doing(DOING)?;
    let (mut names, mut values) = (Vec::new(), Vec::new());
    for row in rows {
        values.push(anew(key, &secret_place(&row.name), row.sealed, done)?);
        names.push(row.name);
    }
    sqlx::query!(
        "UPDATE cluster_secret SET sealed = new.sealed FROM unnest($1::text[], $2::bytea[]) AS new (name, sealed)
         WHERE cluster_secret.name = new.name",
        &names,
        &values
    )
    .execute(&mut *db)
    .await
    .doing(DOING)?;
    Ok(())
}

async fn tokens(db: &mut PgConnection, key: &SecretKey, done: &mut Resealed) -> Result<(), StoreError> {
    let rows = sqlx::query!("SELECT id, sealed FROM join_token FOR UPDATE").fetch_all(&mut *db).await.doing(DOING)?;
    let (mut ids, mut values) = (Vec::new(), Vec::new());
    for row in rows {
        values.push(anew(key, &token_place(&row.id), row.sealed, done)?);
        ids.push(row.id);
    }
    sqlx::query!(
        "UPDATE join_token SET sealed = new.sealed FROM unnest($1::text[], $2::bytea[]) AS new (id, sealed)
         WHERE join_token.id = new.id",
        &ids,
        &values
    )
    .execute(&mut *db)
    .await
    .doing(DOING)?;
    Ok(())
}
